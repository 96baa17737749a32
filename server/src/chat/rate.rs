//! Rate limits of sessions and addresses: [token buckets](TokenBucket).
//!
//! The unit is a line. A command that notifies others or has a long answer costs more lines
//! (`Row::cost`). The buckets depend only on the times of the records, so they are the same in all
//! replicas, also in a worker that takes over a session. Over TCP a worker reads on only when the
//! session's next line is due, so TCP slows the client down. Several sessions of one address may be
//! read at the same time, each as if it had the address's whole budget. If they exceed it together,
//! plain lines still pass, but commands that cost more than a line are refused.

use forkchat_common::ids::Micros;
use forkchat_common::limits::{ADDRESS_BURST_LINES, ADDRESS_RATE_SHARE, RATE_BURST_LINES};
use forkchat_common::token_bucket::{TokenBucket, Used};
use serde::{Deserialize, Serialize};

/// `--rate-limit`: how many lines per second a session may send on average, or no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    /// µs per line of a session; 0 for no limit.
    line_micros: u64,
}

/// The owner of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketOwner {
    /// One session.
    Session,
    /// All sessions of one address together.
    Address,
}

impl RateLimit {
    /// No limit.
    pub const OFF: RateLimit = RateLimit { line_micros: 0 };

    /// A limit of `lines` lines per second. 0 counts as 1, more than a million as a million.
    pub fn lines_per_second(lines: u32) -> RateLimit {
        RateLimit { line_micros: (Micros::SECOND / u64::from(lines.max(1))).max(1) }
    }

    /// Whether there is no limit.
    pub fn is_off(self) -> bool {
        self.line_micros == 0
    }

    fn bucket(self, owner: BucketOwner) -> TokenBucket {
        let (burst, tokens) = match owner {
            BucketOwner::Session => (RATE_BURST_LINES, 1),
            BucketOwner::Address => (ADDRESS_BURST_LINES, ADDRESS_RATE_SHARE),
        };
        TokenBucket { burst, tokens, micros: self.line_micros }
    }

    /// How many lines may be sent at `now`.
    pub fn allowed(self, owner: BucketOwner, used: Used, now: Micros) -> u64 {
        self.bucket(owner).available(used, now)
    }

    /// When the next line may be sent.
    pub fn next_at(self, owner: BucketOwner, used: Used) -> Micros {
        self.bucket(owner).next_at(used)
    }

    /// When the next line may be sent if the line at `now` used up the bucket.
    pub fn after_a_line(self, owner: BucketOwner, now: Micros) -> Micros {
        now.plus(self.bucket(owner).time_for(1))
    }

    /// Counts lines. The debt is limited to one burst: connections cost lines too, and an address
    /// may open more of them than its budget allows. So the other users of the address wait no
    /// longer than a burst takes to refill once that has ended.
    pub fn spend(self, owner: BucketOwner, used: Used, lines: u64, now: Micros) -> Used {
        let bucket = self.bucket(owner);
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
        for (owner, burst, line_micros) in [
            (BucketOwner::Session, RATE_BURST_LINES, 50_000),
            (BucketOwner::Address, ADDRESS_BURST_LINES, 2_500),
        ] {
            let mut used = Used::default();
            assert_eq!(limit.allowed(owner, used, START), burst);
            for sent in 0..burst {
                assert_eq!(limit.allowed(owner, used, START), burst - sent);
                used = limit.spend(owner, used, 1, START);
            }
            assert_eq!(limit.allowed(owner, used, START), 0);
            assert_eq!(limit.next_at(owner, used), START.plus(line_micros));
            assert_eq!(limit.allowed(owner, used, limit.next_at(owner, used)), 1);
            assert_eq!(limit.allowed(owner, used, START.plus(3_600 * Micros::SECOND)), burst);
        }
    }

    #[test]
    fn a_debt_is_at_most_one_burst() {
        let limit = RateLimit::lines_per_second(20);
        let mut used = Used::default();
        for second in 0..3_600 {
            used =
                limit.spend(BucketOwner::Address, used, 512, START.plus(second * Micros::SECOND));
        }
        let end = START.plus(3_599 * Micros::SECOND);
        assert_eq!(limit.allowed(BucketOwner::Address, used, end), 0);
        let burst_micros = ADDRESS_BURST_LINES * 2_500;
        assert_eq!(limit.next_at(BucketOwner::Address, used), end.plus(burst_micros + 2_500));
    }

    #[test]
    fn an_expensive_command_uses_more_of_the_budget() {
        let limit = RateLimit::lines_per_second(20);
        let used = limit.spend(BucketOwner::Session, Used::default(), 32, START);
        assert_eq!(limit.allowed(BucketOwner::Session, used, START), RATE_BURST_LINES - 32);
    }

    #[test]
    fn without_a_limit_everything_passes() {
        let used = RateLimit::OFF.spend(BucketOwner::Address, Used::default(), 9, Micros(5));
        assert_eq!(RateLimit::OFF.allowed(BucketOwner::Address, used, Micros(0)), u64::MAX);
        assert_eq!(RateLimit::OFF.next_at(BucketOwner::Session, used), Micros(5));
    }
}
