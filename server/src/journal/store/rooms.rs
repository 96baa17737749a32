//! The rooms' rows: found by key, created when the first line is said in a room, and cached.

use super::entry::Line;
use super::quota::{self, Totals};
use super::sql::{from_sql, to_sql};
use forkchat_common::ids::Micros;
use forkchat_common::limits::ROOMS_MAX;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::HashMap;

/// The size of the cache of room numbers. When it is full it is cleared.
const ROOMS_CACHED_MAX: usize = ROOMS_MAX;

const FIND_ROOM: &str =
    "UPDATE rooms SET name = ?2 WHERE key = ?1 RETURNING id, first_time, is_established";
const ADD_ROOM: &str = "
    INSERT INTO rooms (key, name, bytes, first_time, lost_line, lost_until)
    VALUES (?1, ?2, ?3, ?4, (SELECT forgotten_line FROM progress),
        (SELECT forgotten_until FROM progress))
    RETURNING id";

/// The numbers of the rooms with recent lines, by key.
#[derive(Debug, Default)]
pub(super) struct RoomNumbers {
    numbers: HashMap<Box<str>, RoomNumber>,
    /// SQLite's `data_version` when the numbers were read. It changes when another process writes.
    data_version: i64,
}

#[derive(Debug)]
pub(super) struct RoomNumber {
    pub id: i64,
    name: Box<str>,
    first_time: Micros,
    pub is_established: bool,
}

impl RoomNumber {
    /// Makes the room established if it is time.
    pub fn establish(
        &mut self,
        connection: &Connection,
        totals: &mut Totals,
        now: Micros,
    ) -> rusqlite::Result<()> {
        if !self.is_established {
            self.is_established =
                quota::establish(connection, totals, self.id, self.first_time, now)?;
        }
        Ok(())
    }
}

impl RoomNumbers {
    /// The room of a line. A new room gets a number; a room that is spelt differently now gets its
    /// new name.
    pub fn number(
        &mut self,
        connection: &Connection,
        totals: &mut Totals,
        line: &Line,
    ) -> rusqlite::Result<&mut RoomNumber> {
        let (key, name) = (&*line.room_key, &*line.room);
        if self.numbers.get(key).is_none_or(|room| &*room.name != name) {
            let room = find_or_add(connection, totals, line)?;
            if self.numbers.len() >= ROOMS_CACHED_MAX {
                self.numbers.clear();
            }
            self.numbers.insert(key.into(), room);
        }
        Ok(self.numbers.get_mut(key).expect("it was there or was just put there"))
    }

    pub fn forget(&mut self) {
        self.numbers.clear();
    }

    pub fn forget_room(&mut self, key: &str) {
        self.numbers.remove(key);
    }

    /// Clears the cache if another program has changed the database, and returns whether it did: an
    /// operator may delete lines with `sqlite3` while the server runs, for example because a law
    /// requires it.
    pub fn forget_if_changed(&mut self, connection: &Connection) -> rusqlite::Result<bool> {
        let data_version =
            connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        let has_changed = self.data_version != data_version;
        if has_changed {
            (self.numbers, self.data_version) = (HashMap::new(), data_version);
        }
        Ok(has_changed)
    }
}

fn find_or_add(
    connection: &Connection,
    totals: &mut Totals,
    line: &Line,
) -> rusqlite::Result<RoomNumber> {
    let Line { room_key: key, room: name, time, .. } = line;
    let found = |row: &Row<'_>| {
        let (id, first_time, is_established) =
            (row.get(0)?, Micros(from_sql(row.get(1)?)), row.get(2)?);
        Ok(RoomNumber { id, name: name.as_str().into(), first_time, is_established })
    };
    if let Some(room) =
        connection.prepare_cached(FIND_ROOM)?.query_row([key, name], found).optional()?
    {
        return Ok(room);
    }
    let bytes = quota::room_bytes(key, name);
    let id = connection
        .prepare_cached(ADD_ROOM)?
        .query_row(params![key, name, bytes, to_sql(time.0)], |row| row.get(0))?;
    totals.add_room(bytes);
    Ok(RoomNumber { id, name: name.as_str().into(), first_time: *time, is_established: false })
}
