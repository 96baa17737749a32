//! The serving side of a worker: it turns input into log records, and log records into output
//! bytes. It has no socket and no thread, so a simulation can run several workers step by step.
//!
//! One [`Serving::turn`]:
//!
//! ```text
//! timers → append pending records → consume their input → apply new records, rendering into outboxes
//!        → one write per session with output → checkpoints, then the cursor
//!        → wake workers that have to deliver → read on where lines are applied
//! ```
//!
//! A line is accepted when its record is published. Before that, a line from TCP is still in the
//! kernel, and a datagram may be lost; after that, only the record counts. So a worker can be
//! killed anywhere in a turn: a successor finds what it needs in the log, the kernel or a snapshot.

mod deadlines;
mod drain;

use super::input::{Input, Lines};
use super::outgoing::Outgoing;
use super::reading::{Next, Reading};
use super::slow_readers::Bounds;
use super::sockets::Sockets;
use super::taken_over::TakenOver;
use super::timers::Timers;
use super::udp::{UdpConfig, Verdict};
use crate::chat::{CloseReason, Fact, Session, Transport};
use crate::faults::{Step, inject_fault};
use crate::ipc::doorbell::Doorbell;
use crate::ipc::event::Event;
use crate::proposer::{Proposer, fact_batch};
use crate::replica::Replica;
use crate::segment::{Dropped, Segment, Thread, WorkItem};
use crate::stand_in::{Post, StandIn};
use deadlines::Timer;
use drain::Drain;
use forkchat_common::endpoint::{Origin, UdpPath};
use forkchat_common::ids::{Micros, SessionId, Slot};
use std::collections::BTreeSet;
use std::time::Duration;

/// Blocks of the log that are applied in one turn, at most: enough that many lines share one write,
/// and so few that the first of them is not delayed noticeably.
const TURN_BLOCKS: u64 = 8_192;
/// A turn also stops applying after this many deliveries: in a large room one line causes as many
/// deliveries as a thousand lines in a small one.
const TURN_DELIVERIES: usize = 20_000;
/// The number of deliveries is checked each time this many blocks are applied.
const PIECE_BLOCKS: u64 = 16;
/// A worker publishes its cursor each time it has applied this many blocks, also within a turn:
/// writers wait for the cursor, and the watchdog checks that it moves.
const PUBLISH_BLOCKS: u64 = 512;
/// After a session's end, its client has this long to read the last output.
const LAST_OUTPUT: u64 = 10 * Micros::SECOND;
/// The most proposals that may wait to be appended. With more pending, the worker takes no more
/// input, which stays in the kernel and slows the clients down.
const PENDING_MAX: usize = 1_024;
/// If the kernel refuses to watch a socket's input, the worker tries again after this.
const ARM_AGAIN: u64 = Micros::SECOND / 20;
/// Idle outboxes are checked this often, and give their memory back.
const TIDY: u64 = Micros::SECOND / 4;

/// A worker's configuration. It does not change while the worker runs.
#[derive(Clone, Debug)]
pub struct ServingConfig {
    /// The worker's process id, which `/whoami` shows.
    pub pid: u32,
    /// How much unread output the worker may hold: `--sendq`, and this worker's share of the
    /// memory.
    pub outboxes: Bounds,
    /// The most rejected connections that may be open at a time.
    pub rejected_max: usize,
    /// The journal's slot.
    pub journal: Slot,
    /// Set when the server stops. Sessions are then notified, and no more input is taken.
    pub stopping: Event,
    /// Counters of dropped client input.
    pub dropped: &'static Dropped,
    /// The UDP configuration, for the worker that has the UDP sessions.
    pub udp: Option<UdpConfig>,
    /// Through this the supervisor appoints the worker that stands in for the journal.
    pub stand_in: Option<Post>,
}

/// One worker's serving side.
#[derive(Debug)]
pub struct Serving<S: Sockets> {
    pub(super) segment: &'static Segment,
    pub(super) me: Slot,
    pub(super) config: ServingConfig,
    pub(super) replica: Replica,
    pub(super) outgoing: Outgoing<S>,
    pub(super) proposer: Proposer<Then>,
    reading: Reading,
    timers: Timers<Micros, Timer>,
    /// Whether a [`Timer::Tidy`] is set.
    is_tidying: bool,
    drain: Drain,
    /// The number of quarantined items at the last check.
    quarantined: u64,
    /// The takeover that this worker began with, until it is reported.
    pub(super) taken_over: Option<TakenOver>,
    /// This worker's part if it has to stand in for the journal.
    stand_in: StandIn,
}

/// What the worker does when a proposal's records are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Nothing,
    /// Read the session's next input.
    ReadOn(SessionId),
    CountUdp {
        session: SessionId,
        lines: u64,
    },
}

impl<S: Sockets> Serving<S> {
    /// A worker in slot `me` with this replica, which serves no session yet.
    pub(super) fn new(
        segment: &'static Segment,
        me: Slot,
        config: ServingConfig,
        replica: Replica,
        sockets: S,
    ) -> Serving<S> {
        Serving {
            segment,
            me,
            replica,
            outgoing: Outgoing::new(me, config.outboxes, sockets),
            proposer: Proposer::new(segment, me),
            reading: Reading::default(),
            timers: Timers::default(),
            is_tidying: false,
            drain: Drain::No,
            quarantined: 0,
            taken_over: None,
            stand_in: StandIn::new(me, config.stand_in.clone()),
            config,
        }
    }

    /// The worker's sockets.
    pub fn sockets(&mut self) -> &mut S {
        &mut self.outgoing.sockets
    }

    /// Takes input. Its records are appended in one of the next turns.
    pub fn accept(&mut self, input: Input<S::Connection>) {
        match input {
            Input::Opened { session, origin, connection, lines } => {
                self.outgoing.sockets.add(session, connection);
                self.open(session, origin, lines);
            }
            Input::Lines { session, lines } => {
                // The receive side discards the input of an ended session.
                if self.outgoing.outboxes.is_open(session) {
                    let lines = self.with_arrival(session, lines);
                    self.propose_lines(session, lines);
                }
            }
            Input::Committed { session, end } => {
                if !self.is_announced(session) {
                    // Other sessions are notified of a new session after its first lines.
                    self.propose_fact(session, Fact::Arrived);
                }
                self.proposer.note_appended(end, Then::ReadOn(session));
            }
            Input::Broken { session } => {
                if self.outgoing.outboxes.is_open(session) {
                    self.reading.note_broken(session);
                }
                if self.reading.is_delayed(session) {
                    self.read_on(session);
                }
            }
            Input::Datagram { path, bytes } => self.receive_datagram(path, &bytes),
        }
    }

    /// Whether the worker takes more input now.
    pub fn takes_input(&self) -> bool {
        self.proposer.pending() < PENDING_MAX
    }

    /// Notes that a session's socket accepts output again.
    pub fn writable(&mut self, session: SessionId) {
        self.outgoing.outboxes.unblock(session);
    }

    /// Does one turn, as the module's documentation describes it. It never waits for a client.
    pub fn turn(&mut self) {
        self.outgoing.outboxes.begin_turn(self.replica.position());
        self.begin_drain();
        self.end_quarantined();
        self.run_timers();
        self.commit();
        self.apply_some();
        self.close_dropped();
        self.flush();
        self.segment.cursors.publish(self.me, self.replica.position());
        self.outgoing.wakes.ring(self.segment.doorbells, self.config.journal);
        self.settle();
        self.continue_lists();
        if self.outgoing.outboxes.is_warm() && !std::mem::replace(&mut self.is_tidying, true) {
            self.set_timer(TIDY, Timer::Tidy);
        }
        self.finish_drain();
        if let Some(taken_over) = self.taken_over.take() {
            taken_over.report(&self.segment.clock);
        }
        self.stand_in.turn();
    }

    /// Whether another turn has work to do now. If not, the worker may block until its doorbell
    /// rings, a socket accepts more output, or a timer is due.
    pub fn has_work(&self) -> bool {
        self.replica.is_behind() || self.proposer.has_work() || self.is_to_drain()
    }

    /// Prepares a wait, and returns how long the worker may block: not at all if there is work or
    /// `has_input`. The caller waits for that long on its descriptors and the doorbell, also if it
    /// is zero, and then calls [`Serving::after_wait`].
    pub fn before_wait(&self, bell: &Doorbell, has_input: impl Fn(&Self) -> bool) -> Duration {
        let has_work = || self.has_work() || has_input(self);
        if has_work() {
            return Duration::ZERO;
        }
        bell.before_sleep();
        // A process that stored something before it could see this worker as sleeping doesn't ring;
        // the store is visible here. A process that stores later rings.
        if has_work() {
            return Duration::ZERO;
        }
        self.next_timer().unwrap_or(Duration::MAX).min(self.stand_in.patience())
    }

    /// Ends a wait that was allowed to last for `asleep`.
    pub fn after_wait(&mut self, bell: &Doorbell, asleep: Duration) {
        bell.after_sleep();
        if !asleep.is_zero() {
            self.rung();
        }
    }

    /// Notes that the worker was woken: there may be room in the ring again.
    pub fn rung(&mut self) {
        self.proposer.rung();
    }

    /// The chat state.
    #[cfg(test)]
    pub fn chat(&self) -> &crate::chat::Chat {
        &self.replica.chat
    }

    /// Proposes to open a session that the log doesn't know yet.
    pub(super) fn open(&mut self, session: SessionId, origin: Origin, lines: Lines) {
        let opened = Fact::Opened { slot: self.me, origin, transport: Transport::Tcp };
        let mut batch = fact_batch(session, opened);
        batch.extend(&lines.batch);
        let has_lines = lines.count > 0;
        let mut lines = Lines { batch, ..lines };
        if has_lines {
            lines = self.with_arrival(session, lines);
        } else if lines.ends.is_none() {
            self.set_arrival_timer(session);
        }
        self.propose_lines(session, lines);
    }

    /// Adds, if necessary, the record after which other sessions are notified of this one. A
    /// session that ends with its first lines is not announced.
    fn with_arrival(&self, session: SessionId, mut lines: Lines) -> Lines {
        if lines.ends.is_none() && !self.is_announced(session) {
            lines.batch.extend(&fact_batch(session, Fact::Arrived));
        }
        lines
    }

    fn is_announced(&self, session: SessionId) -> bool {
        self.replica.chat.session(session).is_some_and(Session::is_announced)
    }

    fn propose_lines(&mut self, session: SessionId, lines: Lines) {
        let then = if lines.ends.is_none() { Then::ReadOn(session) } else { Then::Nothing };
        self.proposer.propose_input(session, lines.consume, lines.batch, then);
    }

    pub(super) fn propose_fact(&mut self, session: SessionId, fact: Fact<'_>) {
        self.proposer.propose_fact(session, fact, Then::Nothing);
    }

    fn receive_datagram(&mut self, path: UdpPath, bytes: &[u8]) {
        let Some(udp) = &mut self.outgoing.udp else { return };
        if self.drain != Drain::No {
            return;
        }
        let Segment { clock, quarantine, .. } = self.segment;
        let (session, offset) = udp.place_of(path);
        quarantine.enter(self.me, Thread::Send, WorkItem::Input { session, offset });
        inject_fault(Step::Decoding, bytes);
        let verdict = udp.receive(path, bytes, &self.replica.chat, clock.now(), clock.uptime());
        quarantine.leave(self.me, Thread::Send);
        match verdict {
            Verdict::Ignore => {}
            Verdict::Answer(answer) => self.outgoing.sockets.answer_unknown_peer(path, &answer),
            Verdict::Lines(session, batch, lines) => {
                self.proposer.propose(batch, Then::CountUdp { session, lines });
            }
            Verdict::Open(_, batch) => {
                self.proposer.propose(batch, Then::Nothing);
                self.set_silence_timer();
            }
        }
    }

    /// Appends as many of the pending proposals as one batch holds.
    pub(super) fn commit(&mut self) {
        let sockets = &mut self.outgoing.sockets;
        self.proposer.commit(|session, bytes| sockets.consume(session, bytes));
    }

    fn apply_some(&mut self) {
        let start = self.replica.position();
        let mut published = start;
        // Until the turn ends, no session's checkpoint moves past the turn's beginning. A quarter
        // of the ring would be too far back.
        let turn = TURN_BLOCKS.min(self.segment.geometry.batch_blocks_max());
        while self.replica.is_behind()
            && self.replica.position().blocks_since(start) < turn
            && self.outgoing.outboxes.deliveries() < TURN_DELIVERIES
        {
            self.segment.heartbeats.begin_turn(self.me, Thread::Send);
            self.apply(PIECE_BLOCKS);
            if self.replica.position().blocks_since(published) >= PUBLISH_BLOCKS {
                published = self.replica.position();
                // The rendered output is not written yet, so this publishes only what is read, not
                // what is flushed.
                self.segment.cursors.publish_read(self.me, published);
            }
        }
    }

    /// Applies about `blocks` blocks of the log. Returns the number of records.
    pub(super) fn apply(&mut self, blocks: u64) -> u64 {
        let carry_out = |outgoing: &mut Outgoing<S>, effects: std::vec::Drain<'_, _>| {
            outgoing.carry_out(effects);
        };
        self.replica.apply(blocks, &mut self.outgoing, carry_out)
    }

    /// Proposes the record that closes a session, for each session whose outbox was dropped.
    fn close_dropped(&mut self) {
        for (session, why) in self.outgoing.slow_readers.take_dropped() {
            log::debug!("session {session} is disconnected: {}", why.as_str());
            self.propose_fact(session, Fact::Closed(why));
        }
    }

    fn flush(&mut self) {
        let flushed = self.outgoing.flush(self.segment, self.replica.position());
        for session in flushed.waiting {
            self.set_timer(LAST_OUTPUT, Timer::LastOutput(session));
        }
        flushed.finished.into_iter().for_each(|session| self.reading.forget(session));
    }

    /// Does what had to wait until certain records were applied.
    fn settle(&mut self) {
        while let Some(then) = self.proposer.take_applied(self.replica.position()) {
            match then {
                Then::Nothing => {}
                Then::ReadOn(session) => self.read_on(session),
                Then::CountUdp { session, lines } => {
                    if let Some(udp) = &mut self.outgoing.udp {
                        udp.applied(session, lines);
                    }
                }
            }
        }
        for session in std::mem::take(&mut self.outgoing.resumed) {
            if self.reading.end_waiting(session) {
                self.read_on(session);
            }
        }
    }

    /// Proposes the next part of each list whose last part is written.
    fn continue_lists(&mut self) {
        for (session, fact) in self.outgoing.lists.take_written(&self.outgoing.outboxes) {
            self.propose_fact(session, fact);
        }
    }

    /// Decides when a session's input is read again: now, when its budget allows the next line, or
    /// when its answer is complete.
    pub(super) fn read_on(&mut self, session: SessionId) {
        let now = self.segment.clock.now();
        let sockets = &mut self.outgoing.sockets;
        match self.reading.decide(session, &self.replica.chat, now) {
            Next::Nothing => {}
            Next::Lines(lines) => {
                if !sockets.arm(session, lines) {
                    self.reading.delay(session);
                    self.set_timer(ARM_AGAIN, Timer::ReadOn(session));
                }
            }
            Next::After(micros) => {
                sockets.watch(session);
                self.set_timer(micros, Timer::ReadOn(session));
            }
            Next::End => {
                let bytes = sockets.unread(session);
                self.config.dropped.backlog(bytes);
                log::debug!(
                    "session {session}: its peer has reset the connection; {bytes} bytes that it \
                     sent beyond its budget are dropped"
                );
                self.propose_fact(session, Fact::Closed(CloseReason::Reset));
            }
        }
    }

    /// Closes this worker's sessions that have a quarantined input or record.
    fn end_quarantined(&mut self) {
        let quarantine = &self.segment.quarantine;
        if std::mem::replace(&mut self.quarantined, quarantine.count()) == quarantine.count() {
            return;
        }
        let chat = &self.replica.chat;
        let is_mine =
            |session: &SessionId| chat.session(*session).is_some_and(|open| open.slot == self.me);
        let sessions: BTreeSet<SessionId> =
            quarantine.list().map(WorkItem::session).filter(is_mine).collect();
        for session in sessions {
            self.propose_fact(session, Fact::Closed(CloseReason::Quarantined));
        }
    }
}

#[cfg(test)]
mod tests;
