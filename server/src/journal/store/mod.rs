//! The history on disk: the rooms' lines and topics, in an SQLite database. One thread of the
//! journal uses it.
//!
//! ```text
//!  entries and the     ──► store ──► one transaction: lines, topics, gap, progress;
//!  sequence they reach                 lines beyond the quota are deleted
//!                                          │
//!  last_lines, complete_since, topics ◄────┘
//! ```
//!
//! **Everything is stored once.** A transaction stores entries together with the sequence that they
//! reach. A journal that takes over asks how far this run is stored ([`Store::reached`]), reads the
//! log again from its snapshot, and passes everything to the store, which skips what it has
//! already.
//!
//! **Order.** Lines are in the order in which they were stored. Sequences are compared only within
//! one run of the server, since the clock may have been set back between two runs. A run begins
//! with its first [`Store::store`].
//!
//! **What a crash may lose.** A killed process loses nothing that was stored, since the kernel has
//! the write-ahead log. SQLite syncs that log to the disk only at checkpoints (`synchronous =
//! NORMAL`). So a crash of the machine may lose the transactions since the latest checkpoint, about
//! 4 MiB, the latest first. The database is then in the state after some earlier transaction.
//!
//! | file | contents |
//! |---|---|
//! | `entry` | what is stored |
//! | `open`, `migrations` | opening the database; its schema by version |
//! | `write`, `read` | storing and reading |
//! | `progress`, `rooms` | how far a run is stored; the rooms' rows |
//! | `quota`, `sizes` | which rooms' lines are deleted; how large files may become |
//! | `wal`, `files` | the write-ahead log; the files in the kernel |
//!
//! **Bounds.** [`Quota`] bounds lines and bytes, and determines which rooms' lines are deleted. The
//! number of lines bounds the number of rooms, and
//! [`ROOMS_MAX`](forkchat_common::limits::ROOMS_MAX) bounds the topics. `sizes` bounds the
//! write-ahead log, and determines how much is kept where files may not be large (`ulimit -f`). The
//! file never shrinks: freed space is used again. Other programs may read it meanwhile (`sqlite3
//! -readonly history.sqlite3`).

mod entry;
mod error;
mod files;
mod migrations;
mod open;
mod progress;
mod quota;
mod read;
mod rooms;
mod sizes;
mod sql;
#[cfg(test)]
pub(super) mod tests;
mod wal;
mod write;

pub use entry::{Entry, Line, Topic};
pub use error::StoreError;
pub use files::{Tampered, file_size_limit};
pub use quota::Quota;

use files::Files;
use forkchat_common::ids::Sequence;
use nix::fcntl::Flock;
use progress::Progress;
use quota::Totals;
use rooms::RoomNumbers;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension};
use sizes::Sizes;
use sql::from_sql;
use std::fs::File;
use std::path::PathBuf;

const IS_CLOSED: &str = "SELECT is_closed FROM progress";
const CLOSE: &str = "UPDATE progress SET is_closed = 1";

/// The open database. Only one thread uses it.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    files: Files,
    /// Held as long as the database is open.
    _lock: Flock<File>,
    quota: Quota,
    sizes: Sizes,
    rooms: RoomNumbers,
    /// `None` until the totals are computed: at first, and when something other than a commit here
    /// may have changed them.
    totals: Option<Totals>,
}

impl Store {
    /// What another program did to the open files, if anything. What is stored then is lost: the
    /// caller should close the database with [`Store::rescue`] and open it again.
    pub fn tampered(&self) -> Option<Tampered> {
        self.files.tampered()
    }

    /// Closes the database after [`Store::tampered`] returned `tampered`. If only the write-ahead
    /// log's name is gone, this copies the log's contents into the database, and nothing is lost.
    pub fn rescue(self, tampered: &Tampered) {
        // A truncated log has holes, which a checkpoint would copy into the database.
        let is_damaged = matches!(tampered, Tampered::Shortened(_));
        let _ =
            self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, is_damaged);
        if !is_damaged {
            // Closing the database does the same, but not while another program reads.
            let _ = self.checkpoint("PASSIVE");
        }
    }

    /// Begins a run, or continues it. If the previous run did not end with [`Store::close`], or
    /// there was no run, lines of which nothing is known may be missing, so this stores a gap.
    pub fn begin(&mut self, run: Sequence) -> Result<(), StoreError> {
        if self.reached(run)?.is_some() {
            return Ok(());
        }
        let was_closed = self.connection.query_row(IS_CLOSED, [], |row| row.get(0)).optional();
        let was_closed =
            was_closed.map_err(|error| self.failed("read from", error))?.unwrap_or(false);
        let before = Sequence(run.0 - 1);
        let gap = Entry::Gap { until: before };
        self.store(run, if was_closed { &[] } else { std::slice::from_ref(&gap) }, before)?;
        // Also a process that finds the database without its write-ahead log must see that the run
        // isn't closed.
        self.checkpoint("PASSIVE").map(drop)
    }

    /// How many lines of this run were stored, including those that were deleted since. Computed
    /// from the lines' numbers, which are consecutive.
    pub fn lines_of_run(&self, run: Sequence) -> Result<u64, StoreError> {
        let progress =
            Progress::load(&self.connection).map_err(|error| self.failed("read from", error))?;
        Ok(progress
            .run
            .filter(|latest| latest.first == run)
            .map_or(0, |latest| from_sql(progress.next_line - latest.line)))
    }

    /// Closes the database after the run ended and everything is stored.
    pub fn close(self) -> Result<(), StoreError> {
        self.connection.execute(CLOSE, []).map(drop).map_err(|error| self.failed("write to", error))
    }

    /// The last record of this run whose entries are stored; `None` if none is.
    pub fn reached(&self, run: Sequence) -> Result<Option<Sequence>, StoreError> {
        let progress =
            Progress::load(&self.connection).map_err(|error| self.failed("read from", error))?;
        Ok(progress.run.filter(|latest| latest.first == run).map(|latest| latest.reached))
    }

    fn failed(&self, action: &'static str, error: rusqlite::Error) -> StoreError {
        StoreError::sqlite(action, &self.path, error)
    }
}
