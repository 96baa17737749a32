//! A worker: serves connections and applies the log. This folder holds what is the same in every
//! concurrency model, and the pair of threads that two of them use. What differs is in
//! [`crate::models`].
//!
//! | file | what it holds |
//! |---|---|
//! | `serving` | what a worker does in a turn, without sockets |
//! | `takeover` | what it does first: going on where its predecessor died |
//! | `taken_over` | what is reported of that |
//! | `input` | peeked bytes to records |
//! | `outgoing` | what applying a record touches: outboxes, wake-ups, the record's effects |
//! | `outboxes`, `outbox` | rendered output that is not written yet; a session's checkpoint |
//! | `slow_readers` | which sessions are disconnected because they don't read |
//! | `wakes` | which processes are woken for what was recorded |
//! | `lists` | lists that are sent in parts |
//! | `reading` | whose input may be read on |
//! | `timers` | what is due when |
//! | `sockets` | what `serving` needs of the outside |
//! | `connection` | a client's socket, as the threads share it |
//! | `closing`, `rejecting` | closing a connection in order; connections that are rejected |
//! | `peek` | looking at a client's input, and leaving it in the kernel |
//! | `pair` | the two threads of `pool`, for many connections, and of `process`, for one |
//! | `receive_thread` | the first: waits for the supervisor and for input; peeks; ends connections |
//! | `send_thread` | the second: waits for everything else; the sockets' writing side |
//! | `order` | what the second orders the first to do |
//! | `wait` | waiting with epoll |
//! | `routes` | how each session is reached |
//! | `supervisor_channel` | messages from and to the supervisor |
//! | `udp` | UDP sessions: cookies, addresses, admission |
//! | `udp_socket` | their socket |
//!
//! A worker holds nothing that is not in the log, the kernel or a snapshot. A panic in any of its
//! threads ends the process.

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

/// Exit code of a worker whose connections are all over, and which was to end with them.
pub const FINISHED: i32 = 0;

/// What a worker is given when it is forked.
#[derive(Debug)]
pub struct Start {
    /// To and from the supervisor.
    pub channel: WorkerEnd,
    /// For the worker that keeps the UDP sessions.
    pub udp: Option<OwnedFd>,
    /// What its predecessor had; or, if it has none, what it was started for.
    pub inherited: Vec<Inherited<OwnedFd>>,
    /// Where it reports that it serves, and waits until the server does.
    pub gate: Party,
    /// Whether it ends, with [`FINISHED`], when none of its connections is left.
    pub ends_with_connections: bool,
}
