//! How a session begins. A connection is nobody until it is known that a client of the chat is at
//! its other end: its first line says so, or that nothing has come for a moment, or not all of a
//! line for some seconds. Only then it is given a name and a room, and welcomed. A client of another
//! protocol gets that protocol's answer instead, as the first bytes that it is sent, and nobody else
//! hears of it.

use super::Chat;
use super::tell::{Ending, Output, Teller};
use forkchat_common::event::Event;
use forkchat_common::foreign::Protocol;
use forkchat_common::ids::SessionId;
use forkchat_common::names::{Nick, RoomName};
use forkchat_common::telnet::Answers;

/// The room in which everybody starts.
const LOBBY: &str = "#lobby";

impl Chat {
    /// Gives a session its name and the lobby, and welcomes it, unless that was done.
    pub(super) fn arrive<O: Output>(&mut self, id: SessionId, tell: &mut Teller<'_, O>) {
        if self.session(id).is_none_or(|session| session.is_welcomed) {
            return;
        }
        let nick = self.next_guest();
        self.nicks.insert(nick.key().into(), id);
        if let Some(session) = self.session_mut(id) {
            (session.nick, session.is_welcomed) = (nick, true);
        }
        if let Ok(lobby) = RoomName::parse(LOBBY) {
            // Without room for the lobby one starts in no room; the welcome says so.
            let _ = self.enter(id, lobby, None);
        }
        self.welcome(id, tell);
    }

    fn next_guest(&mut self) -> Nick {
        loop {
            self.state.guests += 1;
            if let Ok(nick) = Nick::parse(&format!("guest{}", self.state.guests))
                && !self.nicks.contains_key(nick.key())
            {
                return nick;
            }
        }
    }

    /// Answers a client of another protocol, and ends its session. What else it sent is not read.
    pub(super) fn dismiss_foreign<O: Output>(&mut self, id: SessionId, protocol: &Protocol, tell: &mut Teller<'_, O>) {
        self.tell_one(id, &Event::Raw(protocol.answer), tell);
        // Those who met it while it was silent hear that it leaves.
        self.tell_quit(id, "spoke another protocol", tell);
        self.remove(id, Ending::Finish, tell);
    }

    /// Sends what a client's Telnet negotiations ask for.
    pub(super) fn answer_telnet<O: Output>(&self, id: SessionId, answers: &Answers, tell: &mut Teller<'_, O>) {
        if !answers.bytes.is_empty() {
            self.tell_one(id, &Event::Raw(&answers.bytes), tell);
        }
        // Once for all that came together: the answer is longer than the question.
        if answers.are_you_there {
            self.tell_one(id, &Event::Pong { text: "" }, tell);
        }
    }
}
