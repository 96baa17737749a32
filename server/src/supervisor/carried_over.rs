//! Settings that an operator made on a process from outside (`renice`, `chrt`, `taskset`,
//! `prlimit`, `choom`, a control group) are kept when the process dies: its successor applies them.
//!
//! The supervisor reads them from the dead process, which has them until it is reaped, and keeps
//! them in the slot. A setting was made from outside if it differs both from what the supervisor
//! gave to that process and from what it would give to a process now. The successor applies them
//! right after the fork, while it has one thread. All its threads then have the settings of its
//! predecessor's first thread.
//!
//! | setting | how it is read from the dead process |
//! |---|---|
//! | nice value | getpriority(2) |
//! | policy (`other`, `batch`, `idle`) | sched_getscheduler(2) |
//! | CPUs | sched_getaffinity(2) |
//! | resource limits | prlimit(2) |
//! | control group (version 2) | `/proc/PID/cgroup` |
//! | `oom_score_adj` | `/proc/PID/oom_score_adj` |
//!
//! Not carried over: a real-time policy, since the supervisor could not kill a process that spins
//! with a higher priority than its own (`--sched` sets real-time policies); a control group of
//! version 1, which a dead process no longer has; a control group that was removed.
//!
//! A setting may be so tight that no successor can run with it. After [`FAILURES_MAX`] failures in
//! a row all of them are dropped, and the log output says so.

use super::control_groups;
use super::kinds::Kind;
use super::oom::{self, OutOfMemory};
use super::scheduling::{Scheduling, only};
use crate::sys::limits::{SoftAndHard, limit_of};
use crate::sys::scheduling::{Policy, THIS_THREAD, nice_of, policy_of, set_nice, set_policy};
use forkchat_common::ids::Slot;
use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::unistd::Pid;
use std::fmt;
use std::io;

/// How many processes in a row may fail with settings from outside. The first of them is the
/// process on which they were made.
pub(super) const FAILURES_MAX: u32 = 3;

/// All resource limits, as prlimit(1) describes them.
const LIMITS: [(Resource, &str); 16] = [
    (Resource::RLIMIT_AS, "address space"),
    (Resource::RLIMIT_CORE, "core file size"),
    (Resource::RLIMIT_CPU, "CPU time"),
    (Resource::RLIMIT_DATA, "data size"),
    (Resource::RLIMIT_FSIZE, "file size"),
    (Resource::RLIMIT_LOCKS, "file locks"),
    (Resource::RLIMIT_MEMLOCK, "locked memory"),
    (Resource::RLIMIT_MSGQUEUE, "message queues"),
    (Resource::RLIMIT_NICE, "nice"),
    (Resource::RLIMIT_NOFILE, "open files"),
    (Resource::RLIMIT_NPROC, "processes"),
    (Resource::RLIMIT_RSS, "resident set"),
    (Resource::RLIMIT_RTPRIO, "real-time priority"),
    (Resource::RLIMIT_RTTIME, "real-time CPU time"),
    (Resource::RLIMIT_SIGPENDING, "pending signals"),
    (Resource::RLIMIT_STACK, "stack size"),
];

/// The settings of a process that can be changed from outside. `None`: unknown, or not to be
/// applied.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Settings {
    nice: Option<i8>,
    policy: Option<Policy>,
    cpus: Option<CpuSet>,
    limits: [Option<SoftAndHard>; LIMITS.len()],
    group: Option<String>,
    oom_score_adj: Option<i32>,
}

impl Settings {
    /// Reads the settings of a child or of this process. A child that has ended still has them
    /// until it is reaped.
    ///
    /// This doesn't block: it takes a few system calls, and reads two files that the kernel writes
    /// from memory.
    pub fn of(pid: Pid) -> Settings {
        Settings {
            nice: nice_of(pid).ok(),
            policy: policy_of(pid).ok().flatten(),
            cpus: sched_getaffinity(pid).ok(),
            limits: LIMITS.map(|(resource, _)| limit_of(pid, resource).ok()),
            group: control_groups::group_of(pid),
            oom_score_adj: oom::value_of(pid),
        }
    }

    /// The settings that the supervisor gives to a child if it has these itself.
    pub fn of_child(
        self,
        slot: Slot,
        kind: &Kind,
        scheduling: &Scheduling,
        out_of_memory: &OutOfMemory,
    ) -> Settings {
        let pinned = scheduling.cpu_of_child(slot, kind).and_then(|cpu| only(cpu).ok());
        Settings {
            policy: scheduling.policy_of_child(kind.serves_clients).or(self.policy),
            cpus: pinned.or(self.cpus),
            oom_score_adj: out_of_memory.value_of_child(kind).or(self.oom_score_adj),
            ..self
        }
    }

    /// The settings that were made from outside: those that differ from all that the supervisor may
    /// have given. `None` if there are none.
    pub fn differing_from(self, given: [&Settings; 2]) -> Option<Settings> {
        fn apart<T: PartialEq>(had: Option<T>, given: [&Option<T>; 2]) -> Option<T> {
            had.filter(|had| {
                given.iter().all(|given| given.as_ref().is_some_and(|given| given != had))
            })
        }
        let mut limits = self.limits;
        for (index, limit) in limits.iter_mut().enumerate() {
            *limit = apart(limit.take(), given.map(|given| &given.limits[index]));
        }
        let set = Settings {
            nice: apart(self.nice, given.map(|given| &given.nice)),
            policy: apart(self.policy, given.map(|given| &given.policy)),
            cpus: apart(self.cpus, given.map(|given| &given.cpus)),
            limits,
            group: apart(self.group, given.map(|given| &given.group)),
            oom_score_adj: apart(self.oom_score_adj, given.map(|given| &given.oom_score_adj)),
        };
        (set != Settings::default()).then_some(set)
    }

    /// Whether these settings may make a sound process fail, because they limit its resources.
    pub fn may_cause_failure(&self) -> bool {
        self.group.is_some() || self.limits.iter().any(Option::is_some)
    }

    /// Whether they contain a control group.
    pub fn has_group(&self) -> bool {
        self.group.is_some()
    }

    /// Applies the settings. Called in the child, before it has a second thread. The child logs
    /// those that it can't apply, and serves without them.
    pub fn apply_in_child(&self) {
        let mut applied = self.clone();
        try_apply(
            &mut applied.group,
            |group| format!("control group {group}"),
            |group| control_groups::join(group),
            "move it there again, or let the server's user write to cgroup.procs there",
        );
        try_apply(
            &mut applied.oom_score_adj,
            |value| format!("oom_score_adj {value}"),
            |&value| oom::set(value),
            "set it again (choom), or give the server CAP_SYS_RESOURCE",
        );
        // Before the nice value: to leave the idle policy, a process may need the right to its
        // present nice value.
        if let Some(policy) = applied.policy.take_if(|policy| policy.is_real_time()) {
            let name = policy.name();
            log::warn!(
                "policy {name}, which was set from outside on its predecessor, is not applied; \
                 --sched {name} gives real time"
            );
        }
        try_apply(
            &mut applied.policy,
            |policy| format!("policy {}", policy.name()),
            |&policy| Ok(set_policy(policy, 0)?),
            "set it again (chrt), or give the server CAP_SYS_NICE",
        );
        try_apply(
            &mut applied.nice,
            |nice| format!("nice {nice}"),
            |&nice| Ok(set_nice(nice)?),
            "set it again (renice), or give the server CAP_SYS_NICE or a limit on nice (ulimit -e)",
        );
        try_apply(
            &mut applied.cpus,
            |cpus| format!("CPUs {}", Cpus(cpus)),
            |cpus| Ok(sched_setaffinity(THIS_THREAD, cpus)?),
            "set them again (taskset)",
        );
        // Last, since the other steps might fail with lower limits.
        for (limit, (resource, name)) in applied.limits.iter_mut().zip(LIMITS) {
            try_apply(
                limit,
                |&limit| format!("limit on {name} {}", Limit(limit)),
                |&limit| Ok(set_limit(resource, limit)?),
                "set it again (prlimit), or give the server CAP_SYS_RESOURCE",
            );
        }
        if applied != Settings::default() {
            log::info!(
                "has the settings that were made from outside on its predecessor: {applied}"
            );
        }
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = LIMITS
            .iter()
            .zip(self.limits)
            .filter_map(|((_, name), limit)| Some(format!("limit on {name} {}", Limit(limit?))));
        let words = [
            self.nice.map(|nice| format!("nice {nice}")),
            self.policy.map(|policy| format!("policy {}", policy.name())),
            self.cpus.as_ref().map(|cpus| format!("CPUs {}", Cpus(cpus))),
            self.group.as_ref().map(|group| format!("control group {group}")),
            self.oom_score_adj.map(|value| format!("oom_score_adj {value}")),
        ];
        f.write_str(&words.into_iter().flatten().chain(named).collect::<Vec<_>>().join("; "))
    }
}

/// CPUs as taskset(1) lists them: `0-2,5`.
struct Cpus<'a>(&'a CpuSet);

impl fmt::Display for Cpus<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = |cpu| self.0.is_set(cpu) == Ok(true);
        let firsts = (0..CpuSet::count()).filter(|&cpu| has(cpu) && (cpu == 0 || !has(cpu - 1)));
        let ranges = firsts.map(|first| {
            let last = (first..CpuSet::count()).take_while(|&cpu| has(cpu)).last().unwrap_or(first);
            if last == first { first.to_string() } else { format!("{first}-{last}") }
        });
        f.write_str(&ranges.collect::<Vec<_>>().join(","))
    }
}

/// `500:1000`, soft and hard, as prlimit(1) takes it; `500` if they are the same.
struct Limit(SoftAndHard);

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (soft, hard) = self.0;
        let word = |value| {
            if value == RLIM_INFINITY { "unlimited".to_owned() } else { format!("{value}") }
        };
        if soft == hard {
            f.write_str(&word(soft))
        } else {
            write!(f, "{}:{}", word(soft), word(hard))
        }
    }
}

/// Applies a setting, if there is one. If that fails, logs why, with the remedy, and unsets it.
fn try_apply<T>(
    setting: &mut Option<T>,
    name: impl Fn(&T) -> String,
    apply: impl Fn(&T) -> io::Result<()>,
    remedy: &str,
) {
    if let Some(value) = setting
        && let Err(error) = apply(value)
    {
        log::warn!(
            "cannot apply {}, which was set from outside on its predecessor: {error}; {remedy}",
            name(value)
        );
        *setting = None;
    }
}

/// Sets a resource limit of this process. If the hard limit can't be raised that far, raises the
/// soft limit as far as possible, and still returns the error.
fn set_limit(resource: Resource, (soft, hard): SoftAndHard) -> nix::Result<()> {
    setrlimit(resource, soft, hard).inspect_err(|&errno| {
        if errno == Errno::EPERM
            && let Ok((_, own_hard)) = getrlimit(resource)
        {
            let _ = setrlimit(resource, soft.min(own_hard), own_hard);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    use std::process::Command;

    fn cpus(numbers: &[usize]) -> CpuSet {
        let mut set = CpuSet::new();
        numbers.iter().for_each(|&cpu| set.set(cpu).unwrap());
        set
    }

    fn limit_on(resource: Resource) -> usize {
        LIMITS.iter().position(|(other, _)| *other == resource).unwrap()
    }

    fn some() -> Settings {
        let mut limits = [Some((10, 20)); LIMITS.len()];
        limits[limit_on(Resource::RLIMIT_AS)] = Some((RLIM_INFINITY, RLIM_INFINITY));
        Settings {
            nice: Some(0),
            policy: Some(Policy::Other),
            cpus: Some(cpus(&[0, 1])),
            limits,
            group: Some("/a".to_owned()),
            oom_score_adj: Some(300),
        }
    }

    #[test]
    fn settings_are_from_outside_if_the_supervisor_gave_others_then_and_would_now() {
        let given = some();
        assert_eq!(given.clone().differing_from([&given, &given]), None);
        let mut had = Settings { nice: Some(7), cpus: Some(cpus(&[1])), ..some() };
        had.limits[limit_on(Resource::RLIMIT_NOFILE)] = Some((5, 20));
        let set = had.clone().differing_from([&given, &given]).unwrap();
        assert_eq!(set.to_string(), "nice 7; CPUs 1; limit on open files 5:20");
        assert!(set.may_cause_failure());
        // The supervisor's own nice value was changed meanwhile. The process had a value that the
        // supervisor gave then, or would give now.
        let now = Settings { nice: Some(7), ..some() };
        assert_eq!(had.clone().differing_from([&given, &now]).unwrap().nice, None);
        assert_eq!(had.clone().differing_from([&now, &given]).unwrap().nice, None);
        // Unknown settings can't be compared.
        assert_eq!(had.differing_from([&given, &Settings::default()]), None);
        let only_nice =
            Settings { nice: Some(7), ..some() }.differing_from([&given, &given]).unwrap();
        assert!(!only_nice.may_cause_failure());
    }

    #[test]
    fn settings_are_formatted_as_the_tools_accept_them() {
        let mut limits = [None; LIMITS.len()];
        limits[limit_on(Resource::RLIMIT_AS)] = Some((1 << 30, RLIM_INFINITY));
        limits[limit_on(Resource::RLIMIT_CORE)] = Some((RLIM_INFINITY, RLIM_INFINITY));
        let all = Settings { cpus: Some(cpus(&[0, 1, 2, 5, 7, 8])), limits, ..some() };
        let words = "nice 0; policy other; CPUs 0-2,5,7-8; control group /a; oom_score_adj 300; \
                     limit on address space 1073741824:unlimited; limit on core file size unlimited";
        assert_eq!(all.to_string(), words);
    }

    #[test]
    fn a_child_that_has_ended_keeps_its_settings_until_it_is_reaped() {
        let mut child = Command::new("nice").args(["-n", "3", "sleep", "1000"]).spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());
        // The child has its nice value once it executes sleep.
        while std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap() != "sleep\n" {
            std::thread::yield_now();
        }
        let alive = Settings::of(pid);
        child.kill().unwrap();
        assert!(matches!(
            waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT),
            Ok(WaitStatus::Signaled(..))
        ));
        assert_eq!(Settings::of(pid), alive);
        // Only the nice value is checked, since other tests set limits of this process.
        let own = Settings::of(Pid::this());
        let set = alive.differing_from([&own, &own]).unwrap();
        assert_eq!(set.nice, own.nice.map(|nice| (nice + 3).min(19)));
        child.wait().unwrap();
        assert_eq!(Settings::of(pid), Settings::default());
    }
}
