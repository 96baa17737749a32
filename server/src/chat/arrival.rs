//! How a session begins. A connection gets a name and a room, and is welcomed, only when it is
//! known to belong to a chat client: its first line shows it, or nothing arrives for a moment, or
//! no complete line arrives for some seconds. A client of another protocol receives that protocol's
//! answer instead, as the first bytes of the connection, and other sessions are not notified of it.

use super::Chat;
use super::tell::{Ending, Output, Teller};
use forkchat_common::event::Event;
use forkchat_common::ids::SessionId;
use forkchat_common::names::{Nick, RoomName};
use forkchat_common::protocol::line::foreign::Protocol;
use forkchat_common::protocol::line::telnet::Answers;

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
    pub(super) fn dismiss_foreign<O: Output>(
        &mut self,
        id: SessionId,
        protocol: &Protocol,
        tell: &mut Teller<'_, O>,
    ) {
        self.tell_one(id, &Event::Raw(protocol.answer), tell);
        // Those who met it while it was silent hear that it leaves.
        self.tell_quit(id, "spoke another protocol", tell);
        self.remove(id, Ending::Finish, tell);
    }

    /// Sends what a client's Telnet negotiations ask for.
    pub(super) fn answer_telnet<O: Output>(
        &self,
        id: SessionId,
        answers: &Answers,
        tell: &mut Teller<'_, O>,
    ) {
        if !answers.bytes.is_empty() {
            self.tell_one(id, &Event::Raw(&answers.bytes), tell);
        }
        // Once for all that came together: the answer is longer than the question.
        if answers.are_you_there {
            self.tell_one(id, &Event::Pong { text: "" }, tell);
        }
    }
}
