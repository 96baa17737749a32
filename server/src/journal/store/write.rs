//! Storing: each batch is one transaction.

use super::progress::{Gap, Progress};
use super::quota::{self, Totals};
use super::rooms::RoomNumbers;
use super::sizes::Sizes;
use super::sql::{from_sql, limit, to_sql};
use super::{Entry, Line, Store, StoreError, Topic};
use forkchat_common::ids::{RecordId, Sequence};
use forkchat_common::limits::ROOMS_MAX;
use rusqlite::{Connection, ErrorCode, TransactionBehavior, params};

const ADD_LINE: &str = "
    INSERT INTO lines (id, sequence, record_index, time, room, nick, is_action, text)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
const SET_TOPIC: &str =
    "INSERT OR REPLACE INTO topics (key, name, sequence, text) VALUES (?1, ?2, ?3, ?4)";
const EMPTY_TOPIC: &str = "DELETE FROM topics WHERE key = ?1";
const TRIM_TOPICS: &str = "
    DELETE FROM topics WHERE id IN
        (SELECT id FROM topics ORDER BY id LIMIT max(0, (SELECT count(*) FROM topics) - ?1))";
const TRIM_TOPICS_BYTES: &str = "
    DELETE FROM topics WHERE id <= (SELECT max(id) FROM
        (SELECT id,
            sum(64 + length(CAST(key AS BLOB)) + length(CAST(name AS BLOB))
                + length(CAST(text AS BLOB))) OVER (ORDER BY id DESC) AS bytes
        FROM topics) WHERE bytes > ?1)";

impl Store {
    /// Stores `entries`, and that all records of this run up to and including `reached` are
    /// handled: both or nothing. `run` is the first sequence of this run of the server.
    ///
    /// Skips entries of this run at or below what was reached before. What was reached never
    /// decreases.
    ///
    /// # Errors
    /// Nothing is stored then, and the caller may repeat the call.
    pub fn store(
        &mut self,
        run: Sequence,
        entries: &[Entry],
        reached: Sequence,
    ) -> Result<(), StoreError> {
        self.write(|store| store.commit(run, entries, reached))
    }

    /// Stores the current topics.
    ///
    /// # Errors
    /// No topic is stored then.
    pub fn store_topics(&mut self, topics: &[Topic]) -> Result<(), StoreError> {
        self.write(|store| store.commit_topics(topics))
    }

    /// Runs a transaction. If the write-ahead log finds no space, empties it and runs the
    /// transaction again.
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

    /// Clears the caches after a transaction failed: the numbers of rooms that it created are
    /// invalid.
    fn forget(&mut self) {
        self.rooms.forget();
        self.totals = None;
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
        // The triggers that changes of rooms run need this row.
        progress.save(&transaction)?;
        let (mut untrimmed_bytes, mut untrimmed_line) = (0, first_new);
        for entry in entries.iter().filter(|entry| Some(entry.position()) > reached_before) {
            match entry {
                Entry::Line { line, .. } => {
                    untrimmed_bytes +=
                        add_line(&transaction, &mut self.rooms, &mut totals, &mut progress, line)?;
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
}

/// Stores a line as the next, and returns the bytes that it takes.
fn add_line(
    connection: &Connection,
    rooms: &mut RoomNumbers,
    totals: &mut Totals,
    progress: &mut Progress,
    line: &Line,
) -> rusqlite::Result<u64> {
    let RecordId { sequence, index } = line.id;
    let bytes = quota::line_bytes(&line.nick, &line.text);
    let room = rooms.number(connection, totals, line)?;
    connection.prepare_cached(ADD_LINE)?.execute(params![
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
    room.establish(connection, totals, line.time)?;
    progress.next_line += 1;
    Ok(from_sql(bytes))
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

/// Deletes the topics that were set longest ago if there are more than rooms may exist, or more
/// than fit the file.
fn trim_topics(connection: &Connection, sizes: Sizes) -> rusqlite::Result<()> {
    connection.prepare_cached(TRIM_TOPICS)?.execute([limit(ROOMS_MAX)])?;
    if let Some(bytes_max) = sizes.topics_bytes_max {
        connection.prepare_cached(TRIM_TOPICS_BYTES)?.execute([to_sql(bytes_max)])?;
    }
    Ok(())
}

/// The bytes that a topic counts as: the same as in `TRIM_TOPICS_BYTES`.
fn topic_bytes(topic: &Topic) -> u64 {
    (64 + topic.room_key.len() + topic.room.len() + topic.text.len()) as u64
}

/// Whether a file could not grow: the disk is full, or a limit or a quota is reached, which SQLite
/// reports as a failure of the disk.
fn finds_no_room(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure))
}
