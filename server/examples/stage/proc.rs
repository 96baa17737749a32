//! What the kernel reports in /proc about a process.

use super::wait_until;
use nix::unistd::Pid;
use procfs::process::Process;
use std::io;

/// A process's state (a letter) and its parent's pid; `None` if there is no such process.
pub fn state_and_parent(pid: Pid) -> Option<(char, i32)> {
    let stat = Process::new(pid.as_raw()).ok()?.stat().ok()?;
    Some((stat.state, stat.ppid))
}

/// A process's state: `R` running, `S` sleeping, `T` stopped, `Z` zombie; `None` if there is no such
/// process.
pub fn state(pid: Pid) -> Option<char> {
    state_and_parent(pid).map(|(state, _)| state)
}

/// Waits until this process has one thread. The kernel removes a thread a moment after it was
/// joined, and until then `Process::start` refuses to fork.
pub fn wait_for_threads() -> io::Result<()> {
    wait_until("the threads' end", || {
        Process::myself().and_then(|me| me.tasks()).is_ok_and(|threads| threads.count() == 1)
    })
}
