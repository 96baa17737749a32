//! Accepting: the supervisor admits each connection and passes it to a worker, or rejects it.

use super::Supervisor;
use super::connections::HeldConnection;
use super::listeners::open_reserve;
use crate::admission::{OPENINGS_PER_SECOND, cause};
use crate::channel::ToWorker;
use crate::models::Placement;
use crate::sys::socket::send_at_once;
use forkchat_common::address::AddressBlock;
use forkchat_common::endpoint::{Origin, plain};
use forkchat_common::event::Rejection;
use socket2::Socket;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Connections that are accepted per listener in one turn. The supervisor takes care of its
/// children between turns.
const ACCEPTS_PER_TURN: usize = 64;
/// An address that keeps opening connections too fast is logged again after this time.
const TOO_FAST_LOG_INTERVAL: Duration = Duration::from_secs(600);

impl Supervisor {
    /// Accepts waiting connections, and passes each to a worker or rejects it.
    pub(super) fn accept(&mut self) {
        self.listeners.resume(&self.epoll);
        for index in 0..self.listeners.tcp.len() {
            if !self.accept_at(index) {
                return;
            }
        }
    }

    /// Accepts waiting connections of one listener. Returns false if accepting pauses.
    fn accept_at(&mut self, index: usize) -> bool {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(tcp) = self.listeners.tcp.get(index) else { return false };
            match tcp.accept() {
                Ok((socket, address)) => {
                    self.listeners.is_accept_failure_logged = false;
                    match address.as_socket() {
                        Some(peer) => {
                            let listener = self.listeners.tcp_listener(index);
                            self.admit(socket, Origin { peer: plain(peer), listener });
                        }
                        None => log::error!("closed a connection that has no address"),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) => match error.raw_os_error() {
                    Some(libc::ECONNABORTED | libc::EINTR | libc::EPROTO) => {}
                    Some(libc::EMFILE | libc::ENFILE) => {
                        self.accept_without_descriptors();
                        return false;
                    }
                    _ => {
                        self.listeners.pause(&self.epoll, &error);
                        return false;
                    }
                },
            }
        }
        true
    }

    fn admit(&mut self, socket: Socket, origin: Origin) {
        let peer = origin.peer;
        match self.admission.admit(peer.ip(), self.segment.clock.uptime()) {
            Ok(()) => self.assign(socket, origin),
            Err(refused) => {
                if refused == Rejection::TooFast {
                    self.log_too_fast(peer.ip());
                }
                self.reject(socket, origin, refused);
            }
        }
    }

    /// Logs that an address opens connections too fast. The same address is logged only once in a
    /// while.
    fn log_too_fast(&mut self, from: IpAddr) {
        let (address, now) = (AddressBlock::of(from), Instant::now());
        if self.listeners.too_fast.is_none_or(|(last, at)| {
            last != address || now.duration_since(at) > TOO_FAST_LOG_INTERVAL
        }) {
            log::warn!(
                "address {address} opens connections too fast; more than {OPENINGS_PER_SECOND} per \
                 second are rejected"
            );
            self.listeners.too_fast = Some((address, now));
        }
    }

    fn assign(&mut self, socket: Socket, origin: Origin) {
        match self.work.model.placement {
            Placement::Shared => self.pass_to_worker(socket, origin),
            Placement::Own => self.fork_worker(socket, origin),
        }
    }

    fn pass_to_worker(&mut self, socket: Socket, origin: Origin) {
        let slot = self.children.least_loaded_worker(&self.connections);
        // It was admitted, and there is a cell for each connection that may be admitted.
        let Some(session) =
            self.connections.insert(HeldConnection::new(socket.into(), origin, slot))
        else {
            return;
        };
        self.children.queue_session(slot, session, ToWorker::Serve { session, origin });
        self.send_backlog();
    }

    /// Forks a worker for a connection. The worker starts as a successor does, with a connection
    /// that the log doesn't know yet.
    fn fork_worker(&mut self, socket: Socket, origin: Origin) {
        let peer = origin.peer;
        let Some(slot) = self.children.take_vacant() else {
            // Too many workers are just ending because their connection has ended.
            self.admission.release(peer.ip());
            return self.reject(socket, origin, Rejection::Full);
        };
        // It was admitted, and there is a cell for each connection that may be admitted.
        let Some(session) =
            self.connections.insert(HeldConnection::new(socket.into(), origin, slot))
        else {
            return;
        };
        match self.spawn(slot) {
            Ok(()) => self.listeners.is_fork_failure_logged = false,
            Err(error) => {
                if !std::mem::replace(&mut self.listeners.is_fork_failure_logged, true) {
                    log::warn!(
                        "cannot fork a worker for a connection: {error}; open connections are not \
                         affected"
                    );
                }
                self.children.vacate(slot);
                if let Some(HeldConnection { socket, .. }) = self.connections.remove(session) {
                    self.admission.release(peer.ip());
                    self.reject(socket.into(), origin, Rejection::NoProcess);
                }
            }
        }
    }

    /// Has a worker send the reason to the client and close the connection. The worker waits for
    /// the client's end of input, which the supervisor must not do.
    fn reject(&mut self, socket: Socket, origin: Origin, why: Rejection) {
        log::debug!("rejected a connection from {}: {}", origin.peer.ip(), cause(why));
        let slot = self.children.least_loaded_worker(&self.connections);
        let reason = origin.listener.protocol.rejection(why);
        if let Err(socket) = self.children.queue_rejection(
            slot,
            ToWorker::Reject { reason: reason.to_owned() },
            socket.into(),
        ) {
            // Too many rejected connections wait already. The send buffer of a new socket has room
            // for a line. But closing it at once may reset the connection if the client has sent
            // something, and the client may then miss the line.
            let _ = send_at_once(socket.as_fd(), reason.as_bytes());
        }
        self.send_backlog();
    }

    /// Rejects one of the waiting connections, with the help of the reserved descriptor.
    fn accept_without_descriptors(&mut self) {
        if let Some((socket, origin)) = self.listeners.accept_with_reserve() {
            self.reject(socket, origin, Rejection::NoDescriptors);
        }
        // The rejected socket has been sent, so its descriptor is free again.
        self.listeners.reserve = open_reserve();
        self.listeners.pause(&self.epoll, &io::Error::from_raw_os_error(libc::EMFILE));
    }
}
