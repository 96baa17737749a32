//! Assigns received lines to positions in the room's transcript. A writer appends to it.

use super::Checker;
use crate::chaos::faults::Kind;
use crate::chaos::receiver::{Membership, Pending, Receiver};
use crate::chaos::sender::Sender;
use crate::chaos::tags::text;
use crate::chaos::transcript::{Content, Entry, Transcript};

/// A receiver with this many pending lines is not only faster than the others: its lines are
/// faulty.
const PENDING_MAX: usize = 200_000;
/// How far ahead to search for a presence line, or for a line received over UDP.
const LOOK_AHEAD: usize = 20_000;

impl Checker {
    /// Assigns a received line to its position in the transcript.
    pub(super) fn assign_position(&mut self, index: usize, content: Content, stamp: u64, now: u64) {
        let receiver = &mut self.receivers[index];
        receiver.pending.push_back(Pending { content, stamp });
        if receiver.pending.len() > PENDING_MAX {
            self.skip_first_pending(index);
        }
        self.match_pending(index, now);
    }

    /// Compares the pending lines of a receiver with the transcript; a writer appends to it.
    pub fn match_pending(&mut self, index: usize, now: u64) {
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
                _ => match find_elsewhere(transcript, &self.senders, receiver, content) {
                    Some(position) => position,
                    None if receiver.is_writer()
                        && receiver.cursor == transcript.length()
                        && is_next(&self.senders, content) =>
                    {
                        self.append(index, content, stamp, now)
                    }
                    None => break,
                },
            };
            self.receivers[index].pending.pop_front();
            self.mark_received(index, position, content, stamp);
        }
        self.end_visit(index);
    }

    /// A visitor must receive the lines after its own join. Returns whether its join is in the
    /// transcript.
    fn find_start(&mut self, index: usize) -> bool {
        let receiver = &mut self.receivers[index];
        if receiver.start.is_none() && receiver.visits > 0 {
            receiver.start = self.transcripts[receiver.room]
                .join_position(receiver.nick.as_bytes(), receiver.visits - 1)
                .map(|join| join + 1);
            receiver.cursor = receiver.start.unwrap_or(0);
        }
        receiver.start.is_some()
    }

    /// Appends a line that a writer received to the transcript. Returns its position.
    fn append(&mut self, index: usize, content: Content, stamp: u64, now: u64) -> usize {
        let transcript = &mut self.transcripts[self.receivers[index].room];
        let position = transcript.length();
        let is_possible = transcript.append(content, stamp, index);
        match content {
            Content::Said(sender, number) => {
                let source = &self.senders[usize::from(sender)];
                if source.is_udp && number < source.written {
                    let kind = if source.position(number).is_some() {
                        Kind::Doubled
                    } else {
                        Kind::Reordered
                    };
                    let client = source.client;
                    self.fault(client, kind, |_| {
                        format!("its line number {number} came again or too late")
                    });
                }
                self.senders[usize::from(sender)].record_position(number, position, now);
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

    /// Marks a line as received. Reports a line that is out of order, doubled, or has another stamp.
    fn mark_received(&mut self, index: usize, position: usize, content: Content, stamp: u64) {
        let receiver = &mut self.receivers[index];
        let transcript = &mut self.transcripts[receiver.room];
        let (is_new, cursor) = (receiver.mark_received(position), receiver.cursor);
        if !transcript.check_stamp(position, stamp) {
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
            // The skipped lines may still come. They are counted when it is certain that they
            // don't.
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
            // It is reordered after a later line of the same sender. After a line of another sender
            // it differs.
            let is_overtaken = |&(sender, number): &(u16, u32)| {
                let source = &self.senders[usize::from(sender)];
                (number + 1..source.written)
                    .map_while(|number| source.position(number))
                    .take_while(|&position| position < cursor)
                    .any(|position| self.receivers[index].has_received(position))
            };
            let source = if let Content::Said(sender, number) = content {
                Some((sender, number))
            } else {
                None
            };
            let kind = if source.as_ref().is_some_and(is_overtaken) {
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

    /// When the leave of a visitor is in the transcript, checks that the visitor received
    /// everything before it.
    fn end_visit(&mut self, index: usize) {
        let receiver = &self.receivers[index];
        if receiver.membership != Membership::Left {
            return;
        }
        let leave = self.transcripts[receiver.room]
            .leave_position(receiver.nick.as_bytes(), receiver.visits - 1);
        if let Some((start, leave)) = receiver.start.zip(leave) {
            self.check_range(index, start, leave);
            self.receivers[index].membership = Membership::Outside;
            self.receivers[index].pending.clear();
        }
    }

    /// Skips what blocks a transcript: a line that no client received, or only one client. The
    /// caller calls it periodically.
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
                self.match_pending(index, now);
                while let Some(&Pending { content, stamp }) = self.receivers[index].pending.front()
                {
                    let (receiver, transcript) = (&self.receivers[index], &self.transcripts[room]);
                    if receiver.cursor < transcript.length() && !receiver.is_udp {
                        // This receiver missed its next line, and no other client received the line
                        // that it got instead.
                        self.skip_first_pending(index);
                    } else if receiver.is_writer() {
                        self.append(index, content, stamp, now);
                    } else {
                        break;
                    }
                    self.match_pending(index, now);
                }
            }
        }
    }

    /// Drops the first pending line of a receiver and reports it.
    pub(super) fn skip_first_pending(&mut self, index: usize) {
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
}

/// The position of a line that is not the next one of its receiver.
fn find_elsewhere(
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
    let source = &senders[usize::from(sender)];
    let position = source.position(number)?;
    match (source.is_udp, receiver.is_udp) {
        (false, _) => Some(position),
        // The line may have been doubled on its way to the server. The transcript may contain it
        // twice, now or later.
        (true, false) => ahead(),
        (true, true) => ahead().or(Some(position)),
    }
}

/// Whether a line follows the last one of its sender in the transcript, so that its receiver has
/// missed none.
fn is_next(senders: &[Sender], content: Content) -> bool {
    match content {
        Content::Said(sender, number) => {
            let sender = &senders[usize::from(sender)];
            sender.is_udp || number == sender.written
        }
        Content::Presence(_) => true,
    }
}
