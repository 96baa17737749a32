//! How many lines a session may send: a token bucket, kept as one moment in time (the generic cell rate algorithm, ITU-T I.371).
//!
//! It runs on the records' times alone, so every copy of the state has the same, and a worker that takes a session over knows it.
//! Nothing is refused for it over TCP: a worker just doesn't read on until the next line is due, and TCP slows the client down.

use forkchat_common::ids::Micros;
use forkchat_common::limits::RATE_BURST_LINES;
use serde::{Deserialize, Serialize};

/// `--rate-limit`: how many lines a second a session may send in the long run, or no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// µs a line; 0 for no limit.
    line_micros: u64,
}

/// How far a session has used what it may: the moment at which it will have sent no more than its rate allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateUsed(Micros);

impl RateLimit {
    /// No limit.
    pub const OFF: RateLimit = RateLimit { line_micros: 0 };

    /// So many lines a second, at most a million.
    pub fn lines_per_second(lines: u32) -> RateLimit {
        RateLimit { line_micros: (Micros::SECOND / u64::from(lines.max(1))).max(1) }
    }

    /// How many lines may be sent at `now`.
    pub fn allowed(self, used: RateUsed, now: Micros) -> u64 {
        if self.line_micros == 0 {
            return u64::MAX;
        }
        RATE_BURST_LINES.saturating_sub(used.0.since(now).div_ceil(self.line_micros))
    }

    /// When the next line may be sent.
    pub fn next_at(self, used: RateUsed) -> Micros {
        Micros(used.0.0.saturating_sub(self.line_micros * (RATE_BURST_LINES - 1)))
    }

    /// Counts one line.
    pub fn spend(self, used: RateUsed, now: Micros) -> RateUsed {
        RateUsed(used.0.max(now).plus(self.line_micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let limit = RateLimit::lines_per_second(20);
        let start = Micros(1_000_000_000);
        let mut used = RateUsed::default();
        assert_eq!(limit.allowed(used, start), RATE_BURST_LINES);
        for _ in 0..RATE_BURST_LINES {
            used = limit.spend(used, start);
        }
        assert_eq!(limit.allowed(used, start), 0);
        assert_eq!(limit.next_at(used), start.plus(50_000));
        assert_eq!(limit.allowed(used, limit.next_at(used)), 1);
        assert_eq!(limit.allowed(used, start.plus(3_600 * Micros::SECOND)), RATE_BURST_LINES);
    }

    #[test]
    fn without_a_limit_everything_passes() {
        let used = RateLimit::OFF.spend(RateUsed::default(), Micros(5));
        assert_eq!(RateLimit::OFF.allowed(used, Micros(0)), u64::MAX);
        assert_eq!(RateLimit::OFF.next_at(used), Micros(5));
    }
}
