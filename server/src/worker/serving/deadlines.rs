//! What a worker does at a certain time: its timers.

use super::Serving;
use crate::chat::Fact;
use crate::worker::sockets::Sockets;
use forkchat_common::ids::{Micros, SessionId};
use std::time::Duration;

/// How long after a connection the first thing that arrives still counts as having come with it. A
/// client that sends nothing is welcomed then: one of another protocol has sent its request by that
/// time, and is answered with nothing before it.
pub(super) const ARRIVAL: u64 = Micros::SECOND / 20;
/// How long a first line that has begun by then is waited for: over a slow network a request comes
/// in pieces.
pub(super) const FIRST_LINE: u64 = 5 * Micros::SECOND;
/// When something is on its way to the kernel, one looks this soon whether it has come there: until
/// then a successor would have more to do.
const FLIGHT_CHECK: Duration = Duration::from_millis(100);
/// How often UDP sessions are looked at for silence.
const SILENCE_CHECK: u64 = Micros::SECOND;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    ReadOn(SessionId),
    /// And since when its first line is waited for.
    Arrival(SessionId, Micros),
    LastWords(SessionId),
    Silence,
    Tidy,
}

impl<S: Sockets> Serving<S> {
    /// A program's first lines come a moment after its connection, and belong to it: only then other
    /// sessions may be notified of it.
    pub(in crate::worker) fn set_arrival_timer(&mut self, session: SessionId) {
        self.set_timer(ARRIVAL, Timer::Arrival(session, self.segment.clock.uptime()));
    }

    /// From now on UDP sessions are looked at for silence, until there is none.
    pub(in crate::worker) fn set_silence_timer(&mut self) {
        if !self.timers.contains(&Timer::Silence) {
            self.set_timer(SILENCE_CHECK, Timer::Silence);
        }
    }

    pub(super) fn set_timer(&mut self, after: u64, timer: Timer) {
        self.timers.set(self.segment.clock.uptime().plus(after), timer);
    }

    /// How long the worker may sleep at most.
    pub(super) fn next_timer(&self) -> Option<Duration> {
        let now = self.segment.clock.uptime();
        let timer = self.timers.next().map(|at| Duration::from_micros(at.since(now)));
        let flight = self.outgoing.outboxes.is_in_flight().then_some(FLIGHT_CHECK);
        timer.into_iter().chain(flight).min()
    }

    pub(super) fn run_timers(&mut self) {
        let now = self.segment.clock.uptime();
        while let Some(timer) = self.timers.take_due(now) {
            match timer {
                // It is read on already if something else has happened meanwhile.
                Timer::ReadOn(session) if !self.reading.is_delayed(session) => {}
                Timer::ReadOn(session) => self.read_on(session),
                Timer::Arrival(session, since) => self.end_arrival(session, since, now),
                Timer::LastWords(session) => self.outgoing.outboxes.drop_unwritten(session),
                Timer::Silence => self.end_silent(),
                Timer::Tidy => {
                    self.outgoing.outboxes.tidy();
                    self.is_tidying = false;
                }
            }
        }
    }

    /// A session's first line has been waited for since then.
    fn end_arrival(&mut self, session: SessionId, since: Micros, now: Micros) {
        if self.is_announced(session) {
            return;
        }
        let waited = now.since(since);
        if waited < FIRST_LINE && self.outgoing.sockets.unread(session) > 0 {
            // Each time twice as long, so that it is looked at a few times only.
            let timer = Timer::Arrival(session, since);
            return self.set_timer(waited.min(FIRST_LINE - waited), timer);
        }
        self.propose_fact(session, Fact::Arrived);
    }

    fn end_silent(&mut self) {
        let Some(udp) = &self.outgoing.udp else { return };
        let silent = udp.silent(&self.replica.chat, self.segment.clock.uptime());
        let is_empty = udp.is_empty();
        for (session, since) in silent {
            self.propose_fact(session, Fact::Silent { since });
        }
        if !is_empty {
            self.set_timer(SILENCE_CHECK, Timer::Silence);
        }
    }
}
