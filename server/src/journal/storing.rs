//! The storing thread: does all work that may wait for a disk.
//!
//! If the database can't be opened or written, the thread logs it once, retries, and logs when it
//! works again. Meanwhile the backlog holds the lines, and the chat goes on.

use super::backlog::{BATCH_ENTRIES_MAX, Backlog, Lookup, Prepared};
use super::sequences::SequenceFile;
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

/// How long a few entries wait for more entries for the same transaction.
const GATHER: Duration = Duration::from_millis(50);
/// The pause before the first retry after a failure; it doubles with each further failure.
const RETRY: Duration = Duration::from_millis(500);
/// The longest pause before a retry.
const RETRY_MAX: Duration = Duration::from_secs(4);
/// The most requests that are answered in one turn.
const REQUESTS_PER_TURN: usize = 8;
/// The longest sleep when there is nothing to do.
const SLEEP: Duration = Duration::from_secs(1);
/// The bytes that one part of an answer takes in a client's output; the last record's lines may
/// exceed it: one line, or as many as may wait for an earlier answer.
/// Chosen so that the part, with tags and in a charset that takes twice as many bytes, fits the
/// smallest `--sendq`, and as a record fits a batch of the smallest ring.
const PART_BYTES: usize = 24 * 1024;
/// The bytes that a line's tags take, besides its nick and room, which the line itself contains,
/// too.
const TAGS_BYTES: usize = 160;

/// The storing thread's state.
#[derive(Debug)]
pub struct Storing {
    segment: &'static Segment,
    me: Slot,
    backlog: Arc<Backlog>,
    /// `None`: nothing is stored, and every request finds nothing.
    data_dir: Option<PathBuf>,
    quota: Quota,
    store: Option<Store>,
    /// `None` while the database isn't open: another server may use the directory then.
    sequences: Option<SequenceFile>,
    /// The position from which this journal reads the log. A predecessor may have stored some of
    /// the entries after it.
    read_from: Sequence,
    /// This process has stored something, in the present database or in one that is gone.
    has_stored: bool,
    /// The failure that was logged, until storing works again.
    failure: Option<String>,
    /// The failure to read that was logged, and how many requests could not be answered because of
    /// it.
    read_failure: Option<(String, u64)>,
    failed_at: Instant,
    /// How long after `failed_at` the next try is due; 0 while storing works.
    pause: Duration,
    /// The most entries in the next transaction. It is 1 after a failure, because each try costs as
    /// much as what it can't store, and doubles with each success.
    batch_max: usize,
}

/// What the database contains of a room.
struct Stored {
    lines: Vec<Line>,
    /// All of the room's lines from this sequence on are stored.
    since: Sequence,
    /// Everything of this run up to this sequence is stored or was dropped.
    reached: Option<Sequence>,
}

impl Storing {
    /// Creates the storing thread's state for the journal in slot `me`, before it reads the log.
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
            self.backlog.set_busy(true);
            self.turn();
            self.backlog.set_busy(false);
            if self.failure.is_some() {
                std::thread::sleep(self.until_next_try().min(GATHER));
            }
            self.backlog.wait(SLEEP, GATHER);
            // Read first: no entry is added once the backlog is closing.
            let is_closing = self.backlog.is_closing();
            let is_all_stored = self.backlog.is_empty()
                && (self.backlog.gap().is_none() || self.data_dir.is_none());
            if is_closing && is_all_stored && !self.backlog.is_closed() {
                self.save_sequence(SequenceFile::end);
                // Closing moves everything into the one database file.
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
            self.report_storing(worked);
            self.save_sequence(SequenceFile::advance);
        }
        for _ in 0..REQUESTS_PER_TURN {
            let Some(lookup) = self.backlog.take_lookup() else { break };
            let prepared = self.answer(&lookup);
            self.backlog.prepare(prepared);
            self.segment.doorbells.get(self.me).ring();
        }
    }

    /// How long to wait before the next try. The pause is shorter while the server ends, because
    /// little time is left.
    fn until_next_try(&self) -> Duration {
        let pause = if self.backlog.is_closing() { self.pause.min(RETRY) } else { self.pause };
        pause.saturating_sub(self.failed_at.elapsed())
    }

    fn open(&mut self) -> Result<(), StoreError> {
        self.close_if_tampered();
        let Some(data_dir) = self.data_dir.as_ref().filter(|_| self.store.is_none()) else {
            return Ok(());
        };
        let run = self.segment.log.first();
        let mut store = Store::open(data_dir, self.quota)?;
        store.begin(run)?;
        let topics = store.topics(EMPTY_ROOMS_MAX)?;
        self.report_loss(&store)?;
        self.backlog.found_topics(topics);
        self.segment.doorbells.get(self.me).ring();
        self.store = Some(store);
        self.sequences = Some(SequenceFile::new(data_dir));
        Ok(())
    }

    /// Closes the database if another program has removed, replaced or emptied its files while they
    /// were open: what is stored then would be lost with them.
    fn close_if_tampered(&mut self) {
        let Some(tampered) = self.store.as_ref().and_then(Store::tampered) else { return };
        log::warn!("{tampered}; the history is opened again");
        // Without the database's lock another server may use the directory.
        self.sequences = None;
        if let Some(store) = self.store.take() {
            store.rescue(&tampered);
        }
    }

    /// Reports a loss and records a gap if this run has stored more than the database contains.
    fn report_loss(&self, store: &Store) -> Result<(), StoreError> {
        let (run, tally) = (self.segment.log.first(), self.backlog.tally());
        let (reached, lines) = (store.reached(run)?, store.lines_of_run(run)?);
        let stored_to = Sequence(tally.stored_to.load(Ordering::Relaxed));
        // This process will store again what it reads again, so that part isn't lost.
        let lost_to = if self.has_stored {
            stored_to
        } else {
            stored_to.min(Sequence(self.read_from.0.saturating_sub(1)))
        };
        let lost = tally.stored_lines.swap(lines, Ordering::Relaxed).saturating_sub(lines);
        if lost_to >= run && reached < Some(lost_to) {
            tally.lost.fetch_add(lost, Ordering::Relaxed);
            log::warn!(
                "the history lost what was stored before another program changed its files: at \
                 most {lost} lines of this run"
            );
            self.backlog.add_gap(lost_to);
            self.backlog.request_topics();
            self.segment.doorbells.get(self.me).ring();
        }
        Ok(())
    }

    fn store_some(&mut self) -> Result<(), StoreError> {
        let Some(store) = &mut self.store else {
            self.backlog.discard();
            return Ok(());
        };
        // Topics that the entries change are stored after these.
        if let Some(topics) = self.backlog.take_lost_topics()
            && let Err(error) = store.store_topics(&topics)
        {
            self.backlog.hand_over_topics(topics);
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

    /// Saves the log's position for the next run.
    fn save_sequence(&mut self, save: fn(&mut SequenceFile, Sequence) -> io::Result<()>) {
        let tail = self.segment.log.tail();
        if let Some(Err(error)) = self.sequences.as_mut().map(|file| save(file, tail)) {
            let data_dir = self.data_dir.as_deref().unwrap_or(Path::new("")).display();
            log::warn!(
                "cannot store in {data_dir} which ids are used: {error}; if the clock is set \
                 back, the ids of the next run are lower than those of this one"
            );
            // Not saved again until the database is opened again.
            self.sequences = None;
        }
    }

    /// Logs when storing begins to fail, and when it works again.
    fn report_storing(&mut self, worked: Result<(), StoreError>) {
        match worked {
            Ok(()) => {
                (self.pause, self.batch_max) =
                    (Duration::ZERO, (2 * self.batch_max).min(BATCH_ENTRIES_MAX));
                // A single line may fit into a file that has no space for the next one.
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
                self.pause = (2 * self.pause).clamp(RETRY, RETRY_MAX);
            }
        }
    }

    fn answer(&mut self, lookup: &Lookup) -> Prepared {
        let Lookup { request, room_key, more, after } = lookup;
        let read = self.stored_lines(lookup);
        self.report_reading(&read);
        let stored = read.unwrap_or(None);
        let (mut lines, since, reached) = stored.map_or((Vec::new(), None, None), |stored| {
            (stored.lines, Some(stored.since), stored.reached)
        });
        // A journal reads again what its predecessor has stored, so only waiting lines after
        // `reached` are new.
        lines.extend(self.backlog.waiting_lines(room_key, *request, reached));
        let since = since.map(|since| {
            since.max(self.backlog.gap().map_or(Sequence(0), |until| Sequence(until.0 + 1)))
        });
        lines.drain(..lines.len().saturating_sub(*more));
        if let Some(index) = lines.iter().rposition(|line| line.id == *after) {
            lines.drain(..=index);
        }
        let mut prepared = Prepared {
            request: *request,
            after: *after,
            lines: Vec::new(),
            end: since
                .map_or(PartEnd::Unreadable, |since| PartEnd::Since(RecordId::first_of(since))),
        };
        let (mut sent, mut last_id) = (0, *after);
        for Line { id, time, nick, is_action, text, .. } in &lines {
            // A part contains all lines of a record or none: the next part begins after their id.
            if sent >= PART_BYTES && *id != last_id {
                prepared.end = PartEnd::More;
                break;
            }
            last_id = *id;
            sent += TAGS_BYTES + 2 * (nick.len() + room_key.len()) + text.len();
            PastLine { id: *id, time: *time, nick, is_action: *is_action, text }
                .encode(&mut prepared.lines);
        }
        prepared
    }

    /// Logs when reading begins to fail, and when it works again; not at each request, since there
    /// may be many.
    fn report_reading<T>(&mut self, read: &Result<Option<T>, StoreError>) {
        match read {
            // There is no database, so this says nothing about reading.
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
                let (logged, count) = self.read_failure.take().unwrap_or_default();
                if logged != text {
                    log::warn!("{text}");
                }
                self.read_failure = Some((text, count + 1));
            }
        }
    }

    /// The stored lines that a request asks for. `None` if there is no open database; empty without
    /// a data directory.
    fn stored_lines(&self, lookup: &Lookup) -> Result<Option<Stored>, StoreError> {
        let Some(store) = &self.store else {
            return Ok(self.data_dir.is_none().then(|| Stored {
                lines: Vec::new(),
                since: lookup.request.sequence,
                reached: None,
            }));
        };
        let run = self.segment.log.first();
        Ok(Some(Stored {
            lines: store.last_lines(run, &lookup.room_key, lookup.request, lookup.more)?,
            since: store.complete_since(&lookup.room_key)?,
            reached: store.reached(run)?,
        }))
    }
}

#[cfg(test)]
mod tests;
