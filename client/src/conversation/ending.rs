//! The end of a conversation: `/quit`, and which lines were not accepted.

use super::entry::DeliveryState;
use super::line::{Line, Purpose};
use super::{Conversation, Outcome, Output, Phase};
use std::time::{Duration, Instant};

/// A person sees at most this many of the lines that were not sent. The others are counted.
const UNDELIVERED_SHOWN_MAX: usize = 64;
/// How long to wait for the answer to `/quit`.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(3);
impl Conversation {
    /// Sends `/quit`. Ends at once if it was sent already, or there is no connection.
    pub(super) fn leave(&mut self, now: Instant) {
        match self.phase {
            Phase::Ready | Phase::LoggingIn | Phase::RetryingNick(_) | Phase::Resolving => {
                self.send_for("/quit", Purpose::Goodbye, now);
                self.phase = Phase::Leaving(now + GOODBYE_TIMEOUT);
            }
            _ => self.end(),
        }
    }

    /// Ends the conversation. It counts as failed if a line was not accepted; for a person only
    /// lines that are still open count.
    pub(super) fn end(&mut self) {
        if self.phase == Phase::Ended {
            return;
        }
        let undelivered = if self.config.interactive { 0 } else { self.undelivered };
        match self.unaccepted() + undelivered {
            0 => {
                self.phase = Phase::Ended;
                self.push(Output::Close);
                self.push(Output::End(Outcome::Done));
            }
            1 => self.fail("a line was not accepted".to_owned()),
            count => self.fail(format!("{count} lines were not accepted")),
        }
    }

    /// Ends the conversation as failed. Shows which lines are in doubt and which were never sent.
    pub(super) fn fail(&mut self, why: String) {
        self.phase = Phase::Ended;
        self.show_held_back();
        let in_doubt: Vec<Line> =
            std::mem::take(&mut self.in_doubt).into_iter().chain(self.in_flight.take()).collect();
        self.show_undelivered(
            in_doubt.iter().filter(|line| line.is_typed() && !line.is_quit()),
            DeliveryState::InDoubt,
        );
        self.show_queue_as_not_sent();
        self.push(Output::Close);
        self.push(Output::End(Outcome::Failed(why)));
    }

    pub(super) fn show_queue_as_not_sent(&mut self) {
        let deferred = self.deferred.take();
        self.queue.push_front(deferred);
        let queued = self.queue.take();
        self.show_undelivered(queued.iter().filter(|line| !line.is_quit()), DeliveryState::NotSent);
    }

    /// Shows lines that were not accepted. A filter names all of them. A person sees at most
    /// [`UNDELIVERED_SHOWN_MAX`] and the number of the others.
    pub(super) fn show_undelivered<'l>(
        &mut self,
        lines: impl Iterator<Item = &'l Line>,
        state: DeliveryState,
    ) {
        let mut more = 0;
        for (number, line) in lines.enumerate() {
            self.undelivered += 1;
            if self.config.interactive && number >= UNDELIVERED_SHOWN_MAX {
                more += 1;
            } else {
                self.show(line.entry(state));
            }
        }
        if more > 0 {
            self.notice(format!("and {more} more"));
        }
    }
}
