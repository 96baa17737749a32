//! Closing a connection in order: its sending side is shut down, and what the client still sends is
//! discarded until the client has closed its side, too. A socket that is closed with unread input
//! is reset, and the client may lose the last lines.
//!
//! A reset has a use, too. An `nc` that has printed the goodbye notices the end only by a reset,
//! when somebody presses Enter. So input that comes after the client had time to read the last
//! lines resets the connection.

use super::connection::Connection;
use crate::sys::socket::{consume, is_all_acknowledged};
use nix::errno::Errno;
use nix::sys::socket::{Shutdown, shutdown};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

/// How long a client may take to close its side.
pub const LINGER: Duration = Duration::from_secs(2);
/// How long a client has to read the last lines before its input resets the connection.
const LAST_LINES: Duration = Duration::from_millis(100);
/// Input that is discarded at a time.
pub const DISCARD_BYTES: usize = 1 << 20;
/// CR and LF.
const LINE_END_BYTES_MAX: usize = 2;

/// A connection whose sending side is shut down.
#[derive(Debug)]
pub struct Closing {
    since: Instant,
    /// Input came that may be an answer to the last lines.
    has_input: bool,
}

/// What is to be done with a connection that is closing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Look again when there is input, and at this time.
    Wait(Instant),
    /// Close it.
    Close,
    /// Close it with a reset.
    Reset,
}

impl Closing {
    /// Shuts the sending side down; everything is written.
    pub fn begin(connection: &Connection) -> Closing {
        // What is there was sent before the last lines were read. But no more than a line end may
        // be somebody's Enter after the last lines, which was faster than this.
        let there = consume(connection.as_fd(), DISCARD_BYTES);
        let has_input = matches!(there, Ok(1..=LINE_END_BYTES_MAX));
        // Fails if the client is gone already.
        let _ = shutdown(connection.as_fd().as_raw_fd(), Shutdown::Write);
        connection.expect_more_than(0);
        Closing { since: Instant::now(), has_input }
    }

    /// Discards what has come.
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
