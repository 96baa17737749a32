//! Splits peeked bytes into lines. Pure: the result depends on the bytes alone. What is particular to
//! a protocol stands in its [`Framing`].

use std::ops::ControlFlow;

/// How a protocol's bytes are split into lines.
#[derive(Debug)]
pub struct Framing {
    /// A line with its line end has at most so many bytes. A longer one is refused once, and skipped
    /// to its end.
    pub line_bytes_max: usize,
    /// Finds the last byte of the first line's end.
    pub line_end: fn(&[u8]) -> Option<usize>,
    /// How many bytes of a line count for its length.
    pub counted_len: fn(&[u8]) -> usize,
    /// Whether the session's further input may have to wait after this line, so that the lines after
    /// it are better left in the kernel. A wrong yes costs some speed, a wrong no some memory.
    pub may_wait_after: fn(&[u8]) -> bool,
    /// Whether an unfinished line is to be taken before its end has come: its client may wait for an
    /// answer to what is in it.
    pub is_urgent: fn(&[u8]) -> bool,
    /// Of a connection's first bytes, those that show that its client speaks another protocol.
    pub foreign_beginning: for<'a> fn(&'a [u8]) -> Option<&'a [u8]>,
}

/// One piece of input, in order. Lines come without their line end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A line, as the client sent it, without its line end's last byte.
    Line(&'a [u8]),
    /// The beginning of a line that is taken before its end.
    LineBegins(&'a [u8]),
    /// So many bytes that no line may be that long: the line they begin is refused, its rest skipped.
    LongLineBegins,
    /// The end of a line that was too long.
    LongLineEnds,
}

/// What follows the peeked bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// More may come.
    More,
    /// The client's end of input: a last line needs no line end.
    EndOfInput,
    /// The connection is broken: what was complete still counts.
    Reset,
}

/// Where some input begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The first bytes of the connection.
    pub is_first: bool,
    /// Inside a line that was too long.
    pub in_long_line: bool,
}

/// What became of some input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Framed {
    /// Bytes that may be consumed once the pieces are recorded. They include bytes of a line that is
    /// too long, which need no record.
    pub consumed: usize,
    /// Bytes of an unfinished line that stay; 0 also if there are more lines than were allowed.
    pub rest: usize,
    /// Whether the next byte belongs to a line that was too long.
    pub in_long_line: bool,
    /// No input is left, and none will come.
    pub is_over: bool,
}

impl Framing {
    /// Splits peeked `bytes` into at most `lines_max` pieces and calls `each` with each piece and the
    /// offset after it.
    pub fn split<'a>(
        &self,
        bytes: &'a [u8],
        start: Start,
        after: After,
        lines_max: usize,
        mut each: impl FnMut(Piece<'a>, usize),
    ) -> Framed {
        // Another protocol's request may have no line end, and what follows its first line belongs to
        // it.
        if start.is_first
            && let Some(beginning) = (self.foreign_beginning)(bytes)
        {
            each(Piece::LineBegins(beginning), beginning.len());
            return Framed { consumed: beginning.len(), ..Framed::default() };
        }
        let (mut count, mut is_cut_short) = (0, false);
        let at_end = after == After::EndOfInput;
        let cut = self.cut(bytes, start.in_long_line, at_end, lines_max, |piece, end| {
            each(piece, end);
            count += 1;
            let may_wait = matches!(piece, Piece::Line(line) if (self.may_wait_after)(line));
            is_cut_short = may_wait || count >= lines_max;
            if is_cut_short { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let mut consumed = cut.committed + cut.skipped;
        let left = &bytes[consumed..];
        if after == After::More && !is_cut_short && (self.is_urgent)(left) {
            consumed = bytes.len();
            each(Piece::LineBegins(left), consumed);
        }
        let rest = bytes.len() - consumed;
        let is_over = !is_cut_short
            && match after {
                After::More => false,
                After::EndOfInput => rest == 0,
                After::Reset => true,
            };
        // Cut short, there may be something to read at once.
        let rest = if is_cut_short { 0 } else { rest };
        Framed { consumed, rest, in_long_line: cut.in_long_line, is_over }
    }

    /// Splits the whole of `bytes` into at most `lines_max` lines, the last of which needs no line
    /// end. False if there are more.
    pub fn split_all<'a>(
        &self,
        bytes: &'a [u8],
        lines_max: usize,
        mut each: impl FnMut(Piece<'a>),
    ) -> bool {
        let cut = self.cut(bytes, false, true, lines_max, |piece, _| {
            each(piece);
            ControlFlow::Continue(())
        });
        cut.committed + cut.skipped == bytes.len()
    }

    /// Splits `bytes` into at most `lines_max` pieces. Ends earlier if `each` says so. With `at_end`
    /// what is left without a line end is a line too.
    fn cut<'a>(
        &self,
        bytes: &'a [u8],
        in_long_line: bool,
        at_end: bool,
        lines_max: usize,
        mut each: impl FnMut(Piece<'a>, usize) -> ControlFlow<()>,
    ) -> Cut {
        let mut cut = Cut { committed: 0, skipped: 0, in_long_line };
        let line_max = self.line_bytes_max;
        for _ in 0..lines_max {
            let rest = &bytes[cut.committed..];
            let piece = if cut.in_long_line {
                let Some(end) = (self.line_end)(rest) else {
                    cut.skipped = rest.len();
                    break;
                };
                cut.committed += end + 1;
                cut.in_long_line = false;
                Piece::LongLineEnds
            } else {
                match (self.line_end)(&rest[..rest.len().min(line_max)]) {
                    Some(end) => {
                        cut.committed += end + 1;
                        Piece::Line(&rest[..end])
                    }
                    None if rest.len() >= line_max && self.is_short_after_all(rest) => {
                        cut.committed += line_max - 1;
                        Piece::LineBegins(&rest[..line_max - 1])
                    }
                    None if rest.len() >= line_max => {
                        cut.committed += line_max - 1;
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

    /// Whether the first line in `bytes`, as far as it is there, is no longer than a line may be once
    /// what doesn't count is taken out.
    fn is_short_after_all(&self, bytes: &[u8]) -> bool {
        let line = (self.line_end)(bytes).map_or(bytes, |end| &bytes[..end]);
        (self.counted_len)(line) < self.line_bytes_max
    }
}

/// What [`Framing::cut`] made of some bytes.
#[derive(Clone, Copy)]
struct Cut {
    /// Bytes that the pieces cover.
    committed: usize,
    /// Bytes after those, which belong to a line that is too long.
    skipped: usize,
    /// Whether the bytes end inside a line that was too long.
    in_long_line: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::LINE_BYTES_MAX;
    use crate::protocol::line::FRAMING;
    use proptest::prelude::*;

    /// Feeds `bytes` as a socket would, `step` bytes more at a time, consuming what may be
    /// consumed.
    fn all_lines(bytes: &[u8], step: usize) -> Vec<Vec<u8>> {
        let (mut lines, mut start, mut seen, mut in_long_line) = (Vec::new(), 0, 0, false);
        loop {
            seen = (seen + step).min(bytes.len());
            let cut = FRAMING.cut(
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
        let cut = FRAMING.cut(b"a\nb\nc\n", false, true, 2, |_, _| {
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
