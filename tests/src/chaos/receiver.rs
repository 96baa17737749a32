//! One client as a receiver: its settings, what it must still receive, and what it has received.

use super::transcript::Content;
use std::collections::VecDeque;

/// The settings that determine the bytes that a client receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `/set tags on`.
    pub tags: bool,
    /// `/set echo on`.
    pub echo: bool,
    /// `/set joins on`, as it is at first.
    pub joins: bool,
    /// Which of the charsets.
    pub charset: usize,
}

impl std::fmt::Display for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let on = |is_on| if is_on { "on" } else { "off" };
        write!(
            f,
            "tags {}, echo {}, joins {}, {}",
            on(self.tags),
            on(self.echo),
            on(self.joins),
            super::sender::CHARSETS[self.charset]
        )
    }
}

/// Where a client is, according to the lines that it has received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// It logs in: only the awaited answers are checked.
    LoggingIn,
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
    /// Content.
    pub content: Content,
    /// Follows from its tags; 0 without any.
    pub stamp: u64,
}

/// One client.
#[derive(Debug)]
pub struct Receiver {
    /// Its name.
    pub nick: String,
    /// Its room.
    pub room: usize,
    /// KillKind it receives lines.
    pub settings: Settings,
    /// Whether lines may be lost and doubled on the way.
    pub is_udp: bool,
    /// Whether it comes and goes.
    pub is_visitor: bool,
    /// Its own sender.
    pub sender: Option<u16>,
    /// Where it is.
    pub membership: Membership,
    /// KillKind often it has come into the room, or back.
    pub visits: usize,
    /// Its first position in the transcript; `None` before that is written.
    pub start: Option<usize>,
    /// The next position in the transcript.
    pub cursor: usize,
    /// Received, and not written by anyone yet.
    pub pending: VecDeque<Pending>,
    /// Answers that are due.
    pub replies: VecDeque<Reply>,
    /// Pings so far.
    pub pings: u32,
    /// The latest id that it received, and the latest of a line to its room.
    pub last_id: u64,
    pub last_room_id: u64,
    /// Whether it was notified that the server stops.
    pub has_goodbye: bool,
    heard: Vec<u64>,
}

impl Receiver {
    /// One that isn't there yet.
    pub fn new(
        nick: String,
        room: usize,
        settings: Settings,
        is_udp: bool,
        is_visitor: bool,
    ) -> Receiver {
        Receiver {
            nick,
            room,
            settings,
            is_udp,
            is_visitor,
            sender: None,
            membership: Membership::LoggingIn,
            visits: 0,
            start: None,
            cursor: 0,
            pending: VecDeque::new(),
            replies: VecDeque::new(),
            pings: 0,
            last_id: 0,
            last_room_id: 0,
            has_goodbye: false,
            heard: Vec::new(),
        }
    }

    /// Whether it receives all lines to its room, all the time, and so may write the transcript.
    pub fn is_writer(&self) -> bool {
        !self.is_udp
            && !self.is_visitor
            && self.settings.joins
            && (self.settings.echo || self.sender.is_none())
            && self.membership == Membership::Inside
    }

    /// Whether it must receive this.
    pub fn must_receive(&self, content: Content) -> bool {
        match content {
            Content::Said(sender, _) => self.settings.echo || self.sender != Some(sender),
            Content::Presence(_) => self.settings.joins,
        }
    }

    /// Notes that it received the line at this position. False if it had received it before.
    pub fn mark_received(&mut self, position: usize) -> bool {
        let (word, bit) = (position / 64, 1 << (position % 64));
        if self.heard.len() <= word {
            self.heard.resize(word + 1, 0);
        }
        let is_new = self.heard[word] & bit == 0;
        self.heard[word] |= bit;
        is_new
    }

    /// Whether it received the line at this position.
    pub fn has_received(&self, position: usize) -> bool {
        self.heard.get(position / 64).is_some_and(|word| word & 1 << (position % 64) != 0)
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
        let mut receiver = Receiver::new("a".into(), 0, Settings::default(), false, false);
        assert!(
            receiver.mark_received(70) && receiver.mark_received(0) && !receiver.mark_received(70)
        );
        assert!(
            receiver.has_received(70)
                && !receiver.has_received(69)
                && !receiver.has_received(7_000)
        );
    }
}
