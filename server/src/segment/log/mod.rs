//! The event log: one ring, one order for all processes.
//!
//! ```text
//!            least of all cursors                                  tail
//!            and the snapshot's sequence                            │
//!                 │                                                 ▼
//!   ─────────────[█████ what some reader or successor still needs ██]──── free ────▶ (wraps around)
//!                 ▲            ▲                  ▲
//!             journal      worker 1           worker 0
//! ```
//!
//! The section: words that different processes write for different reasons are 128 bytes apart.
//!
//! ```text
//! byte  0            88           96           104          128          256
//!       ┌────────────┬────────────┬────────────┬────────────┬────────────┬─────────
//!       │ lock       │ least      │ last_time  │ first      │ tail       │ ring …
//!       └────────────┴────────────┴────────────┴────────────┴────────────┴─────────
//! ```
//!
//! A record in the ring, in blocks of 64 bytes (8 words):
//!
//! ```text
//! word 0          word 1       word 2       word 3 …
//! ┌───────┬───────┬────────────┬────────────┬──────────────────────────┬─────────┐
//! │ index │length │ sequence   │ time       │ payload (length bytes)   │ zeroes  │ up to the next block
//! │ (high half)   │ of the id  │ in µs      │                          │         │
//! └───────┴───────┴────────────┴────────────┴──────────────────────────┴─────────┘
//! ```
//!
//! A record's position is the number of the block in which it begins, counted from the run's start
//! time in µs. So a position is an address: block `position mod ring_blocks`. Records wrap around
//! the ring's end at any block.
//!
//! A record's id is what the chat and its clients know it by ([`RecordId`]). This log orders the
//! records itself, so it gives each its position as the id, when it writes the record into the ring.
//!
//! | file | what it holds |
//! |---|---|
//! | `batch` | records prepared outside the lock |
//! | `append` | writing: lock, write after the tail, publish with one store, unlock |
//! | `read` | reading: copy a piece, process its records |
//! | `cursors` | how far each process has read, and written what it rendered |

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
/// How long a new process waits for the lock. The watchdog kills a process that keeps it, after 20 s
/// if that process gets no CPU.
const JOIN_WAIT: Duration = Duration::from_secs(30);
/// Words in front of a record's payload.
const RECORD_HEADER_WORDS: usize = 3;
/// The smallest ring: a batch, a sixteenth of it, must hold what one session may send at a time.
pub const RING_BYTES_MIN: usize = 1 << 20;
/// The largest ring.
pub const RING_BYTES_MAX: usize = 1 << 36;

impl Geometry {
    /// The ring, in blocks.
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
    /// Held by a process that writes past the tail or publishes a snapshot.
    lock: Mutex,
    /// No cursor was below this when it was computed. Written under the lock.
    least: AtomicU64,
    /// The latest record's time. Written under the lock.
    last_time: AtomicU64,
    /// The run's first sequence. Never changes.
    first: AtomicU64,
    _pad_tail: [u64; 2],
    /// After the last published record: the only word that makes records exist. Written under the
    /// lock.
    tail: AtomicU64,
    _pad_end: [u64; 15],
}

const _: () = assert!(size_of::<State>() == 256 && offset_of!(State, tail) == 128);
const _: () = assert!(offset_of!(State, least) == 88 && offset_of!(State, first) == 104);

/// The log.
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

    /// Makes the lock. Once.
    pub(super) fn init(&self) -> Result<(), Errno> {
        self.state.lock.init()
    }

    /// Begins a run. Its first sequence is the time in µs, so that sequences grow from run to run.
    pub(super) fn begin(&self, now: Micros) {
        self.state.last_time.store(now.0, Ordering::Relaxed);
        self.begin_at(now.0);
    }

    /// Begins above `used`, if it was to begin lower: the clock was set back since an earlier run.
    /// To be called before the first fork.
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

    /// How far each process is.
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

    /// The least of all cursors and the published snapshot's sequence: everything from there on is
    /// still needed.
    fn least(&self) -> Sequence {
        self.cursors.least().min(self.published.load().sequence)
    }

    /// Begins the life of a process in `slot`: sets the slot's cursor to the published snapshot's
    /// sequence, and returns that snapshot.
    pub(super) fn join(&self, slot: Slot) -> Result<Published, LockError> {
        let _guard = self.lock(slot, JOIN_WAIT)?;
        self.cursors.use_slot(slot);
        let published = self.published.load();
        step();
        self.cursors.begin(slot, published.sequence);
        Ok(published)
    }

    /// Takes the lock.
    pub(super) fn lock(&self, me: Slot, wait: Duration) -> Result<Guard, LockError> {
        self.state.lock.lock(me.index() as u32, wait)
    }

    /// The process that holds the lock now.
    pub fn lock_holder(&self) -> Option<Holder> {
        self.state.lock.holder()
    }

    /// Takes the lock and keeps it, as a process does that is stopped in the middle of an append.
    /// For tests of the watchdog.
    #[cfg(test)]
    pub fn hold_lock(&self, me: Slot) -> Guard {
        self.lock(me, Duration::ZERO).unwrap()
    }

    /// Rings those sleepers that are an eighth of the ring behind: they have no session to notify,
    /// but must apply it some time.
    pub fn ring_far_behind(&self) {
        self.cursors.ring_behind(self.tail(), self.blocks() / 8);
    }

    /// Rings those sleepers that haven't read everything. A process that waits for room wakes no
    /// other: two of them would wake each other for ever.
    pub fn ring_behind(&self) {
        self.cursors.ring_behind(self.tail(), 0);
    }
}

#[cfg(test)]
mod tests;
