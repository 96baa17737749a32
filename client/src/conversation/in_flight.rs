//! The lines in flight: sent, and not answered yet. Finds out which of them the server answers.
//!
//! The server answers lines in order. So an answer belongs to the first line in flight that expects
//! an answer of its kind. A line that is said is answered with its echo. A command is answered with
//! a reply or an error that names the command. Of an answer of several lines only the first counts.

use super::line::{Line, Request};
use forkchat_common::protocol::line::tagged::{Kind, Tagged};
use std::collections::VecDeque;

/// The lines that were sent and not answered, in order.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    lines: VecDeque<Line>,
    bytes: usize,
}

impl InFlight {
    pub fn push(&mut self, line: Line) {
        self.bytes += line.text.len();
        self.lines.push_back(line);
    }

    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// The length of all texts together.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Line> {
        self.lines.iter_mut()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter()
    }

    pub fn retain(&mut self, is_kept: impl FnMut(&Line) -> bool) {
        self.lines.retain(is_kept);
        self.count_bytes();
    }

    pub fn take(&mut self) -> VecDeque<Line> {
        self.bytes = 0;
        std::mem::take(&mut self.lines)
    }

    /// Takes the line that `tagged` answers, if it is an answer.
    ///
    /// `is_own`: it bears the user's nickname. `is_lossy`: answers may be lost, so an echo is
    /// recognized by its text. `is_in_no_room`: the server refuses lines that are to be said,
    /// because the user is in no room.
    ///
    /// If no answer can be lost, the commands before the line are done as well, because the server
    /// answers in order. A line that is to be said is never skipped: it gets an echo of its own.
    pub fn take_answered(
        &mut self,
        tagged: &Tagged<'_>,
        is_own: bool,
        is_lossy: bool,
        is_in_no_room: bool,
    ) -> Option<Line> {
        // A message to oneself comes twice, as echo and as message. Its text distinguishes it from
        // the next message.
        let compares_text = is_lossy || tagged.event == Kind::Private;
        let is_echo_of = |line: &Line, request: Request| {
            is_own
                && line.request == request
                && (!compares_text
                    || line.text_for_others().is_none_or(|text| text == tagged.text()))
        };
        let is_answered = |line: &Line| match (tagged.event, tagged.to.as_deref()) {
            (Kind::Say, None) => is_echo_of(line, Request::Say),
            (Kind::Action, None) => is_echo_of(line, Request::Action),
            (Kind::Private, None) => is_echo_of(line, Request::Message),
            (Kind::Error, None) => {
                is_in_no_room && line.request == Request::Say
                    || line.request == Request::Command(String::new())
            }
            (_, Some(to)) => line.request.command() == Some(to),
            (_, None) => false,
        };
        let position = self.lines.iter().position(is_answered)?;
        if is_lossy {
            let line = self.lines.remove(position)?;
            self.bytes -= line.text.len();
            return Some(line);
        }
        if self.lines.iter().take(position).any(|line| line.request.is_visible()) {
            return None;
        }
        self.take_through(position)
    }

    /// Takes the line with this text, which was answered. Returns the lines before it, which were
    /// not.
    pub fn take_overtaken(&mut self, text: &str) -> Option<Vec<Line>> {
        let position = self.lines.iter().position(|line| line.text == text)?;
        let before = self.lines.drain(..position).collect();
        self.take_through(0);
        Some(before)
    }

    /// Removes the lines up to this position. Returns the last of them.
    fn take_through(&mut self, position: usize) -> Option<Line> {
        let line = self.lines.drain(..=position).next_back();
        self.count_bytes();
        line
    }

    fn count_bytes(&mut self) {
        self.bytes = self.lines.iter().map(|line| line.text.len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::Purpose;
    use super::*;
    use std::time::Instant;

    fn flight(lines: &[&str]) -> InFlight {
        let mut flight = InFlight::default();
        lines
            .iter()
            .for_each(|text| flight.push(Line::new(text, Purpose::Typed, Instant::now()).unwrap()));
        flight
    }

    fn answer(flight: &mut InFlight, tags: &str) -> Option<String> {
        let line = format!("@id=1;time=2026-11-21T12:00:01.123Z;{tags} text");
        let tagged = Tagged::parse(&line).unwrap();
        let is_own = tagged.nick.as_deref() == Some("me");
        flight.take_answered(&tagged, is_own, false, false).map(|line| line.text)
    }

    #[test]
    fn an_answer_belongs_to_the_first_line_that_expects_it() {
        let mut flight = flight(&["one", "/me waves", "/msg bob psst", "/who", "two", "/dance"]);
        assert_eq!(answer(&mut flight, "event=say;room=#lobby;nick=bob"), None);
        assert_eq!(answer(&mut flight, "event=say;room=#lobby;nick=me").as_deref(), Some("one"));
        assert_eq!(
            answer(&mut flight, "event=say;room=#lobby;nick=me"),
            None,
            "the action isn't answered yet"
        );
        assert_eq!(
            answer(&mut flight, "event=action;room=#lobby;nick=me").as_deref(),
            Some("/me waves")
        );
        assert_eq!(answer(&mut flight, "event=error;to=msg").as_deref(), Some("/msg bob psst"));
        assert_eq!(answer(&mut flight, "event=reply;to=who").as_deref(), Some("/who"));
        assert_eq!(answer(&mut flight, "event=reply;to=who"), None, "the answer's second line");
        assert_eq!(answer(&mut flight, "event=say;room=#lobby;nick=me").as_deref(), Some("two"));
        assert_eq!(answer(&mut flight, "event=error;to=dance").as_deref(), Some("/dance"));
        assert_eq!((flight.len(), flight.bytes()), (0, 0));
    }

    #[test]
    fn commands_before_an_answered_line_are_done_but_lines_to_be_said_are_not() {
        let mut first = flight(&["/who", "/who", "hi"]);
        assert_eq!(answer(&mut first, "event=say;room=#lobby;nick=me").as_deref(), Some("hi"));
        assert_eq!(first.len(), 0);
        let mut second = flight(&["hi", "/who"]);
        assert_eq!(answer(&mut second, "event=reply;to=who"), None, "of an earlier /who");
        assert_eq!(second.len(), 2);
    }

    #[test]
    fn an_error_without_a_command_refuses_a_line_that_was_said_in_no_room() {
        let mut flight = flight(&["hi"]);
        let tagged =
            Tagged::parse("@id=1;event=error ! you are in no room; /join #ROOM first").unwrap();
        assert!(
            flight.take_answered(&tagged, false, false, false).is_none(),
            "it may be the server's goodbye"
        );
        assert!(flight.take_answered(&tagged, false, false, true).is_some());
    }
}
