//! Sessions that don't read what they are sent. An outbox is bounded (`--sendq`), and so are all
//! outboxes of a worker together: many slow readers, each within `--sendq`, must not take the server's
//! memory. A session beyond the bounds is disconnected, and nothing waits for it.

use super::outbox::IDLE_BYTES_MAX;
use super::outboxes::Outboxes;
use super::sockets::Sockets;
use crate::chat::CloseReason;
use forkchat_common::ids::SessionId;
use std::cmp::Reverse;

/// When the outboxes of a worker take more than they may, the sessions that are furthest behind are
/// disconnected until this part of it is free: else the next line to the same readers would have all
/// outboxes looked at again.
const RELIEF_SHARE: usize = 4;

/// How much may wait for readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// `--sendq`: bytes that one session may be behind.
    pub sendq: usize,
    /// Memory in bytes that all outboxes of the worker may take together.
    pub together: usize,
}

/// The slow readers of one worker.
#[derive(Debug)]
pub(super) struct SlowReaders {
    bounds: Bounds,
    /// Those that were dropped since the last call of [`SlowReaders::take_dropped`].
    dropped: Vec<(SessionId, CloseReason)>,
}

impl SlowReaders {
    /// None yet.
    pub fn new(bounds: Bounds) -> SlowReaders {
        SlowReaders { bounds, dropped: Vec::new() }
    }

    /// Writes to the sessions that are too far behind, and drops those that stay so. If all outboxes
    /// together take too much, does so with all, and drops those that are furthest behind.
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

    /// Nothing more is kept for a session, which is to be closed by a record.
    pub fn drop_session(&mut self, session: SessionId, why: CloseReason, outboxes: &mut Outboxes) {
        if outboxes.drop_session(session, why) {
            self.dropped.push((session, why));
        }
    }

    /// Those that were dropped since the last call, and why: each is to be closed by a record.
    pub fn take_dropped(&mut self) -> Vec<(SessionId, CloseReason)> {
        std::mem::take(&mut self.dropped)
    }
}
