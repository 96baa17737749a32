//! Taking over: the first work of every worker, at its first start and at every restart.
//!
//! A predecessor may have died anywhere. What it knew is in three places, from which the successor
//! rebuilds it:
//!
//! ```text
//! snapshot ──► state at some sequence ──► log from there to its tail ──► state now
//!                                            │ rendered again for my sessions, from each one's checkpoint on,
//!                                            ▼ less the bytes that the kernel has already taken
//! kernel ────► bytes handed over ────────► outboxes: what is still to be written
//!        ────► bytes taken ──────────────► input: less the lines that the log has, what is read next
//! ```
//!
//! Before everything up to the tail is applied, the successor publishes no checkpoint and reads no
//! input. So if it dies too, its own successor finds the same situation. The predecessor has been
//! reaped by then, so no other process uses these sockets.
//!
//! A session of the predecessor is in one of four states:
//!
//! | the log says | then |
//! |---|---|
//! | it is open | it goes on |
//! | it was never opened | it is opened: the predecessor had the socket and had done nothing yet |
//! | it is over | its connection is closed, and the supervisor is informed, perhaps again |
//! | open, but its unwritten output begins before the snapshot | it is closed: its client reads too slowly, or no worker could be started here for long |

use super::connection::Connection;
use super::input::Lines;
use super::lists::Lists;
use super::outbox::ALL;
use super::outgoing::Outgoing;
use super::serving::{Serving, ServingConfig};
use super::sockets::Sockets;
use super::taken_over::TakenOver;
use super::udp::UdpSessions;
use crate::chat::{CloseReason, Ending, Fact, Session};
use crate::replica::{JoinError, Replica};
use crate::segment::{Place, Segment, Thread};
use forkchat_common::endpoint::Origin;
use forkchat_common::ids::{Sequence, SessionId, Slot};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;

/// While it applies, the watchdog is told so often that it moves, in blocks. So much is also copied
/// out at a time, into memory that stays.
const PIECE_BLOCKS: u64 = 128;

/// A connection that a predecessor was given. `C` is what a connection is.
#[derive(Clone, Debug)]
pub struct Inherited<C> {
    /// The session that it is, or is to be.
    pub session: SessionId,
    /// Where it comes from.
    pub origin: Origin,
    /// The connection.
    pub connection: C,
}

impl Inherited<OwnedFd> {
    /// With the connection as the worker's threads share it.
    pub fn connected(self) -> Inherited<Connection> {
        let Inherited { session, origin, connection: socket } = self;
        let connection = Connection::new(session, origin.listener.protocol, socket);
        Inherited { session, origin, connection }
    }
}

/// A takeover under way.
struct Takeover<S: Sockets> {
    serving: Serving<S>,
    /// The connections that the predecessor had.
    known: Vec<(SessionId, Origin)>,
}

/// Begins a life in slot `me`: rebuilds the state from the snapshot and the log, and takes over the
/// sessions that a predecessor had: `inherited` and those over UDP.
///
/// # Errors
/// The snapshot can't be read, or the log's lock wasn't to be had.
pub fn join<S: Sockets>(
    segment: &'static Segment,
    me: Slot,
    config: ServingConfig,
    mut sockets: S,
    inherited: Vec<Inherited<S::Connection>>,
) -> Result<Serving<S>, JoinError> {
    let replica = Replica::join(segment, me)?;
    let known = inherited.iter().map(|inherited| (inherited.session, inherited.origin)).collect();
    for Inherited { session, connection, .. } in inherited {
        sockets.add(session, connection);
    }
    let serving = Serving::new(segment, me, config, replica, sockets);
    let mut takeover = Takeover { serving, known };
    let taken_over = takeover.take_over();
    let mut serving = takeover.serving;
    serving.taken_over = Some(taken_over);
    Ok(serving)
}

impl<S: Sockets> Takeover<S> {
    /// Brings the state up to the tail, and takes over the predecessor's sessions.
    fn take_over(&mut self) -> TakenOver {
        let began = self.serving.segment.clock.uptime();
        self.resume_outputs();
        let records = self.catch_up();
        self.record_pid();
        let quarantine = &self.serving.segment.quarantine;
        let quarantined: BTreeMap<SessionId, Place> =
            quarantine.list().map(|place| (place.session(), place)).collect();
        for (session, origin) in self.known.clone() {
            self.resume_session(session, origin, &quarantined);
        }
        self.close_strays();
        self.serving.outgoing.lists = Lists::take_over(&self.serving.replica.chat, self.serving.me);
        self.resume_udp();
        let Outgoing { outboxes, udp, .. } = &mut self.serving.outgoing;
        outboxes.mark_all_dirty();
        let over_udp = udp.as_ref().map_or(0, UdpSessions::count);
        let chat = &self.serving.replica.chat;
        let known = self.known.iter().map(|(session, _)| *session);
        let sessions = known.clone().filter(|&session| chat.was_opened(session)).count();
        let is_too_slow =
            |&session: &SessionId| outboxes.dropped(session) == Some(CloseReason::TooSlow);
        let too_slow = known.filter(is_too_slow).count();
        TakenOver { began, sessions: sessions + over_udp, records, too_slow }
    }

    /// Makes the outboxes of all sessions that may have something to be written, each with the
    /// place from which it is rendered.
    fn resume_outputs(&mut self) {
        let mut muted_before = self.serving.segment.cursors.flushed_through(self.serving.me);
        for (session, _) in self.known.clone() {
            if self.serving.replica.chat.session(session).is_none()
                && self.serving.replica.chat.was_opened(session)
            {
                continue;
            }
            // What nobody can tell is more than can be.
            let handed_over = self
                .serving
                .outgoing
                .sockets
                .positions(session)
                .map_or(ALL, |positions| positions.handed_over);
            self.serving.segment.heartbeats.begin_turn(self.serving.me, Thread::Send);
            muted_before = muted_before.min(self.resume_output(session, |_| handed_over));
        }
        // Over UDP nobody knows what arrived: what comes behind the checkpoint is sent, perhaps
        // again.
        let cells = self.serving.config.udp.as_ref().map_or(0..0, |udp| udp.cells.clone());
        let in_cells = cells
            .filter_map(|cell| self.serving.segment.checkpoints.get(cell))
            .map(|checkpoint| checkpoint.session);
        let in_state: Vec<_> = self
            .serving
            .replica
            .chat
            .sessions_of(self.serving.me)
            .filter_map(|session| Some((session.id, session.path()?)))
            .collect();
        in_state
            .iter()
            .for_each(|&(session, path)| self.serving.outgoing.sockets.add_peer(session, path));
        let in_state = in_state.into_iter().map(|(session, _)| session);
        for session in in_cells.chain(in_state).collect::<BTreeSet<_>>() {
            if self.serving.replica.chat.session(session).is_none()
                && self.serving.replica.chat.was_opened(session)
            {
                // It was over, and only its cell wasn't cleared yet.
                self.serving.segment.checkpoints.clear(session);
                continue;
            }
            muted_before = muted_before.min(self.resume_output(session, |offset| offset));
        }
        self.serving.outgoing.mute_before(muted_before);
    }

    /// Makes one outbox, and returns from where on it is rendered. `taken` tells how many bytes
    /// need not be written, given the checkpoint's offset.
    fn resume_output(&mut self, session: SessionId, taken: impl Fn(u64) -> u64) -> Sequence {
        let is_in_snapshot = self.serving.replica.chat.session(session).is_some();
        match self.serving.segment.checkpoints.effective(session, &self.serving.segment.cursors) {
            Some(checkpoint) => {
                self.serving.outgoing.outboxes.resume(
                    session,
                    Some(checkpoint),
                    taken(checkpoint.offset),
                );
                if is_in_snapshot && checkpoint.sequence < self.serving.replica.position() {
                    let why = if checkpoint.is_lagging {
                        CloseReason::TooSlow
                    } else {
                        CloseReason::WorkerDied
                    };
                    self.serving.outgoing.outboxes.drop_session(session, why);
                }
                checkpoint.sequence
            }
            // Its cell is cleared, so its end is in the log, and all its output is out.
            None if is_in_snapshot => {
                self.serving.outgoing.outboxes.resume(session, None, ALL);
                Sequence(u64::MAX)
            }
            // Nothing was published about it, so it began behind all that was.
            None => {
                self.serving.outgoing.outboxes.resume(session, None, taken(0));
                Sequence(u64::MAX)
            }
        }
    }

    /// Applies everything up to the tail as it is now. Returns how many records that were.
    fn catch_up(&mut self) -> u64 {
        let (until, mut records) = (self.serving.segment.log.tail(), 0);
        while self.serving.replica.position() < until {
            self.serving.segment.heartbeats.begin_turn(self.serving.me, Thread::Send);
            self.serving.outgoing.outboxes.begin_turn(self.serving.replica.position());
            records += self.serving.apply(PIECE_BLOCKS);
            self.serving
                .segment
                .cursors
                .publish_read(self.serving.me, self.serving.replica.position());
        }
        self.serving.outgoing.mute_before(Sequence(0));
        self.serving.segment.heartbeats.end_turn(self.serving.me, Thread::Send);
        records
    }

    /// Puts into the log which process this is, before a line is read: what a client asks from now
    /// on is answered with this pid. What was asked before is answered with the predecessor's, also
    /// if this process renders it: that is what the log says at the question.
    fn record_pid(&mut self) {
        self.serving.propose_fact(
            SessionId::NONE,
            Fact::Started { slot: self.serving.me, pid: self.serving.config.pid },
        );
        // Where a session has a thread that appends what it reads, that thread doesn't wait for the
        // first turn.
        self.serving.commit();
    }

    /// A session whose socket was kept goes on, begins, or ends, as the log says.
    fn resume_session(
        &mut self,
        session: SessionId,
        origin: Origin,
        quarantined: &BTreeMap<SessionId, Place>,
    ) {
        self.serving.segment.heartbeats.begin_turn(self.serving.me, Thread::Send);
        let positions = self.serving.outgoing.sockets.positions(session);
        match (
            self.serving.replica.chat.session(session),
            self.serving.outgoing.outboxes.dropped(session),
        ) {
            (Some(_), Some(why)) => self.serving.propose_fact(session, Fact::Closed(why)),
            (Some(_), None)
                if positions.is_none_or(|positions| {
                    self.serving.outgoing.outboxes.is_astray(session) && !positions.is_closed
                }) =>
            {
                log::error!(
                    "session {session} is closed: the kernel's counters do not match the log"
                );
                self.serving.outgoing.outboxes.drop_session(session, CloseReason::WorkerDied);
                self.serving.propose_fact(session, Fact::Closed(CloseReason::WorkerDied));
            }
            // Its input has been two workers' death: it is not looked at again, and the first turn
            // ends it.
            (Some(_), None) if quarantined.contains_key(&session) => {}
            (Some(open), None) => {
                let (input_end, in_long_line, is_announced) =
                    (open.input_end, open.in_long_line, open.is_announced());
                // Of a closed connection it is not known whether the position is one further. Then
                // it is taken to be: a byte too many that is read again is the end of a line that
                // is known, and an empty line says nothing; a byte too few would be missing from a
                // line.
                let positions = positions.unwrap_or_default();
                let taken = positions.taken + u64::from(positions.is_closed);
                self.serving.outgoing.sockets.resume_input(session, taken, in_long_line);
                // What is in the log and wasn't taken out of the kernel is taken now, so the next
                // look begins behind it.
                self.serving
                    .outgoing
                    .sockets
                    .consume(session, input_end.saturating_sub(taken) as usize);
                if !is_announced {
                    self.serving.set_arrival_timer(session);
                }
                self.serving.read_on(session);
            }
            (None, _) if !self.serving.replica.chat.was_opened(session) => {
                self.serving.outgoing.outboxes.remove(session);
                match quarantined.get(&session) {
                    None => self.serving.open(session, origin, Lines::default()),
                    Some(Place::Input { .. }) => self.serving.open(
                        session,
                        origin,
                        Lines::ending(session, CloseReason::Quarantined),
                    ),
                    // It can't even be opened.
                    Some(Place::Record { .. }) => {
                        self.serving.outgoing.sockets.finish(session, Ending::Finish)
                    }
                }
            }
            // With an outbox it ends when that is written. Without one all of its output is out, or
            // what isn't began before the snapshot.
            (None, _) if !self.serving.outgoing.outboxes.has(session) => {
                let is_lagging = self
                    .serving
                    .segment
                    .checkpoints
                    .effective(session, &self.serving.segment.cursors)
                    .is_some_and(|checkpoint| checkpoint.is_lagging);
                self.serving
                    .outgoing
                    .sockets
                    .finish(session, if is_lagging { Ending::Drop } else { Ending::Finish });
            }
            (None, _) => {}
        }
    }

    /// Sessions that are open by the log, and nobody has a socket for. There should be none: a
    /// socket is kept until the log has the session's end.
    fn close_strays(&mut self) {
        let known: BTreeSet<SessionId> = self.known.iter().map(|(session, _)| *session).collect();
        let has_socket = |session: &Session| session.is_udp() || known.contains(&session.id);
        let of_mine = self.serving.replica.chat.sessions_of(self.serving.me);
        let strays: Vec<SessionId> =
            of_mine.filter(|session| !has_socket(session)).map(|session| session.id).collect();
        for session in strays {
            log::error!("session {session} has no socket; it is closed");
            self.serving.segment.checkpoints.clear(session);
            self.serving.propose_fact(session, Fact::Closed(CloseReason::WorkerDied));
        }
    }

    fn resume_udp(&mut self) {
        let Some(config) = self.serving.config.udp.take() else { return };
        let is_taken = |cell| self.serving.outgoing.outboxes.is_taken(cell);
        let udp = UdpSessions::take_over(
            self.serving.me,
            config,
            &self.serving.replica.chat,
            is_taken,
            self.serving.segment.clock.uptime(),
        );
        if !udp.is_empty() {
            self.serving.set_silence_timer();
        }
        self.serving.outgoing.udp = Some(udp);
    }
}

#[cfg(test)]
mod tests;
