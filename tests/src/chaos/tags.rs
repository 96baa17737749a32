//! Splits a received line into the parts that the checker compares: tags, text, charset.
//!
//! It does not use the parser of `forkchat_common`, because the checker must compare the exact
//! bytes.

use super::sender::LETTER;
use super::transcript::stamp_of;

/// A line split into its tags and the rest.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tagged<'a> {
    /// The record's position in the log.
    pub id: u64,
    /// Computed from id and time; 0 without tags.
    pub stamp: u64,
    /// The tags after id and time, and the space after them.
    pub tail: &'a [u8],
    /// The line without its tags.
    pub prose: &'a [u8],
}

/// Splits off `@id=N;time=T;event=… `. The number of a datagram, which follows the id, is skipped.
pub fn split_tags(line: &[u8]) -> Option<Tagged<'_>> {
    let end = memchr::memchr(b' ', line)? + 1;
    let (tags, prose) = line.split_at(end);
    let rest = tags.strip_prefix(b"@id=")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (id, mut rest) = (number_of(&rest[..digits])?, &rest[digits..]);
    if let Some(datagram) = rest.strip_prefix(b";datagram=") {
        rest = &datagram[datagram.iter().take_while(|byte| byte.is_ascii_digit()).count()..];
    }
    let time = rest.strip_prefix(b";time=")?;
    let (time, tail) = time.split_at(memchr::memchr(b';', time)?);
    Some(Tagged { id, stamp: id.rotate_left(32) ^ stamp_of(time), tail, prose })
}

/// If the line gives the key of a UDP session: the line `/key KEY` that each datagram must begin
/// with. Empty otherwise.
pub fn key_in(line: &[u8]) -> Vec<u8> {
    let prose = split_tags(line).map_or(line, |tagged| tagged.prose);
    if prose.starts_with(b"* /key ") { [&prose[2..], b"\n"].concat() } else { Vec::new() }
}

/// Parses a decimal number.
pub fn number_of(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The N in `…, served by worker N (pid P)`.
pub fn worker_of(line: &[u8]) -> Option<usize> {
    const BEFORE: &[u8] = b", served by worker ";
    let at = memchr::memmem::rfind(line, BEFORE)?;
    std::str::from_utf8(&line[at + BEFORE.len()..]).ok()?.split(' ').next()?.parse().ok()
}

/// Decodes a line, so that lines in different charsets can be compared.
pub fn to_utf8(line: &[u8], charset: usize) -> Vec<u8> {
    if charset == 0 {
        return line.to_vec();
    }
    line.iter()
        .flat_map(|byte| if [*byte] == LETTER[1] { LETTER[0] } else { std::slice::from_ref(byte) })
        .copied()
        .collect()
}

/// Bytes as readable text, shortened if there are many.
pub fn text(line: &[u8]) -> String {
    const BYTES_MAX: usize = 300;
    let more =
        if line.len() > BYTES_MAX { format!("… ({} bytes)", line.len()) } else { String::new() };
    let part = &line[..line.len().min(BYTES_MAX)];
    match std::str::from_utf8(part) {
        Ok(readable) if !readable.contains(char::is_control) => format!("“{readable}{more}”"),
        _ => format!("“{}{more}”", part.escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_split_and_the_number_of_the_datagram_is_ignored() {
        let line = b"@id=1042;time=2026-11-21T12:00:01.123Z;event=say;room=#r;nick=a [#r] a: hi";
        let tagged = split_tags(line).unwrap();
        assert_eq!(
            (tagged.id, tagged.tail, tagged.prose),
            (1042, &b";event=say;room=#r;nick=a "[..], &b"[#r] a: hi"[..])
        );
        let numbered = split_tags(
            b"@id=1042;datagram=7;time=2026-11-21T12:00:01.123Z;event=say;room=#r;nick=a \
              [#r] a: hi",
        )
        .unwrap();
        assert_eq!((numbered.stamp, numbered.tail), (tagged.stamp, tagged.tail));
        let later = split_tags(
            b"@id=1042;time=2026-11-21T12:00:01.124Z;event=say;room=#r;nick=a [#r] a: hi",
        )
        .unwrap();
        assert_ne!(later.stamp, tagged.stamp);
        assert!(
            [&b"[#r] a: hi"[..], b"@id=;time=x; y", b"@id=7;event=say;time=x; y"]
                .iter()
                .all(|line| split_tags(line).is_none())
        );
    }

    #[test]
    fn the_worker_is_read_from_the_answer_to_whoami() {
        assert_eq!(
            worker_of(
                b"* you are a, in #r, talking in #r, from 127.0.0.1:5, served by \
            worker 12 (pid 47)"
            ),
            Some(12)
        );
        assert_eq!(worker_of(b"* pong"), None);
    }

    #[test]
    fn lines_are_compared_in_one_charset() {
        assert_eq!(to_utf8(b"* \xe61 quit", 1), "* ж1 quit".as_bytes());
        assert_eq!(text("ж".as_bytes()), "“ж”");
        assert_eq!(text(b"\xe6"), "“\\xe6”");
    }
}
