//! Recognises HTTP, protocols with requests of the same form, and JSON-RPC.

use super::{first_line, whole_line, words};
use crate::limits::LINE_BYTES_MAX;
use memchr::memmem;

/// `METHOD TARGET NAME/1.1`, RFC 9112, section 3. Of a request that is too long for a line only the
/// beginning is visible. People who try it out by hand may type lower case.
pub(super) fn is_request(bytes: &[u8], name: &[u8]) -> bool {
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
        // The path contains spaces.
        _ => ends_in_version && is_known && is_address,
    }
}

/// `GET /index.html`
pub(super) fn is_http_0_9(bytes: &[u8]) -> bool {
    whole_line(bytes)
        .and_then(|line| line.strip_prefix(b"GET "))
        .is_some_and(|target| !target.contains(&b' ') && is_path(target))
}

/// A path or an absolute URI.
fn is_path(target: &[u8]) -> bool {
    target.starts_with(b"/") || memmem::find(target, b"://").is_some()
}

/// As [`is_path`], or `*` or `host:port`, which some methods have.
fn is_address(target: &[u8]) -> bool {
    is_path(target) || target == b"*" || target.contains(&b':')
}

/// `/1.1`
fn is_version(text: &[u8]) -> bool {
    matches!(text, [b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit())
}

/// `HTTP/1.1 200 OK`
pub(super) fn is_response(bytes: &[u8]) -> bool {
    let mut words = words(first_line(bytes));
    let version = words.next().unwrap_or_default();
    [&b"HTTP"[..], b"RTSP", b"SIP", b"ICAP"]
        .iter()
        .any(|name| version.strip_prefix(*name).is_some_and(is_version))
        && words.next().is_some_and(|code| code.len() == 3 && code.iter().all(u8::is_ascii_digit))
}

/// A JSON object with the members of a request. Stratum miners send it.
pub(super) fn is_json_rpc(bytes: &[u8]) -> bool {
    let has = |member: &[u8]| memmem::find(bytes, member).is_some();
    bytes.starts_with(b"{") && has(b"\"method\"") && (has(b"\"params\"") || has(b"\"jsonrpc\""))
}
