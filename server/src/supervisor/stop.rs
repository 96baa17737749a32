//! Stopping: ask, wait, insist. It is the same however the stop was requested.

use super::children::Children;
use super::{EXIT_FAILED, EXIT_NOT_STORED, EXIT_STOPPED, Supervisor};
use crate::log_output;
use crate::sys::signals::die_by;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::time::{Duration, Instant};

/// How long the killed may take to be gone: only one that hangs in the kernel takes any time at
/// all.
const REAP_TIMEOUT: Duration = Duration::from_secs(2);

/// Turns of accepting before nobody comes in any more: for those who wait in the kernel's queue,
/// though not for however many.
const LAST_TURNS: usize = 4;

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not at all.
    Serving,
    /// Nobody comes in, everyone is told, the outboxes drain: at the latest until then.
    Draining(Instant),
    /// At once.
    Now,
}

impl Stage {
    /// When it goes on by itself.
    pub fn deadline(self) -> Option<Instant> {
        match self {
            Stage::Draining(until) => Some(until),
            Stage::Serving | Stage::Now => None,
        }
    }
}

impl Supervisor {
    /// Does what the signals ask for that have come.
    pub(super) fn handle_signals(&mut self) {
        while let Some(signal) = self.signals.next() {
            match signal {
                Signal::SIGXCPU => self.out_of_cpu_time(),
                Signal::SIGQUIT => self.dump_core(),
                signal => self.begin_stop(signal),
            }
        }
    }

    /// The first signal asks, the second insists.
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
        // Who has come before is told, too.
        for _ in 0..LAST_TURNS {
            self.accept();
        }
        self.listeners.close();
        // Whoever crashed is needed once more: its clients are to be told, or what was said is to
        // be stored.
        self.children.respawn_without_delay();
        self.stage =
            Stage::Draining(Instant::now() + Duration::from_secs(self.options.grace.into()));
    }

    /// It comes each second from the soft limit on, so a second one doesn't insist.
    fn out_of_cpu_time(&mut self) {
        if self.stage == Stage::Serving {
            log::error!("the limit on CPU time (ulimit -t) is reached; raise it");
            self.begin_stop(Signal::SIGXCPU);
        }
    }

    fn dump_core(&mut self) {
        log::error!(
            "SIGQUIT: ending at once, with a core if one is allowed (ulimit -c); TERM, INT and HUP stop the server"
        );
        log_output::expect_end();
        self.log_process.flush();
        // Its children die with it.
        if let Err(errno) = die_by(Signal::SIGQUIT) {
            log::error!("cannot end by SIGQUIT: {errno}; stopping at once");
        }
        self.stage = Stage::Now;
    }

    /// Has everyone end what they do. Who isn't running is started all the same, and finds the
    /// event set: its clients are to be told, too.
    fn drain(&self) {
        let is_half_over = self.stage.deadline().is_none_or(|until| {
            Instant::now() + Duration::from_secs(self.options.grace.into()) / 2 >= until
        });
        // First come those who were let in before: a worker that has nobody, and nobody to come,
        // says that it has drained. But one that takes nobody in, since it is stuck, keeps nobody
        // else from being told.
        if !self.work.serving.stopping.is_set() && (!self.children.has_backlog() || is_half_over) {
            self.work.serving.stopping.set();
            self.segment.doorbells.ring_all();
        }
    }

    /// Goes on with the end, if it has begun: the exit code, when there is nothing more to do.
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

    /// How the end turned out: the exit code, and what the operator should know.
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

/// There is one way to stop a process. None is left, and no zombie, but for one that cannot
/// die: the supervisor waits for it only so long. The log process isn't among them: it has yet
/// to write what is logged here.
pub(super) fn end_children(children: &Children) {
    let alive = children.alive().into_iter();
    let mut left: Vec<(String, Pid)> =
        alive.filter_map(|slot| Some((children.name(slot), children.pid(slot)?))).collect();
    for (_, pid) in &left {
        // It is ours and not reaped, so the pid is its.
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
            "{name} (pid {pid}) was killed but has not ended yet, since the kernel still works for it"
        );
    }
}
