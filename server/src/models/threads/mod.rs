//! `--model threads`: one worker per CPU, and for each of its connections a receive and a send
//! thread that wait for this connection alone.
//!
//! ```text
//!   worker 0                      ┌───────────────────── event log ◄───────┐
//!                           apply │                                 append │
//!                          ┌──────▼──────┐   one at a time (lock)  ┌───────┴────────┐
//!       supervisor ──────► │ main thread │ ◄── "appended" ──────── │ receive thread │ ◄── client: waits, peeks,
//!                          │ applies,    │ ─── "read on" ────────► │ of a client    │     appends, consumes
//!                          │ renders     │                         └────────────────┘
//!                          └──────┬──────┘                         ┌────────────────┐
//!                                 └── bytes, a bounded queue ────► │ send thread    │ ──► client: writes, waits
//!                                                                  │ of a client    │
//!                                                                  └────────────────┘
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `peer` | a connection, shared by its three threads |
//! | `receive` | the receive threads |
//! | `send` | the send threads |
//! | `sockets` | the main thread's side of the connections; the thread pool |
//!
//! Each thread reads like a program for a single client, which is why servers were written this way
//! for decades. The price: two stacks for each connection, and a thread to wake for each line that
//! a client sends and for each client that receives it. The threads come from a thread pool and
//! return to it when the connection is over. There they wait, named `idle`, for the next
//! connection. The pool grows to the largest number of threads that were needed at one time, and
//! does not shrink.

mod peer;
mod receive;
mod send;
mod sockets;

use super::{Model, Placement, Takes};
use crate::segment::{Segment, Thread};
use crate::sys::process::set_name;
use crate::sys::threads::start_threads;
use crate::worker::connection::Connection;
use crate::worker::input::{Input, Lines};
use crate::worker::serving::Serving;
use crate::worker::supervisor_channel::{FromSupervisor, SupervisorChannel};
use crate::worker::takeover;
use crate::worker::wait::{milliseconds, unless_interrupted};
use crate::worker::{Inherited, JoinError, ServingConfig, Start, udp_socket};
use crossbeam_channel::Receiver;
use forkchat_common::ids::Slot;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use peer::{Notice, Worker};
use receive::Datagram;
use sockets::ThreadSockets;
use std::sync::Arc;

/// The row of this model.
pub static MODEL: Model = Model {
    placement: Placement::Shared,
    takes: Takes { descriptors: 1, tasks: 2, bytes: 96 * 1024 },
    run,
};

/// The most messages, and the most datagrams, that are taken in one turn.
const BATCH: usize = 64;
/// The most datagrams that may wait for the main thread. Further datagrams are lost, as datagrams
/// may be.
const DATAGRAMS: usize = 1_024;
const BELL: u64 = u64::MAX;
const CHANNEL: u64 = u64::MAX - 1;
const UDP: u64 = u64::MAX - 2;

/// Runs a worker in slot `me` until the process is killed, its supervisor is gone, or it fails.
/// Returns the exit code.
fn run(segment: &'static Segment, me: Slot, config: ServingConfig, start: Start) -> i32 {
    match MainThread::start(segment, me, config, start) {
        Ok(Ok(mut main)) => match main.run() {
            Ok(()) => log::debug!("the supervisor is gone"),
            Err(errno) => log::error!("cannot wait for events: {errno}"),
        },
        Ok(Err(error)) => log::error!("{error}"),
        Err(errno) => log::error!("cannot start: {errno}"),
    }
    1
}

/// The main thread's state.
struct MainThread {
    segment: &'static Segment,
    me: Slot,
    supervisor: SupervisorChannel,
    /// Waits for the doorbell, the supervisor, and the UDP socket when it was full.
    epoll: Arc<Epoll>,
    serving: Serving<ThreadSockets>,
    notices: Receiver<Notice>,
    datagrams: Receiver<Datagram>,
}

impl MainThread {
    fn start(
        segment: &'static Segment,
        me: Slot,
        config: ServingConfig,
        start: Start,
    ) -> nix::Result<Result<MainThread, JoinError>> {
        if let Err(error) = start_threads(1, sockets::STACK_BYTES) {
            log::error!("cannot start a thread: {error}");
            return Err(Errno::EAGAIN);
        }
        let epoll = Arc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?);
        // This finds out now whether epoll can wait here.
        unless_interrupted(epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO))?;
        let readable = |token| EpollEvent::new(EpollFlags::EPOLLIN, token);
        epoll.add(segment.doorbells.get(me), readable(BELL))?;
        let supervisor = SupervisorChannel::new(start.channel, segment);
        epoll.add(&supervisor, readable(CHANNEL))?;
        let (udp_receiver, udp_sender) =
            start.udp.map(|udp| udp_socket::sides(udp, &epoll, UDP)).transpose()?.unzip();
        let (notify, notices) = crossbeam_channel::unbounded();
        let (datagram_sender, datagrams) = crossbeam_channel::bounded(DATAGRAMS);
        let mut sockets = ThreadSockets::new(
            Worker::new(segment, me, notify),
            epoll.clone(),
            udp_sender,
            config.rejected_max,
        );
        if let Some(udp) = udp_receiver {
            sockets.run(move || {
                set_name(&format!("receive udp {}", me.worker_number()));
                receive::receive_datagrams(segment, me, &udp, &datagram_sender);
            });
        }
        sockets.expect(start.inherited.len());
        let inherited = start.inherited.into_iter().map(Inherited::connected).collect();
        let joined = takeover::join(segment, me, config, sockets, inherited);
        if joined.is_ok() {
            start.gate.pass();
        }
        let main =
            |serving| MainThread { segment, me, supervisor, epoll, serving, notices, datagrams };
        Ok(joined.map(main))
    }

    /// Runs until the supervisor is gone.
    fn run(&mut self) -> nix::Result<()> {
        let mut events = [EpollEvent::empty(); 4];
        let mut has_message = true;
        loop {
            self.segment.heartbeats.begin_turn(self.me, Thread::Send);
            self.segment.heartbeats.answer(self.me, Thread::Send);
            // The watchdog need not wait for a receive thread: each serves one client, and may
            // block for that client.
            self.segment.heartbeats.answer(self.me, Thread::Receive);
            if has_message && !self.receive_from_supervisor() {
                return Ok(());
            }
            self.receive_notices();
            self.serving.turn();
            let sockets = &mut self.serving.sockets();
            sockets.rejecting.close_finished();
            sockets.take_ended().for_each(|session| self.supervisor.closed(session));
            if sockets.take_drained() {
                self.supervisor.drained();
            }
            self.supervisor.flush_reports(sockets.has_connections());
            self.segment.heartbeats.end_turn(self.me, Thread::Send);
            let count = self.wait(&mut events)?;
            let is_ready = |token| events[..count].iter().any(|event| event.data() == token);
            has_message = is_ready(CHANNEL);
            if is_ready(BELL) {
                self.segment.doorbells.get(self.me).drain();
            }
            let blocked = self.serving.sockets().take_blocked(is_ready(UDP));
            blocked.into_iter().for_each(|session| self.serving.writable(session));
        }
    }

    /// False if the supervisor is gone.
    fn receive_from_supervisor(&mut self) -> bool {
        for _ in 0..BATCH {
            match self.supervisor.receive() {
                FromSupervisor::Serve(session, origin, socket) => {
                    let protocol = origin.listener.protocol;
                    let connection = Connection::new(session, protocol, socket);
                    self.serving.accept(Input::Opened {
                        session,
                        origin,
                        connection,
                        lines: Lines::default(),
                    });
                }
                FromSupervisor::Reject(socket, reason) => {
                    self.serving.sockets().rejecting.reject(socket, &reason)
                }
                FromSupervisor::Empty => break,
                FromSupervisor::Closed => return false,
            }
        }
        true
    }

    fn receive_notices(&mut self) {
        while let Ok(notice) = self.notices.try_recv() {
            match notice {
                Notice::Committed { session, end } => {
                    self.serving.accept(Input::Committed { session, end })
                }
                Notice::Broken(session) => self.serving.accept(Input::Broken { session }),
                Notice::Out(session) => self.serving.writable(session),
                Notice::Over(session) => self.serving.sockets().ended(session),
            }
        }
        for _ in 0..BATCH {
            if !self.serving.takes_input() {
                break;
            }
            let Ok(Datagram { path, bytes }) = self.datagrams.try_recv() else { break };
            self.serving.accept(Input::Datagram { path, bytes });
        }
    }

    fn wait(&mut self, events: &mut [EpollEvent]) -> nix::Result<usize> {
        let bell = self.segment.doorbells.get(self.me);
        let asleep = self.serving.before_wait(bell, |serving| {
            !self.notices.is_empty() || serving.takes_input() && !self.datagrams.is_empty()
        });
        let retry_in = self.serving.sockets().retry_in().min(self.supervisor.retry_in());
        let count = unless_interrupted(self.epoll.wait(events, milliseconds(asleep.min(retry_in))));
        self.serving.after_wait(bell, asleep);
        count
    }
}
