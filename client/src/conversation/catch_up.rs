//! What others said during an outage. After reconnecting, the client reads the history of each
//! room. It shows the lines that it has not shown yet, marked as earlier, and reports where lines
//! may be missing.
//!
//! Ids grow with the server's log, so the last id and the lines shown since identify what was
//! received. Until the histories have arrived, the client holds back new lines, so that all lines
//! appear in the order in which they were said.

use super::{Conversation, Entry, Phase, Received, lines_of};
use forkchat_common::ids::RecordId;
use forkchat_common::protocol::line::tagged::Kind;
use std::collections::HashMap;

/// How many lines to request of all histories together, and of each at least.
const LINES_MAX: usize = 500;
const LINES_PER_ROOM_MIN: usize = 20;
/// How many lines the client may show between the outage and the histories. After more of them it
/// doesn't know which lines are missing.
const SHOWN_MAX: usize = 20_000;
/// How many lines the client holds back. More are shown at once, out of order.
const HELD_BACK_MAX: usize = 2_000;

/// Which lines were received, and which are held back.
#[derive(Debug, Default)]
pub(super) struct CatchUp {
    /// The last id before the outage; without an outage, the last id so far.
    last_id: RecordId,
    /// The last id received over this connection.
    newest_id: RecordId,
    /// How many lines of each id and room were shown: of the last id, and during an outage of all
    /// ids since.
    shown: HashMap<(RecordId, String), usize>,
    /// The connection was lost, and the histories have not been read since.
    is_pending: bool,
    /// It is unknown which lines are missing: the server's clock was set back, so its ids can't be
    /// compared, or too many lines were shown meanwhile.
    is_unknown: bool,
    held_back: Vec<Received>,
}

impl CatchUp {
    /// How many lines of each room's history to request.
    pub fn lines_per_room(rooms: usize) -> usize {
        (LINES_MAX / rooms.max(1)).max(LINES_PER_ROOM_MIN)
    }

    /// Whether the histories must be read for the lines of others.
    pub fn is_pending(&self) -> bool {
        self.is_pending
    }

    pub fn connected(&mut self) {
        self.newest_id = RecordId::ZERO;
    }

    /// The connection was lost after a login. From now on lines may be missing.
    pub fn disconnected(&mut self) {
        self.is_pending = true;
    }

    /// Notes a received line that is not from a history.
    pub fn note(&mut self, received: &Received) {
        let Some(id) = received.id else { return };
        self.newest_id = self.newest_id.max(id);
        if !self.is_pending && id > self.last_id {
            self.last_id = id;
            self.shown.clear();
        }
        if self.is_pending && id < self.last_id {
            self.is_unknown = true;
        }
        if let (Some(Kind::Say | Kind::Action), Some(room)) = (received.kind, &received.room) {
            self.is_unknown |= self.shown.len() >= SHOWN_MAX;
            if !self.is_unknown {
                *self.shown.entry((id, room.clone())).or_default() += 1;
            }
        }
    }

    /// The lines of the histories that were not shown. They count as shown from now on.
    fn take_missed(&mut self, history: Vec<Received>) -> Vec<Received> {
        let mut shown_before = self.shown.clone();
        let mut is_missed = |received: &Received| {
            let (Some(id), Some(room)) = (received.id, &received.room) else { return false };
            let key = (id, room.clone());
            if let Some(count) = shown_before.get_mut(&key).filter(|count| **count > 0) {
                *count -= 1;
                return false;
            }
            let is_missed = id >= self.last_id && !self.is_unknown;
            if is_missed {
                *self.shown.entry(key).or_default() += 1;
            }
            is_missed
        };
        history.into_iter().filter(|received| is_missed(received)).collect()
    }

    /// The histories were read, or can't be. No line is missing any more.
    fn finish(&mut self) {
        (self.last_id, self.is_pending, self.is_unknown) = (self.newest_id, false, false);
        self.shown.retain(|(id, _), _| *id == self.newest_id);
    }
}

impl Conversation {
    /// Shows a line. Holds it back while the lines before it are not known.
    pub(super) fn show_in_order(&mut self, received: Received) {
        let is_restoring = self.phase == Phase::Resolving
            || self.phase == Phase::LoggingIn && self.login.is_return();
        if !is_restoring || !self.catch_up.is_pending() || received.to.is_some() || received.is_own
        {
            return self.show(Entry::Received(received));
        }
        self.catch_up.held_back.push(received);
        if self.catch_up.held_back.len() > HELD_BACK_MAX {
            self.show_held_back();
        }
    }

    pub(super) fn show_held_back(&mut self) {
        for received in std::mem::take(&mut self.catch_up.held_back) {
            self.show(Entry::Received(received));
        }
    }

    /// Shows in order: the lines of the histories that were not shown yet, the user's lines that
    /// had `arrived`, and the lines held back. Then reports where lines may be missing. `is_whole`:
    /// no datagram with a part of the histories was lost.
    pub(super) fn show_missed(
        &mut self,
        history: Vec<Received>,
        arrived: Vec<Received>,
        complete_since: &HashMap<String, RecordId>,
        is_whole: bool,
    ) {
        if !self.catch_up.is_pending() {
            return arrived.into_iter().for_each(|received| self.show(Entry::Received(received)));
        }
        let may_have_more = |room: &&String| {
            let since = complete_since.get(*room);
            !is_whole || since.is_none_or(|since| *since > self.catch_up.last_id)
        };
        let incomplete: Vec<String> =
            self.identity.rooms.iter().filter(may_have_more).cloned().collect();
        let is_unknown = self.catch_up.is_unknown;
        let missed: Vec<Received> = (self.catch_up.take_missed(history).into_iter())
            .filter(|received| !received.is_own)
            .collect();
        let count = missed.len();
        let mut all: Vec<Received> = missed
            .into_iter()
            .chain(arrived)
            .chain(std::mem::take(&mut self.catch_up.held_back))
            .collect();
        all.sort_by_key(|received| received.id);
        all.into_iter().for_each(|received| self.show(Entry::Received(received)));
        self.catch_up.finish();
        if is_unknown {
            return self.report_unknown("the server's line numbers have changed");
        }
        let said = match (count, self.identity.rooms.is_empty(), incomplete.is_empty()) {
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
        let more = match incomplete.len() {
            0 => String::new(),
            1..=3 => format!("there may be more in {}; ", incomplete.join(", ")),
            rooms => format!("there may be more in {rooms} rooms; "),
        };
        self.notice(format!("{said}{more}private messages from that time are not stored"));
    }

    /// The histories can't be read.
    pub(super) fn abort_catch_up(&mut self) {
        if self.catch_up.is_pending() {
            self.show_held_back();
            self.catch_up.finish();
            self.report_unknown("the history could not be read");
        }
    }

    fn report_unknown(&mut self, why: &str) {
        self.notice(format!(
            "cannot show what others said while you were disconnected: {why}; \
             /history shows a room's last lines"
        ));
    }
}
