//! What others said while the connection was lost. After reconnecting, the session asks for the
//! history of each room. It shows the lines that it has not shown yet, marked as earlier, and
//! reports where lines may be missing.
//!
//! Ids grow with the server's log, so the last id and the lines shown since identify what was
//! received. Until the history has arrived, the session holds back new lines, so that all lines
//! appear in the order in which they were said.

use super::entry::{Entry, Received};
use super::{Conversation, Phase, lines_of};
use forkchat_common::ids::Sequence;
use forkchat_common::protocol::line::tagged::{Kind, Tagged};
use std::collections::HashMap;

/// Lines asked for in all rooms together, and in each at least.
const LINES_MAX: usize = 500;
const LINES_OF_A_ROOM_MIN: usize = 20;
/// Lines shown between a loss and the history that are remembered; after more of them what is
/// missing is unknown.
const SHOWN_MAX: usize = 20_000;
/// Lines held back; more are shown at once, before what was said earlier.
const HELD_MAX: usize = 2_000;

/// What was received, and what is held back.
#[derive(Debug, Default)]
pub(super) struct CatchUp {
    /// The last id received before the connection was lost, or so far.
    last: Sequence,
    /// The last id received over this connection.
    newest: Sequence,
    /// How many lines said in a room were shown of each record: of the last one, and after a loss
    /// of all since.
    shown: HashMap<(Sequence, String), usize>,
    /// The connection was lost, and the history was not read since.
    is_pending: bool,
    /// Ids can't be compared: the server's clock was set back, or too much was shown meanwhile.
    is_unknown: bool,
    held: Vec<Received>,
}

impl CatchUp {
    /// How many lines of each room's history to ask for.
    pub fn lines_of_each(rooms: usize) -> usize {
        (LINES_MAX / rooms.max(1)).max(LINES_OF_A_ROOM_MIN)
    }

    /// Whether what was said meanwhile is still to be asked for.
    pub fn is_pending(&self) -> bool {
        self.is_pending
    }

    /// A new connection is there.
    pub fn connected(&mut self) {
        self.newest = Sequence(0);
    }

    /// The client logged in and lost the connection: from here on lines may be missing.
    pub fn lost(&mut self) {
        self.is_pending = true;
    }

    /// Takes note of a line that was received, and is not from the history.
    pub fn note(&mut self, told: &Received) {
        let Some(id) = told.id else { return };
        self.newest = self.newest.max(id);
        if !self.is_pending && id > self.last {
            self.last = id;
            self.shown.clear();
        }
        if self.is_pending && id < self.last {
            self.is_unknown = true;
        }
        if let (Some(Kind::Say | Kind::Action), Some(room)) = (told.kind, &told.room) {
            self.is_unknown |= self.shown.len() >= SHOWN_MAX;
            if !self.is_unknown {
                *self.shown.entry((id, room.clone())).or_default() += 1;
            }
        }
    }

    /// Leaves those lines of a history that were not shown. They count as shown from now on.
    fn missed(&mut self, history: Vec<Received>) -> Vec<Received> {
        let mut shown_before = self.shown.clone();
        let mut is_missed = |told: &Received| {
            let (Some(id), Some(room)) = (told.id, &told.room) else { return false };
            let place = (id, room.clone());
            if let Some(count) = shown_before.get_mut(&place).filter(|count| **count > 0) {
                *count -= 1;
                return false;
            }
            let is_missed = id >= self.last && !self.is_unknown;
            if is_missed {
                *self.shown.entry(place).or_default() += 1;
            }
            is_missed
        };
        history.into_iter().filter(|told| is_missed(told)).collect()
    }

    /// From here on everything is received again.
    fn done(&mut self) {
        (self.last, self.is_pending, self.is_unknown) = (self.newest, false, false);
        self.shown.retain(|(id, _), _| *id == self.newest);
    }
}

impl Conversation {
    /// Shows a line that was just said, or holds it back until what was said before it is known.
    pub(super) fn show_in_order(&mut self, told: Received) {
        let is_settling = self.phase == Phase::Resolving
            || self.phase == Phase::LoggingIn && self.login.is_return();
        if !is_settling || !self.catch_up.is_pending() || told.to.is_some() || told.is_own {
            return self.show(Entry::Received(told));
        }
        self.catch_up.held.push(told);
        if self.catch_up.held.len() > HELD_MAX {
            self.show_held();
        }
    }

    /// Shows what was held back.
    pub(super) fn show_held(&mut self) {
        for told in std::mem::take(&mut self.catch_up.held) {
            self.show(Entry::Received(told));
        }
    }

    /// Shows in order what the histories of the rooms have and what was not shown yet, `arrived`
    /// lines of one's own, and what was held back; then says what is unknown. `is_whole`: no
    /// datagram with a part of them was lost.
    pub(super) fn show_missed(
        &mut self,
        history: Vec<Received>,
        arrived: Vec<Received>,
        complete_since: &HashMap<String, Sequence>,
        is_whole: bool,
    ) {
        if !self.catch_up.is_pending() {
            return arrived.into_iter().for_each(|told| self.show(Entry::Received(told)));
        }
        let is_in_doubt = |room: &&String| {
            !is_whole || complete_since.get(*room).is_none_or(|since| *since > self.catch_up.last)
        };
        let in_doubt: Vec<String> = self.rooms.iter().filter(is_in_doubt).cloned().collect();
        let (is_unknown, missed) = (self.catch_up.is_unknown, self.catch_up.missed(history));
        let missed: Vec<Received> = missed.into_iter().filter(|told| !told.is_own).collect();
        let count = missed.len();
        let mut all: Vec<Received> = missed
            .into_iter()
            .chain(arrived)
            .chain(std::mem::take(&mut self.catch_up.held))
            .collect();
        all.sort_by_key(|told| told.id);
        all.into_iter().for_each(|told| self.show(Entry::Received(told)));
        self.catch_up.done();
        if is_unknown {
            return self.say_unknown("the server's line numbers have changed");
        }
        let said = match (count, self.rooms.is_empty(), in_doubt.is_empty()) {
            (0, false, true) => {
                "nothing was said in your rooms while you were disconnected; ".to_owned()
            }
            (0, ..) => String::new(),
            _ => format!(
                "{} said while you were disconnected {} marked ~; ",
                lines_of(count),
                if count == 1 { "is" } else { "are" }
            ),
        };
        let doubt = match in_doubt.len() {
            0 => String::new(),
            1..=3 => format!("there may be more in {}; ", in_doubt.join(", ")),
            rooms => format!("there may be more in {rooms} rooms; "),
        };
        self.notice(format!("{said}{doubt}private messages from that time are not stored"));
    }

    /// The history could not be asked.
    pub(super) fn catch_up_in_vain(&mut self) {
        if self.catch_up.is_pending() {
            self.show_held();
            self.catch_up.done();
            self.say_unknown("the history could not be read");
        }
    }

    fn say_unknown(&mut self, why: &str) {
        self.notice(format!("cannot show what others said while you were disconnected: {why}; /history shows a room's last lines"));
    }

    /// Takes note of a line that the server sent.
    pub(super) fn note_received(&mut self, line: &Tagged<'_>, told: &Received) {
        if line.to.as_deref() != Some("history") {
            self.catch_up.note(told);
        }
    }
}
