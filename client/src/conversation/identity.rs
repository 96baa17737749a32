//! What the session learns from the server's lines: its own name and rooms, and the names of
//! others.

use super::{Conversation, Received};
use forkchat_common::names::key_of;
use forkchat_common::protocol::line::tagged::{Kind, Tagged};

/// Nicknames and rooms remembered for completion.
const NICKS_MAX: usize = 1_000;
const ROOMS_KNOWN_MAX: usize = 1_000;

impl Conversation {
    /// Updates the session's own name and rooms, and the known names and rooms.
    pub(super) fn learn(&mut self, told: &Tagged<'_>, is_own: bool) {
        if told.event == Kind::Error {
            return;
        }
        match (told.event, told.to.as_deref()) {
            (Kind::Welcome, _) | (Kind::Reply, Some("whoami" | "nick")) => {
                if let Some(nick) = &told.nick {
                    nick.clone_into(&mut self.nick);
                    self.key = key_of(nick);
                }
                if told.to.as_deref() != Some("nick") {
                    self.enter(told.room.clone());
                }
            }
            (Kind::Reply, Some("join")) => self.enter(told.room.clone()),
            (Kind::Reply, Some("leave")) => {
                self.rooms.retain(|room| Some(room) != told.room.as_ref());
                self.current.clone_from(&told.target);
            }
            _ => {}
        }
        if let (true, None, Some(room), Some(id)) = (is_own, &told.to, &told.room, told.id) {
            if self.last_echo.len() > ROOMS_KNOWN_MAX {
                self.last_echo.clear();
            }
            let (last, count) = self.last_echo.entry(room.clone()).or_insert((id, 0));
            (*last, *count) = (id, if *last == id { *count + 1 } else { 1 });
        }
        self.learn_words(told);
    }

    /// Remembers who and what was named, the latest last.
    fn learn_words(&mut self, told: &Tagged<'_>) {
        let renamed = told.target.as_ref().filter(|_| told.event == Kind::Nick);
        for nick in told
            .names
            .iter()
            .take(NICKS_MAX)
            .chain(&told.nick)
            .chain(renamed)
            .filter(|nick| key_of(nick) != self.key)
        {
            self.nicks.retain(|known| known != nick);
            self.nicks.push(nick.clone());
            self.has_new_words = true;
        }
        if matches!(told.event, Kind::Quit | Kind::Nick) {
            self.nicks.retain(|known| Some(known) != told.nick.as_ref());
        }
        if self.nicks.len() > NICKS_MAX {
            self.nicks.drain(..self.nicks.len() - NICKS_MAX);
        }
        if let Some(room) = told.room.as_ref().filter(|room| !self.known_rooms.contains(room)) {
            self.known_rooms.push(room.clone());
            self.has_new_words = true;
            if self.known_rooms.len() > ROOMS_KNOWN_MAX {
                self.known_rooms.remove(0);
            }
        }
    }

    fn enter(&mut self, room: Option<String>) {
        if let Some(room) = room
            .as_ref()
            .filter(|room| !self.rooms.contains(room) && self.rooms.len() < ROOMS_KNOWN_MAX)
        {
            self.rooms.push(room.clone());
        }
        self.current = room;
    }

    /// Whether a line is meant for this person: a private one, or one with their name in it as a
    /// word of its own.
    pub(super) fn is_for_me(&self, told: &Received) -> bool {
        match told.kind {
            Some(Kind::Private) => true,
            Some(Kind::Say | Kind::Action) if !self.key.is_empty() => {
                let is_of_name = |c: char| c.is_alphanumeric() || "_-[]{}\\^|".contains(c);
                let text = key_of(&told.text);
                text.match_indices(&*self.key).any(|(at, name)| {
                    let (before, behind) =
                        (text[..at].chars().next_back(), text[at + name.len()..].chars().next());
                    // Scripts without spaces have words side by side.
                    !name.is_ascii()
                        || !before.is_some_and(is_of_name) && !behind.is_some_and(is_of_name)
                })
            }
            _ => false,
        }
    }
}
