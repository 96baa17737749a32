//! Connects clients, logs them in and lets them leave. Also handles clients that the server drops.

use super::Generator;
use crate::load::chat_protocol::ChatProtocol;
use crate::load::client::{Client, Role, Stage, Way};
use crate::load::context;
use crate::load::sequence_tracker::SequenceTracker;
use crate::load::shape::Traffic;
use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollFlags};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};

/// How many clients log in at a time. Over UDP there are fewer, since a full buffer loses
/// datagrams.
const LOGINS_AT_ONCE: usize = 256;
const UDP_LOGINS_AT_ONCE: usize = 32;
/// How many clients log in at a time to another chat server, except in a storm. Its listen queue
/// may be this short.
const LOGINS_AT_ONCE_ELSEWHERE: usize = 8;
/// Over UDP, how long a client waits for an answer before it repeats its login, in ns.
const LOGIN_RETRY_AFTER: u64 = 500_000_000;
/// Over UDP, how often clients send a keepalive ping, in ns.
const KEEPALIVE_INTERVAL: u64 = 30_000_000_000;
/// A server may limit the rooms of one client address. So the clients of at most this many rooms
/// connect from the same address.
const ROOMS_PER_ADDRESS: usize = 100;
/// The number of members of a room of idle clients.
const IDLE_ROOM: usize = 100;

impl Generator {
    pub(super) fn log_in_members(&mut self) -> Result<(), String> {
        let shape = self.shape;
        self.log_in(
            (0..shape.rooms).flat_map(move |room| {
                std::iter::repeat_n(Role::Member(room), shape.members_of(room))
            }),
        )
    }

    pub(super) fn log_in(&mut self, mut roles: impl Iterator<Item = Role>) -> Result<(), String> {
        let at_once = match self.shape.traffic {
            _ if self.shape.udp => UDP_LOGINS_AT_ONCE,
            Traffic::Storm => LOGINS_AT_ONCE,
            _ if self.is_other_server => LOGINS_AT_ONCE_ELSEWHERE,
            _ => LOGINS_AT_ONCE,
        };
        self.wait_until("the clients to log in", |generator| {
            while generator.logging_in < at_once
                && let Some(role) = roles.next()
            {
                generator.connect(role)?;
            }
            Ok(generator.logging_in == 0)
        })
    }

    pub(super) fn connect(&mut self, role: Role) -> Result<(), String> {
        let number = match role {
            Role::Member(room) | Role::Visitor(room) => room,
            Role::Idle => self.shape.rooms + self.serial / IDLE_ROOM,
        };
        let room = self.room_name(number);
        let tracker = match role {
            Role::Member(_) => SequenceTracker::from_start(self.shape.senders),
            Role::Visitor(_) => SequenceTracker::from_now(self.shape.senders),
            Role::Idle => SequenceTracker::from_start(0),
        };
        let login = self.protocol.login(&self.nick(self.serial), &room);
        let client = Client::connect(
            Way { to: self.address, from: source_of(self.address, number) },
            self.shape.udp,
            role,
            tracker,
            login,
            self.now(),
        );
        let client = client.map_err(|error| cannot_connect(self.address, &error))?;
        self.serial += 1;
        self.logging_in += 1;
        let index = self.free.pop().unwrap_or(self.clients.len());
        self.epoll
            .add(&client, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))
            .map_err(context("cannot wait for a connection"))?;
        match self.clients.get_mut(index) {
            Some(old) => *old = client,
            None => self.clients.push(client),
        }
        if self.shape.udp && self.protocol == ChatProtocol::Lines {
            self.clients[index].request_cookie();
        } else {
            self.clients[index].send_login(b"");
        }
        self.flush(index)
    }

    /// Sends a client's bytes. The rest follows when the socket accepts more.
    pub(super) fn flush(&mut self, index: usize) -> Result<(), String> {
        let client = &mut self.clients[index];
        let was_blocked = client.is_blocked;
        let result = client.flush();
        if client.is_blocked && !was_blocked {
            let mut event =
                EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT, index as u64);
            self.epoll
                .modify(&*client, &mut event)
                .map_err(context("cannot wait for a connection"))?;
        }
        result.or_else(|error| self.closed(index, Some(error)))
    }

    /// Over UDP: repeats the login of clients that have got no answer. A datagram may be lost, or
    /// reach a session that is just ending.
    pub(super) fn retry_logins(&mut self, now: u64) -> Result<(), String> {
        if self.shape.udp
            && self.logging_in > 0
            && self.protocol == ChatProtocol::Lines
            && now > self.login_checked_at + LOGIN_RETRY_AFTER
        {
            self.login_checked_at = now;
            for index in 0..self.clients.len() {
                if let Stage::LoggingIn(since) = self.clients[index].stage
                    && now > since + LOGIN_RETRY_AFTER
                {
                    self.clients[index].request_cookie();
                    self.flush(index)?;
                }
            }
        }
        Ok(())
    }

    /// Over UDP: sends keepalive pings. The server ends a session that is silent for two minutes.
    pub(super) fn send_keepalives(&mut self, now: u64) -> Result<(), String> {
        if self.shape.udp
            && self.protocol == ChatProtocol::Lines
            && now > self.keepalive_sent_at + KEEPALIVE_INTERVAL
        {
            self.keepalive_sent_at = now;
            for index in 0..self.clients.len() {
                if self.clients[index].stage == Stage::Ready {
                    self.clients[index].unsent.extend_from_slice(b"/ping\n");
                    self.flush(index)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn leave(&mut self, index: usize) -> Result<(), String> {
        let client = &mut self.clients[index];
        if client.stage != Stage::Ready {
            return Ok(());
        }
        client.stage = Stage::Leaving;
        self.leaving += 1;
        match self.protocol {
            ChatProtocol::Lines | ChatProtocol::Irc => {
                client.unsent.extend_from_slice(self.protocol.quit_command());
                self.flush(index)?;
            }
            // An empty datagram, or the end of input.
            ChatProtocol::Bare if self.shape.udp => drop(client.socket.send(b"")),
            ChatProtocol::Bare => drop(client.socket.shutdown(Shutdown::Write)),
        }
        // Over UDP nothing reports the end of the session.
        if self.shape.udp { self.closed(index, None) } else { Ok(()) }
    }

    /// A connection has ended.
    pub(super) fn closed(
        &mut self,
        index: usize,
        why: Option<std::io::Error>,
    ) -> Result<(), String> {
        let client = &mut self.clients[index];
        match std::mem::replace(&mut client.stage, Stage::Gone) {
            Stage::Gone => return Ok(()),
            Stage::LoggingIn(_) => {
                let address = self.address;
                return Err(why.map_or_else(
                    || {
                        format!(
                            "{address} closed a connection that was logging in; {}",
                            self.login_hint()
                        )
                    },
                    |why| cannot_connect(address, &why),
                ));
            }
            Stage::Leaving => self.leaving -= 1,
            Stage::Ready => self.count.dropped += 1,
        }
        // It fails only if the client is not registered.
        let _ = self.epoll.delete(&*client);
        let _ = client.socket.shutdown(Shutdown::Both);
        client.unsent = Vec::new();
        self.departed += client.tracker.tally(std::iter::repeat(None));
        match client.role {
            Role::Member(room) if self.shape.traffic != Traffic::Storm => {
                self.release_windows(index, room)
            }
            Role::Member(_) | Role::Visitor(_) => self.free.push(index),
            Role::Idle => {}
        }
        self.visitors.retain(|&(_, visitor)| visitor != index);
        self.last_progress_at = self.now();
        Ok(())
    }

    /// Takes a dropped member out of the windows of its room's senders.
    fn release_windows(&mut self, index: usize, room: usize) {
        let senders = self.places_of(room);
        for sender in self.senders[senders].iter_mut().filter(|sender| sender.client != index) {
            sender.remove_receiver(
                self.clients[index].tracker.next(sender.index_in_room).unwrap_or(0),
            );
        }
    }
}

/// The address from which the clients of a room connect to a server on the loopback; `None` if the
/// system may choose it. All addresses in 127.0.0.0/8 belong to the loopback.
fn source_of(server: SocketAddr, room: usize) -> Option<IpAddr> {
    let number = u32::try_from(room / ROOMS_PER_ADDRESS)
        .ok()
        .filter(|&number| number > 0 && server.ip() == Ipv4Addr::LOCALHOST)?;
    Some(Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST).checked_add(number)?).into())
}

pub(super) fn cannot_connect(address: SocketAddr, error: &std::io::Error) -> String {
    let advice = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EMFILE | Errno::ENFILE) => {
            "; raise the limit on open files (ulimit -n), or give fewer --clients"
        }
        Some(Errno::EADDRNOTAVAIL) => {
            "; all local ports are taken (net.ipv4.ip_local_port_range), give fewer --clients"
        }
        _ => "",
    };
    format!("cannot connect to {address}: {error}{advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_rooms_come_from_several_addresses_of_the_loopback() {
        let source = |room| {
            source_of(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 9_000), room)
                .map(|address| address.to_string())
        };
        assert_eq!(
            [0, 99, 100, 499].map(source),
            [None, None, Some("127.0.0.2".to_owned()), Some("127.0.0.5".to_owned())]
        );
        assert_eq!(
            source_of("192.0.2.1:9000".parse().unwrap(), 499),
            None,
            "elsewhere the loopback cannot be the source"
        );
    }
}
