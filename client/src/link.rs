//! A connection to the server, over TCP or UDP: lines go in, lines come out. Blocking; one thread receives, another sends.

use forkchat_common::limits::{DATAGRAM_BYTES_MAX, LINE_BYTES_MAX};
use socket2::{SockRef, TcpKeepalive};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// A vanished server is noticed after this and [`KEEPALIVE_PROBES`] times [`KEEPALIVE_INTERVAL`] more.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// A line from the server that is longer is no line: what is sent for one of ours may be some times its length (tags, names, other charsets), never this.
const RECEIVED_LINE_BYTES_MAX: usize = 64 * LINE_BYTES_MAX;

/// UDP: how long an answer to the greeting is waited for, and how often it is sent.
const GREETING: Duration = Duration::from_millis(500);
const GREETINGS: u32 = 8;
/// What stands before the cookie in the answer to a stranger. With tags on, no line of an open session starts so.
const COOKIE_HEAD: &[u8] = b"* /hello ";
/// A stranger is only answered if it sent at least as much; padded to be sure.
const FIRST_GREETING: &[u8] = b"/hello                                  \n";
/// The largest datagram there is.
const RECEIVED_BYTES_MAX: usize = 65_536;

/// Where lines are sent.
#[derive(Clone, Debug)]
pub struct Outgoing {
    socket: Socket,
    /// We closed it: over UDP nothing else tells an end from an empty datagram.
    is_closed: Arc<AtomicBool>,
}

/// Where lines come from.
#[derive(Debug)]
pub struct Incoming {
    socket: Socket,
    bytes: Vec<u8>,
    /// How many of `bytes` are a line without its end.
    held: usize,
    is_closed: Arc<AtomicBool>,
}

#[derive(Clone, Debug)]
enum Socket {
    Tcp(Arc<TcpStream>),
    Udp(Arc<UdpSocket>),
}

/// Connects to the first of the address's meanings that answers. Over UDP the session is open when this returns.
///
/// # Errors
/// Those of the last one tried.
pub fn connect(address: &str, udp: bool) -> io::Result<(Outgoing, Incoming)> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match if udp { greet(address) } else { connect_tcp(address) } {
            Ok((socket, bytes)) => {
                let held = bytes.len();
                let is_closed = Arc::new(AtomicBool::new(false));
                return Ok((
                    Outgoing { socket: socket.clone(), is_closed: is_closed.clone() },
                    Incoming { socket, bytes, held, is_closed },
                ));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn connect_tcp(address: SocketAddr) -> io::Result<(Socket, Vec<u8>)> {
    let stream = TcpStream::connect_timeout(&address, CONNECT)?;
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_PROBES);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok((Socket::Tcp(Arc::new(stream)), Vec::new()))
}

/// Proves the address with the server's cookie; gives back the session's first datagram. Either way round a datagram may be lost: then it is sent again.
fn greet(address: SocketAddr) -> io::Result<(Socket, Vec<u8>)> {
    let socket = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(GREETING))?;
    let mut greeting = FIRST_GREETING.to_vec();
    let mut datagram = vec![0; RECEIVED_BYTES_MAX];
    for _ in 0..GREETINGS {
        socket.send(&greeting)?;
        match socket.recv(&mut datagram) {
            Ok(length) if datagram[..length].starts_with(COOKIE_HEAD) => {
                greeting = datagram[2..length].to_vec();
                socket.send(&greeting)?;
                if let Ok(length) = socket.recv(&mut datagram)
                    && !datagram[..length].starts_with(COOKIE_HEAD)
                {
                    return opened(socket, &datagram[..length]);
                }
            }
            Ok(length) => return opened(socket, &datagram[..length]),
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "no answer over UDP"))
}

fn opened(socket: UdpSocket, datagram: &[u8]) -> io::Result<(Socket, Vec<u8>)> {
    socket.set_read_timeout(None)?;
    Ok((Socket::Udp(Arc::new(socket)), datagram.to_vec()))
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

impl Outgoing {
    /// Sends lines, each with its LF: over TCP in one piece, over UDP as few datagrams of whole lines.
    ///
    /// # Errors
    /// The connection's. Over UDP it may be about what was sent before.
    pub fn send(&self, lines: &[Vec<u8>]) -> io::Result<()> {
        match &self.socket {
            Socket::Tcp(stream) => stream.as_ref().write_all(&lines.concat()),
            Socket::Udp(socket) => datagrams(lines).iter().try_for_each(|datagram| socket.send(datagram).map(drop)),
        }
    }

    /// Ends the connection, so that whoever receives notices.
    pub fn close(&self) {
        // A failure means that it is closed already. On Linux this wakes the receiver of a connected UDP socket too (udp(7) says nothing of it).
        self.is_closed.store(true, Ordering::Relaxed);
        let _ = match &self.socket {
            Socket::Tcp(stream) => SockRef::from(stream.as_ref()).shutdown(Shutdown::Both),
            Socket::Udp(socket) => SockRef::from(socket.as_ref()).shutdown(Shutdown::Both),
        };
    }
}

/// Lines together in datagrams that no network has to split; a longer line goes alone.
fn datagrams(lines: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut datagrams: Vec<Vec<u8>> = Vec::new();
    for line in lines {
        match datagrams.last_mut() {
            Some(last) if last.len() + line.len() <= DATAGRAM_BYTES_MAX => last.extend_from_slice(line),
            _ => datagrams.push(line.clone()),
        }
    }
    datagrams
}

impl Incoming {
    /// Waits for bytes and hands over each whole line without its end; `Ok(false)` at the end of input, or when `line` gave back `false`.
    ///
    /// # Errors
    /// The connection's, and a server that sends no lines, or that doesn't know this UDP session any more.
    pub fn receive(&mut self, mut line: impl FnMut(&[u8]) -> bool) -> io::Result<bool> {
        let is_udp = matches!(self.socket, Socket::Udp(_));
        let mut end = self.held;
        // The first datagram came with the greeting.
        if !(is_udp && self.held > 0) {
            self.bytes.resize(self.held + RECEIVED_BYTES_MAX, 0);
            let length = self.fill()?;
            if length == 0 {
                return Ok(is_udp && !self.is_closed.load(Ordering::Relaxed));
            }
            end += length;
        }
        let mut start = 0;
        while let Some(length) = self.bytes[start..end].iter().position(|&byte| byte == b'\n') {
            let whole = &self.bytes[start..start + length];
            if is_udp && whole.starts_with(COOKIE_HEAD) {
                return Err(io::Error::new(io::ErrorKind::ConnectionReset, "the server doesn't know this session any more"));
            }
            if !line(whole.strip_suffix(b"\r").unwrap_or(whole)) {
                return Ok(false);
            }
            start += length + 1;
        }
        self.bytes.truncate(end);
        self.bytes.drain(..start);
        self.held = if is_udp { 0 } else { self.bytes.len() };
        if self.held > RECEIVED_LINE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "what is there sends no lines; is it a forkchat server?"));
        }
        Ok(true)
    }

    fn fill(&mut self) -> io::Result<usize> {
        let free = &mut self.bytes[self.held..];
        loop {
            let result = match &self.socket {
                Socket::Tcp(stream) => stream.as_ref().read(free),
                Socket::Udp(socket) => socket.recv(free),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_share_datagrams_that_are_not_split() {
        let lines: Vec<Vec<u8>> = [500, 600, 101, 4_000, 10].map(|length| vec![b'x'; length]).to_vec();
        let lengths: Vec<usize> = datagrams(&lines).iter().map(Vec::len).collect();
        assert_eq!(lengths, [1_100, 101, 4_000, 10]);
        assert!(datagrams(&[]).is_empty());
    }
}
