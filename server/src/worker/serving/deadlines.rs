//! The timers of a worker's serving side.

use super::Serving;
use crate::chat::Fact;
use crate::worker::sockets::Sockets;
use forkchat_common::ids::{Micros, SessionId};
use std::time::Duration;

/// A new session is announced this long after its connection even if its client has sent nothing,
/// and gets its welcome then. A client of another protocol has sent its request by that time, and
/// receives no welcome before the answer to it.
pub(super) const ARRIVAL: u64 = Micros::SECOND / 20;
/// If a first line has begun by then, the worker waits this long for its end: over a slow network a
/// request comes in pieces.
pub(super) const FIRST_LINE: u64 = 5 * Micros::SECOND;
/// While output is on its way to the kernel, the worker checks this often whether it has arrived.
/// Until the checkpoint says so, a successor would have more to do.
const FLIGHT_CHECK: Duration = Duration::from_millis(100);
/// How often the worker looks for silent UDP sessions.
const SILENCE_CHECK: u64 = Micros::SECOND;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    ReadOn(SessionId),
    /// The session, and the time at which the wait for its first line began.
    Arrival(SessionId, Micros),
    LastOutput(SessionId),
    Silence,
    Tidy,
}

impl<S: Sockets> Serving<S> {
    /// The first lines of a client often arrive a moment after its connection. Other sessions are
    /// notified of the new session after those lines, or when this timer is due.
    pub(in crate::worker) fn set_arrival_timer(&mut self, session: SessionId) {
        self.set_timer(ARRIVAL, Timer::Arrival(session, self.segment.clock.uptime()));
    }

    /// Starts the periodic check for silent UDP sessions. It goes on as long as there are UDP
    /// sessions.
    pub(in crate::worker) fn set_silence_timer(&mut self) {
        if !self.timers.contains(&Timer::Silence) {
            self.set_timer(SILENCE_CHECK, Timer::Silence);
        }
    }

    pub(super) fn set_timer(&mut self, after: u64, timer: Timer) {
        self.timers.set(self.segment.clock.uptime().plus(after), timer);
    }

    /// How long the worker may block at most. `None`: without a limit.
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
                // The input was read in the meantime for another reason.
                Timer::ReadOn(session) if !self.reading.is_delayed(session) => {}
                Timer::ReadOn(session) => self.read_on(session),
                Timer::Arrival(session, since) => self.end_arrival(session, since, now),
                Timer::LastOutput(session) => self.outgoing.outboxes.drop_unwritten(session),
                Timer::Silence => self.end_silent(),
                Timer::Tidy => {
                    self.outgoing.outboxes.tidy();
                    self.is_tidying = false;
                }
            }
        }
    }

    /// Announces a session whose first line has been awaited since `since`, or waits on if a line
    /// has begun.
    fn end_arrival(&mut self, session: SessionId, since: Micros, now: Micros) {
        if self.is_announced(session) {
            return;
        }
        let waited = now.since(since);
        if waited < FIRST_LINE && self.outgoing.sockets.unread(session) > 0 {
            // Doubles the wait each time, so that there are few checks.
            let timer = Timer::Arrival(session, since);
            return self.set_timer(waited.min(FIRST_LINE - waited), timer);
        }
        self.propose_fact(session, Fact::Arrived);
    }

    fn end_silent(&mut self) {
        let Some(udp) = &self.outgoing.udp else { return };
        let silent = udp.silent(&self.replica.chat, self.segment.clock.uptime());
        let is_empty = udp.is_empty();
        // While the ring is full they stay silent, and the next check finds them again.
        if self.takes_input() {
            for (session, since) in silent {
                self.propose_fact(session, Fact::Silent { since });
            }
        }
        if !is_empty {
            self.set_timer(SILENCE_CHECK, Timer::Silence);
        }
    }
}
