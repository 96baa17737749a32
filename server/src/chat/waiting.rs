//! Waiting input of sessions. After a request to a service, or during a list in parts, the
//! session's further input may wait until the answer is complete, so that answers come in the order
//! of the commands. Over TCP most of it waits in the kernel, if the receive thread knows in time
//! that it must. The rest, and the rest of a datagram, waits here.

use super::record::Fact;
use super::rooms::ListPosition;
use forkchat_common::ids::{RecordId, SessionId};
use forkchat_common::limits::WAITING_LINES_BYTES_MAX;
use forkchat_common::names::RoomName;
use serde::{Deserialize, Serialize};

/// The memory that a waiting line uses besides its bytes.
const LINE_BYTES: usize = 32;

/// The answer for which a session's input waits, and the waiting input.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Waiting {
    pub until: Awaited,
    pub lines: Vec<WaitingLine>,
    lines_bytes: usize,
    /// The end of input was received.
    pub has_input_ended: bool,
}

/// The answer for which a session's input waits.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Awaited {
    /// The answer to the request with this name.
    Answer(RecordId),
    /// The last part of a list.
    List(List),
}

/// A list of which some parts were sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct List {
    /// The record of the command. It names the list, and is the id of each of its lines.
    pub at: RecordId,
    /// How many parts were sent.
    pub parts: u32,
    /// How many items were sent.
    pub sent: usize,
    pub of: Items,
}

/// The items of a list, and how far they were sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Items {
    Rooms {
        pattern: Option<Box<str>>,
        /// The last room that was looked at.
        after: Option<ListPosition>,
        /// The number of matching rooms that are left out, because enough are listed.
        left_out: usize,
    },
    Members {
        room: RoomName,
        after: SessionId,
    },
}

/// A waiting line, as it was recorded.
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

    /// Appends a line. False if the limit is reached.
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

    /// Marks the end of input: the session ends after its waiting input is processed.
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

    /// The line as a fact.
    pub fn fact(&self) -> Fact<'_> {
        match self {
            WaitingLine::Line(bytes) => Fact::Line(bytes),
            WaitingLine::Begins(bytes) => Fact::LineBegins(bytes),
            WaitingLine::TooLong => Fact::LongLineBegins,
        }
    }
}
