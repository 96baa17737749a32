//! Sends typed lines, in order and with a limit on the lines in flight, and shows those that wait
//! for long.

use super::line::{Line, Purpose};
use super::{Conversation, DeliveryState, Entry, Output, Phase, lines_of};
use forkchat_common::limits::LINE_BYTES_MAX;
use forkchat_common::protocol::line::input::{Input, parse};
use forkchat_common::protocol::line::settings::{Setting, parse_setting};
use std::time::{Duration, Instant};

/// Limits on the lines in flight. More lines would only fill the server's buffers, and be in doubt
/// after a lost connection.
const IN_FLIGHT_LINES_MAX: usize = 64;
const IN_FLIGHT_BYTES_MAX: usize = 16 * 1024;
/// Over UDP there is no flow control, so the limit is lower.
const IN_FLIGHT_DATAGRAMS_MAX: usize = 16;
/// The client refuses typed lines when this many bytes wait to be sent.
const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A line that isn't accepted after this is shown as waiting.
const SHOWN_WAITING_AFTER: Duration = Duration::from_secs(1);
/// Of the lines that begin to wait within [`SHOWN_WAITING_AFTER`], at most this many are shown one
/// by one. Of more lines the client shows only the number.
const WAITING_SHOWN_MAX: usize = 5;

/// How many lines were shown as waiting of late.
#[derive(Debug)]
pub(super) struct WaitingDisplay {
    since: Instant,
    shown: usize,
}

impl WaitingDisplay {
    pub fn new(now: Instant) -> WaitingDisplay {
        WaitingDisplay { since: now, shown: 0 }
    }
}

impl Conversation {
    /// Whether enough lines wait. The caller should read no more from a file or pipe.
    pub fn is_queue_full(&self) -> bool {
        self.queue.len() >= IN_FLIGHT_LINES_MAX
    }

    /// Why the client does not send this line, if so.
    pub(super) fn objection(&self, text: &str) -> Option<String> {
        let mut bytes = Vec::new();
        self.config.charset.encode(text, &mut bytes);
        if bytes.len() >= LINE_BYTES_MAX {
            return Some(format!(
                "line too long: {} bytes, at most {} are allowed; not sent, split it into parts",
                bytes.len(),
                LINE_BYTES_MAX - 1
            ));
        }
        if self.queue.bytes() + text.len() > QUEUE_BYTES_MAX {
            return Some(format!(
                "line not sent: already waiting to send {}; try again later",
                lines_of(self.queue.len())
            ));
        }
        let Ok(Some(Input::Command(row, arguments))) = parse(text) else { return None };
        let why = match (row.name, parse_setting(arguments)) {
            ("set", Some((Setting::Echo | Setting::Tags, _))) => {
                "this client needs echo and tags on; \
                 they can be switched only with nc or in programs"
            }
            ("charset", _) if !arguments.is_empty() => {
                "the charset can be chosen only at the start: forkchat-client --charset NAME"
            }
            _ => return None,
        };
        Some(why.to_owned())
    }

    /// Sends as many queued lines as the limits allow. After the end of the input and the last
    /// accepted line it quits.
    pub(super) fn send_queued(&mut self, now: Instant) {
        if self.phase != Phase::Ready {
            return;
        }
        let lines_max = if self.config.udp { IN_FLIGHT_DATAGRAMS_MAX } else { IN_FLIGHT_LINES_MAX };
        while self.in_flight.len() < lines_max && self.in_flight.bytes() < IN_FLIGHT_BYTES_MAX {
            // Until the answer to such a command the client does not know where the server would
            // say the next line, nor, after an outage, in which history to look for it.
            if self.in_flight.iter().any(Line::changes_identity) {
                break;
            }
            let Some(line) = self.queue.pop() else { break };
            if let Some(line) = self.defer_after_others(line) {
                self.send(line, now);
            }
        }
        let is_quitting = || self.in_flight.iter().chain(self.queue.iter()).any(Line::is_quit);
        if self.input_ended_at.is_some() && self.unaccepted() == 0 && !is_quitting() {
            self.leave(now);
        }
    }

    /// Sends a line of the client's own.
    pub(super) fn send_for(&mut self, text: &str, purpose: Purpose, now: Instant) {
        if let Some(line) = Line::new(text, purpose, now) {
            self.send(line, now);
        }
    }

    fn send(&mut self, mut line: Line, now: Instant) {
        line.room = self.identity.current_room.clone();
        line.nick_key.clone_from(&self.identity.nick_key);
        line.sent_at = Some(now);
        line.gaps_before = self.keepalive.gaps();
        line.tries += 1;
        let mut bytes = Vec::new();
        self.send_charset.encode(&line.text, &mut bytes);
        line.encoded_text.clear();
        self.send_charset.decode(&bytes, &mut line.encoded_text);
        bytes.push(b'\n');
        self.keepalive.sent(now);
        self.resolution.note_sent(&line);
        self.push(Output::Send(bytes));
        self.in_flight.push(line);
    }

    /// When [`Conversation::show_waiting`] next has a line to show, if it will.
    pub(super) fn waiting_shown_next(&self) -> Option<Instant> {
        self.queue
            .iter()
            .chain(self.in_flight.iter())
            .filter(|line| self.config.interactive && line.is_typed() && !line.is_shown_waiting)
            .map(|line| line.typed_at + SHOWN_WAITING_AFTER)
            .min()
    }

    /// Shows lines that have waited for long; without a connection, all of them. Of many lines,
    /// such as a paste, it shows only the number.
    pub(super) fn show_waiting(&mut self, now: Instant) {
        let is_offline = self.is_offline();
        let is_due = |line: &Line| {
            line.is_typed()
                && !line.is_shown_waiting
                && (is_offline || now >= line.typed_at + SHOWN_WAITING_AFTER)
        };
        if !self.config.interactive || !self.in_flight.iter().chain(self.queue.iter()).any(is_due) {
            return;
        }
        if now >= self.waiting.since + SHOWN_WAITING_AFTER {
            self.waiting = WaitingDisplay::new(now);
        }
        let entries: Vec<Entry> = (self.in_flight.iter_mut().chain(self.queue.iter_mut()))
            .filter(|line| line.is_typed() && !line.is_shown_waiting)
            .map(|line| {
                line.is_shown_waiting = true;
                line.entry(DeliveryState::Waiting)
            })
            .collect();
        let shown_before = self.waiting.shown;
        self.waiting.shown += entries.len();
        if self.waiting.shown <= WAITING_SHOWN_MAX {
            entries.into_iter().for_each(|entry| self.show(entry));
        } else if shown_before <= WAITING_SHOWN_MAX {
            self.notice(format!(
                "waiting for the server to accept {}",
                lines_of(self.unaccepted())
            ));
        }
    }

    /// How many typed lines are not accepted.
    pub(super) fn unaccepted(&self) -> usize {
        self.in_flight
            .iter()
            .chain(self.queue.iter())
            .chain(&self.in_doubt)
            .chain(self.deferred.lines())
            .filter(|line| line.is_typed() && !line.is_quit())
            .count()
    }
}
