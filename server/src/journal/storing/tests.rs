use super::*;
use crate::journal::store::tests::Home;
use crate::journal::store::{Entry, Topic};
use crate::segment::{Geometry, Tally};
use forkchat_common::ids::Micros;

const JOURNAL: Slot = Slot::at(0);
const QUOTA: Quota = Quota { lines_max: 100, bytes_max: 1 << 20 };

fn new_storing(data_dir: Option<&Path>) -> (&'static Segment, Storing) {
    let segment = Segment::create(Geometry {
        ring_bytes: 1 << 16,
        slots: 1,
        sessions_max: 1,
        snapshot_bytes_max: 8,
    })
    .unwrap();
    let backlog = Arc::new(Backlog::new(Box::leak(Box::<Tally>::default())));
    (segment, Storing::new(segment, JOURNAL, backlog, data_dir, QUOTA))
}

/// Waits until `is_done`, which the storing thread causes.
fn until(what: &str, mut is_done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_done() {
        assert!(Instant::now() < deadline, "{what} takes too long");
        std::thread::yield_now();
    }
}

/// Records a gap while the storing thread has nothing to do, right before the server ends. Returns
/// the run and the gap's end once the storing thread reports that it has stored everything.
fn ends_with_a_gap(data_dir: Option<&Path>) -> (Sequence, Sequence) {
    let (segment, mut storing) = new_storing(data_dir);
    let backlog = storing.backlog.clone();
    let (run, gap_end) = (segment.log.first(), Sequence(segment.log.first().0 + 100));
    // The thread answers a request after it has stored what there was in this turn, so a gap that
    // is recorded after the answer is not part of it.
    backlog.ask(Lookup {
        request: RecordId::first_of(run),
        room_key: "#a".to_owned(),
        more: 1,
        after: RecordId::ZERO,
    });
    // The thread never ends; after `is_closed` it sleeps until its process ends.
    std::thread::spawn(move || storing.run());
    until("an answer", || !backlog.take_prepared().is_empty());
    backlog.add_gap(gap_end);
    backlog.close();
    until("the end", || backlog.is_closed());
    (run, gap_end)
}

#[test]
fn a_gap_that_is_not_stored_yet_is_stored_when_the_journal_ends() {
    let home = Home::new();
    let (run, gap_end) = ends_with_a_gap(Some(&home.0));
    let store = Store::open(&home.0, QUOTA).unwrap();
    assert_eq!(
        (store.reached(run).unwrap(), store.complete_since("#a").unwrap()),
        (Some(gap_end), Sequence(gap_end.0 + 1))
    );
}

fn line(position: u64) -> Entry {
    line_of(position, "said")
}

fn line_of(position: u64, text: &str) -> Entry {
    let [room, room_key, nick, text] = ["#a", "#a", "a", text].map(str::to_owned);
    Entry::from(Line {
        id: RecordId::first_of(Sequence(position)),
        time: Micros(position),
        room,
        room_key,
        nick,
        is_action: false,
        text,
    })
}

/// Creates a log, and a storing thread that has stored three lines of it.
fn has_stored(home: &Home) -> (&'static Segment, Storing) {
    let (segment, mut storing) = new_storing(Some(&home.0));
    storing.turn();
    storing
        .backlog
        .add(&mut (1..=3).map(|position| line(segment.log.first().0 + position)).collect());
    storing.turn();
    (segment, storing)
}

fn request(storing: &mut Storing, request: Sequence) -> (usize, PartEnd) {
    let (ids, end) = request_after(storing, request, RecordId::ZERO);
    (ids.len(), end)
}

/// One part of an answer: the ids of its lines, and its end.
fn request_after(
    storing: &mut Storing,
    request: Sequence,
    after: RecordId,
) -> (Vec<RecordId>, PartEnd) {
    let request = RecordId::first_of(request);
    let request = Lookup { request, room_key: "#a".to_owned(), more: 10, after };
    let Prepared { lines, end, .. } = storing.answer(&request);
    let (mut rest, mut ids) = (&lines[..], Vec::new());
    while let Ok((line, after)) = postcard::take_from_bytes::<PastLine<'_>>(rest) {
        ids.push(line.id);
        rest = after;
    }
    (ids, end)
}

#[test]
fn lines_of_one_record_are_neither_lost_nor_repeated() {
    let long = "x".repeat(PART_BYTES);
    for texts in [["a", &long], [&long, "b"]] {
        let home = Home::new();
        let (segment, mut storing) = new_storing(Some(&home.0));
        let first = segment.log.first().0;
        let [one, two] = [1, 2].map(|at| RecordId::first_of(Sequence(first + at)));
        // As after a failed transaction.
        storing.batch_max = 1;
        storing.backlog.add(&mut texts.iter().map(|text| line_of(one.sequence.0, text)).collect());
        storing.backlog.add(&mut vec![line(two.sequence.0)]);
        while !storing.backlog.is_empty() {
            storing.turn();
        }
        let end = Sequence(first + 9);
        assert_eq!(
            request_after(&mut storing, end, RecordId::ZERO),
            (vec![one, one], PartEnd::More)
        );
        assert_eq!(request_after(&mut storing, end, one).0, [two]);
    }
}

#[test]
fn removing_the_write_ahead_log_loses_nothing_while_the_journal_runs() {
    let home = Home::new();
    let (segment, mut storing) = has_stored(&home);
    let first = segment.log.first();
    for name in ["history.sqlite3-wal", "history.sqlite3-shm"] {
        std::fs::remove_file(home.0.join(name)).unwrap();
        storing.turn();
        storing
            .backlog
            .add(&mut vec![line(storing.backlog.tally().stored_to.load(Ordering::Relaxed) + 1)]);
        storing.turn();
    }
    assert_eq!(storing.backlog.tally().missing(), 0);
    drop(storing);
    let store = Store::open(&home.0, QUOTA).unwrap();
    assert_eq!(store.lines_of_run(first).unwrap(), 5);
    assert_eq!(store.complete_since("#a").unwrap(), first, "since the database was made");
}

#[test]
fn lines_that_are_gone_when_a_successor_starts_are_counted_and_become_a_gap() {
    let (home, found) = (Home::new(), Home::new());
    let (segment, storing) = has_stored(&home);
    let (first, tally) = (segment.log.first(), storing.backlog.tally());
    // What a killed journal leaves if its write-ahead log is removed: only the database's file.
    std::fs::copy(home.0.join("history.sqlite3"), found.0.join("history.sqlite3")).unwrap();
    let successor = |read_from: u64| {
        let mut storing =
            Storing::new(segment, JOURNAL, Arc::new(Backlog::new(tally)), Some(&found.0), QUOTA);
        storing.read_from = Sequence(first.0 + read_from);
        storing.open().unwrap();
        storing
    };
    // This successor reads everything again, so nothing is lost.
    assert_eq!((successor(0).backlog.gap(), tally.missing()), (None, 0));
    tally.stored_lines.store(3, Ordering::Relaxed);
    let mut storing = successor(3);
    assert_eq!(
        (storing.backlog.gap(), tally.missing()),
        (Some(Sequence(first.0 + 2)), 3),
        "at most three"
    );
    storing.backlog.add(&mut vec![line(first.0 + 3), line(first.0 + 4)]);
    let lost_to = Sequence(first.0 + 2);
    assert_eq!(
        request(&mut storing, Sequence(first.0 + 9)),
        (2, PartEnd::Since(RecordId::first_of(Sequence(lost_to.0 + 1))))
    );
    storing.turn();
    assert_eq!(
        request(&mut storing, Sequence(first.0 + 9)),
        (2, PartEnd::Since(RecordId::first_of(Sequence(lost_to.0 + 1))))
    );
    assert_eq!((storing.backlog.gap(), tally.missing()), (None, 3));
    // The next successor counts nothing more as lost.
    drop(storing);
    assert_eq!((successor(3).backlog.gap(), tally.missing()), (None, 3));
}

#[test]
fn after_any_file_is_emptied_or_replaced_lost_lines_are_counted_and_the_rest_is_intact() {
    type Change = fn(&Path);
    let changes: [(&str, Change, bool); 6] = [
        ("history.sqlite3", |path| std::fs::write(path, b"").unwrap(), true),
        ("history.sqlite3", |path| std::fs::remove_file(path).unwrap(), true),
        ("history.sqlite3-wal", |path| std::fs::write(path, b"").unwrap(), true),
        ("history.sqlite3-wal", |path| std::fs::remove_file(path).unwrap(), false),
        (
            "history.sqlite3-wal",
            |path| {
                std::fs::write(path.with_extension("new"), b"")
                    .and_then(|()| std::fs::rename(path.with_extension("new"), path))
                    .unwrap()
            },
            false,
        ),
        ("history.sqlite3-shm", |path| std::fs::remove_file(path).unwrap(), false),
    ];
    for (name, change, is_lost) in changes {
        let home = Home::new();
        let (segment, mut storing) = has_stored(&home);
        change(&home.0.join(name));
        storing.turn();
        let stored_to = segment.log.first().0 + 3;
        storing.backlog.add(&mut vec![line(stored_to + 1)]);
        storing.turn();
        let (lines, since) =
            if is_lost { (1, Sequence(stored_to + 1)) } else { (4, segment.log.first()) };
        assert_eq!(
            request(&mut storing, Sequence(stored_to + 9)),
            (lines, PartEnd::Since(RecordId::first_of(since))),
            "{name}"
        );
        assert_eq!(storing.backlog.tally().missing(), if is_lost { 3 } else { 0 }, "{name}");
        drop(storing);
        let connection = rusqlite::Connection::open(home.0.join("history.sqlite3")).unwrap();
        let check: String =
            connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok", "{name}");
    }
}

#[test]
fn lines_in_a_directory_that_is_gone_are_counted_and_become_a_gap() {
    let home = Home::new();
    let (segment, mut storing) = has_stored(&home);
    std::fs::remove_dir_all(&home.0).unwrap();
    storing.turn();
    let lost_to = Sequence(segment.log.first().0 + 3);
    assert_eq!(storing.backlog.tally().missing(), 3);
    storing.backlog.add(&mut vec![line(lost_to.0 + 1)]);
    storing.turn();
    assert_eq!(
        request(&mut storing, Sequence(lost_to.0 + 9)),
        (1, PartEnd::Since(RecordId::first_of(Sequence(lost_to.0 + 1))))
    );
}

#[test]
fn lines_that_a_successor_reads_again_are_in_the_answer_once() {
    let home = Home::new();
    let (segment, storing) = has_stored(&home);
    let (first, tally) = (segment.log.first(), storing.backlog.tally());
    drop(storing);
    let mut storing =
        Storing::new(segment, JOURNAL, Arc::new(Backlog::new(tally)), Some(&home.0), QUOTA);
    storing.open().unwrap();
    // The request comes before any of these lines is in the database.
    storing.backlog.add(&mut (1..=5).map(|position| line(first.0 + position)).collect());
    assert_eq!(
        request(&mut storing, Sequence(first.0 + 9)),
        (5, PartEnd::Since(RecordId::first_of(first)))
    );
    storing.turn();
    assert_eq!(
        request(&mut storing, Sequence(first.0 + 9)),
        (5, PartEnd::Since(RecordId::first_of(first)))
    );
}

#[test]
fn topics_that_are_lost_with_the_database_are_stored_again_before_later_ones() {
    let home = Home::new();
    let (segment, mut storing) = has_stored(&home);
    assert!(!storing.backlog.wants_topics());
    std::fs::remove_file(home.0.join("history.sqlite3")).unwrap();
    storing.turn();
    assert!(storing.backlog.wants_topics() && !storing.backlog.is_empty());
    let topic = |room: &str, position: u64, text: &str| Topic {
        sequence: Sequence(segment.log.first().0 + position),
        room: room.to_owned(),
        room_key: room.to_owned(),
        text: text.to_owned(),
    };
    storing.backlog.hand_over_topics(vec![
        topic("#a", 4, "tea"),
        topic("#b", 4, "coffee"),
        topic("#c", 4, "water"),
    ]);
    storing
        .backlog
        .add(&mut vec![Entry::Topic(topic("#b", 5, "")), Entry::Topic(topic("#c", 6, "milk"))]);
    storing.turn();
    assert!(storing.backlog.is_empty());
    let store = storing.store.unwrap();
    assert_eq!(store.topics(10).unwrap(), [topic("#c", 6, "milk"), topic("#a", 4, "tea")]);
}

#[test]
fn a_failure_to_read_is_logged_once_and_the_requests_are_counted() {
    let home = Home::new();
    let (segment, mut storing) = has_stored(&home);
    let other = rusqlite::Connection::open(home.0.join("history.sqlite3")).unwrap();
    other.execute_batch("ALTER TABLE rooms RENAME COLUMN key TO other").unwrap();
    for count in 1..4 {
        assert_eq!(
            request(&mut storing, Sequence(segment.log.first().0 + 9)),
            (0, PartEnd::Unreadable)
        );
        let (text, counted) = storing.read_failure.clone().unwrap();
        assert!(
            text.starts_with("cannot read from the history ") && counted == count,
            "{count}: {text}"
        );
    }
    other.execute_batch("ALTER TABLE rooms RENAME COLUMN other TO key").unwrap();
    assert_eq!(request(&mut storing, Sequence(segment.log.first().0 + 9)).0, 3);
    assert_eq!(storing.read_failure, None);
}

#[test]
fn storing_is_retried_with_one_entry_and_ever_longer_pauses() {
    let home = Home::new();
    let (segment, mut storing) = has_stored(&home);
    let other = rusqlite::Connection::open(home.0.join("history.sqlite3")).unwrap();
    let hinder =
        "CREATE TRIGGER hinder BEFORE INSERT ON lines BEGIN SELECT RAISE(ABORT, 'hindered'); END";
    other.execute_batch(hinder).unwrap();
    storing
        .backlog
        .add(&mut (4..=9).map(|position| line(segment.log.first().0 + position)).collect());
    for millis in [500, 1_000, 2_000, 4_000, 4_000] {
        storing.turn();
        assert_eq!((storing.pause, storing.batch_max), (Duration::from_millis(millis), 1));
        assert!(storing.until_next_try() > Duration::from_millis(millis / 2));
        // As if the pause were over.
        storing.failed_at -= storing.pause;
    }
    assert_eq!(
        storing.backlog.waiting_lines("#a", RecordId::first_of(Sequence(u64::MAX)), None).len(),
        6,
        "nothing is dropped"
    );
    other.execute_batch("DROP TRIGGER hinder").unwrap();
    for (left, batch_max) in [(5, 2), (3, 4), (0, 8)] {
        storing.turn();
        assert_eq!(
            (
                storing
                    .backlog
                    .waiting_lines("#a", RecordId::first_of(Sequence(u64::MAX)), None)
                    .len(),
                storing.batch_max
            ),
            (left, batch_max)
        );
    }
    assert!(storing.failure.is_none() && storing.until_next_try().is_zero());
    // While the server ends it retries more often.
    other.execute_batch(hinder).unwrap();
    storing.pause = RETRY_MAX;
    storing.failed_at = Instant::now();
    storing.backlog.close();
    assert!(storing.until_next_try() <= RETRY);
}

#[test]
fn without_a_data_directory_a_gap_does_not_delay_the_journals_end() {
    ends_with_a_gap(None);
}

#[test]
fn without_a_data_directory_nothing_waits_to_be_stored() {
    let (_, mut storing) = new_storing(None);
    storing.backlog.request_topics();
    storing.backlog.add(&mut vec![line(1), line(2)]);
    storing.turn();
    assert!(storing.backlog.is_empty() && storing.backlog.oldest().is_none());
}
