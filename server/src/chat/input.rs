//! A session's input: each line is taken once, counted against the budgets, and then done by the
//! session's protocol.

use super::Chat;
use super::deliver::{Deliveries, Out};
use super::effect::Effect;
use super::rate::Share;
use super::record::{CloseReason, Fact, Record};
use super::session::ProtocolState;
use super::waiting::Waiting;
use forkchat_common::address::AddressBlock;
use forkchat_common::event::{Event, Refusal};
use forkchat_common::ids::{Micros, SessionId};
use forkchat_common::limits::COMMAND_COST_MAX;

impl Chat {
    /// How many lines a session may send at this moment: as many as its own budget and its address's
    /// have left.
    pub fn budget(&self, id: SessionId, now: Micros) -> u64 {
        let Some(session) = self.session(id) else { return 0 };
        let limit = self.state.rate_limit;
        if limit.is_off() {
            return u64::MAX;
        }
        let of_address = self.state.addresses.allowed(session.address(), limit, now);
        limit.allowed(Share::Session, session.rate, now).min(of_address)
    }

    /// How many lines of a session may be read at once: so few that the budget lasts even if each is
    /// the costliest command.
    pub fn lines_allowed(&self, id: SessionId, now: Micros) -> u64 {
        match self.budget(id, now) {
            u64::MAX => u64::MAX,
            budget => (budget / COMMAND_COST_MAX).max(budget.min(1)),
        }
    }

    /// When a session may send its next line.
    pub fn next_line_at(&self, id: SessionId) -> Micros {
        let Some(session) = self.session(id) else { return Micros(0) };
        let limit = self.state.rate_limit;
        let of_address = self.state.addresses.next_at(session.address(), limit);
        limit.next_at(Share::Session, session.rate).max(of_address)
    }

    /// A line, or what stands for it, was recorded.
    pub(super) fn input<O: Deliveries>(&mut self, record: &Record<'_>, out: &mut Out<'_, O>) {
        let (id, now) = (record.session, out.now);
        // A worker that took over may have read it a second time.
        let is_new = |session: &&mut super::Session| session.input_end < record.input_end;
        let Some(session) = self.session_mut(id).filter(is_new) else { return };
        session.input_end = record.input_end;
        session.last_heard = now;
        session.in_long_line = record.fact == Fact::LongLineBegins;
        let (is_waiting, is_udp) = (session.waiting.is_some(), session.is_udp());
        if record.fact == Fact::LongLineEnds {
            return;
        }
        // Over TCP nothing is read before the budget allows it. A datagram can't be left unread.
        if is_udp && self.budget(id, now) == 0 {
            return;
        }
        if let Some(own) = &mut out.own {
            own.earn(record.fact.line_len());
        }
        self.charge(id, 1, out);
        if !self.begin_session(id, record.fact, out) {
            return;
        }
        match is_waiting {
            true => self.keep_for_later(id, record.fact, out),
            false => self.take_input(id, record.fact, out),
        }
    }

    /// Does what a line, or what stands for it, says.
    pub(super) fn take_input<O: Deliveries>(
        &mut self,
        id: SessionId,
        fact: Fact<'_>,
        out: &mut Out<'_, O>,
    ) {
        if let Some(own) = &mut out.own {
            own.begin_answer();
        }
        match self.session(id).map(|session| &session.protocol) {
            Some(ProtocolState::Line(_)) => self.take_line(id, fact, out),
            None => {}
        }
    }

    /// The session's protocol sees its first input, or another one. False if the session is over.
    fn begin_session<O: Deliveries>(
        &mut self,
        id: SessionId,
        fact: Fact<'_>,
        out: &mut Out<'_, O>,
    ) -> bool {
        match self.session(id).map(|session| &session.protocol) {
            Some(ProtocolState::Line(_)) => self.begin_line_session(id, fact, out),
            None => false,
        }
    }

    /// What came together with a connection is all there: its client is one of the chat's.
    pub(super) fn arrive<O: Deliveries>(&mut self, id: SessionId, out: &mut Out<'_, O>) {
        match self.session(id).map(|session| &session.protocol) {
            Some(ProtocolState::Line(_)) => self.register_guest(id, out),
            None => {}
        }
    }

    /// No more input comes: what was begun counts as a line.
    pub(super) fn end_unfinished_line<O: Deliveries>(
        &mut self,
        id: SessionId,
        out: &mut Out<'_, O>,
    ) {
        match self.session(id).map(|session| &session.protocol) {
            Some(ProtocolState::Line(_)) => self.end_begun_line(id, out),
            None => {}
        }
    }

    /// No more input comes. What waits is done first.
    pub(super) fn end_input<O: Deliveries>(&mut self, id: SessionId, out: &mut Out<'_, O>) {
        if let Some(waiting) = self.session_mut(id).and_then(|session| session.waiting.as_mut()) {
            return waiting.end_input();
        }
        self.arrive(id, out);
        self.finish_input(id, out);
    }

    /// Executes an unfinished line, and closes the session when its answer is complete.
    fn finish_input<O: Deliveries>(&mut self, id: SessionId, out: &mut Out<'_, O>) {
        self.end_unfinished_line(id, out);
        match self.session_mut(id).and_then(|session| session.waiting.as_mut()) {
            Some(waiting) => waiting.end_input(),
            None => self.close(id, CloseReason::EndOfInput, out),
        }
    }

    /// Whether a session's input has to wait.
    pub fn is_waiting(&self, id: SessionId) -> bool {
        self.session(id).is_some_and(|session| session.waiting.is_some())
    }

    /// What a session's input waited for is complete: what the session sent meanwhile is done now,
    /// up to the next line after which input waits.
    pub(super) fn end_waiting<O: Deliveries>(&mut self, id: SessionId, out: &mut Out<'_, O>) {
        let Some(session) = self.session_mut(id) else { return };
        let Some(waiting) = session.waiting.take() else { return };
        out.effect(Effect::InputGoesOn { session: id, slot: session.slot });
        let Waiting { lines, has_input_ended, .. } = *waiting;
        let mut lines = lines.into_iter();
        for line in lines.by_ref() {
            self.take_input(id, line.fact(), out);
            let Some(session) = self.session_mut(id) else { return };
            if let Some(waiting) = &mut session.waiting {
                // They were within the bound before.
                lines.for_each(|line| _ = waiting.add(line.fact()));
                waiting.has_input_ended = has_input_ended;
                return;
            }
        }
        if has_input_ended {
            self.finish_input(id, out);
        }
    }

    /// A line of a session whose input has to wait.
    pub(super) fn keep_for_later<O: Deliveries>(
        &mut self,
        id: SessionId,
        fact: Fact<'_>,
        out: &mut Out<'_, O>,
    ) {
        let waiting = self.session_mut(id).and_then(|session| session.waiting.as_mut());
        if waiting.is_some_and(|waiting| !waiting.add(fact)) {
            self.send(id, &Event::Refused { to: None, refusal: Refusal::TooMuchWaiting }, out);
        }
    }

    /// Counts lines against the budgets of a session and of its address.
    pub(super) fn charge<O: Deliveries>(
        &mut self,
        id: SessionId,
        lines: u64,
        out: &mut Out<'_, O>,
    ) {
        let (limit, now) = (self.state.rate_limit, out.now);
        let Some(session) = self.session_mut(id).filter(|_| !limit.is_off()) else { return };
        session.rate = limit.spend(Share::Session, session.rate, lines, now);
        let address = session.address();
        self.charge_address(address, lines, out);
    }

    pub(super) fn charge_address<O: Deliveries>(
        &mut self,
        address: AddressBlock,
        lines: u64,
        out: &mut Out<'_, O>,
    ) {
        if self.state.addresses.spend(address, self.state.rate_limit, lines, out.now) {
            out.effect(Effect::AddressExceeded(address));
        }
    }

    /// Whether a session's address had used its budget before the session's last line. Each of many
    /// sessions is read as far as the budget allows one of them, before what they said is charged.
    pub(super) fn is_address_overdrawn(&self, id: SessionId, now: Micros) -> bool {
        self.session(id).is_some_and(|session| {
            self.state.addresses.is_overdrawn(session.address(), self.state.rate_limit, now)
        })
    }
}
