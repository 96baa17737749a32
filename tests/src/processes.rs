//! Processes as one sees them from outside: the kernel's clocks, and /proc.

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use std::time::Duration;

/// The children of a process. Source: proc_pid_task(5), `children`.
pub fn children_of(pid: Pid) -> Vec<Pid> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|child| child.parse().ok()).map(Pid::from_raw).collect()
}

/// A process, and behind it its children.
pub fn family_of(pid: Pid) -> Vec<Pid> {
    [pid].into_iter().chain(children_of(pid)).collect()
}

/// What a process calls itself.
pub fn name_of(pid: Pid) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned()
}

/// The threads of a process, its first one first.
pub fn threads_of(pid: Pid) -> Vec<Pid> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut threads: Vec<i32> = tasks.filter_map(|task| task.file_name().to_str()?.parse().ok()).collect();
    threads.sort_by_key(|&thread| (thread != pid.as_raw(), thread));
    threads.into_iter().map(Pid::from_raw).collect()
}

/// Whether all threads of a process stand still after a SIGSTOP, which takes a moment. Source: proc_pid_stat(5), `state`.
pub fn is_stopped(pid: Pid) -> bool {
    threads_of(pid).into_iter().all(|thread| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|fields| fields.starts_with('T'))
    })
}

/// CPU time, user and system, that all threads of a process have used, to the nanosecond; 0 if there is none such.
/// Source: clock_getcpuclockid(3).
pub fn cpu_of(pid: Pid) -> Duration {
    clock_getcpuclockid(pid).and_then(clock_gettime).map(Duration::from).unwrap_or_default()
}

/// CPU time of a process's children that have ended, in steps of 10 ms. Source: proc_pid_stat(5), `cutime` and `cstime`.
pub fn cpu_of_ended_children(pid: Pid) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name, which may hold anything.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(13).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// A process's proportional set size in KiB: its own memory, and its share of what it shares. Source: proc_pid_smaps(5).
pub fn memory_kib_of(pid: Pid) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("Pss:")?.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
