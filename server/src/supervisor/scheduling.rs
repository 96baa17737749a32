//! The scheduling of the processes: what `--nice`, `--sched` and `--pin` set for each.
//!
//! | | supervisor | workers | journal, log |
//! |---|---|---|---|
//! | `--nice N` | N | N | N |
//! | `--sched other`, `batch`, `idle` | the same | the same | the same |
//! | `--sched rr`, `fifo` | priority 2 | priority 1 | `other` |
//! | `--pin` | | one CPU each, by number | |
//!
//! Only the processes that serve clients get a real-time policy. The supervisor has a higher
//! priority than the workers, so that it can still kill a worker that spins. The journal does long
//! work for which no client waits: it runs when the workers leave it time. When it falls behind,
//! the ring is full and the workers wait.
//!
//! The other policies and the nice value are the same for all processes, since all need the log's
//! lock: a process that rarely runs would hold up the others. And if the supervisor had precedence
//! over its workers on a busy machine, it would see them stand still.
//!
//! The supervisor sets its own scheduling before it forks any process, which may need a privilege.
//! A child inherits it, and sets its own right after the fork, while it has one thread; its later
//! threads inherit that. It only keeps or lowers what it inherited, which needs no privilege at the
//! first start or at a restart.

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

/// Real-time priorities: the two lowest, so that all other real-time processes on the machine have
/// precedence.
const OF_WORKERS: u8 = 1;
const OF_SUPERVISOR: u8 = 2;

/// A value n of RLIMIT_NICE allows nice values down to this minus n. Source: getrlimit(2).
const NICE_LIMIT_ORIGIN: i8 = 20;

/// The scheduling that the options ask for.
#[derive(Clone, Debug)]
pub(super) struct Scheduling {
    nice: Option<i8>,
    policy: Option<Policy>,
    /// The CPUs that the server was allowed to use at its start, in order; empty without `--pin`.
    cpus: Vec<usize>,
}

impl Scheduling {
    /// Sets the supervisor's scheduling.
    ///
    /// # Errors
    /// [`StartError::NotAllowed`] without the privilege, [`StartError::System`] if the kernel
    /// refuses it for another reason.
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
                // Fails only for a server that was started as idle: leaving that policy needs the
                // right to its nice value.
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

    /// Sets the log process's scheduling. Like the journal it gets no real-time policy, and is not
    /// pinned.
    pub fn apply_in_log_process(&self) {
        self.apply_policy(false);
    }

    /// Sets a child's scheduling. Called in the child, before it has a second thread. A failure
    /// costs only speed, so the child serves all the same.
    pub fn apply_in_child(&self, slot: Slot, kind: &Kind) {
        self.apply_policy(kind.serves_clients);
        if let Some(cpu) = self.cpu_of_child(slot, kind)
            && let Err(errno) = only(cpu).and_then(|cpu| sched_setaffinity(THIS_THREAD, &cpu))
        {
            log::warn!("cannot be pinned to CPU {cpu}: {errno}; it runs on any");
        }
    }

    fn apply_policy(&self, serves_clients: bool) {
        let policy = self.policy_of_child(serves_clients);
        if let Some(Err(errno)) = policy.map(|policy| set_policy(policy, OF_WORKERS)) {
            log::warn!("cannot set its scheduling policy: {errno}; it keeps the supervisor's");
        }
    }

    /// The policy of a child; `None` if it keeps the supervisor's.
    pub fn policy_of_child(&self, serves_clients: bool) -> Option<Policy> {
        self.policy.map(|policy| {
            if !serves_clients && policy.is_real_time() { Policy::Other } else { policy }
        })
    }

    /// The CPU to which a child is pinned; `None` if it isn't.
    pub fn cpu_of_child(&self, slot: Slot, kind: &Kind) -> Option<usize> {
        let is_pinned = kind.serves_clients && !self.cpus.is_empty();
        is_pinned.then(|| self.cpus[slot.worker_number() % self.cpus.len()])
    }
}

/// What the options ask for; empty if they ask for nothing.
impl fmt::Display for Scheduling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nice = self.nice.map(|nice| format!("nice {nice}"));
        let policy = self.policy.map(|policy| match policy.is_real_time() {
            true => format!(
                "{} (workers at priority {OF_WORKERS}, supervisor at {OF_SUPERVISOR}, \
                 journal other)",
                policy.name()
            ),
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

/// The set of one CPU.
pub(super) fn only(cpu: usize) -> nix::Result<CpuSet> {
    let mut one = CpuSet::new();
    one.set(cpu)?;
    Ok(one)
}
