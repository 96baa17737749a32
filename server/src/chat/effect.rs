//! The effects of a record besides deliveries. They are values: the process carries them out after
//! it has applied the record.

use forkchat_common::address::AddressBlock;
use forkchat_common::endpoint::UdpPath;
use forkchat_common::event::Stamp;
use forkchat_common::ids::{RecordId, SessionId, Slot};
use forkchat_common::names::RoomName;

/// One effect of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A UDP session opened. Its output goes along this path.
    Reachable {
        /// The session.
        session: SessionId,
        /// The worker that serves it.
        slot: Slot,
        /// The client's and the server's address.
        path: UdpPath,
    },
    /// A session was closed.
    Closed {
        /// The session.
        session: SessionId,
        /// The worker that served it.
        slot: Slot,
        /// How to close its connection.
        ending: Ending,
    },
    /// A new history entry. Only for processes whose [`super::Deliveries::stores_history`] is true.
    Store(HistoryEntry),
    /// A new request waits for its service.
    Requested,
    /// The answer for which the session's input waited is complete: the worker may read on.
    InputResumed {
        /// The session.
        session: SessionId,
        /// The worker that serves it.
        slot: Slot,
    },
    /// A list has more parts. When the current part is written, the worker that serves the session
    /// proposes [`super::Fact::NextPart`].
    ListContinues {
        /// The session.
        session: SessionId,
        /// The worker that serves it.
        slot: Slot,
        /// The list, named by the record of its command.
        list: RecordId,
        /// How many parts were sent.
        parts: u32,
    },
    /// The client must prove its address again. The worker sends it a cookie.
    Challenge {
        /// The session.
        session: SessionId,
    },
    /// An address has used up its rate limit.
    AddressExceeded(AddressBlock),
}

/// How the connection of an ended session is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// After the rest of its output is written.
    Finish,
    /// At once: the client does not read.
    Drop,
}

/// A history entry, which the journal stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HistoryEntry {
    /// A line that was said in a room.
    Line {
        /// The line's id and time.
        stamp: Stamp,
        /// The room.
        room: RoomName,
        /// The sender.
        nick: String,
        /// Whether it is an action.
        is_action: bool,
        /// The text.
        text: String,
    },
    /// A room's topic.
    Topic {
        /// The room.
        room: RoomName,
        /// The topic; empty if it was removed.
        text: String,
    },
}
