//! A line to the server: what it requests, why it is sent, and how often it was.

use super::entry::{DeliveryState, Entry};
use forkchat_common::protocol::line::arguments::{text, word_and_text};
use forkchat_common::protocol::line::commands::Answer;
use forkchat_common::protocol::line::input::{Input, InputError, parse};
use std::borrow::Cow;
use std::time::Instant;

/// What a line requests, as far as its answer is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// To say the line in the current room.
    Say,
    /// To show it there as an action.
    Action,
    /// To send it to one user.
    Message,
    /// To execute a command with this name.
    Command(String),
}

impl Request {
    /// What a line's text requests; `None` if it is empty.
    pub fn of(line: &str) -> Option<Request> {
        Some(match parse(line) {
            Ok(None) => return None,
            Ok(Some(Input::Text { .. })) => Request::Say,
            Ok(Some(Input::Command(row, arguments))) => match row.answer {
                Answer::Said => Request::Say,
                Answer::Action if text(arguments).is_some() => Request::Action,
                Answer::Private if word_and_text(arguments).is_some() => Request::Message,
                // The server answers the others with how to use the command.
                _ => Request::Command(row.name.to_owned()),
            },
            Err(InputError::Unknown(name) | InputError::Lookalike(_, name)) => {
                Request::Command(name.to_owned())
            }
        })
    }

    /// The command that a refusal would name.
    pub fn command(&self) -> Option<&str> {
        match self {
            Request::Say => None,
            Request::Action => Some("me"),
            Request::Message => Some("msg"),
            Request::Command(name) => Some(name),
        }
    }

    /// Whether it may change the user's nickname or current room, or end the session.
    pub fn changes_identity(&self) -> bool {
        matches!(self, Request::Command(name)
            if ["join", "leave", "nick", "quit"].contains(&name.as_str()))
    }

    /// Whether others see its effect, so that it must not be done twice.
    pub fn is_visible(&self) -> bool {
        !matches!(self, Request::Command(_))
    }
}

/// Why a line is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The user typed it. Its answer is shown.
    Typed,
    /// The client needs its effect. The answer isn't shown.
    Setup,
    /// Takes the nickname, for the first time or after an outage.
    Nick,
    /// Enters a room that the user asked for.
    Room,
    /// Asks for the names in a room.
    Names,
    /// Reads a room's history, to find out which lines in doubt arrived.
    History,
    /// Its answer shows that the server has processed everything before it.
    Fence(Fence),
    /// Quits.
    Goodbye,
}

/// What the answer to a fence completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// The login.
    Login,
    /// The reading of the histories.
    History,
    /// Nothing. Over UDP it shows that the answers to earlier lines were lost.
    Keepalive,
}

/// A line to the server.
#[derive(Clone, Debug)]
pub struct Line {
    /// As it was typed.
    pub text: String,
    /// What it requests.
    pub request: Request,
    /// Why it is sent.
    pub purpose: Purpose,
    /// The room that was current when it was sent.
    pub room: Option<String>,
    /// The key of the nickname under which it was sent.
    pub nick_key: Box<str>,
    /// When it was typed.
    pub typed_at: Instant,
    /// When it was last sent, if it was.
    pub sent_at: Option<Instant>,
    /// Whether it was shown, or counted, as waiting.
    pub is_shown_waiting: bool,
    /// Over UDP: how many gaps the client had noticed when it sent the line.
    pub gaps_before: u64,
    /// How often it was sent.
    pub tries: u32,
    /// Whether it waited while there was no connection.
    pub is_from_outage: bool,
    /// Until when it is sent again to a receiver who has not reconnected yet.
    pub retried_until: Option<Instant>,
    /// Its text after the way through the charset, which may lack some of its characters.
    pub encoded_text: String,
}

impl Line {
    /// A line that is not sent yet; `None` if there is nothing in it.
    pub fn new(text: &str, purpose: Purpose, now: Instant) -> Option<Line> {
        let request = Request::of(text)?;
        Some(Line {
            text: text.to_owned(),
            request,
            purpose,
            room: None,
            nick_key: Box::default(),
            typed_at: now,
            sent_at: None,
            is_shown_waiting: false,
            gaps_before: 0,
            tries: 0,
            is_from_outage: false,
            retried_until: None,
            encoded_text: String::new(),
        })
    }

    /// The text that others receive, if the line says something.
    pub fn text_for_others(&self) -> Option<Cow<'_, str>> {
        match parse(&self.encoded_text).ok()?? {
            Input::Command(row, arguments) => match row.answer {
                Answer::Action => text(arguments).map(Cow::from),
                Answer::Private => word_and_text(arguments).map(|(_, text)| text.into()),
                Answer::Said | Answer::Reply | Answer::Parts => None,
            },
            said => said.said(),
        }
    }

    /// Whether the line is `/quit`.
    pub fn is_quit(&self) -> bool {
        matches!(&self.request, Request::Command(name) if name == "quit")
    }

    /// Whether the client can send it twice without effect on others: a command that only sets or
    /// asks for something.
    pub fn is_repeatable(&self) -> bool {
        let topic = parse(&self.text).ok().flatten().and_then(|input| input.arguments_of("topic"));
        !self.request.is_visible() && topic.is_none_or(str::is_empty)
    }

    /// Whether a room's history contains it, once it was said.
    pub fn is_in_history(&self) -> bool {
        matches!(self.request, Request::Say | Request::Action)
    }

    /// Whether it may change the user's nickname or current room, or end the session.
    pub fn changes_identity(&self) -> bool {
        self.request.changes_identity()
    }

    /// How the line is shown while it isn't accepted.
    pub fn entry(&self, state: DeliveryState) -> Entry {
        let room = self.room.clone().filter(|_| self.is_in_history());
        // A line to be said is shown as others would see it, without the slash that escapes a
        // slash.
        let said = parse(&self.text).ok().flatten().and_then(|input| input.said());
        let text = said.map_or_else(|| self.text.clone(), Cow::into_owned);
        Entry::Own { room, text, state }
    }

    /// Whether the user typed it.
    pub fn is_typed(&self) -> bool {
        self.purpose == Purpose::Typed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_line_determines_its_request() {
        assert_eq!(Request::of(""), None);
        assert_eq!(Request::of("//who"), Some(Request::Say));
        assert_eq!(Request::of("/WHO"), Some(Request::Command("who".to_owned())));
        assert_eq!(
            Request::of("/msg bob"),
            Some(Request::Command("msg".to_owned())),
            "the server answers with the usage"
        );
        assert_eq!(Request::of("/me"), Some(Request::Command("me".to_owned())));
        assert_eq!(Request::of("/me waves"), Some(Request::Action));
        assert_eq!(Request::of("/msg bob hi"), Some(Request::Message));
        assert_eq!(Request::of("/"), Some(Request::Command(String::new())));
    }
}
