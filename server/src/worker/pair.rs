//! A receive thread and a send thread, joined by a queue, which serve all connections of a worker.
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
//! The process's main thread only joins them.

use super::receive_thread::{Ended, ReceiveThread, Wiring};
use super::send_thread::{self, EpollSockets};
use super::serving::ServingConfig;
use super::supervisor_channel::SupervisorChannel;
use super::takeover;
use super::wait::unless_interrupted;
use super::{FINISHED, Inherited, Start, udp_socket};
use crate::ipc::doorbell::Doorbell;
use crate::segment::Segment;
use crate::sys::process::exit_now;
use forkchat_common::ids::Slot;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollTimeout};
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::thread;

/// Capacity of the queue between the two threads. A session has at most one input in it, so this
/// bounds the memory.
const QUEUE: usize = 1_024;
/// The capacity for a worker with one connection. The queue allocates all its slots at the start.
const QUEUE_SINGLE: usize = 8;

/// Runs a worker in slot `me` until the process is killed or, if the worker ends with its
/// connections, the last of them has ended. Returns the exit code.
pub fn run(segment: &'static Segment, me: Slot, config: ServingConfig, start: Start) -> i32 {
    // The send thread allocates its own data: the data then lies together in memory, and not in
    // pages that the process still shares with its parent.
    let send = thread::Builder::new()
        .name(format!("send {}", me.worker_number()))
        .spawn(move || or_exit("send", start_and_send(segment, me, config, start)));
    match send.map(thread::JoinHandle::join) {
        // A panic would have ended the process.
        Ok(_) => FINISHED,
        Err(error) => {
            log::error!("cannot start the send thread: {error}");
            1
        }
    }
}

/// Makes the state of both threads, starts the receive thread, and then runs the send thread.
fn start_and_send(
    segment: &'static Segment,
    me: Slot,
    config: ServingConfig,
    start: Start,
) -> io::Result<()> {
    let epoll = || Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC);
    let (input, output): (Arc<Epoll>, Epoll) = (Arc::new(epoll()?), epoll()?);
    // This finds out now, and not at the first client, whether epoll can wait here.
    for epoll in [&input, &output] {
        unless_interrupted(epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO))?;
    }
    let (udp_receiver, udp_sender) =
        start.udp.map(|udp| udp_socket::sides(udp, &output, send_thread::UDP)).transpose()?.unzip();
    let asleep: &'static AtomicU32 = Box::leak(Box::default());
    let receive_bell = Arc::new(Doorbell::new(asleep)?);
    let (inputs, queue) =
        crossbeam_channel::bounded(if start.ends_with_connections { QUEUE_SINGLE } else { QUEUE });
    let (orders, ordered) = crossbeam_channel::unbounded();
    let sockets =
        EpollSockets::new(input.clone(), output, udp_sender, orders, receive_bell.clone());
    let share = |Inherited { session, origin, connection }| Inherited {
        session,
        origin,
        connection: Arc::new(connection),
    };
    let inherited = start.inherited.into_iter().map(Inherited::connected);
    let inherited: Vec<_> = inherited.map(share).collect();
    let wiring = Wiring {
        epoll: input,
        supervisor: SupervisorChannel::new(start.channel, segment),
        inputs,
        orders: ordered,
        bell: receive_bell,
        udp: udp_receiver,
        inherited: inherited.iter().map(|inherited| inherited.connection.clone()).collect(),
        rejected_max: config.rejected_max,
        ends_with_connections: start.ends_with_connections,
    };
    spawn_receive_thread(segment, me, ReceiveThread::new(segment, me, wiring)?)?;
    match takeover::join(segment, me, config, sockets, inherited) {
        Ok(serving) => {
            start.gate.pass();
            Ok(send_thread::run(segment, me, serving, &queue)?)
        }
        Err(error) => {
            log::error!("{error}");
            exit_now(1);
        }
    }
}

fn spawn_receive_thread(
    segment: &'static Segment,
    me: Slot,
    mut receive: ReceiveThread,
) -> io::Result<()> {
    thread::Builder::new().name(format!("receive {}", me.worker_number())).spawn(move || {
        match or_exit("receive", receive.run().map_err(io::Error::from)) {
            // This drops its end of the queue. The send thread notices that between two turns, when
            // it has already woken all processes for its last turn.
            Ended::Finished => drop(receive),
            Ended::SupervisorGone => exit_now(1),
        }
        segment.doorbells.get(me).ring_anyway();
    })?;
    Ok(())
}

/// If one thread fails, the whole process exits: the supervisor then starts a new worker.
fn or_exit<T>(thread: &str, result: io::Result<T>) -> T {
    result.unwrap_or_else(|error| {
        log::error!("the {thread} thread cannot go on: {error}");
        exit_now(1)
    })
}
