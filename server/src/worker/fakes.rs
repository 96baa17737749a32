//! What the tests use in place of the outside: sockets in memory, and the configuration that a
//! supervisor would give.

use super::sockets::{Sockets, Written};
use super::udp::UdpConfig;
use crate::admission::Admission;
use crate::chat::Ending;
use crate::ipc::event::Event;
use crate::ipc::semaphore::Semaphore;
use crate::segment::Dropped;
use crate::sys::memory::map_shared;
use crate::sys::tcp_position::Positions;
use forkchat_common::endpoint::{Listener, LocalAddress, Origin, UdpPath};
use forkchat_common::ids::SessionId;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::OnceLock;

/// The sockets of a worker and all its peers. They outlive it, as the kernel's do: a successor is
/// given its predecessor's.
#[derive(Debug, Default)]
pub(super) struct FakeSockets {
    /// Bytes that one write takes; with 0 every socket is blocked.
    pub write_max: usize,
    /// The numbers of the writes that were tried.
    pub numbers: Vec<u64>,
    /// Somebody stands between, and has so many bytes of all that was taken last.
    pub in_flight: Option<usize>,
    /// Whether that one only waits for its turn, which it has when it is hurried.
    pub is_hurried: bool,
    /// What was taken of each session's output.
    pub heard: BTreeMap<SessionId, Vec<u8>>,
    /// How much of each session's input was taken out.
    pub consumed: BTreeMap<SessionId, usize>,
    /// Those of whose input something is in the kernel.
    pub unread: BTreeSet<SessionId>,
    /// Those of whom nobody can tell where they stand.
    pub unreadable: BTreeSet<SessionId>,
    /// The connections that were ended.
    pub finished: Vec<(SessionId, Ending)>,
    /// What those without a session were answered.
    pub answers: Vec<(UdpPath, Vec<u8>)>,
}

impl FakeSockets {
    /// Peers that take everything.
    pub fn open() -> FakeSockets {
        FakeSockets::taking(usize::MAX)
    }

    /// Peers that don't read.
    pub fn deaf() -> FakeSockets {
        FakeSockets::taking(0)
    }

    /// Peers that take so many bytes at a time.
    pub fn taking(write_max: usize) -> FakeSockets {
        FakeSockets { write_max, ..FakeSockets::default() }
    }

    /// What a session's peer was sent.
    pub fn heard(&self, session: SessionId) -> &[u8] {
        self.heard.get(&session).map_or(&[], Vec::as_slice)
    }
}

impl Sockets for FakeSockets {
    type Connection = ();

    fn add(&mut self, _: SessionId, (): ()) {}
    fn add_peer(&mut self, _: SessionId, _: UdpPath) {}

    fn write(&mut self, session: SessionId, bytes: &[u8], number: u64) -> Written {
        self.numbers.push(number);
        match bytes.len().min(self.write_max) {
            0 => Written::Blocked,
            taken => {
                self.heard.entry(session).or_default().extend_from_slice(&bytes[..taken]);
                if let Some(in_flight) = &mut self.in_flight {
                    *in_flight += taken;
                }
                Written::Bytes(taken)
            }
        }
    }

    fn in_flight(&mut self, _: SessionId, _: bool) -> usize {
        self.in_flight.unwrap_or(0)
    }

    fn hurry(&mut self, _: SessionId) -> bool {
        self.is_hurried && self.in_flight.replace(0) > Some(0)
    }

    fn consume(&mut self, session: SessionId, len: usize) {
        *self.consumed.entry(session).or_default() += len;
    }

    fn unread(&mut self, session: SessionId) -> usize {
        usize::from(self.unread.contains(&session))
    }

    fn arm(&mut self, _: SessionId, _: u64) -> bool {
        true
    }

    fn finish(&mut self, session: SessionId, ending: Ending) {
        self.finished.push((session, ending));
    }

    fn positions(&mut self, session: SessionId) -> Option<Positions> {
        let taken = self.consumed.get(&session).map_or(0, |&bytes| bytes as u64);
        let positions =
            Positions { taken, handed_over: self.heard(session).len() as u64, is_closed: false };
        (!self.unreadable.contains(&session)).then_some(positions)
    }

    fn resume_input(&mut self, _: SessionId, _: u64, _: bool) {}

    fn answer_unknown_peer(&mut self, path: UdpPath, bytes: &[u8]) {
        self.answers.push((path, bytes.to_vec()));
    }

    fn drained(&mut self) {}
}

/// For a worker that keeps UDP sessions in these cells, of which three may be open at a time.
pub(super) fn udp_config(cells: Range<usize>, per_address_max: Option<u32>) -> UdpConfig {
    let units = map_shared::<Semaphore>("test-admission").unwrap();
    units.init(3).unwrap();
    let admission = Admission::new(units, 0, per_address_max, false);
    let (listener, dropped) = (Listener::default(), Box::leak(Box::default()));
    UdpConfig { cookie_key: [7; 16], listener, cells, admission, dropped }
}

/// Counters that nobody reads.
pub(super) fn dropped() -> &'static Dropped {
    static DROPPED: OnceLock<Dropped> = OnceLock::new();
    DROPPED.get_or_init(Dropped::default)
}

/// A server that doesn't end.
pub(super) fn never() -> Event {
    static NEVER: OnceLock<Event> = OnceLock::new();
    *NEVER.get_or_init(|| Event::map("test-stopping").unwrap())
}

/// Where a client comes from.
pub(super) fn peer(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port)
}

/// A TCP connection from this port.
pub(super) fn origin(port: u16) -> Origin {
    Origin { peer: peer(port), listener: Listener::default() }
}

/// The path of a UDP client from this port.
pub(super) fn path(port: u16) -> UdpPath {
    UdpPath { peer: peer(port), local: LocalAddress::default() }
}
