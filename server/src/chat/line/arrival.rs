//! The start of a line session. A session gets a name, a room and a welcome only when its client
//! seems to be a chat client: its first line is not another protocol's, or nothing arrives for a
//! moment, or no complete line arrives for some seconds. A client of another protocol receives an
//! answer in that protocol as the first bytes of the connection, and other sessions are not
//! notified of it.

use crate::chat::Chat;
use crate::chat::deliver::{Deliveries, Out};
use crate::chat::effect::Ending;
use crate::chat::message::Message;
use crate::chat::rooms::Member;
use forkchat_common::ids::SessionId;
use forkchat_common::limits::WELCOME_NAMES_MAX;
use forkchat_common::names::{Nick, RoomName};
use forkchat_common::protocol::line::foreign::ForeignProtocol;
use forkchat_common::protocol::line::render::Lines;
use forkchat_common::protocol::line::tags::Tags;

/// The room in which every session starts.
const LOBBY: &str = "#lobby";

impl Chat {
    /// Gives a session a guest name, puts it into the lobby and welcomes it, unless that was done.
    pub(in crate::chat) fn register_guest<O: Deliveries>(
        &mut self,
        id: SessionId,
        out: &mut Out<'_, O>,
    ) {
        if self.session(id).is_none_or(|session| session.is_registered) {
            return;
        }
        let nick = self.next_guest();
        self.nicks.insert(nick.key().into(), id);
        if let Some(session) = self.session_mut(id) {
            (session.nick, session.is_registered) = (nick, true);
        }
        if let Ok(lobby) = RoomName::parse(LOBBY) {
            // If there is no memory for the lobby, the session starts in no room, and the welcome
            // says so.
            let _ = self.enter_current(id, lobby, None);
        }
        self.welcome(id, out);
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

    /// Answers a client of another protocol, and ends its session. The rest of its input is not
    /// read.
    pub(super) fn dismiss_foreign<O: Deliveries>(
        &mut self,
        id: SessionId,
        protocol: &ForeignProtocol,
        out: &mut Out<'_, O>,
    ) {
        self.send_message(id, Message::Raw(protocol.answer), out);
        // Other sessions may have been notified of its arrival, if it sent nothing at first.
        self.send_quit(id, "spoke another protocol", out);
        self.remove(id, Ending::Finish, out);
    }

    /// Sends a session its first lines: its name, its room, and the other members.
    pub(super) fn welcome<O: Deliveries>(&self, id: SessionId, out: &mut Out<'_, O>) {
        let Some(session) = self.session(id) else { return };
        if let Some(key) = session.key() {
            let write = |lines: &mut Lines<'_>| lines.line(format_args!("* /key {key}"));
            self.send_lines(id, Tags::reply("hello"), out, write);
        }
        let nick = session.nick.as_str();
        let Some(room) = session.line().current.map(|room| self.state.rooms.get(room)) else {
            let tags = Tags::event("welcome").with("nick", nick);
            return self.send_lines(id, tags, out, |lines| {
                lines.line(format_args!(
                    "* Welcome to forkchat, {nick}. You are in no room; join one with \
                     /join #ROOM, /help lists the commands"
                ));
            });
        };
        let (name, topic, members) = (room.name.as_str(), &*room.topic, room.members.len());
        let names = self.nicknames(&room.members, WELCOME_NAMES_MAX);
        let tags = Tags::event("welcome").with("room", name).with("nick", nick);
        self.send_lines(id, tags, out, |lines| {
            lines.line(format_args!(
                "* Welcome to forkchat, {nick}. You are in {name}; {}. /help lists the commands, \
                 /nick NAME changes your name",
                people(members)
            ));
            if members > 1 {
                lines.members(name, &names, members - names.len());
            }
            topic_line(lines, name, topic);
        });
    }

    fn nicknames(&self, members: &[Member], count_max: usize) -> Vec<&str> {
        let sessions = members.iter().take(count_max);
        let sessions = sessions.filter_map(|member| self.session(member.session));
        sessions.map(|session| session.nick.as_str()).collect()
    }
}

/// The number of members of a room, as a text for one of them.
pub(super) fn people(members: usize) -> String {
    match members {
        1 => "nobody else is here".to_owned(),
        _ => format!("{members} people are here"),
    }
}

/// Writes a room's topic, if it has one.
pub(super) fn topic_line(lines: &mut Lines<'_>, room: &str, topic: &str) {
    if !topic.is_empty() {
        lines.line(format_args!("* topic of {room}: {topic}"));
    }
}
