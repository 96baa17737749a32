//! Looks at a client's input, and leaves it in the kernel.

use super::connection::Connection;
use super::input::{Lines, PEEK_BYTES_MAX};
use crate::faults::{Step, inject_fault, reads_first};
use crate::segment::{Segment, Thread, WorkItem};
use crate::sys::socket::{receive_memory, unread};
use forkchat_common::ids::Slot;
use forkchat_common::protocol::framing::After;
use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{MsgFlags, recv};
use std::os::fd::{AsFd, AsRawFd};

/// What a look found.
#[derive(Debug, PartialEq, Eq)]
pub enum Look {
    /// Records for the log. When they are there, what they say is consumed.
    Lines(Lines),
    /// The middle of a line that is too long: it was consumed, and nobody needs to know.
    Skipped,
    /// So many bytes of a line, maybe none, which stay where they are.
    Nothing {
        /// Bytes.
        rest: usize,
    },
}

impl Look {
    /// The records, if there are some.
    pub fn lines(self) -> Lines {
        if let Look::Lines(lines) = self { lines } else { Lines::default() }
    }
}

/// Looks at what has arrived. `flags` is what was said of the socket: by epoll, or by
/// `wait_for_input`; `buffer` is longer than a line may be; no more than fits into it is looked at,
/// nor more than [`PEEK_BYTES_MAX`].
///
/// Only who has the connection's input may look, and one thread of a worker at a time: what it is
/// at is told to the supervisor.
pub fn look(
    segment: &Segment,
    me: Slot,
    connection: &Connection,
    buffer: &mut [u8],
    flags: EpollFlags,
) -> Look {
    let looked_at = buffer.len().min(PEEK_BYTES_MAX);
    let peeked = loop {
        match recv(
            connection.as_fd().as_raw_fd(),
            &mut buffer[..looked_at],
            MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT,
        ) {
            Err(Errno::EINTR) => {}
            peeked => break peeked,
        }
    };
    let (length, after) = match peeked {
        Ok(0) => (0, After::EndOfInput),
        Ok(length) => (length, what_follows(connection, length, flags)),
        Err(Errno::EAGAIN) => (0, After::More),
        Err(_) => (0, After::Reset),
    };
    let lines = decode(segment, me, connection, &buffer[..length], after);
    if !lines.is_empty() {
        Look::Lines(lines)
    } else if lines.consume > 0 {
        connection.consume(lines.consume);
        Look::Skipped
    } else if lines.rest > 0 && cannot_stay(connection, lines.rest) {
        Look::Lines(Lines::beginning(
            connection.session,
            &buffer[..lines.rest],
            connection.consumed(),
        ))
    } else {
        Look::Nothing { rest: lines.rest }
    }
}

fn decode(
    segment: &Segment,
    me: Slot,
    connection: &Connection,
    bytes: &[u8],
    after: After,
) -> Lines {
    let (session, offset) = (connection.session, connection.consumed());
    segment.quarantine.enter(me, Thread::Receive, WorkItem::Input { session, offset });
    inject_fault(Step::Decoding, bytes);
    let mut lines = Lines::of(
        session,
        connection.protocol,
        bytes,
        offset,
        connection.in_long_line(),
        after,
        connection.lines_max(),
    );
    segment.quarantine.leave(me, Thread::Receive);
    connection.set_in_long_line(lines.in_long_line);
    if reads_first() {
        connection.consume(std::mem::take(&mut lines.consume));
    }
    lines
}

/// What follows the bytes that were just peeked.
fn what_follows(connection: &Connection, length: usize, flags: EpollFlags) -> After {
    let is_broken = flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP);
    let is_over = is_broken || flags.contains(EpollFlags::EPOLLRDHUP);
    // More than fits in a look, or after urgent data, where a look ends.
    if !is_over || unread(connection.as_fd()).is_ok_and(|unread| unread > length) {
        return After::More;
    }
    if is_broken { After::Reset } else { After::EndOfInput }
}

/// Whether the beginning of a line can't wait in the kernel for its end, since the end could never
/// come.
fn cannot_stay(connection: &Connection, rest: usize) -> bool {
    // A look ends at urgent data.
    let is_cut_off = unread(connection.as_fd()).is_ok_and(|unread| unread > rest);
    // The kernel frees input by whole buffers, and appends to the last: a few bytes may hold so
    // much that the peer is given no window.
    let holds_too_much =
        receive_memory(connection.as_fd()).is_ok_and(|(held, may_hold)| held > may_hold / 4);
    is_cut_off || holds_too_much
}
