//! A child process: start it with a function, check whether it runs, wait for it, end it.
//!
//! Costs: fork and wait together take 0.15 ms, and more if the parent has more memory. A process
//! that has ended stays in the kernel's process table as a zombie until its parent waits for it. So
//! dropping a [`Process`] kills it and waits for it. A child dies with the thread that started it.

use crate::sys::process::{fork_child, wait_end, watch_end};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// The exit code of a process whose real exit code is unknown, because it was waited for elsewhere.
pub const EXIT_UNKNOWN: i32 = -1;

const RECHECK_INTERVAL: Duration = Duration::from_millis(1);

/// How a process ended. Its text completes a sentence that begins with the process's name: `exited
/// with code 3`, `was killed by signal 9`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It exited with this code.
    Exited(i32),
    /// This signal killed it.
    Killed(Signal),
}

/// A child of this process.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    /// How it ended, once it was waited for. From then on another process may have its pid.
    end: Option<End>,
}

impl Process {
    /// Starts a process that runs `main` and exits with the code that it returns. `main` uses
    /// copies of all values that it captured; of the descriptors, the process has only standard
    /// input, output and error.
    ///
    /// # Errors
    /// Those of [`fork_child`]: `EDEADLK` if this process has more than one thread.
    pub fn start(main: impl FnOnce() -> i32) -> io::Result<Process> {
        Process::start_with((), |()| Vec::new(), |()| main())
    }

    /// Like [`Process::start`], for a process that also gets `own`, with the descriptors in it that
    /// `keep` returns. They are closed in this process.
    ///
    /// # Errors
    /// Those of [`Process::start`]; `own` is dropped then, too.
    pub fn start_with<T>(
        own: T,
        keep: impl for<'a> Fn(&'a T) -> Vec<BorrowedFd<'a>>,
        main: impl FnOnce(T) -> i32,
    ) -> io::Result<Process> {
        let pid = fork_child(own, keep, std::iter::empty(), &[], |own, _| main(own))?;
        Ok(Process { pid, end: None })
    }

    /// Its pid. No other process has it until this one was waited for.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether it runs. This also waits for a process that has ended, so it leaves no zombie.
    pub fn is_alive(&mut self) -> bool {
        if self.end.is_none() {
            self.end = wait(self.pid, WaitPidFlag::WNOHANG);
        }
        self.end.is_none()
    }

    /// Waits until it has ended.
    pub fn join(&mut self) -> End {
        loop {
            if let Some(end) = self.end {
                return end;
            }
            self.end = wait(self.pid, WaitPidFlag::empty());
        }
    }

    /// Waits at most `timeout` until it has ended; `None` if it still runs then.
    pub fn join_timeout(&mut self, timeout: Duration) -> Option<End> {
        let start = Instant::now();
        if self.is_alive()
            && watch_end(self.pid).and_then(|end| wait_end(end.as_fd(), timeout)).is_err()
        {
            // Without a descriptor that reports the end (none left, or an old kernel) poll the
            // process.
            while self.is_alive() && start.elapsed() < timeout {
                std::thread::sleep(RECHECK_INTERVAL);
            }
        }
        self.is_alive();
        self.end
    }

    /// Asks it to end, by SIGTERM. Does nothing if it has been waited for.
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Kills it with SIGKILL, which it can't handle. It still has to be waited for.
    pub fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    /// Sends it a signal, unless it has been waited for.
    pub fn signal(&self, signal: Signal) {
        if self.end.is_none() {
            // It is our child and was not waited for, so the pid is still its own.
            let _ = kill(self.pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        self.join();
    }
}

impl End {
    /// The end that waitpid(2) reported, if it was one.
    pub fn of(status: WaitStatus) -> Option<End> {
        match status {
            WaitStatus::Exited(_, code) => Some(End::Exited(code)),
            WaitStatus::Signaled(_, signal, _) => Some(End::Killed(signal)),
            _ => None,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Exited(code) => write!(f, "exited with code {code}"),
            End::Killed(signal) => write!(f, "was killed by signal {}", *signal as i32),
        }
    }
}

fn wait(pid: Pid, how: WaitPidFlag) -> Option<End> {
    match waitpid(pid, Some(how)) {
        Ok(status) => End::of(status),
        // The process was waited for elsewhere, with waitpid(-1) or because SIGCHLD is ignored: how
        // it ended is unknown.
        Err(Errno::ECHILD) => Some(End::Exited(EXIT_UNKNOWN)),
        Err(_) => None,
    }
}
