//! The event log: one ring in shared memory, one order for all processes.
//!
//! ```text
//!            least of all cursors                                  tail
//!            and the snapshot's sequence                            │
//!                 │                                                 ▼
//!   ─────────────[█████ what some reader or successor still needs ██]──── free ────▶ (wraps around)
//!                 ▲            ▲                  ▲
//!             journal      worker 1           worker 0
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `layout` | where each word lies in shared memory |
//! | `batch` | records prepared outside the lock |
//! | `append` | writing: lock, write after the tail, publish with one store, unlock |
//! | `read` | reading, and publishing how far a process has read |
//! | `cells` | how much of each session's output has been written: successors and snapshots depend on it |
//! | `snapshots` | the state at some sequence, from which a successor starts |
//! | `blame` | what each thread works on, and what is quarantined because processes crash at it |
//! | `step` | points at which the simulation kills a process |
//! | `wake` | which processes sleep, and waking them |
//!
//! What a death leaves behind at each step of an append:
//!
//! | killed | left behind | repaired by |
//! |---|---|---|
//! | before the lock | nothing | |
//! | with the lock, before the store of the tail | bytes after the tail | nothing to repair: the next writer gets the lock with `owner_died`, and overwrites the bytes |
//! | after the store of the tail, with the lock | a published batch | the next writer gets the lock; the batch counts |
//! | before it woke the others | processes that sleep although there is news | the supervisor, which rings all doorbells when it reaps |
//!
//! Writers wait for a slow reader when the ring is full. The watchdog kills a reader that makes no
//! progress.

mod checkpoints;
mod doorbells;
mod header;
mod log;
mod quarantine;
mod snapshots;
mod step;

pub use checkpoints::Checkpoint;
pub use doorbells::Thread;
pub use header::{BLOCK_BYTES, Geometry, RING_BYTES_MAX, RING_BYTES_MIN, SNAPSHOT_BUFFERS};
pub use log::append::AppendError;
pub use log::batch::Batch;
pub use log::read::{Entry, Reader};
pub use quarantine::{Place, Treatment};
pub use snapshots::SnapshotWriter;
#[cfg(test)]
pub use step::simulated;
pub use step::step;

use crate::ipc::doorbell::Doorbell;
use crate::ipc::value::Array;
use crate::sys::memory::map_shared;
use forkchat_common::ids::{Micros, Sequence, Slot};
use header::{Header, SessionCell, SlotState};
use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
#[cfg(test)]
use std::sync::atomic::AtomicI64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The log, as every process has it. Made by the supervisor before the first fork, and never
/// unmade.
#[derive(Debug)]
pub struct EventLog {
    geometry: Geometry,
    header: &'static Header,
    ring: Array<AtomicU64>,
    slots: Array<SlotState>,
    bells: Vec<Doorbell>,
    cells: Array<SessionCell>,
    /// As many as [`header::SNAPSHOT_BUFFERS`].
    snapshots: Vec<Array<AtomicU64>>,
    /// What [`EventLog::uptime`] tells in a simulation; 0 for the real one.
    #[cfg(test)]
    simulated_uptime: AtomicU64,
    /// What [`EventLog::wall_ahead`] tells then.
    #[cfg(test)]
    simulated_wall_ahead: AtomicI64,
}

impl EventLog {
    /// Maps an empty log for the processes that this one will fork.
    pub fn create(geometry: Geometry) -> io::Result<&'static EventLog> {
        let slots: Array<SlotState> = Array::map("forkchat-slots", geometry.slots)?;
        let snapshot =
            |_| Array::map("forkchat-snapshot", geometry.snapshot_bytes_max.div_ceil(8) + 1);
        let log = EventLog {
            geometry,
            header: map_shared("forkchat-log")?,
            ring: Array::map(
                "forkchat-ring",
                geometry.ring_blocks() as usize * header::BLOCK_WORDS,
            )?,
            slots,
            bells: slots
                .iter()
                .map(|slot| Doorbell::new(&slot.asleep))
                .collect::<nix::Result<_>>()
                .map_err(no_bell)?,
            cells: Array::map("forkchat-cells", geometry.sessions_max)?,
            snapshots: (0..header::SNAPSHOT_BUFFERS).map(snapshot).collect::<Result<_, _>>()?,
            #[cfg(test)]
            simulated_uptime: AtomicU64::new(0),
            #[cfg(test)]
            simulated_wall_ahead: AtomicI64::new(0),
        };
        log.header.lock.init()?;
        log.begin();
        Ok(Box::leak(Box::new(log)))
    }

    /// Sets the clock, and the first sequence: the time in µs, so that sequences grow from run to
    /// run.
    fn begin(&self) {
        self.header
            .clock_offset
            .store(wall_clock().saturating_sub(self.uptime().0), Ordering::Relaxed);
        self.header.last_time.store(self.now().0, Ordering::Relaxed);
        self.begin_at(self.now().0);
    }

    /// Begins above `used`, if it was to begin lower: the clock was set back since an earlier run.
    /// To be called before the first fork.
    pub fn begin_above(&self, used: Sequence) {
        if used >= self.first() {
            self.begin_at(used.0 + 1);
        }
    }

    fn begin_at(&self, first: u64) {
        self.header.first.store(first, Ordering::Relaxed);
        self.header.tail.store(first, Ordering::Release);
        self.header.least.store(first, Ordering::Relaxed);
        self.header
            .snapshot
            .store(snapshots::Published::none(Sequence(first)).word(), Ordering::Release);
        for slot in self.slots.iter() {
            slot.cursor.store(header::NOBODY, Ordering::Release);
            slot.stable.store(header::NOBODY, Ordering::Release);
        }
    }

    /// Whether the log is as long and wide as this.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// The slots in which a process ever began, and some between them: with a slot for each
    /// connection most are still unused.
    fn slots_used(&self) -> &'static [SlotState] {
        &self.slots[..self.header.slots_used.load(Ordering::Acquire) as usize]
    }

    /// The run's first sequence.
    pub fn first(&self) -> Sequence {
        Sequence(self.header.first.load(Ordering::Relaxed))
    }

    /// The place behind the last published record.
    pub fn tail(&self) -> Sequence {
        // SYNC tail-publish: with the store at the end of `append`.
        Sequence(self.header.tail.load(Ordering::Acquire))
    }

    /// The bell of the process in `slot`.
    pub fn bell(&self, slot: Slot) -> &Doorbell {
        &self.bells[slot.index()]
    }

    /// All bells. A process needs them all, those of slots that aren't used yet too: whom it will
    /// have to wake is not known when it is forked. In ascending order of their numbers: each was
    /// given the lowest number that was free, and none was given back between.
    pub fn bells(&'static self) -> impl Iterator<Item = BorrowedFd<'static>> + Clone {
        self.bells.iter().map(AsFd::as_fd)
    }

    /// The time as the log counts it: the same clock in every process, and one that makes no step
    /// and never runs backwards. It began as the wall clock; how far that has been set ahead or
    /// back since is [`EventLog::wall_ahead`].
    pub fn now(&self) -> Micros {
        self.uptime().plus(self.header.clock_offset.load(Ordering::Relaxed))
    }

    /// How far the wall clock is ahead of the log's, in µs; negative if it was set back. For the
    /// one process that records it.
    pub fn wall_ahead(&self) -> i64 {
        #[cfg(test)]
        if let ahead = self.simulated_wall_ahead.load(Ordering::Relaxed)
            && (ahead != 0 || self.simulated_uptime.load(Ordering::Relaxed) != 0)
        {
            return ahead;
        }
        wall_clock().cast_signed().saturating_sub(self.now().0.cast_signed())
    }

    /// Time since the machine started, for what takes a certain time: it makes no step.
    pub fn uptime(&self) -> Micros {
        #[cfg(test)]
        if let simulated @ 1.. = self.simulated_uptime.load(Ordering::Relaxed) {
            return Micros(simulated);
        }
        // Includes the time that the machine was suspended. Can't fail: the clock exists since
        // Linux 2.6.39.
        Micros(micros(
            clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default(),
        ))
    }

    /// Lets time pass in a simulation; from the first call on it passes in no other way.
    #[cfg(test)]
    pub fn pass_time(&self, micros: u64) {
        self.simulated_uptime.fetch_add(micros, Ordering::Relaxed);
    }

    /// Sets the wall clock ahead of the log's in a simulation.
    #[cfg(test)]
    pub fn set_wall_ahead(&self, micros: i64) {
        self.simulated_wall_ahead.store(micros, Ordering::Relaxed);
    }

    /// Who holds the log's lock now.
    pub fn lock_holder(&self) -> Option<crate::ipc::mutex::Holder> {
        self.header.lock.holder()
    }

    /// Takes the log's lock and keeps it, as one does who is stopped in the middle of an append.
    /// For tests of the watchdog.
    #[cfg(test)]
    pub fn hold_lock(&self, me: Slot) -> crate::ipc::mutex::Guard {
        self.header.lock.lock(me.0.into(), Duration::ZERO).unwrap()
    }

    /// Makes an empty log of a used one, for the next simulated run.
    #[cfg(test)]
    pub fn wipe(&self) {
        self.cells.iter().for_each(|cell| cell.store([0; 4]));
        self.header.cells_used.store(0, Ordering::Relaxed);
        self.header.slots_used.store(0, Ordering::Relaxed);
        self.header
            .snapshot_sequences
            .iter()
            .for_each(|sequence| sequence.store(0, Ordering::Relaxed));
        self.begin();
    }
}

/// Microseconds since 1970-01-01 UTC, as the machine's clock has it: it may be set ahead and back.
fn wall_clock() -> u64 {
    micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn no_bell(errno: Errno) -> io::Error {
    io::Error::other(format!("eventfd2: {errno}"))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
