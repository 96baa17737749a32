//! Input of a session that waits. A request to a service, or a list that is sent in parts, may have
//! the session's further input wait until it is complete: so answers come in the order of the
//! commands. For TCP what follows waits in the kernel, as far as the receive side knows in time; the
//! rest, and what came in one datagram, waits here.

use super::record::Fact;
use super::rooms::ListPlace;
use forkchat_common::ids::{RecordId, SessionId};
use forkchat_common::limits::WAITING_LINES_BYTES_MAX;
use forkchat_common::names::RoomName;
use serde::{Deserialize, Serialize};

/// What a waiting line takes besides its bytes.
const LINE_BYTES: usize = 32;

/// What a session waits for, and what it has sent meanwhile.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Waiting {
    pub until: Awaited,
    pub lines: Vec<WaitingLine>,
    lines_bytes: usize,
    /// The end of its input came, too.
    pub has_input_ended: bool,
}

/// What the input of a session waits for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Awaited {
    /// The answer to the request with this name.
    Answer(RecordId),
    /// The last part of a list.
    List(List),
}

/// A list of which a part was sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct List {
    /// The record of the command: the list's name, and the id of each of its lines.
    pub at: RecordId,
    /// How many parts were sent.
    pub parts: u32,
    /// How many items were sent.
    pub sent: usize,
    pub of: Items,
}

/// What a list lists, and how far it was sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Items {
    Rooms {
        pattern: Option<Box<str>>,
        /// Rooms up to here were looked at, and listed if they match.
        after: Option<ListPlace>,
        /// Rooms that match and come after as many as are listed.
        left_out: usize,
    },
    Members {
        room: RoomName,
        after: SessionId,
    },
}

/// A line that waits, as it was recorded.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum WaitingLine {
    Line(#[serde(with = "serde_bytes")] Vec<u8>),
    Begins(#[serde(with = "serde_bytes")] Vec<u8>),
    TooLong,
}

impl Waiting {
    pub fn new(until: Awaited) -> Box<Waiting> {
        Box::new(Waiting { until, lines: Vec::new(), lines_bytes: 0, has_input_ended: false })
    }

    /// Keeps a line for later. False if there are too many.
    pub fn add(&mut self, fact: Fact<'_>) -> bool {
        let line = match fact {
            Fact::Line(bytes) => WaitingLine::Line(bytes.to_vec()),
            Fact::LineBegins(bytes) => WaitingLine::Begins(bytes.to_vec()),
            Fact::LongLineBegins => WaitingLine::TooLong,
            _ => return true,
        };
        let bytes = LINE_BYTES + line.len();
        if self.lines_bytes + bytes > WAITING_LINES_BYTES_MAX {
            return false;
        }
        self.lines_bytes += bytes;
        self.lines.push(line);
        true
    }

    /// The session's input is over: the session ends when what waits is done.
    pub fn end_input(&mut self) {
        self.has_input_ended = true;
    }
}

impl List {
    pub fn new(at: RecordId, of: Items) -> List {
        List { at, parts: 0, sent: 0, of }
    }
}

impl WaitingLine {
    fn len(&self) -> usize {
        match self {
            WaitingLine::Line(bytes) | WaitingLine::Begins(bytes) => bytes.len(),
            WaitingLine::TooLong => 0,
        }
    }

    /// What was recorded.
    pub fn fact(&self) -> Fact<'_> {
        match self {
            WaitingLine::Line(bytes) => Fact::Line(bytes),
            WaitingLine::Begins(bytes) => Fact::LineBegins(bytes),
            WaitingLine::TooLong => Fact::LongLineBegins,
        }
    }
}
