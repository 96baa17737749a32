//! The receive thread: reads the supervisor's messages, peeks at the clients' input, and hands it
//! to the send thread through the queue.
//!
//! It takes no line out of the kernel: the send thread does that, when the records are in the log.
//! It opens and closes each connection: it gets the socket from the supervisor, and closes it when
//! the send thread has written the last byte, as [`closing`](super::closing) describes.

use super::closing::{Closing, Step};
use super::connection::{Connection, WATCHED};
use super::input::{Input, PEEK_BYTES_MAX};
use super::order::Order;
use super::peek::{Look, look};
use super::rejecting::Rejecting;
use super::supervisor_channel::{Heard, SupervisorChannel};
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

/// An event that brought nothing new is not armed again at once.
const QUIET: Duration = Duration::from_millis(50);
/// How long it looks away while the send thread is at work. Longer, and the send thread would wait
/// for it; shorter, and less is gathered.
const GATHER: Duration = Duration::from_micros(200);
/// How often it answers the supervisor while it waits for the send thread.
const SIGN_OF_LIFE: Duration = Duration::from_millis(200);
/// Events that are taken from epoll at a time.
const EVENTS: usize = 256;
/// Bytes that are looked at at a time by one who has one connection: more than a line.
const PEEK_BYTES_OF_ONE: usize = 2 * LINE_BYTES_MAX;
/// Messages, and datagrams, that are taken in one turn.
const BATCH: usize = 64;

const CHANNEL: u64 = u64::MAX;
const BELL: u64 = u64::MAX - 1;
const UDP: u64 = u64::MAX - 2;

/// What joins the receive thread to everyone else.
#[derive(Debug)]
pub struct Wiring {
    /// Its own; the send thread arms sockets in it.
    pub epoll: Arc<Epoll>,
    /// To and from the supervisor.
    pub supervisor: SupervisorChannel,
    /// To the send thread.
    pub inputs: Sender<Input<Arc<Connection>>>,
    /// From the send thread.
    pub orders: Receiver<Order>,
    /// The send thread rings when there are orders.
    pub bell: Arc<Doorbell>,
    /// For the worker that keeps the UDP sessions.
    pub udp: Option<UdpReceiver>,
    /// What a predecessor was given. The send thread arms those whose sessions go on, and ends the
    /// others.
    pub inherited: Vec<Arc<Connection>>,
    /// Rejected connections that may be open at a time.
    pub rejected_max: usize,
    /// Whether it ends when no connection is left.
    pub ends_with_connections: bool,
}

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// No connection is left, and the supervisor knows.
    Finished,
    /// That is the end of the process.
    SupervisorGone,
}

/// What the receive thread works with.
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
    /// By session id.
    table: HashMap<u64, Receiving>,
    rejecting: Rejecting,
    ends_with_connections: bool,
    timers: Timers<Instant, (u64, Timer)>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Receiving {
    connection: Arc<Connection>,
    /// Bytes that were there at the last look and made no whole line.
    seen: usize,
    /// The session is over.
    closing: Option<Closing>,
    /// The time for which its last [`Timer::Close`] is set.
    close_timer: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Arm,
    Close,
}

impl ReceiveThread {
    /// Ready to run.
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
            (None, true) => PEEK_BYTES_OF_ONE,
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

    /// Runs until there is nothing more to do.
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
                        if !self.listen_to_supervisor() {
                            return Ok(Ended::SupervisorGone);
                        }
                    }
                    UDP => self.receive_datagrams(),
                    token => self.look(token, event.events()),
                }
            }
            while let Ok(order) = self.orders.try_recv() {
                self.obey(order);
            }
            self.run_timers();
            self.rejecting.close_finished();
            self.supervisor.tell(self.has_connections());
            // Once, for all that was found: it then shares the work that is the same for many.
            self.segment.doorbells.ring(self.me);
            self.segment.heartbeats.end_turn(self.me, Thread::Receive);
            if self.ends_with_connections && !self.has_connections() && self.supervisor.is_told() {
                return Ok(Ended::Finished);
            }
        }
    }

    /// Waits for something to happen, and while the send thread is at work a moment longer: it
    /// couldn't take what is found now, and what comes meanwhile is found with it. Looked at line
    /// by line, each line would be a turn of its own, and a write to everyone who hears it.
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
    fn listen_to_supervisor(&mut self) -> bool {
        for _ in 0..BATCH {
            match self.supervisor.hear() {
                Heard::Serve(session, origin, socket) => self.serve(session, origin, socket),
                Heard::Reject(socket, reason) => self.rejecting.reject(socket, &reason),
                Heard::Nothing => break,
                Heard::Gone => return false,
            }
        }
        true
    }

    /// A new connection: what is already there comes with it.
    fn serve(&mut self, session: SessionId, origin: Origin, socket: OwnedFd) {
        let connection = Arc::new(Connection::new(session, origin.listener.protocol, socket));
        let lines =
            look(self.segment, self.me, &connection, &mut self.buffer, EpollFlags::empty()).lines();
        self.table.insert(session.0, Receiving::new(connection.clone()));
        self.hand_on(Input::Opened { session, origin, connection, lines });
    }

    /// A client's socket has something to say.
    fn look(&mut self, token: u64, flags: EpollFlags) {
        let is_watched = token & WATCHED != 0;
        let token = token & !WATCHED;
        let Some(receiving) = self.table.get_mut(&token) else { return };
        if receiving.closing.is_some() {
            return self.continue_closing(token);
        }
        if is_watched {
            let session = receiving.connection.session;
            return self.hand_on(Input::Broken { session });
        }
        let seen = std::mem::take(&mut receiving.seen);
        match look(self.segment, self.me, &receiving.connection, &mut self.buffer, flags) {
            Look::Lines(lines) => {
                let session = receiving.connection.session;
                self.hand_on(Input::Lines { session, lines });
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
            // Without room in the queue it is lost, as datagrams are.
            let _ = self.inputs.try_send(Input::Datagram { path, bytes });
        }
    }

    /// Puts something into the queue, waiting if it is full: that holds back the clients, through
    /// TCP.
    fn hand_on(&mut self, input: Input<Arc<Connection>>) {
        if let Err(crossbeam_channel::TrySendError::Full(mut input)) = self.inputs.try_send(input) {
            self.segment.heartbeats.end_turn(self.me, Thread::Receive);
            self.segment.doorbells.ring(self.me);
            // Otherwise it fails only if the send thread is gone, and with it the process.
            while let Err(crossbeam_channel::SendTimeoutError::Timeout(same)) =
                self.inputs.send_timeout(input, SIGN_OF_LIFE)
            {
                self.segment.heartbeats.answer(self.me, Thread::Receive);
                input = same;
            }
            self.segment.heartbeats.begin_turn(self.me, Thread::Receive);
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Finish { session, ending: Ending::Finish } => self.begin_closing(session.0),
            Order::Finish { session, ending: Ending::Drop } => {
                // It doesn't read: what the kernel still holds for it is let go when the last
                // descriptor is closed.
                self.reset(session.0);
            }
            Order::Drained => self.supervisor.drained(),
        }
    }

    /// Everything is written, and the session is over.
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
                // Not once more for each piece of input.
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

    /// Ends a connection so that the peer notices.
    fn reset(&mut self, token: u64) {
        if let Some(receiving) = self.table.get(&token) {
            receiving.connection.reset_when_closed();
        }
        self.end(token);
    }

    /// Has the kernel tell when there is more than what was seen; tries again later if that can't
    /// be had now.
    fn arm(&mut self, token: u64) {
        let Some(receiving) = self.table.get(&token) else { return };
        let (seen, lines_max) = (receiving.seen, receiving.connection.lines_max() as u32);
        if !receiving.connection.arm(&self.epoll, seen, lines_max) {
            self.timers.set(Instant::now() + QUIET, (token, Timer::Arm));
        }
    }

    /// Lets go of a connection. The supervisor is told last, and closes it.
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
        self.supervisor.again().min(timer).min(self.rejecting.next_look())
    }
}

impl Receiving {
    fn new(connection: Arc<Connection>) -> Receiving {
        Receiving { connection, seen: 0, closing: None, close_timer: None }
    }
}
