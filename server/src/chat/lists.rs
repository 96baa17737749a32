//! Lists that may be long: of the rooms, and of the members of a room. They are sent in parts, each
//! after the last one was written to the client. So a list needs little space in an outbox, and
//! each part takes a replica little time: it looks at a bounded number of rooms, and may list none
//! of them.
//!
//! ```text
//!  /rooms ──► first part ──► the session waits ──► worker has written the part: record NextPart
//!                 ▲                                              │
//!                 └────────── while there are more ◄─────────────┘
//! ```

use super::Chat;
use super::deliver::{Deliveries, Out};
use super::effect::Effect;
use super::rooms::{ListPosition, matches};
use super::waiting::{Awaited, Items, List, Waiting};
use forkchat_common::event::{Event, ListEnd, Stamp};
use forkchat_common::ids::{RecordId, SessionId, Slot};
use forkchat_common::limits::{
    ANSWER_PART_BYTES, MEMBERS_LISTED_MAX, ROOMS_LISTED_MAX, ROOMS_PER_PART_MAX,
    TOPIC_LISTED_CHARS_MAX,
};
use forkchat_common::names::RoomName;

/// A part of the list of rooms; may have no rooms.
struct RoomsPart<'a> {
    /// Each room's name, number of members and topic.
    rooms: Vec<(&'a str, usize, &'a str)>,
    /// The last room that was looked at.
    last: Option<ListPosition>,
    /// The number of matching rooms so far that are left out, because enough are listed.
    left_out: usize,
    end: ListEnd,
}

impl Chat {
    /// The unfinished lists of the sessions that the worker in `slot` serves: the session, the
    /// list's record, and the number of parts sent.
    pub fn lists_of(&self, slot: Slot) -> impl Iterator<Item = (SessionId, RecordId, u32)> {
        self.sessions_of(slot).filter_map(|session| match &session.waiting.as_ref()?.until {
            Awaited::List(list) => Some((session.id, list.at, list.parts)),
            Awaited::Answer(_) => None,
        })
    }

    pub(super) fn list_rooms<O: Deliveries>(
        &mut self,
        id: SessionId,
        pattern: Option<&str>,
        out: &mut Out<'_, O>,
    ) {
        // The parser bounds its length.
        let pattern = pattern.map(forkchat_common::names::key_of);
        self.send_part(
            id,
            List::new(out.stamp.id, Items::Rooms { pattern, after: None, left_out: 0 }),
            out,
        );
    }

    pub(super) fn list_members<O: Deliveries>(
        &mut self,
        id: SessionId,
        room: RoomName,
        out: &mut Out<'_, O>,
    ) {
        self.send_part(
            id,
            List::new(out.stamp.id, Items::Members { room, after: SessionId::NONE }),
            out,
        );
    }

    /// Sends the next part of a list, unless it was sent already.
    pub(super) fn send_next_part<O: Deliveries>(
        &mut self,
        id: SessionId,
        of: RecordId,
        parts: u32,
        out: &mut Out<'_, O>,
    ) {
        let waiting = self.session(id).and_then(|session| session.waiting.as_ref());
        let list = waiting.and_then(|waiting| match &waiting.until {
            Awaited::List(list) if list.at == of && list.parts == parts => Some(list.clone()),
            _ => None,
        });
        list.into_iter().for_each(|list| self.send_part(id, list, out));
    }

    fn send_part<O: Deliveries>(&mut self, id: SessionId, mut list: List, out: &mut Out<'_, O>) {
        let stamp = out.stamp;
        out.stamp = Stamp { id: list.at, ..stamp };
        let end = match &list.of {
            Items::Rooms { pattern, after, left_out } => {
                let RoomsPart { rooms, last, left_out, end } =
                    self.part_of_rooms(pattern.as_deref(), *after, list.sent, *left_out);
                list.sent += rooms.len();
                let has_lines =
                    !rooms.is_empty() || !matches!(end, ListEnd::Part | ListEnd::LeftOut(0));
                if has_lines {
                    self.send(id, &Event::Rooms { rooms, end }, out);
                }
                list.of = Items::Rooms { pattern: pattern.clone(), after: last, left_out };
                end
            }
            Items::Members { room, after } => {
                let (names, last, end) = self.part_of_members(room, *after, list.sent);
                list.sent += names.len();
                self.send(id, &Event::Members { room: room.as_str(), names, end }, out);
                list.of = Items::Members { room: room.clone(), after: last };
                end
            }
        };
        out.stamp = stamp;
        list.parts += 1;
        let Some(session) = self.session_mut(id) else { return };
        if end == ListEnd::Part {
            out.effect(Effect::ListContinues {
                session: id,
                slot: session.slot,
                list: list.at,
                parts: list.parts,
            });
            match &mut session.waiting {
                Some(waiting) => waiting.until = Awaited::List(list),
                None => session.waiting = Some(Waiting::new(Awaited::List(list))),
            }
        } else if list.parts > 1 {
            self.resume_input(id, out);
        }
    }

    fn part_of_rooms(
        &self,
        pattern: Option<&str>,
        after: Option<ListPosition>,
        sent: usize,
        mut left_out: usize,
    ) -> RoomsPart<'_> {
        let (mut rooms, mut last, mut bytes) = (Vec::new(), after, 0);
        let mut left = self.state.rooms.list(after).peekable();
        for _ in 0..ROOMS_PER_PART_MAX {
            let is_full = sent + rooms.len() >= ROOMS_LISTED_MAX;
            if is_full && pattern.is_none() {
                // All other rooms match, so they can be counted without a look at each.
                let others = self.state.rooms.len().saturating_sub(sent + rooms.len());
                let end = ListEnd::LeftOut(others);
                return RoomsPart { rooms, last, left_out: 0, end };
            }
            if bytes >= ANSWER_PART_BYTES {
                break;
            }
            let Some((position, room)) = left.next() else { break };
            last = Some(position);
            if pattern.is_some_and(|pattern| !matches(pattern, room.name.key())) {
                continue;
            }
            if is_full {
                left_out += 1;
                continue;
            }
            bytes +=
                2 * room.name.as_str().len() + room.topic.len().min(4 * TOPIC_LISTED_CHARS_MAX);
            rooms.push((room.name.as_str(), room.members.len(), &*room.topic));
        }
        let end = match (left.peek(), sent + rooms.len()) {
            (Some(_), _) => ListEnd::Part,
            (None, 0) => ListEnd::Empty,
            (None, _) => ListEnd::LeftOut(left_out),
        };
        RoomsPart { rooms, last, left_out, end }
    }

    /// The members of a part, the last of them, and what follows.
    fn part_of_members(
        &self,
        room: &RoomName,
        after: SessionId,
        sent: usize,
    ) -> (Vec<&str>, SessionId, ListEnd) {
        let members = match self.state.rooms.find(room.key()) {
            Some(room) => &self.state.rooms.get(room).members[..],
            None => &[],
        };
        // If the last listed member has left meanwhile, the number of listed members gives the
        // position.
        let position = members.iter().position(|member| member.session == after);
        let start = position.map_or(sent, |last| last + 1).min(members.len());
        let (mut names, mut last, mut bytes) = (Vec::new(), after, 0);
        let count = (MEMBERS_LISTED_MAX - sent.min(MEMBERS_LISTED_MAX)).min(members.len() - start);
        for member in &members[start..start + count] {
            if bytes >= ANSWER_PART_BYTES {
                return (names, last, ListEnd::Part);
            }
            let Some(session) = self.session(member.session) else { continue };
            bytes += 2 * session.nick.as_str().len();
            names.push(session.nick.as_str());
            last = member.session;
        }
        let end = match members.len() - start - count {
            0 if sent + names.len() == 0 => ListEnd::Empty,
            left_out => ListEnd::LeftOut(left_out),
        };
        (names, last, end)
    }
}
