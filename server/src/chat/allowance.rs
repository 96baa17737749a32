//! How many bytes a UDP session without a key may receive in answer to its own lines.
//!
//! Anyone can send a datagram with a forged source, so without a key the sender of a line is
//! unknown. If the answer were longer than the line, the server would multiply traffic for the
//! forger. So a session receives at most three times the bytes of its lines
//! ([`UDP_ANSWER_FACTOR`]). After its client has proved its address, it may receive more, for a
//! limited time and up to a limit; a forger can't prove the address, since it does not receive the
//! cookie. Lines from other sessions are not counted.
//!
//! The allowance is part of the state. It counts rendered bytes, which are the same in every
//! replica.

use forkchat_common::endpoint::Token;
use forkchat_common::ids::{Micros, SessionId};
use forkchat_common::limits::{UDP_ANSWER_FACTOR, UDP_PROVEN_BYTES, UDP_PROVEN_SECONDS};
use serde::{Deserialize, Serialize};

/// The length of the challenge, which replaces an answer that is too long: `* /hello COOKIE` and
/// LF.
pub const CHALLENGE_BYTES: usize = "* /hello \n".len() + Token::CHARS;

/// The rest of a session's allowance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Allowance {
    /// Bytes left that it earned by sending lines.
    earned: u64,
    /// Bytes left from the last proof of its address.
    proven: u64,
    /// When `proven` expires.
    proven_until: Micros,
    /// A part of the answer to the current line was withheld. The rest of the answer is withheld
    /// too, so that the client can't miss a gap.
    pub is_cut: bool,
}

impl Allowance {
    /// Earns for a line of `bytes` bytes. The LF does not count, because the last line of a
    /// datagram needs none.
    pub fn earn(&mut self, bytes: usize) {
        self.earned = self.earned.saturating_add(bytes as u64 * UDP_ANSWER_FACTOR);
    }

    /// The client has proved its address.
    pub fn prove(&mut self, now: Micros) {
        (self.proven, self.proven_until, self.is_cut) =
            (UDP_PROVEN_BYTES, now.plus(UDP_PROVEN_SECONDS * Micros::SECOND), false);
    }

    /// Spends `bytes` bytes. If too few are left, spends nothing and returns false.
    pub fn spend(&mut self, bytes: usize, now: Micros) -> bool {
        let bytes = bytes as u64;
        let proven = if now < self.proven_until { self.proven.min(bytes) } else { 0 };
        let is_enough = bytes - proven <= self.earned;
        if is_enough {
            self.proven -= proven;
            self.earned -= bytes - proven;
        }
        is_enough
    }
}

/// The allowance of the record's session while the record is applied.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnswerBudget {
    pub session: SessionId,
    pub allowance: Allowance,
    pub now: Micros,
}

impl AnswerBudget {
    /// Earns for a line of `bytes` bytes.
    pub fn earn(&mut self, bytes: usize) {
        self.allowance.earn(bytes);
    }

    /// Starts the answer to another line.
    pub fn begin_answer(&mut self) {
        self.allowance.is_cut = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proven_bytes_are_spent_before_earned_ones_and_expire() {
        let mut allowance = Allowance::default();
        assert!(!allowance.spend(1, Micros(0)));
        allowance.earn(10);
        assert!(
            !allowance.spend(31, Micros(0))
                && allowance.spend(30, Micros(0))
                && !allowance.spend(1, Micros(0))
        );
        allowance.earn(1);
        allowance.prove(Micros(5));
        assert!(allowance.spend(UDP_PROVEN_BYTES as usize, Micros(5)));
        assert!(allowance.spend(3, Micros(5)), "the earned bytes are still there");
        allowance.prove(Micros(5));
        assert!(!allowance.spend(1, Micros(5 + UDP_PROVEN_SECONDS * Micros::SECOND)), "too late");
    }
}
