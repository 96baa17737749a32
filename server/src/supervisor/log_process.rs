//! The log process. It is forked first, restarted when it dies, and ended last. It has no slot,
//! since it neither reads the log nor serves a client, and no process waits for it: see
//! [`crate::log_output`].
//!
//! Unlike all other processes it is not killed when the supervisor dies, since the operator needs
//! the last lines most then. It ends when everything is written.

use super::children::STOPPED_RECHECK;
use super::cpu_use::is_stopped;
use super::scheduling::Scheduling;
use crate::ipc::process::End;
use crate::log_output::{self, LogPipe};
use crate::role;
use crate::sys::process::{fork_outliving, reap_within};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, dup2_stderr};
use std::io::{self, PipeReader};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// The name of the process.
const NAME: &str = "log";
/// The shortest time between two starts.
const RESTART_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// How long the last lines may take to be written. Then the process is killed, since a stopped
/// server must leave no process.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// How long it may take to end after it was killed.
const REAP_TIMEOUT: Duration = Duration::from_millis(100);
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// The pipe and the process that empties it. By default there is neither, and lines go to standard
/// error directly.
#[derive(Debug, Default)]
pub(super) struct LogProcess {
    pipe: Option<LogPipe>,
    pid: Option<Pid>,
    started_at: Option<Instant>,
    start_at: Option<Instant>,
    stopped_at: Option<Instant>,
    /// How the last process ended, until that is logged.
    last_death: Option<String>,
    /// Why the last fork failed, until one succeeds.
    last_failure: Option<String>,
}

impl LogProcess {
    /// Makes this process log through the pipe, which no process empties yet.
    pub fn new() -> LogProcess {
        match LogPipe::install() {
            Ok(pipe) => LogProcess {
                pipe: Some(pipe),
                start_at: Some(Instant::now()),
                ..LogProcess::default()
            },
            Err(error) => {
                log::warn!(
                    "cannot make a pipe for the log output: {error}; if standard error blocks, the \
                     server blocks too"
                );
                LogProcess::default()
            }
        }
    }

    /// Starts the process if none runs and the next start is due.
    pub fn start_if_due(&mut self, scheduling: &Scheduling) {
        let now = Instant::now();
        let Some(pipe) = self.pipe.as_ref().filter(|_| self.start_at.is_some_and(|at| at <= now))
        else {
            return;
        };
        match fork(pipe, Some(scheduling)) {
            Ok(pid) => {
                if let Some(death) = self.last_death.take() {
                    log::warn!("{death}; restarted as pid {pid}");
                }
                (self.pid, self.started_at, self.start_at, self.last_failure) =
                    (Some(pid), Some(now), None, None);
            }
            Err(error) => {
                // No process writes this line out before a fork succeeds, so it is logged only
                // once.
                if self.last_failure.replace(error.to_string()).is_none() {
                    log::error!("cannot fork {NAME}: {error}; trying again every second");
                }
                self.start_at = Some(now + RESTART_INTERVAL_MIN);
            }
        }
    }

    /// When the next start or the next check for a stopped process is due.
    pub fn next_check(&self) -> Option<Instant> {
        self.start_at.into_iter().chain(self.stopped_at.map(|at| at + STOPPED_RECHECK)).min()
    }

    /// Whether the child that has ended was the log process. If so, schedules its restart.
    pub fn has_ended(&mut self, pid: Pid, end: End) -> bool {
        if self.pid != Some(pid) {
            return false;
        }
        (self.pid, self.stopped_at) = (None, None);
        self.last_death = Some(format!("{NAME} (pid {pid}) {end}"));
        // At once, unless it has just been started.
        self.start_at = self.started_at.map(|at| {
            if at.elapsed() > RESTART_INTERVAL_MIN {
                Instant::now()
            } else {
                at + RESTART_INTERVAL_MIN
            }
        });
        true
    }

    /// Whether the child that was stopped (SIGSTOP) is the log process. If so, schedules a check.
    pub fn was_stopped(&mut self, pid: Pid) -> bool {
        let is_it = self.pid == Some(pid);
        if is_it {
            self.stopped_at = Some(Instant::now());
        }
        is_it
    }

    /// Kills the process if it was stopped a moment ago and still is. When the whole server is
    /// stopped and continued, the supervisor may be the first to run again.
    pub fn kill_if_stopped(&mut self) {
        if let Some(pid) = self.pid
            && self.stopped_at.is_some_and(|at| at.elapsed() >= STOPPED_RECHECK)
        {
            self.stopped_at = None;
            if is_stopped(pid) {
                log::warn!("{NAME} (pid {pid}) was stopped; killing it");
                // The pid can't have been reused: the process is our child and was not reaped yet.
                let _ = kill(pid, Signal::SIGKILL);
            }
        }
    }

    /// Waits for a bounded time until everything that was logged is written. A program that starts
    /// a server and then reads its log output finds these lines.
    pub fn flush(&self) {
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        while self.pid.is_some()
            && self.pipe.as_ref().is_some_and(|pipe| !pipe.is_empty())
            && Instant::now() < deadline
        {
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Writes the remaining lines for a bounded time, and ends the process. From then on this
    /// process logs to its own standard error. Call it after all other children have ended, since
    /// they hold the pipe too.
    pub fn finish(&mut self, scheduling: Option<&Scheduling>) {
        let Some(pipe) = &self.pipe else { return };
        log_output::expect_end();
        pipe.uninstall();
        // It may have ended since the last other child was reaped.
        self.pid = self
            .pid
            .filter(|&pid| waitpid(pid, Some(WaitPidFlag::WNOHANG)) == Ok(WaitStatus::StillAlive));
        if self.pid.is_none() && !pipe.is_empty() {
            // A server that fails early in its start has no log process yet.
            self.pid = fork(pipe, scheduling).ok();
        }
        if self.pid.is_none() {
            pipe.write_out();
        }
        self.flush();
        if let Some(pid) = self.pid.take() {
            // Everything is written, or standard error takes nothing. The process can't be left to
            // end by itself at the end of the pipe, since a child that can't end may keep the pipe
            // open.
            let _ = kill(pid, Signal::SIGKILL);
            reap_within(pid, REAP_TIMEOUT);
        }
        self.pipe = None;
    }
}

fn fork(pipe: &LogPipe, scheduling: Option<&Scheduling>) -> io::Result<Pid> {
    fork_outliving(&pipe.ends(), |ends| {
        scheduling.inspect(|scheduling| scheduling.apply_in_log_process());
        run(ends)
    })
}

/// The main function of the process, which gets the pipe's read end and the real standard error.
fn run(ends: Vec<OwnedFd>) -> i32 {
    // It ends at the end of the pipe or by SIGKILL. With all signals blocked, Ctrl-C and the like
    // are left to the supervisor, exceeding the limit on file sizes is an error of write(2), and a
    // terminal to which background jobs may not write (`stty tostop`) doesn't stop the server's
    // whole process group. No other process inherits this mask.
    let _ = SigSet::all().thread_block();
    let Ok::<[OwnedFd; 2], _>([pipe, stderr]) = ends.try_into() else { return 1 };
    // This closes its copy of the pipe's write end, so that it sees the end of the pipe.
    if dup2_stderr(&stderr).is_err() {
        return 1;
    }
    drop(stderr);
    role::set(NAME);
    log_output::drain(PipeReader::from(pipe));
    0
}
