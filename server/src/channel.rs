//! The messages between the supervisor and a worker, over a [`crate::ipc::queue`] for each worker.
//!
//! A successor gets a new queue. The queue of the dead worker is read to its end first, so none of
//! its messages is lost.

use forkchat_common::endpoint::Origin;
use forkchat_common::ids::SessionId;
use serde::{Deserialize, Serialize};

/// From the supervisor to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker {
    /// Serve this new connection. The socket comes with the message.
    Serve {
        /// The session it is to be.
        session: SessionId,
        /// Where it comes from.
        origin: Origin,
    },
    /// Tell this connection why it can't be served, and close it. The socket comes with the
    /// message; it is no session.
    Reject {
        /// A whole line.
        reason: String,
    },
}

/// From a worker to the supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToSupervisor {
    /// This session is over, in the log and on the wire: let go of its socket and its cell.
    Closed {
        /// Which.
        session: SessionId,
    },
    /// The server ends, and nothing is left to send.
    Drained,
}

/// A worker's end of the queue.
pub type WorkerEnd = crate::ipc::queue::QueueEnd<ToSupervisor, ToWorker>;
/// The supervisor's end of the queue.
pub type SupervisorEnd = crate::ipc::queue::QueueEnd<ToWorker, ToSupervisor>;
