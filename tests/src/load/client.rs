//! One client of the load generator: a socket, and what it has still to send and to understand.

use super::dialect::Login;
use super::ledger::Ledger;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// A datagram with lines is at most so long.
const DATAGRAM_BYTES_MAX: usize = 8 << 10;
/// What a UDP client may have waiting to be read, in bytes; the system may allow less.
const UDP_RECEIVE_BYTES: usize = 4 << 20;
/// To a server that doesn't know the address a stranger's words, longer than its answer, a cookie; to one that does a question whether we are in.
const UDP_KNOCK: &[u8] = b"/ping ready\n/ping is anybody there\n";

/// A connection.
#[derive(Debug)]
pub struct Client {
    /// Its socket, not blocking.
    pub socket: Socket,
    /// What it is there for.
    pub role: Role,
    /// How far it is.
    pub stage: Stage,
    /// What it has seen of its room's senders.
    pub ledger: Ledger,
    /// A line's beginning that has been read.
    pub unfinished: Vec<u8>,
    /// Not yet taken by the socket.
    pub unsent: Vec<u8>,
    /// What it says to be let in.
    login: Login,
    /// Whether it has said that.
    pub has_greeted: bool,
    /// Whether one waits for the socket to take more.
    pub is_blocked: bool,
    is_udp: bool,
}

/// What a client is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A room's member, from the first line to the last. By room.
    Member(usize),
    /// As a member, but comes while the others speak, and goes.
    Visitor(usize),
    /// Nothing.
    Idle,
}

/// How far a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It has sent its login; when it began, in ns.
    LoggingIn(u64),
    /// It is in its room.
    Ready,
    /// It has said that it goes.
    Leaving,
    /// Its connection is over.
    Gone,
}

impl Client {
    /// Begins to connect, and to log in.
    pub fn connect(address: SocketAddr, is_udp: bool, role: Role, ledger: Ledger, login: Login, now: u64) -> io::Result<Client> {
        let (kind, protocol) = if is_udp { (Type::DGRAM, Protocol::UDP) } else { (Type::STREAM, Protocol::TCP) };
        let socket = Socket::new(Domain::for_address(address), kind.nonblocking(), Some(protocol))?;
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
            ledger,
            unfinished: Vec::new(),
            unsent: Vec::new(),
            login,
            has_greeted: false,
            is_blocked: false,
            is_udp,
        })
    }

    /// Over UDP: has the server answer with a cookie, or say that it knows us.
    pub fn knock(&mut self) {
        self.unsent.extend_from_slice(UDP_KNOCK);
    }

    /// Says who it is, over UDP behind the greeting with the cookie, in one datagram.
    pub fn greet(&mut self, greeting: &[u8]) {
        self.unsent.extend_from_slice(greeting);
        self.unsent.extend_from_slice(if greeting.is_empty() { b"" } else { b"\n" });
        self.unsent.extend_from_slice(self.login.first.as_bytes());
        self.has_greeted = true;
    }

    /// Says what is left to say once it is welcome.
    pub fn go_on(&mut self) {
        self.unsent.extend_from_slice(self.login.then.as_bytes());
    }

    /// Sends as much as the socket takes.
    pub fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() && !self.is_blocked {
            let length = if self.is_udp { datagram_of(&self.unsent) } else { self.unsent.len() };
            match send(self.socket.as_raw_fd(), &self.unsent[..length], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
                Ok(sent) if sent == self.unsent.len() => self.unsent.clear(),
                Ok(sent) => drop(self.unsent.drain(..sent)),
                // While it isn't connected yet, too.
                Err(Errno::EAGAIN | Errno::ENOTCONN) => self.is_blocked = true,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Whether it takes part from the first line to the last.
    pub fn is_member(&self) -> bool {
        matches!(self.role, Role::Member(_))
    }

    /// The room whose lines it is to hear.
    pub fn room(&self) -> Option<usize> {
        match self.role {
            Role::Member(room) | Role::Visitor(room) => Some(room),
            Role::Idle => None,
        }
    }
}

/// How many bytes are whole lines that fit a datagram.
fn datagram_of(lines: &[u8]) -> usize {
    memchr::memrchr(b'\n', &lines[..lines.len().min(DATAGRAM_BYTES_MAX)]).map_or(lines.len(), |end| end + 1)
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Gives each whole line of `unfinished` and the `bytes` behind it to `each`, without its LF, and leaves the rest in `unfinished`.
/// Ends at the first error.
pub fn each_line<E>(unfinished: &mut Vec<u8>, bytes: &[u8], mut each: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
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
