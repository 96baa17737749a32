//! The orders that the send thread gives to the receive thread.

use crate::chat::Ending;
use forkchat_common::ids::SessionId;

/// An order to the receive thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// A session is over: end its connection.
    Finish {
        /// The session.
        session: SessionId,
        /// How to end it.
        ending: Ending,
    },
    /// Report to the supervisor, after all connections are ended, that no output is left.
    Drained,
}
