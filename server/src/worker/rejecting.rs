//! Connections that are rejected: each is sent the reason, and then closed in order. They are no
//! sessions, and take no thread of those that are served.

use super::closing::{DISCARD_BYTES, LINGER};
use crate::sys::socket::{consume, send_at_once};
use nix::errno::Errno;
use nix::sys::socket::{Shutdown, shutdown};
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// How often their ends are looked for.
const INTERVAL: Duration = Duration::from_millis(50);

/// The rejected connections that are not closed yet.
#[derive(Debug)]
pub struct Rejecting {
    /// Each with the time at which it is closed at the latest.
    open: VecDeque<(Instant, OwnedFd)>,
    max: usize,
}

impl Rejecting {
    /// None yet; at most `max` at a time.
    pub fn new(max: usize) -> Rejecting {
        Rejecting { open: VecDeque::new(), max }
    }

    /// Sends a new connection the reason, and begins to close it. Beyond the bound it is closed at
    /// once, and a client that has sent something itself may miss the reason.
    pub fn reject(&mut self, socket: OwnedFd, reason: &str) {
        // A new socket takes a line at once.
        let _ = send_at_once(socket.as_fd(), reason.as_bytes());
        if self.open.len() < self.max && shutdown(socket.as_raw_fd(), Shutdown::Write).is_ok() {
            self.open.push_back((Instant::now() + LINGER, socket));
        }
    }

    /// Closes those whose client has closed its side, and those whose time is over.
    pub fn close_finished(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let now = Instant::now();
        let is_open = |socket: &OwnedFd| {
            let discarded = consume(socket.as_fd(), DISCARD_BYTES);
            matches!(discarded, Ok(1..) | Err(Errno::EAGAIN | Errno::EINTR))
        };
        self.open.retain(|(until, socket)| *until > now && is_open(socket));
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// In what time to call [`Rejecting::close_finished`].
    pub fn next_look(&self) -> Duration {
        if self.open.is_empty() { Duration::MAX } else { INTERVAL }
    }
}
