//! A client's socket, which the threads of a worker share.
//!
//! Only one thread at a time may use its input. In a [`super::pair`] the epoll registration is
//! one-shot: an event passes the input to the receive thread; a batch in the queue passes it on to
//! the send thread; arming the socket again gives it back to the kernel.

use crate::sys::socket::{consume, set_receive_low_water, unread};
use forkchat_common::ids::SessionId;
use forkchat_common::limits::{COMMAND_COST_MAX, RATE_BURST_LINES};
use forkchat_common::protocol::Protocol;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use socket2::SockRef;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// The most lines of one peek: their records fit in one batch of the smallest ring, see
/// [`super::input::PEEK_BYTES_MAX`].
pub const LINES_PER_PEEK_MAX: u32 = 256;

/// How many lines the next peek may take if the session's budget allows `allowed` lines.
pub fn lines_per_peek(allowed: u64) -> u32 {
    u32::try_from(allowed).unwrap_or(u32::MAX).min(LINES_PER_PEEK_MAX)
}

/// The most lines of a new connection's first peek: so few that the budget lasts even if each line
/// is the most expensive command.
pub const LINES_OF_FIRST_LOOK: u32 = (RATE_BURST_LINES / COMMAND_COST_MAX) as u32;

/// A bit in the data of an epoll event: the connection's input is not read now, and the event
/// reports its end. Session ids never have this bit: serial numbers stay far below it.
pub const WATCHED: u64 = 1 << 62;

/// A value that no low-water mark has. The real mark is unknown, as a predecessor may have set any.
const UNKNOWN_LOW_WATER: u32 = 0;

/// A connection. It is closed when the last thread drops it.
#[derive(Debug)]
pub struct Connection {
    /// The connection's session.
    pub session: SessionId,
    /// The protocol of its bytes.
    pub protocol: Protocol,
    socket: OwnedFd,
    /// Input bytes that were consumed. Only the thread that may use the input writes this.
    consumed: AtomicU64,
    /// Lines that the next peek may take. Set when the socket is armed.
    lines_max: AtomicU32,
    /// The socket's low-water mark. It is stored here so that it is set only when it changes.
    low_water: AtomicU32,
    /// Whether the next input byte belongs to a line that is too long. Only the thread that may use
    /// the input writes this.
    in_long_line: AtomicBool,
    /// Whether the socket is registered with epoll: from the first time that it is armed.
    is_registered: AtomicBool,
}

impl Connection {
    /// A connection of which nothing is consumed yet.
    pub fn new(session: SessionId, protocol: Protocol, socket: OwnedFd) -> Connection {
        Connection {
            session,
            protocol,
            socket,
            consumed: AtomicU64::new(0),
            lines_max: AtomicU32::new(LINES_OF_FIRST_LOOK),
            low_water: AtomicU32::new(UNKNOWN_LOW_WATER),
            in_long_line: AtomicBool::new(false),
            is_registered: AtomicBool::new(false),
        }
    }

    /// The offset in the input of the first byte that is still in the kernel.
    pub fn consumed(&self) -> u64 {
        self.consumed.load(Ordering::Relaxed)
    }

    /// Sets how many input bytes a predecessor has consumed, and whether the next byte belongs to a
    /// line that is too long.
    pub fn resume(&self, consumed: u64, in_long_line: bool) {
        self.consumed.store(consumed, Ordering::Relaxed);
        self.set_in_long_line(in_long_line);
    }

    /// Whether the next input byte belongs to a line that is too long.
    pub fn in_long_line(&self) -> bool {
        self.in_long_line.load(Ordering::Relaxed)
    }

    /// See [`Connection::in_long_line`].
    pub fn set_in_long_line(&self, in_long_line: bool) {
        self.in_long_line.store(in_long_line, Ordering::Relaxed);
    }

    /// Lines that the next peek may take.
    pub fn lines_max(&self) -> usize {
        self.lines_max.load(Ordering::Relaxed) as usize
    }

    /// Input bytes that are in the kernel; also 0 if the system call fails.
    pub fn unread(&self) -> usize {
        unread(self.socket.as_fd()).unwrap_or(0)
    }

    /// Takes `len` bytes of input out of the kernel. Their content must be in the log, or be
    /// without effect.
    pub fn consume(&self, len: usize) {
        let mut left = len;
        while left > 0 {
            // The bytes were peeked before, so they are there. An error means that the connection
            // broke in the meantime, and then there is no more input.
            match consume(self.socket.as_fd(), left) {
                Ok(0) | Err(_) => break,
                Ok(taken) => left -= taken,
            }
        }
        self.consumed.fetch_add((len - left) as u64, Ordering::Relaxed);
    }

    /// Requests one event from `epoll` for more input than the `rest` bytes of an unfinished line
    /// that are in the kernel already. The next peek may take `lines_max` lines. False if epoll
    /// fails.
    pub fn arm(&self, epoll: &Epoll, rest: usize, lines_max: u32) -> bool {
        self.allow(lines_max);
        self.expect_more_than(rest);
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLONESHOT;
        self.register(epoll, EpollEvent::new(flags, self.session.0))
    }

    /// Requests one event from `epoll` if the peer resets the connection, and none for input. False
    /// if epoll fails.
    pub fn watch(&self, epoll: &Epoll) -> bool {
        // EPOLLERR and EPOLLHUP are always reported. Source: epoll_ctl(2).
        self.register(epoll, EpollEvent::new(EpollFlags::EPOLLONESHOT, self.session.0 | WATCHED))
    }

    fn register(&self, epoll: &Epoll, mut event: EpollEvent) -> bool {
        let is_known = self.is_registered.load(Ordering::Relaxed);
        let armed = if is_known {
            epoll.modify(&self.socket, &mut event)
        } else {
            epoll.add(&self.socket, event)
        };
        self.is_registered.store(is_known || armed.is_ok(), Ordering::Relaxed);
        armed.is_ok()
    }

    /// Sets how many lines the next peek may take.
    pub fn allow(&self, lines_max: u32) {
        self.lines_max.store(lines_max, Ordering::Relaxed);
    }

    /// From now on the socket is readable when there is more input than the `rest` bytes of an
    /// unfinished line.
    pub fn expect_more_than(&self, rest: usize) {
        let low_water = rest as u32 + 1;
        if self.low_water.swap(low_water, Ordering::Relaxed) != low_water {
            // On failure there are only more events than necessary.
            let _ = set_receive_low_water(self.socket.as_fd(), low_water as usize);
        }
    }

    /// Makes the kernel reset the connection when the last descriptor is closed: it then discards
    /// unsent output, and the peer notices the end.
    pub fn reset_when_closed(&self) {
        // On failure, the connection ends without a reset.
        let _ = SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
    }

    /// Removes the socket from `epoll`. This must happen before the descriptor is closed: the
    /// supervisor holds a duplicate, so the registration would remain.
    pub fn disarm(&self, epoll: &Epoll) {
        if self.is_registered.swap(false, Ordering::Relaxed) {
            // Fails only if it isn't registered.
            let _ = epoll.delete(&self.socket);
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
