//! The schema of the history's database: the list of changes that led to it, and carrying out those that a file has yet to see.
//!
//! The list only ever grows at its end: what stands here was carried out on somebody's disk. A file says in `PRAGMA user_version` how many
//! of them it has seen, and in `PRAGMA application_id` that it is ours.

use rusqlite::{Connection, Transaction, TransactionBehavior};

/// The file is ours: `fkch`, at offset 68 of the file as `file(1)` looks for it.
pub(super) const APPLICATION_ID: i64 = 0x666b_6368;

/// Each brings the schema from the version that is its index to the next, in a transaction of its own.
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
];

/// How many of the migrations the file has seen.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Carries out those of `migrations` that the file has yet to see, each all or not at all. A file that has seen more is left alone.
pub(super) fn migrate(connection: &mut Connection, migrations: &[&str]) -> rusqlite::Result<()> {
    while let Some(migration) = usize::try_from(version(connection)?).ok().and_then(|seen| migrations.get(seen)) {
        let transaction = Transaction::new(connection, TransactionBehavior::Immediate)?;
        let seen = version(&transaction)?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", seen + 1)?;
        transaction.commit()?;
    }
    Ok(())
}
