//! What each thread works on. A thread stores it before it touches the bytes, so the supervisor
//! knows on which input or record a process crashed. Also the list of what is quarantined.
//!
//! | two processes crashed on | then |
//! |---|---|
//! | input that is not in a record yet | no process reads that session's input again |
//! | a record | processes that apply the record from then on deliver nothing of it |
//! | that record, although its delivery was muted | processes skip the record: applying it crashes every process, so none can have applied it |
//!
//! In each case the server disconnects the session that sent the message, and sends its client the
//! reason. Rendering differs between processes, since each worker renders for its own sessions
//! only. A worker may therefore skip the delivery, and all processes still have the same state.
//!
//! ```text
//! byte   0          8              16                        4736
//!        ┌──────────┬──────────────┬───────────────────────┬─┬──────────────────────────────┬──
//!        │ count    │ last_record  │ list: 64 items of 72  │ │ slot 0: two items of 72      │ …
//!        │          │              │ bytes                 │ │ bytes, 112 bytes unused      │
//!        └──────────┴──────────────┴───────────────────────┴─┴──────────────────────────────┴──
//! ```
//!
//! A work item has four words that are written as one ([`DoubleBuffered`]): its kind, 0 for none;
//! the session's id; the input's offset or the record's sequence; the treatment.

use super::heartbeats::Thread;
use crate::ipc::value::DoubleBuffered;
use forkchat_common::ids::{Sequence, SessionId, Slot};
use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, Ordering};
use zerocopy::FromBytes;

/// The most quarantined items in the list; newer ones overwrite the oldest. An item is no older
/// than the records in the ring, and each one costs two deaths.
const QUARANTINE_MAX: usize = 64;

/// What a thread works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkItem {
    /// A session's input from an offset on. It is not in a record yet.
    Input {
        /// The session.
        session: SessionId,
        /// The offset in the session's input, in bytes.
        offset: u64,
    },
    /// A record.
    Record {
        /// The record's sequence.
        sequence: Sequence,
        /// The session that sent it; [`SessionId::NONE`] until the record is decoded.
        session: SessionId,
        /// How processes treat the record.
        treatment: Treatment,
    },
}

/// How processes treat a record. A later variant is used when processes crashed in spite of the
/// earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Treatment {
    /// The normal treatment: apply the record and deliver its output.
    Apply,
    /// Apply the record, but deliver nothing of it.
    Mute,
    /// Skip the record.
    Skip,
}

impl WorkItem {
    /// The session that sent the input or record.
    pub fn session(self) -> SessionId {
        match self {
            WorkItem::Input { session, .. } | WorkItem::Record { session, .. } => session,
        }
    }

    /// Whether both are the same input, or the same record with the same treatment.
    pub fn is_same(self, other: WorkItem) -> bool {
        match (self, other) {
            (
                WorkItem::Record { sequence, treatment, .. },
                WorkItem::Record { sequence: other, treatment: others, .. },
            ) => sequence == other && treatment == others,
            (one, other) => one == other,
        }
    }

    /// Whether both are the same record, whatever its treatment.
    pub fn is_same_record(self, other: WorkItem) -> bool {
        matches!(
            (self, other),
            (WorkItem::Record { sequence, .. }, WorkItem::Record { sequence: other, .. })
                if sequence == other
        )
    }

    fn words(self) -> [u64; 4] {
        match self {
            WorkItem::Input { session, offset } => [1, session.0, offset, 0],
            WorkItem::Record { sequence, session, treatment } => {
                [2, session.0, sequence.0, treatment as u64]
            }
        }
    }

    fn of([kind, session, position, treatment]: [u64; 4]) -> Option<WorkItem> {
        let session = SessionId(session);
        match kind {
            1 => Some(WorkItem::Input { session, offset: position }),
            2 => Some(WorkItem::Record {
                sequence: Sequence(position),
                session,
                treatment: Treatment::of(treatment),
            }),
            _ => None,
        }
    }
}

impl Treatment {
    fn of(word: u64) -> Treatment {
        match word {
            0 => Treatment::Apply,
            1 => Treatment::Mute,
            _ => Treatment::Skip,
        }
    }

    /// The treatment to use after two processes have crashed with this one.
    fn next(self) -> Treatment {
        match self {
            Treatment::Apply => Treatment::Mute,
            Treatment::Mute | Treatment::Skip => Treatment::Skip,
        }
    }
}

#[derive(FromBytes, Debug)]
#[repr(C, align(128))]
pub(super) struct State {
    /// How many items were quarantined; the latest are in `list`. Only the supervisor writes it.
    count: AtomicU64,
    /// The greatest sequence of a quarantined record.
    last_record: AtomicU64,
    list: [DoubleBuffered<4>; QUARANTINE_MAX],
    _pad: [u64; 14],
}

/// The work items of one process.
#[derive(FromBytes, Debug)]
#[repr(C, align(128))]
pub(super) struct Row {
    /// For each thread: what it works on.
    items: [DoubleBuffered<4>; 2],
    _pad: [u64; 14],
}

const _: () = assert!(size_of::<State>() == 4736 && size_of::<Row>() == 256);
const _: () = assert!(offset_of!(State, last_record) == 8 && offset_of!(State, list) == 16);

/// What all threads work on, and what is quarantined.
#[derive(Debug)]
pub struct Quarantine {
    state: &'static State,
    rows: &'static [Row],
}

impl Quarantine {
    /// The section's length in bytes, for `slots` slots.
    pub(super) fn bytes(slots: usize) -> usize {
        size_of::<State>().saturating_add(slots.saturating_mul(size_of::<Row>()))
    }

    pub(super) fn new((state, rows): (&'static State, &'static [Row])) -> Quarantine {
        Quarantine { state, rows }
    }

    /// Stores what a thread is about to work on.
    pub fn enter(&self, slot: Slot, thread: Thread, item: WorkItem) {
        self.of(slot, thread).store(item.words());
    }

    /// Clears a thread's work item: the thread has finished it.
    pub fn leave(&self, slot: Slot, thread: Thread) {
        self.of(slot, thread).store([0; 4]);
    }

    /// Clears the slot's work items before a new process starts in it, so that the supervisor
    /// doesn't attribute its predecessor's items to it.
    pub fn reset(&self, slot: Slot) {
        self.leave(slot, Thread::Receive);
        self.leave(slot, Thread::Send);
    }

    /// What a thread works on, or worked on when it died.
    pub fn work_item(&self, slot: Slot, thread: Thread) -> Option<WorkItem> {
        WorkItem::of(self.of(slot, thread).load().0)
    }

    /// Whether processes now treat the record in another way than `item` has it: a crash on `item`
    /// gives no new information then.
    pub fn is_outdated(&self, item: WorkItem) -> bool {
        matches!(
            item,
            WorkItem::Record { sequence, treatment, .. }
                if treatment < self.treatment(sequence)
        )
    }

    /// Quarantines what two processes have crashed on. Only the supervisor calls this. Returns the
    /// item with the treatment to use from now on.
    pub fn add(&self, item: WorkItem) -> WorkItem {
        let item = match item {
            WorkItem::Record { sequence, session, treatment } => {
                WorkItem::Record { sequence, session, treatment: treatment.next() }
            }
            input @ WorkItem::Input { .. } => input,
        };
        if let WorkItem::Record { sequence, .. } = item {
            self.state.last_record.fetch_max(sequence.0, Ordering::Relaxed);
        }
        let count = self.state.count.load(Ordering::Relaxed);
        self.state.list[count as usize % QUARANTINE_MAX].store(item.words());
        // SYNC quarantine: a process that sees the count sees the item.
        self.state.count.store(count + 1, Ordering::Release);
        item
    }

    /// How many items were quarantined so far.
    pub fn count(&self) -> u64 {
        // SYNC quarantine.
        self.state.count.load(Ordering::Acquire)
    }

    /// The quarantined items, oldest first: a record's latest treatment comes last.
    pub fn list(&self) -> impl Iterator<Item = WorkItem> {
        let count = self.count();
        let first = count.saturating_sub(QUARANTINE_MAX as u64);
        (first..count).filter_map(|index| {
            WorkItem::of(self.state.list[index as usize % QUARANTINE_MAX].load().0)
        })
    }

    /// How processes must treat a record.
    pub fn treatment(&self, record: Sequence) -> Treatment {
        if record.0 > self.state.last_record.load(Ordering::Relaxed) {
            return Treatment::Apply;
        }
        let here = self.list().filter_map(|item| match item {
            WorkItem::Record { sequence, treatment, .. } if sequence == record => Some(treatment),
            _ => None,
        });
        here.last().unwrap_or(Treatment::Apply)
    }

    fn of(&self, slot: Slot, thread: Thread) -> &DoubleBuffered<4> {
        &self.rows[slot.index()].items[thread as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::tests::{ME, small_segment};

    #[test]
    fn a_record_is_applied_then_muted_then_skipped() {
        let segment = small_segment(1 << 16, 1);
        let (record, session) = (Sequence(77), SessionId::new(1, 3));
        let mut seen = Vec::new();
        for count in 0..3 {
            let treatment = segment.quarantine.treatment(record);
            seen.push(treatment);
            segment.quarantine.enter(
                ME,
                Thread::Send,
                WorkItem::Record { sequence: record, session, treatment },
            );
            let item = segment.quarantine.work_item(ME, Thread::Send).unwrap();
            assert_eq!((item.session(), segment.quarantine.count()), (session, count));
            segment.quarantine.add(item);
        }
        assert_eq!(seen, [Treatment::Apply, Treatment::Mute, Treatment::Skip]);
        assert_eq!(segment.quarantine.treatment(Sequence(78)), Treatment::Apply);
        segment.reset_threads(ME);
        assert_eq!(segment.quarantine.work_item(ME, Thread::Send), None);
    }
}
