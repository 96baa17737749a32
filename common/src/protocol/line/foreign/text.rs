//! Recognises protocols whose clients begin with text.

use super::{first_line, lines, second_line, whole_line, words};
use memchr::memmem;

/// `SSH-2.0-OpenSSH_10.0`, RFC 4253, section 4.2.
pub(super) fn is_ssh(bytes: &[u8]) -> bool {
    matches!(first_line(bytes), [b'S', b'S', b'H', b'-', b'1' | b'2', b'.', minor, rest @ ..]
    if minor.is_ascii_digit()
        && rest.iter().position(|&byte| byte == b'-').is_some_and(|end| {
            end < rest.len() - 1 && rest[..end].iter().all(u8::is_ascii_digit)
        }))
}

/// `PROXY TCP4 …`, or the signature of version 2 without its leading line ends.
pub(super) fn is_proxy(bytes: &[u8]) -> bool {
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
pub(super) fn is_irc(bytes: &[u8]) -> bool {
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

/// `EHLO mail.example.org`; or `EHLO` with any word if the next command follows without a wait for
/// the answer, as spam senders do. `EHLO everyone` alone may be chat.
pub(super) fn is_smtp(bytes: &[u8]) -> bool {
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

/// A full host name, or an address in brackets: RFC 5321, section 4.1.3.
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

/// A stream header, RFC 6120, section 4.2. Clients send it without a line end.
pub(super) fn is_xmpp(bytes: &[u8]) -> bool {
    let is_stream = |text: &[u8]| text.trim_ascii_start().starts_with(b"<stream:stream ");
    let has_attribute =
        [&b"to="[..], b"xmlns"].iter().any(|name| memmem::find(bytes, name).is_some());
    (is_stream(bytes) && has_attribute)
        || (bytes.starts_with(b"<?xml")
            && memmem::find(bytes, b"?>").is_some_and(|end| is_stream(&bytes[end + 2..])))
}

/// `set key flags exptime bytes`, and similar commands. The line must end in CR LF, and the key
/// must not be a number, since chat may begin like `add 1 2 3 4`.
pub(super) fn is_memcached(bytes: &[u8]) -> bool {
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

/// `*1`, `$4`, `PING`: an array of strings, whose first line alone may be chat; or an inline
/// command that is never chat.
pub(super) fn is_redis(bytes: &[u8]) -> bool {
    let is_length = |line: &[u8], sign: u8| {
        matches!(line, [first, digits @ ..] if *first == sign
            && !digits.is_empty()
            && digits.iter().all(u8::is_ascii_digit))
    };
    (is_length(first_line(bytes), b'*') && is_length(second_line(bytes), b'$'))
        || whole_line(bytes).is_some_and(is_redis_inline)
}

/// An inline command in capitals with its arguments, as in the manual.
fn is_redis_inline(line: &[u8]) -> bool {
    // One word more than the longest pattern.
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

pub(super) fn is_stomp(bytes: &[u8]) -> bool {
    matches!(first_line(bytes), b"CONNECT" | b"STOMP")
        && second_line(bytes).contains(&b':')
        && !second_line(bytes).contains(&b' ')
}

/// `0033git-upload-pack /path`
pub(super) fn is_git(bytes: &[u8]) -> bool {
    bytes.len() > 4
        && bytes[..4].iter().all(u8::is_ascii_hexdigit)
        && (bytes[4..].starts_with(b"git-upload-pack /")
            || bytes[4..].starts_with(b"git-receive-pack /"))
}

/// `@RSYNCD: 31.0 sha512 sha256`
pub(super) fn is_rsync(bytes: &[u8]) -> bool {
    let Some(rest) = first_line(bytes).strip_prefix(b"@RSYNCD: ") else { return false };
    words(rest).all(|word| {
        word.iter().any(u8::is_ascii_digit)
            && word.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'.')
    })
}

/// `RFB 003.008`, RFC 6143, section 7.1.1.
pub(super) fn is_vnc(bytes: &[u8]) -> bool {
    matches!(first_line(bytes), [b'R', b'F', b'B', b' ', a, b, c, b'.', d, e, f]
        if [a, b, c, d, e, f].iter().all(|digit| digit.is_ascii_digit()))
}
