//! What is stored: lines, topics, and gaps between them.

use forkchat_common::ids::{Micros, RecordId, Sequence};

/// A stored line of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The id of its record. The sequence is below 2^63, as everywhere here.
    pub id: RecordId,
    /// When the line was said.
    pub time: Micros,
    /// The room's name. Lines that are read have the spelling that was stored last.
    pub room: String,
    /// The room's key: equal for names that are the same.
    pub room_key: String,
    /// The sender's nick at that moment.
    pub nick: String,
    /// Whether it was said with `/me`.
    pub is_action: bool,
    /// The line's text.
    pub text: String,
}

/// A room's topic as it was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// The position of the record that set it.
    pub sequence: Sequence,
    /// The room's name.
    pub room: String,
    /// The room's key: equal for names that are the same.
    pub room_key: String,
    /// Empty if the room has no topic any more.
    pub text: String,
}

/// What is stored, in the log's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A line.
    Line {
        /// The position of the record in the log of this run.
        position: Sequence,
        /// The line.
        line: Line,
    },
    /// A topic that was set.
    Topic(Topic),
    /// Entries between the previous entry and the next one were dropped.
    Gap {
        /// The last record that was dropped.
        until: Sequence,
    },
}

impl Entry {
    /// The position of the entry's record; of the last dropped record if it is a gap.
    pub fn position(&self) -> Sequence {
        match self {
            Entry::Line { position, .. } => *position,
            Entry::Topic(topic) => topic.sequence,
            Entry::Gap { until } => *until,
        }
    }
}

#[cfg(test)]
impl From<Line> for Entry {
    /// An entry at the position that is the line's id.
    fn from(line: Line) -> Entry {
        Entry::Line { position: line.id.sequence, line }
    }
}
