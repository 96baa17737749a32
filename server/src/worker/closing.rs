//! Closes a connection in order: shuts its sending side down, and discards the client's further
//! input until the client has closed its side, too. The kernel would reset a socket that is closed
//! with unread input, and the client might lose the last lines.
//!
//! A reset has its use, too. An `nc` that has printed the goodbye notices the end only by a reset,
//! when its user presses Enter. So input that arrives after the client had time to read the last
//! lines causes a reset.

use super::connection::Connection;
use crate::sys::socket::{consume, is_all_acknowledged};
use nix::errno::Errno;
use nix::sys::socket::{Shutdown, shutdown};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

/// How long the client may take to close its side.
pub const LINGER: Duration = Duration::from_secs(2);
/// How long the client has to read the last lines before its input causes a reset.
const LAST_LINES: Duration = Duration::from_millis(100);
/// The most input bytes that one step discards.
pub const DISCARD_BYTES: usize = 1 << 20;
/// CR and LF.
const LINE_END_BYTES_MAX: usize = 2;

/// A connection whose sending side is shut down.
#[derive(Debug)]
pub struct Closing {
    since: Instant,
    /// Input has arrived that may be an answer to the last lines.
    has_input: bool,
}

/// The next step for a connection that is closing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Call [`Closing::step`] again when there is input, and at this time.
    Wait(Instant),
    /// Close it.
    Close,
    /// Close it with a reset.
    Reset,
}

impl Closing {
    /// Shuts the sending side down. All output must be written.
    pub fn begin(connection: &Connection) -> Closing {
        // Input that is here already was sent before the client read the last lines. But if it is
        // no more than a line end, it may be the user's Enter after the last lines, which came
        // before this call.
        let there = consume(connection.as_fd(), DISCARD_BYTES);
        let has_input = matches!(there, Ok(1..=LINE_END_BYTES_MAX));
        // Fails if the client is gone already.
        let _ = shutdown(connection.as_fd().as_raw_fd(), Shutdown::Write);
        connection.expect_more_than(0);
        Closing { since: Instant::now(), has_input }
    }

    /// Discards the input that has arrived, and decides how to continue.
    pub fn step(&mut self, connection: &Connection) -> Step {
        match consume(connection.as_fd(), DISCARD_BYTES) {
            Ok(1..) => self.has_input = true,
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Ok(0) | Err(_) => return Step::Close,
        }
        let elapsed = self.since.elapsed();
        match self.has_input {
            true if elapsed < LAST_LINES => Step::Wait(self.since + LAST_LINES),
            true if is_all_acknowledged(connection.as_fd()) => Step::Reset,
            _ if elapsed < LINGER => Step::Wait(self.since + LINGER),
            _ => Step::Close,
        }
    }
}
