//! Which process the kernel kills first when memory runs out. Source: proc_pid_oom_score_adj(5).
//!
//! A worker's death costs nothing that is not in the log, so workers come first. A journal's death
//! costs some time, and the supervisor's ends the server. Every process may raise its own value. To
//! lower it below the value with which it was started needs CAP_SYS_RESOURCE, so the supervisor
//! only tries.

use super::kinds::Kind;
use nix::unistd::Pid;
use std::fs;
use std::io;

/// The largest value. Its negative means "never", which the children would keep if they couldn't
/// raise their own.
const MAX: i32 = 1_000;
/// How far the supervisor lowers its value, where that is permitted, in thousandths of all memory.
const SUPERVISOR_BELOW: i32 = 500;

/// The values of the processes.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutOfMemory {
    /// The value that the server was started with, if it can be read.
    before: Option<i32>,
}

impl OutOfMemory {
    /// Makes the supervisor less likely to be killed, where that is permitted. The children inherit
    /// its value.
    pub fn apply() -> OutOfMemory {
        let before = value_of(Pid::this());
        try_set(before.map(supervisor));
        OutOfMemory { before }
    }

    /// Sets a child's value. Called in the child. If that fails, the child is as likely to be
    /// killed as the supervisor, and serves all the same.
    pub fn apply_in_child(&self, kind: &Kind) {
        try_set(self.value_of_child(kind));
    }

    /// The value for a child of this kind, if the supervisor's could be read.
    pub fn value_of_child(&self, kind: &Kind) -> Option<i32> {
        self.before.map(|before| child(before, kind))
    }
}

fn supervisor(before: i32) -> i32 {
    (before - SUPERVISOR_BELOW).max(1 - MAX).min(before)
}

fn child(before: i32, kind: &Kind) -> i32 {
    (before + kind.oom_score_above).min(MAX)
}

fn try_set(value: Option<i32>) {
    // The kernel refuses to lower it without the privilege.
    let _ = value.map(set);
}

/// The value of a process, which may have ended but must not be reaped yet; `None` if it can't be
/// read.
pub(super) fn value_of(pid: Pid) -> Option<i32> {
    fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).ok()?.trim().parse().ok()
}

/// Sets the value of this process.
pub(super) fn set(value: i32) -> io::Result<()> {
    fs::write("/proc/self/oom_score_adj", value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::kinds::{JOURNAL, OWN_WORKER, WORKER};

    #[test]
    fn the_kernel_kills_workers_first_and_the_supervisor_last_whatever_the_initial_value() {
        for before in [-1_000, -999, -700, 0, 200, 850, 1_000] {
            let [supervisor, journal, worker] =
                [supervisor(before), child(before, &JOURNAL), child(before, &WORKER)];
            assert!(
                supervisor <= before && before <= journal && journal <= worker && worker <= MAX,
                "{before}"
            );
            assert!(supervisor < journal && worker > -MAX, "{before}");
            assert!(before > MAX - WORKER.oom_score_above || journal < worker, "{before}");
            assert_eq!(child(before, &OWN_WORKER), worker);
        }
    }
}
