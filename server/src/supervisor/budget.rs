//! The memory budget: how large the ring may be, how many connections are admitted, and how much
//! output may wait for slow readers, so that all of it fits into the available memory.
//!
//! This is pure computation: `capacity` reads the machine's limits and passes them in. The memory
//! of one connection in a concurrency model is in the model's row ([`Takes`]). All other memory is
//! a measured constant here, or follows from a bound that is enforced elsewhere.
//!
//! | part | counted as |
//! |---|---|
//! | supervisor, journal with SQLite's cache, workers | constants |
//! | ring | one and a half times its size: each page is written sooner or later, and lines wait to be stored |
//! | state | sessions, rooms and waiting lines; once for each process with a copy, and for each snapshot |
//! | outboxes | an eighth of the budget; the workers enforce it ([`crate::worker::Bounds`]) |
//! | connections | processes and threads, input that waits for the log, full socket buffers |

use super::listeners::{TCP_KERNEL_BYTES, UDP_KERNEL_BYTES};
use super::start_error::TooLittleMemory;
use crate::models::{Placement, Takes};
use crate::segment::{RING_BYTES_MIN, SNAPSHOT_BUFFERS};
use forkchat_common::limits::{LINE_BYTES_MAX, ROOMS_BYTES_MIN, WAITING_LINES_BYTES_MAX};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// The default size of the ring, if there is memory for it.
pub(super) const RING_BYTES_DEFAULT: usize = 64 << 20;
/// A ring of a size that the server chooses takes at most one part in this many of the budget.
const RING_SHARE: u64 = 6;
/// The output that waits for slow readers may take one part in this many of the budget.
const OUTBOXES_SHARE: u64 = 8;
/// The outboxes of a worker may always take this much.
const OUTBOXES_BYTES_MIN: u64 = 64 * KIB;
/// One part in this many of the available memory is left for file caches, the kernel's tables and
/// other programs.
const LEFT_SHARE: u64 = 8;
/// With room for fewer connections than this the server doesn't start, unless fewer were asked for.
const CONNECTIONS_MIN: u64 = 8;

/// Without the program's code, which all processes share, and which the system can read again.
const SUPERVISOR_BYTES: u64 = 2 * MIB;
/// With SQLite's cache and a transaction of a thousand lines of the greatest length.
const JOURNAL_BYTES: u64 = 12 * MIB;
const WORKER_BYTES: u64 = 3 * MIB / 2;
/// The budget if no limit can be read.
const BYTES_UNKNOWN: u64 = 1024 * MIB;
/// The address space of a process besides shared memory: the program, its libraries, and the stacks
/// and heaps of two threads as the C library reserves them.
const ADDRESS_SPACE_BYTES: u64 = 208 * MIB;
/// The private writable part of that.
const DATA_BYTES: u64 = 8 * MIB;

/// Lines of one session that are read but not in the log yet: `worker::input::PEEK_BYTES_MAX`, as
/// records.
const INPUT_BYTES: u64 = 48 * KIB;
/// A session in the state: its name, rooms, settings and address.
const SESSION_STATE_BYTES: u64 = 1024;
/// Lines of a session that wait in the state for an answer, and an unfinished line.
const SESSION_LINES_BYTES: u64 = (WAITING_LINES_BYTES_MAX + LINE_BYTES_MAX) as u64;
/// One session in this many is counted as having the most of these lines.
const SESSIONS_WITH_LINES_SHARE: u64 = 4;
/// All rooms and topics together may take this much per connection, and [`ROOMS_BYTES_MIN`]
/// besides. The state machine enforces it (`chat/rooms.rs`).
const ROOMS_BYTES_PER_CONNECTION: u64 = 512;
/// Remembered addresses that have no session: see `chat/addresses.rs`.
const ADDRESSES_BYTES: u64 = 512 * KIB;
/// Copies of the state in snapshots: one is published, one waits, and one is being written. The
/// memory of older ones is freed.
const SNAPSHOT_COPIES: u64 = 3;

/// A limit on memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub what: Limited,
    /// How much of it the server may still use.
    pub bytes: u64,
    /// Its name in messages.
    pub name: &'static str,
}

/// The memory to which a limit applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limited {
    /// The memory of all processes together.
    All,
    /// The address space of each process.
    AddressSpace,
    /// The private memory of each process.
    Data,
}

/// What the options and the other limits ask for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub takes: Takes,
    pub placement: Placement,
    /// Permanent workers.
    pub workers: u64,
    /// `--ring`, if given.
    pub ring: Option<usize>,
    /// `--max-connections`, if given.
    pub connections: Option<u64>,
    /// Connections that other limits allow.
    pub allowed: u64,
    /// `--sendq`.
    pub sendq: usize,
    /// Whether the server listens on UDP.
    pub udp: bool,
    /// The most memory that a snapshot takes with this many connections.
    pub snapshot_bytes: fn(u64) -> u64,
}

/// How the memory is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    /// The size of the ring, in bytes.
    pub ring: usize,
    /// The limit that makes the ring smaller than the default, if one does.
    pub ring_bound: Option<&'static str>,
    /// Connections.
    pub connections: u64,
    /// The limit on memory that bounds them, if one does.
    pub bound: Option<&'static str>,
    /// What all rooms and topics together may take, in bytes.
    pub rooms_bytes: u64,
    /// Bytes that the outboxes of each permanent worker may take together.
    pub outboxes: usize,
    /// The same for a worker with a connection of its own.
    pub own_outboxes: usize,
}

/// Which memory is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    /// For sizes that the server chooses: also what malicious clients add to the state, and some
    /// memory is left over.
    Careful,
    /// For sizes that were asked for: they are refused only if they are impossible.
    Asked,
}

/// Divides the memory that the limits allow.
///
/// # Errors
/// If the requested or smallest sizes don't fit, with the limit and how high it would have to be.
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

/// What all rooms and topics together may take with this many connections, in bytes.
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

/// The largest ring, as a power of two, that takes no more than its share of `whole` bytes.
fn ring_within(whole: u64) -> u64 {
    let mut ring = RING_BYTES_DEFAULT as u64;
    while ring > RING_BYTES_MIN as u64 && with_backlog(ring) > whole / RING_SHARE {
        ring /= 2;
    }
    ring
}

/// The ring, and as many lines as fill half of it: the journal may hold those while the disk is
/// slow.
fn with_backlog(ring: u64) -> u64 {
    ring + ring / 2
}

/// The largest number up to `max` for which `fits` returns true, or 0. `fits` must then be true for
/// every smaller number, too.
fn largest_fitting(max: u64, fits: impl Fn(u64) -> bool) -> u64 {
    let (mut fitting, mut too_many) = (0, max + 1);
    while fitting + 1 < too_many {
        let middle = fitting.midpoint(too_many);
        *(if fits(middle) { &mut fitting } else { &mut too_many }) = middle;
    }
    fitting
}

/// A ring and a number of connections, with the memory that they need.
#[derive(Clone, Copy)]
struct Plan<'a> {
    wanted: &'a Wanted,
    /// What the lowest limit allows, in bytes.
    whole: u64,
    ring: u64,
    connections: u64,
    case: Case,
}

impl Plan<'_> {
    /// The first limit that is too low for this plan.
    fn exceeded<'a>(&self, limits: &'a [Limit]) -> Option<&'a Limit> {
        limits.iter().find(|limit| self.needs(limit.what) > usable(limit, self.case))
    }

    /// Why the plan is impossible, and how high the limit would have to be, in whole MiB.
    fn too_little(&self, exceeded: &Limit) -> TooLittleMemory {
        let is_too_low = |mib| {
            let limit = Limit { bytes: mib * MIB, ..*exceeded };
            // With more memory the share of the outboxes grows, too.
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
        // In the process that needs the most.
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
                // The journal has a copy as well.
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

    /// The size of one copy of the state.
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

    /// What may wait for slow readers in each permanent worker, and in each worker with a
    /// connection of its own: their share of the memory, but no more than the limits of their
    /// sessions. A growing buffer doubles its size.
    fn outboxes_of_workers(&self) -> (u64, u64) {
        let of_one = 2 * self.wanted.sendq as u64;
        let share = |whole: u64, workers: u64, sessions: u64| {
            (whole / workers.max(1)).min(sessions.saturating_mul(of_one)).max(OUTBOXES_BYTES_MIN)
        };
        let whole = self.whole / OUTBOXES_SHARE;
        match self.wanted.placement {
            Placement::Shared => (share(whole, self.wanted.workers, self.connections), 0),
            // Half is for the worker that has all UDP sessions.
            Placement::Own => (
                share(whole / 2, self.wanted.workers, self.connections),
                share(whole / 2, self.connections, 1),
            ),
        }
    }
}

#[cfg(test)]
mod tests;
