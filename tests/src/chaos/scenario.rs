//! The run: one thread with an epoll loop for all clients. They log in, talk, and at the end wait
//! until every client has received everything.

use super::checker::{Checker, Received};
use super::client::{Client, SendStyle, Stage};
use super::faults::LastKill;
use super::killer::{KillKind, Killer};
use super::options::Options;
use super::participants::has_slow;
use super::pauses::Pauses;
use super::receiver::{Membership, Reply};
use super::server::Server;
use super::tags::key_in;
use crate::load::client::each_line;
use crate::load::is_interrupted;
use crate::load::pace::Pace;
use crate::load::progress::Progress;
use fastrand::Rng;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollTimeout};
use nix::sys::socket::{MsgFlags, recv};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// KillKind long the login, and the end, may take, in ns.
const LOGIN_TIMEOUT: u64 = 20_000_000_000;
const QUIET_TIMEOUT: u64 = 10_000_000_000;
const STOP_TIMEOUT: u64 = 15_000_000_000;
/// So long something that comes twice, or too late, is waited for at the end, in ns.
const LINGER: u64 = 300_000_000;
/// A room's senders wait for receivers that are further behind, so that no reader is ever cut off
/// with good reason. In a room with a slow reader it is more than the kernel takes for that one,
/// and less than that and the server's `--sendq`.
const LAG_BYTES_MAX: usize = 160 << 10;
const LAG_BYTES_MAX_SLOW: usize = 400 << 10;
/// Content the server puts before a line, tags included.
const BYTES_BEFORE_LINE: usize = 95;
/// Who has so much to send says no more for now.
const UNSENT_BYTES_MAX: usize = 64 << 10;
/// A slow reader reads so much, after so long, in ns.
const SLOW_BYTES: usize = 12 << 10;
const SLOW_INTERVAL: u64 = 14_000_000;
/// KillKind often a client sends a question, and a client sends a line that is too long, in ns.
const PING_INTERVAL: u64 = 5_000_000;
const TOO_LONG_INTERVAL: u64 = 100_000_000;
/// KillKind often one looks whether a transcript is stuck, in ns.
const SKIP_INTERVAL: u64 = 200_000_000;
/// Of the rest of a line one waits at most so long, in ns.
const HOLD_TIME_MAX: u64 = 20_000_000;

/// All clients and what is known of them.
#[derive(Debug)]
pub struct Scenario<'o> {
    pub(super) options: &'o Options,
    pub(super) tcp: SocketAddr,
    pub(super) udp: SocketAddr,
    pub(super) epoll: Epoll,
    pub(super) start: Instant,
    /// In ns since the start.
    pub(super) now: u64,
    pub(super) rng: Rng,
    pub(super) clients: Vec<Client>,
    /// Checks what the clients receive.
    pub checker: Checker,
    /// KillKind long they waited.
    pub pauses: Pauses,
    /// KillKind many processes were ended, by way.
    pub kills: [u64; KillKind::ALL.len()],
    /// Lines received by all clients together.
    pub deliveries: u64,
    /// Why it was over before its time.
    pub aborted: Option<String>,
    killer: Option<Killer>,
    buffer: Vec<u8>,
    pace: Pace,
    turn: usize,
    due: Due,
}

/// When something is next to be done, in ns.
#[derive(Debug, Default)]
struct Due {
    slow: u64,
    ping: u64,
    too_long: u64,
    skip: u64,
}

impl<'o> Scenario<'o> {
    /// Everyone connects and logs in.
    pub fn begin(options: &'o Options, server: &Server, seed: u64) -> Result<Scenario<'o>, String> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(|error| format!("cannot make an epoll instance: {error}"))?;
        let mut scenario = Scenario {
            options,
            tcp: server.tcp,
            udp: server.udp,
            epoll,
            start: Instant::now(),
            now: 0,
            rng: Rng::with_seed(seed ^ 0x636f_7764),
            clients: Vec::new(),
            checker: Checker::new(options.bytes as usize),
            pauses: Pauses::new((options.clients + options.udp_clients) as usize)?,
            kills: [0; KillKind::ALL.len()],
            deliveries: 0,
            aborted: None,
            killer: None,
            buffer: vec![0; 128 << 10],
            pace: Pace::new(options.rate.into()),
            turn: 0,
            due: Due::default(),
        };
        scenario.connect_all()?;
        scenario.wait_for("all clients to log in", LOGIN_TIMEOUT, |scenario| {
            scenario.retry_logins();
            scenario.clients.iter().all(|client| !matches!(client.stage, Stage::LoggingIn(_)))
        })?;
        // After the answer to this, each client receives everything.
        (0..scenario.clients.len())
            .filter(|&index| scenario.clients[index].stage == Stage::Ready)
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|index| scenario.ping(index));
        scenario.wait_for("all clients to be ready", LOGIN_TIMEOUT, |scenario| {
            scenario.clients.iter().all(|client| client.stage != Stage::Ready)
        })?;
        Ok(scenario)
    }

    /// Traffic, and deaths.
    pub fn run(&mut self, server: &Server, seed: u64, progress: &Progress) -> Result<(), String> {
        self.killer = Some(Killer::begin(server.pid(), seed, self.options, self.start));
        let (began, length) = (self.now, self.options.seconds.as_nanos() as u64);
        let phase = self.options.phase.as_nanos() as u64;
        let (mut was_paced, mut told) = (false, began);
        while self.now < began + length && !is_interrupted() {
            let is_paced = phase > 0 && (self.now - began) / phase % 2 == 1;
            match (was_paced, is_paced) {
                (false, true) => self.pace.resume(self.now),
                (true, false) => self.pace.pause(self.now),
                _ => {}
            }
            was_paced = is_paced;
            if is_paced {
                self.send_at_rate()
            } else {
                self.send_in_windows()
            }
            self.move_visitors(false)?;
            self.do_periodic_work();
            self.process_events()?;
            if self.now > told + 200_000_000 {
                let faults = &self.checker.faults.tcp;
                let kills: u64 = self.kills.iter().sum();
                let tally = faults.tally;
                let wrong =
                    tally.lost + tally.doubled + tally.reordered + tally.wrong + faults.differing;
                progress.show(format!(
                    "{kills} kills, {} lines delivered, {} dropped, {wrong} wrong",
                    self.deliveries, faults.dropped
                ));
                progress.advance(Duration::from_nanos(self.now - told));
                told = self.now;
            }
            if self
                .checker
                .receivers
                .iter()
                .filter(|receiver| !receiver.is_udp)
                .all(|receiver| receiver.membership == Membership::Dropped)
            {
                self.aborted = Some(format!(
                    "after {:.1} s no connection was left",
                    (self.now - began) as f64 / 1e9
                ));
                break;
            }
        }
        if let Some(killer) = &mut self.killer {
            killer.end();
        }
        Ok(())
    }

    /// Waits until all clients have received everything, asks each once more, and does the final
    /// checks.
    pub fn wait_for_quiet(&mut self) -> Result<(), String> {
        // Who doesn't come to an end shows in the balance.
        let is_ending = |client: &Client| client.stage == Stage::Disconnecting;
        let _ = self.wait_for("quiet", QUIET_TIMEOUT, |scenario| {
            scenario.checker.is_quiet() && !scenario.clients.iter().any(is_ending)
        });
        for index in 0..self.clients.len() {
            if is_ending(&self.clients[index]) {
                self.checker.report_missing(
                    index,
                    "it asked for the end of its connection, which never came",
                );
            }
        }
        let asked: Vec<usize> =
            (0..self.clients.len()).filter(|&index| self.is_connected(index)).collect();
        asked.into_iter().for_each(|index| self.ping(index));
        let _ = self
            .wait_for("the last answers", QUIET_TIMEOUT, |scenario| scenario.checker.is_quiet());
        let until = self.now + LINGER;
        while self.now < until {
            self.do_reader_work();
            self.process_events()?;
        }
        self.checker.faults.now = self.now;
        self.checker.finish();
        Ok(())
    }

    /// Stops the server, and reads what it has to say to that.
    pub fn stop(&mut self, server: &mut Server) -> Option<ExitStatus> {
        let there: Vec<usize> =
            (0..self.clients.len()).filter(|&index| self.is_connected(index)).collect();
        self.checker.is_stopping = true;
        server.stop();
        let deadline = self.now + STOP_TIMEOUT;
        while self.now < deadline {
            if let Some(status) = server.ended() {
                let until = self.now + LINGER;
                while self.now < until && self.process_events().is_ok() {
                    self.do_reader_work();
                }
                self.checker.check_goodbyes(&there);
                return Some(status);
            }
            self.do_reader_work();
            if self.process_events().is_err() {
                break;
            }
        }
        None
    }

    fn is_connected(&self, index: usize) -> bool {
        matches!(self.clients[index].stage, Stage::Active | Stage::Outside(_) | Stage::Visiting(_))
    }

    fn wait_for(
        &mut self,
        content: &str,
        timeout: u64,
        mut is_so: impl FnMut(&mut Self) -> bool,
    ) -> Result<(), String> {
        let deadline = self.now + timeout;
        while !is_so(self) {
            if self.now > deadline || is_interrupted() {
                return Err(format!("waited {} s in vain for {content}", timeout / 1_000_000_000));
            }
            self.move_visitors(true)?;
            self.do_reader_work();
            self.process_events()?;
        }
        Ok(())
    }

    /// Takes in what has come, waiting at most a millisecond.
    fn process_events(&mut self) -> Result<(), String> {
        let mut events = [EpollEvent::empty(); 256];
        let count = match self.epoll.wait(&mut events, EpollTimeout::from(1_u8)) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(format!("cannot wait for events: {errno}")),
        };
        self.update_clock();
        self.take_kills();
        for event in &events[..count] {
            self.receive(event.data() as usize, usize::MAX);
        }
        self.update_clock();
        Ok(())
    }

    fn update_clock(&mut self) {
        self.now = self.start.elapsed().as_nanos() as u64;
        self.checker.faults.now = self.now;
    }

    fn receive(&mut self, index: usize, max: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let max = max.min(buffer.len());
        match recv(
            self.clients[index].socket.as_raw_fd(),
            &mut buffer[..max],
            MsgFlags::MSG_DONTWAIT,
        ) {
            Ok(0) if !self.checker.receivers[index].is_udp => {
                self.closed(index, "the server ended the connection")
            }
            Ok(length) => self.handle_bytes(index, &buffer[..length]),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // Over UDP this reports an earlier datagram that found no receiver.
            Err(_) if self.checker.receivers[index].is_udp => {}
            Err(errno) => self.closed(index, &format!("the connection broke: {errno}")),
        }
        self.buffer = buffer;
    }

    fn handle_bytes(&mut self, index: usize, bytes: &[u8]) {
        let mut unfinished = std::mem::take(&mut self.clients[index].unfinished);
        let Ok(()) = each_line(&mut unfinished, bytes, |line| {
            self.handle_line(index, line);
            Ok::<(), Infallible>(())
        });
        self.clients[index].unfinished = unfinished;
    }

    fn handle_line(&mut self, index: usize, line: &[u8]) {
        match self.checker.check_line(index, line, self.now) {
            Received::Said(sender, number) => {
                self.deliveries += 1;
                self.pauses.heard(index, sender, number, self.now);
            }
            Received::Reply(reply) => self.handle_reply(index, reply),
            Received::Worker(slot) => self.checker.faults.slots[index] = slot,
            Received::Cookie if matches!(self.clients[index].stage, Stage::LoggingIn(_)) => {
                self.send_login(index, line)
            }
            Received::Cookie => self.handle_cookie(index),
            Received::Key => self.clients[index].key = key_in(line),
            Received::Other => {}
        }
    }

    /// A connection is over, as was wished or not.
    pub(super) fn closed(&mut self, index: usize, why: &str) {
        // So that it is known what it follows.
        self.take_kills();
        match self.clients[index].stage {
            Stage::Disconnecting if self.clients[index].unfinished.is_empty() => {
                return self.visitor_left(index);
            }
            Stage::Gone | Stage::Away(_) => return,
            _ => {}
        }
        let torn = &self.clients[index].unfinished;
        let torn = if torn.is_empty() {
            String::new()
        } else {
            format!(" in the middle of a line: “{}”", torn.escape_ascii())
        };
        if !self.checker.is_stopping {
            self.checker.mark_dropped(index, &format!("{why}{torn}"));
        }
        self.pauses.forget(index);
        let client = &mut self.clients[index];
        client.stage = Stage::Gone;
        let _ = self.epoll.delete(&*client);
        let _ = client.socket.shutdown(std::net::Shutdown::Both);
    }

    pub(super) fn flush(&mut self, index: usize) {
        if let Err(error) = self.clients[index].flush(self.now) {
            self.closed(index, &format!("the connection broke: {error}"));
        }
    }

    pub(super) fn send(&mut self, index: usize, bytes: &[u8]) {
        self.clients[index].unsent.extend_from_slice(bytes);
        self.flush(index);
    }

    /// A client says so many lines, as is its manner.
    pub(super) fn send_lines(&mut self, index: usize, count: u32) {
        let Some(sender) = self.checker.receivers[index].sender else { return };
        for _ in 0..count {
            let client = &mut self.clients[index];
            self.checker.say(sender, self.now, &mut client.unsent);
            if client.style == SendStyle::Lines {
                self.flush(index);
            }
        }
        let client = &mut self.clients[index];
        if client.style == SendStyle::Parts
            && client.stage == Stage::Active
            && count > 0
            && !client.unsent.is_empty()
        {
            client.held = (
                self.rng.usize(1..=client.unsent.len()),
                self.now + self.rng.u64(0..HOLD_TIME_MAX),
            );
        }
        self.flush(index);
    }

    /// Whether a sender may send now: it is connected, holds nothing back, and none of its receivers
    /// lags too far.
    fn can_send(&self, sender: usize, lags: &[usize]) -> bool {
        let said = &self.checker.senders[sender];
        let client = &self.clients[said.client];
        client.stage == Stage::Active
            && !client.is_holding()
            && client.unsent.len() < UNSENT_BYTES_MAX
            && lags[said.room] < self.lag_max(said.room)
    }

    fn lag_max(&self, room: usize) -> usize {
        let bytes = if has_slow(room as u32) { LAG_BYTES_MAX_SLOW } else { LAG_BYTES_MAX };
        bytes / (self.options.bytes as usize + BYTES_BEFORE_LINE)
    }

    fn send_in_windows(&mut self) {
        let lags = self.checker.lags();
        for sender in 0..self.checker.senders.len() {
            if self.can_send(sender, &lags) {
                let sendable = self.checker.senders[sender].sendable(self.options.window, self.now);
                self.send_lines(self.checker.senders[sender].client, sendable);
            }
        }
    }

    fn send_at_rate(&mut self) {
        let lags = self.checker.lags();
        let count = self.checker.senders.len();
        for _ in 0..256 {
            if self.pace.take(self.now).is_none() {
                return;
            }
            let turns = (0..count).map(|i| (self.turn + i) % count);
            if let Some(sender) = turns.into_iter().find(|&sender| self.can_send(sender, &lags)) {
                self.turn = sender + 1;
                self.send_lines(self.checker.senders[sender].client, 1);
            }
        }
    }

    /// Periodic work: slow readers read, clients send what they held back, ask something or send
    /// too much.
    fn do_periodic_work(&mut self) {
        self.do_reader_work();
        if self.now > self.due.ping {
            self.due.ping = self.now + PING_INTERVAL;
            let index = self.rng.usize(0..self.clients.len());
            if self.clients[index].stage == Stage::Active && !self.clients[index].is_holding() {
                self.ping(index);
            }
        }
        if self.now > self.due.too_long {
            self.due.too_long = self.now + TOO_LONG_INTERVAL;
            let index = self.rng.usize(0..self.clients.len());
            let is_udp = self.checker.receivers[index].is_udp;
            if self.clients[index].stage == Stage::Active
                && !self.clients[index].is_holding()
                && !is_udp
            {
                self.checker.receivers[index].replies.push_back(Reply::TooLong);
                let mut line = vec![b'x'; self.rng.usize(4_096..20_000)];
                line.push(b'\n');
                self.clients[index].held =
                    (self.rng.usize(1..line.len()), self.now + self.rng.u64(0..HOLD_TIME_MAX));
                self.send(index, &line);
            }
        }
    }

    fn do_reader_work(&mut self) {
        if self.now > self.due.slow {
            self.due.slow = self.now + SLOW_INTERVAL;
            for index in 0..self.clients.len() {
                let client = &self.clients[index];
                if client.is_slow && client.stage != Stage::Gone {
                    self.receive(index, SLOW_BYTES);
                }
            }
        }
        if self.now > self.due.skip {
            self.due.skip = self.now + SKIP_INTERVAL;
            self.checker.skip_blockages(self.now);
        }
        for index in 0..self.clients.len() {
            // A client that has received everything may still wait until others have written it.
            if !self.checker.receivers[index].pending.is_empty()
                || self.checker.receivers[index].membership == Membership::Left
            {
                self.checker.follow(index, self.now);
            }
            if !self.clients[index].unsent.is_empty() && self.clients[index].stage != Stage::Gone {
                self.flush(index);
            }
        }
    }

    /// Content was killed since one looked last.
    fn take_kills(&mut self) {
        let kills: Vec<_> = self.killer.iter().flat_map(Killer::kills).collect();
        for kill in kills {
            self.kills[kill.kind as usize] += 1;
            let slots = &self.checker.faults.slots;
            let name = kill.slot.map_or("the journal".into(), |slot| format!("worker {slot}"));
            let number = self.kills.iter().sum::<u64>();
            let words = format!(
                "kill {number}, {} to {name} (pid {}){}",
                kill.kind.signal(),
                kill.pid,
                kill.kind.suffix()
            );
            if let Some(slot) = kill.slot {
                let said: Arc<[u32]> =
                    self.checker.senders.iter().map(|sender| sender.sent).collect();
                let is_measured = |index: &usize| {
                    slots[*index] == slot
                        && !self.clients[*index].is_slow
                        && !self.checker.receivers[*index].is_udp
                        && matches!(self.clients[*index].stage, Stage::Active)
                };
                let served: Vec<usize> = (0..self.clients.len()).filter(is_measured).collect();
                self.pauses.begin(&kill, served.into_iter(), &said);
            }
            self.checker.faults.kills.insert(kill.slot, LastKill { at: kill.at, words });
        }
    }
}
