//! The journal process: one more reader of the log. It keeps a copy of the state and publishes
//! snapshots of it. Successors start from a snapshot, and without snapshots the ring would fill up.
//! It also stores the lines, for `/history` and for the next run.
//!
//! ```text
//!  event log ──► reading thread: state, snapshots ──► what is to be stored ──► storing thread ──► SQLite
//!      ▲                      │                          (backlog)                   │
//!      └── answers, topics ───┴──────────────────────────────────────────────────────┘
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `reading` | the reading thread: what it does in a turn |
//! | `backlog` | what the two threads exchange |
//! | `storing` | the storing thread: all work that may wait for a disk |
//! | `store` | the database |
//! | `sequences` | the last sequence that was used, for the next run |
//!
//! It sends nothing to clients: it appends its answers to the log. It publishes a snapshot only
//! when no worker and no session can still need what lies before it (see `segment/checkpoints.rs`), and
//! when that is stored. So a new journal reads again what was not stored. A disk that is full or
//! slow stops nothing: entries that lie more than half the ring back are dropped, counted, and
//! reported to the operator.
//!
//! If there is no journal for long, a worker runs its reading half without a database
//! ([`stand_in`]; see
//! [`crate::stand_in`]). It makes the snapshots. The lines wait in the ring for the next journal, until they lie too far
//! back.

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
use crate::ipc::start_gate::Place;
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

/// What the journal is told once, before it starts.
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// `--rate-limit`: part of the state's rules.
    pub rate_limit: RateLimit,
    /// Workers are in the slots below this, but for the journal's own: their `flushed_through` holds
    /// snapshots back.
    pub workers: u16,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--history` and `--history-bytes`: how much is kept.
    pub quota: Quota,
    /// What all rooms and topics together may take, in bytes: the journal records it when a run
    /// begins.
    pub rooms_bytes_max: u64,
    /// What it counts.
    pub tally: &'static Tally,
}

impl JournalConfig {
    /// Lines of this run that were to be stored and aren't, in words: `at most 3 lines that were
    /// said`; `None` if all are, or if none is to be, without a data directory. Those that wait
    /// count unless the journal `is_done`.
    pub fn missing_lines(&self, is_done: bool) -> Option<String> {
        let waiting = if is_done { 0 } else { self.tally.waiting.load(Ordering::Relaxed) };
        let missing = self.tally.missing() + waiting;
        let at_most = if self.tally.lost.load(Ordering::Relaxed) > 0 { "at most " } else { "" };
        let lines = if missing == 1 { "line that was said" } else { "lines that were said" };
        (self.data_dir.is_some() && missing > 0).then(|| format!("{at_most}{missing} {lines}"))
    }
}

/// Begins what a worker does that stands in for the journal in slot `me`: the same without a
/// database. What it reads is never stored by it.
///
/// # Errors
/// As a worker's takeover, if the snapshot can't be read.
pub fn stand_in(
    segment: &'static Segment,
    me: Slot,
    config: &JournalConfig,
) -> Result<Box<dyn Duty>, JoinError> {
    let config = JournalConfig { data_dir: None, ..config.clone() };
    let backlog = Arc::new(Backlog::unattended(config.tally));
    Ok(Box::new(Journal::join(segment, me, &config, backlog)?))
}

/// Runs the journal in slot `me` until the process is killed. Returns an exit code if it can't.
pub fn run(segment: &'static Segment, me: Slot, config: &JournalConfig, gate: Place) -> i32 {
    if config.data_dir.is_none() {
        log::warn!(
            "no history is kept: neither XDG_STATE_HOME nor HOME is set; give a directory with --data-dir"
        );
    }
    warn_of_file_size(config);
    let backlog = Arc::new(Backlog::new(config.tally));
    let mut storing =
        Storing::new(segment, me, backlog.clone(), config.data_dir.as_deref(), config.quota);
    let store = move || {
        // Nothing on the disk is changed by a server that can't serve.
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

/// Tells the operator if less is kept than was asked for. That nothing is, the storing thread
/// tells.
fn warn_of_file_size(config: &JournalConfig) {
    let Some(limit) = store::file_size_limit().filter(|_| config.data_dir.is_some()) else {
        return;
    };
    let kept = config.quota.within(Some(limit)).bytes_max;
    if 0 < kept && kept < config.quota.bytes_max {
        let (kept, limit) = (kept >> 10, limit >> 10);
        log::warn!(
            "the history keeps at most {kept} KiB, since files may not be larger than {limit} KiB (ulimit -f)"
        );
    }
}
