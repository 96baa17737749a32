//! What a client can receive: events, replies to commands, refusals. Values only; [`crate::wire`]
//! renders them as text.

use crate::ids::{Micros, Sequence};
use crate::names::NameError;
use crate::protocol::line::command::{Row, Setting};
use std::net::SocketAddr;

/// One message to a client. Borrows from the state that it describes.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// A line said in a room.
    Said {
        /// The room.
        room: &'a str,
        /// The sender.
        nick: &'a str,
        /// The text.
        text: &'a str,
    },
    /// An action in a room.
    Action {
        /// The room.
        room: &'a str,
        /// The sender.
        nick: &'a str,
        /// The text.
        text: &'a str,
    },
    /// An earlier line of a room: part of the answer to `/history`. Its stamp is that of the line,
    /// not of the answer.
    Past {
        /// The room.
        room: &'a str,
        /// The sender.
        nick: &'a str,
        /// Whether it is an action.
        is_action: bool,
        /// The text.
        text: &'a str,
    },
    /// The date (UTC), taken from the stamp, of the lines that follow in an answer to `/history`.
    Day,
    /// A private message. Sent to the receiver, and to the sender if it has the setting echo.
    Private {
        /// The sender.
        from: &'a str,
        /// The receiver.
        to: &'a str,
        /// Whether this is the copy for the sender.
        is_echo: bool,
        /// The text.
        text: &'a str,
    },
    /// Another user joined a room.
    Joined {
        /// The room.
        room: &'a str,
        /// The nickname.
        nick: &'a str,
    },
    /// Another user left a room.
    Left {
        /// The room.
        room: &'a str,
        /// The nickname.
        nick: &'a str,
    },
    /// Another user left the chat.
    Quit {
        /// The nickname.
        nick: &'a str,
        /// The reason; may be empty.
        reason: &'a str,
    },
    /// Another user changed the nickname.
    Renamed {
        /// The old nickname.
        old: &'a str,
        /// The new nickname.
        new: &'a str,
    },
    /// Another user set a room's topic.
    TopicSet {
        /// The room.
        room: &'a str,
        /// The user who set it.
        nick: &'a str,
        /// The new topic; empty if it was removed.
        topic: &'a str,
    },
    /// The first message of a session.
    Welcome {
        /// The nickname of the session.
        nick: &'a str,
        /// The current room, if there is one.
        room: Option<&'a str>,
        /// The topic of that room; may be empty.
        topic: &'a str,
        /// The number of members, this session included.
        members: usize,
        /// The nicknames of some members.
        names: Vec<&'a str>,
    },
    /// The answer to `/ping`.
    Pong {
        /// The text of the `/ping`.
        text: &'a str,
    },
    /// The answer to a command.
    Reply(Reply<'a>),
    /// A line was refused.
    Refused {
        /// The name of the refused command; `None` if the line is no command.
        to: Option<&'a str>,
        /// The reason.
        refusal: Refusal<'a>,
    },
    /// Bytes that are sent as they are, in every form: the answer to a client of another protocol
    /// or to a Telnet negotiation.
    Raw(&'a [u8]),
    /// The server is stopping.
    Stopping,
    /// The server ended the session.
    Dismissed {
        /// The reason.
        reason: &'a str,
    },
}

impl Event<'_> {
    /// Whether this is a join, leave, quit or nick change: sent only to sessions with the setting
    /// joins.
    pub fn is_presence(&self) -> bool {
        matches!(
            self,
            Event::Joined { .. } | Event::Left { .. } | Event::Quit { .. } | Event::Renamed { .. }
        )
    }
}

/// What follows the items of a list in this part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListEnd {
    /// Another part.
    Part,
    /// The end of the list, and the number of items left out.
    LeftOut(usize),
    /// The end of a list that had no items in any part.
    Empty,
}

/// The answer to a command, by command.
#[derive(Clone, Debug)]
pub enum Reply<'a> {
    /// `/help`, or `/help COMMAND`.
    Help(Option<&'static Row>),
    /// `/nick`: the new nickname.
    Nick(&'a str),
    /// `/join`: the room joined or switched to.
    Joined {
        /// The room.
        room: &'a str,
        /// Whether the session was already a member.
        was_in: bool,
        /// Its topic; may be empty.
        topic: &'a str,
        /// The number of members, this session included.
        members: usize,
    },
    /// `/leave`.
    Left {
        /// The room that was left.
        room: &'a str,
        /// The current room now, if there is one.
        current: Option<&'a str>,
    },
    /// A part of the answer to `/rooms`.
    Rooms {
        /// The rooms listed: name, number of members, topic.
        rooms: Vec<(&'a str, usize, &'a str)>,
        /// What follows the rooms in this part.
        end: ListEnd,
    },
    /// A part of the answer to `/who`.
    Who {
        /// The room.
        room: &'a str,
        /// The members, in order of arrival.
        names: Vec<&'a str>,
        /// What follows the names in this part.
        end: ListEnd,
    },
    /// `/whoami`.
    Whoami {
        /// The nickname.
        nick: &'a str,
        /// The rooms of the session.
        rooms: Vec<&'a str>,
        /// The current room.
        current: Option<&'a str>,
        /// The client's address.
        peer: SocketAddr,
        /// The number of the worker that serves the session.
        worker: u16,
        /// Its process; `None` if it has not been recorded.
        pid: Option<u32>,
    },
    /// `/topic` without a text: the topic, empty if there is none.
    Topic {
        /// The room.
        room: &'a str,
        /// The topic.
        topic: &'a str,
    },
    /// The end of the answer to `/history`.
    History {
        /// The room.
        room: &'a str,
        /// The number of lines sent.
        lines: usize,
        /// The time of the first line, if there is one.
        first: Option<Micros>,
        /// All lines of the room from this sequence on were sent.
        since: Sequence,
    },
    /// `/charset`: the standard name of the charset.
    Charset(&'static str),
    /// `/set NAME on|off`.
    Set(Setting, bool),
    /// `/set` alone: echo, joins, tags.
    Settings([bool; 3]),
    /// `/hello` of a UDP session with a key: each of its datagrams must begin with it.
    Key(&'a str),
    /// `/quit`.
    Goodbye,
}

/// Why a line was refused. [`crate::protocol::line::render`] has the texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal<'a> {
    /// No command has this name.
    UnknownCommand(&'a str),
    /// A command's name follows this character, which looks like a slash.
    SlashLookalike(char, &'a str),
    /// The arguments don't fit the command.
    Usage(&'static Row),
    /// The line is too long.
    LineTooLong,
    /// No session has this nickname.
    NoSuchNick(&'a str),
    /// There is no such room.
    NoSuchRoom(&'a str),
    /// The session is not in this room.
    NotInRoom(&'a str),
    /// The session is in no room.
    InNoRoom,
    /// Another session has this nickname.
    NickTaken(&'a str),
    /// The nickname is invalid.
    BadNick(&'a str, NameError),
    /// The room name is invalid.
    BadRoom(&'a str, NameError),
    /// The session is in the maximum number of rooms.
    TooManyRooms,
    /// The limit on the number of rooms, or on the memory of rooms and topics, is reached.
    NoMoreRooms,
    /// No charset has this name.
    UnknownCharset(&'a str),
    /// The charset does not contain ASCII.
    CharsetNotAscii(&'a str),
    /// The answer is too long for a UDP session that has not proved its address recently.
    AddressNotProven,
    /// `/hello` from a session that is already open.
    HelloIsForUdp,
    /// The topic is too long.
    TopicTooLong,
    /// The address has reached its limit of shared state.
    TooMuchState,
    /// Too many lines arrived before a long answer was complete.
    TooMuchWaiting,
    /// The sessions of the address together exceed its rate, and the command costs more than a
    /// line.
    AddressTooFast,
    /// The history can't be read.
    HistoryUnreadable,
}
