//! A worker's messages from and to the supervisor. They are sent in order, and the worker never
//! blocks for them.

use crate::channel::{ToSupervisor, ToWorker, WorkerEnd};
use crate::ipc::queue::{Received, SendError};
use crate::segment::Segment;
use crate::sys::socket::wait_for_input;
use forkchat_common::endpoint::Origin;
use forkchat_common::ids::SessionId;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// If the queue to the supervisor is full, the worker tries again this soon. The supervisor reads
/// its queue in each of its turns.
const RETRY: Duration = Duration::from_millis(5);

/// The queue to and from the supervisor, and the reports that are not sent yet.
#[derive(Debug)]
pub struct SupervisorChannel {
    channel: WorkerEnd,
    segment: &'static Segment,
    waiting: VecDeque<ToSupervisor>,
    /// All output is written. The supervisor is notified of it when no connection is left and none
    /// is about to come.
    is_drained: bool,
}

/// A message from the supervisor, or the state of its queue.
#[derive(Debug)]
pub enum FromSupervisor {
    /// Serve this connection, as this session, from this address.
    Serve(SessionId, Origin, OwnedFd),
    /// Reject this connection, and send its client this reason.
    Reject(OwnedFd, String),
    /// There is no message now.
    Empty,
    /// The supervisor is gone.
    Closed,
}

impl SupervisorChannel {
    /// A channel without pending reports.
    pub fn new(channel: WorkerEnd, segment: &'static Segment) -> SupervisorChannel {
        SupervisorChannel { channel, segment, waiting: VecDeque::new(), is_drained: false }
    }

    /// Receives the supervisor's next valid message.
    pub fn receive(&mut self) -> FromSupervisor {
        loop {
            match self.channel.receive() {
                Received::Message(ToWorker::Serve { session, origin }, Some(socket)) => {
                    return FromSupervisor::Serve(session, origin, socket);
                }
                Received::Message(ToWorker::Serve { session, .. }, None) => {
                    log::warn!("cannot take session {session}: out of descriptors");
                    self.closed(session);
                }
                Received::Message(ToWorker::Reject { reason }, Some(socket)) => {
                    return FromSupervisor::Reject(socket, reason);
                }
                Received::Message(ToWorker::Reject { .. }, None) => {}
                Received::Garbled => {
                    log::error!("the supervisor sent something that is not a message")
                }
                Received::Empty => return FromSupervisor::Empty,
                Received::Closed => return FromSupervisor::Closed,
            }
        }
    }

    /// Notes that a session's connection is ended here. This clears the session's checkpoint, and
    /// the report makes the supervisor close its descriptor and reuse the cell.
    pub fn closed(&mut self, session: SessionId) {
        self.segment.checkpoints.clear(session);
        self.waiting.push_back(ToSupervisor::Closed { session });
    }

    /// Notes that all output is written.
    pub fn drained(&mut self) {
        self.is_drained = true;
    }

    /// Sends the pending reports, as many as the queue takes. `has_connections`: some connections
    /// are not ended yet.
    pub fn flush_reports(&mut self, has_connections: bool) {
        if self.is_drained && !has_connections && self.has_no_message() {
            self.is_drained = false;
            self.waiting.push_back(ToSupervisor::Drained);
        }
        while let Some(report) = self.waiting.front() {
            match self.channel.send(report, None) {
                Err(SendError::Full) => return,
                // Without a supervisor the report is dropped.
                Ok(()) | Err(SendError::Closed | SendError::System(_)) => self.waiting.pop_front(),
            };
        }
    }

    /// Whether no message is waiting. When the server stops, the supervisor sends its last messages
    /// before it reports the stop.
    fn has_no_message(&self) -> bool {
        wait_for_input(self.channel.as_fd(), Some(Duration::ZERO))
            .is_ok_and(|found| found.is_empty())
    }

    /// Whether all reports are sent.
    pub fn is_flushed(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How long until the next attempt to send, at most.
    pub fn retry_in(&self) -> Duration {
        if self.is_flushed() { Duration::MAX } else { RETRY }
    }
}

impl AsFd for SupervisorChannel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
