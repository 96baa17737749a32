//! What is stored: lines, topics, and gaps between them.

use forkchat_common::ids::{Micros, RecordId, Sequence};

/// A line said in a room, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The id of its record. The sequence is below 2^63, as everywhere here.
    pub id: RecordId,
    /// When it was said.
    pub time: Micros,
    /// The room's name. Lines that are read have the spelling in which it was stored last.
    pub room: String,
    /// The room's key: equal for names that are the same.
    pub room_key: String,
    /// Who said it, by the nick of that moment.
    pub nick: String,
    /// Said with `/me`.
    pub is_action: bool,
    /// What was said.
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
    /// Somebody said something.
    Line {
        /// The position of the record in the log of this run.
        position: Sequence,
        /// What was said.
        line: Line,
    },
    /// Somebody set a topic.
    Topic(Topic),
    /// What lies between the entry before and the one behind was given up.
    Gap {
        /// The last record that was given up.
        until: Sequence,
    },
}

impl Entry {
    /// The position of its record; of a gap that of the last one.
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
    /// At the position that this run's log gave it.
    fn from(line: Line) -> Entry {
        Entry::Line { position: line.id.sequence, line }
    }
}
