//! The table of processes. A slot stays; the process in it changes.

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

/// One that is stopped is looked at again after this: when the whole server is stopped and goes on
/// (Ctrl-Z, fg), the supervisor may be the first.
pub(super) const STOPPED_RECHECK: Duration = Duration::from_millis(20);
/// The others wait no longer for a process that can't be started, or that was killed and is not
/// gone.
const ABANDON_AFTER: Duration = Duration::from_secs(2);

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
            .filter(|child| child.pid.is_some() && !child.is_abandoned)
            .map(|child| child.slot)
            .collect()
    }

    /// A worker that runs, to stand in for the journal: of those that are always there, if any is.
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
    pub fn next_check(&self) -> Option<Instant> {
        self.table.iter().filter_map(|child| child.stopped_at).min().map(|at| at + STOPPED_RECHECK)
    }

    /// Slots for which the others can't wait any longer, each once: no process could be started
    /// there for too long, or none will be for as long, or the one that we killed is still not
    /// gone, since the kernel works for it. What a system call waits for (a disk that hangs, a
    /// frozen control group) may last for ever.
    pub fn take_abandoned(&mut self, now: Instant) -> Vec<Slot> {
        let is_long_ago =
            |at: Option<Instant>| at.is_some_and(|at| now.duration_since(at) > ABANDON_AFTER);
        let is_far = |at: Option<Instant>| {
            at.is_some_and(|at| at.saturating_duration_since(now) > ABANDON_AFTER)
        };
        let is_due = |child: &&mut Child| {
            let is_missing = match child.pid {
                Some(_) => is_long_ago(child.killed_at),
                // A journal that has ended as it should isn't missed.
                None => {
                    !child.is_drained && (is_long_ago(child.died_at) || is_far(child.respawn_at))
                }
            };
            is_missing && !child.is_abandoned
        };
        self.table.iter_mut().filter(is_due).map(|child| child.abandon()).collect()
    }

    /// Those that were stopped a moment ago and still are.
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

    /// Those who wait to be started again are started now.
    pub fn respawn_without_delay(&mut self) {
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
            child.kill_reason = Some(why);
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
    pub fn queue_session(&mut self, slot: Slot, session: SessionId, message: ToWorker) {
        self.get(slot).backlog.push_back((message, Descriptor::Session(session)));
    }

    /// Says something to a worker, with a socket that is let go of here. Gives it back if as many
    /// wait as may.
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

    /// Whether something waits for a queue that a process reads.
    pub fn has_backlog(&self) -> bool {
        self.table.iter().any(|child| {
            child.channel.is_some() && !child.is_abandoned && !child.backlog.is_empty()
        })
    }

    /// Passes on what the queues have room for. Returns the sessions whose socket can't be passed
    /// on at all.
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

    /// A worker says that nothing is left to send, or the journal has ended as it should.
    pub fn set_drained(&mut self, slot: Slot) {
        self.get(slot).is_drained = true;
    }

    /// Whether every worker has said so, and the journal has stored everything.
    pub fn are_drained(&self) -> bool {
        self.table.iter().all(|child| child.is_drained || self.vacant.contains(&child.slot))
    }
}

#[cfg(test)]
mod tests;
