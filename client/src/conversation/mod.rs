//! The client's side of a conversation, without socket, clock or screen. The caller passes in
//! typed lines, received lines and the time. It takes from [`Conversation::poll`] what to send and
//! what to show.
//!
//! ```text
//! typed ──► queue ──► in flight ──► accepted (echo or reply received)
//!             ▲           │
//!             │           ▼ connection lost
//!             └── not ── in doubt ── arrived ──► accepted
//!               arrived   │
//!                         ▼ unknown: shown as in doubt
//! ```
//!
//! The client sends a line again only if the line certainly did not arrive. Over TCP this has three
//! conditions: the client has its nickname again, so the server has ended the old session and reads
//! no more of its lines; the room's history reaches back to before the line was sent; and the line
//! is not in it. Over UDP the condition is an answer to a later line, with no datagram missing in
//! between.
//!
//! | module | contents |
//! |---|---|
//! | `line` | a line to the server: what it requests, why it is sent |
//! | `queue`, `in_flight` | lines that wait to be sent; lines that wait for their answers |
//! | `sending` | which lines are sent when; the display of lines that wait |
//! | `deferred` | private messages whose receiver has not reconnected yet |
//! | `login` | settings, nickname and rooms, at first and after an outage |
//! | `resolution` | after an outage: did the lines in doubt arrive? |
//! | `catch_up` | after an outage: what did others say? |
//! | `keepalive` | lost datagrams and dead sessions over UDP |
//! | `receiving` | what becomes of a line from the server |
//! | `typed` | what a typed line will be for the server |
//! | `ending` | `/quit`; which lines were not accepted |
//! | `identity`, `known_names` | the user's nickname and rooms; names that can be completed |
//! | `entry` | what the conversation asks to show |

mod catch_up;
mod deferred;
mod ending;
mod entry;
mod identity;
mod in_flight;
mod keepalive;
mod known_names;
mod line;
mod login;
mod queue;
mod receiving;
mod resolution;
mod sending;
#[cfg(test)]
mod tests;
mod typed;

use crate::backoff::Backoff;
use catch_up::CatchUp;
use deferred::Deferred;
use forkchat_common::charset::Charset;
use forkchat_common::ids::RecordId;
use forkchat_common::protocol::line::input::literal;
use identity::Identity;
use in_flight::InFlight;
use keepalive::Keepalive;
use known_names::KnownNames;
use line::{Line, Purpose};
use login::Login;
use queue::Queue;
use resolution::Resolution;
use sending::WaitingDisplay;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use typed::as_server_reads;

pub use entry::{DeliveryState, Entry, Received};
pub use typed::{begins_with_slash, changes_identity, is_command};

/// How long to wait for lines to be accepted before leaving.
const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(10);

/// What the user asked for on the command line.
#[derive(Clone, Debug)]
pub struct Config {
    /// The nickname to take.
    pub nick: Option<String>,
    /// Rooms to enter. The last one becomes the current room.
    pub rooms: Vec<String>,
    /// The charset to use with the server.
    pub charset: Charset,
    /// Over UDP only the echo proves that a line was accepted, and datagrams are numbered.
    pub udp: bool,
    /// Whether a person watches the screen. If so, the client reconnects after an outage.
    pub interactive: bool,
    /// Whether input lines may be commands. Otherwise every line is text and is said exactly.
    pub commands: bool,
}

/// What the caller is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send these bytes: one line with its LF.
    Send(Vec<u8>),
    /// Show this.
    Show(Box<Entry>),
    /// Connect; then call [`Conversation::handle_connected`] or
    /// [`Conversation::handle_disconnected`].
    Connect,
    /// Close the connection, if there is one.
    Close,
    /// The conversation is over. This is the last output.
    End(Outcome),
}

/// How the conversation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every line was accepted.
    Done,
    /// The connection, the login or a line was refused or lost, for this reason.
    Failed(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Connecting for the first time.
    Connecting,
    /// Connecting after an outage.
    Reconnecting,
    /// Connected; waiting for the answers to the login.
    LoggingIn,
    /// Logged in, but another session holds the nickname. Asks for it again at this time.
    RetryingNick(Instant),
    /// Reading histories to find out which lines in doubt arrived.
    Resolving,
    /// Lines are sent as they are typed.
    Ready,
    /// `/quit` was sent. Waits for its answer until this time.
    Leaving(Instant),
    /// Not connected. Connects again at this time.
    Offline(Instant),
    Ended,
}

/// The client's side of a conversation.
#[derive(Debug)]
pub struct Conversation {
    config: Config,
    phase: Phase,
    outputs: VecDeque<Output>,

    queue: Queue,
    in_flight: InFlight,
    in_doubt: Vec<Line>,
    deferred: Deferred,
    waiting: WaitingDisplay,
    /// When the user's input ended, if it did.
    input_ended_at: Option<Instant>,
    /// How many lines were shown as in doubt or not sent, or were refused by the client itself.
    undelivered: usize,

    identity: Identity,
    /// The last `/set joins` of the user, to be repeated after an outage.
    joins_setting: Option<bool>,
    /// The charsets of the connection. Each changes at another moment: the client switches when it
    /// sends `/charset`, the server when it answers.
    receive_charset: Charset,
    send_charset: Charset,
    login: Login,
    backoff: Backoff,
    resolution: Resolution,
    keepalive: Keepalive,
    catch_up: CatchUp,

    /// The last answer: its command, its id, and whether it is shown. All lines of an answer are
    /// shown or none.
    last_answer: Option<(String, Option<RecordId>, bool)>,
    known_names: KnownNames,
}

impl Conversation {
    /// A conversation whose first output is [`Output::Connect`].
    pub fn new(config: Config, now: Instant) -> Conversation {
        Conversation {
            config,
            phase: Phase::Connecting,
            outputs: VecDeque::from([Output::Connect]),
            queue: Queue::default(),
            in_flight: InFlight::default(),
            in_doubt: Vec::new(),
            deferred: Deferred::default(),
            waiting: WaitingDisplay::new(now),
            input_ended_at: None,
            undelivered: 0,
            identity: Identity::default(),
            joins_setting: None,
            receive_charset: Charset::default(),
            send_charset: Charset::default(),
            login: Login::default(),
            backoff: Backoff::default(),
            resolution: Resolution::default(),
            keepalive: Keepalive::new(now),
            catch_up: CatchUp::default(),
            last_answer: None,
            known_names: KnownNames::default(),
        }
    }

    /// What the caller is to do next.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The room for the prompt: the current one. While the client restores the state of before an
    /// outage, or visits rooms to read their histories, it is the room it will return to.
    pub fn prompt_room(&self) -> Option<&str> {
        let current = self.resolution.return_room().unwrap_or(&self.identity.current_room);
        self.login.former().map_or(current.as_deref(), |former| former.current_room.as_deref())
    }

    /// The nickname for the prompt: the current one, or during an outage the one that the client
    /// will take again. Empty before the login.
    pub fn prompt_nick(&self) -> &str {
        self.login.former().map_or(&self.identity.nick, |former| &former.nick)
    }

    /// The current nickname; empty before the login.
    pub fn nick(&self) -> &str {
        &self.identity.nick
    }

    /// Whether the nickname or the room may change soon, or the conversation end: a prompt would
    /// soon be wrong.
    pub fn is_prompt_changing(&self) -> bool {
        matches!(
            self.phase,
            Phase::Connecting | Phase::LoggingIn | Phase::Leaving(_) | Phase::Ended
        ) || self.phase == Phase::Ready
            && self.queue.iter().chain(self.in_flight.iter()).any(Line::changes_identity)
    }

    /// Whether typed lines wait because there is no connection, or another session holds the
    /// nickname.
    pub fn is_sending_paused(&self) -> bool {
        self.is_offline()
            || matches!(self.phase, Phase::RetryingNick(_))
            || self.phase == Phase::LoggingIn && self.login.is_return()
    }

    fn is_offline(&self) -> bool {
        matches!(self.phase, Phase::Offline(_) | Phase::Reconnecting)
    }

    /// The names that can be completed: nicknames, the latest first, and rooms. `None` if they
    /// have not changed since the last call.
    pub fn take_changed_names(&mut self) -> Option<(Vec<String>, Vec<String>)> {
        self.known_names.take_changed()
    }

    /// The user typed a line. An empty line only ends the wait for the next attempt to connect.
    pub fn handle_typed(&mut self, text: &str, now: Instant) {
        let read = as_server_reads(text);
        let text = if self.config.commands { read } else { literal(&read).into_owned() };
        let Some(mut line) = Line::new(&text, Purpose::Typed, now) else {
            if let Phase::Offline(_) = self.phase {
                self.phase = Phase::Offline(now);
            }
            return self.handle_timeout(now);
        };
        if let Some(why) = self.objection(&text) {
            self.undelivered += 1;
            return self.show(Entry::Refusal(why));
        }
        let is_quit = line.is_quit();
        if is_quit && self.is_sending_paused() {
            // Without a connection the client cannot send it.
            return self.leave(now);
        }
        line.is_from_outage = self.is_sending_paused() || self.phase == Phase::Resolving;
        self.queue.push(line);
        if is_quit && self.config.interactive {
            return self.handle_input_end(now);
        }
        self.send_queued(now);
        self.show_waiting(now);
    }

    /// The user will type nothing more. The conversation ends when every line is accepted. A person
    /// waits at most 10 seconds, and without a connection not at all.
    pub fn handle_input_end(&mut self, now: Instant) {
        self.input_ended_at = Some(now);
        if self.is_offline() {
            return self.leave(now);
        }
        self.send_queued(now);
        if self.config.interactive && self.unaccepted() > 0 {
            self.notice(format!(
                "waiting up to {} s for the server to accept {}",
                LAST_LINES_TIMEOUT.as_secs(),
                lines_of(self.unaccepted())
            ));
        }
    }

    /// The connection was lost, or an attempt to connect failed. `chance` is a random number from 0
    /// to 1.
    pub fn handle_disconnected(&mut self, why: &str, now: Instant, chance: f64) {
        self.push(Output::Close);
        match self.phase {
            Phase::Ended | Phase::Offline(_) => return,
            Phase::Leaving(_) => return self.end(),
            Phase::Connecting => {
                return self.fail(format!("cannot connect: {}", without_errno(why)));
            }
            // The user has quit; the connection was to end in any case.
            _ if self.in_flight.iter().any(Line::is_quit) => return self.end(),
            _ => {}
        }
        let why = (self.keepalive.failure())
            .or(self.login.failure())
            .unwrap_or_else(|| without_errno(why));
        self.remember_for_return();
        self.show_held_back();
        let deferred = self.deferred.take();
        self.queue.push_front(deferred);
        self.queue.iter_mut().for_each(|line| line.is_from_outage = true);
        let in_flight = self.in_flight.take();
        self.in_doubt.extend(in_flight.into_iter().filter(Line::is_typed));
        if !self.config.interactive || self.input_ended_at.is_some() {
            return self.fail(format!("connection lost: {why}"));
        }
        let wait = self.backoff.next_wait(chance);
        let what =
            if self.phase == Phase::Reconnecting { "cannot connect" } else { "connection lost" };
        self.notice(format!("{what}: {why}; trying again in {:.1} s", wait.as_secs_f64()));
        self.phase = Phase::Offline(now + wait);
        self.show_waiting(now);
    }

    /// The latest time for the next call of [`Conversation::handle_timeout`].
    pub fn next_timeout(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Offline(at) | Phase::RetryingNick(at) | Phase::Leaving(at) => Some(at),
            _ => None,
        };
        let is_leaving = matches!(self.phase, Phase::Leaving(_) | Phase::Ended);
        let last_lines = self
            .input_ended_at
            .filter(|_| self.config.interactive && !is_leaving)
            .map(|since| since + LAST_LINES_TIMEOUT);
        (self.waiting_shown_next())
            .into_iter()
            .chain(phase)
            .chain(last_lines)
            .chain(self.login_deadline())
            .chain(self.next_keepalive())
            .chain(self.deferred.retry_at())
            .min()
    }

    /// Does everything that is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.phase {
            Phase::Ended => return,
            Phase::Offline(at) if now >= at => {
                self.phase = Phase::Reconnecting;
                self.push(Output::Connect);
            }
            Phase::RetryingNick(at) if now >= at => self.retry_nick(now),
            Phase::Leaving(at) if now >= at => return self.end(),
            _ => {}
        }
        let is_leaving = matches!(self.phase, Phase::Leaving(_));
        if self.config.interactive
            && !is_leaving
            && self.input_ended_at.is_some_and(|since| now >= since + LAST_LINES_TIMEOUT)
        {
            return self.leave(now);
        }
        if self.login_deadline().is_some_and(|at| now >= at) {
            return self.abort_login();
        }
        self.show_waiting(now);
        self.retry_deferred(now);
        if self.next_keepalive().is_some_and(|at| now >= at) {
            self.send_keepalive(now);
        }
    }

    fn notice(&mut self, text: String) {
        self.show(Entry::Notice(text));
    }

    fn show(&mut self, entry: Entry) {
        self.push(Output::Show(Box::new(entry)));
    }

    fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }
}

/// The system's error message without its number, with a hint where one helps.
fn without_errno(why: &str) -> &str {
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
