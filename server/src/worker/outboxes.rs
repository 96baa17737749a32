//! The output of each session of this worker, and how much of it has been written.
//!
//! An outbox is bounded: a client that does not read its output is disconnected (`--sendq`), and
//! nothing waits for it. All outboxes of a worker together are bounded, too ([`Bounds`]): many slow
//! readers, each within `--sendq`, must not take the server's memory. After each turn a session's
//! checkpoint goes to its cell in shared memory; `segment/checkpoints.rs` explains what it means.

use super::outbox::{ALL, IDLE_BYTES_MAX, Outbox};
use super::sockets::Sockets;
use crate::chat::{CloseReason, Deliveries, Effect, Ending};
use crate::faults::{Act, strike};
use crate::segment::{Checkpoint, Segment, Thread};
use forkchat_common::address::AddressBlock;
use forkchat_common::endpoint::UdpPath;
use forkchat_common::ids::{Sequence, SessionId, Slot};
use std::cmp::Reverse;

/// When the outboxes of a worker take more than they may, the sessions that are furthest behind are
/// disconnected until this part of it is free: else the next line to the same readers would have
/// all outboxes looked at again.
const RELIEF_SHARE: usize = 4;

/// How much may wait for readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// `--sendq`: bytes that one session may be behind.
    pub sendq: usize,
    /// Memory in bytes that all outboxes of the worker may take together.
    pub together: usize,
}

/// The outboxes of one worker, and who of its sessions ended.
#[derive(Debug)]
pub struct Outboxes {
    me: Slot,
    bounds: Bounds,
    /// Memory that all outboxes take, without what each keeps while it is idle: the sum of
    /// [`Outbox::counted`].
    memory: usize,
    /// By cell.
    boxes: Vec<Option<Box<Outbox>>>,
    open: usize,
    /// Those with something to do before this turn ends.
    dirty: Vec<SessionId>,
    /// Those of which something is on its way to the kernel: looked at again in the next turn.
    in_flight: Vec<SessionId>,
    /// Those that keep memory for their next bytes.
    warm: Vec<SessionId>,
    /// Those that grew beyond `sendq`, to be relieved or given up.
    too_full: Vec<SessionId>,
    /// Those given up in this turn, and why: their end is still to be recorded.
    given_up: Vec<(SessionId, CloseReason)>,
    /// Where this turn began.
    turn_start: Sequence,
    /// The record that is being applied.
    now: Sequence,
    /// No outbox wants anything that comes of a record before this: what a worker that takes over
    /// must apply, and nobody must be told again.
    silent_before: Sequence,
    /// Deliveries in this turn.
    tells: usize,
    /// Whether the record that is being applied is of this worker's recording: then it is the one
    /// who wakes those who should know.
    is_own: bool,
    /// By slot: whether another worker has somebody to tell and is to be woken.
    others: Vec<bool>,
    /// The addresses of UDP sessions that began since the last call of [`Outboxes::take_peers`].
    peers: Vec<(SessionId, UdpPath)>,
    /// UDP sessions whose client has to prove its address, since the last call of
    /// [`Outboxes::take_challenged`].
    challenged: Vec<SessionId>,
    /// Whether there is a question for the journal.
    is_asked: bool,
    /// Those whose question was answered since the last call of [`Outboxes::take_answered`].
    answered: Vec<SessionId>,
    /// Lists that have another part, since the last call of [`Outboxes::take_continuing`].
    continuing: Vec<(SessionId, Sequence, u32)>,
    /// Addresses that have exceeded their budget since the last call of
    /// [`Outboxes::take_exceeded`].
    exceeded: Vec<AddressBlock>,
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
    /// None yet.
    pub fn new(me: Slot, bounds: Bounds) -> Outboxes {
        Outboxes {
            me,
            bounds,
            memory: 0,
            boxes: Vec::new(),
            open: 0,
            dirty: Vec::new(),
            in_flight: Vec::new(),
            warm: Vec::new(),
            too_full: Vec::new(),
            given_up: Vec::new(),
            turn_start: Sequence(0),
            now: Sequence(0),
            silent_before: Sequence(0),
            tells: 0,
            is_own: false,
            others: Vec::new(),
            peers: Vec::new(),
            challenged: Vec::new(),
            is_asked: false,
            answered: Vec::new(),
            continuing: Vec::new(),
            exceeded: Vec::new(),
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

    /// Nobody is told what comes of records before this.
    pub fn be_silent_before(&mut self, sequence: Sequence) {
        self.silent_before = sequence;
    }

    /// Has the next flush look at every outbox.
    pub fn mark_all_dirty(&mut self) {
        let sessions: Vec<SessionId> =
            self.boxes.iter().flatten().map(|outbox| outbox.session).collect();
        sessions.into_iter().for_each(|session| self.mark_dirty(session));
    }

    /// Whether the kernel was handed more than was ever rendered, which can't be: the two don't
    /// speak of the same bytes.
    pub fn is_astray(&self, session: SessionId) -> bool {
        self.look_at(session).is_some_and(|outbox| outbox.taken > outbox.rendered)
    }

    /// Nothing more is kept for a session, which is to be closed by a record.
    pub fn give_up(&mut self, session: SessionId, why: CloseReason) {
        if let Some(outbox) = self.get(session).filter(|outbox| outbox.given_up.is_none()) {
            outbox.give_up(why);
            self.count(session);
        }
    }

    /// Why nothing more is kept for a session, if that is so.
    pub fn given_up(&self, session: SessionId) -> Option<CloseReason> {
        self.look_at(session)?.given_up.map(|given_up| given_up.why)
    }

    /// Takes an outbox away whose session never began.
    pub fn remove(&mut self, session: SessionId) {
        if self.has(session) {
            self.empty_cell(session.cell());
        }
    }

    /// Takes the outbox out of a cell that has one.
    fn empty_cell(&mut self, cell: usize) {
        if let Some(outbox) = self.boxes[cell].take() {
            self.memory -= outbox.counted;
            self.open -= 1;
        }
    }

    fn count(&mut self, session: SessionId) {
        if let Some(outbox) = find(&mut self.boxes, session) {
            outbox.count(&mut self.memory);
        }
    }

    fn make(&mut self, session: SessionId) -> &mut Outbox {
        if self.boxes.len() <= session.cell() {
            self.boxes.resize_with(session.cell() + 1, || None);
        }
        // A session may follow in the cell whose end is still in the log.
        self.empty_cell(session.cell());
        self.open += 1;
        self.boxes[session.cell()].insert(Box::new(Outbox::new(session)))
    }

    /// Whether there is no outbox.
    pub fn is_empty(&self) -> bool {
        self.open == 0
    }

    /// Whether this session has an outbox.
    pub fn has(&self, session: SessionId) -> bool {
        self.look_at(session).is_some()
    }

    /// Whether this session has an outbox and has not ended.
    pub fn is_open(&self, session: SessionId) -> bool {
        self.look_at(session).is_some_and(|outbox| outbox.ending.is_none())
    }

    /// A turn begins: what is told from now on comes from records at and behind `position`.
    pub fn begin_turn(&mut self, position: Sequence) {
        self.turn_start = position;
        self.tells = 0;
    }

    /// Deliveries in this turn so far.
    pub fn tells(&self) -> usize {
        self.tells
    }

    /// Writes to those that are too full, and gives up those that stay so. If all together take too
    /// much, does so with all, and gives up those that are furthest behind.
    pub fn relieve<S: Sockets>(&mut self, sockets: &mut S) {
        let sendq = self.bounds.sendq;
        for session in std::mem::take(&mut self.too_full) {
            if self.try_to_write(session, sockets, sendq) > sendq {
                self.give_up_slow(session);
            }
        }
        if self.memory > self.bounds.together {
            self.relieve_all(sockets);
        }
    }

    fn relieve_all<S: Sockets>(&mut self, sockets: &mut S) {
        let counted = |outbox: &Outbox| (outbox.counted > 0).then_some(outbox.session);
        let sessions: Vec<SessionId> =
            self.boxes.iter().flatten().filter_map(|outbox| counted(outbox)).collect();
        for &session in &sessions {
            self.try_to_write(session, sockets, IDLE_BYTES_MAX);
        }
        let enough = self.bounds.together - self.bounds.together / RELIEF_SHARE;
        let mut by_memory: Vec<(usize, SessionId)> = sessions
            .into_iter()
            .filter_map(|session| Some((self.look_at(session)?.counted, session)))
            .collect();
        by_memory.sort_unstable_by_key(|&(counted, session)| (Reverse(counted), session));
        for (_, session) in by_memory {
            if self.memory <= enough {
                break;
            }
            self.give_up_slow(session);
        }
    }

    /// Writes what the socket takes, and waits a moment for what only waits for its turn while more
    /// than `enough` is not out. Returns how much is not.
    fn try_to_write<S: Sockets>(
        &mut self,
        session: SessionId,
        sockets: &mut S,
        enough: usize,
    ) -> usize {
        let Some(outbox) = self.get(session) else { return 0 };
        // It may take more by now, only nobody has had the time to hear of it.
        outbox.is_blocked = false;
        outbox.write(sockets);
        while outbox.behind() > enough && sockets.hurry(session) {
            outbox.write(sockets);
        }
        let behind = outbox.behind();
        self.count(session);
        behind
    }

    fn give_up_slow(&mut self, session: SessionId) {
        if let Some(outbox) = self.get(session)
            && outbox.given_up.is_none()
        {
            outbox.give_up(CloseReason::TooSlow);
            self.given_up.push((session, CloseReason::TooSlow));
            self.count(session);
        }
    }

    /// Those that were given up since the last call, and why: each is to be closed by a record.
    pub fn take_given_up(&mut self) -> Vec<(SessionId, CloseReason)> {
        std::mem::take(&mut self.given_up)
    }

    /// The session's socket takes more again.
    pub fn unblock(&mut self, session: SessionId) {
        if let Some(outbox) = self.get(session) {
            outbox.is_blocked = false;
            self.mark_dirty(session);
        }
    }

    /// An ended session whose last words nobody reads.
    pub fn drop_unwritten(&mut self, session: SessionId) {
        if let Some(outbox) = self.get(session) {
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
            let Some(outbox) = find(&mut self.boxes, session) else { continue };
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
                    self.empty_cell(session.cell());
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
            let Some(outbox) = self.get(session) else { return false };
            let stays_warm = std::mem::take(&mut outbox.is_warm) || outbox.unwritten() > 0;
            if !stays_warm {
                outbox.bytes = Vec::new();
            }
            stays_warm
        });
        self.warm = warm;
    }

    /// The other workers that were found to have somebody to tell of what this one has recorded,
    /// since the last call. Of what others recorded they wake each other themselves; if one dies
    /// before it has, the supervisor wakes everyone.
    pub fn take_others(&mut self) -> impl Iterator<Item = Slot> {
        (0..)
            .zip(&mut self.others)
            .filter_map(|(slot, has_somebody)| std::mem::take(has_somebody).then_some(Slot(slot)))
    }

    /// The UDP sessions that began since the last call, and their addresses.
    pub fn take_peers(&mut self) -> Vec<(SessionId, UdpPath)> {
        std::mem::take(&mut self.peers)
    }

    /// The UDP sessions that were challenged since the last call.
    pub fn take_challenged(&mut self) -> Vec<SessionId> {
        std::mem::take(&mut self.challenged)
    }

    /// Whether a session has an outbox in this cell, open or ended.
    pub fn is_taken(&self, cell: usize) -> bool {
        self.boxes.get(cell).is_some_and(Option::is_some)
    }

    /// Whether one of this worker's sessions has asked the journal something since the last call.
    pub fn take_asked(&mut self) -> bool {
        std::mem::take(&mut self.is_asked)
    }

    /// Those whose question was answered since the last call: their input may be looked at again.
    pub fn take_answered(&mut self) -> Vec<SessionId> {
        std::mem::take(&mut self.answered)
    }

    /// The lists that have another part, found since the last call: whose, which, and how many
    /// parts were rendered.
    pub fn take_continuing(&mut self) -> Vec<(SessionId, Sequence, u32)> {
        std::mem::take(&mut self.continuing)
    }

    /// The addresses that have exceeded their budget since the last call.
    pub fn take_exceeded(&mut self) -> Vec<AddressBlock> {
        std::mem::take(&mut self.exceeded)
    }

    /// Whether something that was rendered for a session isn't written.
    pub fn has_unwritten(&self, session: SessionId) -> bool {
        self.look_at(session).is_some_and(|outbox| outbox.unwritten() > 0)
    }

    fn look_at(&self, session: SessionId) -> Option<&Outbox> {
        self.boxes.get(session.cell())?.as_deref().filter(|outbox| outbox.session == session)
    }

    fn get(&mut self, session: SessionId) -> Option<&mut Outbox> {
        find(&mut self.boxes, session)
    }

    fn mark_dirty(&mut self, session: SessionId) {
        if let Some(outbox) = self.get(session)
            && !std::mem::replace(&mut outbox.is_dirty, true)
        {
            self.dirty.push(session);
        }
    }
}

/// A session's outbox. Borrows the outboxes alone, and not what is counted of them.
fn find(boxes: &mut [Option<Box<Outbox>>], session: SessionId) -> Option<&mut Outbox> {
    boxes.get_mut(session.cell())?.as_deref_mut().filter(|outbox| outbox.session == session)
}

impl Deliveries for Outboxes {
    fn begin(&mut self, at: Sequence, author: Option<Slot>) {
        self.now = at;
        self.is_own = author.is_none_or(|author| author == self.me);
    }

    fn opened(&mut self, session: SessionId, slot: Slot) {
        let now = self.now;
        if slot != self.me {
            return;
        }
        // There is one already for a session that was taken over, or for a later one in the same
        // cell: then this one's end is in the log, too.
        let latest = self
            .boxes
            .get(session.cell())
            .and_then(Option::as_ref)
            .map_or(SessionId::NONE, |outbox| outbox.session);
        if latest < session {
            self.make(session);
        }
        let Some(outbox) = self.get(session) else { return };
        if outbox.resumes_at < now && outbox.rendered == 0 {
            // The first checkpoint is right before it begins, and not where the turn begins: a
            // snapshot may lie between.
            (outbox.resumes_at, outbox.mark) = (now, (now, 0));
        }
        // It has a checkpoint from its first turn on, told anything or not.
        self.mark_dirty(session);
    }

    fn wants(&mut self, session: SessionId, slot: Slot) -> bool {
        if slot == self.me {
            return self.now >= self.silent_before && self.has(session);
        }
        if self.is_own {
            if self.others.len() <= slot.index() {
                self.others.resize(slot.index() + 1, false);
            }
            self.others[slot.index()] = true;
        }
        false
    }

    fn deliver(&mut self, session: SessionId, bytes: &[u8]) {
        let (turn_start, now, sendq) = (self.turn_start, self.now, self.bounds.sendq);
        self.tells += 1;
        strike(Act::Rendering, bytes);
        let is_sent_to =
            |outbox: &&mut Outbox| outbox.given_up.is_none() && outbox.resumes_at <= now;
        let Some(outbox) = find(&mut self.boxes, session).filter(is_sent_to) else { return };
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
            self.too_full.push(session);
        }
        if !was_dirty {
            self.dirty.push(session);
        }
        if was_cold {
            self.warm.push(session);
        }
    }

    fn muted(&mut self, session: SessionId, slot: Slot) {
        // The predecessor may have told it, and handed over some of it: then nobody knows what the
        // rest of what it handed over was.
        let now = self.now;
        let may_have_been_told = |outbox: &&mut Outbox| {
            outbox.resumes_at <= now
                && (outbox.rendered + 1..ALL).contains(&outbox.taken)
                && outbox.given_up.is_none()
        };
        if slot == self.me
            && let Some(outbox) = self.get(session).filter(may_have_been_told)
        {
            outbox.give_up(CloseReason::WorkerDied);
            self.count(session);
            self.given_up.push((session, CloseReason::WorkerDied));
        }
    }
}

impl Outboxes {
    /// Notes what is left to be done for the record that was applied.
    pub fn carry_out(&mut self, effect: Effect) {
        let me = self.me;
        match effect {
            Effect::Reachable { session, slot, path } if slot == me => {
                self.peers.push((session, path));
            }
            Effect::Closed { session, slot, ending } if slot == me => {
                if let Some(outbox) = self.get(session) {
                    outbox.end(Some(ending));
                }
                self.mark_dirty(session);
            }
            Effect::Requested => self.is_asked |= self.is_own,
            Effect::InputGoesOn { session, slot } if slot == me => self.answered.push(session),
            Effect::ListGoesOn { session, slot, list, parts } if slot == me => {
                self.continuing.push((session, list, parts));
            }
            Effect::Challenge { session } => self.challenged.push(session),
            Effect::AddressExceeded(address) if self.is_own && self.now >= self.silent_before => {
                self.exceeded.push(address);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
