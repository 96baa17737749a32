//! Events of the chat that are sent to sessions, and refusals. These are values; each protocol in
//! [`crate::protocol`] renders them in its own way.

use crate::ids::{Micros, RecordId};
use crate::names::NameError;

/// The record that caused an event, and its time. All events of one record have the same stamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The record's id.
    pub id: RecordId,
    /// The time by the wall clock. May be earlier than that of the previous record, if the clock
    /// was set back.
    pub time: Micros,
}

/// The session that caused an event, as other sessions see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source<'a> {
    /// Its nickname.
    pub nick: &'a str,
    /// The user name, as in `nick!user@host`.
    pub user: &'a str,
    /// The host name that is shown instead of its address.
    pub host: &'a str,
    /// The account that it has proved to own, if any.
    pub account: Option<&'a str>,
}

/// An event that is sent to sessions. Borrows from the state that it describes.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// A line or action in a room.
    Said {
        /// The room.
        room: &'a str,
        /// The sender.
        source: Source<'a>,
        /// Whether it is an action.
        is_action: bool,
        /// The text.
        text: &'a str,
    },
    /// An earlier line of a room, from its history. Has the stamp of that line.
    Past {
        /// The room.
        room: &'a str,
        /// The sender's nickname at that time.
        nick: &'a str,
        /// Whether it is an action.
        is_action: bool,
        /// The text.
        text: &'a str,
    },
    /// The following earlier lines are of another day: the stamp's, in UTC.
    Day,
    /// A private message. Sent to the receiver, and to the sender if it receives its own lines.
    Private {
        /// The sender.
        source: Source<'a>,
        /// The receiver's nickname.
        to: &'a str,
        /// Whether this is the copy for the sender.
        is_echo: bool,
        /// The text.
        text: &'a str,
    },
    /// A session joined a room. Sent to the other members.
    Joined {
        /// The room.
        room: &'a str,
        /// The session.
        source: Source<'a>,
    },
    /// A session left a room. Sent to the other members.
    Left {
        /// The room.
        room: &'a str,
        /// The session.
        source: Source<'a>,
    },
    /// A session ended. Sent to the sessions that share a room with it.
    Quit {
        /// The session.
        source: Source<'a>,
        /// The reason; may be empty.
        reason: &'a str,
    },
    /// A session changed its nickname. Sent to the sessions that share a room with it.
    Renamed {
        /// The session, with its old nickname.
        source: Source<'a>,
        /// The new nickname.
        new: &'a str,
    },
    /// A session set a room's topic. Sent to the other members.
    TopicSet {
        /// The room.
        room: &'a str,
        /// The session.
        source: Source<'a>,
        /// The new topic; empty if it was removed.
        topic: &'a str,
    },
    /// A part of the list of rooms.
    Rooms {
        /// Each room's name, number of members, topic.
        rooms: Vec<(&'a str, usize, &'a str)>,
        /// What follows the rooms in this part.
        end: ListEnd,
    },
    /// A part of the list of a room's members.
    Members {
        /// The room.
        room: &'a str,
        /// The nicknames, in order of arrival.
        names: Vec<&'a str>,
        /// What follows the names in this part.
        end: ListEnd,
    },
    /// The end of a room's history.
    HistoryEnd {
        /// The room.
        room: &'a str,
        /// The number of lines sent.
        lines: usize,
        /// The time of the first line, if there is one.
        first: Option<Micros>,
        /// All lines of the room from this id on were sent.
        since: RecordId,
    },
    /// A line or command was refused.
    Refused {
        /// The name of the refused command; `None` if it was not a command.
        to: Option<&'a str>,
        /// The reason.
        refusal: Refusal<'a>,
    },
    /// The server is stopping.
    Stopping,
    /// The server ended the session.
    Dismissed {
        /// The reason.
        why: Dismissal,
    },
}

impl Event<'_> {
    /// Whether this is a join, leave, quit or nick change: sent only to sessions that want these.
    pub fn is_presence(&self) -> bool {
        matches!(
            self,
            Event::Joined { .. } | Event::Left { .. } | Event::Quit { .. } | Event::Renamed { .. }
        )
    }
}

/// Why a connection is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The server has as many connections as it may have.
    Full,
    /// The address has as many connections as it may have.
    TooManyFromAddress,
    /// The address opens connections too fast.
    TooFast,
    /// The system is out of file descriptors.
    NoDescriptors,
    /// The system can't start another process.
    NoProcess,
}

/// Why the server ended a session, if the session is notified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dismissal {
    /// Nothing was received from it for too long, over UDP.
    Silent,
    /// Its input crashed server processes.
    Quarantined,
    /// The server lost the session.
    Lost,
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

/// Why a line was refused. [`crate::protocol::line::render`] has the texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal<'a> {
    /// No command has this name.
    UnknownCommand(&'a str),
    /// A command's name follows this character, which looks like a slash.
    SlashLookalike(char, &'a str),
    /// The arguments don't fit the command.
    Usage,
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
