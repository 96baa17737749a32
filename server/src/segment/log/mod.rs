//! The event log: one ring, one order for all processes.
//!
//! ```text
//!            least of all cursors                                  tail
//!            and the snapshot's sequence                            │
//!                 │                                                 ▼
//!   ─────────────[█████████ needed by a reader or a successor ██████]──── free ────▶ (wraps)
//!                 ▲            ▲                  ▲
//!             journal      worker 1           worker 0
//! ```
//!
//! The section's layout. Words that different processes write for different reasons are 128 bytes
//! apart, so that they don't share a cache line.
//!
//! ```text
//! byte  0            88           96           104          128          256
//!       ┌────────────┬────────────┬────────────┬────────────┬────────────┬─────────
//!       │ lock       │ least      │ last_time  │ first      │ tail       │ ring …
//!       └────────────┴────────────┴────────────┴────────────┴────────────┴─────────
//! ```
//!
//! A record in the ring, in blocks of 64 bytes (8 words); zeroes fill its last block:
//!
//! ```text
//! word 0          word 1       word 2       word 3 …
//! ┌───────┬───────┬────────────┬────────────┬──────────────────────────┬─────────┐
//! │ index │length │ sequence   │ time       │ payload (length bytes)   │ zeroes  │
//! │ (high half)   │ of the id  │ in µs      │                          │         │
//! └───────┴───────┴────────────┴────────────┴──────────────────────────┴─────────┘
//! ```
//!
//! A record's position is the number of its first block, counted from the run's start time in µs. A
//! position is therefore an address: block `position mod ring_blocks`. Records may wrap around the
//! ring's end at any block.
//!
//! The chat and its clients know a record by its id ([`RecordId`]). This log orders the records
//! itself, so a record's id is its position, which the log fills in when it writes the record into
//! the ring.
//!
//! | file | contents |
//! |---|---|
//! | `batch` | records prepared outside the lock |
//! | `append` | writing: lock, write after the tail, publish with one store, unlock |
//! | `read` | reading: copy records out of the ring |
//! | `cursors` | how far each process has read the log and written its sessions' output |

mod append;
mod batch;
mod cursors;
mod read;

pub use append::AppendError;
pub use batch::Batch;
pub use cursors::Cursors;
pub use read::{Entry, Reader};

use super::header::Geometry;
use super::published::{Published, PublishedWord};
use super::step;
use crate::ipc::mutex::{Guard, Holder, LockError, Mutex};
#[cfg(doc)]
use forkchat_common::ids::RecordId;
use forkchat_common::ids::{Micros, Sequence, Slot};
use nix::errno::Errno;
use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use zerocopy::FromBytes;

/// Bytes in a block.
pub const BLOCK_BYTES: usize = 64;
/// Words in a block.
const BLOCK_WORDS: usize = BLOCK_BYTES / 8;
/// How long a new process waits for the lock. The watchdog kills a process that keeps it, after 20
/// s if that process gets no CPU.
const JOIN_WAIT: Duration = Duration::from_secs(30);
/// Words before a record's payload.
const RECORD_HEADER_WORDS: usize = 3;
/// The smallest ring. A batch, at most a sixteenth of it, must hold what one session may send at a
/// time.
pub const RING_BYTES_MIN: usize = 1 << 20;
/// The largest ring.
pub const RING_BYTES_MAX: usize = 1 << 36;

impl Geometry {
    /// The ring's length, in blocks.
    pub fn ring_blocks(self) -> u64 {
        self.ring_bytes.div_ceil(BLOCK_BYTES) as u64
    }

    /// The largest batch, in blocks: a sixteenth of the ring.
    pub fn batch_blocks_max(self) -> u64 {
        self.ring_blocks() / 16
    }
}

#[derive(FromBytes, Debug)]
#[repr(C, align(128))]
pub(super) struct State {
    /// Held by a process that appends, publishes a snapshot, or starts to read.
    lock: Mutex,
    /// A lower bound of the sequences that are still needed: the least of all cursors and of the
    /// published snapshot's sequence when it was computed last. Written under the lock.
    least: AtomicU64,
    /// No record has a later time. Written under the lock.
    last_time: AtomicU64,
    /// The run's first sequence. Never changes.
    first: AtomicU64,
    _pad_tail: [u64; 2],
    /// The sequence after the last published record. Storing it publishes the records before it.
    /// Written under the lock.
    tail: AtomicU64,
    _pad_end: [u64; 15],
}

const _: () = assert!(size_of::<State>() == 256 && offset_of!(State, tail) == 128);
const _: () = assert!(offset_of!(State, least) == 88 && offset_of!(State, first) == 104);

/// The event log.
#[derive(Debug)]
pub struct Log {
    geometry: Geometry,
    state: &'static State,
    ring: &'static [AtomicU64],
    cursors: Cursors,
    published: &'static PublishedWord,
}

impl Log {
    /// The section's length.
    pub(super) fn bytes(geometry: Geometry) -> usize {
        let ring = geometry.ring_blocks().saturating_mul(BLOCK_BYTES as u64);
        size_of::<State>().saturating_add(usize::try_from(ring).unwrap_or(usize::MAX))
    }

    pub(super) fn new(
        geometry: Geometry,
        (state, ring): (&'static State, &'static [AtomicU64]),
        cursors: Cursors,
        published: &'static PublishedWord,
    ) -> Log {
        Log { geometry, state, ring, cursors, published }
    }

    /// Initialises the lock. To be called once.
    pub(super) fn init(&self) -> Result<(), Errno> {
        self.state.lock.init()
    }

    /// Begins a run. Its first sequence is the time in µs, so each run's sequences are greater than
    /// those of earlier runs.
    pub(super) fn begin(&self, now: Micros) {
        self.state.last_time.store(now.0, Ordering::Relaxed);
        self.begin_at(now.0);
    }

    /// Moves the run's first sequence above `used` if it is not greater: the clock was set back
    /// since an earlier run. To be called before the first fork.
    pub fn begin_above(&self, used: Sequence) {
        if used >= self.first() {
            self.begin_at(used.0 + 1);
        }
    }

    fn begin_at(&self, first: u64) {
        self.state.first.store(first, Ordering::Relaxed);
        self.state.tail.store(first, Ordering::Release);
        self.state.least.store(first, Ordering::Relaxed);
        self.published.store(Published { sequence: Sequence(first), buffer: None });
        self.cursors.clear();
    }

    /// The ring's length in blocks.
    pub(super) fn blocks(&self) -> u64 {
        self.geometry.ring_blocks()
    }

    /// The cursors of all processes.
    pub(super) fn cursors(&self) -> &Cursors {
        &self.cursors
    }

    /// The run's first sequence.
    pub fn first(&self) -> Sequence {
        Sequence(self.state.first.load(Ordering::Relaxed))
    }

    /// The sequence after the last published record.
    pub fn tail(&self) -> Sequence {
        // SYNC tail-publish: with the store at the end of `append`.
        Sequence(self.state.tail.load(Ordering::Acquire))
    }

    /// The least of all cursors and the published snapshot's sequence. Some process may still need
    /// the records from there on.
    fn least(&self) -> Sequence {
        self.cursors.least().min(self.published.load().sequence)
    }

    /// Registers a new process in `slot`: sets the slot's cursor to the published snapshot's
    /// sequence, and returns that snapshot.
    pub(super) fn join(&self, slot: Slot) -> Result<Published, LockError> {
        let _guard = self.lock(slot, JOIN_WAIT)?;
        self.cursors.use_slot(slot);
        let published = self.published.load();
        step();
        self.cursors.begin(slot, published.sequence);
        Ok(published)
    }

    /// Takes the lock, waiting at most `wait`.
    pub(super) fn lock(&self, me: Slot, wait: Duration) -> Result<Guard, LockError> {
        self.state.lock.lock(me.index() as u32, wait)
    }

    /// The process that holds the lock, or that died with it and has no successor in the lock yet.
    pub fn lock_holder(&self) -> Option<Holder> {
        self.state.lock.holder()
    }

    /// Takes the lock and keeps it, like a process that was stopped in the middle of an append. For
    /// tests of the watchdog.
    #[cfg(test)]
    pub fn hold_lock(&self, me: Slot) -> Guard {
        self.lock(me, Duration::ZERO).unwrap()
    }

    /// Wakes sleeping processes that are more than an eighth of the ring behind the tail. They have
    /// no session to notify, but must apply the records eventually.
    pub fn wake_far_behind(&self) {
        self.cursors.wake_behind(self.tail(), self.blocks() / 8);
    }

    /// Wakes sleeping processes that haven't read everything. A process that waits for space and
    /// has read everything is not among them, so two of them don't wake each other.
    pub fn wake_behind(&self) {
        self.cursors.wake_behind(self.tail(), 0);
    }
}

#[cfg(test)]
mod tests;
