//! Input of a session that waits. A request to a service, or a list that is sent in parts, may have
//! the session's further input wait until it is complete: so answers come in the order of the
//! commands. For TCP what follows waits in the kernel, as far as the receive side knows in time; the
//! rest, and what came in one datagram, waits here.

use super::Chat;
use super::deliver::{Deliveries, Out};
use super::effect::Effect;
use super::lists::List;
use super::record::{CloseReason, Fact};
use forkchat_common::event::{Event, Refusal};
use forkchat_common::ids::{RecordId, SessionId};
use forkchat_common::limits::WAITING_LINES_BYTES_MAX;
use serde::{Deserialize, Serialize};

/// What a waiting line takes besides its bytes.
const LINE_BYTES: usize = 32;

/// What a session waits for, and what it has sent meanwhile.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Waiting {
    pub until: Awaited,
    lines: Vec<WaitingLine>,
    lines_bytes: usize,
    /// The end of its input came, too.
    has_input_ended: bool,
}

/// What the input of a session waits for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Awaited {
    /// The answer to the request with this name.
    Answer(RecordId),
    /// The last part of a list.
    List(List),
}

/// A line that waits, as it was recorded.
#[derive(Debug, Serialize, Deserialize)]
enum WaitingLine {
    Line(#[serde(with = "serde_bytes")] Vec<u8>),
    Begins(#[serde(with = "serde_bytes")] Vec<u8>),
    TooLong,
}

impl Waiting {
    pub fn new(until: Awaited) -> Box<Waiting> {
        Box::new(Waiting { until, lines: Vec::new(), lines_bytes: 0, has_input_ended: false })
    }

    /// Keeps a line for later. False if there are too many.
    fn add(&mut self, fact: Fact<'_>) -> bool {
        let line = match fact {
            Fact::Line(bytes) => WaitingLine::Line(bytes.to_vec()),
            Fact::LineBegins(bytes) => WaitingLine::Begins(bytes.to_vec()),
            Fact::LongLineBegins => WaitingLine::TooLong,
            _ => return true,
        };
        let bytes = LINE_BYTES + line.len();
        if self.lines_bytes + bytes > WAITING_LINES_BYTES_MAX {
            return false;
        }
        self.lines_bytes += bytes;
        self.lines.push(line);
        true
    }

    /// The session's input is over: the session ends when what waits is done.
    pub fn end_input(&mut self) {
        self.has_input_ended = true;
    }
}

impl WaitingLine {
    fn len(&self) -> usize {
        match self {
            WaitingLine::Line(bytes) | WaitingLine::Begins(bytes) => bytes.len(),
            WaitingLine::TooLong => 0,
        }
    }

    /// What was recorded.
    fn fact(&self) -> Fact<'_> {
        match self {
            WaitingLine::Line(bytes) => Fact::Line(bytes),
            WaitingLine::Begins(bytes) => Fact::LineBegins(bytes),
            WaitingLine::TooLong => Fact::LongLineBegins,
        }
    }
}

impl Chat {
    /// Whether a session's input has to wait.
    pub fn is_waiting(&self, id: SessionId) -> bool {
        self.session(id).is_some_and(|session| session.waiting.is_some())
    }

    /// What a session's input waited for is complete: what the session sent meanwhile is done now,
    /// up to the next line after which input waits.
    pub(super) fn end_waiting<O: Deliveries>(&mut self, id: SessionId, out: &mut Out<'_, O>) {
        let Some(session) = self.session_mut(id) else { return };
        let Some(waiting) = session.waiting.take() else { return };
        out.effect(Effect::InputGoesOn { session: id, slot: session.slot });
        let Waiting { lines, has_input_ended, .. } = *waiting;
        let mut lines = lines.into_iter();
        for line in lines.by_ref() {
            self.take_input(id, line.fact(), out);
            let Some(session) = self.session_mut(id) else { return };
            if let Some(waiting) = &mut session.waiting {
                // They were within the bound before.
                lines.for_each(|line| _ = waiting.add(line.fact()));
                waiting.has_input_ended = has_input_ended;
                return;
            }
        }
        if has_input_ended {
            self.end_unfinished_line(id, out);
            self.close(id, CloseReason::EndOfInput, out);
        }
    }

    /// A line of a session whose input has to wait.
    pub(super) fn keep_for_later<O: Deliveries>(
        &mut self,
        id: SessionId,
        fact: Fact<'_>,
        out: &mut Out<'_, O>,
    ) {
        let waiting = self.session_mut(id).and_then(|session| session.waiting.as_mut());
        if waiting.is_some_and(|waiting| !waiting.add(fact)) {
            self.send(id, &Event::Refused { to: None, refusal: Refusal::TooMuchWaiting }, out);
        }
    }
}
