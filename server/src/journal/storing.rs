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
            let is_all_stored = self.backlog.is_empty()
                && (self.backlog.gap().is_none() || self.data_dir.is_none());
            if self.backlog.is_closing() && is_all_stored && !self.backlog.is_closed() {
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
        self.note_loss(&store)?;
        self.backlog.found_topics(store.topics(EMPTY_ROOMS_MAX)?);
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
        let Some(store) = &mut self.store else { return Ok(()) };
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
mod tests;
