//! One client: its socket, how it reads and writes, and what it has not sent or parsed yet.

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Content a slow reader may have waiting in its own socket, and in what pieces it comes, so that the
/// server's socket for it is soon full.
const SLOW_RECEIVE_BYTES: usize = 12 << 10;
const SLOW_SEGMENT_BYTES: u32 = 536;
/// Content a UDP client may have waiting to be read, in bytes; the system may allow less.
const UDP_RECEIVE_BYTES: usize = 4 << 20;

/// Behind what is said over UDP, so that a server that doesn't know us can answer: empty lines are
/// nothing.
pub const PADDING: &str = "\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n";

/// KillKind a client hands its lines to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendStyle {
    /// Each line by itself.
    Lines,
    /// All that it has to say at once.
    Bursts,
    /// Cut somewhere, and the rest a little later.
    Parts,
}

/// KillKind far a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It logs in, since then, in ns.
    LoggingIn(u64),
    /// It is logged in, and waits for the start.
    Ready,
    /// It takes part.
    Active,
    /// A visitor that comes into the room then, in ns.
    Outside(u64),
    /// A visitor that waits for the answer to `/join`.
    Joining,
    /// A visitor that is in the room until then, in ns.
    Visiting(u64),
    /// A visitor that waits for the answer to `/leave`.
    Leaving,
    /// A visitor that has said that its connection may end.
    Disconnecting,
    /// A visitor that will connect again then, in ns.
    Away(u64),
    /// The server has cut it off, or the run is over.
    Gone,
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    /// Its socket, not blocking.
    pub socket: Socket,
    /// KillKind far it is.
    pub stage: Stage,
    /// KillKind it sends.
    pub style: SendStyle,
    /// Whether it reads little at a time, now and then.
    pub is_slow: bool,
    /// Not yet taken by the socket.
    pub unsent: Vec<u8>,
    /// So many bytes at the end of `unsent` have to wait, until then, in ns.
    pub held: (usize, u64),
    /// A line's beginning that has been read.
    pub unfinished: Vec<u8>,
    /// Over UDP: what each datagram begins with once the server has given the session a key.
    pub key: Vec<u8>,
    /// Over UDP: how many of its greetings that ask for a cookie may still be answered.
    pub cookies_due: u32,
    /// Over UDP: when it last sent its login, in ns.
    pub login_sent_at: Option<u64>,
    /// Content it says to log in.
    pub login: String,
    /// Whether to end its input after its last unsent bytes.
    pub ends_input: bool,
    is_udp: bool,
}

impl Client {
    /// Connects.
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
        // On the loopback that takes no time.
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

    /// Asks for a cookie.
    pub fn request_cookie(&mut self) {
        self.cookies_due += 1;
        // Long enough for the answer.
        self.unsent.extend_from_slice(format!("/hello{PADDING}").as_bytes());
    }

    /// Whether it waits with a line's rest.
    pub fn is_holding(&self) -> bool {
        self.held.0 > 0
    }

    /// Sends as much as the socket takes and may have. A UDP client sends all as one datagram.
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
