//! Databases of earlier versions.

use super::*;

/// The schema and contents of version 1. Must never be changed.
const VERSION_1: &str = "
    PRAGMA application_id = 1718313832;
    PRAGMA user_version = 1;
    CREATE TABLE rooms (id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, name TEXT NOT NULL) STRICT;
    CREATE TABLE lines (id INTEGER PRIMARY KEY, sequence INTEGER NOT NULL, time INTEGER NOT NULL, room INTEGER NOT NULL,
        nick TEXT NOT NULL, is_action INTEGER NOT NULL, text TEXT NOT NULL) STRICT;
    CREATE INDEX lines_by_room ON lines (room);
    CREATE TABLE topics (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, name TEXT NOT NULL, sequence INTEGER NOT NULL,
        text TEXT NOT NULL) STRICT;
    CREATE TABLE progress (id INTEGER PRIMARY KEY CHECK (id = 1), run INTEGER NOT NULL, reached INTEGER NOT NULL,
        run_line INTEGER NOT NULL, next_line INTEGER NOT NULL, gap_line INTEGER, gap_until INTEGER) STRICT;
    INSERT INTO rooms VALUES (3, '#a', '#A');
    INSERT INTO lines VALUES (7, 1000001, 1000008, 3, 'Alice', 0, 'line 1000001');
    INSERT INTO topics VALUES (2, '#a', '#A', 1000002, 'one');
    INSERT INTO progress VALUES (1, 1000000, 1000002, 7, 8, NULL, NULL);
";

#[test]
fn a_database_of_version_1_is_migrated() {
    let home = Home::new();
    home.sqlite().execute_batch(VERSION_1).unwrap();
    let mut opened = home.open(100);
    assert_eq!(migrations::version(&opened.connection).unwrap(), MIGRATIONS.len() as i64);
    assert_eq!(
        opened.last_lines(RUN, "#a", RecordId::first_of(Sequence(u64::MAX)), 10).unwrap(),
        [line("#a", 1_000_001)]
    );
    assert_eq!(opened.topics(10).unwrap(), [topic("#a", 1_000_002, "one")]);
    store(&mut opened, RUN, &lines("#a", [1_000_001, 1_000_002, 1_000_003]));
    assert_eq!(last(&opened, RUN, "#a", u64::MAX, 10), [1_000_001, 1_000_003]);
}

/// What version 2 added, with lines of two runs and the oldest deleted. Must never be changed.
const VERSION_2: &str = "
    ALTER TABLE progress ADD COLUMN is_closed INTEGER NOT NULL DEFAULT 0;
    PRAGMA user_version = 2;
    INSERT INTO rooms VALUES (4, '#straße', '#Straße');
    INSERT INTO lines VALUES (8, 1000003, 1000010, 4, '王小明', 0, 'naïve 🦀'), (9, 1000004, 1000011, 3, 'Alice', 1, 'line 1000004');
    UPDATE progress SET reached = 1000004, next_line = 10;
";

#[test]
fn a_database_of_version_2_is_counted_and_its_rooms_are_established() {
    let home = Home::new();
    home.sqlite().execute_batch(&[VERSION_1, VERSION_2].concat()).unwrap();
    let mut opened = home.open(3);
    let room = |opened: &Store, key: &str| {
        let sql = "SELECT lines, bytes, first_time, is_established FROM rooms WHERE key = ?1";
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
        opened.connection.query_row(sql, [key], read).unwrap()
    };
    assert_eq!(room(&opened, "#a"), (2, 128 + 2 + 2 + 2 * (64 + 5 + 12), 1_000_008, 1));
    assert_eq!(room(&opened, "#straße"), (1, 128 + 8 + 8 + 64 + 9 + 11, 1_000_010, 1));
    for room in ["#a", "#straße", "#never"] {
        assert_eq!(
            opened.complete_since(room).unwrap(),
            RUN,
            "what was deleted before is not known by room"
        );
    }
    store(&mut opened, RUN, &lines("#straße", [1_000_005]));
    assert_eq!(
        ["#a", "#straße"].map(|room| count(&opened, room)),
        [2, 1],
        "of two that are as large"
    );
    assert_eq!(
        ["#a", "#straße"].map(|room| opened.complete_since(room).unwrap().0),
        [RUN.0, 1_000_004]
    );
}

#[test]
fn a_migration_is_applied_once_and_completely_or_not_at_all() {
    let mut connection = Connection::open_in_memory().unwrap();
    let first = "CREATE TABLE a (x); INSERT INTO a VALUES (1);";
    migrations::migrate(&mut connection, &[first]).unwrap();
    migrations::migrate(&mut connection, &[first, "CREATE TABLE b (x); INSERT INTO c VALUES (1);"])
        .unwrap_err();
    assert_eq!(migrations::version(&connection).unwrap(), 1);
    connection.query_row("SELECT x FROM b", [], |_| Ok(())).unwrap_err();
    migrations::migrate(
        &mut connection,
        &[first, "INSERT INTO a VALUES (2)", "INSERT INTO a VALUES (3)"],
    )
    .unwrap();
    let values: String =
        connection.query_row("SELECT group_concat(x) FROM a", [], |row| row.get(0)).unwrap();
    assert_eq!((migrations::version(&connection).unwrap(), &*values), (3, "1,2,3"));
}

#[test]
fn a_database_of_a_newer_version_is_rejected_and_left_unchanged() {
    let home = Home::new();
    drop(home.open(100));
    home.sqlite().execute_batch("PRAGMA user_version = 99").unwrap();
    let before = fs::read(home.file()).unwrap();
    let refusal = home.refusal();
    assert!(
        refusal.contains(
            "has version 99 and this forkchat reads up to 4; run the forkchat that wrote it"
        ),
        "{refusal}"
    );
    assert_eq!(fs::read(home.file()).unwrap(), before);
}
