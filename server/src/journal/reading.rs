//! The reading thread: applies the log, makes snapshots, hands entries to the storing thread, and
//! appends answers and facts to the log.

mod proposing;
#[cfg(test)]
mod tests;

use super::JournalConfig;
use super::backlog::Backlog;
use super::store::{Entry, Line, Topic};
use crate::chat::{Deliveries, Effect, HistoryEntry, RateLimit};
use crate::proposer::Proposer;
use crate::replica::{JoinError, Replica};
use crate::segment::{BLOCK_BYTES, Segment, SnapshotWriter, Thread};
use crate::stand_in::Duty;
use forkchat_common::ids::{RecordId, Sequence, SessionId, Slot};
use forkchat_common::limits::ROOMS_BYTES_MIN;
use forkchat_common::names::RoomName;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use proposing::{Pending, Proposed};
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
/// The operator is told that the storing thread hangs when it has been at one turn for so long.
const HANGS: Duration = Duration::from_secs(3);
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
    fn keeps_history(&self) -> bool {
        true
    }
}

impl Gathered {
    fn carry_out(&mut self, effect: Effect) {
        let Effect::Keep(entry) = effect else { return };
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
