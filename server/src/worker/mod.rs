//! A worker serves connections and applies the log. This folder holds the code that is the same in
//! every concurrency model, and the pair of threads that two of the models use. The differences are
//! in [`crate::models`].
//!
//! | file | what it holds |
//! |---|---|
//! | `serving` | what a worker does in a turn, without sockets |
//! | `takeover` | its first work: continuing where a dead predecessor stopped |
//! | `taken_over` | the report of a takeover to the operator |
//! | `input` | peeked bytes to records |
//! | `outgoing` | what applying a record changes: outboxes, wake-ups, the record's effects |
//! | `outboxes`, `outbox` | rendered output that is not written yet; a session's checkpoint |
//! | `slow_readers` | which sessions are disconnected because they don't read |
//! | `wakes` | which processes are woken for this worker's records |
//! | `lists` | lists that are sent in parts |
//! | `reading` | which sessions' input may be read |
//! | `timers` | a queue of deadlines |
//! | `sockets` | the trait through which `serving` does its I/O |
//! | `connection` | a client's socket, shared by the worker's threads |
//! | `closing`, `rejecting` | closing a connection in order; connections that are rejected |
//! | `peek` | reads a client's input and leaves it in the kernel |
//! | `pair` | the two threads of `pool`, for many connections, and of `process`, for one |
//! | `receive_thread` | the first thread: waits for the supervisor and for input; peeks; ends connections |
//! | `send_thread` | the second thread: waits for everything else; appends, applies, writes |
//! | `order` | the send thread's orders to the receive thread |
//! | `wait` | helpers for epoll waits |
//! | `routes` | the stream or the UDP path of each session |
//! | `supervisor_channel` | messages from and to the supervisor |
//! | `udp` | UDP sessions: cookies, addresses, admission |
//! | `udp_socket` | the UDP socket |
//!
//! A successor can rebuild all state of a worker from the log, the kernel and a snapshot. A panic
//! in any thread of a worker ends the process.

pub mod closing;
pub mod connection;
#[cfg(test)]
mod fakes;
pub mod input;
mod lists;
mod order;
mod outbox;
mod outboxes;
mod outgoing;
pub mod pair;
pub mod peek;
mod reading;
mod receive_thread;
pub mod rejecting;
pub mod routes;
pub mod send_thread;
pub mod serving;
#[cfg(test)]
mod simulation;
mod slow_readers;
pub mod sockets;
pub mod supervisor_channel;
mod taken_over;
pub mod takeover;
pub mod timers;
mod udp;
pub mod udp_socket;
pub mod wait;
mod wakes;

pub use crate::replica::JoinError;
pub use serving::ServingConfig;
pub use slow_readers::Bounds;
pub use takeover::Inherited;
pub use udp::UdpConfig;

use crate::channel::WorkerEnd;
use crate::ipc::start_gate::Party;
use std::os::fd::OwnedFd;

/// Exit code of a worker that was started for certain connections, after the last of them has
/// ended. See [`Start::ends_with_connections`].
pub const FINISHED: i32 = 0;

/// What the supervisor hands to a worker at its fork.
#[derive(Debug)]
pub struct Start {
    /// The message queue to and from the supervisor.
    pub channel: WorkerEnd,
    /// The UDP socket, for the worker that has the UDP sessions.
    pub udp: Option<OwnedFd>,
    /// The predecessor's connections. Without a predecessor: the connections that the worker was
    /// forked for.
    pub inherited: Vec<Inherited<OwnedFd>>,
    /// The gate at which it reports that it is ready, and waits until the whole server is.
    pub gate: Party,
    /// Whether the worker exits with [`FINISHED`] when it has no connection left.
    pub ends_with_connections: bool,
}
