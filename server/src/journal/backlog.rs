//! What the journal's two threads exchange: entries that the reading thread read from the log and
//! that are not stored yet, and requests to the storing thread.
//!
//! ```text
//!  reading thread ── entries, requests ──►  backlog  ──► storing thread ──► SQLite
//!                 ◄── how far, prepared answers, topics ─┘
//! ```
//!
//! The ring bounds the backlog. The reading thread drops entries that are more than half the ring
//! old ([`Backlog::drop_before`]), counts them, and adds a gap entry for them.

use super::store::{Entry, Line, Topic};
use crate::chat::PartEnd;
use crate::segment::Tally;
use forkchat_common::ids::{RecordId, Sequence};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The most entries in one transaction.
pub const BATCH_ENTRIES_MAX: usize = 1_000;

/// A request for a part of a room's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The request's id. The lines to read are before it.
    pub request: RecordId,
    /// The room's key.
    pub room_key: String,
    /// The most lines to read.
    pub more: usize,
    /// Only lines after this one, unless it is [`RecordId::ZERO`].
    pub after: RecordId,
}

/// A part of an answer, ready to be appended to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// The request's id.
    pub request: RecordId,
    /// The line after which this part continues.
    pub after: RecordId,
    /// The lines, in the encoding of [`crate::chat::HistoryPart`].
    pub lines: Vec<u8>,
    /// What follows these lines.
    pub end: PartEnd,
}

impl Prepared {
    /// The answer that earlier lines can't be read now.
    pub fn unreadable(request: RecordId, after: RecordId) -> Prepared {
        Prepared { request, after, lines: Vec::new(), end: PartEnd::Unreadable }
    }
}

/// The backlog. See the module's documentation.
#[derive(Debug)]
pub struct Backlog {
    /// False in a stand-in, which stores nothing.
    has_storing_thread: bool,
    inner: Mutex<Inner>,
    has_work: Condvar,
    tally: &'static Tally,
}

#[derive(Debug, Default)]
struct Inner {
    /// Entries to store, in the log's order.
    entries: VecDeque<Entry>,
    /// Entries that the storing thread has taken, and for each whether it was dropped since.
    in_flight: VecDeque<(Sequence, bool)>,
    /// The sequence up to which all entries that aren't stored were dropped, as long as the
    /// database doesn't contain that gap yet.
    gap: Option<Sequence>,
    /// When the storing thread began its present turn; `None` between turns.
    busy_since: Option<Instant>,
    /// The backlog grows: the storing thread must not wait for more entries.
    is_urgent: bool,
    /// The server ends: the storing thread closes the database when everything is stored.
    is_closing: bool,
    is_closed: bool,
    lookups: VecDeque<Lookup>,
    prepared: Vec<Prepared>,
    topics: Option<Vec<Topic>>,
    /// The database has lost the current topics.
    wants_topics: bool,
    /// The current topics, to be stored before the entries.
    lost_topics: Option<Vec<Topic>>,
}

impl Backlog {
    /// Creates an empty backlog. `tally` contains what a predecessor dropped.
    pub fn new(tally: &'static Tally) -> Backlog {
        let skipped_to = Sequence(tally.skipped_to.load(Ordering::Relaxed));
        let gap = (skipped_to > Sequence(0)).then_some(skipped_to);
        // Topics may be among the dropped entries.
        let inner = Inner { gap, wants_topics: gap.is_some(), ..Inner::default() };
        Backlog {
            has_storing_thread: true,
            inner: Mutex::new(inner),
            has_work: Condvar::new(),
            tally,
        }
    }

    /// Creates a stand-in's backlog. There is no storing thread, so every request is answered at
    /// once with [`Prepared::unreadable`].
    pub fn without_storing_thread(tally: &'static Tally) -> Backlog {
        Backlog { has_storing_thread: false, ..Backlog::new(tally) }
    }

    /// Adds entries that the reading thread has read, and leaves `entries` empty.
    pub fn add(&self, entries: &mut Vec<Entry>) {
        if !entries.is_empty() {
            self.lock().entries.extend(entries.drain(..));
            self.has_work.notify_one();
        }
    }

    /// The storing thread calls this when it begins or ends a turn.
    pub fn set_busy(&self, is_busy: bool) {
        self.lock().busy_since = is_busy.then(Instant::now);
    }

    /// How long the storing thread's present turn has lasted; 0 between turns.
    pub fn busy_for(&self) -> Duration {
        self.lock().busy_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// How many entries are neither stored nor dropped.
    pub fn waiting(&self) -> u64 {
        let inner = self.lock();
        let in_flight = inner.in_flight.iter().filter(|(_, is_dropped)| !is_dropped).count();
        (in_flight + inner.entries.len()) as u64
    }

    /// Sets whether the waiting entries take so much of the ring that they must be stored at once.
    pub fn set_urgent(&self, is_urgent: bool) {
        self.lock().is_urgent = is_urgent;
        if is_urgent {
            self.has_work.notify_one();
        }
    }

    /// The position of the first entry that is neither stored nor dropped.
    pub fn oldest(&self) -> Option<Sequence> {
        let inner = self.lock();
        let in_flight = inner
            .in_flight
            .iter()
            .find(|(_, is_dropped)| !is_dropped)
            .map(|(sequence, _)| *sequence);
        in_flight.or_else(|| inner.entries.front().map(Entry::position))
    }

    /// Drops all entries before a position. Returns how many entries those were.
    pub fn drop_before(&self, sequence: Sequence) -> u64 {
        let mut inner = self.lock();
        let mut count = 0;
        let mut last = Sequence(0);
        for (position, is_dropped) in inner
            .in_flight
            .iter_mut()
            .filter(|(position, is_dropped)| *position < sequence && !is_dropped)
        {
            (*is_dropped, last, count) = (true, *position, count + 1);
        }
        while let Some(position) =
            inner.entries.front().map(Entry::position).filter(|&position| position < sequence)
        {
            inner.entries.pop_front();
            (last, count) = (position, count + 1);
        }
        if count > 0 {
            inner.gap = inner.gap.max(Some(last));
            self.tally.skipped_to.fetch_max(last.0, Ordering::Relaxed);
            self.tally.skipped.fetch_add(count, Ordering::Relaxed);
        }
        count
    }

    /// Requests a part of a history.
    pub fn ask(&self, lookup: Lookup) {
        if !self.has_storing_thread {
            return self.prepare(Prepared::unreadable(lookup.request, lookup.after));
        }
        self.lock().lookups.push_back(lookup);
        self.has_work.notify_one();
    }

    /// Takes the answers that were prepared since the last call.
    pub fn take_prepared(&self) -> Vec<Prepared> {
        std::mem::take(&mut self.lock().prepared)
    }

    /// Takes the topics of earlier runs, once the storing thread has read them.
    pub fn take_topics(&self) -> Option<Vec<Topic>> {
        self.lock().topics.take()
    }

    /// Waits until there is something to do, at most for `timeout`; then, if there are only a few
    /// entries, at most `gather` longer for more entries.
    pub fn wait(&self, timeout: Duration, gather: Duration) {
        let is_idle = |inner: &mut Inner| {
            inner.entries.is_empty()
                && inner.lost_topics.is_none()
                && inner.lookups.is_empty()
                && (!inner.is_closing || inner.is_closed)
        };
        let waited = self.has_work.wait_timeout_while(self.lock(), timeout, is_idle);
        let (inner, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if !waited.timed_out() {
            let are_few = |inner: &mut Inner| {
                inner.entries.len() < BATCH_ENTRIES_MAX
                    && inner.lookups.is_empty()
                    && !inner.is_urgent
                    && !inner.is_closing
            };
            drop(self.has_work.wait_timeout_while(inner, gather, are_few));
        }
    }

    /// Takes the entries to store next, after a gap entry if there is a gap: `count_max`, and those
    /// of the same record as the last one, since the database knows only which records it has. They count as in flight until [`Backlog::stored`] or [`Backlog::not_stored`].
    pub fn take(&self, count_max: usize) -> Vec<Entry> {
        let mut inner = self.lock();
        let mut count = inner.entries.len().min(count_max);
        if let Some(last) = count.checked_sub(1).map(|index| inner.entries[index].position()) {
            let rest = inner.entries.range(count..);
            count += rest.take_while(|entry| entry.position() == last).count();
        }
        let gap = inner.gap.map(|until| Entry::Gap { until });
        let entries: Vec<Entry> = gap.into_iter().chain(inner.entries.drain(..count)).collect();
        inner.in_flight = entries
            .iter()
            .filter(|entry| !is_gap(entry))
            .map(|entry| (entry.position(), false))
            .collect();
        entries
    }

    /// The entries that were taken are stored.
    pub fn stored(&self, entries: &[Entry]) {
        let mut inner = self.lock();
        let count = inner.in_flight.len() as u64;
        let too_late =
            inner.in_flight.drain(..).filter(|(_, is_dropped)| *is_dropped).count() as u64;
        // These were dropped because storing took too long, but are stored now after all.
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

    /// Drops everything that waits to be stored: there is no data directory.
    pub fn discard(&self) {
        let mut inner = self.lock();
        inner.entries.clear();
        (inner.wants_topics, inner.lost_topics) = (false, None);
    }

    /// The entries that were taken could not be stored. They wait again, except those that were
    /// dropped since.
    pub fn not_stored(&self, entries: Vec<Entry>) {
        let mut inner = self.lock();
        let in_flight = std::mem::take(&mut inner.in_flight);
        let waiting = entries
            .into_iter()
            .filter(|entry| !is_gap(entry))
            .zip(in_flight)
            .filter(|(_, (_, is_dropped))| !is_dropped);
        let waiting: Vec<Entry> = waiting.map(|(entry, _)| entry).collect();
        waiting.into_iter().rev().for_each(|entry| inner.entries.push_front(entry));
    }

    /// Takes the next lookup.
    pub fn take_lookup(&self) -> Option<Lookup> {
        self.lock().lookups.pop_front()
    }

    /// The lines of a room before `before` that wait to be stored and whose position is after
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

    /// The sequence up to which lines were dropped or lost, as long as the database doesn't contain
    /// that gap.
    pub fn gap(&self) -> Option<Sequence> {
        self.lock().gap
    }

    /// Records a gap: what was stored up to `until` is lost with its database.
    pub fn add_gap(&self, until: Sequence) {
        let mut inner = self.lock();
        inner.gap = inner.gap.max(Some(until));
    }

    /// Requests the current topics from the reading thread: they were lost with the database.
    pub fn request_topics(&self) {
        self.lock().wants_topics = true;
    }

    /// Whether the current topics are requested.
    pub fn wants_topics(&self) -> bool {
        self.lock().wants_topics
    }

    /// Hands over the current topics: as they were before the entries that are added next.
    pub fn hand_over_topics(&self, topics: Vec<Topic>) {
        let mut inner = self.lock();
        (inner.wants_topics, inner.lost_topics) = (false, Some(topics));
    }

    /// Takes the topics that must be stored before the entries that are taken next.
    pub fn take_lost_topics(&self) -> Option<Vec<Topic>> {
        self.lock().lost_topics.take()
    }

    /// Whether nothing is left to be stored, except possibly a gap.
    pub fn is_empty(&self) -> bool {
        let inner = self.lock();
        let is_in_flight = inner.in_flight.iter().any(|(_, is_dropped)| !is_dropped);
        !is_in_flight
            && inner.entries.is_empty()
            && !inner.wants_topics
            && inner.lost_topics.is_none()
    }

    /// The reading thread adds no more entries: the server ends.
    pub fn close(&self) {
        self.lock().is_closing = true;
        self.has_work.notify_one();
    }

    /// Whether the reading thread adds no more entries.
    pub fn is_closing(&self) -> bool {
        self.lock().is_closing
    }

    /// The storing thread has stored everything and closed the database.
    pub fn closed(&self) {
        self.lock().is_closed = true;
    }

    /// Whether everything is stored and the database is closed.
    pub fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// The journal's counters.
    pub fn tally(&self) -> &'static Tally {
        self.tally
    }

    /// Adds an answer.
    pub fn prepare(&self, prepared: Prepared) {
        self.lock().prepared.push(prepared);
    }

    /// Hands over the topics of earlier runs.
    pub fn found_topics(&self, topics: Vec<Topic>) {
        self.lock().topics = Some(topics);
    }

    /// A panic in either thread ends the process, so no thread sees what the other left half done.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_gap(entry: &Entry) -> bool {
    matches!(entry, Entry::Gap { .. })
}

#[cfg(test)]
mod tests;
