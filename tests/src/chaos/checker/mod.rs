//! The checker: compares every line that a client receives with what that client must receive next.
//! Any difference is a fault.
//!
//! ```text
//! line ─► split tags ─► a sender's line? ──► same bytes, right receiver? ─┐
//!                    ├► a join or leave? ────────────────────────────────┼─► its position in the room's transcript:
//!                    └► an answer? ──► the answer that is due next? ─────┘   the next one, or which fault?
//! ```
//!
//! It has no sockets, so its tests can feed it broken streams. [`super::faults`] counts and
//! describes the faults.

use super::faults::{Faults, Kind};
use super::receiver::{Membership, Pending, Receiver, Reply};
use super::sender::Sender;
use super::tags::{Tagged, key_in, number_of, split_tags, text, to_utf8, worker_of};
use super::transcript::{Content, Entry, Transcript, parse_presence};
use crate::load::payload::Payload;

/// Pending lines at which a receiver counts as faulty, and not just as faster than the others.
const PENDING_MAX: usize = 200_000;
/// KillKind far ahead to search for a presence line, or for a line received over UDP.
const LOOK_AHEAD: usize = 20_000;

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
    /// By room: how long the transcript was at the last look, to find out whether it is stuck.
    last_lengths: Vec<usize>,
}

/// Content a line was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// A line of this sender, with its number.
    Said(u16, u32),
    /// The answer that was due.
    Reply(Reply),
    /// The answer to `/whoami`: the worker.
    Worker(usize),
    /// Over UDP: the server doesn't know us, and asks for a greeting.
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

    /// A sender says its next line, which is appended to `bytes`.
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

    /// A client received a line, here without its LF.
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
            self.position(index, Content::Said(sender, number), tagged.stamp, now);
            return Received::Said(sender, number);
        }
        self.check_server_line(index, line, &tagged, now)
    }

    /// Whether the line was sent to the room of this receiver, by a sender that it must receive,
    /// with these tags.
    fn is_for(
        &self,
        index: usize,
        tagged: &Tagged<'_>,
        prefix: &[u8],
        sender: u16,
        number: u32,
    ) -> bool {
        let (receiver, charset) = (&self.receivers[index], self.receivers[index].settings.charset);
        self.senders.get(usize::from(sender)).is_some_and(|said| {
            said.room == receiver.room
                && number < said.sent
                && said.prefixes[charset] == prefix
                && (!receiver.settings.tags || said.tails[charset] == tagged.tail)
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
        // Of the lobby, on the way in.
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
            self.position(index, content, tagged.stamp, now);
            return Received::Other;
        }
        // An answer that came before.
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

    /// A client has left the room or closed its connection. Content was due before is checked when its
    /// exit is in the transcript.
    fn leave(&mut self, index: usize) {
        let receiver = &mut self.receivers[index];
        if receiver.membership == Membership::Inside {
            receiver.membership = Membership::Left;
        }
    }

    /// The server has dropped a client.
    pub fn mark_dropped(&mut self, index: usize, why: &str) {
        self.receivers[index].membership = Membership::Dropped;
        self.fault(index, Kind::Dropped, |_| why.to_owned());
    }

    /// Ids grow; only answers may have the same as what came before.
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

    /// Assigns a received line to its position in the transcript.
    fn position(&mut self, index: usize, content: Content, stamp: u64, now: u64) {
        let receiver = &mut self.receivers[index];
        receiver.pending.push_back(Pending { content, stamp });
        if receiver.pending.len() > PENDING_MAX {
            self.skip_first_pending(index);
        }
        self.follow(index, now);
    }

    /// Compares the pending lines of a receiver with the transcript; a writer appends to it.
    pub fn follow(&mut self, index: usize, now: u64) {
        if !self.find_start(index) {
            return;
        }
        while let Some(&Pending { content, stamp }) = self.receivers[index].pending.front() {
            let receiver = &mut self.receivers[index];
            let transcript = &mut self.transcripts[receiver.room];
            while transcript
                .get(receiver.cursor)
                .is_some_and(|entry| !receiver.must_receive(entry.content))
            {
                receiver.cursor += 1;
            }
            let position = match transcript.get(receiver.cursor) {
                Some(entry) if entry.content == content => receiver.cursor,
                _ => match find(transcript, &self.senders, receiver, content) {
                    Some(position) => position,
                    None if receiver.is_writer()
                        && receiver.cursor == transcript.length()
                        && is_next(&self.senders, content) =>
                    {
                        self.write(index, content, stamp, now)
                    }
                    None => break,
                },
            };
            self.receivers[index].pending.pop_front();
            self.mark_received(index, position, content, stamp);
        }
        self.end_visit(index);
    }

    /// A visitor receives the lines after its own join.
    fn find_start(&mut self, index: usize) -> bool {
        let receiver = &mut self.receivers[index];
        if receiver.start.is_none() && receiver.visits > 0 {
            receiver.start = self.transcripts[receiver.room]
                .join(receiver.nick.as_bytes(), receiver.visits - 1)
                .map(|join| join + 1);
            receiver.cursor = receiver.start.unwrap_or(0);
        }
        receiver.start.is_some()
    }

    fn write(&mut self, index: usize, content: Content, stamp: u64, now: u64) -> usize {
        let transcript = &mut self.transcripts[self.receivers[index].room];
        let position = transcript.length();
        let is_possible = transcript.write(content, stamp, index);
        match content {
            Content::Said(sender, number) => {
                let said = &self.senders[usize::from(sender)];
                if said.is_udp && number < said.written {
                    let kind = if said.position(number).is_some() {
                        Kind::Doubled
                    } else {
                        Kind::Reordered
                    };
                    let client = said.client;
                    self.fault(client, kind, |_| {
                        format!("its line number {number} came again or too late")
                    });
                }
                self.senders[usize::from(sender)].write(number, position, now);
            }
            Content::Presence(number) if !is_possible => {
                let line = text(transcript.presence_text(number));
                self.fault(index, Kind::Doubled, |_| {
                    format!("joined twice, or left twice: {line}")
                });
            }
            Content::Presence(_) => {}
        }
        position
    }

    fn mark_received(&mut self, index: usize, position: usize, content: Content, stamp: u64) {
        let receiver = &mut self.receivers[index];
        let transcript = &mut self.transcripts[receiver.room];
        let (is_new, cursor) = (receiver.mark_received(position), receiver.cursor);
        if !transcript.stamp(position, stamp) {
            let by = transcript.get(position).map_or(0, |entry| entry.by);
            let why = |checker: &Checker| {
                format!(
                    "{} with another id or time than client {by} received",
                    checker.describe_content(index, content)
                )
            };
            self.fault(index, Kind::Differing, why);
        }
        if position == cursor {
            self.receivers[index].cursor += 1;
        } else if position > cursor {
            self.receivers[index].cursor = position + 1;
            let why = |checker: &Checker| {
                format!(
                    "expected {}, got {}",
                    checker.describe_position(index, cursor),
                    checker.describe_content(index, content)
                )
            };
            // Counted when it is certain that what was jumped over doesn't come later.
            self.describe(index, Kind::Lost, why);
        } else if !is_new {
            let why = |checker: &Checker| {
                format!(
                    "expected {}, got {} again",
                    checker.describe_position(index, cursor),
                    checker.describe_content(index, content)
                )
            };
            self.fault(index, Kind::Doubled, why);
        } else {
            // After a later line of the same sender, or only of another sender.
            let is_overtaken = |&(sender, number): &(u16, u32)| {
                let said = &self.senders[usize::from(sender)];
                (number + 1..said.written)
                    .map_while(|number| said.position(number))
                    .take_while(|&position| position < cursor)
                    .any(|position| self.receivers[index].has_received(position))
            };
            let said = if let Content::Said(sender, number) = content {
                Some((sender, number))
            } else {
                None
            };
            let kind = if said.as_ref().is_some_and(is_overtaken) {
                Kind::Reordered
            } else {
                Kind::Differing
            };
            let why = |checker: &Checker| {
                format!(
                    "expected {}, got {} too late",
                    checker.describe_position(index, cursor),
                    checker.describe_content(index, content)
                )
            };
            self.fault(index, kind, why);
        }
    }

    /// A visitor has left: once that is in the transcript, it must have received everything before.
    fn end_visit(&mut self, index: usize) {
        let receiver = &self.receivers[index];
        if receiver.membership != Membership::Left {
            return;
        }
        let leave =
            self.transcripts[receiver.room].leave(receiver.nick.as_bytes(), receiver.visits - 1);
        if let Some((start, leave)) = receiver.start.zip(leave) {
            self.check_range(index, start, leave);
            self.receivers[index].membership = Membership::Outside;
            self.receivers[index].pending.clear();
        }
    }

    /// Checks what a receiver should have received in these positions.
    fn check_range(&mut self, index: usize, start: usize, end: usize) {
        let receiver = &self.receivers[index];
        let entries = self.transcripts[receiver.room].from(start);
        let due =
            (start..end).zip(entries).filter(|(_, entry)| receiver.must_receive(entry.content));
        let lost: Vec<(usize, Entry)> = due
            .filter(|&(position, _)| !receiver.has_received(position))
            .map(|(position, &entry)| (position, entry))
            .collect();
        let strange = if self.has_writers(receiver.room) { receiver.pending.len() } else { 0 };
        let first = receiver.pending.front().copied();
        for (position, entry) in lost {
            self.fault(index, Kind::Lost, |checker| {
                let content = checker.describe_content(index, entry.content);
                format!("it never received {content}, which client {} did (position {position} of {start} to {end})", entry.by)
            });
        }
        for _ in 0..strange {
            self.fault(index, Kind::Differing, |checker| {
                let content = first.map_or(String::new(), |first| checker.describe_content(index, first.content));
                format!(
                    "it received {content}, which no other client did ({strange} lines from there on)"
                )
            });
        }
    }

    /// A client has closed its connection: what was due before must have arrived.
    pub fn end_connection(&mut self, index: usize) {
        for reply in std::mem::take(&mut self.receivers[index].replies) {
            self.fault(index, Kind::Lost, |_| {
                format!("the answer {reply:?} did not come before the end of the connection")
            });
        }
        self.leave(index);
    }

    /// The final checks, when no more lines will arrive.
    pub fn finish(&mut self) {
        for index in 0..self.receivers.len() {
            let receiver = &self.receivers[index];
            if let (Membership::Inside | Membership::Left, Some(start)) =
                (receiver.membership, receiver.start)
            {
                let end = self.transcripts[receiver.room].length();
                self.check_range(index, start, end);
            }
            if self.receivers[index].membership != Membership::Dropped {
                for reply in std::mem::take(&mut self.receivers[index].replies) {
                    self.fault(index, Kind::Lost, |_| format!("the answer {reply:?} never came"));
                }
            }
        }
        for sender in 0..self.senders.len() {
            let (client, room) = (self.senders[sender].client, self.senders[sender].room);
            // Lines of a dropped connection may never have been accepted, and without a writer this
            // is unknown.
            if self.receivers[client].membership == Membership::Dropped || !self.has_writers(room) {
                continue;
            }
            for number in self.senders[sender].missing().collect::<Vec<_>>() {
                self.fault(client, Kind::Lost, |checker| {
                    format!(
                        "no client received {}",
                        checker.describe_content(client, Content::Said(sender as u16, number))
                    )
                });
            }
        }
    }

    /// The server has stopped: clients that were still connected must have received its goodbye.
    pub fn check_goodbyes(&mut self, there: &[usize]) {
        for &index in there {
            if !self.receivers[index].is_udp && !self.receivers[index].has_goodbye {
                self.report_missing(index, "it was not told that the server stops");
            }
        }
    }

    /// Something else that a client was due.
    pub fn report_missing(&mut self, index: usize, content: &str) {
        self.fault(index, Kind::Lost, |_| content.to_owned());
    }

    fn fault(&mut self, index: usize, kind: Kind, why: impl FnOnce(&Checker) -> String) {
        let mut faults = std::mem::take(&mut self.faults);
        faults.note(&self.receivers[index], index, kind, || why(self));
        self.faults = faults;
    }

    /// Describes a fault that is counted when it is certain.
    fn describe(&mut self, index: usize, kind: Kind, why: impl FnOnce(&Checker) -> String) {
        let mut faults = std::mem::take(&mut self.faults);
        faults.describe(&self.receivers[index], index, kind, || why(self));
        self.faults = faults;
    }

    /// Skips what blocks a transcript: a line that no client received, or only one. To be called
    /// from time to time.
    pub fn skip_blockages(&mut self, now: u64) {
        self.last_lengths.resize(self.transcripts.len(), usize::MAX);
        for room in 0..self.transcripts.len() {
            let length = self.transcripts[room].length();
            if std::mem::replace(&mut self.last_lengths[room], length) != length {
                continue;
            }
            let waits = |receiver: &Receiver| {
                receiver.room == room && !receiver.pending.is_empty() && receiver.start.is_some()
            };
            let stuck: Vec<usize> =
                (0..self.receivers.len()).filter(|&index| waits(&self.receivers[index])).collect();
            for index in stuck {
                self.follow(index, now);
                while let Some(&Pending { content, stamp }) = self.receivers[index].pending.front()
                {
                    let (receiver, transcript) = (&self.receivers[index], &self.transcripts[room]);
                    if receiver.cursor < transcript.length() && !receiver.is_udp {
                        // It did not receive its next line, and no other client received this one.
                        self.skip_first_pending(index);
                    } else if receiver.is_writer() {
                        self.write(index, content, stamp, now);
                    } else {
                        break;
                    }
                    self.follow(index, now);
                }
            }
        }
    }

    fn skip_first_pending(&mut self, index: usize) {
        let Some(first) = self.receivers[index].pending.pop_front() else { return };
        let cursor = self.receivers[index].cursor;
        let why = |checker: &Checker| {
            format!(
                "expected {}, got {}",
                checker.describe_position(index, cursor),
                checker.describe_content(index, first.content)
            )
        };
        self.fault(index, Kind::Differing, why);
    }

    /// Whether all connected clients have received all lines and all answers.
    pub fn is_quiet(&self) -> bool {
        let is_done = |receiver: &Receiver| {
            let entries = self.transcripts[receiver.room].from(receiver.cursor);
            let has_all = receiver.pending.is_empty()
                && !entries.iter().any(|entry| receiver.must_receive(entry.content));
            receiver.is_udp
                || match receiver.membership {
                    Membership::LoggingIn | Membership::Outside => receiver.replies.is_empty(),
                    Membership::Inside => receiver.replies.is_empty() && has_all,
                    Membership::Left => false,
                    Membership::Dropped => true,
                }
        };
        let is_heard = |sender: &Sender| {
            sender.is_udp
                || sender.sent == sender.written
                || self.receivers[sender.client].membership == Membership::Dropped
        };
        self.senders.iter().all(is_heard) && self.receivers.iter().all(is_done)
    }

    /// By room: how many lines its slowest TCP receiver lags.
    pub fn lags(&self) -> Vec<usize> {
        let mut lags = vec![0; self.transcripts.len()];
        for receiver in &self.receivers {
            if !receiver.is_udp
                && receiver.membership == Membership::Inside
                && receiver.start.is_some()
            {
                let lag = self.transcripts[receiver.room].length().saturating_sub(receiver.cursor);
                lags[receiver.room] = lag.max(lags[receiver.room]);
            }
        }
        lags
    }

    fn has_writers(&self, room: usize) -> bool {
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

    fn describe_position(&self, index: usize, mut position: usize) -> String {
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

    fn describe_content(&self, index: usize, content: Content) -> String {
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

/// Where something stands that is not the next.
fn find(
    transcript: &Transcript,
    senders: &[Sender],
    receiver: &Receiver,
    content: Content,
) -> Option<usize> {
    let is_same = |entry: &Entry| entry.content == content;
    let ahead = || {
        let near = transcript.from(receiver.cursor);
        near[..near.len().min(LOOK_AHEAD)].iter().position(is_same).map(|at| receiver.cursor + at)
    };
    let Content::Said(sender, number) = content else { return ahead() };
    let said = &senders[usize::from(sender)];
    let position = said.position(number)?;
    match (said.is_udp, receiver.is_udp) {
        (false, _) => Some(position),
        // Such a line may have been doubled on its way to the server, and stand twice, or will.
        (true, false) => ahead(),
        (true, true) => ahead().or(Some(position)),
    }
}

/// Whether a line follows the last one of its sender, so that its receiver has missed none.
fn is_next(senders: &[Sender], content: Content) -> bool {
    match content {
        Content::Said(sender, number) => {
            let sender = &senders[usize::from(sender)];
            sender.is_udp || number == sender.written
        }
        Content::Presence(_) => true,
    }
}

#[cfg(test)]
mod tests;
