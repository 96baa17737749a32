//! One client: its socket, how it reads and writes, and what it has not sent or parsed yet.

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// The receive buffer of a slow reader and the size of its segments. Both are small, so that the
/// server's socket for it is soon full.
const SLOW_RECEIVE_BYTES: usize = 12 << 10;
const SLOW_SEGMENT_BYTES: u32 = 536;
/// The receive buffer of a UDP client, in bytes; the system may allow less.
const UDP_RECEIVE_BYTES: usize = 4 << 20;

/// Added to datagrams so that a server that doesn't know the client may answer, which it does only
/// if the answer isn't longer. Empty lines have no effect.
pub const PADDING: &str = "\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n";

/// How a client passes its lines to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendStyle {
    /// Each line in a call of its own.
    Lines,
    /// All lines in one call.
    Bursts,
    /// All lines in one call, but a part of the last ones a little later.
    Parts,
}

/// What a client is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It logs in. Since this time, in ns.
    LoggingIn(u64),
    /// It is logged in and waits for the start.
    Ready,
    /// It sends and receives lines.
    Active,
    /// A visitor that will join the room at this time, in ns.
    Outside(u64),
    /// A visitor that waits for the answer to `/join`.
    Joining,
    /// A visitor that is in the room until this time, in ns.
    Visiting(u64),
    /// A visitor that waits for the answer to `/leave`.
    Leaving,
    /// A visitor that has asked the server to end its connection.
    Disconnecting,
    /// A visitor that will connect again at this time, in ns.
    Away(u64),
    /// The server has dropped it.
    Gone,
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    /// Non-blocking.
    pub socket: Socket,
    /// What it is doing.
    pub stage: Stage,
    /// How it passes lines to the kernel.
    pub style: SendStyle,
    /// Whether it reads only a little at a time.
    pub is_slow: bool,
    /// Bytes that the socket has not accepted yet.
    pub unsent: Vec<u8>,
    /// The number of bytes at the end of `unsent` that must wait, and until when, in ns.
    pub held: (usize, u64),
    /// The beginning of a received line.
    pub unfinished: Vec<u8>,
    /// Over UDP: the beginning of each datagram, once the server has given the session a key.
    pub key: Vec<u8>,
    /// Over UDP: how many of its requests for a cookie the server may still answer.
    pub cookies_due: u32,
    /// Over UDP: when it last sent its login, in ns.
    pub login_sent_at: Option<u64>,
    /// The lines of its login.
    pub login: String,
    /// Whether it closes its sending side after the last unsent bytes.
    pub ends_input: bool,
    is_udp: bool,
}

impl Client {
    pub fn connect(
        address: SocketAddr,
        is_udp: bool,
        is_slow: bool,
        style: SendStyle,
        login: String,
    ) -> io::Result<Client> {
        let (kind, protocol) =
            if is_udp { (Type::DGRAM, Protocol::UDP) } else { (Type::STREAM, Protocol::TCP) };
        let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
        if is_udp {
            socket.set_recv_buffer_size(UDP_RECEIVE_BYTES)?;
        } else {
            socket.set_tcp_nodelay(true)?;
        }
        if is_slow {
            socket.set_recv_buffer_size(SLOW_RECEIVE_BYTES)?;
            socket.set_tcp_mss(SLOW_SEGMENT_BYTES)?;
        }
        // It may block: on the loopback it takes no time.
        socket.connect(&address.into())?;
        socket.set_nonblocking(true)?;
        let (unsent, unfinished) = (Vec::new(), Vec::new());
        let stage = Stage::LoggingIn(0);
        let key = Vec::new();
        Ok(Client {
            socket,
            stage,
            style,
            is_slow,
            unsent,
            held: (0, 0),
            unfinished,
            key,
            cookies_due: 0,
            login_sent_at: None,
            login,
            ends_input: false,
            is_udp,
        })
    }

    /// Requests a cookie.
    pub fn request_cookie(&mut self) {
        self.cookies_due += 1;
        // The server answers only if the answer isn't longer than this.
        self.unsent.extend_from_slice(format!("/hello{PADDING}").as_bytes());
    }

    /// Whether it holds the rest of a line back.
    pub fn is_holding(&self) -> bool {
        self.held.0 > 0
    }

    /// Sends as much as the socket accepts, except the bytes held back. A UDP client sends all
    /// bytes as one datagram.
    pub fn flush(&mut self, now: u64) -> io::Result<()> {
        if self.held.1 <= now {
            self.held = (0, 0);
        }
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        if self.is_udp {
            if !self.unsent.is_empty() {
                // A datagram that the network refuses is lost. The server's port exists even while
                // no worker reads it.
                let _ = send(
                    self.socket.as_raw_fd(),
                    &[self.key.as_slice(), &self.unsent].concat(),
                    flags,
                );
                self.unsent.clear();
            }
            return Ok(());
        }
        while self.unsent.len() > self.held.0 {
            match send(
                self.socket.as_raw_fd(),
                &self.unsent[..self.unsent.len() - self.held.0],
                flags,
            ) {
                Ok(sent) => drop(self.unsent.drain(..sent)),
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        if self.ends_input && self.unsent.is_empty() {
            self.ends_input = false;
            self.socket.shutdown(std::net::Shutdown::Write)?;
        }
        Ok(())
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
