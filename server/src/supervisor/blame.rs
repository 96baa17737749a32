//! Finds the input or record at which processes crash: the work item that their threads were
//! processing. An item is quarantined when a second process crashes there.

use crate::segment::{Segment, Thread, Treatment, WorkItem};
use forkchat_common::ids::Slot;
use std::collections::VecDeque;

/// How many items are remembered, with one crash each.
const ITEMS_MAX: usize = 64;

/// The items at which one process has crashed so far.
#[derive(Debug, Default)]
pub(super) struct Blame {
    items: VecDeque<WorkItem>,
}

impl Blame {
    /// Counts a crash of the process in a slot. Returns the items that are quarantined because of
    /// it.
    pub fn count_crash(&mut self, segment: &Segment, slot: Slot) -> Vec<WorkItem> {
        let mut quarantined = Vec::new();
        // Which thread crashed is not visible from outside, so the items of both are counted. An
        // innocent thread is unlikely to be twice at the same item.
        let items = [Thread::Send, Thread::Receive]
            .into_iter()
            .filter_map(|thread| segment.quarantine.work_item(slot, thread));
        for item in items.filter(|&item| !segment.quarantine.is_outdated(item)) {
            if let Some(first) = self.items.iter().position(|other| other.is_same(item)) {
                self.items.remove(first);
                let item = segment.quarantine.add(item);
                log_quarantined(item);
                quarantined.push(item);
            } else {
                self.items.push_back(item);
                let too_many = self.items.len().saturating_sub(ITEMS_MAX);
                self.items.drain(..too_many);
            }
        }
        quarantined
    }
}

fn log_quarantined(quarantined: WorkItem) {
    match quarantined {
        WorkItem::Input { session, offset } => {
            log::error!(
                "two processes crashed at the input of session {session}, from byte {offset} on: \
                 the session is closed"
            );
        }
        WorkItem::Record { sequence, session, treatment: Treatment::Mute } => {
            log::error!(
                "two processes crashed at record {sequence} of session {session}: it is no longer \
                 delivered, and the session is closed"
            );
        }
        WorkItem::Record { sequence, session, .. } => {
            log::error!(
                "processes still crash at record {sequence} of session {session}: it is skipped"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::Geometry;
    use forkchat_common::ids::{Sequence, SessionId};

    #[test]
    fn crashes_of_processes_that_began_a_record_before_it_was_quarantined_change_nothing() {
        const SLOTS: u16 = 8;
        let segment = Segment::create(Geometry {
            ring_bytes: 1 << 16,
            slots: SLOTS.into(),
            sessions_max: 1,
            snapshot_bytes_max: 8,
        })
        .unwrap();
        let record = segment.log.first();
        let at = |treatment| WorkItem::Record {
            sequence: record,
            session: SessionId::new(1, 0),
            treatment,
        };
        // All processes reach the record before the first one crashes.
        (0..SLOTS).for_each(|slot| {
            segment.quarantine.enter(Slot::at(slot), Thread::Send, at(Treatment::Apply))
        });
        let mut blame = Blame::default();
        let quarantined: Vec<usize> =
            (0..SLOTS).map(|slot| blame.count_crash(segment, Slot::at(slot)).len()).collect();
        assert_eq!(quarantined, [0, 1, 0, 0, 0, 0, 0, 0]);
        (0..2).for_each(|slot| {
            segment.quarantine.enter(Slot::at(slot), Thread::Send, at(Treatment::Mute))
        });
        (0..SLOTS).for_each(|slot| drop(blame.count_crash(segment, Slot::at(slot))));
        assert_eq!(
            (
                segment.quarantine.treatment(record),
                segment.quarantine.treatment(Sequence(record.0 + 1))
            ),
            (Treatment::Skip, Treatment::Apply)
        );
    }
}
