//! Recognises clients of other protocols by their first bytes, and has an answer for each: in their
//! own protocol if a short one exists.
//!
//! [`recognise`] reads one table. A row matches only bytes that a chat user would not type as a
//! first line: `GET / HTTP/1.1` is a request, `GET well soon` is chat. If a user might continue the
//! line (`GET /` off my lawn), the row needs the complete line. Ambiguous lines count as chat:
//! `PING`, `AUTH x`, `SET a b`, `get key`, `stats`. Clients that wait for the server to speak first
//! (SMTP, FTP, MySQL) receive the welcome and can't be recognised.

mod binary;
mod http;
mod text;

use crate::limits::LINE_BYTES_MAX;

/// One row of the table: a protocol that forkchat does not speak.
#[derive(Debug)]
pub struct ForeignProtocol {
    /// The name of the protocol.
    pub name: &'static str,
    /// The answer. It is sent unchanged, and the connection is closed after it.
    pub answer: &'static [u8],
    matches: fn(&[u8]) -> bool,
}

/// A refusal in plain text, for protocols without a short answer of their own.
macro_rules! refusal {
    ($what:literal) => {
        concat!(
            "! this is forkchat, a chat server for lines of text, but you sent ",
            $what,
            "; connect with nc or forkchat-client\n"
        )
        .as_bytes()
    };
}

macro_rules! explanation {
    () => {
        "This is forkchat, a chat server for lines of text; it does not speak this protocol. \
         Connect with forkchat-client or nc.\n"
    };
}

/// A complete response, for HTTP and protocols of the same form.
macro_rules! bad_request {
    ($version:literal) => {
        concat!(
            $version,
            " 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: 120\r\nConnection: close\r\n\r\n",
            explanation!()
        )
        .as_bytes()
    };
}

/// Alert, TLS 1.0, two bytes: fatal, protocol_version (RFC 5246, section 7.2).
const TLS_ALERT: &[u8] = b"\x15\x03\x01\x00\x02\x02\x46";

/// An empty SETTINGS frame, then GOAWAY with no stream, HTTP_1_1_REQUIRED and a readable text (RFC
/// 9113, sections 3.4, 6.5 and 6.8).
const GOAWAY: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\x4b\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0d\
      this is forkchat, a chat server; connect with forkchat-client or nc";

/// The first matching row decides, so specific rows come before general ones.
const TABLE: &[ForeignProtocol] = &[
    ForeignProtocol {
        name: "HTTP/2",
        answer: GOAWAY,
        matches: |bytes| bytes.starts_with(b"PRI * HTTP/2.0\r\n"),
    },
    ForeignProtocol {
        name: "HTTP",
        answer: bad_request!("HTTP/1.1"),
        matches: |bytes| http::is_request(bytes, b"HTTP") || http::is_http_0_9(bytes),
    },
    ForeignProtocol {
        name: "RTSP",
        answer: bad_request!("RTSP/1.0"),
        matches: |bytes| http::is_request(bytes, b"RTSP"),
    },
    ForeignProtocol {
        name: "SIP",
        answer: bad_request!("SIP/2.0"),
        matches: |bytes| http::is_request(bytes, b"SIP"),
    },
    ForeignProtocol {
        name: "ICAP",
        answer: bad_request!("ICAP/1.0"),
        matches: |bytes| http::is_request(bytes, b"ICAP"),
    },
    ForeignProtocol {
        name: "Icecast",
        answer: bad_request!("HTTP/1.0"),
        matches: |bytes| http::is_request(bytes, b"ICE"),
    },
    ForeignProtocol {
        name: "JSON-RPC",
        answer: refusal!("a JSON-RPC request"),
        matches: http::is_json_rpc,
    },
    ForeignProtocol {
        name: "NATS",
        answer: concat!("-ERR '", explanation!(), "'").as_bytes(),
        matches: |bytes| bytes.starts_with(b"CONNECT {"),
    },
    ForeignProtocol {
        name: "ZeroMQ",
        answer: refusal!("a ZeroMQ greeting"),
        matches: |bytes| matches!(bytes, [0xff, _, _, _, _, _, _, _, 1, 0x7f, ..]),
    },
    ForeignProtocol {
        name: "HTTP response",
        answer: refusal!("an HTTP response"),
        matches: http::is_response,
    },
    ForeignProtocol { name: "TLS", answer: TLS_ALERT, matches: binary::is_tls },
    ForeignProtocol { name: "SSH", answer: refusal!("an SSH banner"), matches: text::is_ssh },
    ForeignProtocol {
        name: "PROXY protocol",
        answer: refusal!("a PROXY protocol header"),
        matches: text::is_proxy,
    },
    ForeignProtocol {
        name: "IRC",
        answer: concat!("ERROR :", explanation!()).as_bytes(),
        matches: text::is_irc,
    },
    ForeignProtocol {
        name: "SMTP",
        answer: concat!("554 ", explanation!()).as_bytes(),
        matches: text::is_smtp,
    },
    ForeignProtocol { name: "XMPP", answer: refusal!("an XMPP stream"), matches: text::is_xmpp },
    ForeignProtocol {
        name: "Flash",
        answer: refusal!("a Flash policy file request"),
        matches: |bytes| bytes.starts_with(b"<policy-file-request/>"),
    },
    ForeignProtocol {
        name: "memcached",
        answer: concat!("SERVER_ERROR ", explanation!()).as_bytes(),
        matches: text::is_memcached,
    },
    ForeignProtocol {
        name: "Redis",
        answer: concat!("-ERR ", explanation!()).as_bytes(),
        matches: text::is_redis,
    },
    ForeignProtocol { name: "STOMP", answer: refusal!("a STOMP frame"), matches: text::is_stomp },
    ForeignProtocol { name: "Git", answer: refusal!("a Git request"), matches: text::is_git },
    ForeignProtocol {
        name: "rsync",
        answer: b"@ERROR: this is forkchat, a chat server\n",
        matches: text::is_rsync,
    },
    ForeignProtocol { name: "VNC", answer: refusal!("a VNC version"), matches: text::is_vnc },
    ForeignProtocol {
        name: "JDWP",
        answer: refusal!("a JDWP handshake"),
        matches: |bytes| matches!(bytes.strip_prefix(b"JDWP-Handshake"), Some([] | [0, ..])),
    },
    ForeignProtocol { name: "AMQP", answer: refusal!("an AMQP header"), matches: binary::is_amqp },
    ForeignProtocol {
        name: "BitTorrent",
        answer: refusal!("a BitTorrent handshake"),
        matches: |bytes| bytes.starts_with(b"\x13BitTorrent protocol"),
    },
    // CONNACK: unacceptable protocol version (MQTT 3.1.1, section 3.2).
    ForeignProtocol { name: "MQTT", answer: b"\x20\x02\x00\x01", matches: binary::is_mqtt },
    // Request rejected; no acceptable methods (RFC 1928, section 3).
    ForeignProtocol {
        name: "SOCKS4",
        answer: b"\0\x5b\0\0\0\0\0\0",
        matches: |bytes| matches!(bytes, [4, 1 | 2, _, _, _, _, _, _, ..]),
    },
    ForeignProtocol { name: "SOCKS5", answer: b"\x05\xff", matches: binary::is_socks5 },
    ForeignProtocol { name: "LDAP", answer: refusal!("an LDAP request"), matches: binary::is_ldap },
    ForeignProtocol {
        name: "RDP",
        answer: refusal!("an RDP request"),
        matches: |bytes| bytes.starts_with(&[3, 0]),
    },
    ForeignProtocol {
        name: "UTF-16",
        answer: refusal!("UTF-16 instead of UTF-8"),
        matches: binary::is_utf_16,
    },
    ForeignProtocol {
        name: "binary data",
        answer: refusal!("binary data"),
        matches: binary::is_binary,
    },
];

/// Recognises the protocol of a connection by its first bytes, if they can't be chat.
///
/// `bytes` is the input so far. `None` may change to a protocol when more bytes arrive.
///
/// ```
/// use forkchat_common::protocol::line::foreign::recognise;
/// assert_eq!(recognise(b"GET / HTTP/1.1\r\n").unwrap().name, "HTTP");
/// assert!(recognise(b"GET well soon\n").is_none());
/// assert!(recognise(b"GET /").is_none() && recognise(b"GET /\n").is_some());
/// ```
pub fn recognise(bytes: &[u8]) -> Option<&'static ForeignProtocol> {
    // Empty lines may precede a request.
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let bytes = &bytes[start..];
    TABLE.iter().find(|protocol| (protocol.matches)(bytes))
}

/// As [`recognise`], for a complete first line without its LF.
pub fn recognise_line(line: &[u8]) -> Option<&'static ForeignProtocol> {
    recognise(&[line, b"\n"].concat())
}

/// The part of a connection's first bytes by which [`recognise`] recognises them; `None` if it
/// doesn't. Shorter than [`LINE_BYTES_MAX`].
pub fn beginning(bytes: &[u8]) -> Option<&[u8]> {
    let beginning = &bytes[..bytes.len().min(LINE_BYTES_MAX - 1)];
    recognise(beginning).map(|_| beginning)
}

/// The lines without their line ends. The last one may be incomplete.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

fn first_line(bytes: &[u8]) -> &[u8] {
    lines(bytes).next().unwrap_or_default()
}

/// The first line, if it is complete.
fn whole_line(bytes: &[u8]) -> Option<&[u8]> {
    bytes.contains(&b'\n').then(|| first_line(bytes))
}

fn second_line(bytes: &[u8]) -> &[u8] {
    lines(bytes).nth(1).unwrap_or_default()
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| byte == b' ')
}

#[cfg(test)]
mod tests;
