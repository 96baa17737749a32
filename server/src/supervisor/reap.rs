//! Reaping: the supervisor notices every death of a child, reports it, and schedules a successor.

use super::carried_over::{FAILURES_MAX, Settings};
use super::child::Fault;
use super::kinds::{Ends, FINISHED};
use super::{Stage, Supervisor};
use crate::ipc::process::End;
use crate::segment::{Thread, WorkItem};
use forkchat_common::ids::Slot;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use std::time::Instant;

impl Supervisor {
    /// Reaps all children that have ended, and records which were stopped. Several SIGCHLD may have
    /// become one, so this continues until no child has changed.
    pub(super) fn reap(&mut self) {
        loop {
            // First without reaping: nothing can be read about a process once it was waited for.
            let next = match waitid(
                Id::All,
                WaitPidFlag::WEXITED
                    | WaitPidFlag::WSTOPPED
                    | WaitPidFlag::WNOHANG
                    | WaitPidFlag::WNOWAIT,
            ) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
                Ok(status) => {
                    self.record_settings(status);
                    status.pid()
                }
                // The system refuses this call. Then children are reaped without it, and no
                // settings are carried over.
                Err(_) => None,
            };
            match waitpid(next, Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED)) {
                // The child was stopped, but was continued since.
                Ok(WaitStatus::StillAlive) if next.is_some() => {}
                Ok(WaitStatus::Stopped(pid, _)) if self.log_process.was_stopped(pid) => {}
                Ok(WaitStatus::Stopped(pid, _)) => {
                    if let Some(slot) = self.children.slot_of(pid) {
                        self.children.get(slot).stopped_at = Some(Instant::now());
                    }
                }
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
                Ok(status) => {
                    if let (Some(pid), Some(death)) = (status.pid(), End::of(status))
                        && !self.log_process.has_ended(pid, death)
                    {
                        self.handle_exit(pid, death);
                    }
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return log::error!("cannot wait for children: {errno}"),
            }
        }
    }

    /// Records the settings that were made from outside on a process that has ended, for its
    /// successor.
    fn record_settings(&mut self, status: WaitStatus) {
        let pid = match status {
            // A worker ends like this after its only connection has ended, and the journal after it
            // has stored everything. Neither has a successor.
            WaitStatus::Exited(_, FINISHED) => None,
            WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) => Some(pid),
            _ => None,
        };
        let slot = pid.and_then(|pid| self.children.slot_of(pid));
        // If the process ended before it applied its settings, the recorded ones stay as they are.
        if let Some((pid, slot)) =
            pid.zip(slot).filter(|(_, slot)| self.work.segment.start_gate.has_begun(slot.index()))
        {
            let now = self.given(slot);
            let child = self.children.get(slot);
            child.carried_over =
                Settings::of(pid).differing_from([&*child.given, &now]).map(Box::new);
        }
    }

    /// Handles the end of a child: reports it, and decides when its successor starts.
    fn handle_exit(&mut self, pid: Pid, death: End) {
        let Some(slot) = self.children.slot_of(pid) else { return };
        self.work.post.leave(slot, self.segment, Slot::JOURNAL);
        // The messages that it sent before its death are still valid.
        self.receive(slot);
        self.children.close_channel(slot, &self.epoll);
        let ends = self.children.kind(slot).ends;
        let has_finished = death == End::Exited(FINISHED);
        let is_over = ends == Ends::WithItsConnection && self.connections.count(slot) == 0;
        if is_over && has_finished {
            return self.vacate(slot);
        }
        let is_stopping = self.stage != Stage::Serving;
        let child = self.children.get(slot);
        child.pid = None;
        if is_stopping && ends == Ends::WithTheServer && has_finished {
            child.is_drained = true;
            return;
        }
        let was_stalled = child.kill_reason.is_some_and(|fault| fault != Fault::Stopped);
        let is_crash = was_stalled || death != End::Killed(Signal::SIGKILL);
        let pause = child.backoff(is_crash || child.may_lack_memory(), is_stopping);
        let words = self.describe_death(slot, pid, death, is_crash);
        self.count_failure(slot, &words, is_crash);
        // It may have died after it published news and before it woke the others. A quarantined
        // record is news, too.
        self.segment.doorbells.ring_all();
        if self.stage == Stage::Now {
            return;
        }
        if is_over {
            log::warn!("{words}; its connection had already ended");
            return self.vacate(slot);
        }
        let child = self.children.get(slot);
        child.respawn_at = Some(Instant::now() + pause);
        child.died_at = Some(Instant::now());
        if !pause.is_zero() {
            log::debug!("{words}; starting it again in {} ms", pause.as_millis());
        }
        child.last_death = Some(words);
    }

    /// Words a death for the log output. Before the start gate is open, adds the error that the
    /// process logged, and counts a crash against the start.
    fn describe_death(&mut self, slot: Slot, pid: Pid, death: End, is_crash: bool) -> String {
        let child = self.children.get(slot);
        let why = child.kill_reason.map(|why| format!(", since it {why}")).unwrap_or_default();
        let mut words = format!("{} (pid {pid}) {death}{why}", child.name());
        let gate = self.work.segment.start_gate;
        if !gate.is_open() {
            let reason = gate.take_failure(pid);
            if let Some(reason) = &reason {
                words = format!("{words}: {reason}");
            }
            if is_crash {
                self.early_deaths.record(&words, reason.is_some());
            }
        }
        words
    }

    /// Counts a failure against its possible causes: the settings from outside, and the record or
    /// input that the process was at. Drops the settings, or quarantines the item, after too many.
    fn count_failure(&mut self, slot: Slot, words: &str, is_crash: bool) {
        let may_be_limits =
            self.children.carried_over(slot).is_some_and(Settings::may_cause_failure);
        // A process that was killed before it served may have been killed because of its control
        // group's memory limit.
        if (is_crash || !self.work.segment.start_gate.is_ready(slot.index()))
            && let Some(settings) = self.children.get(slot).count_failure()
        {
            log::warn!(
                "{words}: {FAILURES_MAX} processes in a row failed with the settings made from \
                 outside ({settings}); the next one starts without them; set looser ones if you \
                 need them"
            );
        }
        // A process that lacks a resource may crash anywhere, so the record or input it was
        // processing is not to blame.
        if is_crash && !may_be_limits {
            let quarantined = self.blame.count_crash(self.segment, slot);
            quarantined.into_iter().for_each(|item| self.kill_hanging_at(item));
        }
    }

    /// Kills the processes that are at this record, at which others have crashed. They are likely
    /// to hang there, and the watchdog would find only one of them at a time.
    fn kill_hanging_at(&mut self, item: WorkItem) {
        for slot in self.children.alive() {
            if self
                .segment
                .quarantine
                .work_item(slot, Thread::Send)
                .is_some_and(|other| other.is_same_record(item))
            {
                self.children.kill(slot, Fault::AtPoisonMessage);
            }
        }
    }

    /// Frees the slot of a worker whose only connection has ended.
    pub(super) fn vacate(&mut self, slot: Slot) {
        self.segment.cursors.vacate(slot);
        self.children.vacate(slot);
    }
}
