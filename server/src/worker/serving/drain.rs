//! The end of the server, as a worker takes part in it.

use super::Serving;
use crate::chat::Fact;
use crate::worker::sockets::Sockets;
use forkchat_common::ids::SessionId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drain {
    No,
    Asked,
    Done,
}

impl<S: Sockets> Serving<S> {
    /// Whether the server ends, and this worker hasn't begun to.
    pub(super) fn is_to_drain(&self) -> bool {
        self.drain == Drain::No && self.config.stopping.is_set()
    }

    /// All sessions are notified, by a record like any other. Each worker proposes it, since none
    /// knows whether another will live to do so; the first counts.
    pub(super) fn begin_drain(&mut self) {
        if self.is_to_drain() {
            self.drain = Drain::Asked;
            self.propose_fact(SessionId::NONE, Fact::Stopping);
        }
    }

    pub(super) fn finish_drain(&mut self) {
        if self.drain == Drain::Asked
            && self.replica.chat.is_stopping()
            && self.proposer.pending() == 0
            && self.outgoing.outboxes.is_empty()
        {
            self.drain = Drain::Done;
            self.outgoing.sockets.drained();
        }
    }
}
