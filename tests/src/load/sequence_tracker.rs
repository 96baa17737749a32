//! What one receiver has received of each sender's numbered lines, and what is wrong with it.

use serde::Serialize;
use std::ops::{AddAssign, Range};

/// Lines that were not as they should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Never came.
    pub lost: u64,
    /// Came again.
    pub doubled: u64,
    /// Came after a later line of the same sender; or a member received all lines, but in another
    /// order than the others.
    pub reordered: u64,
    /// Came with other bytes than were sent, or to a client for which they were not meant. Then the
    /// original line counts as lost, too.
    pub wrong: u64,
}

impl Tally {
    /// Whether everything was right.
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

/// One receiver's view of one room's senders.
#[derive(Debug)]
pub struct SequenceTracker {
    /// By the sender's place in the room: the number that should come next. `None` if this receiver
    /// came later and has received nothing from the sender yet.
    next: Box<[Option<u32>]>,
    /// Numbers that were skipped, with the sender's place.
    missing: Vec<(usize, Range<u32>)>,
    /// A hash of all lines in the order in which they came.
    order: u64,
    tally: Tally,
}

/// What an arrival was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A new line, later than all earlier ones of its sender. With the numbers before it that are
    /// missing for now.
    New(Range<u32>),
    /// A line that was missing.
    Late,
    /// A line that was received before.
    Duplicate,
}

impl SequenceTracker {
    /// For a receiver that is there before the first line.
    pub fn from_start(senders: usize) -> SequenceTracker {
        SequenceTracker {
            next: vec![Some(0); senders].into(),
            missing: Vec::new(),
            order: 0,
            tally: Tally::default(),
        }
    }

    /// For a receiver that comes later.
    pub fn from_now(senders: usize) -> SequenceTracker {
        SequenceTracker { next: vec![None; senders].into(), ..SequenceTracker::from_start(0) }
    }

    /// Notes a line of the sender in `place`.
    pub fn record(&mut self, place: usize, number: u32) -> Arrival {
        self.order = (self.order ^ (place as u64) << 32 ^ u64::from(number))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29);
        let next = self.next[place].unwrap_or(number);
        if number >= next {
            self.next[place] = Some(number + 1);
            if number > next {
                self.missing.push((place, next..number));
            }
            return Arrival::New(next..number);
        }
        let found = self
            .missing
            .iter()
            .position(|(other, range)| *other == place && range.contains(&number));
        let Some((_, range)) = found.map(|index| self.missing.swap_remove(index)) else {
            self.tally.doubled += 1;
            return Arrival::Duplicate;
        };
        let around = [range.start..number, number + 1..range.end];
        self.missing.extend(
            around.into_iter().filter(|range| !range.is_empty()).map(|range| (place, range)),
        );
        self.tally.reordered += 1;
        Arrival::Late
    }

    /// The number that should come next from the sender in `place`; `None` if nothing has come from
    /// it yet.
    pub fn next(&self, place: usize) -> Option<u32> {
        self.next[place]
    }

    /// Notes a line that cannot be right.
    pub fn record_wrong(&mut self) {
        self.tally.wrong += 1;
    }

    /// The result. `sent` gives, for each sender's place, how many lines it said; `None` for
    /// senders that did not stay to the end, and for the receiver's own lines.
    pub fn tally(&self, sent: impl Iterator<Item = Option<u32>>) -> Tally {
        let never =
            self.next.iter().zip(sent).map(|(next, sent)| {
                u64::from(next.zip(sent).map_or(0, |(next, sent)| sent - next))
            });
        let jumped: u64 = self.missing.iter().map(|(_, range)| range.len() as u64).sum();
        Tally { lost: never.sum::<u64>() + jumped, ..self.tally }
    }

    /// The same for two receivers of the same lines in the same order.
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
    fn each_fault_is_told_from_the_others() {
        assert!(of(&[0, 1, 2], 3).is_clean());
        assert_eq!(of(&[0, 2], 3), Tally { lost: 1, ..Tally::default() });
        assert_eq!(of(&[0, 1], 3), Tally { lost: 1, ..Tally::default() });
        assert_eq!(of(&[0, 1, 1, 2], 3), Tally { doubled: 1, ..Tally::default() });
        assert_eq!(of(&[0, 2, 1], 3), Tally { reordered: 1, ..Tally::default() });
        assert_eq!(of(&[0, 3, 1, 2, 2], 5), Tally { lost: 1, doubled: 1, reordered: 2, wrong: 0 });
    }

    #[test]
    fn who_comes_later_misses_only_what_follows_the_first_line_it_hears() {
        let mut tracker = SequenceTracker::from_now(2);
        assert_eq!(tracker.record(1, 70), Arrival::New(70..70));
        assert_eq!(tracker.record(1, 72), Arrival::New(71..72));
        assert_eq!(tracker.tally([None, None].into_iter()), Tally { lost: 1, ..Tally::default() });
    }

    #[test]
    fn another_order_of_two_senders_lines_shows() {
        let order = |lines: &[(usize, u32)]| {
            let mut tracker = SequenceTracker::from_start(2);
            for &(place, number) in lines {
                tracker.record(place, number);
            }
            tracker.order()
        };
        assert_eq!(order(&[(0, 0), (1, 0), (0, 1)]), order(&[(0, 0), (1, 0), (0, 1)]));
        assert_ne!(order(&[(0, 0), (1, 0), (0, 1)]), order(&[(1, 0), (0, 0), (0, 1)]));
    }

    proptest! {
        #[test]
        fn the_balance_is_that_of_a_plain_count(numbers in prop::collection::vec(0..40_u32, 0..80)) {
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
