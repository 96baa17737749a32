//! What becomes of a line from the server: which of the client's lines it answers, what it changes,
//! and whether it is shown.

use super::entry::{DeliveryState, Entry, Received};
use super::line::{Line, Purpose};
use super::{Conversation, Phase};
use forkchat_common::names::key_of;
use forkchat_common::protocol::line::input::{Input, begins_with_lookalike, parse};
use forkchat_common::protocol::line::settings::{Setting, parse_setting};
use forkchat_common::protocol::line::tagged::{Kind, Tagged};
use std::time::Instant;

impl Conversation {
    /// The server sent a line: its bytes, without the line's end.
    pub fn handle_line(&mut self, bytes: &[u8], now: Instant) {
        let mut line = String::new();
        self.receive_charset.decode(bytes, &mut line);
        match Tagged::parse(&line) {
            Some(tagged) => self.handle_tagged(&tagged, now),
            None => self.handle_untagged(&line, now),
        }
    }

    /// The server sends lines without tags until `/set tags on` is done.
    fn handle_untagged(&mut self, line: &str, now: Instant) {
        if self.is_untagged_keepalive(line, now) {
            return;
        }
        // After an outage the welcome names a nickname that the client will not keep, so it isn't
        // shown. A refusal is.
        if self.phase == Phase::LoggingIn && self.login.is_return() && !line.starts_with("! ") {
            return;
        }
        let mut received = Received::untagged(line);
        received.kind = (self.phase == Phase::LoggingIn).then_some(Kind::Welcome);
        self.show(Entry::Received(received));
    }

    fn handle_tagged(&mut self, tagged: &Tagged<'_>, now: Instant) {
        self.count_datagram(tagged);
        self.suspect_goodbye(tagged);
        if self.is_keepalive_answer(tagged, now) {
            return self.send_queued(now);
        }
        let is_own =
            tagged.nick.as_deref().is_some_and(|nick| key_of(nick) == self.identity.nick_key);
        let is_in_no_room = self.identity.current_room.is_none();
        let mut answered =
            self.in_flight.take_answered(tagged, is_own, self.config.udp, is_in_no_room);
        if let Some(line) = answered.take() {
            answered = self.defer_if_absent(line, tagged, now);
            if answered.is_none() {
                return self.send_queued(now);
            }
        }
        if tagged.event != Kind::Error {
            self.identity.update(tagged);
            if is_own {
                self.resolution.note_echo(tagged);
            }
            self.known_names.learn(tagged, &self.identity.nick_key);
        }
        let mut received = Received::tagged(tagged);
        received.is_own = answered.is_some() && received.to.is_none() && is_own;
        // Lines of an answer, such as a history, do not ring the bell.
        received.is_for_me =
            !is_own && received.to.is_none() && self.identity.is_addressed_by(&received);
        if received.to.as_deref() != Some("history") {
            self.catch_up.note(&received);
        }
        self.send_deferred_to(&received);
        if !self.is_history(tagged, &received, now) && self.is_shown(tagged, answered.as_ref()) {
            self.show_in_order(received);
        }
        if let Some(line) = answered {
            self.show_if_refused(&line, tagged);
            self.handle_answer(&line, tagged, now);
        }
        self.send_queued(now);
    }

    /// In a filter, shows a line for others that the server refused as not sent. The line counts as
    /// undelivered, which determines the exit code.
    fn show_if_refused(&mut self, line: &Line, tagged: &Tagged<'_>) {
        // A filter executes a line that starts with a slash. A line that starts with a character
        // that only looks like one was meant for others.
        let is_for_others = line.request.is_visible() || begins_with_lookalike(&line.text);
        if !self.config.interactive
            && tagged.event == Kind::Error
            && line.is_typed()
            && is_for_others
        {
            self.show_undelivered(std::iter::once(line), DeliveryState::NotSent);
        }
    }

    /// Whether to show a received line. Answers to the client's own requests are not shown. The
    /// further lines of an answer are treated like its first line.
    fn is_shown(&mut self, tagged: &Tagged<'_>, answered: Option<&Line>) -> bool {
        let to = tagged.to.clone().unwrap_or_default();
        let Some(line) = answered else {
            return self
                .last_answer
                .as_ref()
                .is_none_or(|(last, id, shown)| *last != to || *id != tagged.id || *shown);
        };
        let is_shown = match line.purpose {
            Purpose::Typed | Purpose::Goodbye => true,
            Purpose::Room => tagged.event == Kind::Error || !self.login.is_return(),
            Purpose::Nick => !self.login.is_return(),
            _ => false,
        };
        if tagged.to.is_some() {
            self.last_answer = Some((to, tagged.id, is_shown));
        }
        is_shown
    }

    /// The server executed a typed command.
    pub(super) fn handle_executed(&mut self, line: &Line, now: Instant) {
        let Ok(Some(Input::Command(row, arguments))) = parse(&line.text) else { return };
        match (row.name, parse_setting(arguments)) {
            ("set", Some((Setting::Joins, is_on))) => self.joins_setting = Some(is_on),
            ("join", _) => self.request_names(now),
            ("quit", _) => self.end(),
            _ => {}
        }
    }

    /// Asks for the names in the current room, for completion.
    pub(super) fn request_names(&mut self, now: Instant) {
        if self.config.interactive && self.identity.current_room.is_some() {
            self.send_for("/who", Purpose::Names, now);
        }
    }
}
