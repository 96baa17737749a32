//! What each command does. A command either refuses and changes nothing, or changes the state and
//! notifies sessions.

use super::rooms::{Member, RoomId};
use super::tell::{Ending, Kept, Output, Teller};
use super::{Chat, Session};
use forkchat_common::address::AddressBlock;
use forkchat_common::charset::{Charset, CharsetError};
use forkchat_common::endpoint::plain;
use forkchat_common::event::{Event, Refusal, Reply};
use forkchat_common::ids::SessionId;
use forkchat_common::limits::{ROOMS_PER_SESSION_MAX, TOPIC_CHARS_MAX, WELCOME_NAMES_MAX};
use forkchat_common::names::{Nick, RoomName, find_key};
use forkchat_common::protocol::line::command::{Command, CommandError, Row, Setting, parse};

/// Lines of history that cost as much as a line of input.
const HISTORY_LINES_PER_COST: usize = 20;

type Done<'t> = Result<(), Refusal<'t>>;

impl Chat {
    /// Executes an input line.
    pub(super) fn obey<O: Output>(&mut self, id: SessionId, line: &str, tell: &mut Teller<'_, O>) {
        let (to, done) = match parse(line) {
            Ok(None) => return,
            Ok(Some((Some(row), command)))
                if row.cost > 1
                    && !self.is_login(id, &command)
                    && self.is_address_overdrawn(id, tell.now) =>
            {
                (Some(row.name), Err(Refusal::AddressTooFast))
            }
            Ok(Some((row, command))) => {
                // One line was counted when it was recorded.
                self.charge(id, row.map_or(0, |row| row.cost - 1), tell);
                (row.map(|row| row.name), self.run(id, command, tell))
            }
            Err(CommandError::Usage(row)) => (Some(row.name), Err(Refusal::Usage(row))),
            Err(CommandError::Unknown(name)) => (Some(name), Err(Refusal::UnknownCommand(name))),
            Err(CommandError::Lookalike(slash, name)) => {
                (Some(name), Err(Refusal::SlashLookalike(slash, name)))
            }
        };
        if let Err(refusal) = done {
            self.tell_one(id, &Event::Refused { to, refusal }, tell);
        }
    }

    /// Whether a command belongs to a login, before others are notified of the session. However
    /// many clients log in at once, they get their names and rooms.
    fn is_login(&self, id: SessionId, command: &Command<'_>) -> bool {
        matches!(command, Command::Nick(_) | Command::Join(_))
            && self.session(id).is_some_and(|session| !session.announced)
    }

    fn run<'t, O: Output>(
        &mut self,
        id: SessionId,
        command: Command<'t>,
        tell: &mut Teller<'_, O>,
    ) -> Done<'t> {
        match command {
            Command::Say(_) | Command::SayIndented(..) => {
                self.say(id, &command.said().unwrap_or_default(), false, tell)
            }
            Command::Me(text) => self.say(id, text, true, tell),
            Command::Msg { nick, text } => self.msg(id, nick, text, tell),
            Command::Nick(name) => self.nick(id, name, tell),
            Command::Join(room) => self.join(id, room, tell),
            Command::Leave(room) => self.leave(id, room, tell),
            Command::Topic(None) => self.show_topic(id, tell),
            Command::Topic(Some(topic)) => self.set_topic(id, topic, tell),
            Command::Rooms(pattern) => {
                self.list_rooms(id, pattern, tell);
                Ok(())
            }
            Command::Who(room) => self.who(id, room, tell),
            Command::Whoami => self.whoami(id, tell),
            Command::Help(about) => self.help(id, about, tell),
            Command::History(count) => {
                self.charge(id, (count / HISTORY_LINES_PER_COST) as u64, tell);
                self.ask(id, count, tell)
            }
            Command::Charset(name) => self.set_charset(id, name, tell),
            Command::Settings => self.show_settings(id, tell),
            Command::Set(setting, on) => self.set(id, setting, on, tell),
            Command::Ping(text) => self.answer(id, &Event::Pong { text }, tell),
            Command::Hello => self.hello(id, tell),
            Command::Quit(reason) => self.quit(id, reason, tell),
        }
    }

    fn answer<'t, O: Output>(
        &self,
        id: SessionId,
        event: &Event<'_>,
        tell: &mut Teller<'_, O>,
    ) -> Done<'t> {
        self.tell_one(id, event, tell);
        Ok(())
    }

    /// What is said or done in the current room, to all but the speaker, who hears it with `echo`.
    fn say<'t, O: Output>(
        &mut self,
        id: SessionId,
        text: &str,
        is_action: bool,
        tell: &mut Teller<'_, O>,
    ) -> Done<'t> {
        let room = self.current_room(id)?;
        self.announce(id, tell);
        let Some(session) = self.session(id) else { return Ok(()) };
        let room = self.state.rooms.get(room);
        let (name, nick) = (room.name.as_str(), session.nick.as_str());
        let event = if is_action {
            Event::Action { room: name, nick, text }
        } else {
            Event::Said { room: name, nick, text }
        };
        let except = (!session.has(Setting::Echo)).then_some(id);
        self.tell_room(room, except, &event, tell);
        tell.out.kept(&Kept::Line { room: &room.name, nick, is_action, text });
        Ok(())
    }

    fn msg<'t, O: Output>(
        &self,
        id: SessionId,
        nick: &'t str,
        text: &str,
        tell: &mut Teller<'_, O>,
    ) -> Done<'t> {
        let Some(session) = self.session(id) else { return Ok(()) };
        let receiver = find_key(nick)
            .and_then(|key| self.nicks.get(&key))
            .and_then(|&receiver| self.session(receiver));
        let receiver = receiver.ok_or(Refusal::NoSuchNick(nick))?;
        let event = |is_echo| Event::Private {
            from: session.nick.as_str(),
            to: receiver.nick.as_str(),
            is_echo,
            text,
        };
        self.tell_one(receiver.id, &event(false), tell);
        if session.has(Setting::Echo) {
            self.tell_one(id, &event(true), tell);
        }
        Ok(())
    }

    fn nick<'t, O: Output>(
        &mut self,
        id: SessionId,
        name: &'t str,
        tell: &mut Teller<'_, O>,
    ) -> Done<'t> {
        let nick = Nick::parse(name).map_err(|why| Refusal::BadNick(name, why))?;
        if self.nicks.get(nick.key()).is_some_and(|&holder| holder != id) {
            return Err(Refusal::NickTaken(name));
        }
        let Some(session) = self.session_mut(id) else { return Ok(()) };
        let old = std::mem::replace(&mut session.nick, nick);
        let key = session.nick.key().into();
        self.nicks.remove(old.key());
        self.nicks.insert(key, id);
        let Some(session) = self.session(id) else { return Ok(()) };
        self.tell_one(id, &Event::Reply(Reply::Nick(session.nick.as_str())), tell);
        if session.announced && old.as_str() != session.nick.as_str() {
            self.tell_neighbours(
                session,
                &Event::Renamed { old: old.as_str(), new: session.nick.as_str() },
                tell,
            );
        }
        Ok(())
    }

    fn join<'t, O: Output>(
        &mut self,
        id: SessionId,
        room: &'t str,
        tell: &mut Teller<'_, O>,
    ) -> Done<'t> {
        let name = RoomName::parse(room).map_err(|why| Refusal::BadRoom(room, why))?;
        let address = self.session(id).map(Session::address);
        let was_in = self.enter(id, name, address)?;
        let (room, Some(session)) =
            (self.state.rooms.get(self.current_room(id)?), self.session(id))
        else {
            return Ok(());
        };
        let name = room.name.as_str();
        let reply =
            Reply::Joined { room: name, was_in, topic: &room.topic, members: room.members.len() };
        self.tell_one(id, &Event::Reply(reply), tell);
        if session.announced && !was_in {
            self.tell_room(
                room,
                Some(id),
                &Event::Joined { room: name, nick: session.nick.as_str() },
                tell,
            );
        }
        Ok(())
    }

    /// Makes a room the session's current one, entering it if need be. Returns whether it was in it
    /// before. A room that has to be made counts for `made_by`. Notifies no other session.
    pub(super) fn enter(
        &mut self,
        id: SessionId,
        name: RoomName,
        made_by: Option<AddressBlock>,
    ) -> Result<bool, Refusal<'static>> {
        let Some(session) = self.session(id) else { return Ok(true) };
        let member = Member { session: id, slot: session.slot };
        let known = self.state.rooms.find(name.key()).filter(|room| session.rooms.contains(room));
        if known.is_none() && session.rooms.len() >= ROOMS_PER_SESSION_MAX {
            return Err(Refusal::TooManyRooms);
        }
        let room = self.state.rooms.find_or_make(name, made_by, &mut self.state.addresses)?;
        if known.is_none() {
            self.state.rooms.enter(room, member);
        }
        if let Some(session) = self.session_mut(id) {
            if known.is_none() {
                session.rooms.push(room);
            }
            session.current = Some(room);
        }
        Ok(known.is_some())
    }

    fn leave<'t, O: Output>(
        &mut self,
        id: SessionId,
        room: Option<&'t str>,
        tell: &mut Teller<'_, O>,
    ) -> Done<'t> {
        let room = match room {
            None => self.current_room(id)?,
            Some(name) => {
                RoomName::parse(name).map_err(|why| Refusal::BadRoom(name, why))?;
                let Some(session) = self.session(id) else { return Ok(()) };
                self.room_called(name)
                    .filter(|room| session.rooms.contains(room))
                    .ok_or(Refusal::NotInRoom(name))?
            }
        };
        let Some(session) = self.session_mut(id) else { return Ok(()) };
        let place = session.rooms.iter().position(|&other| other == room).unwrap_or(0);
        session.rooms.remove(place);
        if session.current == Some(room) {
            // The one joined before it, or the first that is left.
            session.current = session.rooms.get(place.saturating_sub(1)).copied();
        }
        let Some(session) = self.session(id) else { return Ok(()) };
        let left = self.state.rooms.get(room);
        let current = session.current.map(|room| self.state.rooms.get(room).name.as_str());
        self.tell_one(id, &Event::Reply(Reply::Left { room: left.name.as_str(), current }), tell);
        if session.announced {
            self.tell_room(
                left,
                Some(id),
                &Event::Left { room: left.name.as_str(), nick: session.nick.as_str() },
                tell,
            );
        }
        self.state.rooms.leave(room, id, tell.stamp.id, &mut self.state.addresses);
        Ok(())
    }

    fn show_topic<'t, O: Output>(&self, id: SessionId, tell: &mut Teller<'_, O>) -> Done<'t> {
        let room = self.state.rooms.get(self.current_room(id)?);
        self.answer(
            id,
            &Event::Reply(Reply::Topic { room: room.name.as_str(), topic: &room.topic }),
            tell,
        )
    }

    fn set_topic<'t, O: Output>(
        &mut self,
        id: SessionId,
        topic: &str,
        tell: &mut Teller<'_, O>,
    ) -> Done<'t> {
        let room = self.current_room(id)?;
        if topic.chars().nth(TOPIC_CHARS_MAX).is_some() {
            return Err(Refusal::TopicTooLong);
        }
        if *self.state.rooms.get(room).topic == *topic {
            // Nothing changes, so there is nothing to notify the room of.
            return self.show_topic(id, tell);
        }
        let address = self.session(id).map(Session::address);
        self.state.rooms.set_topic(room, topic, address, &mut self.state.addresses)?;
        self.announce(id, tell);
        let (room, Some(session)) = (self.state.rooms.get(room), self.session(id)) else {
            return Ok(());
        };
        self.tell_room(
            room,
            Some(id),
            &Event::TopicSet { room: room.name.as_str(), nick: session.nick.as_str(), topic },
            tell,
        );
        tell.out.kept(&Kept::Topic { room: &room.name, text: topic });
        self.answer(id, &Event::Reply(Reply::Topic { room: room.name.as_str(), topic }), tell)
    }

    fn who<'t, O: Output>(
        &mut self,
        id: SessionId,
        room: Option<&'t str>,
        tell: &mut Teller<'_, O>,
    ) -> Done<'t> {
        let room = match room {
            None => self.current_room(id)?,
            Some(name) => {
                RoomName::parse(name).map_err(|why| Refusal::BadRoom(name, why))?;
                self.room_called(name).ok_or(Refusal::NoSuchRoom(name))?
            }
        };
        let room = self.state.rooms.get(room).name.clone();
        self.list_members(id, room, tell);
        Ok(())
    }

    fn whoami<'t, O: Output>(&self, id: SessionId, tell: &mut Teller<'_, O>) -> Done<'t> {
        let Some(session) = self.session(id) else { return Ok(()) };
        let name = |room: RoomId| self.state.rooms.get(room).name.as_str();
        let reply = Reply::Whoami {
            nick: session.nick.as_str(),
            rooms: session.rooms.iter().map(|&room| name(room)).collect(),
            current: session.current.map(name),
            // On a socket for both, IPv4 comes mapped into IPv6: replies need that, people don't.
            peer: plain(session.peer),
            worker: session.slot.worker_number(),
            // From the log, so that each process that renders this record names the same one.
            pid: self.state.pids.get(&session.slot).copied(),
        };
        self.answer(id, &Event::Reply(reply), tell)
    }

    fn help<'t, O: Output>(
        &self,
        id: SessionId,
        about: Option<&'t str>,
        tell: &mut Teller<'_, O>,
    ) -> Done<'t> {
        let find = |name| {
            Row::by_name(name).filter(|row| row.is_listed()).ok_or(Refusal::UnknownCommand(name))
        };
        let row = about.map(find).transpose()?;
        self.answer(id, &Event::Reply(Reply::Help(row)), tell)
    }

    fn set_charset<'t, O: Output>(
        &mut self,
        id: SessionId,
        name: &'t str,
        tell: &mut Teller<'_, O>,
    ) -> Done<'t> {
        let charset = Charset::by_label(name).map_err(|why| match why {
            CharsetError::Unknown => Refusal::UnknownCharset(name),
            CharsetError::NotAscii(_) => Refusal::CharsetNotAscii(name),
        })?;
        self.tell_one(id, &Event::Reply(Reply::Charset(charset.name())), tell);
        if let Some(session) = self.session_mut(id) {
            session.charset = charset;
        }
        Ok(())
    }

    fn show_settings<'t, O: Output>(&self, id: SessionId, tell: &mut Teller<'_, O>) -> Done<'t> {
        let settings = self.session(id).map(|session| session.settings).unwrap_or_default();
        self.answer(id, &Event::Reply(Reply::Settings(settings)), tell)
    }

    fn set<'t, O: Output>(
        &mut self,
        id: SessionId,
        setting: Setting,
        on: bool,
        tell: &mut Teller<'_, O>,
    ) -> Done<'t> {
        if let Some(session) = self.session_mut(id) {
            session.settings[setting as usize] = on;
        }
        self.answer(id, &Event::Reply(Reply::Set(setting, on)), tell)
    }

    /// Over UDP the welcome may have been lost, so it is said again.
    fn hello<'t, O: Output>(&self, id: SessionId, tell: &mut Teller<'_, O>) -> Done<'t> {
        if self.session(id).is_none_or(|session| !session.is_udp()) {
            return Err(Refusal::HelloIsForUdp);
        }
        self.welcome(id, tell);
        Ok(())
    }

    fn quit<'t, O: Output>(
        &mut self,
        id: SessionId,
        reason: &str,
        tell: &mut Teller<'_, O>,
    ) -> Done<'t> {
        self.tell_one(id, &Event::Reply(Reply::Goodbye), tell);
        self.tell_quit(id, reason, tell);
        self.remove(id, Ending::Finish, tell);
        Ok(())
    }

    /// The first thing a session is told: its name, where it is, who is there.
    pub(super) fn welcome<O: Output>(&self, id: SessionId, tell: &mut Teller<'_, O>) {
        let Some(session) = self.session(id) else { return };
        if let Some(key) = session.key() {
            self.tell_one(id, &Event::Reply(Reply::Key(&key.to_string())), tell);
        }
        let room = session.current.map(|room| self.state.rooms.get(room));
        let event = Event::Welcome {
            nick: session.nick.as_str(),
            room: room.map(|room| room.name.as_str()),
            topic: room.map_or("", |room| &room.topic),
            members: room.map_or(0, |room| room.members.len()),
            names: room.map_or(Vec::new(), |room| self.names(&room.members, WELCOME_NAMES_MAX)),
        };
        self.tell_one(id, &event, tell);
    }

    pub(super) fn current_room(&self, id: SessionId) -> Result<RoomId, Refusal<'static>> {
        self.session(id).and_then(|session: &Session| session.current).ok_or(Refusal::InNoRoom)
    }

    fn room_called(&self, name: &str) -> Option<RoomId> {
        self.state.rooms.find(&find_key(name)?)
    }

    fn names(&self, members: &[Member], at_most: usize) -> Vec<&str> {
        members
            .iter()
            .take(at_most)
            .filter_map(|member| self.session(member.session))
            .map(|session| session.nick.as_str())
            .collect()
    }
}
