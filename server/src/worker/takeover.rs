//! Taking over: what a worker does before anything else, at its first start as at every later one.
//!
//! A predecessor may have been cut off anywhere. What it knew is in three places, and is put together from them:
//!
//! ```text
//! snapshot ──► state at some sequence ──► log from there to its tail ──► state now
//!                                            │ rendered again for my sessions, from each one's checkpoint on,
//!                                            ▼ less the bytes that the kernel has already taken
//! kernel ────► bytes handed over ────────► outboxes: what is still to be written
//!        ────► bytes taken ──────────────► input: less the lines that the log has, what is read next
//! ```
//!
//! Nothing is said about anyone's output, and nobody's input is touched, before everything up to the tail is applied: a successor of the
//! successor finds what this one found. The predecessor is reaped by then, so nobody else moves these sockets.
//!
//! A session that was given to the predecessor is in one of four states:
//!
//! | the log says | then |
//! |---|---|
//! | it is open | it goes on |
//! | it never began | it begins: the predecessor had the socket and nothing else |
//! | it is over | its connection is ended, and the supervisor told, perhaps again |
//! | open, but its unwritten output began before the snapshot | it is closed: it reads too slowly to be followed |

use super::input::Lines;
use super::outboxes::Outboxes;
use super::serving::Serving;
use super::sockets::Sockets;
use super::udp::UdpDesk;
use crate::chat::{CloseReason, Ending, Fact, Session, Transport};
use crate::event_log::{EventLog, Place, Thread};
use crate::role::count;
use forkchat_common::ids::{Micros, Sequence, SessionId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// While it applies, the watchdog is told so often that it moves, in blocks.
const PIECE_BLOCKS: u64 = 512;

/// A connection that a predecessor was given. `C` is what a connection is.
#[derive(Clone, Debug)]
pub struct Inherited<C> {
    /// The session that it is, or is to be.
    pub session: SessionId,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// The connection.
    pub connection: C,
}

/// What is told of it when it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Takeover {
    began: Micros,
    /// Without those of which the log knew nothing: they only begin.
    sessions: usize,
    records: u64,
    /// Of the sessions, those that are closed.
    too_slow: usize,
}

impl Takeover {
    /// To be told when the first turn behind it has ended.
    pub fn tell(self, log: &EventLog) {
        if self.sessions > 0 {
            let millis = log.uptime().since(self.began) as f64 / 1_000.0;
            let (sessions, records) = (count(self.sessions, "session"), count(self.records as usize, "record"));
            log::info!("took over {sessions} in {millis:.1} ms, {records} replayed");
        }
        if self.too_slow > 0 {
            let sessions = count(self.too_slow, "session");
            log::warn!("{sessions} read too slowly to be taken over: what is unread began more than a quarter of the ring ago (--ring)");
        }
    }
}

impl<S: Sockets> Serving<S> {
    /// Brings the state up to the tail, and takes over the sessions that a predecessor had: `inherited` and those over UDP.
    pub(super) fn take_over(&mut self, inherited: Vec<Inherited<S::Connection>>) -> Takeover {
        let began = self.log.uptime();
        let known: Vec<(SessionId, SocketAddr)> = inherited.iter().map(|inherited| (inherited.session, inherited.peer)).collect();
        inherited.into_iter().for_each(|inherited| self.sockets.add(inherited.session, inherited.connection));
        self.resume_outputs(&known);
        let records = self.catch_up();
        let quarantined: BTreeMap<SessionId, Place> = self.log.quarantine_list().map(|place| (place.session(), place)).collect();
        known.iter().for_each(|&(session, peer)| self.resume_session(session, peer, &quarantined));
        self.close_strays(&known);
        self.resume_udp();
        self.outboxes.mark_all_dirty();
        let udp = self.udp.as_ref().map_or(0, UdpDesk::count);
        let sessions = known.iter().filter(|(session, _)| self.replica.chat.was_opened(*session)).count() + udp;
        let too_slow = known.iter().filter(|(session, _)| self.outboxes.is_given_up(*session)).count();
        Takeover { began, sessions, records, too_slow }
    }

    /// Makes the outboxes of all sessions that may have something to be written, each with the place from which it is rendered.
    fn resume_outputs(&mut self, known: &[(SessionId, SocketAddr)]) {
        let mut silent_before = self.log.stable(self.me);
        for &(session, _) in known {
            if self.replica.chat.session(session).is_none() && self.replica.chat.was_opened(session) {
                continue;
            }
            // What nobody can tell is more than can be.
            let handed_over = self.sockets.positions(session).map_or(u64::MAX, |positions| positions.handed_over);
            self.log.begin_turn(self.me, Thread::Send);
            silent_before = silent_before.min(self.resume_output(session, |_| handed_over));
        }
        // Over UDP nobody knows what arrived: what comes behind the checkpoint is sent, perhaps again.
        let over_udp = |session: &&Session| session.transport == Transport::Udp;
        let cells = self.config.udp.as_ref().map_or(0..0, |udp| udp.cells.clone());
        let in_cells = cells.filter_map(|cell| self.log.checkpoint(cell)).map(|checkpoint| checkpoint.session);
        let in_state: Vec<_> = self.replica.chat.sessions_of(self.me).filter(over_udp).map(|session| (session.id, session.peer)).collect();
        in_state.iter().for_each(|&(session, peer)| self.sockets.add_peer(session, peer));
        let in_state = in_state.into_iter().map(|(session, _)| session);
        for session in in_cells.chain(in_state).collect::<BTreeSet<_>>() {
            if self.replica.chat.session(session).is_none() && self.replica.chat.was_opened(session) {
                // It was over, and only its cell wasn't cleared yet.
                self.log.clear_checkpoint(session);
                continue;
            }
            silent_before = silent_before.min(self.resume_output(session, |offset| offset));
        }
        self.outboxes.be_silent_before(silent_before);
    }

    /// Makes one outbox, and returns from where on it is rendered. `taken` tells how many bytes need not be written, given the checkpoint's offset.
    fn resume_output(&mut self, session: SessionId, taken: impl Fn(u64) -> u64) -> Sequence {
        let is_in_snapshot = self.replica.chat.session(session).is_some();
        match self.log.effective_checkpoint(session) {
            Some(checkpoint) => {
                self.outboxes.resume(session, Some(checkpoint), taken(checkpoint.offset));
                if is_in_snapshot && checkpoint.sequence < self.replica.position() {
                    self.outboxes.give_up(session);
                }
                checkpoint.sequence
            }
            // Its cell is cleared, so its end is in the log, and all its output is out.
            None if is_in_snapshot => {
                self.outboxes.resume(session, None, u64::MAX);
                Sequence(u64::MAX)
            }
            // Nothing was published about it, so it began behind all that was.
            None => {
                self.outboxes.resume(session, None, taken(0));
                Sequence(u64::MAX)
            }
        }
    }

    /// Applies everything up to the tail as it is now. Returns how many records that were.
    fn catch_up(&mut self) -> u64 {
        let (until, mut records) = (self.log.tail(), 0);
        while self.replica.position() < until {
            self.log.begin_turn(self.me, Thread::Send);
            self.outboxes.begin_turn(self.replica.position());
            records += self.replica.apply(PIECE_BLOCKS, &mut self.outboxes, |outboxes: &mut Outboxes| outboxes.relieve(&mut self.sockets));
            self.log.publish_cursor(self.me, self.replica.position());
        }
        self.outboxes.be_silent_before(Sequence(0));
        self.route_peers();
        self.log.end_turn(self.me, Thread::Send);
        records
    }

    /// A session whose socket was kept goes on, begins, or ends, as the log says.
    fn resume_session(&mut self, session: SessionId, peer: SocketAddr, quarantined: &BTreeMap<SessionId, Place>) {
        self.log.begin_turn(self.me, Thread::Send);
        let positions = self.sockets.positions(session);
        match self.replica.chat.session(session) {
            Some(_) if self.outboxes.is_given_up(session) => self.propose_fact(session, Fact::Closed(CloseReason::TooSlow)),
            Some(_) if positions.is_none_or(|positions| self.outboxes.is_astray(session) && !positions.is_closed) => {
                log::error!("session {session} is closed: what the kernel says of it doesn't fit the log");
                self.outboxes.give_up(session);
                self.propose_fact(session, Fact::Closed(CloseReason::WorkerDied));
            }
            // Its input has been two workers' death: it is not looked at again, and the first turn ends it.
            Some(_) if quarantined.contains_key(&session) => {}
            Some(open) => {
                let (input_end, in_long_line, is_announced) = (open.input_end, open.in_long_line, open.is_announced());
                // Of a closed connection it is not known whether the position is one further. Then it is taken to be: a byte too many that is
                // read again is the end of a line that is known, and an empty line says nothing; a byte too few would be missing from a line.
                let positions = positions.unwrap_or_default();
                let taken = positions.taken + u64::from(positions.is_closed);
                self.sockets.resume_input(session, taken, in_long_line);
                // What is in the log and wasn't taken out of the kernel is taken now, so the next look begins behind it.
                self.sockets.consume(session, input_end.saturating_sub(taken) as usize);
                if !is_announced {
                    self.set_arrival_timer(session);
                }
                self.arm(session);
            }
            None if !self.replica.chat.was_opened(session) => {
                self.outboxes.remove(session);
                match quarantined.get(&session) {
                    None => self.open(session, peer, Lines::default()),
                    Some(Place::Input { .. }) => self.open(session, peer, Lines::ending(session, CloseReason::Quarantined)),
                    // It can't even be opened.
                    Some(Place::Record { .. }) => self.sockets.finish(session, Ending::Finish),
                }
            }
            // With an outbox it ends when that is written. Without one all of its output is out, or what isn't began before the snapshot.
            None if !self.outboxes.has(session) => {
                let is_lagging = self.log.effective_checkpoint(session).is_some_and(|checkpoint| checkpoint.is_lagging);
                self.sockets.finish(session, if is_lagging { Ending::Drop } else { Ending::Finish });
            }
            None => {}
        }
    }

    /// Sessions that are open by the log, and nobody has a socket for. There should be none: a socket is kept until the log has the session's end.
    fn close_strays(&mut self, known: &[(SessionId, SocketAddr)]) {
        let known: BTreeSet<SessionId> = known.iter().map(|(session, _)| *session).collect();
        let has_socket = |session: &Session| session.transport == Transport::Udp || known.contains(&session.id);
        let of_mine = self.replica.chat.sessions_of(self.me);
        let strays: Vec<SessionId> = of_mine.filter(|session| !has_socket(session)).map(|session| session.id).collect();
        for session in strays {
            log::error!("session {session} has no socket; it is closed");
            self.log.clear_checkpoint(session);
            self.propose_fact(session, Fact::Closed(CloseReason::WorkerDied));
        }
    }

    fn resume_udp(&mut self) {
        let Some(config) = self.config.udp.take() else { return };
        let is_taken = |cell| self.outboxes.is_taken(cell);
        let desk = UdpDesk::take_over(self.me, config, &self.replica.chat, is_taken, self.log.uptime());
        if !desk.is_empty() {
            self.set_silence_timer();
        }
        self.udp = Some(desk);
    }
}
