//! Sending lines: in order, with a limit on the lines in flight, each kept until the server has
//! accepted it; and the display of lines that wait.

use super::line::{Line, Purpose};
use super::{Conversation, DeliveryState, Entry, Output, Phase, WAITING, lines_of};
use forkchat_common::limits::LINE_BYTES_MAX;
use forkchat_common::protocol::line::command::{Command, Setting, parse};
use std::time::Instant;

/// Lines and bytes in flight at most: more would only fill the server's buffers, and be in doubt if
/// the connection were lost.
const IN_FLIGHT_LINES_MAX: usize = 64;
const IN_FLIGHT_BYTES_MAX: usize = 16 * 1024;
/// Over UDP nothing holds a sender back, so fewer.
const IN_FLIGHT_DATAGRAMS_MAX: usize = 16;
/// Bytes typed and not yet sent at most; what is typed beyond is refused.
const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Lines that wait are shown one by one up to so many in the same time, then they are counted.
const WAITING_SHOWN_MAX: usize = 5;

impl Conversation {
    /// Whether as many lines wait as should: a source that can be held back is.
    pub fn is_full(&self) -> bool {
        self.queue.len() >= IN_FLIGHT_LINES_MAX
    }

    /// Why a line can't be sent by this client.
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
        if self.queue_bytes + text.len() > QUEUE_BYTES_MAX {
            return Some(format!(
                "line not sent: already waiting to send {}; try again later",
                lines_of(self.queue.len())
            ));
        }
        match parse(text) {
            Ok(Some((_, Command::Set(Setting::Echo | Setting::Tags, _)))) => {
                Some("this client needs echo and tags on; they can be switched only with nc or in programs".to_owned())
            }
            Ok(Some((_, Command::Charset(_)))) => {
                Some("the charset can be chosen only at the start: forkchat-client --charset NAME".to_owned())
            }
            _ => None,
        }
    }

    /// Sends what may be sent now, and quits after the last line.
    pub(super) fn proceed(&mut self, now: Instant) {
        if self.phase != Phase::Ready {
            return;
        }
        let lines_max = if self.config.udp { IN_FLIGHT_DATAGRAMS_MAX } else { IN_FLIGHT_LINES_MAX };
        while self.in_flight.len() < lines_max && self.in_flight.bytes() < IN_FLIGHT_BYTES_MAX {
            // After a command that changes the room or quits it is unknown where the next line
            // would be said, and, after a loss, where to look for it.
            if self.in_flight.iter().any(Line::moves) {
                break;
            }
            let Some(line) = self.queue.pop_front() else { break };
            self.queue_bytes -= line.text.len();
            if let Some(line) = self.kept_after_others(line) {
                self.send(line, now);
            }
        }
        let is_quitting = || self.in_flight.iter().chain(&self.queue).any(Line::is_quit);
        if self.input_ended.is_some() && self.unaccepted() == 0 && !is_quitting() {
            self.leave(now);
        }
    }

    pub(super) fn send_for(&mut self, text: &str, purpose: Purpose, now: Instant) {
        if let Some(line) = Line::new(text, purpose, now) {
            self.send(line, now);
        }
    }

    fn send(&mut self, mut line: Line, now: Instant) {
        line.room = self.current.clone();
        line.key.clone_from(&self.key);
        line.sent = Some(now);
        line.gaps = self.keepalive.gaps();
        line.tries += 1;
        let mut bytes = Vec::new();
        self.send_charset.encode(&line.text, &mut bytes);
        line.arrives_as.clear();
        self.send_charset.decode(&bytes, &mut line.arrives_as);
        bytes.push(b'\n');
        self.keepalive.sent(now);
        self.note_history_wish(&line);
        self.push(Output::Send(bytes));
        self.in_flight.push(line);
    }

    /// Shows lines that have waited for a while, and without a connection all of them. Of many
    /// lines, as after a paste, it shows only the number.
    pub(super) fn tell_waiting(&mut self, now: Instant) {
        let is_offline = self.is_offline();
        let is_due = |line: &Line| {
            line.is_typed() && !line.is_told && (is_offline || now >= line.typed + WAITING)
        };
        if !self.config.interactive || !self.in_flight.iter().chain(&self.queue).any(is_due) {
            return;
        }
        if now >= self.waiting_shown.0 + WAITING {
            self.waiting_shown = (now, 0);
        }
        let is_untold = |line: &&mut Line| line.is_typed() && !line.is_told;
        let told: Vec<Entry> = (self.in_flight.iter_mut().chain(&mut self.queue).filter(is_untold))
            .map(|line| {
                line.is_told = true;
                line.shown(DeliveryState::Waiting)
            })
            .collect();
        let shown_before = self.waiting_shown.1;
        self.waiting_shown.1 += told.len();
        if self.waiting_shown.1 <= WAITING_SHOWN_MAX {
            told.into_iter().for_each(|shown| self.show(shown));
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
            .chain(&self.queue)
            .chain(&self.doubtful)
            .chain(self.deferred.held())
            .filter(|line| line.is_typed() && !line.is_quit())
            .count()
    }
}
