//! Ctrl-C and SIGTERM as values. Without this they would end the process at any moment; so a
//! process that has something to tidy up reads them and ends in order.
//!
//! A terminal sends Ctrl-C to all processes of an example. Children inherit that the signals are
//! blocked, so only the process that reads them ends.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// The signals that ask an example to end.
pub struct Interrupt(SignalFd);

impl Interrupt {
    /// From now on these signals do not end this process. Called before it has threads and
    /// children.
    pub fn watch() -> io::Result<Interrupt> {
        signals().thread_block()?;
        Ok(Interrupt(SignalFd::with_flags(
            &signals(),
            SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC,
        )?))
    }

    /// In a child that inherited this: both signals end it again.
    pub fn forget() -> io::Result<()> {
        Ok(signals().thread_unblock()?)
    }

    /// In a child that inherited this: SIGTERM, by which its parent ends it, ends it again. Ctrl-C
    /// does not.
    pub fn forget_sigterm() -> io::Result<()> {
        Ok(SigSet::from(Signal::SIGTERM).thread_unblock()?)
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

fn signals() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM].into_iter().collect()
}
