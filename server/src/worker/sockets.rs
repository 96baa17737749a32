//! The I/O that the serving side needs. The server implements it with sockets, and the simulation
//! with byte queues.

use crate::chat::Ending;
use crate::sys::tcp_position::Positions;
use forkchat_common::endpoint::UdpPath;
use forkchat_common::ids::SessionId;

/// The result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// This many bytes were taken, at least one: by the kernel, or by a thread that passes them on
    /// to it.
    Bytes(usize),
    /// No bytes were taken. [`super::serving::Serving::writable`] will be called when the socket
    /// takes more.
    Blocked,
    /// The peer is gone: no more bytes will ever be taken.
    Gone,
}

/// The sockets of a worker's serving side.
pub trait Sockets {
    /// The type of a connection.
    type Connection;

    /// Adds the connection of a session.
    fn add(&mut self, session: SessionId, connection: Self::Connection);

    /// Adds the addresses of a UDP session.
    fn add_peer(&mut self, session: SessionId, path: UdpPath);

    /// Writes output bytes. Never blocks. `number` is the number of this write among the session's
    /// writes that took bytes: over UDP each is a datagram.
    fn write(&mut self, session: SessionId, bytes: &[u8], number: u64) -> Written;

    /// The number of bytes that [`Sockets::write`] took and that are not in the kernel yet. If
    /// `is_urgent`, the session is reported as writable when there are none left.
    fn in_flight(&mut self, session: SessionId, is_urgent: bool) -> usize {
        let _ = (session, is_urgent);
        0
    }

    /// Waits for a moment if bytes that were taken wait only for another thread's turn, and not for
    /// the peer. False if there is nothing to wait for.
    fn hurry(&mut self, session: SessionId) -> bool {
        let _ = session;
        false
    }

    /// Input bytes of a session that are in the kernel, such as an unfinished line; also 0 if the
    /// system call fails.
    fn unread(&mut self, session: SessionId) -> usize;

    /// Takes input bytes out of the kernel. Their records are in the log.
    fn consume(&mut self, session: SessionId, len: usize);

    /// Lets the receive side read the session's input again, at most `lines_max` lines. False if
    /// that fails now.
    fn arm(&mut self, session: SessionId, lines_max: u64) -> bool;

    /// Makes the receive side report [`super::input::Input::Broken`] if the peer resets the
    /// connection before the next [`Sockets::arm`].
    fn watch(&mut self, session: SessionId) {
        let _ = session;
    }

    /// Ends the connection: its output is written ([`Ending::Finish`]) or dropped
    /// ([`Ending::Drop`]).
    fn finish(&mut self, session: SessionId, ending: Ending);

    /// How much of a session's input a predecessor consumed, and how much of its output it handed
    /// to the kernel. `None` if that can't be read.
    fn positions(&mut self, session: SessionId) -> Option<Positions>;

    /// Continues a session's input where a predecessor stopped: it consumed `taken` bytes, and the
    /// next byte may belong to a line that is too long.
    fn resume_input(&mut self, session: SessionId, taken: u64, in_long_line: bool);

    /// Sends a datagram that is no part of a session's output. It may get lost.
    fn answer_unknown_peer(&mut self, path: UdpPath, bytes: &[u8]);

    /// Notes that the server stops and no output is left.
    fn drained(&mut self);
}
