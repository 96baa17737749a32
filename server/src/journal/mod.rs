//! The journal process. It reads the log like a worker, and keeps a copy of the chat state, of
//! which it publishes snapshots. New processes start from a snapshot, and without snapshots the
//! ring would fill up. The journal also stores the lines, for `/history` and for the next run.
//!
//! ```text
//!  event log ──► reading thread: state, snapshots ──► backlog ──► storing thread ──► SQLite
//!      ▲                      │                                         │
//!      └── answers, topics ───┴─────────────────────────────────────────┘
//! ```
//!
//! | file | contents |
//! |---|---|
//! | `reading` | the reading thread: what it does in a turn, what it appends to the log |
//! | `backlog` | what the two threads exchange |
//! | `storing` | the storing thread: all work that may wait for a disk |
//! | `store` | the database |
//! | `sequences` | the file with the last sequence that was used, for the next run |
//!
//! The journal sends nothing to clients: it appends its answers to the log. It publishes a snapshot
//! only when no worker and no session can still need the records before it (see
//! `segment/checkpoints.rs`), and when those records are stored. So a new journal reads all records
//! again that were not stored. A full or slow disk stops nothing: entries that are more than half
//! the ring old are dropped, counted, and reported to the operator.
//!
//! If there is no journal for long, a worker runs the reading half without a database
//! ([`stand_in`]; see [`crate::stand_in`]) and makes the snapshots. The lines wait in the ring for
//! the next journal, until they are too old.

mod backlog;
mod reading;
mod sequences;
pub mod store;
mod storing;

pub use backlog::{BATCH_ENTRIES_MAX, Backlog, Lookup, Prepared};
pub use reading::Journal;
pub use sequences::used as sequences_used;
pub use store::Quota;

use crate::chat::RateLimit;
use crate::ipc::start_gate::Party;
use crate::replica::JoinError;
use crate::segment::{Segment, Tally};
use crate::stand_in::Duty;
use forkchat_common::ids::Slot;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use storing::Storing;

/// The exit code of a journal that has stored everything when the server ends.
pub const FINISHED: i32 = 0;

const CANNOT_START: i32 = 1;

/// The journal's configuration.
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// `--rate-limit`: part of the state's rules.
    pub rate_limit: RateLimit,
    /// The workers use the slots below this number, except the journal's own slot. Their
    /// `flushed_through` delays snapshots.
    pub workers: u16,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--history` and `--history-bytes`: how much the journal keeps.
    pub quota: Quota,
    /// How many bytes all rooms and topics together may take. The journal records it in the log
    /// when a run begins.
    pub rooms_bytes_max: u64,
    /// The journal's counters.
    pub tally: &'static Tally,
}

impl JournalConfig {
    /// How many lines of this run are not stored, in words: `at most 3 lines that were said`.
    /// `None` if all are stored, or if nothing is stored because there is no data directory. Lines
    /// that still wait are counted unless the journal `is_done`.
    pub fn missing_lines(&self, is_done: bool) -> Option<String> {
        let waiting = if is_done { 0 } else { self.tally.waiting.load(Ordering::Relaxed) };
        let missing = self.tally.missing() + waiting;
        let at_most = if self.tally.lost.load(Ordering::Relaxed) > 0 { "at most " } else { "" };
        let lines = if missing == 1 { "line that was said" } else { "lines that were said" };
        (self.data_dir.is_some() && missing > 0).then(|| format!("{at_most}{missing} {lines}"))
    }
}

/// Starts the reading half of the journal in a worker that stands in for it, in slot `me`: without
/// a database, so it stores nothing.
///
/// # Errors
/// Like those of a worker's takeover, if the snapshot can't be read.
pub fn stand_in(
    segment: &'static Segment,
    me: Slot,
    config: &JournalConfig,
) -> Result<Box<dyn Duty>, JoinError> {
    let config = JournalConfig { data_dir: None, ..config.clone() };
    let backlog = Arc::new(Backlog::without_storing_thread(config.tally));
    Ok(Box::new(Journal::join(segment, me, &config, backlog)?))
}

/// Runs the journal in slot `me` until the server ends and everything is stored. Returns the
/// process's exit code.
pub fn run(segment: &'static Segment, me: Slot, config: &JournalConfig, gate: Party) -> i32 {
    if config.data_dir.is_none() {
        log::warn!(
            "no history is kept: neither XDG_STATE_HOME nor HOME is set; give a directory with \
             --data-dir"
        );
    }
    warn_of_file_size(config);
    let backlog = Arc::new(Backlog::new(config.tally));
    let mut storing =
        Storing::new(segment, me, backlog.clone(), config.data_dir.as_deref(), config.quota);
    let store = move || {
        // A server that can't serve must not change anything on the disk.
        gate.wait();
        storing.run()
    };
    if let Err(error) = thread::Builder::new().name("storing".to_owned()).spawn(store) {
        log::error!("cannot start the storing thread: {error}");
        return CANNOT_START;
    }
    match Journal::join(segment, me, config, backlog) {
        Ok(mut journal) => {
            journal.begin();
            gate.pass();
            journal.run();
            FINISHED
        }
        Err(error) => {
            log::error!("{error}");
            CANNOT_START
        }
    }
}

/// Warns the operator if a limit on file sizes allows less history than was configured. If it
/// allows none at all, the storing thread reports it.
fn warn_of_file_size(config: &JournalConfig) {
    let Some(limit) = store::file_size_limit().filter(|_| config.data_dir.is_some()) else {
        return;
    };
    let kept = config.quota.within(Some(limit)).bytes_max;
    if 0 < kept && kept < config.quota.bytes_max {
        let (kept, limit) = (kept >> 10, limit >> 10);
        log::warn!(
            "the history keeps at most {kept} KiB, since files may not be larger than {limit} KiB \
             (ulimit -f)"
        );
    }
}
