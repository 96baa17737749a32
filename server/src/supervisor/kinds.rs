//! The kinds of processes, a row each, with all that differs between them. The files that fork,
//! reap and schedule processes read these rows.
//!
//! | slot | process |
//! |---|---|
//! | 0 | the journal |
//! | 1 to `--workers` | the permanent workers |
//! | the others | a worker for each connection, in a model that forks one per connection |
//!
//! Users see a worker's number, which is its slot's index minus one ([`Slot::worker_number`]). The
//! log process has no slot, since it does not read the log, and no row: see `log_process`.

use crate::journal::{self, JournalConfig};
use crate::models::{Model, Placement};
use crate::role::count;
use crate::segment::Segment;
use crate::stand_in::Post;
use crate::worker::{self, ServingConfig, Start};
use forkchat_common::ids::Slot;
use std::iter::repeat_n;
use std::time::Duration;

/// The rows, in the order of their slots.
pub(super) static KINDS: [&Kind; 3] = [&JOURNAL, &WORKER, &OWN_WORKER];

pub(super) static JOURNAL: Kind = Kind {
    name: "journal",
    slots: |_| 1,
    run: run_journal,
    serves_clients: false,
    oom_score_above: 100,
    // A worker stands in for the journal then. During each attempt to restart it no snapshots are
    // made.
    crash_loop: Some(CrashLoop { crashes: 8, pause: Duration::from_secs(5) }),
    ends: Ends::WithTheServer,
    while_missing: "new lines wait in the ring until it is back, as long as there is room",
    kept: lines_missing,
};

pub(super) static WORKER: Kind = Kind {
    name: "worker",
    slots: |slots| slots.workers.into(),
    run: run_worker,
    serves_clients: true,
    oom_score_above: 300,
    crash_loop: None,
    ends: Ends::Never,
    while_missing: "its clients wait, and may be disconnected",
    kept: connections_kept,
};

/// A worker that was forked for one connection.
pub(super) static OWN_WORKER: Kind =
    Kind { slots: |slots| slots.own_workers, ends: Ends::WithItsConnection, ..WORKER };

/// The exit code of a process that has finished its work.
pub(super) const FINISHED: i32 = 0;
const _: () = assert!(worker::FINISHED == FINISHED && journal::FINISHED == FINISHED);

/// Extra slots for workers whose connection has ended but which still run while new connections
/// come: one for this many connections, and at most `ENDING_MAX`.
const ENDING_SHARE: usize = 8;
const ENDING_MAX: usize = 64;

/// A kind of process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    /// Its name in `ps` and in the log output; a worker's number follows.
    name: &'static str,
    /// How many slots this kind has.
    slots: fn(&Slots) -> usize,
    /// The main function of the process. It returns the exit code. The process has a [`Start`] if
    /// it serves clients.
    pub run: fn(&Work, Slot, Option<Start>) -> i32,
    /// Whether it serves clients. If so, the supervisor passes connections to it, it may stand in
    /// for the journal, and `--sched` and `--pin` apply to it.
    pub serves_clients: bool,
    /// How far its `oom_score_adj` is above the value that the server was started with.
    pub oom_score_above: i32,
    /// When the other processes continue without it because it keeps crashing; `None` for never.
    pub crash_loop: Option<CrashLoop>,
    /// When it ends by itself, with [`FINISHED`]. After any other end it is restarted.
    pub ends: Ends,
    /// What its absence means for the clients, for the log output.
    pub while_missing: &'static str,
    /// What a restart has kept or lost, for the log output after the new pid.
    pub kept: fn(&Restart) -> String,
}

/// How to treat a process that crashes again and again.
#[derive(Clone, Copy, Debug)]
pub(super) struct CrashLoop {
    /// After this many crashes in a row the other processes no longer wait for it, until it
    /// recovers.
    pub crashes: u32,
    /// The pause before each further restart.
    pub pause: Duration,
}

/// When a process ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// Never: the process is permanent.
    Never,
    /// When its connection has ended. Its slot is free then.
    WithItsConnection,
    /// When the server stops and the process has finished its work.
    WithTheServer,
}

/// What the operator wants to know about a restart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Restart {
    /// How many connections the process serves.
    pub connections: usize,
    /// How many lines of this run the history lacks so far.
    pub skipped: u64,
    /// Whether the other processes had continued without it.
    pub was_abandoned: bool,
}

/// How many slots there are for workers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slots {
    /// For permanent workers.
    pub workers: u16,
    /// For workers with a connection of their own, at most.
    pub own_workers: usize,
}

impl Slots {
    /// The slots for this many permanent workers and at most this many connections.
    pub fn new(model: &Model, workers: u16, connections_max: usize) -> Slots {
        let ending = (connections_max / ENDING_SHARE + 1).min(ENDING_MAX);
        let own_workers =
            if model.placement == Placement::Own { connections_max + ending } else { 0 };
        Slots { workers, own_workers }
    }

    /// The number of slots of all kinds together.
    pub fn count(&self) -> usize {
        KINDS.iter().map(|kind| (kind.slots)(self)).sum()
    }

    /// The slots of permanent processes, in order, each with its kind.
    pub fn always(&self) -> impl Iterator<Item = (Slot, &'static Kind)> {
        let always = KINDS.iter().filter(|kind| kind.ends != Ends::WithItsConnection);
        let kinds = always.flat_map(|&kind| repeat_n(kind, (kind.slots)(self)));
        (0..).map(Slot::at).zip(kinds)
    }
}

impl Kind {
    /// The name of the process in a slot of this kind: `worker 3`, `journal`.
    pub fn name(&self, slot: Slot) -> String {
        if self.serves_clients {
            format!("{} {}", self.name, slot.worker_number())
        } else {
            self.name.to_owned()
        }
    }
}

/// The data that children work with. It is created before the first fork and never changes.
#[derive(Debug)]
pub(super) struct Work {
    pub segment: &'static Segment,
    pub model: &'static Model,
    pub serving: ServingConfig,
    /// Bytes that the outboxes of a worker with a connection of its own may take together.
    pub own_outboxes: usize,
    pub journal: JournalConfig,
    /// The post of the worker that stands in for the journal.
    pub post: Post,
}

fn run_journal(work: &Work, slot: Slot, _: Option<Start>) -> i32 {
    work.post.wait_vacant();
    journal::run(work.segment, slot, &work.journal, work.segment.start_gate.party(slot.index()))
}

fn run_worker(work: &Work, slot: Slot, start: Option<Start>) -> i32 {
    let start = start.expect("a process that serves clients is given its start");
    let mut config = ServingConfig { pid: std::process::id(), ..work.serving.clone() };
    config.udp.take_if(|_| start.udp.is_none());
    if start.ends_with_connections {
        config.outboxes.together = work.own_outboxes;
    }
    (work.model.run)(work.segment, slot, config, start)
}

fn connections_kept(restart: &Restart) -> String {
    format!("; {} kept", count(restart.connections, "connection"))
}

fn lines_missing(restart: &Restart) -> String {
    let missing =
        || format!("; {} missing from the history so far", count(restart.skipped as usize, "line"));
    restart.was_abandoned.then(missing).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_in_the_first_slot_and_workers_are_numbered_after_it() {
        let slots = Slots { workers: 2, own_workers: 1 };
        let names: Vec<String> = slots.always().map(|(slot, kind)| kind.name(slot)).collect();
        assert_eq!(names, ["journal", "worker 0", "worker 1"]);
        assert_eq!(slots.always().next().map(|(slot, _)| slot), Some(Slot::JOURNAL));
        assert_eq!((slots.count(), OWN_WORKER.name(Slot::at(3)).as_str()), (4, "worker 2"));
        assert_eq!(Slot::FIRST_WORKER.worker_number(), 0);
    }
}
