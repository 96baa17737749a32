//! Numeric ids, each with its own type so that they can't be confused.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

/// A position in the event log: the record that starts at it is the next one.
///
/// Grows with the log's order, within a run and over restarts (a run's first sequence is its start
/// time in µs, or more if an earlier run has used that). Neighbouring records do not have
/// neighbouring sequences: a sequence counts blocks of the log, not records.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Sequence(pub u64);

impl Sequence {
    /// How many log blocks `self` is ahead of `earlier`; 0 if it is not ahead.
    pub fn blocks_since(self, earlier: Sequence) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of a record, and of everything that results from it. The chat, its clients and the
/// history identify a record by this id. Only the processes that read the log use its sequence. Ids
/// grow with the log's order, within a run and over restarts.
///
/// It has two numbers because another machine may order the records, in messages of several records
/// each. Then they are the message's sequence and the record's index in it. A log that orders its
/// own records uses the record's sequence and index 0.
///
/// As text `1042`, or `1042.3` if the index is not 0.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct RecordId {
    /// The sequence; 0 precedes all records.
    pub sequence: Sequence,
    /// The index among the records with this sequence.
    pub index: u32,
}

impl RecordId {
    /// Precedes all records.
    pub const ZERO: RecordId = RecordId::first_of(Sequence(0));

    /// The first record with this sequence.
    pub const fn first_of(sequence: Sequence) -> RecordId {
        RecordId { sequence, index: 0 }
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            0 => self.sequence.fmt(f),
            index => write!(f, "{}.{index}", self.sequence),
        }
    }
}

impl FromStr for RecordId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<RecordId, ParseIntError> {
        let (sequence, index) = text.split_once('.').unwrap_or((text, "0"));
        Ok(RecordId { sequence: Sequence(sequence.parse()?), index: index.parse()? })
    }
}

/// A point in time: microseconds since 1970-01-01 UTC.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Micros(pub u64);

impl Micros {
    /// One second.
    pub const SECOND: u64 = 1_000_000;

    /// The time `micros` later.
    pub fn plus(self, micros: u64) -> Micros {
        Micros(self.0.saturating_add(micros))
    }

    /// The µs from `earlier` to this; 0 if this is earlier.
    pub fn since(self, earlier: Micros) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The number of a machine among those that share one order of records, below 64. A server that
/// orders its own records is alone, with number 0.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Node(pub u8);

impl Node {
    /// This machine.
    pub const THIS: Node = Node(0);
    /// Bits of a number.
    pub const BITS: u32 = 6;
}

/// A slot in a node's table of processes: the journal's comes first, then those of the workers. A
/// process that replaces another one takes over its slot. The low 16 bits are the index in the
/// table, the others the node.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Slot(pub u32);

impl Slot {
    /// The journal's slot.
    pub const JOURNAL: Slot = Slot::at(0);
    /// The first worker's. This worker always exists and serves the UDP sessions.
    pub const FIRST_WORKER: Slot = Slot::at(1);

    /// The slot at this index on this machine.
    pub const fn at(index: u16) -> Slot {
        Slot::of(Node::THIS, index)
    }

    /// The slot at this index on a node.
    pub const fn of(node: Node, index: u16) -> Slot {
        Slot((node.0 as u32) << 16 | index as u32)
    }

    /// The node.
    pub fn node(self) -> Node {
        Node((self.0 >> 16) as u8)
    }

    /// The index in the node's table.
    pub fn index(self) -> usize {
        (self.0 & 0xffff) as usize
    }

    /// The number of the worker in this slot, as users see it: workers are numbered from 0.
    pub fn worker_number(self) -> usize {
        self.index().saturating_sub(Slot::FIRST_WORKER.index())
    }
}

/// A session, over TCP or UDP. Unique within a run of the server.
///
/// ```text
/// bit 63                                  26        20                   0
///     ┌───────────────────────────────────┬─────────┬────────────────────┐
///     │ serial number                     │ node    │ cell               │
///     └───────────────────────────────────┴─────────┴────────────────────┘
/// ```
///
/// The *cell* is the session's index in every table of its node while it is open. The serial number
/// distinguishes the sessions that use the same cell one after another. Zero means no session, as
/// in records that belong to no session.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct SessionId(pub u64);

impl SessionId {
    /// Bits of the cell's index: at most 2^20 sessions at a time.
    pub const CELL_BITS: u32 = 20;
    /// No session, for records that belong to none.
    pub const NONE: SessionId = SessionId(0);

    /// A session of this machine. `serial` starts at 1 and is below 2^38; `cell` is below 2^20.
    pub const fn new(serial: u64, cell: usize) -> SessionId {
        SessionId::of(Node::THIS, serial, cell)
    }

    /// A session of a node: see [`SessionId::new`].
    pub const fn of(node: Node, serial: u64, cell: usize) -> SessionId {
        debug_assert!(serial > 0 && serial < 1 << (u64::BITS - Self::SERIAL_SHIFT));
        debug_assert!(cell < 1 << Self::CELL_BITS && node.0 < 1 << Node::BITS);
        SessionId(serial << Self::SERIAL_SHIFT | (node.0 as u64) << Self::CELL_BITS | cell as u64)
    }

    const SERIAL_SHIFT: u32 = Self::CELL_BITS + Node::BITS;

    /// The node that serves the session.
    pub fn node(self) -> Node {
        Node((self.0 >> Self::CELL_BITS & ((1 << Node::BITS) - 1)) as u8)
    }

    /// The index of the session's cell.
    pub fn cell(self) -> usize {
        (self.0 & ((1 << Self::CELL_BITS) - 1)) as usize
    }

    /// The serial number among those that used the cell.
    pub fn serial(self) -> u64 {
        self.0 >> Self::SERIAL_SHIFT
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.cell(), self.serial())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_id_returns_its_parts() {
        let id = SessionId::new(77, 1_048_575);
        assert_eq!((id.serial(), id.cell()), (77, 1_048_575));
        assert_eq!(id.to_string(), "1048575.77");
        let other = SessionId::of(Node(63), 77, 1_048_575);
        assert_eq!((other.node(), other.serial(), other.cell()), (Node(63), 77, 1_048_575));
        assert_eq!((id.node(), id == other), (Node::THIS, false));
    }

    #[test]
    fn a_slot_returns_its_parts() {
        let slot = Slot::of(Node(3), 7);
        assert_eq!((slot.node(), slot.index(), slot.worker_number()), (Node(3), 7, 6));
        assert_eq!((Slot::at(7).node(), Slot::at(7)), (Node::THIS, Slot(7)));
    }

    #[test]
    fn a_record_id_is_parsed_from_its_text() {
        for (index, text) in [(0, "1042"), (3, "1042.3")] {
            let id = RecordId { sequence: Sequence(1042), index };
            assert_eq!((id.to_string().as_str(), text.parse()), (text, Ok(id)));
        }
        for wrong in ["", "x", "1042.", ".3", "1042.3.1", "-1", "1042.4294967296"] {
            assert!(wrong.parse::<RecordId>().is_err(), "{wrong}");
        }
        let later = RecordId { sequence: Sequence(1042), index: 1 };
        assert!(
            RecordId::first_of(Sequence(1042)) < later
                && later < RecordId::first_of(Sequence(1043))
        );
    }

    #[test]
    fn differences_do_not_wrap() {
        assert_eq!(Sequence(5).blocks_since(Sequence(9)), 0);
        assert_eq!(Micros(5).since(Micros(9)), 0);
    }
}
