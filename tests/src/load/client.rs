//! One client of the load generator: its socket, the bytes that it still has to send, and the
//! beginning of a line that it has received.

use super::chat_protocol::Login;
use super::sequence_tracker::SequenceTracker;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// The longest datagram that a client sends.
const DATAGRAM_BYTES_MAX: usize = 8 << 10;
/// The receive buffer of a UDP client, in bytes; the system may allow less.
const UDP_RECEIVE_BYTES: usize = 4 << 20;
/// The first datagram of a UDP client. A server that does not know the address answers with a
/// cookie. A server that knows the address answers the pings. The cookie must not be longer than
/// the datagram.
const UDP_GREETING: &[u8] = b"/ping ready\n/ping is anybody there\n";

/// A connection.
#[derive(Debug)]
pub struct Client {
    /// Non-blocking.
    pub socket: Socket,
    /// Its role.
    pub role: Role,
    /// What it is doing.
    pub stage: Stage,
    /// What it has received from its room's senders.
    pub tracker: SequenceTracker,
    /// The beginning of a line that was received.
    pub unfinished: Vec<u8>,
    /// Bytes that the socket has not accepted yet.
    pub unsent: Vec<u8>,
    /// The lines of its login.
    login: Login,
    /// Whether it has sent its login.
    pub is_login_sent: bool,
    /// Whether the socket accepts no more bytes for now.
    pub is_blocked: bool,
    is_udp: bool,
}

/// The role of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A member of a room from the first line to the last. The index of its room.
    Member(usize),
    /// A member that joins while others send lines, and leaves again. The index of its room.
    Visitor(usize),
    /// It is connected and does nothing.
    Idle,
}

/// What a client is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It logs in. Since this time, in ns.
    LoggingIn(u64),
    /// It is in its room.
    Ready,
    /// It has asked the server to end the connection.
    Leaving,
    /// Its connection has ended.
    Gone,
}

/// The addresses of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// The server's address.
    pub to: SocketAddr,
    /// The client's address; `None` if the system may choose it.
    pub from: Option<IpAddr>,
}

impl Client {
    /// Starts to connect and to log in.
    pub fn connect(
        way: Way,
        is_udp: bool,
        role: Role,
        tracker: SequenceTracker,
        login: Login,
        now: u64,
    ) -> io::Result<Client> {
        let address = way.to;
        let (kind, protocol) =
            if is_udp { (Type::DGRAM, Protocol::UDP) } else { (Type::STREAM, Protocol::TCP) };
        let socket = Socket::new(Domain::for_address(address), kind.nonblocking(), Some(protocol))?;
        if let Some(from) = way.from {
            socket.bind(&SocketAddr::new(from, 0).into())?;
        }
        if is_udp {
            socket.set_recv_buffer_size(UDP_RECEIVE_BYTES)?;
            socket.connect(&address.into())?;
        } else {
            socket.set_tcp_nodelay(true)?;
            match socket.connect(&address.into()) {
                Err(error) if error.raw_os_error() == Some(Errno::EINPROGRESS as i32) => {}
                result => result?,
            }
        }
        Ok(Client {
            socket,
            role,
            stage: Stage::LoggingIn(now),
            tracker,
            unfinished: Vec::new(),
            unsent: Vec::new(),
            login,
            is_login_sent: false,
            is_blocked: false,
            is_udp,
        })
    }

    /// Over UDP: requests a cookie, or an answer if the server already knows this client.
    pub fn request_cookie(&mut self) {
        self.unsent.extend_from_slice(UDP_GREETING);
    }

    /// Sends the login. Over UDP the cookie comes before it in the same datagram.
    pub fn send_login(&mut self, greeting: &[u8]) {
        self.unsent.extend_from_slice(greeting);
        self.unsent.extend_from_slice(if greeting.is_empty() { b"" } else { b"\n" });
        self.unsent.extend_from_slice(self.login.first.as_bytes());
        self.is_login_sent = true;
    }

    /// Sends the rest of the login, when the server has welcomed the client.
    pub fn continue_login(&mut self) {
        self.unsent.extend_from_slice(self.login.then.as_bytes());
    }

    /// Sends as much as the socket accepts.
    pub fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() && !self.is_blocked {
            let length = if self.is_udp { datagram_of(&self.unsent) } else { self.unsent.len() };
            match send(
                self.socket.as_raw_fd(),
                &self.unsent[..length],
                MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
            ) {
                Ok(sent) if sent == self.unsent.len() => self.unsent.clear(),
                Ok(sent) => drop(self.unsent.drain(..sent)),
                // ENOTCONN: it is still connecting.
                Err(Errno::EAGAIN | Errno::ENOTCONN) => self.is_blocked = true,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Whether it is a member from the first line to the last.
    pub fn is_member(&self) -> bool {
        matches!(self.role, Role::Member(_))
    }

    /// The room whose lines it must receive.
    pub fn room(&self) -> Option<usize> {
        match self.role {
            Role::Member(room) | Role::Visitor(room) => Some(room),
            Role::Idle => None,
        }
    }
}

/// How many bytes fit a datagram, in whole lines.
fn datagram_of(lines: &[u8]) -> usize {
    memchr::memrchr(b'\n', &lines[..lines.len().min(DATAGRAM_BYTES_MAX)])
        .map_or(lines.len(), |end| end + 1)
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Passes each whole line of `unfinished` and the following `bytes` to `each`, without its LF.
/// Leaves the rest in `unfinished`. Stops at the first error.
pub fn each_line<E>(
    unfinished: &mut Vec<u8>,
    bytes: &[u8],
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let joined;
    let mut whole = bytes;
    if !unfinished.is_empty() {
        joined = [&std::mem::take(unfinished), bytes].concat();
        whole = &joined;
    }
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', whole) {
        each(&whole[start..end])?;
        start = end + 1;
    }
    unfinished.extend_from_slice(&whole[start..]);
    Ok(())
}
