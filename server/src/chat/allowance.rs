//! How many bytes a UDP session without a key may receive in answer to its own lines.
//!
//! Anyone can send a datagram with a forged source, so without a key the sender of a line is
//! unknown. If the answer were longer than the line, the server would multiply traffic for the
//! forger. So a session receives at most three times the bytes of its lines
//! ([`UDP_ANSWER_FACTOR`]). After its client has proved its address, it may receive more, for a
//! limited time and up to a limit; a forger can't prove the address, since it does not receive the
//! cookie. Lines from other sessions are not counted.
//!
//! The allowance is part of the state. It counts rendered bytes, which are the same in every copy.

use forkchat_common::endpoint::Token;
use forkchat_common::ids::{Micros, SessionId};
use forkchat_common::limits::{UDP_ANSWER_FACTOR, UDP_PROVEN_BYTES, UDP_PROVEN_SECONDS};
use serde::{Deserialize, Serialize};

/// The line with a cookie, which is sent in place of what isn't allowed: `* /hello COOKIE` and LF.
pub const CHALLENGE_BYTES: usize = "* /hello \n".len() + Token::CHARS;

/// What is left of a session's allowance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Allowance {
    /// Bytes, for the lines that it has sent.
    earned: u64,
    /// Bytes, for the last proof of its address.
    proven: u64,
    /// When those expire.
    proven_until: Micros,
    /// Something was left out since the last line was done: the rest of that answer is left out as
    /// well, so that no gap is unnoticed.
    pub is_cut: bool,
}

impl Allowance {
    /// A line of so many bytes has come, its LF not counted: the last line of a datagram needs
    /// none.
    pub fn earn(&mut self, bytes: usize) {
        self.earned = self.earned.saturating_add(bytes as u64 * UDP_ANSWER_FACTOR);
    }

    /// The client has proved its address.
    pub fn prove(&mut self, now: Micros) {
        (self.proven, self.proven_until, self.is_cut) =
            (UDP_PROVEN_BYTES, now.plus(UDP_PROVEN_SECONDS * Micros::SECOND), false);
    }

    /// Takes so many bytes from what is left; false, and it takes nothing, if that is too little.
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

/// The session whose record is applied, if what it is sent for that is limited.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own {
    pub session: SessionId,
    pub allowance: Allowance,
    pub now: Micros,
}

impl Own {
    /// A line of so many bytes has come.
    pub fn earn(&mut self, bytes: usize) {
        self.allowance.earn(bytes);
    }

    /// A line is done now: what follows is another answer.
    pub fn begin_answer(&mut self) {
        self.allowance.is_cut = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_earned_is_spent_and_a_proof_pays_first_and_expires() {
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
        assert!(allowance.spend(3, Micros(5)), "what was earned was not touched");
        allowance.prove(Micros(5));
        assert!(!allowance.spend(1, Micros(5 + UDP_PROVEN_SECONDS * Micros::SECOND)), "too late");
    }
}
