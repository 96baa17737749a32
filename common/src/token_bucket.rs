//! A token bucket, stored as one point in time (the generic cell rate algorithm, ITU-T I.371).

use crate::ids::Micros;
use serde::{Deserialize, Serialize};

/// A rate limit: the average rate of an action, and how often it may be done at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBucket {
    /// The bucket's size, in tokens.
    pub burst: u64,
    /// The bucket gains this many tokens …
    pub tokens: u64,
    /// … in this many µs. 0: there is no limit.
    pub micros: u64,
}

/// How much of a bucket is used, as the time at which it will be full again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Used(pub Micros);

impl TokenBucket {
    /// The time in which the bucket gains `tokens` tokens, in µs.
    pub const fn time_for(self, tokens: u64) -> u64 {
        self.micros.saturating_mul(tokens).div_ceil(self.tokens)
    }

    /// How many tokens are available at `now`; [`u64::MAX`] if there is no limit.
    pub fn available(self, used: Used, now: Micros) -> u64 {
        if self.micros == 0 {
            return u64::MAX;
        }
        let left = self.time_for(self.burst).saturating_sub(used.0.since(now));
        (left.saturating_mul(self.tokens) / self.micros).min(self.burst)
    }

    /// When at least one token is available.
    pub fn next_at(self, used: Used) -> Micros {
        // Not the time for one token less than a burst: both are rounded up, each for itself.
        let spare = self.time_for(self.burst) - self.time_for(1);
        Micros(used.0.0.saturating_sub(spare))
    }

    /// Takes tokens. It may take more than are available.
    pub fn take(self, used: Used, tokens: u64, now: Micros) -> Used {
        Used(used.0.max(now).plus(self.time_for(tokens)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 119,702.25 µs a token: this was once a µs too early, since two tokens' time was rounded up
    /// by less than one token's.
    #[test]
    fn a_token_is_there_at_the_time_at_which_one_is_promised() {
        let bucket = TokenBucket { burst: 2, tokens: 4, micros: 478_809 };
        let now = Micros(1_000_000_000);
        let used = bucket.take(bucket.take(Used::default(), 1, now), 1, now);
        let next = bucket.next_at(used);
        assert_eq!(bucket.available(used, next), 1);
        assert_eq!(bucket.available(used, Micros(next.0 - 1)), 0);
    }

    proptest! {
        #[test]
        fn takers_that_wait_for_tokens_get_at_most_a_burst_and_the_rate(
            burst in 1_u64..50,
            tokens in 1_u64..20,
            micros in 1_u64..1_000_000,
            pauses in prop::collection::vec(0_u64..2_000_000, 1..100),
        ) {
            let bucket = TokenBucket { burst, tokens, micros };
            let start = Micros(1_000_000_000);
            let (mut used, mut now, mut taken) = (Used::default(), start, 0);
            for pause in pauses {
                now = now.plus(pause).max(bucket.next_at(used));
                prop_assert!(bucket.available(used, now) >= 1);
                used = bucket.take(used, 1, now);
                taken += 1;
                let earned = now.since(start) * tokens / micros;
                prop_assert!(taken <= burst + earned + 1, "{} of {} + {}", taken, burst, earned);
            }
            let later = now.plus(bucket.time_for(taken + burst));
            prop_assert_eq!(bucket.available(used, later), burst, "it fills up");
        }
    }
}
