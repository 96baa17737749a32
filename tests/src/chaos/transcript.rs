//! The lines that the members of a room received, in the room's one order. The first member to
//! receive a line writes it into the transcript, and all others must receive the same.
//!
//! The transcript contains only what its writers received. A writer that misses a line of a sender
//! writes no later line of that sender before another writer has written the missing one.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The content of a line to a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// A line of a sender: the sender, and the line's number.
    Said(u16, u32),
    /// A join or leave: the index of the presence line.
    Presence(u32),
}

/// An entry of a transcript.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The content of the line.
    pub content: Content,
    /// Computed from the tags; 0 until a client with tags has received the line.
    pub stamp: u64,
    /// The client that received it first.
    pub by: usize,
}

/// A client that appears in presence lines.
#[derive(Debug, Default)]
struct Member {
    is_in: bool,
    joins: Vec<usize>,
    leaves: Vec<usize>,
}

/// A room's transcript.
#[derive(Debug)]
pub struct Transcript {
    /// The room's name.
    pub room: String,
    entries: Vec<Entry>,
    /// Each presence line that was received, once.
    presences: Vec<Box<[u8]>>,
    presence_of: HashMap<Box<[u8]>, u32>,
    members: HashMap<Box<[u8]>, Member>,
}

/// What a presence line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresenceChange<'a> {
    /// This user joined.
    Join(&'a [u8]),
    /// This user left.
    Leave(&'a [u8]),
}

impl Transcript {
    /// The transcript of an empty room.
    pub fn new(room: String) -> Transcript {
        Transcript {
            room,
            entries: Vec::new(),
            presences: Vec::new(),
            presence_of: HashMap::new(),
            members: HashMap::new(),
        }
    }

    /// Adds a client that is in the room before the first line.
    pub fn add_member(&mut self, nick: &str) {
        self.members.insert(nick.as_bytes().into(), Member { is_in: true, ..Member::default() });
    }

    /// The number of lines so far.
    pub fn length(&self) -> usize {
        self.entries.len()
    }

    /// The entry at a position, if it is written.
    pub fn get(&self, position: usize) -> Option<&Entry> {
        self.entries.get(position)
    }

    /// The entries from a position on.
    pub fn from(&self, position: usize) -> &[Entry] {
        self.entries.get(position..).unwrap_or_default()
    }

    /// The content of a presence line, for comparison.
    pub fn presence(&mut self, line: &[u8]) -> Content {
        if let Some(&known) = self.presence_of.get(line) {
            return Content::Presence(known);
        }
        let number = self.presences.len() as u32;
        self.presences.push(line.into());
        self.presence_of.insert(line.into(), number);
        Content::Presence(number)
    }

    /// Appends a line. Returns false if the line is impossible: a member joins again, or a client
    /// that is no member leaves.
    pub fn append(&mut self, content: Content, stamp: u64, by: usize) -> bool {
        let position = self.entries.len();
        self.entries.push(Entry { content, stamp, by });
        let Content::Presence(number) = content else { return true };
        let line = &self.presences[number as usize];
        let (who, is_entrance) = match parse_presence(line, self.room.as_bytes()) {
            Some(PresenceChange::Join(who)) => (who, true),
            Some(PresenceChange::Leave(who)) => (who, false),
            None => return false,
        };
        let Some(member) = self.members.get_mut(who) else {
            let positions = vec![position];
            let (joins, leaves) =
                if is_entrance { (positions, Vec::new()) } else { (Vec::new(), positions) };
            self.members.insert(who.into(), Member { is_in: is_entrance, joins, leaves });
            return is_entrance;
        };
        if is_entrance { &mut member.joins } else { &mut member.leaves }.push(position);
        std::mem::replace(&mut member.is_in, is_entrance) != is_entrance
    }

    /// Sets the stamp of a position, or compares it. Returns false if the position has another
    /// stamp.
    pub fn check_stamp(&mut self, position: usize, stamp: u64) -> bool {
        let entry = &mut self.entries[position];
        if stamp != 0 && entry.stamp == 0 {
            entry.stamp = stamp;
        }
        stamp == 0 || entry.stamp == stamp
    }

    /// The position of the `nth` join of a client, counted from 0, if it is written.
    pub fn join_position(&self, nick: &[u8], nth: usize) -> Option<usize> {
        self.members.get(nick)?.joins.get(nth).copied()
    }

    /// The position of the `nth` leave of a client, counted from 0, if it is written.
    pub fn leave_position(&self, nick: &[u8], nth: usize) -> Option<usize> {
        self.members.get(nick)?.leaves.get(nth).copied()
    }

    /// A presence line's text.
    pub fn presence_text(&self, number: u32) -> &[u8] {
        self.presences.get(number as usize).map_or(b"", |line| line)
    }
}

/// Parses `* NICK joined #ROOM`, `* NICK left #ROOM`, `* NICK quit` and `* NICK quit: REASON` of
/// this room.
pub fn parse_presence<'a>(line: &'a [u8], room: &[u8]) -> Option<PresenceChange<'a>> {
    let rest = line.strip_prefix(b"* ")?;
    let (nick, rest) = rest.split_at(memchr::memchr(b' ', rest)?);
    match rest.strip_prefix(b" joined ").or_else(|| rest.strip_prefix(b" left ")) {
        Some(named) => (named == room).then_some(if rest[1] == b'j' {
            PresenceChange::Join(nick)
        } else {
            PresenceChange::Leave(nick)
        }),
        None => (rest == b" quit" || rest.starts_with(b" quit: "))
            .then_some(PresenceChange::Leave(nick)),
    }
}

/// A hash that is never 0.
pub fn stamp_of(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presence_lines_are_parsed() {
        assert_eq!(parse_presence(b"* v1 joined #r", b"#r"), Some(PresenceChange::Join(b"v1")));
        assert_eq!(parse_presence(b"* v1 left #r", b"#r"), Some(PresenceChange::Leave(b"v1")));
        assert_eq!(parse_presence(b"* v1 quit", b"#r"), Some(PresenceChange::Leave(b"v1")));
        assert_eq!(
            parse_presence(b"* v1 quit: its worker process died", b"#r"),
            Some(PresenceChange::Leave(b"v1"))
        );
        for other in [
            &b"* v1 joined #s"[..],
            b"* pong 1",
            b"* goodbye",
            b"* v1 quitting",
            b"v1 quit",
            b"* v1 jo",
        ] {
            assert_eq!(parse_presence(other, b"#r"), None);
        }
    }

    #[test]
    fn a_second_join_and_a_leave_without_a_join_are_impossible() {
        let mut transcript = Transcript::new("#r".into());
        transcript.add_member("a");
        let mut append = |line: &[u8]| {
            let content = transcript.presence(line);
            transcript.append(content, 0, 0)
        };
        assert!(!append(b"* a joined #r"));
        assert!(append(b"* a quit"));
        assert!(!append(b"* a left #r"));
        assert!(!append(b"* b left #r"));
        assert!(append(b"* b joined #r"));
        assert!(!append(b"* b joined #r"));
        assert_eq!(
            (
                transcript.join_position(b"b", 0),
                transcript.join_position(b"b", 1),
                transcript.leave_position(b"a", 0)
            ),
            (Some(4), Some(5), Some(1))
        );
    }

    #[test]
    fn a_stamp_must_be_the_same_for_all_receivers() {
        let mut transcript = Transcript::new("#r".into());
        transcript.append(Content::Said(0, 0), 0, 0);
        assert_eq!(
            [0, 7, 0, 7, 8].map(|stamp| transcript.check_stamp(0, stamp)),
            [true, true, true, true, false]
        );
    }
}
