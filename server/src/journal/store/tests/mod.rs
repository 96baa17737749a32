//! The store, with real files.

mod model;
mod quota;
mod reading;
mod refusing;
mod schema;
mod speed;
mod storing;

use super::files::{FILE_NAME, SHM_NAME, WAL_NAME};
use super::migrations::MIGRATIONS;
use super::quota::TRIM_LINES_MAX;
use super::read::LAST_LINES;
use super::sizes::LIMIT_MIN;
use super::*;
use forkchat_common::ids::{Micros, RecordId};
use forkchat_common::limits::ROOMS_MAX;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use proptest::prelude::*;
use rusqlite::{Row, params};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The server's start in these tests.
const RUN: Sequence = Sequence(1_000_000);

/// A directory for one test, deleted at its end.
pub(in crate::journal) struct Home(pub PathBuf);

impl Home {
    pub fn new() -> Home {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!(
            "forkchat-store-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Home(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join(FILE_NAME)
    }

    fn open(&self, lines_max: u64) -> Store {
        Store::open(&self.0, at_most(lines_max)).unwrap()
    }

    /// The error with which opening the database fails.
    fn refusal(&self) -> String {
        Store::open(&self.0, at_most(100)).unwrap_err().to_string()
    }

    /// A connection like another program's.
    fn sqlite(&self) -> Connection {
        Connection::open(self.file()).unwrap()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A bound on lines alone.
fn at_most(lines_max: u64) -> Quota {
    Quota { lines_max, bytes_max: u64::MAX }
}

fn line(room: &str, sequence: u64) -> Line {
    Line {
        id: RecordId::first_of(Sequence(sequence)),
        time: Micros(sequence + 7),
        room: room.to_uppercase(),
        room_key: room.to_owned(),
        nick: "Alice".to_owned(),
        is_action: sequence.is_multiple_of(2),
        text: format!("line {sequence}"),
    }
}

fn lines(room: &str, sequences: impl IntoIterator<Item = u64>) -> Vec<Entry> {
    sequences.into_iter().map(|sequence| Entry::from(line(room, sequence))).collect()
}

fn topic(room: &str, sequence: u64, text: &str) -> Topic {
    Topic {
        sequence: Sequence(sequence),
        room: room.to_uppercase(),
        room_key: room.to_owned(),
        text: text.to_owned(),
    }
}

/// Stores up to the last of them.
fn store(store: &mut Store, run: Sequence, entries: &[Entry]) {
    store.store(run, entries, entries.last().unwrap().position()).unwrap();
}

/// The sequences of a room's last lines, oldest first.
fn last(store: &Store, run: Sequence, room: &str, before: u64, count: usize) -> Vec<u64> {
    store
        .last_lines(run, room, RecordId::first_of(Sequence(before)), count)
        .unwrap()
        .iter()
        .map(|line| line.id.sequence.0)
        .collect()
}

fn number(store: &Store, sql: &str) -> i64 {
    store.connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// A line of a room, said at `time`, with a text of `length` bytes.
fn said(room: &str, sequence: u64, time: u64, length: usize) -> Entry {
    Entry::from(Line { time: Micros(time), text: "x".repeat(length), ..line(room, sequence) })
}

const HOUR: u64 = 3_600 * Micros::SECOND;

fn count(store: &Store, room: &str) -> usize {
    last(store, RUN, room, u64::MAX, usize::MAX).len()
}
