//! Tracks the numbered lines of each sender at one receiver. Finds lost, doubled and reordered
//! lines.

use serde::Serialize;
use std::ops::{AddAssign, Range};

/// The number of faulty lines by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Lines that never arrived.
    pub lost: u64,
    /// Lines that arrived again.
    pub doubled: u64,
    /// Lines that arrived after a later line of the same sender; and members that received all
    /// lines, but in another order than the others.
    pub reordered: u64,
    /// Lines that arrived changed, or at a client for which they were not meant. The original line
    /// counts as lost, too.
    pub wrong: u64,
}

impl Tally {
    /// Whether there was no fault.
    pub fn is_clean(&self) -> bool {
        *self == Tally::default()
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.reordered += other.reordered;
        self.wrong += other.wrong;
    }
}

/// What one receiver has received from the senders of its room.
#[derive(Debug)]
pub struct SequenceTracker {
    /// By sender: the number that should come next. `None` if this receiver came late and has
    /// received nothing from the sender yet.
    next: Box<[Option<u32>]>,
    /// Numbers that were skipped, with the index of their sender in the room.
    missing: Vec<(usize, Range<u32>)>,
    /// A hash of all lines in the order in which they arrived.
    order: u64,
    tally: Tally,
}

/// What kind of line has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A line with a higher number than all before it. The range has the numbers that it skipped,
    /// which are missing for now.
    New(Range<u32>),
    /// A line that was missing.
    Late,
    /// A line that was received before.
    Duplicate,
}

impl SequenceTracker {
    /// A tracker for a receiver that is there before the first line.
    pub fn from_start(senders: usize) -> SequenceTracker {
        SequenceTracker {
            next: vec![Some(0); senders].into(),
            missing: Vec::new(),
            order: 0,
            tally: Tally::default(),
        }
    }

    /// A tracker for a receiver that comes later.
    pub fn from_now(senders: usize) -> SequenceTracker {
        SequenceTracker { next: vec![None; senders].into(), ..SequenceTracker::from_start(0) }
    }

    /// Records a line of the sender with this index in the room.
    pub fn record(&mut self, sender: usize, number: u32) -> Arrival {
        self.order = (self.order ^ (sender as u64) << 32 ^ u64::from(number))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29);
        let next = self.next[sender].unwrap_or(number);
        if number >= next {
            self.next[sender] = Some(number + 1);
            if number > next {
                self.missing.push((sender, next..number));
            }
            return Arrival::New(next..number);
        }
        let found = self
            .missing
            .iter()
            .position(|(other, range)| *other == sender && range.contains(&number));
        let Some((_, range)) = found.map(|index| self.missing.swap_remove(index)) else {
            self.tally.doubled += 1;
            return Arrival::Duplicate;
        };
        let around = [range.start..number, number + 1..range.end];
        self.missing.extend(
            around.into_iter().filter(|range| !range.is_empty()).map(|range| (sender, range)),
        );
        self.tally.reordered += 1;
        Arrival::Late
    }

    /// The number that should come next from a sender; `None` if nothing has come from it yet.
    pub fn next(&self, sender: usize) -> Option<u32> {
        self.next[sender]
    }

    /// Records a line that this receiver must not receive.
    pub fn record_wrong(&mut self) {
        self.tally.wrong += 1;
    }

    /// The faults so far. `sent` yields for each sender how many lines it has sent; `None` for
    /// senders that did not stay to the end, and for the receiver itself.
    pub fn tally(&self, sent: impl Iterator<Item = Option<u32>>) -> Tally {
        let never =
            self.next.iter().zip(sent).map(|(next, sent)| {
                u64::from(next.zip(sent).map_or(0, |(next, sent)| sent - next))
            });
        let jumped: u64 = self.missing.iter().map(|(_, range)| range.len() as u64).sum();
        Tally { lost: never.sum::<u64>() + jumped, ..self.tally }
    }

    /// A hash of the received lines and their order. It is equal for receivers of the same lines in
    /// the same order.
    pub fn order(&self) -> u64 {
        self.order
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn of(numbers: &[u32], sent: u32) -> Tally {
        let mut tracker = SequenceTracker::from_start(1);
        for &number in numbers {
            tracker.record(0, number);
        }
        tracker.tally([Some(sent)].into_iter())
    }

    #[test]
    fn each_kind_of_fault_is_counted() {
        assert!(of(&[0, 1, 2], 3).is_clean());
        assert_eq!(of(&[0, 2], 3), Tally { lost: 1, ..Tally::default() });
        assert_eq!(of(&[0, 1], 3), Tally { lost: 1, ..Tally::default() });
        assert_eq!(of(&[0, 1, 1, 2], 3), Tally { doubled: 1, ..Tally::default() });
        assert_eq!(of(&[0, 2, 1], 3), Tally { reordered: 1, ..Tally::default() });
        assert_eq!(of(&[0, 3, 1, 2, 2], 5), Tally { lost: 1, doubled: 1, reordered: 2, wrong: 0 });
    }

    #[test]
    fn a_receiver_that_comes_later_misses_only_lines_after_the_first_it_receives() {
        let mut tracker = SequenceTracker::from_now(2);
        assert_eq!(tracker.record(1, 70), Arrival::New(70..70));
        assert_eq!(tracker.record(1, 72), Arrival::New(71..72));
        assert_eq!(tracker.tally([None, None].into_iter()), Tally { lost: 1, ..Tally::default() });
    }

    #[test]
    fn another_order_of_two_senders_lines_has_another_hash() {
        let order = |lines: &[(usize, u32)]| {
            let mut tracker = SequenceTracker::from_start(2);
            for &(sender, number) in lines {
                tracker.record(sender, number);
            }
            tracker.order()
        };
        assert_eq!(order(&[(0, 0), (1, 0), (0, 1)]), order(&[(0, 0), (1, 0), (0, 1)]));
        assert_ne!(order(&[(0, 0), (1, 0), (0, 1)]), order(&[(1, 0), (0, 0), (0, 1)]));
    }

    proptest! {
        #[test]
        fn the_tally_is_that_of_a_simple_count(numbers in prop::collection::vec(0..40_u32, 0..80)) {
            let (mut seen, mut highest) = (BTreeSet::new(), None);
            let mut expected = Tally::default();
            for &number in &numbers {
                if !seen.insert(number) {
                    expected.doubled += 1;
                } else if highest > Some(number) {
                    expected.reordered += 1;
                }
                highest = highest.max(Some(number));
            }
            expected.lost = 40 - seen.len() as u64;
            prop_assert_eq!(of(&numbers, 40), expected);
        }
    }
}
