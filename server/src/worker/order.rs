//! What the send thread orders the receive thread to do.

use crate::chat::Ending;
use forkchat_common::ids::SessionId;

/// An order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// A session is over: end its connection.
    Finish {
        /// The session.
        session: SessionId,
        /// How.
        ending: Ending,
    },
    /// Tell the supervisor that nothing is left to send, once all connections are ended.
    Drained,
}
