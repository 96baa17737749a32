//! Waiting for a word in shared memory to change. Source: futex(2).

use nix::errno::Errno;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Sleeps while `word` is `expected`, at most for `timeout`. May return early, so the caller checks
/// its condition again.
pub fn wait(word: &AtomicU32, expected: u32, timeout: Duration) {
    let timeout = libc::timespec {
        tv_sec: timeout.as_secs().min(i32::MAX as u64) as libc::time_t,
        tv_nsec: timeout.subsec_nanos() as libc::c_long,
    };
    // SAFETY: FUTEX_WAIT reads the word, which lives as long as the borrow, and the timeout, which
    // lives as long as the call. Any failure (a changed word, a signal, the timeout) means the same
    // to the caller: check again.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            expected,
            &raw const timeout,
        )
    };
}

/// Wakes all threads that wait for `word`, in every process.
pub fn wake_all(word: &AtomicU32) {
    // It can't fail for a valid address.
    let _ = try_to_wake_all(word);
}

/// Like [`wake_all`], but returns whether the system allows it.
pub fn try_to_wake_all(word: &AtomicU32) -> nix::Result<()> {
    // SAFETY: FUTEX_WAKE uses only the word's address.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX)
    })
    .map(drop)
}
