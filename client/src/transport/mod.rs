//! A connection to the server, over TCP or UDP, that sends and receives lines. Blocking: one thread
//! receives, another sends.

use forkchat_common::limits::{DATAGRAM_BYTES_MAX, LINE_BYTES_MAX};
use socket2::{SockRef, TcpKeepalive};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// A vanished server is noticed after this and [`KEEPALIVE_PROBES`] times [`KEEPALIVE_INTERVAL`]
/// more.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// A line from the server that is longer is no line: what is sent for one of ours may be some times
/// its length (tags, names, other charsets), never this.
const RECEIVED_LINE_BYTES_MAX: usize = 64 * LINE_BYTES_MAX;

/// UDP: how long an answer to the greeting is waited for, and how often it is sent.
const GREETING: Duration = Duration::from_millis(500);
const GREETINGS: u32 = 8;
/// What stands before the cookie in the answer to an unknown peer. With tags on, no line of an open
/// session starts so.
const COOKIE_HEAD: &[u8] = b"* /hello ";
/// What the answer ends with if the server gives keys and the greeting asks for one. An older
/// server's answer ends with the cookie.
const WITH_KEY: &str = " key";
/// What stands before the session's key.
const KEY_HEAD: &str = "* /key ";
/// Request for a key. An unknown peer is only answered if it sent at least as much; padded to be sure.
const FIRST_GREETING: &[u8] = b"/hello key                              \n";
/// A cookie for an open session means that the server no longer knows the session, or that the
/// datagram, or one that caused it, was forged. So the server is asked so often, and given so long
/// each time, before the session counts as lost.
const PROBES: u32 = 3;
const PROBE: Duration = Duration::from_millis(400);
/// What it is asked: long enough that a server that doesn't know the session answers with another
/// cookie.
const PROBE_LINE: &[u8] = b"/ping forkchat-client-alive-still\n";
/// The largest datagram there is.
const RECEIVED_BYTES_MAX: usize = 65_536;

/// Where lines are sent.
#[derive(Clone, Debug)]
pub struct SendHalf {
    socket: Socket,
    key: Key,
    /// We closed it: over UDP nothing else tells an end from an empty datagram.
    is_closed: Arc<AtomicBool>,
}

/// Where lines come from.
#[derive(Debug)]
pub struct ReceiveHalf {
    socket: Socket,
    key: Key,
    /// UDP: how many probes were sent since the last datagram that was no cookie; 0 if none is
    /// needed.
    probes: u32,
    bytes: Vec<u8>,
    /// How many of `bytes` are a line without its end.
    held: usize,
    is_closed: Arc<AtomicBool>,
}

/// What each datagram to the server begins with: the session's key, or nothing.
type Key = Arc<[u8]>;

#[derive(Clone, Debug)]
enum Socket {
    Tcp(Arc<TcpStream>),
    Udp(Arc<UdpSocket>),
}

/// Connects to the first of the address's meanings that answers. Over UDP the session is open when
/// this returns.
///
/// # Errors
/// Those of the last one tried.
pub fn connect(address: &str, udp: bool) -> io::Result<(SendHalf, ReceiveHalf)> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match if udp { greet(address) } else { connect_tcp(address) } {
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
    let stream = TcpStream::connect_timeout(&address, CONNECT)?;
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok((Socket::Tcp(Arc::new(stream)), Key::default(), Vec::new()))
}

/// Proves the address with the server's cookie; gives back the session's key and its first
/// datagram. Either way round a datagram may be lost: then it is sent again.
fn greet(address: SocketAddr) -> io::Result<(Socket, Key, Vec<u8>)> {
    let socket = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(GREETING))?;
    let mut greeting = FIRST_GREETING.to_vec();
    let mut datagram = vec![0; RECEIVED_BYTES_MAX];
    for _ in 0..GREETINGS {
        socket.send(&greeting)?;
        // The answer is a cookie, which is sent back, or the session's first datagram.
        for _ in 0..2 {
            match socket.recv(&mut datagram) {
                Ok(length) if datagram[..length].starts_with(COOKIE_HEAD) => {
                    let answer = datagram[2..length].to_vec();
                    if answer == greeting {
                        break;
                    }
                    greeting = answer;
                    socket.send(&greeting)?;
                }
                Ok(length) if asks_for_key(&greeting) => {
                    // Others' lines may come first, if the welcome was lost: without the key
                    // nothing can be said.
                    if let Some((key, rest)) = key_of_session(&datagram[..length]) {
                        return opened(socket, &key, rest);
                    }
                    break;
                }
                Ok(length) => return opened(socket, b"", &datagram[..length]),
                Err(error) if is_timeout(&error) => break,
                Err(error) => return Err(error),
            }
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "no answer over UDP"))
}

/// Whether a greeting that the server has answered with a cookie asks for a key.
fn asks_for_key(greeting: &[u8]) -> bool {
    greeting.trim_ascii_end().ends_with(WITH_KEY.as_bytes())
}

/// The beginning of each datagram from now on, and the rest of the first one, if its first line has
/// the session's key.
fn key_of_session(datagram: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let end = datagram.iter().position(|&byte| byte == b'\n')?;
    let key = key_line(&datagram[..end])?;
    Some((format!("/key {key}\n").into_bytes(), &datagram[end + 1..]))
}

/// The key, if a line tells it. The session may be an earlier one, with tags on.
fn key_line(line: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(line).ok()?;
    let prose = if line.starts_with('@') { line.split_once(' ')?.1 } else { line };
    prose.trim_end().strip_prefix(KEY_HEAD)
}

fn opened(socket: UdpSocket, key: &[u8], datagram: &[u8]) -> io::Result<(Socket, Key, Vec<u8>)> {
    socket.set_read_timeout(None)?;
    Ok((Socket::Udp(Arc::new(socket)), key.into(), datagram.to_vec()))
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

impl SendHalf {
    /// Sends lines, each with its LF: over TCP in one piece, over UDP as few datagrams of whole
    /// lines.
    ///
    /// # Errors
    /// The connection's. Over UDP it may be about what was sent before.
    pub fn send(&self, lines: &[Vec<u8>]) -> io::Result<()> {
        match &self.socket {
            Socket::Tcp(stream) => stream.as_ref().write_all(&lines.concat()),
            Socket::Udp(socket) => datagrams(&self.key, lines)
                .iter()
                .try_for_each(|datagram| socket.send(datagram).map(drop)),
        }
    }

    /// Ends the connection, so that the receiving thread notices.
    pub fn close(&self) {
        // A failure means that it is closed already. On Linux this wakes the receiver of a
        // connected UDP socket too (udp(7) says nothing of it).
        self.is_closed.store(true, Ordering::Relaxed);
        let _ = match &self.socket {
            Socket::Tcp(stream) => SockRef::from(stream.as_ref()).shutdown(Shutdown::Both),
            Socket::Udp(socket) => SockRef::from(socket.as_ref()).shutdown(Shutdown::Both),
        };
    }
}

/// Lines together in datagrams that no network has to split, each with the key before them; a
/// longer line goes alone.
fn datagrams(key: &[u8], lines: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut datagrams: Vec<Vec<u8>> = Vec::new();
    for line in lines {
        match datagrams.last_mut() {
            Some(last) if last.len() + line.len() <= DATAGRAM_BYTES_MAX => {
                last.extend_from_slice(line)
            }
            _ => datagrams.push([key, line].concat()),
        }
    }
    datagrams
}

impl ReceiveHalf {
    /// Waits for bytes and hands over each whole line without its end; `Ok(false)` at the end of
    /// input, or when `line` gave back `false`.
    ///
    /// # Errors
    /// The connection's, and a server that sends no lines, or that doesn't know this UDP session
    /// any more.
    pub fn receive(&mut self, mut line: impl FnMut(&[u8]) -> bool) -> io::Result<bool> {
        let is_udp = matches!(self.socket, Socket::Udp(_));
        let mut end = self.held;
        // The first datagram came with the greeting.
        if !(is_udp && self.held > 0) {
            self.bytes.resize(self.held + RECEIVED_BYTES_MAX, 0);
            let length = self.fill()?;
            if is_udp && self.bytes[..length].starts_with(COOKIE_HEAD) {
                return self.doubt_session().map(|()| true);
            }
            self.trust_session()?;
            if length == 0 {
                return Ok(is_udp && !self.is_closed.load(Ordering::Relaxed));
            }
            end += length;
        }
        let mut start = 0;
        while let Some(length) = self.bytes[start..end].iter().position(|&byte| byte == b'\n') {
            let whole = &self.bytes[start..start + length];
            // The key again, if the greeting was answered twice.
            let is_key = is_udp && !self.key.is_empty() && key_line(whole).is_some();
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

    /// A cookie has come. Without a key it counts: then anyone could end the session anyway.
    fn doubt_session(&mut self) -> io::Result<()> {
        if self.key.is_empty() {
            return Err(unknown_session());
        }
        if self.probes == 0 {
            self.probe()?;
        }
        Ok(())
    }

    /// Request the server whether it knows the session.
    fn probe(&mut self) -> io::Result<()> {
        if self.probes == PROBES {
            return Err(unknown_session());
        }
        self.probes += 1;
        if let Socket::Udp(socket) = &self.socket {
            socket.set_read_timeout(Some(PROBE))?;
            socket.send(&[&self.key, PROBE_LINE].concat())?;
        }
        Ok(())
    }

    /// Something else than a cookie has come.
    fn trust_session(&mut self) -> io::Result<()> {
        match &self.socket {
            Socket::Udp(socket) if std::mem::take(&mut self.probes) > 0 => {
                socket.set_read_timeout(None)
            }
            _ => Ok(()),
        }
    }

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

    #[test]
    fn lines_share_datagrams_that_are_not_split() {
        let lines: Vec<Vec<u8>> =
            [500, 600, 101, 4_000, 10].map(|length| vec![b'x'; length]).to_vec();
        let lengths: Vec<usize> = datagrams(b"", &lines).iter().map(Vec::len).collect();
        assert_eq!(lengths, [1_100, 101, 4_000, 10]);
        assert!(datagrams(b"/key k\n", &[]).is_empty());
    }

    #[test]
    fn each_datagram_begins_with_the_key_and_is_no_longer_for_it() {
        let lines: Vec<Vec<u8>> = [590, 600, 10].map(|length| vec![b'x'; length]).to_vec();
        let datagrams = datagrams(b"/key abcdefghijklm\n", &lines);
        assert!(datagrams.iter().all(|datagram| datagram.starts_with(b"/key abcdefghijklm\nx")
            && datagram.len() <= DATAGRAM_BYTES_MAX));
        assert_eq!(datagrams.iter().map(Vec::len).collect::<Vec<_>>(), [609, 629]);
    }

    #[test]
    fn the_key_is_in_the_first_line_of_the_welcome_also_with_tags() {
        let expected = Some((b"/key abc\n".to_vec(), &b"* Welcome\n"[..]));
        assert_eq!(key_of_session(b"* /key abc\n* Welcome\n"), expected);
        assert_eq!(
            key_of_session(b"@id=1;datagram=1;event=reply;to=hello * /key abc\n* Welcome\n"),
            expected
        );
        assert_eq!(key_of_session(b"[#lobby] eve: * /key abc\n"), None);
    }

    /// A server of one client, which answers each datagram with what `answer` makes of it; gives
    /// back all that it was sent, when it is told `bye`.
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

    fn received(incoming: &mut ReceiveHalf) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        incoming.receive(|line| {
            lines.push(String::from_utf8_lossy(line).into_owned());
            true
        })?;
        Ok(lines)
    }

    #[test]
    fn an_older_server_is_greeted_without_a_key() {
        let (address, thread) = server(|text| match text {
            "/hello oldcookie\n" => vec!["* Welcome\n".to_owned()],
            "bye\n" => Vec::new(),
            _ => vec!["* /hello oldcookie\n".to_owned()],
        });
        let (outgoing, mut incoming) = connect(&address, true).unwrap();
        assert_eq!(received(&mut incoming).unwrap(), ["* Welcome"]);
        outgoing.send(&[b"bye\n".to_vec()]).unwrap();
        assert_eq!(thread.join().unwrap().pop().unwrap(), "bye\n");
    }

    #[test]
    fn a_welcome_that_is_lost_is_asked_for_until_the_key_is_there() {
        let asked = std::sync::atomic::AtomicU32::new(0);
        let (address, thread) = server(move |text| match text {
            "/hello cookie key\n" if asked.fetch_add(1, Ordering::Relaxed) == 0 => {
                vec!["[#lobby] eve: * /key eve\n".to_owned()]
            }
            "/hello cookie key\n" => vec!["* /key abc\n* Welcome\n".to_owned()],
            "/key abc\nbye\n" => Vec::new(),
            _ => vec!["* /hello cookie key\n".to_owned()],
        });
        let (outgoing, mut incoming) = connect(&address, true).unwrap();
        assert_eq!(received(&mut incoming).unwrap(), ["* Welcome"]);
        outgoing.send(&[b"bye\n".to_vec()]).unwrap();
        assert_eq!(thread.join().unwrap().pop().unwrap(), "/key abc\nbye\n");
    }

    #[test]
    fn a_cookie_that_somebody_forged_ends_no_session_that_the_server_knows() {
        let (address, thread) = server(|text| match text {
            "/hello cookie key\n" => vec!["* /key abc\n* Welcome\n".to_owned()],
            "/key abc\nforged\n" => vec!["* /hello forged\n".to_owned(); 10],
            text if text == format!("/key abc\n{}", String::from_utf8_lossy(PROBE_LINE)) => {
                vec!["* pong\n".to_owned()]
            }
            "/key abc\nbye\n" => Vec::new(),
            _ => vec!["* /hello cookie key\n".to_owned()],
        });
        let (outgoing, mut incoming) = connect(&address, true).unwrap();
        assert_eq!(received(&mut incoming).unwrap(), ["* Welcome"]);
        for _ in 0..3 {
            outgoing.send(&[b"forged\n".to_vec()]).unwrap();
            let answer = std::iter::repeat_with(|| received(&mut incoming).unwrap())
                .find(|lines| !lines.is_empty());
            assert_eq!(answer.unwrap(), ["* pong"]);
        }
        outgoing.send(&[b"bye\n".to_vec()]).unwrap();
        thread.join().unwrap();
    }

    #[test]
    fn a_server_that_knows_the_session_no_more_is_asked_three_times() {
        let (address, thread) = server(|text| match text {
            "/hello cookie key\n" => vec!["* /key abc\n* Welcome\n".to_owned()],
            _ => vec!["* /hello cookie key\n".to_owned()],
        });
        let (outgoing, mut incoming) = connect(&address, true).unwrap();
        assert_eq!(received(&mut incoming).unwrap(), ["* Welcome"]);
        outgoing.send(&[b"hi\n".to_vec()]).unwrap();
        let error =
            std::iter::repeat_with(|| received(&mut incoming)).find_map(Result::err).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        outgoing.send(&[b"bye\n".to_vec()]).unwrap();
        let probe = format!("/key abc\n{}", String::from_utf8_lossy(PROBE_LINE));
        assert_eq!(thread.join().unwrap().iter().filter(|text| **text == probe).count(), 3);
    }
}
