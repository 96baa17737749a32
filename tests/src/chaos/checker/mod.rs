//! The checker: compares every line that a client receives with what the client must receive next.
//! Any difference is a fault.
//!
//! ```text
//! line ─► split tags ─► a sender's line? ─► same bytes, right receiver? ─┐   its position in
//!                    ├► a join or leave? ────────────────────────────────┼─► the transcript: the
//!                    └► an answer? ─► the answer that is due next? ──────┘   next one, or a fault?
//! ```
//!
//! It has no sockets, so its tests can feed it broken streams. [`super::faults`] counts and
//! describes the faults.

mod completeness;
mod transcribe;

use super::faults::{Faults, Kind};
use super::receiver::{Membership, Receiver, Reply};
use super::sender::Sender;
use super::tags::{Tagged, key_in, number_of, split_tags, text, to_utf8, worker_of};
use super::transcript::{Content, Transcript, parse_presence};
use crate::load::payload::Payload;

/// All lines that were sent, and what each client received.
#[derive(Debug)]
pub struct Checker {
    payload: Payload,
    /// The senders.
    pub senders: Vec<Sender>,
    /// The lines sent to each room.
    pub transcripts: Vec<Transcript>,
    /// The receivers.
    pub receivers: Vec<Receiver>,
    /// The faults found.
    pub faults: Faults,
    /// Whether the server is stopping, so that its goodbye is due.
    pub is_stopping: bool,
    /// By room: the length of the transcript at the last look. If it has not grown, it is stuck.
    last_lengths: Vec<usize>,
}

/// What kind of line a client received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// A line of this sender, with its number.
    Said(u16, u32),
    /// The answer that was due.
    Reply(Reply),
    /// The answer to `/whoami`: the worker.
    Worker(usize),
    /// Over UDP: the server doesn't know the client and sends it a cookie.
    Cookie,
    /// Over UDP: the session's key.
    Key,
    /// Something else.
    Other,
}

impl Checker {
    /// A checker without clients, for lines of this many bytes.
    pub fn new(bytes: usize) -> Checker {
        Checker {
            payload: Payload::new(bytes),
            senders: Vec::new(),
            transcripts: Vec::new(),
            receivers: Vec::new(),
            faults: Faults::default(),
            is_stopping: false,
            last_lengths: Vec::new(),
        }
    }

    /// Appends the next line of a sender to `bytes`.
    pub fn say(&mut self, sender: u16, now: u64, bytes: &mut Vec<u8>) {
        let number = self.senders[usize::from(sender)].say(now);
        self.payload.write(sender, number, bytes);
    }

    /// From now on this client must receive all lines to its room.
    pub fn begin(&mut self, index: usize) {
        let receiver = &mut self.receivers[index];
        receiver.membership = Membership::Inside;
        receiver.start = Some(0);
    }

    /// Checks a line that a client received, without its LF.
    pub fn check_line(&mut self, index: usize, line: &[u8], now: u64) -> Received {
        let receiver = &self.receivers[index];
        if receiver.is_udp && !key_in(line).is_empty() {
            return Received::Key;
        }
        if receiver.membership == Membership::LoggingIn {
            return self.check_login_line(index, line);
        }
        if receiver.is_udp && line.starts_with(b"* /hello ") {
            return Received::Cookie;
        }
        let Some(tagged) = (if receiver.settings.tags {
            split_tags(line)
        } else {
            Some(Tagged { prose: line, ..Tagged::default() })
        }) else {
            self.wrong(index, line, "a line with tags");
            return Received::Other;
        };
        if let Some((prefix, sender, number)) = self.payload.read(tagged.prose) {
            if !self.is_for(index, &tagged, prefix, sender, number) {
                self.wrong(index, line, "a line for this client, unchanged");
                return Received::Other;
            }
            self.check_ids(index, &tagged, true, line);
            self.assign_position(index, Content::Said(sender, number), tagged.stamp, now);
            return Received::Said(sender, number);
        }
        self.check_server_line(index, line, &tagged, now)
    }

    /// Whether the line is due to this receiver: a line of a sender in its room, unchanged, with
    /// the right tags.
    fn is_for(
        &self,
        index: usize,
        tagged: &Tagged<'_>,
        prefix: &[u8],
        sender: u16,
        number: u32,
    ) -> bool {
        let (receiver, charset) = (&self.receivers[index], self.receivers[index].settings.charset);
        self.senders.get(usize::from(sender)).is_some_and(|source| {
            source.room == receiver.room
                && number < source.sent
                && source.prefixes[charset] == prefix
                && (!receiver.settings.tags || source.tails[charset] == tagged.tail)
                && receiver.must_receive(Content::Said(sender, number))
                && receiver.membership == Membership::Inside
        })
    }

    fn check_login_line(&mut self, index: usize, line: &[u8]) -> Received {
        let prose = if line.starts_with(b"@") {
            split_tags(line).map_or(line, |tagged| tagged.prose)
        } else {
            line
        };
        let receiver = &mut self.receivers[index];
        let room = self.transcripts[receiver.room].room.as_bytes();
        match receiver.replies.front() {
            Some(&reply) if reply.is(prose, room) => {
                receiver.replies.pop_front();
                Received::Reply(reply)
            }
            _ if prose.starts_with(b"* /hello ") => Received::Cookie,
            _ => worker_of(prose).map_or(Received::Other, Received::Worker),
        }
    }

    /// A line from the server itself: an answer, a join or leave, or its goodbye.
    fn check_server_line(
        &mut self,
        index: usize,
        line: &[u8],
        tagged: &Tagged<'_>,
        now: u64,
    ) -> Received {
        let receiver = &mut self.receivers[index];
        let transcript = &mut self.transcripts[receiver.room];
        let room = transcript.room.as_bytes();
        let due = receiver.replies.iter().position(|reply| reply.is(tagged.prose, room));
        if let Some(position) = due {
            let lost: Vec<Reply> = receiver.replies.drain(..position).collect();
            let reply = receiver.replies.pop_front().unwrap_or(Reply::Goodbye);
            match reply {
                Reply::Joined => {
                    (receiver.membership, receiver.start) = (Membership::Inside, None);
                    receiver.visits += 1;
                }
                Reply::Left | Reply::Goodbye => self.leave(index),
                Reply::Pong(_) | Reply::TooLong => {}
            }
            for lost in lost {
                self.fault(index, Kind::Lost, |_| {
                    format!("the answer {lost:?} before {}", text(line))
                });
            }
            self.check_ids(index, tagged, false, line);
            return Received::Reply(reply);
        }
        if self.is_stopping
            && !receiver.has_goodbye
            && tagged.prose == b"* the server is stopping; goodbye"
        {
            receiver.has_goodbye = true;
            return Received::Other;
        }
        // A visitor leaves the lobby during its login. This line is about the lobby.
        if receiver.membership == Membership::Outside && tagged.prose.starts_with(b"* ") {
            return Received::Other;
        }
        let prose = to_utf8(tagged.prose, receiver.settings.charset);
        if receiver.settings.joins
            && receiver.membership == Membership::Inside
            && parse_presence(&prose, room).is_some()
        {
            let content = transcript.presence(&prose);
            self.check_ids(index, tagged, true, line);
            self.assign_position(index, content, tagged.stamp, now);
            return Received::Other;
        }
        // The answer may have come before.
        let is_again = tagged
            .prose
            .strip_prefix(b"* pong p")
            .and_then(number_of)
            .is_some_and(|number| number <= u64::from(receiver.pings));
        if is_again {
            self.fault(index, Kind::Doubled, |_| {
                format!("an answer that it had already received: {}", text(line))
            });
        } else {
            self.wrong(index, line, "anything that this client may receive");
        }
        Received::Other
    }

    /// A client has left the room or closed its connection. Whether it received everything is
    /// checked when its leave is in the transcript.
    pub(super) fn leave(&mut self, index: usize) {
        let receiver = &mut self.receivers[index];
        if receiver.membership == Membership::Inside {
            receiver.membership = Membership::Left;
        }
    }

    /// Reports that the server has dropped a client.
    pub fn mark_dropped(&mut self, index: usize, why: &str) {
        self.receivers[index].membership = Membership::Dropped;
        self.fault(index, Kind::Dropped, |_| why.to_owned());
    }

    /// Checks that ids grow. Only an answer may have the same id as the line before it.
    fn check_ids(&mut self, index: usize, tagged: &Tagged<'_>, is_of_room: bool, line: &[u8]) {
        let receiver = &mut self.receivers[index];
        if !receiver.settings.tags {
            return;
        }
        let latest = if is_of_room {
            receiver.last_room_id.max(receiver.last_id.saturating_sub(1))
        } else {
            receiver.last_id.saturating_sub(1)
        };
        let grows = tagged.id > latest || receiver.is_udp;
        receiver.last_id = receiver.last_id.max(tagged.id);
        if is_of_room {
            receiver.last_room_id = receiver.last_room_id.max(tagged.id);
        }
        if !grows {
            self.fault(index, Kind::Differing, |_| {
                format!("an id that is not after {latest}: {}", text(line))
            });
        }
    }

    /// Reports something else that a client should have received.
    pub fn report_missing(&mut self, index: usize, content: &str) {
        self.fault(index, Kind::Lost, |_| content.to_owned());
    }

    pub(super) fn fault(&mut self, index: usize, kind: Kind, why: impl FnOnce(&Checker) -> String) {
        let mut faults = std::mem::take(&mut self.faults);
        faults.note(&self.receivers[index], index, kind, || why(self));
        self.faults = faults;
    }

    /// Describes a possible fault without counting it.
    pub(super) fn describe(
        &mut self,
        index: usize,
        kind: Kind,
        why: impl FnOnce(&Checker) -> String,
    ) {
        let mut faults = std::mem::take(&mut self.faults);
        faults.describe(&self.receivers[index], index, kind, || why(self));
        self.faults = faults;
    }

    pub(super) fn has_writers(&self, room: usize) -> bool {
        self.receivers.iter().any(|receiver| receiver.room == room && receiver.is_writer())
    }

    fn wrong(&mut self, index: usize, line: &[u8], expected: &str) {
        let cursor = self.receivers[index].cursor;
        let why = |checker: &Checker| {
            format!(
                "expected {expected}, next {}, got {}",
                checker.describe_position(index, cursor),
                text(line)
            )
        };
        self.fault(index, Kind::Wrong, why);
    }

    pub(super) fn describe_position(&self, index: usize, mut position: usize) -> String {
        let (receiver, transcript) =
            (&self.receivers[index], &self.transcripts[self.receivers[index].room]);
        while transcript.get(position).is_some_and(|entry| !receiver.must_receive(entry.content)) {
            position += 1;
        }
        transcript.get(position).map_or("nothing that anyone was told".into(), |entry| {
            let by = &self.receivers[entry.by].nick;
            format!(
                "{} (as {by}, client {}, was told first; place {position})",
                self.describe_content(index, entry.content),
                entry.by
            )
        })
    }

    pub(super) fn describe_content(&self, index: usize, content: Content) -> String {
        match content {
            Content::Said(sender, number) => {
                let mut line = self.senders[usize::from(sender)].prefixes[0].clone();
                self.payload.write(sender, number, &mut line);
                line.pop();
                format!("{} (number {number})", text(&line))
            }
            Content::Presence(number) => {
                text(self.transcripts[self.receivers[index].room].presence_text(number))
            }
        }
    }
}

#[cfg(test)]
mod tests;
