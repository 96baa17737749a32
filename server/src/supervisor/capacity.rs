//! How many connections are admitted: as many as the machine has room for, depending on the
//! concurrency model.
//!
//! The limits on open files, on processes and threads, and on memory are read once, at the start;
//! `budget` divides the memory. Some tasks and memory are left for other programs, so that a full
//! server does not bring the machine down.

use super::budget::{Budget, Limit, Limited, Wanted, budget};
use super::start_error::{Bound, StartError};
use super::{control_groups, has_capability};
use crate::models::{Model, Placement, Takes};
use crate::options::{Listen, Options};
use crate::sys::limits::own_limit;
use caps::Capability;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use procfs::sys::kernel;
use procfs::sys::vm::max_map_count;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// Descriptors that a process needs besides the clients' sockets: listeners, epoll, standard
/// streams, and some to spare.
const DESCRIPTORS_BESIDES: u64 = 32;
/// Of the remaining descriptors, one in this many is for rejected connections: each stays open
/// until its client has the reason.
const REJECTED_SHARE: u64 = 16;
/// The most rejected connections that may be open at a time.
const REJECTED_MAX: u64 = 1_024;
/// Descriptors that each child costs the supervisor: a doorbell and a queue.
const DESCRIPTORS_PER_CHILD: u64 = 4;
/// The most connections on any machine.
const CONNECTIONS_MAX: u64 = 500_000;
/// The most connections with a process each: slots are numbered by 16 bits, and a few belong to
/// other processes.
const PROCESSES_MAX: u64 = 60_000;
/// Tasks (processes and threads) that a worker has at most besides those of its connections: with
/// the threads that reject connections.
const TASKS_PER_WORKER: u64 = 8;
const TASKS_OF_JOURNAL: u64 = 2;
/// Tasks to spare for the moment in which a process is replaced.
const TASKS_TO_SPARE: u64 = 8;
/// Of the tasks that the system still allows, one in this many is left for other programs.
const TASKS_LEFT_SHARE: u64 = 8;

/// The most UDP sessions at a time.
pub(super) const UDP_SESSIONS_MAX: usize = 4_096;
/// The most bytes that one session and one room can add to a snapshot: for a session its names, an
/// unfinished line and lines that wait for an answer; for a room its name and topic.
const SNAPSHOT_BYTES_PER_SESSION: usize = 12 * 1024;
const SNAPSHOT_BYTES_PER_ROOM: usize = 4 * 1024;
/// Bytes in a snapshot for remembered addresses that have no session: see `chat/addresses.rs`.
const SNAPSHOT_BYTES_OF_ADDRESSES: usize = 1 << 18;

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capacity {
    /// Connections.
    pub connections: usize,
    /// Rejected connections that may be open at a time besides.
    pub rejected: usize,
    /// What limits the number of connections.
    pub bound: Bound,
    /// How the memory is divided.
    pub budget: Budget,
}

/// Reads the machine's limits, and raises the limit on open files as far as possible.
///
/// # Errors
/// [`StartError::TooManyConnections`] or [`StartError::TooLittleMemory`] if the requested or fewest
/// connections don't fit.
pub(super) fn capacity(
    options: &Options,
    model: &Model,
    workers: u16,
) -> Result<Capacity, StartError> {
    let Model { takes, placement, .. } = *model;
    let (files, rejected) = by_files(takes, workers)?;
    let mut hard = vec![(files, Bound::Files)];
    hard.push((
        if placement == Placement::Own { PROCESSES_MAX } else { CONNECTIONS_MAX },
        Bound::Program,
    ));
    hard.push(by_tasks(takes, workers, placement));
    let least = |bounds: &[(u64, Bound)]| bounds.iter().copied().min_by_key(|(count, _)| *count);
    let (allowed, bound) = least(&hard).unwrap_or((files, Bound::Files));
    let asked = options.max_connections.map(u64::from);
    if allowed == 0 || asked.is_some_and(|asked| asked > allowed) {
        return Err(StartError::TooManyConnections { asked: asked.unwrap_or(1), allowed, bound });
    }
    let wanted = Wanted {
        takes,
        placement,
        workers: workers.into(),
        ring: options.ring,
        connections: asked,
        allowed,
        sendq: options.sendq,
        udp: options.udp.iter().any(|listen| *listen != Listen::Off),
        snapshot_bytes: |connections| snapshot_bytes_max(connections as usize) as u64,
    };
    let budget = budget(&memory_limits(), &wanted).map_err(StartError::TooLittleMemory)?;
    let bound =
        if asked.is_some() { Bound::Asked } else { budget.bound.map_or(bound, Bound::Memory) };
    Ok(Capacity {
        connections: budget.connections as usize,
        rejected: rejected as usize,
        bound,
        budget,
    })
}

/// How many connections the limit on open files allows, and how many rejected ones may be open
/// besides.
fn by_files(takes: Takes, workers: u16) -> Result<(u64, u64), StartError> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)
        .map_err(|errno| StartError::System("read the limit on open files", errno.into()))?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
        .map_err(|errno| StartError::System("raise the limit on open files", errno.into()))?;
    let besides = DESCRIPTORS_BESIDES + DESCRIPTORS_PER_CHILD * (u64::from(workers) + 1);
    let clients = hard.saturating_sub(besides);
    let rejected = (clients / REJECTED_SHARE).min(REJECTED_MAX);
    Ok(((clients - rejected) / takes.descriptors, rejected))
}

/// How many connections the limits on tasks allow: none if there is no room for the permanent
/// processes, and any number if a connection takes no task.
fn by_tasks(takes: Takes, workers: u16, placement: Placement) -> (u64, Bound) {
    let (free, bound) = tasks_free(workers, placement);
    let always = u64::from(workers) * TASKS_PER_WORKER + TASKS_OF_JOURNAL + TASKS_TO_SPARE;
    match free.checked_sub(always) {
        None => (0, bound),
        Some(left) => {
            ((left - left / TASKS_LEFT_SHARE).checked_div(takes.tasks).unwrap_or(u64::MAX), bound)
        }
    }
}

/// How many more processes and threads the system allows, and what limits them. Sources:
/// getrlimit(2), proc_sys_kernel(5), cgroups(7), proc_sys_vm(5).
fn tasks_free(workers: u16, placement: Placement) -> (u64, Bound) {
    let (all, own) = tasks_now();
    let mut bounds = vec![
        (
            kernel::pid_max().ok().map(|max| u64::from(max.unsigned_abs()).saturating_sub(all)),
            "the system's limit on processes (kernel.pid_max)",
        ),
        (
            kernel::threads_max().ok().map(|max| u64::from(max).saturating_sub(all)),
            "the system's limit on threads (kernel.threads-max)",
        ),
        (
            control_groups::room("pids", "pids.max", "pids.current", None),
            "the control group's limit on processes (pids.max)",
        ),
    ];
    if !is_exempt() {
        let limit =
            getrlimit(Resource::RLIMIT_NPROC).ok().map(|(soft, _)| soft.saturating_sub(own));
        bounds.push((limit, "the limit on processes (ulimit -u)"));
    }
    if placement == Placement::Shared {
        // Each thread's stack takes two mappings: the stack and its guard.
        let maps =
            max_map_count().ok().map(|max| max.saturating_sub(1_000) / 2 * u64::from(workers));
        bounds.push((maps, "the limit on mappings (vm.max_map_count)"));
    }
    let known = bounds.into_iter().filter_map(|(free, name)| Some((free?, Bound::Tasks(name))));
    known.min_by_key(|(free, _)| *free).unwrap_or((u64::MAX, Bound::Program))
}

/// The number of tasks that are visible, and of those of this user. Not with `procfs`, which takes
/// ten system calls for each process on the machine instead of six: the server does not listen
/// before this is done.
fn tasks_now() -> (u64, u64) {
    let me = fs::metadata("/proc/self").map_or(u32::MAX, |me| me.uid());
    let (mut all, mut own) = (0, 0);
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let is_process = process
            .file_name()
            .to_str()
            .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        let Some(threads) = is_process.then(|| threads_of(&process.path())).flatten() else {
            continue;
        };
        all += threads;
        own +=
            if process.metadata().is_ok_and(|metadata| metadata.uid() == me) { threads } else { 0 };
    }
    (all, own)
}

/// Source: proc_pid_stat(5), `num_threads`, the 18th field after the name.
fn threads_of(process: &std::path::Path) -> Option<u64> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    stat.rsplit(") ").next()?.split(' ').nth(17)?.parse().ok()
}

/// Whether this process is exempt from the limit on a user's processes, by CAP_SYS_ADMIN or
/// CAP_SYS_RESOURCE. Source: getrlimit(2), capabilities(7).
fn is_exempt() -> bool {
    has_capability(Capability::CAP_SYS_ADMIN) || has_capability(Capability::CAP_SYS_RESOURCE)
}

/// The limits on the memory that the server may use. Sources: proc_meminfo(5), cgroups(7),
/// getrlimit(2).
fn memory_limits() -> Vec<Limit> {
    // Not `procfs::Meminfo`: it creates a hash map, for which the standard library opens
    // /dev/urandom if getrandom(2) is refused. The children would use that descriptor too, but
    // there it is closed.
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = info.lines().find_map(|line| {
        let kib = line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB")?;
        Some(kib.parse::<u64>().ok()? * 1024)
    });
    let group =
        |max, current, reclaimable| control_groups::room("memory", max, current, Some(reclaimable));
    let limits = [
        (Limited::All, available, "the memory that is available"),
        (
            Limited::All,
            group("memory.max", "memory.current", "inactive_file"),
            "the control group's memory limit (memory.max)",
        ),
        // Above this the kernel slows the group down until it hardly runs.
        (
            Limited::All,
            group("memory.high", "memory.current", "inactive_file"),
            "the control group's memory limit (memory.high)",
        ),
        (
            Limited::All,
            group("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
            "the control group's memory limit (memory.limit_in_bytes)",
        ),
        (
            Limited::AddressSpace,
            own_limit(Resource::RLIMIT_AS),
            "the limit on address space (ulimit -v)",
        ),
        (
            Limited::Data,
            own_limit(Resource::RLIMIT_DATA),
            "the limit on private memory (ulimit -d)",
        ),
    ];
    limits
        .into_iter()
        .filter_map(|(what, bytes, name)| Some(Limit { what, bytes: bytes?, name }))
        .collect()
}

/// The size of the largest snapshot with this many connections, and as many UDP sessions as are
/// possible then.
pub(super) fn snapshot_bytes_max(connections: usize) -> usize {
    let sessions = connections + connections.min(UDP_SESSIONS_MAX);
    let rooms = forkchat_common::limits::ROOMS_MAX * SNAPSHOT_BYTES_PER_ROOM;
    sessions * SNAPSHOT_BYTES_PER_SESSION + rooms + SNAPSHOT_BYTES_OF_ADDRESSES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_and_memory_of_this_system_can_be_read() {
        let (all, own) = tasks_now();
        assert!(own >= 1 && all >= own, "{own} of {all}");
        assert!(
            memory_limits().iter().any(|limit| limit.what == Limited::All && limit.bytes > 1 << 20)
        );
        let (free, bound) = tasks_free(1, Placement::Own);
        assert!(free > 0, "{bound}");
    }
}
