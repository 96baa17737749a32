//! IRC for the bare broadcaster: the part of RFC 2812 that clients need to enter a room and talk
//! there. It tests the IRC side of the load generator where no IRC server is installed. It is as
//! strict as real servers: it demands a PONG before it welcomes a client, and rejects long lines
//! and nicknames that are taken.

use super::Broadcaster;

/// Source: RFC 2812, 1.2.1.
const NICK_BYTES_MAX: usize = 9;
const LINE_BYTES_MAX: usize = 512;

/// A client's registration.
#[derive(Debug, Default)]
pub struct Registration {
    nick: String,
    user: String,
    is_welcome: bool,
}

impl Broadcaster {
    /// Handles a line of a client, with its LF.
    pub(super) fn handle_irc(&mut self, index: usize, line: &[u8]) {
        let text = String::from_utf8_lossy(line).into_owned();
        let (command, rest) = text.trim_end().split_once(' ').unwrap_or((text.trim_end(), ""));
        let Some(peer) = self.peers[index].as_mut() else { return };
        let is_welcome = peer.irc.get_or_insert_default().is_welcome;
        match command {
            _ if line.len() > LINE_BYTES_MAX => {
                self.reply(index, "417", ":Input line was too long")
            }
            "NICK" => self.take_nick(index, rest),
            "USER" => self.register(index, |irc| {
                irc.user = rest.split(' ').next().unwrap_or_default().to_owned()
            }),
            "PONG" => self.welcome(index),
            "PING" => self.append_line(index, &format!(":bare PONG bare {rest}")),
            "QUIT" => self.close_link(index),
            _ if !is_welcome => self.reply(index, "451", ":You have not registered"),
            "JOIN" => self.join(index, rest),
            "PRIVMSG" => self.pass_on(index, rest),
            _ => self.reply(index, "421", &format!("{command} :Unknown command")),
        }
    }

    fn irc(&self, index: usize) -> Option<&Registration> {
        self.peers[index].as_ref()?.irc.as_deref()
    }

    fn register(&mut self, index: usize, change: impl FnOnce(&mut Registration)) {
        let Some(irc) = self.peers[index].as_mut().and_then(|peer| peer.irc.as_deref_mut()) else {
            return;
        };
        change(irc);
        if !irc.nick.is_empty() && !irc.user.is_empty() {
            self.append_line(index, "PING :are you there");
        }
    }

    fn take_nick(&mut self, index: usize, nick: &str) {
        let is_taken = (0..self.peers.len())
            .any(|other| other != index && self.irc(other).is_some_and(|irc| irc.nick == nick));
        if nick.len() > NICK_BYTES_MAX || !nick.starts_with(|c: char| c.is_ascii_alphabetic()) {
            self.reply(index, "432", &format!("{nick} :Erroneous nickname"));
        } else if is_taken {
            self.reply(index, "433", &format!("{nick} :Nickname is already in use"));
        } else {
            self.register(index, |irc| irc.nick = nick.to_owned());
        }
    }

    fn welcome(&mut self, index: usize) {
        let Some(irc) = self.peers[index].as_mut().and_then(|peer| peer.irc.as_deref_mut()) else {
            return;
        };
        if std::mem::replace(&mut irc.is_welcome, true) {
            return;
        }
        self.reply(index, "001", ":Welcome");
        self.reply(
            index,
            "005",
            &format!("NICKLEN={NICK_BYTES_MAX} :are supported by this server"),
        );
        self.reply(index, "422", ":There is no message of the day");
    }

    fn join(&mut self, index: usize, room: &str) {
        if !room.starts_with('#') {
            return self.reply(index, "403", &format!("{room} :No such channel"));
        }
        self.enter(index, room.as_bytes());
        self.reply(index, "353", &format!("= {room} :and others"));
        self.reply(index, "366", &format!("{room} :End of NAMES list"));
    }

    fn pass_on(&mut self, index: usize, rest: &str) {
        let Some((room, text)) = rest.split_once(" :") else {
            return self.reply(index, "412", ":No text to send");
        };
        let name_of_room = self.room_names.get(room.as_bytes()).copied();
        if name_of_room.is_none()
            || name_of_room != self.peers[index].as_ref().and_then(|peer| peer.room)
        {
            return self.reply(index, "404", &format!("{room} :Cannot send to channel"));
        }
        let Some(irc) = self.irc(index) else { return };
        let line = format!(":{}!~{}@127.0.0.1 PRIVMSG {room} :{text}\r\n", irc.nick, irc.user);
        self.broadcast(index, line.as_bytes());
    }

    fn close_link(&mut self, index: usize) {
        self.append_line(index, "ERROR :Closing Link");
        self.flush(index);
        self.remove(index);
    }

    fn reply(&mut self, index: usize, number: &str, text: &str) {
        let nick = self.irc(index).map(|irc| irc.nick.clone()).filter(|nick| !nick.is_empty());
        self.append_line(
            index,
            &format!(":bare {number} {} {text}", nick.as_deref().unwrap_or("*")),
        );
    }

    fn append_line(&mut self, index: usize, line: &str) {
        self.append(index, format!("{line}\r\n").as_bytes());
    }
}
