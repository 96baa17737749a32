//! Everything that applying a record changes in a worker: outboxes, wake-ups, and the data that the
//! record's effects need. [`super::serving`] passes it to [`crate::replica::Replica::apply`] as the
//! receiver of deliveries, and lets it carry out the effects of each record before the next record.

use super::lists::Lists;
use super::outboxes::{Flushed, Outboxes};
use super::slow_readers::{Bounds, SlowReaders};
use super::sockets::Sockets;
use super::udp::UdpSessions;
use super::wakes::Wakes;
use crate::chat::{CloseReason, Deliveries, Effect};
use crate::segment::{Clock, Segment};
use forkchat_common::ids::{Sequence, SessionId, Slot};

/// A worker's outputs.
#[derive(Debug)]
pub(super) struct Outgoing<S> {
    me: Slot,
    /// The sockets.
    pub sockets: S,
    pub outboxes: Outboxes,
    pub slow_readers: SlowReaders,
    pub wakes: Wakes,
    pub lists: Lists,
    pub udp: Option<UdpSessions>,
    /// Sessions whose input may be read on, because their answer is complete.
    pub resumed: Vec<SessionId>,
    /// UDP sessions whose client has to prove its address.
    challenged: Vec<SessionId>,
    /// The record that is being applied.
    record: Sequence,
    /// Records before this are muted: a worker that takes over must apply them, but their output
    /// was sent before.
    muted_before: Sequence,
    /// During a takeover: the predecessor had sent all output of the records before this, except to
    /// the sessions that have an outbox from the beginning.
    flushed_before: Sequence,
}

impl<S: Sockets> Outgoing<S> {
    /// No outputs yet.
    pub fn new(me: Slot, bounds: Bounds, sockets: S) -> Outgoing<S> {
        Outgoing {
            me,
            sockets,
            outboxes: Outboxes::new(me, bounds.sendq),
            slow_readers: SlowReaders::new(bounds),
            wakes: Wakes::new(me),
            lists: Lists::default(),
            udp: None,
            resumed: Vec::new(),
            challenged: Vec::new(),
            record: Sequence(0),
            muted_before: Sequence(0),
            flushed_before: Sequence(0),
        }
    }

    /// Begins a takeover. The outboxes are those of the predecessor's sessions. Records before
    /// `muted_before` cause no output. A session that was opened before `flushed_before` and has no
    /// outbox is over and was sent everything.
    pub fn begin_takeover(&mut self, muted_before: Sequence, flushed_before: Sequence) {
        (self.muted_before, self.flushed_before) = (muted_before, flushed_before);
    }

    /// Ends a takeover: the log is applied up to the tail.
    pub fn end_takeover(&mut self) {
        (self.muted_before, self.flushed_before) = (Sequence(0), Sequence(0));
    }

    /// Carries out the effects of the record that was just applied, and then relieves outboxes that
    /// are too full.
    pub fn carry_out(&mut self, effects: impl Iterator<Item = Effect>) {
        effects.for_each(|effect| self.carry_out_one(effect));
        self.slow_readers.relieve(&mut self.outboxes, &mut self.sockets);
    }

    fn carry_out_one(&mut self, effect: Effect) {
        let me = self.me;
        match effect {
            Effect::Reachable { session, slot, path }
                if slot == me && self.outboxes.has(session) =>
            {
                self.sockets.add_peer(session, path);
            }
            Effect::Closed { session, slot, ending } if slot == me => {
                self.outboxes.end(session, ending);
            }
            Effect::Requested => self.wakes.note_request(),
            Effect::InputResumed { session, slot } if slot == me => self.resumed.push(session),
            Effect::ListContinues { session, slot, list, parts } if slot == me => {
                self.lists.insert(session, list, parts);
            }
            Effect::Challenge { session } if self.record >= self.flushed_before => {
                self.challenged.push(session);
            }
            Effect::AddressExceeded(address)
                if self.wakes.is_own() && self.record >= self.muted_before =>
            {
                log::warn!(
                    "the sessions of address {address} send more than an address may \
                     (--rate-limit); they are slowed down"
                );
            }
            _ => {}
        }
    }

    /// Writes as much as the sockets take, and ends the connections of sessions that are over.
    /// Returns what [`Outboxes::flush`] found.
    pub fn flush(&mut self, segment: &Segment, position: Sequence) -> Flushed {
        let flushed = self.outboxes.flush(&mut self.sockets, segment, position);
        self.challenge(&segment.clock);
        for &session in &flushed.finished {
            if self.udp.as_mut().is_some_and(|udp| udp.close(session)) {
                segment.checkpoints.clear(session);
            }
            self.lists.remove(session);
        }
        flushed
    }

    /// Sends a cookie to each UDP client that has to prove its address. The datagram is lost if the
    /// socket is full: the next answer that is too long causes another.
    fn challenge(&mut self, clock: &Clock) {
        let challenged = std::mem::take(&mut self.challenged);
        let Some(udp) = &self.udp else { return };
        let lines = challenged.into_iter().filter_map(|it| udp.challenge(it, clock.now()));
        lines.for_each(|(path, line)| self.sockets.answer_unknown_peer(path, line.as_bytes()));
    }
}

impl<S: Sockets> Deliveries for Outgoing<S> {
    fn record(&mut self, at: Sequence) {
        self.record = at;
        self.outboxes.begin_record(at);
    }

    fn begin(&mut self, author: Option<Slot>) {
        self.wakes.begin(author);
    }

    fn opened(&mut self, session: SessionId, slot: Slot) {
        let is_over = self.record < self.flushed_before && !self.outboxes.has(session);
        if slot == self.me && !is_over {
            self.outboxes.open(session);
        }
    }

    fn wants(&mut self, session: SessionId, slot: Slot) -> bool {
        if slot == self.me {
            return self.record >= self.muted_before && self.outboxes.has(session);
        }
        self.wakes.note(slot);
        false
    }

    fn deliver(&mut self, session: SessionId, bytes: &[u8]) {
        self.outboxes.deliver(session, bytes);
    }

    fn muted(&mut self, session: SessionId, slot: Slot) {
        if slot == self.me && self.outboxes.may_have_been_sent(session) {
            self.slow_readers.drop_session(session, CloseReason::WorkerDied, &mut self.outboxes);
        }
    }
}
