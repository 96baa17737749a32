//! Cuts output into datagrams, and numbers them so that a program can detect lost ones.
//!
//! Gaps in ids don't show a loss, since ids also skip records of other rooms. So the first line of
//! a datagram, if it has tags, gets another tag: `@id=1042;datagram=7;time=…`.

use crate::limits::DATAGRAM_BYTES_MAX;

/// The largest number of bytes that the tag adds.
pub const NUMBER_TAG_BYTES_MAX: usize = ";datagram=".len() + 20;

/// The next datagram of a session's output.
#[derive(Debug, PartialEq, Eq)]
pub struct Datagram {
    /// How many bytes of the output it contains.
    pub taken: usize,
    /// The bytes to send.
    pub bytes: Vec<u8>,
}

/// Cuts the next datagram off `output`, which begins at the start of a line. Takes as many whole
/// lines as fit, or one line that is too long. `number` is the number of this datagram, counted
/// from 1 in each session.
pub fn cut(output: &[u8], number: u64) -> Datagram {
    let head = id_tag(output);
    let tag = if head > 0 { format!(";datagram={number}") } else { String::new() };
    let taken = whole_lines(output, DATAGRAM_BYTES_MAX - tag.len());
    let bytes = [&output[..head], tag.as_bytes(), &output[head..taken]].concat();
    Datagram { taken, bytes }
}

/// The length of the `@id=…` that a line with tags begins with; 0 if it has none. An id is digits,
/// perhaps with a dot in between, which are ASCII in every supported charset.
fn id_tag(line: &[u8]) -> usize {
    const HEAD: &[u8] = b"@id=";
    let Some(rest) = line.strip_prefix(HEAD) else { return 0 };
    HEAD.len() + rest.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count()
}

/// The length of as many whole lines as fit into `max` bytes, or of the first line if it is longer.
fn whole_lines(bytes: &[u8], max: usize) -> usize {
    let is_end = |&byte: &u8| byte == b'\n';
    let within = &bytes[..bytes.len().min(max)];
    let end = within.iter().rposition(is_end).or_else(|| bytes.iter().position(is_end));
    end.map_or(bytes.len(), |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_with_an_index_is_not_cut() {
        let line = b"@id=1042.3;time=x hello\n";
        assert_eq!(cut(line, 7).bytes, b"@id=1042.3;datagram=7;time=x hello\n");
    }

    #[test]
    fn a_datagram_contains_whole_lines_or_one_long_line() {
        let untagged = |bytes: &[u8]| {
            let datagram = cut(bytes, 7);
            assert_eq!(
                datagram.bytes,
                bytes[..datagram.taken],
                "lines without tags are sent as they are"
            );
            datagram.taken
        };
        assert_eq!(untagged(b"one\ntwo\n"), 8);
        assert_eq!(untagged(&[&[b'x'; 99], &b"\n"[..]].concat().repeat(20)), 1_200);
        assert_eq!(untagged(&[&[b'x'; 3_000], &b"\nshort\n"[..]].concat()), 3_001);
        assert_eq!(
            untagged(b"* hi\n@id=5;time=x [#a] b: c\n"),
            28,
            "only a datagram's first line has the number"
        );
    }

    #[test]
    fn the_tags_of_the_first_line_contain_the_number() {
        let output = b"@id=1042;time=x;event=pong * pong\n@id=1043;time=y * hi\n";
        let datagram = cut(output, 12);
        assert_eq!(datagram.taken, output.len());
        assert_eq!(
            datagram.bytes,
            b"@id=1042;datagram=12;time=x;event=pong * pong\n@id=1043;time=y * hi\n"
        );
    }

    #[test]
    fn the_size_limit_includes_the_number() {
        let line = [&b"@id=1;time="[..], &[b'x'; 88], b"\n"].concat();
        for (number, lines) in [(1, 11), (u64::MAX, 11)] {
            let datagram = cut(&line.repeat(20), number);
            assert_eq!(
                (datagram.taken, datagram.bytes.len() <= DATAGRAM_BYTES_MAX),
                (lines * 100, true)
            );
        }
        let exact =
            [&b"@id=1;time="[..], &[b'x'; DATAGRAM_BYTES_MAX - 11 - 11 - 1], b"\n"].concat();
        assert_eq!(cut(&exact.repeat(2), 7).bytes.len(), DATAGRAM_BYTES_MAX);
        assert_eq!(
            cut(&exact.repeat(2), 10).bytes.len(),
            DATAGRAM_BYTES_MAX + 1,
            "alone, and longer by its number"
        );
    }
}
