//! The handlers of the commands about rooms.

use super::{Call, Done};
use crate::chat::deliver::{Deliveries, Out};
use crate::chat::line::arrival::{people, topic_line};
use crate::chat::rooms::RoomId;
use crate::chat::{Chat, Session};
use forkchat_common::address::AddressBlock;
use forkchat_common::event::Refusal;
use forkchat_common::ids::SessionId;
use forkchat_common::limits::{HISTORY_LINES, HISTORY_LINES_MAX, ROOM_CHARS_MAX};
use forkchat_common::names::{RoomName, find_key};
use forkchat_common::protocol::line::arguments::{optional_word, text, word};

/// Lines of history that cost as much as a line of input.
const HISTORY_LINES_PER_COST: usize = 20;

impl Chat {
    pub(super) fn join<'t, O: Deliveries>(
        &mut self,
        call: Call<'t>,
        out: &mut Out<'_, O>,
    ) -> Done<'t> {
        let name = call.read(word)?;
        let room = RoomName::parse(name).map_err(|why| Refusal::BadRoom(name, why))?;
        let address = self.session(call.session).map(Session::address);
        let (room, was_in) = self.enter_current(call.session, room, address)?;
        let room = self.state.rooms.get(room);
        let (name, members) = (room.name.as_str(), room.members.len());
        let tags = call.tags().with("room", name);
        self.send_lines(call.session, tags, out, |lines| match was_in {
            true => lines.line(format_args!("* you are now talking in {name}")),
            false => {
                lines.line(format_args!("* you joined {name}; {}", people(members)));
                topic_line(lines, name, &room.topic);
            }
        });
        if !was_in {
            self.send_joined(call.session, room, out);
        }
        Ok(())
    }

    /// Makes a room the current one of a session, and the session a member of it. Returns the room,
    /// and whether the session was a member before. A new room counts for `created_by`.
    pub(in crate::chat::line) fn enter_current(
        &mut self,
        id: SessionId,
        name: RoomName,
        created_by: Option<AddressBlock>,
    ) -> Result<(RoomId, bool), Refusal<'static>> {
        let (room, was_in) = self.enter(id, name, created_by)?;
        if let Some(session) = self.session_mut(id) {
            session.line_mut().current = Some(room);
        }
        Ok((room, was_in))
    }

    pub(super) fn leave<'t, O: Deliveries>(
        &mut self,
        call: Call<'t>,
        out: &mut Out<'_, O>,
    ) -> Done<'t> {
        let room = match call.read(optional_word)? {
            None => self.current_room(call.session)?,
            Some(name) => self.own_room(call.session, name)?,
        };
        let Some(session) = self.session_mut(call.session) else { return Ok(()) };
        session.leave(room);
        let current = session.line().current;
        let name_of = |room| self.state.rooms.get(room).name.as_str();
        let (name, current) = (name_of(room), current.map(name_of));
        let tags = call.tags().with("room", name).with_some("target", current);
        match current {
            Some(current) => {
                let text = format_args!("* you left {name}; you are now talking in {current}");
                self.answer(call, tags, text, out);
            }
            None => {
                let text = format_args!(
                    "* you left {name}; you are in no room now, join one with /join #ROOM"
                );
                self.answer(call, tags, text, out);
            }
        }
        self.end_membership(call.session, room, out);
        Ok(())
    }

    pub(super) fn topic<'t, O: Deliveries>(
        &mut self,
        call: Call<'t>,
        out: &mut Out<'_, O>,
    ) -> Done<'t> {
        let room = self.current_room(call.session)?;
        if let Some(topic) = text(call.arguments) {
            // `-` removes the topic. So do empty quotes, because people try them.
            let topic = if matches!(topic, "-" | "\"\"" | "''") { "" } else { topic };
            self.set_topic(call.session, room, topic, out)?;
        }
        let room = self.state.rooms.get(room);
        let (name, topic) = (room.name.as_str(), &*room.topic);
        self.send_lines(call.session, call.tags().with("room", name), out, |lines| match topic {
            "" => lines.line(format_args!("* {name} has no topic; /topic TEXT sets one")),
            topic => topic_line(lines, name, topic),
        });
        Ok(())
    }

    pub(super) fn rooms<'t, O: Deliveries>(
        &mut self,
        call: Call<'t>,
        out: &mut Out<'_, O>,
    ) -> Done<'t> {
        let pattern = call.read(optional_word)?;
        if pattern.is_some_and(|pattern| pattern.chars().count() > ROOM_CHARS_MAX + 1) {
            return Err(Refusal::Usage);
        }
        self.list_rooms(call.session, pattern, out);
        Ok(())
    }

    pub(super) fn who<'t, O: Deliveries>(
        &mut self,
        call: Call<'t>,
        out: &mut Out<'_, O>,
    ) -> Done<'t> {
        let room = match call.read(optional_word)? {
            None => self.current_room(call.session)?,
            Some(name) => {
                RoomName::parse(name).map_err(|why| Refusal::BadRoom(name, why))?;
                self.room_named(name).ok_or(Refusal::NoSuchRoom(name))?
            }
        };
        let room = self.state.rooms.get(room).name.clone();
        self.list_members(call.session, room, out);
        Ok(())
    }

    pub(super) fn history<'t, O: Deliveries>(
        &mut self,
        call: Call<'t>,
        out: &mut Out<'_, O>,
    ) -> Done<'t> {
        let count = match call.arguments {
            "" => HISTORY_LINES,
            number => number.parse().map_err(|_| Refusal::Usage)?,
        };
        if !(1..=HISTORY_LINES_MAX).contains(&count) {
            return Err(Refusal::Usage);
        }
        self.charge(call.session, (count / HISTORY_LINES_PER_COST) as u64, out);
        let room = self.current_room(call.session)?;
        self.request_history(call.session, room, count, out);
        Ok(())
    }

    /// The current room of a session.
    pub(super) fn current_room(&self, id: SessionId) -> Result<RoomId, Refusal<'static>> {
        self.session(id).and_then(|session| session.line().current).ok_or(Refusal::InNoRoom)
    }

    /// The room of this name, which the session must be in.
    fn own_room<'t>(&self, id: SessionId, name: &'t str) -> Result<RoomId, Refusal<'t>> {
        RoomName::parse(name).map_err(|why| Refusal::BadRoom(name, why))?;
        let is_in = |room: &RoomId| self.session(id).is_some_and(|it| it.rooms.contains(room));
        self.room_named(name).filter(is_in).ok_or(Refusal::NotInRoom(name))
    }

    fn room_named(&self, name: &str) -> Option<RoomId> {
        self.state.rooms.find(&find_key(name)?)
    }
}
