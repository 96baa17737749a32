//! Rate limits of sessions and addresses: [token buckets](TokenBucket).
//!
//! The unit is a line. A command that notifies others or has a long answer costs more lines
//! (`Row::cost`). The buckets depend on the times of the records alone, so all replicas have the
//! same ones, also a worker that takes over a session. Over TCP a worker reads on only when the
//! session's next line is due, so TCP slows the client down. Several sessions of one address may be
//! read at the same time, each as if it had the address's whole budget. If they exceed it together,
//! plain lines still pass, but commands that cost more than a line are refused.

use forkchat_common::ids::Micros;
use forkchat_common::limits::{ADDRESS_BURST_LINES, ADDRESS_RATE_SHARE, RATE_BURST_LINES};
use forkchat_common::token_bucket::{TokenBucket, Used};
use serde::{Deserialize, Serialize};

/// `--rate-limit`: how many lines a second a session may send in the long run, or no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    /// µs a line of a session; 0 for no limit.
    line_micros: u64,
}

/// Whose bucket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// One session's.
    Session,
    /// That of all sessions of one address.
    Address,
}

impl RateLimit {
    /// No limit.
    pub const OFF: RateLimit = RateLimit { line_micros: 0 };

    /// So many lines a second, at most a million.
    pub fn lines_per_second(lines: u32) -> RateLimit {
        RateLimit { line_micros: (Micros::SECOND / u64::from(lines.max(1))).max(1) }
    }

    /// Whether there is no limit.
    pub fn is_off(self) -> bool {
        self.line_micros == 0
    }

    fn bucket(self, share: Share) -> TokenBucket {
        let (burst, tokens) = match share {
            Share::Session => (RATE_BURST_LINES, 1),
            Share::Address => (ADDRESS_BURST_LINES, ADDRESS_RATE_SHARE),
        };
        TokenBucket { burst, tokens, micros: self.line_micros }
    }

    /// How many lines may be sent at `now`.
    pub fn allowed(self, share: Share, used: Used, now: Micros) -> u64 {
        self.bucket(share).available(used, now)
    }

    /// When the next line may be sent.
    pub fn next_at(self, share: Share, used: Used) -> Micros {
        self.bucket(share).next_at(used)
    }

    /// When the next line may be sent if the one before was the last that might be, and came at
    /// `now`.
    pub fn after_a_line(self, share: Share, now: Micros) -> Micros {
        now.plus(self.bucket(share).time_for(1))
    }

    /// Counts lines. What is used beyond a whole burst counts no further than another one:
    /// connections cost lines, too, and nothing stops an address from opening more than it earns.
    /// Those who share it wait no longer than a burst takes once that has ended.
    pub fn spend(self, share: Share, used: Used, lines: u64, now: Micros) -> Used {
        let bucket = self.bucket(share);
        let most = now.plus(bucket.time_for(bucket.burst).saturating_mul(2));
        Used(bucket.take(used, lines, now).0.min(most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Micros = Micros(1_000_000_000);

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let limit = RateLimit::lines_per_second(20);
        for (share, burst, line_micros) in [
            (Share::Session, RATE_BURST_LINES, 50_000),
            (Share::Address, ADDRESS_BURST_LINES, 2_500),
        ] {
            let mut used = Used::default();
            assert_eq!(limit.allowed(share, used, START), burst);
            for sent in 0..burst {
                assert_eq!(limit.allowed(share, used, START), burst - sent);
                used = limit.spend(share, used, 1, START);
            }
            assert_eq!(limit.allowed(share, used, START), 0);
            assert_eq!(limit.next_at(share, used), START.plus(line_micros));
            assert_eq!(limit.allowed(share, used, limit.next_at(share, used)), 1);
            assert_eq!(limit.allowed(share, used, START.plus(3_600 * Micros::SECOND)), burst);
        }
    }

    #[test]
    fn a_debt_is_no_more_than_another_burst() {
        let limit = RateLimit::lines_per_second(20);
        let mut used = Used::default();
        for second in 0..3_600 {
            used = limit.spend(Share::Address, used, 512, START.plus(second * Micros::SECOND));
        }
        let end = START.plus(3_599 * Micros::SECOND);
        assert_eq!(limit.allowed(Share::Address, used, end), 0);
        let burst_micros = ADDRESS_BURST_LINES * 2_500;
        assert_eq!(limit.next_at(Share::Address, used), end.plus(burst_micros + 2_500));
    }

    #[test]
    fn what_costs_more_leaves_less() {
        let limit = RateLimit::lines_per_second(20);
        let used = limit.spend(Share::Session, Used::default(), 32, START);
        assert_eq!(limit.allowed(Share::Session, used, START), RATE_BURST_LINES - 32);
    }

    #[test]
    fn without_a_limit_everything_passes() {
        let used = RateLimit::OFF.spend(Share::Address, Used::default(), 9, Micros(5));
        assert_eq!(RateLimit::OFF.allowed(Share::Address, used, Micros(0)), u64::MAX);
        assert_eq!(RateLimit::OFF.next_at(Share::Session, used), Micros(5));
    }
}
