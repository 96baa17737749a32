//! The chat: a state machine without socket, clock, randomness or thread.
//!
//! Every process that needs the state holds a copy and changes it in one way only: it applies the
//! log's records in the log's order. Nothing is decided before a record is in the log. Whether a
//! nickname is free, a line exceeds the rate, or a session still exists is decided when the record
//! is applied, with the same result in every copy. The same step renders the bytes for the clients,
//! from the state and the record alone, so two copies that serve the same session produce the same
//! bytes for it.
//!
//! ```text
//!  record ──► apply ──► bytes to text (session) ──► text to command ──► decide and apply (commands) ──► notify (tell)
//! ```
//!
//! | file | contents |
//! |---|---|
//! | `record` | the records of the log: facts, each with its session and input offset |
//! | `arrival` | how a session begins: recognised as a client of another protocol, or welcomed |
//! | `session` | one session: its name, rooms and settings; decodes its input |
//! | `rooms` | the rooms and their members |
//! | `commands` | what each command does |
//! | `answers` | long answers, in parts; input that arrives meanwhile |
//! | `history` | data from the journal: earlier lines, topics of earlier runs |
//! | `tell` | renders each event once and passes the bytes to the worker of each session |
//! | `rate` | rate limits of sessions and addresses |
//! | `addresses` | what all sessions of one address have used together |
//! | `allowance` | how many bytes a UDP session may receive for its own lines |

mod addresses;
mod allowance;
mod answers;
mod arrival;
mod commands;
mod history;
mod rate;
mod record;
mod rooms;
mod session;
mod tell;

pub use allowance::CHALLENGE_BYTES;
pub use history::{Answer, AnswerEnd, PastLine, Question};
pub use rate::RateLimit;
pub use record::{CloseReason, Fact, Record, Transport};
pub use session::Session;
pub use tell::{Ending, Forms, Kept, Output};

use addresses::Addresses;
use forkchat_common::address::AddressBlock;
use forkchat_common::event::{Event, Refusal};
use forkchat_common::ids::{Micros, Sequence, SessionId, Slot};
use forkchat_common::limits::{COMMAND_COST_MAX, OPENING_COST};
use forkchat_common::protocol::line::foreign::{recognise, recognise_line};
use forkchat_common::protocol::line::render::Stamp;
use forkchat_common::protocol::line::telnet::Answers;
use rate::Share;
use rooms::Rooms;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tell::Teller;

/// One copy of the chat's state.
#[derive(Debug)]
pub struct Chat {
    rate_limit: RateLimit,
    state: State,
    /// Who has which name, by the name's key. Follows from the sessions.
    nicks: BTreeMap<Box<str>, SessionId>,
    /// Who waits for the journal's answer, by its question's place. Follows from the sessions.
    questions: BTreeMap<Sequence, SessionId>,
    text: String,
}

/// What a snapshot holds. Two copies that applied the same records have the same.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    cells: Vec<Cell>,
    rooms: Rooms,
    addresses: Addresses,
    /// Guests so far: the next one's number is one more.
    guests: u64,
    /// The latest serial number of a UDP session: the worker that opens them takes the next.
    udp_serial: u64,
    /// The server is stopping: no new sessions.
    stopping: bool,
    /// What was kept of earlier runs is here.
    is_restored: bool,
    /// How far the wall clock is ahead of the records' times, in µs.
    clock_ahead: i64,
    /// The process in each worker's slot, as its record says. A slot that is vacant keeps its last:
    /// the next process's record comes before its session's.
    pids: BTreeMap<Slot, u32>,
}

/// A place for one session at a time.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Cell {
    /// The latest that was opened here, whether it is over or not: each session is opened once.
    latest: SessionId,
    session: Option<Box<Session>>,
}

impl State {
    /// The open sessions, by cell.
    fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.cells.iter().filter_map(|cell| cell.session.as_deref())
    }
}

/// A snapshot that can't be read: it comes from another version or is damaged.
#[derive(Debug)]
pub struct BadSnapshot(postcard::Error);

impl std::fmt::Display for BadSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot read the snapshot of the state: {}", self.0)
    }
}

impl Chat {
    /// The empty state, in which every log begins.
    pub fn new(rate_limit: RateLimit) -> Chat {
        Chat {
            rate_limit,
            state: State::default(),
            nicks: BTreeMap::new(),
            questions: BTreeMap::new(),
            text: String::new(),
        }
    }

    /// The state that a snapshot holds.
    pub fn restore(rate_limit: RateLimit, snapshot: &[u8]) -> Result<Chat, BadSnapshot> {
        let mut state: State = postcard::from_bytes(snapshot).map_err(BadSnapshot)?;
        state.rooms.index();
        state.addresses.index();
        let nicks = state
            .sessions()
            .filter(|session| session.is_welcomed)
            .map(|session| (session.nick.key().into(), session.id))
            .collect();
        let asked =
            |session: &Session| session.question().map(|question| (question.at, session.id));
        let questions = state.sessions().filter_map(asked).collect();
        Ok(Chat { rate_limit, state, nicks, questions, text: String::new() })
    }

    /// The state as bytes, for [`Chat::restore`]. Equal states give equal bytes.
    pub fn snapshot(&self) -> Vec<u8> {
        // Serialising into memory fails for no state.
        postcard::to_stdvec(&self.state).unwrap_or_default()
    }

    /// Applies one record, and tells `out` everything that it causes to be said to anyone.
    ///
    /// The records' times measure durations, and never run backwards. What is shown is the wall
    /// clock's time, which is set ahead and back.
    ///
    /// A record whose time is past (a line that was applied before, a fact that no longer holds, a
    /// session that is gone) changes nothing.
    pub fn apply<O: Output>(
        &mut self,
        stamp: Stamp,
        record: &Record<'_>,
        forms: &mut Forms,
        out: &mut O,
    ) {
        if let Fact::Clock { ahead } = record.fact {
            self.state.clock_ahead = ahead;
        }
        let shown = Stamp {
            time: Micros(stamp.time.0.saturating_add_signed(self.state.clock_ahead)),
            ..stamp
        };
        let mut tell = Teller::new(shown, stamp.time, self.author(record), forms, out);
        self.limit_own(record.session, &mut tell);
        match record.fact {
            Fact::Clock { .. } => {}
            Fact::Stopping => self.stop(&mut tell),
            Fact::Opened { slot, transport, peer } => {
                // A worker that takes over may not know that its predecessor has recorded this.
                if !self.was_opened(record.session) {
                    self.open(
                        Session::new(record.session, slot, transport, peer, stamp.time),
                        &mut tell,
                    );
                }
            }
            Fact::Silent { since } => {
                if self.session(record.session).is_some_and(|session| session.last_heard == since) {
                    self.close(record.session, CloseReason::Silent, &mut tell);
                }
            }
            Fact::Closed(CloseReason::EndOfInput) => self.end_input(record.session, &mut tell),
            Fact::Closed(reason) => self.close(record.session, reason, &mut tell),
            Fact::Proved { key } => self.prove(record.session, key, &mut tell),
            Fact::Arrived => {
                self.arrive(record.session, &mut tell);
                self.announce(record.session, &mut tell);
            }
            Fact::Answer(answer) => self.hear_answer(record.session, answer, &mut tell),
            Fact::NextPart { of, parts } => {
                self.send_next_part(record.session, of, parts, &mut tell)
            }
            Fact::Topic { room, topic } => self.restore_topic(room, topic, stamp.id),
            Fact::Restored => self.state.is_restored = true,
            Fact::Configured { rooms_bytes_max } => self.state.rooms.set_bytes_max(rooms_bytes_max),
            Fact::Started { slot, pid } => _ = self.state.pids.insert(slot, pid),
            Fact::Line(_) | Fact::LineBegins(_) | Fact::LongLineBegins | Fact::LongLineEnds => {
                self.hear(record, &mut tell)
            }
        }
        self.keep_own(&tell);
    }

    /// A session that is open.
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.state.cells.get(id.cell())?.session.as_deref().filter(|session| session.id == id)
    }

    /// Whether a session was opened, and is open or over.
    pub fn was_opened(&self, id: SessionId) -> bool {
        self.state.cells.get(id.cell()).is_some_and(|cell| cell.latest >= id)
    }

    /// The open sessions that the worker in `slot` serves, by cell.
    pub fn sessions_of(&self, slot: Slot) -> impl Iterator<Item = &Session> {
        self.state.sessions().filter(move |session| session.slot == slot)
    }

    /// How many lines a session may send at this moment: as many as its own budget and its
    /// address's have left.
    pub fn budget(&self, id: SessionId, now: Micros) -> u64 {
        let Some(session) = self.session(id) else { return 0 };
        if self.rate_limit.is_off() {
            return u64::MAX;
        }
        let of_address = self.state.addresses.allowed(session.address(), self.rate_limit, now);
        self.rate_limit.allowed(Share::Session, session.rate, now).min(of_address)
    }

    /// How many lines of a session may be read at once: so few that the budget lasts even if each
    /// is the costliest command.
    pub fn lines_allowed(&self, id: SessionId, now: Micros) -> u64 {
        match self.budget(id, now) {
            u64::MAX => u64::MAX,
            budget => (budget / COMMAND_COST_MAX).max(budget.min(1)),
        }
    }

    /// When a session may send its next line.
    pub fn next_line_at(&self, id: SessionId) -> Micros {
        let Some(session) = self.session(id) else { return Micros(0) };
        let of_address = self.state.addresses.next_at(session.address(), self.rate_limit);
        self.rate_limit.next_at(Share::Session, session.rate).max(of_address)
    }

    /// The latest serial number that a UDP session was given.
    pub fn udp_serial(&self) -> u64 {
        self.state.udp_serial
    }

    /// How far the wall clock is ahead of the records' times, in µs, as far as it is recorded.
    pub fn clock_ahead(&self) -> i64 {
        self.state.clock_ahead
    }

    /// What all rooms and topics together may take, in bytes, as far as it is recorded.
    pub fn rooms_bytes_max(&self) -> u64 {
        self.state.rooms.bytes_max()
    }

    /// Whether the server ends.
    pub fn is_stopping(&self) -> bool {
        self.state.stopping
    }

    /// The worker that serves the session which a record is about.
    fn author(&self, record: &Record<'_>) -> Option<Slot> {
        match record.fact {
            Fact::Opened { slot, .. } => Some(slot),
            _ => self.session(record.session).map(|session| session.slot),
        }
    }

    fn session_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.state
            .cells
            .get_mut(id.cell())?
            .session
            .as_deref_mut()
            .filter(|session| session.id == id)
    }

    fn open<O: Output>(&mut self, mut session: Session, tell: &mut Teller<'_, O>) {
        let id = session.id;
        if self.state.cells.len() <= id.cell() {
            self.state.cells.resize_with(id.cell() + 1, Cell::default);
        }
        // A cell is given again only when its last session is closed; should that ever fail, the
        // old one goes.
        if let Some(old) = self.state.cells[id.cell()].session.as_ref().map(|old| old.id) {
            self.close(old, CloseReason::WorkerDied, tell);
        }
        if session.is_udp() {
            // Its cookie was good.
            session.allowance.prove(tell.now);
            self.state.udp_serial = self.state.udp_serial.max(id.serial());
        }
        let address = session.address();
        self.state.addresses.open(address, tell.now);
        self.spend(address, OPENING_COST, tell);
        let is_proven = session.is_udp();
        tell.out.opened(&session);
        self.state.cells[id.cell()] = Cell { latest: id, session: Some(Box::new(session)) };
        self.limit_own(id, tell);
        if self.state.stopping {
            self.tell_one(id, &Event::Stopping, tell);
            self.remove(id, Ending::Finish, tell);
            return;
        }
        // A client over UDP has repeated a cookie, as no other protocol's does.
        if is_proven {
            self.arrive(id, tell);
        }
    }

    /// A line, or what stands for it, was recorded.
    fn hear<O: Output>(&mut self, record: &Record<'_>, tell: &mut Teller<'_, O>) {
        let (id, time) = (record.session, tell.now);
        // A worker that took over may have read it a second time.
        let Some(session) =
            self.session_mut(id).filter(|session| session.input_end < record.input_end)
        else {
            return;
        };
        session.input_end = record.input_end;
        session.last_heard = time;
        session.in_long_line = record.fact == Fact::LongLineBegins;
        let (is_waiting, is_udp) = (session.waiting.is_some(), session.is_udp());
        let is_at_beginning = !is_udp && session.is_at_beginning();
        if record.fact == Fact::LongLineEnds {
            return;
        }
        // Over TCP nothing is read before the budget allows it. A datagram can't be left unread.
        if is_udp && self.budget(id, time) == 0 {
            return;
        }
        if let Some(own) = &mut tell.own {
            own.earn(record.fact.line_len());
        }
        self.charge(id, 1, tell);
        let protocol = match record.fact {
            Fact::Line(bytes) if is_at_beginning => recognise_line(bytes),
            Fact::LineBegins(bytes) if is_at_beginning => recognise(bytes),
            _ => None,
        };
        if let Some(protocol) = protocol {
            return self.dismiss_foreign(id, protocol, tell);
        }
        self.arrive(id, tell);
        match is_waiting {
            true => self.keep_for_later(id, record.fact, tell),
            false => self.take_line(id, record.fact, tell),
        }
    }

    /// Does what a line, or what stands for it, says.
    fn take_line<O: Output>(&mut self, id: SessionId, fact: Fact<'_>, tell: &mut Teller<'_, O>) {
        if let Some(own) = &mut tell.own {
            own.begin_answer();
        }
        let Some(session) = self.session_mut(id) else { return };
        match fact {
            Fact::Line(bytes) => self.hear_line(id, bytes, tell),
            Fact::LineBegins(bytes) => {
                let answers = session.hold(bytes);
                self.answer_telnet(id, &answers, tell);
            }
            Fact::LongLineBegins => {
                session.forget_begun_line();
                session.has_spoken = true;
                self.tell_one(
                    id,
                    &Event::Refused { to: None, refusal: Refusal::LineTooLong },
                    tell,
                );
            }
            _ => {}
        }
    }

    /// Counts lines against the budgets of a session and of its address.
    fn charge<O: Output>(&mut self, id: SessionId, lines: u64, tell: &mut Teller<'_, O>) {
        let (limit, time) = (self.rate_limit, tell.now);
        let Some(session) = self.session_mut(id).filter(|_| !limit.is_off()) else { return };
        session.rate = limit.spend(Share::Session, session.rate, lines, time);
        let address = session.address();
        self.spend(address, lines, tell);
    }

    /// Whether a session's address had used its budget before the session's last line. Each of many
    /// sessions is read as far as the budget allows one of them, before what they said is charged.
    fn is_address_overdrawn(&self, id: SessionId, now: Micros) -> bool {
        self.session(id).is_some_and(|session| {
            self.state.addresses.is_overdrawn(session.address(), self.rate_limit, now)
        })
    }

    fn spend<O: Output>(&mut self, address: AddressBlock, lines: u64, tell: &mut Teller<'_, O>) {
        if self.state.addresses.spend(address, self.rate_limit, lines, tell.now) {
            tell.out.exceeded(address);
        }
    }

    /// No more input comes. What waits for an answer is done first.
    fn end_input<O: Output>(&mut self, id: SessionId, tell: &mut Teller<'_, O>) {
        if let Some(waiting) = self.session_mut(id).and_then(|session| session.waiting.as_mut()) {
            return waiting.end_input();
        }
        self.arrive(id, tell);
        self.hear_last_line(id, tell);
        self.close(id, CloseReason::EndOfInput, tell);
    }

    /// A line's bytes, or their end if the beginning was recorded before.
    fn hear_line<O: Output>(&mut self, id: SessionId, bytes: &[u8], tell: &mut Teller<'_, O>) {
        let (mut text, mut answers) = (std::mem::take(&mut self.text), Answers::default());
        text.clear();
        let read = self
            .session_mut(id)
            .map_or(Ok(false), |session| session.read_line(bytes, &mut text, &mut answers));
        self.answer_telnet(id, &answers, tell);
        if let Some(session) = self.session_mut(id) {
            session.has_spoken |= !text.trim().is_empty();
        }
        match read {
            Ok(true) => self.obey(id, &text, tell),
            Ok(false) => {}
            Err(refusal) => self.tell_one(id, &Event::Refused { to: None, refusal }, tell),
        }
        self.text = text;
    }

    /// At the end of input a line counts without its LF, also one of which the beginning was
    /// recorded and nothing follows.
    fn hear_last_line<O: Output>(&mut self, id: SessionId, tell: &mut Teller<'_, O>) {
        if self.session_mut(id).is_some_and(Session::end_begun_line) {
            self.hear_line(id, b"", tell);
        }
    }

    /// Tells the rooms that a session is in of its arrival, unless they know.
    fn announce<O: Output>(&mut self, id: SessionId, tell: &mut Teller<'_, O>) {
        let Some(session) = self.session_mut(id).filter(|session| !session.announced) else {
            return;
        };
        session.announced = true;
        let Some(session) = self.session(id) else { return };
        for &room in &session.rooms {
            let room = self.state.rooms.get(room);
            self.tell_room(
                room,
                Some(id),
                &Event::Joined { room: room.name.as_str(), nick: session.nick.as_str() },
                tell,
            );
        }
    }

    fn close<O: Output>(&mut self, id: SessionId, reason: CloseReason, tell: &mut Teller<'_, O>) {
        if self.session(id).is_none() {
            return;
        }
        if let Some(reason) = reason.farewell() {
            self.tell_one(id, &Event::Dismissed { reason }, tell);
        }
        self.tell_quit(id, reason.as_str(), tell);
        let ending = if reason == CloseReason::TooSlow { Ending::Drop } else { Ending::Finish };
        self.remove(id, ending, tell);
    }

    /// Tells everyone who shares a room with it, if they ever heard of it.
    fn tell_quit<O: Output>(&self, id: SessionId, reason: &str, tell: &mut Teller<'_, O>) {
        if let Some(session) = self.session(id).filter(|session| session.announced) {
            self.tell_neighbours(
                session,
                &Event::Quit { nick: session.nick.as_str(), reason },
                tell,
            );
        }
    }

    /// Takes a session out of the state.
    fn remove<O: Output>(&mut self, id: SessionId, ending: Ending, tell: &mut Teller<'_, O>) {
        let Some(session) =
            self.state.cells.get_mut(id.cell()).and_then(|cell| cell.session.take())
        else {
            return;
        };
        for &room in &session.rooms {
            self.state.rooms.leave(room, id, tell.stamp.id, &mut self.state.addresses);
        }
        self.state.addresses.close(session.address());
        // Before its welcome its name isn't its own.
        if session.is_welcomed {
            self.nicks.remove(session.nick.key());
        }
        if let Some(question) = session.question() {
            self.questions.remove(&question.at);
        }
        tell.out.closed(id, session.slot, ending);
    }

    fn stop<O: Output>(&mut self, tell: &mut Teller<'_, O>) {
        self.state.stopping = true;
        // It is to store the last that was said.
        tell.out.asked();
        let everyone: Vec<SessionId> = self.state.sessions().map(|session| session.id).collect();
        for id in everyone {
            self.tell_one(id, &Event::Stopping, tell);
            self.remove(id, Ending::Finish, tell);
        }
    }
}

#[cfg(test)]
mod tests;
