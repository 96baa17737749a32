//! What applying a record causes besides deliveries: values that the process carries out after it.

use forkchat_common::address::AddressBlock;
use forkchat_common::endpoint::UdpPath;
use forkchat_common::event::Stamp;
use forkchat_common::ids::{RecordId, SessionId, Slot};
use forkchat_common::names::RoomName;

/// One effect of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A session over UDP has begun: what is delivered to it goes there.
    Reachable {
        /// The session.
        session: SessionId,
        /// The worker that serves it.
        slot: Slot,
        /// Both ends of its path.
        path: UdpPath,
    },
    /// A session is over.
    Closed {
        /// The session.
        session: SessionId,
        /// The worker that served it.
        slot: Slot,
        /// What becomes of its connection.
        ending: Ending,
    },
    /// The history has one more entry. Only where [`super::Deliveries::keeps_history`].
    Keep(HistoryEntry),
    /// A request waits for its service.
    Requested,
    /// The session's input goes on: what it waited for is complete.
    InputGoesOn {
        /// The session.
        session: SessionId,
        /// The worker that serves it.
        slot: Slot,
    },
    /// A list for a session has more parts: when this one is written, the worker that serves the
    /// session proposes [`super::Fact::NextPart`].
    ListGoesOn {
        /// The session.
        session: SessionId,
        /// The worker that serves it.
        slot: Slot,
        /// The list: its command's record.
        list: RecordId,
        /// How many parts were sent.
        parts: u32,
    },
    /// The session's client has to prove its address again, and is sent a cookie for that.
    Challenge {
        /// The session.
        session: SessionId,
    },
    /// An address has used all that it may send.
    AddressExceeded(AddressBlock),
}

/// How the connection of an ended session is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// After its last bytes are written.
    Finish,
    /// At once: the client does not read.
    Drop,
}

/// What the journal stores.
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
