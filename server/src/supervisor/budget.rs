//! The memory budget: how large the ring may be, how many connections are admitted, and how much
//! output may wait for slow readers, so that all of it fits into the available memory.
//!
//! Pure computation: `capacity` reads the machine's limits and passes them in. The memory of one
//! connection in a concurrency model is in the model's row ([`Takes`]). All other memory is a
//! measured constant here, or follows from a bound that is enforced elsewhere.
//!
//! | part | counted as |
//! |---|---|
//! | supervisor, journal with SQLite's cache, workers | constants |
//! | ring | its size: every page of it is written sooner or later; and half as much again, for lines that wait to be stored |
//! | state | each session, all rooms and topics, and lines that wait, once for each process that has a copy and for each snapshot |
//! | outboxes | an eighth of the budget; the workers enforce it ([`crate::worker::Bounds`]) |
//! | connections | the process's and threads' memory, input that waits for the log, and full socket buffers in both directions |

use super::listeners::{TCP_KERNEL_BYTES, UDP_KERNEL_BYTES};
use super::start_error::TooLittleMemory;
use crate::models::{Placement, Takes};
use crate::segment::{RING_BYTES_MIN, SNAPSHOT_BUFFERS};
use forkchat_common::limits::{LINE_BYTES_MAX, ROOMS_BYTES_MIN, WAITING_LINES_BYTES_MAX};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// The ring unless `--ring` says otherwise and if there is memory for it.
pub(super) const RING_BYTES_DEFAULT: usize = 64 << 20;
/// A ring that the server chooses takes at most one part in so many of the budget.
const RING_SHARE: u64 = 6;
/// Of the budget, one part in so many may wait for slow readers.
const OUTBOXES_SHARE: u64 = 8;
/// A worker's outboxes may take so much in any case.
const OUTBOXES_BYTES_MIN: u64 = 64 * KIB;
/// Of what is available, one part in so many is left: for files that are read, the kernel's tables,
/// and other programs.
const LEFT_SHARE: u64 = 8;
/// With fewer connections than this the server doesn't start, unless fewer were asked for.
const CONNECTIONS_MIN: u64 = 8;

/// Without the program's pages, which all processes share, and which the system can read again.
const SUPERVISOR_BYTES: u64 = 2 * MIB;
/// With SQLite's cache and a transaction of a thousand lines, each as long as may be.
const JOURNAL_BYTES: u64 = 12 * MIB;
const WORKER_BYTES: u64 = 3 * MIB / 2;
/// If no limit can be read.
const BYTES_UNKNOWN: u64 = 1024 * MIB;
/// What a process has mapped besides what is shared: the program, its libraries, two threads'
/// stacks and heaps, as the C library reserves them.
const ADDRESS_SPACE_BYTES: u64 = 208 * MIB;
/// The private part of that which a process may write to.
const DATA_BYTES: u64 = 8 * MIB;

/// Lines of one session that are read and not in the log yet: `worker::input::PEEK_BYTES_MAX`, as
/// records.
const INPUT_BYTES: u64 = 48 * KIB;
/// A session in the state: its name, its rooms, what it has set, and its address.
const SESSION_STATE_BYTES: u64 = 1024;
/// Lines of a session that wait in the state for an answer, and one that isn't complete.
const SESSION_LINES_BYTES: u64 = (WAITING_LINES_BYTES_MAX + LINE_BYTES_MAX) as u64;
/// One session in so many is counted as one that has as many of those as it may.
const SESSIONS_WITH_LINES_SHARE: u64 = 4;
/// All rooms and topics may take so much for each connection, and [`ROOMS_BYTES_MIN`] besides. The
/// state machine enforces it (`chat/rooms.rs`).
const ROOMS_BYTES_PER_CONNECTION: u64 = 512;
/// Addresses that are remembered although they have no session: see `chat/addresses.rs`.
const ADDRESSES_BYTES: u64 = 512 * KIB;
/// Copies of the state in snapshots: one is published, one waits, one is being made. The others'
/// memory is given back.
const SNAPSHOT_COPIES: u64 = 3;

/// Something that limits memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub what: Limited,
    /// What the server may still have of it.
    pub bytes: u64,
    /// As it is called in messages.
    pub name: &'static str,
}

/// Which memory a limit is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limited {
    /// That of all processes together.
    All,
    /// The address space of each process.
    AddressSpace,
    /// The private memory of each process.
    Data,
}

/// What the server is to have room for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub takes: Takes,
    pub placement: Placement,
    /// Workers that are always there.
    pub workers: u64,
    /// `--ring`, if it is given.
    pub ring: Option<usize>,
    /// `--max-connections`, if it is given.
    pub connections: Option<u64>,
    /// Connections that other limits allow.
    pub allowed: u64,
    /// `--sendq`.
    pub sendq: usize,
    /// Whether it listens for UDP.
    pub udp: bool,
    /// A snapshot's memory for so many connections, at most.
    pub snapshot_bytes: fn(u64) -> u64,
}

/// What there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    /// The ring, in bytes.
    pub ring: usize,
    /// Why the ring is smaller than by default.
    pub ring_bound: Option<&'static str>,
    /// Connections.
    pub connections: u64,
    /// What limits them, if it is memory.
    pub bound: Option<&'static str>,
    /// What all rooms and topics together may take, in bytes.
    pub rooms_bytes: u64,
    /// Bytes that the outboxes of each worker that is always there may take together.
    pub outboxes: usize,
    /// The same for a worker with a connection of its own.
    pub own_outboxes: usize,
}

/// How much is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    /// For what the server chooses: also what clients who mean harm add to the state; and something
    /// is left.
    Careful,
    /// For what was asked for: it is refused only if it can't be had.
    Asked,
}

/// Divides the memory that the limits allow.
pub(super) fn budget(limits: &[Limit], wanted: &Wanted) -> Result<Budget, TooLittleMemory> {
    let whole =
        limits.iter().map(|limit| usable(limit, Case::Careful)).min().unwrap_or(BYTES_UNKNOWN);
    let careful =
        |ring, connections| Plan { wanted, whole, ring, connections, case: Case::Careful };
    let asked = |ring, connections| Plan { case: Case::Asked, ..careful(ring, connections) };
    let least = wanted.connections.unwrap_or(CONNECTIONS_MIN.min(wanted.allowed));
    let mut ring = wanted.ring.map_or_else(|| ring_within(whole), |ring| ring as u64);
    let fits = |ring| match wanted.connections {
        Some(connections) => asked(ring, connections).exceeded(limits),
        None => careful(ring, least).exceeded(limits),
    };
    while let Some(exceeded) = fits(ring) {
        if wanted.ring.is_some() || ring <= RING_BYTES_MIN as u64 {
            let plan = if wanted.connections.is_some() {
                asked(ring, least)
            } else {
                careful(ring, least)
            };
            return Err(plan.too_little(exceeded));
        }
        ring /= 2;
    }
    let (connections, bound) = match wanted.connections {
        Some(connections) => (connections, None),
        None => {
            let most = largest_fitting(wanted.allowed, |connections| {
                careful(ring, connections).exceeded(limits).is_none()
            });
            (
                most,
                careful(ring, most + 1)
                    .exceeded(limits)
                    .filter(|_| most < wanted.allowed)
                    .map(|limit| limit.name),
            )
        }
    };
    let ring_bound = (wanted.ring.is_none() && ring < RING_BYTES_DEFAULT as u64)
        .then(|| tightest(limits))
        .flatten();
    let (outboxes, own_outboxes) = careful(ring, connections).outboxes_of_workers();
    Ok(Budget {
        ring: ring as usize,
        ring_bound,
        connections,
        bound,
        rooms_bytes: rooms_bytes(connections),
        outboxes: outboxes as usize,
        own_outboxes: own_outboxes as usize,
    })
}

/// What all rooms and topics together may take with so many connections, in bytes.
fn rooms_bytes(connections: u64) -> u64 {
    ROOMS_BYTES_MIN as u64 + connections * ROOMS_BYTES_PER_CONNECTION
}

/// The name of the limit that allows the least.
fn tightest(limits: &[Limit]) -> Option<&'static str> {
    limits.iter().min_by_key(|limit| limit.bytes).map(|limit| limit.name)
}

fn usable(limit: &Limit, case: Case) -> u64 {
    if case == Case::Careful { limit.bytes - limit.bytes / LEFT_SHARE } else { limit.bytes }
}

/// The largest ring, a power of two, that takes no more than its share of so many bytes.
fn ring_within(whole: u64) -> u64 {
    let mut ring = RING_BYTES_DEFAULT as u64;
    while ring > RING_BYTES_MIN as u64 && with_backlog(ring) > whole / RING_SHARE {
        ring /= 2;
    }
    ring
}

/// The ring, and the lines of half of it that the journal may hold for a slow disk.
fn with_backlog(ring: u64) -> u64 {
    ring + ring / 2
}

/// The largest number up to `max` for which `fits` holds; it holds for every smaller number then,
/// too. 0 if for none.
fn largest_fitting(max: u64, fits: impl Fn(u64) -> bool) -> u64 {
    let (mut fitting, mut too_many) = (0, max + 1);
    while fitting + 1 < too_many {
        let middle = fitting.midpoint(too_many);
        *(if fits(middle) { &mut fitting } else { &mut too_many }) = middle;
    }
    fitting
}

/// A ring and a number of connections, and what they need.
#[derive(Clone, Copy)]
struct Plan<'a> {
    wanted: &'a Wanted,
    /// What the tightest limit allows.
    whole: u64,
    ring: u64,
    connections: u64,
    case: Case,
}

impl Plan<'_> {
    /// The first limit that is too low for it.
    fn exceeded<'a>(&self, limits: &'a [Limit]) -> Option<&'a Limit> {
        limits.iter().find(|limit| self.needs(limit.what) > usable(limit, self.case))
    }

    /// Why it can't be, and how high the limit would have to be, in whole MiB.
    fn too_little(&self, exceeded: &Limit) -> TooLittleMemory {
        let is_too_low = |mib| {
            let limit = Limit { bytes: mib * MIB, ..*exceeded };
            // With more memory the outboxes have a larger share, too.
            let plan = Plan { whole: usable(&limit, Case::Careful), ..*self };
            plan.needs(limit.what) > usable(&limit, self.case)
        };
        let needs = (largest_fitting(u64::MAX / MIB / 2, is_too_low) + 1) * MIB;
        TooLittleMemory {
            ring: self.ring,
            connections: self.connections,
            needs,
            limit: exceeded.name,
            allows: exceeded.bytes,
        }
    }

    fn needs(&self, what: Limited) -> u64 {
        let (wanted, connections) = (self.wanted, self.connections);
        let (own, input) = (wanted.placement == Placement::Own, connections * INPUT_BYTES);
        let (outboxes, own_outboxes) = self.outboxes_of_workers();
        // In the process that has the most.
        let of_connections =
            if own { wanted.takes.bytes } else { connections * wanted.takes.bytes + input };
        let private = of_connections + outboxes.max(own_outboxes) + self.state();
        match what {
            Limited::All => {
                let always = SUPERVISOR_BYTES
                    + JOURNAL_BYTES
                    + wanted.workers * WORKER_BYTES
                    + if wanted.udp { UDP_KERNEL_BYTES } else { 0 };
                let own_workers = if own { connections } else { 0 };
                // The journal has one as well.
                let copies = wanted.workers + own_workers + 1 + SNAPSHOT_COPIES;
                always
                    + with_backlog(self.ring)
                    + copies * self.state()
                    + wanted.workers * outboxes
                    + own_workers * own_outboxes
                    + connections * (wanted.takes.bytes + TCP_KERNEL_BYTES)
                    + input
            }
            Limited::AddressSpace => {
                ADDRESS_SPACE_BYTES
                    + self.ring
                    + SNAPSHOT_BUFFERS as u64 * (wanted.snapshot_bytes)(connections)
                    + private
            }
            Limited::Data => DATA_BYTES + private + self.ring / 2,
        }
    }

    /// One copy of the state.
    fn state(&self) -> u64 {
        let sessions = self.connections * SESSION_STATE_BYTES;
        match self.case {
            Case::Asked => sessions,
            Case::Careful => {
                let lines =
                    self.connections.div_ceil(SESSIONS_WITH_LINES_SHARE) * SESSION_LINES_BYTES;
                sessions + lines + rooms_bytes(self.connections) + ADDRESSES_BYTES
            }
        }
    }

    /// What may wait for slow readers in each worker that is always there, and in each with a
    /// connection of its own: their share of the memory, and no more than their sessions may be
    /// behind. A buffer that grows is doubled.
    fn outboxes_of_workers(&self) -> (u64, u64) {
        let of_one = 2 * self.wanted.sendq as u64;
        let share = |whole: u64, workers: u64, sessions: u64| {
            (whole / workers.max(1)).min(sessions.saturating_mul(of_one)).max(OUTBOXES_BYTES_MIN)
        };
        let whole = self.whole / OUTBOXES_SHARE;
        match self.wanted.placement {
            Placement::Shared => (share(whole, self.wanted.workers, self.connections), 0),
            // Half is for the one that has all UDP sessions.
            Placement::Own => (
                share(whole / 2, self.wanted.workers, self.connections),
                share(whole / 2, self.connections, 1),
            ),
        }
    }
}

#[cfg(test)]
mod tests;
