//! Starting a process: `fork`, and the descriptors that it keeps. Waiting for a process's end; a
//! child that ends with its parent.

use super::descriptors::close_all_but;
use super::signals::{crash_by_default, reset_signals};
use super::socket::wait_for_input;
use super::threads::is_single_threaded;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid};
use std::collections::BTreeSet;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Exit code of a child that couldn't start: its parent was dead, or the system refused a call that
/// it needs first.
pub const EXIT_ORPHANED: i32 = 70;
/// Exit code of a child whose main function panicked, the same as that of any Rust program.
pub const EXIT_PANICKED: i32 = 101;

/// The polling interval where no descriptor reports a process's end.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// The polling interval for a child that is about to end.
const REAP_POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Forks a child that runs `main` and exits with the code that it returns. Returns the child's pid.
///
/// `own` is moved to the child, and dropped in this process. The child keeps standard input, output
/// and error, and the descriptors that `keep` and `lasting` return (the latter are many, in
/// ascending order, and never closed). All others are closed before `main` starts, so `main` must
/// not use any other descriptor that it captured. The descriptors in `bequeathed` stay open in both
/// processes: `main` gets the child's as owned values, in that order. The child is killed when the
/// calling thread dies. Signals that are blocked stay blocked in the child, except those in
/// [`FAULTS`](super::signals::FAULTS).
///
/// # Errors
/// `EINVAL` if `bequeathed` contains a descriptor twice. `EDEADLK` if this process has more than
/// one thread (a joined thread still counts for a moment): a lock that another thread holds now
/// would be locked in the child for ever. Otherwise those of fork(2): `EAGAIN`, `ENOMEM`.
pub fn fork_child<T>(
    own: T,
    keep: impl for<'a> Fn(&'a T) -> Vec<BorrowedFd<'a>>,
    lasting: impl Iterator<Item = BorrowedFd<'static>> + Clone,
    bequeathed: &[BorrowedFd<'_>],
    main: impl FnOnce(T, Vec<OwnedFd>) -> i32,
) -> io::Result<Pid> {
    let prepare = |parent| {
        die_with(parent).map_err(|errno| ("ask to be killed with its parent (prctl)", errno))?;
        crash_by_default().map_err(|errno| ("reset its signals", errno))
    };
    fork_then(prepare, own, keep, lasting, bequeathed, main)
}

/// Like [`fork_child`], for a process that may outlive this one: it is not killed when its parent
/// dies. Besides standard input, output and error it has `own`, with the descriptors in it that
/// `keep` returns. It doesn't inherit signal actions or blocked signals: they are those of a Rust
/// program that inherits nothing.
///
/// # Errors
/// As with [`fork_child`].
pub fn fork_survivor<T>(
    own: T,
    keep: impl for<'a> Fn(&'a T) -> Vec<BorrowedFd<'a>>,
    main: impl FnOnce(T) -> i32,
) -> io::Result<Pid> {
    fork_then(
        |_| reset_signals().map_err(|errno| ("reset its signals", errno)),
        own,
        keep,
        std::iter::empty(),
        &[],
        |own, _| main(own),
    )
}

/// Forks a child like [`fork_child`], with the descriptors in `bequeathed`, that is not killed when
/// its parent dies.
///
/// # Errors
/// As with [`fork_child`].
pub fn fork_outliving(
    bequeathed: &[BorrowedFd<'_>],
    main: impl FnOnce(Vec<OwnedFd>) -> i32,
) -> io::Result<Pid> {
    fork_then(
        |_| crash_by_default().map_err(|errno| ("reset its signals", errno)),
        (),
        |()| Vec::new(),
        std::iter::empty(),
        bequeathed,
        |(), inherited| main(inherited),
    )
}

/// The common part of the three functions above. The child first calls `prepare` with its parent's
/// pid.
fn fork_then<T>(
    prepare: impl FnOnce(Pid) -> Result<(), (&'static str, Errno)>,
    own: T,
    keep: impl for<'a> Fn(&'a T) -> Vec<BorrowedFd<'a>>,
    lasting: impl Iterator<Item = BorrowedFd<'static>> + Clone,
    bequeathed: &[BorrowedFd<'_>],
    main: impl FnOnce(T, Vec<OwnedFd>) -> i32,
) -> io::Result<Pid> {
    if bequeathed.iter().map(AsRawFd::as_raw_fd).collect::<BTreeSet<_>>().len() < bequeathed.len() {
        return Err(Errno::EINVAL.into());
    }
    let mut kept: Vec<RawFd> =
        keep(&own).iter().chain(bequeathed).map(AsRawFd::as_raw_fd).collect();
    kept.sort_unstable();
    let parent = getpid();
    match bare_fork()? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let closed = |()| {
                close_all_but(kept.iter().copied(), lasting)
                    .map_err(|errno| ("close the parent's descriptors", errno))
            };
            let code = match prepare(parent).and_then(closed) {
                Ok(()) => {
                    // SAFETY: each descriptor is open, was just kept, and occurs once. The value
                    // that owned it in the parent is a copy that this process neither uses nor
                    // drops: `main` must not use it, and the child leaves with _exit.
                    let inherited = bequeathed
                        .iter()
                        .map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor.as_raw_fd()) });
                    let inherited = inherited.collect();
                    // A panic must not unwind further: the callers on the stack are the parent's,
                    // and would run in the child as if it were the parent.
                    catch_unwind(AssertUnwindSafe(|| main(own, inherited))).unwrap_or(EXIT_PANICKED)
                }
                Err((what, errno)) => {
                    // The log still names the parent's role, which shows whose child it is.
                    log::error!("a child cannot {what}: {errno}");
                    EXIT_ORPHANED
                }
            };
            exit_now(code)
        }
    }
}

/// fork(2) itself, which returns twice: in this process, and in the child, which continues from
/// here with a copy of all memory and of all descriptors.
///
/// The child returns to the caller and to the caller's callers, unless it ends before with
/// [`std::process::exit`] or [`exit_now`]. It is not killed when its parent dies. [`fork_child`]
/// avoids both by running a separate function in the child.
///
/// # Errors
/// `EDEADLK` if this process has more than one thread, as with [`fork_child`]. Otherwise those of
/// fork(2): `EAGAIN`, `ENOMEM`.
pub fn bare_fork() -> io::Result<ForkResult> {
    if !is_single_threaded()? {
        return Err(Errno::EDEADLK.into());
    }
    // SAFETY: the only condition of fork is that the child of a process with several threads calls
    // nothing but async-signal-safe functions. This process has one thread, as was just counted,
    // and it is this one.
    Ok(unsafe { fork()? })
}

/// A descriptor that becomes readable when a process has ended. It refers to that process only,
/// even if another process has its pid later. So the caller must know that the pid is still that
/// process's when it calls this: for example because the process is its child and was not waited
/// for. Source: pidfd_open(2).
///
/// # Errors
/// `ENOSYS` before Linux 5.3, `EMFILE`, `ESRCH` if there is no such process.
pub fn watch_end(pid: Pid) -> nix::Result<OwnedFd> {
    // SAFETY: the call takes two numbers, and its result is a new descriptor.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
    // SAFETY: the kernel has just created it for this process, so nothing else owns it. It is
    // close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Waits at most `timeout` until the watched process has ended. Returns whether it has.
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

/// Waits at most `timeout` until a child has ended, and reaps it if it has.
pub fn reap_within(child: Pid, timeout: Duration) {
    let deadline = Instant::now() + timeout;
    while waitpid(child, Some(WaitPidFlag::WNOHANG)) == Ok(WaitStatus::StillAlive)
        && Instant::now() < deadline
    {
        std::thread::sleep(REAP_POLL_INTERVAL);
    }
}

/// Watches a process for its end: with a descriptor, or by its pid where the system refuses one
/// (Linux before 5.3, a container's profile).
#[derive(Debug)]
pub enum EndWatch {
    /// A descriptor from [`watch_end`].
    Descriptor(OwnedFd),
    /// The pid. Another process may have it some time after the process's end, so the caller checks
    /// whether it is still the same process.
    Number(Pid),
}

impl EndWatch {
    /// Starts watching. The pid must still be the process's, as with [`watch_end`].
    ///
    /// # Errors
    /// `ESRCH` if there is no such process, `EMFILE`.
    pub fn of(pid: Pid) -> nix::Result<EndWatch> {
        match watch_end(pid) {
            Ok(watch) => Ok(EndWatch::Descriptor(watch)),
            Err(Errno::ENOSYS | Errno::EPERM | Errno::EACCES) => match kill(pid, None) {
                Err(Errno::ESRCH) => Err(Errno::ESRCH),
                // `EPERM`: the process exists and belongs to another user.
                Ok(()) | Err(_) => Ok(EndWatch::Number(pid)),
            },
            Err(errno) => Err(errno),
        }
    }

    /// Waits at most `timeout` until the process has ended. Returns whether it has.
    pub fn wait(&self, timeout: Duration) -> nix::Result<bool> {
        let pid = match self {
            EndWatch::Descriptor(watch) => return wait_end(watch.as_fd(), timeout),
            EndWatch::Number(pid) => *pid,
        };
        let start = Instant::now();
        while kill(pid, None) != Err(Errno::ESRCH) {
            if start.elapsed() >= timeout {
                return Ok(false);
            }
            std::thread::sleep(POLL_INTERVAL.min(timeout));
        }
        Ok(true)
    }

    /// Sends the process a signal.
    ///
    /// # Errors
    /// `ESRCH` if it has ended, `EPERM` if it is another user's.
    pub fn signal(&self, signal: Signal) -> nix::Result<()> {
        match self {
            EndWatch::Descriptor(watch) => signal_watched(watch.as_fd(), signal),
            EndWatch::Number(pid) => kill(*pid, signal),
        }
    }
}

/// Sends a signal to the watched process, and never to another process that has its pid by now.
/// Source: pidfd_send_signal(2).
///
/// # Errors
/// `ESRCH` if it has ended and was waited for, `EPERM` if it is another user's.
pub fn signal_watched(watch: BorrowedFd<'_>, signal: Signal) -> nix::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the call takes two numbers, a null pointer, for which the kernel fills in what
    // kill(2) would send, and no flags.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            watch.as_raw_fd(),
            signal as libc::c_int,
            no_info,
            0,
        )
    })
    .map(drop)
}

/// Ends this process at once: no destructor runs, and no buffer that was copied from the parent is
/// written a second time.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes any code and doesn't return.
    unsafe { libc::_exit(code) }
}

/// Names the calling thread for `ps` and `top`, or the process if it is its first thread. The name
/// is cut to 15 bytes.
pub fn set_name(name: &str) {
    if let Ok(name) = CString::new(name) {
        // It can't fail for any name.
        let _ = nix::sys::prctl::set_name(&name);
    }
}

/// Has the kernel kill this process when its parent dies, and checks that the parent still runs.
fn die_with(parent: Pid) -> nix::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    // If the parent died before the request, the kernel never sends the signal.
    if getppid() == parent { Ok(()) } else { Err(Errno::ESRCH) }
}
