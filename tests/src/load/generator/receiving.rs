//! Receives bytes on all connections, splits them into lines and checks each line.

use super::{Generator, TIMER};
use crate::load::chat_protocol::{ChatProtocol, ServerLine};
use crate::load::client::{Role, Stage, each_line};
use crate::load::sender::Sender;
use crate::load::sequence_tracker::Arrival;
use crate::load::shape::Traffic;
use crate::load::{context, is_interrupted};
use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{MsgFlags, recv};
use nix::sys::timerfd::{Expiration, TimerSetTimeFlags};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// At most this many bytes of a line outside the protocol are reported.
const STRANGE_BYTES_MAX: usize = 200;
/// How long a visitor stays, in ns.
const VISIT: u64 = 500_000_000;

impl Generator {
    /// Waits for input, at most until `until`, and handles it.
    pub(super) fn process_events(&mut self, until: u64) -> Result<(), String> {
        if is_interrupted() {
            return Err("interrupted".into());
        }
        self.check_limit()?;
        if self.count.dropped > 0 && self.count.dropped >= self.shape.connections() as u64 {
            return Err(format!("{} has ended all connections", self.address));
        }
        let left = Duration::from_nanos(until.saturating_sub(self.now()));
        let mut timeout = EpollTimeout::try_from(left.min(Duration::from_millis(100)))
            .unwrap_or(EpollTimeout::ZERO);
        if left > Duration::ZERO && left < Duration::from_millis(20) {
            // For an even rate, the millisecond precision of epoll's timeout is not enough.
            let set = self.timer.set(Expiration::OneShot(left.into()), TimerSetTimeFlags::empty());
            set.map_err(context("cannot set a timer"))?;
            timeout = EpollTimeout::NONE;
        }
        let mut events = [EpollEvent::empty(); 256];
        let count = match self.epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(context("cannot wait for events")(errno)),
        };
        for event in &events[..count] {
            if event.data() == TIMER {
                // It fails with EAGAIN if the timer was set again meanwhile.
                let _ = self.timer.wait();
                continue;
            }
            let index = event.data() as usize;
            if event.events().contains(EpollFlags::EPOLLOUT) {
                self.unblock(index)?;
            }
            self.receive(index)?;
        }
        Ok(())
    }

    fn unblock(&mut self, index: usize) -> Result<(), String> {
        let client = &mut self.clients[index];
        client.is_blocked = false;
        let mut event = EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
        // It fails only if the client is not registered.
        let _ = self.epoll.modify(&*client, &mut event);
        self.flush(index)
    }

    fn receive(&mut self, index: usize) -> Result<(), String> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = match recv(
            self.clients[index].as_fd().as_raw_fd(),
            &mut buffer,
            MsgFlags::MSG_DONTWAIT,
        ) {
            Ok(0) if !self.shape.udp => self.closed(index, None),
            Ok(length) => self.handle_bytes(index, &buffer[..length]),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(()),
            Err(errno) => self.closed(index, Some(errno.into())),
        };
        self.buffer = buffer;
        result
    }

    fn handle_bytes(&mut self, index: usize, bytes: &[u8]) -> Result<(), String> {
        let now = self.now();
        let mut unfinished = std::mem::take(&mut self.clients[index].unfinished);
        let result = each_line(&mut unfinished, bytes, |line| self.handle_line(index, line, now));
        self.clients[index].unfinished = unfinished;
        result
    }

    fn handle_line(&mut self, index: usize, line: &[u8], now: u64) -> Result<(), String> {
        let line = self.protocol.trimmed(line);
        let Some((prefix, sender, number)) = self.payload.read(line) else {
            return self.handle_server_line(index, line, now);
        };
        self.handle_room_line(index, prefix, sender.into(), number, now);
        Ok(())
    }

    /// A client has received a line of a sender.
    fn handle_room_line(
        &mut self,
        index: usize,
        prefix: &[u8],
        sender: usize,
        number: u32,
        now: u64,
    ) {
        let (client, protocol) = (&mut self.clients[index], self.protocol);
        let is_for = |sender: &&mut Sender| {
            let is_own = sender.client == index && client.is_member();
            protocol.is_prefix(&sender.prefix, prefix)
                && client.room() == Some(sender.room)
                && !is_own
                && number < sender.sent()
        };
        let Some(sender) = self.senders.get_mut(sender).filter(is_for) else {
            return client.tracker.record_wrong();
        };
        let arrival = client.tracker.record(sender.index_in_room, number);
        if arrival == Arrival::Duplicate {
            return;
        }
        self.last_progress_at = now;
        self.count.deliveries += 1;
        // A late line was already taken out of its sender's window.
        if let (true, Arrival::New(skipped)) = (client.is_member(), arrival) {
            skipped.for_each(|number| sender.missed(number));
            if let Some(latency) = sender.received(number, now) {
                self.count.latency.saturating_record(latency);
                self.record_recovery(index, now - latency, now);
            }
        }
    }

    /// A client has received a line that is no sender's.
    fn handle_server_line(&mut self, index: usize, line: &[u8], now: u64) -> Result<(), String> {
        let client = &mut self.clients[index];
        match (self.protocol.classify(line), client.stage) {
            (ServerLine::Ready, Stage::LoggingIn(_)) if !client.is_login_sent => {
                // The server answers before the login, so an older session has this address. End
                // that session and try again.
                client.unsent.extend_from_slice(self.protocol.quit_command());
                return self.flush(index);
            }
            (ServerLine::Ready, Stage::LoggingIn(since)) => self.logged_in(index, since, now),
            (ServerLine::Welcome, Stage::LoggingIn(_)) => {
                client.continue_login();
                return self.flush(index);
            }
            (ServerLine::Cookie(cookie), Stage::LoggingIn(_)) if self.shape.udp => {
                client.send_login(cookie);
                return self.flush(index);
            }
            (ServerLine::Ping(question), _) => {
                client.unsent.extend_from_slice(&[b"PONG ", question, b"\r\n"].concat());
                return self.flush(index);
            }
            // Some servers send ERROR to every client that leaves.
            (ServerLine::Refusal, Stage::Leaving) if self.protocol == ChatProtocol::Irc => {}
            (ServerLine::Refusal, _) => {
                return Err(format!("the server refused: {}", String::from_utf8_lossy(line)));
            }
            (ServerLine::Notice | ServerLine::Cookie(_) | ServerLine::Welcome, _) => {}
            (ServerLine::Unknown, Stage::LoggingIn(_)) if self.unknown_line.is_none() => {
                client.tracker.record_wrong();
                self.unknown_line = Some(
                    String::from_utf8_lossy(&line[..line.len().min(STRANGE_BYTES_MAX)])
                        .into_owned(),
                );
            }
            (ServerLine::Ready | ServerLine::Unknown, _) => client.tracker.record_wrong(),
        }
        Ok(())
    }

    /// A client has entered its room.
    fn logged_in(&mut self, index: usize, since: u64, now: u64) {
        let client = &mut self.clients[index];
        client.stage = Stage::Ready;
        (self.logging_in, self.last_progress_at) = (self.logging_in - 1, now);
        self.count.logins += 1;
        if matches!(client.role, Role::Visitor(_)) {
            self.visitors.push_back((now + VISIT, index));
        }
        if self.shape.traffic == Traffic::Storm {
            self.count.latency.saturating_record(now - since);
        }
    }
}
