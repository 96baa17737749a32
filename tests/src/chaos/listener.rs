//! One client as a receiver: its settings, what it must still receive, and what it has received.

use super::transcript::What;
use std::collections::VecDeque;

/// The settings that determine the bytes that a client receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// `/set tags on`.
    pub tags: bool,
    /// `/set echo on`.
    pub echo: bool,
    /// `/set joins on`, as it is at first.
    pub joins: bool,
    /// Which of the charsets.
    pub charset: usize,
}

impl std::fmt::Display for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let on = |is_on| if is_on { "on" } else { "off" };
        write!(
            f,
            "tags {}, echo {}, joins {}, {}",
            on(self.tags),
            on(self.echo),
            on(self.joins),
            super::voice::CHARSETS[self.charset]
        )
    }
}

/// Where a client is, according to the lines that it has received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attendance {
    /// It logs in: only the awaited answers are checked.
    Entering,
    /// In no room.
    Outside,
    /// In the room. Everything is due to it from its cursor on, which a visitor learns when its
    /// entrance is written.
    Inside,
    /// It has left, by its own will: what is due is what stands before its exit.
    Left,
    /// The server has cut it off.
    Dropped,
}

/// An answer that is due, in the order of the questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To `/ping pN`.
    Pong(u32),
    /// To a line that is too long.
    TooLong,
    /// To `/join`.
    Joined,
    /// To `/leave`.
    Left,
    /// To `/quit`.
    Goodbye,
}

impl Reply {
    /// Whether the line, without tags, is this answer.
    pub fn is(self, line: &[u8], room: &[u8]) -> bool {
        match self {
            Reply::Pong(number) => line
                .strip_prefix(b"* pong p")
                .is_some_and(|rest| rest == number.to_string().as_bytes()),
            Reply::TooLong => line.starts_with(b"! line too long: "),
            Reply::Joined => line
                .strip_prefix(b"* you joined ")
                .and_then(|rest| rest.strip_prefix(room))
                .is_some_and(|r| r.starts_with(b"; ")),
            Reply::Left => line
                .strip_prefix(b"* you left ")
                .and_then(|rest| rest.strip_prefix(room))
                .is_some_and(|r| r.starts_with(b"; ")),
            Reply::Goodbye => line == b"* goodbye",
        }
    }
}

/// A received line that has no position in the transcript yet.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    /// What.
    pub what: What,
    /// Follows from its tags; 0 without any.
    pub stamp: u64,
}

/// One client.
#[derive(Debug)]
pub struct Listener {
    /// Its name.
    pub nick: String,
    /// Its room.
    pub room: usize,
    /// How it receives lines.
    pub form: Form,
    /// Whether lines may be lost and doubled on the way.
    pub is_udp: bool,
    /// Whether it comes and goes.
    pub is_visitor: bool,
    /// Its own voice.
    pub voice: Option<u16>,
    /// Where it is.
    pub attendance: Attendance,
    /// How often it has come into the room, or back.
    pub visits: usize,
    /// Its first position in the transcript; `None` before that is written.
    pub start: Option<usize>,
    /// The next place in the transcript.
    pub cursor: usize,
    /// Heard, and not written by anyone yet.
    pub pending: VecDeque<Pending>,
    /// Answers that are due.
    pub replies: VecDeque<Reply>,
    /// Pings so far.
    pub pings: u32,
    /// The latest id that it received, and the latest of a line to its room.
    pub last_id: u64,
    pub last_room_id: u64,
    /// Whether it was notified that the server stops.
    pub is_parted: bool,
    heard: Vec<u64>,
}

impl Listener {
    /// One that isn't there yet.
    pub fn new(nick: String, room: usize, form: Form, is_udp: bool, is_visitor: bool) -> Listener {
        Listener {
            nick,
            room,
            form,
            is_udp,
            is_visitor,
            voice: None,
            attendance: Attendance::Entering,
            visits: 0,
            start: None,
            cursor: 0,
            pending: VecDeque::new(),
            replies: VecDeque::new(),
            pings: 0,
            last_id: 0,
            last_room_id: 0,
            is_parted: false,
            heard: Vec::new(),
        }
    }

    /// Whether it receives all lines to its room, all the time, and so may write the transcript.
    pub fn is_writer(&self) -> bool {
        !self.is_udp
            && !self.is_visitor
            && self.form.joins
            && (self.form.echo || self.voice.is_none())
            && self.attendance == Attendance::Inside
    }

    /// Whether it must receive this.
    pub fn is_told(&self, what: What) -> bool {
        match what {
            What::Said(voice, _) => self.form.echo || self.voice != Some(voice),
            What::Presence(_) => self.form.joins,
        }
    }

    /// Notes that it received the line at this position. False if it had received it before.
    pub fn tick_off(&mut self, place: usize) -> bool {
        let (word, bit) = (place / 64, 1 << (place % 64));
        if self.heard.len() <= word {
            self.heard.resize(word + 1, 0);
        }
        let is_new = self.heard[word] & bit == 0;
        self.heard[word] |= bit;
        is_new
    }

    /// Whether it received the line at this position.
    pub fn has_heard(&self, place: usize) -> bool {
        self.heard.get(place / 64).is_some_and(|word| word & 1 << (place % 64) != 0)
    }

    /// It asks something with `/ping`: what it says.
    pub fn ping(&mut self) -> String {
        self.pings += 1;
        self.replies.push_back(Reply::Pong(self.pings));
        format!("/ping p{}\n", self.pings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_from_each_other() {
        let is = |reply: Reply, line: &str| reply.is(line.as_bytes(), b"#r1");
        assert!(
            is(Reply::Pong(12), "* pong p12")
                && !is(Reply::Pong(1), "* pong p12")
                && !is(Reply::Pong(12), "* pong p1")
        );
        assert!(
            is(Reply::Joined, "* you joined #r1; 3 people are here")
                && !is(Reply::Joined, "* you joined #r12; 3 people are here")
        );
        assert!(is(
            Reply::Left,
            "* you left #r1; you are in no room now, join one with /join #ROOM"
        ));
        assert!(is(Reply::TooLong, "! line too long: at most 4095 bytes are allowed; …"));
        assert!(is(Reply::Goodbye, "* goodbye") && !is(Reply::Goodbye, "* goodbye!"));
    }

    #[test]
    fn what_was_heard_is_remembered_by_place() {
        let mut listener = Listener::new("a".into(), 0, Form::default(), false, false);
        assert!(listener.tick_off(70) && listener.tick_off(0) && !listener.tick_off(70));
        assert!(listener.has_heard(70) && !listener.has_heard(69) && !listener.has_heard(7_000));
    }
}
