//! The receive thread reads the supervisor's messages, peeks at the clients' input, and passes it
//! to the send thread through a queue.
//!
//! It leaves all lines in the kernel; the send thread consumes them when their records are in the
//! log. It begins and ends each connection: it receives the socket from the supervisor, and closes
//! it when the send thread has written the last byte, as [`closing`](super::closing) describes.

use super::closing::{Closing, Step};
use super::connection::{Connection, WATCHED};
use super::input::{Input, PEEK_BYTES_MAX};
use super::order::Order;
use super::peek::{Look, look};
use super::rejecting::Rejecting;
use super::supervisor_channel::{FromSupervisor, SupervisorChannel};
use super::timers::Timers;
use super::udp_socket::{DATAGRAM_BYTES_MAX, UdpReceiver};
use super::wait::{milliseconds, unless_interrupted};
use crate::chat::Ending;
use crate::ipc::doorbell::Doorbell;
use crate::segment::{Segment, Thread};
use crossbeam_channel::{Receiver, Sender};
use forkchat_common::endpoint::Origin;
use forkchat_common::ids::{SessionId, Slot};
use forkchat_common::limits::LINE_BYTES_MAX;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags, EpollTimeout};
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// After an event without new input, the socket is armed again only after this time.
const QUIET: Duration = Duration::from_millis(50);
/// How long it pauses to gather events while the send thread is busy. With a longer pause the send
/// thread would wait for it; with a shorter one fewer events share a turn.
const GATHER: Duration = Duration::from_micros(200);
/// How often it answers the watchdog while it waits for room in the queue.
const ANSWER_INTERVAL: Duration = Duration::from_millis(200);
/// The most events that one call of epoll returns.
const EVENTS: usize = 256;
/// Bytes of one peek in a worker with a single connection: more than a line.
const PEEK_BYTES_SINGLE: usize = 2 * LINE_BYTES_MAX;
/// The most messages, and the most datagrams, that are taken in one turn.
const BATCH: usize = 64;

const CHANNEL: u64 = u64::MAX;
const BELL: u64 = u64::MAX - 1;
const UDP: u64 = u64::MAX - 2;

/// The receive thread's connections to the rest of the worker and to the supervisor.
#[derive(Debug)]
pub struct Wiring {
    /// The receive thread's epoll instance, in which the send thread arms sockets.
    pub epoll: Arc<Epoll>,
    /// The messages to and from the supervisor.
    pub supervisor: SupervisorChannel,
    /// The queue to the send thread.
    pub inputs: Sender<Input<Arc<Connection>>>,
    /// The orders of the send thread.
    pub orders: Receiver<Order>,
    /// The doorbell that the send thread rings after an order.
    pub bell: Arc<Doorbell>,
    /// The UDP socket, for the worker that has the UDP sessions.
    pub udp: Option<UdpReceiver>,
    /// The predecessor's connections. The send thread arms those whose sessions continue, and ends
    /// the others.
    pub inherited: Vec<Arc<Connection>>,
    /// The most rejected connections that may be open at a time.
    pub rejected_max: usize,
    /// Whether the thread ends when no connection is left.
    pub ends_with_connections: bool,
}

/// Why the receive thread ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// No connection is left, and the supervisor has been notified.
    Finished,
    /// The supervisor is gone, so this process must exit.
    SupervisorGone,
}

/// The receive thread's state.
#[derive(Debug)]
pub struct ReceiveThread {
    segment: &'static Segment,
    me: Slot,
    epoll: Arc<Epoll>,
    supervisor: SupervisorChannel,
    inputs: Sender<Input<Arc<Connection>>>,
    orders: Receiver<Order>,
    bell: Arc<Doorbell>,
    udp: Option<UdpReceiver>,
    /// The connections, by session id.
    table: HashMap<u64, Receiving>,
    rejecting: Rejecting,
    ends_with_connections: bool,
    timers: Timers<Instant, (u64, Timer)>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Receiving {
    connection: Arc<Connection>,
    /// Bytes of an unfinished line that the last peek saw.
    seen: usize,
    /// Set when the session is over.
    closing: Option<Closing>,
    /// The time of its last [`Timer::Close`].
    close_timer: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Arm,
    Close,
}

impl ReceiveThread {
    /// Makes the thread's state, and registers its descriptors with epoll.
    pub fn new(segment: &'static Segment, me: Slot, wiring: Wiring) -> nix::Result<ReceiveThread> {
        let Wiring {
            epoll,
            supervisor,
            inputs,
            orders,
            bell,
            udp,
            inherited,
            rejected_max,
            ends_with_connections,
        } = wiring;
        let readable = |token| EpollEvent::new(EpollFlags::EPOLLIN, token);
        epoll.add(&supervisor, readable(CHANNEL))?;
        epoll.add(bell.as_fd(), readable(BELL))?;
        if let Some(udp) = &udp {
            epoll.add(udp.as_fd(), readable(UDP))?;
        }
        let buffer_bytes = match (&udp, ends_with_connections) {
            (Some(_), _) => DATAGRAM_BYTES_MAX,
            (None, false) => PEEK_BYTES_MAX,
            (None, true) => PEEK_BYTES_SINGLE,
        };
        Ok(ReceiveThread {
            segment,
            me,
            epoll,
            supervisor,
            inputs,
            orders,
            bell,
            udp,
            table: inherited
                .into_iter()
                .map(|connection| (connection.session.0, Receiving::new(connection)))
                .collect(),
            rejecting: Rejecting::new(rejected_max),
            ends_with_connections,
            timers: Timers::default(),
            buffer: vec![0; buffer_bytes],
        })
    }

    /// Runs until the supervisor is gone, or the last connection has ended if the worker ends with
    /// its connections.
    pub fn run(&mut self) -> nix::Result<Ended> {
        let mut events = [EpollEvent::empty(); 2 * EVENTS];
        loop {
            let count = self.wait(&mut events)?;
            self.segment.heartbeats.begin_turn(self.me, Thread::Receive);
            self.segment.heartbeats.answer(self.me, Thread::Receive);
            for event in &events[..count] {
                match event.data() {
                    BELL => self.bell.drain(),
                    CHANNEL => {
                        if !self.receive_from_supervisor() {
                            return Ok(Ended::SupervisorGone);
                        }
                    }
                    UDP => self.receive_datagrams(),
                    token => self.look(token, event.events()),
                }
            }
            while let Ok(order) = self.orders.try_recv() {
                self.carry_out(order);
            }
            self.run_timers();
            self.rejecting.close_finished();
            self.supervisor.flush_reports(self.has_connections());
            // Rings once for all input that was found, so that the send thread handles it in one
            // turn.
            self.segment.doorbells.ring(self.me);
            self.segment.heartbeats.end_turn(self.me, Thread::Receive);
            if self.ends_with_connections && !self.has_connections() && self.supervisor.is_flushed()
            {
                return Ok(Ended::Finished);
            }
        }
    }

    /// Waits for events. While the send thread is busy, it waits a moment longer: the send thread
    /// couldn't take the input now, and input that arrives in that moment joins it. Otherwise each
    /// line would get a turn of its own, and a write to each of its receivers.
    fn wait(&mut self, events: &mut [EpollEvent; 2 * EVENTS]) -> nix::Result<usize> {
        self.bell.before_sleep();
        let timeout = if self.orders.is_empty() { self.next_timer() } else { Duration::ZERO };
        let mut count =
            unless_interrupted(self.epoll.wait(&mut events[..EVENTS], milliseconds(timeout)))?;
        if count > 0 && self.segment.heartbeats.busy_beat(self.me, Thread::Send).is_some() {
            std::thread::sleep(GATHER);
            count += unless_interrupted(self.epoll.wait(&mut events[count..], EpollTimeout::ZERO))?;
        }
        self.bell.after_sleep();
        Ok(count)
    }

    /// False if the supervisor is gone.
    fn receive_from_supervisor(&mut self) -> bool {
        for _ in 0..BATCH {
            match self.supervisor.receive() {
                FromSupervisor::Serve(session, origin, socket) => {
                    self.serve(session, origin, socket)
                }
                FromSupervisor::Reject(socket, reason) => self.rejecting.reject(socket, &reason),
                FromSupervisor::Empty => break,
                FromSupervisor::Closed => return false,
            }
        }
        true
    }

    /// Begins a new connection, together with the input that has already arrived.
    fn serve(&mut self, session: SessionId, origin: Origin, socket: OwnedFd) {
        let connection = Arc::new(Connection::new(session, origin.listener.protocol, socket));
        let lines =
            look(self.segment, self.me, &connection, &mut self.buffer, EpollFlags::empty()).lines();
        self.table.insert(session.0, Receiving::new(connection.clone()));
        self.enqueue(Input::Opened { session, origin, connection, lines });
    }

    /// Handles an event of a client's socket.
    fn look(&mut self, token: u64, flags: EpollFlags) {
        let is_watched = token & WATCHED != 0;
        let token = token & !WATCHED;
        let Some(receiving) = self.table.get_mut(&token) else { return };
        if receiving.closing.is_some() {
            return self.continue_closing(token);
        }
        if is_watched {
            let session = receiving.connection.session;
            return self.enqueue(Input::Broken { session });
        }
        let seen = std::mem::take(&mut receiving.seen);
        match look(self.segment, self.me, &receiving.connection, &mut self.buffer, flags) {
            Look::Lines(lines) => {
                let session = receiving.connection.session;
                self.enqueue(Input::Lines { session, lines });
            }
            Look::Skipped => self.arm(token),
            Look::Nothing { rest } => {
                receiving.seen = rest;
                if rest > seen {
                    self.arm(token);
                } else {
                    self.timers.set(Instant::now() + QUIET, (token, Timer::Arm));
                }
            }
        }
    }

    fn receive_datagrams(&mut self) {
        let Some(udp) = self.udp.clone() else { return };
        for (path, bytes) in std::iter::from_fn(|| udp.receive(&mut self.buffer)).take(BATCH) {
            // If the queue is full the datagram is lost, as datagrams may be.
            let _ = self.inputs.try_send(Input::Datagram { path, bytes });
        }
    }

    /// Puts input into the queue. Waits if the queue is full: TCP then slows the clients down.
    fn enqueue(&mut self, input: Input<Arc<Connection>>) {
        if let Err(crossbeam_channel::TrySendError::Full(mut input)) = self.inputs.try_send(input) {
            self.segment.heartbeats.end_turn(self.me, Thread::Receive);
            self.segment.doorbells.ring(self.me);
            // The only other error is that the send thread is gone, and with it the process.
            while let Err(crossbeam_channel::SendTimeoutError::Timeout(same)) =
                self.inputs.send_timeout(input, ANSWER_INTERVAL)
            {
                self.segment.heartbeats.answer(self.me, Thread::Receive);
                input = same;
            }
            self.segment.heartbeats.begin_turn(self.me, Thread::Receive);
        }
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Finish { session, ending: Ending::Finish } => self.begin_closing(session.0),
            Order::Finish { session, ending: Ending::Drop } => {
                // The client doesn't read. The kernel discards its unsent output when the last
                // descriptor is closed.
                self.reset(session.0);
            }
            Order::Drained => self.supervisor.drained(),
        }
    }

    /// Begins to close a connection: its session is over, and all its output is written.
    fn begin_closing(&mut self, token: u64) {
        let Some(receiving) = self.table.get_mut(&token) else { return };
        receiving.closing = Some(Closing::begin(&receiving.connection));
        receiving.seen = 0;
        self.continue_closing(token);
    }

    fn continue_closing(&mut self, token: u64) {
        let Some(receiving) = self.table.get_mut(&token) else { return };
        let Some(closing) = &mut receiving.closing else { return };
        match closing.step(&receiving.connection) {
            Step::Wait(until) => {
                // Sets no second timer for the same time.
                if receiving.close_timer.replace(until) != Some(until) {
                    self.timers.set(until, (token, Timer::Close));
                }
                self.arm(token);
            }
            Step::Close => self.end(token),
            Step::Reset => self.reset(token),
        }
    }

    fn has_connections(&self) -> bool {
        !self.table.is_empty() || !self.rejecting.is_empty()
    }

    /// Ends a connection with a reset.
    fn reset(&mut self, token: u64) {
        if let Some(receiving) = self.table.get(&token) {
            receiving.connection.reset_when_closed();
        }
        self.end(token);
    }

    /// Requests an event for more input than has been seen. If epoll fails, tries again later.
    fn arm(&mut self, token: u64) {
        let Some(receiving) = self.table.get(&token) else { return };
        let (seen, lines_max) = (receiving.seen, receiving.connection.lines_max() as u32);
        if !receiving.connection.arm(&self.epoll, seen, lines_max) {
            self.timers.set(Instant::now() + QUIET, (token, Timer::Arm));
        }
    }

    /// Removes a connection, and reports that to the supervisor, which closes the last descriptor.
    fn end(&mut self, token: u64) {
        let Some(receiving) = self.table.remove(&token) else { return };
        receiving.connection.disarm(&self.epoll);
        self.supervisor.closed(receiving.connection.session);
    }

    fn run_timers(&mut self) {
        let now = Instant::now();
        while let Some((token, timer)) = self.timers.take_due(now) {
            match timer {
                Timer::Close => self.continue_closing(token),
                Timer::Arm => self.arm(token),
            }
        }
    }

    fn next_timer(&self) -> Duration {
        let until = |at: Instant| at.saturating_duration_since(Instant::now());
        let timer = self.timers.next().map_or(Duration::MAX, until);
        self.supervisor.retry_in().min(timer).min(self.rejecting.next_check())
    }
}

impl Receiving {
    fn new(connection: Arc<Connection>) -> Receiving {
        Receiving { connection, seen: 0, closing: None, close_timer: None }
    }
}
