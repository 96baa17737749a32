//! Which rooms' lines are deleted, and how large the file becomes.

use super::*;

#[test]
fn the_largest_room_loses_its_oldest_lines_and_rooms_without_lines_are_deleted() {
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

/// Creates established rooms with `count` lines each. Returns the last sequence.
fn established(opened: &mut Store, rooms: &[&str], count: u64) -> u64 {
    let mut sequence = RUN.0;
    for (room, number) in rooms.iter().zip(0..) {
        for line in 0..count {
            sequence += 1;
            // The first line is a day old; the others come in the hour in which this room becomes
            // established.
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
    // What the new rooms have beyond their quarter is taken back when the others need it.
    store(&mut opened, RUN, &lines("#a", sequence + 1..sequence + 301));
    assert_eq!(["#a", "#b", "#c"].map(|room| count(&opened, room)), [250; 3]);
}

#[test]
fn one_room_an_hour_becomes_established_a_day_or_more_after_its_first_line() {
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
    // The clock was a year ahead, and is corrected.
    assert!(say(&mut opened, "#c", 366 * day));
    assert!(!say(&mut opened, "#d", 2 * day) && say(&mut opened, "#d", 4 * day));
}

#[test]
fn many_long_lines_are_bounded_in_bytes_and_so_is_the_file() {
    let home = Home::new();
    let quota = Quota { lines_max: 1_000_000, bytes_max: 4 << 20 };
    let mut opened = Store::open(&home.0, quota).unwrap();
    let (mut sequence, mut at_bound) = (RUN.0, 0);
    // Lengths that waste the most space of a page, and the longest one.
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
fn no_file_reaches_the_limit_on_file_sizes_whatever_is_stored() {
    for limit in [LIMIT_MIN, 1_024_000, 4_300_800] {
        let home = Home::new();
        let mut opened = Store::open_within(&home.0, at_most(1_000_000), Some(limit)).unwrap();
        let mut sequence = RUN.0;
        // Batches that are larger than the limit; lines that waste the most space of a page, short
        // ones, and as many rooms as lines.
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
fn a_limit_below_the_smallest_history_creates_no_file() {
    let home = Home::new();
    let error =
        Store::open_within(&home.0, at_most(100), Some(LIMIT_MIN - 1)).unwrap_err().to_string();
    let words = "files may not be larger than 255 KiB (ulimit -f), and a history takes 256 KiB \
         at least; raise it and start the server again";
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
