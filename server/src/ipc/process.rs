//! A child process: start it with a function, look at it, wait for it, end it.
//!
//! Costs: fork and wait together take 0.15 ms, and more if the parent has more memory. A process
//! that has ended stays in the kernel's table as a zombie until its parent waits for it. So a
//! [`Process`] that is dropped is killed and waited for. A child dies with the thread that started
//! it.

use crate::sys::process::{fork_child, wait_end, watch_end};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// What stands for the code of a process that somebody else has waited for.
pub const EXIT_UNKNOWN: i32 = -1;

const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// How a process ended. Displayed, it is the rest of a sentence that begins with the process's
/// name: `exited with code 3`, `was killed by signal 9`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It left, with this code.
    Exited(i32),
    /// A signal ended it.
    Killed(Signal),
}

/// A child of this process.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    /// How it ended, once it was waited for: from then on its pid may be another's.
    end: Option<End>,
}

impl Process {
    /// Starts a process that runs `main` and exits with what it returns. `main` works on the copies
    /// of all that it captured; of descriptors the process has standard input, output and error
    /// alone.
    ///
    /// # Errors
    /// Those of [`fork_child`]: `EDEADLK` if this process has more than one thread.
    pub fn start(main: impl FnOnce() -> i32) -> io::Result<Process> {
        Process::start_with((), |()| Vec::new(), |()| main())
    }

    /// The same for one that is to have `own`, with the descriptors in it that `keep` names. They
    /// are closed here: only the process has them then.
    ///
    /// # Errors
    /// As with [`Process::start`]; `own` is gone then, too.
    pub fn start_with<T>(
        own: T,
        keep: impl for<'a> Fn(&'a T) -> Vec<BorrowedFd<'a>>,
        main: impl FnOnce(T) -> i32,
    ) -> io::Result<Process> {
        let pid = fork_child(own, keep, std::iter::empty(), &[], |own, _| main(own))?;
        Ok(Process { pid, end: None })
    }

    /// Its number, which no other process has as long as this one was not waited for.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether it runs. One that has ended is waited for by that, so it leaves no zombie.
    pub fn is_alive(&mut self) -> bool {
        if self.end.is_none() {
            self.end = wait(self.pid, WaitPidFlag::WNOHANG);
        }
        self.end.is_none()
    }

    /// Waits for its end.
    pub fn join(&mut self) -> End {
        loop {
            if let Some(end) = self.end {
                return end;
            }
            self.end = wait(self.pid, WaitPidFlag::empty());
        }
    }

    /// Waits for its end, at most for so long; `None` if it still runs then.
    pub fn join_timeout(&mut self, timeout: Duration) -> Option<End> {
        let start = Instant::now();
        if self.is_alive()
            && watch_end(self.pid).and_then(|end| wait_end(end.as_fd(), timeout)).is_err()
        {
            // Without a descriptor that tells of the end (none left, or an old kernel) it is looked
            // at again and again.
            while self.is_alive() && start.elapsed() < timeout {
                std::thread::sleep(LOOK_AGAIN);
            }
        }
        self.is_alive();
        self.end
    }

    /// Asks it to end, by SIGTERM. Does nothing if it has been waited for.
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Ends it, by SIGKILL: it can do nothing about it, nor anything more. It is still to be waited
    /// for.
    pub fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    /// Sends it a signal, unless it has been waited for.
    pub fn signal(&self, signal: Signal) {
        if self.end.is_none() {
            // It is ours and was not waited for, so the pid is its.
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
    /// What waitpid(2) told, if it was an end.
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
        // Somebody else has waited for it, with waitpid(-1) or by ignoring SIGCHLD: how it ended
        // can't be known any more.
        Err(Errno::ECHILD) => Some(End::Exited(EXIT_UNKNOWN)),
        Err(_) => None,
    }
}
