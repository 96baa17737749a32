//! The table of processes. A slot stays; the process in it changes.

use super::carried_over::{FAILURES_MAX, Settings};
use super::connections::Connections;
use super::cpu_use::is_stopped;
use super::kinds::{Ends, GivesUp, Kind, OWN_WORKER, Slots};
use crate::channel::{SupervisorEnd, ToWorker};
use crate::ipc::queue::SendError;
use forkchat_common::ids::{SessionId, Slot};
use nix::sys::epoll::Epoll;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// The first pause before a process is started again that died by its own doing; doubled each time.
const BACKOFF_MIN: Duration = Duration::from_millis(10);
/// The longest.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// The longest when the server ends: there is little time left.
const BACKOFF_MAX_AT_END: Duration = Duration::from_millis(100);
/// A process that lived this long has recovered: the next pause is the first again.
const RECOVERED: Duration = Duration::from_secs(10);
/// One that is stopped is looked at again after this: when the whole server is stopped and goes on
/// (Ctrl-Z, fg), the supervisor may be the first.
pub(super) const STOPPED: Duration = Duration::from_millis(20);
/// The others wait no longer for a process that can't be started, or that was killed and is not
/// gone.
const ABANDONED: Duration = Duration::from_secs(2);

/// Why we killed a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Somebody stopped it (SIGSTOP); no doing of its own.
    Stopped,
    /// It kept the log's lock.
    KeptLock,
    /// It read nothing of the log.
    ReadNothing,
    /// One of its threads didn't come to an end.
    Busy,
    /// One of its threads stands still between two turns.
    Frozen,
    /// It was at a record that was others' death.
    Hangs,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Stopped => "was stopped",
            Fault::KeptLock => "held the log's lock for 2 s",
            Fault::ReadNothing => "read nothing of the log for 2 s",
            Fault::Busy => "was busy with one thing for 2 s",
            Fault::Frozen => "had a thread that did not answer for 2 s",
            Fault::Hangs => "was at a record at which other processes crashed",
        })
    }
}

/// A slot.
#[derive(Debug)]
pub(super) struct Child {
    pub slot: Slot,
    pub kind: &'static Kind,
    pub pid: Option<Pid>,
    pub channel: Option<SupervisorEnd>,
    /// What is to be said to it and wasn't yet, in order: the queue may be full, or nobody there.
    backlog: VecDeque<(ToWorker, Descriptor)>,
    /// When it is to be started, if it isn't running.
    pub respawn_at: Option<Instant>,
    pub started_at: Instant,
    /// Deaths by its own doing, one after another.
    pub deaths: u32,
    /// When it was reported to be stopped.
    pub stopped_at: Option<Instant>,
    /// Why we killed it, if we did.
    pub killed_because: Option<Fault>,
    /// Why it could not be forked, until it is: logged once.
    pub fork_failure: Option<String>,
    /// How its predecessor died, until the successor is there and both are told in one line.
    pub last_death: Option<String>,
    /// When it died, until a successor is there.
    pub died_at: Option<Instant>,
    /// When we killed it, until it is reaped.
    killed_at: Option<Instant>,
    /// The others wait neither for it nor for a successor any more.
    pub is_dropped: bool,
    pub is_drained: bool,
    /// What the supervisor gave to the process that runs in it, or ran last.
    pub given: Box<Settings>,
    /// What was set from outside on it or a predecessor, for successors to take on.
    pub carried_over: Option<Box<Settings>>,
    /// Failures under that, one after another.
    failures: u32,
}

#[derive(Debug)]
enum Descriptor {
    /// The session's socket, which the connections keep.
    Of(SessionId),
    /// One that nobody else keeps.
    Own(OwnedFd),
}

/// All slots, as [`super::kinds`] has them in order: those of workers with one connection as far as
/// they were ever used.
#[derive(Debug)]
pub(super) struct Children {
    table: Vec<Child>,
    /// The most slots that there may be.
    max: usize,
    /// Connections to be rejected that wait for a worker's queue, and how many may.
    rejected: usize,
    rejected_max: usize,
    /// Slots of workers with one connection that have none. The lowest is given first, so that the
    /// table stays short.
    vacant: BTreeSet<Slot>,
}

impl Children {
    /// The slots in which a process is always there, with nothing in them; later perhaps others. At
    /// most `rejected_max` connections wait to be rejected.
    pub fn new(slots: &Slots, rejected_max: usize) -> Children {
        let table = slots.always().map(|(slot, kind)| Child::new(slot, kind)).collect();
        let max = slots.count();
        Children { table, max, rejected: 0, rejected_max, vacant: BTreeSet::new() }
    }

    /// All slots that there are so far.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        (0..self.table.len() as u16).map(Slot::at)
    }

    /// A slot for a worker with one connection; `None` if there are as many as there may be.
    pub fn take_vacant(&mut self) -> Option<Slot> {
        if let Some(slot) = self.vacant.pop_first() {
            return Some(slot);
        }
        let slot = Slot::at(
            u16::try_from(self.table.len()).ok().filter(|&slot| usize::from(slot) < self.max)?,
        );
        self.table.push(Child::new(slot, &OWN_WORKER));
        Some(slot)
    }

    /// A worker with one connection is gone, and so is the connection.
    pub fn vacate(&mut self, slot: Slot) {
        *self.get(slot) = Child::new(slot, &OWN_WORKER);
        self.vacant.insert(slot);
    }

    /// A slot.
    pub fn get(&mut self, slot: Slot) -> &mut Child {
        &mut self.table[slot.index()]
    }

    /// The kind of process that a slot is for.
    pub fn kind(&self, slot: Slot) -> &'static Kind {
        self.table[slot.index()].kind
    }

    /// What the next process in a slot is to take on of what was set from outside.
    pub fn carried_over(&self, slot: Slot) -> Option<&Settings> {
        self.table[slot.index()].carried_over.as_deref()
    }

    /// What the process in a slot is called.
    pub fn name(&self, slot: Slot) -> String {
        self.table[slot.index()].name()
    }

    /// The slot that a process is in.
    pub fn slot_of(&self, pid: Pid) -> Option<Slot> {
        self.table.iter().find(|child| child.pid == Some(pid)).map(|child| child.slot)
    }

    /// The slots in which a process runs.
    pub fn alive(&self) -> Vec<Slot> {
        self.table.iter().filter(|child| child.pid.is_some()).map(|child| child.slot).collect()
    }

    /// The slots in which a process runs that is to move: not those that were killed and can't die.
    pub fn watched(&self) -> Vec<Slot> {
        self.table
            .iter()
            .filter(|child| child.pid.is_some() && !child.is_dropped)
            .map(|child| child.slot)
            .collect()
    }

    /// A worker that runs, to stand in for the journal: of those that are always there, if any is.
    pub fn to_stand_in(&self) -> Option<Slot> {
        let runs = |child: &&Child| {
            child.kind.serves_clients && child.pid.is_some() && child.killed_at.is_none()
        };
        self.table
            .iter()
            .filter(runs)
            .min_by_key(|child| child.kind.ends != Ends::Never)
            .map(|child| child.slot)
    }

    /// The process in a slot, if one runs.
    pub fn pid(&self, slot: Slot) -> Option<Pid> {
        self.table[slot.index()].pid
    }

    /// The queue to a worker.
    pub fn channel(&self, slot: Slot) -> Option<&SupervisorEnd> {
        self.table.get(slot.index())?.channel.as_ref()
    }

    /// Nothing will come from there any more.
    pub fn close_channel(&mut self, slot: Slot, epoll: &Epoll) {
        if let Some(channel) = self.table[slot.index()].channel.take() {
            let _ = epoll.delete(channel.as_fd());
        }
    }

    /// When one that was stopped is to be looked at again.
    pub fn next_look(&self) -> Option<Instant> {
        self.table.iter().filter_map(|child| child.stopped_at).min().map(|at| at + STOPPED)
    }

    /// Slots for which the others can't wait any longer, each once: no process could be started
    /// there for too long, or none will be for as long, or the one that we killed is still not
    /// gone, since the kernel works for it. What a system call waits for (a disk that hangs, a
    /// frozen control group) may last for ever.
    pub fn take_abandoned(&mut self, now: Instant) -> Vec<Slot> {
        let is_long_ago =
            |at: Option<Instant>| at.is_some_and(|at| now.duration_since(at) > ABANDONED);
        let is_far = |at: Option<Instant>| {
            at.is_some_and(|at| at.saturating_duration_since(now) > ABANDONED)
        };
        let is_due = |child: &&mut Child| {
            let is_missing = match child.pid {
                Some(_) => is_long_ago(child.killed_at),
                // A journal that has ended as it should isn't missed.
                None => {
                    !child.is_drained && (is_long_ago(child.died_at) || is_far(child.respawn_at))
                }
            };
            is_missing && !child.is_dropped
        };
        self.table.iter_mut().filter(is_due).map(|child| child.give_up()).collect()
    }

    /// Those that were stopped a moment ago and still are.
    pub fn take_stopped(&mut self, now: Instant) -> Vec<Slot> {
        let is_due = |child: &&mut Child| child.stopped_at.is_some_and(|at| now >= at + STOPPED);
        let due = self.table.iter_mut().filter(is_due);
        due.filter_map(|child| {
            child
                .stopped_at
                .take()
                .and(child.pid)
                .filter(|&pid| is_stopped(pid))
                .map(|_| child.slot)
        })
        .collect()
    }

    /// Those who wait to be started again are started now.
    pub fn hasten_respawns(&mut self) {
        let now = Instant::now();
        self.table
            .iter_mut()
            .filter_map(|child| child.respawn_at.as_mut())
            .for_each(|at| *at = now.min(*at));
    }

    /// When the next process is to be started again.
    pub fn next_respawn(&self) -> Option<Instant> {
        self.table.iter().filter_map(|child| child.respawn_at).min()
    }

    /// Kills the process in a slot. Its death is then reaped like any other.
    pub fn kill(&mut self, slot: Slot, why: Fault) {
        let child = self.get(slot);
        if let Some(pid) = child.pid.filter(|_| child.killed_at.is_none()) {
            log::warn!("{} (pid {pid}) {why}; killing it", child.name());
            child.killed_because = Some(why);
            child.killed_at = Some(Instant::now());
            // It is ours and not reaped, so the pid is its.
            let _ = kill(pid, Signal::SIGKILL);
        }
    }

    /// The worker that has the fewest connections, of those that run if any does.
    pub fn least_loaded_worker(&self, connections: &Connections) -> Slot {
        let workers = self.table.iter().filter(|child| child.kind.ends == Ends::Never);
        let best = workers.min_by_key(|child| {
            (child.pid.is_none() || child.killed_at.is_some(), connections.count(child.slot))
        });
        best.map_or(Slot::FIRST_WORKER, |child| child.slot)
    }

    /// Says something to a worker, with a session's socket.
    pub fn send_socket_of(&mut self, slot: Slot, session: SessionId, message: ToWorker) {
        self.get(slot).backlog.push_back((message, Descriptor::Of(session)));
    }

    /// Says something to a worker, with a socket that is let go of here. Gives it back if as many
    /// wait as may.
    pub fn send_with(
        &mut self,
        slot: Slot,
        message: ToWorker,
        socket: OwnedFd,
    ) -> Result<(), OwnedFd> {
        if self.rejected >= self.rejected_max {
            return Err(socket);
        }
        self.rejected += 1;
        self.get(slot).backlog.push_back((message, Descriptor::Own(socket)));
        Ok(())
    }

    /// Whether something waits for a queue that a process reads.
    pub fn has_backlog(&self) -> bool {
        self.table
            .iter()
            .any(|child| child.channel.is_some() && !child.is_dropped && !child.backlog.is_empty())
    }

    /// Passes on what the queues have room for. Returns the sessions whose socket can't be passed
    /// on at all.
    pub fn pass_on(&mut self, connections: &Connections) -> Vec<SessionId> {
        let mut lost = Vec::new();
        for child in self.table.iter_mut().filter(|child| !child.backlog.is_empty()) {
            self.rejected -= child.pass_on(connections, &mut lost);
        }
        lost
    }

    /// Whether the journal has stored everything.
    pub fn is_journal_done(&self) -> bool {
        self.table[Slot::JOURNAL.index()].is_drained
    }

    /// A worker says that nothing is left to send, or the journal has ended as it should.
    pub fn set_drained(&mut self, slot: Slot) {
        self.get(slot).is_drained = true;
    }

    /// Whether every worker has said so, and the journal has stored everything.
    pub fn are_drained(&self) -> bool {
        self.table.iter().all(|child| child.is_drained || self.vacant.contains(&child.slot))
    }
}

impl Child {
    /// Nothing runs in it.
    fn new(slot: Slot, kind: &'static Kind) -> Child {
        Child {
            slot,
            kind,
            pid: None,
            channel: None,
            backlog: VecDeque::new(),
            respawn_at: None,
            started_at: Instant::now(),
            deaths: 0,
            stopped_at: None,
            killed_because: None,
            fork_failure: None,
            last_death: None,
            died_at: None,
            killed_at: None,
            is_dropped: false,
            is_drained: false,
            given: Box::default(),
            carried_over: None,
            failures: 0,
        }
    }

    /// `worker 3`, `journal`.
    pub fn name(&self) -> String {
        self.kind.name(self.slot)
    }

    /// A process was started in it. With the sessions that its predecessor had it was given those
    /// that were still to be handed over.
    pub fn begin(&mut self, pid: Pid, channel: Option<SupervisorEnd>) {
        self.backlog.retain(|(_, descriptor)| !matches!(descriptor, Descriptor::Of(_)));
        (self.pid, self.channel, self.started_at) = (Some(pid), channel, Instant::now());
        (self.respawn_at, self.stopped_at, self.killed_because, self.is_drained) =
            (None, None, None, false);
        (self.died_at, self.killed_at, self.is_dropped, self.fork_failure) =
            (None, None, false, None);
    }

    /// How it goes on if it crashes again and again and no process waits for it any more.
    pub fn crashes_on(&self) -> Option<GivesUp> {
        self.kind.gives_up.filter(|gives_up| self.deaths >= gives_up.crashes)
    }

    /// Whether the kernel may have killed it since a control group that an operator moved it to has
    /// too little memory: it lived for a moment only, and the next may live no longer.
    pub fn may_lack_memory(&self) -> bool {
        self.carried_over.as_ref().is_some_and(|settings| settings.has_group())
            && self.started_at.elapsed() < BACKOFF_MAX
    }

    /// It failed. Returns what was set from outside if so many failed under that one after another
    /// that their successor is to begin without it.
    pub fn count_failure(&mut self) -> Option<Box<Settings>> {
        if self.carried_over.is_none() || self.started_at.elapsed() > RECOVERED {
            self.failures = 0;
        }
        self.failures += u32::from(self.carried_over.is_some());
        self.carried_over.take_if(|_| self.failures >= FAILURES_MAX)
    }

    fn give_up(&mut self) -> Slot {
        self.is_dropped = true;
        self.slot
    }

    /// Returns how many of those that are to be rejected no longer wait.
    fn pass_on(&mut self, connections: &Connections, lost: &mut Vec<SessionId>) -> usize {
        let mut rejected = 0;
        let Some(channel) = &self.channel else { return 0 };
        while let Some((message, descriptor)) = self.backlog.front() {
            let sent = match descriptor {
                Descriptor::Own(socket) => channel.send(message, Some(socket.as_fd())),
                Descriptor::Of(session) => match connections.socket(*session) {
                    Some(socket) => channel.send(message, Some(socket)),
                    // It is over already.
                    None => Ok(()),
                },
            };
            match sent {
                Ok(()) => {}
                Err(SendError::Full | SendError::Closed) => break,
                Err(SendError::System(errno)) => {
                    log::error!("cannot pass a message to {}: {errno}", self.name());
                    if let Descriptor::Of(session) = descriptor {
                        lost.push(*session);
                    }
                }
            }
            rejected += usize::from(matches!(descriptor, Descriptor::Own(_)));
            self.backlog.pop_front();
        }
        rejected
    }

    /// How long to wait before it is started again, given whether the server ends.
    pub fn backoff(&mut self, by_its_own_doing: bool, is_stopping: bool) -> Duration {
        if !by_its_own_doing {
            return Duration::ZERO;
        }
        if self.started_at.elapsed() > RECOVERED {
            self.deaths = 0;
        }
        self.deaths += 1;
        let pause = backoff(self.deaths);
        if is_stopping {
            return pause.min(BACKOFF_MAX_AT_END);
        }
        self.crashes_on().map_or(pause, |gives_up| gives_up.pause)
    }
}

fn backoff(deaths: u32) -> Duration {
    let doublings = deaths.saturating_sub(1).min(16);
    (BACKOFF_MIN * 2u32.pow(doublings)).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use forkchat_common::endpoint::{Listener, Origin};

    const FIRST: Slot = Slot::FIRST_WORKER;

    fn children(workers: u16, own_workers: usize, rejected_max: usize) -> Children {
        Children::new(&Slots { workers, own_workers }, rejected_max)
    }

    #[test]
    fn the_pause_doubles_up_to_a_second() {
        let millis: Vec<u128> =
            [1, 2, 3, 7, 8, 1_000].map(|deaths| backoff(deaths).as_millis()).into();
        assert_eq!(millis, [10, 20, 40, 640, 1_000, 1_000]);
    }

    #[test]
    fn what_was_set_from_outside_is_dropped_when_processes_fail_under_it_in_a_row_and_not_before() {
        let mut children = children(1, 0, 0);
        let set = || Some(Box::new(Settings::default()));
        let child = children.get(FIRST);
        assert_eq!([(); 5].map(|()| child.count_failure()), [const { None }; 5], "nothing was set");
        child.carried_over = set();
        assert_eq!((child.count_failure(), child.count_failure()), (None, None));
        // It lived long.
        child.started_at -= 2 * RECOVERED;
        assert_eq!(child.count_failure(), None);
        child.started_at = Instant::now();
        assert_eq!(
            (child.count_failure(), child.count_failure(), child.count_failure()),
            (None, set(), None)
        );
    }

    #[test]
    fn what_was_set_on_the_process_of_a_connection_ends_with_it() {
        let mut children = children(1, 1, 0);
        let slot = children.take_vacant().unwrap();
        children.get(slot).carried_over = Some(Box::default());
        children.vacate(slot);
        assert_eq!((children.take_vacant(), children.carried_over(slot)), (Some(slot), None));
    }

    #[test]
    fn a_connection_goes_to_the_least_loaded_that_runs() {
        let mut children = children(3, 0, 0);
        let mut connections = Connections::new(9, 4);
        children.get(Slot::at(2)).pid = Some(Pid::from_raw(1));
        children.get(Slot::at(3)).pid = Some(Pid::from_raw(1));
        assert_eq!(children.least_loaded_worker(&connections), Slot::at(2));
        let (socket, _) = std::os::unix::net::UnixStream::pair().unwrap();
        connections.insert(super::super::connections::Connection::new(
            socket.into(),
            Origin { peer: ([127, 0, 0, 1], 1).into(), listener: Listener::default() },
            Slot::at(2),
        ));
        assert_eq!(children.least_loaded_worker(&connections), Slot::at(3));
    }

    #[test]
    fn as_many_wait_to_be_rejected_as_may_and_the_next_is_given_back() {
        let mut children = children(1, 0, 2);
        let socket = || OwnedFd::from(std::os::unix::net::UnixStream::pair().unwrap().0);
        let send = |children: &mut Children| {
            children.send_with(FIRST, ToWorker::Reject { reason: String::new() }, socket()).is_ok()
        };
        assert_eq!([(); 3].map(|()| send(&mut children)), [true, true, false]);
        let (ours, _theirs) = crate::ipc::queue::pair().unwrap();
        children.get(FIRST).begin(Pid::from_raw(1), Some(ours));
        children.pass_on(&Connections::new(1, 2));
        assert!(!children.has_backlog() && send(&mut children));
    }
}
