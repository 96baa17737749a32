//! What a worker tells the supervisor: in order, and without waiting for it.

use crate::channel::{ToSupervisor, WorkerEnd};
use crate::event_log::EventLog;
use crate::ipc::queue::SendError;
use forkchat_common::ids::SessionId;
use std::collections::VecDeque;
use std::time::Duration;

/// The supervisor reads its queue at every turn of its own; what didn't fit is tried again this soon.
const AGAIN: Duration = Duration::from_millis(5);

/// Reports that the supervisor doesn't have yet.
#[derive(Debug)]
pub struct Reports {
    log: &'static EventLog,
    waiting: VecDeque<ToSupervisor>,
    /// Nothing is left to write; to be told when no connection is left.
    is_drained: bool,
}

impl Reports {
    /// None yet.
    pub fn new(log: &'static EventLog) -> Reports {
        Reports { log, waiting: VecDeque::new(), is_drained: false }
    }

    /// A session's connection is ended here. The supervisor, which is told last, closes it and gives its cell to another.
    pub fn closed(&mut self, session: SessionId) {
        self.log.clear_checkpoint(session);
        self.waiting.push_back(ToSupervisor::Closed { session });
    }

    /// Nothing is left to write.
    pub fn drained(&mut self) {
        self.is_drained = true;
    }

    /// Tells what it can. `has_connections` if some aren't ended yet.
    pub fn tell(&mut self, channel: &WorkerEnd, has_connections: bool) {
        if self.is_drained && !has_connections {
            self.is_drained = false;
            self.waiting.push_back(ToSupervisor::Drained);
        }
        while let Some(report) = self.waiting.front() {
            match channel.send(report, None) {
                Err(SendError::Full) => return,
                // A supervisor that is gone needs no report.
                Ok(()) | Err(SendError::Closed | SendError::System(_)) => self.waiting.pop_front(),
            };
        }
    }

    /// Whether everything is told.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// When to try again at the latest.
    pub fn again(&self) -> Duration {
        if self.waiting.is_empty() { Duration::MAX } else { AGAIN }
    }
}
