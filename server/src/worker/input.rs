//! The input that the receive side passes to the send side, and its construction from peeked bytes.
//! This is pure: bytes in, a batch out.

use crate::chat::{CloseReason, Fact, Record};
use crate::proposer::push_fact;
use crate::segment::Batch;
use forkchat_common::endpoint::{Origin, UdpPath};
use forkchat_common::ids::{Sequence, SessionId};
use forkchat_common::protocol::Protocol;
use forkchat_common::protocol::framing::{After, Piece, Start};

/// The most bytes of one peek. With at most [`super::connection::LINES_PER_PEEK_MAX`] lines in
/// them, each with a record header and rounded up to whole blocks, they fit in a sixteenth of the
/// smallest ring.
pub const PEEK_BYTES_MAX: usize = 32 * 1024;

/// One input. `C` is the type of a connection: a socket, or a simulated one.
#[derive(Debug)]
pub enum Input<C> {
    /// A new connection, and the lines that arrived together with it.
    Opened {
        /// The connection's session.
        session: SessionId,
        /// The client's address and the listener.
        origin: Origin,
        /// The connection.
        connection: C,
        /// The lines that arrived with it.
        lines: Lines,
    },
    /// Lines of an open connection.
    Lines {
        /// The session.
        session: SessionId,
        /// Their content.
        lines: Lines,
    },
    /// Lines of an open connection that the receive side has already appended and consumed.
    Committed {
        /// The session.
        session: SessionId,
        /// The log sequence after them.
        end: Sequence,
    },
    /// The peer has reset a connection whose input isn't read now.
    Broken {
        /// The session.
        session: SessionId,
    },
    /// A datagram.
    Datagram {
        /// The addresses of both its ends.
        path: UdpPath,
        /// Their content.
        bytes: Vec<u8>,
    },
}

/// Peeked lines as records, and what to do with the input when the records are in the log.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// The records.
    pub batch: Batch,
    /// The number of line records in the batch.
    pub count: u64,
    /// Input bytes to consume when the batch is appended.
    pub consume: usize,
    /// Bytes of an unfinished line that stay in the kernel; 0 also if there are more lines than
    /// were allowed.
    pub rest: usize,
    /// Why the input ends, if it does. The last record then closes the session.
    pub ends: Option<CloseReason>,
    /// Whether the next byte belongs to a line that was too long.
    pub in_long_line: bool,
}

impl Lines {
    /// Makes records of `bytes`, which were peeked at `offset` of a session's input.
    pub fn of(
        session: SessionId,
        protocol: Protocol,
        bytes: &[u8],
        offset: u64,
        in_long_line: bool,
        after: After,
        lines_max: usize,
    ) -> Lines {
        let mut lines = Lines::default();
        // Reserves once, for lines of usual length: another thread frees this memory, and growing
        // it step by step would make the two threads contend for the allocator.
        lines.batch.reserve(2 * bytes.len().min(lines_max.saturating_mul(128)));
        let start = Start { is_first: offset == 0, in_long_line };
        let framed = protocol.framing().split(bytes, start, after, lines_max, |piece, end| {
            lines.push(session, fact_of(piece), offset + end as u64);
        });
        lines.consume = framed.consumed;
        lines.in_long_line = framed.in_long_line;
        lines.rest = framed.rest;
        lines.ends = framed.is_over.then_some(match after {
            After::Reset => CloseReason::Reset,
            After::More | After::EndOfInput => CloseReason::EndOfInput,
        });
        if let Some(reason) = lines.ends {
            push_fact(&mut lines.batch, session, Fact::Closed(reason));
        }
        lines
    }

    /// The beginning of a line whose end is not here yet.
    pub fn beginning(session: SessionId, bytes: &[u8], offset: u64) -> Lines {
        let mut lines = Lines { consume: bytes.len(), ..Lines::default() };
        lines.push(session, Fact::LineBegins(bytes), offset + bytes.len() as u64);
        lines
    }

    fn push(&mut self, session: SessionId, fact: Fact<'_>, input_end: u64) {
        self.batch.push(|payload| Record { session, input_end, fact }.encode(payload));
        self.count += 1;
    }

    /// No lines: the session ends for this reason.
    pub fn ending(session: SessionId, reason: CloseReason) -> Lines {
        let mut lines = Lines { ends: Some(reason), ..Lines::default() };
        push_fact(&mut lines.batch, session, Fact::Closed(reason));
        lines
    }

    /// Whether there is nothing to append.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }
}

/// The fact that records a piece of input.
pub fn fact_of(piece: Piece<'_>) -> Fact<'_> {
    match piece {
        Piece::Line(line) => Fact::Line(line),
        Piece::LineBegins(beginning) => Fact::LineBegins(beginning),
        Piece::LongLineBegins => Fact::LongLineBegins,
        Piece::LongLineEnds => Fact::LongLineEnds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::{Geometry, RING_BYTES_MIN};
    use crate::worker::connection::LINES_PER_PEEK_MAX;
    use forkchat_common::ids::{Micros, Slot};

    fn facts(lines: &Lines) -> String {
        let segment = crate::segment::Segment::create(Geometry {
            ring_bytes: 1 << 20,
            slots: 1,
            sessions_max: 1,
            snapshot_bytes_max: 8,
        })
        .unwrap();
        let mut reader =
            crate::segment::Reader::new(&segment.log, segment.join(Slot::at(0)).unwrap().0);
        segment.log.append(Slot::at(0), &lines.batch, Micros(0)).unwrap();
        let described = |payload| match Record::decode(payload).unwrap() {
            Record { fact: Fact::Line(line), input_end, .. } => {
                format!("{}@{input_end} ", String::from_utf8_lossy(line))
            }
            Record { fact, .. } => format!("{fact:?} "),
        };
        reader.fetch(10_000).map(|entry| described(entry.payload)).collect()
    }

    fn lines(bytes: &[u8], after: After, lines_max: usize) -> Lines {
        Lines::of(SessionId::new(1, 0), Protocol::Line, bytes, 100, false, after, lines_max)
    }

    #[test]
    fn whole_lines_are_taken_and_the_rest_stays() {
        let lines = lines(b"one\r\ntwo\nthr", After::More, 10);
        assert_eq!((lines.consume, lines.rest, lines.ends, lines.count), (9, 3, None, 2));
        assert_eq!(facts(&lines), "one\r@105 two@109 ");
    }

    #[test]
    fn at_the_end_of_input_the_last_line_needs_no_lf_and_after_a_reset_it_is_dropped() {
        let ended = lines(b"one\ntwo", After::EndOfInput, 10);
        assert_eq!(facts(&ended), "one@104 two@107 Closed(EndOfInput) ");
        let reset = lines(b"one\ntwo", After::Reset, 10);
        assert_eq!(facts(&reset), "one@104 Closed(Reset) ");
    }

    #[test]
    fn another_protocols_request_is_taken_whole_and_only_at_the_beginning() {
        let (session, request) =
            (SessionId::new(1, 0), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n/nick ceo\n");
        let taken = Lines::of(session, Protocol::Line, request, 0, false, After::EndOfInput, 10);
        assert_eq!((taken.consume, taken.count, taken.ends), (request.len(), 1, None));
        assert!(facts(&taken).starts_with("LineBegins("));
        let hello =
            Lines::of(session, Protocol::Line, b"\x16\x03\x01\x02\x00", 0, false, After::More, 10);
        assert_eq!((hello.consume, hello.rest), (5, 0));
        assert_eq!(lines(request, After::More, 10).count, 4);
    }

    #[test]
    fn a_negotiation_is_taken_before_its_line_ends() {
        let interrupted = lines(b"one\ntw\xff\xf4\xff\xfd\x06", After::More, 10);
        assert_eq!((interrupted.consume, interrupted.rest, interrupted.count), (11, 0, 2));
        assert_eq!(facts(&interrupted), "one@104 LineBegins([116, 119, 255, 244, 255, 253, 6]) ");
        let half = lines(b"tw\xff\xfd", After::More, 10);
        assert_eq!((half.consume, half.rest), (0, 4));
    }

    #[test]
    fn lines_beyond_the_allowed_number_wait_and_the_end_with_them() {
        let lines = lines(b"one\ntwo\nthree", After::EndOfInput, 2);
        assert_eq!((lines.consume, lines.rest, lines.ends), (8, 0, None));
    }

    #[test]
    fn the_records_of_one_peek_fit_in_a_batch_of_the_smallest_ring() {
        let geometry = Geometry {
            ring_bytes: RING_BYTES_MIN,
            slots: 1,
            sessions_max: 1,
            snapshot_bytes_max: 8,
        };
        // The worst case: lines of the length that takes the most room in the ring.
        let of_lines = |length: usize| {
            let mut bytes = Vec::new();
            while bytes.len() + length < PEEK_BYTES_MAX {
                bytes.resize(bytes.len() + length, b'x');
                bytes.push(b'\n');
            }
            (length, bytes)
        };
        let of_telnet = (usize::MAX, b"\xff\xf1".repeat(PEEK_BYTES_MAX / 2));
        for (length, bytes) in [0, 1, 38, 39, 40, 127].map(of_lines).into_iter().chain([of_telnet])
        {
            let id = SessionId(u64::MAX >> 1);
            let lines = Lines::of(
                id,
                Protocol::Line,
                &bytes,
                u64::MAX / 2,
                false,
                After::EndOfInput,
                LINES_PER_PEEK_MAX as usize,
            );
            // The same batch also has the session's Opened and Arrived.
            assert!(
                lines.batch.blocks() + 4 <= geometry.batch_blocks_max(),
                "lines of {length}: {} blocks",
                lines.batch.blocks()
            );
        }
    }
}
