//! Which process runs when and on which CPU: what `--nice`, `--sched` and `--pin` give to each.
//!
//! | | supervisor | workers | journal, log |
//! |---|---|---|---|
//! | `--nice N` | N | N | N |
//! | `--sched other`, `batch`, `idle` | the same | the same | the same |
//! | `--sched rr`, `fifo` | priority 2 | priority 1 | `other` |
//! | `--pin` | | one CPU each, by number | |
//!
//! Only the processes that answer clients get real time. The supervisor has a higher priority than
//! the workers, so that it can still kill one that spins. The journal has long work for which no
//! client waits: it runs when the workers leave it time, and when it falls behind, the ring is full
//! and the workers wait.
//!
//! The other policies, and the nice value, are the same for all processes, since all need the log's
//! lock: a process that runs rarely would hold up the others, and a supervisor that ran before its
//! workers would see them stand still on a busy machine.
//!
//! The supervisor sets its own scheduling before it forks any process, and may need a right for it.
//! A child inherits the supervisor's, and sets its own right after the fork, while it has one
//! thread: its other threads inherit that. It only keeps or lowers what it has, which needs no
//! right, at the first start and at every restart.

use super::has_capability;
use super::kinds::Kind;
use super::start_error::{Limit, StartError};
use crate::options::Options;
use crate::role::count;
use crate::sys::scheduling::{Policy, THIS_THREAD, set_nice, set_policy};
use caps::Capability;
use forkchat_common::ids::Slot;
use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit};
use std::fmt;

/// Real-time priorities: the two lowest. Whatever else is real time on the machine comes first.
const OF_WORKERS: u8 = 1;
const OF_SUPERVISOR: u8 = 2;

/// RLIMIT_NICE counts from here downwards: so much less the lowest nice value that it allows.
/// Source: getrlimit(2).
const NICE_LIMIT_ORIGIN: i8 = 20;

/// What was asked for.
#[derive(Clone, Debug)]
pub(super) struct Scheduling {
    nice: Option<i8>,
    policy: Option<Policy>,
    /// Those that the server was allowed at its start, in order; none if nobody is pinned.
    cpus: Vec<usize>,
}

impl Scheduling {
    /// Gives the supervisor its part. The children are then to be given theirs.
    ///
    /// # Errors
    /// [`StartError::NotAllowed`] without the right to it.
    pub fn apply(options: &Options) -> Result<Scheduling, StartError> {
        let Options { nice, sched: policy, pin, .. } = *options;
        if let Some(nice) = nice {
            set_nice(nice).map_err(|errno| {
                refused(
                    format!("--nice {nice}"),
                    Limit::Nice,
                    NICE_LIMIT_ORIGIN.abs_diff(nice),
                    errno,
                )
            })?;
        }
        if let Some(policy) = policy {
            let (limit, at_least) = match policy.is_real_time() {
                true => (Limit::RealTime, OF_SUPERVISOR),
                // It was started as idle, which is left only by who may have its nice value.
                false => (Limit::Nice, NICE_LIMIT_ORIGIN.abs_diff(nice.unwrap_or(0))),
            };
            set_policy(policy, OF_SUPERVISOR).map_err(|errno| {
                refused(format!("--sched {}", policy.name()), limit, at_least, errno)
            })?;
        }
        let cpus = if pin {
            cpus_allowed()
                .map_err(|errno| StartError::System("tell which CPUs are allowed", errno.into()))?
        } else {
            Vec::new()
        };
        Ok(Scheduling { nice, policy, cpus })
    }

    /// Gives the log process its part. Like the journal it has no real time, and is not pinned.
    pub fn apply_in_log_process(&self) {
        self.take_on_policy(false);
    }

    /// Gives a child its part: in the child, before it has a second thread. What it can't have
    /// costs speed at most, so it serves all the same.
    pub fn apply_in_child(&self, slot: Slot, kind: &Kind) {
        self.take_on_policy(kind.serves_clients);
        if let Some(cpu) = self.cpu_of_child(slot, kind)
            && let Err(errno) = only(cpu).and_then(|cpu| sched_setaffinity(THIS_THREAD, &cpu))
        {
            log::warn!("cannot be pinned to CPU {cpu}: {errno}; it runs on any");
        }
    }

    fn take_on_policy(&self, serves_clients: bool) {
        let policy = self.policy_of_child(serves_clients);
        if let Some(Err(errno)) = policy.map(|policy| set_policy(policy, OF_WORKERS)) {
            log::warn!("cannot set its scheduling policy: {errno}; it keeps the supervisor's");
        }
    }

    /// The policy that a child is given; `None` if it keeps the supervisor's.
    pub fn policy_of_child(&self, serves_clients: bool) -> Option<Policy> {
        self.policy.map(|policy| {
            if !serves_clients && policy.is_real_time() { Policy::Other } else { policy }
        })
    }

    /// The CPU that a child is pinned to, if it is.
    pub fn cpu_of_child(&self, slot: Slot, kind: &Kind) -> Option<usize> {
        let is_pinned = kind.serves_clients && !self.cpus.is_empty();
        is_pinned.then(|| self.cpus[slot.worker_number() % self.cpus.len()])
    }
}

/// What was applied; nothing if nothing was asked for.
impl fmt::Display for Scheduling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nice = self.nice.map(|nice| format!("nice {nice}"));
        let policy = self.policy.map(|policy| match policy.is_real_time() {
            true => format!("{} (workers at priority {OF_WORKERS}, supervisor at {OF_SUPERVISOR}, journal other)", policy.name()),
            false => policy.name().to_owned(),
        });
        let pinned = (!self.cpus.is_empty())
            .then(|| format!("each worker pinned to one of {}", count(self.cpus.len(), "CPU")));
        f.write_str(&[nice, policy, pinned].into_iter().flatten().collect::<Vec<_>>().join("; "))
    }
}

impl Limit {
    fn resource(self) -> Resource {
        match self {
            Limit::Nice => Resource::RLIMIT_NICE,
            Limit::RealTime => Resource::RLIMIT_RTPRIO,
        }
    }
}

fn refused(asked: String, limit: Limit, at_least: u8, errno: Errno) -> StartError {
    match errno {
        Errno::EPERM | Errno::EACCES => {
            let is_within =
                getrlimit(limit.resource()).is_ok_and(|(soft, _)| soft >= at_least.into());
            StartError::NotAllowed {
                asked,
                limit,
                at_least,
                has_right: is_within || has_capability(Capability::CAP_SYS_NICE),
            }
        }
        _ => StartError::System("set scheduling", errno.into()),
    }
}

fn cpus_allowed() -> nix::Result<Vec<usize>> {
    let allowed = sched_getaffinity(THIS_THREAD)?;
    Ok((0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu) == Ok(true)).collect())
}

/// One CPU alone.
pub(super) fn only(cpu: usize) -> nix::Result<CpuSet> {
    let mut one = CpuSet::new();
    one.set(cpu)?;
    Ok(one)
}
