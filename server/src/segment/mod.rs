//! The segment: the one piece of shared memory that holds everything the server's processes have in
//! common.
//!
//! The supervisor creates it before the first fork, as one memfd that it maps once; its children
//! inherit the mapping. `/proc/PID/maps` shows it as `forkchat-segment`. No process unmaps it: the
//! memory is freed when the last process that maps it ends. Every section is sized for the largest
//! number of processes and sessions that may run; the kernel allocates a page when it is first
//! written. The supervisor keeps the descriptor ([`Segment::descriptor`]), and another program can
//! attach the same segment with it ([`Segment::attach`]). Where memfds are refused, or a limit on
//! file sizes (`ulimit -f`) forbids one, the segment is an anonymous shared mapping. Everything
//! else works the same then, but the segment has no name and no descriptor, and other programs
//! can't attach it.
//!
//! ```text
//! ┌────────┬───────┬───────────┬─────────┬───────────┬─────────┬─────┬─────────────┬──
//! │ header │ clock │ doorbells │ cursors │ snapshots │ buffers │ log │ checkpoints │ …
//! └────────┴───────┴───────────┴─────────┴───────────┴─────────┴─────┴─────────────┴──
//! ```
//!
//! | file | contents | written by |
//! |---|---|---|
//! | `header` | the layout: version, sizes, where each section lies | the creator, once |
//! | `clock` | the clock that all processes share | the creator, once |
//! | `doorbells` | which processes sleep, and which wait for space in the ring; waking them | each process its own entry, and the processes that wake it |
//! | `log` | the ring of records: writing, reading, each process's cursor | all processes |
//! | `published` | which snapshot is published | the journal |
//! | `snapshots` | the chat state at a sequence, from which a new process starts | the journal |
//! | `checkpoints` | how much of each session's output has been written; successors and snapshots depend on it | the session's worker |
//! | `heartbeats` | what the watchdog observes of each process | each process its own entry |
//! | `quarantine` | what each thread works on, and what is quarantined because processes crash on it | each process its own entry; the supervisor |
//! | `counters` | what was stored, what was dropped | the journal; the workers |
//! | `step` | points at which the simulation kills a process | |
//!
//! Four more sections are primitives of [`ipc`](crate::ipc), or a single word: `admission`,
//! `start_gate`, `stopping`, `stand_in`. The counter of lost log output is not a section: the
//! process that writes the log output starts before the segment's size is known.
//!
//! Every structure here consists of words without pointers, and all zeroes is a valid state. (The C
//! library keeps pointers in a mutex while it is locked; only the owner uses them.)
//!
//! What a killed writer leaves behind at each step of an append:
//!
//! | killed | left behind | repaired by |
//! |---|---|---|
//! | before it takes the lock | nothing | |
//! | holding the lock, before it stores the tail | bytes after the tail | no repair needed: the next writer gets the lock with `owner_died`, and overwrites the bytes |
//! | holding the lock, after it stored the tail | a published batch | the next writer gets the lock; the batch is valid |
//! | before it wakes the others | processes that sleep although there are new records | the supervisor, which rings all doorbells when it reaps a process |
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
pub use quarantine::{Quarantine, Treatment, WorkItem};
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

/// A process's view of the segment.
#[derive(Debug)]
pub struct Segment {
    /// The sizes of the sections.
    pub geometry: Geometry,
    /// The clock that all processes share.
    pub clock: Clock,
    /// Which processes sleep; wakes them.
    pub doorbells: &'static Doorbells,
    /// How far each process has read the log and written its sessions' output.
    pub cursors: Cursors,
    /// The chat state from which a new process starts.
    pub snapshots: Snapshots,
    /// The event log.
    pub log: Log,
    /// How much of each session's output has been written.
    pub checkpoints: Checkpoints,
    /// What the watchdog observes of each process.
    pub heartbeats: Heartbeats,
    /// What each thread works on, and what is quarantined.
    pub quarantine: Quarantine,
    /// Counters that outlive every process.
    pub counters: &'static Counters,
    /// One unit for each connection that the server allows. The supervisor initialises it.
    pub admission: &'static Semaphore,
    /// The supervisor opens it when every process is ready.
    pub start_gate: StartGate,
    /// Set when the server stops.
    pub stopping: Event,
    /// Which worker stands in for the journal while there is no journal.
    pub stand_in: &'static AtomicU64,
    /// The memfd's descriptor, and the process in which it is open.
    file: Option<(OwnedFd, Pid)>,
}

/// The sections in the order of their offsets, and the length of each in bytes.
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
    /// Creates and maps an empty segment for this process and the processes that it forks.
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

    /// Maps the segment that `file` refers to: a descriptor from [`Segment::descriptor`], in this
    /// process or another one. The doorbells' descriptors are new: they wake the processes that
    /// this process forks afterwards, but not those that another process forked.
    ///
    /// # Errors
    /// If the file is not a segment, or has a layout that this program doesn't understand.
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

    /// Divides the mapping into its sections, in the order of their offsets.
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

    /// Sets the clock and the run's first sequence.
    fn begin(&self) {
        self.clock.start();
        self.log.begin(self.clock.now());
    }

    /// The descriptor with which other processes can attach the segment. `None` where the system
    /// refuses memfds, and in a child, which inherits the mapping but not the descriptor.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().filter(|(_, owner)| *owner == getpid()).map(|(file, _)| file.as_fd())
    }

    /// Registers a new process in `slot`: sets the slot's cursor to the published snapshot, which
    /// keeps the snapshot and the records after it. Returns the snapshot's sequence and bytes;
    /// `None` for the empty state. What an earlier process in the slot had published as written
    /// stays published.
    pub fn join(&self, slot: Slot) -> Result<(Sequence, Option<Vec<u8>>), LockError> {
        let published = self.log.join(slot)?;
        Ok((published.sequence, self.snapshots.read(published)))
    }

    /// Clears the state of the slot's threads, before a new process starts in the slot.
    pub fn reset_threads(&self, slot: Slot) {
        self.heartbeats.reset(slot);
        self.quarantine.reset(slot);
    }

    /// Empties a used segment for the next simulated run.
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
