//! How much of each session's output has been written. The session's worker stores it. Two other
//! processes read it: the journal, which must not publish a snapshot from which a successor could
//! not start, and a successor.
//!
//! A *checkpoint* (sequence, offset) means: the output that all records before `sequence` cause for
//! the session is its first `offset` bytes, and they have been written. If a session has no
//! unwritten output, its worker's `flushed_through` is its checkpoint. Otherwise the checkpoint
//! stays where the unwritten output begins.
//!
//! ```text
//! byte  0            128                       200
//!       ┌────────────┬─────────────────────────┬─────────────────────────┬──
//!       │ cells_used │ cell 0 (72 bytes)       │ cell 1                  │ …
//!       └────────────┴─────────────────────────┴─────────────────────────┴──
//! ```
//!
//! A cell has four words that are written as one ([`DoubleBuffered`]): the session's id, 0 for
//! none; the sequence; the offset; and one word with the rest:
//!
//! ```text
//! bit 63                          17 16           1 0
//!     ┌─────────────────────────────┬──────────────┬────────────┐
//!     │ writes                      │ slot         │ is_lagging │
//!     └─────────────────────────────┴──────────────┴────────────┘
//! ```

use super::log::{Cursors, Log};
use super::step;
use crate::ipc::value::DoubleBuffered;
use forkchat_common::ids::{Sequence, SessionId, Slot};
use std::sync::atomic::{AtomicU64, Ordering};
use zerocopy::FromBytes;

/// A cell's last word holds, from the lowest bit on, the lagging bit, the slot, and the number of
/// writes.
const WRITES_SHIFT: u32 = 1 + u16::BITS;

/// A session's checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The session.
    pub session: SessionId,
    /// The worker that serves it.
    pub slot: Slot,
    /// The output of all records before this sequence has been written.
    pub sequence: Sequence,
    /// The number of output bytes that the records before that sequence caused for the session.
    pub offset: u64,
    /// How many writes of the session's output the kernel had accepted by then, below 2^47. Over
    /// UDP each write was a datagram.
    pub writes: u64,
    /// Whether output that was rendered after that sequence is not written yet.
    pub is_lagging: bool,
}

#[derive(FromBytes, Debug)]
#[repr(C, align(128))]
pub(super) struct State {
    /// One more than the highest cell ever used.
    cells_used: AtomicU64,
    _pad: [u64; 15],
}

pub(super) type Cell = DoubleBuffered<4>;

const _: () = assert!(size_of::<State>() == 128 && size_of::<Cell>() == 72);

/// The checkpoints of all sessions.
#[derive(Debug)]
pub struct Checkpoints {
    state: &'static State,
    cells: &'static [Cell],
}

impl Checkpoints {
    /// The section's length in bytes, for `sessions_max` sessions.
    pub(super) fn bytes(sessions_max: usize) -> usize {
        size_of::<State>().saturating_add(sessions_max.saturating_mul(size_of::<Cell>()))
    }

    pub(super) fn new((state, cells): (&'static State, &'static [Cell])) -> Checkpoints {
        Checkpoints { state, cells }
    }

    /// Stores a session's checkpoint. It becomes valid with one store.
    pub fn store(&self, checkpoint: Checkpoint) {
        let Checkpoint { session, slot, sequence, offset, writes, is_lagging } = checkpoint;
        let used = session.cell() as u64 + 1;
        // Load before the update: the word changes rarely, and a write would invalidate the cache
        // line of every other worker.
        if self.state.cells_used.load(Ordering::Relaxed) < used {
            self.state.cells_used.fetch_max(used, Ordering::Relaxed);
        }
        step();
        self.cells[session.cell()].store([
            session.0,
            sequence.0,
            offset,
            writes << WRITES_SHIFT | (slot.index() as u64) << 1 | u64::from(is_lagging),
        ]);
    }

    /// Frees a session's cell if the session still owns it. To be called when the session is closed
    /// and its output has been written, or never will be.
    pub fn clear(&self, session: SessionId) {
        if self.get(session.cell()).is_some_and(|checkpoint| checkpoint.session == session) {
            self.cells[session.cell()].store([0; 4]);
        }
    }

    /// The checkpoint in a cell. `None` if no session owns the cell.
    pub fn get(&self, cell: usize) -> Option<Checkpoint> {
        let ([session, sequence, offset, flags], _) = self.cells[cell].load();
        (session != 0).then_some(Checkpoint {
            session: SessionId(session),
            slot: Slot::at((flags >> 1) as u16),
            writes: flags >> WRITES_SHIFT,
            sequence: Sequence(sequence),
            offset,
            is_lagging: flags & 1 != 0,
        })
    }

    /// The latest sequence at which a snapshot may be published.
    ///
    /// It is not after the `flushed_through` of any worker that runs or is about to be replaced. It
    /// is also not after the checkpoint of any lagging session, unless that checkpoint is more than
    /// a quarter of the ring behind its worker: such a session doesn't count any more, and is
    /// disconnected if its worker dies.
    pub fn snapshot_ceiling(&self, log: &Log, workers: impl Iterator<Item = Slot>) -> Sequence {
        // Load `flushed_through` before the cells: if a cell is clean when we load it, the
        // `flushed_through` that we loaded before covers its session.
        let cursors = log.cursors();
        let in_use = workers.filter(|&slot| cursors.is_used(slot) && cursors.get(slot).is_some());
        let flushed = in_use.map(|slot| cursors.flushed_through(slot)).min();
        let mut ceiling = flushed.unwrap_or(Sequence(u64::MAX));
        let used = (self.state.cells_used.load(Ordering::Relaxed) as usize).min(self.cells.len());
        let lagging = (0..used).filter_map(|cell| self.get(cell)).filter(|it| it.is_lagging);
        for Checkpoint { slot, sequence, .. } in lagging {
            // No process waits for a worker that can't be replaced, nor for its sessions.
            if cursors.get(slot).is_none() {
                continue;
            }
            let behind = cursors.flushed_through(slot).blocks_since(sequence);
            if behind <= log.blocks() / 4 {
                ceiling = ceiling.min(sequence);
            }
        }
        ceiling
    }

    /// The checkpoint from which a successor of the session's worker goes on, before that successor
    /// has published anything. A clean session has also received everything before its worker's
    /// `flushed_through`. `None` if the session has no checkpoint: nothing has been sent to it, or
    /// it is closed.
    pub fn effective(&self, session: SessionId, cursors: &Cursors) -> Option<Checkpoint> {
        let checkpoint =
            self.get(session.cell()).filter(|checkpoint| checkpoint.session == session)?;
        let sequence = if checkpoint.is_lagging {
            checkpoint.sequence
        } else {
            checkpoint.sequence.max(cursors.flushed_through(checkpoint.slot))
        };
        Some(Checkpoint { sequence, ..checkpoint })
    }

    #[cfg(test)]
    pub(super) fn wipe(&self) {
        self.cells.iter().for_each(|cell| cell.store([0; 4]));
        self.state.cells_used.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::tests::{ME, small_segment};

    #[test]
    fn clear_leaves_a_cell_that_another_session_owns_now() {
        let segment = small_segment(1 << 16, 1);
        let [old, new] = [1, 2].map(|serial| SessionId::new(serial, 3));
        segment.checkpoints.store(Checkpoint {
            session: new,
            slot: ME,
            sequence: Sequence(1),
            offset: 0,
            writes: 0,
            is_lagging: false,
        });
        segment.checkpoints.clear(old);
        assert_eq!(segment.checkpoints.get(3).map(|checkpoint| checkpoint.session), Some(new));
    }

    #[test]
    fn a_lagging_session_delays_snapshots_until_it_is_a_quarter_of_the_wake_behind() {
        let segment = small_segment(64 * 64, 1);
        let (start, _) = segment.join(ME).unwrap();
        let session = SessionId::new(1, 3);
        let checkpoint = Checkpoint {
            session,
            slot: ME,
            sequence: start,
            offset: 9,
            writes: (1 << 47) - 1,
            is_lagging: true,
        };
        segment.checkpoints.store(checkpoint);
        assert_eq!(segment.checkpoints.get(3), Some(checkpoint));
        segment.cursors.publish(ME, Sequence(start.0 + 16));
        assert_eq!(segment.checkpoints.snapshot_ceiling(&segment.log, [ME].into_iter()), start);
        segment.cursors.publish(ME, Sequence(start.0 + 17));
        assert_eq!(
            segment.checkpoints.snapshot_ceiling(&segment.log, [ME].into_iter()).0,
            start.0 + 17
        );
        segment.checkpoints.clear(session);
        assert_eq!(segment.checkpoints.get(3), None);
    }

    #[test]
    fn a_lagging_session_of_an_abandoned_slot_delays_no_snapshot() {
        let segment = small_segment(64 * 64, 1);
        let (start, _) = segment.join(ME).unwrap();
        let checkpoint = Checkpoint {
            session: SessionId::new(1, 3),
            slot: ME,
            sequence: start,
            offset: 9,
            writes: 2,
            is_lagging: true,
        };
        segment.checkpoints.store(checkpoint);
        segment.cursors.publish(ME, Sequence(start.0 + 1));
        assert_eq!(segment.checkpoints.snapshot_ceiling(&segment.log, [ME].into_iter()), start);
        segment.cursors.abandon(ME);
        assert_eq!(
            segment.checkpoints.snapshot_ceiling(&segment.log, [ME].into_iter()),
            Sequence(u64::MAX)
        );
    }

    #[test]
    fn a_clean_sessions_checkpoint_includes_what_its_worker_has_flushed() {
        let segment = small_segment(64 * 64, 1);
        let (start, _) = segment.join(ME).unwrap();
        let at = |offset| Sequence(start.0 + offset);
        let session = SessionId::new(2, 3);
        let mut checkpoint = Checkpoint {
            session,
            slot: ME,
            sequence: at(1),
            offset: 9,
            writes: 2,
            is_lagging: false,
        };
        segment.checkpoints.store(checkpoint);
        segment.cursors.publish(ME, at(5));
        assert_eq!(
            segment.checkpoints.effective(session, &segment.cursors),
            Some(Checkpoint { sequence: at(5), ..checkpoint })
        );
        checkpoint.is_lagging = true;
        segment.checkpoints.store(checkpoint);
        assert_eq!(segment.checkpoints.effective(session, &segment.cursors), Some(checkpoint));
        assert_eq!(
            segment.checkpoints.effective(SessionId::new(1, 3), &segment.cursors),
            None,
            "the session that owned the cell before"
        );
    }
}
