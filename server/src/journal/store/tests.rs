use super::quota::TRIM_LINES_MAX;
use super::*;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use proptest::prelude::*;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The server's start in these tests.
const RUN: Sequence = Sequence(1_000_000);

/// A directory for one test, gone with it.
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

    /// What the operator is told when it can't be opened.
    fn refusal(&self) -> String {
        Store::open(&self.0, at_most(100)).unwrap_err().to_string()
    }

    /// As another program would open it.
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

#[test]
fn what_is_stored_is_read_again_also_after_a_restart() {
    let home = Home::new();
    let said = Line {
        nick: "王小明".to_owned(),
        text: "\0 ' -- naïve 🦀".to_owned(),
        ..line("#straße", 1_000_003)
    };
    {
        let mut opened = home.open(100);
        assert_eq!(
            (opened.reached(RUN).unwrap(), opened.complete_since("#a").unwrap()),
            (None, Sequence(0))
        );
        assert_eq!(
            opened.last_lines(RUN, "#lobby", RecordId::first_of(Sequence(u64::MAX)), 10).unwrap(),
            []
        );
        let entries = [
            Entry::from(line("#lobby", 1_000_001)),
            Entry::from(said.clone()),
            Entry::from(line("#lobby", 1_000_005)),
        ];
        opened.store(RUN, &entries, Sequence(1_000_009)).unwrap();
    }
    assert_eq!(fs::metadata(home.file()).unwrap().permissions().mode() & 0o777, 0o600);
    let opened = home.open(100);
    assert_eq!(opened.reached(RUN).unwrap(), Some(Sequence(1_000_009)));
    assert_eq!(
        opened.reached(Sequence(2_000_000)).unwrap(),
        None,
        "of another run nothing is stored"
    );
    assert_eq!(
        opened.last_lines(RUN, "#straße", RecordId::first_of(Sequence(u64::MAX)), 10).unwrap(),
        [said]
    );
    assert_eq!(
        opened.last_lines(RUN, "#lobby", RecordId::first_of(Sequence(1_000_006)), 10).unwrap(),
        [line("#lobby", 1_000_001), line("#lobby", 1_000_005)]
    );
    assert_eq!(last(&opened, RUN, "#lobby", 1_000_005, 10), [1_000_001], "before is before");
    assert_eq!(last(&opened, RUN, "#lobby", 1_000_006, 1), [1_000_005], "the last ones");
    assert_eq!(last(&opened, RUN, "#lobby", 1_000_006, 0), [0; 0]);
    assert_eq!(opened.complete_since("#a").unwrap(), Sequence(0));
}

#[test]
fn a_batch_that_comes_again_is_passed_over() {
    let home = Home::new();
    let mut opened = home.open(100);
    let entries =
        [lines("#a", [1_000_001, 1_000_002]), vec![Entry::Topic(topic("#a", 1_000_003, "one"))]]
            .concat();
    store(&mut opened, RUN, &entries);
    store(&mut opened, RUN, &[Entry::Topic(topic("#a", 1_000_004, "two"))]);
    let again = [entries, lines("#a", [1_000_004, 1_000_005])].concat();
    store(&mut opened, RUN, &again);
    store(&mut opened, RUN, &again[..2]);
    assert_eq!(last(&opened, RUN, "#a", u64::MAX, 10), [1_000_001, 1_000_002, 1_000_005]);
    assert_eq!(opened.topics(10).unwrap(), [topic("#a", 1_000_004, "two")]);
    assert_eq!(
        opened.reached(RUN).unwrap(),
        Some(Sequence(1_000_005)),
        "what was reached stays reached"
    );
}

#[test]
fn a_batch_that_fails_in_its_middle_leaves_nothing() {
    let home = Home::new();
    let mut opened = home.open(100);
    store(&mut opened, RUN, &lines("#a", [1_000_001]));
    let hinder = "CREATE TRIGGER hinder BEFORE INSERT ON lines WHEN NEW.sequence = 1000004 BEGIN SELECT RAISE(ABORT, 'hindered'); END";
    home.sqlite().execute_batch(hinder).unwrap();
    let batch =
        [vec![Entry::Topic(topic("#b", 1_000_002, "new"))], lines("#b", 1_000_003..1_000_006)]
            .concat();
    let error = opened.store(RUN, &batch, Sequence(1_000_005)).unwrap_err().to_string();
    assert!(error.contains("cannot store in the history") && error.contains("hindered"), "{error}");
    assert_eq!(last(&opened, RUN, "#b", u64::MAX, 10), [0; 0]);
    assert_eq!(
        (opened.topics(10).unwrap(), opened.reached(RUN).unwrap()),
        (vec![], Some(Sequence(1_000_001)))
    );
    assert_eq!(number(&opened, "SELECT count(*) FROM rooms"), 1);
    home.sqlite().execute_batch("DROP TRIGGER hinder").unwrap();
    store(&mut opened, RUN, &batch);
    assert_eq!(
        last(&opened, RUN, "#b", u64::MAX, 10),
        [1_000_003, 1_000_004, 1_000_005],
        "the same call, made again"
    );
}

#[test]
fn the_largest_room_gives_its_oldest_lines_and_rooms_without_lines_go() {
    let home = Home::new();
    let mut opened = home.open(10);
    store(&mut opened, RUN, &lines("#small", [1_000_001, 1_000_002]));
    store(&mut opened, RUN, &lines("#large", 1_000_011..1_000_020));
    assert_eq!(last(&opened, RUN, "#small", u64::MAX, 10), [1_000_001, 1_000_002]);
    assert_eq!(
        last(&opened, RUN, "#large", u64::MAX, 10),
        (1_000_012..1_000_020).collect::<Vec<_>>()
    );
    let since = |opened: &Store, room| opened.complete_since(room).unwrap();
    assert_eq!(
        (since(&opened, "#small"), since(&opened, "#large")),
        (Sequence(0), Sequence(1_000_012)),
        "each room has its own"
    );
    drop(opened);
    let mut one = home.open(1);
    store(&mut one, RUN, &lines("#new", [1_000_020]));
    assert_eq!(
        number(&one, "SELECT count(*) FROM rooms"),
        1,
        "of rooms of one line each the latest is the first to go"
    );
    assert_eq!(last(&one, RUN, "#small", u64::MAX, 10), [1_000_002]);
    assert_eq!(
        (since(&one, "#large"), since(&one, "#new")),
        (Sequence(1_000_021), Sequence(1_000_021))
    );
    assert_eq!(since(&one, "#never"), Sequence(1_000_021), "for all that is known here");
    drop(one);
    let mut opened = home.open(10);
    store(&mut opened, RUN, &lines("#large", [1_000_022]));
    assert_eq!(
        last(&opened, RUN, "#large", u64::MAX, 10),
        [1_000_022],
        "a room that was forgotten comes back"
    );
    assert_eq!(since(&opened, "#large"), Sequence(1_000_021));
    drop(opened);
    let mut nothing = home.open(0);
    store(&mut nothing, RUN, &lines("#small", [1_000_023]));
    assert_eq!(
        (
            number(&nothing, "SELECT count(*) FROM lines"),
            number(&nothing, "SELECT count(*) FROM rooms")
        ),
        (0, 0)
    );
    assert_eq!(since(&nothing, "#small"), Sequence(1_000_024));
}

/// A line of a room, said at a time, with a text of so many bytes.
fn said(room: &str, sequence: u64, time: u64, length: usize) -> Entry {
    Entry::from(Line { time: Micros(time), text: "x".repeat(length), ..line(room, sequence) })
}

const HOUR: u64 = 3_600 * Micros::SECOND;

/// Rooms that are established, each with so many lines. What comes next in the log.
fn established(opened: &mut Store, rooms: &[&str], count: u64) -> u64 {
    let mut sequence = RUN.0;
    for (room, number) in rooms.iter().zip(0..) {
        for line in 0..count {
            sequence += 1;
            // The first a day ago; the last when it is this room's hour.
            let time = if line == 0 { 0 } else { 24 * HOUR + number * HOUR };
            opened.store(RUN, &[said(room, sequence, time, 10)], Sequence(sequence)).unwrap();
        }
    }
    assert_eq!(
        number(opened, "SELECT count(*) FROM rooms WHERE is_established"),
        rooms.len() as i64
    );
    sequence
}

fn count(store: &Store, room: &str) -> usize {
    last(store, RUN, room, u64::MAX, usize::MAX).len()
}

#[test]
fn a_flood_in_one_room_deletes_its_own_lines_alone() {
    let home = Home::new();
    let mut opened = home.open(1_000);
    let sequence = established(&mut opened, &["#a", "#b", "#c"], 100);
    for batch in 0..20 {
        let first = sequence + 1 + batch * 500;
        store(&mut opened, RUN, &lines("#c", first..first + 500));
    }
    assert_eq!(["#a", "#b", "#c"].map(|room| count(&opened, room)), [100, 100, 800]);
    assert_eq!(["#a", "#b"].map(|room| opened.complete_since(room).unwrap()), [Sequence(0); 2]);
    assert_eq!(opened.complete_since("#c").unwrap(), Sequence(sequence + 1 + 20 * 500 - 800));
}

#[test]
fn ten_thousand_new_rooms_push_out_no_established_one() {
    let home = Home::new();
    let mut opened = home.open(1_000);
    let mut sequence = established(&mut opened, &["#a", "#b", "#c"], 250);
    for _ in 0..3 {
        for room in 0..10_000_u64.div_ceil(500) {
            let batch: Vec<_> = (1..=500)
                .map(|number| said(&format!("#{room}-{number}"), sequence + number, 30 * HOUR, 10))
                .collect();
            sequence += 500;
            store(&mut opened, RUN, &batch);
            assert_eq!(number(&opened, "SELECT count(*) FROM lines"), 1_000);
        }
    }
    assert_eq!(["#a", "#b", "#c"].map(|room| count(&opened, room)), [250; 3]);
    // What the new rooms have more than their quarter is taken back when the others need it.
    store(&mut opened, RUN, &lines("#a", sequence + 1..sequence + 301));
    assert_eq!(["#a", "#b", "#c"].map(|room| count(&opened, room)), [250; 3]);
}

#[test]
fn one_room_an_hour_becomes_established_when_it_is_spoken_in_a_day_after_its_first_line() {
    let home = Home::new();
    let mut opened = home.open(1_000);
    let is_established = |opened: &Store, room: &str| {
        number(opened, &format!("SELECT is_established FROM rooms WHERE key = '{room}'")) == 1
    };
    let mut sequence = RUN.0;
    let mut say = |opened: &mut Store, room: &str, time: u64| {
        sequence += 1;
        opened.store(RUN, &[said(room, sequence, time, 1)], Sequence(sequence)).unwrap();
        is_established(opened, room)
    };
    let day = 24 * HOUR;
    assert!(
        !say(&mut opened, "#a", HOUR)
            && !say(&mut opened, "#b", HOUR)
            && !say(&mut opened, "#c", HOUR)
    );
    assert!(!say(&mut opened, "#a", HOUR + day - 1), "not a day old");
    assert!(say(&mut opened, "#b", HOUR + day));
    assert!(!say(&mut opened, "#c", HOUR + day), "another was in this hour");
    drop(opened);
    let mut opened = home.open(1_000);
    assert!(!say(&mut opened, "#c", 2 * HOUR + day - 1));
    assert!(say(&mut opened, "#a", 2 * HOUR + day) && !say(&mut opened, "#c", 2 * HOUR + day));
    // The clock was a year ahead, and is set right.
    assert!(say(&mut opened, "#c", 366 * day));
    assert!(!say(&mut opened, "#d", 2 * day) && say(&mut opened, "#d", 4 * day));
}

#[test]
fn many_long_lines_are_bounded_in_bytes_and_so_is_the_file() {
    let home = Home::new();
    let quota = Quota { lines_max: 1_000_000, bytes_max: 4 << 20 };
    let mut opened = Store::open(&home.0, quota).unwrap();
    let (mut sequence, mut at_bound) = (RUN.0, 0);
    // Lengths that waste the most of a page, and the longest.
    for (batch, length) in (0..40).flat_map(|batch| [(batch, 4_000), (batch, 2_100), (batch, 1)]) {
        let first = sequence + 1;
        sequence += 500;
        let batch: Vec<_> = (first..=sequence)
            .map(|sequence| {
                said(&format!("#{}", (sequence + batch) % 7), sequence, sequence, length)
            })
            .collect();
        store(&mut opened, RUN, &batch);
        assert!(number(&opened, "SELECT sum(bytes) FROM rooms") <= 4 << 20);
        if first == RUN.0 + 1 + 15 * 500 {
            at_bound = number(&opened, "PRAGMA page_count") * 4_096;
        }
    }
    let bytes = number(&opened, "PRAGMA page_count") * 4_096;
    assert!(
        at_bound > 4 << 20 && bytes < 2 * (4 << 20) && bytes < at_bound + at_bound / 2,
        "{at_bound} at first, {bytes} in the end"
    );
}

/// The largest of the database's files.
fn largest_file(home: &Home) -> u64 {
    [FILE_NAME, WAL_NAME, SHM_NAME]
        .map(|name| fs::metadata(home.0.join(name)).map_or(0, |metadata| metadata.len()))
        .into_iter()
        .max()
        .unwrap()
}

#[test]
fn where_files_may_not_be_large_none_becomes_so_whatever_is_said() {
    for limit in [LIMIT_MIN, 1_024_000, 4_300_800] {
        let home = Home::new();
        let mut opened = Store::open_within(&home.0, at_most(1_000_000), Some(limit)).unwrap();
        let mut sequence = RUN.0;
        // Batches that are larger than the limit; lines that waste the most of a page, short ones,
        // and as many rooms as lines.
        for (length, rooms) in
            [(4_000, 1), (300, 3), (2_100, 7), (1, 1), (4_000, 1_000), (1, 1_000), (300, 1)]
        {
            for _ in 0..4 {
                let batch: Vec<Entry> = (1..=1_000)
                    .map(|number| {
                        said(&format!("#{}", number % rooms), sequence + number, sequence, length)
                    })
                    .collect();
                sequence += 1_000;
                store(&mut opened, RUN, &batch);
                let largest = largest_file(&home);
                assert!(
                    largest < limit,
                    "{largest} with {limit}, after lines of {length} bytes in {rooms} rooms"
                );
            }
            let long = "\u{1f980}".repeat(400);
            let topics: Vec<Topic> = (1..=500)
                .map(|number| topic(&format!("#{number}"), sequence + number, &long))
                .collect();
            opened.store_topics(&topics).unwrap();
            sequence += 500;
            store(&mut opened, RUN, &topics.into_iter().map(Entry::Topic).collect::<Vec<_>>());
            let largest = largest_file(&home);
            assert!(largest < limit, "{largest} with {limit}, after topics");
        }
        // What fits is kept.
        let bytes = number(&opened, "SELECT sum(bytes) FROM rooms") as u64;
        assert!(
            bytes <= opened.quota.bytes_max && bytes > opened.quota.bytes_max * 3 / 4,
            "{bytes} of {:?}",
            opened.quota
        );
        assert_eq!(opened.topics(1).unwrap()[0].room_key, "#500");
        drop(opened);
        assert_eq!(
            Store::open_within(&home.0, at_most(1), Some(limit)).unwrap().reached(RUN).unwrap(),
            Some(Sequence(sequence))
        );
    }
}

#[test]
fn with_less_than_a_history_takes_nothing_is_made() {
    let home = Home::new();
    let error =
        Store::open_within(&home.0, at_most(100), Some(LIMIT_MIN - 1)).unwrap_err().to_string();
    let words = "files may not be larger than 255 KiB (ulimit -f), and a history takes 256 KiB at least; raise it and start the server again";
    assert_eq!(error, words);
    assert!(!home.file().exists());
}

#[test]
fn a_lowered_bound_is_reached_in_steps() {
    let home = Home::new();
    let count = 3 * TRIM_LINES_MAX as u64;
    store(&mut home.open(u64::MAX), RUN, &lines("#a", RUN.0..RUN.0 + count));
    let mut opened = home.open(5);
    for sequence in 0..3 {
        assert!(number(&opened, "SELECT count(*) FROM lines") > 5);
        store(&mut opened, RUN, &lines("#a", [RUN.0 + count + sequence]));
    }
    assert_eq!(number(&opened, "SELECT count(*) FROM lines"), 5);
}

#[test]
fn behind_a_gap_everything_is_here() {
    let home = Home::new();
    let mut opened = home.open(4);
    let gap = Entry::Gap { until: Sequence(1_000_010) };
    store(
        &mut opened,
        RUN,
        &[lines("#a", [1_000_001]), vec![gap.clone()], lines("#a", [1_000_012])].concat(),
    );
    assert_eq!(opened.complete_since("#a").unwrap(), Sequence(1_000_011));
    store(&mut opened, RUN, &[gap]);
    assert_eq!(last(&opened, RUN, "#a", u64::MAX, 10), [1_000_001, 1_000_012]);
    store(&mut opened, RUN, &lines("#a", [1_000_013, 1_000_014, 1_000_015]));
    assert_eq!(
        opened.complete_since("#a").unwrap(),
        Sequence(1_000_011),
        "the oldest line is the first behind the gap"
    );
    store(&mut opened, RUN, &lines("#a", [1_000_016]));
    assert_eq!(opened.complete_since("#a").unwrap(), Sequence(1_000_013), "the gap is behind us");
    store(&mut opened, RUN, &[Entry::Gap { until: Sequence(1_000_020) }]);
    drop(opened);
    assert_eq!(home.open(4).complete_since("#a").unwrap(), Sequence(1_000_021));
}

#[test]
fn a_topic_replaces_the_one_before_and_an_emptied_one_is_gone() {
    let home = Home::new();
    let mut opened = home.open(100);
    let topics = [("#a", "one"), ("#b", "two"), ("#c", "three"), ("#a", "four"), ("#c", "")];
    let topics: Vec<_> = topics
        .iter()
        .zip(RUN.0..)
        .map(|((room, text), sequence)| topic(room, sequence, text))
        .collect();
    store(&mut opened, RUN, &topics.iter().cloned().map(Entry::Topic).collect::<Vec<_>>());
    drop(opened);
    let opened = home.open(100);
    assert_eq!(
        opened.topics(10).unwrap(),
        [topics[3].clone(), topics[1].clone()],
        "the one that was set last first"
    );
    assert_eq!(opened.topics(1).unwrap(), [topics[3].clone()]);
}

#[test]
fn topics_are_bounded_by_rooms_not_by_how_often_they_are_set() {
    let home = Home::new();
    let mut opened = home.open(100);
    let rooms = ROOMS_MAX as u64;
    let of_each: Vec<_> = (0..rooms)
        .map(|number| Entry::Topic(topic(&format!("#{number}"), RUN.0 + number, "x")))
        .collect();
    store(&mut opened, RUN, &of_each);
    let often: Vec<_> =
        (0..rooms).map(|number| Entry::Topic(topic("#0", RUN.0 + rooms + number, "y"))).collect();
    store(&mut opened, RUN, &often);
    assert_eq!(opened.topics(usize::MAX).unwrap().len(), ROOMS_MAX);
    store(&mut opened, RUN, &[Entry::Topic(topic("#more", RUN.0 + 2 * rooms, "z"))]);
    let topics = opened.topics(usize::MAX).unwrap();
    assert_eq!(
        (topics.len(), &*topics[0].room_key, &*topics[1].room_key),
        (ROOMS_MAX, "#more", "#0")
    );
    assert_eq!(topics.last().unwrap().room_key, "#2", "what was set longest ago is gone");
}

#[test]
fn a_clock_that_was_set_back_changes_no_order() {
    let home = Home::new();
    let mut opened = home.open(6);
    store(
        &mut opened,
        RUN,
        &[lines("#a", [1_000_001]), vec![Entry::Gap { until: Sequence(1_000_005) }]].concat(),
    );
    store(&mut opened, RUN, &lines("#a", [1_000_006, 1_000_007]));
    let earlier = Sequence(400_000);
    assert_eq!(
        last(&opened, earlier, "#a", 400_001, 2),
        [1_000_006, 1_000_007],
        "all are of the run before"
    );
    store(&mut opened, earlier, &lines("#a", [400_001, 400_002]));
    assert_eq!(opened.reached(earlier).unwrap(), Some(Sequence(400_002)));
    assert_eq!(last(&opened, earlier, "#a", 400_002, 3), [1_000_006, 1_000_007, 400_001]);
    assert_eq!(
        opened.complete_since("#a").unwrap(),
        earlier,
        "what is missing is of the run before"
    );
    store(&mut opened, earlier, &lines("#a", [400_003, 400_004]));
    assert_eq!(opened.complete_since("#a").unwrap(), earlier, "trimmed, but of the run before");
    store(&mut opened, earlier, &lines("#a", 400_005..400_008));
    assert_eq!(opened.complete_since("#a").unwrap(), Sequence(400_002));
    assert_eq!(last(&opened, earlier, "#a", u64::MAX, 9), (400_002..400_008).collect::<Vec<_>>());
}

#[test]
fn a_room_that_is_spelt_differently_is_the_same() {
    let home = Home::new();
    let mut opened = home.open(100);
    let newly_spelt = Line { room: "#Cafe".to_owned(), ..line("#cafe", 1_000_002) };
    store(&mut opened, RUN, &[Entry::from(line("#cafe", 1_000_001)), Entry::from(newly_spelt)]);
    let names: Vec<_> = opened
        .last_lines(RUN, "#cafe", RecordId::first_of(Sequence(u64::MAX)), 10)
        .unwrap()
        .into_iter()
        .map(|line| line.room)
        .collect();
    assert_eq!(names, ["#Cafe", "#Cafe"]);
}

#[test]
fn reading_uses_the_index_and_sorts_nothing() {
    let home = Home::new();
    let opened = home.open(100);
    let mut statement =
        opened.connection.prepare(&format!("EXPLAIN QUERY PLAN {LAST_LINES}")).unwrap();
    let plan: Vec<String> = statement
        .query_map(params!["#a", 1, 1], |row| row.get(3))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert!(
        plan.iter()
            .any(|step| step
                .starts_with("SEARCH lines USING INDEX lines_by_room (room=? AND rowid<?)")),
        "{plan:?}"
    );
    assert!(
        !plan.iter().any(|step| step.contains("SCAN") || step.contains("TEMP B-TREE")),
        "{plan:?}"
    );
}

#[test]
fn others_may_read_and_an_operator_may_delete_meanwhile() {
    let home = Home::new();
    let mut opened = home.open(100);
    store(&mut opened, RUN, &lines("#a", [1_000_001, 1_000_002]));
    let other = home.sqlite();
    other.execute_batch("BEGIN; SELECT * FROM lines").unwrap();
    store(&mut opened, RUN, &lines("#a", [1_000_003]));
    assert_eq!(
        other.query_row("SELECT count(*) FROM lines", [], |row| row.get::<_, i64>(0)).unwrap(),
        2,
        "its own moment"
    );
    other.execute_batch("COMMIT; DELETE FROM lines; DELETE FROM rooms").unwrap();
    assert_eq!(opened.complete_since("#a").unwrap(), Sequence(1_000_004));
    store(&mut opened, RUN, &lines("#a", [1_000_004]));
    assert_eq!(last(&opened, RUN, "#a", u64::MAX, 10), [1_000_004]);
    store(&mut opened, RUN, &lines("#a", 1_000_005..1_000_010));
    other.execute_batch("DELETE FROM lines WHERE sequence IN (1000005, 1000007, 1000008)").unwrap();
    for (before, found) in [
        (1_000_009, 1_000_006),
        (1_000_007, 1_000_006),
        (1_000_006, 1_000_004),
        (1_000_010, 1_000_009),
    ] {
        assert_eq!(last(&opened, RUN, "#a", before, 1), [found], "before {before}");
    }
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error =
        opened.store(RUN, &lines("#a", [1_000_010]), Sequence(1_000_010)).unwrap_err().to_string();
    assert!(error.contains("another program has it locked; end that program"), "{error}");
}

#[test]
fn a_reader_that_never_ends_does_not_fill_the_disk() {
    let home = Home::new();
    let mut opened = home.open(100);
    store(&mut opened, RUN, &lines("#a", [1_000_001]));
    opened.sizes.wal_bytes_max = 100_000;
    let other = home.sqlite();
    other.execute_batch("BEGIN; SELECT * FROM lines").unwrap();
    let mut sequences = 1_000_002..1_001_000;
    let refused = sequences
        .find_map(|sequence| opened.store(RUN, &lines("#a", [sequence]), Sequence(sequence)).err());
    let error = refused.expect("a bound").to_string();
    assert!(error.contains("another program reads it and holds back"), "{error}");
    other.execute_batch("COMMIT").unwrap();
    store(&mut opened, RUN, &lines("#a", sequences.take(1)));
    assert!(fs::metadata(home.0.join(WAL_NAME)).unwrap().len() < 100_000);
}

#[test]
fn a_full_disk_is_worded_and_forgiven() {
    let home = Home::new();
    let mut opened = home.open(1_000_000);
    store(&mut opened, RUN, &lines("#a", [1_000_001]));
    let pages = number(&opened, "PRAGMA page_count");
    opened.connection.execute_batch(&format!("PRAGMA max_page_count = {}", pages + 2)).unwrap();
    let batch = lines("#a", 1_000_002..1_002_000);
    let error = opened.store(RUN, &batch, Sequence(1_002_000)).unwrap_err().to_string();
    let path = home.file();
    let words = format!(
        "cannot store in the history {}: the disk is full; make room on its file system",
        path.display()
    );
    assert_eq!(error, words);
    assert_eq!(
        (opened.reached(RUN).unwrap(), last(&opened, RUN, "#a", u64::MAX, 9)),
        (Some(Sequence(1_000_001)), vec![1_000_001])
    );
    opened.connection.execute_batch("PRAGMA max_page_count = 1000000").unwrap();
    store(&mut opened, RUN, &batch);
    assert_eq!(last(&opened, RUN, "#a", u64::MAX, 1), [1_001_999]);
}

#[test]
fn what_is_no_file_of_ours_is_refused_and_left_alone() {
    let home = Home::new();
    for text in [&b"not a database\n"[..], &[b'x'; 10_000]] {
        fs::write(home.file(), text).unwrap();
        let refusal = home.refusal();
        assert!(refusal.contains("it is no SQLite database; move it away"), "{refusal}");
        assert_eq!(fs::read(home.file()).unwrap(), text);
    }
    fs::remove_file(home.file()).unwrap();
    home.sqlite().execute_batch("CREATE TABLE lines (id INTEGER PRIMARY KEY)").unwrap();
    let theirs = fs::read(home.file()).unwrap();
    let refusal = home.refusal();
    assert!(refusal.contains("is another program's database; move it away"), "{refusal}");
    assert_eq!(fs::read(home.file()).unwrap(), theirs);
    fs::remove_file(home.file()).unwrap();
    fs::create_dir(home.file()).unwrap();
    let refusal = home.refusal();
    assert!(
        refusal.contains("it can't be opened as a file; let the server's user write to it"),
        "{refusal}"
    );
    fs::write(home.0.join("file"), b"").unwrap();
    let below_a_file =
        Store::open(&home.0.join("file/nowhere"), at_most(1)).unwrap_err().to_string();
    assert!(
        below_a_file.contains("cannot make the history") && below_a_file.contains("--data-dir"),
        "{below_a_file}"
    );
}

#[test]
fn one_server_at_a_time_stores_in_a_directory_which_is_made_if_need_be() {
    let home = Home::new();
    let data_dir = home.0.join("made/here");
    let first = Store::open(&data_dir, at_most(1)).unwrap();
    let refusal = Store::open(&data_dir, at_most(1)).unwrap_err().to_string();
    assert!(
        refusal.contains("another server stores in ") && refusal.contains("--data-dir"),
        "{refusal}"
    );
    assert_eq!(first.tampered(), None);
    drop(first);
    let second = Store::open(&data_dir, at_most(1)).unwrap();
    fs::remove_dir_all(&data_dir).unwrap();
    assert_eq!(second.tampered(), Some(Tampered::Taken(data_dir.join(FILE_NAME))));
}

#[test]
fn a_damaged_file_is_refused_and_left_alone() {
    let home = Home::new();
    let mut opened = home.open(1_000_000);
    store(&mut opened, RUN, &lines("#a", 1_000_001..1_010_000));
    drop(opened);
    let mut damaged = fs::read(home.file()).unwrap();
    damaged[4_096..].fill(0xee);
    fs::write(home.file(), &damaged).unwrap();
    let error = match Store::open(&home.0, at_most(100)) {
        Ok(mut opened) => {
            opened.store(RUN, &lines("#a", [2_000_000]), Sequence(2_000_000)).unwrap_err()
        }
        Err(error) => error,
    };
    assert!(error.to_string().contains("it is damaged; stop the server, move the file"), "{error}");
    assert_eq!(fs::read(home.file()).unwrap(), damaged);
}

#[test]
fn lines_of_one_sequence_are_told_apart_by_the_index() {
    let home = Home::new();
    let mut opened = home.open(100);
    let lines: Vec<Line> = (0..3)
        .map(|index| Line {
            id: RecordId { sequence: Sequence(1_000_001), index },
            ..line("#a", 1_000_001)
        })
        .collect();
    let entry = |(line, position): (&Line, u64)| Entry::Line {
        position: Sequence(position),
        line: line.clone(),
    };
    let entries: Vec<Entry> = lines.iter().zip(1_000_001..).map(entry).collect();
    store(&mut opened, RUN, &entries);
    for (end, line) in lines.iter().enumerate() {
        assert_eq!(opened.last_lines(RUN, "#a", line.id, 10).unwrap(), lines[..end]);
    }
    let later = RecordId::first_of(Sequence(1_000_002));
    assert_eq!(opened.last_lines(RUN, "#a", later, 2).unwrap(), lines[1..]);
}

/// As version 1 made it. Never to be changed.
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
fn a_database_of_version_1_goes_on() {
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

/// As version 2 left it, with lines of two runs and the oldest trimmed. Never to be changed.
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
fn a_migration_is_carried_out_once_and_all_or_not_at_all() {
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
fn a_database_of_a_newer_version_is_refused_and_left_alone() {
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

/// The history as it should be.
#[derive(Default)]
struct Model {
    /// Run and line, oldest first.
    lines: Vec<(Sequence, Line)>,
    /// The rooms that have lines, in the order in which they were made.
    rooms: Vec<String>,
    reached: Option<(Sequence, Sequence)>,
}

impl Model {
    fn store(&mut self, run: Sequence, entries: &[Entry], reached: Sequence, lines_max: usize) {
        let before = self.reached.filter(|(latest, _)| *latest == run).map(|(_, reached)| reached);
        for entry in entries.iter().filter(|entry| Some(entry.position()) > before) {
            if let Entry::Line { line, .. } = entry {
                self.lines.push((run, line.clone()));
                if !self.rooms.contains(&line.room_key) {
                    self.rooms.push(line.room_key.clone());
                }
            }
        }
        let of = |lines: &[(Sequence, Line)], room: &str| {
            lines.iter().filter(|(_, line)| line.room_key == room).count()
        };
        while self.lines.len() > lines_max {
            // Of those that are as large the latest.
            let largest = self.rooms.iter().max_by_key(|room| of(&self.lines, room)).unwrap();
            let oldest = self.lines.iter().position(|(_, line)| line.room_key == *largest).unwrap();
            self.lines.remove(oldest);
            let lines = &self.lines;
            self.rooms.retain(|room| of(lines, room) > 0);
        }
        self.reached = Some((run, before.map_or(reached, |before| before.max(reached))));
    }

    fn last_lines(&self, run: Sequence, room: &str, before: RecordId, count: usize) -> Vec<Line> {
        let is_before = |(said_in, line): &&(Sequence, Line)| {
            line.room_key == room && (*said_in != run || line.id < before)
        };
        let mut lines: Vec<Line> = self
            .lines
            .iter()
            .rev()
            .filter(is_before)
            .take(count)
            .map(|(_, line)| line.clone())
            .collect();
        lines.reverse();
        lines
    }
}

/// One step: begin a run, come from an earlier place of the log, store some lines, open the
/// database again.
#[derive(Clone, Debug)]
enum Step {
    Run(u64),
    Back(u64),
    Store(Vec<u8>),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (1..50u64).prop_map(|run| Step::Run(run * 1_000)),
        2 => (1..20u64).prop_map(Step::Back),
        6 => prop::collection::vec(0..4u8, 0..12).prop_map(Step::Store),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_store_keeps_what_a_list_would(steps in prop::collection::vec(step(), 1..40), lines_max in 0..30usize) {
        let home = Home::new();
        let (mut opened, mut model) = (home.open(lines_max as u64), Model::default());
        let (mut run, mut next, mut runs) = (Sequence(60_000), 60_000, vec![Sequence(60_000)]);
        for step in steps {
            match step {
                // The start of a run is never that of another.
                Step::Run(first) if runs.contains(&Sequence(first)) => {}
                Step::Run(first) => {
                    (run, next) = (Sequence(first), first);
                    runs.push(run);
                }
                Step::Back(count) => next = run.0.max(next - count.min(next)),
                Step::Store(rooms) => {
                    let entries: Vec<_> = rooms.iter().zip(next..).map(|(room, sequence)| Entry::from(line(&format!("#{room}"), sequence))).collect();
                    next += rooms.len() as u64 + 1;
                    opened.store(run, &entries, Sequence(next - 1)).unwrap();
                    model.store(run, &entries, Sequence(next - 1), lines_max);
                }
                Step::Reopen => {
                    drop(opened);
                    opened = home.open(lines_max as u64);
                }
            }
            let reached = model.reached.filter(|(latest, _)| *latest == run).map(|(_, reached)| reached);
            prop_assert_eq!(opened.reached(run).unwrap(), reached);
            for (room, before, count) in [("#0", u64::MAX, 5), ("#1", next.saturating_sub(4), 5), ("#2", next, 100)] {
                let expected = model.last_lines(run, room, RecordId::first_of(Sequence(before)), count);
                prop_assert_eq!(opened.last_lines(run, room, RecordId::first_of(Sequence(before)), count).unwrap(), expected);
            }
        }
    }
}

/// A room, as the rule has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RoomSize {
    key: String,
    is_established: bool,
    lines: i64,
    bytes: i64,
}

/// What the rooms have, counted from their lines.
fn room_sizes(store: &Store) -> Vec<RoomSize> {
    let sql =
        "SELECT key, is_established, count(lines.id), 128 + octet_length(key) + octet_length(name)
            + sum(64 + octet_length(nick) + octet_length(text)), rooms.lines, rooms.bytes
        FROM rooms JOIN lines ON lines.room = rooms.id GROUP BY rooms.id";
    let read = |row: &Row<'_>| {
        let size = RoomSize {
            key: row.get(0)?,
            is_established: row.get(1)?,
            lines: row.get(2)?,
            bytes: row.get(3)?,
        };
        assert_eq!(
            (size.lines, size.bytes),
            (row.get(4)?, row.get(5)?),
            "the counts of {}",
            size.key
        );
        Ok(size)
    };
    store
        .connection
        .prepare(sql)
        .unwrap()
        .query_map([], read)
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_room_within_its_guaranteed_share_never_loses_a_line(
        batches in prop::collection::vec((prop::collection::vec((0..12u8, 0..200usize), 1..30), 0..60u64), 1..40),
        lines_max in 1..60i64,
        bytes_max in 1_000..20_000i64,
    ) {
        let home = Home::new();
        let quota = Quota { lines_max: lines_max as u64, bytes_max: bytes_max as u64 };
        let mut opened = Store::open(&home.0, quota).unwrap();
        let mut free = Home::new();
        let (mut sequence, mut time) = (RUN.0, 0);
        for (batch, hours) in batches {
            time += hours * HOUR / 4;
            let first = sequence + 1;
            // Small numbers are said more often.
            let entries: Vec<_> =
                batch.iter().zip(first..).map(|(&(room, length), at)| said(&format!("#{}", room / (1 + at as u8 % 3)), at, time, length)).collect();
            sequence += batch.len() as u64;
            // The same without a bound, from the same state: what there is before anything is
            // deleted.
            opened.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
            free = Home::new();
            fs::copy(home.file(), free.file()).unwrap();
            let mut unbounded = free.open(u64::MAX);
            store(&mut unbounded, RUN, &entries);
            let before = room_sizes(&unbounded);
            store(&mut opened, RUN, &entries);
            let after = room_sizes(&opened);
            prop_assert!(after.iter().map(|room| room.lines).sum::<i64>() <= lines_max);
            prop_assert!(after.iter().map(|room| room.bytes).sum::<i64>() <= bytes_max);
            prop_assert_eq!(opened.totals, Some(Totals::load(&opened.connection).unwrap()), "what is counted in memory");
            for room in &before {
                let kept = after.iter().find(|kept| kept.key == room.key).map_or(0, |kept| kept.lines);
                let class = || before.iter().filter(|other| other.is_established == room.is_established);
                let is_over = |size: &dyn Fn(&RoomSize) -> i64, max: i64| {
                    let part = if room.is_established { max - max / 4 } else { max / 4 };
                    // Strictly more than an equal share of its part.
                    size(room) * class().count() as i64 > part && before.iter().map(size).sum::<i64>() > max
                };
                if kept < room.lines {
                    prop_assert!(is_over(&|room| room.lines, lines_max) || is_over(&|room| room.bytes, bytes_max), "{:?} of {:?}", room, before);
                }
                // What goes is the oldest, and `since` says so.
                let found = last(&opened, RUN, &room.key, u64::MAX, usize::MAX);
                let all = last(&unbounded, RUN, &room.key, u64::MAX, usize::MAX);
                prop_assert_eq!(&found[..], &all[all.len() - found.len()..]);
                let since = opened.complete_since(&room.key).unwrap().0;
                prop_assert!(found.first().is_none_or(|&first| since <= first));
                prop_assert!(found.len() == all.len() || all[all.len() - found.len() - 1] < since);
            }
        }
        drop(free);
    }
}

/// `cargo test --release -p forkchat-server store::tests::how_fast -- --ignored --nocapture
/// --test-threads 1`
#[test]
#[ignore = "a measurement"]
fn how_fast_lines_are_stored() {
    const BATCH: u64 = 1_000;
    for (rooms, lines_max) in [
        (1, u64::MAX),
        (100, u64::MAX),
        (20_000, u64::MAX),
        (1, 200_000),
        (100, 200_000),
        (20_000, 200_000),
    ] {
        let home = Home::new();
        let mut opened = home.open(lines_max);
        let names: Vec<String> = (0..rooms).map(|room| format!("#room-{room}")).collect();
        let mut said: Vec<Entry> = lines("#x", 0..BATCH);
        let (begun, mut cpu) = (Instant::now(), 0);
        for batch in 0..1_000 {
            let first = RUN.0 * 1_000_000_000 + batch * BATCH;
            for (entry, sequence) in said.iter_mut().zip(first..) {
                // Rooms in no order that would please the index.
                let name = &names
                    [(sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % names.len()];
                let text = "x".repeat(100);
                *entry = Entry::from(Line {
                    room: name.clone(),
                    room_key: name.clone(),
                    text,
                    ..line("#x", sequence)
                });
            }
            let before = cpu_micros();
            opened.store(RUN, &said, Sequence(first + BATCH - 1)).unwrap();
            cpu += cpu_micros() - before;
        }
        let (count, wal) = (
            number(&opened, "SELECT count(*) FROM lines"),
            fs::metadata(home.0.join(WAL_NAME)).unwrap().len(),
        );
        let (first, asked) = (RUN.0 * 1_000_000_000, Instant::now());
        let found = opened
            .last_lines(RUN, &names[0], RecordId::first_of(Sequence(first + 900_000)), 100)
            .unwrap()
            .len();
        let asked = asked.elapsed();
        drop(opened);
        let bytes = fs::metadata(home.file()).unwrap().len() as i64 / count;
        let per_second = 1_000 * BATCH as i64 * 1_000_000 / cpu;
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "{rooms} rooms, at most {lines_max} lines: {per_second} lines per second of CPU time ({seconds:.1} s in all), \
             {bytes} bytes a line, WAL {wal} bytes, {found} lines read in {asked:?}"
        );
    }
}

fn cpu_micros() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
    usage.user_time().num_microseconds() + usage.system_time().num_microseconds()
}

#[test]
fn what_is_complete_begins_with_a_run_that_was_begun_here_or_behind_one_that_was_closed() {
    let home = Home::new();
    let [first, second, third] = [1_000, 2_000, 3_000].map(Sequence);
    let mut opened = home.open(1_000);
    opened.begin(first).unwrap();
    assert_eq!(
        opened.complete_since("#a").unwrap(),
        first,
        "nobody knows what was said before there was a database"
    );
    opened.begin(first).unwrap();
    opened.close().unwrap();
    let mut opened = home.open(1_000);
    opened.begin(second).unwrap();
    assert_eq!(
        opened.complete_since("#a").unwrap(),
        first,
        "the first run ended with everything stored"
    );
    drop(opened);
    let mut opened = home.open(1_000);
    opened.begin(second).unwrap();
    assert_eq!(
        opened.complete_since("#a").unwrap(),
        first,
        "the same run goes on, with another journal"
    );
    drop(opened);
    let mut opened = home.open(1_000);
    opened.begin(third).unwrap();
    assert_eq!(opened.complete_since("#a").unwrap(), third, "the second run was cut off");
}

#[test]
fn that_a_run_was_cut_off_is_known_without_the_write_ahead_log() {
    let (home, found) = (Home::new(), Home::new());
    let [first, second, third] = [1_000, 2_000, 3_000].map(Sequence);
    let mut opened = home.open(1_000);
    opened.begin(first).unwrap();
    opened.close().unwrap();
    let mut opened = home.open(1_000);
    opened.begin(second).unwrap();
    store(&mut opened, second, &lines("#a", [2_001]));
    fs::copy(home.file(), found.file()).unwrap();
    let mut opened = found.open(1_000);
    opened.begin(third).unwrap();
    assert_eq!(
        opened.complete_since("#a").unwrap(),
        third,
        "what was said in the second run is lost"
    );
}
