//! Detection of lost datagrams and dead sessions over UDP. Datagrams are numbered. The client sends
//! a `/ping` when it waits for an answer or was silent for long; the answer proves that the server
//! has processed earlier lines, or that they were lost.
//!
//! A line without an echo did not arrive if a later `/ping` was answered and no datagram is missing
//! since the line was sent. The client then sends it again. If a datagram is missing, it may have
//! carried the echo, so the line is in doubt. If the server does not answer at all, the client
//! closes the connection and reconnects.

use super::line::{Fence, Line, Purpose};
use super::{Conversation, DeliveryState, Output, Phase};
use forkchat_common::protocol::line::tagged::{Kind, Tagged};
use std::time::{Duration, Instant};

/// A ping follows after this much silence. The server ends a silent session after 120 s, and a
/// router forgets it earlier.
const IDLE_INTERVAL: Duration = Duration::from_secs(25);
/// How long to wait for an answer before the next ping.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// The session is dead if this many pings in a row got no answer.
const PINGS_MAX: u32 = 6;
/// A line is sent at most this often. Then it is in doubt.
const LINE_TRIES_MAX: u32 = 5;
/// The text of the pings. It is so long that a server that doesn't know the session may answer,
/// with a cookie.
const TOKEN: &str = "forkchat-client-alive-";

/// The state of the UDP session.
#[derive(Debug)]
pub(super) struct Keepalive {
    /// The number of the last datagram; 0 before the first.
    last_datagram: u64,
    /// How many gaps in the numbers the client has noticed.
    gaps: u64,
    last_sent: Instant,
    /// How many pings were sent, to number them.
    pings: u64,
    /// How many pings were sent since the last answer.
    unanswered: u32,
    /// The server sent what may be its goodbye, and the client has sent no ping since.
    is_suspicious: bool,
}

impl Keepalive {
    pub fn new(now: Instant) -> Keepalive {
        Keepalive {
            last_datagram: 0,
            gaps: 0,
            last_sent: now,
            pings: 0,
            unanswered: 0,
            is_suspicious: false,
        }
    }

    pub fn connected(&mut self, now: Instant) {
        (self.last_datagram, self.last_sent, self.unanswered, self.is_suspicious) =
            (0, now, 0, false);
    }

    pub fn sent(&mut self, now: Instant) {
        self.last_sent = now;
    }

    /// How many gaps in the numbers of datagrams the client has noticed.
    pub fn gaps(&self) -> u64 {
        self.gaps
    }

    /// Why the session is considered dead, if it is.
    pub fn failure(&self) -> Option<&'static str> {
        (self.unanswered > PINGS_MAX).then_some("the server no longer answers")
    }
}

impl Conversation {
    /// Notices missing datagrams. A datagram that comes late or twice is no loss.
    pub(super) fn count_datagram(&mut self, tagged: &Tagged<'_>) {
        let Some(number) = tagged.datagram else { return };
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
    /// connection follows. So the client soon checks whether the server still answers. A forged
    /// line causes no more than this check.
    pub(super) fn suspect_goodbye(&mut self, tagged: &Tagged<'_>) {
        self.keepalive.is_suspicious |=
            tagged.to.is_none() && matches!(tagged.event, Kind::Reply | Kind::Error);
    }

    /// When the next ping is due.
    pub(super) fn next_keepalive(&self) -> Option<Instant> {
        let last_sent = self.keepalive.last_sent;
        match self.phase {
            _ if !self.config.udp => return None,
            Phase::LoggingIn | Phase::RetryingNick(_) | Phase::Resolving | Phase::Ready => {}
            Phase::Leaving(_) => return Some(last_sent + RETRY_INTERVAL / 2),
            _ => return None,
        }
        let overdue = self
            .in_flight
            .iter()
            .filter_map(|line| line.sent_at)
            .min()
            .map(|sent| (sent + RETRY_INTERVAL).max(last_sent + RETRY_INTERVAL / 2));
        Some(match overdue {
            Some(_) if self.keepalive.unanswered > 0 => last_sent + RETRY_INTERVAL,
            Some(at) => at,
            None if self.keepalive.is_suspicious => last_sent + RETRY_INTERVAL,
            None => last_sent + IDLE_INTERVAL,
        })
    }

    /// Sends a ping, or closes the connection if too many were not answered. While leaving it sends
    /// `/quit` again instead.
    pub(super) fn send_keepalive(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Leaving(_)) {
            return self.send_for("/quit", Purpose::Goodbye, now);
        }
        (self.keepalive.unanswered, self.keepalive.is_suspicious) =
            (self.keepalive.unanswered + 1, false);
        if self.keepalive.failure().is_some() {
            return self.push(Output::Close);
        }
        self.keepalive.pings += 1;
        self.send_for(
            &format!("/ping {TOKEN}{}", self.keepalive.pings),
            Purpose::Fence(Fence::Keepalive),
            now,
        );
    }

    /// Whether a line is the answer to a ping. If so, decides what becomes of the lines that were
    /// sent before the ping and have no answer.
    pub(super) fn is_keepalive_answer(&mut self, tagged: &Tagged<'_>, now: Instant) -> bool {
        if tagged.event != Kind::Pong || !tagged.text().starts_with(TOKEN) {
            return false;
        }
        self.keepalive.unanswered = 0;
        let overtaken =
            self.in_flight.take_overtaken(&format!("/ping {}", tagged.text())).unwrap_or_default();
        let is_of_login = |line: &Line| {
            !matches!(
                line.purpose,
                Purpose::Typed | Purpose::Names | Purpose::Fence(Fence::Keepalive)
            )
        };
        let is_login_lost = overtaken.iter().any(is_of_login);
        let mut again = Vec::new();
        for line in overtaken.into_iter().filter(Line::is_typed) {
            // Others don't see that a command was done twice. Without its answer the client would
            // not know the nickname and the rooms.
            let may_repeat = line.gaps_before == self.keepalive.gaps || line.is_repeatable();
            if may_repeat && line.tries < LINE_TRIES_MAX {
                again.push(line);
            } else {
                self.show_undelivered(std::iter::once(&line), DeliveryState::InDoubt);
            }
        }
        self.send_again(again);
        match self.phase {
            Phase::LoggingIn | Phase::RetryingNick(_) if is_login_lost => self.log_in(now),
            Phase::Resolving if is_login_lost => self.read_histories_or_give_up(now),
            _ => {}
        }
        true
    }

    /// Whether a line without tags is the answer to a ping. If so, `/set tags on` was lost, and the
    /// login is repeated.
    pub(super) fn is_untagged_keepalive(&mut self, line: &str, now: Instant) -> bool {
        let is_answer = self.config.udp
            && line.strip_prefix("* pong ").is_some_and(|text| text.starts_with(TOKEN));
        if is_answer {
            self.keepalive.unanswered = 0;
            let in_flight = self.in_flight.take();
            self.in_doubt.extend(in_flight.into_iter().filter(Line::is_typed));
            self.log_in(now);
        }
        is_answer
    }
}
