//! Recognises protocols whose clients begin with binary data.

/// A handshake record of SSL 3 to TLS 1.3, or SSL 2's ClientHello.
pub(super) fn is_tls(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [0x16, 3, 0..=4, ..] | [0x80..=0x8f, _, 1, 3, 0..=4, ..] | [0x80..=0x8f, _, 1, 0, 2, ..]
    )
}

pub(super) fn is_amqp(bytes: &[u8]) -> bool {
    matches!(bytes, [b'A', b'M', b'Q', b'P', 0..=3, ..])
}

/// CONNECT, with its length in one or two bytes and the protocol's name: MQTT 3.1.1, section 3.1.
pub(super) fn is_mqtt(bytes: &[u8]) -> bool {
    let name = |rest: &[u8]| rest.starts_with(b"\0\x04MQTT") || rest.starts_with(b"\0\x06MQIsdp");
    matches!(bytes, [0x10, _, rest @ ..] if name(rest))
        || matches!(bytes, [0x10, _, _, rest @ ..] if name(rest))
}

/// Version, number of methods, methods: RFC 1928, section 3.
pub(super) fn is_socks5(bytes: &[u8]) -> bool {
    matches!(bytes, [5, count @ 1..=8, methods @ ..] if methods.len() >= usize::from(*count))
}

/// A bind request of version 3, with lengths in the short or the long form: RFC 4511, section 4.2.
pub(super) fn is_ldap(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [0x30, 0x05..=0x7f, 2, 1, _, 0x60, ..] | [0x30, 0x84, _, _, _, _, 2, 1, _, 0x60, ..]
    )
}

/// A byte order mark and an ASCII character.
pub(super) fn is_utf_16(bytes: &[u8]) -> bool {
    matches!(bytes, [0xff, 0xfe, 1..=255, 0, ..] | [0xfe, 0xff, 0, 1..=255, ..])
}

/// A NUL among the first bytes. Telnet also sends NUL: after CR, and in negotiations, which begin
/// with 0xFF.
pub(super) fn is_binary(bytes: &[u8]) -> bool {
    const LOOKED_AT: usize = 8;
    let head = &bytes[..bytes.len().min(LOOKED_AT)];
    let head = head.split(|&byte| matches!(byte, b'\n' | 0xff)).next().unwrap_or_default();
    head.iter().enumerate().any(|(at, &byte)| byte == 0 && (at == 0 || head[at - 1] != b'\r'))
}
