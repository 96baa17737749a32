//! What the serving side needs of the outside. In the server it is made of sockets, in the
//! simulation of byte queues.

use crate::chat::Ending;
use crate::sys::tcp_position::Positions;
use forkchat_common::endpoint::UdpPath;
use forkchat_common::ids::SessionId;

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// So many bytes were taken, at least one: by the kernel, or by somebody who hands them on to
    /// it.
    Bytes(usize),
    /// None now. The outside will say when it takes more.
    Blocked,
    /// Never again: the peer is gone.
    Gone,
}

/// The outside of a worker's serving side.
pub trait Sockets {
    /// What a connection is.
    type Connection;

    /// A session's connection, which from now on is known by the session's id.
    fn add(&mut self, session: SessionId, connection: Self::Connection);

    /// A UDP session's addresses, which from now on are known by the session's id.
    fn add_peer(&mut self, session: SessionId, path: UdpPath);

    /// Writes output bytes. Never waits. `number` counts the session's writes that were taken, and
    /// this one: over UDP each is a datagram.
    fn write(&mut self, session: SessionId, bytes: &[u8], number: u64) -> Written;

    /// Of the bytes that [`Sockets::write`] took, those that are not in the kernel yet. If it
    /// `is_urgent`, the outside will say when there are none.
    fn in_flight(&mut self, session: SessionId, is_urgent: bool) -> usize {
        let _ = (session, is_urgent);
        0
    }

    /// Somebody is far behind. If that isn't the peer's fault, but what was taken only waits for
    /// its turn, waits a moment for that. False if there is nothing to wait for.
    fn hurry(&mut self, session: SessionId) -> bool {
        let _ = session;
        false
    }

    /// Input bytes of a session that are in the kernel, such as a line that hasn't ended; 0 also if
    /// that can't be had.
    fn unread(&mut self, session: SessionId) -> usize;

    /// Takes input bytes out of the kernel: their records are in the log.
    fn consume(&mut self, session: SessionId, len: usize);

    /// Has the receive side look at the session's input again, for at most `lines_max` lines. False
    /// if it can't be done now.
    fn arm(&mut self, session: SessionId, lines_max: u64) -> bool;

    /// Has the receive side report, as [`super::input::Input::Broken`], if the peer resets the
    /// connection while its input isn't looked at. Until [`Sockets::arm`].
    fn watch(&mut self, session: SessionId) {
        let _ = session;
    }

    /// Ends the connection: everything is written ([`Ending::Finish`]) or never will be.
    fn finish(&mut self, session: SessionId, ending: Ending);

    /// How much of a session's input a predecessor took out of the kernel, and how much of its
    /// output it handed over. `None` if that can't be had.
    fn positions(&mut self, session: SessionId) -> Option<Positions>;

    /// So much of a session's input was taken out of the kernel by a predecessor, and the next byte
    /// may belong to a line that is too long.
    fn resume_input(&mut self, session: SessionId, taken: u64, in_long_line: bool);

    /// Sends a datagram that is no part of a session's output.
    fn answer_unknown_peer(&mut self, path: UdpPath, bytes: &[u8]);

    /// The server ends, and nothing is left to write.
    fn drained(&mut self);
}
