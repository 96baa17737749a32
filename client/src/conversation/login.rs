//! Logging in, for the first time and after a lost connection: settings, nickname, rooms; then
//! finding out which unconfirmed lines had arrived.
//!
//! After a loss the nickname is the key. While it is taken, the old session may still exist and its
//! lines may still be read. Once this session has the nickname again, all lines of the old session
//! have been processed, and the history contains them.

use super::catch_up::CatchUp;
use super::entry::{DeliveryState, Received};
use super::line::{Fence, Line, Purpose, Request};
use super::{Conversation, Output, Phase, lines_of};
use crate::backoff::Backoff;
use forkchat_common::charset::Charset;
use forkchat_common::ids::Sequence;
use forkchat_common::names::key_of;
use forkchat_common::protocol::line::command::{Command, parse};
use forkchat_common::protocol::line::tagged::{Kind, Tagged};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// After how many seconds each the nickname is asked for again while the old session seems to hold
/// it.
///
/// Together longer than the server keeps a silent UDP session
/// ([`forkchat_common::limits::UDP_SILENCE_SECONDS_MAX`]).
const REGAIN_SECONDS: [u64; 9] = [1, 1, 2, 4, 8, 15, 30, 30, 35];
/// Over UDP a login is sent so often, and then counts as done; a history is asked for no oftener.
const LOGIN_TRIES_MAX: u32 = 6;
/// How long the server may take to answer a login.
const LOGIN: Duration = Duration::from_secs(30);
/// Lines of histories kept while settling: as many as are answered for as many rooms as lines in
/// flight can have been said in.
const HISTORY_KEPT_MAX: usize = 64 * HISTORY_LINES;
/// Lines of a room's history asked for: as many as the server gives.
const HISTORY_LINES: usize = 500;
/// The room that the server puts everyone in, before anything else.
const FIRST_ROOM: &str = "#lobby";

/// What a login needs to remember.
#[derive(Debug, Default)]
pub(super) struct Login {
    /// After a loss: the former nickname, rooms and current room.
    former: Option<(String, Vec<String>, Option<String>)>,
    /// While histories are asked for, which takes going from room to room: where one talked, and
    /// will again; `None` otherwise.
    talked_in: Option<Option<String>>,
    /// The server's words if a wish was refused, and whether it was the nickname.
    refused: Option<String>,
    is_nick_refused: bool,
    regains: usize,
    /// How often the login was sent over this connection.
    tries: u32,
    /// The log position of the first login. Earlier lines in the history are from others, or from
    /// an earlier run.
    place: Option<Sequence>,
    /// When its last lines were sent, while their answers are awaited; and whether they were
    /// awaited in vain.
    began: Option<Instant>,
    is_given_up: bool,
    /// Whether the last `/history` that was sent was typed: then its lines are shown. Others are
    /// this client's own business, also those that come late, when a part was lost and it was asked
    /// for again.
    is_history_wanted: bool,
    /// What the history told, and from which place on it has everything, by room.
    history: Vec<Received>,
    complete_since: HashMap<String, Sequence>,
    /// Over UDP: how many gaps had been noticed when it was asked for.
    gaps: u64,
}

impl Login {
    /// Why it was given up, if it was.
    pub fn given_up(&self) -> Option<&'static str> {
        self.is_given_up.then_some("the server doesn't answer")
    }

    /// Whether a login has succeeded since the start.
    pub fn was_done(&self) -> bool {
        self.place.is_some()
    }

    /// The name and the room of before the loss, while they are taken back.
    pub fn former(&self) -> Option<(&str, Option<&str>)> {
        self.former.as_ref().map(|(nick, _, room)| (nick.as_str(), room.as_deref()))
    }

    /// The room of before the histories were asked for, while they are.
    pub fn talked_in(&self) -> Option<&Option<String>> {
        self.talked_in.as_ref()
    }

    /// Whether one was logged in before and takes back what one had.
    pub fn is_return(&self) -> bool {
        self.former.is_some()
    }
}

impl Conversation {
    /// The connection is there: logs in.
    pub fn connected(&mut self, now: Instant) {
        (self.receive_charset, self.send_charset) = (Charset::default(), Charset::default());
        self.keepalive.connected(now);
        self.catch_up.connected();
        (self.login.is_given_up, self.login.tries) = (false, 0);
        // No answer names it when the login enters further rooms.
        self.rooms = vec![FIRST_ROOM.to_owned()];
        self.log_in(now);
    }

    /// Sends everything that a login consists of; [`Conversation::logged_in`] follows with the last
    /// answer.
    pub(super) fn log_in(&mut self, now: Instant) {
        self.phase = Phase::LoggingIn;
        (self.login.refused, self.login.is_nick_refused, self.login.regains, self.login.began) =
            (None, false, 0, Some(now));
        for line in ["/set tags on", "/set echo on"] {
            self.send_for(line, Purpose::Setup, now);
        }
        // Also if only its answer is missing: it may have been lost.
        if self.config.charset != self.receive_charset {
            self.send_for(&format!("/charset {}", self.config.charset.name()), Purpose::Setup, now);
            self.send_charset = self.config.charset;
        }
        if let Some(joins) = self.joins {
            self.send_for(
                if joins { "/set joins on" } else { "/set joins off" },
                Purpose::Setup,
                now,
            );
        }
        let (nick, rooms) = match self.login.former.clone() {
            Some((nick, rooms, current)) => {
                (Some(nick), rooms.into_iter().chain(current).collect())
            }
            None => (self.config.nick.clone(), self.config.rooms.clone()),
        };
        if let Some(nick) = nick {
            self.send_for(&format!("/nick {nick}"), Purpose::Nick, now);
        }
        // Before the others are entered: in as many rooms as the server allows there is no place
        // for it.
        if self.login.is_return() && !rooms.iter().any(|room| room == FIRST_ROOM) {
            self.send_for(&format!("/leave {FIRST_ROOM}"), Purpose::Setup, now);
        }
        for room in &rooms {
            self.send_for(&format!("/join {room}"), Purpose::Room, now);
        }
        self.send_for("/whoami", Purpose::Fence(Fence::Login), now);
    }

    /// The connection is lost: what is there is to be taken back.
    pub(super) fn remember_for_return(&mut self) {
        let talked_in = self.login.talked_in.take();
        if !self.login.is_return() && self.login.place.is_some() {
            let current = talked_in.unwrap_or_else(|| self.current.take());
            self.login.former = Some((self.nick.clone(), std::mem::take(&mut self.rooms), current));
        }
        if self.login.was_done() {
            self.catch_up.lost();
        }
        self.rooms.clear();
    }

    /// What follows from an answer, by the purpose of its line.
    pub(super) fn answered(&mut self, line: &Line, told: &Tagged<'_>, now: Instant) {
        let is_refused = told.event == Kind::Error;
        if let (true, Ok(Some((_, Command::Leave(Some(room)))))) = (is_refused, parse(&line.text)) {
            // One isn't in it: over UDP the answer that told so may have been lost.
            self.rooms.retain(|known| key_of(known) != key_of(room));
        }
        match &line.purpose {
            Purpose::Nick | Purpose::Room if is_refused => {
                self.login.refused = Some(told.text().to_owned());
                self.login.is_nick_refused |= line.purpose == Purpose::Nick;
            }
            Purpose::Setup if told.to.as_deref() == Some("charset") && !is_refused => {
                self.receive_charset = self.config.charset
            }
            Purpose::Fence(Fence::Login) => self.logged_in(told.id, now),
            Purpose::Fence(Fence::History) if !self.goes_back(now) => self.settle(now),
            Purpose::Typed if told.event == Kind::Reply => self.obeyed(line, now),
            Purpose::Goodbye => self.end(),
            _ => {}
        }
    }

    /// The login's answers are all there.
    fn logged_in(&mut self, place: Option<Sequence>, now: Instant) {
        self.login.began = None;
        let is_unanswered =
            |line: &Line| matches!(line.purpose, Purpose::Setup | Purpose::Nick | Purpose::Room);
        if self.login.tries < LOGIN_TRIES_MAX && self.in_flight.iter().any(is_unanswered) {
            // Over UDP an answer is missing: it is unknown whether the command was done, so it is
            // repeated.
            self.in_flight.forget(|line| !line.is_typed());
            self.login.tries += 1;
            return self.log_in(now);
        }
        self.backoff = Backoff::default();
        self.login.tries = 0;
        self.login.place = self.login.place.or(place);
        if !self.config.interactive
            && let Some(refused) = self.login.refused.take()
        {
            return self.fail(refused);
        }
        if let Some((nick, ..)) = self.login.former.clone() {
            if self.login.is_nick_refused && self.login.regains < REGAIN_SECONDS.len() {
                if self.login.regains == 0 {
                    let minutes = REGAIN_SECONDS.iter().sum::<u64>() / 60;
                    self.notice(format!(
                        "reconnected, but {nick} is taken, perhaps still by the lost connection; trying again for {minutes} minutes"
                    ));
                }
                self.phase = Phase::RetryingNick(
                    now + Duration::from_secs(REGAIN_SECONDS[self.login.regains]),
                );
                self.login.regains += 1;
                self.show_held();
                return;
            }
            self.login.former = None;
            if self.login.is_nick_refused {
                self.notice(format!(
                    "{nick} is still taken; you are now {}, /nick NAME changes it",
                    self.nick
                ));
                self.show_queue_as_not_sent();
            } else {
                let room =
                    self.current.as_ref().map_or(String::new(), |room| format!(" in {room}"));
                self.notice(format!("reconnected as {nick}{room}"));
                return self.ask_or_doubt(now);
            }
        }
        self.doubt(now);
    }

    /// Finds out what became of doubtful lines, if there is a way.
    pub(super) fn ask_or_doubt(&mut self, now: Instant) {
        self.login.tries += 1;
        if self.login.tries > LOGIN_TRIES_MAX || !self.ask_for_history(now) {
            self.doubt(now);
        }
    }

    /// Request once more for the nickname.
    pub(super) fn regain(&mut self, now: Instant) {
        self.phase = Phase::LoggingIn;
        (self.login.is_nick_refused, self.login.began) = (false, Some(now));
        if let Some((nick, ..)) = &self.login.former {
            self.send_for(&format!("/nick {nick}"), Purpose::Nick, now);
        }
        self.send_for("/whoami", Purpose::Fence(Fence::Login), now);
    }

    /// Request for the histories of the rooms in which lines are in doubt, or others may have spoken;
    /// `false` if there is nothing to ask for.
    fn ask_for_history(&mut self, now: Instant) -> bool {
        let in_doubt: Vec<&String> = self
            .doubtful
            .iter()
            .filter(|line| line.is_in_history())
            .filter_map(|line| line.room.as_ref())
            .collect();
        let lines = CatchUp::lines_of_each(self.rooms.len());
        let is_asked = |room: &&String| self.catch_up.is_pending() || in_doubt.contains(room);
        let rooms: Vec<(String, usize)> = (self.rooms.iter().filter(is_asked))
            .map(|room| {
                (room.clone(), if in_doubt.contains(&room) { HISTORY_LINES } else { lines })
            })
            .collect();
        if rooms.is_empty() {
            return false;
        }
        self.phase = Phase::Resolving;
        (self.login.history, self.login.complete_since, self.login.began) =
            (Vec::new(), HashMap::new(), Some(now));
        self.login.gaps = self.keepalive.gaps();
        let current = self.login.talked_in.get_or_insert_with(|| self.current.clone()).clone();
        for (room, lines) in rooms {
            self.send_for(&format!("/join {room}"), Purpose::Setup, now);
            self.send_for(&format!("/history {lines}"), Purpose::History(room), now);
        }
        if let Some(current) = current {
            self.send_for(&format!("/join {current}"), Purpose::Setup, now);
        }
        self.send_for("/ping", Purpose::Fence(Fence::History), now);
        true
    }

    /// A line is sent: the last `/history` decides whether the history is shown.
    pub(super) fn note_history_wish(&mut self, line: &Line) {
        if line.asks == Request::Command("history".to_owned()) {
            self.login.is_history_wanted = line.is_typed();
        }
    }

    /// Over UDP the line that goes back to the room one talked in may be lost: then sends it again;
    /// `false` if one is there, or it was tried often.
    fn goes_back(&mut self, now: Instant) -> bool {
        let Some(Some(room)) = self.login.talked_in.clone().filter(|room| *room != self.current)
        else {
            return false;
        };
        self.login.tries += 1;
        if !self.config.udp || self.login.tries > LOGIN_TRIES_MAX {
            return false;
        }
        self.send_for(&format!("/join {room}"), Purpose::Setup, now);
        self.send_for("/ping", Purpose::Fence(Fence::History), now);
        true
    }

    /// Keeps the lines of the history while settling. Returns whether this line belongs to it, or
    /// to an earlier answer that is not shown.
    pub(super) fn is_history(&mut self, line: &Tagged<'_>, told: &Received, now: Instant) -> bool {
        let is_of_history = told.to.as_deref() == Some("history");
        let is_history = self.phase == Phase::Resolving && is_of_history;
        if is_history {
            // However long it takes, it is being answered.
            self.login.began = Some(now);
        }
        if is_history
            && matches!(told.kind, Some(Kind::Say | Kind::Action))
            && self.login.history.len() < HISTORY_KEPT_MAX
        {
            self.login.history.push(told.clone());
        }
        if let (true, Some(room), Some(since)) = (is_history, &line.room, line.since) {
            self.login.complete_since.insert(room.clone(), since);
        }
        is_history || is_of_history && !self.login.is_history_wanted
    }

    /// When a login that is not answered is given up.
    pub(super) fn login_deadline(&self) -> Option<Instant> {
        self.login
            .began
            .filter(|_| matches!(self.phase, Phase::LoggingIn | Phase::Resolving))
            .map(|began| began + LOGIN)
    }

    /// The server does not answer.
    pub(super) fn give_up_login(&mut self) {
        (self.login.is_given_up, self.login.began) = (true, None);
        self.push(Output::Close);
    }

    /// The history is there: shows the doubtful lines that are in it as accepted, and sends again
    /// those that are not.
    fn settle(&mut self, now: Instant) {
        self.login.began = None;
        let (mut again, mut doubtful) = (Vec::new(), Vec::new());
        let mut history: Vec<Received> = std::mem::take(&mut self.login.history);
        let mut arrived = Vec::new();
        for line in std::mem::take(&mut self.doubtful) {
            match self.verdict(&line, &mut history) {
                Verdict::Arrived(told) => arrived.push(Received { is_earlier: false, ..*told }),
                Verdict::Missing => again.push(line),
                // A command such as /join is done again in any case: the lines typed after it are
                // meant for that room.
                Verdict::Unknown if line.is_repeatable() => again.push(line),
                Verdict::Unknown => doubtful.push(line),
            }
        }
        self.doubtful = doubtful;
        let complete_since = std::mem::take(&mut self.login.complete_since);
        self.show_missed(
            history,
            arrived,
            &complete_since,
            self.login.gaps == self.keepalive.gaps(),
        );
        self.send_again(again);
        self.doubt(now);
    }

    /// What the history says of a line. One that is found is marked, so that it is not found for
    /// the next one with the same text.
    fn verdict(&self, line: &Line, history: &mut [Received]) -> Verdict {
        let Some(room) =
            line.room.as_ref().filter(|room| line.is_in_history() && self.rooms.contains(room))
        else {
            return Verdict::Unknown;
        };
        let place = self.login.place.unwrap_or_default();
        let (last, mut echoes) = self.last_echo.get(room).copied().unwrap_or((place, 0));
        let kind = if line.asks == Request::Action { Kind::Action } else { Kind::Say };
        let is_ours = |told: &Received| {
            told.room.as_ref() == Some(room)
                && told.nick.as_deref().is_some_and(|nick| key_of(nick) == line.key)
        };
        let is_it = |told: &Received| {
            !told.is_own
                && told.kind == Some(kind)
                && Some(told.text.as_str()) == line.heard().as_deref()
        };
        let found = history.iter().position(|told| {
            if !is_ours(told) || told.id < Some(last) {
                return false;
            }
            // Of the last echo's record as many lines as there were echoes are not in doubt.
            if told.id == Some(last) && echoes > 0 {
                echoes -= 1;
                return false;
            }
            is_it(told)
        });
        if let Some(at) = found {
            history[at].is_own = true;
            return Verdict::Arrived(Box::new(history[at].clone()));
        }
        // Over UDP echoes may be lost, so it may also stand before the last one that came; and the
        // history has to be whole from the very beginning.
        let begins = if self.config.udp { place } else { last };
        let may_stand_before =
            history.iter().any(|told| is_ours(told) && is_it(told) && told.id > Some(begins));
        let is_whole = self.login.complete_since.get(room).is_some_and(|since| *since <= begins)
            && self.login.gaps == self.keepalive.gaps();
        if is_whole && !may_stand_before { Verdict::Missing } else { Verdict::Unknown }
    }

    /// Puts lines that did not arrive in front of all others.
    pub(super) fn send_again(&mut self, lines: Vec<Line>) {
        match lines.iter().filter(|line| line.asks.is_heard()).count() {
            0 => {}
            count => self.notice(format!("resending {} that had not arrived", lines_of(count))),
        }
        self.queue_again(lines);
    }

    pub(super) fn queue_again(&mut self, lines: Vec<Line>) {
        for line in lines.into_iter().rev() {
            self.queue_bytes += line.text.len();
            self.queue.push_front(line);
        }
    }

    /// Nothing more can be learned about the lines in doubt: shows them so. From now on lines are
    /// sent as they are typed.
    fn doubt(&mut self, now: Instant) {
        self.login.talked_in = None;
        self.catch_up_in_vain();
        let (again, doubtful): (Vec<Line>, Vec<Line>) =
            std::mem::take(&mut self.doubtful).into_iter().partition(Line::is_repeatable);
        self.queue_again(again);
        self.show_all(doubtful.iter(), DeliveryState::InDoubt);
        if !doubtful.is_empty() {
            self.notice(format!(
                "{} may not have arrived; to send {it} again, recall {it} with the up arrow",
                if doubtful.len() == 1 {
                    "this line".to_owned()
                } else {
                    format!("these {} lines", doubtful.len())
                },
                it = if doubtful.len() == 1 { "it" } else { "them" }
            ));
        }
        self.phase = Phase::Ready;
        self.learn_names(now);
    }
}

/// What became of a line.
enum Verdict {
    /// It was said: so it was told.
    Arrived(Box<Received>),
    /// It is not there.
    Missing,
    /// Unknown.
    Unknown,
}
