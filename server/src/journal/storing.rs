//! The storing thread: everything that may wait for a disk.
//!
//! When the database can't be opened or written it says so once, keeps trying, and says when it works again; meanwhile the backlog holds what was
//! said, and the chat goes on.

use super::backlog::{Backlog, Prepared, Request};
use super::store::{Line, Store, StoreError};
use crate::chat::{AnswerEnd, PastLine};
use crate::event_log::EventLog;
use forkchat_common::ids::{Sequence, Slot};
use forkchat_common::limits::{EMPTY_ROOMS_MAX, LINE_BYTES_MAX};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a few entries wait for more to share a transaction with.
const GATHER: Duration = Duration::from_millis(50);
/// What failed is tried again after this.
const AGAIN: Duration = Duration::from_millis(500);
/// Requests that are answered before it stores again.
const REQUESTS_PER_TURN: usize = 8;
/// How long it sleeps when there is nothing to do.
const SLEEP: Duration = Duration::from_secs(1);
/// Bytes of one part of an answer: with its record's header it fits a batch of the smallest ring.
const PART_BYTES: usize = 32 * 1024;

/// The storing side.
#[derive(Debug)]
pub struct Storing {
    log: &'static EventLog,
    me: Slot,
    backlog: Arc<Backlog>,
    /// Without one nothing is stored, and every question finds nothing.
    data_dir: Option<PathBuf>,
    lines_max: u64,
    store: Option<Store>,
    /// By this process, into whatever database that was.
    stored_to: Option<Sequence>,
    /// What the operator was told, until it works.
    failure: Option<String>,
    /// The same of reading from the database that is open.
    read_failure: Option<String>,
    try_at: Instant,
}

impl Storing {
    /// For the journal in slot `me`.
    pub fn new(log: &'static EventLog, me: Slot, backlog: Arc<Backlog>, data_dir: Option<&Path>, lines_max: u64) -> Storing {
        let data_dir = data_dir.map(Path::to_owned);
        Storing {
            log,
            me,
            backlog,
            data_dir,
            lines_max,
            store: None,
            stored_to: None,
            failure: None,
            read_failure: None,
            try_at: Instant::now(),
        }
    }

    /// Runs until the process ends.
    pub fn run(&mut self) -> ! {
        loop {
            self.turn();
            if self.failure.is_some() {
                std::thread::sleep(self.try_at.saturating_duration_since(Instant::now()).min(GATHER));
            }
            self.backlog.wait(SLEEP, GATHER);
            let is_all_stored = self.backlog.oldest().is_none() && (self.backlog.gap().is_none() || self.data_dir.is_none());
            if self.backlog.is_closing() && is_all_stored && !self.backlog.is_closed() {
                // Which brings everything into the one file.
                if let Some(Err(error)) = self.store.take().map(Store::close) {
                    log::warn!("{error}");
                }
                self.backlog.closed();
            }
        }
    }

    fn turn(&mut self) {
        if Instant::now() >= self.try_at && !self.backlog.is_closed() {
            let worked = self.open().and_then(|()| self.store_some());
            self.say(worked);
        }
        for _ in 0..REQUESTS_PER_TURN {
            let Some(request) = self.backlog.take_request() else { break };
            let prepared = self.answer(&request);
            self.backlog.prepare(prepared);
            self.log.bell(self.me).ring();
        }
    }

    fn open(&mut self) -> Result<(), StoreError> {
        // Taken away under it.
        self.store.take_if(|store| !store.is_in_place());
        let Some(data_dir) = self.data_dir.as_ref().filter(|_| self.store.is_none()) else { return Ok(()) };
        let run = self.log.first();
        let mut store = Store::open(data_dir, self.lines_max)?;
        store.begin(run)?;
        if let Some(lost) = self.stored_to.filter(|&stored_to| store.reached(run).is_ok_and(|reached| reached < Some(stored_to))) {
            self.backlog.note_gap(lost);
        }
        self.backlog.found_topics(store.topics(EMPTY_ROOMS_MAX)?);
        self.log.bell(self.me).ring();
        (self.store, self.read_failure) = (Some(store), None);
        Ok(())
    }

    fn store_some(&mut self) -> Result<(), StoreError> {
        let Some(store) = &mut self.store else { return Ok(()) };
        let entries = self.backlog.take();
        let Some(reached) = entries.last().map(super::store::Entry::sequence) else { return Ok(()) };
        match store.store(self.log.first(), &entries, reached) {
            Ok(()) => {
                self.backlog.stored(&entries);
                self.stored_to = Some(reached);
                Ok(())
            }
            Err(error) => {
                self.backlog.not_stored(entries);
                Err(error)
            }
        }
    }

    /// Tells the operator when it begins to fail, and when it works again.
    fn say(&mut self, worked: Result<(), StoreError>) {
        match worked {
            Ok(()) => {
                if self.failure.take().is_some() {
                    match self.backlog.tally().skipped.load(Ordering::Relaxed) {
                        0 => log::warn!("what is said is stored again, and nothing was missed"),
                        skipped => log::warn!("what is said is stored again; so far {skipped} lines were not"),
                    }
                }
            }
            Err(error) => {
                let text = error.to_string();
                if self.failure.as_ref() != Some(&text) {
                    log::warn!("cannot store what is said: {text}");
                    self.failure = Some(text);
                }
                self.try_at = Instant::now() + AGAIN;
            }
        }
    }

    fn answer(&mut self, request: &Request) -> Prepared {
        let Request { question, room_key, more, behind } = request;
        let stored = self.stored_lines(request).unwrap_or_else(|error| {
            self.note_failure(error.to_string());
            None
        });
        let (mut lines, since) = stored.map_or((Vec::new(), None), |(lines, since)| (lines, Some(since)));
        let newest = lines.last().map_or(Sequence(0), |line| line.sequence);
        lines.extend(self.backlog.waiting_lines(room_key, *question).into_iter().filter(|line| line.sequence != newest));
        let since = since.map(|since| since.max(self.backlog.gap().map_or(Sequence(0), |until| Sequence(until.0 + 1))));
        lines.drain(..lines.len().saturating_sub(*more));
        if let Some(told) = lines.iter().position(|line| line.sequence == *behind) {
            lines.drain(..=told);
        }
        let mut prepared = Prepared {
            question: *question,
            behind: *behind,
            lines: Vec::new(),
            end: since.map_or(AnswerEnd::Unreadable, AnswerEnd::Since),
        };
        for Line { sequence, time, nick, is_action, text, .. } in &lines {
            if prepared.lines.len() >= PART_BYTES - 2 * LINE_BYTES_MAX {
                prepared.end = AnswerEnd::More;
                break;
            }
            PastLine { sequence: *sequence, time: *time, nick, is_action: *is_action, text }.encode(&mut prepared.lines);
        }
        prepared
    }

    /// Reports to the operator that reading fails: once for a database, not for each question. Of a damaged one a part may well be readable.
    fn note_failure(&mut self, error: String) {
        if self.read_failure.as_ref() != Some(&error) {
            log::warn!("cannot read the history: {error}");
            self.read_failure = Some(error);
        }
    }

    /// A room's lines, and from where on they are all there. `None` if they can't be read; without a data directory there are none.
    fn stored_lines(&self, request: &Request) -> Result<Option<(Vec<Line>, Sequence)>, StoreError> {
        match &self.store {
            None => Ok(self.data_dir.is_none().then(|| (Vec::new(), request.question))),
            Some(store) => {
                let lines = store.last_lines(self.log.first(), &request.room_key, request.question, request.more)?;
                Ok(Some((lines, store.complete_since()?)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::Geometry;
    use crate::journal::Tally;
    use crate::journal::store::tests::Home;

    const JOURNAL: Slot = Slot(0);
    const LINES_MAX: u64 = 100;

    /// Waits for something that the storing thread does.
    fn until(what: &str, mut is_done: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_done() {
            assert!(Instant::now() < deadline, "{what} takes too long");
            std::thread::yield_now();
        }
    }

    /// A gap is noted while the storing thread has nothing to do, and right then the server ends. Returns the run and the gap's end when the
    /// storing thread says that it has stored everything.
    fn ends_with_a_gap(data_dir: Option<&Path>) -> (Sequence, Sequence) {
        let log = EventLog::create(Geometry { ring_bytes: 1 << 16, slots: 1, sessions_max: 1, snapshot_bytes_max: 8 }).unwrap();
        let backlog = Arc::new(Backlog::new(Box::leak(Box::<Tally>::default())));
        let mut storing = Storing::new(log, JOURNAL, backlog.clone(), data_dir, LINES_MAX);
        let (run, gap_end) = (log.first(), Sequence(log.first().0 + 100));
        // It answers when it has stored what there was to store in this turn: what is noted behind that is not in it.
        backlog.ask(Request { question: run, room_key: "#a".to_owned(), more: 1, behind: Sequence(0) });
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
        let store = Store::open(&home.0, LINES_MAX).unwrap();
        assert_eq!((store.reached(run).unwrap(), store.complete_since().unwrap()), (Some(gap_end), Sequence(gap_end.0 + 1)));
    }

    #[test]
    fn where_nothing_is_kept_no_gap_holds_up_the_journals_end() {
        ends_with_a_gap(None);
    }
}
