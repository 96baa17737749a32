//! Rejected connections. Each client is sent the reason, and then the connection is closed in
//! order. They are no sessions, and no thread of the served connections waits for them.

use super::closing::{DISCARD_BYTES, LINGER};
use crate::sys::socket::{consume, send_at_once};
use nix::errno::Errno;
use nix::sys::socket::{Shutdown, shutdown};
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// How often the worker looks for their ends.
const INTERVAL: Duration = Duration::from_millis(50);

/// The rejected connections that are not closed yet.
#[derive(Debug)]
pub struct Rejecting {
    /// The sockets, each with the time at which it is closed at the latest.
    open: VecDeque<(Instant, OwnedFd)>,
    max: usize,
    /// When they are checked next.
    check_at: Instant,
}

impl Rejecting {
    /// No connections yet; at most `max` at a time.
    pub fn new(max: usize) -> Rejecting {
        Rejecting { open: VecDeque::new(), max, check_at: Instant::now() }
    }

    /// Sends the reason to a new connection, and begins to close it. If `max` connections are open
    /// already, it is closed at once, and a client that has sent something may miss the reason.
    pub fn reject(&mut self, socket: OwnedFd, reason: &str) {
        // A new socket always has room for one line.
        let _ = send_at_once(socket.as_fd(), reason.as_bytes());
        if self.open.len() < self.max && shutdown(socket.as_raw_fd(), Shutdown::Write).is_ok() {
            self.open.push_back((Instant::now() + LINGER, socket));
        }
    }

    /// Closes the connections whose client has closed its side, and those whose time is over. Checks
    /// them every 50 ms, however often it is called.
    pub fn close_finished(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let now = Instant::now();
        if now < self.check_at {
            return;
        }
        self.check_at = now + INTERVAL;
        let is_open = |socket: &OwnedFd| {
            let discarded = consume(socket.as_fd(), DISCARD_BYTES);
            matches!(discarded, Ok(1..) | Err(Errno::EAGAIN | Errno::EINTR))
        };
        self.open.retain(|(until, socket)| *until > now && is_open(socket));
    }

    /// Whether no rejected connection is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// How long until the next call of [`Rejecting::close_finished`] that checks them.
    pub fn next_check(&self) -> Duration {
        if self.open.is_empty() {
            Duration::MAX
        } else {
            self.check_at.saturating_duration_since(Instant::now())
        }
    }
}
