//! How much of each session's output has been written. The session's worker writes it. Two others
//! read it: the journal, which must not publish a snapshot from which a successor could not start,
//! and a successor.
//!
//! A *checkpoint* (sequence, offset) says: all bytes that all records before that sequence cause
//! are the first `offset` bytes of the session's output, and they have been written. If a session
//! has nothing unwritten, its worker's `stable` is its checkpoint. Otherwise the checkpoint stays
//! where the unwritten bytes begin.

use super::{EventLog, Sequence, Slot, step};
use forkchat_common::ids::SessionId;
use std::sync::atomic::Ordering;

/// In a cell's last word the lagging bit is lowest, then comes the slot, then the number of writes.
const WRITES_SHIFT: u32 = 1 + u16::BITS;

/// A session's checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose.
    pub session: SessionId,
    /// The worker that serves it.
    pub slot: Slot,
    /// Everything before this is out.
    pub sequence: Sequence,
    /// Output bytes rendered for the session from everything before that sequence.
    pub offset: u64,
    /// Writes of its that were taken by then, fewer than 2^47. Over UDP each was a datagram.
    pub writes: u64,
    /// Whether something rendered after that sequence is not out yet.
    pub is_lagging: bool,
}

impl EventLog {
    /// Writes a session's checkpoint, by one store.
    pub fn store_checkpoint(&self, checkpoint: Checkpoint) {
        let Checkpoint { session, slot, sequence, offset, writes, is_lagging } = checkpoint;
        let used = session.cell() as u64 + 1;
        // Looked at first: it is written rarely, and a write would take the line away from every
        // other worker.
        if self.header.cells_used.load(Ordering::Relaxed) < used {
            self.header.cells_used.fetch_max(used, Ordering::Relaxed);
        }
        step();
        self.cells[session.cell()].store([
            session.0,
            sequence.0,
            offset,
            writes << WRITES_SHIFT | u64::from(slot.0) << 1 | u64::from(is_lagging),
        ]);
    }

    /// Frees a session's cell, if it is still its: it is closed, and all its output is out or will
    /// never be.
    pub fn clear_checkpoint(&self, session: SessionId) {
        if self.checkpoint(session.cell()).is_some_and(|checkpoint| checkpoint.session == session) {
            self.cells[session.cell()].store([0; 4]);
        }
    }

    /// The checkpoint in a cell, if a session has it.
    pub fn checkpoint(&self, cell: usize) -> Option<Checkpoint> {
        let ([session, sequence, offset, flags], _) = self.cells[cell].load();
        (session != 0).then_some(Checkpoint {
            session: SessionId(session),
            slot: Slot((flags >> 1) as u16),
            writes: flags >> WRITES_SHIFT,
            sequence: Sequence(sequence),
            offset,
            is_lagging: flags & 1 != 0,
        })
    }

    /// The latest sequence at which a snapshot may be published: behind nobody's back.
    ///
    /// No later than the `stable` of any worker that is there or about to be replaced, nor than any
    /// lagging session's checkpoint, unless that is more than a quarter of the ring behind its
    /// worker: such a session no longer counts, and is dropped if its worker dies.
    pub fn snapshot_ceiling(&self, workers: impl Iterator<Item = Slot>) -> Sequence {
        // `stable` before the cells: a cell that is clean when we look was covered by what `stable`
        // said before.
        let in_use = workers
            .filter(|slot| slot.index() < self.slots_used().len() && self.cursor(*slot).is_some());
        let mut ceiling = in_use.map(|slot| self.stable(slot)).min().unwrap_or(Sequence(u64::MAX));
        let used = (self.header.cells_used.load(Ordering::Relaxed) as usize).min(self.cells.len());
        for checkpoint in (0..used)
            .filter_map(|cell| self.checkpoint(cell))
            .filter(|checkpoint| checkpoint.is_lagging)
        {
            // Nobody waits for a worker that can't be replaced, nor for its sessions.
            if self.cursor(checkpoint.slot).is_none() {
                continue;
            }
            let behind = self.stable(checkpoint.slot).blocks_since(checkpoint.sequence);
            if behind <= self.geometry.ring_blocks() / 4 {
                ceiling = ceiling.min(checkpoint.sequence);
            }
        }
        ceiling
    }

    /// A session's checkpoint as a successor of its worker finds it, when that has published
    /// nothing yet: a clean session has been sent everything before its worker's `stable`, too.
    /// `None` if the session has none, which means that it has been sent nothing, or that it is
    /// over.
    pub fn effective_checkpoint(&self, session: SessionId) -> Option<Checkpoint> {
        let checkpoint =
            self.checkpoint(session.cell()).filter(|checkpoint| checkpoint.session == session)?;
        let sequence = if checkpoint.is_lagging {
            checkpoint.sequence
        } else {
            checkpoint.sequence.max(self.stable(checkpoint.slot))
        };
        Some(Checkpoint { sequence, ..checkpoint })
    }

    /// What the worker in a slot, or its predecessors, said last: every clean session of its has
    /// been sent everything before this.
    pub fn stable(&self, slot: Slot) -> Sequence {
        Sequence(self.slots[slot.index()].stable.load(Ordering::Acquire))
    }
}
