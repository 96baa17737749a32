//! Reads a client's input and leaves it in the kernel.

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

/// The result of a peek.
#[derive(Debug, PartialEq, Eq)]
pub enum Look {
    /// Records for the log. When they are appended, their input must be consumed.
    Lines(Lines),
    /// The middle of a line that is too long. It is consumed, and causes no record.
    Skipped,
    /// No records: the kernel has `rest` bytes of an unfinished line, maybe 0.
    Nothing {
        /// Bytes of an unfinished line.
        rest: usize,
    },
}

impl Look {
    /// The records, or an empty batch.
    pub fn lines(self) -> Lines {
        if let Look::Lines(lines) = self { lines } else { Lines::default() }
    }
}

/// Peeks at the input that has arrived. `flags` are the events of the socket, from epoll or
/// `wait_for_input`. `buffer` must be longer than a line may be; the peek reads at most its length,
/// and at most [`PEEK_BYTES_MAX`].
///
/// Only the thread that may use the connection's input may call this, and only one thread of a
/// worker at a time: all receive threads of a worker share one entry in the quarantine, which says
/// what input is being decoded.
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

/// Whether more input, the end, or a reset follows the bytes that were just peeked.
fn what_follows(connection: &Connection, length: usize, flags: EpollFlags) -> After {
    let is_broken = flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP);
    let is_over = is_broken || flags.contains(EpollFlags::EPOLLRDHUP);
    // There is more input than fits in one peek, or urgent data, at which a peek ends.
    if !is_over || unread(connection.as_fd()).is_ok_and(|unread| unread > length) {
        return After::More;
    }
    if is_broken { After::Reset } else { After::EndOfInput }
}

/// Whether the beginning of a line can't wait in the kernel for the line's end, because the end
/// could then never arrive.
fn cannot_stay(connection: &Connection, rest: usize) -> bool {
    // A peek ends at urgent data.
    let is_cut_off = unread(connection.as_fd()).is_ok_and(|unread| unread > rest);
    // The kernel frees input by whole buffers, and appends to the last one. A few unread bytes may
    // hold so much memory that the kernel closes the peer's window.
    let holds_too_much =
        receive_memory(connection.as_fd()).is_ok_and(|(held, may_hold)| held > may_hold / 4);
    is_cut_off || holds_too_much
}
