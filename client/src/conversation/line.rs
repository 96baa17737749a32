//! Lines in flight: what each asks for, and which of the server's answers belongs to which line.
//!
//! The server answers in the order of the lines. So they wait in a queue, and an answer belongs to
//! the first line that asked for an answer of its kind. The answer to a spoken line is its echo;
//! the answer to a command is a reply or a refusal with the command's name. Only the first line of
//! a long answer counts.

use super::entry::{DeliveryState, Entry};
use forkchat_common::protocol::line::command::{Command, CommandError, parse};
use forkchat_common::protocol::line::tagged::{Kind, Tagged};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Instant;

/// What a line asks for, as far as its answer is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// To be said in the current room.
    Say,
    /// To be told as an action there.
    Action,
    /// To be told to one person.
    Message,
    /// A command by this name.
    Command(String),
}

impl Request {
    /// What a line's text asks for; `None` if it is empty.
    pub fn of(text: &str) -> Option<Request> {
        Some(match parse(text) {
            Ok(None) => return None,
            Ok(Some((_, Command::Say(_) | Command::SayIndented(..)))) => Request::Say,
            Ok(Some((_, Command::Me(_)))) => Request::Action,
            Ok(Some((_, Command::Msg { .. }))) => Request::Message,
            Ok(Some((row, _))) => Request::Command(row.map_or("", |row| row.name).to_owned()),
            Err(CommandError::Usage(row)) => Request::Command(row.name.to_owned()),
            Err(CommandError::Unknown(name) | CommandError::Lookalike(_, name)) => {
                Request::Command(name.to_owned())
            }
        })
    }

    /// The command that a refusal would name.
    fn command(&self) -> Option<&str> {
        match self {
            Request::Say => None,
            Request::Action => Some("me"),
            Request::Message => Some("msg"),
            Request::Command(name) => Some(name),
        }
    }

    /// Whether one may talk in another room after it, under another name, or nowhere.
    pub fn moves(&self) -> bool {
        matches!(self, Request::Command(name) if ["join", "leave", "nick", "quit"].contains(&name.as_str()))
    }

    /// Whether others see what it asks for, so that it matters how often it is done.
    pub fn is_heard(&self) -> bool {
        !matches!(self, Request::Command(_))
    }
}

/// Why a line is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The user typed it: its answer is shown.
    Typed,
    /// The client needs its effect; the answer isn't shown.
    Setup,
    /// Takes back, or takes for the first time, the nickname.
    Nick,
    /// Enters a room that was asked for.
    Room,
    /// Learns who is in a room.
    Names,
    /// Request whether doubtful lines of this room arrived.
    History(String),
    /// Its answer shows that everything before it was done.
    Fence(Fence),
    /// Says goodbye when everything is done.
    Goodbye,
}

/// What the answer to a fence ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// Logging in.
    Login,
    /// Asking for what became of doubtful lines.
    History,
    /// Over UDP: nothing, everything before it that has no answer has been lost.
    Keepalive,
}

/// A line on its way.
#[derive(Clone, Debug)]
pub struct Line {
    /// As it was typed.
    pub text: String,
    /// What it asks for.
    pub asks: Request,
    /// Why.
    pub purpose: Purpose,
    /// The room that was current when it was sent.
    pub room: Option<String>,
    /// The key of the name under which it was sent.
    pub key: Box<str>,
    /// When it was typed.
    pub typed: Instant,
    /// When it was sent, if it was.
    pub sent: Option<Instant>,
    /// Whether the person was told that it waits.
    pub is_told: bool,
    /// Over UDP: how many gaps had been noticed when it was sent.
    pub gaps: u64,
    /// How often it was sent.
    pub tries: u32,
    /// Whether it waited while there was no connection.
    pub is_from_outage: bool,
    /// Until when it is sent again to a receiver who is not back yet.
    pub retried_until: Option<Instant>,
    /// Its text as the server reads it: what the charset lacks is gone.
    pub arrives_as: String,
}

impl Line {
    /// A line that is not sent yet; `None` if there is nothing in it.
    pub fn new(text: &str, purpose: Purpose, now: Instant) -> Option<Line> {
        let asks = Request::of(text)?;
        Some(Line {
            text: text.to_owned(),
            asks,
            purpose,
            room: None,
            key: Box::default(),
            typed: now,
            sent: None,
            is_told: false,
            gaps: 0,
            tries: 0,
            is_from_outage: false,
            retried_until: None,
            arrives_as: String::new(),
        })
    }

    /// What others hear of it.
    pub fn heard(&self) -> Option<Cow<'_, str>> {
        match parse(&self.arrives_as) {
            Ok(Some((_, Command::Me(text) | Command::Msg { text, .. }))) => Some(text.into()),
            Ok(Some((_, command))) => command.said(),
            _ => None,
        }
    }

    /// Whether it is the goodbye.
    pub fn is_quit(&self) -> bool {
        matches!(&self.asks, Request::Command(name) if name == "quit")
    }

    /// Whether it can be sent twice without effect on others: a command that only sets or asks for
    /// something.
    pub fn is_repeatable(&self) -> bool {
        !self.asks.is_heard()
            && !matches!(parse(&self.text), Ok(Some((_, Command::Topic(Some(_))))))
    }

    /// Whether a room's history has it, if it was said.
    pub fn is_in_history(&self) -> bool {
        matches!(self.asks, Request::Say | Request::Action)
    }

    /// Whether one may talk in another room after it, or nowhere.
    pub fn moves(&self) -> bool {
        self.asks.moves()
    }

    /// How it looks while it isn't accepted.
    pub fn shown(&self, standing: DeliveryState) -> Entry {
        let room = self.room.clone().filter(|_| self.is_in_history());
        // What is said is shown as it would be said, without the slash that escapes it.
        let said = parse(&self.text).ok().flatten().and_then(|(_, command)| command.said());
        let text = said.map_or_else(|| self.text.clone(), Cow::into_owned);
        Entry::Own { room, text, standing }
    }

    /// Whether a person typed it.
    pub fn is_typed(&self) -> bool {
        self.purpose == Purpose::Typed
    }
}

/// The lines that were sent and not answered.
#[derive(Debug, Default)]
pub struct InFlight {
    lines: VecDeque<Line>,
    bytes: usize,
}

impl InFlight {
    /// A line was sent.
    pub fn push(&mut self, line: Line) {
        self.bytes += line.text.len();
        self.lines.push_back(line);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// How long their texts are together.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// All of them, in order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Line> {
        self.lines.iter_mut()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter()
    }

    /// Leaves out those that are.
    pub fn forget(&mut self, mut is_forgotten: impl FnMut(&Line) -> bool) {
        self.lines.retain(|line| !is_forgotten(line));
        self.bytes = self.lines.iter().map(|line| line.text.len()).sum();
    }

    /// Takes them all.
    pub fn take(&mut self) -> VecDeque<Line> {
        self.bytes = 0;
        std::mem::take(&mut self.lines)
    }

    /// The line that is answered by what the server told, if it is an answer. `is_own`: it bears
    /// one's own name. `is_lossy`: answers may be missing, so an echo is known by its text.
    /// `is_nowhere`: one is in no room, so that what is said is refused.
    ///
    /// Where no answer is missing, commands before it are done as well, the server answers in
    /// order; what is said before it is not taken to be, it has an echo of its own.
    pub fn answered(
        &mut self,
        told: &Tagged<'_>,
        is_own: bool,
        is_lossy: bool,
        is_nowhere: bool,
    ) -> Option<Line> {
        // A message to oneself comes twice, as echo and as message. Its text distinguishes it from
        // the next one.
        let is_by_text = is_lossy || told.event == Kind::Private;
        let echoes = |line: &Line, asks: Request| {
            is_own
                && line.asks == asks
                && (!is_by_text || line.heard().as_deref() == Some(told.text()))
        };
        let fits = |line: &Line| match (told.event, told.to.as_deref()) {
            (Kind::Say, None) => echoes(line, Request::Say),
            (Kind::Action, None) => echoes(line, Request::Action),
            (Kind::Private, None) => echoes(line, Request::Message),
            (Kind::Error, None) => {
                is_nowhere && line.asks == Request::Say
                    || line.asks == Request::Command(String::new())
            }
            (_, Some(to)) => line.asks.command() == Some(to),
            (_, None) => false,
        };
        let position = self.lines.iter().position(fits)?;
        if is_lossy {
            let line = self.lines.remove(position)?;
            self.bytes -= line.text.len();
            return Some(line);
        }
        if self.lines.iter().take(position).any(|line| line.asks.is_heard()) {
            return None;
        }
        self.through(position)
    }

    /// The line with this text was answered: takes it and the lines before it, which were not.
    pub fn overtaken(&mut self, text: &str) -> Option<Vec<Line>> {
        let position = self.lines.iter().position(|line| line.text == text)?;
        let before = self.lines.drain(..position).collect();
        self.through(0);
        self.bytes = self.lines.iter().map(|line| line.text.len()).sum();
        Some(before)
    }

    fn through(&mut self, position: usize) -> Option<Line> {
        let line = self.lines.drain(..=position).next_back();
        self.bytes = self.lines.iter().map(|line| line.text.len()).sum();
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight(lines: &[&str]) -> InFlight {
        let mut flight = InFlight::default();
        lines
            .iter()
            .for_each(|text| flight.push(Line::new(text, Purpose::Typed, Instant::now()).unwrap()));
        flight
    }

    fn answer(flight: &mut InFlight, tags: &str) -> Option<String> {
        let line = format!("@id=1;time=2026-11-21T12:00:01.123Z;{tags} text");
        let told = Tagged::parse(&line).unwrap();
        let is_own = told.nick.as_deref() == Some("me");
        flight.answered(&told, is_own, false, false).map(|line| line.text)
    }

    #[test]
    fn an_answer_belongs_to_the_first_line_that_asked_for_it() {
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
    fn commands_before_an_answered_line_are_done_what_is_said_is_not() {
        let mut first = flight(&["/who", "/who", "hi"]);
        assert_eq!(answer(&mut first, "event=say;room=#lobby;nick=me").as_deref(), Some("hi"));
        assert_eq!(first.len(), 0);
        let mut second = flight(&["hi", "/who"]);
        assert_eq!(answer(&mut second, "event=reply;to=who"), None, "of an earlier /who");
        assert_eq!(second.len(), 2);
    }

    #[test]
    fn a_refusal_without_a_command_is_of_what_was_said_nowhere() {
        let mut flight = flight(&["hi"]);
        let told =
            Tagged::parse("@id=1;event=error ! you are in no room; /join #ROOM first").unwrap();
        assert!(flight.answered(&told, false, false, false).is_none(), "a dismissal");
        assert!(flight.answered(&told, false, false, true).is_some());
    }

    #[test]
    fn nothing_is_asked_for_by_nothing() {
        assert_eq!(Request::of(""), None);
        assert_eq!(Request::of("//who"), Some(Request::Say));
        assert_eq!(Request::of("/WHO"), Some(Request::Command("who".to_owned())));
        assert_eq!(
            Request::of("/msg bob"),
            Some(Request::Command("msg".to_owned())),
            "its usage is told"
        );
        assert_eq!(Request::of("/"), Some(Request::Command(String::new())));
    }
}
