//! The storing thread: all work that may wait for a disk.
//!
//! If the database can't be opened or written, the thread says so once, keeps trying, and says when
//! it works again. Meanwhile the backlog holds the lines, and the chat goes on.

use super::backlog::{BATCH_ENTRIES_MAX, Backlog, Lookup, Prepared};
use super::sequences::Ahead;
use super::store::{Line, Quota, Store, StoreError};
use crate::chat::{PartEnd, PastLine};
use crate::segment::Segment;
use forkchat_common::ids::{RecordId, Sequence, Slot};
use forkchat_common::limits::EMPTY_ROOMS_MAX;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a few entries wait for more to share a transaction with.
const GATHER: Duration = Duration::from_millis(50);
/// What failed is tried again after this, and after twice as long each time that it fails again,
const AGAIN: Duration = Duration::from_millis(500);
/// at most.
const AGAIN_MAX: Duration = Duration::from_secs(4);
/// Requests that are answered before it stores again.
const REQUESTS_PER_TURN: usize = 8;
/// How long it sleeps when there is nothing to do.
const SLEEP: Duration = Duration::from_secs(1);
/// Bytes that a session is sent for one part of an answer, at most one line more: with tags, so
/// that even in a charset that takes twice as many the part fits the smallest `--sendq`. As a
/// record it fits a batch of the smallest ring.
const PART_BYTES: usize = 24 * 1024;
/// What the tags of a line take, besides its nick and room, which are in the line itself, too.
const TAGS_BYTES: usize = 160;

/// The storing side.
#[derive(Debug)]
pub struct Storing {
    segment: &'static Segment,
    me: Slot,
    backlog: Arc<Backlog>,
    /// Without one nothing is stored, and every question finds nothing.
    data_dir: Option<PathBuf>,
    quota: Quota,
    store: Option<Store>,
    /// `None` without a database of ours: another server may use the directory.
    sequences: Option<Ahead>,
    /// The journal reads the log from here on. A predecessor may have stored some of what follows
    /// already.
    read_from: Sequence,
    /// This process has stored something, into whatever database that was.
    has_stored: bool,
    /// What the operator was told, until it works.
    failure: Option<String>,
    /// The same for reading, and how many requests could not be answered because of it.
    read_failure: Option<(String, u64)>,
    failed_at: Instant,
    /// How long after that it is tried again; 0 while it works.
    pause: Duration,
    /// Entries of the next transaction: one after a failure, since each try costs as much as what
    /// it can't store, and then twice as many each time.
    batch_max: usize,
}

/// What the database has of a room.
struct Stored {
    lines: Vec<Line>,
    /// From where on they are all there.
    since: Sequence,
    /// Everything of this run up to there is stored, or was given up.
    reached: Option<Sequence>,
}

impl Storing {
    /// For the journal in slot `me`, before it reads the log.
    pub fn new(
        segment: &'static Segment,
        me: Slot,
        backlog: Arc<Backlog>,
        data_dir: Option<&Path>,
        quota: Quota,
    ) -> Storing {
        let data_dir = data_dir.map(Path::to_owned);
        Storing {
            segment,
            me,
            backlog,
            data_dir,
            quota,
            store: None,
            sequences: None,
            read_from: segment.snapshots.sequence(),
            has_stored: false,
            failure: None,
            read_failure: None,
            failed_at: Instant::now(),
            pause: Duration::ZERO,
            batch_max: BATCH_ENTRIES_MAX,
        }
    }

    /// Runs until the process ends.
    pub fn run(&mut self) -> ! {
        loop {
            self.backlog.set_at_work(true);
            self.turn();
            self.backlog.set_at_work(false);
            if self.failure.is_some() {
                std::thread::sleep(self.until_next_try().min(GATHER));
            }
            self.backlog.wait(SLEEP, GATHER);
            // Asked first: nothing is added once the backlog is closing.
            let is_closing = self.backlog.is_closing();
            let is_all_stored = self.backlog.is_empty()
                && (self.backlog.gap().is_none() || self.data_dir.is_none());
            if is_closing && is_all_stored && !self.backlog.is_closed() {
                self.note_sequences(Ahead::end);
                // Which brings everything into the one file.
                if let Some(Err(error)) = self.store.take().map(Store::close) {
                    log::warn!("{error}");
                }
                self.backlog.closed();
            }
        }
    }

    fn turn(&mut self) {
        if self.until_next_try().is_zero() && !self.backlog.is_closed() {
            let worked = self.open().and_then(|()| self.store_some());
            self.say(worked);
            self.note_sequences(Ahead::follow);
        }
        for _ in 0..REQUESTS_PER_TURN {
            let Some(request) = self.backlog.take_request() else { break };
            let prepared = self.answer(&request);
            self.backlog.prepare(prepared);
            self.segment.doorbells.get(self.me).ring();
        }
    }

    /// When the server ends there is little time left.
    fn until_next_try(&self) -> Duration {
        let pause = if self.backlog.is_closing() { self.pause.min(AGAIN) } else { self.pause };
        pause.saturating_sub(self.failed_at.elapsed())
    }

    fn open(&mut self) -> Result<(), StoreError> {
        self.close_what_was_taken_away();
        let Some(data_dir) = self.data_dir.as_ref().filter(|_| self.store.is_none()) else {
            return Ok(());
        };
        let run = self.segment.log.first();
        let mut store = Store::open(data_dir, self.quota)?;
        store.begin(run)?;
        let topics = store.topics(EMPTY_ROOMS_MAX)?;
        self.note_loss(&store)?;
        self.backlog.found_topics(topics);
        self.segment.doorbells.get(self.me).ring();
        self.store = Some(store);
        self.sequences = Some(Ahead::new(data_dir));
        Ok(())
    }

    /// Another program may remove, replace or empty the database's files while they are open: what
    /// is stored then is lost with them.
    fn close_what_was_taken_away(&mut self) {
        let Some(tampered) = self.store.as_ref().and_then(Store::tampered) else { return };
        log::warn!("{tampered}; the history is opened again");
        // Without the database's lock another server may use the directory.
        self.sequences = None;
        if let Some(store) = self.store.take() {
            store.rescue(&tampered);
        }
    }

    /// Notes a gap if this run has stored more than the database knows of.
    fn note_loss(&self, store: &Store) -> Result<(), StoreError> {
        let (run, tally) = (self.segment.log.first(), self.backlog.tally());
        let (reached, lines) = (store.reached(run)?, store.lines_of_run(run)?);
        let stored_to = Sequence(tally.stored_to.load(Ordering::Relaxed));
        // What this process reads again it stores again.
        let lost_to = if self.has_stored {
            stored_to
        } else {
            stored_to.min(Sequence(self.read_from.0.saturating_sub(1)))
        };
        let lost = tally.stored_lines.swap(lines, Ordering::Relaxed).saturating_sub(lines);
        if lost_to >= run && reached < Some(lost_to) {
            tally.lost.fetch_add(lost, Ordering::Relaxed);
            log::warn!(
                "the history lost what was stored before another program changed its files: at most {lost} lines of this run"
            );
            self.backlog.note_gap(lost_to);
            self.backlog.want_topics();
            self.segment.doorbells.get(self.me).ring();
        }
        Ok(())
    }

    fn store_some(&mut self) -> Result<(), StoreError> {
        let Some(store) = &mut self.store else {
            self.backlog.discard();
            return Ok(());
        };
        // Those that the entries change are stored after them.
        if let Some(topics) = self.backlog.take_lost_topics()
            && let Err(error) = store.store_topics(&topics)
        {
            self.backlog.give_topics(topics);
            return Err(error);
        }
        let entries = self.backlog.take(self.batch_max);
        let Some(reached) = entries.last().map(super::store::Entry::position) else {
            return Ok(());
        };
        match store.store(self.segment.log.first(), &entries, reached) {
            Ok(()) => {
                self.backlog.stored(&entries);
                self.has_stored = true;
                let lines = store.lines_of_run(self.segment.log.first())?;
                self.backlog.tally().stored_lines.store(lines, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                self.backlog.not_stored(entries);
                Err(error)
            }
        }
    }

    /// Notes how far the log has come, for the next run.
    fn note_sequences(&mut self, note: fn(&mut Ahead, Sequence) -> io::Result<()>) {
        let tail = self.segment.log.tail();
        if let Some(Err(error)) = self.sequences.as_mut().map(|ahead| note(ahead, tail)) {
            let data_dir = self.data_dir.as_deref().unwrap_or(Path::new("")).display();
            log::warn!(
                "cannot store in {data_dir} which ids are used: {error}; if the clock is set back, the ids of the next run are lower than those of this one"
            );
            // Until the database is opened again.
            self.sequences = None;
        }
    }

    /// Tells the operator when it begins to fail, and when it works again.
    fn say(&mut self, worked: Result<(), StoreError>) {
        match worked {
            Ok(()) => {
                (self.pause, self.batch_max) =
                    (Duration::ZERO, (2 * self.batch_max).min(BATCH_ENTRIES_MAX));
                // A single line may fit into a file that has no room for the next one.
                let has_recovered = self.batch_max == BATCH_ENTRIES_MAX || self.backlog.is_empty();
                if has_recovered && self.failure.take().is_some() {
                    match self.backlog.tally().missing() {
                        0 => log::warn!("lines are stored again; none is missing"),
                        missing => {
                            log::warn!("lines are stored again; {missing} are missing so far")
                        }
                    }
                }
            }
            Err(error) => {
                let text = error.to_string();
                if self.failure.as_ref() != Some(&text) {
                    log::warn!("cannot store lines: {text}");
                    self.failure = Some(text);
                }
                (self.failed_at, self.batch_max) = (Instant::now(), 1);
                self.pause = (2 * self.pause).clamp(AGAIN, AGAIN_MAX);
            }
        }
    }

    fn answer(&mut self, lookup: &Lookup) -> Prepared {
        let Lookup { request, room_key, more, after } = lookup;
        let read = self.stored_lines(lookup);
        self.say_of_reading(&read);
        let stored = read.unwrap_or(None);
        let (mut lines, since, reached) = stored.map_or((Vec::new(), None, None), |stored| {
            (stored.lines, Some(stored.since), stored.reached)
        });
        // A journal that was replaced reads again what its predecessor has stored.
        lines.extend(self.backlog.waiting_lines(room_key, *request, reached));
        let since = since.map(|since| {
            since.max(self.backlog.gap().map_or(Sequence(0), |until| Sequence(until.0 + 1)))
        });
        lines.drain(..lines.len().saturating_sub(*more));
        if let Some(told) = lines.iter().position(|line| line.id == *after) {
            lines.drain(..=told);
        }
        let mut prepared = Prepared {
            request: *request,
            after: *after,
            lines: Vec::new(),
            end: since
                .map_or(PartEnd::Unreadable, |since| PartEnd::Since(RecordId::first_of(since))),
        };
        let mut sent = 0;
        for Line { id, time, nick, is_action, text, .. } in &lines {
            if sent >= PART_BYTES {
                prepared.end = PartEnd::More;
                break;
            }
            sent += TAGS_BYTES + 2 * (nick.len() + room_key.len()) + text.len();
            PastLine { id: *id, time: *time, nick, is_action: *is_action, text }
                .encode(&mut prepared.lines);
        }
        prepared
    }

    /// Tells the operator when reading begins to fail, and when it works again: not at each
    /// request, of which there may be many.
    fn say_of_reading<T>(&mut self, read: &Result<Option<T>, StoreError>) {
        match read {
            // Without a database there is nothing to say of it.
            Ok(None) => {}
            Ok(Some(_)) => {
                if let Some((_, count)) = self.read_failure.take() {
                    log::warn!(
                        "the history can be read again; {count} requests for it were not answered"
                    );
                }
            }
            Err(error) => {
                let text = error.to_string();
                let (told, count) = self.read_failure.take().unwrap_or_default();
                if told != text {
                    log::warn!("{text}");
                }
                self.read_failure = Some((text, count + 1));
            }
        }
    }

    /// `None` if they can't be read; without a data directory there are none.
    fn stored_lines(&self, request: &Lookup) -> Result<Option<Stored>, StoreError> {
        let Some(store) = &self.store else {
            return Ok(self.data_dir.is_none().then(|| Stored {
                lines: Vec::new(),
                since: request.request.sequence,
                reached: None,
            }));
        };
        let run = self.segment.log.first();
        Ok(Some(Stored {
            lines: store.last_lines(run, &request.room_key, request.request, request.more)?,
            since: store.complete_since(&request.room_key)?,
            reached: store.reached(run)?,
        }))
    }
}

#[cfg(test)]
mod tests {
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

    /// Waits for something that the storing thread does.
    fn until(what: &str, mut is_done: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_done() {
            assert!(Instant::now() < deadline, "{what} takes too long");
            std::thread::yield_now();
        }
    }

    /// A gap is noted while the storing thread has nothing to do, and right then the server ends.
    /// Returns the run and the gap's end when the storing thread says that it has stored
    /// everything.
    fn ends_with_a_gap(data_dir: Option<&Path>) -> (Sequence, Sequence) {
        let (segment, mut storing) = new_storing(data_dir);
        let backlog = storing.backlog.clone();
        let (run, gap_end) = (segment.log.first(), Sequence(segment.log.first().0 + 100));
        // It answers when it has stored what there was to store in this turn: what is noted behind
        // that is not in it.
        backlog.ask(Lookup {
            request: RecordId::first_of(run),
            room_key: "#a".to_owned(),
            more: 1,
            after: RecordId::ZERO,
        });
        // It sleeps for ever behind its end, as it does until its process ends.
        std::thread::spawn(move || storing.run());
        until("an answer", || !backlog.take_prepared().is_empty());
        backlog.note_gap(gap_end);
        backlog.close();
        until("the end", || backlog.is_closed());
        (run, gap_end)
    }

    #[test]
    fn a_gap_that_is_not_noted_yet_is_stored_at_the_journals_end() {
        let home = Home::new();
        let (run, gap_end) = ends_with_a_gap(Some(&home.0));
        let store = Store::open(&home.0, QUOTA).unwrap();
        assert_eq!(
            (store.reached(run).unwrap(), store.complete_since("#a").unwrap()),
            (Some(gap_end), Sequence(gap_end.0 + 1))
        );
    }

    fn line(place: u64) -> Entry {
        let [room, room_key, nick, text] = ["#a", "#a", "a", "said"].map(str::to_owned);
        Entry::from(Line {
            id: RecordId::first_of(Sequence(place)),
            time: Micros(place),
            room,
            room_key,
            nick,
            is_action: false,
            text,
        })
    }

    /// A log, and a storing thread that has stored three lines there.
    fn has_stored(home: &Home) -> (&'static Segment, Storing) {
        let (segment, mut storing) = new_storing(Some(&home.0));
        storing.turn();
        storing
            .backlog
            .add(&mut (1..=3).map(|place| line(segment.log.first().0 + place)).collect());
        storing.turn();
        (segment, storing)
    }

    fn request(storing: &mut Storing, request: Sequence) -> (usize, PartEnd) {
        let request = RecordId::first_of(request);
        let request =
            Lookup { request, room_key: "#a".to_owned(), more: 10, after: RecordId::ZERO };
        let Prepared { lines, end, .. } = storing.answer(&request);
        let (mut rest, mut count) = (&lines[..], 0);
        while let Ok((_, after)) = postcard::take_from_bytes::<PastLine<'_>>(rest) {
            (rest, count) = (after, count + 1);
        }
        (count, end)
    }

    #[test]
    fn without_the_write_ahead_log_nothing_is_lost_as_long_as_the_journal_lives() {
        let home = Home::new();
        let (segment, mut storing) = has_stored(&home);
        let first = segment.log.first();
        for name in ["history.sqlite3-wal", "history.sqlite3-shm"] {
            std::fs::remove_file(home.0.join(name)).unwrap();
            storing.turn();
            storing.backlog.add(&mut vec![line(
                storing.backlog.tally().stored_to.load(Ordering::Relaxed) + 1,
            )]);
            storing.turn();
        }
        assert_eq!(storing.backlog.tally().missing(), 0);
        drop(storing);
        let store = Store::open(&home.0, QUOTA).unwrap();
        assert_eq!(store.lines_of_run(first).unwrap(), 5);
        assert_eq!(store.complete_since("#a").unwrap(), first, "since the database was made");
    }

    #[test]
    fn what_was_stored_and_is_gone_when_a_successor_comes_is_counted_and_a_gap() {
        let (home, found) = (Home::new(), Home::new());
        let (segment, storing) = has_stored(&home);
        let (first, tally) = (segment.log.first(), storing.backlog.tally());
        // What a killed journal leaves when its write-ahead log is taken away: the database's file
        // alone.
        std::fs::copy(home.0.join("history.sqlite3"), found.0.join("history.sqlite3")).unwrap();
        let successor = |read_from: u64| {
            let mut storing = Storing::new(
                segment,
                JOURNAL,
                Arc::new(Backlog::new(tally)),
                Some(&found.0),
                QUOTA,
            );
            storing.read_from = Sequence(first.0 + read_from);
            storing.open().unwrap();
            storing
        };
        // It reads everything again: nothing is lost.
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
        // The next one misses nothing more.
        drop(storing);
        assert_eq!((successor(3).backlog.gap(), tally.missing()), (None, 3));
    }

    #[test]
    fn whatever_file_is_emptied_or_replaced_what_is_lost_is_counted_and_the_rest_is_whole() {
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
    fn what_was_stored_in_a_directory_that_is_gone_is_counted_and_a_gap() {
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
    fn what_a_successor_reads_again_is_told_once() {
        let home = Home::new();
        let (segment, storing) = has_stored(&home);
        let (first, tally) = (segment.log.first(), storing.backlog.tally());
        drop(storing);
        let mut storing =
            Storing::new(segment, JOURNAL, Arc::new(Backlog::new(tally)), Some(&home.0), QUOTA);
        storing.open().unwrap();
        // The question comes before any of it went to the database.
        storing.backlog.add(&mut (1..=5).map(|place| line(first.0 + place)).collect());
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
    fn topics_that_are_lost_with_the_database_are_given_again_before_what_comes_after() {
        let home = Home::new();
        let (segment, mut storing) = has_stored(&home);
        assert!(!storing.backlog.wants_topics());
        std::fs::remove_file(home.0.join("history.sqlite3")).unwrap();
        storing.turn();
        assert!(storing.backlog.wants_topics() && !storing.backlog.is_empty());
        let topic = |room: &str, place: u64, text: &str| Topic {
            sequence: Sequence(segment.log.first().0 + place),
            room: room.to_owned(),
            room_key: room.to_owned(),
            text: text.to_owned(),
        };
        storing.backlog.give_topics(vec![
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
    fn a_failure_to_read_is_said_once_and_the_questions_are_counted() {
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
    fn what_fails_is_tried_again_with_one_line_and_ever_longer_pauses() {
        let home = Home::new();
        let (segment, mut storing) = has_stored(&home);
        let other = rusqlite::Connection::open(home.0.join("history.sqlite3")).unwrap();
        let hinder = "CREATE TRIGGER hinder BEFORE INSERT ON lines BEGIN SELECT RAISE(ABORT, 'hindered'); END";
        other.execute_batch(hinder).unwrap();
        storing
            .backlog
            .add(&mut (4..=9).map(|place| line(segment.log.first().0 + place)).collect());
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
            "nothing is given up"
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
        // At the end of the server it is tried more often.
        other.execute_batch(hinder).unwrap();
        storing.pause = AGAIN_MAX;
        storing.failed_at = Instant::now();
        storing.backlog.close();
        assert!(storing.until_next_try() <= AGAIN);
    }

    #[test]
    fn where_nothing_is_kept_no_gap_holds_up_the_journals_end() {
        ends_with_a_gap(None);
    }

    #[test]
    fn without_a_data_directory_nothing_waits_to_be_stored() {
        let (_, mut storing) = new_storing(None);
        storing.backlog.want_topics();
        storing.backlog.add(&mut vec![line(1), line(2)]);
        storing.turn();
        assert!(storing.backlog.is_empty() && storing.backlog.oldest().is_none());
    }
}
