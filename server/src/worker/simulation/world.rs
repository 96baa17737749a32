//! The simulated outside: clients, and the kernel between them and their workers.

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
    /// Everything it sent.
    pub sent: Vec<u8>,
    /// How much of that was taken out of the kernel.
    pub consumed: usize,
    pub has_ended: bool,
    /// Everything that the kernel took for it, and how much of that it has read.
    pub taken: Vec<u8>,
    pub read: usize,
    pub kernel_bytes_max: usize,
    /// Whether somebody stands between its worker and the kernel, and hands on what the worker
    /// writes; a dead worker's is gone.
    pub has_relay: bool,
    /// What the relay has and the kernel hasn't.
    pub in_flight: Vec<u8>,
    pub armed: Option<(usize, u64)>,
    /// As its worker knows it.
    pub in_long_line: bool,
    /// What the receive side was ordered to do, if it was.
    pub finished: Option<Ending>,
    /// Whether it was ever ordered to be dropped.
    pub is_dropped: bool,
}

/// Bytes that a relay takes.
const RELAY_BYTES_MAX: usize = 900;

impl Client {
    /// Takes output bytes, as many as there is room for.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let (room, place) = if self.has_relay {
            (RELAY_BYTES_MAX - self.in_flight.len(), &mut self.in_flight)
        } else {
            (self.kernel_room(), &mut self.taken)
        };
        let length = room.min(bytes.len());
        place.extend_from_slice(&bytes[..length]);
        length
    }

    /// Its relay hands something on to the kernel.
    pub fn relay(&mut self, bytes_max: usize) {
        let length = self.in_flight.len().min(bytes_max).min(self.kernel_room());
        self.taken.extend(self.in_flight.drain(..length));
    }

    fn kernel_room(&self) -> usize {
        self.kernel_bytes_max - (self.taken.len() - self.read)
    }
}

pub(super) type World = Rc<RefCell<Vec<Client>>>;

/// A worker's outside.
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
        // Cut off behind the write, too: the kernel has the bytes, nobody knows.
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
                "ended before all of it was out"
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
/// The lines that a client sent and that are not too long; the last one counts without its LF if it
/// ended its input.
pub(super) fn said_by(client: &Client) -> Vec<Vec<u8>> {
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

/// A receive thread looks. One that reads first takes what it sees out of the kernel at once, as no
/// server should.
pub(super) fn peek(client: &mut Client, lines_max: u64, reads_first: bool) -> Lines {
    let bytes = &client.sent[client.consumed..];
    let bytes = &bytes[..bytes.len().min(PEEK)];
    let is_all = client.consumed + bytes.len() == client.sent.len();
    let behind = if client.has_ended && is_all { After::EndOfInput } else { After::More };
    let lines_max = LINES_PER_PEEK.min(usize::try_from(lines_max).unwrap_or(usize::MAX));
    let mut lines = Lines::of(
        client.session,
        Protocol::Line,
        bytes,
        client.consumed as u64,
        client.in_long_line,
        behind,
        lines_max,
    );
    client.in_long_line = lines.in_long_line;
    if reads_first {
        client.consumed += std::mem::take(&mut lines.consume);
    }
    lines
}
