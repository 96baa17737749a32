//! The output of each session of this worker that is rendered and not written. These are buffers
//! only: what becomes of slow readers is decided in `slow_readers`, and when they are written in
//! `outgoing`.

use super::outbox::{ALL, Outbox};
use super::sockets::Sockets;
use crate::chat::{CloseReason, Ending};
use crate::faults::{Step, inject_fault};
use crate::segment::{Checkpoint, Segment, Thread};
use forkchat_common::by_cell::ByCell;
use forkchat_common::ids::{Sequence, SessionId, Slot};

/// The outboxes of one worker.
#[derive(Debug)]
pub struct Outboxes {
    me: Slot,
    table: ByCell<Box<Outbox>>,
    /// Memory that all outboxes take, without what each keeps while it is idle: the sum of
    /// `Outbox::counted`.
    memory: usize,
    /// Those with something to do before this turn ends.
    dirty: Vec<SessionId>,
    /// Those of which something is on its way to the kernel: looked at again in the next turn.
    in_flight: Vec<SessionId>,
    /// Those that keep memory for their next bytes.
    warm: Vec<SessionId>,
    /// Those that grew beyond `sendq` since the last call of [`Outboxes::take_full`].
    full: Vec<SessionId>,
    /// `--sendq`: bytes that one session may be behind.
    sendq: usize,
    /// Where this turn began.
    turn_start: Sequence,
    /// The record that is being applied.
    record: Sequence,
    /// Deliveries in this turn.
    deliveries: usize,
}

/// What a [`Outboxes::flush`] found of sessions that have ended.
#[derive(Debug, Default)]
pub struct Flushed {
    /// Ended now, and their peer must read before the last words are out.
    pub waiting: Vec<SessionId>,
    /// Over: everything is written, or never will be.
    pub finished: Vec<SessionId>,
}

impl Outboxes {
    /// None yet, of the worker in slot `me`. A session may be `sendq` bytes behind.
    pub fn new(me: Slot, sendq: usize) -> Outboxes {
        Outboxes {
            me,
            table: ByCell::default(),
            memory: 0,
            dirty: Vec::new(),
            in_flight: Vec::new(),
            warm: Vec::new(),
            full: Vec::new(),
            sendq,
            turn_start: Sequence(0),
            record: Sequence(0),
            deliveries: 0,
        }
    }

    /// Makes the outbox of a session that is known from a snapshot, or may be opened by a record
    /// that a predecessor has appended. Of its bytes the predecessor has handed `taken` to the
    /// kernel; `checkpoint` is the effective one, `None` for a session that is in no snapshot.
    pub fn resume(&mut self, session: SessionId, checkpoint: Option<Checkpoint>, taken: u64) {
        let outbox = self.make(session);
        match checkpoint {
            Some(checkpoint) => outbox.resume(checkpoint, taken),
            None => outbox.taken = taken,
        }
    }

    /// Has the next flush look at every outbox.
    pub fn mark_all_dirty(&mut self) {
        let sessions: Vec<SessionId> = self.table.iter().map(|(session, _)| session).collect();
        sessions.into_iter().for_each(|session| self.mark_dirty(session));
    }

    /// A session has begun: what follows may be delivered to it.
    pub fn open(&mut self, session: SessionId) {
        // There is one already for a session that was taken over, or for a later one in the same
        // cell: then this one's end is in the log, too.
        if self.table.holder(session.cell()).is_none_or(|latest| latest < session) {
            self.make(session);
        }
        let record = self.record;
        let Some(outbox) = self.table.get_mut(session) else { return };
        if outbox.resumes_at < record && outbox.rendered == 0 {
            // The first checkpoint is right before it begins, and not where the turn begins: a
            // snapshot may lie between.
            (outbox.resumes_at, outbox.mark) = (record, (record, 0));
        }
        // It has a checkpoint from its first turn on, whether it receives anything or not.
        self.mark_dirty(session);
    }

    /// Whether the kernel was handed more than was ever rendered, which can't be: the two don't
    /// speak of the same bytes.
    pub fn is_astray(&self, session: SessionId) -> bool {
        self.table.get(session).is_some_and(|outbox| outbox.taken > outbox.rendered)
    }

    /// Nothing more is kept for a session, which is to be closed by a record. False if that was so.
    pub fn drop_session(&mut self, session: SessionId, why: CloseReason) -> bool {
        let Some(outbox) = self.table.get_mut(session).filter(|outbox| outbox.dropped.is_none())
        else {
            return false;
        };
        outbox.drop_session(why);
        outbox.count(&mut self.memory);
        true
    }

    /// Why nothing more is kept for a session, if that is so.
    pub fn dropped(&self, session: SessionId) -> Option<CloseReason> {
        self.table.get(session)?.dropped.map(|dropped| dropped.why)
    }

    /// Takes an outbox away, written or not.
    pub fn remove(&mut self, session: SessionId) {
        if let Some(outbox) = self.table.take(session) {
            self.memory -= outbox.counted;
        }
    }

    fn make(&mut self, session: SessionId) -> &mut Outbox {
        // A session may follow in the cell whose end is still in the log.
        if let Some(earlier) = self.table.insert(session, Box::new(Outbox::new(session))) {
            self.memory -= earlier.counted;
        }
        self.table.get_mut(session).expect("it was just inserted")
    }

    /// Whether there is no outbox.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Whether this session has an outbox.
    pub fn has(&self, session: SessionId) -> bool {
        self.table.contains(session)
    }

    /// Whether this session has an outbox and has not ended.
    pub fn is_open(&self, session: SessionId) -> bool {
        self.table.get(session).is_some_and(|outbox| outbox.ending.is_none())
    }

    /// Whether a session has an outbox in this cell, open or ended.
    pub fn is_taken(&self, cell: usize) -> bool {
        self.table.holder(cell).is_some()
    }

    /// A turn begins: what is delivered from now on comes from records at and after `position`.
    pub fn begin_turn(&mut self, position: Sequence) {
        self.turn_start = position;
        self.deliveries = 0;
    }

    /// What is delivered from now on comes from this record.
    pub fn begin_record(&mut self, record: Sequence) {
        self.record = record;
    }

    /// Deliveries in this turn so far.
    pub fn deliveries(&self) -> usize {
        self.deliveries
    }

    /// A session receives these bytes.
    pub fn deliver(&mut self, session: SessionId, bytes: &[u8]) {
        let (turn_start, record, sendq) = (self.turn_start, self.record, self.sendq);
        self.deliveries += 1;
        inject_fault(Step::Rendering, bytes);
        let is_sent_to =
            |outbox: &&mut Box<Outbox>| outbox.dropped.is_none() && outbox.resumes_at <= record;
        let Some(outbox) = self.table.get_mut(session).filter(is_sent_to) else { return };
        let start = turn_start.max(outbox.resumes_at);
        if outbox.mark.0 != start {
            if outbox.behind() > 0 {
                outbox.earlier_marks.push_back(outbox.mark);
            }
            outbox.mark = (start, outbox.rendered);
        }
        let was_within = outbox.behind() <= sendq;
        let taken = outbox.taken.saturating_sub(outbox.rendered).min(bytes.len() as u64) as usize;
        let was_cold = outbox.bytes.capacity() == 0;
        outbox.is_warm = true;
        outbox.bytes.extend_from_slice(&bytes[taken..]);
        outbox.rendered += bytes.len() as u64;
        outbox.count(&mut self.memory);
        let is_too_full = was_within && outbox.behind() > sendq;
        let was_dirty = std::mem::replace(&mut outbox.is_dirty, true);
        if is_too_full {
            self.full.push(session);
        }
        if !was_dirty {
            self.dirty.push(session);
        }
        if was_cold {
            self.warm.push(session);
        }
    }

    /// Whether a predecessor may have sent a session a part of what the record that is applied
    /// causes. Then it is unknown what the rest of what the kernel has taken was.
    pub fn may_have_been_sent(&self, session: SessionId) -> bool {
        self.table.get(session).is_some_and(|outbox| {
            outbox.resumes_at <= self.record
                && (outbox.rendered + 1..ALL).contains(&outbox.taken)
                && outbox.dropped.is_none()
        })
    }

    /// A session is over: its connection is ended when its output is written.
    pub fn end(&mut self, session: SessionId, ending: Ending) {
        if let Some(outbox) = self.table.get_mut(session) {
            outbox.end(Some(ending));
        }
        self.mark_dirty(session);
    }

    /// Those that grew beyond `sendq` since the last call.
    pub fn take_full(&mut self) -> Vec<SessionId> {
        std::mem::take(&mut self.full)
    }

    /// Memory in bytes that all outboxes take.
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// The sessions whose outboxes take memory, and how much, in bytes.
    pub fn by_memory(&self) -> impl Iterator<Item = (SessionId, usize)> {
        let counted = self.table.iter().map(|(session, outbox)| (session, outbox.counted));
        counted.filter(|&(_, counted)| counted > 0)
    }

    /// Writes what the socket takes, and waits a moment for what only waits for its turn while more
    /// than `enough` is not out. Returns how much is not.
    pub fn try_to_write<S: Sockets>(
        &mut self,
        session: SessionId,
        sockets: &mut S,
        enough: usize,
    ) -> usize {
        let Some(outbox) = self.table.get_mut(session) else { return 0 };
        // It may take more by now, and only this worker has not had the time to learn of it.
        outbox.is_blocked = false;
        outbox.write(sockets);
        while outbox.behind() > enough && sockets.hurry(session) {
            outbox.write(sockets);
        }
        outbox.count(&mut self.memory);
        outbox.behind()
    }

    /// The session's socket takes more again.
    pub fn unblock(&mut self, session: SessionId) {
        if let Some(outbox) = self.table.get_mut(session) {
            outbox.is_blocked = false;
            self.mark_dirty(session);
        }
    }

    /// An ended session whose last words nobody reads.
    pub fn drop_unwritten(&mut self, session: SessionId) {
        if let Some(outbox) = self.table.get_mut(session) {
            outbox.ending = Some(Ending::Drop);
            self.mark_dirty(session);
        }
    }

    /// Writes what can be written, once per session, and ends those that have ended and are
    /// written.
    pub fn flush<S: Sockets>(
        &mut self,
        sockets: &mut S,
        segment: &Segment,
        position: Sequence,
    ) -> Flushed {
        let mut flushed = Flushed::default();
        let far_behind = segment.geometry.ring_blocks() / 8;
        for session in std::mem::take(&mut self.in_flight) {
            self.mark_dirty(session);
        }
        for session in std::mem::take(&mut self.dirty) {
            let me = self.me;
            segment.heartbeats.begin_turn(me, Thread::Send);
            let Some(outbox) = self.table.get_mut(session) else { continue };
            outbox.is_dirty = false;
            if outbox.ending != Some(Ending::Drop) {
                outbox.write(sockets);
                // A quarter of the ring behind it couldn't be followed, and that isn't its fault
                // while it only waits for its turn.
                while outbox.in_flight > 0
                    && position.blocks_since(outbox.mark_behind().0) > far_behind
                    && sockets.hurry(session)
                {
                    outbox.write(sockets);
                }
            }
            outbox.count(&mut self.memory);
            match outbox.ending {
                Some(ending) if ending == Ending::Drop || outbox.behind() == 0 => {
                    // That all of it is out: until its connection is ended a successor may have to
                    // know. A later session may have the cell if it was ended before this worker
                    // began.
                    if ending == Ending::Finish
                        && segment
                            .checkpoints
                            .get(session.cell())
                            .is_some_and(|checkpoint| checkpoint.session == session)
                    {
                        segment.checkpoints.store(outbox.checkpoint(me, position));
                    }
                    self.remove(session);
                    sockets.finish(session, ending);
                    flushed.finished.push(session);
                }
                ending => {
                    segment.checkpoints.store(outbox.checkpoint(me, position));
                    let is_in_flight = outbox.in_flight > 0;
                    if ending.is_some() && !std::mem::replace(&mut outbox.is_waited_for, true) {
                        flushed.waiting.push(session);
                    }
                    if is_in_flight {
                        self.in_flight.push(session);
                    }
                }
            }
        }
        flushed
    }

    /// Whether something is on its way to the kernel: that it has come there is noticed in a later
    /// turn.
    pub fn is_in_flight(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Whether some outbox keeps memory for its next bytes.
    pub fn is_warm(&self) -> bool {
        !self.warm.is_empty()
    }

    /// Gives back the memory of those that were told nothing since the last call, and have nothing
    /// to write: idle connections are many.
    pub fn tidy(&mut self) {
        let mut warm = std::mem::take(&mut self.warm);
        warm.retain(|&session| {
            let Some(outbox) = self.table.get_mut(session) else { return false };
            let stays_warm = std::mem::take(&mut outbox.is_warm) || outbox.unwritten() > 0;
            if !stays_warm {
                outbox.bytes = Vec::new();
            }
            stays_warm
        });
        self.warm = warm;
    }

    /// Whether something that was rendered for a session isn't written.
    pub fn has_unwritten(&self, session: SessionId) -> bool {
        self.table.get(session).is_some_and(|outbox| outbox.unwritten() > 0)
    }

    fn mark_dirty(&mut self, session: SessionId) {
        if let Some(outbox) = self.table.get_mut(session)
            && !std::mem::replace(&mut outbox.is_dirty, true)
        {
            self.dirty.push(session);
        }
    }
}

#[cfg(test)]
mod tests;
