//! Helpers for epoll waits.

use nix::errno::Errno;
use nix::sys::epoll::EpollTimeout;
use std::time::Duration;

/// A time to wait in epoll's unit, rounded up, so that a thread doesn't wake too early; at most a
/// minute.
pub fn milliseconds(timeout: Duration) -> EpollTimeout {
    let millis = timeout.as_micros().div_ceil(1_000).min(60_000) as i32;
    EpollTimeout::try_from(millis).unwrap_or(EpollTimeout::ZERO)
}

/// Turns an interruption by a signal into a wait that found no event.
pub fn unless_interrupted(found: nix::Result<usize>) -> nix::Result<usize> {
    if found == Err(Errno::EINTR) { Ok(0) } else { found }
}
