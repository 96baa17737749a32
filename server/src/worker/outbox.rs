//! One session's outbox: output that is rendered and not written yet, and the session's checkpoint.

use super::sockets::{Sockets, Written};
use crate::chat::{CloseReason, Ending};
use crate::segment::Checkpoint;
use forkchat_common::ids::{Sequence, SessionId, Slot};
use std::collections::VecDeque;

/// Bytes of memory that an empty outbox may keep for its next output, until it has been idle for a
/// while.
pub(super) const IDLE_BYTES_MAX: usize = 4 * 1024;

/// For [`Outbox::taken`]: more bytes than a session can ever be sent. It means that all output of
/// the session is in the kernel, or can't be written any more.
pub const ALL: u64 = u64::MAX;

/// The output of one session.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) session: SessionId,
    /// Rendered output. The bytes before `start` are written already.
    pub(super) bytes: Vec<u8>,
    pub(super) start: usize,
    /// Bytes that [`Sockets::write`] took and that had not reached the kernel at the last look.
    pub(super) in_flight: usize,
    /// This outbox's part of `Outboxes::memory`.
    pub(super) counted: usize,
    /// Output of records before this was rendered by a predecessor, and is in the kernel.
    pub(super) resumes_at: Sequence,
    /// Output bytes that were rendered since the session began.
    pub(super) rendered: u64,
    /// The number of output bytes since the session began that a predecessor handed to the kernel;
    /// [`ALL`] if no further output has to be written.
    pub(super) taken: u64,
    /// Writes that the socket took since the session began. Over UDP each was a datagram; lost
    /// datagrams count.
    pub(super) writes: u64,
    /// The latest turn that rendered output for this session: the log position at which the turn
    /// began, and the value of `rendered` then.
    pub(super) mark: (Sequence, u64),
    /// The marks of earlier turns whose output is not entirely in the kernel.
    pub(super) earlier_marks: VecDeque<(Sequence, u64)>,
    pub(super) is_dirty: bool,
    /// Output was rendered since the last call of `Outboxes::tidy`.
    pub(super) is_warm: bool,
    /// The socket took no more. Cleared when the socket is writable again.
    pub(super) is_blocked: bool,
    /// Set when the output is dropped because the session is to be disconnected.
    pub(super) dropped: Option<Dropped>,
    pub(super) ending: Option<Ending>,
    /// The session has ended, and a timer bounds the wait for its last output.
    pub(super) is_waited_for: bool,
}

/// Why a session's output was dropped, and the mark before its first byte that is not in the
/// kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dropped {
    pub(super) why: CloseReason,
    pub(super) mark: (Sequence, u64),
}

impl Outbox {
    /// An empty outbox.
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

    /// Bytes that are rendered and not in the kernel.
    pub(super) fn outstanding(&self) -> usize {
        self.unwritten() + self.in_flight
    }

    /// Memory in bytes that the outbox takes, without [`IDLE_BYTES_MAX`]. The bytes in flight of a
    /// dropped session are not counted: they are freed with its connection.
    pub(super) fn memory(&self) -> usize {
        if self.dropped.is_some() {
            0
        } else {
            self.bytes.capacity().saturating_sub(IDLE_BYTES_MAX) + self.in_flight
        }
    }

    /// Updates this outbox's part of `total`.
    pub(super) fn count(&mut self, total: &mut usize) {
        let memory = self.memory();
        *total = *total + memory - self.counted;
        self.counted = memory;
    }

    /// Bytes that are rendered and in the kernel.
    pub(super) fn in_kernel(&self) -> u64 {
        self.rendered - self.outstanding() as u64
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
                // The peer is gone, so everything counts as written. The end of its input will
                // close the session.
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

    /// Writes as much as the socket takes. If the outbox lies more than `lag_max` blocks of the log
    /// behind and its bytes in flight only wait for another thread, waits for that thread: a
    /// session that lies a quarter of the ring behind can't be taken over.
    pub(super) fn write_and_follow<S: Sockets>(
        &mut self,
        sockets: &mut S,
        position: Sequence,
        lag_max: u64,
    ) {
        self.write(sockets);
        while self.in_flight > 0
            && position.blocks_since(self.oldest_mark().0) > lag_max
            && sockets.hurry(self.session)
        {
            self.write(sockets);
        }
    }

    /// Continues after the output that a predecessor handed to the kernel.
    pub(super) fn resume(&mut self, checkpoint: Checkpoint, taken: u64) {
        (self.resumes_at, self.rendered, self.writes) =
            (checkpoint.sequence, checkpoint.offset, checkpoint.writes);
        (self.taken, self.mark) = (taken, (checkpoint.sequence, checkpoint.offset));
    }

    pub(super) fn drop_session(&mut self, why: CloseReason) {
        self.dropped = Some(Dropped { why, mark: self.oldest_mark() });
        self.bytes = Vec::new();
        self.start = 0;
        // The same record may have ended the session before.
        self.end(self.ending);
    }

    pub(super) fn end(&mut self, ending: Option<Ending>) {
        // After a gap in the output, the last lines would only mislead.
        self.ending =
            ending.map(|ending| if self.dropped.is_some() { Ending::Drop } else { ending });
    }

    /// The latest mark that is not after the first byte that is not in the kernel. For a session
    /// with such bytes.
    pub(super) fn oldest_mark(&mut self) -> (Sequence, u64) {
        let in_kernel = self.in_kernel();
        while !self.earlier_marks.is_empty()
            && self.earlier_marks.get(1).unwrap_or(&self.mark).1 <= in_kernel
        {
            self.earlier_marks.pop_front();
        }
        *self.earlier_marks.front().unwrap_or(&self.mark)
    }

    pub(super) fn checkpoint(&mut self, slot: Slot, position: Sequence) -> Checkpoint {
        let (sequence, offset, is_lagging) = match self.dropped {
            Some(Dropped { mark: (sequence, offset), .. }) => (sequence, offset, true),
            None if self.outstanding() > 0 => {
                let (sequence, offset) = self.oldest_mark();
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
