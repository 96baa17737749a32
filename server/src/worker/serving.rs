//! The serving side of a worker: from input to the log, and from the log to bytes. It has no socket
//! and no thread, so that a simulation can run several workers step by step.
//!
//! One [`Serving::turn`]:
//!
//! ```text
//! timers → append what is pending → consume it → apply what is new, rendering into outboxes
//!        → one write per session that has something → checkpoints, then the cursor
//!        → wake the workers that have something to deliver → arm the sockets whose lines are applied
//! ```
//!
//! A line is accepted when its record is published. Before that, all of it is still in the kernel;
//! after that, the record alone counts. A worker that is killed anywhere in a turn loses nothing
//! that is not in the log, the kernel or a snapshot.

use super::input::{Input, Lines};
use super::outboxes::{Bounds, Outboxes};
use super::sockets::Sockets;
use super::takeover::{Inherited, Takeover};
use super::udp::{UdpConfig, UdpDesk, Verdict};
use crate::chat::{CloseReason, Fact, Session, Transport};
use crate::faults::{Act, strike};
use crate::ipc::doorbell::Doorbell;
use crate::ipc::event::Event;
use crate::replica::{JoinError, Replica, push_fact};
use crate::segment::{AppendError, Batch, Dropped, Place, Segment, Thread};
use crate::stand_in::{Post, Reserve};
use forkchat_common::endpoint::{Origin, UdpPath};
use forkchat_common::ids::{Micros, Sequence, SessionId, Slot};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashSet, VecDeque};
use std::time::Duration;

/// How much of the log is applied in one turn, in blocks: enough to share one write among many
/// lines, little enough that the first of them doesn't wait long.
const TURN_BLOCKS: u64 = 8_192;
/// Nor is more applied once so many deliveries were made: in a large room a line is as much work as
/// a thousand are in a small one.
const TURN_TELLS: usize = 20_000;
/// It is looked at after so many blocks whether that is so.
const PIECE_BLOCKS: u64 = 16;
/// While it applies, others are told so often how far it is: writers wait for it, and the watchdog
/// looks whether it moves.
const PUBLISH_BLOCKS: u64 = 512;
/// How long after a connection the first thing that arrives still counts as having come with it. A
/// client that sends nothing is welcomed then: one of another protocol has sent its request by that
/// time, and is answered with nothing before it.
const ARRIVAL: u64 = Micros::SECOND / 20;
/// How long a first line that has begun by then is waited for: over a slow network a request comes
/// in pieces.
const FIRST_LINE: u64 = 5 * Micros::SECOND;
/// How long an ended session's last words wait for their reader.
const LAST_WORDS: u64 = 10 * Micros::SECOND;
/// Proposals that wait for the log. Beyond it nothing more is taken in, and the clients are held
/// back.
const PENDING_MAX: usize = 1_024;
/// When the system can't wait for a socket's input now, it is asked again after this.
const ARM_AGAIN: u64 = Micros::SECOND / 20;
/// When something is on its way to the kernel, one looks this soon whether it has come there: until
/// then a successor would have more to do.
const FLIGHT_CHECK: Duration = Duration::from_millis(100);
/// Outboxes that are idle for so long give back their memory.
const TIDY: u64 = Micros::SECOND / 4;
/// How often UDP sessions are looked at for silence.
const SILENCE_CHECK: u64 = Micros::SECOND;

/// What a worker is told once, before it starts.
#[derive(Clone, Debug)]
pub struct ServingConfig {
    /// This process, as `/whoami` names it.
    pub pid: u32,
    /// How much may wait for readers: `--sendq`, and this worker's part of the memory.
    pub outboxes: Bounds,
    /// Connections that may be being turned away at a time.
    pub turn_away_max: usize,
    /// The journal's slot.
    pub journal: Slot,
    /// Set when the server ends: whoever has come in is told, and nothing more is taken in.
    pub stopping: Event,
    /// Counts what is dropped of what clients send.
    pub dropped: &'static Dropped,
    /// For the worker that keeps the UDP sessions.
    pub udp: Option<UdpConfig>,
    /// Where the supervisor says which worker stands in for the journal.
    pub stand_in: Option<Post>,
}

/// One worker's serving side.
#[derive(Debug)]
pub struct Serving<S: Sockets> {
    pub(super) segment: &'static Segment,
    pub(super) me: Slot,
    pub(super) config: ServingConfig,
    pub(super) replica: Replica,
    pub(super) outboxes: Outboxes,
    /// The outside.
    pub sockets: S,
    pub(super) udp: Option<UdpDesk>,
    /// Made ready, not yet in the log. In order.
    pending: VecDeque<Proposal>,
    /// What is being appended; kept for its memory.
    batch: Batch,
    /// In the log up to there; what is to be done when it is applied.
    committed: VecDeque<(Sequence, Then)>,
    /// To be armed when their answer is complete.
    unarmed: HashSet<SessionId>,
    /// To be armed when their budget, or the system, allows it: each has a timer.
    delayed: HashSet<SessionId>,
    /// Those whose peer has reset the connection: what they sent is read as far as their budget
    /// goes.
    broken: HashSet<SessionId>,
    /// Sessions that are sent a list, which list, and how many parts of it are rendered.
    continuing: BTreeMap<SessionId, (Sequence, u32)>,
    /// The ring was full: tried again when rung.
    is_waiting_for_room: bool,
    timers: BinaryHeap<Reverse<(Micros, Timer)>>,
    /// There is a timer for the next look at idle outboxes.
    is_tidying: bool,
    drain: Drain,
    /// The quarantined places that it knows.
    quarantined: u64,
    /// Until it is told.
    takeover: Option<Takeover>,
    /// It may have to stand in for the journal.
    reserve: Reserve,
}

/// Records that are to be appended together.
#[derive(Debug)]
struct Proposal {
    session: SessionId,
    batch: Batch,
    consume: usize,
    then: Then,
}

/// What follows when a proposal's records are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Nothing,
    Arm(SessionId),
    CountUdp { session: SessionId, lines: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Arm(SessionId),
    /// And since when its first line is waited for.
    Arrival(SessionId, Micros),
    LastWords(SessionId),
    Silence,
    Tidy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    No,
    Asked,
    Done,
}

impl<S: Sockets> Serving<S> {
    /// Begins a life in slot `me`: rebuilds the state from the snapshot and the log, and takes over
    /// the sessions that a predecessor had.
    pub fn join(
        segment: &'static Segment,
        me: Slot,
        config: ServingConfig,
        sockets: S,
        inherited: Vec<Inherited<S::Connection>>,
    ) -> Result<Serving<S>, JoinError> {
        let mut serving = Serving {
            segment,
            me,
            replica: Replica::join(segment, me)?,
            outboxes: Outboxes::new(me, config.outboxes),
            reserve: Reserve::new(me, config.stand_in.clone()),
            config,
            sockets,
            udp: None,
            pending: VecDeque::new(),
            batch: Batch::default(),
            committed: VecDeque::new(),
            unarmed: HashSet::new(),
            delayed: HashSet::new(),
            broken: HashSet::new(),
            continuing: BTreeMap::new(),
            is_waiting_for_room: false,
            timers: BinaryHeap::new(),
            is_tidying: false,
            drain: Drain::No,
            quarantined: 0,
            takeover: None,
        };
        serving.takeover = Some(serving.take_over(inherited));
        Ok(serving)
    }

    /// Takes what came in. It gets into the log in one of the next turns.
    pub fn accept(&mut self, input: Input<S::Connection>) {
        match input {
            Input::Opened { session, origin, connection, lines } => {
                self.sockets.add(session, connection);
                self.open(session, origin, lines);
            }
            Input::Lines { session, lines } => {
                // An ended session's input is the receive side's to throw away.
                if self.outboxes.is_open(session) {
                    let lines = self.with_arrival(session, lines);
                    self.propose_lines(session, lines);
                }
            }
            Input::Committed { session, end } => {
                if !self.is_announced(session) {
                    // Behind the first lines of a session the others may hear of it.
                    self.propose_fact(session, Fact::Arrived);
                }
                self.committed.push_back((end, Then::Arm(session)));
            }
            Input::Broken { session } => {
                if self.outboxes.is_open(session) {
                    self.broken.insert(session);
                }
                if self.delayed.contains(&session) {
                    self.arm(session);
                }
            }
            Input::Datagram { path, bytes } => self.receive_datagram(path, &bytes),
        }
    }

    /// Whether more may come in now.
    pub fn takes_input(&self) -> bool {
        self.pending.len() < PENDING_MAX
    }

    /// A session's socket takes output again.
    pub fn writable(&mut self, session: SessionId) {
        self.outboxes.unblock(session);
    }

    /// Does what there is to do now.
    pub fn turn(&mut self) {
        self.outboxes.begin_turn(self.replica.position());
        self.begin_drain();
        self.end_quarantined();
        self.run_timers();
        self.commit();
        self.apply_some();
        self.route_peers();
        for (session, why) in self.outboxes.take_given_up() {
            log::debug!("session {session} is disconnected: {}", why.as_str());
            self.propose_fact(session, Fact::Closed(why));
        }
        let flushed = self.outboxes.flush(&mut self.sockets, self.segment, self.replica.position());
        for session in flushed.waiting {
            self.set_timer(LAST_WORDS, Timer::LastWords(session));
        }
        self.challenge();
        if let Some(desk) = &mut self.udp {
            let over_udp = flushed.finished.iter().filter(|&&session| desk.close(session));
            over_udp.for_each(|&session| self.segment.checkpoints.clear(session));
        }
        for session in &flushed.finished {
            self.unarmed.remove(session);
            self.delayed.remove(session);
            self.broken.remove(session);
            self.continuing.remove(session);
        }
        self.segment.cursors.publish(self.me, self.replica.position());
        self.outboxes.take_others().for_each(|slot| self.segment.doorbells.ring(slot));
        if self.outboxes.take_asked() {
            self.segment.doorbells.ring(self.config.journal);
        }
        self.settle();
        self.continue_lists();
        for address in self.outboxes.take_exceeded() {
            log::warn!(
                "the sessions of address {address} send more than an address may (--rate-limit); they are slowed down"
            );
        }
        if self.outboxes.is_warm() && !std::mem::replace(&mut self.is_tidying, true) {
            self.set_timer(TIDY, Timer::Tidy);
        }
        self.finish_drain();
        if let Some(takeover) = self.takeover.take() {
            takeover.tell(self.segment);
        }
        self.reserve.turn();
    }

    /// Whether there is something to do at once. If not, one may sleep until rung, until a socket
    /// takes more, or a timer.
    pub fn has_work(&self) -> bool {
        let waits_for_room = self.is_waiting_for_room && self.segment.doorbells.is_room_wanted();
        self.replica.is_behind()
            || (!self.pending.is_empty() && !waits_for_room)
            || self.is_to_drain()
    }

    /// How long one may sleep now, until rung; not at all if there is something to do, or
    /// `has_input`. One waits for so long, if only to see which sockets take more, and then calls
    /// [`Serving::wake_up`].
    pub fn fall_asleep(&self, bell: &Doorbell, has_input: impl Fn(&Self) -> bool) -> Duration {
        let has_work = || self.has_work() || has_input(self);
        if has_work() {
            return Duration::ZERO;
        }
        bell.before_sleep();
        // Whoever stored something before it saw us sleep is seen here; whoever comes later rings.
        if has_work() {
            Duration::ZERO
        } else {
            self.next_timer().unwrap_or(Duration::MAX).min(self.reserve.patience())
        }
    }

    /// One was told that one may sleep for so long, and is awake.
    pub fn wake_up(&mut self, bell: &Doorbell, asleep: Duration) {
        bell.after_sleep();
        if !asleep.is_zero() {
            self.rung();
        }
    }

    /// It slept, and looks again whether there is room in the ring.
    pub fn rung(&mut self) {
        self.is_waiting_for_room = false;
    }

    /// How long one may sleep at most.
    fn next_timer(&self) -> Option<Duration> {
        let timer = self
            .timers
            .peek()
            .map(|Reverse((at, _))| Duration::from_micros(at.since(self.segment.clock.uptime())));
        let flight = self.outboxes.is_in_flight().then_some(FLIGHT_CHECK);
        timer.into_iter().chain(flight).min()
    }

    /// The state.
    #[cfg(test)]
    pub fn chat(&self) -> &crate::chat::Chat {
        &self.replica.chat
    }

    /// Proposes a session that nobody has heard of.
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

    /// A program's first lines come a moment after its connection, and belong to it: only then the
    /// others may hear of it.
    pub(super) fn set_arrival_timer(&mut self, session: SessionId) {
        self.set_timer(ARRIVAL, Timer::Arrival(session, self.segment.clock.uptime()));
    }

    /// Behind its first lines the others may hear of a session; of one that ends with them, nobody
    /// need hear.
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
        let then = if lines.ends.is_none() { Then::Arm(session) } else { Then::Nothing };
        self.pending.push_back(Proposal {
            session,
            batch: lines.batch,
            consume: lines.consume,
            then,
        });
    }

    fn propose(&mut self, session: SessionId, batch: Batch, then: Then) {
        self.pending.push_back(Proposal { session, batch, consume: 0, then });
    }

    pub(super) fn propose_fact(&mut self, session: SessionId, fact: Fact<'_>) {
        self.propose(session, fact_batch(session, fact), Then::Nothing);
    }

    fn receive_datagram(&mut self, path: UdpPath, bytes: &[u8]) {
        let Some(desk) = &mut self.udp else { return };
        if self.drain != Drain::No {
            return;
        }
        let (session, offset) = desk.place_of(path);
        self.segment.quarantine.enter(self.me, Thread::Send, Place::Input { session, offset });
        strike(Act::Decoding, bytes);
        let verdict = desk.receive(
            path,
            bytes,
            &self.replica.chat,
            self.segment.clock.now(),
            self.segment.clock.uptime(),
        );
        self.segment.quarantine.leave(self.me, Thread::Send);
        match verdict {
            Verdict::Ignore => {}
            Verdict::Answer(answer) => self.sockets.answer_stranger(path, &answer),
            Verdict::Lines(session, batch, lines) => {
                self.propose(session, batch, Then::CountUdp { session, lines })
            }
            Verdict::Open(session, batch) => {
                self.propose(session, batch, Then::Nothing);
                self.set_silence_timer();
            }
        }
    }

    /// Appends as many of the pending proposals as one batch holds.
    pub(super) fn commit(&mut self) {
        let room = self.segment.geometry.batch_blocks_max();
        let mut count = 0;
        self.batch.clear();
        for proposal in &self.pending {
            if count > 0 && self.batch.blocks() + proposal.batch.blocks() > room {
                break;
            }
            self.batch.extend(&proposal.batch);
            count += 1;
        }
        if count == 0 {
            return;
        }
        let appended = append_or_want_room(self.segment, self.me, &self.batch);
        self.is_waiting_for_room = appended == Err(AppendError::Full);
        let end = match appended {
            Ok(end) => end,
            Err(AppendError::TooLarge) => {
                panic!("no proposal is larger than a batch may be: {} blocks", self.batch.blocks())
            }
            // The lock: next turn. Room: when rung.
            Err(AppendError::Busy | AppendError::Full) => return,
        };
        for proposal in self.pending.drain(..count) {
            if proposal.consume > 0 {
                self.sockets.consume(proposal.session, proposal.consume);
            }
            self.committed.push_back((end, proposal.then));
        }
    }

    fn apply_some(&mut self) {
        let start = self.replica.position();
        let mut published = start;
        // Until the turn's end no session's output is out from where it began; a quarter of the
        // ring would be too far back.
        let turn = TURN_BLOCKS.min(self.segment.geometry.batch_blocks_max());
        while self.replica.is_behind()
            && self.replica.position().blocks_since(start) < turn
            && self.outboxes.tells() < TURN_TELLS
        {
            self.segment.heartbeats.begin_turn(self.me, Thread::Send);
            self.replica.apply(PIECE_BLOCKS, &mut self.outboxes, |outboxes, effects| {
                effects.for_each(|effect| outboxes.carry_out(effect));
                outboxes.relieve(&mut self.sockets);
            });
            if self.replica.position().blocks_since(published) >= PUBLISH_BLOCKS {
                published = self.replica.position();
                // What was rendered is not written yet, so nothing is said about that.
                self.segment.cursors.publish_read(self.me, published);
            }
        }
    }

    /// UDP sessions that have begun are sent what they are told.
    pub(super) fn route_peers(&mut self) {
        for (session, path) in self.outboxes.take_peers() {
            self.sockets.add_peer(session, path);
        }
    }

    /// Sends a cookie to the UDP clients that have to prove their address. Lost if it can't be sent
    /// now: the next answer that is too long has another.
    fn challenge(&mut self) {
        let challenged = self.outboxes.take_challenged();
        let Some(desk) = &self.udp else { return };
        for (path, line) in challenged
            .into_iter()
            .filter_map(|session| desk.challenge(session, self.segment.clock.now()))
        {
            self.sockets.answer_stranger(path, line.as_bytes());
        }
    }

    /// Does what was waiting for records that are now applied.
    fn settle(&mut self) {
        while let Some(&(end, then)) = self.committed.front()
            && end <= self.replica.position()
        {
            self.committed.pop_front();
            match then {
                Then::Nothing => {}
                Then::Arm(session) => self.arm(session),
                Then::CountUdp { session, lines } => {
                    if let Some(desk) = &mut self.udp {
                        desk.applied(session, lines);
                    }
                }
            }
        }
        for session in self.outboxes.take_answered() {
            // Not those whose input wasn't to be armed yet: armed twice, it would be read twice.
            if self.unarmed.remove(&session) {
                self.arm(session);
            }
        }
    }

    /// Proposes the next part of each list whose last part is written.
    fn continue_lists(&mut self) {
        for (session, list, parts) in self.outboxes.take_continuing() {
            self.continuing.insert(session, (list, parts));
        }
        let (unwritten, written): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.continuing)
                .into_iter()
                .partition(|&(session, _)| self.outboxes.has_unwritten(session));
        self.continuing = unwritten;
        for (session, (of, parts)) in written {
            self.propose_fact(session, Fact::NextPart { of, parts });
        }
    }

    /// Lists that a predecessor's sessions wait for.
    pub(super) fn resume_lists(&mut self) {
        let lists = self.replica.chat.lists_of(self.me);
        self.continuing = lists.map(|(session, list, parts)| (session, (list, parts))).collect();
    }

    /// Has a session's input looked at again: now, when it may send its next line, or when its
    /// answer is complete.
    pub(super) fn arm(&mut self, session: SessionId) {
        self.delayed.remove(&session);
        if self.replica.chat.session(session).is_none() {
            return;
        }
        if self.replica.chat.is_waiting(session) {
            self.unarmed.insert(session);
            return;
        }
        let now = self.segment.clock.now();
        match self.replica.chat.lines_allowed(session, now) {
            0 if self.broken.contains(&session) => {
                let bytes = self.sockets.unread(session);
                self.config.dropped.backlog(bytes);
                log::debug!(
                    "session {session}: its peer has reset the connection; {bytes} bytes that it sent beyond its budget are dropped"
                );
                self.propose_fact(session, Fact::Closed(CloseReason::Reset));
            }
            0 => {
                // Meanwhile only the end of a broken connection is of interest.
                self.sockets.watch(session);
                self.delay(session, self.replica.chat.next_line_at(session).since(now).max(1_000));
            }
            lines => {
                if !self.sockets.arm(session, lines) {
                    self.delay(session, ARM_AGAIN);
                }
            }
        }
    }

    fn delay(&mut self, session: SessionId, micros: u64) {
        self.delayed.insert(session);
        self.set_timer(micros, Timer::Arm(session));
    }

    fn set_timer(&mut self, after: u64, timer: Timer) {
        self.timers.push(Reverse((self.segment.clock.uptime().plus(after), timer)));
    }

    /// From now on UDP sessions are looked at for silence, until there is none.
    pub(super) fn set_silence_timer(&mut self) {
        if self.timers.iter().all(|Reverse((_, timer))| *timer != Timer::Silence) {
            self.set_timer(SILENCE_CHECK, Timer::Silence);
        }
    }

    fn run_timers(&mut self) {
        let now = self.segment.clock.uptime();
        while let Some(Reverse((at, timer))) = self.timers.peek().copied()
            && at <= now
        {
            self.timers.pop();
            match timer {
                // It is armed already if something else has happened meanwhile.
                Timer::Arm(session) if !self.delayed.contains(&session) => {}
                Timer::Arm(session) => self.arm(session),
                Timer::Arrival(session, _) if self.is_announced(session) => {}
                Timer::Arrival(session, since)
                    if now.since(since) < FIRST_LINE && self.sockets.unread(session) > 0 =>
                {
                    // Each time twice as long, so that it is looked at a few times only.
                    let waited = now.since(since);
                    self.set_timer(waited.min(FIRST_LINE - waited), timer);
                }
                Timer::Arrival(session, _) => self.propose_fact(session, Fact::Arrived),
                Timer::LastWords(session) => self.outboxes.drop_unwritten(session),
                Timer::Silence => self.end_silent(),
                Timer::Tidy => {
                    self.outboxes.tidy();
                    self.is_tidying = false;
                }
            }
        }
    }

    /// Ends those of whose sessions something was quarantined.
    fn end_quarantined(&mut self) {
        if self.quarantined == self.segment.quarantine.count() {
            return;
        }
        self.quarantined = self.segment.quarantine.count();
        let is_mine = |session: &SessionId| {
            self.replica.chat.session(*session).is_some_and(|open| open.slot == self.me)
        };
        let sessions: BTreeSet<SessionId> =
            self.segment.quarantine.list().map(Place::session).filter(is_mine).collect();
        for session in sessions {
            self.propose_fact(session, Fact::Closed(CloseReason::Quarantined));
        }
    }

    fn end_silent(&mut self) {
        let Some(desk) = &self.udp else { return };
        let (silent, is_empty) =
            (desk.silent(&self.replica.chat, self.segment.clock.uptime()), desk.is_empty());
        for (session, since) in silent {
            self.propose_fact(session, Fact::Silent { since });
        }
        if !is_empty {
            self.set_timer(SILENCE_CHECK, Timer::Silence);
        }
    }

    /// Whether the server ends, and this worker hasn't begun to.
    fn is_to_drain(&self) -> bool {
        self.drain == Drain::No && self.config.stopping.is_set()
    }

    /// Everyone is told, by a record like any other. Each worker proposes it, since none knows
    /// whether another will live to do so; the first counts.
    fn begin_drain(&mut self) {
        if self.is_to_drain() {
            self.drain = Drain::Asked;
            self.propose_fact(SessionId::NONE, Fact::Stopping);
        }
    }

    fn finish_drain(&mut self) {
        if self.drain == Drain::Asked
            && self.replica.chat.is_stopping()
            && self.pending.is_empty()
            && self.outboxes.is_empty()
        {
            self.drain = Drain::Done;
            self.sockets.drained();
        }
    }
}

/// Appends a batch, and returns where its end is. Without room it asks for some: then one tries
/// again when rung.
pub fn append_or_want_room(
    segment: &Segment,
    me: Slot,
    batch: &Batch,
) -> Result<Sequence, AppendError> {
    let mut result = segment.log.append(me, batch, segment.clock.now());
    if result == Err(AppendError::Full) {
        segment.doorbells.want_room();
        // Once more, since who made room before we asked for it didn't know whom to ring; and
        // whoever holds it may be asleep.
        result = segment.log.append(me, batch, segment.clock.now());
        segment.log.ring_behind();
    }
    if result.is_ok() {
        segment.log.ring_far_behind();
    }
    result.map(|range| range.end)
}

fn fact_batch(session: SessionId, fact: Fact<'_>) -> Batch {
    let mut batch = Batch::default();
    push_fact(&mut batch, session, fact);
    batch
}

#[cfg(test)]
mod tests;
