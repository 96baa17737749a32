//! Long answers: the rooms, the members of a room, the history. They are sent in parts, each after
//! the client has taken the one before. So an answer takes only a small part of an outbox and
//! little of a replica's time: a part looks at a bounded number of rooms, and may list none of
//! them.
//!
//! ```text
//!  /rooms ──► first part ──► the session waits ──► its worker has written the part: NextPart, a record
//!                 ▲                                              │
//!                 └────────── while there are more ◄─────────────┘
//! ```
//!
//! Lines that the session sends after the command wait until the answer is complete. For TCP they
//! wait in the kernel (see `worker/input.rs`); a datagram can't be read in parts, so its lines wait
//! in the state. So answers come in the order of the commands with both transports.

use super::Chat;
use super::history::Question;
use super::record::{CloseReason, Fact};
use super::rooms::{ListPlace, matches};
use super::tell::{Output, Teller};
use forkchat_common::event::{Event, ListEnd, Refusal, Reply};
use forkchat_common::ids::{Sequence, SessionId, Slot};
use forkchat_common::limits::{
    ANSWER_PART_BYTES, MEMBERS_LISTED_MAX, ROOMS_LISTED_MAX, ROOMS_PER_PART_MAX,
    TOPIC_LISTED_CHARS_MAX, WAITING_LINES_BYTES_MAX,
};
use forkchat_common::names::RoomName;
use forkchat_common::protocol::line::render::Stamp;
use serde::{Deserialize, Serialize};

/// What a waiting line takes besides its bytes.
const LINE_BYTES: usize = 32;

/// What a session waits for, and what it has sent meanwhile.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Waiting {
    pub answer: Pending,
    lines: Vec<WaitingLine>,
    lines_bytes: usize,
    /// The end of its input came, too.
    has_input_ended: bool,
}

/// An answer that isn't complete.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Pending {
    /// The journal knows the rest.
    History(Question),
    /// The state knows the rest.
    List(List),
}

/// A list of which a part was sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct List {
    /// The record of the command: the list's name, and the id of each of its lines.
    at: Sequence,
    /// How many parts were sent.
    parts: u32,
    /// How many items were sent.
    sent: usize,
    of: Items,
}

/// What a list lists, and how far it was sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Items {
    Rooms {
        pattern: Option<Box<str>>,
        /// Rooms up to here were looked at, and listed if they match.
        after: Option<ListPlace>,
        /// Rooms that match and come after as many as are listed.
        left_out: usize,
    },
    Members {
        room: RoomName,
        after: SessionId,
    },
}

/// A room's name, number of members and topic.
type RoomItem<'a> = (&'a str, usize, &'a str);

/// A line that waits, as it was recorded.
#[derive(Debug, Serialize, Deserialize)]
enum WaitingLine {
    Line(#[serde(with = "serde_bytes")] Vec<u8>),
    Begins(#[serde(with = "serde_bytes")] Vec<u8>),
    TooLong,
}

impl Waiting {
    pub fn new(answer: Pending) -> Box<Waiting> {
        Box::new(Waiting { answer, lines: Vec::new(), lines_bytes: 0, has_input_ended: false })
    }

    /// Keeps a line for later. False if there are too many.
    pub fn add(&mut self, fact: Fact<'_>) -> bool {
        let line = match fact {
            Fact::Line(bytes) => WaitingLine::Line(bytes.to_vec()),
            Fact::LineBegins(bytes) => WaitingLine::Begins(bytes.to_vec()),
            Fact::LongLineBegins => WaitingLine::TooLong,
            _ => return true,
        };
        let bytes = LINE_BYTES + line.fact().0;
        if self.lines_bytes + bytes > WAITING_LINES_BYTES_MAX {
            return false;
        }
        self.lines_bytes += bytes;
        self.lines.push(line);
        true
    }

    /// The session's input is over: it ends when what waits is done.
    pub fn end_input(&mut self) {
        self.has_input_ended = true;
    }
}

impl WaitingLine {
    /// Its length, and what was recorded.
    fn fact(&self) -> (usize, Fact<'_>) {
        match self {
            WaitingLine::Line(bytes) => (bytes.len(), Fact::Line(bytes)),
            WaitingLine::Begins(bytes) => (bytes.len(), Fact::LineBegins(bytes)),
            WaitingLine::TooLong => (0, Fact::LongLineBegins),
        }
    }
}

impl Chat {
    /// Whether a session's lines have to wait: an answer of its isn't complete.
    pub fn waits_for_answer(&self, id: SessionId) -> bool {
        self.session(id).is_some_and(|session| session.waiting.is_some())
    }

    /// The lists that sessions of the worker in `slot` wait for: whose, the list's record, and how
    /// many parts were sent.
    pub fn lists_of(&self, slot: Slot) -> impl Iterator<Item = (SessionId, Sequence, u32)> {
        self.sessions_of(slot).filter_map(|session| match &session.waiting.as_ref()?.answer {
            Pending::List(list) => Some((session.id, list.at, list.parts)),
            Pending::History(_) => None,
        })
    }

    pub(super) fn list_rooms<O: Output>(
        &mut self,
        id: SessionId,
        pattern: Option<&str>,
        tell: &mut Teller<'_, O>,
    ) {
        // The parser bounds its length.
        let pattern = pattern.map(forkchat_common::names::key_of);
        self.send_part(
            id,
            List::new(tell.stamp.id, Items::Rooms { pattern, after: None, left_out: 0 }),
            tell,
        );
    }

    pub(super) fn list_members<O: Output>(
        &mut self,
        id: SessionId,
        room: RoomName,
        tell: &mut Teller<'_, O>,
    ) {
        self.send_part(
            id,
            List::new(tell.stamp.id, Items::Members { room, after: SessionId::NONE }),
            tell,
        );
    }

    /// A part of a list was written: the next one, unless it was sent already.
    pub(super) fn send_next_part<O: Output>(
        &mut self,
        id: SessionId,
        of: Sequence,
        parts: u32,
        tell: &mut Teller<'_, O>,
    ) {
        let waiting = self.session(id).and_then(|session| session.waiting.as_ref());
        let list = waiting.and_then(|waiting| match &waiting.answer {
            Pending::List(list) if list.at == of && list.parts == parts => Some(list.clone()),
            _ => None,
        });
        list.into_iter().for_each(|list| self.send_part(id, list, tell));
    }

    fn send_part<O: Output>(&mut self, id: SessionId, mut list: List, tell: &mut Teller<'_, O>) {
        let stamp = tell.stamp;
        tell.stamp = Stamp { id: list.at, ..stamp };
        let end = match &list.of {
            Items::Rooms { pattern, after, left_out } => {
                let (rooms, last, left_out, end) =
                    self.part_of_rooms(pattern.as_deref(), *after, list.sent, *left_out);
                list.sent += rooms.len();
                let has_lines =
                    !rooms.is_empty() || !matches!(end, ListEnd::Part | ListEnd::LeftOut(0));
                if has_lines {
                    self.tell_one(id, &Event::Reply(Reply::Rooms { rooms, end }), tell);
                }
                list.of = Items::Rooms { pattern: pattern.clone(), after: last, left_out };
                end
            }
            Items::Members { room, after } => {
                let (names, last, end) = self.part_of_members(room, *after, list.sent);
                list.sent += names.len();
                self.tell_one(
                    id,
                    &Event::Reply(Reply::Who { room: room.as_str(), names, end }),
                    tell,
                );
                list.of = Items::Members { room: room.clone(), after: last };
                end
            }
        };
        tell.stamp = stamp;
        list.parts += 1;
        let Some(session) = self.session_mut(id) else { return };
        if end == ListEnd::Part {
            tell.out.continues(id, session.slot, list.at, list.parts);
            match &mut session.waiting {
                Some(waiting) => waiting.answer = Pending::List(list),
                None => session.waiting = Some(Waiting::new(Pending::List(list))),
            }
        } else if list.parts > 1 {
            self.finish_answer(id, tell);
        }
    }

    /// The rooms of a part, the last place that was looked at, how many rooms that match are left
    /// out so far, and what follows. A part may have no rooms.
    fn part_of_rooms(
        &self,
        pattern: Option<&str>,
        after: Option<ListPlace>,
        sent: usize,
        mut left_out: usize,
    ) -> (Vec<RoomItem<'_>>, Option<ListPlace>, usize, ListEnd) {
        let (mut rooms, mut last, mut bytes) = (Vec::new(), after, 0);
        let mut left = self.state.rooms.list(after).peekable();
        for _ in 0..ROOMS_PER_PART_MAX {
            let is_full = sent + rooms.len() >= ROOMS_LISTED_MAX;
            if is_full && pattern.is_none() {
                // All others match: they needn't be looked at.
                let others = self.state.rooms.len().saturating_sub(sent + rooms.len());
                return (rooms, last, 0, ListEnd::LeftOut(others));
            }
            if bytes >= ANSWER_PART_BYTES {
                break;
            }
            let Some((place, room)) = left.next() else { break };
            last = Some(place);
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
        (rooms, last, left_out, end)
    }

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
        // Should the last one have left meanwhile, the next one has its number.
        let place =
            members.iter().position(|member| member.session == after).map(|place| place + 1);
        let start = place.unwrap_or(sent).min(members.len());
        let (mut names, mut last, mut bytes) = (Vec::new(), after, 0);
        let room_for =
            (MEMBERS_LISTED_MAX - sent.min(MEMBERS_LISTED_MAX)).min(members.len() - start);
        for member in &members[start..start + room_for] {
            if bytes >= ANSWER_PART_BYTES {
                return (names, last, ListEnd::Part);
            }
            let Some(session) = self.session(member.session) else { continue };
            bytes += 2 * session.nick.as_str().len();
            names.push(session.nick.as_str());
            last = member.session;
        }
        let end = match members.len() - start - room_for {
            0 if sent + names.len() == 0 => ListEnd::Empty,
            left_out => ListEnd::LeftOut(left_out),
        };
        (names, last, end)
    }

    /// A session's answer is complete: what it sent meanwhile is done now, up to the next long
    /// answer.
    pub(super) fn finish_answer<O: Output>(&mut self, id: SessionId, tell: &mut Teller<'_, O>) {
        let Some(session) = self.session_mut(id) else { return };
        let Some(waiting) = session.waiting.take() else { return };
        tell.out.answered(id, session.slot);
        let Waiting { lines, has_input_ended, .. } = *waiting;
        let mut lines = lines.into_iter();
        for line in lines.by_ref() {
            self.take_line(id, line.fact().1, tell);
            let Some(session) = self.session_mut(id) else { return };
            if let Some(waiting) = &mut session.waiting {
                // They were within the bound before.
                lines.for_each(|line| _ = waiting.add(line.fact().1));
                waiting.has_input_ended = has_input_ended;
                return;
            }
        }
        if has_input_ended {
            self.hear_last_line(id, tell);
            self.close(id, CloseReason::EndOfInput, tell);
        }
    }

    /// A line of a session that waits for an answer.
    pub(super) fn keep_for_later<O: Output>(
        &mut self,
        id: SessionId,
        fact: Fact<'_>,
        tell: &mut Teller<'_, O>,
    ) {
        let waiting = self.session_mut(id).and_then(|session| session.waiting.as_mut());
        if waiting.is_some_and(|waiting| !waiting.add(fact)) {
            self.tell_one(id, &Event::Refused { to: None, refusal: Refusal::TooMuchWaiting }, tell);
        }
    }
}

impl List {
    fn new(at: Sequence, of: Items) -> List {
        List { at, parts: 0, sent: 0, of }
    }
}
