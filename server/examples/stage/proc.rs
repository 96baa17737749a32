//! What the kernel reports in /proc about a process.

use super::wait_until;
use nix::unistd::Pid;
use std::fs;
use std::io;

/// A process's state (a letter) and its parent's pid; `None` if there is no such process. Source:
/// proc_pid_stat(5), the fields after the name.
pub fn state_and_parent(pid: Pid) -> Option<(String, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit(") ").next()?.split(' ').map(str::to_owned);
    Some((fields.next()?, fields.next()?))
}

/// A process's state: `R` running, `S` sleeping, `T` stopped, `Z` zombie; empty if there is no such
/// process.
pub fn state(pid: Pid) -> String {
    state_and_parent(pid).map(|(state, _)| state).unwrap_or_default()
}

/// Waits until this process has one thread. The kernel removes a thread a moment after it was
/// joined, and until then `Process::start` refuses to fork.
pub fn wait_for_threads() -> io::Result<()> {
    wait_until("the threads' end", || {
        fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1)
    })
}
