//! The nicknames and rooms that the client has seen, for completion.

use forkchat_common::names::key_of;
use forkchat_common::protocol::line::tagged::{Kind, Tagged};

/// Nicknames and rooms remembered at most.
const NICKS_MAX: usize = 1_000;
const ROOMS_MAX: usize = 1_000;

/// The nicknames and rooms that the client has seen.
#[derive(Debug, Default)]
pub(super) struct KnownNames {
    /// The latest last.
    nicks: Vec<String>,
    rooms: Vec<String>,
    has_changed: bool,
}

impl KnownNames {
    /// The nicknames, the latest first, and the rooms. `None` if they have not changed since the
    /// last call.
    pub fn take_changed(&mut self) -> Option<(Vec<String>, Vec<String>)> {
        let has_changed = std::mem::take(&mut self.has_changed);
        has_changed.then(|| (self.nicks.iter().rev().cloned().collect(), self.rooms.clone()))
    }

    /// Remembers the names in a line, except the user's own.
    pub fn learn(&mut self, tagged: &Tagged<'_>, own_nick_key: &str) {
        let new_nick = tagged.target.as_ref().filter(|_| tagged.event == Kind::Nick);
        for nick in tagged
            .names
            .iter()
            .take(NICKS_MAX)
            .chain(&tagged.nick)
            .chain(new_nick)
            .filter(|nick| *key_of(nick) != *own_nick_key)
        {
            self.nicks.retain(|known| known != nick);
            self.nicks.push(nick.clone());
            self.has_changed = true;
        }
        if matches!(tagged.event, Kind::Quit | Kind::Nick) {
            self.nicks.retain(|known| Some(known) != tagged.nick.as_ref());
        }
        if self.nicks.len() > NICKS_MAX {
            self.nicks.drain(..self.nicks.len() - NICKS_MAX);
        }
        if let Some(room) = tagged.room.as_ref().filter(|room| !self.rooms.contains(room)) {
            self.rooms.push(room.clone());
            self.has_changed = true;
            if self.rooms.len() > ROOMS_MAX {
                self.rooms.remove(0);
            }
        }
    }
}
