//! The place of each word. Every structure here is in shared memory: only words, no pointers, and
//! all zeroes is a valid state.
//!
//! A record in the ring, in blocks of 64 bytes (8 words):
//!
//! ```text
//! word 0       word 1       word 2 …
//! ┌───────────┬────────────┬──────────────────────────────┬─────────┐
//! │ length    │ time       │ payload (length bytes)       │ zeroes  │ up to the next block
//! │ in bytes  │ in µs      │                              │         │
//! └───────────┴────────────┴──────────────────────────────┴─────────┘
//! ```
//!
//! A record's sequence is the number of the block in which it begins, counted from the run's start
//! time in µs. So a sequence is an address: block `sequence mod ring_blocks`. Records wrap around
//! the ring's end at any block.

use super::quarantine::QUARANTINE_MAX;
use crate::ipc::mutex::Mutex;
use crate::ipc::value::Switched;
use std::sync::atomic::{AtomicU32, AtomicU64};
use zerocopy::FromBytes;

/// Bytes in a block.
pub const BLOCK_BYTES: usize = 64;
/// Words in a block.
pub const BLOCK_WORDS: usize = BLOCK_BYTES / 8;
/// Words in front of a record's payload.
pub const RECORD_HEADER_WORDS: usize = 2;
/// The smallest ring: a batch, a sixteenth of it, must hold what one session may send at a time.
pub const RING_BYTES_MIN: usize = 1 << 20;
/// The largest ring.
pub const RING_BYTES_MAX: usize = 1 << 36;
/// Snapshots that may wait to be published at a time. They wait up to half the ring for a slow
/// disk, and are an eighth of it apart: with fewer the ring would be full before the next may be
/// published.
pub const SNAPSHOTS_WAITING_MAX: usize = 3;
/// Snapshots that are kept: one published, those that wait, and two that a successor may still be
/// reading.
pub const SNAPSHOT_BUFFERS: usize = 1 + SNAPSHOTS_WAITING_MAX + 2;
/// The cursor of a slot in which no process was started yet.
pub const NOBODY: u64 = u64::MAX;

/// How large everything is. Fixed for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// The ring, in bytes; rounded up to whole blocks.
    pub ring_bytes: usize,
    /// Processes that read the log, at most.
    pub slots: usize,
    /// Sessions at a time, at most.
    pub sessions_max: usize,
    /// A snapshot, in bytes, at most.
    pub snapshot_bytes_max: usize,
}

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

/// The log's own words. Those that different processes write for different reasons are 128 bytes
/// apart.
#[derive(FromBytes, Debug)]
#[repr(C, align(128))]
pub(super) struct Header {
    /// Held by who writes past the tail or publishes a snapshot.
    pub lock: Mutex,
    /// No cursor was below this when it was computed. Written under the lock.
    pub least: AtomicU64,
    /// The latest record's time. Written under the lock.
    pub last_time: AtomicU64,
    _pad_tail: [u64; 7],
    /// Behind the last published record: the only word that makes records exist. Written under the
    /// lock.
    pub tail: AtomicU64,
    _pad_snapshot: [u64; 15],
    /// The published snapshot: its sequence and its buffer in one word. Written under the lock.
    pub snapshot: AtomicU64,
    /// Per buffer, the sequence it was published with; 0 while it never was since it was last
    /// written.
    pub snapshot_sequences: [AtomicU64; SNAPSHOT_BUFFERS],
    /// What is added to the time since boot, in µs. Never changes.
    pub clock_offset: AtomicU64,
    /// One more than the highest session cell ever used.
    pub cells_used: AtomicU64,
    /// Set by who found the ring full: who makes room rings.
    pub room_wanted: AtomicU32,
    _pad_end: [u32; 1],
    /// The run's first sequence. Never changes.
    pub first: AtomicU64,
    /// One more than the highest slot that a process ever began in. Written under the lock.
    pub slots_used: AtomicU64,
    _pad_last: [u64; 6],
    /// How many places were quarantined; the latest are in `quarantine`. Written by the supervisor
    /// alone.
    pub quarantined: AtomicU64,
    /// See `blame`.
    pub quarantine: [Switched<4>; QUARANTINE_MAX],
    /// No record behind this is quarantined.
    pub quarantined_to: AtomicU64,
    _pad_quarantine: [u64; 14],
}

/// What one process tells of itself.
#[derive(FromBytes, Debug)]
#[repr(C, align(128))]
pub(super) struct SlotState {
    /// It has read everything before this; [`NOBODY`] before the slot's first process.
    pub cursor: AtomicU64,
    /// Every clean session of its has been sent everything before this.
    pub stable: AtomicU64,
    /// Per thread: odd while it works, and changed at every turn.
    pub beats: [AtomicU64; 2],
    /// Not 0 while it sleeps and wants to be rung.
    pub asleep: AtomicU32,
    _pad: [u32; 1],
    /// How often the supervisor asked its threads for a sign of life.
    pub challenge: AtomicU64,
    /// Per thread: the last challenge that it saw.
    pub answers: [AtomicU64; 2],
    _pad_places: [u64; 8],
    /// Per thread: what it is at, see `blame`.
    pub places: [Switched<4>; 2],
    _pad_end: [u64; 14],
}

/// Per session: its id, a sequence, the output offset as rendered there, and writes, slot and the
/// lagging bit in one. See `cells`.
pub(super) type SessionCell = Switched<4>;
