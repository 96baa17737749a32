//! What this process does with signals. Source: signal(7).

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, SigSet, Signal, raise, signal};

/// Those by which a process that has a fault ends: the kernel sends them, or the process itself by
/// abort(3). As a rule with a core.
///
/// A process may block them, and so see those that other processes send as values. Its faults end
/// it all the same: the kernel takes no notice of what is blocked, ignored or handled then, and
/// abort(3) unblocks its signal. Source: signal(7), force_sig_info_to_task in Linux's
/// kernel/signal.c.
pub const FAULTS: [Signal; 7] = [
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGILL,
    Signal::SIGFPE,
    Signal::SIGABRT,
    Signal::SIGSYS,
    Signal::SIGTRAP,
];

/// Bits of a word of a set.
const BITS: usize = libc::c_ulong::BITS as usize;
/// The size of the kernel's own set, which is shorter than the C library's.
const KERNEL_SET_BYTES: usize = 8;

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
    // SAFETY: without a new action the call only writes the present one to `action`, which lives as
    // long as the call.
    let asked = Errno::result(unsafe {
        libc::sigaction(which as libc::c_int, std::ptr::null(), action.as_mut_ptr())
    });
    // SAFETY: it was written, since the call succeeded.
    asked.is_ok() && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

/// A set of signals by their numbers: also the real-time signals, which [`Signal`] doesn't have,
/// and the two that the C library keeps for itself (32 and 33), which its own functions leave out.
///
/// # Errors
/// `EINVAL` for a number that is no signal's.
pub fn signal_set(numbers: impl IntoIterator<Item = i32>) -> nix::Result<SigSet> {
    // As the kernel and every C library have it: a bit for each signal, from the lowest of the
    // first word on. Source: sigset_t in linux/signal.h.
    let mut words = [0; size_of::<libc::sigset_t>() / size_of::<libc::c_ulong>()];
    for number in numbers {
        if !(1..=libc::SIGRTMAX()).contains(&number) {
            return Err(Errno::EINVAL);
        }
        let bit = (number - 1) as usize;
        words[bit / BITS] |= 1 << (bit % BITS);
    }
    // SAFETY: both are of the same size, or this doesn't compile, and any bits are a set.
    Ok(unsafe {
        SigSet::from_sigset_t_unchecked(std::mem::transmute::<[libc::c_ulong; _], libc::sigset_t>(
            words,
        ))
    })
}

/// Blocks signals in this thread and in those that it starts from now on, besides those that are
/// blocked already. Unlike the C library's function also the two that it keeps for itself, for
/// threads that are cancelled or change their user. No thread here does.
pub fn block(signals: &SigSet) -> nix::Result<()> {
    let (mask, nothing) =
        (std::ptr::from_ref(signals.as_ref()), std::ptr::null::<libc::sigset_t>());
    // SAFETY: the kernel reads a set of its own size from `mask`, which is at least as large, and
    // writes nothing.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, mask, nothing, KERNEL_SET_BYTES)
    })
    .map(drop)
}

/// The real-time signals that a program may use.
pub fn real_time_signals() -> std::ops::RangeInclusive<i32> {
    libc::SIGRTMIN()..=libc::SIGRTMAX()
}

/// Ends this process by a signal's default action, although the signal is blocked or ignored.
/// Returns only if that action isn't an end.
pub fn die_by(which: Signal) -> nix::Result<()> {
    reset_signal(which)?;
    raise(which)?;
    // A blocked one is delivered now.
    signal_set([which as i32])?.thread_unblock()
}

/// Has a fault end the process, also one that another process only sends: a child inherits that its
/// parent sees those as values. Rust's handler looks whether a stack overflowed and returns, so the
/// first SIGSEGV that is sent would do nothing.
pub(super) fn crash_by_default() -> nix::Result<()> {
    FAULTS.into_iter().try_for_each(reset_signal)?;
    signal_set(FAULTS.map(|signal| signal as i32))?.thread_unblock()
}

/// Forgets what the program that started this process had it do with signals: none is blocked, none
/// ignored (`nohup`, a shell's `trap ''`), none handled. But for SIGPIPE, which every Rust program
/// ignores: a peer that has gone is an error of a write, not the writer's end. Source: daemon(7),
/// steps 2 and 3.
pub(super) fn reset_signals() -> nix::Result<()> {
    for number in 1..=libc::SIGRTMAX() {
        let action = if number == libc::SIGPIPE { libc::SIG_IGN } else { libc::SIG_DFL };
        // SAFETY: neither action runs any code of ours. Refused for those that can't be changed:
        // SIGKILL, SIGSTOP, and the C library's own two.
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
        assert_eq!(signal_set([0]), Err(Errno::EINVAL));
        for signal in Signal::iterator() {
            assert_eq!(signal_set([signal as i32]).unwrap(), SigSet::from(signal), "{signal}");
        }
    }

    #[test]
    fn rust_ignores_sigpipe_and_that_can_be_asked() {
        assert!(is_ignored(Signal::SIGPIPE) && !is_ignored(Signal::SIGURG));
    }
}
