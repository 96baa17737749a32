//! After an outage: finds out which lines in doubt arrived. The client reads the history of each
//! room in which it said such a line. A line that is there was accepted. A line that is not there
//! is sent again, if the history certainly has every line since the last echo. All other lines stay
//! in doubt.
//!
//! `/history` is about the current room. So the client enters one room after the other, and at the
//! end returns to the room that was current before.

use super::catch_up::CatchUp;
use super::line::{Fence, Line, Purpose, Request};
use super::{Conversation, DeliveryState, Phase, Received, lines_of};
use forkchat_common::ids::RecordId;
use forkchat_common::names::key_of;
use forkchat_common::protocol::line::tagged::{Kind, Tagged};
use std::collections::HashMap;
use std::time::Instant;

/// Over UDP answers may be lost. The histories are requested at most this often.
const TRIES_MAX: u32 = 6;
/// Lines of a room's history to request: as many as the server sends.
const HISTORY_LINES: usize = 500;
/// Lines of all histories that are kept: those of as many rooms as there can be lines in flight.
const HISTORIES_LINES_MAX: usize = 64 * HISTORY_LINES;
/// Rooms whose last echo is remembered.
const ECHO_ROOMS_MAX: usize = 1_000;

/// What is known about the lines in doubt.
#[derive(Debug, Default)]
pub(super) struct Resolution {
    /// While histories are read: the room that was current before. `Some(None)` if there was none.
    return_room: Option<Option<String>>,
    tries: u32,
    /// Whether the user typed the last `/history` that was sent. Only then its answer is shown. The
    /// answer to the client's own request may come late and twice, and is never shown.
    is_history_typed: bool,
    /// The lines of all histories.
    history: Vec<Received>,
    /// For each room: the history has every line from this position on.
    complete_since: HashMap<String, RecordId>,
    /// Over UDP: how many gaps the client had noticed when it requested the histories.
    gaps_before: u64,
    /// For each room: the log position of the user's last echo, and the number of echoes there.
    last_echo: HashMap<String, (RecordId, usize)>,
}

impl Resolution {
    /// The room that the client will return to, while it reads histories.
    pub fn return_room(&self) -> Option<&Option<String>> {
        self.return_room.as_ref()
    }

    pub fn take_return_room(&mut self) -> Option<Option<String>> {
        self.return_room.take()
    }

    pub fn reset_tries(&mut self) {
        self.tries = 0;
    }

    /// Notes an echo of one of the user's own lines.
    pub fn note_echo(&mut self, tagged: &Tagged<'_>) {
        if let (None, Some(room), Some(id)) = (&tagged.to, &tagged.room, tagged.id) {
            if self.last_echo.len() > ECHO_ROOMS_MAX {
                self.last_echo.clear();
            }
            let (last, count) = self.last_echo.entry(room.clone()).or_insert((id, 0));
            (*last, *count) = (id, if *last == id { *count + 1 } else { 1 });
        }
    }

    /// A line is sent.
    pub fn note_sent(&mut self, line: &Line) {
        if line.request == Request::Command("history".to_owned()) {
            self.is_history_typed = line.is_typed();
        }
    }
}

/// Whether a line in doubt arrived.
enum Verdict {
    /// It did: the line as the history has it.
    Arrived(Box<Received>),
    Missing,
    Unknown,
}

impl Conversation {
    /// Reads the histories that are needed, if there are any, and the client has not tried too
    /// often.
    pub(super) fn read_histories_or_give_up(&mut self, now: Instant) {
        self.resolution.tries += 1;
        if self.resolution.tries > TRIES_MAX || !self.request_histories(now) {
            self.give_up_resolution(now);
        }
    }

    /// Requests the histories of the rooms in which lines are in doubt, or others may have said
    /// something. Returns false if there are none.
    fn request_histories(&mut self, now: Instant) -> bool {
        let in_doubt: Vec<&String> = self
            .in_doubt
            .iter()
            .filter(|line| line.is_in_history())
            .filter_map(|line| line.room.as_ref())
            .collect();
        let lines = CatchUp::lines_per_room(self.identity.rooms.len());
        let is_needed = |room: &&String| self.catch_up.is_pending() || in_doubt.contains(room);
        let rooms: Vec<(String, usize)> = (self.identity.rooms.iter().filter(is_needed))
            .map(|room| {
                (room.clone(), if in_doubt.contains(&room) { HISTORY_LINES } else { lines })
            })
            .collect();
        if rooms.is_empty() {
            return false;
        }
        self.phase = Phase::Resolving;
        (self.resolution.history, self.resolution.complete_since) = (Vec::new(), HashMap::new());
        self.login.await_answers(Some(now));
        self.resolution.gaps_before = self.keepalive.gaps();
        let return_room = self
            .resolution
            .return_room
            .get_or_insert_with(|| self.identity.current_room.clone())
            .clone();
        for (room, lines) in rooms {
            self.send_for(&format!("/join {room}"), Purpose::Setup, now);
            self.send_for(&format!("/history {lines}"), Purpose::History, now);
        }
        if let Some(room) = return_room {
            self.send_for(&format!("/join {room}"), Purpose::Setup, now);
        }
        self.send_for("/ping", Purpose::Fence(Fence::History), now);
        true
    }

    /// Over UDP the command that returns to the former room may be lost. Sends it again if the
    /// client is in another room, and has not tried too often. Returns whether it did.
    pub(super) fn returns_to_room(&mut self, now: Instant) -> bool {
        let return_room = self.resolution.return_room.clone();
        let Some(Some(room)) = return_room.filter(|room| *room != self.identity.current_room)
        else {
            return false;
        };
        self.resolution.tries += 1;
        if !self.config.udp || self.resolution.tries > TRIES_MAX {
            return false;
        }
        self.send_for(&format!("/join {room}"), Purpose::Setup, now);
        self.send_for("/ping", Purpose::Fence(Fence::History), now);
        true
    }

    /// Keeps the lines of histories while the phase is [`Phase::Resolving`]. Returns whether this
    /// line belongs to them, or to an earlier answer that is not shown.
    pub(super) fn is_history(
        &mut self,
        tagged: &Tagged<'_>,
        received: &Received,
        now: Instant,
    ) -> bool {
        let is_of_history = received.to.as_deref() == Some("history");
        let is_requested = self.phase == Phase::Resolving && is_of_history;
        if is_requested {
            // The answer may take long, as long as it goes on.
            self.login.await_answers(Some(now));
        }
        if is_requested
            && matches!(received.kind, Some(Kind::Say | Kind::Action))
            && self.resolution.history.len() < HISTORIES_LINES_MAX
        {
            self.resolution.history.push(received.clone());
        }
        if let (true, Some(room), Some(since)) = (is_requested, &tagged.room, tagged.since) {
            self.resolution.complete_since.insert(room.clone(), since);
        }
        is_requested || is_of_history && !self.resolution.is_history_typed
    }

    /// The histories have arrived. Shows the lines in doubt that are in them as accepted, and sends
    /// the missing ones again.
    pub(super) fn resolve(&mut self, now: Instant) {
        self.login.await_answers(None);
        let (mut again, mut in_doubt) = (Vec::new(), Vec::new());
        let mut history: Vec<Received> = std::mem::take(&mut self.resolution.history);
        let mut arrived = Vec::new();
        for line in std::mem::take(&mut self.in_doubt) {
            match self.verdict(&line, &mut history) {
                Verdict::Arrived(received) => {
                    arrived.push(Received { is_earlier: false, ..*received })
                }
                Verdict::Missing => again.push(line),
                // A command such as /join is repeated in any case: the lines typed after it are
                // meant for that room.
                Verdict::Unknown if line.is_repeatable() => again.push(line),
                Verdict::Unknown => in_doubt.push(line),
            }
        }
        self.in_doubt = in_doubt;
        let complete_since = std::mem::take(&mut self.resolution.complete_since);
        self.show_missed(history, arrived, &complete_since, self.are_histories_whole());
        self.send_again(again);
        self.give_up_resolution(now);
    }

    /// Whether no datagram was lost while the histories were read.
    fn are_histories_whole(&self) -> bool {
        self.resolution.gaps_before == self.keepalive.gaps()
    }

    /// Whether the history contains a line. Marks the line in the history as the user's own, so
    /// that it is not found again for another line with the same text.
    fn verdict(&self, line: &Line, history: &mut [Received]) -> Verdict {
        let Some(room) = line
            .room
            .as_ref()
            .filter(|room| line.is_in_history() && self.identity.rooms.contains(room))
        else {
            return Verdict::Unknown;
        };
        let login = self.login.first_id();
        let (last_echo, mut echoes) =
            self.resolution.last_echo.get(room).copied().unwrap_or((login, 0));
        let kind = if line.request == Request::Action { Kind::Action } else { Kind::Say };
        let is_from_user = |received: &Received| {
            received.room.as_ref() == Some(room)
                && received.nick.as_deref().is_some_and(|nick| key_of(nick) == line.nick_key)
        };
        let is_same = |received: &Received| {
            !received.is_own
                && received.kind == Some(kind)
                && Some(received.text.as_str()) == line.text_for_others().as_deref()
        };
        let found = history.iter().position(|received| {
            if !is_from_user(received) || received.id < Some(last_echo) {
                return false;
            }
            // One log position may hold several lines. Those that were echoed are not in doubt.
            if received.id == Some(last_echo) && echoes > 0 {
                echoes -= 1;
                return false;
            }
            is_same(received)
        });
        if let Some(at) = found {
            history[at].is_own = true;
            return Verdict::Arrived(Box::new(history[at].clone()));
        }
        // Over UDP echoes may be lost, so the line may also stand before the last echo. The history
        // must then be complete since the login.
        let begin = if self.config.udp { login } else { last_echo };
        let may_be_earlier = history.iter().any(|received| {
            is_from_user(received) && is_same(received) && received.id > Some(begin)
        });
        let is_complete =
            self.resolution.complete_since.get(room).is_some_and(|since| *since <= begin)
                && self.are_histories_whole();
        if is_complete && !may_be_earlier { Verdict::Missing } else { Verdict::Unknown }
    }

    /// Puts lines that did not arrive before all others in the queue.
    pub(super) fn send_again(&mut self, lines: Vec<Line>) {
        match lines.iter().filter(|line| line.request.is_visible()).count() {
            0 => {}
            count => self.notice(format!("resending {} that had not arrived", lines_of(count))),
        }
        self.queue.push_front(lines);
    }

    /// Nothing more can be found out. Shows the lines that are still in doubt. From now on lines
    /// are sent as they are typed.
    pub(super) fn give_up_resolution(&mut self, now: Instant) {
        self.resolution.return_room = None;
        self.abort_catch_up();
        let (again, in_doubt): (Vec<Line>, Vec<Line>) =
            std::mem::take(&mut self.in_doubt).into_iter().partition(Line::is_repeatable);
        self.queue.push_front(again);
        self.show_undelivered(in_doubt.iter(), DeliveryState::InDoubt);
        if !in_doubt.is_empty() {
            let (these, it) = match in_doubt.len() {
                1 => ("this line".to_owned(), "it"),
                count => (format!("these {count} lines"), "them"),
            };
            self.notice(format!(
                "{these} may not have arrived; to send {it} again, recall {it} with the up arrow"
            ));
        }
        self.phase = Phase::Ready;
        self.request_names(now);
    }
}
