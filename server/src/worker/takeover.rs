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
use super::outbox::ALL;
use super::serving::Serving;
use super::sockets::Sockets;
use super::udp::UdpDesk;
use crate::chat::{CloseReason, Ending, Fact, Session};
use crate::role::count;
use crate::segment::{Place, Segment, Thread};
use forkchat_common::endpoint::Origin;
use forkchat_common::ids::{Micros, Sequence, SessionId};
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
    pub fn tell(self, segment: &Segment) {
        if self.sessions > 0 {
            let millis = segment.clock.uptime().since(self.began) as f64 / 1_000.0;
            let (sessions, records) =
                (count(self.sessions, "session"), count(self.records as usize, "record"));
            log::info!("took over {sessions} in {millis:.1} ms, {records} replayed");
        }
        if self.too_slow > 0 {
            let sessions = count(self.too_slow, "session");
            log::warn!(
                "{sessions} could not be taken over: the clients read too slowly, and what they have not read begins more than a quarter of the ring ago (--ring)"
            );
        }
    }
}

impl<S: Sockets> Serving<S> {
    /// Brings the state up to the tail, and takes over the sessions that a predecessor had:
    /// `inherited` and those over UDP.
    pub(super) fn take_over(&mut self, inherited: Vec<Inherited<S::Connection>>) -> Takeover {
        let began = self.segment.clock.uptime();
        let known: Vec<(SessionId, Origin)> =
            inherited.iter().map(|inherited| (inherited.session, inherited.origin)).collect();
        inherited
            .into_iter()
            .for_each(|inherited| self.sockets.add(inherited.session, inherited.connection));
        self.resume_outputs(&known);
        let records = self.catch_up();
        self.record_pid();
        let quarantined: BTreeMap<SessionId, Place> =
            self.segment.quarantine.list().map(|place| (place.session(), place)).collect();
        known
            .iter()
            .for_each(|&(session, origin)| self.resume_session(session, origin, &quarantined));
        self.close_strays(&known);
        self.resume_lists();
        self.resume_udp();
        self.outboxes.mark_all_dirty();
        let udp = self.udp.as_ref().map_or(0, UdpDesk::count);
        let sessions =
            known.iter().filter(|(session, _)| self.replica.chat.was_opened(*session)).count()
                + udp;
        let too_slow = known
            .iter()
            .filter(|(session, _)| self.outboxes.given_up(*session) == Some(CloseReason::TooSlow))
            .count();
        Takeover { began, sessions, records, too_slow }
    }

    /// Makes the outboxes of all sessions that may have something to be written, each with the
    /// place from which it is rendered.
    fn resume_outputs(&mut self, known: &[(SessionId, Origin)]) {
        let mut silent_before = self.segment.cursors.flushed_through(self.me);
        for &(session, _) in known {
            if self.replica.chat.session(session).is_none() && self.replica.chat.was_opened(session)
            {
                continue;
            }
            // What nobody can tell is more than can be.
            let handed_over =
                self.sockets.positions(session).map_or(ALL, |positions| positions.handed_over);
            self.segment.heartbeats.begin_turn(self.me, Thread::Send);
            silent_before = silent_before.min(self.resume_output(session, |_| handed_over));
        }
        // Over UDP nobody knows what arrived: what comes behind the checkpoint is sent, perhaps
        // again.
        let cells = self.config.udp.as_ref().map_or(0..0, |udp| udp.cells.clone());
        let in_cells = cells
            .filter_map(|cell| self.segment.checkpoints.get(cell))
            .map(|checkpoint| checkpoint.session);
        let in_state: Vec<_> = self
            .replica
            .chat
            .sessions_of(self.me)
            .filter_map(|session| Some((session.id, session.path()?)))
            .collect();
        in_state.iter().for_each(|&(session, path)| self.sockets.add_peer(session, path));
        let in_state = in_state.into_iter().map(|(session, _)| session);
        for session in in_cells.chain(in_state).collect::<BTreeSet<_>>() {
            if self.replica.chat.session(session).is_none() && self.replica.chat.was_opened(session)
            {
                // It was over, and only its cell wasn't cleared yet.
                self.segment.checkpoints.clear(session);
                continue;
            }
            silent_before = silent_before.min(self.resume_output(session, |offset| offset));
        }
        self.outboxes.be_silent_before(silent_before);
    }

    /// Makes one outbox, and returns from where on it is rendered. `taken` tells how many bytes
    /// need not be written, given the checkpoint's offset.
    fn resume_output(&mut self, session: SessionId, taken: impl Fn(u64) -> u64) -> Sequence {
        let is_in_snapshot = self.replica.chat.session(session).is_some();
        match self.segment.checkpoints.effective(session, &self.segment.cursors) {
            Some(checkpoint) => {
                self.outboxes.resume(session, Some(checkpoint), taken(checkpoint.offset));
                if is_in_snapshot && checkpoint.sequence < self.replica.position() {
                    let why = if checkpoint.is_lagging {
                        CloseReason::TooSlow
                    } else {
                        CloseReason::WorkerDied
                    };
                    self.outboxes.give_up(session, why);
                }
                checkpoint.sequence
            }
            // Its cell is cleared, so its end is in the log, and all its output is out.
            None if is_in_snapshot => {
                self.outboxes.resume(session, None, ALL);
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
        let (until, mut records) = (self.segment.log.tail(), 0);
        while self.replica.position() < until {
            self.segment.heartbeats.begin_turn(self.me, Thread::Send);
            self.outboxes.begin_turn(self.replica.position());
            records += self.replica.apply(PIECE_BLOCKS, &mut self.outboxes, |outboxes, effects| {
                effects.for_each(|effect| outboxes.carry_out(effect));
                outboxes.relieve(&mut self.sockets);
            });
            self.segment.cursors.publish_read(self.me, self.replica.position());
        }
        self.outboxes.be_silent_before(Sequence(0));
        self.route_peers();
        self.segment.heartbeats.end_turn(self.me, Thread::Send);
        records
    }

    /// Puts into the log which process this is, before a line is read: what a client asks from now
    /// on is answered with this pid. What was asked before is answered with the predecessor's, also
    /// if this process renders it: that is what the log says at the question.
    fn record_pid(&mut self) {
        self.propose_fact(SessionId::NONE, Fact::Started { slot: self.me, pid: self.config.pid });
        // Where a session has a thread that appends what it reads, that thread doesn't wait for the
        // first turn.
        self.commit();
    }

    /// A session whose socket was kept goes on, begins, or ends, as the log says.
    fn resume_session(
        &mut self,
        session: SessionId,
        origin: Origin,
        quarantined: &BTreeMap<SessionId, Place>,
    ) {
        self.segment.heartbeats.begin_turn(self.me, Thread::Send);
        let positions = self.sockets.positions(session);
        match (self.replica.chat.session(session), self.outboxes.given_up(session)) {
            (Some(_), Some(why)) => self.propose_fact(session, Fact::Closed(why)),
            (Some(_), None)
                if positions.is_none_or(|positions| {
                    self.outboxes.is_astray(session) && !positions.is_closed
                }) =>
            {
                log::error!(
                    "session {session} is closed: the kernel's counters do not match the log"
                );
                self.outboxes.give_up(session, CloseReason::WorkerDied);
                self.propose_fact(session, Fact::Closed(CloseReason::WorkerDied));
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
                self.sockets.resume_input(session, taken, in_long_line);
                // What is in the log and wasn't taken out of the kernel is taken now, so the next
                // look begins behind it.
                self.sockets.consume(session, input_end.saturating_sub(taken) as usize);
                if !is_announced {
                    self.set_arrival_timer(session);
                }
                self.arm(session);
            }
            (None, _) if !self.replica.chat.was_opened(session) => {
                self.outboxes.remove(session);
                match quarantined.get(&session) {
                    None => self.open(session, origin, Lines::default()),
                    Some(Place::Input { .. }) => {
                        self.open(session, origin, Lines::ending(session, CloseReason::Quarantined))
                    }
                    // It can't even be opened.
                    Some(Place::Record { .. }) => self.sockets.finish(session, Ending::Finish),
                }
            }
            // With an outbox it ends when that is written. Without one all of its output is out, or
            // what isn't began before the snapshot.
            (None, _) if !self.outboxes.has(session) => {
                let is_lagging = self
                    .segment
                    .checkpoints
                    .effective(session, &self.segment.cursors)
                    .is_some_and(|checkpoint| checkpoint.is_lagging);
                self.sockets
                    .finish(session, if is_lagging { Ending::Drop } else { Ending::Finish });
            }
            (None, _) => {}
        }
    }

    /// Sessions that are open by the log, and nobody has a socket for. There should be none: a
    /// socket is kept until the log has the session's end.
    fn close_strays(&mut self, known: &[(SessionId, Origin)]) {
        let known: BTreeSet<SessionId> = known.iter().map(|(session, _)| *session).collect();
        let has_socket = |session: &Session| session.is_udp() || known.contains(&session.id);
        let of_mine = self.replica.chat.sessions_of(self.me);
        let strays: Vec<SessionId> =
            of_mine.filter(|session| !has_socket(session)).map(|session| session.id).collect();
        for session in strays {
            log::error!("session {session} has no socket; it is closed");
            self.segment.checkpoints.clear(session);
            self.propose_fact(session, Fact::Closed(CloseReason::WorkerDied));
        }
    }

    fn resume_udp(&mut self) {
        let Some(config) = self.config.udp.take() else { return };
        let is_taken = |cell| self.outboxes.is_taken(cell);
        let desk = UdpDesk::take_over(
            self.me,
            config,
            &self.replica.chat,
            is_taken,
            self.segment.clock.uptime(),
        );
        if !desk.is_empty() {
            self.set_silence_timer();
        }
        self.udp = Some(desk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::{Geometry, SnapshotWriter};
    use crate::worker::Bounds;
    use crate::worker::fakes::{FakeSockets, dropped, never, origin, path, peer, udp_config};
    use crate::worker::input::Input;
    use crate::worker::serving::ServingConfig;
    use forkchat_common::ids::Slot;
    use forkchat_common::protocol::Protocol;
    use forkchat_common::protocol::framing::After;

    const ME: Slot = Slot(0);
    const JOURNAL: Slot = Slot(1);

    /// Cells 0 to 3 are for TCP, 4 and 5 for UDP.
    fn new_log() -> &'static Segment {
        Segment::create(Geometry {
            ring_bytes: 1 << 20,
            slots: 2,
            sessions_max: 6,
            snapshot_bytes_max: 1 << 16,
        })
        .unwrap()
    }

    fn config() -> ServingConfig {
        let udp = Some(udp_config(4..6, None));
        ServingConfig {
            pid: 1,
            outboxes: Bounds { sendq: 1 << 20, together: usize::MAX },
            turn_away_max: 1,
            journal: JOURNAL,
            stopping: never(),
            dropped: dropped(),
            udp,
            stand_in: None,
        }
    }

    fn join(segment: &'static Segment, sockets: FakeSockets) -> Serving<FakeSockets> {
        Serving::join(segment, ME, config(), sockets, Vec::new()).unwrap()
    }

    /// One more TCP session, in this cell. It has sent an empty line, so the others have heard of
    /// it.
    fn open(worker: &mut Serving<FakeSockets>, cell: usize) -> SessionId {
        let session = SessionId::new(1, cell);
        let lines = Lines::of(session, Protocol::Line, b"\n", 0, false, After::More, 10);
        worker.accept(Input::Opened { session, origin: origin(1), connection: (), lines });
        worker.turn();
        session
    }

    /// A worker after one that was cut off between two turns with these TCP sessions.
    fn successor(
        predecessor: Serving<FakeSockets>,
        sessions: &[SessionId],
    ) -> Serving<FakeSockets> {
        let inherited = sessions
            .iter()
            .map(|&session| Inherited { session, origin: origin(1), connection: () })
            .collect();
        Serving::join(predecessor.segment, ME, config(), predecessor.sockets, inherited).unwrap()
    }

    fn says_over_udp(worker: &mut Serving<FakeSockets>, port: u16, line: &[u8]) {
        worker.accept(Input::Datagram { path: path(port), bytes: line.to_vec() });
        worker.turn();
    }

    /// One more UDP session, from this port.
    fn open_udp(worker: &mut Serving<FakeSockets>, port: u16) -> SessionId {
        says_over_udp(worker, port, &[b'x'; 30]);
        let (_, answer) = worker.sockets.answers.pop().unwrap();
        says_over_udp(worker, port, answer.strip_prefix(b"* ").unwrap());
        let opened =
            worker.chat().sessions_of(ME).find(|session| session.origin.peer == peer(port));
        opened.unwrap().id
    }

    #[test]
    fn a_session_whose_positions_cannot_be_read_is_closed_and_its_neighbours_go_on() {
        let mut predecessor = join(new_log(), FakeSockets::open());
        let sessions = [0, 1, 2].map(|cell| open(&mut predecessor, cell));
        let [first, lost, last] = sessions;
        predecessor.sockets.unreadable.insert(lost);
        let heard_before = predecessor.sockets.heard(first).len();
        let mut worker = successor(predecessor, &sessions);
        worker.turn();
        assert_eq!(worker.sockets.finished, [(lost, Ending::Drop)]);
        let said = Lines::of(last, Protocol::Line, b"hello\n", 1, false, After::More, 10);
        worker.accept(Input::Lines { session: last, lines: said });
        worker.turn();
        assert_eq!(
            [first, lost, last].map(|session| worker.chat().session(session).is_some()),
            [true, false, true]
        );
        let heard = String::from_utf8_lossy(&worker.sockets.heard(first)[heard_before..]);
        assert!(
            heard.contains(CloseReason::WorkerDied.as_str()) && heard.contains("hello"),
            "{heard}"
        );
    }

    #[test]
    fn the_cell_of_an_ended_udp_session_is_not_given_again_before_its_last_words_are_sent() {
        let mut predecessor = join(new_log(), FakeSockets::deaf());
        let ended = open_udp(&mut predecessor, 1);
        says_over_udp(&mut predecessor, 1, b"/quit\n");
        let mut worker = successor(predecessor, &[]);
        assert!(worker.chat().session(ended).is_none());
        let other = open_udp(&mut worker, 2);
        assert_ne!(other.cell(), ended.cell());
        worker.sockets.write_max = usize::MAX;
        worker.writable(ended);
        worker.turn();
        assert_eq!(worker.sockets.finished, [(ended, Ending::Finish)]);
        assert_eq!(open_udp(&mut worker, 3).cell(), ended.cell());
    }

    #[test]
    fn the_cell_of_a_udp_session_that_was_over_and_sent_everything_is_cleared_and_given_again() {
        let segment = new_log();
        let mut predecessor = join(segment, FakeSockets::open());
        let ended = open_udp(&mut predecessor, 1);
        let checkpoint = segment.checkpoints.get(ended.cell()).unwrap();
        says_over_udp(&mut predecessor, 1, b"/quit\n");
        assert_eq!(segment.checkpoints.get(ended.cell()), None);
        // As if it had been cut off right before it cleared the cell, and the snapshot knows of the
        // end.
        segment.checkpoints.store(checkpoint);
        let mut snapshots = SnapshotWriter::new(&segment.snapshots, &segment.log, JOURNAL);
        assert!(
            snapshots.write(segment.log.tail(), &predecessor.chat().snapshot())
                && snapshots.publish(segment.log.tail())
        );
        let mut worker = successor(predecessor, &[]);
        assert_eq!(segment.checkpoints.get(ended.cell()), None);
        worker.turn();
        assert_eq!(open_udp(&mut worker, 2).cell(), ended.cell());
    }
}
