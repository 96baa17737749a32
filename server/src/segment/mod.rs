//! The segment: all that the server's processes share, in one piece of memory.
//!
//! The supervisor creates it before the first fork, as one memfd that it maps once; its children
//! inherit the mapping. `/proc/PID/maps` shows it as `forkchat-segment`. It is never unmapped and
//! ends with the last process that has it. Sections are made for the most that may ever run; the
//! kernel allocates a page when it is first written. The supervisor keeps the descriptor
//! ([`Segment::descriptor`]), by which another program can attach the same segment
//! ([`Segment::attach`]). Where memfds are refused, or a limit on file sizes (`ulimit -f`) forbids
//! one, the segment is an anonymous shared mapping: everything works the same, but it has no name,
//! no descriptor, and can't be attached.
//!
//! ```text
//! ┌────────┬───────┬───────────┬─────────┬───────────┬─────────┬─────┬─────────────┬──
//! │ header │ clock │ doorbells │ cursors │ snapshots │ buffers │ log │ checkpoints │ …
//! └────────┴───────┴───────────┴─────────┴───────────┴─────────┴─────┴─────────────┴──
//! ```
//!
//! | file | what it holds | written by |
//! |---|---|---|
//! | `header` | what the segment is, how large, and where each section lies | its creator, once |
//! | `clock` | the clock that all processes have in common | its creator, once |
//! | `doorbells` | which processes sleep, and which wait for room; waking them | each process its own, and those that wake it |
//! | `log` | the ring of records: writing, reading, the cursor of each process | all |
//! | `published` | which snapshot is published | the journal |
//! | `snapshots` | the state at some sequence, from which a successor starts | the journal |
//! | `checkpoints` | how much of each session's output has been written: successors and snapshots depend on it | the session's worker |
//! | `heartbeats` | what the watchdog sees of each process | each process its own |
//! | `quarantine` | what each thread works on, and what is quarantined because processes crash at it | each process its own; the supervisor |
//! | `counters` | what was stored, what was dropped | the journal; the workers |
//! | `step` | points at which the simulation kills a process | |
//!
//! Four more sections are primitives of [`ipc`](crate::ipc), or a word: `admission`, `start_gate`,
//! `stopping`, `stand_in`. The counter of lost log lines is no section: the log process exists
//! before the segment's size is known.
//!
//! Every structure here is made of words, without pointers, and all zeroes is a valid state. (The C
//! library keeps pointers in a mutex while it is locked; only the owner uses them.)
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
mod clock;
mod counters;
mod doorbells;
mod header;
mod heartbeats;
mod log;
mod published;
mod quarantine;
mod snapshots;
mod step;

pub use checkpoints::{Checkpoint, Checkpoints};
pub use clock::Clock;
pub use counters::{Counters, Dropped, Tally};
pub use doorbells::Doorbells;
pub use header::{AttachError, Geometry};
pub use heartbeats::{Heartbeats, Thread};
pub use log::{
    AppendError, BLOCK_BYTES, Batch, Cursors, Entry, Log, RING_BYTES_MAX, RING_BYTES_MIN, Reader,
};
pub use published::SNAPSHOT_BUFFERS;
pub use quarantine::{Place, Quarantine, Treatment};
pub use snapshots::{SnapshotWriter, Snapshots};
#[cfg(test)]
pub use step::simulated;
pub use step::step;

use crate::ipc::event::Event;
use crate::ipc::event_count::EventCount;
use crate::ipc::mutex::LockError;
use crate::ipc::semaphore::Semaphore;
use crate::ipc::start_gate::StartGate;
use crate::sys::memory::Mapping;
use forkchat_common::ids::{Sequence, Slot};
use header::{Header, Kind, Sections};
use nix::unistd::{Pid, getpid};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU64;

/// The segment, as every process has it.
#[derive(Debug)]
pub struct Segment {
    /// How large it is.
    pub geometry: Geometry,
    /// The clock.
    pub clock: Clock,
    /// Which processes sleep; waking them.
    pub doorbells: &'static Doorbells,
    /// How far each process has read, and written what it rendered.
    pub cursors: Cursors,
    /// The state from which successors start.
    pub snapshots: Snapshots,
    /// The event log.
    pub log: Log,
    /// How much of each session's output has been written.
    pub checkpoints: Checkpoints,
    /// What the watchdog sees.
    pub heartbeats: Heartbeats,
    /// What each thread works on, and what is quarantined.
    pub quarantine: Quarantine,
    /// What is counted.
    pub counters: &'static Counters,
    /// A unit for each connection that there may be. The supervisor makes it usable.
    pub admission: &'static Semaphore,
    /// Opened when every process is ready.
    pub start_gate: StartGate,
    /// Set when the server stops.
    pub stopping: Event,
    /// Which worker stands in for the journal.
    pub stand_in: &'static AtomicU64,
    /// The descriptor, and the process in which it is open.
    file: Option<(OwnedFd, Pid)>,
}

/// The sections in the order in which they lie, and the length of each in bytes.
fn sections(geometry: Geometry) -> [(Kind, usize); 14] {
    let Geometry { slots, sessions_max, snapshot_bytes_max, .. } = geometry;
    [
        (Kind::Clock, Clock::bytes()),
        (Kind::Doorbells, Doorbells::bytes(slots)),
        (Kind::Cursors, Cursors::bytes(slots)),
        (Kind::Snapshots, Snapshots::bytes()),
        (Kind::SnapshotBuffers, Snapshots::buffers_bytes(snapshot_bytes_max)),
        (Kind::Log, Log::bytes(geometry)),
        (Kind::Checkpoints, Checkpoints::bytes(sessions_max)),
        (Kind::Heartbeats, Heartbeats::bytes(slots)),
        (Kind::Quarantine, Quarantine::bytes(slots)),
        (Kind::Counters, size_of::<Counters>()),
        (Kind::Admission, size_of::<Semaphore>()),
        (Kind::StartGate, StartGate::bytes(slots)),
        (Kind::Stopping, size_of::<EventCount>()),
        (Kind::StandIn, size_of::<AtomicU64>()),
    ]
}

impl Segment {
    /// Maps an empty segment for this process and those that it will fork.
    ///
    /// # Errors
    /// `ENOMEM`, `EMFILE`.
    pub fn create(geometry: Geometry) -> io::Result<&'static Segment> {
        let header = Header::new(geometry, &sections(geometry));
        let (mapping, file) = Mapping::create("forkchat-segment", header.bytes())?;
        let mut sections = Sections::new(mapping, header);
        let segment = Segment::of(geometry, &mut sections, file)?;
        segment.log.init()?;
        segment.begin();
        sections.complete();
        Ok(Box::leak(Box::new(segment)))
    }

    /// Maps the segment behind a descriptor, which [`Segment::descriptor`] returned in this process
    /// or another. Its doorbells are new ones: they wake the processes that this one forks
    /// afterwards, and none that others forked.
    ///
    /// # Errors
    /// If it is no segment, or one that this program doesn't understand.
    pub fn attach(file: OwnedFd) -> Result<&'static Segment, AttachError> {
        let file = File::from(file);
        let header = Header::read(&file)?;
        let geometry = header.geometry();
        header.check(&sections(geometry))?;
        let mapping = Mapping::attach(file.as_fd(), header.bytes())
            .map_err(|error| AttachError::Io("map", error))?;
        let mut sections = Sections::new(mapping, header);
        let segment = Segment::of(geometry, &mut sections, Some(file.into()))
            .map_err(|error| AttachError::Io("make the doorbells of", error))?;
        Ok(Box::leak(Box::new(segment)))
    }

    /// The sections are taken in the order in which they lie.
    fn of(
        geometry: Geometry,
        sections: &mut Sections,
        file: Option<OwnedFd>,
    ) -> io::Result<Segment> {
        let clock = Clock::new(sections.one(Kind::Clock));
        let doorbells = Doorbells::new(sections.head_and_rows(Kind::Doorbells))
            .map_err(|errno| io::Error::other(format!("eventfd2: {errno}")))?;
        let doorbells: &'static Doorbells = Box::leak(Box::new(doorbells));
        let cursors = Cursors::new(sections.rows(Kind::Cursors), doorbells);
        let snapshots =
            Snapshots::new(sections.one(Kind::Snapshots), sections.rows(Kind::SnapshotBuffers));
        let log = sections.head_and_rows(Kind::Log);
        Ok(Segment {
            geometry,
            clock,
            doorbells,
            cursors,
            log: Log::new(geometry, log, cursors, snapshots.word()),
            snapshots,
            checkpoints: Checkpoints::new(sections.head_and_rows(Kind::Checkpoints)),
            heartbeats: Heartbeats::new(sections.rows(Kind::Heartbeats)),
            quarantine: Quarantine::new(sections.head_and_rows(Kind::Quarantine)),
            counters: sections.one(Kind::Counters),
            admission: sections.one(Kind::Admission),
            start_gate: StartGate::new(sections.head_and_rows(Kind::StartGate)),
            stopping: Event::new(sections.one(Kind::Stopping)),
            stand_in: sections.one(Kind::StandIn),
            file: file.map(|file| (file, getpid())),
        })
    }

    /// Sets the clock, and the first sequence.
    fn begin(&self) {
        self.clock.start();
        self.log.begin(self.clock.now());
    }

    /// The descriptor by which other processes can attach the segment. `None` where the system
    /// refuses memfds, and in a child, which inherits the mapping and not the descriptor.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().filter(|(_, owner)| *owner == getpid()).map(|(file, _)| file.as_fd())
    }

    /// Begins the life of a process in `slot`: takes the published snapshot, and protects it and
    /// what follows with the slot's cursor. Returns its sequence and bytes; `None` for the empty
    /// state. What an earlier process in the slot had published as sent stays so.
    pub fn join(&self, slot: Slot) -> Result<(Sequence, Option<Vec<u8>>), LockError> {
        let published = self.log.join(slot)?;
        Ok((published.sequence, self.snapshots.read(published)))
    }

    /// Another process is about to begin in a slot.
    pub fn rest_threads(&self, slot: Slot) {
        self.heartbeats.rest(slot);
        self.quarantine.rest(slot);
    }

    /// Makes an empty segment of a used one, for the next simulated run.
    #[cfg(test)]
    pub fn wipe(&self) {
        self.checkpoints.wipe();
        self.doorbells.wipe();
        self.snapshots.wipe();
        self.begin();
    }
}

#[cfg(test)]
mod tests;
