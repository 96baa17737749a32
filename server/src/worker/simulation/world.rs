//! The simulated I/O: clients, and the kernel between the clients and their workers.

use super::{LINES_PER_PEEK, PEEK};
use crate::chat::Ending;
use crate::segment::step;
use crate::sys::tcp_position::Positions;
use crate::worker::input::Lines;
use crate::worker::sockets::{Sockets, Written};
use forkchat_common::endpoint::UdpPath;
use forkchat_common::ids::{SessionId, Slot};
use forkchat_common::protocol::Protocol;
use forkchat_common::protocol::framing::After;
use std::cell::RefCell;
use std::rc::Rc;

/// A client and the kernel between it and its worker.
pub(super) struct Client {
    pub session: SessionId,
    pub slot: Slot,
    /// All bytes that it has sent.
    pub sent: Vec<u8>,
    /// How many of these bytes were consumed.
    pub consumed: usize,
    pub has_ended: bool,
    /// The output that the kernel took for it, and the number of these bytes that it has read.
    pub taken: Vec<u8>,
    pub read: usize,
    pub kernel_bytes_max: usize,
    /// Whether a relay stands between its worker and the kernel, and passes on the worker's output.
    /// The relay dies with the worker.
    pub has_relay: bool,
    /// Bytes that the relay holds.
    pub in_flight: Vec<u8>,
    pub armed: Option<(usize, u64)>,
    /// As the worker sees it.
    pub in_long_line: bool,
    /// How the receive side was ordered to end the connection.
    pub finished: Option<Ending>,
    /// Whether that was ever to drop the connection.
    pub is_dropped: bool,
}

/// The most bytes that a relay holds.
const RELAY_BYTES_MAX: usize = 900;

impl Client {
    /// Takes as many output bytes as there is room for.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let (room, buffer) = if self.has_relay {
            (RELAY_BYTES_MAX - self.in_flight.len(), &mut self.in_flight)
        } else {
            (self.kernel_room(), &mut self.taken)
        };
        let length = room.min(bytes.len());
        buffer.extend_from_slice(&bytes[..length]);
        length
    }

    /// Its relay passes bytes on to the kernel.
    pub fn relay(&mut self, bytes_max: usize) {
        let length = self.in_flight.len().min(bytes_max).min(self.kernel_room());
        self.taken.extend(self.in_flight.drain(..length));
    }

    fn kernel_room(&self) -> usize {
        self.kernel_bytes_max - (self.taken.len() - self.read)
    }
}

pub(super) type World = Rc<RefCell<Vec<Client>>>;

/// A worker's sockets.
pub(super) struct Wires {
    pub world: World,
    pub blocked: Vec<SessionId>,
}

impl Wires {
    pub fn with<R>(&self, session: SessionId, act: impl FnOnce(&mut Client) -> R) -> Option<R> {
        self.world.borrow_mut().iter_mut().find(|client| client.session == session).map(act)
    }
}

impl Sockets for Wires {
    type Connection = ();

    fn add(&mut self, _: SessionId, (): ()) {}
    fn add_peer(&mut self, _: SessionId, _: UdpPath) {}

    fn write(&mut self, session: SessionId, bytes: &[u8], _: u64) -> Written {
        step();
        let written = self.with(session, |client| client.take(bytes));
        // May also be cut off after the write: the kernel then has the bytes, and the worker has
        // not recorded that.
        step();
        match written {
            None => Written::Gone,
            Some(0) => {
                self.blocked.push(session);
                Written::Blocked
            }
            Some(length) => Written::Bytes(length),
        }
    }

    fn in_flight(&mut self, session: SessionId, _: bool) -> usize {
        self.with(session, |client| client.in_flight.len()).unwrap_or(0)
    }

    fn consume(&mut self, session: SessionId, len: usize) {
        step();
        self.with(session, |client| client.consumed += len);
    }

    fn unread(&mut self, session: SessionId) -> usize {
        self.with(session, |client| client.sent.len().saturating_sub(client.consumed)).unwrap_or(0)
    }

    fn arm(&mut self, session: SessionId, lines_max: u64) -> bool {
        step();
        self.with(session, |client| client.armed = Some((0, lines_max)));
        true
    }

    fn finish(&mut self, session: SessionId, ending: Ending) {
        step();
        self.with(session, |client| {
            assert!(
                ending == Ending::Drop || client.in_flight.is_empty(),
                "ended before all output was in the kernel"
            );
            client.in_flight.clear();
            client.finished = Some(ending);
            client.is_dropped |= ending == Ending::Drop;
        });
    }

    fn positions(&mut self, session: SessionId) -> Option<Positions> {
        step();
        let read = |client: &mut Client| (client.consumed as u64, client.taken.len() as u64);
        let (taken, handed_over) = self.with(session, read)?;
        Some(Positions { taken, handed_over, is_closed: false })
    }

    fn resume_input(&mut self, session: SessionId, taken: u64, in_long_line: bool) {
        step();
        self.with(session, |client| {
            assert_eq!(client.consumed as u64, taken);
            client.in_long_line = in_long_line;
        });
    }

    fn answer_unknown_peer(&mut self, _: UdpPath, _: &[u8]) {}
    fn drained(&mut self) {}
}
/// The lines that a client sent and that are not too long. The last line needs no LF if the client
/// has ended its input.
pub(super) fn valid_lines(client: &Client) -> Vec<Vec<u8>> {
    let mut lines: Vec<&[u8]> = client.sent.split(|&byte| byte == b'\n').collect();
    let last = lines.pop().unwrap_or_default();
    if client.has_ended && !last.is_empty() {
        lines.push(last);
    }
    lines
        .into_iter()
        .filter(|line| line.len() < forkchat_common::limits::LINE_BYTES_MAX)
        .map(<[u8]>::to_vec)
        .collect()
}

/// A receive thread peeks. With `reads_first` it also consumes the input at once, which no server
/// should do.
pub(super) fn peek(client: &mut Client, lines_max: u64, reads_first: bool) -> Lines {
    let bytes = &client.sent[client.consumed..];
    let bytes = &bytes[..bytes.len().min(PEEK)];
    let is_all = client.consumed + bytes.len() == client.sent.len();
    let after = if client.has_ended && is_all { After::EndOfInput } else { After::More };
    let lines_max = LINES_PER_PEEK.min(usize::try_from(lines_max).unwrap_or(usize::MAX));
    let mut lines = Lines::of(
        client.session,
        Protocol::Line,
        bytes,
        client.consumed as u64,
        client.in_long_line,
        after,
        lines_max,
    );
    client.in_long_line = lines.in_long_line;
    if reads_first {
        client.consumed += std::mem::take(&mut lines.consume);
    }
    lines
}
