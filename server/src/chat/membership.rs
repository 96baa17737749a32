//! Nicknames, room membership and topics, and the notifications of their changes.

use super::deliver::{Deliveries, Out};
use super::effect::HistoryEntry;
use super::rooms::{Member, Room, RoomId};
use super::{Chat, Session};
use forkchat_common::address::AddressBlock;
use forkchat_common::event::{Event, Refusal};
use forkchat_common::ids::{SessionId, Slot};
use forkchat_common::limits::{ROOMS_PER_SESSION_MAX, TOPIC_CHARS_MAX};
use forkchat_common::names::{Nick, RoomName};

impl Chat {
    /// Changes a session's nickname, and returns the old one; `None` if there is no such session.
    ///
    /// # Errors
    /// It is not a valid nickname, or another session has it.
    pub(super) fn rename<'t>(
        &mut self,
        id: SessionId,
        name: &'t str,
    ) -> Result<Option<Nick>, Refusal<'t>> {
        let nick = Nick::parse(name).map_err(|why| Refusal::BadNick(name, why))?;
        if self.nicks.get(nick.key()).is_some_and(|&holder| holder != id) {
            return Err(Refusal::NickTaken(name));
        }
        let Some(session) = self.session_mut(id) else { return Ok(None) };
        let old = std::mem::replace(&mut session.nick, nick);
        let key = session.nick.key().into();
        self.nicks.remove(old.key());
        self.nicks.insert(key, id);
        Ok(Some(old))
    }

    /// Notifies the sessions that share a room with a session of its new nickname, if the session
    /// is announced.
    pub(super) fn send_renamed<O: Deliveries>(
        &self,
        session: &Session,
        old: &Nick,
        out: &mut Out<'_, O>,
    ) {
        let (old, new) = (old.as_str(), session.nick.as_str());
        if session.is_announced && old != new {
            let source = forkchat_common::event::Source { nick: old, ..session.source() };
            self.send_neighbours(session, &Event::Renamed { source, new }, out);
        }
    }

    /// Makes a session a member of a room. Returns the room, and whether the session was a member
    /// before. A new room counts for `created_by`. Notifies no other session.
    ///
    /// # Errors
    /// The session is in too many rooms, or no more rooms can be created.
    pub(super) fn enter(
        &mut self,
        id: SessionId,
        name: RoomName,
        created_by: Option<AddressBlock>,
    ) -> Result<(RoomId, bool), Refusal<'static>> {
        let session = self.session(id);
        let (slot, rooms) = session.map_or((Slot::at(0), &[][..]), |it| (it.slot, &it.rooms));
        let known = self.state.rooms.find(name.key()).filter(|room| rooms.contains(room));
        if let Some(room) = known {
            return Ok((room, true));
        }
        if rooms.len() >= ROOMS_PER_SESSION_MAX {
            return Err(Refusal::TooManyRooms);
        }
        let room = self.state.rooms.find_or_create(name, created_by, &mut self.state.addresses)?;
        if let Some(session) = self.session_mut(id) {
            session.rooms.push(room);
            self.state.rooms.enter(room, Member { session: id, slot });
        }
        Ok((room, false))
    }

    /// Notifies the other members of a room that a session has joined it, if the session is
    /// announced.
    pub(super) fn send_joined<O: Deliveries>(
        &self,
        id: SessionId,
        room: &Room,
        out: &mut Out<'_, O>,
    ) {
        if let Some(session) = self.session(id).filter(|session| session.is_announced) {
            let event = Event::Joined { room: room.name.as_str(), source: session.source() };
            self.send_room(room, Some(id), &event, out);
        }
    }

    /// Removes a session from the members of a room that it has left, and notifies the others.
    pub(super) fn end_membership<O: Deliveries>(
        &mut self,
        id: SessionId,
        room: RoomId,
        out: &mut Out<'_, O>,
    ) {
        if let Some(session) = self.session(id).filter(|session| session.is_announced) {
            let room = self.state.rooms.get(room);
            let event = Event::Left { room: room.name.as_str(), source: session.source() };
            self.send_room(room, Some(id), &event, out);
        }
        self.state.rooms.leave(room, id, out.stamp.id, &mut self.state.addresses);
    }

    /// Sets a room's topic, and notifies the other members. An empty topic removes it. Does nothing
    /// if the topic is unchanged.
    ///
    /// # Errors
    /// The topic is too long, or there is no space for it.
    pub(super) fn set_topic<O: Deliveries>(
        &mut self,
        id: SessionId,
        room: RoomId,
        topic: &str,
        out: &mut Out<'_, O>,
    ) -> Result<(), Refusal<'static>> {
        if topic.chars().nth(TOPIC_CHARS_MAX).is_some() {
            return Err(Refusal::TopicTooLong);
        }
        if *self.state.rooms.get(room).topic == *topic {
            return Ok(());
        }
        let address = self.session(id).map(Session::address);
        self.state.rooms.set_topic(room, topic, address, &mut self.state.addresses)?;
        self.announce(id, out);
        let (room, Some(session)) = (self.state.rooms.get(room), self.session(id)) else {
            return Ok(());
        };
        let event = Event::TopicSet { room: room.name.as_str(), source: session.source(), topic };
        self.send_room(room, Some(id), &event, out);
        out.store(|_| HistoryEntry::Topic { room: room.name.clone(), text: topic.to_owned() });
        Ok(())
    }

    /// Notifies the other members of a session's rooms of its arrival, unless that was done.
    pub(super) fn announce<O: Deliveries>(&mut self, id: SessionId, out: &mut Out<'_, O>) {
        let Some(session) = self.session_mut(id).filter(|session| !session.is_announced) else {
            return;
        };
        session.is_announced = true;
        let Some(session) = self.session(id) else { return };
        for &room in &session.rooms {
            self.send_joined(id, self.state.rooms.get(room), out);
        }
    }

    /// Notifies the sessions that share a room with a session of its end, if the session is
    /// announced.
    pub(super) fn send_quit<O: Deliveries>(
        &self,
        id: SessionId,
        reason: &str,
        out: &mut Out<'_, O>,
    ) {
        if let Some(session) = self.session(id).filter(|session| session.is_announced) {
            let event = Event::Quit { source: session.source(), reason };
            self.send_neighbours(session, &event, out);
        }
    }

    /// Records that another worker serves a session from here on.
    pub(super) fn move_session(&mut self, id: SessionId, to: Slot) {
        let Some(session) = self.session_mut(id) else { return };
        session.slot = to;
        let rooms = session.rooms.clone();
        rooms.into_iter().for_each(|room| self.state.rooms.move_member(room, id, to));
    }
}
