//! The log process: forked first, restarted when it dies, ended last. It has no slot, since it
//! neither reads the log nor serves a client, and no process waits for it: see
//! [`crate::log_output`].
//!
//! Unlike all other processes it is not killed when the supervisor dies, since an operator then
//! needs the last lines most. It ends when all is written.

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

/// What it is called.
const NAME: &str = "log";
/// It is started no oftener than this.
const RESTART_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// How long the last lines may take to be written. Then it is killed: a server that was stopped
/// leaves no process.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the killed one may take to be gone.
const REAP_TIMEOUT: Duration = Duration::from_millis(100);
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// The pipe and the process that empties it. Neither, by default: lines go to standard error
/// directly.
#[derive(Debug, Default)]
pub(super) struct LogProcess {
    pipe: Option<LogPipe>,
    pid: Option<Pid>,
    started_at: Option<Instant>,
    start_at: Option<Instant>,
    stopped_at: Option<Instant>,
    /// How the last one ended, until that is logged.
    last_death: Option<String>,
    /// Why it could not be forked, until it is.
    last_failure: Option<String>,
}

impl LogProcess {
    /// From now on this process logs through the pipe; nothing empties it yet.
    pub fn new() -> LogProcess {
        match LogPipe::install() {
            Ok(pipe) => LogProcess {
                pipe: Some(pipe),
                start_at: Some(Instant::now()),
                ..LogProcess::default()
            },
            Err(error) => {
                log::warn!(
                    "cannot make a pipe for the log output: {error}; if standard error blocks, the server blocks too"
                );
                LogProcess::default()
            }
        }
    }

    /// Starts the process if there is none and it is time.
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
                // Nobody reads that before it is forked. Once is enough.
                if self.last_failure.replace(error.to_string()).is_none() {
                    log::error!("cannot fork {NAME}: {error}; trying again every second");
                }
                self.start_at = Some(now + RESTART_INTERVAL_MIN);
            }
        }
    }

    /// When it is to be started, if it isn't running, or looked at again.
    pub fn next_check(&self) -> Option<Instant> {
        self.start_at.into_iter().chain(self.stopped_at.map(|at| at + STOPPED_RECHECK)).min()
    }

    /// Whether a child that has ended was the log process. Then another is to be started.
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

    /// Whether a child that was stopped (SIGSTOP) is the log process.
    pub fn was_stopped(&mut self, pid: Pid) -> bool {
        let is_it = self.pid == Some(pid);
        if is_it {
            self.stopped_at = Some(Instant::now());
        }
        is_it
    }

    /// Kills it if it was stopped a moment ago and still is. When the whole server is stopped and
    /// continued, the supervisor may be the first to run.
    pub fn kill_if_stopped(&mut self) {
        if let Some(pid) = self.pid
            && self.stopped_at.is_some_and(|at| at.elapsed() >= STOPPED_RECHECK)
        {
            self.stopped_at = None;
            if is_stopped(pid) {
                log::warn!("{NAME} (pid {pid}) was stopped; killing it");
                // It is ours and not reaped, so the pid is its.
                let _ = kill(pid, Signal::SIGKILL);
            }
        }
    }

    /// Waits until all that was logged is written, for a bounded time: who starts a server and
    /// reads its log then finds what it logged.
    pub fn flush(&self) {
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        while self.pid.is_some()
            && self.pipe.as_ref().is_some_and(|pipe| !pipe.is_empty())
            && Instant::now() < deadline
        {
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Writes out what is left, for a bounded time, and ends the process. From then on this process
    /// logs to its own standard error. Called when all other children have ended: they have the
    /// pipe, too.
    pub fn finish(&mut self, scheduling: Option<&Scheduling>) {
        let Some(pipe) = &self.pipe else { return };
        log_output::expect_end();
        pipe.uninstall();
        // Nobody has looked since the last of the others ended.
        self.pid = self
            .pid
            .filter(|&pid| waitpid(pid, Some(WaitPidFlag::WNOHANG)) == Ok(WaitStatus::StillAlive));
        if self.pid.is_none() && !pipe.is_empty() {
            // A server that can't even start has none yet.
            self.pid = fork(pipe, scheduling).ok();
        }
        if self.pid.is_none() {
            pipe.write_out();
        }
        self.flush();
        if let Some(pid) = self.pid.take() {
            // Everything is written, or standard error takes nothing. Its own end would be that of
            // the pipe, which a child that can't die may keep open.
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

/// The process: with the pipe's read end and the real standard error.
fn run(ends: Vec<OwnedFd>) -> i32 {
    // Its end is the end of the pipe, or SIGKILL. So Ctrl-C and the like are the supervisor's to
    // answer; a file that has reached its limit is an error of write(2); and a terminal whose
    // background jobs may not write to it (`stty tostop`) doesn't stop the server's whole group. It
    // only blocks them: that is inherited by nobody.
    let _ = SigSet::all().thread_block();
    let Ok::<[OwnedFd; 2], _>([pipe, stderr]) = ends.try_into() else { return 1 };
    // With that its copy of the write end is closed: it is to see the pipe's end.
    if dup2_stderr(&stderr).is_err() {
        return 1;
    }
    drop(stderr);
    role::set(NAME);
    log_output::drain(PipeReader::from(pipe));
    0
}
