//! Reading what is stored.

use super::progress::{Lost, Progress};
use super::sql::{from_sql, limit, record_id, sequence};
use super::{Line, Store, StoreError, Topic};
use forkchat_common::ids::{Micros, RecordId, Sequence};
use rusqlite::{Connection, OptionalExtension, Row, params};

const LAST_TOPICS: &str = "SELECT sequence, name, key, text FROM topics ORDER BY id DESC LIMIT ?1";
pub(super) const LAST_LINES: &str = "
    SELECT lines.sequence, record_index, time, name, key, nick, is_action, text
    FROM rooms JOIN lines ON lines.room = rooms.id
    WHERE rooms.key = ?1 AND lines.id < ?2 ORDER BY lines.id DESC LIMIT ?3";
const NEXT_LINE: &str =
    "SELECT id, sequence, record_index FROM lines WHERE id >= ?1 ORDER BY id LIMIT 1";
const LOST_IN_ROOM: &str = "SELECT lost_line, lost_until FROM rooms WHERE key = ?1";
const LOST_WITH_ROOMS: &str = "SELECT forgotten_line, forgotten_until FROM progress";

impl Store {
    /// A room's last `count` lines before `before`, oldest first. All lines of earlier runs come
    /// before those of this run, `run`. The cost depends on the number of lines that are returned,
    /// not on the number that is stored.
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

    /// The record from which on all lines of the room are stored. 0 if no line was ever lost,
    /// otherwise the record after the last line that was deleted or after the latest gap. If
    /// everything that is missing belongs to earlier runs, it is at most the first sequence of the
    /// latest run.
    pub fn complete_since(&self, room_key: &str) -> Result<Sequence, StoreError> {
        self.query_complete_since(room_key).map_err(|error| self.failed("read from", error))
    }

    /// The topics with which a run begins: at most `max`, the one that was set last first. None is
    /// empty.
    pub fn topics(&self, max: usize) -> Result<Vec<Topic>, StoreError> {
        self.query_topics(max).map_err(|error| self.failed("read from", error))
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

    /// The number of the first line that isn't before `before`. Found by binary search: this run's
    /// sequences grow with its lines' numbers.
    fn end_of(
        &self,
        progress: &Progress,
        run: Sequence,
        before: RecordId,
    ) -> rusqlite::Result<i64> {
        // The database has no line of this run, so all lines are before it.
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
}

/// The number and the record id of the first line with the number `from` or a greater one.
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
