//! Scheduling of a thread: its nice value and its policy. (Its CPUs are set with nix:
//! `sched_setaffinity` is safe.)
//!
//! Both belong to a thread, and a thread sets its own. They can be read for any thread, also of a
//! process that has ended and was not waited for yet. A thread or process that is started
//! afterwards inherits them. Sources: sched(7), setpriority(2), sched_setscheduler(2).

use nix::errno::Errno;
use nix::unistd::Pid;

/// The calling thread, for functions that take a thread.
pub const THIS_THREAD: Pid = Pid::from_raw(0);

/// The policy by which the kernel chooses which thread runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The default: every thread gets a share of the CPU according to its nice value.
    Other,
    /// Like `Other`, but a thread that wakes up doesn't preempt another one: for work of which only
    /// the final result is awaited.
    Batch,
    /// Almost no CPU time as long as any other thread wants to run; the nice value doesn't count.
    Idle,
    /// Real time: runs before all threads of the policies above. Threads of the same priority take
    /// turns.
    RoundRobin,
    /// Real time without turns: runs until it waits or yields, or until a thread of a higher
    /// priority wants to run.
    Fifo,
}

impl Policy {
    /// All of them.
    pub const ALL: [Policy; 5] =
        [Policy::Other, Policy::Batch, Policy::Idle, Policy::RoundRobin, Policy::Fifo];

    /// The name that chrt(1) uses.
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

    /// Whether threads with this policy run before all threads with another policy.
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

/// The nice value of a thread, or of a process's first thread.
///
/// # Errors
/// `ESRCH` if there is no such thread or process.
pub fn nice_of(thread: Pid) -> nix::Result<i8> {
    Errno::clear();
    // SAFETY: the call takes two numbers, and changes nothing.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, thread.as_raw().cast_unsigned()) };
    // The result alone doesn't show an error: -1 is a nice value, too.
    match Errno::last_raw() {
        0 => Ok(nice as i8),
        errno => Err(Errno::from_raw(errno)),
    }
}

/// Sets the calling thread's nice value, from -20 to 19. A lower value gives a larger share of the
/// CPU: one step is about a tenth of the CPU between two threads that compete for it.
///
/// # Errors
/// `EACCES` if it is lower than the thread's present value, and the thread has neither CAP_SYS_NICE
/// nor an RLIMIT_NICE of at least 20 minus the nice value.
pub fn set_nice(nice: i8) -> nix::Result<()> {
    // SAFETY: the call takes three numbers; 0 is the calling thread, and a value out of range is
    // clamped.
    Errno::result(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice.into()) }).map(drop)
}

/// The policy of a thread, or of a process's first thread; `None` for a policy that [`Policy`]
/// doesn't have (for example `SCHED_DEADLINE`).
///
/// # Errors
/// `ESRCH` if there is no such thread or process.
pub fn policy_of(thread: Pid) -> nix::Result<Option<Policy>> {
    // SAFETY: the call takes a number, and changes nothing.
    let number = Errno::result(unsafe { libc::sched_getscheduler(thread.as_raw()) })?;
    Ok(Policy::of_number(number & !libc::SCHED_RESET_ON_FORK))
}

/// Sets the calling thread's policy. Among real-time threads of both policies, the one with the
/// highest `priority`, 1 to 99, runs. The other policies ignore the priority.
///
/// # Errors
/// `EPERM` for a real-time policy if the thread has neither CAP_SYS_NICE nor an RLIMIT_RTPRIO of at
/// least `priority`, and `priority` isn't lower than its present one; or if the control group has
/// no real-time budget. `EPERM` also for leaving [`Policy::Idle`] without the rights that
/// [`set_nice`] needs. `EINVAL` for a priority out of range.
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
    fn a_thread_gets_what_it_sets_and_the_threads_that_it_starts_inherit_it() {
        let before = scheduling();
        let thread = std::thread::spawn(|| {
            set_nice(19).unwrap();
            set_policy(Policy::Batch, 7).unwrap();
            let started = std::thread::spawn(scheduling).join().unwrap();
            set_policy(Policy::Idle, 0).unwrap();
            (started, scheduling())
        });
        assert_eq!(thread.join().unwrap(), ([19, 0, libc::SCHED_BATCH], [19, 0, libc::SCHED_IDLE]));
        assert_eq!(scheduling(), before, "other threads are not affected");
    }

    #[test]
    fn another_thread_can_read_nice_value_and_policy() {
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
    fn a_priority_out_of_range_is_an_error() {
        for priority in [0, 100] {
            assert_eq!(set_policy(Policy::Fifo, priority), Err(Errno::EINVAL));
        }
    }
}
