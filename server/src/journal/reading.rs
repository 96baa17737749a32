//! The reading thread: applies the log, makes snapshots, hands entries to the storing thread, and
//! appends answers and facts to the log.

use super::JournalConfig;
use super::backlog::{Backlog, Lookup, Prepared};
use super::store::{Entry, Line, Topic};
use crate::chat::{
    Answer, Deliveries, Effect, Fact, HistoryEntry, HistoryPart, Part, Query, RateLimit,
};
use crate::proposer::{Proposer, push_fact};
use crate::replica::{JoinError, Replica};
use crate::segment::{BLOCK_BYTES, Batch, Segment, SnapshotWriter, Thread};
use crate::stand_in::Duty;
use forkchat_common::ids::{Micros, RecordId, Sequence, SessionId, Slot};
use forkchat_common::limits::ROOMS_BYTES_MIN;
use forkchat_common::names::RoomName;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How much of the log is applied in one turn, in blocks, and no more than a sixteenth of the ring.
const TURN_BLOCKS: u64 = 4_096;
/// A snapshot is made after an eighth of the ring, and at the latest after so many blocks: a
/// successor has no more than that to replay.
const SNAPSHOT_BLOCKS_MAX: u64 = 65_536;
/// None is made after fewer blocks,
const SNAPSHOT_BLOCKS_MIN: u64 = 2_048;
/// nor after less of the log than so many times the size of the last one: a process that begins has
/// both to read, and making one costs its size.
const SNAPSHOT_SIZES: u64 = 2;
/// It is never rung for a line, so it looks by itself.
const SLEEP_MILLIS: u16 = 500;
/// That lines are given up is told the operator no oftener.
const TELL_AGAIN: Duration = Duration::from_secs(10);
/// A question that the storing thread doesn't answer for so long can't be answered.
const ANSWER: Duration = Duration::from_secs(2);
/// The operator is told that the storing thread hangs when it has been at one turn for so long.
const HANGS: Duration = Duration::from_secs(3);
/// The wall clock was set if it is so far from where it was: the kernel's small corrections are
/// none.
const CLOCK_STEP_MICROS: u64 = Micros::SECOND;
/// As long as a snapshot waits to be published, or a question for its turn.
const SLEEP_MILLIS_WAITING: u16 = 20;

/// The journal's copy of the state, its snapshots, and what it still has to append.
#[derive(Debug)]
pub struct Journal {
    segment: &'static Segment,
    me: Slot,
    workers: u16,
    stores: bool,
    rooms_bytes_max: u64,
    rate_limit: RateLimit,
    replica: Replica,
    snapshots: SnapshotWriter,
    /// The size of the last one made, in blocks.
    snapshot_blocks: u64,
    gathered: Gathered,
    backlog: Arc<Backlog>,
    /// Of earlier runs, not yet in the log.
    topics: Option<Vec<Topic>>,
    /// The requests that are open.
    pending: BTreeMap<RecordId, Pending>,
    proposer: Proposer<Proposed>,
    /// Lines were given up since the operator was told so.
    is_giving_up: bool,
    told_at: Option<Instant>,
    /// The operator was told that the storing thread hangs.
    is_hanging: bool,
}

/// What the journal has proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proposed {
    /// Topics of earlier runs; so many are then left.
    Topics {
        left: usize,
    },
    Configured,
    /// How far the wall clock is ahead of the log's, in µs, and was before.
    Clock {
        ahead: i64,
        before: i64,
    },
    Answer,
}

/// A request for a history, between two parts of its answer.
#[derive(Clone, Copy, Debug)]
struct Pending {
    /// The record at which its last part was sent, or that of the request.
    sent_at: RecordId,
    /// The end of that record, or a later position.
    sent_before: Sequence,
    /// When the storing thread was asked for the next part.
    asked_at: Option<Instant>,
}

/// What applying records leaves to be done. The journal serves no session.
#[derive(Debug, Default)]
struct Gathered {
    entries: Vec<Entry>,
    /// The position of the record that is applied.
    position: Sequence,
    /// Lines too, and not only topics.
    keeps_lines: bool,
    /// Whether records of its own are applied: then it is the one who wakes the workers that have
    /// somebody to tell.
    wakes: bool,
    slots: BTreeSet<Slot>,
}

impl Deliveries for Gathered {
    fn record(&mut self, at: Sequence) {
        self.position = at;
    }
    fn wants(&mut self, _: SessionId, slot: Slot) -> bool {
        if self.wakes {
            self.slots.insert(slot);
        }
        false
    }
    fn deliver(&mut self, _: SessionId, _: &[u8]) {}
    fn stores_history(&self) -> bool {
        true
    }
}

impl Gathered {
    fn carry_out(&mut self, effect: Effect) {
        let Effect::Store(entry) = effect else { return };
        let position = self.position;
        self.entries.push(match entry {
            HistoryEntry::Line { .. } if !self.keeps_lines => return,
            HistoryEntry::Line { stamp, room, nick, is_action, text } => Entry::Line {
                position,
                line: Line {
                    id: stamp.id,
                    time: stamp.time,
                    room: room.as_str().to_owned(),
                    room_key: room.key().to_owned(),
                    nick,
                    is_action,
                    text,
                },
            },
            HistoryEntry::Topic { room, text } => Entry::Topic(Topic {
                sequence: position,
                room: room.as_str().to_owned(),
                room_key: room.key().to_owned(),
                text,
            }),
        });
    }
}

impl Journal {
    /// Begins a life in slot `me`: takes the published snapshot, to go on from there.
    pub fn join(
        segment: &'static Segment,
        me: Slot,
        config: &JournalConfig,
        backlog: Arc<Backlog>,
    ) -> Result<Journal, JoinError> {
        Ok(Journal {
            segment,
            me,
            workers: config.workers,
            stores: config.data_dir.is_some(),
            rooms_bytes_max: config.rooms_bytes_max.max(ROOMS_BYTES_MIN as u64),
            rate_limit: config.rate_limit,
            replica: Replica::join(segment, me)?,
            snapshots: SnapshotWriter::new(&segment.snapshots, &segment.log, me),
            snapshot_blocks: 0,
            gathered: Gathered { keeps_lines: config.quota.lines_max > 0, ..Gathered::default() },
            backlog,
            topics: None,
            pending: BTreeMap::new(),
            proposer: Proposer::new(segment, me),
            is_giving_up: false,
            told_at: None,
            is_hanging: false,
        })
    }

    /// Begins the run: what the state machine reads of the configuration is in the log before any
    /// session is.
    pub fn begin(&mut self) {
        while !self.is_configured() {
            self.segment.heartbeats.begin_turn(self.me, Thread::Send);
            self.turn();
            self.segment.heartbeats.end_turn(self.me, Thread::Send);
        }
    }

    /// Runs until the server ends and everything that was said is stored.
    pub fn run(&mut self) {
        while !self.has_finished() {
            self.sleep();
            self.segment.heartbeats.begin_turn(self.me, Thread::Send);
            self.segment.heartbeats.answer(self.me, Thread::Send);
            // The storing thread may wait for its disk as long as that takes.
            self.segment.heartbeats.answer(self.me, Thread::Receive);
            self.turn();
            self.segment.heartbeats.end_turn(self.me, Thread::Send);
        }
    }

    fn has_finished(&self) -> bool {
        if self.replica.chat.is_stopping() && !self.replica.is_behind() {
            self.backlog.close();
        }
        self.backlog.is_closed()
    }

    /// Applies what is new, hands on what is to be stored, appends what it has to say, makes and
    /// publishes a snapshot if it is time.
    pub fn turn(&mut self) {
        self.gathered.wakes = self.proposer.awaits_records();
        self.replica.apply(
            TURN_BLOCKS.min(self.segment.geometry.batch_blocks_max()),
            &mut self.gathered,
            |gathered, effects| {
                effects.for_each(|effect| gathered.carry_out(effect));
            },
        );
        self.segment.cursors.publish_read(self.me, self.replica.position());
        std::mem::take(&mut self.gathered.slots)
            .into_iter()
            .for_each(|slot| self.segment.doorbells.ring(slot));
        self.settle();
        self.hand_on();
        self.restore_topics();
        self.configure();
        self.follow_clock();
        self.answer_requests();
        self.proposer.commit(|_, _| ());
        self.make_snapshot();
    }

    /// What is to be stored goes to the storing thread; what it couldn't store in time is given up.
    fn hand_on(&mut self) {
        if self.backlog.wants_topics() {
            self.backlog.give_topics(self.topics_now());
        }
        let settled = self.settled();
        self.gathered.entries.retain(|entry| entry.position() > settled);
        self.backlog.add(&mut self.gathered.entries);
        let given_up = self.backlog.give_up_before(self.held_from());
        self.is_giving_up |= given_up > 0 && self.stores;
        let oldest = self.backlog.oldest();
        if self.is_giving_up && self.told_at.is_none_or(|told_at| told_at.elapsed() > TELL_AGAIN) {
            let skipped = self.backlog.tally().skipped.load(Ordering::Relaxed);
            log::warn!(
                "lines are not stored fast enough: {skipped} are missing from the history so far, the chat goes on; a larger --ring holds more"
            );
            (self.is_giving_up, self.told_at) = (false, Some(Instant::now()));
        }
        self.backlog.tally().waiting.store(self.backlog.waiting(), Ordering::Relaxed);
        self.watch_storing();
        let is_far_back = |oldest| self.replica.position().blocks_since(oldest) > self.interval();
        self.backlog.set_urgent(self.replica.chat.is_stopping() || oldest.is_some_and(is_far_back));
    }

    /// Tells the operator when the storing thread begins to hang, and when it goes on. It can't do
    /// that itself.
    fn watch_storing(&mut self) {
        let is_hanging = self.backlog.at_work_for() > HANGS;
        match (std::mem::replace(&mut self.is_hanging, is_hanging), is_hanging) {
            (false, true) => {
                log::warn!(
                    "the disk does not answer, so nothing is stored now; the chat goes on, and its lines wait in the ring"
                );
            }
            (true, false) => log::warn!("the disk answers again"),
            _ => {}
        }
    }

    /// Up to here nothing is left to be stored. Whoever begins at a snapshot reads again what is
    /// behind it: what a predecessor gave up is counted, and isn't counted again. A stand-in goes
    /// by the tally for what is stored, too; a journal asks the database, and stores again what
    /// that has lost.
    fn settled(&self) -> Sequence {
        let tally = self.backlog.tally();
        let stored_to = if self.stores { 0 } else { tally.stored_to.load(Ordering::Relaxed) };
        Sequence(tally.given_up.load(Ordering::Relaxed).max(stored_to))
    }

    fn topics_now(&self) -> Vec<Topic> {
        let sequence = Sequence(self.replica.position().0 - 1);
        let topic = |(room, text): (&RoomName, &str)| Topic {
            sequence,
            room: room.as_str().to_owned(),
            room_key: room.key().to_owned(),
            text: text.to_owned(),
        };
        self.replica.chat.topics().map(topic).collect()
    }

    /// What lies before this isn't waited for any longer: half a ring behind, or, when the ring is
    /// nearly full, what keeps the next snapshot from being published. Snapshots are no even steps,
    /// so the first alone could leave the ring full with none that may be.
    fn held_from(&self) -> Sequence {
        let (position, ring) = (self.replica.position(), self.segment.geometry.ring_blocks());
        let half_back = Sequence(position.0.saturating_sub(ring / 2));
        let is_nearly_full =
            self.segment.log.tail().blocks_since(self.segment.snapshots.sequence()) > ring / 4 * 3;
        self.snapshots
            .next()
            .filter(|_| is_nearly_full)
            .map_or(half_back, |next| next.max(half_back))
    }

    fn restore_topics(&mut self) {
        self.topics = self.topics.take().or_else(|| self.backlog.take_topics());
        let Some(topics) = &mut self.topics else { return };
        if self.replica.chat.is_restored() {
            self.topics = None;
            return;
        }
        let is_proposed = |proposed: &Proposed| matches!(proposed, Proposed::Topics { .. });
        if self.proposer.unapplied().any(is_proposed) {
            return;
        }
        let (mut batch, mut count) = (Batch::default(), 0);
        // Those set last come first; a room is kept the longer the later it was left, so they go
        // last. Each takes less than a tenth of a batch.
        while let Some(topic) = topics.len().checked_sub(count + 1).map(|last| &topics[last])
            && batch.blocks() < self.segment.geometry.batch_blocks_max() / 2
        {
            push_fact(
                &mut batch,
                SessionId::NONE,
                Fact::Topic { room: &topic.room, topic: &topic.text },
            );
            count += 1;
        }
        let left = topics.len() - count;
        if left == 0 {
            push_fact(&mut batch, SessionId::NONE, Fact::Restored);
        }
        self.proposer.propose(batch, Proposed::Topics { left });
    }

    /// Whether the state has this run's configuration.
    fn is_configured(&self) -> bool {
        let chat = &self.replica.chat;
        (chat.rooms_bytes_max(), chat.rate_limit()) == (self.rooms_bytes_max, self.rate_limit)
    }

    /// Records what the state machine reads of the configuration.
    fn configure(&mut self) {
        let mut unapplied = self.proposer.unapplied();
        if self.is_configured() || unapplied.any(|proposed| *proposed == Proposed::Configured) {
            return;
        }
        drop(unapplied);
        let (rooms_bytes_max, rate_limit) = (self.rooms_bytes_max, self.rate_limit);
        let fact = Fact::Configured { rooms_bytes_max, rate_limit };
        self.proposer.propose_fact(SessionId::NONE, fact, Proposed::Configured);
    }

    /// Records that the wall clock was set, so that the times which are shown follow it.
    fn follow_clock(&mut self) {
        let (ahead, before) = (self.segment.clock.wall_ahead(), self.replica.chat.clock_ahead());
        let is_proposed = |proposed: &Proposed| matches!(proposed, Proposed::Clock { .. });
        if ahead.abs_diff(before) > CLOCK_STEP_MICROS && !self.proposer.unapplied().any(is_proposed)
        {
            let proposed = Proposed::Clock { ahead, before };
            self.proposer.propose_fact(SessionId::NONE, Fact::Clock { ahead }, proposed);
        }
    }

    /// Does what follows from its own records that are now applied.
    fn settle(&mut self) {
        while let Some(proposed) = self.proposer.take_applied(self.replica.position()) {
            match (proposed, &mut self.topics) {
                (Proposed::Topics { left }, Some(topics)) => topics.truncate(left),
                (Proposed::Clock { ahead, before }, _) => {
                    let seconds = ahead.abs_diff(before) / Micros::SECOND;
                    let direction = if ahead > before { "ahead" } else { "back" };
                    log::warn!(
                        "the clock was set {direction} by {seconds} s; the times of new lines \
                         follow it"
                    );
                }
                (Proposed::Topics { .. } | Proposed::Configured | Proposed::Answer, _) => {}
            }
        }
    }

    /// Asks the storing thread for what the state says is to be answered, and appends what it has
    /// answered.
    fn answer_requests(&mut self) {
        let mut before = std::mem::take(&mut self.pending);
        for (name, request) in self.replica.chat.requests() {
            let Query::History(history) = &request.query;
            let (sent_at, sent_before) = (history.sent_at, self.replica.position());
            let begun = Pending { sent_at, sent_before, asked_at: None };
            let same_part = before.remove(&name).filter(|pending| pending.sent_at == sent_at);
            let pending = self.pending.entry(name).or_insert(same_part.unwrap_or(begun));
            // The next part when what was sent before is out: so an answer is no more than its
            // reader reads, however long.
            let checkpoint =
                self.segment.checkpoints.effective(request.session, &self.segment.cursors);
            let checkpoint = checkpoint.filter(|checkpoint| !checkpoint.is_lagging);
            let is_ready = checkpoint.is_some_and(|it| it.sequence >= pending.sent_before);
            let after = history.after;
            match pending.asked_at {
                // The storing thread hangs, with the disk perhaps: the client waits, and all that it
                // sent after the request.
                Some(asked_at) if asked_at.elapsed() > ANSWER => {
                    pending.asked_at = Some(Instant::now());
                    self.backlog.prepare(Prepared::unreadable(name, after));
                }
                None if is_ready => {
                    pending.asked_at = Some(Instant::now());
                    let room_key = history.room.key().to_owned();
                    let more = history.more;
                    self.backlog.ask(Lookup { request: name, room_key, more, after });
                }
                _ => {}
            }
        }
        for Prepared { request: name, after, lines, end } in self.backlog.take_prepared() {
            if let Some(request) = self.replica.chat.request(name) {
                let part = Part::History(HistoryPart { after, lines: &lines, end });
                let answer = Fact::Answer(Answer { request: name, part });
                self.proposer.propose_fact(request.session, answer, Proposed::Answer);
            }
        }
    }

    fn make_snapshot(&mut self) {
        // Those that wait are to be far apart: see `SNAPSHOTS_WAITING_MAX`.
        let soon =
            self.interval().min(SNAPSHOT_BLOCKS_MIN.max(SNAPSHOT_SIZES * self.snapshot_blocks));
        let after = if self.snapshots.is_waiting() { self.interval() } else { soon };
        if self.replica.position().blocks_since(self.snapshots.latest()) >= after
            && self.snapshots.can_write()
        {
            let state = self.replica.chat.snapshot();
            self.snapshot_blocks = state.len().div_ceil(BLOCK_BYTES) as u64;
            self.snapshots.write(self.replica.position(), &state);
        }
        if self.snapshots.is_waiting() {
            let workers = (0..self.workers).map(Slot::at).filter(|&slot| slot != self.me);
            let ceiling = self.segment.checkpoints.snapshot_ceiling(&self.segment.log, workers);
            // A successor stores what comes behind the snapshot that it starts from.
            self.snapshots
                .publish(self.backlog.oldest().map_or(ceiling, |oldest| oldest.min(ceiling)));
        }
    }

    fn interval(&self) -> u64 {
        (self.segment.geometry.ring_blocks() / 8).min(SNAPSHOT_BLOCKS_MAX)
    }

    /// How long it may sleep, in milliseconds.
    fn sleep_millis(&self) -> u16 {
        let is_waiting = self.snapshots.is_waiting()
            || self.proposer.pending() > 0
            || self.topics.is_some()
            || self.replica.chat.is_stopping();
        match is_waiting || self.replica.chat.requests().next().is_some() {
            _ if self.replica.is_behind() => 0,
            true => SLEEP_MILLIS_WAITING,
            false => SLEEP_MILLIS,
        }
    }

    fn sleep(&self) {
        let bell = self.segment.doorbells.get(self.me);
        bell.before_sleep();
        let millis = self.sleep_millis();
        match poll(&mut [PollFd::new(bell.as_fd(), PollFlags::POLLIN)], PollTimeout::from(millis)) {
            Ok(1..) => bell.answer(),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => log::error!("cannot wait for new records: {errno}"),
        }
        bell.after_sleep();
    }
}

/// In a worker that stands in for the journal: it makes snapshots and answers what is asked, as far
/// as that goes without a database.
impl Duty for Journal {
    fn turn(&mut self) {
        Journal::turn(self);
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(self.sleep_millis().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{RateLimit, Record, Transport};
    use crate::journal::{BATCH_ENTRIES_MAX, Quota};
    use crate::segment::{AppendError, Checkpoint, Geometry};
    use proptest::prelude::*;
    use std::net::SocketAddr;

    /// Opens the session.
    fn open(segment: &Segment) {
        let mut batch = Batch::default();
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        push_fact(&mut batch, ME, Fact::opened(WORKER, Transport::Tcp, peer));
        segment.log.append(WORKER, &batch, segment.clock.now()).unwrap();
    }

    /// Appends lines of one session, which is opened first, and says that the worker has read them.
    fn say(segment: &Segment, from: u64, to: u64) {
        let mut batch = Batch::default();
        if from == 0 {
            open(segment);
        }
        for input_end in from + 1..=to {
            batch.push(|payload| {
                Record { session: ME, input_end, fact: Fact::Line(b"said") }.encode(payload)
            });
        }
        segment.log.append(WORKER, &batch, segment.clock.now()).unwrap();
        segment.cursors.publish(WORKER, segment.log.tail());
    }

    /// A log for a worker and a journal, with the configuration of the journal, which stores.
    fn with_a_disk(ring_blocks: usize) -> (&'static Segment, JournalConfig) {
        let geometry = Geometry {
            ring_bytes: ring_blocks * 64,
            slots: 2,
            sessions_max: 1,
            snapshot_bytes_max: 1 << 16,
        };
        let segment = Segment::create(geometry).unwrap();
        segment.join(WORKER).unwrap();
        let config = JournalConfig {
            rate_limit: RateLimit::OFF,
            workers: 1,
            data_dir: Some("/nowhere".into()),
            quota: Quota { lines_max: 1_000, bytes_max: 1 << 30 },
            rooms_bytes_max: 0,
            tally: Box::leak(Box::default()),
        };
        (segment, config)
    }

    /// A journal stores all that it finds. Returns how many entries that were.
    fn store_all(segment: &'static Segment, config: &JournalConfig) -> u64 {
        let mut journal =
            Journal::join(segment, JOURNAL, config, Arc::new(Backlog::new(config.tally))).unwrap();
        let mut count = 0;
        for turn in 0.. {
            journal.turn();
            let entries = journal.backlog.take(BATCH_ENTRIES_MAX);
            journal.backlog.stored(&entries);
            count +=
                entries.iter().filter(|entry| matches!(entry, Entry::Line { .. })).count() as u64;
            if turn > 100 && entries.is_empty() {
                break;
            }
        }
        segment.cursors.abandon(JOURNAL);
        count
    }

    #[test]
    fn what_is_said_while_a_worker_stands_in_is_stored_by_the_next_journal() {
        let (segment, config) = with_a_disk(1_024);
        say(segment, 0, 10);
        assert_eq!(store_all(segment, &config), 10);
        // Less than half the ring, heard by one stand-in after another, as when a journal is tried
        // again and crashes.
        for said in (10..200).step_by(10) {
            let mut stand_in = crate::journal::stand_in(segment, JOURNAL, &config).unwrap();
            say(segment, said, said + 10);
            (0..20).for_each(|_| stand_in.turn());
            segment.cursors.abandon(JOURNAL);
        }
        assert_eq!(config.tally.skipped.load(Ordering::Relaxed), 0);
        store_all(segment, &config);
        // A predecessor's are read again: the snapshot that it began at is not the last word.
        assert_eq!(
            config.tally.stored_to.load(Ordering::Relaxed),
            segment.log.tail().0 - 1,
            "all of them"
        );
        assert_eq!(config.tally.missing(), 0);
    }

    #[test]
    fn stand_ins_make_snapshots_and_what_they_give_up_counts_once() {
        let (segment, config) = with_a_disk(1_024);
        say(segment, 0, 15);
        let mut stored = store_all(segment, &config);
        let mut said = 15;
        for _ in 0..5 {
            let mut stand_in = crate::journal::stand_in(segment, JOURNAL, &config).unwrap();
            for _ in 0..100 {
                say(segment, said, said + 5);
                said += 5;
                stand_in.turn();
                assert!(
                    segment.log.tail().blocks_since(segment.snapshots.sequence()) < 1_000,
                    "there is room"
                );
            }
            segment.cursors.abandon(JOURNAL);
        }
        let skipped = config.tally.skipped.load(Ordering::Relaxed);
        assert!(skipped > 0);
        let given_up = Sequence(config.tally.given_up.load(Ordering::Relaxed));
        // The next journal stores what wasn't given up, and that only, and knows of the gap.
        let before = config.tally.stored.load(Ordering::Relaxed);
        stored += store_all(segment, &config);
        assert_eq!(config.tally.stored.load(Ordering::Relaxed) - before, stored - 15);
        assert_eq!(
            (config.tally.skipped.load(Ordering::Relaxed), stored),
            (skipped, said - skipped)
        );
        assert_eq!(Backlog::new(config.tally).gap(), Some(given_up));
    }

    const WORKER: Slot = Slot::at(0);
    const JOURNAL: Slot = Slot::at(1);
    const ME: SessionId = SessionId::new(1, 0);

    #[test]
    fn that_the_clock_was_set_is_recorded_once_and_the_times_of_lines_follow_it() {
        let (segment, config) = with_a_disk(1_024);
        let mut journal =
            Journal::join(segment, JOURNAL, &config, Arc::new(Backlog::new(config.tally))).unwrap();
        open(segment);
        const HOUR: i64 = 3_600_000_000;
        for (number, ahead) in (1..).zip([-1, 2 * HOUR, 2 * HOUR + 900_000, -HOUR, 1]) {
            segment.clock.set_wall_ahead(ahead);
            let tail = segment.log.tail();
            (0..3).for_each(|_| journal.turn());
            let is_step = number == 2 || number > 3;
            assert_eq!(segment.log.tail().0 - tail.0, u64::from(is_step), "a record for {ahead}");
            let now = segment.clock.now();
            let mut batch = Batch::default();
            batch.push(|payload| {
                Record { session: ME, input_end: number, fact: Fact::Line(b"said") }.encode(payload)
            });
            segment.log.append(WORKER, &batch, now).unwrap();
            journal.turn();
            let entries = journal.backlog.take(BATCH_ENTRIES_MAX);
            journal.backlog.stored(&entries);
            let [Entry::Line { line, .. }] = &entries[..] else { panic!("{entries:?}") };
            let shown = line.time.0.cast_signed() - now.0.cast_signed();
            assert!(shown.abs_diff(ahead) <= CLOCK_STEP_MICROS, "{shown} for {ahead}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn neither_a_disk_that_never_stores_nor_a_reader_that_never_reads_fills_the_ring(
            batches in prop::collection::vec((1usize..30, 0usize..200), 200..400),
            stores: bool,
            lags: bool,
        ) {
            let (segment, config) = with_a_disk(512);
            let mut journal = Journal::join(segment, JOURNAL, &config, Arc::new(Backlog::new(config.tally))).unwrap();
            open(segment);
            let mut input_end = 0;
            for (number, (lines, turns)) in batches.into_iter().enumerate() {
                if lags && number % 25 == 0 {
                    let checkpoint = Checkpoint { session: ME, slot: WORKER, sequence: segment.log.tail(), offset: 0, writes: 0, is_lagging: true };
                    segment.checkpoints.store(checkpoint);
                }
                if stores && turns % 2 == 0 {
                    let entries = journal.backlog.take(BATCH_ENTRIES_MAX);
                    journal.backlog.stored(&entries);
                }
                let mut batch = Batch::default();
                for _ in 0..lines {
                    input_end += 1;
                    batch.push(|payload| Record { session: ME, input_end, fact: Fact::Line(b"said") }.encode(payload));
                }
                // Now and then the journal sleeps while much is said.
                if turns % 3 == 0 {
                    journal.turn();
                }
                let mut tries = 0;
                while segment.log.append(WORKER, &batch, segment.clock.now()) == Err(AppendError::Full) {
                    segment.cursors.publish(WORKER, segment.log.tail());
                    journal.turn();
                    tries += 1;
                    prop_assert!(tries < 100, "the ring is full for ever");
                }
                segment.cursors.publish(WORKER, segment.log.tail());
            }
            prop_assert!(stores || config.tally.skipped.load(Ordering::Relaxed) > 0);
        }
    }
}
