//! Test doubles: sockets in memory, and the configuration that a supervisor would give.

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

/// The sockets of a worker, and their peers. They outlive the worker, as sockets in the kernel do:
/// a successor gets its predecessor's.
#[derive(Debug, Default)]
pub(super) struct FakeSockets {
    /// Bytes that one write takes. With 0 every socket is blocked.
    pub write_max: usize,
    /// The numbers of the attempted writes.
    pub numbers: Vec<u64>,
    /// If set, another thread stands between the worker and the kernel, and holds this many bytes
    /// in all.
    pub in_flight: Option<usize>,
    /// Whether that thread writes all it holds when it is hurried.
    pub is_hurried: bool,
    /// The output of each session that was written.
    pub received: BTreeMap<SessionId, Vec<u8>>,
    /// The number of input bytes of each session that were consumed.
    pub consumed: BTreeMap<SessionId, usize>,
    /// Sessions with input in the kernel.
    pub unread: BTreeSet<SessionId>,
    /// Sessions whose positions can't be read.
    pub unreadable: BTreeSet<SessionId>,
    /// The connections that were ended, and how.
    pub finished: Vec<(SessionId, Ending)>,
    /// The datagrams that were sent outside of a session's output.
    pub answers: Vec<(UdpPath, Vec<u8>)>,
}

impl FakeSockets {
    /// Peers that read everything.
    pub fn open() -> FakeSockets {
        FakeSockets::taking(usize::MAX)
    }

    /// Peers that don't read.
    pub fn not_reading() -> FakeSockets {
        FakeSockets::taking(0)
    }

    /// Peers that take this many bytes at a time.
    pub fn taking(write_max: usize) -> FakeSockets {
        FakeSockets { write_max, ..FakeSockets::default() }
    }

    /// The output that a session's peer received.
    pub fn received(&self, session: SessionId) -> &[u8] {
        self.received.get(&session).map_or(&[], Vec::as_slice)
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
                self.received.entry(session).or_default().extend_from_slice(&bytes[..taken]);
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
            Positions { taken, handed_over: self.received(session).len() as u64, is_closed: false };
        (!self.unreadable.contains(&session)).then_some(positions)
    }

    fn resume_input(&mut self, _: SessionId, _: u64, _: bool) {}

    fn answer_unknown_peer(&mut self, path: UdpPath, bytes: &[u8]) {
        self.answers.push((path, bytes.to_vec()));
    }

    fn drained(&mut self) {}
}

/// The configuration of a worker with UDP sessions in these cells. Three sessions may be open at a
/// time.
pub(super) fn udp_config(cells: Range<usize>, per_address_max: Option<u32>) -> UdpConfig {
    let units = map_shared::<Semaphore>("test-admission").unwrap();
    units.init(3).unwrap();
    let admission = Admission::new(units, 0, per_address_max, false);
    let (listener, dropped) = (Listener::default(), Box::leak(Box::default()));
    UdpConfig { cookie_key: [7; 16], listener, cells, admission, dropped }
}

/// Counters that no test reads.
pub(super) fn dropped() -> &'static Dropped {
    static DROPPED: OnceLock<Dropped> = OnceLock::new();
    DROPPED.get_or_init(Dropped::default)
}

/// The stop event of a server that doesn't stop.
pub(super) fn never() -> Event {
    static NEVER: OnceLock<Event> = OnceLock::new();
    *NEVER.get_or_init(|| Event::map("test-stopping").unwrap())
}

/// A client's address.
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
