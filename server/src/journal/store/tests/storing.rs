//! What is stored, in which order, and what the store knows to be missing.

use super::*;

#[test]
fn stored_lines_are_read_also_after_a_restart() {
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
fn a_batch_that_comes_again_is_skipped() {
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
fn a_batch_that_fails_in_its_middle_stores_nothing() {
    let home = Home::new();
    let mut opened = home.open(100);
    store(&mut opened, RUN, &lines("#a", [1_000_001]));
    let hinder = "CREATE TRIGGER hinder BEFORE INSERT ON lines WHEN NEW.sequence = 1000004 \
         BEGIN SELECT RAISE(ABORT, 'hindered'); END";
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
fn after_a_gap_the_lines_are_complete() {
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
        "the oldest line is the first after the gap"
    );
    store(&mut opened, RUN, &lines("#a", [1_000_016]));
    assert_eq!(
        opened.complete_since("#a").unwrap(),
        Sequence(1_000_013),
        "the lines around the gap are deleted"
    );
    store(&mut opened, RUN, &[Entry::Gap { until: Sequence(1_000_020) }]);
    drop(opened);
    assert_eq!(home.open(4).complete_since("#a").unwrap(), Sequence(1_000_021));
}

#[test]
fn a_topic_replaces_the_previous_one_and_an_empty_one_deletes_it() {
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
fn the_number_of_rooms_bounds_the_topics_however_often_they_are_set() {
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
fn setting_the_clock_back_does_not_change_the_order() {
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
fn a_differently_spelt_room_is_the_same_room() {
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
fn the_index_distinguishes_lines_of_one_sequence() {
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

#[test]
fn lines_are_complete_since_the_first_of_the_runs_that_were_closed_in_a_row() {
    let home = Home::new();
    let [first, second, third] = [1_000, 2_000, 3_000].map(Sequence);
    let mut opened = home.open(1_000);
    opened.begin(first).unwrap();
    assert_eq!(
        opened.complete_since("#a").unwrap(),
        first,
        "lines from before the database existed are unknown"
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
fn an_unclosed_run_is_recognised_without_the_write_ahead_log() {
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
