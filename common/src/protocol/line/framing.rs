//! How the line protocol's bytes are split into lines: at LF, or at the CR NUL that Telnet sends
//! for Enter. Telnet negotiations don't count for the length of a line.

use super::commands::{Answer, Row, TABLE};
use super::{foreign, telnet};
use crate::limits::LINE_BYTES_MAX;
use crate::protocol::framing::Framing;

/// The line protocol's framing.
pub static FRAMING: Framing = Framing {
    line_bytes_max: LINE_BYTES_MAX,
    line_end,
    counted_len: telnet::text_len,
    may_wait_after: may_have_long_answer,
    is_urgent: telnet::has_command,
    foreign_beginning: foreign::beginning,
};

/// The index of a line's last byte: its LF, or the NUL of CR NUL, which Telnet sends for Enter (RFC
/// 854).
fn line_end(bytes: &[u8]) -> Option<usize> {
    memchr::memchr2_iter(b'\n', 0, bytes)
        .find(|&at| bytes[at] == b'\n' || (at > 0 && bytes[at - 1] == b'\r'))
}

/// Whether a line, as a client sent it, may be a command with a long answer. The input after such a
/// line should stay in the kernel until the answer is complete.
///
/// The line is decoded later, with the charset and the Telnet state. So this returns true for each
/// line that doesn't begin like ordinary text. A wrong yes only costs some speed.
fn may_have_long_answer(line: &[u8]) -> bool {
    match line.trim_ascii_start() {
        [b'/', name @ ..] => {
            // The name may have full-width letters.
            if !name.split(u8::is_ascii_whitespace).next().is_none_or(<[u8]>::is_ascii) {
                return true;
            }
            let is_head = |row: &&Row| {
                name.get(..row.name.len())
                    .is_some_and(|head| head.eq_ignore_ascii_case(row.name.as_bytes()))
            };
            TABLE.iter().filter(|row| row.answer == Answer::Parts).any(|row| is_head(&row))
        }
        // Backspace, DEL or Ctrl-U may erase the text before a slash.
        line @ [first, ..] => {
            !first.is_ascii_graphic() || memchr::memchr3(0x08, 0x15, 0x7f, line).is_some()
        }
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_may_have_a_long_answer_is_recognised_by_its_bytes() {
        for line in [
            "/history",
            "/HISTORY 3",
            "  /rooms",
            "/who #x",
            "\u{feff}/history",
            "／history",
            "/ｗｈｏ",
            "/hｉstory 3",
            "\u{1}/who",
        ] {
            assert!(may_have_long_answer(line.as_bytes()), "{line:?}");
        }
        for line in ["", "hello", "/nick who", "//history", "/me asks who is here", "[a]"] {
            assert!(!may_have_long_answer(line.as_bytes()), "{line:?}");
        }
        for line in [
            &b"\xff\xfd\x06/history"[..],
            b"x\x08/history",
            b"xy\x7f\x7f/who",
            b"xy\x15/who",
            b"\x1b[A/who",
            b"\xa0/rooms",
        ] {
            assert!(may_have_long_answer(line), "{line:?}");
        }
    }
}
