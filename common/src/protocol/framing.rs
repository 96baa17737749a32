//! Splits peeked bytes into lines. A pure function: the result depends on the bytes alone.

use crate::limits::LINE_BYTES_MAX;
use crate::protocol::line::telnet::text_len;
use std::ops::ControlFlow;

/// One piece that [`cut`] found, in order. Lines come without their LF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A line, as the client sent it, without its LF.
    Line(&'a [u8]),
    /// The beginning of a line that is longer than a line may be, but only by its Telnet
    /// negotiations.
    LineBegins(&'a [u8]),
    /// So many bytes that no line may be that long: the line they begin is refused, its rest
    /// skipped.
    LongLineBegins,
    /// The LF that ends a line that was too long.
    LongLineEnds,
}

/// What [`cut`] made of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Bytes that the pieces cover. They may be consumed once what they are is recorded.
    pub committed: usize,
    /// Bytes after those, which belong to a line that is too long: they may be consumed, and need
    /// no record.
    pub skipped: usize,
    /// Whether the bytes end inside a line that was too long.
    pub in_long_line: bool,
}

/// Splits `bytes` into at most `lines_max` pieces and calls `each` with each piece and the offset
/// after it. Ends earlier if `each` says so.
///
/// `in_long_line` says that the bytes begin inside a line that was too long. With `at_end` no more
/// bytes will come, and what is left without an LF is a line too.
pub fn cut<'a>(
    bytes: &'a [u8],
    in_long_line: bool,
    at_end: bool,
    lines_max: usize,
    mut each: impl FnMut(Piece<'a>, usize) -> ControlFlow<()>,
) -> Cut {
    let mut cut = Cut { committed: 0, skipped: 0, in_long_line };
    for _ in 0..lines_max {
        let rest = &bytes[cut.committed..];
        let piece = if cut.in_long_line {
            let Some(end) = find_line_end(rest) else {
                cut.skipped = rest.len();
                break;
            };
            cut.committed += end + 1;
            cut.in_long_line = false;
            Piece::LongLineEnds
        } else {
            match find_line_end(&rest[..rest.len().min(LINE_BYTES_MAX)]) {
                Some(end) => {
                    cut.committed += end + 1;
                    Piece::Line(&rest[..end])
                }
                None if rest.len() >= LINE_BYTES_MAX && is_long_by_telnet(rest) => {
                    cut.committed += LINE_BYTES_MAX - 1;
                    Piece::LineBegins(&rest[..LINE_BYTES_MAX - 1])
                }
                None if rest.len() >= LINE_BYTES_MAX => {
                    cut.committed += LINE_BYTES_MAX - 1;
                    cut.in_long_line = true;
                    Piece::LongLineBegins
                }
                None if at_end && !rest.is_empty() => {
                    cut.committed += rest.len();
                    Piece::Line(rest)
                }
                None => break,
            }
        };
        if each(piece, cut.committed).is_break() {
            break;
        }
    }
    cut
}

/// Where a line's last byte is: its LF, or the NUL of CR NUL, which Telnet sends for Enter without
/// an LF (RFC 854).
fn find_line_end(bytes: &[u8]) -> Option<usize> {
    memchr::memchr2_iter(b'\n', 0, bytes)
        .find(|&at| bytes[at] == b'\n' || (at > 0 && bytes[at - 1] == b'\r'))
}

/// Whether the first line in `bytes`, as far as it is there, is no longer than a line may be once
/// Telnet's negotiations are taken out.
fn is_long_by_telnet(bytes: &[u8]) -> bool {
    let line = find_line_end(bytes).map_or(bytes, |end| &bytes[..end]);
    text_len(line) < LINE_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `bytes` as a socket would, `step` bytes more at a time, consuming what may be
    /// consumed.
    fn all_lines(bytes: &[u8], step: usize) -> Vec<Vec<u8>> {
        let (mut lines, mut start, mut seen, mut in_long_line) = (Vec::new(), 0, 0, false);
        loop {
            seen = (seen + step).min(bytes.len());
            let cut = cut(
                &bytes[start..seen],
                in_long_line,
                seen == bytes.len(),
                usize::MAX,
                |piece, _| {
                    lines.push(match piece {
                        Piece::Line(line) => line.to_vec(),
                        Piece::LineBegins(beginning) => [b"<begins>", beginning].concat(),
                        Piece::LongLineBegins => b"<long>".to_vec(),
                        Piece::LongLineEnds => b"</long>".to_vec(),
                    });
                    ControlFlow::Continue(())
                },
            );
            start += cut.committed + cut.skipped;
            in_long_line = cut.in_long_line;
            if seen == bytes.len() {
                return lines;
            }
        }
    }

    #[test]
    fn lines_are_cut_at_lf_and_the_last_needs_none() {
        assert_eq!(all_lines(b"a\r\n\nb", 1), [b"a\r".to_vec(), b"".to_vec(), b"b".to_vec()]);
    }

    #[test]
    fn a_line_may_be_as_long_as_the_bound_and_not_longer() {
        let mut fits = vec![b'x'; LINE_BYTES_MAX - 1];
        fits.push(b'\n');
        assert_eq!(all_lines(&fits, 100).len(), 1);
        let mut long = vec![b'x'; LINE_BYTES_MAX];
        long.extend_from_slice(b"yy\nnext\n");
        assert_eq!(all_lines(&long, 100), [&b"<long>"[..], b"</long>", b"next"]);
    }

    #[test]
    fn a_line_that_is_long_by_telnet_is_not_refused_and_handed_on_in_parts() {
        let negotiations = b"\xff\xfd\x06".repeat(5_000);
        for step in [usize::MAX / 2, LINE_BYTES_MAX] {
            let lines = all_lines(&[&negotiations[..], b"/ping b\n"].concat(), step);
            let (last, begin) = lines.split_last().unwrap();
            assert!(
                last.ends_with(b"/ping b")
                    && begin.len() == 3
                    && begin.iter().all(|piece| piece.starts_with(b"<begins>"))
            );
        }
        for end in [&b"\n\xff\xfd\x06\n"[..], b"\xff\xfd\x06\n"] {
            let long = [&vec![b'x'; LINE_BYTES_MAX][..], end].concat();
            assert_eq!(
                all_lines(&long, usize::MAX / 2)[0],
                b"<long>",
                "by its text, or before another line's negotiation"
            );
        }
    }

    #[test]
    fn telnets_cr_nul_ends_a_line_and_a_nul_does_not() {
        assert_eq!(
            all_lines(b"one\r\0/two\r\0th\0ree\r\n\0", 100),
            [&b"one\r"[..], b"/two\r", b"th\0ree\r", b"\0"]
        );
    }

    #[test]
    fn no_more_pieces_than_asked_for() {
        let mut count = 0;
        let cut = cut(b"a\nb\nc\n", false, true, 2, |_, _| {
            count += 1;
            ControlFlow::Continue(())
        });
        assert_eq!((count, cut.committed), (2, 4));
    }

    proptest! {
        #[test]
        fn how_bytes_arrive_does_not_matter(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20), step in 1usize..300, lines_long in 0usize..3) {
            // With Telnet it may: a line that is too long is then refused at its beginning or at
            // its end.
            let mut bytes = lines.join(&b'\n').into_iter().map(|byte| if byte == 0xff { b'x' } else { byte }).collect::<Vec<u8>>();
            for _ in 0..lines_long {
                bytes.extend_from_slice(&[b'z'; LINE_BYTES_MAX + 7]);
                bytes.extend_from_slice(b"\nafter\n");
            }
            prop_assert_eq!(all_lines(&bytes, step), all_lines(&bytes, usize::MAX / 2));
        }

        #[test]
        fn any_bytes_in_whole_lines_out(bytes: Vec<u8>) {
            prop_assume!(!bytes.windows(2).any(|pair| pair == b"\r\0"));
            let lines = all_lines(&bytes, 7);
            let mut joined = lines.join(&b'\n');
            if bytes.last() == Some(&b'\n') { joined.push(b'\n'); }
            prop_assert_eq!(joined, bytes);
        }
    }
}
