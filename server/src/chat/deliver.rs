//! Delivery: renders a message once for each form, and passes the bytes to the outbox of each
//! receiving session.

use super::allowance::AnswerBudget;
use super::effect::{Effect, HistoryEntry};
use super::form::RenderCache;
use super::message::Message;
use super::rooms::{Member, Room};
use super::{Chat, Session};
use forkchat_common::event::{Event, Stamp};
use forkchat_common::ids::{Micros, Sequence, SessionId, Slot};

/// The receiver of deliveries: the outboxes of the process that applies the records. This is the
/// hot path, with a call for each receiver of each line. All other results of a record are
/// [`Effect`]s.
pub trait Deliveries {
    /// Starts a record: all following calls result from the record at this log position.
    fn record(&mut self, at: Sequence) {
        let _ = at;
    }

    /// Starts a record's deliveries. `author` is the worker that serves the record's session; `None`
    /// if the record belongs to no open session. It appended the record, except for an answer, which
    /// the journal appends.
    fn begin(&mut self, author: Option<Slot>) {
        let _ = author;
    }

    /// A session opened, which the worker in `slot` serves. No call for this session comes before
    /// this one.
    fn opened(&mut self, session: SessionId, slot: Slot) {
        let _ = (session, slot);
    }

    /// Whether this process wants the bytes for a session that the worker in `slot` serves. The
    /// call is made for every receiver, so the implementation also learns which workers have output
    /// to send.
    fn wants(&mut self, session: SessionId, slot: Slot) -> bool;

    /// Delivers bytes to a session.
    fn deliver(&mut self, session: SessionId, bytes: &[u8]);

    /// The session would have received bytes, but output for this record is muted.
    fn muted(&mut self, session: SessionId, slot: Slot) {
        let _ = (session, slot);
    }

    /// Whether this process wants [`Effect::Store`]. Its values are copies, so they are only made
    /// on demand.
    fn stores_history(&self) -> bool {
        false
    }
}

/// The outputs of the record that is being applied.
pub(super) struct Out<'a, O> {
    /// The id and time that clients see. The time is the wall clock's, which may be set back.
    pub stamp: Stamp,
    /// The record's time in the log, for durations and rates. It never runs backwards.
    pub now: Micros,
    /// The record's session, if its answers are limited.
    pub budget: Option<AnswerBudget>,
    pub deliveries: &'a mut O,
    effects: &'a mut Vec<Effect>,
    cache: &'a mut RenderCache,
}

impl<'a, O: Deliveries> Out<'a, O> {
    pub fn new(
        stamp: Stamp,
        now: Micros,
        author: Option<Slot>,
        cache: &'a mut RenderCache,
        deliveries: &'a mut O,
        effects: &'a mut Vec<Effect>,
    ) -> Self {
        deliveries.begin(author);
        Out { stamp, now, budget: None, deliveries, effects, cache }
    }

    /// Appends an effect.
    pub fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Appends a history entry, if this process wants history.
    pub fn store(&mut self, entry: impl FnOnce(Stamp) -> HistoryEntry) {
        if self.deliveries.stores_history() {
            self.effects.push(Effect::Store(entry(self.stamp)));
        }
    }

    /// Starts another message: discards the rendered bytes of the last one.
    pub fn begin(&mut self) {
        self.cache.begin();
    }

    /// Delivers a message to a session that this process serves.
    pub fn deliver(&mut self, session: &Session, message: Message<'_>) {
        let bytes = self.cache.bytes(session.form(), message, self.stamp);
        self.deliveries.deliver(session.id, bytes);
    }

    /// The size of the message for a session, in bytes, including the largest datagram number.
    pub fn bytes_max(&mut self, session: &Session, message: Message<'_>) -> usize {
        let form = session.form();
        self.cache.bytes(form, message, self.stamp).len() + form.datagram_tag_bytes_max()
    }
}

impl Chat {
    /// Sends an event to a session.
    pub(super) fn send<O: Deliveries>(
        &self,
        id: SessionId,
        event: &Event<'_>,
        out: &mut Out<'_, O>,
    ) {
        self.send_message(id, Message::Event(event), out);
    }

    /// Sends a message to a session.
    pub(super) fn send_message<O: Deliveries>(
        &self,
        id: SessionId,
        message: Message<'_>,
        out: &mut Out<'_, O>,
    ) {
        let Some(session) = self.session(id) else { return };
        out.begin();
        // `may_send` changes the state, so every replica calls it, whether it serves the session or
        // not.
        if out.may_send(session, message) && out.deliveries.wants(id, session.slot) {
            out.deliver(session, message);
        }
    }

    /// Sends an event to all members of a room except `except`.
    pub(super) fn send_room<O: Deliveries>(
        &self,
        room: &Room,
        except: Option<SessionId>,
        event: &Event<'_>,
        out: &mut Out<'_, O>,
    ) {
        self.send_each(&room.members, except, event, out);
    }

    /// Sends an event once to each other session that shares a room with `session`.
    pub(super) fn send_neighbours<O: Deliveries>(
        &self,
        session: &Session,
        event: &Event<'_>,
        out: &mut Out<'_, O>,
    ) {
        if let [room] = session.rooms[..] {
            return self.send_room(self.state.rooms.get(room), Some(session.id), event, out);
        }
        let rooms = session.rooms.iter().map(|&room| self.state.rooms.get(room));
        let mut neighbours: Vec<Member> = rooms.flat_map(|room| &room.members).copied().collect();
        neighbours.sort_unstable();
        neighbours.dedup();
        self.send_each(&neighbours, Some(session.id), event, out);
    }

    fn send_each<O: Deliveries>(
        &self,
        members: &[Member],
        except: Option<SessionId>,
        event: &Event<'_>,
        out: &mut Out<'_, O>,
    ) {
        out.begin();
        let message = Message::Event(event);
        let limited = out.budget.map(|budget| budget.session);
        let is_limited = |session| limited == Some(session);
        for &Member { session, slot } in members {
            if Some(session) != except
                && (!event.is_presence()
                    || self.session(session).is_some_and(Session::wants_presence))
                && (!is_limited(session)
                    || self.session(session).is_some_and(|session| out.may_send(session, message)))
                && out.deliveries.wants(session, slot)
                && let Some(session) = self.session(session)
            {
                out.deliver(session, message);
            }
        }
    }
}
