//! How much history is kept, and which lines are deleted when it is too much.
//!
//! The rule, as the operating guide states it: when the history is full, the oldest lines of the
//! largest room are deleted. Rooms that are not *established* come first, as long as they have more
//! than a quarter of the history together. A room becomes established when a line is said in it a
//! day after its first line, and at most one room does so in an hour.
//!
//! Guarantees:
//!
//! - Among `n` established rooms each keeps at least its last three quarters of an `n`th part,
//!   whatever is said elsewhere: lines are taken from the largest, which has more than that. A
//!   flood in one room takes that room's own lines.
//! - New rooms, however many, take nothing from established ones that have less than three quarters
//!   together. To get an equal share with `n` established rooms, a patient flooder has to speak in
//!   `n` rooms of its own over more than `n` hours.
//! - The same holds among the new rooms with a quarter. On a server's first day all rooms are new.
//!
//! This holds for lines and for bytes, each separately. Triggers keep the sums for each room
//! (`migrations`). The sums over all rooms are in memory, and are read when the database is opened
//! and when another program has changed it.

use super::sql::{from_sql, to_sql};
use forkchat_common::ids::Micros;
use rusqlite::{Connection, OptionalExtension, params};

/// All new rooms together are guaranteed this part of the quota, the established ones the rest.
const NEW_ROOMS_PART: i64 = 4;
/// A room stays new for at least this long after its first line,
const NEW_MICROS: u64 = 24 * 60 * 60 * Micros::SECOND;
/// and until this long after another room became established.
const ESTABLISHED_MICROS: u64 = 60 * 60 * Micros::SECOND;
/// One transaction deletes at most this many lines more than it adds, so a lowered bound is reached
/// in steps.
pub(super) const TRIM_LINES_MAX: i64 = 10_000;

/// What a line counts besides its nick and text, and a room besides its names. The triggers use the
/// same numbers.
const LINE_BYTES: usize = 64;
const ROOM_BYTES: usize = 128;

const TOTALS: &str =
    "SELECT is_established, sum(lines), sum(bytes) FROM rooms GROUP BY is_established";
const FORGET_EMPTY_ROOMS: &str = "DELETE FROM rooms WHERE is_established IN (0, 1) AND lines <= 0";
const FORGET_ROOM: &str = "
    DELETE FROM rooms WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM lines WHERE room = ?1)
        RETURNING key, bytes";
const LARGEST_BY_LINES: &str =
    "SELECT id, lines FROM rooms WHERE is_established = ?1 ORDER BY lines DESC LIMIT 2";
const LARGEST_BY_BYTES: &str =
    "SELECT id, bytes FROM rooms WHERE is_established = ?1 ORDER BY bytes DESC LIMIT 2";
const OLDEST_LINES: &str = "
    SELECT id, length(CAST(nick AS BLOB)) + length(CAST(text AS BLOB)) FROM lines
        WHERE room = ?1 ORDER BY id LIMIT ?2";
const DELETE_LINES: &str = "DELETE FROM lines WHERE room = ?1 AND id <= ?2";
const ESTABLISH: &str = "
    UPDATE rooms SET is_established = 1 WHERE id = ?1 AND is_established = 0
        RETURNING lines, bytes";
const ESTABLISHED_TIME: &str = "SELECT established_time FROM progress";
const SET_ESTABLISHED_TIME: &str = "UPDATE progress SET established_time = ?1";

/// How much is kept of all rooms together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The most lines.
    pub lines_max: u64,
    /// The most bytes: nicks and texts, and roughly what the database needs in addition.
    pub bytes_max: u64,
}

/// What a bound limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure {
    Lines,
    Bytes,
}

/// A number of lines and of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    lines: i64,
    bytes: i64,
}

impl Size {
    fn of(self, measure: Measure) -> i64 {
        match measure {
            Measure::Lines => self.lines,
            Measure::Bytes => self.bytes,
        }
    }

    fn add(&mut self, lines: i64, bytes: i64) {
        (self.lines, self.bytes) = (self.lines + lines, self.bytes + bytes);
    }
}

/// The sizes of all new rooms together and of all established rooms together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    new: Size,
    established: Size,
}

/// From which rooms how much has to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Excess {
    measure: Measure,
    is_established: bool,
    amount: i64,
}

impl Quota {
    fn of(self, measure: Measure) -> i64 {
        match measure {
            Measure::Lines => to_sql(self.lines_max),
            Measure::Bytes => to_sql(self.bytes_max),
        }
    }

    fn excess(self, totals: &Totals) -> Option<Excess> {
        [Measure::Lines, Measure::Bytes].into_iter().find_map(|measure| {
            let (new, max) = (totals.new.of(measure), self.of(measure));
            let over = new + totals.established.of(measure) - max;
            let new_over = new - max / NEW_ROOMS_PART;
            let is_established = new_over <= 0;
            let amount = if is_established { over } else { over.min(new_over) };
            (over > 0).then_some(Excess { measure, is_established, amount })
        })
    }
}

impl Totals {
    /// Adds them up. Rooms that another program has left without lines go.
    pub fn load(connection: &Connection) -> rusqlite::Result<Totals> {
        connection.prepare_cached(FORGET_EMPTY_ROOMS)?.execute([])?;
        let mut totals = Totals::default();
        let mut statement = connection.prepare_cached(TOTALS)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            totals.size(row.get(0)?).add(row.get(1)?, row.get(2)?);
        }
        Ok(totals)
    }

    fn size(&mut self, is_established: bool) -> &mut Size {
        if is_established { &mut self.established } else { &mut self.new }
    }

    /// Counts a room that was created.
    pub fn add_room(&mut self, bytes: i64) {
        self.new.add(0, bytes);
    }

    /// Counts a line that was added to a room.
    pub fn add_line(&mut self, is_established: bool, bytes: i64) {
        self.size(is_established).add(1, bytes);
    }
}

/// The bytes that a line counts as.
pub(super) fn line_bytes(nick: &str, text: &str) -> i64 {
    (LINE_BYTES + nick.len() + text.len()) as i64
}

/// The bytes that a room counts as, without its lines.
pub(super) fn room_bytes(key: &str, name: &str) -> i64 {
    (ROOM_BYTES + key.len() + name.len()) as i64
}

/// Makes a room established if it is time: its first line was said at `first_time`, and a line is
/// said in it `now`. Returns whether it did.
pub(super) fn establish(
    connection: &Connection,
    totals: &mut Totals,
    room: i64,
    first_time: Micros,
    now: Micros,
) -> rusqlite::Result<bool> {
    if now.since(first_time) < NEW_MICROS {
        return Ok(false);
    }
    let latest: Option<i64> =
        connection.prepare_cached(ESTABLISHED_TIME)?.query_row([], |row| row.get(0)).optional()?;
    let latest = Micros(from_sql(latest.unwrap_or(0)));
    // A time in the future comes from a clock that was wrong.
    if latest <= now && now.since(latest) < ESTABLISHED_MICROS {
        return Ok(false);
    }
    let mut statement = connection.prepare_cached(ESTABLISH)?;
    if let Some((lines, bytes)) = statement
        .query_row([room], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
        .optional()?
    {
        totals.new.add(-lines, -bytes);
        totals.established.add(lines, bytes);
        connection.prepare_cached(SET_ESTABLISHED_TIME)?.execute([to_sql(now.0)])?;
    }
    Ok(true)
}

/// Deletes lines until the quota is kept, but not many more than were `added`, so that a lowered
/// bound is reached in steps. Calls `forgotten` with the key of each room that is deleted.
pub(super) fn trim(
    connection: &Connection,
    quota: Quota,
    totals: &mut Totals,
    added: i64,
    mut forgotten: impl FnMut(&str),
) -> rusqlite::Result<()> {
    let mut left = added + TRIM_LINES_MAX;
    while left > 0
        && let Some(excess) = quota.excess(totals)
    {
        let sql =
            if excess.measure == Measure::Lines { LARGEST_BY_LINES } else { LARGEST_BY_BYTES };
        let mut statement = connection.prepare_cached(sql)?;
        let largest =
            statement.query_map([excess.is_established], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let largest: Vec<(i64, i64)> = largest.collect::<rusqlite::Result<_>>()?;
        let Some(&(room, size)) = largest.first() else {
            // Another program has changed the rooms' counts.
            *totals = Totals::load(connection)?;
            return Ok(());
        };
        // Down to the size of the next largest room, and at least one line.
        let amount = excess.amount.min(size - largest.get(1).map_or(0, |&(_, next)| next));
        let (deleted, is_empty) = delete_oldest(connection, room, excess.measure, amount, left)?;
        left -= deleted.lines;
        totals.size(excess.is_established).add(-deleted.lines, -deleted.bytes);
        if is_empty {
            let mut forget = connection.prepare_cached(FORGET_ROOM)?;
            let room = forget
                .query_row([room], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))
                .optional()?;
            if let Some((key, bytes)) = room {
                totals.size(excess.is_established).add(0, -bytes);
                forgotten(&key);
            }
        }
        if deleted.lines == 0 {
            *totals = Totals::load(connection)?;
            left -= 1;
        }
    }
    Ok(())
}

/// Deletes a room's oldest lines until they amount to `amount`: at least one and at most
/// `lines_max`. Returns what was deleted, and whether the room has no lines left.
fn delete_oldest(
    connection: &Connection,
    room: i64,
    measure: Measure,
    amount: i64,
    lines_max: i64,
) -> rusqlite::Result<(Size, bool)> {
    let (mut deleted, mut last, mut is_empty) = (Size::default(), None, true);
    let mut statement = connection.prepare_cached(OLDEST_LINES)?;
    // Ask for one line more, to see whether the room has lines left.
    let mut rows = statement.query(params![room, lines_max.saturating_add(1)])?;
    while let Some(row) = rows.next()? {
        if last.is_some() && (deleted.of(measure) >= amount || deleted.lines >= lines_max) {
            is_empty = false;
            break;
        }
        last = Some(row.get::<_, i64>(0)?);
        deleted.add(1, LINE_BYTES as i64 + row.get::<_, i64>(1)?);
    }
    drop(rows);
    connection.prepare_cached(DELETE_LINES)?.execute(params![room, last])?;
    Ok((deleted, is_empty))
}
