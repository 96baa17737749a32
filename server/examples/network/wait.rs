//! Waiting for several descriptors at a time: the clients, and Ctrl-C.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::BorrowedFd;

/// Waits until there is something to read from one of these: a signal, a client, the end of a
/// process.
pub fn wait_for_any<'a>(descriptors: impl IntoIterator<Item = BorrowedFd<'a>>) -> io::Result<()> {
    readable(descriptors).map(drop)
}

/// Waits like [`wait_for_any`], and says for each of these whether it can be read.
pub fn readable<'a>(
    descriptors: impl IntoIterator<Item = BorrowedFd<'a>>,
) -> io::Result<Vec<bool>> {
    let mut waiting: Vec<_> = descriptors
        .into_iter()
        .map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN))
        .collect();
    match poll(&mut waiting, PollTimeout::NONE) {
        Ok(_) => Ok(waiting.iter().map(|descriptor| descriptor.any().unwrap_or(true)).collect()),
        Err(Errno::EINTR) => Ok(vec![false; waiting.len()]),
        Err(errno) => Err(errno.into()),
    }
}
