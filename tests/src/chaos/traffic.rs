//! The traffic: which lines are sent when, at full speed or at a steady rate, and periodic work
//! such as reading slowly and sending lines that are too long.

use super::client::{SendStyle, Stage};
use super::participants::has_slow;
use super::receiver::{Membership, Reply};
use super::scenario::Scenario;

/// A room's senders wait for receivers that lag by more than this, so that the server has no reason
/// to drop a slow reader. In a room with a slow reader it is more than the kernel buffers for that
/// reader, and less than that and the server's `--sendq` together.
const LAG_BYTES_MAX: usize = 160 << 10;
const LAG_BYTES_MAX_SLOW: usize = 400 << 10;
/// About what the server puts before a line, tags included.
const BYTES_BEFORE_LINE: usize = 95;
/// A client with this many unsent bytes sends no more lines for now.
const UNSENT_BYTES_MAX: usize = 64 << 10;
/// How much a slow reader reads at a time, and how often, in ns.
const SLOW_BYTES: usize = 12 << 10;
const SLOW_INTERVAL: u64 = 14_000_000;
/// How often some client sends a `/ping`, and how often one sends a line that is too long, in ns.
const PING_INTERVAL: u64 = 5_000_000;
const TOO_LONG_INTERVAL: u64 = 100_000_000;
/// How often the checker looks whether a transcript is stuck, in ns.
const SKIP_INTERVAL: u64 = 200_000_000;
/// How long a client holds the rest of a line back at most, in ns.
const HOLD_TIME_MAX: u64 = 20_000_000;

/// When each kind of periodic work is due next, in ns.
#[derive(Debug, Default)]
pub(super) struct Due {
    slow: u64,
    ping: u64,
    too_long: u64,
    skip: u64,
}

impl Scenario<'_> {
    /// At full speed: each sender fills its window.
    pub(super) fn send_in_windows(&mut self) {
        let lags = self.checker.lags();
        for sender in 0..self.checker.senders.len() {
            if self.can_send(sender, &lags) {
                let sendable = self.checker.senders[sender].sendable(self.options.window, self.now);
                self.send_lines(self.checker.senders[sender].client, sendable);
            }
        }
    }

    /// At a steady rate: the senders send the lines that are due in turn.
    pub(super) fn send_at_rate(&mut self) {
        let lags = self.checker.lags();
        let count = self.checker.senders.len();
        for _ in 0..256 {
            if self.pace.take(self.now).is_none() {
                return;
            }
            let turns = (0..count).map(|i| (self.next_sender + i) % count);
            if let Some(sender) = turns.into_iter().find(|&sender| self.can_send(sender, &lags)) {
                self.next_sender = sender + 1;
                self.send_lines(self.checker.senders[sender].client, 1);
            }
        }
    }

    /// Whether a sender may send now: it is connected, holds nothing back, and none of its
    /// receivers lags too far.
    fn can_send(&self, sender: usize, lags: &[usize]) -> bool {
        let source = &self.checker.senders[sender];
        let client = &self.clients[source.client];
        client.stage == Stage::Active
            && !client.is_holding()
            && client.unsent.len() < UNSENT_BYTES_MAX
            && lags[source.room] < self.lag_max(source.room)
    }

    /// How many lines the receivers of a room may lag behind.
    fn lag_max(&self, room: usize) -> usize {
        let bytes = if has_slow(room as u32) { LAG_BYTES_MAX_SLOW } else { LAG_BYTES_MAX };
        bytes / (self.options.bytes as usize + BYTES_BEFORE_LINE)
    }

    /// A client sends this many lines, in its style.
    pub(super) fn send_lines(&mut self, index: usize, count: u32) {
        let Some(sender) = self.checker.receivers[index].sender else { return };
        for _ in 0..count {
            let client = &mut self.clients[index];
            self.checker.say(sender, self.now, &mut client.unsent);
            if client.style == SendStyle::Lines {
                self.flush(index);
            }
        }
        let client = &mut self.clients[index];
        if client.style == SendStyle::Parts
            && client.stage == Stage::Active
            && count > 0
            && !client.unsent.is_empty()
        {
            client.held = (
                self.rng.usize(1..=client.unsent.len()),
                self.now + self.rng.u64(0..HOLD_TIME_MAX),
            );
        }
        self.flush(index);
    }

    /// Periodic work: slow readers read, clients send the rest of held lines, a `/ping`, or a line
    /// that is too long.
    pub(super) fn do_periodic_work(&mut self) {
        self.do_reader_work();
        if self.now > self.due.ping {
            self.due.ping = self.now + PING_INTERVAL;
            let index = self.rng.usize(0..self.clients.len());
            if self.clients[index].stage == Stage::Active && !self.clients[index].is_holding() {
                self.ping(index);
            }
        }
        if self.now > self.due.too_long {
            self.due.too_long = self.now + TOO_LONG_INTERVAL;
            let index = self.rng.usize(0..self.clients.len());
            let is_udp = self.checker.receivers[index].is_udp;
            if self.clients[index].stage == Stage::Active
                && !self.clients[index].is_holding()
                && !is_udp
            {
                self.checker.receivers[index].replies.push_back(Reply::TooLong);
                let mut line = vec![b'x'; self.rng.usize(4_096..20_000)];
                line.push(b'\n');
                self.clients[index].held =
                    (self.rng.usize(1..line.len()), self.now + self.rng.u64(0..HOLD_TIME_MAX));
                self.send(index, &line);
            }
        }
    }

    /// The part of the periodic work that continues when no more lines are sent.
    pub(super) fn do_reader_work(&mut self) {
        if self.now > self.due.slow {
            self.due.slow = self.now + SLOW_INTERVAL;
            for index in 0..self.clients.len() {
                let client = &self.clients[index];
                if client.is_slow && client.stage != Stage::Gone {
                    self.receive(index, SLOW_BYTES);
                }
            }
        }
        if self.now > self.due.skip {
            self.due.skip = self.now + SKIP_INTERVAL;
            self.checker.skip_blockages(self.now);
        }
        for index in 0..self.clients.len() {
            // A client that has received all its lines may wait until other clients have written
            // them into the transcript.
            if !self.checker.receivers[index].pending.is_empty()
                || self.checker.receivers[index].membership == Membership::Left
            {
                self.checker.match_pending(index, self.now);
            }
            if !self.clients[index].unsent.is_empty() && self.clients[index].stage != Stage::Gone {
                self.flush(index);
            }
        }
    }
}
