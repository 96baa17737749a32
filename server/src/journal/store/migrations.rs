//! The schema of the history's database: the list of changes that led to it, and applying the
//! changes that a file does not have yet.
//!
//! The list only grows at its end, since earlier changes have been applied to files on users'
//! disks. A file's `PRAGMA user_version` is the number of changes that it has, and its `PRAGMA
//! application_id` shows that the file is ours.

use rusqlite::{Connection, Transaction, TransactionBehavior};

/// Marks the file as ours: `fkch`, at offset 68 of the file, where `file(1)` looks for it.
pub(super) const APPLICATION_ID: i64 = 0x666b_6368;

/// The changes. Each brings the schema from the version that is its index to the next one, in a
/// transaction of its own. SQLite stores the comments in them, too.
pub(super) const MIGRATIONS: &[&str] = &[
    "
    PRAGMA application_id = 0x666b6368;

    -- Rooms that have lines. A number is never used again, so a line can't come to be in another room.
    CREATE TABLE rooms (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        key TEXT NOT NULL UNIQUE,       -- the folded name: equal for names that are the same
        name TEXT NOT NULL              -- as it was spelt last
    ) STRICT;

    -- What was said, in the order in which it was stored: by id, which counts lines from 1 and is never used again.
    CREATE TABLE lines (
        id INTEGER PRIMARY KEY,
        sequence INTEGER NOT NULL,      -- grows with id within a run of the server
        time INTEGER NOT NULL,          -- µs since 1970-01-01 UTC
        room INTEGER NOT NULL,          -- rooms.id
        nick TEXT NOT NULL,
        is_action INTEGER NOT NULL,     -- 0 or 1
        text TEXT NOT NULL
    ) STRICT;
    -- Every index ends with the id: a room's lines in order.
    CREATE INDEX lines_by_room ON lines (room);

    -- The rooms' topics, none empty; the greatest id was set last.
    CREATE TABLE topics (
        id INTEGER PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        text TEXT NOT NULL
    ) STRICT;

    -- How far it has come: one row.
    CREATE TABLE progress (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        run INTEGER NOT NULL,           -- the first sequence of the latest run of the server
        reached INTEGER NOT NULL,       -- the last sequence of that run whose entries are stored
        run_line INTEGER NOT NULL,      -- that run's lines have this id or a greater one
        next_line INTEGER NOT NULL,     -- the id of the next line
        gap_line INTEGER,               -- behind the latest gap lines have this id or a greater one; NULL if there is no gap
        gap_until INTEGER               -- the last sequence in the gap
    ) STRICT;
",
    "
    -- Whether the latest run ended with everything stored. Every other write says 0.
    ALTER TABLE progress ADD COLUMN is_closed INTEGER NOT NULL DEFAULT 0;
",
    "
    -- What each room takes: a line counts as 64 bytes more than its nick and text, a room as 128 bytes more than its names, for what SQLite
    -- keeps beside them. The triggers keep both counts, so that they are also right after another program has changed lines.
    ALTER TABLE rooms ADD COLUMN lines INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE rooms ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE rooms ADD COLUMN first_time INTEGER NOT NULL DEFAULT 0;     -- when its first line was said
    ALTER TABLE rooms ADD COLUMN is_established INTEGER NOT NULL DEFAULT 0; -- 0 or 1: see quota.rs
    ALTER TABLE rooms ADD COLUMN lost_line INTEGER;                         -- the id of its last line that was deleted; NULL if none was
    ALTER TABLE rooms ADD COLUMN lost_until INTEGER;                        -- that line's sequence

    -- When a room became established last, and the last line that was lost with its room: see lost_line and lost_until.
    ALTER TABLE progress ADD COLUMN established_time INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE progress ADD COLUMN forgotten_line INTEGER;
    ALTER TABLE progress ADD COLUMN forgotten_until INTEGER;

    UPDATE rooms SET is_established = 1, (lines, bytes, first_time) = (
        SELECT count(*), ifnull(sum(64 + length(CAST(nick AS BLOB)) + length(CAST(text AS BLOB))), 0), ifnull(min(time), 0)
        FROM lines WHERE lines.room = rooms.id);
    UPDATE rooms SET bytes = bytes + 128 + length(CAST(key AS BLOB)) + length(CAST(name AS BLOB));
    -- So far the oldest lines of all rooms together were deleted.
    UPDATE rooms SET lost_line = oldest.id - 1, lost_until = oldest.sequence - 1
        FROM (SELECT id, sequence FROM lines ORDER BY id LIMIT 1) AS oldest WHERE oldest.id > 1;
    UPDATE progress SET forgotten_line = oldest.id - 1, forgotten_until = oldest.sequence - 1
        FROM (SELECT id, sequence FROM lines ORDER BY id LIMIT 1) AS oldest WHERE oldest.id > 1;
    UPDATE progress SET forgotten_line = next_line - 1, forgotten_until = reached
        WHERE next_line > 1 AND NOT EXISTS (SELECT 1 FROM lines);

    CREATE INDEX rooms_by_lines ON rooms (is_established, lines);
    CREATE INDEX rooms_by_bytes ON rooms (is_established, bytes);

    CREATE TRIGGER line_added AFTER INSERT ON lines BEGIN
        UPDATE rooms SET lines = lines + 1, bytes = bytes + 64 + length(CAST(NEW.nick AS BLOB)) + length(CAST(NEW.text AS BLOB))
        WHERE id = NEW.room;
    END;
    CREATE TRIGGER line_deleted AFTER DELETE ON lines BEGIN
        UPDATE rooms SET lines = lines - 1, bytes = bytes - 64 - length(CAST(OLD.nick AS BLOB)) - length(CAST(OLD.text AS BLOB)),
            lost_until = CASE WHEN OLD.id > ifnull(lost_line, 0) THEN OLD.sequence ELSE lost_until END,
            lost_line = max(OLD.id, ifnull(lost_line, 0))
        WHERE id = OLD.room;
    END;
    CREATE TRIGGER line_changed AFTER UPDATE OF room, nick, text ON lines BEGIN
        UPDATE rooms SET lines = lines - 1, bytes = bytes - 64 - length(CAST(OLD.nick AS BLOB)) - length(CAST(OLD.text AS BLOB))
        WHERE id = OLD.room;
        UPDATE rooms SET lines = lines + 1, bytes = bytes + 64 + length(CAST(NEW.nick AS BLOB)) + length(CAST(NEW.text AS BLOB))
        WHERE id = NEW.room;
    END;
    CREATE TRIGGER room_deleted AFTER DELETE ON rooms BEGIN
        UPDATE progress SET forgotten_line = OLD.lost_line, forgotten_until = OLD.lost_until
        WHERE OLD.lost_line > ifnull(forgotten_line, 0);
    END;
",
    "
    -- A line's record is known by (sequence, record_index). Where a sequence is a bound, it stands for all records with it.
    ALTER TABLE lines ADD COLUMN record_index INTEGER NOT NULL DEFAULT 0;
",
];

/// How many of the migrations the file has.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Applies the migrations that the file does not have yet, each completely or not at all. A file
/// that has more is left unchanged.
pub(super) fn migrate(connection: &mut Connection, migrations: &[&str]) -> rusqlite::Result<()> {
    while let Some(migration) =
        usize::try_from(version(connection)?).ok().and_then(|seen| migrations.get(seen))
    {
        let transaction = Transaction::new(connection, TransactionBehavior::Immediate)?;
        let seen = version(&transaction)?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", seen + 1)?;
        transaction.commit()?;
    }
    Ok(())
}
