//! The send thread is the only thread of a worker that appends to the log and writes to clients. It
//! waits for input and events, and then runs [`Serving::turn`].

use super::connection::{Connection, lines_per_peek};
use super::input::Input;
use super::order::Order;
use super::routes::{Route, Routes};
use super::serving::Serving;
use super::sockets::{Sockets, Written};
use super::udp_socket::UdpSender;
use super::wait::{milliseconds, unless_interrupted};
use crate::chat::Ending;
use crate::ipc::doorbell::Doorbell;
use crate::segment::{Segment, Thread};
use crate::sys::socket::send_at_once;
use crate::sys::tcp_position::{Positions, positions};
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use forkchat_common::endpoint::UdpPath;
use forkchat_common::ids::{SessionId, Slot};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::socket::{Shutdown, shutdown};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

/// The most inputs that are taken from the queue in one turn.
const INPUTS_PER_TURN: usize = 256;
const BELL: u64 = u64::MAX;
/// The epoll token of the UDP socket, when it accepts more output.
pub const UDP: u64 = u64::MAX - 1;

/// Runs until the receive thread has ended and dropped its end of the queue.
pub fn run(
    segment: &'static Segment,
    me: Slot,
    mut serving: Serving<EpollSockets>,
    inputs: &Receiver<Input<Arc<Connection>>>,
) -> nix::Result<()> {
    let mut events = [EpollEvent::empty(); 256];
    let bell = segment.doorbells.get(me);
    serving.sockets().output.add(bell, EpollEvent::new(EpollFlags::EPOLLIN, BELL))?;
    loop {
        segment.heartbeats.begin_turn(me, Thread::Send);
        if segment.heartbeats.answer(me, Thread::Send) {
            serving.sockets().receive_bell.ring_anyway();
        }
        for _ in 0..INPUTS_PER_TURN {
            if !serving.takes_input() {
                break;
            }
            match inputs.try_recv() {
                Ok(input) => serving.accept(input),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
        serving.turn();
        segment.heartbeats.end_turn(me, Thread::Send);
        let asleep =
            serving.before_wait(bell, |serving| serving.takes_input() && !inputs.is_empty());
        let count =
            unless_interrupted(serving.sockets().output.wait(&mut events, milliseconds(asleep)))?;
        serving.after_wait(bell, asleep);
        for event in &events[..count] {
            match event.data() {
                BELL => bell.drain(),
                UDP => serving
                    .sockets()
                    .take_blocked_over_udp()
                    .into_iter()
                    .for_each(|session| serving.writable(session)),
                session => serving.writable(SessionId(session)),
            }
        }
    }
}

/// A worker's sockets as the send thread uses them.
#[derive(Debug)]
pub struct EpollSockets {
    /// The receive thread's epoll instance. This thread arms sockets in it directly, since waking
    /// the receive thread to do it would cost a hundred times as much.
    input: Arc<Epoll>,
    /// This thread's epoll instance: its doorbell, and the sockets that accepted no more output.
    output: Epoll,
    routes: Routes<Stream>,
    udp: Option<UdpSender>,
    orders: Sender<Order>,
    receive_bell: Arc<Doorbell>,
}

/// A connection, and whether `EpollSockets::output` watches it: from the first time that its socket was
/// full.
#[derive(Debug)]
struct Stream {
    connection: Arc<Connection>,
    is_watched: bool,
}

impl EpollSockets {
    /// No connections. `output` is the send thread's own epoll instance.
    pub fn new(
        input: Arc<Epoll>,
        output: Epoll,
        udp: Option<UdpSender>,
        orders: Sender<Order>,
        receive_bell: Arc<Doorbell>,
    ) -> EpollSockets {
        EpollSockets { input, output, routes: Routes::default(), udp, orders, receive_bell }
    }

    fn connection(&mut self, session: SessionId) -> Option<&Arc<Connection>> {
        self.routes.stream(session).map(|stream| &stream.connection)
    }

    fn take_blocked_over_udp(&mut self) -> Vec<SessionId> {
        self.udp.as_mut().map(UdpSender::take_blocked).unwrap_or_default()
    }

    fn order(&self, order: Order) {
        // The receive thread ends only with the process.
        let _ = self.orders.send(order);
        self.receive_bell.ring();
    }
}

impl Sockets for EpollSockets {
    type Connection = Arc<Connection>;

    fn add(&mut self, session: SessionId, connection: Arc<Connection>) {
        self.routes.insert(session, Route::Stream(Stream { connection, is_watched: false }));
    }

    fn add_peer(&mut self, session: SessionId, path: UdpPath) {
        self.routes.insert(session, Route::Datagrams(path));
    }

    fn write(&mut self, session: SessionId, bytes: &[u8], number: u64) -> Written {
        match self.routes.get(session) {
            None => Written::Gone,
            Some(&mut Route::Datagrams(path)) => self
                .udp
                .as_mut()
                .map_or(Written::Gone, |udp| udp.write(session, path, bytes, number, &self.output)),
            Some(Route::Stream(Stream { connection, is_watched })) => {
                match send_at_once(connection.as_fd(), bytes) {
                    Ok(written) => Written::Bytes(written),
                    Err(Errno::EAGAIN) => {
                        let mut event = EpollEvent::new(
                            EpollFlags::EPOLLOUT | EpollFlags::EPOLLONESHOT,
                            session.0,
                        );
                        let was_watched = std::mem::replace(is_watched, true);
                        let watched = if was_watched {
                            self.output.modify(&*connection, &mut event)
                        } else {
                            self.output.add(&*connection, event)
                        };
                        if watched.is_err() {
                            // No event would report that it accepts more. The shutdown ends the
                            // input, and the end of the input closes the session.
                            let _ = shutdown(connection.as_fd().as_raw_fd(), Shutdown::Both);
                            return Written::Gone;
                        }
                        Written::Blocked
                    }
                    Err(_) => Written::Gone,
                }
            }
        }
    }

    fn unread(&mut self, session: SessionId) -> usize {
        self.connection(session).map_or(0, |connection| connection.unread())
    }

    fn consume(&mut self, session: SessionId, len: usize) {
        if let Some(connection) = self.connection(session) {
            connection.consume(len);
        }
    }

    fn arm(&mut self, session: SessionId, lines_max: u64) -> bool {
        let connection = self.connection(session).cloned();
        connection
            .is_none_or(|connection| connection.arm(&self.input, 0, lines_per_peek(lines_max)))
    }

    fn watch(&mut self, session: SessionId) {
        if let Some(connection) = self.connection(session).cloned() {
            // If epoll fails, the reset is found when the input is read again.
            connection.watch(&self.input);
        }
    }

    fn finish(&mut self, session: SessionId, ending: Ending) {
        if let Some(Route::Stream(Stream { connection, is_watched })) = self.routes.take(session) {
            if is_watched {
                // The registration must be removed first: it would outlive this descriptor, because
                // the supervisor has a duplicate.
                let _ = self.output.delete(&connection);
            }
            self.order(Order::Finish { session, ending });
        }
    }

    fn positions(&mut self, session: SessionId) -> Option<Positions> {
        let found = positions(self.connection(session)?.as_fd());
        found
            .inspect_err(|errno| {
                log::error!("cannot read the kernel's counters of session {session}: {errno}")
            })
            .ok()
    }

    fn resume_input(&mut self, session: SessionId, taken: u64, in_long_line: bool) {
        if let Some(connection) = self.connection(session) {
            connection.resume(taken, in_long_line);
        }
    }

    fn answer_unknown_peer(&mut self, path: UdpPath, bytes: &[u8]) {
        if let Some(udp) = &self.udp {
            // Lost if the socket is full: the client sends its datagram again.
            let _ = udp.send(path, bytes);
        }
    }

    fn drained(&mut self) {
        self.order(Order::Drained);
    }
}
