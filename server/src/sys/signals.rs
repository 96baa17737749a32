//! What this process does with signals. Source: signal(7).

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, SigSet, Signal, raise, signal};

/// Sets a signal's action to the default.
pub fn reset_signal(which: Signal) -> nix::Result<()> {
    // SAFETY: the default action runs no code of ours.
    unsafe { signal(which, SigHandler::SigDfl) }.map(drop)
}

/// Ignores a signal: what would cause it is then an error of the call that did.
pub fn ignore_signal(which: Signal) -> nix::Result<()> {
    // SAFETY: to ignore a signal runs no code of ours.
    unsafe { signal(which, SigHandler::SigIgn) }.map(drop)
}

/// Whether this process ignores a signal, because the program that started it had it so (`nohup`).
pub fn is_ignored(which: Signal) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action the call only writes the present one to `action`, which lives as long as the call.
    let asked = Errno::result(unsafe { libc::sigaction(which as libc::c_int, std::ptr::null(), action.as_mut_ptr()) });
    // SAFETY: it was written, since the call succeeded.
    asked.is_ok() && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

/// A set of signals by their numbers, the real-time signals among them, which [`Signal`] doesn't have.
///
/// # Errors
/// `EINVAL` for a number that is no signal's.
pub fn signal_set(numbers: impl IntoIterator<Item = i32>) -> nix::Result<SigSet> {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: it writes an empty set to `set`.
    Errno::result(unsafe { libc::sigemptyset(set.as_mut_ptr()) })?;
    for number in numbers {
        // SAFETY: `set` was made above; a number that is no signal's is refused.
        Errno::result(unsafe { libc::sigaddset(set.as_mut_ptr(), number) })?;
    }
    // SAFETY: it was made by sigemptyset and changed by sigaddset alone.
    Ok(unsafe { SigSet::from_sigset_t_unchecked(set.assume_init()) })
}

/// The real-time signals that a program may use.
pub fn real_time_signals() -> std::ops::RangeInclusive<i32> {
    libc::SIGRTMIN()..=libc::SIGRTMAX()
}

/// Ends this process by a signal's default action, although the signal is blocked or ignored. Returns only if that action isn't an end.
pub fn die_by(which: Signal) -> nix::Result<()> {
    reset_signal(which)?;
    raise(which)?;
    // A blocked one is delivered now.
    signal_set([which as i32])?.thread_unblock()
}

/// Has a fault end the process. Rust's handler looks whether a stack overflowed and returns, so a SIGSEGV that another process sent would do nothing.
pub(super) fn crash_by_default() -> nix::Result<()> {
    [Signal::SIGSEGV, Signal::SIGBUS].into_iter().try_for_each(reset_signal)
}

/// Forgets what the program that started this process had it do with signals: none is blocked, none ignored (`nohup`, a shell's `trap ''`), none handled. But for
/// SIGPIPE, which every Rust program ignores: a peer that has gone is an error of a write, not the writer's end. Source: daemon(7), steps 2 and 3.
pub(super) fn reset_signals() -> nix::Result<()> {
    for number in 1..=libc::SIGRTMAX() {
        let action = if number == libc::SIGPIPE { libc::SIG_IGN } else { libc::SIG_DFL };
        // SAFETY: neither action runs any code of ours. Refused for those that can't be changed: SIGKILL, SIGSTOP, and the C library's own two.
        unsafe { libc::signal(number, action) };
    }
    SigSet::empty().thread_set_mask()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_real_time_signals_and_no_number_that_is_no_signals() {
        assert!(real_time_signals().count() >= 8);
        let set = signal_set(real_time_signals().chain([Signal::SIGUSR1 as i32])).unwrap();
        assert!(set.contains(Signal::SIGUSR1) && !set.contains(Signal::SIGUSR2));
        assert_eq!(signal_set([libc::SIGRTMAX() + 1]), Err(Errno::EINVAL));
    }

    #[test]
    fn rust_ignores_sigpipe_and_that_can_be_asked() {
        assert!(is_ignored(Signal::SIGPIPE) && !is_ignored(Signal::SIGURG));
    }
}
