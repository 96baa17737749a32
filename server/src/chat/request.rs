//! Requests to services and their answers, as values.

use forkchat_common::ids::{Micros, RecordId, SessionId};
use forkchat_common::names::RoomName;
use serde::{Deserialize, Serialize};

/// A request that a service is to answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The session that gets the answer.
    pub session: SessionId,
    /// What is asked, and how much of the answer was sent.
    pub query: Query,
}

/// What is asked, by service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// The journal is asked for earlier lines of a room.
    History(HistoryRequest),
}

/// A service's answer, or a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer<'a> {
    /// The request.
    pub request: RecordId,
    /// What is answered.
    #[serde(borrow)]
    pub part: Part<'a>,
}

/// What is answered, by service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part<'a> {
    /// Some lines.
    History(#[serde(borrow)] HistoryPart<'a>),
}

/// A request for earlier lines of a room: those before the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryRequest {
    /// The room.
    pub room: RoomName,
    /// How many lines more, at most.
    pub more: usize,
    /// How many lines were sent so far.
    pub sent: usize,
    /// The last of those; 0 before the first.
    pub after: RecordId,
    /// The record at which they were sent, or that of the request.
    pub sent_at: RecordId,
    /// The first of them, and when it was said.
    pub first: Option<(RecordId, Micros)>,
    /// The day of the last line sent, in days since 1970-01-01 UTC; `None` before the first.
    pub day: Option<u64>,
}

/// A part of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryPart<'a> {
    /// The line after which it continues.
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
    /// Another part.
    More,
    /// Nothing: from this id on the room's lines are all known.
    Since(RecordId),
    /// Nothing, since earlier lines can't be read now.
    Unreadable,
}

/// A line of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastLine<'a> {
    /// Its id, of this or an earlier run.
    pub id: RecordId,
    /// When it was said.
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
