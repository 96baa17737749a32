//! Waiting with epoll.

use nix::errno::Errno;
use nix::sys::epoll::EpollTimeout;
use std::time::Duration;

/// A time to wait, rounded up: a thread doesn't wake before it is time.
pub fn milliseconds(timeout: Duration) -> EpollTimeout {
    let millis = timeout.as_micros().div_ceil(1_000).min(60_000) as i32;
    EpollTimeout::try_from(millis).unwrap_or(EpollTimeout::ZERO)
}

/// A wait that a signal ended has found nothing.
pub fn unless_interrupted(found: nix::Result<usize>) -> nix::Result<usize> {
    if found == Err(Errno::EINTR) { Ok(0) } else { found }
}
