//! How long to wait before the next attempt to connect: twice as long each time, up to a bound,
//! with a random part.
//!
//! Source: "equal jitter" in Marc Brooker's "Exponential Backoff And Jitter" (AWS Architecture
//! Blog, 2015): half of the wait is fixed, half is random. So the clients of a restarted server do
//! not all connect at the same moment, and no client retries immediately.

use std::time::Duration;

/// The first wait, if chance makes it as long as possible.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The maximum of all waits.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The attempts to connect during one outage.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// How long to wait before the next attempt. `chance` is a random number from 0 to 1.
    ///
    /// ```
    /// use forkchat_client::backoff::Backoff;
    /// let mut backoff = Backoff::default();
    /// assert_eq!(backoff.next_wait(0.0).as_millis(), 500);
    /// assert_eq!(backoff.next_wait(1.0).as_millis(), 2_000);
    /// ```
    pub fn next_wait(&mut self, chance: f64) -> Duration {
        let whole = FIRST_WAIT.saturating_mul(1 << self.attempts.min(16)).min(WAIT_MAX);
        self.attempts += 1;
        whole.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_half_of_each_is_random() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..8).map(|_| backoff.next_wait(1.0).as_millis()).collect();
        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        for _ in 0..1_000 {
            assert_eq!(backoff.next_wait(0.0).as_secs(), 15);
        }
    }
}
