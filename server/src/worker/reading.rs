//! Decides which sessions' input may be read. The next lines of a session are read when its earlier
//! lines are applied, its budget allows a line, and it doesn't wait for an answer. Until then its
//! input stays in the kernel, and TCP slows the client down: this is both the back-pressure and the
//! rate limit.

use crate::chat::Chat;
use forkchat_common::ids::{Micros, SessionId};
use std::collections::HashSet;

/// The least time that a session waits for its budget, in µs.
const DELAY_MIN: u64 = 1_000;

/// The sessions whose input is not read now.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Sessions that wait for a complete answer.
    waiting: HashSet<SessionId>,
    /// Sessions that wait for their budget, or because the kernel could not watch their socket.
    /// Each has a timer.
    delayed: HashSet<SessionId>,
    /// Sessions whose peer has reset the connection. Their input is read as far as their budget
    /// allows.
    broken: HashSet<SessionId>,
}

/// What to do about a session's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing: the session is over, or waits for an answer.
    Nothing,
    /// Read at most this many lines.
    Lines(u64),
    /// Read on after this many µs. Until then, only a reset of the connection matters.
    After(u64),
    /// Close the session: its peer has reset the connection, and its budget is used up. The rest of
    /// its input is dropped.
    End,
}

impl Reading {
    /// Decides about a session's input. `now` is the log's time.
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

    /// Delays a session whose socket the kernel can't watch now. The caller sets the timer.
    pub fn delay(&mut self, session: SessionId) {
        self.delayed.insert(session);
    }

    /// Whether a session still waits for its timer.
    pub fn is_delayed(&self, session: SessionId) -> bool {
        self.delayed.contains(&session)
    }

    /// Notes that a session's answer is complete. True if its input is to be read now. Otherwise an
    /// earlier line is still to be applied, which causes the reading, and reading twice would read
    /// the same input twice.
    pub fn end_waiting(&mut self, session: SessionId) -> bool {
        self.waiting.remove(&session)
    }

    /// Notes that the session's peer has reset the connection.
    pub fn note_broken(&mut self, session: SessionId) {
        self.broken.insert(session);
    }

    /// Removes a session that is over.
    pub fn forget(&mut self, session: SessionId) {
        self.waiting.remove(&session);
        self.delayed.remove(&session);
        self.broken.remove(&session);
    }
}
