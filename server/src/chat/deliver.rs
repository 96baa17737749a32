//! Delivering: a message is rendered once for each form, and passed to the outbox of each session
//! that receives it.

use super::allowance::Own;
use super::effect::{Effect, HistoryEntry};
use super::form::RenderCache;
use super::message::Message;
use super::rooms::{Member, Room};
use super::{Chat, Session};
use forkchat_common::event::{Event, Stamp};
use forkchat_common::ids::{Micros, Sequence, SessionId, Slot};

/// Where deliveries go: the outboxes of the process that applies the records. This is the hot path,
/// with a call for each receiver of each line. Everything else that a record causes is an [`Effect`].
pub trait Deliveries {
    /// All following calls result from the record at this position in the log.
    fn record(&mut self, at: Sequence) {
        let _ = at;
    }

    /// `author` is the worker that serves the session of the record, and that appended it; `None` if
    /// the record belongs to no open session.
    fn begin(&mut self, author: Option<Slot>) {
        let _ = author;
    }

    /// A session, served by the worker in `slot`, has begun. It has received nothing before.
    fn opened(&mut self, session: SessionId, slot: Slot) {
        let _ = (session, slot);
    }

    /// Whether the bytes for a session, served by the worker in `slot`, are wanted here. It is called
    /// for every receiver, so it also shows which workers have sessions to notify.
    fn wants(&mut self, session: SessionId, slot: Slot) -> bool;

    /// The session receives these bytes.
    fn deliver(&mut self, session: SessionId, bytes: &[u8]);

    /// The session would have received bytes, but output for this record is muted.
    fn muted(&mut self, session: SessionId, slot: Slot) {
        let _ = (session, slot);
    }

    /// Whether [`Effect::Keep`] is wanted here: its values are copies.
    fn keeps_history(&self) -> bool {
        false
    }
}

/// Where everything goes that follows from the record which is being applied.
pub(super) struct Out<'a, O> {
    /// What is shown with a message: its time is the wall clock's, which may be set back.
    pub stamp: Stamp,
    /// The record's own time, for durations and rates: it never runs backwards.
    pub now: Micros,
    /// The session whose record is applied, if what it is sent for that is limited.
    pub own: Option<Own>,
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
        Out { stamp, now, own: None, deliveries, effects, cache }
    }

    /// One more effect.
    pub fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// The history has one more entry, which is only made where it is wanted.
    pub fn keep(&mut self, entry: impl FnOnce(Stamp) -> HistoryEntry) {
        if self.deliveries.keeps_history() {
            self.effects.push(Effect::Keep(entry(self.stamp)));
        }
    }

    /// The next message is another one: nothing of it is rendered yet.
    pub fn begin(&mut self) {
        self.cache.begin();
    }

    /// Delivers to a session that is served here.
    pub fn deliver(&mut self, session: &Session, message: Message<'_>) {
        let bytes = self.cache.bytes(session.form(), message, self.stamp);
        self.deliveries.deliver(session.id, bytes);
    }

    /// The most bytes that the message takes for a session, in a datagram.
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
        // What is allowed is decided in every replica, whether it serves the session or not.
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

    /// Sends an event once to each session that shares a room with a session, but not to that
    /// session.
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
        let own = out.own.map(|own| own.session);
        let is_own = |session| own == Some(session);
        for &Member { session, slot } in members {
            if Some(session) != except
                && (!event.is_presence()
                    || self.session(session).is_some_and(Session::wants_presence))
                && (!is_own(session)
                    || self.session(session).is_some_and(|session| out.may_send(session, message)))
                && out.deliveries.wants(session, slot)
                && let Some(session) = self.session(session)
            {
                out.deliver(session, message);
            }
        }
    }
}
