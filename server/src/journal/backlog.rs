//! What the journal's two threads exchange: entries that were read from the log and are not stored
//! yet, and requests to the storing thread.
//!
//! ```text
//!  reading thread ── entries, requests ──►  backlog  ──► storing thread ──► SQLite
//!                 ◄── how far, prepared answers, topics ─┘
//! ```
//!
//! The ring bounds it. Entries that lie further back than half the ring are dropped
//! ([`Backlog::give_up_before`]), counted, and noted as a gap.

use super::store::{Entry, Line, Topic};
use crate::chat::PartEnd;
use crate::segment::Tally;
use forkchat_common::ids::{RecordId, Sequence};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Entries that go into one transaction.
pub const BATCH_ENTRIES_MAX: usize = 1_000;

/// A part of a history to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The request; the lines are before it.
    pub request: RecordId,
    /// The room's key.
    pub room_key: String,
    /// At most so many.
    pub more: usize,
    /// And after this line, unless it is [`RecordId::ZERO`].
    pub after: RecordId,
}

/// A part of an answer, ready for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// The request.
    pub request: RecordId,
    /// The line it goes on after.
    pub after: RecordId,
    /// The lines, as [`crate::chat::HistoryPart`] has them.
    pub lines: Vec<u8>,
    /// What comes behind them.
    pub end: PartEnd,
}

impl Prepared {
    /// That earlier lines can't be read now.
    pub fn unreadable(request: RecordId, after: RecordId) -> Prepared {
        Prepared { request, after, lines: Vec::new(), end: PartEnd::Unreadable }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Backlog {
    /// A stand-in has no storing thread.
    is_attended: bool,
    inner: Mutex<Inner>,
    has_work: Condvar,
    tally: &'static Tally,
}

#[derive(Debug, Default)]
struct Inner {
    /// In the log's order.
    entries: VecDeque<Entry>,
    /// Taken to be stored, and whether they count as given up by now.
    in_flight: VecDeque<(Sequence, bool)>,
    /// Everything up to there that isn't stored was given up, and that isn't noted in the database
    /// yet.
    gap: Option<Sequence>,
    /// Since when the storing thread is at its present turn.
    at_work_since: Option<Instant>,
    /// It grows: the storing thread is not to wait for more.
    is_urgent: bool,
    /// The server ends: what is stored is closed when all is stored, and whether it is.
    is_closing: bool,
    is_closed: bool,
    requests: VecDeque<Lookup>,
    prepared: Vec<Prepared>,
    topics: Option<Vec<Topic>>,
    /// The database has lost the topics that are set now.
    wants_topics: bool,
    /// Those, to be stored before the entries.
    lost_topics: Option<Vec<Topic>>,
}

impl Backlog {
    /// Empty. What a predecessor gave up is known from the tally.
    pub fn new(tally: &'static Tally) -> Backlog {
        let given_up = Sequence(tally.given_up.load(Ordering::Relaxed));
        let gap = (given_up > Sequence(0)).then_some(given_up);
        // Topics may be among what was given up.
        let inner = Inner { gap, wants_topics: gap.is_some(), ..Inner::default() };
        Backlog { is_attended: true, inner: Mutex::new(inner), has_work: Condvar::new(), tally }
    }

    /// A stand-in's: nobody stores or reads, so every question is answered at once with that.
    pub fn unattended(tally: &'static Tally) -> Backlog {
        Backlog { is_attended: false, ..Backlog::new(tally) }
    }

    /// Adds what was read, and leaves `entries` empty.
    pub fn add(&self, entries: &mut Vec<Entry>) {
        if !entries.is_empty() {
            self.lock().entries.extend(entries.drain(..));
            self.has_work.notify_one();
        }
    }

    /// The storing thread begins a turn, or has ended it.
    pub fn set_at_work(&self, is_at_work: bool) {
        self.lock().at_work_since = is_at_work.then(Instant::now);
    }

    /// For how long the storing thread has been at one turn; 0 if it is at none.
    pub fn at_work_for(&self) -> Duration {
        self.lock().at_work_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// How many entries are neither stored nor given up.
    pub fn waiting(&self) -> u64 {
        let inner = self.lock();
        let in_flight = inner.in_flight.iter().filter(|(_, is_given_up)| !is_given_up).count();
        (in_flight + inner.entries.len()) as u64
    }

    /// Whether what waits takes so much of the ring that it should be stored at once.
    pub fn set_urgent(&self, is_urgent: bool) {
        self.lock().is_urgent = is_urgent;
        if is_urgent {
            self.has_work.notify_one();
        }
    }

    /// The place of the first entry that is neither stored nor given up.
    pub fn oldest(&self) -> Option<Sequence> {
        let inner = self.lock();
        let in_flight = inner
            .in_flight
            .iter()
            .find(|(_, is_given_up)| !is_given_up)
            .map(|(sequence, _)| *sequence);
        in_flight.or_else(|| inner.entries.front().map(Entry::position))
    }

    /// Gives up everything before a place. Returns how many entries that were.
    pub fn give_up_before(&self, sequence: Sequence) -> u64 {
        let mut inner = self.lock();
        let mut count = 0;
        let mut last = Sequence(0);
        for (place, is_given_up) in inner
            .in_flight
            .iter_mut()
            .filter(|(place, is_given_up)| *place < sequence && !is_given_up)
        {
            (*is_given_up, last, count) = (true, *place, count + 1);
        }
        while let Some(place) =
            inner.entries.front().map(Entry::position).filter(|&place| place < sequence)
        {
            inner.entries.pop_front();
            (last, count) = (place, count + 1);
        }
        if count > 0 {
            inner.gap = inner.gap.max(Some(last));
            self.tally.given_up.fetch_max(last.0, Ordering::Relaxed);
            self.tally.skipped.fetch_add(count, Ordering::Relaxed);
        }
        count
    }

    /// Asks for a part of a history.
    pub fn ask(&self, request: Lookup) {
        if !self.is_attended {
            return self.prepare(Prepared::unreadable(request.request, request.after));
        }
        self.lock().requests.push_back(request);
        self.has_work.notify_one();
    }

    /// The answers that were prepared since the last call.
    pub fn take_prepared(&self) -> Vec<Prepared> {
        std::mem::take(&mut self.lock().prepared)
    }

    /// The topics of earlier runs, once they are read.
    pub fn take_topics(&self) -> Option<Vec<Topic>> {
        self.lock().topics.take()
    }

    /// Waits for something to do, at most for `timeout`, and when there are only a few entries
    /// `gather` longer for more.
    pub fn wait(&self, timeout: Duration, gather: Duration) {
        let is_idle = |inner: &mut Inner| {
            inner.entries.is_empty()
                && inner.lost_topics.is_none()
                && inner.requests.is_empty()
                && (!inner.is_closing || inner.is_closed)
        };
        let waited = self.has_work.wait_timeout_while(self.lock(), timeout, is_idle);
        let (inner, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if !waited.timed_out() {
            let are_few = |inner: &mut Inner| {
                inner.entries.len() < BATCH_ENTRIES_MAX
                    && inner.requests.is_empty()
                    && !inner.is_urgent
                    && !inner.is_closing
            };
            drop(self.has_work.wait_timeout_while(inner, gather, are_few));
        }
    }

    /// Takes the entries that are to be stored next, at most so many, behind a gap if there is one.
    /// They count as under way until [`Backlog::stored`] or
    /// [`Backlog::not_stored`].
    pub fn take(&self, count_max: usize) -> Vec<Entry> {
        let mut inner = self.lock();
        let count = inner.entries.len().min(count_max);
        let gap = inner.gap.map(|until| Entry::Gap { until });
        let entries: Vec<Entry> = gap.into_iter().chain(inner.entries.drain(..count)).collect();
        inner.in_flight = entries
            .iter()
            .filter(|entry| !is_gap(entry))
            .map(|entry| (entry.position(), false))
            .collect();
        entries
    }

    /// What was taken is stored.
    pub fn stored(&self, entries: &[Entry]) {
        let mut inner = self.lock();
        let count = inner.in_flight.len() as u64;
        let too_late =
            inner.in_flight.drain(..).filter(|(_, is_given_up)| *is_given_up).count() as u64;
        // It took long, and came to an end all the same.
        self.tally.skipped.fetch_sub(too_late, Ordering::Relaxed);
        self.tally.stored.fetch_add(count, Ordering::Relaxed);
        if let Some(last) = entries.last() {
            self.tally.stored_to.fetch_max(last.position().0, Ordering::Relaxed);
        }
        let noted = entries.iter().find(|entry| is_gap(entry)).map(Entry::position);
        if inner.gap <= noted {
            inner.gap = None;
        }
    }

    /// What was taken could not be stored: it waits, but for what was given up meanwhile.
    pub fn not_stored(&self, entries: Vec<Entry>) {
        let mut inner = self.lock();
        let in_flight = std::mem::take(&mut inner.in_flight);
        let waiting = entries
            .into_iter()
            .filter(|entry| !is_gap(entry))
            .zip(in_flight)
            .filter(|(_, (_, is_given_up))| !is_given_up);
        let waiting: Vec<Entry> = waiting.map(|(entry, _)| entry).collect();
        waiting.into_iter().rev().for_each(|entry| inner.entries.push_front(entry));
    }

    /// The next request.
    pub fn take_request(&self) -> Option<Lookup> {
        self.lock().requests.pop_front()
    }

    /// The lines of a room before `before` that wait to be stored, of those whose position is after
    /// `stored_to`.
    pub fn waiting_lines(
        &self,
        room_key: &str,
        before: RecordId,
        stored_to: Option<Sequence>,
    ) -> Vec<Line> {
        let inner = self.lock();
        let lines = inner.entries.iter().filter_map(|entry| match entry {
            Entry::Line { position, line } => (Some(*position) > stored_to).then_some(line),
            _ => None,
        });
        lines.filter(|line| line.room_key == room_key && line.id < before).cloned().collect()
    }

    /// The place up to which lines were given up and the database doesn't say so.
    pub fn gap(&self) -> Option<Sequence> {
        self.lock().gap
    }

    /// What was stored up to a place is lost, with its database.
    pub fn note_gap(&self, until: Sequence) {
        let mut inner = self.lock();
        inner.gap = inner.gap.max(Some(until));
    }

    /// The database was lost, and with it the topics that are set now: they are to be given again.
    pub fn want_topics(&self) {
        self.lock().wants_topics = true;
    }

    /// Whether they are to be given.
    pub fn wants_topics(&self) -> bool {
        self.lock().wants_topics
    }

    /// Gives the topics as they are before the entries that are added next.
    pub fn give_topics(&self, topics: Vec<Topic>) {
        let mut inner = self.lock();
        (inner.wants_topics, inner.lost_topics) = (false, Some(topics));
    }

    /// The topics that are to be stored before the entries which are taken next.
    pub fn take_lost_topics(&self) -> Option<Vec<Topic>> {
        self.lock().lost_topics.take()
    }

    /// Whether there is nothing left to be stored, but for a gap.
    pub fn is_empty(&self) -> bool {
        let inner = self.lock();
        let is_in_flight = inner.in_flight.iter().any(|(_, is_given_up)| !is_given_up);
        !is_in_flight
            && inner.entries.is_empty()
            && !inner.wants_topics
            && inner.lost_topics.is_none()
    }

    /// Nothing more will come.
    pub fn close(&self) {
        self.lock().is_closing = true;
        self.has_work.notify_one();
    }

    /// Whether nothing more will come.
    pub fn is_closing(&self) -> bool {
        self.lock().is_closing
    }

    /// Everything is stored, and the database closed.
    pub fn closed(&self) {
        self.lock().is_closed = true;
    }

    /// Whether the database is closed for good.
    pub fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// What is counted.
    pub fn tally(&self) -> &'static Tally {
        self.tally
    }

    /// An answer is ready.
    pub fn prepare(&self, prepared: Prepared) {
        self.lock().prepared.push(prepared);
    }

    /// The topics of earlier runs are read.
    pub fn found_topics(&self, topics: Vec<Topic>) {
        self.lock().topics = Some(topics);
    }

    /// A panic in either thread ends the process, so nobody sees what one left half done.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_gap(entry: &Entry) -> bool {
    matches!(entry, Entry::Gap { .. })
}

#[cfg(test)]
mod tests;
