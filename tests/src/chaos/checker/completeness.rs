//! Checks that clients have received everything: during the run, after a visit, and at the end.

use super::Checker;
use crate::chaos::faults::Kind;
use crate::chaos::receiver::{Membership, Receiver};
use crate::chaos::sender::Sender;
use crate::chaos::transcript::{Content, Entry};

impl Checker {
    /// Checks that a receiver has received everything in this range of the transcript.
    pub(super) fn check_range(&mut self, index: usize, start: usize, end: usize) {
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
                format!(
                    "it never received {content}, which client {} did (position {position} of \
                    {start} to {end})",
                    entry.by
                )
            });
        }
        for _ in 0..strange {
            self.fault(index, Kind::Differing, |checker| {
                let content = first
                    .map_or(String::new(), |first| checker.describe_content(index, first.content));
                format!(
                    "it received {content}, which no other client did ({strange} lines from there \
                     on)"
                )
            });
        }
    }

    /// A client has closed its connection. All its answers must have arrived.
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
            // The server may not have accepted the last lines of a dropped connection. In a room
            // without a writer it is unknown which lines arrived.
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
        let is_complete = |sender: &Sender| {
            sender.is_udp
                || sender.sent == sender.written
                || self.receivers[sender.client].membership == Membership::Dropped
        };
        self.senders.iter().all(is_complete) && self.receivers.iter().all(is_done)
    }

    /// By room: how many lines the slowest TCP receiver lags behind.
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
}
