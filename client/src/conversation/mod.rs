//! The client's side of a conversation, without socket, clock or screen. The caller passes in
//! received and typed lines with the time, and takes from [`Conversation::poll`] what to send and to
//! show.
//!
//! ```text
//! typed ──► queue ──► in flight ──► accepted (echo or answer received)
//!             ▲           │
//!             │           ▼ connection lost
//!             └─ not ── doubtful ── arrived ──► accepted
//!             arrived     │
//!                         ▼ unknown: shown as doubtful
//! ```
//!
//! A line is sent again only if it certainly did not arrive. Over TCP this has three conditions:
//! the session has its nickname again, so the old session has ended and reads no more lines; the
//! room's history reaches back to before the line was sent; and the line is not in it. Over UDP the
//! condition is an answer to a later line, with no datagram missing in between.

mod catch_up;
mod deferred;
mod entry;
mod identity;
mod keepalive;
mod line;
mod login;
mod sending;
#[cfg(test)]
mod tests;

use crate::backoff::Backoff;
use catch_up::CatchUp;
use deferred::Deferred;
use forkchat_common::charset::Charset;
use forkchat_common::ids::Sequence;
use forkchat_common::names::key_of;
use forkchat_common::protocol::line::command::{
    Command, Setting, begins_with_lookalike, literal, parse,
};
use forkchat_common::protocol::line::tagged::{Kind, Tagged};
use keepalive::Keepalive;
use line::{InFlight, Line, Purpose, Request};
use login::Login;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

pub use entry::{DeliveryState, Entry, Received};

/// A line that isn't accepted after this is shown as waiting.
const WAITING: Duration = Duration::from_secs(1);
/// Of many lines that were not sent a person is shown so many; of those in doubt there are never
/// more.
const UNSAID_SHOWN_MAX: usize = 64;
/// How long a goodbye is waited for.
const GOODBYE: Duration = Duration::from_secs(3);
/// How long to wait for lines to be accepted before leaving.
const LAST_LINES: Duration = Duration::from_secs(10);

/// What the person wants.
#[derive(Clone, Debug)]
pub struct Config {
    /// The nickname to take.
    pub nick: Option<String>,
    /// Rooms to enter, the last one to talk in.
    pub rooms: Vec<String>,
    /// The charset to speak.
    pub charset: Charset,
    /// Over UDP: acceptance is never certain until the echo, and datagrams are numbered.
    pub udp: bool,
    /// Whether a person is there, who sees what happens: then a lost connection is taken up again.
    pub interactive: bool,
    /// Whether lines may be commands, which are executed; otherwise every line is text, and said
    /// exactly.
    pub commands: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send these bytes: one line with its end.
    Send(Vec<u8>),
    /// Show this.
    Show(Entry),
    /// Connect; then call [`Conversation::connected`] or [`Conversation::lost`].
    Connect,
    /// Close the connection, if there is one.
    Close,
    /// The end: nothing comes after it.
    End(Outcome),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was said and heard.
    Done,
    /// The connection or the login was refused or lost: why.
    Failed(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Connecting for the first time.
    Connecting,
    /// Connecting after a loss.
    Reconnecting,
    /// Connected; the login's lines are sent.
    LoggingIn,
    /// Logged in, but the old session holds the nickname: asks again at this time.
    RetryingNick(Instant),
    /// Asking what became of doubtful lines.
    Resolving,
    /// Lines are sent as they are typed.
    Ready,
    /// The goodbye is said; until when its answer is waited for.
    Leaving(Instant),
    /// Connects again at this time.
    Offline(Instant),
    /// Over.
    Ended,
}

/// The client's side of a conversation.
#[derive(Debug)]
pub struct Conversation {
    config: Config,
    phase: Phase,
    outputs: VecDeque<Output>,

    queue: VecDeque<Line>,
    queue_bytes: usize,
    in_flight: InFlight,
    doubtful: Vec<Line>,
    /// Since when lines that wait are counted that were shown, and how many.
    waiting_shown: (Instant, usize),
    /// When no more lines come from the person, and since when.
    input_ended: Option<Instant>,
    /// How many lines were shown as doubtful, as not sent, or were refused here.
    unsaid: usize,

    /// One's name and its key; empty before the login.
    nick: String,
    key: Box<str>,
    /// The rooms one is in, and the one one talks in.
    rooms: Vec<String>,
    current: Option<String>,
    /// Whether one has been told of joins, if one changed that.
    joins: Option<bool>,
    /// What the server speaks now.
    receive_charset: Charset,
    send_charset: Charset,
    login: Login,
    backoff: Backoff,
    /// For each room: the position of the last own echo in the log, and the number of own echoes
    /// there.
    last_echo: HashMap<String, (Sequence, usize)>,
    keepalive: Keepalive,
    catch_up: CatchUp,
    deferred: Deferred,

    /// The last answer: its command and id, and whether it is shown; its further lines go the same
    /// way.
    last_answer: Option<(String, Option<Sequence>, bool)>,
    /// Those who were seen, the latest last; for completion.
    nicks: Vec<String>,
    known_rooms: Vec<String>,
    has_new_words: bool,
}

impl Conversation {
    /// A session that is about to connect.
    pub fn new(config: Config, now: Instant) -> Conversation {
        Conversation {
            config,
            phase: Phase::Connecting,
            outputs: VecDeque::from([Output::Connect]),
            queue: VecDeque::new(),
            queue_bytes: 0,
            in_flight: InFlight::default(),
            doubtful: Vec::new(),
            waiting_shown: (now, 0),
            input_ended: None,
            unsaid: 0,
            nick: String::new(),
            key: "".into(),
            rooms: Vec::new(),
            current: None,
            joins: None,
            receive_charset: Charset::default(),
            send_charset: Charset::default(),
            login: Login::default(),
            backoff: Backoff::default(),
            last_echo: HashMap::new(),
            keepalive: Keepalive::new(now),
            catch_up: CatchUp::default(),
            deferred: Deferred::default(),
            last_answer: None,
            nicks: Vec::new(),
            known_rooms: Vec::new(),
            has_new_words: false,
        }
    }

    /// What is to be done next.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The room one talks in; without a connection, or until everything is as before, the one that
    /// is taken back.
    pub fn room(&self) -> Option<&str> {
        let current = self.login.talked_in().unwrap_or(&self.current);
        self.login.former().map_or(current.as_deref(), |(_, room)| room)
    }

    /// The name for the prompt: the current one, or without a connection the one that is taken
    /// back. Empty before the login.
    pub fn prompt_nick(&self) -> &str {
        self.login.former().map_or(&self.nick, |(nick, _)| nick)
    }

    /// One's name; empty before the login.
    pub fn nick(&self) -> &str {
        &self.nick
    }

    /// Whether something is under way that may change the room, or end everything: then a prompt
    /// would soon be wrong.
    pub fn is_moving(&self) -> bool {
        matches!(
            self.phase,
            Phase::Connecting | Phase::LoggingIn | Phase::Leaving(_) | Phase::Ended
        ) || self.phase == Phase::Ready
            && self.queue.iter().chain(self.in_flight.iter()).any(Line::moves)
    }

    /// Whether lines are kept back for now: there is no connection, or not one's nickname.
    pub fn is_waiting(&self) -> bool {
        self.is_offline()
            || matches!(self.phase, Phase::RetryingNick(_))
            || self.phase == Phase::LoggingIn && self.login.is_return()
    }

    fn is_offline(&self) -> bool {
        matches!(self.phase, Phase::Offline(_) | Phase::Reconnecting)
    }

    /// Those who were seen, the latest first, and the rooms: what can be completed. `None` if
    /// nothing changed since it was last asked.
    pub fn words(&mut self) -> Option<(Vec<String>, Vec<String>)> {
        let has_changed = std::mem::take(&mut self.has_new_words);
        has_changed.then(|| (self.nicks.iter().rev().cloned().collect(), self.known_rooms.clone()))
    }

    /// A line was typed. Empty ones do nothing, except that they end the wait for the next attempt
    /// to connect.
    pub fn typed(&mut self, text: &str, now: Instant) {
        let read = as_read(text);
        let text = if self.config.commands { read } else { literal(&read).into_owned() };
        let Some(mut line) = Line::new(&text, Purpose::Typed, now) else {
            if let Phase::Offline(_) = self.phase {
                self.phase = Phase::Offline(now);
            }
            return self.tick(now);
        };
        if let Some(why) = self.objection(&text) {
            self.unsaid += 1;
            return self.show(Entry::Refusal(why));
        }
        let is_quit = line.is_quit();
        if is_quit && self.is_waiting() {
            // Without a connection it can not be sent.
            return self.leave(now);
        }
        line.is_from_outage = self.is_waiting() || self.phase == Phase::Resolving;
        self.queue_bytes += text.len();
        self.queue.push_back(line);
        if is_quit && self.config.interactive {
            return self.input_ended(now);
        }
        self.proceed(now);
        self.tell_waiting(now);
    }

    /// Nothing more will be typed: leaves when every line is accepted. A person is not kept waiting
    /// long, and not at all without a connection.
    pub fn input_ended(&mut self, now: Instant) {
        self.input_ended = Some(now);
        if self.is_offline() {
            return self.leave(now);
        }
        self.proceed(now);
        if self.config.interactive && self.unaccepted() > 0 {
            self.notice(format!(
                "waiting up to {} s for the server to accept {}",
                LAST_LINES.as_secs(),
                lines_of(self.unaccepted())
            ));
        }
    }

    /// The connection failed, or couldn't be made. `chance` is a number from 0 to 1.
    pub fn lost(&mut self, why: &str, now: Instant, chance: f64) {
        self.push(Output::Close);
        match self.phase {
            Phase::Ended | Phase::Offline(_) => return,
            Phase::Leaving(_) => return self.end(),
            Phase::Connecting => return self.fail(format!("cannot connect: {}", in_words(why))),
            // It was to be the end anyway.
            _ if self.in_flight.iter().any(Line::is_quit) => return self.end(),
            _ => {}
        }
        let why =
            self.keepalive.given_up().or(self.login.given_up()).unwrap_or_else(|| in_words(why));
        self.remember_for_return();
        self.show_held();
        let held = self.deferred.take();
        self.queue_again(held);
        self.queue.iter_mut().for_each(|line| line.is_from_outage = true);
        let in_flight = self.in_flight.take();
        self.doubtful.extend(in_flight.into_iter().filter(Line::is_typed));
        if !self.config.interactive || self.input_ended.is_some() {
            return self.fail(format!("connection lost: {why}"));
        }
        let wait = self.backoff.next_wait(chance);
        let what =
            if self.phase == Phase::Reconnecting { "cannot connect" } else { "connection lost" };
        self.notice(format!("{what}: {why}; trying again in {:.1} s", wait.as_secs_f64()));
        self.phase = Phase::Offline(now + wait);
        self.tell_waiting(now);
    }

    /// When [`Conversation::tick`] is to be called at the latest.
    pub fn next_timeout(&self) -> Option<Instant> {
        let is_untold = |line: &&Line| self.config.interactive && line.is_typed() && !line.is_told;
        let waiting = self
            .queue
            .iter()
            .chain(self.in_flight.iter())
            .filter(is_untold)
            .map(|line| line.typed + WAITING);
        let phase = match self.phase {
            Phase::Offline(at) | Phase::RetryingNick(at) | Phase::Leaving(at) => Some(at),
            _ => None,
        };
        let is_leaving = matches!(self.phase, Phase::Leaving(_) | Phase::Ended);
        let last_lines = self
            .input_ended
            .filter(|_| self.config.interactive && !is_leaving)
            .map(|since| since + LAST_LINES);
        waiting
            .chain(phase)
            .chain(last_lines)
            .chain(self.login_deadline())
            .chain(self.next_sign_of_life())
            .chain(self.deferred.again())
            .min()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) {
        match self.phase {
            Phase::Ended => return,
            Phase::Offline(at) if now >= at => {
                self.phase = Phase::Reconnecting;
                self.push(Output::Connect);
            }
            Phase::RetryingNick(at) if now >= at => self.regain(now),
            Phase::Leaving(at) if now >= at => return self.end(),
            _ => {}
        }
        let is_leaving = matches!(self.phase, Phase::Leaving(_));
        if self.config.interactive
            && !is_leaving
            && self.input_ended.is_some_and(|since| now >= since + LAST_LINES)
        {
            return self.leave(now);
        }
        if self.login_deadline().is_some_and(|at| now >= at) {
            return self.give_up_login();
        }
        self.tell_waiting(now);
        self.try_absent_again(now);
        if self.next_sign_of_life().is_some_and(|at| now >= at) {
            self.show_life(now);
        }
    }

    /// The server told a line: its bytes, without the line's end.
    pub fn told(&mut self, bytes: &[u8], now: Instant) {
        let mut line = String::new();
        self.receive_charset.decode(bytes, &mut line);
        let Some(tagged) = Tagged::parse(&line) else {
            if self.is_untagged_sign_of_life(&line, now) {
                return;
            }
            // One who comes back isn't welcomed under a name that is not kept; but is told why not.
            if self.phase == Phase::LoggingIn && self.login.is_return() && !line.starts_with("! ") {
                return;
            }
            let mut told = Received::untagged(&line);
            told.kind = (self.phase == Phase::LoggingIn).then_some(Kind::Welcome);
            return self.show(Entry::Received(told));
        };
        self.count_datagram(&tagged);
        self.doubt_session(&tagged);
        if self.is_sign_of_life(&tagged, now) {
            return self.proceed(now);
        }
        let is_own = tagged.nick.as_deref().is_some_and(|nick| key_of(nick) == self.key);
        let answered =
            self.in_flight.answered(&tagged, is_own, self.config.udp, self.current.is_none());
        let was_answer = answered.is_some();
        let answered = answered.and_then(|line| self.kept_for_absent(line, &tagged, now));
        if was_answer && answered.is_none() {
            return self.proceed(now);
        }
        self.learn(&tagged, is_own);
        let mut told = Received::tagged(&tagged);
        told.is_own = answered.is_some() && told.to.is_none() && is_own;
        // Earlier lines do not ring the bell.
        told.is_for_me = !is_own && told.to.is_none() && self.is_for_me(&told);
        self.note_received(&tagged, &told);
        self.look_for_absent(&told);
        if !self.is_history(&tagged, &told, now) && self.is_shown(&tagged, answered.as_ref()) {
            self.show_in_order(told);
        }
        if let Some(line) = answered {
            self.note_refusal(&line, &tagged);
            self.answered(&line, &tagged, now);
        }
        self.proceed(now);
    }

    /// A filter names a line that others were to see and that the server refused: it was not said,
    /// and the exit code says so.
    fn note_refusal(&mut self, line: &Line, told: &Tagged<'_>) {
        // It promises to execute what begins with a slash, so what doesn't was to be said.
        let is_to_be_heard = line.asks.is_heard() || begins_with_lookalike(&line.text);
        if !self.config.interactive
            && told.event == Kind::Error
            && line.is_typed()
            && is_to_be_heard
        {
            self.show_all(std::iter::once(line), DeliveryState::NotSent);
        }
    }

    /// Whether a person wants to see a line: not what the client itself asked for. Further lines of
    /// an answer go the way of the first.
    fn is_shown(&mut self, told: &Tagged<'_>, answered: Option<&Line>) -> bool {
        let to = told.to.clone().unwrap_or_default();
        let Some(line) = answered else {
            return self
                .last_answer
                .as_ref()
                .is_none_or(|(last, id, shown)| *last != to || *id != told.id || *shown);
        };
        let is_shown = match line.purpose {
            Purpose::Typed | Purpose::Goodbye => true,
            Purpose::Room => told.event == Kind::Error || !self.login.is_return(),
            Purpose::Nick => !self.login.is_return(),
            _ => false,
        };
        if told.to.is_some() {
            self.last_answer = Some((to, told.id, is_shown));
        }
        is_shown
    }

    /// A typed command was done. Some commands are repeated after reconnecting.
    fn obeyed(&mut self, line: &Line, now: Instant) {
        match parse(&line.text) {
            Ok(Some((_, Command::Set(Setting::Joins, on)))) => self.joins = Some(on),
            Ok(Some((_, Command::Join(_)))) => self.learn_names(now),
            Ok(Some((_, Command::Quit(_)))) => self.end(),
            _ => {}
        }
    }

    /// Who is in the current room, for completion.
    fn learn_names(&mut self, now: Instant) {
        if self.config.interactive && self.current.is_some() {
            self.send_for("/who", Purpose::Names, now);
        }
    }

    /// Quits; if that was sent already, or there is no connection, ends.
    fn leave(&mut self, now: Instant) {
        match self.phase {
            Phase::Ready | Phase::LoggingIn | Phase::RetryingNick(_) | Phase::Resolving => {
                self.send_for("/quit", Purpose::Goodbye, now);
                self.phase = Phase::Leaving(now + GOODBYE);
            }
            _ => self.end(),
        }
    }

    fn end(&mut self) {
        if self.phase == Phase::Ended {
            return;
        }
        let unsaid = if self.config.interactive { 0 } else { self.unsaid };
        match self.unaccepted() + unsaid {
            0 => {
                self.phase = Phase::Ended;
                self.push(Output::Close);
                self.push(Output::End(Outcome::Done));
            }
            1 => self.fail("a line was not accepted".to_owned()),
            count => self.fail(format!("{count} lines were not accepted")),
        }
    }

    /// Ends, and says which lines are in doubt and which were never sent.
    fn fail(&mut self, why: String) {
        self.phase = Phase::Ended;
        self.show_held();
        let in_doubt: Vec<Line> =
            std::mem::take(&mut self.doubtful).into_iter().chain(self.in_flight.take()).collect();
        self.show_all(
            in_doubt.iter().filter(|line| line.is_typed() && !line.is_quit()),
            DeliveryState::InDoubt,
        );
        self.show_queue_as_not_sent();
        self.push(Output::Close);
        self.push(Output::End(Outcome::Failed(why)));
    }

    fn show_queue_as_not_sent(&mut self) {
        let held = self.deferred.take();
        self.queue_again(held);
        let queue = std::mem::take(&mut self.queue);
        self.queue_bytes = 0;
        self.show_all(queue.iter().filter(|line| !line.is_quit()), DeliveryState::NotSent);
    }

    /// Shows lines that were not accepted: a filter's all, a person's so many that they can be
    /// read.
    fn show_all<'l>(&mut self, lines: impl Iterator<Item = &'l Line>, standing: DeliveryState) {
        let mut more = 0;
        for (number, line) in lines.enumerate() {
            self.unsaid += 1;
            if self.config.interactive && number >= UNSAID_SHOWN_MAX {
                more += 1;
            } else {
                self.show(line.shown(standing));
            }
        }
        if more > 0 {
            self.notice(format!("and {more} more"));
        }
    }

    fn notice(&mut self, text: String) {
        self.show(Entry::Notice(text));
    }

    fn show(&mut self, shown: Entry) {
        self.push(Output::Show(shown));
    }

    fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }
}

/// A line as the server reads it: what it takes out may stand before a slash.
fn as_read(text: &str) -> String {
    let mut read = String::new();
    Charset::default().decode(text.as_bytes(), &mut read);
    read
}

/// Whether a line begins with a slash for the server: then it is a command, or refused, or said
/// without a doubled slash.
pub fn begins_with_slash(text: &str) -> bool {
    let read = as_read(text);
    literal(&read) != read
}

/// Whether the server doesn't say a line but executes or refuses it.
pub fn is_command(text: &str) -> bool {
    !matches!(parse(&as_read(text)), Ok(None | Some((None, _))))
}

/// Whether one may talk in another room after this line, or nowhere.
pub fn moves(text: &str) -> bool {
    Request::of(text).is_some_and(|asks| asks.moves())
}

/// An error message of the system for people: without its number, and with a hint.
fn in_words(why: &str) -> &str {
    let words = why.split(" (os error").next().unwrap_or(why);
    if words == "Connection refused" {
        "connection refused; no server is running there"
    } else {
        words
    }
}

fn lines_of(count: usize) -> String {
    if count == 1 { "a line".to_owned() } else { format!("{count} lines") }
}
