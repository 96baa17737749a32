//! The crowd: creates clients of all kinds, logs them in, and lets visitors join and leave all the
//! time.

use super::client::{Client, Manner, PADDING, Stage};
use super::listener::{Attendance, Form, Listener, Reply};
use super::play::Play;
use super::transcript::Transcript;
use super::voice::{CHARSETS, LETTER, Voice};
use nix::sys::epoll::{EpollEvent, EpollFlags};
use std::net::Shutdown;

/// Over UDP, how long one waits for an answer at the login, in ns.
const KNOCK_AGAIN: u64 = 500_000_000;
/// Of so many rooms one has a slow reader.
const ROOMS_PER_SLOW: u32 = 5;
/// Visitors of a room that has members enough.
const VISITORS: u32 = 2;

const MS: u64 = 1_000_000;

impl Play<'_> {
    /// Makes all clients and lets them connect.
    pub(super) fn gather(&mut self) -> Result<(), String> {
        let options = self.options;
        for room in 0..options.rooms {
            self.checker.transcripts.push(Transcript::new(format!("#r{room}")));
            let members = options.members_of(room);
            let visitors = if members >= options.senders + 2 + VISITORS { VISITORS } else { 0 };
            for place in 0..members {
                let is_visitor = place >= members - visitors;
                let is_plain = place == options.senders;
                let is_slow =
                    !is_plain && !is_visitor && has_slow(room) && place == members - visitors - 1;
                let mix = room + place;
                let form = Form {
                    tags: is_slow || mix % 3 == 1,
                    echo: mix.is_multiple_of(2),
                    joins: is_plain || is_visitor || mix % 5 != 4,
                    charset: usize::from(mix % 7 == 3),
                };
                let manner = [Manner::Lines, Manner::Bursts, Manner::Parts][(mix % 3) as usize];
                let speaks = place < options.senders || is_visitor;
                self.add(room, form, (false, is_visitor, speaks), is_slow, manner)?;
            }
        }
        for number in 0..options.udp_clients {
            let form = Form {
                tags: number % 2 == 1,
                echo: number % 4 < 2,
                joins: false,
                charset: usize::from(number % 7 == 3),
            };
            self.add(
                number % options.rooms,
                form,
                (true, false, number % 5 == 0),
                false,
                Manner::Lines,
            )?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        room: u32,
        form: Form,
        kind: (bool, bool, bool),
        is_slow: bool,
        manner: Manner,
    ) -> Result<(), String> {
        let (is_udp, is_visitor, speaks) = kind;
        let (index, room_name) = (self.clients.len(), format!("#r{room}"));
        let nick_rest = format!(
            "{}{index}",
            if is_udp {
                "u"
            } else if is_visitor {
                "v"
            } else {
                "m"
            }
        );
        let nick = format!("{}{nick_rest}", String::from_utf8_lossy(LETTER[0]));
        let mut listener = Listener::new(nick.clone(), room as usize, form, is_udp, is_visitor);
        if speaks {
            listener.voice = Some(self.checker.voices.len() as u16);
            self.checker.voices.push(Voice::new(
                index,
                room as usize,
                &room_name,
                &nick_rest,
                is_udp,
            ));
        }
        if !is_visitor {
            self.checker.transcripts[room as usize].admit(&nick);
        }
        self.checker.listeners.push(listener);
        self.checker.faults.slots.push(0);
        let on = |is_on, setting: &str| {
            if is_on { format!("/set {setting} on\n") } else { String::new() }
        };
        let mut login = format!("/nick {nick}\n/whoami\n");
        login += &if is_visitor {
            "/leave #lobby\n".into()
        } else {
            format!("/join {room_name}\n/leave #lobby\n")
        };
        login += if form.joins { "" } else { "/set joins off\n" };
        login += &(on(form.echo, "echo") + &on(form.tags, "tags"));
        login += &if form.charset == 0 {
            String::new()
        } else {
            format!("/charset {}\n", CHARSETS[form.charset])
        };
        let client = self.connect(is_udp, is_slow, manner, login)?;
        self.clients.push(client);
        self.greet(index)
    }

    fn connect(
        &self,
        is_udp: bool,
        is_slow: bool,
        manner: Manner,
        login: String,
    ) -> Result<Client, String> {
        let address = if is_udp { self.udp } else { self.tcp };
        Client::connect(address, is_udp, is_slow, manner, login)
            .map_err(|error| format!("cannot connect to {address}: {error}"))
    }

    /// What is said first: who it is, or over UDP something that is answered with a cookie.
    fn greet(&mut self, index: usize) -> Result<(), String> {
        self.watch(index)?;
        let (client, listener) = (&mut self.clients[index], &mut self.checker.listeners[index]);
        let ping = listener.ping();
        client.stage = Stage::LoggingIn(self.now);
        if listener.is_udp {
            client.knock();
        } else {
            client.unsent.extend_from_slice(format!("{}{ping}", client.login).as_bytes());
        }
        self.flush(index);
        Ok(())
    }

    fn watch(&mut self, index: usize) -> Result<(), String> {
        // Who is slow looks by the clock.
        if self.clients[index].is_slow {
            return Ok(());
        }
        let event = EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
        self.epoll
            .add(&self.clients[index], event)
            .map_err(|error| format!("cannot wait for a connection: {error}"))
    }

    /// Over UDP: a cookie has come to one who is in. Either it asked more than once, or the server
    /// doesn't know it any more.
    pub(super) fn hear_cookie(&mut self, index: usize) {
        match self.clients[index].knocks {
            0 => self.closed(index, "the server no longer knows the session"),
            knocks => self.clients[index].knocks = knocks - 1,
        }
    }

    /// Over UDP: the server asks for a greeting with this cookie. A key is asked for with it:
    /// without one, answers and echoes might be left out.
    pub(super) fn greet_with(&mut self, index: usize, line: &[u8]) {
        let client = &mut self.clients[index];
        let pings = self.checker.listeners[index].pings;
        client.knocks = client.knocks.saturating_sub(1);
        if client.greeted_at.is_some_and(|at| at + KNOCK_AGAIN > self.now) {
            // The answer to an earlier knock.
            return;
        }
        client.greeted_at = Some(self.now);
        client.stage = Stage::LoggingIn(self.now);
        client.unsent.extend_from_slice(&line[2..]);
        client
            .unsent
            .extend_from_slice(format!(" key\n{}/ping p{pings}\n", client.login).as_bytes());
        self.flush(index);
    }

    /// Lets those who wait for an answer over UDP ask again.
    pub(super) fn knock_again(&mut self) {
        for index in 0..self.clients.len() {
            let listener = &self.checker.listeners[index];
            if let Stage::LoggingIn(since) = self.clients[index].stage
                && listener.is_udp
                && self.now > since + KNOCK_AGAIN
            {
                let (client, pings) = (&mut self.clients[index], listener.pings);
                client.stage = Stage::LoggingIn(self.now);
                if client.key.is_empty() {
                    client.knock();
                } else {
                    client.unsent.extend_from_slice(format!("/ping p{pings}{PADDING}").as_bytes());
                }
                self.flush(index);
            }
        }
    }

    /// Asks something, whose answer is then due.
    pub(super) fn ping(&mut self, index: usize) {
        let (client, listener) = (&mut self.clients[index], &mut self.checker.listeners[index]);
        let ping = listener.ping();
        client.unsent.extend_from_slice(ping.as_bytes());
        if listener.is_udp {
            client.unsent.extend_from_slice(PADDING.as_bytes());
        }
        self.flush(index);
    }

    /// An answer came: what that means for one who logs in, or for a visitor.
    pub(super) fn answered(&mut self, index: usize, reply: Reply) {
        let is_visitor = self.checker.listeners[index].is_visitor;
        let later = self.now + self.rng.u64(100..800) * MS;
        let client = &mut self.clients[index];
        client.stage = match (client.stage, reply) {
            (Stage::LoggingIn(_), Reply::Pong(_)) if is_visitor => {
                self.checker.listeners[index].attendance = Attendance::Outside;
                Stage::Outside(later)
            }
            (Stage::LoggingIn(_), Reply::Pong(_)) => Stage::Ready,
            (Stage::Ready, Reply::Pong(_)) => {
                self.checker.begin(index);
                Stage::Playing
            }
            (Stage::Joining, Reply::Joined) => Stage::Visiting(later),
            (Stage::Leaving, Reply::Left) => Stage::Outside(later),
            (stage, _) => stage,
        };
        if client.stage == Stage::Visiting(later) {
            self.speak(index, 2);
        }
    }

    /// Lets visitors come and go; at the end only go on with what they have begun.
    pub(super) fn visit(&mut self, is_over: bool) -> Result<(), String> {
        for index in 0..self.clients.len() {
            // Where it was last must be settled before it goes somewhere else.
            let is_settled = self.checker.listeners[index].attendance == Attendance::Outside;
            match self.clients[index].stage {
                Stage::Outside(at) if at < self.now && is_settled && !is_over => {
                    self.clients[index].stage = Stage::Joining;
                    let listener = &mut self.checker.listeners[index];
                    listener.replies.push_back(Reply::Joined);
                    let line = format!("/join {}\n", self.checker.transcripts[listener.room].room);
                    self.send(index, line.as_bytes());
                }
                Stage::Visiting(at) if at < self.now && !is_over => self.go(index),
                Stage::Away(at) if at < self.now && is_settled && !is_over => {
                    self.come_back(index)?
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A visitor says something and goes, in one of three ways.
    fn go(&mut self, index: usize) {
        self.speak(index, 3);
        let listener = &mut self.checker.listeners[index];
        let room = &self.checker.transcripts[listener.room].room;
        let client = &mut self.clients[index];
        match self.rng.u32(0..3) {
            0 => {
                listener.replies.push_back(Reply::Left);
                client.stage = Stage::Leaving;
                client.unsent.extend_from_slice(format!("/leave {room}\n").as_bytes());
            }
            1 => {
                listener.replies.push_back(Reply::Goodbye);
                client.stage = Stage::Ending;
                client.unsent.extend_from_slice(b"/quit for now\n");
            }
            _ => {
                client.stage = Stage::Ending;
                client.ends_input = true;
            }
        }
        self.flush(index);
    }

    /// A visitor's connection is over, as it wished.
    pub(super) fn went(&mut self, index: usize) {
        self.checker.end_connection(index);
        let _ = self.epoll.delete(&self.clients[index]);
        let _ = self.clients[index].socket.shutdown(Shutdown::Both);
        self.clients[index].stage = Stage::Away(self.now + self.rng.u64(50..500) * MS);
    }

    fn come_back(&mut self, index: usize) -> Result<(), String> {
        let (manner, login) = (self.clients[index].manner, self.clients[index].login.clone());
        self.clients[index] = self.connect(false, false, manner, login)?;
        self.checker.listeners[index].attendance = Attendance::Entering;
        self.greet(index)
    }
}

/// Whether a room has a slow reader.
pub(super) fn has_slow(room: u32) -> bool {
    room.is_multiple_of(ROOMS_PER_SLOW)
}
