//! Detection of lost datagrams and lost sessions over UDP. Datagrams are numbered, and the answer
//! to a `/ping` proves that earlier lines were processed or lost.
//!
//! A line without an echo did not arrive if a later `/ping` was answered and no datagram is missing
//! since the line was sent; then it is sent again. If a datagram is missing, it may have carried
//! the echo, so the line is in doubt. A session that does not answer at all is abandoned.

use super::entry::DeliveryState;
use super::line::{Fence, Line, Purpose};
use super::{Conversation, Output, Phase};
use forkchat_common::protocol::line::tagged::{Kind, Tagged};
use std::time::{Duration, Instant};

/// A sign of life after so much silence: the server ends a session after 120 s, and a router
/// forgets it earlier.
const AFTER: Duration = Duration::from_secs(25);
/// An answer that isn't there after this is looked for, and again.
const AGAIN: Duration = Duration::from_secs(2);
const TRIES_MAX: u32 = 6;
/// A line is sent so often, then it is in doubt whatever the signs say.
const LINE_TRIES_MAX: u32 = 5;
/// The text of the pings; long enough that also a server that doesn't know the session answers
/// (with a cookie).
const TOKEN: &str = "forkchat-client-alive-";

/// What is remembered of the connection.
#[derive(Debug)]
pub(super) struct Keepalive {
    last_datagram: u64,
    gaps: u64,
    last_sent: Instant,
    pings: u64,
    tries: u32,
    /// The server told something that may be the end of the session, and was not asked since.
    is_in_doubt: bool,
}

impl Keepalive {
    pub fn new(now: Instant) -> Keepalive {
        Keepalive {
            last_datagram: 0,
            gaps: 0,
            last_sent: now,
            pings: 0,
            tries: 0,
            is_in_doubt: false,
        }
    }

    pub fn connected(&mut self, now: Instant) {
        (self.last_datagram, self.last_sent, self.tries, self.is_in_doubt) = (0, now, 0, false);
    }

    pub fn sent(&mut self, now: Instant) {
        self.last_sent = now;
    }

    /// How many gaps were noticed so far.
    pub fn gaps(&self) -> u64 {
        self.gaps
    }

    /// Why the session was given up, if it was.
    pub fn given_up(&self) -> Option<&'static str> {
        (self.tries > TRIES_MAX).then_some("the server no longer answers")
    }
}

impl Conversation {
    /// Notices missing datagrams. One that is late or comes twice is no loss.
    pub(super) fn count_datagram(&mut self, told: &Tagged<'_>) {
        let Some(number) = told.datagram else { return };
        let last = self.keepalive.last_datagram;
        if last > 0 && number > last && number - last > 1 {
            self.keepalive.gaps += 1;
            let missing = number - last - 1;
            let (count, were) = if missing == 1 {
                ("a".to_owned(), " was")
            } else {
                (missing.to_string(), "s were")
            };
            self.notice(format!("{count} datagram{were} lost; some lines are missing here"));
        }
        // A restarted server counts from 1.
        if number > last || number == 1 {
            self.keepalive.last_datagram = number;
        }
    }

    /// The server sent a line that is no answer. It may be its goodbye, and over UDP no end of the
    /// connection follows. So the session soon checks whether the server still answers. A forged
    /// line causes no more than this check.
    pub(super) fn doubt_session(&mut self, told: &Tagged<'_>) {
        self.keepalive.is_in_doubt |=
            told.to.is_none() && matches!(told.event, Kind::Reply | Kind::Error);
    }

    /// When the next sign of life is due.
    pub(super) fn next_sign_of_life(&self) -> Option<Instant> {
        match self.phase {
            _ if !self.config.udp => return None,
            Phase::LoggingIn | Phase::RetryingNick(_) | Phase::Resolving | Phase::Ready => {}
            Phase::Leaving(_) => return Some(self.keepalive.last_sent + AGAIN / 2),
            _ => return None,
        }
        let overdue = self
            .in_flight
            .iter()
            .filter_map(|line| line.sent)
            .min()
            .map(|sent| (sent + AGAIN).max(self.keepalive.last_sent + AGAIN / 2));
        Some(match overdue {
            Some(_) if self.keepalive.tries > 0 => self.keepalive.last_sent + AGAIN,
            Some(at) => at,
            None if self.keepalive.is_in_doubt => self.keepalive.last_sent + AGAIN,
            None => self.keepalive.last_sent + AFTER,
        })
    }

    /// Request for a sign of life, or gives up.
    pub(super) fn show_life(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Leaving(_)) {
            return self.send_for("/quit", Purpose::Goodbye, now);
        }
        (self.keepalive.tries, self.keepalive.is_in_doubt) = (self.keepalive.tries + 1, false);
        if self.keepalive.given_up().is_some() {
            return self.push(Output::Close);
        }
        self.keepalive.pings += 1;
        self.send_for(
            &format!("/ping {TOKEN}{}", self.keepalive.pings),
            Purpose::Fence(Fence::Keepalive),
            now,
        );
    }

    /// Whether the server told an answer to a sign of life; lines that it overtook are judged.
    pub(super) fn is_sign_of_life(&mut self, told: &Tagged<'_>, now: Instant) -> bool {
        if told.event != Kind::Pong || !told.text().starts_with(TOKEN) {
            return false;
        }
        self.keepalive.tries = 0;
        let overtaken =
            self.in_flight.overtaken(&format!("/ping {}", told.text())).unwrap_or_default();
        let is_login = |line: &Line| {
            !matches!(
                line.purpose,
                Purpose::Typed | Purpose::Names | Purpose::Fence(Fence::Keepalive)
            )
        };
        let is_login_lost = overtaken.iter().any(is_login);
        let mut again = Vec::new();
        for line in overtaken.into_iter().filter(Line::is_typed) {
            // Doing a command twice is invisible, but missing its answer would leave name and rooms
            // unknown.
            if (line.gaps == self.keepalive.gaps || line.is_repeatable())
                && line.tries < LINE_TRIES_MAX
            {
                again.push(line);
            } else {
                self.show_all(std::iter::once(&line), DeliveryState::InDoubt);
            }
        }
        self.send_again(again);
        match self.phase {
            Phase::LoggingIn | Phase::RetryingNick(_) if is_login_lost => self.log_in(now),
            Phase::Resolving if is_login_lost => self.ask_or_doubt(now),
            _ => {}
        }
        true
    }

    /// Whether a line without tags answers a sign of life: then `/set tags on` was lost, and the
    /// login with it.
    pub(super) fn is_untagged_sign_of_life(&mut self, line: &str, now: Instant) -> bool {
        let is_sign = self.config.udp
            && line.strip_prefix("* pong ").is_some_and(|text| text.starts_with(TOKEN));
        if is_sign {
            self.keepalive.tries = 0;
            let in_flight = self.in_flight.take();
            self.doubtful.extend(in_flight.into_iter().filter(Line::is_typed));
            self.log_in(now);
        }
        is_sign
    }
}
