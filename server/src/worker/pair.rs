//! A receive thread and a send thread joined by a queue, which serve all connections of a worker.
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
//! Both are a thread pool's; the process's first thread only waits for them.

use super::connection::Connection;
use super::receive_thread::{Ended, ReceiveThread, Wiring};
use super::send_thread::{self, Network};
use super::serving::{Serving, ServingConfig};
use super::{FINISHED, Inherited, Start, udp_socket};
use crate::event_log::EventLog;
use crate::ipc::doorbell::Doorbell;
use crate::sys::process::{can_start_threads, exit_now, set_name};
use forkchat_common::ids::Slot;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use threadpool::ThreadPool;

/// Inputs that wait between the two threads. A session has at most one under way, so this bounds the memory that they take.
const QUEUE: usize = 1_024;
/// The same for one connection; the queue has its places from the beginning.
const QUEUE_OF_ONE: usize = 8;

/// A thread's stack. Only what is used of it takes memory.
const STACK_BYTES: usize = 2 << 20;

/// Runs a worker in slot `me` until the process is killed, or its connections are over if it ends with them. Returns its exit code.
pub fn run(log: &'static EventLog, me: Slot, config: ServingConfig, start: Start) -> i32 {
    match start_threads(log, me, config, start) {
        Ok(pool) => {
            pool.join();
            FINISHED
        }
        Err(errno) => {
            log::error!("cannot start: {errno}");
            1
        }
    }
}

fn start_threads(log: &'static EventLog, me: Slot, config: ServingConfig, start: Start) -> nix::Result<ThreadPool> {
    let epoll = || Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC);
    let (input, output) = (Arc::new(epoll()?), epoll()?);
    let (udp_receiver, udp_sender) = start.udp.map(|udp| udp_socket::sides(udp, &output, send_thread::UDP)).transpose()?.unzip();
    let asleep: &'static AtomicU32 = Box::leak(Box::default());
    let receive_bell = Arc::new(Doorbell::new(asleep)?);
    let (inputs, queue) = crossbeam_channel::bounded(if start.ends_with_connections { QUEUE_OF_ONE } else { QUEUE });
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
        ends_with_connections: start.ends_with_connections,
    };
    let mut receive = ReceiveThread::new(log, me, wiring)?;

    if !can_start_threads(2, STACK_BYTES) {
        return Err(Errno::EAGAIN);
    }
    // The thread pool's threads are alike, so each takes the name of what it does.
    let pool = threadpool::Builder::new().num_threads(2).thread_stack_size(STACK_BYTES).build();
    pool.execute(move || {
        set_name(&format!("receive {me}"));
        match or_exit("receive thread", receive.run()) {
            // Its end of the queue goes with it, which the send thread sees between two turns: whom its last one had to wake is awake then.
            Ended::Finished => drop(receive),
            Ended::SupervisorGone => exit_now(1),
        }
        log.bell(me).ring_anyway();
    });
    pool.execute(move || {
        set_name(&format!("send {me}"));
        match Serving::join(log, me, config, network, inherited) {
            Ok(serving) => or_exit("send thread", send_thread::run(log, me, serving, &queue)),
            Err(error) => {
                log::error!("{error}");
                exit_now(1);
            }
        }
    });
    Ok(pool)
}

/// A worker with one thread is worse than none.
fn or_exit<T>(thread: &str, result: nix::Result<T>) -> T {
    result.unwrap_or_else(|errno| {
        log::error!("the {thread} cannot wait for events: {errno}");
        exit_now(1)
    })
}
