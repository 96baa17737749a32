//! The messages between the supervisor and a worker. Each worker has a [`crate::ipc::queue`].
//!
//! A successor gets a new queue. The supervisor first reads the queue of the dead worker to its
//! end, so none of its messages is lost.

use forkchat_common::endpoint::Origin;
use forkchat_common::ids::SessionId;
use serde::{Deserialize, Serialize};

/// From the supervisor to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker {
    /// Serve this new connection. Its socket comes with the message.
    Serve {
        /// The session that it will become.
        session: SessionId,
        /// The client's address, and the listener that accepted it.
        origin: Origin,
    },
    /// Send the client the reason why it can't be served, and close the connection. Its socket
    /// comes with the message; it never becomes a session.
    Reject {
        /// A complete line for the client.
        reason: String,
    },
}

/// From a worker to the supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToSupervisor {
    /// This session has ended, in the log and on the wire: close its socket and free its cell.
    Closed {
        /// The session.
        session: SessionId,
    },
    /// The server is stopping, and the worker has sent all its output.
    Drained,
}

/// A worker's end of the queue.
pub type WorkerEnd = crate::ipc::queue::QueueEnd<ToSupervisor, ToWorker>;
/// The supervisor's end of the queue.
pub type SupervisorEnd = crate::ipc::queue::QueueEnd<ToWorker, ToSupervisor>;
