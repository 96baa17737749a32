//! What the processes count, in memory that outlives each of them.
//!
//! ```text
//! byte   0         56                  128         152          256
//!        ┌─────────┬───────────────────┬───────────┬────────────┐
//!        │ tally   │ unused            │ dropped   │ unused     │
//!        └─────────┴───────────────────┴───────────┴────────────┘
//! ```

use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, Ordering};
use zerocopy::FromBytes;

/// All counters. The journal writes `tally`, the workers write `dropped`.
#[derive(FromBytes, Debug)]
#[repr(C, align(128))]
pub struct Counters {
    /// What the journal counts.
    pub tally: Tally,
    _pad: [u64; 9],
    /// What the workers drop.
    pub dropped: Dropped,
    _pad_end: [u64; 13],
}

const _: () = assert!(size_of::<Counters>() == 256 && offset_of!(Counters, dropped) == 128);

/// What the journal counts.
#[derive(Debug, Default, FromBytes)]
#[repr(C)]
pub struct Tally {
    /// Lines and topics that were stored, by this run.
    pub stored: AtomicU64,
    /// Those that were given up: the disk is full or too slow, or there is no journal.
    pub skipped: AtomicU64,
    /// Those that wait to be stored, as of the reading thread's last turn.
    pub waiting: AtomicU64,
    /// The sequence of the last that was given up. What isn't stored up to there is counted in
    /// `skipped`.
    pub given_up: AtomicU64,
    /// The sequence up to which this run is stored, and how many of its lines are: a database that
    /// knows of less has lost the rest.
    pub stored_to: AtomicU64,
    /// See `stored_to`.
    pub stored_lines: AtomicU64,
    /// Lines of this run that were stored and lost with the database's files, at most.
    pub lost: AtomicU64,
}

impl Tally {
    /// Lines of this run that were to be stored and aren't, as far as it is known.
    pub fn missing(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed) + self.lost.load(Ordering::Relaxed)
    }
}

/// What the workers drop of the clients' input. Every worker adds to it.
#[derive(Debug, Default, FromBytes)]
#[repr(C)]
pub struct Dropped {
    datagrams: AtomicU64,
    backlogs: AtomicU64,
    backlog_bytes: AtomicU64,
}

impl Dropped {
    /// Counts a datagram that was dropped, or its last lines, because its sender sends too much or
    /// because it lacks the session's key. Returns how many there are.
    pub fn datagram(&self) -> u64 {
        self.datagrams.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Counts what a connection whose peer has reset it had sent beyond its budget, in bytes.
    pub fn backlog(&self, bytes: usize) {
        if bytes > 0 {
            self.backlogs.fetch_add(1, Ordering::AcqRel);
            // SYNC dropped: last, because the report waits for the bytes.
            self.backlog_bytes.fetch_add(bytes as u64, Ordering::AcqRel);
        }
    }

    /// Datagrams, bytes of backlogs, and connections that they were of.
    pub fn counts(&self) -> [u64; 3] {
        // SYNC dropped.
        [&self.datagrams, &self.backlog_bytes, &self.backlogs]
            .map(|count| count.load(Ordering::Acquire))
    }
}
