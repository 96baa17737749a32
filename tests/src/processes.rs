//! Processes observed from outside, through /proc and the kernel's clocks.

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use procfs::ProcResult;
use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::{FDTarget, LimitValue, Process, all_processes};
use std::net::SocketAddr;
use std::time::Duration;

/// The children of a process.
pub fn children_of(pid: Pid) -> Vec<Pid> {
    let children = process(pid).and_then(|process| process.task_main_thread()?.children());
    children.unwrap_or_default().into_iter().map(|child| Pid::from_raw(child as i32)).collect()
}

/// A process and its children.
pub fn family_of(pid: Pid) -> Vec<Pid> {
    [pid].into_iter().chain(children_of(pid)).collect()
}

/// The name of a process.
pub fn name_of(pid: Pid) -> String {
    process(pid).and_then(|process| process.stat()).map_or_else(|_| String::new(), |stat| stat.comm)
}

/// The threads of a process; its first one comes first.
pub fn threads_of(pid: Pid) -> Vec<Pid> {
    let tasks = process(pid).and_then(|process| process.tasks());
    let mut threads: Vec<i32> =
        tasks.into_iter().flatten().flatten().map(|task| task.tid).collect();
    threads.sort_by_key(|&thread| (thread != pid.as_raw(), thread));
    threads.into_iter().map(Pid::from_raw).collect()
}

/// The state of a process or thread: `R` runs, `S` sleeps, `T` is stopped, `Z` has ended and was not
/// reaped; `None` if it does not exist.
pub fn state_of(pid: Pid) -> Option<char> {
    Some(process(pid).ok()?.stat().ok()?.state)
}

/// Whether a process has ended, even if it was not reaped.
pub fn has_ended(pid: Pid) -> bool {
    state_of(pid).is_none_or(|state| state == 'Z')
}

/// Whether all threads of a process are stopped, which takes a moment after SIGSTOP.
pub fn is_stopped(pid: Pid) -> bool {
    threads_of(pid).into_iter().all(|thread| state_of(thread) == Some('T'))
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

/// The scheduling of a thread, or of a process's first one; `None` if it does not exist.
pub fn scheduling_of(thread: Pid) -> Option<Scheduling> {
    let thread = process(thread).ok()?;
    let (stat, status) = (thread.stat().ok()?, thread.status().ok()?);
    let cpus = status.cpus_allowed_list?.into_iter().flat_map(|(first, last)| first..=last);
    Some(Scheduling {
        nice: stat.nice as i32,
        policy: stat.policy?,
        priority: stat.rt_priority?,
        cpus: cpus.map(|cpu| cpu as usize).collect(),
    })
}

/// The soft and the hard limit on open files.
pub fn open_files_limit_of(pid: Pid) -> Option<[u64; 2]> {
    let limit = process(pid).ok()?.limits().ok()?.max_open_files;
    let number = |value| match value {
        LimitValue::Value(number) => number,
        LimitValue::Unlimited => u64::MAX,
    };
    Some([number(limit.soft_limit), number(limit.hard_limit)])
}

/// The control group of version 2 of a process.
pub fn group_of(pid: Pid) -> Option<String> {
    let groups = process(pid).ok()?.cgroups().ok()?;
    groups.into_iter().find(|group| group.hierarchy == 0).map(|group| group.pathname)
}

/// User and system CPU time of all threads of a process, exact to the nanosecond; 0 if there is no
/// such process. Source: clock_getcpuclockid(3).
pub fn cpu_of(pid: Pid) -> Duration {
    clock_getcpuclockid(pid).and_then(clock_gettime).map(Duration::from).unwrap_or_default()
}

/// CPU time of a process's children that have ended, in steps of 10 ms.
pub fn cpu_of_ended_children(pid: Pid) -> Duration {
    let stat = process(pid).and_then(|process| process.stat());
    let ticks = stat.map_or(0, |stat| stat.cutime + stat.cstime);
    Duration::from_secs(ticks.unsigned_abs()) / procfs::ticks_per_second() as u32
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
    let maps = process(pid).and_then(|process| process.smaps_rollup());
    let rollup = maps.iter().flat_map(|maps| &maps.memory_map_rollup).next();
    let kib = |field| {
        rollup.and_then(|rollup| rollup.extension.map.get(field)).map_or(0, |bytes| bytes / 1024)
    };
    Memory { pss_kib: kib("Pss"), private_kib: kib("Private_Clean") + kib("Private_Dirty") }
}

/// The proportional set size of a process in KiB.
pub fn memory_kib_of(pid: Pid) -> u64 {
    memory_of(pid).pss_kib
}

/// The inodes of the sockets that a process has open. Empty if it belongs to another user.
pub fn sockets_of(pid: Pid) -> impl Iterator<Item = u64> {
    let descriptors = process(pid).and_then(|process| process.fd()).into_iter().flatten().flatten();
    descriptors.filter_map(|descriptor| match descriptor.target {
        FDTarget::Socket(inode) => Some(inode),
        _ => None,
    })
}

/// The TCP sockets of this network namespace. Empty if the kernel does not list them.
pub fn tcp_sockets() -> impl Iterator<Item = TcpNetEntry> {
    [procfs::net::tcp(), procfs::net::tcp6()].into_iter().flatten().flatten()
}

/// The process that listens on this TCP address of this machine, or on this port of all addresses.
/// Of several, it is the one whose parent is not among them. `None` if there is none, or if it
/// belongs to another user.
pub fn listener_of(address: SocketAddr) -> Option<Pid> {
    let is_it = |local: SocketAddr| {
        local.port() == address.port()
            && (local.ip().is_unspecified()
                || local.ip().to_canonical() == address.ip().to_canonical())
    };
    let sockets: Vec<u64> = tcp_sockets()
        .filter(|socket| socket.state == TcpState::Listen && is_it(socket.local_address))
        .map(|socket| socket.inode)
        .collect();
    if sockets.is_empty() {
        return None;
    }
    let pids =
        all_processes().into_iter().flatten().flatten().map(|found| Pid::from_raw(found.pid));
    let holders: Vec<Pid> =
        pids.filter(|&pid| sockets_of(pid).any(|inode| sockets.contains(&inode))).collect();
    let is_child = |pid: &Pid| holders.iter().any(|&other| children_of(other).contains(pid));
    holders.iter().copied().find(|pid| !is_child(pid))
}

fn process(pid: Pid) -> ProcResult<Process> {
    Process::new(pid.as_raw())
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
