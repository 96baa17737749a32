//! Whose input may be read on. A session's input is read on when what was read before is applied, its
//! budget allows a line, and nothing else has it wait. Not reading on is the back-pressure and the
//! rate limit: what a client sends meanwhile stays in the kernel, and TCP slows the client down.

use crate::chat::Chat;
use forkchat_common::ids::{Micros, SessionId};
use std::collections::HashSet;

/// The least time that a session waits for its budget, in µs.
const DELAY_MIN: u64 = 1_000;

/// The sessions whose input is not read on now.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Until their answer is complete.
    waiting: HashSet<SessionId>,
    /// Until their budget, or the system, allows it: each has a timer.
    delayed: HashSet<SessionId>,
    /// Those whose peer has reset the connection: what they sent is read as far as their budget
    /// goes.
    broken: HashSet<SessionId>,
}

/// What is to be done about a session's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing: the session is over, or waits for an answer.
    Nothing,
    /// So many lines may be read.
    Lines(u64),
    /// It may be read on after so many µs. Until then only the end of a broken connection is of
    /// interest.
    After(u64),
    /// Its peer has reset the connection, and its budget is used up: the rest is not read.
    End,
}

impl Reading {
    /// Decides about a session's input; `now` is the log's time.
    pub fn decide(&mut self, session: SessionId, chat: &Chat, now: Micros) -> Next {
        self.delayed.remove(&session);
        if chat.session(session).is_none() {
            return Next::Nothing;
        }
        if chat.is_waiting(session) {
            self.waiting.insert(session);
            return Next::Nothing;
        }
        match chat.lines_allowed(session, now) {
            0 if self.broken.contains(&session) => Next::End,
            0 => {
                let due = chat.next_line_at(session).since(now);
                self.delayed.insert(session);
                Next::After(due.max(DELAY_MIN))
            }
            lines => Next::Lines(lines),
        }
    }

    /// The system can't wait for the session's input now.
    pub fn delay(&mut self, session: SessionId) {
        self.delayed.insert(session);
    }

    /// Whether a session waits for its timer, and not for anything that has happened meanwhile.
    pub fn is_delayed(&self, session: SessionId) -> bool {
        self.delayed.contains(&session)
    }

    /// A session's answer is complete. Whether its input is to be read on now: otherwise that of an
    /// earlier line is still to be applied, and read on twice, it would be read twice.
    pub fn end_waiting(&mut self, session: SessionId) -> bool {
        self.waiting.remove(&session)
    }

    /// The session's peer has reset the connection.
    pub fn note_broken(&mut self, session: SessionId) {
        self.broken.insert(session);
    }

    /// The session is over.
    pub fn forget(&mut self, session: SessionId) {
        self.waiting.remove(&session);
        self.delayed.remove(&session);
        self.broken.remove(&session);
    }
}
