//! What the conversation asks to show. Values only: [`crate::render`] formats them.

use forkchat_common::ids::{Micros, RecordId};
use forkchat_common::protocol::line::tagged::{Kind, Tagged};

/// One thing to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A line from the server.
    Received(Received),
    /// A typed line that the server has not accepted.
    Own {
        /// The room in which it was to be said; `None` for a command or a private message.
        room: Option<String>,
        /// As it was typed.
        text: String,
        /// What is known of its delivery.
        state: DeliveryState,
    },
    /// A message of the client: what it does, what it noticed.
    Notice(String),
    /// Why the client does not send a line, and what to do.
    Refusal(String),
}

/// What is known of a line that the server has not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// It waits to be sent, or for its answer.
    Waiting,
    /// It may have arrived or not.
    InDoubt,
    /// It was never sent, and will not be.
    NotSent,
}

/// A line from the server, with its tags parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// What kind of line; `None` if the server sent no tags with it.
    pub kind: Option<Kind>,
    /// The id of its record.
    pub id: Option<RecordId>,
    /// When it happened.
    pub time: Option<Micros>,
    /// The room in which it happened.
    pub room: Option<String>,
    /// The nickname of the user who caused it.
    pub nick: Option<String>,
    /// The receiver, or the new nickname.
    pub target: Option<String>,
    /// The command that it answers.
    pub to: Option<String>,
    /// The names in this line of a list.
    pub names: Vec<String>,
    /// In the answer to `/history`: the history has every line of the room from this id on.
    pub since: Option<RecordId>,
    /// The text that was said, without room and nickname before it.
    pub text: String,
    /// The whole line as people read it.
    pub prose: String,
    /// Whether it is the echo of a typed line, which is now accepted.
    pub is_own: bool,
    /// Whether it is private, or contains the user's name.
    pub is_for_me: bool,
    /// Whether it was said earlier and comes from the history. The bell does not ring for it.
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
