//! What a person can be told. Values only: how they look is the business of [`crate::wire`].

use crate::command::{Row, Setting};
use crate::ids::{Micros, Sequence};
use crate::names::NameError;
use std::net::SocketAddr;

/// One thing that somebody is told. Borrows from the state that it is about.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// Said in a room.
    Said {
        /// Where.
        room: &'a str,
        /// By whom.
        nick: &'a str,
        /// What.
        text: &'a str,
    },
    /// An action in a room.
    Action {
        /// Where.
        room: &'a str,
        /// Whose.
        nick: &'a str,
        /// What.
        text: &'a str,
    },
    /// Said or done in a room earlier: a line of the answer to `/history`. Its stamp is that of the line, not of the answer.
    Past {
        /// Where.
        room: &'a str,
        /// By whom.
        nick: &'a str,
        /// Whether it is an action.
        is_action: bool,
        /// What.
        text: &'a str,
    },
    /// The day (UTC) on which the lines of an answer to `/history` that follow were said: that of its stamp.
    Day,
    /// A private message, as its receiver is told it and, with `echo`, as its sender is.
    Private {
        /// By whom.
        from: &'a str,
        /// To whom.
        to: &'a str,
        /// Whether the sender is being told.
        is_echo: bool,
        /// What.
        text: &'a str,
    },
    /// Somebody entered a room.
    Joined {
        /// Which.
        room: &'a str,
        /// Who.
        nick: &'a str,
    },
    /// Somebody left a room.
    Left {
        /// Which.
        room: &'a str,
        /// Who.
        nick: &'a str,
    },
    /// Somebody left altogether.
    Quit {
        /// Who.
        nick: &'a str,
        /// Why; may be empty.
        reason: &'a str,
    },
    /// Somebody took another name.
    Renamed {
        /// Who it was.
        old: &'a str,
        /// Who it is.
        new: &'a str,
    },
    /// Somebody set a room's topic.
    TopicSet {
        /// Which room's.
        room: &'a str,
        /// Who set it.
        nick: &'a str,
        /// What it is now; empty if it was removed.
        topic: &'a str,
    },
    /// The first thing a session is told.
    Welcome {
        /// The name it was given.
        nick: &'a str,
        /// The room it is in, if it is in one.
        room: Option<&'a str>,
        /// That room's topic; may be empty.
        topic: &'a str,
        /// How many are there, itself included.
        members: usize,
        /// Some of them.
        names: Vec<&'a str>,
    },
    /// The answer to `/ping`.
    Pong {
        /// What was sent with it.
        text: &'a str,
    },
    /// The answer to a command.
    Reply(Reply<'a>),
    /// A line that was not done. `to` is the command's name, `None` for what is no command.
    Refused {
        /// The command that is refused.
        to: Option<&'a str>,
        /// Why.
        refusal: Refusal<'a>,
    },
    /// Bytes that are sent as they are, in every form: the answer to a client of another protocol
    /// or to a Telnet negotiation.
    Raw(&'a [u8]),
    /// The server ends.
    Stopping,
    /// The session ended through no doing of its own.
    Dismissed {
        /// Why.
        reason: &'a str,
    },
}

impl Event<'_> {
    /// Whether it tells who comes, goes, or is called something else, which one may choose not to hear.
    pub fn is_presence(&self) -> bool {
        matches!(self, Event::Joined { .. } | Event::Left { .. } | Event::Quit { .. } | Event::Renamed { .. })
    }
}

/// What follows the items of a list in this part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListEnd {
    /// Another part.
    Part,
    /// The end of the list, which leaves out so many items.
    LeftOut(usize),
    /// The end of a list without items, in all its parts.
    Empty,
}

/// The answer to a command, by command.
#[derive(Clone, Debug)]
pub enum Reply<'a> {
    /// `/help`, or `/help COMMAND`.
    Help(Option<&'static Row>),
    /// `/nick`: the name one has now.
    Nick(&'a str),
    /// `/join`: the room one is in now, or switched to.
    Joined {
        /// Which.
        room: &'a str,
        /// Whether one was in it before.
        was_in: bool,
        /// Its topic; may be empty.
        topic: &'a str,
        /// How many are there, oneself included.
        members: usize,
    },
    /// `/leave`: the room that was left, and the one that is current now.
    Left {
        /// The one left.
        room: &'a str,
        /// The one that is current now.
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
        /// Where.
        room: &'a str,
        /// Who is there, in order of arrival.
        names: Vec<&'a str>,
        /// What follows the names in this part.
        end: ListEnd,
    },
    /// `/whoami`.
    Whoami {
        /// One's name.
        nick: &'a str,
        /// The rooms one is in.
        rooms: Vec<&'a str>,
        /// The room one talks in.
        current: Option<&'a str>,
        /// Where one comes from.
        peer: SocketAddr,
        /// The worker's slot that serves one.
        worker: u16,
        /// The process in that slot; `None` if it has not been recorded.
        pid: Option<u32>,
    },
    /// `/topic` without a text: the topic, empty if there is none.
    Topic {
        /// Which room's.
        room: &'a str,
        /// The topic.
        topic: &'a str,
    },
    /// `/history`: behind the lines.
    History {
        /// Where.
        room: &'a str,
        /// How many lines were told.
        lines: usize,
        /// When the first of them was said, if there is one.
        first: Option<Micros>,
        /// From this place on all lines of the room were told.
        since: Sequence,
    },
    /// `/charset`: the charset's proper name.
    Charset(&'static str),
    /// `/set NAME on|off`.
    Set(Setting, bool),
    /// `/set` alone: echo, joins, tags.
    Settings([bool; 3]),
    /// `/hello` of a UDP session that has a key: what each of its datagrams is to begin with.
    Key(&'a str),
    /// `/quit`.
    Goodbye,
}

/// Why a line was not done. Its text, with what to do, is in [`crate::wire::line`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal<'a> {
    /// No command has this name.
    UnknownCommand(&'a str),
    /// A command's name, carried too, stands after this character, which looks like a slash.
    SlashLookalike(char, &'a str),
    /// The arguments don't fit.
    Usage(&'static Row),
    /// A line longer than the bound.
    LineTooLong,
    /// Nobody has this name.
    NoSuchNick(&'a str),
    /// There is no such room.
    NoSuchRoom(&'a str),
    /// One is not in this room.
    NotInRoom(&'a str),
    /// One is in no room.
    InNoRoom,
    /// Somebody else has this name.
    NickTaken(&'a str),
    /// Not a nickname.
    BadNick(&'a str, NameError),
    /// Not a room's name.
    BadRoom(&'a str, NameError),
    /// In as many rooms as one may be.
    TooManyRooms,
    /// As many rooms as there may be, or rooms and topics that take as much memory as they may.
    NoMoreRooms,
    /// No charset has this name.
    UnknownCharset(&'a str),
    /// A charset without ASCII in it.
    CharsetNotAscii(&'a str),
    /// What was to be sent is too much for a UDP session that hasn't proved its address lately.
    AddressNotProven,
    /// `/hello` where no greeting is needed.
    HelloIsForUdp,
    /// A topic longer than the bound.
    TopicTooLong,
    /// Its address has added as much to the shared state as it may.
    TooMuchState,
    /// Too many lines came while a long answer was under way.
    TooMuchWaiting,
    /// All sessions of the address together have sent more than they may, and the command costs more than a line.
    AddressTooFast,
    /// The history can't be read.
    HistoryUnreadable,
}
