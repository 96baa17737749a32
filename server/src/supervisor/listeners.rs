//! The sockets that the server listens on.
//!
//! Only the supervisor accepts connections. If each worker had a listener of its own, its death
//! would reset the connections that wait in its queue.

use super::{LISTENER, StartError, readable};
use crate::options::{Listen, Options};
use crate::sys::socket::report_local_address;
use forkchat_common::address::AddressBlock;
use forkchat_common::endpoint::{Listener, Origin};
use forkchat_common::protocol;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Connections that may wait in the kernel's queue. The kernel caps this at net.core.somaxconn.
const BACKLOG: i32 = 4_096;
/// How long accepting pauses when the system has no descriptors or memory left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The size of each of a TCP connection's two kernel buffers, in bytes. The kernel doubles it, to
/// count its own structures. With a fixed size the kernel doesn't grow the buffers by itself, to 4
/// MiB and more. A client that never reads, or that sends more than the server may read yet, would
/// fill all of that.
const TCP_BUFFER_BYTES: usize = 64 * 1024;
/// The same for the UDP socket. It is larger, since a room's lines for all its UDP members are sent
/// in one turn.
const UDP_BUFFER_BYTES: usize = 512 * 1024;
/// What a buffer may hold beyond its size: the kernel still accepts a packet while any room is
/// left. This is a packet of the largest size that the kernel makes (45 KB were measured).
const LAST_PACKET_BYTES: u64 = 64 * 1024;
/// The most bytes that the kernel holds for a connection: in each direction twice the buffer size,
/// and a last packet.
pub(super) const TCP_KERNEL_BYTES: u64 = 2 * (2 * TCP_BUFFER_BYTES as u64 + LAST_PACKET_BYTES);
/// The same for the UDP socket.
pub(super) const UDP_KERNEL_BYTES: u64 = 2 * (2 * UDP_BUFFER_BYTES as u64 + LAST_PACKET_BYTES);
/// How long to wait for a port that is in use. The processes of a server that was just killed may
/// still hold it.
const PORT_WAIT: Duration = Duration::from_secs(1);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How many free ports are tried for a name whose addresses must all have the same port.
const FREE_PORTS_TRIED: usize = 16;

/// The listening sockets.
#[derive(Debug)]
pub(super) struct Listeners {
    pub tcp: Vec<Socket>,
    udp: Option<Socket>,
    /// A descriptor that is closed when no other is left, so that a connection can still be
    /// accepted and rejected with a reason.
    pub reserve: Option<File>,
    pause_end: Option<Instant>,
    /// Whether it was already logged that accepting fails. Reset by the next success.
    pub is_accept_failure_logged: bool,
    /// Whether it was already logged that no worker can be forked for a connection.
    pub is_fork_failure_logged: bool,
    /// The address that was logged last for opening connections too fast, and when.
    pub too_fast: Option<(AddressBlock, Instant)>,
}

impl Listeners {
    /// Binds the addresses that the options name.
    ///
    /// # Errors
    /// If no address is left to listen on, an address can't be bound, or the options contradict
    /// each other.
    pub fn bind(options: &Options) -> Result<Listeners, StartError> {
        let (tcp, udp) = (addresses("tcp", &options.tcp)?, addresses("udp", &options.udp)?);
        if tcp.is_empty() && udp.is_empty() {
            return Err(StartError::NowhereToListen);
        }
        if udp.len() > 1 {
            return Err(StartError::Contradiction(
                "udp",
                "UDP is served on one address; give one, or 0.0.0.0:PORT or [::]:PORT for all",
            ));
        }
        Ok(Listeners {
            tcp: bind_all(&tcp, "tcp", usize::MAX, tcp_socket)?,
            udp: bind_all(&udp, "udp", 1, udp_socket)?.pop(),
            reserve: open_reserve(),
            pause_end: None,
            is_accept_failure_logged: false,
            is_fork_failure_logged: false,
            too_fast: None,
        })
    }

    /// Adds the TCP listeners to `epoll`.
    pub fn watch(&self, epoll: &Epoll) -> nix::Result<()> {
        self.tcp.iter().try_for_each(|tcp| epoll.add(tcp, readable(LISTENER)))
    }

    /// The transport and local address of each socket.
    pub fn addresses(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        let listening =
            self.tcp.iter().map(|tcp| ("tcp", tcp)).chain(self.udp.iter().map(|udp| ("udp", udp)));
        listening.filter_map(|(transport, socket)| {
            Some((transport, socket.local_addr().ok()?.as_socket()?))
        })
    }

    /// A duplicate of the UDP socket, for the worker that has the UDP sessions.
    pub fn udp(&self) -> io::Result<Option<OwnedFd>> {
        self.udp.as_ref().map(|udp| udp.try_clone().map(OwnedFd::from)).transpose()
    }

    /// Closes the TCP listeners: no more connections are accepted.
    pub fn close(&mut self) {
        (self.tcp, self.pause_end) = (Vec::new(), None);
    }

    /// When accepting resumes, if it pauses.
    pub fn pause_end(&self) -> Option<Instant> {
        self.pause_end
    }

    /// The TCP listener with this index, as records name it.
    pub fn tcp_listener(&self, index: usize) -> Listener {
        Listener { number: index as u16, protocol: protocol::Protocol::Line }
    }

    /// The UDP listener, as records name it. Its number follows those of the TCP listeners.
    pub fn udp_listener(&self) -> Listener {
        self.tcp_listener(self.tcp.len())
    }

    /// Whether a pause in accepting has ended.
    pub fn is_pause_over(&self) -> bool {
        self.pause_end.is_some_and(|end| end <= Instant::now())
    }

    /// Closes the reserved descriptor, and accepts one of the waiting connections in its place.
    pub fn accept_with_reserve(&mut self) -> Option<(Socket, Origin)> {
        self.reserve = None;
        let accept = |(index, tcp): (usize, &Socket)| Some((index, tcp.accept().ok()?));
        let (index, (socket, from)) = self.tcp.iter().enumerate().find_map(accept)?;
        let peer = from.as_socket().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
        Some((socket, Origin { peer, listener: self.tcp_listener(index) }))
    }

    /// Pauses accepting. Otherwise the waiting connections would wake the supervisor again and
    /// again for nothing.
    pub fn pause(&mut self, epoll: &Epoll, why: &io::Error) {
        if !std::mem::replace(&mut self.is_accept_failure_logged, true) {
            log::warn!("cannot accept connections: {why}; open connections are not affected");
        }
        self.pause_end = Some(Instant::now() + ACCEPT_PAUSE);
        self.watch_for(epoll, EpollFlags::empty());
    }

    pub fn resume(&mut self, epoll: &Epoll) {
        if self.pause_end.take().is_some() {
            self.watch_for(epoll, EpollFlags::EPOLLIN);
        }
    }

    fn watch_for(&self, epoll: &Epoll, events: EpollFlags) {
        for tcp in &self.tcp {
            // Can't fail: the listener was added at the start.
            let _ = epoll.modify(tcp, &mut EpollEvent::new(events, LISTENER));
        }
    }
}

/// The addresses that were given for a transport, as a list per name. Empty if the transport is
/// off.
fn addresses(
    transport: &'static str,
    given: &[Listen],
) -> Result<Vec<Vec<SocketAddr>>, StartError> {
    let names = given.iter().filter_map(|listen| match listen {
        Listen::On(addresses) => Some(addresses.clone()),
        Listen::Off => None,
    });
    let names: Vec<_> = names.collect();
    if !names.is_empty() && names.len() < given.len() {
        return Err(StartError::Contradiction(transport, "off stands alone"));
    }
    Ok(names)
}

/// Binds at most `each_max` addresses of each name.
fn bind_all(
    names: &[Vec<SocketAddr>],
    transport: &'static str,
    each_max: usize,
    make: Make,
) -> Result<Vec<Socket>, StartError> {
    let mut sockets: Vec<Socket> = Vec::new();
    let mut bound: Vec<SocketAddr> = Vec::new();
    for addresses in names {
        let make = |address: SocketAddr| {
            // By default [::] also receives IPv4 connections. If an IPv4 address with the same port
            // is bound too, each must receive only its own.
            let has_v4 = names.iter().flatten().any(|other| {
                other.is_ipv4() && other.port() == address.port() && address.port() != 0
            });
            make(address, address.ip().is_unspecified() && has_v4)
        };
        let is_new = |address: &SocketAddr| address.port() == 0 || !bound.contains(address);
        let addresses: Vec<SocketAddr> = addresses.iter().copied().filter(is_new).collect();
        sockets.extend(bind_name(&addresses, transport, each_max, make)?);
        bound.extend(addresses);
    }
    Ok(sockets)
}

/// Binds at most `max` addresses of one name, all on one port. An address that this machine doesn't
/// have is left out if another one can be bound.
fn bind_name(
    addresses: &[SocketAddr],
    transport: &'static str,
    max: usize,
    make: impl Fn(SocketAddr) -> io::Result<Socket>,
) -> Result<Vec<Socket>, StartError> {
    let mut free_ports_left = FREE_PORTS_TRIED;
    let (mut sockets, mut missing): (Vec<Socket>, Vec<StartError>) = (Vec::new(), Vec::new());
    let mut index = 0;
    while index < addresses.len() && sockets.len() < max {
        let given = addresses[index];
        // All use the port of the first socket.
        let port = sockets
            .first()
            .and_then(|first| first.local_addr().ok()?.as_socket())
            .map_or(given.port(), |first| first.port());
        let address = SocketAddr::new(given.ip(), port);
        let made = if given.port() == 0 { make(address) } else { when_free(|| make(address)) };
        match made {
            Ok(socket) => sockets.push(socket),
            Err(error)
                if given.port() == 0
                    && error.kind() == io::ErrorKind::AddrInUse
                    && free_ports_left > 0 =>
            {
                free_ports_left -= 1;
                sockets.clear();
                missing.clear();
                index = 0;
                continue;
            }
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT)
                ) =>
            {
                missing.push(StartError::Listen(transport, address, error));
            }
            Err(error) => return Err(StartError::Listen(transport, address, error)),
        }
        index += 1;
    }
    match missing.into_iter().next() {
        Some(error) if sockets.is_empty() => Err(error),
        Some(error) => {
            log::warn!("{error}; the other addresses of the name are served");
            Ok(sockets)
        }
        None => Ok(sockets),
    }
}

/// Calls `make`, and again for a moment while the address is in use.
fn when_free(make: impl Fn() -> io::Result<Socket>) -> io::Result<Socket> {
    let start = Instant::now();
    loop {
        match make() {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && start.elapsed() < PORT_WAIT =>
            {
                std::thread::sleep(POLL_INTERVAL)
            }
            made => return made,
        }
    }
}

/// Creates a socket at an address. The flag restricts an IPv6 socket to IPv6.
type Make = fn(SocketAddr, bool) -> io::Result<Socket>;

/// Creates a TCP listener. Linux copies its options to every accepted socket.
fn tcp_socket(address: SocketAddr, only_v6: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if only_v6 && address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A server that restarts at once finds its port still used by connections that are ending.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Chat lines are small and must not be delayed to be sent together.
    socket.set_tcp_nodelay(true)?;
    // Telnet's Synch sends urgent data; out of line it would be missing from the stream.
    socket.set_out_of_band_inline(true)?;
    // A peer that vanished is noticed after about two minutes.
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(Duration::from_secs(60))
            .with_interval(Duration::from_secs(10))
            .with_retries(6),
    )?;
    // Before listen(2): the window that is offered to a client is computed from these sizes when it
    // connects.
    socket.set_send_buffer_size(TCP_BUFFER_BYTES)?;
    socket.set_recv_buffer_size(TCP_BUFFER_BYTES)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn udp_socket(address: SocketAddr, _: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // The system may allow less (net.core.wmem_max, rmem_max).
    let _ = SockRef::from(&socket).set_send_buffer_size(UDP_BUFFER_BYTES);
    let _ = SockRef::from(&socket).set_recv_buffer_size(UDP_BUFFER_BYTES);
    // On a wildcard address each client is answered from the address that it uses.
    report_local_address(socket.as_fd(), address.is_ipv6())?;
    socket.bind(&address.into())?;
    Ok(socket)
}

pub(super) fn open_reserve() -> Option<File> {
    File::open("/dev/null").ok()
}
