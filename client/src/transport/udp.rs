//! UDP: opens a session with the server's cookie, and packs lines into datagrams.

use super::{RECEIVED_BYTES_MAX, is_timeout};
use forkchat_common::limits::DATAGRAM_BYTES_MAX;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

/// How long to wait for the answer to a greeting, and how often to send one.
const GREETING_TIMEOUT: Duration = Duration::from_millis(500);
const GREETINGS_MAX: u32 = 8;
/// The beginning of the server's answer to an unknown peer; the cookie follows. With tags on, no
/// line of an open session starts like this.
pub const COOKIE_PREFIX: &[u8] = b"* /hello ";
/// The end of that answer if the greeting asks for a key and the server gives keys. Older servers
/// don't; their answer ends with the cookie.
const KEY_SUFFIX: &str = " key";
/// The beginning of the line with the session's key.
const KEY_PREFIX: &str = "* /key ";
/// Asks for a key. The server answers an unknown peer only if the greeting is at least as long as
/// the answer, so it is padded.
const FIRST_GREETING: &[u8] = b"/hello key                              \n";

/// Opens a session: sends the server's cookie back, which proves that this client receives what is
/// sent to its address. Returns the socket, the beginning of each datagram to the server, and the
/// session's first datagram. Repeats the greeting if a datagram is lost.
pub fn open_session(address: SocketAddr) -> io::Result<(UdpSocket, Vec<u8>, Vec<u8>)> {
    let socket = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(GREETING_TIMEOUT))?;
    let opened = |socket: UdpSocket, key: Vec<u8>, datagram: &[u8]| {
        socket.set_read_timeout(None)?;
        Ok((socket, key, datagram.to_vec()))
    };
    let mut greeting = FIRST_GREETING.to_vec();
    let mut datagram = vec![0; RECEIVED_BYTES_MAX];
    for _ in 0..GREETINGS_MAX {
        socket.send(&greeting)?;
        // The answer is a cookie, which the client sends back, or the session's first datagram.
        for _ in 0..2 {
            match socket.recv(&mut datagram) {
                Ok(length) if datagram[..length].starts_with(COOKIE_PREFIX) => {
                    let answer = datagram[2..length].to_vec();
                    if answer == greeting {
                        break;
                    }
                    greeting = answer;
                    socket.send(&greeting)?;
                }
                Ok(length) if asks_for_key(&greeting) => {
                    // If the datagram with the key was lost, others' lines may come first. Without
                    // the key the client can't send anything.
                    if let Some((key, rest)) = split_key(&datagram[..length]) {
                        return opened(socket, key, rest);
                    }
                    break;
                }
                Ok(length) => return opened(socket, Vec::new(), &datagram[..length]),
                Err(error) if is_timeout(&error) => break,
                Err(error) => return Err(error),
            }
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "no answer over UDP"))
}

/// Whether a greeting, as the server has proposed it, asks for a key.
fn asks_for_key(greeting: &[u8]) -> bool {
    greeting.trim_ascii_end().ends_with(KEY_SUFFIX.as_bytes())
}

/// If the first line of a datagram has the session's key: the beginning of each datagram to the
/// server, and the rest of this datagram.
fn split_key(datagram: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let end = datagram.iter().position(|&byte| byte == b'\n')?;
    let key = key_in(&datagram[..end])?;
    Some((format!("/key {key}\n").into_bytes(), &datagram[end + 1..]))
}

/// The key, if this line has one. The line has tags if the session is an earlier one of this
/// client.
pub fn key_in(line: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(line).ok()?;
    let prose = if line.starts_with('@') { line.split_once(' ')?.1 } else { line };
    prose.trim_end().strip_prefix(KEY_PREFIX)
}

/// Packs lines into datagrams that no network has to split, each with the key at its beginning. A
/// line that is too long for one gets a datagram of its own.
pub fn to_datagrams(key: &[u8], lines: &[Vec<u8>]) -> Vec<Vec<u8>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_share_datagrams_up_to_the_size_limit() {
        let lines: Vec<Vec<u8>> =
            [500, 600, 101, 4_000, 10].map(|length| vec![b'x'; length]).to_vec();
        let lengths: Vec<usize> = to_datagrams(b"", &lines).iter().map(Vec::len).collect();
        assert_eq!(lengths, [1_100, 101, 4_000, 10]);
        assert!(to_datagrams(b"/key k\n", &[]).is_empty());
    }

    #[test]
    fn each_datagram_begins_with_the_key_and_stays_within_the_limit() {
        let lines: Vec<Vec<u8>> = [590, 600, 10].map(|length| vec![b'x'; length]).to_vec();
        let datagrams = to_datagrams(b"/key abcdefghijklm\n", &lines);
        assert!(datagrams.iter().all(|datagram| datagram.starts_with(b"/key abcdefghijklm\nx")
            && datagram.len() <= DATAGRAM_BYTES_MAX));
        assert_eq!(datagrams.iter().map(Vec::len).collect::<Vec<_>>(), [609, 629]);
    }

    #[test]
    fn the_key_is_read_from_the_first_line_with_or_without_tags() {
        let expected = Some((b"/key abc\n".to_vec(), &b"* Welcome\n"[..]));
        assert_eq!(split_key(b"* /key abc\n* Welcome\n"), expected);
        assert_eq!(
            split_key(b"@id=1;datagram=1;event=reply;to=hello * /key abc\n* Welcome\n"),
            expected
        );
        assert_eq!(split_key(b"[#lobby] eve: * /key abc\n"), None);
    }
}
