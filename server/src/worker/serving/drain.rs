//! A worker's part in the server's shutdown: it proposes that all sessions end, and reports when
//! their output is written.

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
    /// Whether the server stops and this worker has not begun to drain.
    pub(super) fn is_to_drain(&self) -> bool {
        self.drain == Drain::No && self.config.stopping.is_set()
    }

    /// Proposes the record that notifies and ends all sessions. Every worker proposes it, since it
    /// can't know whether another worker will live long enough. The first of these records counts.
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
