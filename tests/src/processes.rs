//! Processes observed from outside, through /proc and the kernel's clocks.

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The children of a process. Source: proc_pid_task(5), `children`.
pub fn children_of(pid: Pid) -> Vec<Pid> {
    let children =
        std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|child| child.parse().ok()).map(Pid::from_raw).collect()
}

/// A process and its children.
pub fn family_of(pid: Pid) -> Vec<Pid> {
    [pid].into_iter().chain(children_of(pid)).collect()
}

/// The name of a process.
pub fn name_of(pid: Pid) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned()
}

/// The threads of a process; its first one comes first.
pub fn threads_of(pid: Pid) -> Vec<Pid> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut threads: Vec<i32> =
        tasks.filter_map(|task| task.file_name().to_str()?.parse().ok()).collect();
    threads.sort_by_key(|&thread| (thread != pid.as_raw(), thread));
    threads.into_iter().map(Pid::from_raw).collect()
}

/// Whether a process has ended, even if it was not reaped. Source: proc_pid_status(5), `State`.
pub fn has_ended(pid: Pid) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/status"))
        .map_or(true, |status| status.is_empty() || status.contains("State:\tZ"))
}

/// Whether all threads of a process are stopped, which takes a moment after SIGSTOP. Source:
/// proc_pid_stat(5), `state`.
pub fn is_stopped(pid: Pid) -> bool {
    threads_of(pid).into_iter().all(|thread| {
        let stat =
            std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|fields| fields.starts_with('T'))
    })
}

/// The scheduling of a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheduling {
    /// -20 to 19.
    pub nice: i32,
    /// The number in sched.h: 0 other, 1 fifo, 2 rr, 3 batch, 5 idle.
    pub policy: u32,
    /// 1 to 99 for fifo and rr, otherwise 0.
    pub priority: u32,
    /// The allowed CPUs, in rising order.
    pub cpus: Vec<usize>,
}

/// The scheduling of a thread, or of a process's first one; `None` if it does not exist. Sources:
/// proc_pid_stat(5), `nice`, `rt_priority` and `policy`; proc_pid_status(5), `Cpus_allowed_list`.
pub fn scheduling_of(thread: Pid) -> Option<Scheduling> {
    let stat = std::fs::read_to_string(format!("/proc/{thread}/stat")).ok()?;
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    // The third field comes after the name, which may contain any character.
    let fields: Vec<&str> = stat.rsplit(") ").next()?.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3);
    let ranges =
        status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?.trim().split(',');
    let cpus = ranges.filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse().ok()?..=last.parse().ok()?)
    });
    Some(Scheduling {
        nice: field(19)?.parse().ok()?,
        policy: field(41)?.parse().ok()?,
        priority: field(40)?.parse().ok()?,
        cpus: cpus.flatten().collect(),
    })
}

/// The soft and the hard limit on open files, as the kernel prints them. Source:
/// proc_pid_limits(5).
pub fn open_files_limit_of(pid: Pid) -> Option<[String; 2]> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let mut words =
        limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace();
    Some([words.next()?.to_owned(), words.next()?.to_owned()])
}

/// The control group of version 2 of a process. Source: cgroups(7).
pub fn group_of(pid: Pid) -> Option<String> {
    let membership = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    membership.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

/// User and system CPU time of all threads of a process, exact to the nanosecond; 0 if there is no
/// such process. Source: clock_getcpuclockid(3).
pub fn cpu_of(pid: Pid) -> Duration {
    clock_getcpuclockid(pid).and_then(clock_gettime).map(Duration::from).unwrap_or_default()
}

/// CPU time of a process's children that have ended and were reaped, in steps of 10 ms. Source:
/// proc_pid_stat(5), `cutime` and `cstime`.
pub fn cpu_of_ended_children(pid: Pid) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // These fields come after the name, which may contain any character.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(13).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// The memory of a process, or of several together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Proportional set size in KiB: private memory, and a share of the shared memory.
    pub pss_kib: u64,
    /// Memory that no other process has mapped, in KiB.
    pub private_kib: u64,
}

impl Memory {
    /// The growth since `before`.
    pub fn since(self, before: Memory) -> Memory {
        Memory {
            pss_kib: self.pss_kib.saturating_sub(before.pss_kib),
            private_kib: self.private_kib.saturating_sub(before.private_kib),
        }
    }
}

impl std::iter::Sum for Memory {
    fn sum<I: Iterator<Item = Memory>>(parts: I) -> Memory {
        parts.fold(Memory::default(), |sum, part| Memory {
            pss_kib: sum.pss_kib + part.pss_kib,
            private_kib: sum.private_kib + part.private_kib,
        })
    }
}

/// The memory of a process; 0 if there is no such process. Source: proc_pid_smaps(5),
/// `smaps_rollup`.
pub fn memory_of(pid: Pid) -> Memory {
    let mut memory = Memory::default();
    for line in
        std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default().lines()
    {
        let mut words = line.split_whitespace();
        let (name, kib) =
            (words.next(), words.next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0));
        match name {
            Some("Pss:") => memory.pss_kib += kib,
            Some("Private_Clean:" | "Private_Dirty:") => memory.private_kib += kib,
            _ => {}
        }
    }
    memory
}

/// The proportional set size of a process in KiB.
pub fn memory_kib_of(pid: Pid) -> u64 {
    memory_of(pid).pss_kib
}

/// The target of each open descriptor of a process: a path, or `socket:[INODE]`. Empty if the
/// process belongs to another user. Source: proc_pid_fd(5).
pub fn descriptors_of(pid: Pid) -> impl Iterator<Item = String> {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    files.filter_map(|file| std::fs::read_link(file.path()).ok()?.to_str().map(str::to_owned))
}

/// The process that listens on this TCP address of this machine. Of several, it is the one whose
/// parent is not among them. `None` if there is none, or if it belongs to another user. Source:
/// proc_pid_net(5), `tcp`.
pub fn listener_of(address: SocketAddr) -> Option<Pid> {
    let inodes: Vec<String> = ["tcp", "tcp6"]
        .into_iter()
        .flat_map(|table| {
            std::fs::read_to_string(format!("/proc/net/{table}"))
                .unwrap_or_default()
                .lines()
                .filter_map(|line| listening_inode(line, address))
                .collect::<Vec<_>>()
        })
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let holds = |pid: Pid| descriptors_of(pid).any(|link| inodes.contains(&link));
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw));
    let holders: Vec<Pid> =
        if inodes.is_empty() { Vec::new() } else { pids.filter(|&pid| holds(pid)).collect() };
    let is_child = |pid: &Pid| holders.iter().any(|&other| children_of(other).contains(pid));
    holders.iter().copied().find(|pid| !is_child(pid))
}

/// The inode in a line of `/proc/net/tcp`, if its socket listens on this address, or on this port
/// of all addresses.
fn listening_inode(line: &str, address: SocketAddr) -> Option<String> {
    const LISTENS: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    let (ip, port) = local.split_once(':')?;
    let is_any = ip.bytes().all(|digit| digit == b'0');
    let is_same = match address.ip() {
        // The kernel prints the address as a number in the byte order of the machine.
        IpAddr::V4(v4) => ip.ends_with(&format!("{:08X}", u32::from_ne_bytes(v4.octets()))),
        IpAddr::V6(_) => ip.len() == 32,
    };
    (*state == LISTENS && port == format!("{:04X}", address.port()) && (is_any || is_same))
        .then(|| (*inode).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn the_listening_process_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(listener_of(address), Some(Pid::this()));
        drop(listener);
        assert_eq!(listener_of(address), None);
    }
}
