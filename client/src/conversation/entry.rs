//! What the session asks to show. Values only: [`crate::render`] formats them.

use forkchat_common::ids::{Micros, Sequence};
use forkchat_common::protocol::line::tagged::{Kind, Tagged};

/// One thing to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A line from the server.
    Received(Received),
    /// A typed line that the server has not accepted.
    Own {
        /// The room it was meant for, if it was said in one.
        room: Option<String>,
        /// As it was typed.
        text: String,
        /// How it stands.
        standing: DeliveryState,
    },
    /// The client's own words: what it does, what it noticed.
    Notice(String),
    /// The client's own words about a line that it doesn't send: what is wrong and what to do.
    Refusal(String),
}

/// How a line stands that was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// It will be sent, or its answer will come.
    Waiting,
    /// It may have arrived or not.
    InDoubt,
    /// It was never sent, and will not be.
    NotSent,
}

/// A line from the server, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// What kind of line; `None` if the server sent no tags with it.
    pub kind: Option<Kind>,
    /// Its place in the server's log.
    pub id: Option<Sequence>,
    /// When it happened.
    pub time: Option<Micros>,
    /// Where.
    pub room: Option<String>,
    /// Who.
    pub nick: Option<String>,
    /// The receiver, or the new nickname.
    pub target: Option<String>,
    /// The command that it answers.
    pub to: Option<String>,
    /// The names in this line of a list.
    pub names: Vec<String>,
    /// In the answer to `/history`: from which position on all of the room's lines are known.
    pub since: Option<Sequence>,
    /// What was said, without its frame.
    pub text: String,
    /// The whole line as people read it.
    pub prose: String,
    /// Whether it is the echo of a typed line, which is now accepted.
    pub is_own: bool,
    /// Whether it is meant for this person: it contains their name, or it is private.
    pub is_for_me: bool,
    /// Whether it was said earlier and comes from the history: no bell rings for it.
    pub is_earlier: bool,
}

impl Received {
    /// A line without tags.
    pub fn untagged(prose: &str) -> Received {
        let text = prose.strip_prefix("* ").or_else(|| prose.strip_prefix("! ")).unwrap_or(prose);
        Received { text: text.to_owned(), prose: prose.to_owned(), ..Received::default() }
    }

    /// A line with tags.
    pub fn tagged(line: &Tagged<'_>) -> Received {
        Received {
            kind: Some(line.event),
            id: line.id,
            time: line.time,
            room: line.room.clone(),
            nick: line.nick.clone(),
            target: line.target.clone(),
            to: line.to.clone(),
            names: line.names.clone(),
            since: line.since,
            text: line.text().to_owned(),
            prose: line.prose.to_owned(),
            is_own: false,
            is_for_me: false,
            is_earlier: line.to.as_deref() == Some("history")
                && matches!(line.event, Kind::Say | Kind::Action),
        }
    }
}
