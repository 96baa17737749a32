//! The state of one session that no protocol has to itself.

use super::allowance::Allowance;
use super::form::Form;
use super::line::LineState;
use super::record::Transport;
use super::rooms::RoomId;
use super::waiting::Waiting;
use forkchat_common::address::AddressBlock;
use forkchat_common::endpoint::{Origin, Token, UdpPath};
use forkchat_common::event::Source;
use forkchat_common::ids::{Micros, SessionId, Slot};
use forkchat_common::names::Nick;
use forkchat_common::protocol::Protocol;
use forkchat_common::token_bucket::Used;
use serde::{Deserialize, Serialize};

/// What other protocols show for the user and the address of a session. No address is shown to other
/// users.
const USER: &str = "user";
const HOST: &str = "hidden";

/// A session, as every replica knows it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The worker that serves it. A record may give it to another one.
    pub slot: Slot,
    /// Where it comes from.
    pub origin: Origin,
    /// How it is connected.
    pub transport: Transport,
    /// Its name.
    pub(super) nick: Nick,
    /// The rooms it is in, in the order in which it entered them.
    pub(super) rooms: Vec<RoomId>,
    /// Whether it has a name of its own. Before that it is in no room.
    pub(super) is_registered: bool,
    /// Whether other sessions have been notified of it.
    pub(super) is_announced: bool,
    /// The offset in its input after the last line that was applied.
    pub input_end: u64,
    /// Inside a line that is longer than lines may be.
    pub in_long_line: bool,
    /// When something was last received from it.
    pub last_heard: Micros,
    /// What its further input waits for. In a box, since few sessions ever wait.
    pub(super) waiting: Option<Box<Waiting>>,
    /// How many requests of its wait for a service.
    pub(super) requests: u32,
    pub(super) rate: Used,
    /// Over UDP, without a key: what it may be sent for its own lines.
    pub(super) allowance: Allowance,
    pub(super) protocol: ProtocolState,
}

/// What only its own protocol knows of a session.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ProtocolState {
    Line(LineState),
}

impl ProtocolState {
    fn new(protocol: Protocol) -> ProtocolState {
        match protocol {
            Protocol::Line => ProtocolState::Line(LineState::default()),
        }
    }
}

impl Session {
    /// A new session, with a placeholder name that stays free for others.
    pub fn new(
        id: SessionId,
        slot: Slot,
        origin: Origin,
        transport: Transport,
        now: Micros,
    ) -> Session {
        Session {
            id,
            slot,
            origin,
            transport,
            nick: Nick::parse("guest")
                .expect("guest is a nickname; the session is given its own before anyone sees it"),
            rooms: Vec::new(),
            is_registered: false,
            is_announced: false,
            input_end: 0,
            in_long_line: false,
            last_heard: now,
            waiting: None,
            requests: 0,
            rate: Used::default(),
            allowance: Allowance::default(),
            protocol: ProtocolState::new(origin.listener.protocol),
        }
    }

    /// The address for which its lines count.
    pub fn address(&self) -> AddressBlock {
        AddressBlock::of(self.origin.peer.ip())
    }

    /// Whether other sessions have been notified of it.
    pub fn is_announced(&self) -> bool {
        self.is_announced
    }

    /// Both ends of its path, if it is connected over UDP.
    pub fn path(&self) -> Option<UdpPath> {
        match self.transport {
            Transport::Tcp => None,
            Transport::Udp { local, .. } => Some(UdpPath { peer: self.origin.peer, local }),
        }
    }

    /// What each of its datagrams has to carry, if anything.
    pub fn key(&self) -> Option<Token> {
        match self.transport {
            Transport::Udp { key, .. } => key,
            Transport::Tcp => None,
        }
    }

    /// Whether it is connected over UDP.
    pub fn is_udp(&self) -> bool {
        matches!(self.transport, Transport::Udp { .. })
    }

    /// As other sessions see it.
    pub(super) fn source(&self) -> Source<'_> {
        Source { nick: self.nick.as_str(), user: USER, host: HOST, account: None }
    }

    /// In which form it receives messages.
    pub(super) fn form(&self) -> Form {
        match &self.protocol {
            ProtocolState::Line(line) => Form::Line(line.form()),
        }
    }

    /// Whether it wants to be notified of joins, leaves, quits and nick changes.
    pub(super) fn wants_presence(&self) -> bool {
        match &self.protocol {
            ProtocolState::Line(line) => line.wants_presence(),
        }
    }

    /// Whether it receives its own lines, too.
    pub(super) fn wants_echo(&self) -> bool {
        match &self.protocol {
            ProtocolState::Line(line) => line.wants_echo(),
        }
    }

    /// It is no longer in a room. False if it wasn't.
    pub(super) fn leave(&mut self, room: RoomId) -> bool {
        let Some(place) = self.rooms.iter().position(|&other| other == room) else { return false };
        self.rooms.remove(place);
        match &mut self.protocol {
            ProtocolState::Line(line) => line.left(room, place, &self.rooms),
        }
        true
    }
}
