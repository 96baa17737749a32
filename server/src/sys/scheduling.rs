//! Scheduling of a thread: its nice value and its policy. (Its CPUs are set through nix:
//! `sched_setaffinity` is safe.)
//!
//! Both belong to one thread: a thread sets its own. They can be read of any thread, also of a
//! process that has ended and was not waited for yet. A thread or process that is started
//! afterwards inherits them. Sources: sched(7), setpriority(2), sched_setscheduler(2).

use nix::errno::Errno;
use nix::unistd::Pid;

/// The calling thread, for those calls that take one.
pub const THIS_THREAD: Pid = Pid::from_raw(0);

/// By what rule the kernel chooses who runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Everyone gets a share, by nice value: the default.
    Other,
    /// The same, but who wakes up interrupts nobody: for work whose end is waited for, and no step
    /// of it before.
    Batch,
    /// Next to nothing as long as anyone else wants the CPU; the nice value doesn't count.
    Idle,
    /// Real time: before all of the above. Those of one priority take turns.
    RoundRobin,
    /// Real time as well, without turns: until it waits or yields, or one of a higher priority
    /// wants to run.
    Fifo,
}

impl Policy {
    /// All of them.
    pub const ALL: [Policy; 5] =
        [Policy::Other, Policy::Batch, Policy::Idle, Policy::RoundRobin, Policy::Fifo];

    /// As chrt(1) calls it.
    pub fn name(self) -> &'static str {
        match self {
            Policy::Other => "other",
            Policy::Batch => "batch",
            Policy::Idle => "idle",
            Policy::RoundRobin => "rr",
            Policy::Fifo => "fifo",
        }
    }

    fn of_number(number: libc::c_int) -> Option<Policy> {
        Policy::ALL.into_iter().find(|policy| policy.number() == number)
    }

    /// Whether those who have it come before all who don't.
    pub fn is_real_time(self) -> bool {
        matches!(self, Policy::RoundRobin | Policy::Fifo)
    }

    fn number(self) -> libc::c_int {
        match self {
            Policy::Other => libc::SCHED_OTHER,
            Policy::Batch => libc::SCHED_BATCH,
            Policy::Idle => libc::SCHED_IDLE,
            Policy::RoundRobin => libc::SCHED_RR,
            Policy::Fifo => libc::SCHED_FIFO,
        }
    }
}

/// The calling thread's nice value.
pub fn nice() -> nix::Result<i8> {
    nice_of(THIS_THREAD)
}

/// The nice value of a thread, or of a process's first one.
///
/// # Errors
/// `ESRCH` if there is none such.
pub fn nice_of(thread: Pid) -> nix::Result<i8> {
    Errno::clear();
    // SAFETY: it takes two numbers, and changes nothing.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, thread.as_raw().cast_unsigned()) };
    // -1 is a nice value, too.
    match Errno::last_raw() {
        0 => Ok(nice as i8),
        errno => Err(Errno::from_raw(errno)),
    }
}

/// Gives the calling thread a nice value, -20 to 19: the lower, the larger its share; a step is
/// about a tenth of the CPU between two who compete for it.
///
/// # Errors
/// `EACCES` if it is lower than what the thread has, and there is neither CAP_SYS_NICE nor an
/// RLIMIT_NICE of at least 20 less the nice value.
pub fn set_nice(nice: i8) -> nix::Result<()> {
    // SAFETY: it takes three numbers; 0 is the calling thread, and what is out of range is clamped.
    Errno::result(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice.into()) }).map(drop)
}

/// The policy of a thread, or of a process's first one; `None` for one that [`Policy`] doesn't have
/// (`SCHED_DEADLINE`, say).
///
/// # Errors
/// `ESRCH` if there is none such.
pub fn policy_of(thread: Pid) -> nix::Result<Option<Policy>> {
    // SAFETY: it takes a number, and changes nothing.
    let number = Errno::result(unsafe { libc::sched_getscheduler(thread.as_raw()) })?;
    Ok(Policy::of_number(number & !libc::SCHED_RESET_ON_FORK))
}

/// Gives the calling thread a policy. Among real-time threads, whichever of the two policies they
/// have, the one of the highest `priority` runs, 1 to 99; the other policies have none, and it is
/// ignored.
///
/// # Errors
/// `EPERM` for a real-time policy if there is neither CAP_SYS_NICE nor an RLIMIT_RTPRIO of at least
/// `priority`, and it isn't less than what the thread has; or if the control group has no time for
/// such. `EPERM` also for leaving [`Policy::Idle`] without what [`set_nice`] would ask for.
/// `EINVAL` for a priority out of range.
pub fn set_policy(policy: Policy, priority: u8) -> nix::Result<()> {
    let parameters = libc::sched_param {
        sched_priority: if policy.is_real_time() { priority.into() } else { 0 },
    };
    // SAFETY: 0 is the calling thread; `parameters` is only read, and outlives the call.
    Errno::result(unsafe { libc::sched_setscheduler(0, policy.number(), &raw const parameters) })
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nice value, real-time priority and policy of the calling thread. Source: proc_pid_stat(5),
    /// fields 19, 40, 41.
    fn scheduling() -> [i32; 3] {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split_whitespace().collect();
        [19, 40, 41].map(|field| fields[field - 3].parse().unwrap())
    }

    #[test]
    fn a_thread_has_what_it_asked_for_and_so_have_those_that_it_starts() {
        let before = scheduling();
        let thread = std::thread::spawn(|| {
            set_nice(19).unwrap();
            set_policy(Policy::Batch, 7).unwrap();
            let started = std::thread::spawn(scheduling).join().unwrap();
            set_policy(Policy::Idle, 0).unwrap();
            (started, scheduling())
        });
        assert_eq!(thread.join().unwrap(), ([19, 0, libc::SCHED_BATCH], [19, 0, libc::SCHED_IDLE]));
        assert_eq!(scheduling(), before, "nobody else has it");
    }

    #[test]
    fn what_a_thread_has_can_be_read_from_outside() {
        let thread = std::thread::spawn(|| {
            set_nice(19).unwrap();
            set_policy(Policy::Batch, 0).unwrap();
            let me = nix::unistd::gettid();
            std::thread::spawn(move || (nice_of(me), policy_of(me))).join().unwrap()
        });
        assert_eq!(thread.join().unwrap(), (Ok(19), Ok(Some(Policy::Batch))));
        assert_eq!(
            (nice_of(Pid::from_raw(i32::MAX)), policy_of(Pid::from_raw(i32::MAX))),
            (Err(Errno::ESRCH), Err(Errno::ESRCH))
        );
    }

    #[test]
    fn a_priority_that_there_is_not_is_refused() {
        for priority in [0, 100] {
            assert_eq!(set_policy(Policy::Fifo, priority), Err(Errno::EINVAL));
        }
    }
}
