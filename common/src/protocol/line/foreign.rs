//! Clients of other protocols: recognised by the first bytes that they send, and answered in their
//! own protocol where a short answer exists.
//!
//! [`recognise`] reads one table. A row matches only bytes that a person would not type as a first
//! line: `GET / HTTP/1.1` is a request, `GET well soon` is chat. Where a person might continue the
//! line (`GET /` off my lawn), the row needs the complete line. Lines that could be either count as
//! chat: `PING`, `AUTH x`, `SET a b`, `get key`, `stats`. Clients that wait for the server to speak
//! first (SMTP, FTP, MySQL) receive the welcome and can't be recognised.

use crate::limits::LINE_BYTES_MAX;
use memchr::memmem;

/// One row of the table: a protocol that forkchat does not speak.
#[derive(Debug)]
pub struct Protocol {
    /// The name of the protocol.
    pub name: &'static str,
    /// The last bytes that the client receives, sent unchanged.
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
        "This is forkchat, a chat server for lines of text; it does not speak this protocol. Connect with forkchat-client or nc.\n"
    };
}

/// A complete response of the protocols that look like HTTP.
macro_rules! bad_request {
    ($version:literal) => {
        concat!(
            $version,
            " 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 120\r\nConnection: close\r\n\r\n",
            explanation!()
        )
        .as_bytes()
    };
}

/// Alert, TLS 1.0, two bytes: fatal, protocol_version (RFC 5246, section 7.2).
const TLS_ALERT: &[u8] = b"\x15\x03\x01\x00\x02\x02\x46";

/// An empty SETTINGS frame, then GOAWAY: no stream, HTTP_1_1_REQUIRED, and what a person may read
/// (RFC 9113, sections 3.4, 6.5 and 6.8).
const GOAWAY: &[u8] =
    b"\0\0\0\x04\0\0\0\0\0\0\0\x4b\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0dthis is forkchat, a chat server; connect with forkchat-client or nc";

/// The first row that matches decides, so specific rows come before general ones.
const TABLE: &[Protocol] = &[
    Protocol {
        name: "HTTP/2",
        answer: GOAWAY,
        matches: |bytes| bytes.starts_with(b"PRI * HTTP/2.0\r\n"),
    },
    Protocol {
        name: "HTTP",
        answer: bad_request!("HTTP/1.1"),
        matches: |bytes| is_request(bytes, b"HTTP") || is_http_0_9(bytes),
    },
    Protocol {
        name: "RTSP",
        answer: bad_request!("RTSP/1.0"),
        matches: |bytes| is_request(bytes, b"RTSP"),
    },
    Protocol {
        name: "SIP",
        answer: bad_request!("SIP/2.0"),
        matches: |bytes| is_request(bytes, b"SIP"),
    },
    Protocol {
        name: "ICAP",
        answer: bad_request!("ICAP/1.0"),
        matches: |bytes| is_request(bytes, b"ICAP"),
    },
    Protocol {
        name: "Icecast",
        answer: bad_request!("HTTP/1.0"),
        matches: |bytes| is_request(bytes, b"ICE"),
    },
    Protocol { name: "JSON-RPC", answer: refusal!("a JSON-RPC request"), matches: is_json_rpc },
    Protocol {
        name: "NATS",
        answer: concat!("-ERR '", explanation!(), "'").as_bytes(),
        matches: |bytes| bytes.starts_with(b"CONNECT {"),
    },
    Protocol {
        name: "ZeroMQ",
        answer: refusal!("a ZeroMQ greeting"),
        matches: |bytes| matches!(bytes, [0xff, _, _, _, _, _, _, _, 1, 0x7f, ..]),
    },
    Protocol { name: "HTTP response", answer: refusal!("an HTTP response"), matches: is_response },
    Protocol { name: "TLS", answer: TLS_ALERT, matches: is_tls },
    Protocol { name: "SSH", answer: refusal!("an SSH banner"), matches: is_ssh },
    Protocol {
        name: "PROXY protocol",
        answer: refusal!("a PROXY protocol header"),
        matches: is_proxy,
    },
    Protocol {
        name: "IRC",
        answer: concat!("ERROR :", explanation!()).as_bytes(),
        matches: is_irc,
    },
    Protocol { name: "SMTP", answer: concat!("554 ", explanation!()).as_bytes(), matches: is_smtp },
    Protocol { name: "XMPP", answer: refusal!("an XMPP stream"), matches: is_xmpp },
    Protocol {
        name: "Flash",
        answer: refusal!("a Flash policy file request"),
        matches: |bytes| bytes.starts_with(b"<policy-file-request/>"),
    },
    Protocol {
        name: "memcached",
        answer: concat!("SERVER_ERROR ", explanation!()).as_bytes(),
        matches: is_memcached,
    },
    Protocol {
        name: "Redis",
        answer: concat!("-ERR ", explanation!()).as_bytes(),
        matches: is_redis,
    },
    Protocol { name: "STOMP", answer: refusal!("a STOMP frame"), matches: is_stomp },
    Protocol { name: "Git", answer: refusal!("a Git request"), matches: is_git },
    Protocol {
        name: "rsync",
        answer: b"@ERROR: this is forkchat, a chat server\n",
        matches: is_rsync,
    },
    Protocol { name: "VNC", answer: refusal!("a VNC version"), matches: is_vnc },
    Protocol {
        name: "JDWP",
        answer: refusal!("a JDWP handshake"),
        matches: |bytes| matches!(bytes.strip_prefix(b"JDWP-Handshake"), Some([] | [0, ..])),
    },
    Protocol { name: "AMQP", answer: refusal!("an AMQP header"), matches: is_amqp },
    Protocol {
        name: "BitTorrent",
        answer: refusal!("a BitTorrent handshake"),
        matches: |bytes| bytes.starts_with(b"\x13BitTorrent protocol"),
    },
    // CONNACK: unacceptable protocol version (MQTT 3.1.1, section 3.2).
    Protocol { name: "MQTT", answer: b"\x20\x02\x00\x01", matches: is_mqtt },
    // Request rejected; no acceptable methods (RFC 1928, section 3).
    Protocol {
        name: "SOCKS4",
        answer: b"\0\x5b\0\0\0\0\0\0",
        matches: |bytes| matches!(bytes, [4, 1 | 2, _, _, _, _, _, _, ..]),
    },
    Protocol { name: "SOCKS5", answer: b"\x05\xff", matches: is_socks5 },
    Protocol { name: "LDAP", answer: refusal!("an LDAP request"), matches: is_ldap },
    Protocol {
        name: "RDP",
        answer: refusal!("an RDP request"),
        matches: |bytes| bytes.starts_with(&[3, 0]),
    },
    Protocol { name: "UTF-16", answer: refusal!("UTF-16 instead of UTF-8"), matches: is_utf_16 },
    Protocol { name: "binary data", answer: refusal!("binary data"), matches: is_binary },
];

/// The protocol of a connection by its first bytes, if they can't be meant for the chat.
///
/// `bytes` is what has arrived so far. `None` also means that more bytes may decide.
///
/// ```
/// use forkchat_common::protocol::line::foreign::recognise;
/// assert_eq!(recognise(b"GET / HTTP/1.1\r\n").unwrap().name, "HTTP");
/// assert!(recognise(b"GET well soon\n").is_none());
/// assert!(recognise(b"GET /").is_none() && recognise(b"GET /\n").is_some());
/// ```
pub fn recognise(bytes: &[u8]) -> Option<&'static Protocol> {
    // Empty lines may stand before a request.
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let bytes = &bytes[start..];
    TABLE.iter().find(|protocol| (protocol.matches)(bytes))
}

/// As [`recognise`], for a complete first line without its LF.
pub fn recognise_line(line: &[u8]) -> Option<&'static Protocol> {
    recognise(&[line, b"\n"].concat())
}

/// The part of a connection's first bytes that [`recognise`] needs, if it recognises them; shorter
/// than the longest line.
pub fn beginning(bytes: &[u8]) -> Option<&[u8]> {
    let beginning = &bytes[..bytes.len().min(LINE_BYTES_MAX - 1)];
    recognise(beginning).map(|_| beginning)
}

/// The complete lines and a last one that may be incomplete, each without its line end.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

fn first_line(bytes: &[u8]) -> &[u8] {
    lines(bytes).next().unwrap_or_default()
}

/// The first line, if its end has come.
fn whole_line(bytes: &[u8]) -> Option<&[u8]> {
    bytes.contains(&b'\n').then(|| first_line(bytes))
}

fn second_line(bytes: &[u8]) -> &[u8] {
    lines(bytes).nth(1).unwrap_or_default()
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| byte == b' ')
}

/// `METHOD TARGET NAME/1.1`, RFC 9112, section 3. Of one too long for a line only the beginning is
/// seen. People who try it out by hand write it in lower case.
fn is_request(bytes: &[u8], name: &[u8]) -> bool {
    let line = first_line(bytes);
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return false };
    let (between, version) = (words.clone().count().saturating_sub(1), words.next_back());
    let is_word =
        method.iter().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_'));
    let is_method = is_word && method.len() > 2 && !method.iter().any(u8::is_ascii_lowercase);
    let is_known = [&b"GET"[..], b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE"].contains(&method);
    let is_too_long = name == b"HTTP"
        && version.is_none()
        && bytes.len() == line.len()
        && line.len() >= LINE_BYTES_MAX - 1;
    let ends_in_version = version
        .and_then(|version| version.split_at_checked(name.len()))
        .is_some_and(|(word, number)| word.eq_ignore_ascii_case(name) && is_version(number));
    let is_address = is_address(target);
    match between {
        0 if ends_in_version => is_method || is_word && is_path(target),
        0 => is_too_long && is_method && is_address,
        // A path with spaces in it.
        _ => ends_in_version && is_known && is_address,
    }
}

/// `GET /index.html`
fn is_http_0_9(bytes: &[u8]) -> bool {
    whole_line(bytes)
        .and_then(|line| line.strip_prefix(b"GET "))
        .is_some_and(|target| !target.contains(&b' ') && is_path(target))
}

/// A path or an absolute URI.
fn is_path(target: &[u8]) -> bool {
    target.starts_with(b"/") || memmem::find(target, b"://").is_some()
}

/// The same, and `*` and `host:port` for the methods that have them.
fn is_address(target: &[u8]) -> bool {
    is_path(target) || target == b"*" || target.contains(&b':')
}

/// `/1.1`
fn is_version(text: &[u8]) -> bool {
    matches!(text, [b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit())
}

/// `HTTP/1.1 200 OK`
fn is_response(bytes: &[u8]) -> bool {
    let mut words = words(first_line(bytes));
    let version = words.next().unwrap_or_default();
    [&b"HTTP"[..], b"RTSP", b"SIP", b"ICAP"]
        .iter()
        .any(|name| version.strip_prefix(*name).is_some_and(is_version))
        && words.next().is_some_and(|code| code.len() == 3 && code.iter().all(u8::is_ascii_digit))
}

/// An object with the members of a request, as miners of Stratum send it.
fn is_json_rpc(bytes: &[u8]) -> bool {
    let has = |member: &[u8]| memmem::find(bytes, member).is_some();
    bytes.starts_with(b"{") && has(b"\"method\"") && (has(b"\"params\"") || has(b"\"jsonrpc\""))
}

/// A handshake record of SSL 3 to TLS 1.3, or SSL 2's ClientHello.
fn is_tls(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [0x16, 3, 0..=4, ..] | [0x80..=0x8f, _, 1, 3, 0..=4, ..] | [0x80..=0x8f, _, 1, 0, 2, ..]
    )
}

/// `SSH-2.0-OpenSSH_10.0`, RFC 4253, section 4.2.
fn is_ssh(bytes: &[u8]) -> bool {
    matches!(first_line(bytes), [b'S', b'S', b'H', b'-', b'1' | b'2', b'.', minor, rest @ ..]
        if minor.is_ascii_digit() && rest.iter().position(|&byte| byte == b'-').is_some_and(|end| end < rest.len() - 1
            && rest[..end].iter().all(u8::is_ascii_digit)))
}

/// `PROXY TCP4 …`, or the signature of its second version without the line ends that it begins
/// with.
fn is_proxy(bytes: &[u8]) -> bool {
    let words: Vec<&[u8]> = words(first_line(bytes)).collect();
    let is_first = match words[..] {
        [b"PROXY", b"TCP4" | b"TCP6", _, _, from, to] => {
            [from, to].concat().iter().all(u8::is_ascii_digit)
        }
        [b"PROXY", b"UNKNOWN"] => true,
        _ => false,
    };
    is_first || bytes.starts_with(b"\0\r\nQUIT\n")
}

/// `CAP LS 302`, `USER name mode unused :real name`, or a registration that begins with `NICK` or
/// `PASS`.
fn is_irc(bytes: &[u8]) -> bool {
    let line = first_line(bytes);
    let is_cap = |line: &[u8]| {
        matches!(line, b"CAP LS" | b"CAP LIST" | b"CAP END")
            || line.starts_with(b"CAP LS 3")
            || line.starts_with(b"CAP REQ :")
    };
    let is_user = |line: &[u8]| {
        let mut words = words(line);
        words.next() == Some(b"USER")
            && words.by_ref().take(3).filter(|word| !word.is_empty()).count() == 3
            && words.next().is_some_and(|word| word.starts_with(b":"))
    };
    let opens = line.starts_with(b"NICK ") || line.starts_with(b"PASS ");
    let (second, third) = (second_line(bytes), lines(bytes).nth(2).unwrap_or_default());
    is_cap(line)
        || is_user(line)
        || (opens
            && (is_cap(second)
                || is_user(second)
                || (second.starts_with(b"NICK ") && is_user(third))))
}

/// `EHLO mail.example.org`, or with any word when the next command is sent without a wait for the
/// answer, as senders of spam do; `EHLO everyone` alone may be a person's.
fn is_smtp(bytes: &[u8]) -> bool {
    let is = |line: &[u8], word: &[u8]| {
        line.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word))
    };
    let is_hello = |line: &[u8]| [b"EHLO ", b"HELO ", b"LHLO "].iter().any(|word| is(line, *word));
    let (first, second) = (first_line(bytes), second_line(bytes));
    let goes_on = [&b"MAIL FROM:"[..], b"STARTTLS", b"AUTH "].iter().any(|word| is(second, word));
    is(first, b"MAIL FROM:<")
        || (is_hello(first)
            && (goes_on || whole_line(bytes).is_some_and(|line| is_host(line[5..].trim_ascii()))))
}

/// A host's full name, or its address in brackets: RFC 5321, section 4.1.3.
fn is_host(text: &[u8]) -> bool {
    let is_label = |label: &[u8]| {
        !label.is_empty()
            && label.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let is_literal = text.starts_with(b"[")
        && text.ends_with(b"]")
        && text.iter().any(|byte| matches!(byte, b'.' | b':'));
    let is_name = text.contains(&b'.') && text.split(|&byte| byte == b'.').all(is_label);
    (is_literal && !text.contains(&b' ')) || is_name || text.eq_ignore_ascii_case(b"localhost")
}

/// RFC 6120, section 4.2. It is sent without a line end.
fn is_xmpp(bytes: &[u8]) -> bool {
    let is_stream = |text: &[u8]| text.trim_ascii_start().starts_with(b"<stream:stream ");
    let has_attribute =
        [&b"to="[..], b"xmlns"].iter().any(|name| memmem::find(bytes, name).is_some());
    (is_stream(bytes) && has_attribute)
        || (bytes.starts_with(b"<?xml")
            && memmem::find(bytes, b"?>").is_some_and(|end| is_stream(&bytes[end + 2..])))
}

/// `set key flags exptime bytes`, and the like, before as many bytes of data. The line ends in CR
/// LF; a person whose line does may add numbers, and no key is one.
fn is_memcached(bytes: &[u8]) -> bool {
    let is_number = |word: &[u8]| !word.is_empty() && word.iter().all(u8::is_ascii_digit);
    let Some(line) = memchr::memchr(b'\n', bytes).and_then(|end| bytes[..end].strip_suffix(b"\r"))
    else {
        return false;
    };
    let mut words = words(line);
    let stores = words.next().is_some_and(|word| {
        [&b"set"[..], b"add", b"replace", b"append", b"prepend", b"cas"].contains(&word)
    });
    let has_key = words.next().is_some_and(|key| !key.is_empty() && !is_number(key));
    let has_numbers = words.by_ref().take(3).filter(|word| is_number(word)).count() == 3;
    stores && has_key && has_numbers && words.all(|word| is_number(word) || word == b"noreply")
}

/// `*1`, `$4`, `PING`: an array of strings, of which the first line alone may be a person's; or a
/// line of words that is never chat.
fn is_redis(bytes: &[u8]) -> bool {
    let is = |line: &[u8], sign: u8| matches!(line, [first, digits @ ..] if *first == sign && !digits.is_empty() && digits.iter().all(u8::is_ascii_digit));
    (is(first_line(bytes), b'*') && is(second_line(bytes), b'$'))
        || whole_line(bytes).is_some_and(is_redis_in_words)
}

/// In capitals, as its manual has them, with what belongs to them.
fn is_redis_in_words(line: &[u8]) -> bool {
    // One more than is looked at.
    let words: Vec<&[u8]> = words(line).take(5).collect();
    let is_quoted = |script: &[u8]| script.starts_with(b"\"") || script.starts_with(b"'");
    match words[..] {
        [b"FLUSHALL" | b"FLUSHDB", b"ASYNC" | b"SYNC"]
        | [b"KEYS", b"*"]
        | [b"HELLO", b"2" | b"3", b"AUTH", _, _] => true,
        [b"CONFIG", b"GET", _]
        | [b"CONFIG", b"SET", _, _]
        | [b"CLIENT" | b"MODULE", b"LIST"]
        | [b"CLIENT", b"SETNAME", _] => true,
        [b"COMMAND", b"DOCS" | b"COUNT"] | [b"SLAVEOF" | b"REPLICAOF", b"NO", b"ONE"] => true,
        [b"SLAVEOF" | b"REPLICAOF", _, port] => {
            !port.is_empty() && port.iter().all(u8::is_ascii_digit)
        }
        [b"EVAL", script, _, ..] | [b"SCRIPT", b"LOAD", script, ..] => is_quoted(script),
        _ => false,
    }
}

fn is_stomp(bytes: &[u8]) -> bool {
    matches!(first_line(bytes), b"CONNECT" | b"STOMP")
        && second_line(bytes).contains(&b':')
        && !second_line(bytes).contains(&b' ')
}

/// `0033git-upload-pack /path`
fn is_git(bytes: &[u8]) -> bool {
    bytes.len() > 4
        && bytes[..4].iter().all(u8::is_ascii_hexdigit)
        && (bytes[4..].starts_with(b"git-upload-pack /")
            || bytes[4..].starts_with(b"git-receive-pack /"))
}

/// `@RSYNCD: 31.0 sha512 sha256`
fn is_rsync(bytes: &[u8]) -> bool {
    let Some(rest) = first_line(bytes).strip_prefix(b"@RSYNCD: ") else { return false };
    words(rest).all(|word| {
        word.iter().any(u8::is_ascii_digit)
            && word.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'.')
    })
}

/// `RFB 003.008`, RFC 6143, section 7.1.1.
fn is_vnc(bytes: &[u8]) -> bool {
    matches!(first_line(bytes), [b'R', b'F', b'B', b' ', a, b, c, b'.', d, e, f] if [a, b, c, d, e, f].iter().all(|digit| digit.is_ascii_digit()))
}

fn is_amqp(bytes: &[u8]) -> bool {
    matches!(bytes, [b'A', b'M', b'Q', b'P', 0..=3, ..])
}

/// CONNECT, its length in one or two bytes, and the protocol's name: MQTT 3.1.1, section 3.1.
fn is_mqtt(bytes: &[u8]) -> bool {
    let name = |rest: &[u8]| rest.starts_with(b"\0\x04MQTT") || rest.starts_with(b"\0\x06MQIsdp");
    matches!(bytes, [0x10, _, rest @ ..] if name(rest))
        || matches!(bytes, [0x10, _, _, rest @ ..] if name(rest))
}

/// Version, number of methods, methods: RFC 1928, section 3.
fn is_socks5(bytes: &[u8]) -> bool {
    matches!(bytes, [5, count @ 1..=8, methods @ ..] if methods.len() >= usize::from(*count))
}

/// A message of version 3 that binds, its lengths in the short or the long form: RFC 4511, section
/// 4.2.
fn is_ldap(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [0x30, 0x05..=0x7f, 2, 1, _, 0x60, ..] | [0x30, 0x84, _, _, _, _, 2, 1, _, 0x60, ..]
    )
}

/// A byte order mark and a first character of ASCII.
fn is_utf_16(bytes: &[u8]) -> bool {
    matches!(bytes, [0xff, 0xfe, 1..=255, 0, ..] | [0xfe, 0xff, 0, 1..=255, ..])
}

/// A NUL among the first bytes. Telnet sends it too: after a CR, and in negotiations, which begin
/// with 0xFF.
fn is_binary(bytes: &[u8]) -> bool {
    const LOOKED_AT: usize = 8;
    let head = &bytes[..bytes.len().min(LOOKED_AT)];
    let head = head.split(|&byte| matches!(byte, b'\n' | 0xff)).next().unwrap_or_default();
    head.iter().enumerate().any(|(at, &byte)| byte == 0 && (at == 0 || head[at - 1] != b'\r'))
}

#[cfg(test)]
mod tests;
