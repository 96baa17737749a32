//! A session's input. Each line is processed once, counted against the budgets, and passed to the
//! session's protocol.

use super::Chat;
use super::deliver::{Deliveries, Out};
use super::effect::Effect;
use super::rate::BucketOwner;
use super::record::{CloseReason, Fact, Record};
use super::session::ProtocolState;
use super::waiting::Waiting;
use forkchat_common::address::AddressBlock;
use forkchat_common::event::{Event, Refusal};
use forkchat_common::ids::{Micros, SessionId};
use forkchat_common::limits::COMMAND_COST_MAX;

impl Chat {
    /// How many lines a session may send at `now`: the smaller of what its own budget and its
    /// address's allow. [`u64::MAX`] if there is no limit.
    pub fn budget(&self, id: SessionId, now: Micros) -> u64 {
        let Some(session) = self.session(id) else { return 0 };
        let limit = self.state.rate_limit;
        if limit.is_off() {
            return u64::MAX;
        }
        let of_address = self.state.addresses.allowed(session.address(), limit, now);
        limit.allowed(BucketOwner::Session, session.rate, now).min(of_address)
    }

    /// How many lines of a session a worker may read at once: so few that the budget suffices even
    /// if each is the most expensive command.
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
        limit.next_at(BucketOwner::Session, session.rate).max(of_address)
    }

    /// Applies a record of input: a line, or a part of one.
    pub(super) fn input<O: Deliveries>(&mut self, record: &Record<'_>, out: &mut Out<'_, O>) {
        let (id, now) = (record.session, out.now);
        // After a takeover the successor may have read and recorded it a second time.
        let is_new = |session: &&mut super::Session| session.input_end < record.input_end;
        let Some(session) = self.session_mut(id).filter(is_new) else { return };
        session.input_end = record.input_end;
        session.last_received = now;
        session.in_long_line = record.fact == Fact::LongLineBegins;
        let (is_waiting, is_udp) = (session.waiting.is_some(), session.is_udp());
        if record.fact == Fact::LongLineEnds {
            return;
        }
        // Over TCP a worker reads only as much as the budget allows. A datagram can't be left
        // unread, so it is dropped.
        if is_udp && self.budget(id, now) == 0 {
            return;
        }
        if let Some(budget) = &mut out.budget {
            budget.earn(record.fact.line_len());
        }
        self.charge(id, 1, out);
        if !self.begin_session(id, record.fact, out) {
            return;
        }
        match is_waiting {
            true => self.queue_input(id, record.fact, out),
            false => self.process_input(id, record.fact, out),
        }
    }

    /// Processes a line, or a part of one.
    pub(super) fn process_input<O: Deliveries>(
        &mut self,
        id: SessionId,
        fact: Fact<'_>,
        out: &mut Out<'_, O>,
    ) {
        if let Some(budget) = &mut out.budget {
            budget.begin_answer();
        }
        match self.session(id).map(|session| &session.protocol) {
            Some(ProtocolState::Line(_)) => self.process_line(id, fact, out),
            None => {}
        }
    }

    /// Passes input to the session's protocol, which may register the session. False if the session
    /// was closed.
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

    /// Registers a session, unless its first line has done so.
    pub(super) fn arrive<O: Deliveries>(&mut self, id: SessionId, out: &mut Out<'_, O>) {
        match self.session(id).map(|session| &session.protocol) {
            Some(ProtocolState::Line(_)) => self.register_guest(id, out),
            None => {}
        }
    }

    /// Processes an unfinished last line, at the end of input.
    pub(super) fn finish_input_line<O: Deliveries>(&mut self, id: SessionId, out: &mut Out<'_, O>) {
        match self.session(id).map(|session| &session.protocol) {
            Some(ProtocolState::Line(_)) => self.finish_partial_line(id, out),
            None => {}
        }
    }

    /// Ends a session at the end of its input, after its waiting input.
    pub(super) fn end_input<O: Deliveries>(&mut self, id: SessionId, out: &mut Out<'_, O>) {
        if let Some(waiting) = self.session_mut(id).and_then(|session| session.waiting.as_mut()) {
            return waiting.end_input();
        }
        self.arrive(id, out);
        self.finish_input(id, out);
    }

    /// Processes an unfinished last line, and closes the session once its answer is complete.
    fn finish_input<O: Deliveries>(&mut self, id: SessionId, out: &mut Out<'_, O>) {
        self.finish_input_line(id, out);
        match self.session_mut(id).and_then(|session| session.waiting.as_mut()) {
            Some(waiting) => waiting.end_input(),
            None => self.close(id, CloseReason::EndOfInput, out),
        }
    }

    /// Whether a session's input must wait.
    pub fn is_waiting(&self, id: SessionId) -> bool {
        self.session(id).is_some_and(|session| session.waiting.is_some())
    }

    /// Processes the waiting input of a session after the awaited answer is complete. Stops after a
    /// line for whose answer the input must wait again.
    pub(super) fn resume_input<O: Deliveries>(&mut self, id: SessionId, out: &mut Out<'_, O>) {
        let Some(session) = self.session_mut(id) else { return };
        let Some(waiting) = session.waiting.take() else { return };
        out.effect(Effect::InputResumed { session: id, slot: session.slot });
        let Waiting { lines, has_input_ended, .. } = *waiting;
        let mut lines = lines.into_iter();
        for line in lines.by_ref() {
            self.process_input(id, line.fact(), out);
            let Some(session) = self.session_mut(id) else { return };
            if let Some(waiting) = &mut session.waiting {
                // They fitted before, so they fit again.
                lines.for_each(|line| _ = waiting.add(line.fact()));
                waiting.has_input_ended = has_input_ended;
                return;
            }
        }
        if has_input_ended {
            self.finish_input(id, out);
        }
    }

    /// Appends a line to a session's waiting input, or refuses it.
    pub(super) fn queue_input<O: Deliveries>(
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
        session.rate = limit.spend(BucketOwner::Session, session.rate, lines, now);
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

    /// Whether a session's address had used up its budget before the session's last line. This can
    /// happen: workers read each of several sessions as far as the budget allows one of them,
    /// before the lines are charged.
    pub(super) fn is_address_overdrawn(&self, id: SessionId, now: Micros) -> bool {
        self.session(id).is_some_and(|session| {
            self.state.addresses.is_overdrawn(session.address(), self.state.rate_limit, now)
        })
    }
}
