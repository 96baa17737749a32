//! The login, for the first time and after an outage: settings, nickname, rooms.
//!
//! After an outage the nickname is what matters. While it is taken, the old session may still
//! exist, and the server may still read its lines. Once this session has the nickname, the server
//! has processed all lines of the old session, and the history contains them.

use super::identity::Identity;
use super::line::{Fence, Line, Purpose};
use super::{Conversation, Output, Phase};
use crate::backoff::Backoff;
use forkchat_common::charset::Charset;
use forkchat_common::ids::RecordId;
use forkchat_common::names::key_of;
use forkchat_common::protocol::line::input::parse;
use forkchat_common::protocol::line::tagged::{Kind, Tagged};
use std::time::{Duration, Instant};

/// The waits between requests for a nickname that is taken, perhaps by the old session. Together
/// they are longer than the server keeps a silent UDP session
/// ([`forkchat_common::limits::UDP_SILENCE_SECONDS_MAX`]).
const NICK_RETRY_SECONDS: [u64; 9] = [1, 1, 2, 4, 8, 15, 30, 30, 35];
/// Over UDP answers may be lost. A login is sent at most this often, and then counts as done.
const LOGIN_TRIES_MAX: u32 = 6;
/// How long the server may take to answer a login, or the next line of a history.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The server puts every new session into this room.
const FIRST_ROOM: &str = "#lobby";

/// The state of the login.
#[derive(Debug, Default)]
pub(super) struct Login {
    /// From an outage until everything is restored: the identity of before.
    former: Option<Identity>,
    /// Why the server refused the nickname or a room, and whether it was the nickname.
    refused: Option<String>,
    is_nick_refused: bool,
    nick_retries: usize,
    /// How often the login was sent over this connection.
    tries: u32,
    /// The id of the record of the first login. Earlier lines in a history are from other users, or
    /// from an earlier run of the client.
    first_id: Option<RecordId>,
    /// Since when the client waits for answers to the login, or for histories.
    awaited_since: Option<Instant>,
    has_timed_out: bool,
}

impl Login {
    /// Why the connection is considered dead, if it is.
    pub fn failure(&self) -> Option<&'static str> {
        self.has_timed_out.then_some("the server doesn't answer")
    }

    /// Whether a login has succeeded since the start of the client.
    pub fn was_done(&self) -> bool {
        self.first_id.is_some()
    }

    /// The id of the record of the first login.
    pub fn first_id(&self) -> RecordId {
        self.first_id.unwrap_or_default()
    }

    /// The identity of before the outage, until it is restored.
    pub fn former(&self) -> Option<&Identity> {
        self.former.as_ref()
    }

    /// Whether this login follows an outage.
    pub fn is_return(&self) -> bool {
        self.former.is_some()
    }

    /// Starts or restarts the timeout for answers. `None`: the client waits for none.
    pub fn await_answers(&mut self, since: Option<Instant>) {
        self.awaited_since = since;
    }
}

impl Conversation {
    /// The connection is open. Logs in.
    pub fn handle_connected(&mut self, now: Instant) {
        (self.receive_charset, self.send_charset) = (Charset::default(), Charset::default());
        self.keepalive.connected(now);
        self.catch_up.connected();
        (self.login.has_timed_out, self.login.tries) = (false, 0);
        // No answer names this room if the login enters further rooms.
        self.identity.rooms = vec![FIRST_ROOM.to_owned()];
        self.log_in(now);
    }

    /// Sends all lines of the login. [`Conversation::logged_in`] follows with the last answer.
    pub(super) fn log_in(&mut self, now: Instant) {
        self.phase = Phase::LoggingIn;
        (self.login.refused, self.login.is_nick_refused, self.login.nick_retries) =
            (None, false, 0);
        self.login.await_answers(Some(now));
        for line in ["/set tags on", "/set echo on"] {
            self.send_for(line, Purpose::Setup, now);
        }
        // Repeated also if only the answer is missing: the command itself may have been lost.
        if self.config.charset != self.receive_charset {
            self.send_for(&format!("/charset {}", self.config.charset.name()), Purpose::Setup, now);
            self.send_charset = self.config.charset;
        }
        if let Some(joins) = self.joins_setting {
            self.send_for(
                if joins { "/set joins on" } else { "/set joins off" },
                Purpose::Setup,
                now,
            );
        }
        let (nick, rooms) = match self.login.former.clone() {
            Some(former) => {
                let rooms = former.rooms.into_iter().chain(former.current_room).collect();
                (Some(former.nick), rooms)
            }
            None => (self.config.nick.clone(), self.config.rooms.clone()),
        };
        if let Some(nick) = nick {
            self.send_for(&format!("/nick {nick}"), Purpose::Nick, now);
        }
        // Before the other rooms: a user in as many rooms as the server allows could not enter the
        // last one otherwise.
        if self.login.is_return() && !rooms.iter().any(|room| room == FIRST_ROOM) {
            self.send_for(&format!("/leave {FIRST_ROOM}"), Purpose::Setup, now);
        }
        for room in &rooms {
            self.send_for(&format!("/join {room}"), Purpose::Room, now);
        }
        self.send_for("/whoami", Purpose::Fence(Fence::Login), now);
    }

    /// The connection is lost. Remembers the nickname and the rooms, to restore them.
    pub(super) fn remember_for_return(&mut self) {
        let return_room = self.resolution.take_return_room();
        if !self.login.is_return() && self.login.was_done() {
            self.login.former = Some(Identity {
                nick: self.identity.nick.clone(),
                nick_key: self.identity.nick_key.clone(),
                rooms: std::mem::take(&mut self.identity.rooms),
                current_room: return_room.unwrap_or_else(|| self.identity.current_room.take()),
            });
        }
        if self.login.was_done() {
            self.catch_up.disconnected();
        }
        self.identity.rooms.clear();
    }

    /// What follows from the answer to a line, depending on why the line was sent.
    pub(super) fn handle_answer(&mut self, line: &Line, answer: &Tagged<'_>, now: Instant) {
        let is_refused = answer.event == Kind::Error;
        let left = parse(&line.text).ok().flatten().and_then(|input| input.arguments_of("leave"));
        if let Some(room) = left.filter(|room| is_refused && !room.is_empty()) {
            // The user is not in this room. Over UDP the answer to an earlier /leave may have been
            // lost.
            self.identity.rooms.retain(|known| key_of(known) != key_of(room));
        }
        match &line.purpose {
            Purpose::Nick | Purpose::Room if is_refused => {
                self.login.refused = Some(answer.text().to_owned());
                self.login.is_nick_refused |= line.purpose == Purpose::Nick;
            }
            Purpose::Setup if answer.to.as_deref() == Some("charset") && !is_refused => {
                self.receive_charset = self.config.charset
            }
            Purpose::Fence(Fence::Login) => self.logged_in(answer.id, now),
            Purpose::Fence(Fence::History) if !self.returns_to_room(now) => self.resolve(now),
            Purpose::Typed if answer.event == Kind::Reply => self.handle_executed(line, now),
            Purpose::Goodbye => self.end(),
            _ => {}
        }
    }

    /// The login's last answer has arrived.
    fn logged_in(&mut self, id: Option<RecordId>, now: Instant) {
        self.login.await_answers(None);
        let is_unanswered =
            |line: &Line| matches!(line.purpose, Purpose::Setup | Purpose::Nick | Purpose::Room);
        if self.login.tries < LOGIN_TRIES_MAX && self.in_flight.iter().any(is_unanswered) {
            // Over UDP, an answer is missing. The command may not have been executed, so the client
            // repeats the login.
            self.in_flight.retain(Line::is_typed);
            self.login.tries += 1;
            return self.log_in(now);
        }
        self.backoff = Backoff::default();
        self.login.tries = 0;
        self.resolution.reset_tries();
        self.login.first_id = self.login.first_id.or(id);
        if !self.config.interactive
            && let Some(refused) = self.login.refused.take()
        {
            return self.fail(refused);
        }
        if let Some(nick) = self.login.former().map(|former| former.nick.clone()) {
            if self.login.is_nick_refused
                && let Some(&seconds) = NICK_RETRY_SECONDS.get(self.login.nick_retries)
            {
                if self.login.nick_retries == 0 {
                    let minutes = NICK_RETRY_SECONDS.iter().sum::<u64>() / 60;
                    self.notice(format!(
                        "reconnected, but {nick} is taken, perhaps still by the lost connection; \
                         trying again for {minutes} minutes"
                    ));
                }
                self.phase = Phase::RetryingNick(now + Duration::from_secs(seconds));
                self.login.nick_retries += 1;
                return self.show_held_back();
            }
            self.login.former = None;
            if self.login.is_nick_refused {
                self.notice(format!(
                    "{nick} is still taken; you are now {}, /nick NAME changes it",
                    self.identity.nick
                ));
                self.show_queue_as_not_sent();
            } else {
                let room = self.identity.current_room.as_ref();
                let room = room.map_or(String::new(), |room| format!(" in {room}"));
                self.notice(format!("reconnected as {nick}{room}"));
                return self.read_histories_or_give_up(now);
            }
        }
        self.give_up_resolution(now);
    }

    /// Asks for the nickname again.
    pub(super) fn retry_nick(&mut self, now: Instant) {
        self.phase = Phase::LoggingIn;
        self.login.is_nick_refused = false;
        self.login.await_answers(Some(now));
        if let Some(former) = &self.login.former {
            self.send_for(&format!("/nick {}", former.nick), Purpose::Nick, now);
        }
        self.send_for("/whoami", Purpose::Fence(Fence::Login), now);
    }

    /// When a login, or the reading of histories, times out.
    pub(super) fn login_deadline(&self) -> Option<Instant> {
        self.login
            .awaited_since
            .filter(|_| matches!(self.phase, Phase::LoggingIn | Phase::Resolving))
            .map(|since| since + ANSWER_TIMEOUT)
    }

    /// The server does not answer. Closes the connection.
    pub(super) fn abort_login(&mut self) {
        self.login.has_timed_out = true;
        self.login.await_answers(None);
        self.push(Output::Close);
    }
}
