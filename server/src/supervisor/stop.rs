//! Stopping the server: ask, wait, insist. The procedure is the same however the stop was
//! requested.

use super::children::Children;
use super::{EXIT_FAILED, EXIT_NOT_STORED, EXIT_STOPPED, Supervisor};
use crate::log_output;
use crate::sys::signals::die_by;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::time::{Duration, Instant};

/// How long killed children may take to end. Only one that hangs in the kernel takes any noticeable
/// time.
const REAP_TIMEOUT: Duration = Duration::from_secs(2);

/// Turns of accepting before the listeners are closed: for connections that wait in the kernel's
/// queue, up to a limit.
const LAST_TURNS: usize = 4;

/// How far the stop has progressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// No stop was requested.
    Serving,
    /// No connection is accepted any more, clients are notified, and the outboxes are emptied,
    /// until this deadline at the latest.
    Draining(Instant),
    /// The server stops at once.
    Now,
}

impl Stage {
    /// When the stage ends by itself.
    pub fn deadline(self) -> Option<Instant> {
        match self {
            Stage::Draining(until) => Some(until),
            Stage::Serving | Stage::Now => None,
        }
    }
}

impl Supervisor {
    /// Handles the signals that have arrived.
    pub(super) fn handle_signals(&mut self) {
        while let Some(signal) = self.signals.next() {
            match signal {
                Signal::SIGXCPU => self.out_of_cpu_time(),
                Signal::SIGQUIT => self.dump_core(),
                signal => self.begin_stop(signal),
            }
        }
    }

    /// The first signal begins a graceful stop, a second one ends the server at once.
    fn begin_stop(&mut self, signal: Signal) {
        if !self.work.segment.start_gate.is_open() {
            log::info!("{signal}: stopping before the server is ready");
            self.stage = Stage::Now;
            return;
        }
        if self.stage != Stage::Serving {
            log::warn!("{signal} while stopping: stopping at once");
            self.stage = Stage::Now;
            return;
        }
        log::info!(
            "{signal}: stopping; clients have {} s to read what was sent to them",
            self.options.grace
        );
        // Clients that connected before the stop are notified, too.
        for _ in 0..LAST_TURNS {
            self.accept();
        }
        self.listeners.close();
        // Crashed processes are needed once more, to notify their clients or to store the last
        // lines.
        self.children.respawn_without_delay();
        self.stage =
            Stage::Draining(Instant::now() + Duration::from_secs(self.options.grace.into()));
    }

    /// The kernel repeats SIGXCPU each second after the soft limit, so a second one must not end
    /// the server at once.
    fn out_of_cpu_time(&mut self) {
        if self.stage == Stage::Serving {
            log::error!("the limit on CPU time (ulimit -t) is reached; raise it");
            self.begin_stop(Signal::SIGXCPU);
        }
    }

    fn dump_core(&mut self) {
        log::error!(
            "SIGQUIT: ending at once, with a core if one is allowed (ulimit -c); TERM, INT and HUP \
             stop the server"
        );
        log_output::expect_end();
        self.log_process.flush();
        // The children are killed when it ends.
        if let Err(errno) = die_by(Signal::SIGQUIT) {
            log::error!("cannot end by SIGQUIT: {errno}; stopping at once");
        }
        self.stage = Stage::Now;
    }

    /// Sets the event that makes all processes finish. A process that isn't running is started all
    /// the same, and finds the event set: its clients must be notified, too.
    fn drain(&self) {
        let is_half_over = self.stage.deadline().is_none_or(|until| {
            Instant::now() + Duration::from_secs(self.options.grace.into()) / 2 >= until
        });
        // Connections that were accepted before must reach their workers first: a worker with no
        // connection, and none to come, reports that it has drained. But a worker that is stuck and
        // takes no connection must not delay the others, so half the grace period is the limit.
        if !self.work.serving.stopping.is_set() && (!self.children.has_backlog() || is_half_over) {
            self.work.serving.stopping.set();
            self.segment.doorbells.ring_all();
        }
    }

    /// Continues the stop, if one was requested. Returns the exit code once nothing is left to do.
    pub(super) fn stop(&mut self) -> Option<i32> {
        if self.stage != Stage::Serving {
            self.drain();
        }
        let is_journal_done = self.children.is_journal_done();
        let code = match self.stage {
            Stage::Serving => return None,
            Stage::Draining(until) if !self.children.are_drained() && Instant::now() < until => {
                return None;
            }
            Stage::Draining(_) => self.final_exit_code(is_journal_done),
            Stage::Now => EXIT_FAILED,
        };
        end_children(&self.children);
        self.dropped.rest().iter().for_each(|line| log::warn!("{line}"));
        log::info!("stopped");
        Some(code)
    }

    /// The exit code of a graceful stop. Logs what is missing.
    fn final_exit_code(&self, is_journal_done: bool) -> i32 {
        if is_journal_done && !self.children.are_drained() {
            log::warn!("some clients did not read everything in time");
        }
        match (is_journal_done, self.work.journal.missing_lines(is_journal_done)) {
            (true, None) => return EXIT_STOPPED,
            (_, Some(missing)) => log::error!("{missing} could not be stored"),
            (false, None) => log::error!("not every line could be stored in time"),
        }
        EXIT_NOT_STORED
    }
}

/// Kills all children and reaps them. Neither a process nor a zombie is left, except one that can't
/// end: the supervisor waits for that for a bounded time. The log process is not among the children
/// here, since it still has to write what is logged now.
pub(super) fn end_children(children: &Children) {
    let alive = children.alive().into_iter();
    let mut left: Vec<(String, Pid)> =
        alive.filter_map(|slot| Some((children.name(slot), children.pid(slot)?))).collect();
    for (_, pid) in &left {
        // The pid can't have been reused: the process is our child and was not reaped yet.
        let _ = kill(*pid, Signal::SIGKILL);
    }
    let deadline = Instant::now() + REAP_TIMEOUT;
    loop {
        left.retain(|(_, pid)| {
            matches!(
                waitpid(*pid, Some(WaitPidFlag::WNOHANG)),
                Ok(WaitStatus::StillAlive) | Err(Errno::EINTR)
            )
        });
        if left.is_empty() || Instant::now() >= deadline {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    for (name, pid) in left {
        log::error!(
            "{name} (pid {pid}) was killed but has not ended yet, since the kernel still works for \
             it"
        );
    }
}
