//! Private messages that were typed during an outage and whose receiver has not reconnected yet.
//! The session sends them again when it sees the receiver, and every few seconds. After a time
//! limit it shows the server's refusal.

use super::entry::DeliveryState;
use super::line::{Line, Request};
use super::{Conversation, Received};
use forkchat_common::names::key_of;
use forkchat_common::protocol::line::command::{Command, parse};
use forkchat_common::protocol::line::render::NO_USER_NAMED;
use forkchat_common::protocol::line::tagged::{Kind, Tagged};
use std::time::{Duration, Instant};

/// How long a receiver is waited for.
const WAIT: Duration = Duration::from_secs(30);
/// A receiver may come back unseen, into other rooms.
const AGAIN: Duration = Duration::from_secs(3);

/// Messages whose receiver is waited for.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    held: Vec<Line>,
    /// When they are sent again.
    again: Option<Instant>,
}

impl Deferred {
    /// The messages, in the order in which they were typed.
    pub fn held(&self) -> &[Line] {
        &self.held
    }

    /// When they are sent again, if there are any.
    pub fn again(&self) -> Option<Instant> {
        self.again.filter(|_| !self.held.is_empty())
    }

    /// Takes all of them.
    pub fn take(&mut self) -> Vec<Line> {
        std::mem::take(&mut self.held)
    }
}

impl Conversation {
    /// Whether a line was refused only because its receiver is not back yet: then it is kept.
    /// Otherwise gives it back.
    pub(super) fn kept_for_absent(
        &mut self,
        mut line: Line,
        told: &Tagged<'_>,
        now: Instant,
    ) -> Option<Line> {
        let is_absent = told.event == Kind::Error && told.text().starts_with(NO_USER_NAMED);
        if !is_absent || !line.is_from_outage || line.asks != Request::Message {
            return Some(line);
        }
        let until = *line.retried_until.get_or_insert(now + WAIT);
        if now >= until {
            self.show_all(std::iter::once(&line), DeliveryState::NotSent);
            return Some(line);
        }
        if line.tries == 1
            && let Some(nick) = receiver(&line)
        {
            self.notice(format!(
                "{nick} is not back yet; retrying your message for {} s",
                WAIT.as_secs()
            ));
        }
        self.deferred.held.push(line);
        self.deferred.again = Some(now + AGAIN);
        None
    }

    /// Keeps a message that is typed after others to the same absent receiver, so that they arrive
    /// in order.
    pub(super) fn kept_after_others(&mut self, mut line: Line) -> Option<Line> {
        let is_same = |held: &&Line| {
            line.asks == Request::Message
                && receiver(held).map(key_of) == receiver(&line).map(key_of)
        };
        let Some(until) = self.deferred.held.iter().find(is_same).map(|held| held.retried_until)
        else {
            return Some(line);
        };
        (line.is_from_outage, line.retried_until) = (true, until);
        self.deferred.held.push(line);
        None
    }

    /// Sends messages again whose receiver was just seen.
    pub(super) fn look_for_absent(&mut self, told: &Received) {
        if self.deferred.held.is_empty() || told.kind == Some(Kind::Quit) || told.to.is_some() {
            return;
        }
        let seen: Vec<_> = told.nick.iter().chain(&told.target).map(|nick| key_of(nick)).collect();
        let is_back =
            |line: &mut Line| receiver(line).is_some_and(|nick| seen.contains(&key_of(nick)));
        let back = self.deferred.held.extract_if(.., is_back).collect();
        self.queue_again(back);
    }

    /// Sends all of them again, for the case that a receiver came back unseen.
    pub(super) fn try_absent_again(&mut self, now: Instant) {
        if self.deferred.again().is_some_and(|at| now >= at) {
            let held = self.deferred.take();
            self.queue_again(held);
            self.proceed(now);
        }
    }
}

fn receiver(line: &Line) -> Option<&str> {
    match parse(&line.text) {
        Ok(Some((_, Command::Msg { nick, .. }))) => Some(nick),
        _ => None,
    }
}
