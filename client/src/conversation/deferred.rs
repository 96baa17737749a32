//! Private messages that the user typed during an outage, and whose receiver has not reconnected
//! yet either. The client sends them again when it sees the receiver, and every few seconds. After
//! a time limit it shows the server's refusal.

use super::line::{Line, Request};
use super::{Conversation, DeliveryState, Received};
use forkchat_common::names::key_of;
use forkchat_common::protocol::line::arguments::word_and_text;
use forkchat_common::protocol::line::input::parse;
use forkchat_common::protocol::line::refusals::NO_USER_NAMED;
use forkchat_common::protocol::line::tagged::{Kind, Tagged};
use std::time::{Duration, Instant};

/// How long a message waits for its receiver.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// How often a message is sent again. The receiver may have come back into rooms that this client
/// doesn't see.
const RETRY_INTERVAL: Duration = Duration::from_secs(3);

/// Messages that wait for their receivers.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    lines: Vec<Line>,
    retry_at: Option<Instant>,
}

impl Deferred {
    /// The messages, in the order in which they were typed.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// When the messages are to be sent again, if there are any.
    pub fn retry_at(&self) -> Option<Instant> {
        self.retry_at.filter(|_| !self.lines.is_empty())
    }

    pub fn take(&mut self) -> Vec<Line> {
        std::mem::take(&mut self.lines)
    }
}

impl Conversation {
    /// Keeps a message that the server refused because its receiver has not reconnected yet.
    /// Returns the line if it is to be treated as answered instead.
    pub(super) fn defer_if_absent(
        &mut self,
        mut line: Line,
        answer: &Tagged<'_>,
        now: Instant,
    ) -> Option<Line> {
        let is_absent = answer.event == Kind::Error && answer.text().starts_with(NO_USER_NAMED);
        if !is_absent || !line.is_from_outage || line.request != Request::Message {
            return Some(line);
        }
        let until = *line.retried_until.get_or_insert(now + WAIT_MAX);
        if now >= until {
            self.show_undelivered(std::iter::once(&line), DeliveryState::NotSent);
            return Some(line);
        }
        if line.tries == 1
            && let Some(nick) = receiver_of(&line)
        {
            self.notice(format!(
                "{nick} is not back yet; retrying your message for {} s",
                WAIT_MAX.as_secs()
            ));
        }
        self.deferred.lines.push(line);
        self.deferred.retry_at = Some(now + RETRY_INTERVAL);
        None
    }

    /// Keeps a message if earlier messages to the same receiver wait, so that they arrive in order.
    /// Returns the line if it can be sent now.
    pub(super) fn defer_after_others(&mut self, mut line: Line) -> Option<Line> {
        let has_same_receiver = |other: &&Line| {
            line.request == Request::Message
                && receiver_of(other).map(key_of) == receiver_of(&line).map(key_of)
        };
        let Some(until) =
            self.deferred.lines.iter().find(has_same_receiver).map(|other| other.retried_until)
        else {
            return Some(line);
        };
        (line.is_from_outage, line.retried_until) = (true, until);
        self.deferred.lines.push(line);
        None
    }

    /// Queues the messages to users whom this line shows to be connected.
    pub(super) fn send_deferred_to(&mut self, received: &Received) {
        if self.deferred.lines.is_empty()
            || received.kind == Some(Kind::Quit)
            || received.to.is_some()
        {
            return;
        }
        let seen: Vec<_> =
            received.nick.iter().chain(&received.target).map(|nick| key_of(nick)).collect();
        let is_seen =
            |line: &mut Line| receiver_of(line).is_some_and(|nick| seen.contains(&key_of(nick)));
        let lines = self.deferred.lines.extract_if(.., is_seen).collect();
        self.queue.push_front(lines);
    }

    /// Sends all messages again when it is time to.
    pub(super) fn retry_deferred(&mut self, now: Instant) {
        if self.deferred.retry_at().is_some_and(|at| now >= at) {
            let lines = self.deferred.take();
            self.queue.push_front(lines);
            self.send_queued(now);
        }
    }
}

fn receiver_of(line: &Line) -> Option<&str> {
    let arguments = parse(&line.text).ok()??.arguments_of("msg")?;
    Some(word_and_text(arguments)?.0)
}
