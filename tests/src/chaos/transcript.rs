//! The lines that the members of a room received, in the room's one order. The member that receives
//! everything first writes the transcript, and all others must receive the same.
//!
//! The transcript contains what its writers received, so it knows no more than they do. A writer
//! that misses a line of a sender does not write further lines before another writer has added the
//! missing one.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// One line to a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// A line: whose, of all voices, and its number.
    Said(u16, u32),
    /// A join or leave: which of the room's presence lines.
    Presence(u32),
}

/// A place in a transcript.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The line.
    pub what: What,
    /// Computed from the tags; 0 until a client with tags has received the line.
    pub stamp: u64,
    /// The client that received it first.
    pub by: usize,
}

/// A client that appears in presence lines.
#[derive(Debug, Default)]
struct Person {
    is_in: bool,
    entrances: Vec<usize>,
    exits: Vec<usize>,
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
    people: HashMap<Box<[u8]>, Person>,
}

/// What a presence line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move<'a> {
    /// This one came.
    Entrance(&'a [u8]),
    /// This one went.
    Exit(&'a [u8]),
}

impl Transcript {
    /// The transcript of an empty room.
    pub fn new(room: String) -> Transcript {
        Transcript {
            room,
            entries: Vec::new(),
            presences: Vec::new(),
            presence_of: HashMap::new(),
            people: HashMap::new(),
        }
    }

    /// A client is in the room before anything is written.
    pub fn admit(&mut self, nick: &str) {
        self.people.insert(nick.as_bytes().into(), Person { is_in: true, ..Person::default() });
    }

    /// The number of lines so far.
    pub fn length(&self) -> usize {
        self.entries.len()
    }

    /// A place, if it was written.
    pub fn get(&self, place: usize) -> Option<&Entry> {
        self.entries.get(place)
    }

    /// Everything from a place on.
    pub fn from(&self, place: usize) -> &[Entry] {
        self.entries.get(place..).unwrap_or_default()
    }

    /// A presence line, as something that can be compared.
    pub fn presence(&mut self, line: &[u8]) -> What {
        if let Some(&known) = self.presence_of.get(line) {
            return What::Presence(known);
        }
        let number = self.presences.len() as u32;
        self.presences.push(line.into());
        self.presence_of.insert(line.into(), number);
        What::Presence(number)
    }

    /// Appends a line. False if it is impossible: a member joins again, or a client that is no
    /// member leaves.
    pub fn write(&mut self, what: What, stamp: u64, by: usize) -> bool {
        let place = self.entries.len();
        self.entries.push(Entry { what, stamp, by });
        let What::Presence(number) = what else { return true };
        let line = &self.presences[number as usize];
        let (who, is_entrance) = match read_move(line, self.room.as_bytes()) {
            Some(Move::Entrance(who)) => (who, true),
            Some(Move::Exit(who)) => (who, false),
            None => return false,
        };
        let Some(person) = self.people.get_mut(who) else {
            let places = vec![place];
            let (entrances, exits) =
                if is_entrance { (places, Vec::new()) } else { (Vec::new(), places) };
            self.people.insert(who.into(), Person { is_in: is_entrance, entrances, exits });
            return is_entrance;
        };
        if is_entrance { &mut person.entrances } else { &mut person.exits }.push(place);
        std::mem::replace(&mut person.is_in, is_entrance) != is_entrance
    }

    /// Completes or compares a place's stamp. False if it has another one already.
    pub fn stamp(&mut self, place: usize, stamp: u64) -> bool {
        let entry = &mut self.entries[place];
        if stamp != 0 && entry.stamp == 0 {
            entry.stamp = stamp;
        }
        stamp == 0 || entry.stamp == stamp
    }

    /// The position of the `nth` join of a client, counted from 0, if it is written.
    pub fn entrance(&self, nick: &[u8], nth: usize) -> Option<usize> {
        self.people.get(nick)?.entrances.get(nth).copied()
    }

    /// The position of the `nth` leave of a client, counted from 0, if it is written.
    pub fn exit(&self, nick: &[u8], nth: usize) -> Option<usize> {
        self.people.get(nick)?.exits.get(nth).copied()
    }

    /// A presence line's text.
    pub fn presence_text(&self, number: u32) -> &[u8] {
        self.presences.get(number as usize).map_or(b"", |line| line)
    }
}

/// Understands `* NICK joined #ROOM`, `* NICK left #ROOM`, `* NICK quit` and `* NICK quit: REASON`,
/// of this room.
pub fn read_move<'a>(line: &'a [u8], room: &[u8]) -> Option<Move<'a>> {
    let rest = line.strip_prefix(b"* ")?;
    let (nick, rest) = rest.split_at(memchr::memchr(b' ', rest)?);
    match rest.strip_prefix(b" joined ").or_else(|| rest.strip_prefix(b" left ")) {
        Some(named) => (named == room).then_some(if rest[1] == b'j' {
            Move::Entrance(nick)
        } else {
            Move::Exit(nick)
        }),
        None => (rest == b" quit" || rest.starts_with(b" quit: ")).then_some(Move::Exit(nick)),
    }
}

/// A number that is another one for other bytes, and never 0.
pub fn stamp_of(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_and_goes_is_understood() {
        assert_eq!(read_move(b"* v1 joined #r", b"#r"), Some(Move::Entrance(b"v1")));
        assert_eq!(read_move(b"* v1 left #r", b"#r"), Some(Move::Exit(b"v1")));
        assert_eq!(read_move(b"* v1 quit", b"#r"), Some(Move::Exit(b"v1")));
        assert_eq!(
            read_move(b"* v1 quit: its worker process died", b"#r"),
            Some(Move::Exit(b"v1"))
        );
        for other in [
            &b"* v1 joined #s"[..],
            b"* pong 1",
            b"* goodbye",
            b"* v1 quitting",
            b"v1 quit",
            b"* v1 jo",
        ] {
            assert_eq!(read_move(other, b"#r"), None);
        }
    }

    #[test]
    fn nobody_comes_twice_or_goes_who_is_not_there() {
        let mut transcript = Transcript::new("#r".into());
        transcript.admit("a");
        let mut write = |line: &[u8]| {
            let what = transcript.presence(line);
            transcript.write(what, 0, 0)
        };
        assert!(!write(b"* a joined #r"));
        assert!(write(b"* a quit"));
        assert!(!write(b"* a left #r"));
        assert!(!write(b"* b left #r"));
        assert!(write(b"* b joined #r"));
        assert!(!write(b"* b joined #r"));
        assert_eq!(
            (transcript.entrance(b"b", 0), transcript.entrance(b"b", 1), transcript.exit(b"a", 0)),
            (Some(4), Some(5), Some(1))
        );
    }

    #[test]
    fn a_stamp_is_the_same_for_everyone() {
        let mut transcript = Transcript::new("#r".into());
        transcript.write(What::Said(0, 0), 0, 0);
        assert_eq!(
            [0, 7, 0, 7, 8].map(|stamp| transcript.stamp(0, stamp)),
            [true, true, true, true, false]
        );
    }
}
