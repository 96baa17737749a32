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
    /// `/set joins on`, which is the default.
    pub joins: bool,
    /// The index of its charset.
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

/// Whether a client is in its room, according to the lines that it has received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// It logs in. Only the awaited answers are checked.
    LoggingIn,
    /// It is in no room.
    Outside,
    /// It is in the room and must receive everything from its cursor on. A visitor learns its
    /// cursor when its join is written into the transcript.
    Inside,
    /// It has left by its own wish and must have received everything before its leave in the
    /// transcript.
    Left,
    /// The server has dropped it.
    Dropped,
}

/// An answer that is due.
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
    /// Its content.
    pub content: Content,
    /// Computed from its tags; 0 without tags.
    pub stamp: u64,
}

/// A client as a receiver.
#[derive(Debug)]
pub struct Receiver {
    /// Its nickname.
    pub nick: String,
    /// Its room.
    pub room: usize,
    /// The settings of its session.
    pub settings: Settings,
    /// Whether the network may lose and double its lines.
    pub is_udp: bool,
    /// Whether it joins and leaves all the time.
    pub is_visitor: bool,
    /// The sender that is this client.
    pub sender: Option<u16>,
    /// Whether it is in its room.
    pub membership: Membership,
    /// How often it has joined the room.
    pub visits: usize,
    /// Its first position in the transcript; `None` while its join is not written.
    pub start: Option<usize>,
    /// The next position in the transcript.
    pub cursor: usize,
    /// Received lines that are not in the transcript yet.
    pub pending: VecDeque<Pending>,
    /// Answers that are due, in the order of the requests.
    pub replies: VecDeque<Reply>,
    /// The number of pings so far.
    pub pings: u32,
    /// The highest id that it received, and the highest of a line to its room.
    pub last_id: u64,
    pub last_room_id: u64,
    /// Whether the server has notified it of its end.
    pub has_goodbye: bool,
    heard: Vec<u64>,
}

impl Receiver {
    /// A receiver that has not logged in yet.
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

    /// Marks the line at this position as received. Returns false if it was received before.
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

    /// The next `/ping`, whose answer is due from now on.
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
    fn each_answer_is_recognized() {
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
    fn received_lines_are_remembered_by_position() {
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
