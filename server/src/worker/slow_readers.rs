//! Disconnects sessions that don't read their output. Each outbox is bounded (`--sendq`), and so
//! are all outboxes of a worker together: many slow readers, each within `--sendq`, must not use up
//! the server's memory.

use super::outbox::IDLE_BYTES_MAX;
use super::outboxes::Outboxes;
use super::sockets::Sockets;
use crate::chat::CloseReason;
use forkchat_common::ids::SessionId;
use std::cmp::Reverse;

/// When a worker's outboxes exceed their bound together, the sessions with the most unread output
/// are disconnected until one part in this many of the bound is free. Otherwise the next line to
/// the same readers would already check all outboxes again.
const RELIEF_SHARE: usize = 4;

/// Bounds of the unread output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// `--sendq`: bytes of unread output that one session may have.
    pub sendq: usize,
    /// Memory in bytes that all outboxes of the worker may take together.
    pub together: usize,
}

/// The slow readers of one worker.
#[derive(Debug)]
pub(super) struct SlowReaders {
    bounds: Bounds,
    /// The sessions that were dropped since the last call of [`SlowReaders::take_dropped`], with
    /// the reason.
    dropped: Vec<(SessionId, CloseReason)>,
}

impl SlowReaders {
    /// No slow readers yet.
    pub fn new(bounds: Bounds) -> SlowReaders {
        SlowReaders { bounds, dropped: Vec::new() }
    }

    /// Writes to the sessions with more unread output than `sendq`, and drops those that then still
    /// have more. If all outboxes together exceed their bound, writes to all sessions, and drops
    /// those with the most unread output.
    pub fn relieve<S: Sockets>(&mut self, outboxes: &mut Outboxes, sockets: &mut S) {
        let sendq = self.bounds.sendq;
        for session in outboxes.take_full() {
            if outboxes.try_to_write(session, sockets, sendq) > sendq {
                self.drop_session(session, CloseReason::TooSlow, outboxes);
            }
        }
        if outboxes.memory() > self.bounds.together {
            self.relieve_all(outboxes, sockets);
        }
    }

    fn relieve_all<S: Sockets>(&mut self, outboxes: &mut Outboxes, sockets: &mut S) {
        let sessions: Vec<SessionId> = outboxes.by_memory().map(|(session, _)| session).collect();
        for session in sessions {
            outboxes.try_to_write(session, sockets, IDLE_BYTES_MAX);
        }
        let enough = self.bounds.together - self.bounds.together / RELIEF_SHARE;
        let mut by_memory: Vec<(SessionId, usize)> = outboxes.by_memory().collect();
        by_memory.sort_unstable_by_key(|&(session, memory)| (Reverse(memory), session));
        for (session, _) in by_memory {
            if outboxes.memory() <= enough {
                break;
            }
            self.drop_session(session, CloseReason::TooSlow, outboxes);
        }
    }

    /// Drops a session's output, and notes that the session is to be closed by a record.
    pub fn drop_session(&mut self, session: SessionId, why: CloseReason, outboxes: &mut Outboxes) {
        if outboxes.drop_session(session, why) {
            self.dropped.push((session, why));
        }
    }

    /// Takes the sessions that were dropped since the last call, each with the reason. The caller
    /// closes each by a record.
    pub fn take_dropped(&mut self) -> Vec<(SessionId, CloseReason)> {
        std::mem::take(&mut self.dropped)
    }
}
