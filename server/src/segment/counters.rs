//! Counters of the processes, in memory that outlives each process.
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

/// All counters. The journal writes `tally`; the workers write `dropped`.
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
    /// Lines and topics that this run has stored.
    pub stored: AtomicU64,
    /// Lines and topics that were dropped because the disk is full or too slow, or because there is
    /// no journal.
    pub skipped: AtomicU64,
    /// Lines and topics that wait to be stored, as of the reading thread's last turn.
    pub waiting: AtomicU64,
    /// The sequence of the last entry that was dropped. `skipped` counts the entries up to there
    /// that are not stored.
    pub skipped_to: AtomicU64,
    /// The sequence up to which this run is stored. A database that contains less of this run has
    /// lost the rest.
    pub stored_to: AtomicU64,
    /// How many of this run's lines are stored. See `stored_to`.
    pub stored_lines: AtomicU64,
    /// How many of this run's lines were stored and then lost with the database's files, at most.
    pub lost: AtomicU64,
}

impl Tally {
    /// How many of this run's lines are known to be missing from the database.
    pub fn missing(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed) + self.lost.load(Ordering::Relaxed)
    }
}

/// What the workers drop of the clients' input. Every worker adds to these counters.
#[derive(Debug, Default, FromBytes)]
#[repr(C)]
pub struct Dropped {
    datagrams: AtomicU64,
    backlogs: AtomicU64,
    backlog_bytes: AtomicU64,
}

impl Dropped {
    /// Counts a datagram that a worker dropped in whole or in part, because its sender sends too
    /// much or because it lacks the session's key. Returns the new count.
    pub fn datagram(&self) -> u64 {
        self.datagrams.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Counts the bytes beyond its budget that a client had sent on a connection when it reset the
    /// connection.
    pub fn backlog(&self, bytes: usize) {
        if bytes > 0 {
            self.backlogs.fetch_add(1, Ordering::AcqRel);
            // SYNC dropped: the bytes come last, because the report waits for them.
            self.backlog_bytes.fetch_add(bytes as u64, Ordering::AcqRel);
        }
    }

    /// The numbers of dropped datagrams, of bytes in dropped backlogs, and of connections with a
    /// dropped backlog.
    pub fn counts(&self) -> [u64; 3] {
        // SYNC dropped.
        [&self.datagrams, &self.backlog_bytes, &self.backlogs]
            .map(|count| count.load(Ordering::Acquire))
    }
}
