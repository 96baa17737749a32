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

/// The most blocks of the log that one turn applies; also no more than a sixteenth of the ring.
const TURN_BLOCKS: u64 = 4_096;
/// A snapshot is made after an eighth of the ring, and at the latest after this many blocks: a new
/// process then has no more than that to replay.
const SNAPSHOT_BLOCKS_MAX: u64 = 65_536;
/// No snapshot is made after fewer blocks than this.
const SNAPSHOT_BLOCKS_MIN: u64 = 2_048;
/// Nor is one made before the log has grown by this many times the size of the last snapshot: a new
/// process has to read both, and making a snapshot costs time proportional to its size.
const SNAPSHOT_SIZES: u64 = 2;
/// The longest sleep. No process wakes the journal for a line, so it polls the log.
const SLEEP_MILLIS: u16 = 500;
/// The shortest time between two warnings that lines are dropped.
const WARN_INTERVAL: Duration = Duration::from_secs(10);
/// When the storing thread's turn has lasted this long, the operator is warned that it hangs.
const HANGS_AFTER: Duration = Duration::from_secs(3);
/// The longest sleep while a snapshot waits to be published or a request waits for its answer.
const SLEEP_MILLIS_WAITING: u16 = 20;

/// The reading thread's state: the copy of the chat state, the snapshots, and what the journal
/// still has to append.
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
    /// The size of the last snapshot that was made, in blocks.
    snapshot_blocks: u64,
    collected: Collected,
    backlog: Arc<Backlog>,
    /// Topics of earlier runs that are not in the log yet.
    topics: Option<Vec<Topic>>,
    /// The requests that are not answered completely yet.
    pending: BTreeMap<RecordId, Pending>,
    proposer: Proposer<Proposed>,
    /// Lines were dropped since the last warning.
    has_unreported_drops: bool,
    warned_at: Option<Instant>,
    /// The operator was warned that the storing thread hangs.
    is_hanging: bool,
}

/// Collects what the records that were applied cause: entries to store, and workers to wake. The
/// journal serves no session.
#[derive(Debug, Default)]
struct Collected {
    entries: Vec<Entry>,
    /// The position of the record that is being applied.
    position: Sequence,
    /// Whether lines are stored. Topics always are.
    keeps_lines: bool,
    /// Whether records that the journal appended are being applied: then the journal wakes the
    /// workers whose sessions receive output from them.
    wakes: bool,
    slots: BTreeSet<Slot>,
}

impl Deliveries for Collected {
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

impl Collected {
    fn collect(&mut self, effect: Effect) {
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
    /// Starts in slot `me` from the published snapshot.
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
            collected: Collected {
                keeps_lines: config.quota.lines_max > 0,
                ..Collected::default()
            },
            backlog,
            topics: None,
            pending: BTreeMap::new(),
            proposer: Proposer::new(segment, me),
            has_unreported_drops: false,
            warned_at: None,
            is_hanging: false,
        })
    }

    /// Begins the run: records the part of the configuration that the chat state needs, before any
    /// session exists.
    pub fn begin(&mut self) {
        while !self.is_configured() {
            self.segment.heartbeats.begin_turn(self.me, Thread::Send);
            self.turn();
            self.segment.heartbeats.end_turn(self.me, Thread::Send);
        }
    }

    /// Runs until the server ends and everything is stored.
    pub fn run(&mut self) {
        while !self.has_finished() {
            self.sleep();
            self.segment.heartbeats.begin_turn(self.me, Thread::Send);
            self.segment.heartbeats.answer(self.me, Thread::Send);
            // The storing thread may wait for the disk for any length of time, so this thread
            // answers for it.
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

    /// Applies new records, hands entries to the storing thread, appends what the journal has to
    /// append, and makes or publishes a snapshot if it is time.
    pub fn turn(&mut self) {
        self.collected.wakes = self.proposer.awaits_records();
        self.replica.apply(
            TURN_BLOCKS.min(self.segment.geometry.batch_blocks_max()),
            &mut self.collected,
            |collected, effects| {
                effects.for_each(|effect| collected.collect(effect));
            },
        );
        self.segment.cursors.publish_read(self.me, self.replica.position());
        std::mem::take(&mut self.collected.slots)
            .into_iter()
            .for_each(|slot| self.segment.doorbells.ring(slot));
        self.handle_applied();
        self.hand_over_entries();
        self.restore_topics();
        self.configure();
        self.follow_clock();
        self.answer_requests();
        self.proposer.commit(|_, _| ());
        self.make_snapshot();
    }

    /// Hands new entries to the storing thread, and drops those that it couldn't store in time.
    fn hand_over_entries(&mut self) {
        if self.backlog.wants_topics() {
            self.backlog.hand_over_topics(self.current_topics());
        }
        let done_through = self.done_through();
        self.collected.entries.retain(|entry| entry.position() > done_through);
        self.backlog.add(&mut self.collected.entries);
        let dropped = self.backlog.drop_before(self.keep_from());
        self.has_unreported_drops |= dropped > 0 && self.stores;
        let oldest = self.backlog.oldest();
        if self.has_unreported_drops
            && self.warned_at.is_none_or(|warned_at| warned_at.elapsed() > WARN_INTERVAL)
        {
            let skipped = self.backlog.tally().skipped.load(Ordering::Relaxed);
            log::warn!(
                "lines are not stored fast enough: {skipped} are missing from the history so far, \
                 the chat goes on; a larger --ring holds more"
            );
            (self.has_unreported_drops, self.warned_at) = (false, Some(Instant::now()));
        }
        self.backlog.tally().waiting.store(self.backlog.waiting(), Ordering::Relaxed);
        self.watch_storing();
        let is_far_back = |oldest| self.replica.position().blocks_since(oldest) > self.interval();
        self.backlog.set_urgent(self.replica.chat.is_stopping() || oldest.is_some_and(is_far_back));
    }

    /// Warns the operator when the storing thread begins to hang, and when it goes on. It can't do
    /// that itself.
    fn watch_storing(&mut self) {
        let is_hanging = self.backlog.busy_for() > HANGS_AFTER;
        match (std::mem::replace(&mut self.is_hanging, is_hanging), is_hanging) {
            (false, true) => {
                log::warn!(
                    "the disk does not answer, so nothing is stored now; the chat goes on, and \
                     its lines wait in the ring"
                );
            }
            (true, false) => log::warn!("the disk answers again"),
            _ => {}
        }
    }

    /// Entries up to this sequence need not be stored. A process that starts from a snapshot reads
    /// the records after it again; what a predecessor dropped is counted already and must not be
    /// counted twice. A stand-in also relies on the tally for what is stored. A journal does not:
    /// it asks the database, and stores again what the database has lost.
    fn done_through(&self) -> Sequence {
        let tally = self.backlog.tally();
        let stored_to = if self.stores { 0 } else { tally.stored_to.load(Ordering::Relaxed) };
        Sequence(tally.skipped_to.load(Ordering::Relaxed).max(stored_to))
    }

    fn current_topics(&self) -> Vec<Topic> {
        let sequence = Sequence(self.replica.position().0 - 1);
        let topic = |(room, text): (&RoomName, &str)| Topic {
            sequence,
            room: room.as_str().to_owned(),
            room_key: room.key().to_owned(),
            text: text.to_owned(),
        };
        self.replica.chat.topics().map(topic).collect()
    }

    /// Entries before this position are dropped: those more than half the ring back, and, if the
    /// ring is nearly full, those that keep the next snapshot from being published. Snapshots are
    /// not evenly spaced, so the first rule alone could leave the ring full and no snapshot that
    /// may be published.
    fn keep_from(&self) -> Sequence {
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
        // Waiting snapshots must be far apart: see `SNAPSHOTS_WAITING_MAX`.
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
            // A successor stores the entries after the snapshot from which it starts, so a snapshot
            // must not be after the oldest entry that waits.
            self.snapshots
                .publish(self.backlog.oldest().map_or(ceiling, |oldest| oldest.min(ceiling)));
        }
    }

    fn interval(&self) -> u64 {
        (self.segment.geometry.ring_blocks() / 8).min(SNAPSHOT_BLOCKS_MAX)
    }

    /// The longest time until the next turn, in milliseconds.
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
            Ok(1..) => bell.drain(),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => log::error!("cannot wait for new records: {errno}"),
        }
        bell.after_sleep();
    }
}

/// The reading half in a worker that stands in for the journal: it makes snapshots, and answers
/// requests as far as that is possible without a database.
impl Duty for Journal {
    fn turn(&mut self) {
        Journal::turn(self);
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(self.sleep_millis().into())
    }
}
