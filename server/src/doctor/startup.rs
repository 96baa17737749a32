//! Checks of what each process needs at its start. A failure names the system call.

use super::{Failure, cannot, expect};
use crate::ipc::process::{End, Process};
use crate::sys::robust_mutex::has_robust_list;
use crate::sys::signals::signal_set;
use crate::sys::threads::start_threads;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::time::{Duration, Instant};

/// As many threads as a worker has at first, with the smallest stack that any thread has.
const THREADS: usize = 3;
const STACK_BYTES: usize = 64 * 1024;
/// A short timeout, in milliseconds.
const SOON: u8 = 1;
/// The exit code of a child that failed without a system error.
const FAILED: i32 = 255;

/// Runs `work` in a child process. It returns 0, or the number of a system error.
fn in_child(what: &str, deadline: Instant, work: impl FnOnce() -> i32) -> Result<(), Failure> {
    let mut child = Process::start(work).map_err(cannot("fork"))?;
    let patience = deadline.saturating_duration_since(Instant::now());
    match child.join_timeout(patience) {
        Some(End::Exited(0)) => Ok(()),
        Some(End::Exited(number @ 1..FAILED)) => {
            Err(format!("cannot {what}: {}", Errno::from_raw(number)))
        }
        Some(end) => Err(format!("cannot {what}: the child that tried {end}")),
        None => Err(format!("cannot {what}: the child that tried did not end")),
    }
}

/// In a child, since a process with threads can't fork, and this one has to.
pub(super) fn threads(deadline: Instant) -> Result<(), Failure> {
    in_child("start a thread (clone3, clone)", deadline, || {
        start_threads(THREADS, STACK_BYTES)
            .map_or_else(|error| error.raw_os_error().unwrap_or(FAILED), |()| 0)
    })
}

pub(super) fn waiting(_: Instant) -> Result<(), Failure> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
        .map_err(cannot("make an epoll instance (epoll_create1)"))?;
    let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)
        .map_err(cannot("make an eventfd (eventfd2)"))?;
    epoll
        .add(&event, EpollEvent::new(EpollFlags::EPOLLIN, 7))
        .map_err(cannot("add an eventfd (epoll_ctl)"))?;
    let mut found = [EpollEvent::empty(); 2];
    let start = Instant::now();
    let mut wait = || {
        epoll
            .wait(&mut found, EpollTimeout::from(SOON))
            .map_err(cannot("wait for events (epoll_wait)"))
    };
    expect("events before there was one", wait()?, 0)?;
    expect(
        "whether the wait took its time",
        start.elapsed() >= Duration::from_millis(SOON.into()),
        true,
    )?;
    event.write(1).map_err(cannot("write to an eventfd"))?;
    expect("events when there was one", wait()?, 1)
}

/// In a child, so that the signal is blocked only there.
pub(super) fn signals(deadline: Instant) -> Result<(), Failure> {
    in_child("take a signal as a value (signalfd4)", deadline, || {
        let take = || {
            let mask = signal_set([Signal::SIGUSR1 as i32])?;
            mask.thread_block()?;
            let signals =
                SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
            raise(Signal::SIGUSR1)?;
            signals.read_signal()
        };
        match take() {
            Ok(Some(signal)) if signal.ssi_signo == Signal::SIGUSR1 as u32 => 0,
            Ok(_) => FAILED,
            Err(errno) => errno as i32,
        }
    })
}

pub(super) fn robust_list(_: Instant) -> Result<(), Failure> {
    match has_robust_list() {
        Ok(has) => expect("whether this thread's list is registered", has, true),
        // If the kernel doesn't report it, it is unknown; the check with a killed owner shows it.
        Err(_) => Ok(()),
    }
}
