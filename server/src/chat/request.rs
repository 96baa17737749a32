//! Requests to services and their answers, as values.

use forkchat_common::ids::{Micros, RecordId, SessionId};
use forkchat_common::names::RoomName;
use serde::{Deserialize, Serialize};

/// A request to a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The session that receives the answer.
    pub session: SessionId,
    /// The question, and how much of the answer was sent.
    pub query: Query,
}

/// The question, by service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// A question to the journal for earlier lines of a room.
    History(HistoryRequest),
}

/// A service's answer, or a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer<'a> {
    /// The request.
    pub request: RecordId,
    /// The content.
    #[serde(borrow)]
    pub part: Part<'a>,
}

/// The content of an answer, by service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part<'a> {
    /// Earlier lines of a room.
    History(#[serde(borrow)] HistoryPart<'a>),
}

/// A request for the lines of a room that precede the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryRequest {
    /// The room.
    pub room: RoomName,
    /// How many more lines to send, at most.
    pub more: usize,
    /// How many lines were sent so far.
    pub sent: usize,
    /// The last line sent; [`RecordId::ZERO`] before the first.
    pub after: RecordId,
    /// The record that sent the last part, or that of the request before the first part.
    pub sent_at: RecordId,
    /// The first line sent, and its time.
    pub first: Option<(RecordId, Micros)>,
    /// The day of the last line sent, in days since 1970-01-01 UTC; `None` before the first.
    pub day: Option<u64>,
}

/// A part of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryPart<'a> {
    /// The line after which this part continues: must equal the request's `after`.
    pub after: RecordId,
    /// The lines, oldest first: [`PastLine`]s in a row.
    #[serde(borrow, with = "serde_bytes")]
    pub lines: &'a [u8],
    /// What follows them.
    pub end: PartEnd,
}

/// What follows a part of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartEnd {
    /// Another part follows.
    More,
    /// The history is complete: it has all lines of the room from this id on.
    Since(RecordId),
    /// The history ends early, since earlier lines can't be read now.
    Unreadable,
}

/// A line of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastLine<'a> {
    /// The line's id, in this or an earlier run.
    pub id: RecordId,
    /// The line's time.
    pub time: Micros,
    /// The sender.
    pub nick: &'a str,
    /// Whether it is an action.
    pub is_action: bool,
    /// The text.
    pub text: &'a str,
}

impl PastLine<'_> {
    /// Appends the line's bytes, for [`HistoryPart::lines`].
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        *bytes = postcard::to_extend(self, std::mem::take(bytes))
            .expect("serialising into memory fails for no line");
    }
}

impl HistoryPart<'_> {
    pub(super) fn past_lines(&self) -> impl Iterator<Item = PastLine<'_>> {
        let mut rest = self.lines;
        std::iter::from_fn(move || {
            let (line, after) = postcard::take_from_bytes(rest).ok()?;
            rest = after;
            Some(line)
        })
    }
}
