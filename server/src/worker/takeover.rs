//! Taking over is the first work of every worker, after the server's start and after each restart.
//!
//! A predecessor may have died at any instruction. Its knowledge is in three places, from which the
//! successor rebuilds it:
//!
//! ```text
//! snapshot ──► state at a sequence ──► log from there to its tail ──► state now
//!                                         │ output of this worker's sessions, rendered again
//!                                         ▼ from each checkpoint on, less what the kernel has
//! kernel ────► bytes handed over ─────► outboxes: output still to write
//!        ────► bytes consumed ────────► input: read from after the lines that are in the log
//! ```
//!
//! Until it has applied everything up to the tail, the successor stores no checkpoint and reads no
//! input. It may already write to a socket, and the kernel counts those bytes. So if it dies too,
//! its own successor can start in the same way. The supervisor has reaped
//! the predecessor by then, so no other process uses these sockets.
//!
//! Each session of the predecessor over TCP is in one of these states:
//!
//! | the log says | then |
//! |---|---|
//! | open | it goes on |
//! | never opened | it is opened: the predecessor had the socket and had appended nothing yet |
//! | ended | its connection is closed, and the supervisor is notified, perhaps a second time |
//! | open, but its unwritten output begins before the snapshot | it is closed |
//! | open, but the kernel's counters can't be read or contradict the log | it is closed |
//! | quarantined, with its input or a record | it is closed, in the first turn at the latest |
//!
//! Unwritten output begins before the snapshot if the client reads too slowly, or if this slot had
//! no worker for too long.

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
use crate::segment::{Segment, Thread, WorkItem};
use crate::sys::tcp_position::Positions;
use forkchat_common::endpoint::Origin;
use forkchat_common::ids::{Sequence, SessionId, Slot};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;

/// The cursor is published each time this many blocks are applied, so that the watchdog sees
/// progress. The reader also copies this much out of the ring at a time, into memory that it keeps.
const PIECE_BLOCKS: u64 = 128;

/// A connection of a predecessor. `C` is the type of a connection.
#[derive(Clone, Debug)]
pub struct Inherited<C> {
    /// The connection's session, which may not be opened yet.
    pub session: SessionId,
    /// The client's address and the listener.
    pub origin: Origin,
    /// The connection.
    pub connection: C,
}

impl Inherited<OwnedFd> {
    /// Wraps the socket into the type that the worker's threads share.
    pub fn connected(self) -> Inherited<Connection> {
        let Inherited { session, origin, connection: socket } = self;
        let connection = Connection::new(session, origin.listener.protocol, socket);
        Inherited { session, origin, connection }
    }
}

/// A takeover under way.
struct Takeover<S: Sockets> {
    serving: Serving<S>,
    /// The predecessor's connections.
    known: Vec<(SessionId, Origin)>,
}

/// Makes the serving side of a new worker in slot `me`: rebuilds the state from the snapshot and
/// the log, and takes over the sessions of a predecessor, those of `inherited` and those over UDP.
///
/// # Errors
/// The snapshot can't be read, or the log can't be locked.
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
    /// Applies the log up to its tail, and takes over the predecessor's sessions.
    fn take_over(&mut self) -> TakenOver {
        let began = self.serving.segment.clock.uptime();
        self.resume_outputs();
        let records = self.catch_up();
        self.record_pid();
        let quarantine = &self.serving.segment.quarantine;
        let quarantined: BTreeMap<SessionId, WorkItem> =
            quarantine.list().map(|item| (item.session(), item)).collect();
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

    /// Makes the outbox of each session that may have output to write, with the sequence from which
    /// its output is rendered.
    fn resume_outputs(&mut self) {
        let flushed_before = self.serving.segment.cursors.flushed_through(self.serving.me);
        let mut muted_before = flushed_before;
        for (session, _) in self.known.clone() {
            if self.serving.replica.chat.session(session).is_none()
                && self.serving.replica.chat.was_opened(session)
            {
                continue;
            }
            // An unknown position counts as the largest possible one.
            let handed_over = self
                .serving
                .outgoing
                .sockets
                .positions(session)
                .map_or(ALL, |positions| positions.handed_over);
            self.serving.segment.heartbeats.begin_turn(self.serving.me, Thread::Send);
            muted_before = muted_before.min(self.resume_output(session, |_| handed_over));
        }
        // Over UDP it is unknown what has arrived. Output after the checkpoint is sent, perhaps a
        // second time.
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
                // The session has ended; the predecessor died before it cleared the cell.
                self.serving.segment.checkpoints.clear(session);
                continue;
            }
            muted_before = muted_before.min(self.resume_output(session, |offset| offset));
        }
        self.serving.outgoing.begin_takeover(muted_before, flushed_before);
    }

    /// Makes one outbox, and returns the sequence from which its output is rendered. `taken` maps
    /// the checkpoint's offset to the number of bytes that need not be written.
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
            // Its cell is cleared, so its end is in the log and all its output is in the kernel.
            None if is_in_snapshot => {
                self.serving.outgoing.outboxes.resume(session, None, ALL);
                Sequence(u64::MAX)
            }
            // There is no checkpoint, so the session began after everything that the predecessor
            // published.
            None => {
                self.serving.outgoing.outboxes.resume(session, None, taken(0));
                Sequence(u64::MAX)
            }
        }
    }

    /// Applies everything up to the log's present tail. Returns the number of records.
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
        self.serving.outgoing.end_takeover();
        self.serving.segment.heartbeats.end_turn(self.serving.me, Thread::Send);
        records
    }

    /// Appends this process's pid before it reads a line: a question that a client asks from now on
    /// is answered with this pid. An earlier question is answered with the predecessor's pid even
    /// if this process renders the answer, since the log has the predecessor's pid at that
    /// sequence.
    fn record_pid(&mut self) {
        self.serving.propose_fact(
            SessionId::NONE,
            Fact::Started { slot: self.serving.me, pid: self.serving.config.pid },
        );
        // In model `threads`, receive threads append for themselves and don't wait for the first
        // turn.
        self.serving.commit();
    }

    /// Continues, opens or ends a session that has a socket, as the log requires.
    fn resume_session(
        &mut self,
        session: SessionId,
        origin: Origin,
        quarantined: &BTreeMap<SessionId, WorkItem>,
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
                    self.serving.outgoing.outboxes.contradicts_kernel(session)
                        && !positions.is_closed
                }) =>
            {
                log::error!(
                    "session {session} is closed: the kernel's counters do not match the log"
                );
                self.serving.outgoing.outboxes.drop_session(session, CloseReason::WorkerDied);
                self.serving.propose_fact(session, Fact::Closed(CloseReason::WorkerDied));
            }
            // This session's input has killed two workers. It is not read again, and the first turn
            // closes the session.
            (Some(_), None) if quarantined.contains_key(&session) => {}
            (Some(_), None) => self.resume_input(session, positions.unwrap_or_default()),
            (None, _) if !self.serving.replica.chat.was_opened(session) => {
                self.open_unknown(session, origin, quarantined.get(&session));
            }
            // With an outbox, the session ends when that is written.
            (None, _) if self.serving.outgoing.outboxes.has(session) => {}
            (None, _) => self.finish_ended(session),
        }
    }

    /// Continues to read the input of an open session.
    fn resume_input(&mut self, session: SessionId, positions: Positions) {
        let Some(open) = self.serving.replica.chat.session(session) else { return };
        let (input_end, in_long_line, is_announced) =
            (open.input_end, open.in_long_line, open.is_announced());
        // On a closed connection, the predecessor may have consumed one byte more than the position
        // says. This assumes that it has. If it hasn't, one byte is read a second time: the end of
        // a line that is in the log, which then is an empty line without effect. The other
        // assumption could consume a byte too many, and that byte would be missing from a line.
        let taken = positions.taken + u64::from(positions.is_closed);
        let sockets = &mut self.serving.outgoing.sockets;
        sockets.resume_input(session, taken, in_long_line);
        // Input that is in the log and still in the kernel is consumed now, so the next peek begins
        // after it.
        sockets.consume(session, input_end.saturating_sub(taken) as usize);
        if !is_announced {
            self.serving.set_arrival_timer(session);
        }
        self.serving.read_on(session);
    }

    /// Opens a session that the predecessor had not opened, unless it is quarantined.
    fn open_unknown(&mut self, session: SessionId, origin: Origin, quarantined: Option<&WorkItem>) {
        self.serving.outgoing.outboxes.remove(session);
        let lines = match quarantined {
            None => Lines::default(),
            Some(WorkItem::Input { .. }) => Lines::ending(session, CloseReason::Quarantined),
            // The record that opens it is quarantined, so it can't be opened.
            Some(WorkItem::Record { .. }) => {
                return self.serving.outgoing.sockets.finish(session, Ending::Finish);
            }
        };
        self.serving.open(session, origin, lines);
    }

    /// Ends the connection of an ended session without an outbox: either all its output is in the
    /// kernel, or the rest began before the snapshot.
    fn finish_ended(&mut self, session: SessionId) {
        let Segment { checkpoints, cursors, .. } = self.serving.segment;
        let is_lagging =
            checkpoints.effective(session, cursors).is_some_and(|checkpoint| checkpoint.is_lagging);
        let ending = if is_lagging { Ending::Drop } else { Ending::Finish };
        self.serving.outgoing.sockets.finish(session, ending);
    }

    /// Closes sessions that are open in the log and have no socket. There should be none: the
    /// supervisor keeps a socket until the session's end is in the log.
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
        self.close_unrenderable_udp();
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

    /// Closes the UDP sessions whose output can't be rendered from the snapshot on.
    fn close_unrenderable_udp(&mut self) {
        let outboxes = &self.serving.outgoing.outboxes;
        let of_mine = self.serving.replica.chat.sessions_of(self.serving.me);
        let reason = |session: &Session| {
            let is_unknown = outboxes.contradicts_kernel(session.id);
            outboxes.dropped(session.id).or(is_unknown.then_some(CloseReason::WorkerDied))
        };
        let to_close: Vec<(SessionId, CloseReason)> = of_mine
            .filter(|session| session.is_udp())
            .filter_map(|session| Some((session.id, reason(session)?)))
            .collect();
        for (session, why) in to_close {
            self.serving.outgoing.outboxes.drop_session(session, why);
            self.serving.propose_fact(session, Fact::Closed(why));
        }
    }
}

#[cfg(test)]
mod tests;
