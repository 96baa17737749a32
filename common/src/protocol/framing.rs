//! Splits peeked bytes into lines. The result depends only on the bytes. Each protocol describes
//! its rules in a [`Framing`].

use std::ops::ControlFlow;

/// How a protocol's bytes are split into lines.
#[derive(Debug)]
pub struct Framing {
    /// The largest length of a line in bytes, including its line end. A longer line is refused once
    /// and skipped to its end.
    pub line_bytes_max: usize,
    /// Returns the index of the last byte of the first line's end.
    pub line_end: fn(&[u8]) -> Option<usize>,
    /// Returns how many bytes of a line count for its length.
    pub counted_len: fn(&[u8]) -> usize,
    /// Whether the session's further input may have to wait after this line. Then the following
    /// lines should stay in the kernel. A wrong yes costs some speed, a wrong no some memory.
    pub may_wait_after: fn(&[u8]) -> bool,
    /// Whether an unfinished line must be taken before its end arrives, because its client may wait
    /// for an answer to a part of it.
    pub is_urgent: fn(&[u8]) -> bool,
    /// Returns the part of a connection's first bytes that shows that its client speaks another
    /// protocol.
    pub foreign_beginning: for<'a> fn(&'a [u8]) -> Option<&'a [u8]>,
}

/// A piece of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A line as the client sent it, without the last byte of its line end.
    Line(&'a [u8]),
    /// The beginning of a line that is taken before its end.
    LineBegins(&'a [u8]),
    /// The beginning of a line that is too long. The line is refused and its rest skipped.
    LongLineBegins,
    /// The end of a line that was too long.
    LongLineEnds,
}

/// What follows after the peeked bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// More may come.
    More,
    /// The client's end of input: a last line needs no line end.
    EndOfInput,
    /// The connection is broken. Complete lines still count.
    Reset,
}

/// The position at which the bytes begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Whether they are the first bytes of the connection.
    pub is_first: bool,
    /// Whether they begin inside a line that was too long.
    pub in_long_line: bool,
}

/// The result of [`Framing::split`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Framed {
    /// The number of bytes that may be consumed after the pieces are recorded. Includes bytes of a
    /// line that is too long, which need no record.
    pub consumed: usize,
    /// The number of bytes of an unfinished line, which are not consumed. Also 0 if there are more
    /// lines than allowed.
    pub rest: usize,
    /// Whether the next byte belongs to a line that was too long.
    pub in_long_line: bool,
    /// Whether no input is left, and none will arrive.
    pub is_over: bool,
}

impl Framing {
    /// Splits peeked `bytes` into at most `lines_max` pieces. Calls `each` with each piece and the
    /// offset after it.
    pub fn split<'a>(
        &self,
        bytes: &'a [u8],
        start: Start,
        after: After,
        lines_max: usize,
        mut each: impl FnMut(Piece<'a>, usize),
    ) -> Framed {
        // A request of another protocol may have no line end, and the lines after its first line
        // belong to it.
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
        // After an early stop there may be more to process at once.
        let rest = if is_cut_short { 0 } else { rest };
        Framed { consumed, rest, in_long_line: cut.in_long_line, is_over }
    }

    /// Splits all of `bytes` into at most `lines_max` lines. The last one needs no line end. False
    /// if there are more lines.
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

    /// Splits `bytes` into at most `lines_max` pieces. Stops earlier if `each` breaks. With
    /// `at_end` a rest without a line end is a line too.
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
                    None if rest.len() >= line_max && self.is_short_as_counted(rest) => {
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

    /// Whether the first line in `bytes`, which may be incomplete, is within the limit without the
    /// bytes that don't count.
    fn is_short_as_counted(&self, bytes: &[u8]) -> bool {
        let line = (self.line_end)(bytes).map_or(bytes, |end| &bytes[..end]);
        (self.counted_len)(line) < self.line_bytes_max
    }
}

/// The result of [`Framing::cut`].
#[derive(Clone, Copy)]
struct Cut {
    /// The number of bytes in the pieces.
    committed: usize,
    /// The number of further bytes that belong to a line that is too long.
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

    /// Splits `bytes` like a reader of a socket: sees `step` more bytes at a time, and consumes as
    /// much as possible.
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
    fn a_line_that_is_long_because_of_telnet_is_passed_on_in_parts() {
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
    fn cr_nul_ends_a_line_and_nul_alone_does_not() {
        assert_eq!(
            all_lines(b"one\r\0/two\r\0th\0ree\r\n\0", 100),
            [&b"one\r"[..], b"/two\r", b"th\0ree\r", b"\0"]
        );
    }

    #[test]
    fn at_most_lines_max_pieces_are_split_off() {
        let mut count = 0;
        let cut = FRAMING.cut(b"a\nb\nc\n", false, true, 2, |_, _| {
            count += 1;
            ControlFlow::Continue(())
        });
        assert_eq!((count, cut.committed), (2, 4));
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_bytes_arrive(
            lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20),
            step in 1usize..300,
            lines_long in 0usize..3,
        ) {
            // The bytes exclude Telnet, with which a line that is too long may be refused at its
            // beginning or at its end.
            let without_telnet = |byte| if byte == 0xff { b'x' } else { byte };
            let mut bytes: Vec<u8> =
                lines.join(&b'\n').into_iter().map(without_telnet).collect();
            for _ in 0..lines_long {
                bytes.extend_from_slice(&[b'z'; LINE_BYTES_MAX + 7]);
                bytes.extend_from_slice(b"\nafter\n");
            }
            prop_assert_eq!(all_lines(&bytes, step), all_lines(&bytes, usize::MAX / 2));
        }

        #[test]
        fn lines_contain_all_bytes(bytes: Vec<u8>) {
            prop_assume!(!bytes.windows(2).any(|pair| pair == b"\r\0"));
            let lines = all_lines(&bytes, 7);
            let mut joined = lines.join(&b'\n');
            if bytes.last() == Some(&b'\n') {
                joined.push(b'\n');
            }
            prop_assert_eq!(joined, bytes);
        }
    }
}
