//! Sessions of the line protocol: processes their input.
//!
//! ```text
//!  record ─► another protocol's first line? dismiss ─► text (state) ─► say, or command handler
//! ```
//!
//! | file | contents |
//! |---|---|
//! | `state` | the session state of this protocol; bytes to text |
//! | `arrival` | the start of a session: guest name, lobby, welcome |
//! | `commands` | the handler of each command |
//! | `form` | the forms of its messages |

mod arrival;
mod commands;
mod form;
mod state;

pub(super) use form::Form;
pub(super) use state::LineState;

use super::deliver::{Deliveries, Out};
use super::message::Message;
use super::record::Fact;
use super::session::ProtocolState;
use super::{Chat, Session};
use forkchat_common::event::{Event, Refusal};
use forkchat_common::ids::SessionId;
use forkchat_common::protocol::line::foreign::{recognise, recognise_line};
use forkchat_common::protocol::line::render::Lines;
use forkchat_common::protocol::line::tags::Tags;
use forkchat_common::protocol::line::telnet::Answers;

impl Session {
    /// The state of a line session.
    fn line(&self) -> &LineState {
        let ProtocolState::Line(line) = &self.protocol;
        line
    }

    fn line_mut(&mut self) -> &mut LineState {
        let ProtocolState::Line(line) = &mut self.protocol;
        line
    }
}

impl Chat {
    /// Registers a session with its first line. If the line shows that the client speaks another
    /// protocol, ends the session instead, and returns false.
    pub(super) fn begin_line_session<O: Deliveries>(
        &mut self,
        id: SessionId,
        fact: Fact<'_>,
        out: &mut Out<'_, O>,
    ) -> bool {
        // A UDP client has returned a cookie, so it does not speak another protocol.
        let is_at_beginning =
            |session: &Session| !session.is_udp() && session.line().is_at_beginning();
        let foreign = match fact {
            _ if !self.session(id).is_some_and(is_at_beginning) => None,
            Fact::Line(bytes) => recognise_line(bytes),
            Fact::LineBegins(bytes) => recognise(bytes),
            _ => None,
        };
        match foreign {
            Some(protocol) => self.dismiss_foreign(id, protocol, out),
            None => self.register_guest(id, out),
        }
        foreign.is_none()
    }

    /// Processes a line, or a part of one.
    pub(super) fn process_line<O: Deliveries>(
        &mut self,
        id: SessionId,
        fact: Fact<'_>,
        out: &mut Out<'_, O>,
    ) {
        let Some(session) = self.session_mut(id) else { return };
        match fact {
            Fact::Line(bytes) => self.read_line(id, bytes, out),
            Fact::LineBegins(bytes) => {
                let answers = session.line_mut().begin_line(bytes);
                self.answer_telnet(id, &answers, out);
            }
            Fact::LongLineBegins => {
                session.line_mut().discard_partial_line();
                session.line_mut().has_spoken = true;
                self.send(id, &Event::Refused { to: None, refusal: Refusal::LineTooLong }, out);
            }
            _ => {}
        }
    }

    /// Processes an unfinished last line at the end of input: it counts without its LF.
    pub(super) fn finish_partial_line<O: Deliveries>(
        &mut self,
        id: SessionId,
        out: &mut Out<'_, O>,
    ) {
        if self.session_mut(id).is_some_and(|session| session.line_mut().finish_partial_line()) {
            self.read_line(id, b"", out);
        }
    }

    /// Reads a line's bytes, or its last bytes if its beginning was recorded before, and executes
    /// it.
    fn read_line<O: Deliveries>(&mut self, id: SessionId, bytes: &[u8], out: &mut Out<'_, O>) {
        let (mut text, mut answers) = (std::mem::take(&mut self.text), Answers::default());
        text.clear();
        let read = self.session_mut(id).map_or(Ok(false), |session| {
            session.line_mut().read_line(bytes, &mut text, &mut answers)
        });
        self.answer_telnet(id, &answers, out);
        if let Some(session) = self.session_mut(id) {
            session.line_mut().has_spoken |= !text.trim().is_empty();
        }
        match read {
            Ok(true) => self.execute(id, &text, out),
            Ok(false) => {}
            Err(refusal) => self.send(id, &Event::Refused { to: None, refusal }, out),
        }
        self.text = text;
    }

    /// Sends the answers to a client's Telnet negotiations.
    fn answer_telnet<O: Deliveries>(&self, id: SessionId, answers: &Answers, out: &mut Out<'_, O>) {
        if !answers.bytes.is_empty() {
            self.send_message(id, Message::Raw(&answers.bytes), out);
        }
        // One answer for all questions of a record: the answer is longer than a question.
        if answers.are_you_there {
            self.send_pong(id, "", out);
        }
    }

    /// Sends the lines that `write` writes, with these tags.
    fn send_lines<O: Deliveries>(
        &self,
        id: SessionId,
        tags: Tags<'_>,
        out: &mut Out<'_, O>,
        write: impl Fn(&mut Lines<'_>),
    ) {
        self.send_message(id, Message::Lines(tags, &write), out);
    }
}
