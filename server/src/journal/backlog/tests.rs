use super::*;

fn topic(position: u64) -> Entry {
    Entry::Topic(Topic {
        sequence: Sequence(position),
        room: "#a".into(),
        room_key: "#a".into(),
        text: String::new(),
    })
}

fn backlog(positions: impl Iterator<Item = u64>) -> (Backlog, &'static Tally) {
    let tally: &'static Tally = Box::leak(Box::default());
    let backlog = Backlog::new(tally);
    backlog.add(&mut positions.map(topic).collect());
    (backlog, tally)
}

fn counts(tally: &Tally) -> [u64; 3] {
    [&tally.stored, &tally.skipped, &tally.skipped_to].map(|count| count.load(Ordering::Relaxed))
}

#[test]
fn dropped_entries_are_counted_and_stored_as_a_gap() {
    let (backlog, tally) = backlog(1..10);
    assert_eq!((backlog.oldest(), backlog.drop_before(Sequence(4))), (Some(Sequence(1)), 3));
    assert_eq!((backlog.oldest(), counts(tally)), (Some(Sequence(4)), [0, 3, 3]));
    let taken = backlog.take(BATCH_ENTRIES_MAX);
    assert_eq!((taken.len(), &taken[0]), (7, &Entry::Gap { until: Sequence(3) }));
    backlog.stored(&taken);
    assert_eq!((backlog.oldest(), backlog.gap(), counts(tally)), (None, None, [6, 3, 3]));
}

#[test]
fn entries_that_could_not_be_stored_wait_again_unless_they_were_dropped() {
    let (backlog, tally) = backlog(1..4);
    let taken = backlog.take(BATCH_ENTRIES_MAX);
    backlog.add(&mut vec![topic(4)]);
    assert_eq!((backlog.drop_before(Sequence(3)), backlog.oldest()), (2, Some(Sequence(3))));
    backlog.not_stored(taken);
    let positions: Vec<u64> =
        backlog.take(BATCH_ENTRIES_MAX).iter().map(|entry| entry.position().0).collect();
    assert_eq!((positions, counts(tally)), (vec![2, 3, 4], [0, 2, 2]), "a gap, and two entries");
}

#[test]
fn entries_that_were_dropped_and_stored_after_all_are_not_counted_as_skipped() {
    let (backlog, tally) = backlog(1..4);
    let taken = backlog.take(BATCH_ENTRIES_MAX);
    assert_eq!((backlog.drop_before(Sequence(9)), counts(tally)), (3, [0, 3, 3]));
    backlog.stored(&taken);
    assert_eq!(counts(tally), [3, 0, 3]);
}

#[test]
fn a_successor_knows_what_was_dropped() {
    let (first, tally) = backlog(1..4);
    first.drop_before(Sequence(3));
    assert_eq!(Backlog::new(tally).take(BATCH_ENTRIES_MAX), [Entry::Gap { until: Sequence(2) }]);
}

#[test]
fn the_entries_of_a_record_are_taken_together() {
    // One record has several lines if they waited for an earlier answer.
    let (backlog, _) = backlog([1, 2, 2, 2, 3].into_iter());
    let positions = || backlog.take(2).iter().map(|entry| entry.position().0).collect::<Vec<u64>>();
    assert_eq!(positions(), [1, 2, 2, 2]);
    assert_eq!(positions(), [3]);
    assert_eq!(positions(), []);
}
