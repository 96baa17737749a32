//! The texts of refusals: what is wrong, and what to do.

use super::commands::Row;
use super::hints::{Hint, hint};
use super::render::cut;
use crate::event::{Dismissal, Refusal, Rejection};
use crate::limits::{
    ADDRESS_STATE_BYTES_MAX, LINE_BYTES_MAX, QUOTED_CHARS_MAX, ROOMS_PER_SESSION_MAX,
    TOPIC_CHARS_MAX, UDP_SILENCE_SECONDS_MAX,
};
use crate::names::{NameError, is_visible_alone};

/// The beginning of the refusal of a private message whose receiver does not exist. The client
/// recognises the refusal by it.
pub const NO_USER_NAMED: &str = "no user named ";

const NICK_RULE: &str = "a nickname is 1 to 32 letters, digits and _ - [ ] { } \\ ^ |";
const ROOM_RULE: &str =
    "a room name is # and 1 to 50 letters, digits and _ - . [ ] { } \\ ^ |, as in #lobby";

/// The text of a refusal, without its `! `. `to` is the name of the refused command.
pub(super) fn explain(to: Option<&str>, refusal: &Refusal<'_>) -> String {
    // Bounds the length of the answer relative to the refused line.
    let quote = |text| cut(text, QUOTED_CHARS_MAX).0;
    match *refusal {
        Refusal::UnknownCommand(name) => unknown_command(quote(name)),
        Refusal::SlashLookalike(slash, name) => {
            let (code, name) = (u32::from(slash), quote(name));
            format!(
                "not sent: {slash}{name} starts with U+{code:04X}, not with /; \
                 type /{name} for the command, {slash}{slash}{name} to send it as text"
            )
        }
        Refusal::Usage => {
            let row = to.and_then(Row::by_name).map(Row::to_string).unwrap_or_default();
            format!("usage: {row}")
        }
        Refusal::LineTooLong => format!(
            "line too long: at most {} bytes are allowed; not sent, split it into parts",
            LINE_BYTES_MAX - 1
        ),
        Refusal::NoSuchNick(nick) => {
            format!("{NO_USER_NAMED}{}; /who lists who is in the room", quote(nick))
        }
        Refusal::NoSuchRoom(room) => {
            let room = quote(room);
            format!("no room {room}; /rooms lists all rooms, /join {room} creates it")
        }
        Refusal::NotInRoom(room) => {
            format!("you are not in {}; /whoami lists your rooms", quote(room))
        }
        Refusal::InNoRoom => "you are in no room; /join #ROOM first".to_owned(),
        Refusal::NickTaken(nick) => {
            format!("the nickname {nick} is taken; choose another with /nick NAME")
        }
        Refusal::BadNick(nick, ref why) => {
            format!("{} is not a valid nickname: {}", quote(nick), explain_name(why, NICK_RULE))
        }
        Refusal::BadRoom(room, ref why) => {
            format!("{} is not a valid room name: {}", quote(room), explain_name(why, ROOM_RULE))
        }
        Refusal::TooManyRooms => {
            format!("you are in {ROOMS_PER_SESSION_MAX} rooms, the most allowed; /leave one first")
        }
        Refusal::NoMoreRooms => "the server can hold no more rooms and topics; \
             /rooms lists rooms to join, /topic - removes a topic"
            .to_owned(),
        Refusal::UnknownCharset(name) => format!(
            "no charset {}; use utf-8, gbk, gb18030, big5, shift_jis, euc-kr, windows-1251, \
             iso-8859-1 or another WHATWG name",
            quote(name)
        ),
        Refusal::CharsetNotAscii(name) => format!(
            "charset {} can't be used: it lacks ASCII, or some of its bytes are not text; \
             utf-8 has all its characters",
            quote(name)
        ),
        Refusal::TopicTooLong => {
            format!("topic too long (at most {TOPIC_CHARS_MAX} characters), not set; shorten it")
        }
        Refusal::TooMuchState => format!(
            "rooms and topics from your address take {} KiB, the most allowed; \
             /topic - removes a topic",
            ADDRESS_STATE_BYTES_MAX / 1024
        ),
        Refusal::TooMuchWaiting => "you sent too much before the last answer was complete; \
             this line was ignored, send it again"
            .to_owned(),
        Refusal::AddressTooFast => "your address sends too much; \
             this command was not executed, wait a moment and try again"
            .to_owned(),
        Refusal::HistoryUnreadable => "the history can't be read now; try again later".to_owned(),
        Refusal::AddressNotProven => {
            "answer not sent: prove your address with /hello COOKIE first, then ask again"
                .to_owned()
        }
        Refusal::HelloIsForUdp => {
            "/hello opens a session over UDP; yours is already open".to_owned()
        }
    }
}

fn unknown_command(name: &str) -> String {
    match hint(name) {
        Some(Hint::Command(row)) => format!("no command /{name}; {row} {}", row.does),
        Some(Hint::Words(words)) => format!("no command /{name}; {words}"),
        None => format!(
            "no command /{name}; /help lists the commands; to send \"/{name}\", type //{name}"
        ),
    }
}

fn explain_name(error: &NameError, rule: &str) -> String {
    match error {
        NameError::Empty | NameError::NoHash => rule.to_owned(),
        NameError::TooLong(max) => format!("it is longer than {max} characters; {rule}"),
        NameError::Character(c) if c.is_whitespace() => {
            format!("it may not contain a space; {rule}")
        }
        NameError::Character(c) if is_visible_alone(*c) => {
            format!("it may not contain {c}; {rule}")
        }
        NameError::Character(c) => format!("U+{:04X} is not allowed there; {rule}", u32::from(*c)),
        NameError::MixedScripts(c) => format!(
            "it mixes scripts: {c} (U+{:04X}) looks like a letter of the other script; {rule}",
            u32::from(*c)
        ),
    }
}

/// The text of the last line to a session that the server ends.
pub(super) fn farewell(why: Dismissal) -> String {
    match why {
        Dismissal::Silent => format!(
            "nothing received for {UDP_SILENCE_SECONDS_MAX} seconds, session ended; \
             a line of 23 bytes or more gets a new /hello COOKIE"
        ),
        Dismissal::Quarantined => "something you sent crashed a server process twice, \
             session ended; other users are not affected"
            .to_owned(),
        Dismissal::Lost => {
            "the server lost this session after an internal failure; please connect again"
                .to_owned()
        }
    }
}

/// The line, with its LF, to a client whose connection is rejected.
pub fn rejection(why: Rejection) -> &'static str {
    match why {
        Rejection::Full => "! the server is full; try again later\n",
        Rejection::TooManyFromAddress => {
            "! too many connections from your address; close one first\n"
        }
        Rejection::TooFast => "! too many new connections from your address; wait a few seconds\n",
        Rejection::NoProcess => "! the server can start no more processes; try again later\n",
        Rejection::NoDescriptors => "! the server is out of descriptors; try again later\n",
    }
}

/// A shorter line for UDP, where it must not be longer than the client's greeting.
pub fn short_rejection(why: Rejection) -> &'static str {
    match why {
        Rejection::Full | Rejection::NoDescriptors | Rejection::NoProcess => "! full; try later\n",
        Rejection::TooManyFromAddress => "! too many of you\n",
        Rejection::TooFast => "! too fast; wait\n",
    }
}
