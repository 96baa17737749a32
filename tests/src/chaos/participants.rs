//! The participants: creates clients of all kinds, logs them in, and lets visitors join and leave
//! all the time.

use super::client::{Client, PADDING, SendStyle, Stage};
use super::receiver::{Membership, Receiver, Reply, Settings};
use super::scenario::Scenario;
use super::sender::{CHARSETS, LETTER, Sender};
use super::transcript::Transcript;
use nix::sys::epoll::{EpollEvent, EpollFlags};
use std::net::Shutdown;

/// Over UDP, how long a client waits for an answer before it repeats its login, in ns.
const LOGIN_RETRY_AFTER: u64 = 500_000_000;
/// One in this many rooms has a slow reader.
const ROOMS_PER_SLOW: u32 = 5;
/// The visitors of a room, if it has enough members.
const VISITORS: u32 = 2;

const MS: u64 = 1_000_000;

/// What kind of participant a client is.
struct Participant {
    is_udp: bool,
    is_visitor: bool,
    is_sender: bool,
    is_slow: bool,
}

impl Scenario<'_> {
    /// Creates and connects all clients.
    pub(super) fn connect_all(&mut self) -> Result<(), String> {
        let options = self.options;
        for room in 0..options.rooms {
            self.checker.transcripts.push(Transcript::new(format!("#r{room}")));
            let members = options.members_of(room);
            let visitors = if members >= options.senders + 2 + VISITORS { VISITORS } else { 0 };
            for member in 0..members {
                let is_visitor = member >= members - visitors;
                // The first member that only listens has the default settings.
                let is_plain = member == options.senders;
                let is_last = member == members - visitors - 1;
                let is_slow = !is_plain && !is_visitor && has_slow(room) && is_last;
                let is_sender = member < options.senders || is_visitor;
                let mix = room + member;
                let settings = Settings {
                    tags: is_slow || mix % 3 == 1,
                    echo: mix.is_multiple_of(2),
                    joins: is_plain || is_visitor || mix % 5 != 4,
                    charset: usize::from(mix % 7 == 3),
                };
                let style =
                    [SendStyle::Lines, SendStyle::Bursts, SendStyle::Parts][(mix % 3) as usize];
                let kind = Participant { is_udp: false, is_visitor, is_sender, is_slow };
                self.add_client(room, settings, kind, style)?;
            }
        }
        for number in 0..options.udp_clients {
            let settings = Settings {
                tags: number % 2 == 1,
                echo: number % 4 < 2,
                joins: false,
                charset: usize::from(number % 7 == 3),
            };
            let is_sender = number % 5 == 0;
            let kind = Participant { is_udp: true, is_visitor: false, is_sender, is_slow: false };
            self.add_client(number % options.rooms, settings, kind, SendStyle::Lines)?;
        }
        Ok(())
    }

    fn add_client(
        &mut self,
        room: u32,
        settings: Settings,
        kind: Participant,
        style: SendStyle,
    ) -> Result<(), String> {
        let Participant { is_udp, is_visitor, is_sender, is_slow } = kind;
        let (index, room_name) = (self.clients.len(), format!("#r{room}"));
        let letter = match (is_udp, is_visitor) {
            (true, _) => "u",
            (false, true) => "v",
            (false, false) => "m",
        };
        let nick_rest = format!("{letter}{index}");
        let nick = format!("{}{nick_rest}", String::from_utf8_lossy(LETTER[0]));
        let mut receiver = Receiver::new(nick.clone(), room as usize, settings, is_udp, is_visitor);
        if is_sender {
            receiver.sender = Some(self.checker.senders.len() as u16);
            self.checker.senders.push(Sender::new(
                index,
                room as usize,
                &room_name,
                &nick_rest,
                is_udp,
            ));
        }
        if !is_visitor {
            self.checker.transcripts[room as usize].add_member(&nick);
        }
        self.checker.receivers.push(receiver);
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
        login += if settings.joins { "" } else { "/set joins off\n" };
        login += &(on(settings.echo, "echo") + &on(settings.tags, "tags"));
        login += &if settings.charset == 0 {
            String::new()
        } else {
            format!("/charset {}\n", CHARSETS[settings.charset])
        };
        let client = self.connect(is_udp, is_slow, style, login)?;
        self.clients.push(client);
        self.begin_login(index)
    }

    fn connect(
        &self,
        is_udp: bool,
        is_slow: bool,
        style: SendStyle,
        login: String,
    ) -> Result<Client, String> {
        let address = if is_udp { self.udp } else { self.tcp };
        Client::connect(address, is_udp, is_slow, style, login)
            .map_err(|error| format!("cannot connect to {address}: {error}"))
    }

    /// Sends the first bytes of a connection: the login, or over UDP the request for a cookie.
    fn begin_login(&mut self, index: usize) -> Result<(), String> {
        self.register(index)?;
        let (client, receiver) = (&mut self.clients[index], &mut self.checker.receivers[index]);
        let ping = receiver.ping();
        client.stage = Stage::LoggingIn(self.now);
        if receiver.is_udp {
            client.request_cookie();
        } else {
            client.unsent.extend_from_slice(format!("{}{ping}", client.login).as_bytes());
        }
        self.flush(index);
        Ok(())
    }

    fn register(&mut self, index: usize) -> Result<(), String> {
        // A slow reader reads at fixed times instead.
        if self.clients[index].is_slow {
            return Ok(());
        }
        let event = EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
        self.epoll
            .add(&self.clients[index], event)
            .map_err(|error| format!("cannot wait for a connection: {error}"))
    }

    /// Over UDP: a logged in client has received a cookie. Either the client had requested several,
    /// or the server no longer knows its session.
    pub(super) fn handle_cookie(&mut self, index: usize) {
        match self.clients[index].cookies_due {
            0 => self.closed(index, "the server no longer knows the session"),
            cookies_due => self.clients[index].cookies_due = cookies_due - 1,
        }
    }

    /// Over UDP: sends the cookie back, with the login. It also requests a key: the server may
    /// leave answers and echoes out in a session without one.
    pub(super) fn send_login(&mut self, index: usize, line: &[u8]) {
        let client = &mut self.clients[index];
        let pings = self.checker.receivers[index].pings;
        client.cookies_due = client.cookies_due.saturating_sub(1);
        if client.login_sent_at.is_some_and(|at| at + LOGIN_RETRY_AFTER > self.now) {
            // This cookie is the answer to an earlier request.
            return;
        }
        client.login_sent_at = Some(self.now);
        client.stage = Stage::LoggingIn(self.now);
        client.unsent.extend_from_slice(&line[2..]);
        client
            .unsent
            .extend_from_slice(format!(" key\n{}/ping p{pings}\n", client.login).as_bytes());
        self.flush(index);
    }

    /// Over UDP: repeats the login of clients that have got no answer.
    pub(super) fn retry_logins(&mut self) {
        for index in 0..self.clients.len() {
            let receiver = &self.checker.receivers[index];
            if let Stage::LoggingIn(since) = self.clients[index].stage
                && receiver.is_udp
                && self.now > since + LOGIN_RETRY_AFTER
            {
                let (client, pings) = (&mut self.clients[index], receiver.pings);
                client.stage = Stage::LoggingIn(self.now);
                if client.key.is_empty() {
                    client.request_cookie();
                } else {
                    client.unsent.extend_from_slice(format!("/ping p{pings}{PADDING}").as_bytes());
                }
                self.flush(index);
            }
        }
    }

    /// Sends a `/ping`. From now on its answer is due.
    pub(super) fn ping(&mut self, index: usize) {
        let (client, receiver) = (&mut self.clients[index], &mut self.checker.receivers[index]);
        let ping = receiver.ping();
        client.unsent.extend_from_slice(ping.as_bytes());
        if receiver.is_udp {
            client.unsent.extend_from_slice(PADDING.as_bytes());
        }
        self.flush(index);
    }

    /// An answer has arrived. Moves a client that logs in, or a visitor, to its next stage.
    pub(super) fn handle_reply(&mut self, index: usize, reply: Reply) {
        let is_visitor = self.checker.receivers[index].is_visitor;
        let later = self.now + self.rng.u64(100..800) * MS;
        let client = &mut self.clients[index];
        client.stage = match (client.stage, reply) {
            (Stage::LoggingIn(_), Reply::Pong(_)) if is_visitor => {
                self.checker.receivers[index].membership = Membership::Outside;
                Stage::Outside(later)
            }
            (Stage::LoggingIn(_), Reply::Pong(_)) => Stage::Ready,
            (Stage::Ready, Reply::Pong(_)) => {
                self.checker.begin(index);
                Stage::Active
            }
            (Stage::Joining, Reply::Joined) => Stage::Visiting(later),
            (Stage::Leaving, Reply::Left) => Stage::Outside(later),
            (stage, _) => stage,
        };
        if client.stage == Stage::Visiting(later) {
            self.send_lines(index, 2);
        }
    }

    /// Lets visitors join, leave and reconnect. If `is_over`, they only finish what they have
    /// begun.
    pub(super) fn move_visitors(&mut self, is_over: bool) -> Result<(), String> {
        for index in 0..self.clients.len() {
            // The checks of the last visit must be complete before the visitor joins again.
            let is_settled = self.checker.receivers[index].membership == Membership::Outside;
            match self.clients[index].stage {
                Stage::Outside(at) if at < self.now && is_settled && !is_over => {
                    self.clients[index].stage = Stage::Joining;
                    let receiver = &mut self.checker.receivers[index];
                    receiver.replies.push_back(Reply::Joined);
                    let line = format!("/join {}\n", self.checker.transcripts[receiver.room].room);
                    self.send(index, line.as_bytes());
                }
                Stage::Visiting(at) if at < self.now && !is_over => self.leave(index),
                Stage::Away(at) if at < self.now && is_settled && !is_over => {
                    self.reconnect(index)?
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A visitor sends its last lines and leaves in one of three ways.
    fn leave(&mut self, index: usize) {
        self.send_lines(index, 3);
        let receiver = &mut self.checker.receivers[index];
        let room = &self.checker.transcripts[receiver.room].room;
        let client = &mut self.clients[index];
        match self.rng.u32(0..3) {
            0 => {
                receiver.replies.push_back(Reply::Left);
                client.stage = Stage::Leaving;
                client.unsent.extend_from_slice(format!("/leave {room}\n").as_bytes());
            }
            1 => {
                receiver.replies.push_back(Reply::Goodbye);
                client.stage = Stage::Disconnecting;
                client.unsent.extend_from_slice(b"/quit for now\n");
            }
            _ => {
                client.stage = Stage::Disconnecting;
                client.ends_input = true;
            }
        }
        self.flush(index);
    }

    /// A visitor's connection has ended by its own wish.
    pub(super) fn visitor_left(&mut self, index: usize) {
        self.checker.end_connection(index);
        let _ = self.epoll.delete(&self.clients[index]);
        let _ = self.clients[index].socket.shutdown(Shutdown::Both);
        self.clients[index].stage = Stage::Away(self.now + self.rng.u64(50..500) * MS);
    }

    fn reconnect(&mut self, index: usize) -> Result<(), String> {
        let (style, login) = (self.clients[index].style, self.clients[index].login.clone());
        self.clients[index] = self.connect(false, false, style, login)?;
        self.checker.receivers[index].membership = Membership::LoggingIn;
        self.begin_login(index)
    }
}

/// Whether a room has a slow reader.
pub(super) fn has_slow(room: u32) -> bool {
    room.is_multiple_of(ROOMS_PER_SLOW)
}
