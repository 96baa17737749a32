//! The sockets that the server listens on, and accepting.
//!
//! Only the supervisor accepts: with a listener in each worker, a worker's death would reset the
//! connections that wait in its queue.

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

/// Connections that the kernel may hold for us; it caps this at net.core.somaxconn.
const BACKLOG: i32 = 4_096;
/// How long nothing is accepted when the system has no descriptors or memory left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What the kernel is asked to hold for a TCP connection at most, in bytes of each direction. It
/// doubles the number, to count its own structures. A set size keeps it from growing the buffers by
/// itself, to 4 MiB and more: a client that never reads, or sends what may not be read yet, would
/// hold all of that.
const TCP_BUFFER_BYTES: usize = 64 * 1024;
/// The same for the UDP socket: a room's lines for all its UDP members leave in one turn.
const UDP_BUFFER_BYTES: usize = 512 * 1024;
/// What the kernel takes beyond that, since there was still room: a packet of the largest size that
/// it makes (45 KB were measured).
const LAST_PACKET_BYTES: u64 = 64 * 1024;
/// The most that the kernel holds for a connection's unread bytes: in each direction twice what it
/// was asked for, and a last packet.
pub(super) const TCP_KERNEL_BYTES: u64 = 2 * (2 * TCP_BUFFER_BYTES as u64 + LAST_PACKET_BYTES);
/// The same for the UDP socket.
pub(super) const UDP_KERNEL_BYTES: u64 = 2 * (2 * UDP_BUFFER_BYTES as u64 + LAST_PACKET_BYTES);
/// A port that was just used may be held for a moment by processes that die with a server that was
/// killed.
const PORT_WAIT: Duration = Duration::from_secs(1);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Free ports that are tried for a name whose addresses are to have one port.
const FREE_PORTS_TRIED: usize = 16;

/// The listening sockets.
#[derive(Debug)]
pub(super) struct Listeners {
    pub tcp: Vec<Socket>,
    udp: Option<Socket>,
    /// A descriptor to give up when there is no other left, so that one who comes can be told.
    pub reserve: Option<File>,
    pause_end: Option<Instant>,
    /// The operator knows that nobody can be accepted; until one is.
    pub is_accept_failure_logged: bool,
    /// The same of those who can't have a process of their own.
    pub is_fork_failure_logged: bool,
    /// The address that was logged last for opening connections too fast, and when.
    pub too_fast: Option<(AddressBlock, Instant)>,
}

impl Listeners {
    /// Binds what the options say.
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

    /// Has `epoll` tell of new connections.
    pub fn watch(&self, epoll: &Epoll) -> nix::Result<()> {
        self.tcp.iter().try_for_each(|tcp| epoll.add(tcp, readable(LISTENER)))
    }

    /// Transport and address of each.
    pub fn addresses(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        let listening =
            self.tcp.iter().map(|tcp| ("tcp", tcp)).chain(self.udp.iter().map(|udp| ("udp", udp)));
        listening.filter_map(|(transport, socket)| {
            Some((transport, socket.local_addr().ok()?.as_socket()?))
        })
    }

    /// A duplicate of the UDP socket, for the worker that keeps the UDP sessions.
    pub fn udp(&self) -> io::Result<Option<OwnedFd>> {
        self.udp.as_ref().map(|udp| udp.try_clone().map(OwnedFd::from)).transpose()
    }

    /// Nobody comes in any more.
    pub fn close(&mut self) {
        (self.tcp, self.pause_end) = (Vec::new(), None);
    }

    /// When accepting goes on, if it pauses.
    pub fn pause_end(&self) -> Option<Instant> {
        self.pause_end
    }

    /// What the listener at this place among those for TCP is called in records.
    pub fn tcp_listener(&self, index: usize) -> Listener {
        Listener { number: index as u16, protocol: protocol::Protocol::Line }
    }

    /// The same for the UDP socket: its number comes after those.
    pub fn udp_listener(&self) -> Listener {
        self.tcp_listener(self.tcp.len())
    }

    /// Whether accepting pauses, and is to be tried again.
    pub fn is_pause_over(&self) -> bool {
        self.pause_end.is_some_and(|end| end <= Instant::now())
    }

    /// Closes the reserved descriptor, and accepts one of the connections that wait.
    pub fn accept_with_reserve(&mut self) -> Option<(Socket, Origin)> {
        self.reserve = None;
        let accept = |(index, tcp): (usize, &Socket)| Some((index, tcp.accept().ok()?));
        let (index, (socket, from)) = self.tcp.iter().enumerate().find_map(accept)?;
        let peer = from.as_socket().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
        Some((socket, Origin { peer, listener: self.tcp_listener(index) }))
    }

    /// Stops listening for a moment: the connections that wait would wake us again and again for
    /// nothing.
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
            // It was added when the server started.
            let _ = epoll.modify(tcp, &mut EpollEvent::new(events, LISTENER));
        }
    }
}

/// What was given for a transport: a list of addresses for each name, empty if it is off.
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

/// Binds at most so many addresses of each name, those that this machine has.
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
            // Only then both get what is meant for them: by default [::] also takes what comes over
            // IPv4.
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

/// Binds at most so many addresses of one name, all on one port. An address that this machine
/// hasn't is left out if it has another of them.
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
        // The port that the first one got.
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

/// Tries again for a moment while the address is in use.
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

/// Makes a socket at an address; for IPv6 alone if so.
type Make = fn(SocketAddr, bool) -> io::Result<Socket>;

/// What is set here holds for every accepted socket too: Linux copies it.
fn tcp_socket(address: SocketAddr, only_v6: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if only_v6 && address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A server that comes back at once finds its port still held by connections that are ending.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // A chat's lines are small and must not wait for each other.
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
    // Before it listens: the window that is offered to a client is computed from these when it
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
