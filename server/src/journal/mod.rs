//! The journal process: one more reader of the log. It keeps a copy of the state and publishes snapshots of it, from which a
//! worker that takes over starts, and without which the ring would fill up.
//!
//! It answers no client. A snapshot is published only when no worker and no session could still need what lies before it; see
//! `event_log/cells.rs`.

pub mod store;

use crate::chat::{Ending, Output, RateLimit};
use crate::event_log::{EventLog, SnapshotWriter, Thread};
use crate::replica::{JoinError, Replica};
use forkchat_common::ids::{Sequence, SessionId, Slot};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::DirBuilder;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// How much of the log is applied in one turn, in blocks.
const TURN_BLOCKS: u64 = 4_096;
/// A snapshot is made after an eighth of the ring, and at the latest after so many blocks: a successor has no more than that to replay.
const SNAPSHOT_BLOCKS_MAX: u64 = 65_536;
/// It is never rung for a line, so it looks by itself.
const SLEEP_MILLIS: u16 = 500;
/// As long as a snapshot waits to be published.
const SLEEP_MILLIS_WAITING: u16 = 20;

/// What the journal is told once, before it starts.
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// `--rate-limit`: part of the state's rules.
    pub rate_limit: RateLimit,
    /// The slots of the workers, whose `stable` holds snapshots back.
    pub workers: u16,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
}

/// Nobody: the journal serves no session.
struct Nobody;

impl Output for Nobody {
    fn serves(&mut self, _: SessionId, _: Slot) -> bool {
        false
    }
    fn tell(&mut self, _: SessionId, _: &[u8]) {}
    fn closed(&mut self, _: SessionId, _: Slot, _: Ending) {}
}

/// The journal's copy of the state, and its snapshots.
#[derive(Debug)]
pub struct Journal {
    log: &'static EventLog,
    me: Slot,
    workers: u16,
    replica: Replica,
    snapshots: SnapshotWriter,
}

/// Runs the journal in slot `me` until the process is killed. Returns an exit code if it can't.
pub fn run(log: &'static EventLog, me: Slot, config: &JournalConfig) -> i32 {
    prepare(config.data_dir.as_deref());
    match Journal::join(log, me, config) {
        Ok(mut journal) => loop {
            log.begin_turn(me, Thread::Send);
            journal.turn();
            log.end_turn(me, Thread::Send);
            journal.sleep();
        },
        Err(error) => {
            log::error!("{error}");
            1
        }
    }
}

/// The chat goes on without a data directory, so this only says what is wrong with it.
fn prepare(data_dir: Option<&Path>) {
    let Some(data_dir) = data_dir else {
        return log::warn!("no data directory: neither XDG_STATE_HOME nor HOME is set; give one with --data-dir");
    };
    // What is said in private is nobody else's.
    match DirBuilder::new().recursive(true).mode(0o700).create(data_dir) {
        Ok(()) => log::debug!("the data directory is {}", data_dir.display()),
        Err(error) => log::warn!("cannot make the data directory {}: {error}; choose another with --data-dir", data_dir.display()),
    }
}

impl Journal {
    /// Begins a life in slot `me`: takes the published snapshot, to go on from there.
    pub fn join(log: &'static EventLog, me: Slot, config: &JournalConfig) -> Result<Journal, JoinError> {
        let (replica, snapshots) = (Replica::join(log, me, config.rate_limit)?, SnapshotWriter::new(log, me));
        Ok(Journal { log, me, workers: config.workers, replica, snapshots })
    }

    /// Applies what is new, and makes and publishes a snapshot if it is time.
    pub fn turn(&mut self) {
        self.replica.apply(TURN_BLOCKS, &mut Nobody, |_| ());
        self.log.publish_cursor(self.me, self.replica.position());
        let is_due = self.replica.position().blocks_since(self.snapshots.latest()) >= self.interval();
        if is_due && self.snapshots.can_write() {
            self.snapshots.write(self.replica.position(), &self.replica.chat.snapshot());
        }
        if self.snapshots.is_waiting() {
            let ceiling: Sequence = self.log.snapshot_ceiling((0..self.workers).map(Slot));
            self.snapshots.publish(ceiling);
        }
    }

    /// Whether a snapshot waits for the workers.
    pub fn is_waiting(&self) -> bool {
        self.snapshots.is_waiting()
    }

    fn interval(&self) -> u64 {
        (self.log.geometry().ring_blocks() / 8).min(SNAPSHOT_BLOCKS_MAX)
    }

    fn sleep(&self) {
        let bell = self.log.bell(self.me);
        bell.before_sleep();
        let millis = match self.is_waiting() {
            _ if self.replica.is_behind() => 0,
            true => SLEEP_MILLIS_WAITING,
            false => SLEEP_MILLIS,
        };
        match poll(&mut [PollFd::new(bell.as_fd(), PollFlags::POLLIN)], PollTimeout::from(millis)) {
            Ok(1..) => bell.answer(),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => log::error!("cannot wait to be rung: {errno}"),
        }
        bell.after_sleep();
    }
}
