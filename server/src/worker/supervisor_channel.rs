//! A worker's messages from and to the supervisor: in order, and without waiting for it.

use crate::channel::{ToSupervisor, ToWorker, WorkerEnd};
use crate::ipc::queue::{Received, SendError};
use crate::segment::Segment;
use crate::sys::socket::wait_for_input;
use forkchat_common::endpoint::Origin;
use forkchat_common::ids::SessionId;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// The supervisor reads its queue at every turn of its own; what didn't fit is tried again this
/// soon.
const AGAIN: Duration = Duration::from_millis(5);

/// The queue to and from the supervisor, and what it doesn't know yet.
#[derive(Debug)]
pub struct SupervisorChannel {
    channel: WorkerEnd,
    segment: &'static Segment,
    waiting: VecDeque<ToSupervisor>,
    /// Nothing is left to write; to be told when no connection is left, and none is about to come.
    is_drained: bool,
}

/// What the supervisor said.
#[derive(Debug)]
pub enum Heard {
    /// Serve this connection, as this session, from this address.
    Serve(SessionId, Origin, OwnedFd),
    /// Tell this connection why it can't be served.
    Reject(OwnedFd, String),
    /// Nothing more for now.
    Nothing,
    /// It is gone.
    Gone,
}

impl SupervisorChannel {
    /// Nothing is to be told yet.
    pub fn new(channel: WorkerEnd, segment: &'static Segment) -> SupervisorChannel {
        SupervisorChannel { channel, segment, waiting: VecDeque::new(), is_drained: false }
    }

    /// The next thing that it said which can be done.
    pub fn hear(&mut self) -> Heard {
        loop {
            match self.channel.receive() {
                Received::Message(ToWorker::Serve { session, origin }, Some(socket)) => {
                    return Heard::Serve(session, origin, socket);
                }
                Received::Message(ToWorker::Serve { session, .. }, None) => {
                    log::warn!("cannot take session {session}: out of descriptors");
                    self.closed(session);
                }
                Received::Message(ToWorker::Reject { reason }, Some(socket)) => {
                    return Heard::Reject(socket, reason);
                }
                Received::Message(ToWorker::Reject { .. }, None) => {}
                Received::Garbled => {
                    log::error!("the supervisor sent something that is not a message")
                }
                Received::Empty => return Heard::Nothing,
                Received::Closed => return Heard::Gone,
            }
        }
    }

    /// A session's connection is ended here. The supervisor, which is told last, closes it and
    /// gives its cell to another.
    pub fn closed(&mut self, session: SessionId) {
        self.segment.checkpoints.clear(session);
        self.waiting.push_back(ToSupervisor::Closed { session });
    }

    /// Nothing is left to write.
    pub fn drained(&mut self) {
        self.is_drained = true;
    }

    /// Tells what it can. `has_connections` if some aren't ended yet.
    pub fn tell(&mut self, has_connections: bool) {
        if self.is_drained && !has_connections && self.is_quiet() {
            self.is_drained = false;
            self.waiting.push_back(ToSupervisor::Drained);
        }
        while let Some(report) = self.waiting.front() {
            match self.channel.send(report, None) {
                Err(SendError::Full) => return,
                // A supervisor that is gone needs no report.
                Ok(()) | Err(SendError::Closed | SendError::System(_)) => self.waiting.pop_front(),
            };
        }
    }

    /// Whether there is nothing to be heard. When the server ends, what the supervisor had to say
    /// is on its way before it says that.
    fn is_quiet(&self) -> bool {
        wait_for_input(self.channel.as_fd(), Some(Duration::ZERO))
            .is_ok_and(|found| found.is_empty())
    }

    /// Whether everything is told.
    pub fn is_told(&self) -> bool {
        self.waiting.is_empty()
    }

    /// When to try again at the latest.
    pub fn again(&self) -> Duration {
        if self.is_told() { Duration::MAX } else { AGAIN }
    }
}

impl AsFd for SupervisorChannel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
