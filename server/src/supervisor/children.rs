//! The table of slots. A slot stays; the process in it changes.

use super::carried_over::Settings;
use super::child::{Child, Descriptor, Fault};
use super::connections::Connections;
use super::cpu_use::is_stopped;
use super::kinds::{Ends, Kind, OWN_WORKER, Slots};
use crate::channel::{SupervisorEnd, ToWorker};
use forkchat_common::ids::{SessionId, Slot};
use nix::sys::epoll::Epoll;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// A process that was reported stopped is checked again after this time, and killed if it is still
/// stopped. When the whole server is stopped and continued (Ctrl-Z, fg), the supervisor may be the
/// first process to run again.
pub(super) const STOPPED_RECHECK: Duration = Duration::from_millis(20);
/// After this time the other processes no longer wait for a process that can't be started, or that
/// was killed but has not ended.
const ABANDON_AFTER: Duration = Duration::from_secs(2);

/// All slots, in the order of [`super::kinds`]. Slots for workers with a connection of their own
/// are added when they are first needed.
#[derive(Debug)]
pub(super) struct Children {
    table: Vec<Child>,
    /// The most slots that the table may have.
    max: usize,
    /// How many connections to be rejected wait for a worker's queue, and the most that may wait.
    rejected: usize,
    rejected_max: usize,
    /// Free slots of workers with a connection of their own. The lowest is used first, which keeps
    /// the table short.
    vacant: BTreeSet<Slot>,
}

impl Children {
    /// A table of the slots that always have a process; no process is started yet. At most
    /// `rejected_max` connections may wait to be rejected.
    pub fn new(slots: &Slots, rejected_max: usize) -> Children {
        let table = slots.always().map(|(slot, kind)| Child::new(slot, kind)).collect();
        let max = slots.count();
        Children { table, max, rejected: 0, rejected_max, vacant: BTreeSet::new() }
    }

    /// All slots in the table.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        (0..self.table.len() as u16).map(Slot::at)
    }

    /// A free slot for a worker with a connection of its own; `None` if all slots are in use.
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

    /// Frees the slot of a worker whose connection has ended.
    pub fn vacate(&mut self, slot: Slot) {
        *self.get(slot) = Child::new(slot, &OWN_WORKER);
        self.vacant.insert(slot);
    }

    /// The state of a slot.
    pub fn get(&mut self, slot: Slot) -> &mut Child {
        &mut self.table[slot.index()]
    }

    /// The kind of process that a slot is for.
    pub fn kind(&self, slot: Slot) -> &'static Kind {
        self.table[slot.index()].kind
    }

    /// The settings from outside that the next process in a slot must apply.
    pub fn carried_over(&self, slot: Slot) -> Option<&Settings> {
        self.table[slot.index()].carried_over.as_deref()
    }

    /// The name of the process in a slot, as in `worker 3`.
    pub fn name(&self, slot: Slot) -> String {
        self.table[slot.index()].name()
    }

    /// The slot of a process.
    pub fn slot_of(&self, pid: Pid) -> Option<Slot> {
        self.table.iter().find(|child| child.pid == Some(pid)).map(|child| child.slot)
    }

    /// The slots that have a process.
    pub fn alive(&self) -> Vec<Slot> {
        self.table.iter().filter(|child| child.pid.is_some()).map(|child| child.slot).collect()
    }

    /// The slots whose process the watchdog checks: all that have one, except those that were
    /// killed and can't end.
    pub fn watched(&self) -> Vec<Slot> {
        self.table
            .iter()
            .filter(|child| child.pid.is_some() && !child.is_abandoned)
            .map(|child| child.slot)
            .collect()
    }

    /// A running worker that can stand in for the journal: preferably one that doesn't end with a
    /// connection.
    pub fn stand_in_candidate(&self) -> Option<Slot> {
        let runs = |child: &&Child| {
            child.kind.serves_clients && child.pid.is_some() && child.killed_at.is_none()
        };
        self.table
            .iter()
            .filter(runs)
            .min_by_key(|child| child.kind.ends != Ends::Never)
            .map(|child| child.slot)
    }

    /// The pid of the process in a slot, if it has one.
    pub fn pid(&self, slot: Slot) -> Option<Pid> {
        self.table[slot.index()].pid
    }

    /// The queue to a worker.
    pub fn channel(&self, slot: Slot) -> Option<&SupervisorEnd> {
        self.table.get(slot.index())?.channel.as_ref()
    }

    /// Closes the queue to a worker, which will send nothing more.
    pub fn close_channel(&mut self, slot: Slot, epoll: &Epoll) {
        if let Some(channel) = self.table[slot.index()].channel.take() {
            let _ = epoll.delete(channel.as_fd());
        }
    }

    /// When [`Children::take_stopped`] is due next.
    pub fn next_check(&self) -> Option<Instant> {
        self.table.iter().filter_map(|child| child.stopped_at).min().map(|at| at + STOPPED_RECHECK)
    }

    /// Marks the slots for which the other processes can't wait any longer as abandoned, and
    /// returns them. Each is returned once. Either no process could be started in the slot for too
    /// long, or none will be for as long, or a process was killed but has not ended because the
    /// kernel still works for it. That may last for ever: a disk may hang, or a control group be
    /// frozen.
    pub fn take_abandoned(&mut self, now: Instant) -> Vec<Slot> {
        let is_long_ago =
            |at: Option<Instant>| at.is_some_and(|at| now.duration_since(at) > ABANDON_AFTER);
        let is_far = |at: Option<Instant>| {
            at.is_some_and(|at| at.saturating_duration_since(now) > ABANDON_AFTER)
        };
        let is_due = |child: &&mut Child| {
            let is_missing = match child.pid {
                Some(_) => is_long_ago(child.killed_at),
                // A journal that has finished its work isn't missed.
                None => {
                    !child.is_drained && (is_long_ago(child.died_at) || is_far(child.respawn_at))
                }
            };
            is_missing && !child.is_abandoned
        };
        self.table.iter_mut().filter(is_due).map(|child| child.abandon()).collect()
    }

    /// The slots whose process was reported stopped a moment ago and still is. Each report is
    /// considered once.
    pub fn take_stopped(&mut self, now: Instant) -> Vec<Slot> {
        let is_due =
            |child: &&mut Child| child.stopped_at.is_some_and(|at| now >= at + STOPPED_RECHECK);
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

    /// Ends the pauses before processes are restarted.
    pub fn respawn_without_delay(&mut self) {
        let now = Instant::now();
        self.table
            .iter_mut()
            .filter_map(|child| child.respawn_at.as_mut())
            .for_each(|at| *at = now.min(*at));
    }

    /// When the next process is due to be restarted.
    pub fn next_respawn(&self) -> Option<Instant> {
        self.table.iter().filter_map(|child| child.respawn_at).min()
    }

    /// Kills the process in a slot, and logs why. Its death is then reaped like any other.
    pub fn kill(&mut self, slot: Slot, why: Fault) {
        let child = self.get(slot);
        if let Some(pid) = child.pid.filter(|_| child.killed_at.is_none()) {
            log::warn!("{} (pid {pid}) {why}; killing it", child.name());
            child.kill_reason = Some(why);
            child.killed_at = Some(Instant::now());
            // The pid can't have been reused: the process is our child and was not reaped yet.
            let _ = kill(pid, Signal::SIGKILL);
        }
    }

    /// The worker with the fewest connections. A running worker is preferred.
    pub fn least_loaded_worker(&self, connections: &Connections) -> Slot {
        let workers = self.table.iter().filter(|child| child.kind.ends == Ends::Never);
        let best = workers.min_by_key(|child| {
            (child.pid.is_none() || child.killed_at.is_some(), connections.count(child.slot))
        });
        best.map_or(Slot::FIRST_WORKER, |child| child.slot)
    }

    /// Queues a message for a worker, to be sent with a session's socket.
    pub fn queue_session(&mut self, slot: Slot, session: SessionId, message: ToWorker) {
        self.get(slot).backlog.push_back((message, Descriptor::Session(session)));
    }

    /// Queues a message that rejects a connection, to be sent with its socket. Returns the socket
    /// if too many such messages wait already.
    pub fn queue_rejection(
        &mut self,
        slot: Slot,
        message: ToWorker,
        socket: OwnedFd,
    ) -> Result<(), OwnedFd> {
        if self.rejected >= self.rejected_max {
            return Err(socket);
        }
        self.rejected += 1;
        self.get(slot).backlog.push_back((message, Descriptor::Owned(socket)));
        Ok(())
    }

    /// Whether messages wait for room in the queue of a running worker.
    pub fn has_backlog(&self) -> bool {
        self.table.iter().any(|child| {
            child.channel.is_some() && !child.is_abandoned && !child.backlog.is_empty()
        })
    }

    /// Sends as many waiting messages as the queues have room for. Returns the sessions whose
    /// socket can't be sent at all.
    pub fn send_backlog(&mut self, connections: &Connections) -> Vec<SessionId> {
        let mut lost = Vec::new();
        for child in self.table.iter_mut().filter(|child| !child.backlog.is_empty()) {
            self.rejected -= child.send_backlog(connections, &mut lost);
        }
        lost
    }

    /// Whether the journal has stored everything.
    pub fn is_journal_done(&self) -> bool {
        self.table[Slot::JOURNAL.index()].is_drained
    }

    /// Records that a worker has sent all its output, or that the journal has finished.
    pub fn set_drained(&mut self, slot: Slot) {
        self.get(slot).is_drained = true;
    }

    /// Whether every worker has sent all its output, and the journal has stored everything.
    pub fn are_drained(&self) -> bool {
        self.table.iter().all(|child| child.is_drained || self.vacant.contains(&child.slot))
    }
}

#[cfg(test)]
mod tests;
