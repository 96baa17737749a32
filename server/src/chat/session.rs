//! The state of one session that does not depend on its protocol.

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

/// Placeholders for the user and the host of a session, for protocols that show these. Other users
/// never see an address.
const USER: &str = "user";
const HOST: &str = "hidden";

/// The replicated state of a session.
#[derive(Debug, Serialize, Deserialize)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The worker that serves it. [`Fact::Moved`](super::Fact::Moved) changes it.
    pub slot: Slot,
    /// The client's address and the listener.
    pub origin: Origin,
    /// TCP or UDP.
    pub transport: Transport,
    /// Its nickname, a placeholder before `is_registered`.
    pub(super) nick: Nick,
    /// The rooms that it is in, in the order in which it joined them.
    pub(super) rooms: Vec<RoomId>,
    /// Whether it has been given a nickname of its own. Before that it is in no room.
    pub(super) is_registered: bool,
    /// Whether other sessions have been notified of it.
    pub(super) is_announced: bool,
    /// The offset in its input stream after the last input that was applied.
    pub input_end: u64,
    /// Whether its input is inside a line that is too long.
    pub in_long_line: bool,
    /// The time of the last input from it.
    pub last_received: Micros,
    /// The answer for which its further input waits. Boxed, since few sessions wait.
    pub(super) waiting: Option<Box<Waiting>>,
    /// The number of its pending requests to services.
    pub(super) requests: u32,
    pub(super) rate: Used,
    /// Over UDP without a key: the bytes that it may receive in answer to its own lines.
    pub(super) allowance: Allowance,
    pub(super) protocol: ProtocolState,
}

/// The state of a session that depends on its protocol.
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
    /// A new session, with a placeholder name that does not reserve that name.
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
            last_received: now,
            waiting: None,
            requests: 0,
            rate: Used::default(),
            allowance: Allowance::default(),
            protocol: ProtocolState::new(origin.listener.protocol),
        }
    }

    /// The address block whose budgets its lines count against.
    pub fn address(&self) -> AddressBlock {
        AddressBlock::of(self.origin.peer.ip())
    }

    /// Whether other sessions have been notified of it.
    pub fn is_announced(&self) -> bool {
        self.is_announced
    }

    /// The client's and the server's address, if it is connected over UDP.
    pub fn path(&self) -> Option<UdpPath> {
        match self.transport {
            Transport::Tcp => None,
            Transport::Udp { local, .. } => Some(UdpPath { peer: self.origin.peer, local }),
        }
    }

    /// The key that each of its datagrams must carry, if it has one.
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

    /// The session as other sessions see it.
    pub(super) fn source(&self) -> Source<'_> {
        Source { nick: self.nick.as_str(), user: USER, host: HOST, account: None }
    }

    /// The form in which it receives messages.
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

    /// Whether it also receives its own lines.
    pub(super) fn wants_echo(&self) -> bool {
        match &self.protocol {
            ProtocolState::Line(line) => line.wants_echo(),
        }
    }

    /// Removes a room from its rooms. False if it was not in that room.
    pub(super) fn leave(&mut self, room: RoomId) -> bool {
        let Some(place) = self.rooms.iter().position(|&other| other == room) else { return false };
        self.rooms.remove(place);
        match &mut self.protocol {
            ProtocolState::Line(line) => line.left(room, place, &self.rooms),
        }
        true
    }
}
