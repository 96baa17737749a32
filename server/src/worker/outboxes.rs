//! The rendered and unwritten output of a worker's sessions. These are only buffers: `slow_readers`
//! decides which slow readers are disconnected, and `outgoing` decides when the buffers are
//! written.

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
    /// Memory in bytes that all outboxes take: the sum of `Outbox::counted`.
    memory: usize,
    /// Sessions that the next flush must look at.
    dirty: Vec<SessionId>,
    /// Sessions with bytes in flight to the kernel. The next turn's flush looks at them again.
    in_flight: Vec<SessionId>,
    /// Sessions whose outboxes keep memory for their next bytes.
    warm: Vec<SessionId>,
    /// Sessions whose unread output grew beyond `sendq` since the last call of
    /// [`Outboxes::take_full`].
    full: Vec<SessionId>,
    /// `--sendq`: bytes of unread output that one session may have.
    sendq: usize,
    /// The log position at which this turn began.
    turn_start: Sequence,
    /// The position of the record that is being applied.
    record: Sequence,
    /// Deliveries in this turn.
    deliveries: usize,
}

/// The ended sessions that [`Outboxes::flush`] found.
#[derive(Debug, Default)]
pub struct Flushed {
    /// Sessions that have just ended, and whose peer must read before the last output is written.
    pub waiting: Vec<SessionId>,
    /// Sessions whose output is written or dropped: their outbox is gone and their connection is
    /// ended.
    pub finished: Vec<SessionId>,
}

impl Outboxes {
    /// No outboxes yet, for the worker in slot `me`. A session may have `sendq` bytes of unread
    /// output.
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

    /// Makes the outbox of a session that is in the snapshot, or may be opened by a record that the
    /// predecessor has appended. The predecessor handed `taken` bytes of its output to the kernel.
    /// `checkpoint` is the effective one, or `None` for a session without one.
    pub fn resume(&mut self, session: SessionId, checkpoint: Option<Checkpoint>, taken: u64) {
        let outbox = self.make(session);
        match checkpoint {
            Some(checkpoint) => outbox.resume(checkpoint, taken),
            None => outbox.taken = taken,
        }
    }

    /// Makes the next flush look at every outbox.
    pub fn mark_all_dirty(&mut self) {
        let sessions: Vec<SessionId> = self.table.iter().map(|(session, _)| session).collect();
        sessions.into_iter().for_each(|session| self.mark_dirty(session));
    }

    /// Makes the outbox of a session that was just opened, if it has none.
    pub fn open(&mut self, session: SessionId) {
        // A session that was taken over has an outbox already. If a later session has the cell, the
        // end of this one is in the log, too.
        if self.table.holder(session.cell()).is_none_or(|latest| latest < session) {
            self.make(session);
        }
        let record = self.record;
        let Some(outbox) = self.table.get_mut(session) else { return };
        if outbox.resumes_at < record && outbox.rendered == 0 {
            // The first checkpoint is right before the session's first record, and not where the
            // turn begins: a snapshot may lie between the two.
            (outbox.resumes_at, outbox.mark) = (record, (record, 0));
        }
        // The session gets a checkpoint in its first turn, also without output.
        self.mark_dirty(session);
    }

    /// Whether the kernel has more output than was ever rendered. That is impossible if its
    /// counters and the log are about the same bytes.
    pub fn contradicts_kernel(&self, session: SessionId) -> bool {
        self.table.get(session).is_some_and(|outbox| outbox.taken > outbox.rendered)
    }

    /// Drops a session's output; the caller closes the session by a record. False if it was dropped
    /// before, or has no outbox.
    pub fn drop_session(&mut self, session: SessionId, why: CloseReason) -> bool {
        let Some(outbox) = self.table.get_mut(session).filter(|outbox| outbox.dropped.is_none())
        else {
            return false;
        };
        outbox.drop_session(why);
        outbox.count(&mut self.memory);
        true
    }

    /// Why a session's output was dropped; `None` if it wasn't.
    pub fn dropped(&self, session: SessionId) -> Option<CloseReason> {
        self.table.get(session)?.dropped.map(|dropped| dropped.why)
    }

    /// Removes an outbox, written or not.
    pub fn remove(&mut self, session: SessionId) {
        if let Some(outbox) = self.table.take(session) {
            self.memory -= outbox.counted;
        }
    }

    fn make(&mut self, session: SessionId) -> &mut Outbox {
        // A new session may get the cell while the end of the earlier session is still unread in
        // the log.
        if let Some(earlier) = self.table.insert(session, Box::new(Outbox::new(session))) {
            self.memory -= earlier.counted;
        }
        self.table.get_mut(session).expect("it was just inserted")
    }

    /// Whether there is no outbox at all.
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

    /// Begins a turn: the next deliveries are caused by records at or after `position`.
    pub fn begin_turn(&mut self, position: Sequence) {
        self.turn_start = position;
        self.deliveries = 0;
    }

    /// Begins a record: it causes the next deliveries.
    pub fn begin_record(&mut self, record: Sequence) {
        self.record = record;
    }

    /// Deliveries in this turn so far.
    pub fn deliveries(&self) -> usize {
        self.deliveries
    }

    /// Adds bytes to a session's output, without those that a predecessor has written.
    pub fn deliver(&mut self, session: SessionId, bytes: &[u8]) {
        let (turn_start, record, sendq) = (self.turn_start, self.record, self.sendq);
        self.deliveries += 1;
        inject_fault(Step::Rendering, bytes);
        let is_sent_to =
            |outbox: &&mut Box<Outbox>| outbox.dropped.is_none() && outbox.resumes_at <= record;
        let Some(outbox) = self.table.get_mut(session).filter(is_sent_to) else { return };
        let start = turn_start.max(outbox.resumes_at);
        if outbox.mark.0 != start {
            if outbox.outstanding() > 0 {
                outbox.earlier_marks.push_back(outbox.mark);
            }
            outbox.mark = (start, outbox.rendered);
        }
        let was_within = outbox.outstanding() <= sendq;
        let taken = outbox.taken.saturating_sub(outbox.rendered).min(bytes.len() as u64) as usize;
        let was_cold = outbox.bytes.capacity() == 0;
        outbox.is_warm = true;
        outbox.bytes.extend_from_slice(&bytes[taken..]);
        outbox.rendered += bytes.len() as u64;
        outbox.count(&mut self.memory);
        let is_too_full = was_within && outbox.outstanding() > sendq;
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

    /// Whether a predecessor may have sent the session a part of the present record's output. If
    /// so, it is unknown to which output the other bytes in the kernel belong.
    pub fn may_have_been_sent(&self, session: SessionId) -> bool {
        self.table.get(session).is_some_and(|outbox| {
            outbox.resumes_at <= self.record
                && (outbox.rendered + 1..ALL).contains(&outbox.taken)
                && outbox.dropped.is_none()
        })
    }

    /// Notes that a session is over. Its connection is ended when its output is written.
    pub fn end(&mut self, session: SessionId, ending: Ending) {
        if let Some(outbox) = self.table.get_mut(session) {
            outbox.end(Some(ending));
        }
        self.mark_dirty(session);
    }

    /// Takes the sessions whose unread output grew beyond `sendq` since the last call.
    pub fn take_full(&mut self) -> Vec<SessionId> {
        std::mem::take(&mut self.full)
    }

    /// Memory in bytes that all outboxes take, without what each may keep while it is idle.
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// The sessions whose outboxes take memory, with the bytes of each.
    pub fn by_memory(&self) -> impl Iterator<Item = (SessionId, usize)> {
        let counted = self.table.iter().map(|(session, outbox)| (session, outbox.counted));
        counted.filter(|&(_, counted)| counted > 0)
    }

    /// Writes as much as the socket takes. While more than `enough` bytes are outstanding, and only
    /// because another thread has not had its turn, waits for that thread for a moment. Returns the
    /// outstanding bytes.
    pub fn try_to_write<S: Sockets>(
        &mut self,
        session: SessionId,
        sockets: &mut S,
        enough: usize,
    ) -> usize {
        let Some(outbox) = self.table.get_mut(session) else { return 0 };
        // The socket may accept more by now, and this worker has not yet seen the event.
        outbox.is_blocked = false;
        outbox.write(sockets);
        while outbox.outstanding() > enough && sockets.hurry(session) {
            outbox.write(sockets);
        }
        outbox.count(&mut self.memory);
        outbox.outstanding()
    }

    /// Notes that the session's socket accepts output again.
    pub fn unblock(&mut self, session: SessionId) {
        if let Some(outbox) = self.table.get_mut(session) {
            outbox.is_blocked = false;
            self.mark_dirty(session);
        }
    }

    /// Drops the last output of an ended session whose client doesn't read.
    pub fn drop_unwritten(&mut self, session: SessionId) {
        if let Some(outbox) = self.table.get_mut(session) {
            outbox.ending = Some(Ending::Drop);
            self.mark_dirty(session);
        }
    }

    /// Writes to each dirty session once, stores checkpoints, and ends the connections of ended
    /// sessions whose output is written.
    pub fn flush<S: Sockets>(
        &mut self,
        sockets: &mut S,
        segment: &Segment,
        position: Sequence,
    ) -> Flushed {
        let mut flushed = Flushed::default();
        let lag_max = segment.geometry.ring_blocks() / 8;
        for session in std::mem::take(&mut self.in_flight) {
            self.mark_dirty(session);
        }
        for session in std::mem::take(&mut self.dirty) {
            let me = self.me;
            segment.heartbeats.begin_turn(me, Thread::Send);
            let Some(outbox) = self.table.get_mut(session) else { continue };
            outbox.is_dirty = false;
            if outbox.ending != Some(Ending::Drop) {
                outbox.write_and_follow(sockets, position, lag_max);
            }
            outbox.count(&mut self.memory);
            match outbox.ending {
                Some(ending) if ending == Ending::Drop || outbox.outstanding() == 0 => {
                    // Stores that all output is in the kernel: a successor may need to know that
                    // until the connection is ended. The cell may already belong to a later
                    // session, if this session ended before this worker began.
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

    /// Whether some output is on its way to the kernel. A later turn notices when it has arrived.
    pub fn is_in_flight(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Whether some outbox keeps memory for its next bytes.
    pub fn is_warm(&self) -> bool {
        !self.warm.is_empty()
    }

    /// Frees the memory of outboxes that are empty and have received nothing since the last call:
    /// most connections are idle.
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

    /// Whether a session has rendered output that isn't written.
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
