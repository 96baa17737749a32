//! Logging in, for the first time and after a loss: settings, nickname, rooms; then what became of lines whose acceptance was never seen.
//!
//! After a loss the nickname is the key: while somebody bears it, the old session may still be there and read lines; once it is one's own again, what the
//! old session was to say is said, and the history knows it.

use super::lines::{Asks, Fence, Line, Purpose};
use super::shown::{Shown, Standing, Told};
use super::{Phase, Session, lines_of};
use crate::backoff::Backoff;
use forkchat_common::charset::Charset;
use forkchat_common::ids::Sequence;
use forkchat_common::names::key_of;
use forkchat_common::wire::tagged::{Kind, Tagged};
use std::time::{Duration, Instant};

/// After how many seconds each the nickname is asked for again while the old session seems to hold it.
const REGAIN_SECONDS: [u64; 6] = [1, 1, 2, 4, 8, 15];
/// Lines of a room's history asked for: as many as the server gives.
const HISTORY_LINES: usize = 500;
/// The room that the server puts everyone in.
const FIRST_ROOM: &str = "#lobby";

/// What a login needs to remember.
#[derive(Debug, Default)]
pub(super) struct Login {
    /// After a loss: who one was, where, and where one talked.
    former: Option<(String, Vec<String>, Option<String>)>,
    /// The server's words if a wish was refused, and whether it was the nickname.
    refused: Option<String>,
    is_nick_refused: bool,
    regains: usize,
    /// One's place in the log when the first login was done: what is in the history from before is somebody else's, or of an earlier run.
    place: Option<Sequence>,
    /// What the history told, and the rooms of which it could not be had.
    pub history: Vec<Told>,
    unknown_rooms: Vec<String>,
}

impl Login {
    /// Whether one was logged in before and takes back what one had.
    pub fn is_return(&self) -> bool {
        self.former.is_some()
    }
}

impl Session {
    /// The connection is there: logs in.
    pub fn connected(&mut self, now: Instant) {
        (self.heard_in, self.spoken_in) = (Charset::default(), Charset::default());
        self.signs.connected(now);
        if self.login.is_return() {
            self.notice("connected again".to_owned());
        }
        self.log_in(now);
    }

    /// Sends everything that a login consists of; [`Session::logged_in`] follows with the last answer.
    pub(super) fn log_in(&mut self, now: Instant) {
        self.phase = Phase::LoggingIn;
        (self.login.refused, self.login.is_nick_refused, self.login.regains) = (None, false, 0);
        for line in ["/set tags on", "/set echo on"] {
            self.send_for(line, Purpose::Setup, now);
        }
        if self.wishes.charset != self.spoken_in {
            self.send_for(&format!("/charset {}", self.wishes.charset.name()), Purpose::Setup, now);
            self.spoken_in = self.wishes.charset;
        }
        if let Some(joins) = self.joins {
            self.send_for(if joins { "/set joins on" } else { "/set joins off" }, Purpose::Setup, now);
        }
        let (nick, rooms) = match self.login.former.clone() {
            Some((nick, rooms, current)) => (Some(nick), rooms.into_iter().chain(current).collect()),
            None => (self.wishes.nick.clone(), self.wishes.rooms.clone()),
        };
        if let Some(nick) = nick {
            self.send_for(&format!("/nick {nick}"), Purpose::Nick, now);
        }
        for room in &rooms {
            self.send_for(&format!("/join {room}"), Purpose::Room, now);
        }
        if self.login.is_return() && !rooms.iter().any(|room| room == FIRST_ROOM) {
            self.send_for(&format!("/leave {FIRST_ROOM}"), Purpose::Setup, now);
        }
        self.send_for("/whoami", Purpose::Fence(Fence::Login), now);
    }

    /// The connection is lost: what is there is to be taken back.
    pub(super) fn remember_for_return(&mut self) {
        if !self.login.is_return() && self.login.place.is_some() {
            self.login.former = Some((self.nick.clone(), std::mem::take(&mut self.rooms), self.current.take()));
        }
        self.rooms.clear();
    }

    /// What follows from an answer, by the purpose of its line.
    pub(super) fn answered(&mut self, line: &Line, told: &Tagged<'_>, now: Instant) {
        let is_refused = told.event == Kind::Error;
        match &line.purpose {
            Purpose::Nick | Purpose::Room if is_refused => {
                self.login.refused = Some(told.text().to_owned());
                self.login.is_nick_refused |= line.purpose == Purpose::Nick;
            }
            Purpose::Setup if told.to.as_deref() == Some("charset") && !is_refused => self.heard_in = self.wishes.charset,
            Purpose::Fence(Fence::Login) => self.logged_in(told.id, now),
            Purpose::Fence(Fence::Settled) => self.settle(now),
            Purpose::History(room) if is_refused => self.login.unknown_rooms.push(room.clone()),
            Purpose::Typed if told.event == Kind::Reply => self.obeyed(line, now),
            Purpose::Goodbye => self.end(),
            _ => {}
        }
    }

    /// The login's answers are all there.
    fn logged_in(&mut self, place: Option<Sequence>, now: Instant) {
        self.backoff = Backoff::default();
        self.login.place = self.login.place.or(place);
        if !self.wishes.interactive
            && let Some(refused) = self.login.refused.take()
        {
            return self.fail(refused);
        }
        if let Some((nick, ..)) = self.login.former.clone() {
            if self.login.is_nick_refused && self.login.regains < REGAIN_SECONDS.len() {
                if self.login.regains == 0 {
                    self.notice(format!("{nick} is taken, it seems by the lost connection; asking for it until it is free"));
                }
                self.phase = Phase::Regaining(now + Duration::from_secs(REGAIN_SECONDS[self.login.regains]));
                self.login.regains += 1;
                return;
            }
            self.login.former = None;
            if self.login.is_nick_refused {
                self.notice(format!("{nick} stays taken; you are {} now, /nick NAME changes it", self.nick));
            } else if self.ask_for_history(now) {
                return;
            }
        }
        self.doubt(now);
    }

    /// Asks once more for the nickname.
    pub(super) fn regain(&mut self, now: Instant) {
        self.phase = Phase::LoggingIn;
        self.login.is_nick_refused = false;
        if let Some((nick, ..)) = &self.login.former {
            self.send_for(&format!("/nick {nick}"), Purpose::Nick, now);
        }
        self.send_for("/whoami", Purpose::Fence(Fence::Login), now);
    }

    /// Asks for the histories of the rooms in which lines are in doubt; `false` if there is nothing to ask for.
    fn ask_for_history(&mut self, now: Instant) -> bool {
        let mut rooms: Vec<String> =
            self.doubtful.iter().filter(|line| line.is_in_history()).filter_map(|line| line.room.clone()).collect();
        rooms.dedup();
        rooms.retain(|room| self.rooms.contains(room));
        if rooms.is_empty() {
            return false;
        }
        self.phase = Phase::Settling;
        (self.login.history, self.login.unknown_rooms) = (Vec::new(), Vec::new());
        let current = self.current.clone();
        for room in rooms {
            self.send_for(&format!("/join {room}"), Purpose::Setup, now);
            self.send_for(&format!("/history {HISTORY_LINES}"), Purpose::History(room), now);
        }
        if let Some(current) = current {
            self.send_for(&format!("/join {current}"), Purpose::Setup, now);
        }
        self.send_for("/ping", Purpose::Fence(Fence::Settled), now);
        true
    }

    /// Keeps what the history tells while settling; gives back whether this line is of it.
    pub(super) fn is_history(&mut self, told: &Told) -> bool {
        let is_history = self.phase == Phase::Settling && told.to.as_deref() == Some("history");
        if is_history && matches!(told.kind, Some(Kind::Say | Kind::Action)) {
            self.login.history.push(told.clone());
        }
        is_history
    }

    /// The history is there: shows the doubtful lines that are in it as accepted, and sends again those that are not.
    fn settle(&mut self, now: Instant) {
        let (mut again, mut doubtful) = (Vec::new(), Vec::new());
        let mut arrived: Vec<Told> = std::mem::take(&mut self.login.history);
        for line in std::mem::take(&mut self.doubtful) {
            match self.verdict(&line, &mut arrived) {
                Verdict::Arrived(told) => self.show(Shown::Told(told)),
                Verdict::Missing => again.push(line),
                Verdict::Unknown => doubtful.push(line),
            }
        }
        self.doubtful = doubtful;
        self.send_again(again);
        self.doubt(now);
    }

    /// What the history says of a line. A line that is found is taken out, so that it is not found for the next one with the same text.
    fn verdict(&self, line: &Line, history: &mut [Told]) -> Verdict {
        let Some(room) = line.room.as_ref().filter(|room| line.is_in_history() && self.rooms.contains(room)) else {
            return Verdict::Unknown;
        };
        if self.login.unknown_rooms.contains(room) {
            return Verdict::Unknown;
        }
        let (last, mut echoes) = self.last_echo.get(room).copied().or(self.login.place.map(|place| (place, 0))).unwrap_or_default();
        let in_room = |told: &Told| told.room.as_ref() == Some(room);
        let reaches_back = history.iter().filter(|told| in_room(told)).count() < HISTORY_LINES
            || history.iter().find(|told| in_room(told)).is_some_and(|told| told.id <= Some(last));
        let kind = if line.asks == Asks::Act { Kind::Action } else { Kind::Say };
        let found = history.iter().position(|told| {
            if !in_room(told) || told.is_own || told.nick.as_deref().is_none_or(|nick| key_of(nick) != self.key) || told.id < Some(last) {
                return false;
            }
            // Of the last echo's record as many lines as there were echoes are not in doubt.
            if told.id == Some(last) && echoes > 0 {
                echoes -= 1;
                return false;
            }
            told.kind == Some(kind) && Some(told.text.as_str()) == line.heard()
        });
        match found {
            Some(at) => {
                // It stays where it is, so that what is counted stays countable, and is found no second time.
                history[at].is_own = true;
                Verdict::Arrived(history[at].clone())
            }
            None if reaches_back => Verdict::Missing,
            None => Verdict::Unknown,
        }
    }

    /// Puts lines that did not arrive in front of all others.
    pub(super) fn send_again(&mut self, lines: Vec<Line>) {
        if lines.is_empty() {
            return;
        }
        self.notice(format!("{} had not arrived and {} sent again", lines_of(lines.len()), if lines.len() == 1 { "is" } else { "are" }));
        for line in lines.into_iter().rev() {
            self.queue_bytes += line.text.len();
            self.queue.push_front(line);
        }
    }

    /// Nothing more can be learned about the lines in doubt: shows them so. From now on lines are sent as they are typed.
    fn doubt(&mut self, now: Instant) {
        let doubtful = std::mem::take(&mut self.doubtful);
        for line in &doubtful {
            self.show(line.shown(Standing::Doubtful));
        }
        if !doubtful.is_empty() {
            self.notice(format!(
                "nobody can tell whether {} arrived; if not, the arrow keys bring {} back",
                if doubtful.len() == 1 { "this line".to_owned() } else { format!("these {} lines", doubtful.len()) },
                if doubtful.len() == 1 { "it" } else { "them" }
            ));
        }
        self.phase = Phase::Ready;
        self.learn_names(now);
    }
}

/// What became of a line.
enum Verdict {
    /// It was said: so it was told.
    Arrived(Told),
    /// It is not there.
    Missing,
    /// Nobody can tell.
    Unknown,
}
