//! A client's socket, as the threads of a worker share it.
//!
//! Its input belongs to one thread at a time. In a [`super::pair`] the epoll registration is
//! one-shot: an event gives the input to the receive thread; a batch in the queue passes it on to
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

/// Lines that one peek may make of what it found: a batch of them fits the smallest ring's batch,
/// see [`super::input::PEEK_BYTES_MAX`].
pub const LINES_PER_PEEK_MAX: u32 = 256;

/// How many lines one peek may take where so many are allowed.
pub fn lines_per_peek(allowed: u64) -> u32 {
    u32::try_from(allowed).unwrap_or(u32::MAX).min(LINES_PER_PEEK_MAX)
}

/// Lines of a new connection's first look: so few that its budget lasts even if each is the
/// costliest command.
pub const LINES_OF_FIRST_LOOK: u32 = (RATE_BURST_LINES / COMMAND_COST_MAX) as u32;

/// In the data of an epoll event: the connection isn't read, only its end is of interest. No
/// session id has this bit: serial numbers don't come so far.
pub const WATCHED: u64 = 1 << 62;

/// No mark is like this: a predecessor may have left any.
const UNKNOWN_LOW_WATER: u32 = 0;

/// A connection. Closed when the last of the threads lets go of it.
#[derive(Debug)]
pub struct Connection {
    /// Whose it is.
    pub session: SessionId,
    /// How its bytes are to be read.
    pub protocol: Protocol,
    socket: OwnedFd,
    /// Input bytes that were taken out of the kernel. Written by whoever has the input.
    consumed: AtomicU64,
    /// Lines that the next peek may take. Set when the socket is armed.
    lines_max: AtomicU32,
    /// The socket's low-water mark, to set it only when it changes.
    low_water: AtomicU32,
    /// Whether the next input byte belongs to a line that is too long. Written by whoever has the
    /// input.
    in_long_line: AtomicBool,
    /// Whether epoll knows it: from the first time it is armed.
    is_registered: AtomicBool,
}

impl Connection {
    /// A new connection, nothing read from it.
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

    /// A predecessor took so much input.
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

    /// Input bytes that are in the kernel; 0 also if that can't be had.
    pub fn unread(&self) -> usize {
        unread(self.socket.as_fd()).unwrap_or(0)
    }

    /// Takes `len` bytes of input out of the kernel: what they say is in the log, or need not be.
    pub fn consume(&self, len: usize) {
        let mut left = len;
        while left > 0 {
            // They were peeked, so they are there; an error means that the connection broke
            // meanwhile, and then the input is over.
            match consume(self.socket.as_fd(), left) {
                Ok(0) | Err(_) => break,
                Ok(taken) => left -= taken,
            }
        }
        self.consumed.fetch_add((len - left) as u64, Ordering::Relaxed);
    }

    /// Has `epoll` tell once when there is more than the `rest` bytes of an unfinished line that
    /// are in the kernel already. False if the system can't do that now.
    pub fn arm(&self, epoll: &Epoll, rest: usize, lines_max: u32) -> bool {
        self.allow(lines_max);
        self.expect_more_than(rest);
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLONESHOT;
        self.register(epoll, EpollEvent::new(flags, self.session.0))
    }

    /// Has `epoll` tell once if the peer resets the connection, and of nothing else. False if the
    /// system can't do that now.
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

    /// The next peek may take so many lines.
    pub fn allow(&self, lines_max: u32) {
        self.lines_max.store(lines_max, Ordering::Relaxed);
    }

    /// From now on it counts as readable when there is more than the `rest` bytes of an unfinished
    /// line that are in the kernel already.
    pub fn expect_more_than(&self, rest: usize) {
        let low_water = rest as u32 + 1;
        if self.low_water.swap(low_water, Ordering::Relaxed) != low_water {
            // If it can't be set there are more events than need be.
            let _ = set_receive_low_water(self.socket.as_fd(), low_water as usize);
        }
    }

    /// When the last descriptor is closed, the connection is reset: what the kernel still holds for
    /// the peer is let go, and the peer notices.
    pub fn reset_when_closed(&self) {
        // If it can't be had, the connection ends as others do.
        let _ = SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
    }

    /// Has `epoll` forget it. Before the descriptor is closed: the supervisor holds a duplicate, so
    /// a registration would outlive it.
    pub fn disarm(&self, epoll: &Epoll) {
        if self.is_registered.swap(false, Ordering::Relaxed) {
            // Fails only for what isn't registered.
            let _ = epoll.delete(&self.socket);
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
