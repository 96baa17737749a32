//! A worker process: two threads joined by a queue, serving its share of the connections.
//!
//! ```text
//!            supervisor                                              event log
//!                │ sockets                                           ▲      │
//!                ▼                                             append │      │ apply
//!  clients ─► receive thread ──── Input, through a bounded queue ──► send thread ─► clients
//!          peek  ▲                                                   │     write
//!                └──────────────── Order: this session is over ◄─────┘
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `receive_thread` | waits for the supervisor and for input; peeks; ends connections |
//! | `send_thread` | waits for everything else; the sockets' writing side |
//! | `serving` | what the send thread does in a turn, without sockets |
//! | `takeover` | what it does first: going on where a predecessor was cut off |
//! | `input` | peeked bytes to records |
//! | `outboxes` | what is to be written to each session, and its checkpoint |
//! | `sockets` | what `serving` needs of the outside |
//! | `connection` | a client's socket, as the two threads share it |
//! | `udp` | UDP sessions: cookies, addresses, admission |
//! | `datagram` | output bytes to datagrams |
//!
//! A worker holds nothing that isn't in the log, the kernel or a snapshot. A panic in either thread ends the process.

mod connection;
mod datagram;
mod input;
mod outboxes;
mod peek;
mod receive_thread;
mod reports;
mod send_thread;
mod serving;
#[cfg(test)]
mod simulation;
mod sockets;
mod takeover;
mod udp;
mod udp_socket;

pub use serving::ServingConfig;
pub use takeover::Inherited;
pub use udp::UdpConfig;

use crate::channel::WorkerEnd;
use crate::event_log::EventLog;
use crate::ipc::doorbell::Doorbell;
use crate::sys::process::{exit_now, set_name};
use connection::Connection;
use forkchat_common::ids::Slot;
use nix::sys::epoll::{Epoll, EpollCreateFlags};
use receive_thread::{ReceiveThread, Wiring};
use send_thread::Network;
use serving::Serving;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// Inputs that wait between the two threads. A session has at most one under way, so this bounds the memory that they take.
const QUEUE: usize = 1_024;

/// What a worker is given when it is forked.
#[derive(Debug)]
pub struct Start {
    /// To and from the supervisor.
    pub channel: WorkerEnd,
    /// For the worker that keeps the UDP sessions.
    pub udp: Option<OwnedFd>,
    /// What its predecessor had.
    pub inherited: Vec<Inherited<OwnedFd>>,
}

/// Runs a worker in slot `me` until the process is killed. Returns an exit code if it can't.
pub fn run(log: &'static EventLog, me: Slot, config: ServingConfig, start: Start) -> i32 {
    match start_threads(log, me, config, start) {
        Ok(pool) => {
            pool.join();
            log::error!("a thread ended that should not");
        }
        Err(errno) => log::error!("cannot start: {errno}"),
    }
    1
}

fn start_threads(log: &'static EventLog, me: Slot, config: ServingConfig, start: Start) -> nix::Result<threadpool::ThreadPool> {
    let epoll = || Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC);
    let (input, output) = (Arc::new(epoll()?), epoll()?);
    let (udp_receiver, udp_sender) = start.udp.map(|udp| udp_socket::sides(udp, &output, send_thread::UDP)).transpose()?.unzip();
    let asleep: &'static AtomicU32 = Box::leak(Box::default());
    let receive_bell = Arc::new(Doorbell::new(asleep)?);
    let (inputs, queue) = crossbeam_channel::bounded(QUEUE);
    let (orders, ordered) = crossbeam_channel::unbounded();
    let network = Network::new(input.clone(), output, udp_sender, orders, receive_bell.clone());
    let share =
        |Inherited { session, peer, connection }| Inherited { session, peer, connection: Arc::new(Connection::new(session, connection)) };
    let inherited: Vec<_> = start.inherited.into_iter().map(share).collect();
    let wiring = Wiring {
        epoll: input,
        channel: start.channel,
        inputs,
        orders: ordered,
        bell: receive_bell,
        udp: udp_receiver,
        inherited: inherited.iter().map(|inherited| inherited.connection.clone()).collect(),
        turn_away_max: config.turn_away_max,
    };
    let mut receive = ReceiveThread::new(log, me, wiring)?;

    // The pool's threads are alike, so each takes the name of what it does.
    let pool = threadpool::ThreadPool::new(2);
    pool.execute(move || {
        set_name(&format!("receive {me}"));
        end_with("receive thread", receive.run());
    });
    pool.execute(move || {
        set_name(&format!("send {me}"));
        match Serving::join(log, me, config, network, inherited) {
            Ok(serving) => end_with("send thread", send_thread::run(log, me, serving, &queue)),
            Err(error) => {
                log::error!("{error}");
                exit_now(1);
            }
        }
    });
    Ok(pool)
}

/// A worker with one thread is worse than none.
fn end_with(thread: &str, result: nix::Result<()>) {
    if let Err(errno) = result {
        log::error!("the {thread} cannot wait for events: {errno}");
    }
    exit_now(1);
}
