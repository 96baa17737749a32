//! A client that sends lines, and its lines in flight.

use std::collections::VecDeque;

/// A line that some member has not read after this time, in ns, no longer counts in the window: it
/// may be lost, and the load must go on.
const WINDOW_NANOS_MAX: u64 = 2_000_000_000;

/// One sender.
#[derive(Debug)]
pub struct Sender {
    /// The client's index.
    pub client: usize,
    /// The index of its room.
    pub room: usize,
    /// Its index among the room's senders.
    pub index_in_room: usize,
    /// What the server puts before its lines.
    pub prefix: Vec<u8>,
    /// What the client puts before its lines.
    pub head: Vec<u8>,
    /// How many members receive its lines.
    receivers: u32,
    /// The number of the first line in `flights`.
    first: u32,
    /// Its lines, beginning with the first that some member has not read.
    flights: VecDeque<Flight>,
}

/// A line in flight.
#[derive(Clone, Copy, Debug)]
struct Flight {
    /// When it was sent, or was due, in ns.
    since: u64,
    /// Members that have not read it yet.
    waiting: u32,
}

impl Sender {
    /// A sender that has sent nothing yet.
    pub fn new(
        client: usize,
        room: usize,
        index_in_room: usize,
        prefix: Vec<u8>,
        receivers: usize,
    ) -> Sender {
        Sender {
            client,
            room,
            index_in_room,
            prefix,
            head: Vec::new(),
            receivers: receivers as u32,
            first: 0,
            flights: VecDeque::new(),
        }
    }

    /// How many lines it has sent.
    pub fn sent(&self) -> u32 {
        self.first + self.flights.len() as u32
    }

    /// Sends a line at `since`, or late if it was due at `since`. Returns the line's number.
    pub fn send(&mut self, since: u64) -> u32 {
        self.flights.push_back(Flight { since, waiting: self.receivers });
        let number = self.sent() - 1;
        // Without receivers the line has arrived already.
        self.remove_finished();
        number
    }

    /// A member has read one of its lines. Returns how long the line was in flight; `None` if all
    /// members have already read it or lost it.
    pub fn received(&mut self, number: u32, now: u64) -> Option<u64> {
        let flight = self.flights.get_mut(number.checked_sub(self.first)? as usize)?;
        flight.waiting = flight.waiting.saturating_sub(1);
        let since = flight.since;
        self.remove_finished();
        Some(now.saturating_sub(since))
    }

    /// A member has read a later line, so that this one counts as lost for the member.
    pub fn missed(&mut self, number: u32) {
        let index = number.checked_sub(self.first).map(|index| index as usize);
        if let Some(flight) = index.and_then(|index| self.flights.get_mut(index)) {
            flight.waiting = flight.waiting.saturating_sub(1);
            self.remove_finished();
        }
    }

    /// A member no longer receives lines. It has received everything before `next`.
    pub fn remove_receiver(&mut self, next: u32) {
        (next..self.sent()).for_each(|number| self.missed(number));
        self.receivers -= 1;
    }

    /// Whether all its lines have been read.
    pub fn is_quiet(&self) -> bool {
        self.flights.is_empty()
    }

    /// How many lines it may send now if at most `window` may be in flight.
    pub fn sendable(&self, window: usize, now: u64) -> usize {
        if self.flights.len() < window {
            return window - self.flights.len();
        }
        let given_up = self.flights.partition_point(|flight| flight.since + WINDOW_NANOS_MAX < now);
        window.saturating_sub(self.flights.len() - given_up)
    }

    fn remove_finished(&mut self) {
        while self.flights.front().is_some_and(|flight| flight.waiting == 0) {
            self.flights.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_leaves_the_window_when_every_member_has_read_it() {
        let mut sender = Sender::new(0, 0, 0, Vec::new(), 2);
        assert_eq!([sender.send(10), sender.send(20)], [0, 1]);
        assert_eq!(sender.sendable(2, 30), 0);
        assert_eq!(sender.received(0, 30), Some(20));
        assert_eq!(sender.received(1, 31), Some(11));
        assert_eq!(sender.sendable(2, 31), 0);
        assert_eq!(sender.received(0, 40), Some(30));
        assert_eq!((sender.sendable(2, 40), sender.sent(), sender.is_quiet()), (1, 2, false));
        assert_eq!(sender.received(1, 50), Some(30));
        assert_eq!((sender.sendable(2, 50), sender.sent(), sender.is_quiet()), (2, 2, true));
        assert_eq!(sender.received(1, 60), None, "once more than there are members");
    }

    #[test]
    fn a_lost_line_does_not_hold_the_load_up_for_ever() {
        let mut sender = Sender::new(0, 0, 0, Vec::new(), 1);
        sender.send(0);
        sender.send(0);
        sender.missed(0);
        assert_eq!((sender.sendable(2, 0), sender.received(1, 5)), (1, Some(5)));
        sender.send(10);
        assert_eq!(sender.sendable(1, 10 + WINDOW_NANOS_MAX), 0);
        assert_eq!(sender.sendable(1, 11 + WINDOW_NANOS_MAX), 1);
        assert_eq!(
            sender.received(2, 20 + WINDOW_NANOS_MAX),
            Some(10 + WINDOW_NANOS_MAX),
            "a late line still has its send time"
        );
    }
}
