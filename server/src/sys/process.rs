//! Starting a process: `fork`, the descriptors that it keeps, and its end: together with its
//! parent, or watched by another process.

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

/// Exit code of a child that couldn't begin: its parent was gone, or the system refused what it
/// needs first.
pub const EXIT_ORPHANED: i32 = 70;
/// Exit code of a child whose main function panicked, as that of any Rust program.
pub const EXIT_PANICKED: i32 = 101;

/// Without a descriptor that becomes readable at a process's end it is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// A child that is about to end is looked at this often.
const REAP_AGAIN: Duration = Duration::from_millis(1);

/// Forks a child that runs `main` and exits with what it returns. Returns the child's pid.
///
/// `own` is moved to the child, and dropped here. The child keeps standard input, output and error
/// and the descriptors that `keep` and `lasting` name (the latter are many, in ascending order, and
/// never closed); all others are closed before `main` starts, so `main` may use no other that it
/// captured. Those in `bequeathed` stay open on both sides: `main` is given the child's, in that
/// order, as its own. It is killed when the calling thread dies. Signals that are blocked stay
/// blocked in the child.
///
/// # Errors
/// `EINVAL` if `bequeathed` names a descriptor twice. `EDEADLK` if this process has more than one
/// thread (one that was joined counts for a moment yet): a lock that another thread holds at this
/// moment would be held in the child for ever. Otherwise those of fork(2): `EAGAIN`, `ENOMEM`.
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

/// The same for a process that may outlive this one: nothing kills it when its parent dies. It has
/// `own`, with the descriptors in it that `keep` names, besides standard input, output and error.
/// What this process was made to do with signals it doesn't have: they are as at the start of a
/// Rust program that inherits nothing.
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

/// Forks a child that has what [`fork_child`]'s has, the descriptors in `bequeathed` among it, and
/// ends by itself: nothing kills it when its parent dies.
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

/// The fork of all three. The child begins with `prepare`, which is told its parent.
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
                    // SAFETY: each is open, was just kept, and is named once. Whoever owned it in
                    // the parent is a copied value that this process neither uses nor drops: `main`
                    // is told so, and the child leaves with _exit.
                    let inherited = bequeathed
                        .iter()
                        .map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor.as_raw_fd()) });
                    let inherited = inherited.collect();
                    // A panic must end here: above are the parent's callers, who would go on as if
                    // they were it.
                    catch_unwind(AssertUnwindSafe(|| main(own, inherited))).unwrap_or(EXIT_PANICKED)
                }
                Err((what, errno)) => {
                    // The role is still the parent's, and says whose child it is.
                    log::error!("a child cannot {what}: {errno}");
                    EXIT_ORPHANED
                }
            };
            exit_now(code)
        }
    }
}

/// fork(2) itself, which returns twice: in this process, and in the child, which goes on from here
/// with a copy of all memory and of all descriptors.
///
/// The child returns to the caller and to the caller's callers, unless it ends before, with
/// [`std::process::exit`] or [`exit_now`]. Nothing kills it when its parent dies. A function of the
/// child's own prevents both: see [`fork_child`].
///
/// # Errors
/// `EDEADLK` if this process has more than one thread, as with [`fork_child`]. Otherwise those of
/// fork(2): `EAGAIN`, `ENOMEM`.
pub fn bare_fork() -> io::Result<ForkResult> {
    if !is_single_threaded()? {
        return Err(Errno::EDEADLK.into());
    }
    // SAFETY: the only condition of fork is that the child of a process with several threads calls
    // nothing but async-signal-safe functions; this process has one thread, as was just counted,
    // and it is this one.
    Ok(unsafe { fork()? })
}

/// A descriptor that becomes readable when a process has ended. It stands for that process alone,
/// also when the pid is another's by then; so whoever opens it must know that the pid is not
/// another's already: that the process is its child and was not waited for, say.
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

/// Waits for a child's end, at most for so long, and reaps it if it has ended by then.
pub fn reap_within(child: Pid, timeout: Duration) {
    let deadline = Instant::now() + timeout;
    while waitpid(child, Some(WaitPidFlag::WNOHANG)) == Ok(WaitStatus::StillAlive)
        && Instant::now() < deadline
    {
        std::thread::sleep(REAP_AGAIN);
    }
}

/// A process whose end is watched: by a descriptor, or by its number alone where the system gives
/// none (Linux before 5.3, a container's profile).
#[derive(Debug)]
pub enum EndWatch {
    /// As [`watch_end`] has it.
    Descriptor(OwnedFd),
    /// Its number, which is another's some time after its end: the caller looks whether the process
    /// is still the same.
    Number(Pid),
}

impl EndWatch {
    /// Begins to watch. The pid must be the process's own, as with [`watch_end`].
    ///
    /// # Errors
    /// `ESRCH` if there is no such process, `EMFILE`.
    pub fn of(pid: Pid) -> nix::Result<EndWatch> {
        match watch_end(pid) {
            Ok(watch) => Ok(EndWatch::Descriptor(watch)),
            Err(Errno::ENOSYS | Errno::EPERM | Errno::EACCES) => match kill(pid, None) {
                Err(Errno::ESRCH) => Err(Errno::ESRCH),
                // Another user's process is there, too.
                Ok(()) | Err(_) => Ok(EndWatch::Number(pid)),
            },
            Err(errno) => Err(errno),
        }
    }

    /// Waits until the process has ended, at most for so long. Whether it has.
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
            std::thread::sleep(LOOK_AGAIN.min(timeout));
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

/// Sends a signal to the process that is watched: to no other, whoever has its pid by now. Source:
/// pidfd_send_signal(2).
///
/// # Errors
/// `ESRCH` if it has ended and was waited for, `EPERM` if it is another user's.
pub fn signal_watched(watch: BorrowedFd<'_>, signal: Signal) -> nix::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: two numbers, a null pointer, for which the kernel makes up what kill(2) would send,
    // and no flags.
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

/// Ends this process at once: no destructor runs, no buffer that was copied from the parent is
/// written a second time.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes any code and doesn't return.
    unsafe { libc::_exit(code) }
}

/// Names the calling thread for `ps` and `top`, or the process if it is its first; what is longer
/// than 15 bytes is cut.
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
