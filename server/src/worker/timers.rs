//! A queue of timers. Deadlines may be of any clock: the log's uptime or an `Instant`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Timers, ordered by their deadlines.
#[derive(Debug)]
pub struct Timers<At, T> {
    heap: BinaryHeap<Reverse<(At, T)>>,
}

impl<At: Ord + Copy, T: Ord> Default for Timers<At, T> {
    fn default() -> Self {
        Timers { heap: BinaryHeap::new() }
    }
}

impl<At: Ord + Copy, T: Ord> Timers<At, T> {
    /// Adds a timer, which is due at `at`.
    pub fn set(&mut self, at: At, timer: T) {
        self.heap.push(Reverse((at, timer)));
    }

    /// The next deadline.
    pub fn next(&self) -> Option<At> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Removes and returns the earliest timer if it is due at `now`.
    pub fn take_due(&mut self, now: At) -> Option<T> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, timer))| timer)
    }

    /// Whether an equal timer is set. Takes time proportional to the number of timers.
    pub fn contains(&self, timer: &T) -> bool {
        self.heap.iter().any(|Reverse((_, other))| other == timer)
    }
}
