//! Starting a process: `fork`, the descriptors that it keeps, its signals, and its end: with its parent, or watched from elsewhere.

use super::socket::wait_for_input;
use nix::errno::Errno;
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid};
use std::collections::BTreeSet;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Exit code of a child whose parent was gone before it began.
pub const EXIT_ORPHANED: i32 = 70;
/// Exit code of a child whose main function panicked, as that of any Rust program.
pub const EXIT_PANICKED: i32 = 101;

/// Forks a child that runs `main` and exits with what it returns. Returns the child's pid.
///
/// `own` is moved to the child, and dropped here. The child keeps standard input, output and error and the descriptors that
/// `keep` and `lasting` name (the latter are many, in ascending order, and never closed); all others are closed before `main` starts, so `main` may use no other that it captured. Those in `bequeathed` stay open on
/// both sides: `main` is given the child's, in that order, as its own.
/// It is killed when the calling thread dies. Signals that are blocked stay blocked in the child.
///
/// # Errors
/// `EINVAL` if `bequeathed` names a descriptor twice.
/// `EDEADLK` if this process has more than one thread (one that was joined counts for a moment yet): a lock that another thread holds at this moment
/// would be held in the child for ever. Otherwise those of fork(2): `EAGAIN`, `ENOMEM`.
pub fn fork_child<T>(
    own: T,
    keep: impl for<'a> Fn(&'a T) -> Vec<BorrowedFd<'a>>,
    lasting: impl Iterator<Item = BorrowedFd<'static>>,
    bequeathed: &[BorrowedFd<'_>],
    main: impl FnOnce(T, Vec<OwnedFd>) -> i32,
) -> io::Result<Pid> {
    fork_then(|parent| die_with(parent).and_then(|()| crash_by_default()), own, keep, lasting, bequeathed, main)
}

/// The same for a process that may outlive this one: nothing kills it when its parent dies. It has `own`, with the descriptors in it that `keep`
/// names, besides standard input, output and error. What this process was made to do with signals it doesn't have: they are as at the
/// start of a Rust program that inherits nothing.
///
/// # Errors
/// As with [`fork_child`].
pub fn fork_survivor<T>(own: T, keep: impl for<'a> Fn(&'a T) -> Vec<BorrowedFd<'a>>, main: impl FnOnce(T) -> i32) -> io::Result<Pid> {
    fork_then(|_| reset_signals(), own, keep, std::iter::empty(), &[], |own, _| main(own))
}

/// Forks a child that has what [`fork_child`]'s has, the descriptors in `bequeathed` among it, and ends by itself: nothing kills it when its parent
/// dies.
///
/// # Errors
/// As with [`fork_child`].
pub fn fork_outliving(bequeathed: &[BorrowedFd<'_>], main: impl FnOnce(Vec<OwnedFd>) -> i32) -> io::Result<Pid> {
    fork_then(|_| crash_by_default(), (), |()| Vec::new(), std::iter::empty(), bequeathed, |(), inherited| main(inherited))
}

/// The fork of all three. The child begins with `prepare`, which is told its parent.
fn fork_then<T>(
    prepare: impl FnOnce(Pid) -> nix::Result<()>,
    own: T,
    keep: impl for<'a> Fn(&'a T) -> Vec<BorrowedFd<'a>>,
    lasting: impl Iterator<Item = BorrowedFd<'static>>,
    bequeathed: &[BorrowedFd<'_>],
    main: impl FnOnce(T, Vec<OwnedFd>) -> i32,
) -> io::Result<Pid> {
    if threads()? != 1 {
        return Err(Errno::EDEADLK.into());
    }
    if bequeathed.iter().map(AsRawFd::as_raw_fd).collect::<BTreeSet<_>>().len() < bequeathed.len() {
        return Err(Errno::EINVAL.into());
    }
    let mut kept: Vec<RawFd> = keep(&own).iter().chain(bequeathed).map(AsRawFd::as_raw_fd).collect();
    kept.sort_unstable();
    let parent = getpid();
    // SAFETY: the only condition of fork is that the child of a process with several threads calls nothing but
    // async-signal-safe functions; this process has one thread, as was just counted, and it is this one.
    match unsafe { fork()? } {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let code = match prepare(parent).and_then(|()| close_all_but(kept.into_iter(), lasting)) {
                Ok(()) => {
                    // SAFETY: each is open, was just kept, and is named once. Whoever owned it in the parent is a copied value that this
                    // process neither uses nor drops: `main` is told so, and the child leaves with _exit.
                    let inherited = bequeathed.iter().map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor.as_raw_fd()) });
                    let inherited = inherited.collect();
                    // A panic must end here: above are the parent's callers, who would go on as if they were it.
                    catch_unwind(AssertUnwindSafe(|| main(own, inherited))).unwrap_or(EXIT_PANICKED)
                }
                Err(_) => EXIT_ORPHANED,
            };
            exit_now(code)
        }
    }
}

/// A descriptor that becomes readable when a process has ended. It stands for that process alone, also when the pid is another's by then; so
/// whoever opens it must know that the pid is not another's already: that the process is its child and was not waited for, say.
/// Source: pidfd_open(2).
///
/// # Errors
/// `ENOSYS` before Linux 5.3, `EMFILE`, `ESRCH` if there is no such process.
pub fn watch_end(pid: Pid) -> nix::Result<OwnedFd> {
    // SAFETY: it takes two numbers, and its result is a new descriptor.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
    // SAFETY: the kernel has just made it for us, so nobody else owns it. It is close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Waits until the process that is watched has ended, at most for so long. Whether it has.
pub fn wait_end(watch: BorrowedFd<'_>, timeout: Duration) -> nix::Result<bool> {
    let start = Instant::now();
    loop {
        let left = timeout.saturating_sub(start.elapsed());
        if !wait_for_input(watch, Some(left))?.is_empty() {
            return Ok(true);
        }
        if left.is_zero() {
            return Ok(false);
        }
    }
}

/// Sends a signal to the process that is watched: to no other, whoever has its pid by now. Source: pidfd_send_signal(2).
///
/// # Errors
/// `ESRCH` if it has ended and was waited for, `EPERM` if it is another user's.
pub fn signal_watched(watch: BorrowedFd<'_>, signal: Signal) -> nix::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: two numbers, a null pointer, for which the kernel makes up what kill(2) would send, and no flags.
    Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, watch.as_raw_fd(), signal as libc::c_int, no_info, 0) }).map(drop)
}

/// Ends this process at once: no destructor runs, no buffer that was copied from the parent is written a second time.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes any code and doesn't return.
    unsafe { libc::_exit(code) }
}

/// Whether the system gives so many threads more at the same time, with such stacks. A thread pool would panic if it didn't.
pub fn can_start_threads(count: usize, stack_bytes: usize) -> bool {
    let (release, held) = channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let start = |_| {
        let held = held.clone();
        // Until the other end is let go.
        std::thread::Builder::new().stack_size(stack_bytes).spawn(move || held.lock().is_ok_and(|held| held.recv().is_err()))
    };
    let started: Vec<_> = (0..count).map(start).collect();
    drop(release);
    started.into_iter().all(|thread| thread.is_ok_and(|thread| thread.join().is_ok()))
}

/// Names the calling thread for `ps` and `top`, or the process if it is its first; what is longer than 15 bytes is cut.
pub fn set_name(name: &str) {
    if let Ok(name) = CString::new(name) {
        // Fails for no name.
        let _ = nix::sys::prctl::set_name(&name);
    }
}

/// Asks to be killed when the parent dies, and makes sure that it lives.
fn die_with(parent: Pid) -> nix::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    // It may have died before the request; then nobody will send the signal.
    if getppid() == parent { Ok(()) } else { Err(Errno::ESRCH) }
}

/// Has a signal do nothing.
pub fn ignore_signal(which: Signal) -> nix::Result<()> {
    // SAFETY: no function is installed that could be called at a wrong moment, only the kernel's own ignoring.
    unsafe { signal(which, SigHandler::SigIgn) }.map(drop)
}

/// Has a signal do what it does in a program that never heard of it.
pub fn reset_signal(which: Signal) -> nix::Result<()> {
    // SAFETY: the default action runs no code of ours.
    unsafe { signal(which, SigHandler::SigDfl) }.map(drop)
}

/// Has a fault end the process. Rust's handler looks whether a stack overflowed and returns, so a SIGSEGV that somebody sent would do nothing.
fn crash_by_default() -> nix::Result<()> {
    [Signal::SIGSEGV, Signal::SIGBUS].into_iter().try_for_each(reset_signal)
}

/// Forgets what whoever started this process had it do with signals: none is blocked, none ignored (`nohup`, a shell's `trap ''`), none handled. But for
/// SIGPIPE, which every Rust program ignores: a peer that has gone is an error of a write, not the writer's end. Source: daemon(7), steps 2 and 3.
fn reset_signals() -> nix::Result<()> {
    for number in 1..=libc::SIGRTMAX() {
        let action = if number == libc::SIGPIPE { libc::SIG_IGN } else { libc::SIG_DFL };
        // SAFETY: neither action runs any code of ours. Refused for those that can't be changed: SIGKILL, SIGSTOP, and the C library's own two.
        unsafe { libc::signal(number, action) };
    }
    SigSet::empty().thread_set_mask()
}

/// All but standard input, output and error and these: two lists, each in order.
fn close_all_but(kept: impl Iterator<Item = RawFd>, lasting: impl Iterator<Item = BorrowedFd<'static>>) -> nix::Result<()> {
    let (mut kept, mut lasting) = (kept.peekable(), lasting.map(|descriptor| descriptor.as_raw_fd()).peekable());
    let mut first = 3;
    loop {
        let next = match (kept.peek(), lasting.peek()) {
            (Some(one), Some(other)) if one > other => lasting.next(),
            (None, _) => lasting.next(),
            (Some(_), _) => kept.next(),
        };
        let Some(fd) = next else { return close_range(first, RawFd::MAX) };
        close_range(first, fd - 1)?;
        first = first.max(fd + 1);
    }
}

fn close_range(first: RawFd, last: RawFd) -> nix::Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: this runs in a child right after fork, on its copies of the descriptors. Whoever owned them in the parent is a copied
    // value that the child neither uses nor drops: `main` is told which descriptors it may use, and the child leaves with _exit.
    Errno::result(unsafe { libc::close_range(first.cast_unsigned(), last.cast_unsigned(), 0) }).map(drop)
}

fn threads() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}
