//! System calls that this machine refuses and that forkchat can replace.

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::Pid;

/// The names of the calls that an old kernel or a container's profile refuses here.
pub fn replaced_calls() -> Vec<&'static str> {
    // SAFETY: no descriptor has this number, which is above any limit on descriptors, so nothing is
    // closed.
    let close_range = Errno::result(unsafe { libc::close_range(u32::MAX, u32::MAX, 0) }).map(drop);
    let calls = [
        ("clone3", super::threads::try_clone3()),
        ("close_range", close_range),
        ("memfd_create", memfd_create("forkchat-doctor", MFdFlags::MFD_CLOEXEC).map(drop)),
        ("pidfd_open", super::process::watch_end(Pid::this()).map(drop)),
    ];
    let is_refused = |result: &nix::Result<()>| {
        matches!(result, Err(Errno::ENOSYS | Errno::EPERM | Errno::EACCES))
    };
    calls.into_iter().filter(|(_, result)| is_refused(result)).map(|(name, _)| name).collect()
}
