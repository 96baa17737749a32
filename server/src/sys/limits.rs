//! Resource limits of any process, also of one that has ended and was not waited for. (A process
//! reads and sets its own with nix: `getrlimit`, `setrlimit`.)

use nix::errno::Errno;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::unistd::Pid;

/// A soft and a hard limit; `RLIM_INFINITY` for none.
pub type SoftAndHard = (u64, u64);

/// A resource limit of a process; pid 0 is the calling process. Source: prlimit(2).
///
/// # Errors
/// `ESRCH` if there is no such process, `EPERM` if it belongs to another user, `EINVAL` if the
/// kernel doesn't know the resource.
pub fn limit_of(process: Pid, resource: Resource) -> nix::Result<SoftAndHard> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the new limit is null, so nothing is set; the old limit is written to `limit`, which
    // outlives the call.
    Errno::result(unsafe {
        libc::prlimit(process.as_raw(), resource as _, std::ptr::null(), &raw mut limit)
    })?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// A soft limit of this process, if there is one.
pub fn own_limit(resource: Resource) -> Option<u64> {
    getrlimit(resource).ok().map(|(soft, _)| soft).filter(|&soft| soft != RLIM_INFINITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_a_process_are_those_that_it_sees_itself() {
        for resource in [Resource::RLIMIT_NOFILE, Resource::RLIMIT_AS, Resource::RLIMIT_CORE] {
            let own = limit_of(Pid::from_raw(0), resource).unwrap();
            assert_eq!((Ok(own), Ok(own)), (limit_of(Pid::this(), resource), getrlimit(resource)));
        }
        assert_eq!(limit_of(Pid::from_raw(i32::MAX), Resource::RLIMIT_CORE), Err(Errno::ESRCH));
    }
}
