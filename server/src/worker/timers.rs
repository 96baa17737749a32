//! Timers: what is due when. Deadlines are of any clock, the uptime of the log or an `Instant`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Timers by their deadlines.
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
    /// Sets one more.
    pub fn set(&mut self, at: At, timer: T) {
        self.heap.push(Reverse((at, timer)));
    }

    /// The next deadline.
    pub fn next(&self) -> Option<At> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes the next timer that is due at `now`.
    pub fn take_due(&mut self, now: At) -> Option<T> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, timer))| timer)
    }

    /// Whether such a timer is set.
    pub fn contains(&self, timer: &T) -> bool {
        self.heap.iter().any(|Reverse((_, other))| other == timer)
    }
}
