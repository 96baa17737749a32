//! The journal process: one more reader of the log. It keeps a copy of the state and publishes snapshots of it, from which a
//! worker that takes over starts, and without which the ring would fill up; and it stores what is said, for `/history` and for the next run.
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
//! | `backlog` | what the two threads have between them |
//! | `storing` | the storing thread: everything that may wait for a disk |
//! | `store` | the database |
//!
//! It answers no client: what it has to say it appends to the log. A snapshot is published only when no worker and no session could still need
//! what lies before it (see `event_log/cells.rs`) and when that is stored; so a journal that takes over reads again what wasn't. A disk that is full
//! or slow stops nothing: what lies more than half the ring back is given up, counted, and told to the operator.

mod backlog;
mod reading;
pub mod store;
mod storing;

pub use backlog::{Backlog, Prepared, Request, Tally};
pub use reading::Journal;

use crate::chat::RateLimit;
use crate::event_log::EventLog;
use crate::ipc::start_gate::Place;
use forkchat_common::ids::Slot;
use std::path::PathBuf;
use std::sync::Arc;
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
    /// Workers are in the slots below this, but for the journal's own: their `stable` holds snapshots back.
    pub workers: u16,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--history`: lines that are kept.
    pub lines_max: u64,
    /// What it counts.
    pub tally: &'static Tally,
}

/// Runs the journal in slot `me` until the process is killed. Returns an exit code if it can't.
pub fn run(log: &'static EventLog, me: Slot, config: &JournalConfig, gate: Place) -> i32 {
    if config.data_dir.is_none() {
        log::warn!("nothing that is said is kept: neither XDG_STATE_HOME nor HOME is set; give a directory with --data-dir");
    }
    let backlog = Arc::new(Backlog::new(config.tally));
    let mut storing = Storing::new(log, me, backlog.clone(), config.data_dir.as_deref(), config.lines_max);
    let store = move || {
        // Nothing on the disk is changed by a server that can't serve.
        gate.wait();
        storing.run()
    };
    if let Err(error) = thread::Builder::new().name("storing".to_owned()).spawn(store) {
        log::error!("cannot start the storing thread: {error}");
        return CANNOT_START;
    }
    match Journal::join(log, me, config, backlog) {
        Ok(mut journal) => {
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
