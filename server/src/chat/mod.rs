//! The chat: a state machine without socket, clock, randomness or thread.
//!
//! Every process that needs the state holds a replica and changes it in one way only: it applies
//! the log's records in the log's order. Replicas decide nothing before a record is in the log:
//! whether a nickname is free, a line exceeds the rate, or a session still exists is decided when
//! the record is applied. Every replica comes to the same result. The same step renders the bytes
//! for the clients, from the state and the record alone, so two replicas that serve the same
//! session produce the same bytes for it.
//!
//! ```text
//!  record ─► apply ─► input, counted ─► the session's protocol (line/) parses it
//!                                                 │
//!                                                 ▼ explicit rooms and nicknames
//!                   state ◄───────── talk, membership, history: shared by all protocols
//!                                                 │
//!                          effects ◄──────────────┴───► Event ─► bytes in each form ─► outboxes
//! ```
//!
//! | file | contents |
//! |---|---|
//! | `record` | the records of the log: facts, each with its session and input offset |
//! | `input` | a session's input: each line is counted once and passed to the session's protocol |
//! | `line` | the line protocol's sessions: text, commands, answers |
//! | `session` | one session, without the parts that belong to its protocol |
//! | `rooms` | the rooms and their members |
//! | `talk`, `membership` | messages; names, joins, topics: operations that all protocols share |
//! | `request` | requests to services and their answers, as values |
//! | `requests`, `history` | data that only the journal has: earlier lines, topics of earlier runs |
//! | `lists` | lists that are sent in parts |
//! | `waiting` | the reason why a session's input waits, and the waiting input |
//! | `message`, `form`, `deliver` | messages, rendered once for each form, for the outboxes |
//! | `effect` | the other effects of a record, as values |
//! | `rate` | rate limits of sessions and addresses |
//! | `addresses` | the resources that the sessions of each address use together |
//! | `allowance`, `answer_limit` | how many bytes a UDP session may receive for its own lines |
//! | `snapshot` | the serialised state, by version |

mod addresses;
mod allowance;
mod answer_limit;
mod cells;
mod deliver;
mod effect;
mod form;
mod history;
mod input;
mod line;
mod lists;
mod membership;
mod message;
mod rate;
mod record;
mod request;
mod requests;
mod rooms;
mod session;
mod snapshot;
mod talk;
mod waiting;

pub use allowance::CHALLENGE_BYTES;
pub use deliver::Deliveries;
pub use effect::{Effect, Ending, HistoryEntry};
pub use form::RenderCache;
pub use rate::RateLimit;
pub use record::{CloseReason, Fact, Record, Transport};
pub use request::{Answer, HistoryPart, HistoryRequest, Part, PartEnd, PastLine, Query, Request};
pub use session::Session;
pub use snapshot::BadSnapshot;

use addresses::Addresses;
use cells::Cells;
use deliver::Out;
use forkchat_common::event::{Event, Stamp};
use forkchat_common::ids::{Micros, SessionId, Slot};
use forkchat_common::limits::OPENING_COST;
use requests::Requests;
use rooms::Rooms;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One replica of the chat's state.
#[derive(Debug, Default)]
pub struct Chat {
    state: State,
    /// The sessions by the key of their nickname. Follows from the sessions.
    nicks: BTreeMap<Box<str>, SessionId>,
    text: String,
}

/// The contents of a snapshot. Replicas that applied the same records have equal states.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    cells: Cells,
    rooms: Rooms,
    addresses: Addresses,
    requests: Requests,
    /// `--rate-limit`; no limit until a [`Fact::Configured`] sets it.
    rate_limit: RateLimit,
    /// The number of the latest guest name.
    guests: u64,
    /// The latest serial number of a UDP session. The worker that opens UDP sessions uses the next
    /// number.
    udp_serial: u64,
    /// The server is stopping: no new sessions.
    stopping: bool,
    /// The topics of earlier runs are restored.
    is_restored: bool,
    /// How far the wall clock is ahead of the records' times, in µs.
    clock_ahead: i64,
    /// The pid of each worker, by slot, from [`Fact::Started`]. A vacant slot keeps the pid of its
    /// last worker. The next worker appends its own `Started` before any record of its sessions.
    pids: BTreeMap<Slot, u32>,
}

impl Chat {
    /// Applies one record. Passes the resulting messages to `deliveries`, and appends the other
    /// effects to `effects`. The caller must carry these out before it applies the next record.
    ///
    /// The times of records never run backwards and are used for durations. Clients see the time of
    /// the wall clock, which may be set ahead or back.
    ///
    /// An outdated record changes nothing: a line that was applied before, a fact that no longer
    /// holds, or a record of a closed session.
    pub fn apply<O: Deliveries>(
        &mut self,
        stamp: Stamp,
        record: &Record<'_>,
        cache: &mut RenderCache,
        deliveries: &mut O,
        effects: &mut Vec<Effect>,
    ) {
        if let Fact::Clock { ahead } = record.fact {
            self.state.clock_ahead = ahead;
        }
        let time = Micros(stamp.time.0.saturating_add_signed(self.state.clock_ahead));
        let (shown, author) = (Stamp { time, ..stamp }, self.author(record));
        let mut out = Out::new(shown, stamp.time, author, cache, deliveries, effects);
        self.limit_answers(record.session, &mut out);
        match record.fact {
            Fact::Line(_) | Fact::LineBegins(_) | Fact::LongLineBegins | Fact::LongLineEnds => {
                self.input(record, &mut out);
            }
            fact => self.apply_fact(record.session, fact, &mut out),
        }
        self.save_allowance(&out);
    }

    fn apply_fact<O: Deliveries>(&mut self, id: SessionId, fact: Fact<'_>, out: &mut Out<'_, O>) {
        match fact {
            Fact::Opened { slot, origin, transport } => {
                // After a takeover the successor may not know that its predecessor recorded this
                // already.
                if !self.was_opened(id) {
                    self.open(Session::new(id, slot, origin, transport, out.now), out);
                }
            }
            Fact::Arrived => {
                self.arrive(id, out);
                self.announce(id, out);
            }
            Fact::Moved { to } => self.move_session(id, to),
            Fact::Silent { since } => {
                if self.session(id).is_some_and(|session| session.last_received == since) {
                    self.close(id, CloseReason::Silent, out);
                }
            }
            Fact::Closed(CloseReason::EndOfInput) => self.end_input(id, out),
            Fact::Closed(reason) => self.close(id, reason, out),
            Fact::Proved { key } => self.prove(id, key, out),
            Fact::Answer(answer) => self.apply_answer(answer, out),
            Fact::NextPart { of, parts } => self.send_next_part(id, of, parts, out),
            Fact::Topic { room, topic } => self.restore_topic(room, topic, out.stamp.id),
            Fact::Restored => self.state.is_restored = true,
            Fact::Configured { rooms_bytes_max, rate_limit } => {
                self.state.rooms.set_bytes_max(rooms_bytes_max);
                self.state.rate_limit = rate_limit;
            }
            Fact::Started { slot, pid } => _ = self.state.pids.insert(slot, pid),
            Fact::Stopping => self.stop(out),
            // `apply` handles the clock before it makes the stamp, and passes input to `input`.
            Fact::Clock { .. }
            | Fact::Line(_)
            | Fact::LineBegins(_)
            | Fact::LongLineBegins
            | Fact::LongLineEnds => {}
        }
    }

    /// An open session; `None` if it is closed or was never opened.
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.state.cells.get(id)
    }

    /// Whether a session was opened. Stays true after the session is closed.
    pub fn was_opened(&self, id: SessionId) -> bool {
        self.state.cells.was_opened(id)
    }

    /// The open sessions that the worker in `slot` serves, in the order of their cells.
    pub fn sessions_of(&self, slot: Slot) -> impl Iterator<Item = &Session> {
        self.state.cells.sessions().filter(move |session| session.slot == slot)
    }

    /// The latest serial number of a UDP session; 0 before the first.
    pub fn udp_serial(&self) -> u64 {
        self.state.udp_serial
    }

    /// How far the wall clock is ahead of the records' times, in µs, by the latest [`Fact::Clock`].
    pub fn clock_ahead(&self) -> i64 {
        self.state.clock_ahead
    }

    /// The memory that all rooms and topics together may use, in bytes, by the latest
    /// [`Fact::Configured`].
    pub fn rooms_bytes_max(&self) -> u64 {
        self.state.rooms.bytes_max()
    }

    /// The rate limit, by the latest [`Fact::Configured`].
    pub fn rate_limit(&self) -> RateLimit {
        self.state.rate_limit
    }

    /// Whether the server is stopping.
    pub fn is_stopping(&self) -> bool {
        self.state.stopping
    }

    /// The worker that serves the record's session.
    fn author(&self, record: &Record<'_>) -> Option<Slot> {
        match record.fact {
            Fact::Opened { slot, .. } => Some(slot),
            _ => self.session(record.session).map(|session| session.slot),
        }
    }

    fn session_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.state.cells.get_mut(id)
    }

    fn open<O: Deliveries>(&mut self, mut session: Session, out: &mut Out<'_, O>) {
        let id = session.id;
        // A cell is reused only after its last session is closed. If this should ever fail, the old
        // session is closed here.
        if let Some(old) = self.state.cells.holder(id) {
            self.close(old, CloseReason::WorkerDied, out);
        }
        if session.is_udp() {
            // The worker has checked the client's cookie.
            session.allowance.prove(out.now);
            self.state.udp_serial = self.state.udp_serial.max(id.serial());
        }
        let (address, slot) = (session.address(), session.slot);
        self.state.addresses.open(address, out.now);
        self.charge_address(address, OPENING_COST, out);
        out.deliveries.opened(id, slot);
        let path = session.path();
        if let Some(path) = path {
            out.effect(Effect::Reachable { session: id, slot, path });
        }
        self.state.cells.insert(session);
        self.limit_answers(id, out);
        if self.state.stopping {
            self.send(id, &Event::Stopping, out);
            self.remove(id, Ending::Finish, out);
            return;
        }
        // A UDP client has returned a cookie, so it does not speak another protocol.
        if path.is_some() {
            self.arrive(id, out);
        }
    }

    fn close<O: Deliveries>(&mut self, id: SessionId, reason: CloseReason, out: &mut Out<'_, O>) {
        if self.session(id).is_none() {
            return;
        }
        if let Some(why) = reason.dismissal() {
            self.send(id, &Event::Dismissed { why }, out);
        }
        self.send_quit(id, reason.as_str(), out);
        let ending = if reason == CloseReason::TooSlow { Ending::Drop } else { Ending::Finish };
        self.remove(id, ending, out);
    }

    /// Removes a session from the state.
    fn remove<O: Deliveries>(&mut self, id: SessionId, ending: Ending, out: &mut Out<'_, O>) {
        let Some(session) = self.state.cells.take(id) else { return };
        for &room in &session.rooms {
            self.state.rooms.leave(room, id, out.stamp.id, &mut self.state.addresses);
        }
        self.state.addresses.close(session.address());
        // Before its registration a session has a placeholder name, which is not in `nicks`.
        if session.is_registered {
            self.nicks.remove(session.nick.key());
        }
        self.drop_requests(id, session.requests);
        out.effect(Effect::Closed { session: id, slot: session.slot, ending });
    }

    fn stop<O: Deliveries>(&mut self, out: &mut Out<'_, O>) {
        self.state.stopping = true;
        // This wakes the journal, which must store the last lines.
        out.effect(Effect::Requested);
        let everyone: Vec<SessionId> =
            self.state.cells.sessions().map(|session| session.id).collect();
        for id in everyone {
            self.send(id, &Event::Stopping, out);
            self.remove(id, Ending::Finish, out);
        }
    }
}

#[cfg(test)]
impl Chat {
    /// Applies a record and returns its effects.
    pub fn effects_of<O: Deliveries>(
        &mut self,
        stamp: Stamp,
        record: &Record<'_>,
        deliveries: &mut O,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.apply(stamp, record, &mut RenderCache::default(), deliveries, &mut effects);
        effects
    }
}

#[cfg(test)]
mod tests;
