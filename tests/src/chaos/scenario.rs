//! The scenario: one thread with an epoll loop for all clients. They log in, send lines, and at the
//! end wait until every client has received everything.

use super::checker::{Checker, Received};
use super::client::{Client, Stage};
use super::faults::LastKill;
use super::killer::{KillKind, Killer};
use super::options::Options;
use super::pauses::Pauses;
use super::receiver::Membership;
use super::server::Server;
use super::tags::key_in;
use super::traffic::Due;
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

/// How long the login, the wait for the last lines, and the stop of the server may take, in ns.
const LOGIN_TIMEOUT: u64 = 20_000_000_000;
const QUIET_TIMEOUT: u64 = 10_000_000_000;
const STOP_TIMEOUT: u64 = 15_000_000_000;
/// At the end, how long the test waits for lines that arrive twice or too late, in ns.
const LINGER: u64 = 300_000_000;

/// All clients, and what they have received.
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
    /// How long clients waited after kills.
    pub pauses: Pauses,
    /// The number of killed processes, by kind of kill.
    pub kills: [u64; KillKind::ALL.len()],
    /// Lines that clients have received, all clients together.
    pub deliveries: u64,
    /// Why the run ended early, if it did.
    pub aborted: Option<String>,
    killer: Option<Killer>,
    buffer: Vec<u8>,
    pub(super) pace: Pace,
    /// The index of the next sender at a steady rate.
    pub(super) next_sender: usize,
    pub(super) due: Due,
}

impl<'o> Scenario<'o> {
    /// Connects all clients and waits until they are logged in.
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
            next_sender: 0,
            due: Due::default(),
        };
        scenario.connect_all()?;
        scenario.wait_for("all clients to log in", LOGIN_TIMEOUT, |scenario| {
            scenario.retry_logins();
            scenario.clients.iter().all(|client| !matches!(client.stage, Stage::LoggingIn(_)))
        })?;
        // A client that has the answer to this receives every line from then on.
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

    /// Runs the traffic and the killer.
    pub fn run(&mut self, server: &Server, seed: u64, progress: &Progress) -> Result<(), String> {
        self.killer = Some(Killer::start(server.pid(), seed, self.options, self.start));
        let (began, length) = (self.now, self.options.seconds.as_nanos() as u64);
        let phase = self.options.phase.as_nanos() as u64;
        let (mut was_paced, mut reported_at) = (false, began);
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
            if self.now > reported_at + 200_000_000 {
                let faults = &self.checker.faults.tcp;
                let kills: u64 = self.kills.iter().sum();
                let tally = faults.tally;
                let wrong =
                    tally.lost + tally.doubled + tally.reordered + tally.wrong + faults.differing;
                progress.show(format!(
                    "{kills} kills, {} lines delivered, {} dropped, {wrong} wrong",
                    self.deliveries, faults.dropped
                ));
                progress.advance(Duration::from_nanos(self.now - reported_at));
                reported_at = self.now;
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
            killer.stop();
        }
        Ok(())
    }

    /// Waits until all clients have received everything. Then sends each a last `/ping`, waits for
    /// the answers and does the final checks.
    pub fn wait_for_quiet(&mut self) -> Result<(), String> {
        // A client that has not received everything after the timeout is reported by the final
        // checks.
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

    /// Stops the server. Returns its exit status, or `None` if it did not end in time.
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

    /// Waits at most a millisecond for input and handles it.
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

    pub(super) fn receive(&mut self, index: usize, max: usize) {
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
            // Over UDP the error is about an earlier datagram, which found no receiver.
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
                self.pauses.line_received(index, sender, number, self.now);
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

    /// A connection has ended, by the client's wish or not.
    pub(super) fn closed(&mut self, index: usize, why: &str) {
        // The description of the fault names the last kill.
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

    /// Takes over the kills since the last call.
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
                let sent: Arc<[u32]> =
                    self.checker.senders.iter().map(|sender| sender.sent).collect();
                let is_measured = |index: &usize| {
                    slots[*index] == slot
                        && !self.clients[*index].is_slow
                        && !self.checker.receivers[*index].is_udp
                        && matches!(self.clients[*index].stage, Stage::Active)
                };
                let served: Vec<usize> = (0..self.clients.len()).filter(is_measured).collect();
                self.pauses.begin(&kill, served.into_iter(), &sent);
            }
            self.checker.faults.kills.insert(kill.slot, LastKill { at: kill.at, words });
        }
    }
}
