//! One session's outbox: output that is rendered and not written, and the session's checkpoint.

use super::sockets::{Sockets, Written};
use crate::chat::{CloseReason, Ending};
use crate::segment::Checkpoint;
use forkchat_common::ids::{Sequence, SessionId, Slot};
use std::collections::VecDeque;

/// Memory that an empty outbox keeps for its next bytes, until it has been idle for a while.
pub(super) const IDLE_BYTES_MAX: usize = 4 * 1024;

/// As many bytes as a session will ever be sent: taken, when all of its output is out.
pub const ALL: u64 = u64::MAX;

/// What is to be written to one session.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) session: SessionId,
    /// Rendered and not written: from `start` on.
    pub(super) bytes: Vec<u8>,
    pub(super) start: usize,
    /// Taken by the outside, and not in the kernel yet when that was last looked at.
    pub(super) in_flight: usize,
    /// Its part of what all outboxes take.
    pub(super) counted: usize,
    /// What comes of a record before this was rendered by a predecessor, and is out.
    pub(super) resumes_at: Sequence,
    /// Output bytes rendered since the session began.
    pub(super) rendered: u64,
    /// Of those, the bytes that a predecessor handed to the kernel; [`ALL`] if nobody need be told
    /// anything of it any more.
    pub(super) taken: u64,
    /// Writes that the socket took since the session began. Over UDP each was a datagram, and one
    /// that got lost on the way counts.
    pub(super) writes: u64,
    /// The latest turn that rendered something: where in the log, and behind how many rendered
    /// bytes, it began.
    pub(super) mark: (Sequence, u64),
    /// While something of them is not out: the turns before that.
    pub(super) earlier_marks: VecDeque<(Sequence, u64)>,
    pub(super) is_dirty: bool,
    /// It was told something since `Outboxes::tidy` last looked.
    pub(super) is_warm: bool,
    /// The socket took no more; it tells when it does.
    pub(super) is_blocked: bool,
    /// Nothing more is kept for it.
    pub(super) dropped: Option<Dropped>,
    pub(super) ending: Option<Ending>,
    /// It has ended, and somebody looks after it until it is written.
    pub(super) is_waited_for: bool,
}

/// Why nothing more is kept for a session, and the mark before its first byte that isn't out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dropped {
    pub(super) why: CloseReason,
    pub(super) mark: (Sequence, u64),
}

impl Outbox {
    /// One to which nothing was rendered.
    pub(super) fn new(session: SessionId) -> Outbox {
        Outbox {
            session,
            bytes: Vec::new(),
            start: 0,
            in_flight: 0,
            counted: 0,
            resumes_at: Sequence(0),
            rendered: 0,
            taken: 0,
            writes: 0,
            mark: (Sequence(0), 0),
            earlier_marks: VecDeque::new(),
            is_dirty: false,
            is_warm: false,
            is_blocked: false,
            dropped: None,
            ending: None,
            is_waited_for: false,
        }
    }

    pub(super) fn unwritten(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Rendered and not in the kernel.
    pub(super) fn behind(&self) -> usize {
        self.unwritten() + self.in_flight
    }

    /// Memory that it takes, without what it keeps while it is idle. What is on its way of a
    /// session that was given up goes with its connection.
    pub(super) fn memory(&self) -> usize {
        if self.dropped.is_some() {
            0
        } else {
            self.bytes.capacity().saturating_sub(IDLE_BYTES_MAX) + self.in_flight
        }
    }

    /// Brings its part of `total` up to date.
    pub(super) fn count(&mut self, total: &mut usize) {
        let memory = self.memory();
        *total = *total + memory - self.counted;
        self.counted = memory;
    }

    /// Rendered and in the kernel.
    pub(super) fn out(&self) -> u64 {
        self.rendered - self.behind() as u64
    }

    /// Writes as much as the socket takes.
    pub(super) fn write<S: Sockets>(&mut self, sockets: &mut S) {
        while self.unwritten() > 0 && !self.is_blocked {
            match sockets.write(self.session, &self.bytes[self.start..], self.writes + 1) {
                Written::Bytes(bytes) => {
                    self.start += bytes;
                    self.writes += 1;
                }
                Written::Blocked => self.is_blocked = true,
                // The peer is gone: counts as written to the end. That it is gone is told by its
                // input.
                Written::Gone => self.start = self.bytes.len(),
            }
        }
        self.in_flight = sockets.in_flight(self.session, self.ending.is_some());
        if self.unwritten() == 0 {
            self.start = 0;
            self.bytes.clear();
            self.bytes.shrink_to(IDLE_BYTES_MAX);
        } else if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    /// Takes over what a predecessor had not handed to the kernel.
    pub(super) fn resume(&mut self, checkpoint: Checkpoint, taken: u64) {
        (self.resumes_at, self.rendered, self.writes) =
            (checkpoint.sequence, checkpoint.offset, checkpoint.writes);
        (self.taken, self.mark) = (taken, (checkpoint.sequence, checkpoint.offset));
    }

    pub(super) fn drop_session(&mut self, why: CloseReason) {
        self.dropped = Some(Dropped { why, mark: self.mark_behind() });
        self.bytes = Vec::new();
        self.start = 0;
        // If the same record ended it.
        self.end(self.ending);
    }

    pub(super) fn end(&mut self, ending: Option<Ending>) {
        // With bytes missing in between, last words would only mislead.
        self.ending =
            ending.map(|ending| if self.dropped.is_some() { Ending::Drop } else { ending });
    }

    /// While something is not out: the latest mark that is not behind its first byte.
    pub(super) fn mark_behind(&mut self) -> (Sequence, u64) {
        let out = self.out();
        while !self.earlier_marks.is_empty()
            && self.earlier_marks.get(1).unwrap_or(&self.mark).1 <= out
        {
            self.earlier_marks.pop_front();
        }
        *self.earlier_marks.front().unwrap_or(&self.mark)
    }

    pub(super) fn checkpoint(&mut self, slot: Slot, position: Sequence) -> Checkpoint {
        let (sequence, offset, is_lagging) = match self.dropped {
            Some(Dropped { mark: (sequence, offset), .. }) => (sequence, offset, true),
            None if self.behind() > 0 => {
                let (sequence, offset) = self.mark_behind();
                (sequence, offset, true)
            }
            None => {
                self.earlier_marks.clear();
                (position, self.rendered, false)
            }
        };
        Checkpoint {
            session: self.session,
            slot,
            sequence,
            offset,
            writes: self.writes,
            is_lagging,
        }
    }
}
