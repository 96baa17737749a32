//! A connection to the server, over TCP or UDP, that sends and receives lines. All calls block: one
//! thread receives, another sends.

mod udp;

use forkchat_common::limits::LINE_BYTES_MAX;
use socket2::{SockRef, TcpKeepalive};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use udp::{COOKIE_PREFIX, key_in, to_datagrams};

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// After this much silence the kernel probes whether the server still exists. The connection breaks
/// after [`KEEPALIVE_PROBES`] probes without an answer.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// A peer that sends a longer line is no forkchat server. A line of ours may come back several
/// times as long, with tags and in another charset, but never this long.
const RECEIVED_LINE_BYTES_MAX: usize = 64 * LINE_BYTES_MAX;
/// How much to receive at once: the largest datagram.
const RECEIVED_BYTES_MAX: usize = 65_536;

/// Over UDP: when a cookie comes for an open session, the server no longer knows the session, or
/// the cookie is forged. The client probes the session this often, waiting this long each time,
/// before it considers the session lost.
const PROBES: u32 = 3;
const PROBE_TIMEOUT: Duration = Duration::from_millis(400);
/// It is so long that a server that doesn't know the session may answer, with another cookie.
const PROBE_LINE: &[u8] = b"/ping forkchat-client-alive-still\n";

/// The sending half of a connection.
#[derive(Clone, Debug)]
pub struct SendHalf {
    socket: Socket,
    key: Key,
    /// This side closed the connection. Over UDP nothing else distinguishes the end from an empty
    /// datagram.
    is_closed: Arc<AtomicBool>,
}

/// The receiving half of a connection.
#[derive(Debug)]
pub struct ReceiveHalf {
    socket: Socket,
    key: Key,
    /// Over UDP: how many probes were sent since the last datagram that was no cookie.
    probes: u32,
    bytes: Vec<u8>,
    /// How many of `bytes` are received and not handed over: the beginning of a line, or the first
    /// datagram.
    held: usize,
    is_closed: Arc<AtomicBool>,
}

/// What each datagram to the server begins with: the line with the session's key, or nothing.
type Key = Arc<[u8]>;

#[derive(Clone, Debug)]
enum Socket {
    Tcp(Arc<TcpStream>),
    Udp(Arc<UdpSocket>),
}

/// Connects to the first of the host's addresses that answers. Over UDP the session is open when
/// this returns.
///
/// # Errors
/// The error of the last address tried.
pub fn connect(address: &str, udp: bool) -> io::Result<(SendHalf, ReceiveHalf)> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match if udp { connect_udp(address) } else { connect_tcp(address) } {
            Ok((socket, key, bytes)) => {
                let held = bytes.len();
                let is_closed = Arc::new(AtomicBool::new(false));
                return Ok((
                    SendHalf {
                        socket: socket.clone(),
                        key: key.clone(),
                        is_closed: is_closed.clone(),
                    },
                    ReceiveHalf { socket, key, probes: 0, bytes, held, is_closed },
                ));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn connect_tcp(address: SocketAddr) -> io::Result<(Socket, Key, Vec<u8>)> {
    let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok((Socket::Tcp(Arc::new(stream)), Key::default(), Vec::new()))
}

fn connect_udp(address: SocketAddr) -> io::Result<(Socket, Key, Vec<u8>)> {
    let (socket, key, bytes) = udp::open_session(address)?;
    Ok((Socket::Udp(Arc::new(socket)), key.into(), bytes))
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

impl SendHalf {
    /// Sends lines, each with its LF: over TCP in one piece, over UDP in as few datagrams of whole
    /// lines as possible.
    ///
    /// # Errors
    /// Those of the connection. Over UDP the error may concern an earlier datagram.
    pub fn send(&self, lines: &[Vec<u8>]) -> io::Result<()> {
        match &self.socket {
            Socket::Tcp(stream) => stream.as_ref().write_all(&lines.concat()),
            Socket::Udp(socket) => to_datagrams(&self.key, lines)
                .iter()
                .try_for_each(|datagram| socket.send(datagram).map(drop)),
        }
    }

    /// Closes the connection and wakes the receiving thread.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        // It fails if the connection is closed already. On Linux it also wakes the receiver of a
        // connected UDP socket, though udp(7) does not say so.
        let _ = match &self.socket {
            Socket::Tcp(stream) => SockRef::from(stream.as_ref()).shutdown(Shutdown::Both),
            Socket::Udp(socket) => SockRef::from(socket.as_ref()).shutdown(Shutdown::Both),
        };
    }
}

impl ReceiveHalf {
    /// Waits for bytes and passes each whole line, without its end, to `line`. Returns false at the
    /// end of input, or when `line` returned false.
    ///
    /// # Errors
    /// Those of the connection; if the peer does not send lines; and if the server no longer knows
    /// this UDP session.
    pub fn receive(&mut self, mut line: impl FnMut(&[u8]) -> bool) -> io::Result<bool> {
        let is_udp = matches!(self.socket, Socket::Udp(_));
        let mut end = self.held;
        // The first datagram was received when the session was opened.
        if !(is_udp && self.held > 0) {
            self.bytes.resize(self.held + RECEIVED_BYTES_MAX, 0);
            let length = self.fill()?;
            if is_udp && self.bytes[..length].starts_with(COOKIE_PREFIX) {
                return self.handle_cookie().map(|()| true);
            }
            self.stop_probing()?;
            if length == 0 {
                return Ok(is_udp && !self.is_closed.load(Ordering::Relaxed));
            }
            end += length;
        }
        let mut start = 0;
        while let Some(length) = self.bytes[start..end].iter().position(|&byte| byte == b'\n') {
            let whole = &self.bytes[start..start + length];
            // The server sends the key again if it answers a greeting twice.
            let is_key = is_udp && !self.key.is_empty() && key_in(whole).is_some();
            if !is_key && !line(whole.strip_suffix(b"\r").unwrap_or(whole)) {
                return Ok(false);
            }
            start += length + 1;
        }
        self.bytes.truncate(end);
        self.bytes.drain(..start);
        self.held = if is_udp { 0 } else { self.bytes.len() };
        if self.held > RECEIVED_LINE_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the peer does not send lines of text; is it a forkchat server?",
            ));
        }
        Ok(true)
    }

    /// A cookie has come for the open session. Without a key the session ends: it isn't protected
    /// against forged datagrams anyway. With a key, probes find out whether the server still knows
    /// the session.
    fn handle_cookie(&mut self) -> io::Result<()> {
        if self.key.is_empty() {
            return Err(unknown_session());
        }
        if self.probes == 0 {
            self.probe()?;
        }
        Ok(())
    }

    /// Sends a probe.
    ///
    /// # Errors
    /// Those of the socket; and if too many probes were not answered.
    fn probe(&mut self) -> io::Result<()> {
        if self.probes == PROBES {
            return Err(unknown_session());
        }
        self.probes += 1;
        if let Socket::Udp(socket) = &self.socket {
            socket.set_read_timeout(Some(PROBE_TIMEOUT))?;
            socket.send(&[&self.key, PROBE_LINE].concat())?;
        }
        Ok(())
    }

    /// A datagram other than a cookie shows that the server knows the session.
    fn stop_probing(&mut self) -> io::Result<()> {
        match &self.socket {
            Socket::Udp(socket) if std::mem::take(&mut self.probes) > 0 => {
                socket.set_read_timeout(None)
            }
            _ => Ok(()),
        }
    }

    /// Receives into the free part of the buffer. Sends a probe when one times out.
    fn fill(&mut self) -> io::Result<usize> {
        loop {
            let free = &mut self.bytes[self.held..];
            let result = match &self.socket {
                Socket::Tcp(stream) => stream.as_ref().read(free),
                Socket::Udp(socket) => socket.recv(free),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if self.probes > 0 && is_timeout(&error) => self.probe()?,
                other => return other,
            }
        }
    }
}

fn unknown_session() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the server no longer knows this session")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server for one client. It sends what `answer` returns for a received datagram. The thread
    /// ends when a datagram ends with `bye`, and returns all datagrams received.
    fn server(
        answer: impl Fn(&str) -> Vec<String> + Send + 'static,
    ) -> (String, std::thread::JoinHandle<Vec<String>>) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let thread = std::thread::spawn(move || {
            let (mut seen, mut datagram) = (Vec::new(), [0; 2_000]);
            while let Ok((length, from)) = socket.recv_from(&mut datagram) {
                let text = String::from_utf8(datagram[..length].to_vec()).unwrap();
                answer(&text)
                    .iter()
                    .for_each(|answer| drop(socket.send_to(answer.as_bytes(), from)));
                seen.push(text);
                if seen.last().is_some_and(|text| text.ends_with("bye\n")) {
                    break;
                }
            }
            seen
        });
        (address, thread)
    }

    fn received(receive_half: &mut ReceiveHalf) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        receive_half.receive(|line| {
            lines.push(String::from_utf8_lossy(line).into_owned());
            true
        })?;
        Ok(lines)
    }

    #[test]
    fn an_older_server_that_gives_no_key_is_greeted_without_one() {
        let (address, thread) = server(|text| match text {
            "/hello oldcookie\n" => vec!["* Welcome\n".to_owned()],
            "bye\n" => Vec::new(),
            _ => vec!["* /hello oldcookie\n".to_owned()],
        });
        let (send_half, mut receive_half) = connect(&address, true).unwrap();
        assert_eq!(received(&mut receive_half).unwrap(), ["* Welcome"]);
        send_half.send(&[b"bye\n".to_vec()]).unwrap();
        assert_eq!(thread.join().unwrap().pop().unwrap(), "bye\n");
    }

    #[test]
    fn the_greeting_is_repeated_until_the_key_has_arrived() {
        let asked = std::sync::atomic::AtomicU32::new(0);
        let (address, thread) = server(move |text| match text {
            "/hello cookie key\n" if asked.fetch_add(1, Ordering::Relaxed) == 0 => {
                vec!["[#lobby] eve: * /key eve\n".to_owned()]
            }
            "/hello cookie key\n" => vec!["* /key abc\n* Welcome\n".to_owned()],
            "/key abc\nbye\n" => Vec::new(),
            _ => vec!["* /hello cookie key\n".to_owned()],
        });
        let (send_half, mut receive_half) = connect(&address, true).unwrap();
        assert_eq!(received(&mut receive_half).unwrap(), ["* Welcome"]);
        send_half.send(&[b"bye\n".to_vec()]).unwrap();
        assert_eq!(thread.join().unwrap().pop().unwrap(), "/key abc\nbye\n");
    }

    #[test]
    fn a_forged_cookie_does_not_end_a_session_that_the_server_knows() {
        let (address, thread) = server(|text| match text {
            "/hello cookie key\n" => vec!["* /key abc\n* Welcome\n".to_owned()],
            "/key abc\nforged\n" => vec!["* /hello forged\n".to_owned(); 10],
            text if text == format!("/key abc\n{}", String::from_utf8_lossy(PROBE_LINE)) => {
                vec!["* pong\n".to_owned()]
            }
            "/key abc\nbye\n" => Vec::new(),
            _ => vec!["* /hello cookie key\n".to_owned()],
        });
        let (send_half, mut receive_half) = connect(&address, true).unwrap();
        assert_eq!(received(&mut receive_half).unwrap(), ["* Welcome"]);
        for _ in 0..3 {
            send_half.send(&[b"forged\n".to_vec()]).unwrap();
            let answer = std::iter::repeat_with(|| received(&mut receive_half).unwrap())
                .find(|lines| !lines.is_empty());
            assert_eq!(answer.unwrap(), ["* pong"]);
        }
        send_half.send(&[b"bye\n".to_vec()]).unwrap();
        thread.join().unwrap();
    }

    #[test]
    fn a_session_that_the_server_no_longer_knows_is_probed_three_times() {
        let (address, thread) = server(|text| match text {
            "/hello cookie key\n" => vec!["* /key abc\n* Welcome\n".to_owned()],
            _ => vec!["* /hello cookie key\n".to_owned()],
        });
        let (send_half, mut receive_half) = connect(&address, true).unwrap();
        assert_eq!(received(&mut receive_half).unwrap(), ["* Welcome"]);
        send_half.send(&[b"hi\n".to_vec()]).unwrap();
        let error =
            std::iter::repeat_with(|| received(&mut receive_half)).find_map(Result::err).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        send_half.send(&[b"bye\n".to_vec()]).unwrap();
        let probe = format!("/key abc\n{}", String::from_utf8_lossy(PROBE_LINE));
        assert_eq!(thread.join().unwrap().iter().filter(|text| **text == probe).count(), 3);
    }
}
