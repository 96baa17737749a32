//! A small model of the server.

use forkchat_common::protocol::line::arguments::word_and_text;
use forkchat_common::protocol::line::input::{Input, parse};
use forkchat_common::protocol::line::settings::{Setting, parse_setting};
use std::collections::VecDeque;

/// A small model of the server: nicknames, rooms, echoes, a history.
pub struct Server {
    pub has_history: bool,
    pub is_udp: bool,
    /// Room, nickname, text, and whether it is an action. The index is the id.
    pub log: Vec<(String, String, String, bool)>,
    pub connections: Vec<Connection>,
    pub guests: usize,
    /// The history has all lines from this id on.
    pub history_since: usize,
    /// Private messages that were delivered.
    pub messages: Vec<String>,
}

#[derive(Default)]
pub struct Connection {
    pub nick: String,
    pub rooms: Vec<String>,
    pub tags: bool,
    pub is_open: bool,
    /// Lines that the client has sent and the server has not read.
    pub to_server: VecDeque<String>,
    /// Lines that the server has sent and the client has not received.
    pub to_client: VecDeque<String>,
    pub datagrams: u64,
}

impl Server {
    pub fn new(has_history: bool, is_udp: bool) -> Server {
        Server {
            has_history,
            is_udp,
            log: Vec::new(),
            connections: Vec::new(),
            guests: 0,
            history_since: 0,
            messages: Vec::new(),
        }
    }

    pub fn connect(&mut self) -> usize {
        self.guests += 1;
        let nick = format!("guest{}", self.guests);
        self.connections.push(Connection {
            nick: nick.clone(),
            rooms: vec!["#lobby".to_owned()],
            is_open: true,
            ..Connection::default()
        });
        let number = self.connections.len() - 1;
        self.send(number, "event=welcome", &format!("* Welcome to forkchat, {nick}."));
        number
    }

    pub fn send(&mut self, number: usize, tags: &str, prose: &str) {
        let id = self.log.len();
        let connection = &mut self.connections[number];
        connection.datagrams += 1;
        let datagram =
            if self.is_udp { format!(";datagram={}", connection.datagrams) } else { String::new() };
        let tags =
            if connection.tags { format!("@id={id}{datagram};{tags} ") } else { String::new() };
        connection.to_client.push_back(format!("{tags}{prose}"));
    }

    /// Another user says something in a room.
    pub fn bob_says(&mut self, room: &str, text: &str) {
        self.log.push((room.to_owned(), "bob".to_owned(), text.to_owned(), false));
        for number in 0..self.connections.len() {
            if self.connections[number].is_open
                && self.connections[number].rooms.iter().any(|member| member == room)
            {
                self.send(
                    number,
                    &format!("event=say;room={room};nick=bob"),
                    &format!("[{room}] bob: {text}"),
                );
            }
        }
    }

    /// Reads and processes one line of a connection. Returns false if there is none.
    pub fn read(&mut self, number: usize) -> bool {
        let Some(line) = self.connections[number].to_server.pop_front() else { return false };
        let (nick, room) = (
            self.connections[number].nick.clone(),
            self.connections[number].rooms.last().cloned().unwrap_or_default(),
        );
        let parsed = parse(&line).map(Option::unwrap);
        let said = parsed.as_ref().ok().and_then(Input::said).unwrap_or_default().into_owned();
        let (command, arguments) = match parsed {
            Ok(Input::Command(row, arguments)) => (Some(row.name), arguments),
            _ => (None, ""),
        };
        match command {
            None if parsed.is_ok() && room.is_empty() => {
                self.send(number, "event=error", &format!("! you are in no room: {said}"));
            }
            None if parsed.is_ok() => {
                let text = &said;
                self.log.push((room.clone(), nick.clone(), text.clone(), false));
                self.send(
                    number,
                    &format!("event=say;room={room};nick={nick}"),
                    &format!("[{room}] {nick}: {text}"),
                );
            }
            Some("me") => {
                let text = arguments;
                self.log.push((room.clone(), nick.clone(), text.to_owned(), true));
                self.send(
                    number,
                    &format!("event=action;room={room};nick={nick}"),
                    &format!("[{room}] * {nick} {text}"),
                );
            }
            Some("set") => {
                let (setting, on) = parse_setting(arguments).unwrap();
                if setting == Setting::Tags {
                    self.connections[number].tags = on;
                }
                self.send(number, "event=reply;to=set", "* set");
            }
            Some("nick") => {
                let name = arguments;
                if self.connections.iter().enumerate().any(|(other, connection)| {
                    other != number && connection.is_open && connection.nick == name
                }) {
                    return {
                        self.send(number, "event=error;to=nick", "! taken");
                        true
                    };
                }
                name.clone_into(&mut self.connections[number].nick);
                self.send(number, &format!("event=reply;to=nick;nick={name}"), "* you are now");
            }
            Some("join") => {
                let name = arguments;
                self.connections[number].rooms.retain(|room| room != name);
                self.connections[number].rooms.push(name.to_owned());
                self.send(number, &format!("event=reply;to=join;room={name}"), "* joined");
            }
            Some("leave") => {
                let name = arguments;
                self.connections[number].rooms.retain(|room| room != name);
                let target = self.connections[number]
                    .rooms
                    .last()
                    .map_or(String::new(), |room| format!(";target={room}"));
                self.send(number, &format!("event=reply;to=leave;room={name}{target}"), "* left");
            }
            Some("whoami") => {
                let room = if room.is_empty() { room } else { format!(";room={room}") };
                self.send(number, &format!("event=reply;to=whoami;nick={nick}{room}"), "* you are");
            }
            Some("who") => {
                self.send(number, &format!("event=reply;to=who;room={room};names={nick}"), "* in");
                self.send(number, &format!("event=reply;to=who;room={room}"), "* … and more");
            }
            Some("msg") => {
                let (to, text) = word_and_text(arguments).unwrap();
                if self
                    .connections
                    .iter()
                    .any(|connection| connection.is_open && connection.nick == to)
                {
                    self.messages.push(text.to_owned());
                    self.send(
                        number,
                        &format!("event=private;nick={nick};target={to}"),
                        &format!("[@{to}] {nick}: {text}"),
                    );
                } else {
                    self.send(
                        number,
                        "event=error;to=msg",
                        &format!("! no user named {to}; /who lists who is in the room"),
                    );
                }
            }
            Some("ping") => {
                let text = arguments;
                self.send(number, "event=pong;to=ping", format!("* pong {text}").trim_end())
            }
            Some("quit") => {
                self.send(number, "event=reply;to=quit", "* goodbye");
                self.connections[number].is_open = false;
            }
            Some("history") if self.has_history => {
                for (id, (of, nick, text, is_action)) in
                    self.log.clone().into_iter().enumerate().filter(|(_, (of, ..))| *of == room)
                {
                    let kind = if is_action { "action" } else { "say" };
                    let prose = if is_action {
                        format!("[{of}] * {nick} {text}")
                    } else {
                        format!("[{of}] {nick}: {text}")
                    };
                    let connection = &mut self.connections[number];
                    connection.datagrams += 1;
                    let datagram = if self.is_udp {
                        format!(";datagram={}", connection.datagrams)
                    } else {
                        String::new()
                    };
                    connection.to_client.push_back(format!(
                        "@id={}{datagram};event={kind};to=history;room={of};nick={nick} {prose}",
                        id + 1
                    ));
                }
                self.send(
                    number,
                    &format!("event=reply;to=history;room={room};since={}", self.history_since),
                    "* end of the history",
                );
            }
            Some("history") | None => {
                let name = line[1..].split(' ').next().unwrap_or_default().to_owned();
                self.send(number, &format!("event=error;to={name}"), "! no such command");
            }
            other => panic!("the model knows no {other:?}"),
        }
        true
    }
}
