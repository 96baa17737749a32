//! Ctrl-C and SIGTERM as values. Without this they would end the process at any moment; so the server's loop reads them and ends in order.
//!
//! A terminal sends Ctrl-C to all processes of the server. The children inherit that the signals are blocked, so only the parent reads it.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// The signals that ask a server to end.
pub struct Interrupt(SignalFd);

impl Interrupt {
    /// From now on these signals do not end this process. Called before it has threads and children.
    pub fn watch() -> io::Result<Interrupt> {
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
        signals.thread_block()?;
        Ok(Interrupt(SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?))
    }

    /// The signal that came. `None` if there was none.
    pub fn came(&self) -> Option<Signal> {
        let signal = self.0.read_signal().ok().flatten()?;
        Signal::try_from(signal.ssi_signo as i32).ok()
    }
}

impl AsFd for Interrupt {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// In a child: SIGTERM, by which its parent ends it, works again.
pub fn end_by_sigterm() -> io::Result<()> {
    Ok(SigSet::from(Signal::SIGTERM).thread_unblock()?)
}

/// Waits until there is something to read from one of these: a signal, a client, the end of a process.
pub fn wait_for_any<'a>(descriptors: impl IntoIterator<Item = BorrowedFd<'a>>) -> io::Result<()> {
    readable(descriptors).map(drop)
}

/// Waits like [`wait_for_any`], and says for each of these whether it can be read.
pub fn readable<'a>(descriptors: impl IntoIterator<Item = BorrowedFd<'a>>) -> io::Result<Vec<bool>> {
    let mut waiting: Vec<_> = descriptors.into_iter().map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN)).collect();
    match poll(&mut waiting, PollTimeout::NONE) {
        Ok(_) => Ok(waiting.iter().map(|descriptor| descriptor.any().unwrap_or(true)).collect()),
        Err(Errno::EINTR) => Ok(vec![false; waiting.len()]),
        Err(errno) => Err(errno.into()),
    }
}
