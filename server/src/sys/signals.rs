//! This process's signal actions and signal mask. Source: signal(7).

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, SigSet, Signal, raise, signal};

/// The signals that end a process that has a fault: the kernel sends them, or the process itself
/// with abort(3). They usually write a core file.
///
/// A process may block these signals, and then read those that other processes send as values. Its
/// own faults end it all the same: in that case the kernel ignores that the signal is blocked,
/// ignored or handled, and abort(3) unblocks its signal. Source: signal(7), force_sig_info_to_task
/// in Linux's kernel/signal.c.
pub const FAULTS: [Signal; 7] = [
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGILL,
    Signal::SIGFPE,
    Signal::SIGABRT,
    Signal::SIGSYS,
    Signal::SIGTRAP,
];

/// The bits in one word of a signal set.
const BITS: usize = libc::c_ulong::BITS as usize;
/// The size of the kernel's signal set, which is shorter than the C library's.
const KERNEL_SET_BYTES: usize = 8;

/// Sets a signal's action to the default.
pub fn reset_signal(which: Signal) -> nix::Result<()> {
    // SAFETY: the default action runs no code of this program.
    unsafe { signal(which, SigHandler::SigDfl) }.map(drop)
}

/// Ignores a signal. A call that would cause it then returns an error instead.
pub fn ignore_signal(which: Signal) -> nix::Result<()> {
    // SAFETY: ignoring a signal runs no code of this program.
    unsafe { signal(which, SigHandler::SigIgn) }.map(drop)
}

/// Whether this process ignores a signal. It may have inherited that from the program that started
/// it (`nohup`).
pub fn is_ignored(which: Signal) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action the call only writes the present one to `action`, which lives as
    // long as the call.
    let asked = Errno::result(unsafe {
        libc::sigaction(which as libc::c_int, std::ptr::null(), action.as_mut_ptr())
    });
    // SAFETY: the call succeeded, so it has written `action`.
    asked.is_ok() && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

/// A set of signals with these numbers. It may contain real-time signals, which [`Signal`] doesn't
/// have, and the two that the C library reserves for itself (32 and 33), which its own functions
/// leave out.
///
/// # Errors
/// `EINVAL` for a number that is not a signal's.
pub fn signal_set(numbers: impl IntoIterator<Item = i32>) -> nix::Result<SigSet> {
    // The layout of the kernel and of every C library: a bit for each signal, from the lowest bit
    // of the first word on. Source: sigset_t in linux/signal.h.
    let mut words = [0; size_of::<libc::sigset_t>() / size_of::<libc::c_ulong>()];
    for number in numbers {
        if !(1..=libc::SIGRTMAX()).contains(&number) {
            return Err(Errno::EINVAL);
        }
        let bit = (number - 1) as usize;
        words[bit / BITS] |= 1 << (bit % BITS);
    }
    // SAFETY: both types have the same size, or this wouldn't compile, and any bits are a valid
    // set.
    Ok(unsafe {
        SigSet::from_sigset_t_unchecked(std::mem::transmute::<[libc::c_ulong; _], libc::sigset_t>(
            words,
        ))
    })
}

/// Blocks signals in this thread and in the threads that it starts afterwards, in addition to those
/// that are blocked already. Unlike the C library's function it also blocks the two signals that
/// the C library reserves for cancelling threads and changing their user, which no thread here
/// does.
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

/// The numbers of the real-time signals that a program may use.
pub fn real_time_signals() -> std::ops::RangeInclusive<i32> {
    libc::SIGRTMIN()..=libc::SIGRTMAX()
}

/// Ends this process with a signal's default action, although the signal is blocked or ignored.
/// Returns only if that action doesn't end a process.
pub fn die_by(which: Signal) -> nix::Result<()> {
    reset_signal(which)?;
    raise(which)?;
    // If the signal is blocked, this delivers it.
    signal_set([which as i32])?.thread_unblock()
}

/// Resets the fault signals, so that a fault ends the process, also if another process only sends
/// the signal. The child has inherited from its parent that they are blocked. They also need the
/// default action: Rust's handler checks for a stack overflow and returns, so the first SIGSEGV
/// that another process sends would do nothing.
pub(super) fn crash_by_default() -> nix::Result<()> {
    FAULTS.into_iter().try_for_each(reset_signal)?;
    signal_set(FAULTS.map(|signal| signal as i32))?.thread_unblock()
}

/// Resets the signal actions and the signal mask that this process inherited: no signal is blocked,
/// ignored (`nohup`, a shell's `trap ''`) or handled. The exception is SIGPIPE, which every Rust
/// program ignores, so that writing to a closed peer is an error and doesn't end the process.
/// Source: daemon(7), steps 2 and 3.
pub(super) fn reset_signals() -> nix::Result<()> {
    for number in 1..=libc::SIGRTMAX() {
        let action = if number == libc::SIGPIPE { libc::SIG_IGN } else { libc::SIG_DFL };
        // SAFETY: neither action runs any code of this program. The call is refused for signals
        // whose action can't be changed: SIGKILL, SIGSTOP, and the C library's own two.
        unsafe { libc::signal(number, action) };
    }
    SigSet::empty().thread_set_mask()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_real_time_signals_and_rejects_invalid_numbers() {
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
    fn is_ignored_reports_that_rust_ignores_sigpipe() {
        assert!(is_ignored(Signal::SIGPIPE) && !is_ignored(Signal::SIGURG));
    }
}
