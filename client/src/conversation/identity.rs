//! The user's nickname and rooms, as the server has confirmed them.

use super::Received;
use forkchat_common::names::key_of;
use forkchat_common::protocol::line::tagged::{Kind, Tagged};

/// Rooms remembered. The server allows fewer.
const ROOMS_MAX: usize = 1_000;

/// The user's nickname and rooms.
#[derive(Clone, Debug, Default)]
pub(super) struct Identity {
    /// Empty before the login.
    pub nick: String,
    /// The nickname in the form in which names are compared.
    pub nick_key: Box<str>,
    /// The rooms that the user is in.
    pub rooms: Vec<String>,
    /// The room in which typed lines are said.
    pub current_room: Option<String>,
}

impl Identity {
    /// Takes over what the answer to a command says about the user.
    pub fn update(&mut self, tagged: &Tagged<'_>) {
        match (tagged.event, tagged.to.as_deref()) {
            (Kind::Welcome, _) | (Kind::Reply, Some("whoami" | "nick")) => {
                if let Some(nick) = &tagged.nick {
                    nick.clone_into(&mut self.nick);
                    self.nick_key = key_of(nick);
                }
                if tagged.to.as_deref() != Some("nick") {
                    self.enter(tagged.room.clone());
                }
            }
            (Kind::Reply, Some("join")) => self.enter(tagged.room.clone()),
            (Kind::Reply, Some("leave")) => {
                self.rooms.retain(|room| Some(room) != tagged.room.as_ref());
                self.current_room.clone_from(&tagged.target);
            }
            _ => {}
        }
    }

    fn enter(&mut self, room: Option<String>) {
        if let Some(room) =
            room.as_ref().filter(|room| !self.rooms.contains(room) && self.rooms.len() < ROOMS_MAX)
        {
            self.rooms.push(room.clone());
        }
        self.current_room = room;
    }

    /// Whether a line is meant for the user: it is private, or contains the nickname as a word.
    pub fn is_addressed_by(&self, received: &Received) -> bool {
        match received.kind {
            Some(Kind::Private) => true,
            Some(Kind::Say | Kind::Action) if !self.nick_key.is_empty() => {
                let is_of_name = |c: char| c.is_alphanumeric() || "_-[]{}\\^|".contains(c);
                let text = key_of(&received.text);
                text.match_indices(&*self.nick_key).any(|(at, name)| {
                    let (before, after) =
                        (text[..at].chars().next_back(), text[at + name.len()..].chars().next());
                    // Scripts without spaces write words side by side.
                    !name.is_ascii()
                        || !before.is_some_and(is_of_name) && !after.is_some_and(is_of_name)
                })
            }
            _ => false,
        }
    }
}
