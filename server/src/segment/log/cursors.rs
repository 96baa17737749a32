//! How far each process has read the log and written its sessions' output.
//!
//! ```text
//! byte, for each slot
//!    0            8                 16                        128
//!    ┌────────────┬─────────────────┬─────────────────────────┐
//!    │ cursor     │ flushed_through │ unused                  │
//!    └────────────┴─────────────────┴─────────────────────────┘
//! ```

use super::step;
use crate::segment::doorbells::Doorbells;
use forkchat_common::ids::{Sequence, Slot};
use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, Ordering};
use zerocopy::FromBytes;

/// The cursor of a slot that no process uses: none was started in it yet, or the supervisor
/// abandoned or vacated it.
const UNUSED: Sequence = Sequence(u64::MAX);

/// The cursors of one process.
#[derive(FromBytes, Debug)]
#[repr(C, align(128))]
pub(in crate::segment) struct Row {
    /// The process has read everything before this. [`UNUSED`] if no process uses the slot.
    cursor: AtomicU64,
    /// Everything before this has been written to each clean session of the process.
    flushed_through: AtomicU64,
    _pad: [u64; 14],
}

const _: () = assert!(size_of::<Row>() == 128 && offset_of!(Row, flushed_through) == 8);

/// The cursors of all processes.
#[derive(Clone, Copy, Debug)]
pub struct Cursors {
    rows: &'static [Row],
    doorbells: &'static Doorbells,
}

impl Cursors {
    /// The section's length in bytes, for `slots` slots.
    pub(in crate::segment) fn bytes(slots: usize) -> usize {
        slots.saturating_mul(size_of::<Row>())
    }

    pub(in crate::segment) fn new(rows: &'static [Row], doorbells: &'static Doorbells) -> Cursors {
        Cursors { rows, doorbells }
    }

    /// How far the process in `slot` has read. `None` if no process uses the slot.
    pub fn get(&self, slot: Slot) -> Option<Sequence> {
        let cursor = Sequence(self.rows[slot.index()].cursor.load(Ordering::Acquire));
        (cursor != UNUSED).then_some(cursor)
    }

    /// The position that the slot's worker, or a predecessor, published last: everything before it
    /// has been written to each clean session of the worker.
    pub fn flushed_through(&self, slot: Slot) -> Sequence {
        Sequence(self.rows[slot.index()].flushed_through.load(Ordering::Acquire))
    }

    /// Publishes that the process in `slot` has handled everything before `position`: it has
    /// written its output to the clean sessions, the checkpoints of the other sessions are up to
    /// date, and the process will not read it again. The caller stores the checkpoints before this
    /// call.
    pub fn publish(&self, slot: Slot, position: Sequence) {
        step();
        self.rows[slot.index()].flushed_through.store(position.0, Ordering::Release);
        self.publish_read(slot, position);
    }

    /// Like [`Cursors::publish`], for a process that has no sessions yet or is catching up: it
    /// publishes nothing about any session's output.
    pub fn publish_read(&self, slot: Slot, position: Sequence) {
        let cursor = &self.rows[slot.index()].cursor;
        if cursor.load(Ordering::Relaxed) != position.0 {
            step();
            // SYNC cursor-reuse.
            cursor.store(position.0, Ordering::Release);
            self.doorbells.space_was_freed();
        }
    }

    /// Marks a slot as unused after its process ended normally and has no sessions left: no process
    /// waits for it any more.
    pub fn vacate(&self, slot: Slot) {
        self.doorbells.get(slot).after_sleep();
        self.rows[slot.index()].flushed_through.store(UNUSED.0, Ordering::Release);
        self.abandon(slot);
    }

    /// Stops other processes from waiting for this slot: it has had no process for long, or its
    /// process can't be killed, and a successor may not start soon. A successor that starts after
    /// all finds out which sessions it can still serve.
    pub fn abandon(&self, slot: Slot) {
        // SYNC cursor-reuse: the slot's process has been reaped, or was killed and executes nothing
        // more, so it reads no more.
        self.rows[slot.index()].cursor.store(UNUSED.0, Ordering::Release);
        self.doorbells.space_was_freed();
    }

    /// Records that a process is about to start in a slot. Called with the log's lock held.
    pub(super) fn use_slot(&self, slot: Slot) {
        self.doorbells.use_slot(slot);
    }

    /// Sets the cursor of a process that starts at `start`. What an earlier process in the slot had
    /// published as written stays published. Called with the log's lock held.
    pub(super) fn begin(&self, slot: Slot, start: Sequence) {
        let row = &self.rows[slot.index()];
        row.cursor.store(start.0, Ordering::Release);
        if row.flushed_through.load(Ordering::Relaxed) == UNUSED.0 {
            row.flushed_through.store(start.0, Ordering::Release);
        }
    }

    /// Marks all slots as unused.
    pub(super) fn clear(&self) {
        for row in self.rows {
            row.cursor.store(UNUSED.0, Ordering::Release);
            row.flushed_through.store(UNUSED.0, Ordering::Release);
        }
    }

    /// Whether a process was ever started in this slot or in a higher one.
    pub(in crate::segment) fn is_used(&self, slot: Slot) -> bool {
        slot.index() < self.doorbells.slots_used()
    }

    /// The least of all cursors.
    pub(super) fn least(&self) -> Sequence {
        // SYNC cursor-reuse: pairs with the stores of cursors. A process whose cursor passed a
        // block has finished reading it before we write there.
        self.used().map(|row| Sequence(row.cursor.load(Ordering::Acquire))).min().unwrap_or(UNUSED)
    }

    /// The least of all cursors except this slot's.
    pub(in crate::segment) fn least_but(&self, slot: Slot) -> Sequence {
        let others = self.used().enumerate().filter(|(index, _)| *index != slot.index());
        let cursors = others.map(|(_, row)| Sequence(row.cursor.load(Ordering::Acquire)));
        cursors.min().unwrap_or(UNUSED)
    }

    /// Wakes the sleeping processes whose cursors are more than `blocks` blocks behind the tail.
    pub(super) fn wake_behind(&self, tail: Sequence, blocks: u64) {
        for (row, bell) in self.rows.iter().zip(self.doorbells.used()) {
            if tail.blocks_since(Sequence(row.cursor.load(Ordering::Relaxed))) > blocks {
                bell.ring();
            }
        }
    }

    /// The rows up to the highest slot in which a process was ever started.
    fn used(&self) -> impl Iterator<Item = &'static Row> {
        self.rows[..self.doorbells.slots_used()].iter()
    }

    /// Wakes the processes that wait for space, after a snapshot was published.
    pub(in crate::segment) fn space_was_freed(&self) {
        self.doorbells.space_was_freed();
    }
}
