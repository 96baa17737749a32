//! The history on disk: the lines of the rooms, and their topics, in an SQLite database. One thread
//! of the journal uses it.
//!
//! ```text
//!  entries, with the sequence up to which they go ──► store ──► one transaction: lines, topics, gap, progress; what is too much goes
//!                                                                     │
//!                           last_lines, complete_since, topics ◄──────┘
//! ```
//!
//! **Everything is stored once.** Entries and the sequence that they reach are committed together.
//! A journal that takes over asks how far this run is stored ([`Store::reached`]), reads the log
//! again from its snapshot, and hands over everything: the store skips what it has.
//!
//! **Order.** Lines are in the order in which they were stored. Sequences are compared within one
//! run of the server only, since the clock may have been set back between two runs. A run begins
//! with its first [`Store::store`].
//!
//! **What a crash may lose.** A killed process loses nothing that was stored, since the kernel has
//! the write-ahead log. It is written to the disk at checkpoints only (`synchronous = NORMAL`). So
//! a crash of the machine may lose the transactions since the latest checkpoint, about 4 MiB, the
//! latest first. The database is then in the state after some earlier transaction.
//!
//! **Bounds.** [`Quota`] bounds lines and bytes, and says whose lines are deleted. The lines bound
//! the rooms, and
//! [`ROOMS_MAX`] bounds the topics. `sizes` bounds the write-ahead log, and says how much is kept where files may not be
//! large (`ulimit -f`). The file never shrinks: freed space is used again. Other programs may read
//! it meanwhile (`sqlite3 -readonly history.sqlite3`).

mod error;
mod files;
mod migrations;
mod progress;
mod quota;
mod rooms;
mod sizes;
#[cfg(test)]
pub(super) mod tests;

pub use error::StoreError;
pub use quota::Quota;

use files::Files;
pub use files::{Tampered, file_size_limit};
use forkchat_common::ids::{Micros, RecordId, Sequence};
use forkchat_common::limits::ROOMS_MAX;
use migrations::{APPLICATION_ID, MIGRATIONS};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use progress::{Gap, Lost, Progress};
use quota::Totals;
use rooms::RoomNumbers;
use rusqlite::config::DbConfig;
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, Row, TransactionBehavior, params,
};
use sizes::{LIMIT_MIN, Sizes};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The database, in the data directory. SQLite keeps two files with longer names beside it.
const FILE_NAME: &str = "history.sqlite3";
/// Held by the one server that stores here.
const LOCK_NAME: &str = "lock";
const WAL_NAME: &str = "history.sqlite3-wal";
const SHM_NAME: &str = "history.sqlite3-shm";
/// How long another process may keep the lock before a call fails.
const BUSY_MILLIS: u64 = 250;

const ADD_LINE: &str = "INSERT INTO lines (id, sequence, record_index, time, room, nick, is_action, text) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
const SET_TOPIC: &str =
    "INSERT OR REPLACE INTO topics (key, name, sequence, text) VALUES (?1, ?2, ?3, ?4)";
const EMPTY_TOPIC: &str = "DELETE FROM topics WHERE key = ?1";
const TRIM_TOPICS: &str = "DELETE FROM topics WHERE id IN (SELECT id FROM topics ORDER BY id LIMIT max(0, (SELECT count(*) FROM topics) - ?1))";
const TRIM_TOPICS_BYTES: &str = "
    DELETE FROM topics WHERE id <= (SELECT max(id) FROM
        (SELECT id, sum(64 + length(CAST(key AS BLOB)) + length(CAST(name AS BLOB)) + length(CAST(text AS BLOB))) OVER (ORDER BY id DESC) AS bytes
        FROM topics) WHERE bytes > ?1)";
const LAST_TOPICS: &str = "SELECT sequence, name, key, text FROM topics ORDER BY id DESC LIMIT ?1";
const LAST_LINES: &str = "
    SELECT lines.sequence, record_index, time, name, key, nick, is_action, text FROM rooms JOIN lines ON lines.room = rooms.id
    WHERE rooms.key = ?1 AND lines.id < ?2 ORDER BY lines.id DESC LIMIT ?3";
const NEXT_LINE: &str =
    "SELECT id, sequence, record_index FROM lines WHERE id >= ?1 ORDER BY id LIMIT 1";
const LOST_IN_ROOM: &str = "SELECT lost_line, lost_until FROM rooms WHERE key = ?1";
const LOST_WITH_ROOMS: &str = "SELECT forgotten_line, forgotten_until FROM progress";
const IS_CLOSED: &str = "SELECT is_closed FROM progress";
const CLOSE: &str = "UPDATE progress SET is_closed = 1";
/// Statements that are kept prepared: all of the above and those of `quota`.
const STATEMENTS_MAX: usize = 40;

/// A line said in a room, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The id of its record. The sequence is below 2^63, as everywhere here.
    pub id: RecordId,
    /// When it was said.
    pub time: Micros,
    /// The room's name. Lines that are read have the spelling in which it was stored last.
    pub room: String,
    /// The room's key: equal for names that are the same.
    pub room_key: String,
    /// Who said it, by the nick of that moment.
    pub nick: String,
    /// Said with `/me`.
    pub is_action: bool,
    /// What was said.
    pub text: String,
}

/// A room's topic as it was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// The position of the record that set it.
    pub sequence: Sequence,
    /// The room's name.
    pub room: String,
    /// The room's key: equal for names that are the same.
    pub room_key: String,
    /// Empty if the room has no topic any more.
    pub text: String,
}

/// What is stored, in the log's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Somebody said something.
    Line {
        /// The position of the record in the log of this run.
        position: Sequence,
        /// What was said.
        line: Line,
    },
    /// Somebody set a topic.
    Topic(Topic),
    /// What lies between the entry before and the one behind was given up.
    Gap {
        /// The last record that was given up.
        until: Sequence,
    },
}

impl Entry {
    /// The position of its record; of a gap that of the last one.
    pub fn position(&self) -> Sequence {
        match self {
            Entry::Line { position, .. } => *position,
            Entry::Topic(topic) => topic.sequence,
            Entry::Gap { until } => *until,
        }
    }
}

#[cfg(test)]
impl From<Line> for Entry {
    /// At the position that this run's log gave it.
    fn from(line: Line) -> Entry {
        Entry::Line { position: line.id.sequence, line }
    }
}

/// The database, open. For one thread.
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
    /// `None` until they are added up: at first, and when they may have changed otherwise than by a
    /// commit here.
    totals: Option<Totals>,
}

impl Store {
    /// Opens or makes the database `history.sqlite3` (mode 0600) in `data_dir`, which is made if
    /// need be (mode 0700), and brings its schema up to date. What is kept is bounded by `quota`,
    /// and by what fits a file (`ulimit -f`): [`Quota::within`]. Until it is dropped, or its
    /// process has ended, no other store opens there.
    ///
    /// # Errors
    /// A file that isn't ours, comes from a newer version, is damaged or can't be written is left
    /// as it is.
    pub fn open(data_dir: &Path, quota: Quota) -> Result<Store, StoreError> {
        Store::open_within(data_dir, quota, file_size_limit())
    }

    fn open_within(data_dir: &Path, quota: Quota, limit: Option<u64>) -> Result<Store, StoreError> {
        if let Some(limit) = limit.filter(|&limit| limit < LIMIT_MIN) {
            return Err(StoreError::NoFileSize { limit });
        }
        let lock = lock(data_dir)?;
        let path = data_dir.join(FILE_NAME);
        // What is said in a room is for those who are in it. SQLite gives its other files the same
        // mode.
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(StoreError::Create { path, error }),
        }
        let failed = |error| StoreError::sqlite("open", &path, error);
        let (quota, sizes) = (quota.within(limit), Sizes::within(limit));
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&path, flags).map_err(failed)?;
        connection.busy_timeout(Duration::from_millis(BUSY_MILLIS)).map_err(failed)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        // Before the first change.
        match identify(&connection).map_err(failed)? {
            Identity::Ours => {}
            Identity::Foreign => return Err(StoreError::Foreign { path }),
            Identity::Newer(version) => {
                return Err(StoreError::Newer { path, version, known: MIGRATIONS.len() });
            }
        }
        connection.execute_batch(&settings(sizes)).map_err(failed)?;
        migrations::migrate(&mut connection, MIGRATIONS).map_err(failed)?;
        let files = Files::opened(data_dir);
        Ok(Store {
            connection,
            files,
            _lock: lock,
            path,
            quota,
            sizes,
            rooms: RoomNumbers::default(),
            totals: None,
        })
    }

    /// What another program did to the open files. What is stored then is lost: the database should
    /// be closed with [`Store::rescue`] and opened again.
    pub fn tampered(&self) -> Option<Tampered> {
        self.files.tampered()
    }

    /// Closes the database after that. If only the write-ahead log's name is gone, what only the
    /// log has is brought into the database, and nothing is lost.
    pub fn rescue(self, tampered: &Tampered) {
        // A log that was made shorter has holes, which would be brought into the database, too.
        let is_damaged = matches!(tampered, Tampered::Shortened(_));
        let _ =
            self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, is_damaged);
        if !is_damaged {
            // Closing it does the same, but not while another program reads.
            let _ = self.checkpoint("PASSIVE");
        }
    }

    /// Begins a run, or goes on with it. If the run before it did not end with [`Store::close`], or
    /// there was none here, nobody knows what was said and isn't here: a gap.
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
        // That the run isn't closed must be known also to those who find the database without its
        // write-ahead log.
        self.checkpoint("PASSIVE").map(drop)
    }

    /// How many lines of this run were stored, whether they are still here or not. They are
    /// numbered in turn.
    pub fn lines_of_run(&self, run: Sequence) -> Result<u64, StoreError> {
        let progress =
            Progress::load(&self.connection).map_err(|error| self.failed("read from", error))?;
        Ok(progress
            .run
            .filter(|latest| latest.first == run)
            .map_or(0, |latest| from_sql(progress.next_line - latest.line)))
    }

    /// The run ended, and everything is stored.
    pub fn close(self) -> Result<(), StoreError> {
        self.connection.execute(CLOSE, []).map(drop).map_err(|error| self.failed("write to", error))
    }

    /// Stores `entries`, and that all records of this run up to and with `reached` are dealt with:
    /// both or nothing. `run` is the first sequence of this run of the server.
    ///
    /// Entries of this run at or below what was reached before are passed over, and what was
    /// reached stays at least that.
    ///
    /// # Errors
    /// Nothing is stored then, and the same call may be made again.
    pub fn store(
        &mut self,
        run: Sequence,
        entries: &[Entry],
        reached: Sequence,
    ) -> Result<(), StoreError> {
        self.write(|store| store.commit(run, entries, reached))
    }

    /// Stores topics that are set already.
    ///
    /// # Errors
    /// None of them is stored then.
    pub fn store_topics(&mut self, topics: &[Topic]) -> Result<(), StoreError> {
        self.write(|store| store.commit_topics(topics))
    }

    /// Carries out a transaction. Where the write-ahead log finds no room it is emptied, and the
    /// transaction carried out again.
    fn write(
        &mut self,
        mut commit: impl FnMut(&mut Store) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        self.bound_wal()?;
        let mut committed = commit(self);
        if committed.as_ref().is_err_and(finds_no_room) && self.empty_wal() {
            self.forget();
            committed = commit(self);
        }
        match committed {
            Ok(()) => {
                self.files.written();
                Ok(())
            }
            Err(error) => {
                self.forget();
                Err(self.failed("store in", error))
            }
        }
    }

    /// Of a transaction that failed: the numbers of rooms that were made for it are gone with it.
    fn forget(&mut self) {
        self.rooms.forget();
        self.totals = None;
    }

    /// The last record of this run whose entries are stored; `None` if nothing of this run is.
    pub fn reached(&self, run: Sequence) -> Result<Option<Sequence>, StoreError> {
        let progress =
            Progress::load(&self.connection).map_err(|error| self.failed("read from", error))?;
        Ok(progress.run.filter(|latest| latest.first == run).map(|latest| latest.reached))
    }

    /// A room's last `count` lines before `before`, oldest first. Lines of earlier runs come all
    /// before those of this one, which `run` names. What it takes depends on the lines that are
    /// returned, not on those that are kept.
    pub fn last_lines(
        &self,
        run: Sequence,
        room_key: &str,
        before: RecordId,
        count: usize,
    ) -> Result<Vec<Line>, StoreError> {
        self.query_lines(run, room_key, before, count)
            .map_err(|error| self.failed("read from", error))
    }

    /// From this record on everything that was said in the room is here: 0 if nothing was ever
    /// lost, else what follows the last line that was deleted or the latest gap. If all that is
    /// missing is of earlier runs it is at most the first sequence of the latest.
    pub fn complete_since(&self, room_key: &str) -> Result<Sequence, StoreError> {
        self.query_complete_since(room_key).map_err(|error| self.failed("read from", error))
    }

    /// The topics with which a run begins: at most `max`, the one that was set last first, none
    /// empty.
    pub fn topics(&self, max: usize) -> Result<Vec<Topic>, StoreError> {
        self.query_topics(max).map_err(|error| self.failed("read from", error))
    }

    fn commit(
        &mut self,
        run: Sequence,
        entries: &[Entry],
        reached: Sequence,
    ) -> rusqlite::Result<()> {
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if self.rooms.forget_if_changed(&transaction)? {
            self.totals = None;
        }
        let mut totals = match self.totals {
            Some(totals) => totals,
            None => Totals::load(&transaction)?,
        };
        let mut progress = Progress::load(&transaction)?;
        let reached_before = progress.begin(run);
        let first_new = progress.next_line;
        // So that there is a row, which the changes of rooms go into.
        progress.save(&transaction)?;
        let (mut untrimmed_bytes, mut untrimmed_line) = (0, first_new);
        {
            let mut add_line = transaction.prepare_cached(ADD_LINE)?;
            for entry in entries.iter().filter(|entry| Some(entry.position()) > reached_before) {
                match entry {
                    Entry::Line { line, .. } => {
                        let RecordId { sequence, index } = line.id;
                        let bytes = quota::line_bytes(&line.nick, &line.text);
                        let room = self.rooms.number(&transaction, &mut totals, line)?;
                        add_line.execute(params![
                            progress.next_line,
                            to_sql(sequence.0),
                            index,
                            to_sql(line.time.0),
                            room.id,
                            line.nick,
                            line.is_action,
                            line.text
                        ])?;
                        totals.add_line(room.is_established, bytes);
                        room.establish(&transaction, &mut totals, line.time)?;
                        progress.next_line += 1;
                        untrimmed_bytes += from_sql(bytes);
                    }
                    Entry::Topic(topic) => {
                        set_topic(&transaction, topic)?;
                        untrimmed_bytes += topic_bytes(topic);
                    }
                    Entry::Gap { until } => {
                        progress.gap = Some(Gap { line: progress.next_line, until: *until })
                    }
                }
                if untrimmed_bytes > self.sizes.untrimmed_bytes_max {
                    quota::trim(
                        &transaction,
                        self.quota,
                        &mut totals,
                        progress.next_line - untrimmed_line,
                        |key| self.rooms.forget_room(key),
                    )?;
                    trim_topics(&transaction, self.sizes)?;
                    (untrimmed_bytes, untrimmed_line) = (0, progress.next_line);
                }
            }
        }
        if entries.iter().any(|entry| matches!(entry, Entry::Topic(_))) {
            trim_topics(&transaction, self.sizes)?;
        }
        quota::trim(
            &transaction,
            self.quota,
            &mut totals,
            progress.next_line - untrimmed_line,
            |key| self.rooms.forget_room(key),
        )?;
        progress.reach(reached);
        progress.save(&transaction)?;
        transaction.commit()?;
        self.totals = Some(totals);
        Ok(())
    }

    fn commit_topics(&mut self, topics: &[Topic]) -> rusqlite::Result<()> {
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut untrimmed_bytes = 0;
        for topic in topics {
            set_topic(&transaction, topic)?;
            untrimmed_bytes += topic_bytes(topic);
            if untrimmed_bytes > self.sizes.untrimmed_bytes_max {
                trim_topics(&transaction, self.sizes)?;
                untrimmed_bytes = 0;
            }
        }
        trim_topics(&transaction, self.sizes)?;
        transaction.commit()
    }

    fn query_complete_since(&self, room_key: &str) -> rusqlite::Result<Sequence> {
        let read = |row: &Row<'_>| {
            Ok(match row.get::<_, Option<i64>>(0)? {
                Some(line) => Some(Lost { line, until: sequence(row, 1)? }),
                None => None,
            })
        };
        let lost = match self
            .connection
            .prepare_cached(LOST_IN_ROOM)?
            .query_row([room_key], read)
            .optional()?
        {
            Some(lost) => lost,
            None => self
                .connection
                .prepare_cached(LOST_WITH_ROOMS)?
                .query_row([], read)
                .optional()?
                .flatten(),
        };
        Ok(Progress::load(&self.connection)?.complete_since(lost))
    }

    fn query_lines(
        &self,
        run: Sequence,
        room_key: &str,
        before: RecordId,
        count: usize,
    ) -> rusqlite::Result<Vec<Line>> {
        let end = self.end_of(&Progress::load(&self.connection)?, run, before)?;
        let mut statement = self.connection.prepare_cached(LAST_LINES)?;
        let rows = statement.query_map(params![room_key, end, limit(count)], read_line)?;
        let mut lines = rows.collect::<rusqlite::Result<Vec<Line>>>()?;
        lines.reverse();
        Ok(lines)
    }

    /// The number where lines stop being before `before`. Found by halving: this run's sequences
    /// grow with its lines' numbers.
    fn end_of(
        &self,
        progress: &Progress,
        run: Sequence,
        before: RecordId,
    ) -> rusqlite::Result<i64> {
        // Without a line of this run all are of earlier ones.
        let Some(latest) = progress.run.filter(|latest| latest.first == run) else {
            return Ok(progress.next_line);
        };
        let (mut low, mut high) = (latest.line, progress.next_line);
        while low < high {
            let middle = low + (high - low) / 2;
            match next_line(&self.connection, middle)? {
                Some((line, id)) if id < before => low = line + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    fn query_topics(&self, max: usize) -> rusqlite::Result<Vec<Topic>> {
        let read = |row: &Row<'_>| {
            Ok(Topic {
                sequence: sequence(row, 0)?,
                room: row.get(1)?,
                room_key: row.get(2)?,
                text: row.get(3)?,
            })
        };
        self.connection.prepare_cached(LAST_TOPICS)?.query_map([limit(max)], read)?.collect()
    }

    /// Refuses to go on while somebody's reading keeps the write-ahead log from being used again,
    /// or a full disk from being copied out of.
    fn bound_wal(&mut self) -> Result<(), StoreError> {
        let bytes = self.wal_bytes();
        if bytes <= self.sizes.wal_bytes_max {
            return Ok(());
        }
        match self.checkpoint("TRUNCATE")? {
            true => Err(StoreError::Reader { path: self.path.with_file_name(WAL_NAME), bytes }),
            false => {
                self.files.written();
                Ok(())
            }
        }
    }

    /// Whether the write-ahead log had something in it, and has nothing any more. What another
    /// program has damaged stays as it is: see [`Store::rescue`].
    fn empty_wal(&mut self) -> bool {
        let is_emptied = self.tampered().is_none()
            && self.wal_bytes() > 0
            && matches!(self.checkpoint("TRUNCATE"), Ok(false));
        if is_emptied {
            self.files.written();
        }
        is_emptied
    }

    fn wal_bytes(&self) -> u64 {
        fs::metadata(self.path.with_file_name(WAL_NAME)).map_or(0, |metadata| metadata.len())
    }

    /// Brings the write-ahead log into the database's file. Whether another program held that up.
    fn checkpoint(&self, mode: &str) -> Result<bool, StoreError> {
        let is_held =
            self.connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
                row.get::<_, bool>(0)
            });
        is_held.map_err(|error| self.failed("store in", error))
    }

    fn failed(&self, action: &'static str, error: rusqlite::Error) -> StoreError {
        StoreError::sqlite(action, &self.path, error)
    }
}

fn settings(sizes: Sizes) -> String {
    let Sizes { checkpoint_pages, wal_bytes_kept, .. } = sizes;
    format!(
        "
        PRAGMA journal_mode = WAL;
        PRAGMA synchronous = NORMAL;
        PRAGMA wal_autocheckpoint = {checkpoint_pages};
        PRAGMA journal_size_limit = {wal_bytes_kept};
        PRAGMA cache_size = -8192;
        PRAGMA temp_store = MEMORY;
        "
    )
}

/// Whether a file could not be made longer: the disk is full, or a limit or a quota is reached,
/// which SQLite calls a failure of the disk.
fn finds_no_room(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure))
}

/// Whose database it is.
enum Identity {
    /// Ours, or new: nothing in it yet.
    Ours,
    Foreign,
    /// Ours, of a version that isn't known here.
    Newer(i64),
}

fn identify(connection: &Connection) -> rusqlite::Result<Identity> {
    let application_id: i64 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version = migrations::version(connection)?;
    let is_empty: bool =
        connection
            .query_row("SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| row.get(0))?;
    let is_known = usize::try_from(version).is_ok_and(|version| version <= MIGRATIONS.len());
    Ok(match application_id {
        APPLICATION_ID if is_known => Identity::Ours,
        APPLICATION_ID => Identity::Newer(version),
        0 if version == 0 && is_empty => Identity::Ours,
        _ => Identity::Foreign,
    })
}

fn set_topic(connection: &Connection, topic: &Topic) -> rusqlite::Result<()> {
    if topic.text.is_empty() {
        connection.prepare_cached(EMPTY_TOPIC)?.execute([&topic.room_key])?;
        return Ok(());
    }
    let mut statement = connection.prepare_cached(SET_TOPIC)?;
    statement.execute(params![topic.room_key, topic.room, to_sql(topic.sequence.0), topic.text])?;
    Ok(())
}

/// Deletes the topics that were set longest ago where there are more than rooms may exist, or than
/// fit the file.
fn trim_topics(connection: &Connection, sizes: Sizes) -> rusqlite::Result<()> {
    connection.prepare_cached(TRIM_TOPICS)?.execute([limit(ROOMS_MAX)])?;
    if let Some(bytes_max) = sizes.topics_bytes_max {
        connection.prepare_cached(TRIM_TOPICS_BYTES)?.execute([to_sql(bytes_max)])?;
    }
    Ok(())
}

/// What a topic counts as: the same as `TRIM_TOPICS_BYTES` has it.
fn topic_bytes(topic: &Topic) -> u64 {
    (64 + topic.room_key.len() + topic.room.len() + topic.text.len()) as u64
}

/// Makes the directory if need be, and takes it for this process alone.
fn lock(data_dir: &Path) -> Result<Flock<File>, StoreError> {
    let failed = |error| StoreError::Create { path: data_dir.to_owned(), error };
    // What is said is nobody else's.
    DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(failed)?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(data_dir.join(LOCK_NAME))
        .map_err(failed)?;
    // Let go of by the kernel when the process ends, however it does. Source: flock(2).
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => StoreError::InUse { path: data_dir.to_owned() },
        errno => failed(errno.into()),
    })
}

/// The first line with the number `from` or a greater one: its number and its record's id.
fn next_line(connection: &Connection, from: i64) -> rusqlite::Result<Option<(i64, RecordId)>> {
    connection
        .prepare_cached(NEXT_LINE)?
        .query_row([from], |row| Ok((row.get(0)?, record_id(row, 1)?)))
        .optional()
}

fn read_line(row: &Row<'_>) -> rusqlite::Result<Line> {
    Ok(Line {
        id: record_id(row, 0)?,
        time: Micros(from_sql(row.get(2)?)),
        room: row.get(3)?,
        room_key: row.get(4)?,
        nick: row.get(5)?,
        is_action: row.get(6)?,
        text: row.get(7)?,
    })
}

/// From this column and the next one.
fn record_id(row: &Row<'_>, column: usize) -> rusqlite::Result<RecordId> {
    Ok(RecordId { sequence: sequence(row, column)?, index: row.get(column + 1)? })
}

fn sequence(row: &Row<'_>, column: usize) -> rusqlite::Result<Sequence> {
    row.get(column).map(from_sql).map(Sequence)
}

/// SQLite's integers have a sign: what is more than they hold (no sequence is, and no time) becomes
/// the greatest.
fn to_sql(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn from_sql(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn limit(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
