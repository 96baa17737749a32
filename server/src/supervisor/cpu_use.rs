//! How a child uses the CPU, as the kernel reports it: how long its threads ran and waited, and
//! whether it is stopped. Sources: proc_pid_schedstat(5); proc_pid_stat(5), `state`.

use nix::unistd::Pid;
use procfs::ProcResult;
use procfs::process::Process;
use std::time::Duration;

/// The CPU use of all threads of a process together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CpuUse {
    /// How long they ran in total.
    pub ran: Duration,
    /// How long they were runnable while other threads ran, without the current wait.
    pub waited: Duration,
    /// Whether one of them is running or runnable now.
    pub is_runnable: bool,
}

impl CpuUse {
    /// Reads the CPU use of a process.
    ///
    /// # Errors
    /// If the kernel does not report it for each thread.
    pub fn of(pid: Pid) -> ProcResult<CpuUse> {
        Process::new(pid.as_raw())?.tasks()?.flatten().try_fold(
            CpuUse::default(),
            |used, thread| {
                let times = thread.schedstat()?;
                Ok(CpuUse {
                    ran: used.ran + Duration::from_nanos(times.sum_exec_runtime),
                    waited: used.waited + Duration::from_nanos(times.run_delay),
                    is_runnable: used.is_runnable || thread.stat()?.state == 'R',
                })
            },
        )
    }
}

/// Whether a process is stopped (SIGSTOP).
pub(super) fn is_stopped(pid: Pid) -> bool {
    Process::new(pid.as_raw())
        .and_then(|process| process.stat())
        .is_ok_and(|stat| stat.state == 'T')
}
