//! Reading lines, also while other programs use the database.

use super::*;

#[test]
fn reading_uses_the_index_and_does_not_sort() {
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
fn other_programs_may_read_and_an_operator_may_delete_lines_meanwhile() {
    let home = Home::new();
    let mut opened = home.open(100);
    store(&mut opened, RUN, &lines("#a", [1_000_001, 1_000_002]));
    let other = home.sqlite();
    other.execute_batch("BEGIN; SELECT * FROM lines").unwrap();
    store(&mut opened, RUN, &lines("#a", [1_000_003]));
    assert_eq!(
        other.query_row("SELECT count(*) FROM lines", [], |row| row.get::<_, i64>(0)).unwrap(),
        2,
        "the state when its transaction began"
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
fn another_program_that_never_stops_reading_does_not_fill_the_disk() {
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
