//! How far each process has read the log, and has written what it rendered.
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

/// The cursor of a slot in which no process was started yet.
const NOBODY: Sequence = Sequence(u64::MAX);

/// Of one process.
#[derive(FromBytes, Debug)]
#[repr(C, align(128))]
pub(in crate::segment) struct Row {
    /// It has read everything before this; [`NOBODY`] before the slot's first process.
    cursor: AtomicU64,
    /// Every clean session of its has been sent everything before this.
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
    /// The section's length, for so many slots.
    pub(in crate::segment) fn bytes(slots: usize) -> usize {
        slots.saturating_mul(size_of::<Row>())
    }

    pub(in crate::segment) fn new(rows: &'static [Row], doorbells: &'static Doorbells) -> Cursors {
        Cursors { rows, doorbells }
    }

    /// How far the process in `slot` has read; `None` if there never was one.
    pub fn get(&self, slot: Slot) -> Option<Sequence> {
        let cursor = Sequence(self.rows[slot.index()].cursor.load(Ordering::Acquire));
        (cursor != NOBODY).then_some(cursor)
    }

    /// What the worker in a slot, or its predecessors, published last: every clean session of its
    /// has been sent everything before this.
    pub fn flushed_through(&self, slot: Slot) -> Sequence {
        Sequence(self.rows[slot.index()].flushed_through.load(Ordering::Acquire))
    }

    /// The process in `slot` is done with everything before `position`: its clean sessions have
    /// been sent it, its other sessions' checkpoints say how far they are, and it will not read it
    /// again. Checkpoints first, then this.
    pub fn publish(&self, slot: Slot, position: Sequence) {
        step();
        self.rows[slot.index()].flushed_through.store(position.0, Ordering::Release);
        self.publish_read(slot, position);
    }

    /// As [`Cursors::publish`], for a process that has no sessions yet or catches up: nothing is
    /// said about any session's output.
    pub fn publish_read(&self, slot: Slot, position: Sequence) {
        let cursor = &self.rows[slot.index()].cursor;
        if cursor.load(Ordering::Relaxed) != position.0 {
            step();
            // SYNC cursor-reuse.
            cursor.store(position.0, Ordering::Release);
            self.doorbells.room_was_made();
        }
    }

    /// The process in a slot has ended as it should, and nothing is left of what it served: no
    /// process waits for it any more.
    pub fn vacate(&self, slot: Slot) {
        self.doorbells.get(slot).after_sleep();
        self.rows[slot.index()].flushed_through.store(NOBODY.0, Ordering::Release);
        self.abandon(slot);
    }

    /// There has been no process in a slot for long, or one that can't die, and none may come soon:
    /// the others don't wait for it any longer. A process that comes there after all finds out
    /// which sessions can still be followed.
    pub fn abandon(&self, slot: Slot) {
        // SYNC cursor-reuse: the process that was there is reaped, or was killed and executes
        // nothing more: it reads no more.
        self.rows[slot.index()].cursor.store(NOBODY.0, Ordering::Release);
        self.doorbells.room_was_made();
    }

    /// A process is about to begin in a slot. Under the log's lock.
    pub(super) fn use_slot(&self, slot: Slot) {
        self.doorbells.use_slot(slot);
    }

    /// A process begins in a slot at `start`. What an earlier process there had published as sent
    /// stays so. Under the log's lock.
    pub(super) fn begin(&self, slot: Slot, start: Sequence) {
        let row = &self.rows[slot.index()];
        row.cursor.store(start.0, Ordering::Release);
        if row.flushed_through.load(Ordering::Relaxed) == NOBODY.0 {
            row.flushed_through.store(start.0, Ordering::Release);
        }
    }

    /// No process was ever in any slot.
    pub(super) fn clear(&self) {
        for row in self.rows {
            row.cursor.store(NOBODY.0, Ordering::Release);
            row.flushed_through.store(NOBODY.0, Ordering::Release);
        }
    }

    /// Whether a process ever began in a slot, or in a higher one.
    pub(in crate::segment) fn is_used(&self, slot: Slot) -> bool {
        slot.index() < self.doorbells.slots_used()
    }

    /// The least of all cursors.
    pub(super) fn least(&self) -> Sequence {
        // SYNC cursor-reuse: with the stores of cursors. A process whose cursor passed a block has
        // finished reading it before we write there.
        self.used().map(|row| Sequence(row.cursor.load(Ordering::Acquire))).min().unwrap_or(NOBODY)
    }

    /// The least of all cursors but this one.
    pub(in crate::segment) fn least_but(&self, slot: Slot) -> Sequence {
        let others = self.used().enumerate().filter(|(index, _)| *index != slot.index());
        let cursors = others.map(|(_, row)| Sequence(row.cursor.load(Ordering::Acquire)));
        cursors.min().unwrap_or(NOBODY)
    }

    /// Rings the sleepers that are more than so many blocks behind the tail.
    pub(super) fn ring_behind(&self, tail: Sequence, blocks: u64) {
        for (row, bell) in self.rows.iter().zip(self.doorbells.used()) {
            if tail.blocks_since(Sequence(row.cursor.load(Ordering::Relaxed))) > blocks {
                bell.ring();
            }
        }
    }

    /// Those of the slots in which a process ever began, and of some between them.
    fn used(&self) -> impl Iterator<Item = &'static Row> {
        self.rows[..self.doorbells.slots_used()].iter()
    }

    /// Room was made by something else than a cursor: a snapshot was published.
    pub(in crate::segment) fn room_was_made(&self) {
        self.doorbells.room_was_made();
    }
}
