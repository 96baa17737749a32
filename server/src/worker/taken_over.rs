//! The report of a takeover to the operator.

use crate::role::count;
use crate::segment::Clock;
use forkchat_common::ids::Micros;

/// A takeover's figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TakenOver {
    /// When it began, in the time since the machine started.
    pub began: Micros,
    /// The predecessor's sessions, without those that were not in the log yet: these are only
    /// opened now.
    pub sessions: usize,
    pub records: u64,
    /// How many of these sessions are closed because their clients read too slowly.
    pub too_slow: usize,
}

impl TakenOver {
    /// Reports it to the operator. Called after the first turn.
    pub fn report(self, clock: &Clock) {
        if self.sessions > 0 {
            let millis = clock.uptime().since(self.began) as f64 / 1_000.0;
            let (sessions, records) =
                (count(self.sessions, "session"), count(self.records as usize, "record"));
            log::info!("took over {sessions} in {millis:.1} ms, {records} replayed");
        }
        if self.too_slow > 0 {
            let sessions = count(self.too_slow, "session");
            log::warn!(
                "{sessions} could not be taken over: the clients read too slowly, and what they \
                 have not read begins more than a quarter of the ring ago (--ring)"
            );
        }
    }
}
