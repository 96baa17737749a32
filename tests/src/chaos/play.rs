//! The run: one thread with an epoll loop for all clients. They log in, talk, and at the end wait
//! until every client has received everything.

use super::checker::{Checker, Heard};
use super::client::{Client, Manner, Stage};
use super::crowd::has_slow;
use super::faults::LastKill;
use super::killer::{How, Killer};
use super::listener::{Attendance, Reply};
use super::options::Options;
use super::pauses::Pauses;
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

/// How long the login, and the end, may take, in ns.
const LOGIN_PATIENCE: u64 = 20_000_000_000;
const QUIET_PATIENCE: u64 = 10_000_000_000;
const STOP_PATIENCE: u64 = 15_000_000_000;
/// So long something that comes twice, or too late, is waited for at the end, in ns.
const AFTERMATH: u64 = 300_000_000;
/// A room's senders wait for listeners that are further behind, so that no reader is ever cut off
/// with good reason. In a room with a slow reader it is more than the kernel takes for that one,
/// and less than that and the server's `--sendq`.
const LAG_BYTES_MAX: usize = 160 << 10;
const LAG_BYTES_MAX_SLOW: usize = 400 << 10;
/// What the server puts before a line, tags included.
const BYTES_BEFORE_LINE: usize = 95;
/// Who has so much to send says no more for now.
const UNSENT_BYTES_MAX: usize = 64 << 10;
/// A slow reader reads so much, after so long, in ns.
const SLOW_BYTES: usize = 12 << 10;
const SLOW_PAUSE: u64 = 14_000_000;
/// How often a client sends a question, and a client sends a line that is too long, in ns.
const PING_PAUSE: u64 = 5_000_000;
const TOO_LONG_PAUSE: u64 = 100_000_000;
/// How often one looks whether a transcript is stuck, in ns.
const UNSTICK_PAUSE: u64 = 200_000_000;
/// Of the rest of a line one waits at most so long, in ns.
const HOLD_MAX: u64 = 20_000_000;

/// All clients and what is known of them.
#[derive(Debug)]
pub struct Play<'o> {
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
    /// How long they waited.
    pub pauses: Pauses,
    /// How many processes were ended, by way.
    pub kills: [u64; How::ALL.len()],
    /// Lines received by all clients together.
    pub deliveries: u64,
    /// Why it was over before its time.
    pub gave_up: Option<String>,
    killer: Option<Killer>,
    buffer: Vec<u8>,
    paced: Pace,
    turn: usize,
    due: Due,
}

/// When something is next to be done, in ns.
#[derive(Debug, Default)]
struct Due {
    slow: u64,
    ping: u64,
    too_long: u64,
    unstick: u64,
}

impl<'o> Play<'o> {
    /// Everyone connects and logs in.
    pub fn begin(options: &'o Options, server: &Server, seed: u64) -> Result<Play<'o>, String> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(|error| format!("cannot make an epoll instance: {error}"))?;
        let mut play = Play {
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
            kills: [0; How::ALL.len()],
            deliveries: 0,
            gave_up: None,
            killer: None,
            buffer: vec![0; 128 << 10],
            paced: Pace::new(options.rate.into()),
            turn: 0,
            due: Due::default(),
        };
        play.gather()?;
        play.wait_for("all clients to log in", LOGIN_PATIENCE, |play| {
            play.knock_again();
            play.clients.iter().all(|client| !matches!(client.stage, Stage::LoggingIn(_)))
        })?;
        // After the answer to this, each client receives everything.
        (0..play.clients.len())
            .filter(|&index| play.clients[index].stage == Stage::Ready)
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|index| play.ping(index));
        play.wait_for("all clients to be ready", LOGIN_PATIENCE, |play| {
            play.clients.iter().all(|client| client.stage != Stage::Ready)
        })?;
        Ok(play)
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
                (false, true) => self.paced.resume(self.now),
                (true, false) => self.paced.pause(self.now),
                _ => {}
            }
            was_paced = is_paced;
            if is_paced {
                self.talk_at_rate()
            } else {
                self.talk_in_windows()
            }
            self.visit(false)?;
            self.do_what_is_due();
            self.pump()?;
            if self.now > told + 200_000_000 {
                let faults = &self.checker.faults.tcp;
                let kills: u64 = self.kills.iter().sum();
                let tally = faults.tally;
                let wrong =
                    tally.lost + tally.doubled + tally.reordered + tally.wrong + faults.differing;
                progress.tell(format!(
                    "{kills} kills, {} lines delivered, {} dropped, {wrong} wrong",
                    self.deliveries, faults.dropped
                ));
                progress.pass(Duration::from_nanos(self.now - told));
                told = self.now;
            }
            if self
                .checker
                .listeners
                .iter()
                .filter(|listener| !listener.is_udp)
                .all(|listener| listener.attendance == Attendance::Dropped)
            {
                self.gave_up = Some(format!(
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
    pub fn settle(&mut self) -> Result<(), String> {
        // Who doesn't come to an end shows in the balance.
        let is_ending = |client: &Client| client.stage == Stage::Ending;
        let _ = self.wait_for("quiet", QUIET_PATIENCE, |play| {
            play.checker.is_quiet() && !play.clients.iter().any(is_ending)
        });
        for index in 0..self.clients.len() {
            if is_ending(&self.clients[index]) {
                self.checker
                    .miss(index, "it asked for the end of its connection, which never came");
            }
        }
        let asked: Vec<usize> =
            (0..self.clients.len()).filter(|&index| self.is_there(index)).collect();
        asked.into_iter().for_each(|index| self.ping(index));
        let _ = self.wait_for("the last answers", QUIET_PATIENCE, |play| play.checker.is_quiet());
        let until = self.now + AFTERMATH;
        while self.now < until {
            self.do_what_is_due_to_readers();
            self.pump()?;
        }
        self.checker.faults.now = self.now;
        self.checker.finish();
        Ok(())
    }

    /// Stops the server, and reads what it has to say to that.
    pub fn stop(&mut self, server: &mut Server) -> Option<ExitStatus> {
        let there: Vec<usize> =
            (0..self.clients.len()).filter(|&index| self.is_there(index)).collect();
        self.checker.is_stopping = true;
        server.stop();
        let deadline = self.now + STOP_PATIENCE;
        while self.now < deadline {
            if let Some(status) = server.ended() {
                let until = self.now + AFTERMATH;
                while self.now < until && self.pump().is_ok() {
                    self.do_what_is_due_to_readers();
                }
                self.checker.part(&there);
                return Some(status);
            }
            self.do_what_is_due_to_readers();
            if self.pump().is_err() {
                break;
            }
        }
        None
    }

    fn is_there(&self, index: usize) -> bool {
        matches!(self.clients[index].stage, Stage::Playing | Stage::Outside(_) | Stage::Visiting(_))
    }

    fn wait_for(
        &mut self,
        what: &str,
        patience: u64,
        mut is_so: impl FnMut(&mut Self) -> bool,
    ) -> Result<(), String> {
        let deadline = self.now + patience;
        while !is_so(self) {
            if self.now > deadline || is_interrupted() {
                return Err(format!("waited {} s in vain for {what}", patience / 1_000_000_000));
            }
            self.visit(true)?;
            self.do_what_is_due_to_readers();
            self.pump()?;
        }
        Ok(())
    }

    /// Takes in what has come, waiting at most a millisecond.
    fn pump(&mut self) -> Result<(), String> {
        let mut events = [EpollEvent::empty(); 256];
        let count = match self.epoll.wait(&mut events, EpollTimeout::from(1_u8)) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(format!("cannot wait for events: {errno}")),
        };
        self.tick();
        self.take_kills();
        for event in &events[..count] {
            self.receive(event.data() as usize, usize::MAX);
        }
        self.tick();
        Ok(())
    }

    fn tick(&mut self) {
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
            Ok(0) if !self.checker.listeners[index].is_udp => {
                self.closed(index, "the server ended the connection")
            }
            Ok(length) => self.hear(index, &buffer[..length]),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // Over UDP this reports an earlier datagram that found no receiver.
            Err(_) if self.checker.listeners[index].is_udp => {}
            Err(errno) => self.closed(index, &format!("the connection broke: {errno}")),
        }
        self.buffer = buffer;
    }

    fn hear(&mut self, index: usize, bytes: &[u8]) {
        let mut unfinished = std::mem::take(&mut self.clients[index].unfinished);
        let Ok(()) = each_line(&mut unfinished, bytes, |line| {
            self.hear_line(index, line);
            Ok::<(), Infallible>(())
        });
        self.clients[index].unfinished = unfinished;
    }

    fn hear_line(&mut self, index: usize, line: &[u8]) {
        match self.checker.hear(index, line, self.now) {
            Heard::Said(voice, number) => {
                self.deliveries += 1;
                self.pauses.heard(index, voice, number, self.now);
            }
            Heard::Reply(reply) => self.answered(index, reply),
            Heard::Worker(slot) => self.checker.faults.slots[index] = slot,
            Heard::Cookie if matches!(self.clients[index].stage, Stage::LoggingIn(_)) => {
                self.greet_with(index, line)
            }
            Heard::Cookie => self.hear_cookie(index),
            Heard::Key => self.clients[index].key = key_in(line),
            Heard::Other => {}
        }
    }

    /// A connection is over, as was wished or not.
    pub(super) fn closed(&mut self, index: usize, why: &str) {
        // So that it is known what it follows.
        self.take_kills();
        match self.clients[index].stage {
            Stage::Ending if self.clients[index].unfinished.is_empty() => return self.went(index),
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
            self.checker.drop_out(index, &format!("{why}{torn}"));
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
    pub(super) fn speak(&mut self, index: usize, count: u32) {
        let Some(voice) = self.checker.listeners[index].voice else { return };
        for _ in 0..count {
            let client = &mut self.clients[index];
            self.checker.say(voice, self.now, &mut client.unsent);
            if client.manner == Manner::Lines {
                self.flush(index);
            }
        }
        let client = &mut self.clients[index];
        if client.manner == Manner::Parts
            && client.stage == Stage::Playing
            && count > 0
            && !client.unsent.is_empty()
        {
            client.held =
                (self.rng.usize(1..=client.unsent.len()), self.now + self.rng.u64(0..HOLD_MAX));
        }
        self.flush(index);
    }

    /// Whether a voice may send now: it is connected, holds nothing back, and none of its listeners
    /// lags too far.
    fn can_speak(&self, voice: usize, lags: &[usize]) -> bool {
        let said = &self.checker.voices[voice];
        let client = &self.clients[said.client];
        client.stage == Stage::Playing
            && !client.is_holding()
            && client.unsent.len() < UNSENT_BYTES_MAX
            && lags[said.room] < self.lag_max(said.room)
    }

    fn lag_max(&self, room: usize) -> usize {
        let bytes = if has_slow(room as u32) { LAG_BYTES_MAX_SLOW } else { LAG_BYTES_MAX };
        bytes / (self.options.bytes as usize + BYTES_BEFORE_LINE)
    }

    fn talk_in_windows(&mut self) {
        let lags = self.checker.lags();
        for voice in 0..self.checker.voices.len() {
            if self.can_speak(voice, &lags) {
                let free = self.checker.voices[voice].free(self.options.window, self.now);
                self.speak(self.checker.voices[voice].client, free);
            }
        }
    }

    fn talk_at_rate(&mut self) {
        let lags = self.checker.lags();
        let count = self.checker.voices.len();
        for _ in 0..256 {
            if self.paced.take(self.now).is_none() {
                return;
            }
            let turns = (0..count).map(|i| (self.turn + i) % count);
            if let Some(voice) = turns.into_iter().find(|&voice| self.can_speak(voice, &lags)) {
                self.turn = voice + 1;
                self.speak(self.checker.voices[voice].client, 1);
            }
        }
    }

    /// Periodic work: slow readers read, clients send what they held back, ask something or send
    /// too much.
    fn do_what_is_due(&mut self) {
        self.do_what_is_due_to_readers();
        if self.now > self.due.ping {
            self.due.ping = self.now + PING_PAUSE;
            let index = self.rng.usize(0..self.clients.len());
            if self.clients[index].stage == Stage::Playing && !self.clients[index].is_holding() {
                self.ping(index);
            }
        }
        if self.now > self.due.too_long {
            self.due.too_long = self.now + TOO_LONG_PAUSE;
            let index = self.rng.usize(0..self.clients.len());
            let is_udp = self.checker.listeners[index].is_udp;
            if self.clients[index].stage == Stage::Playing
                && !self.clients[index].is_holding()
                && !is_udp
            {
                self.checker.listeners[index].replies.push_back(Reply::TooLong);
                let mut line = vec![b'x'; self.rng.usize(4_096..20_000)];
                line.push(b'\n');
                self.clients[index].held =
                    (self.rng.usize(1..line.len()), self.now + self.rng.u64(0..HOLD_MAX));
                self.send(index, &line);
            }
        }
    }

    fn do_what_is_due_to_readers(&mut self) {
        if self.now > self.due.slow {
            self.due.slow = self.now + SLOW_PAUSE;
            for index in 0..self.clients.len() {
                let client = &self.clients[index];
                if client.is_slow && client.stage != Stage::Gone {
                    self.receive(index, SLOW_BYTES);
                }
            }
        }
        if self.now > self.due.unstick {
            self.due.unstick = self.now + UNSTICK_PAUSE;
            self.checker.unstick(self.now);
        }
        for index in 0..self.clients.len() {
            // A client that has received everything may still wait until others have written it.
            if !self.checker.listeners[index].pending.is_empty()
                || self.checker.listeners[index].attendance == Attendance::Left
            {
                self.checker.follow(index, self.now);
            }
            if !self.clients[index].unsent.is_empty() && self.clients[index].stage != Stage::Gone {
                self.flush(index);
            }
        }
    }

    /// What was killed since one looked last.
    fn take_kills(&mut self) {
        let kills: Vec<_> = self.killer.iter().flat_map(Killer::kills).collect();
        for kill in kills {
            self.kills[kill.how as usize] += 1;
            let slots = &self.checker.faults.slots;
            let name = kill.slot.map_or("the journal".into(), |slot| format!("worker {slot}"));
            let number = self.kills.iter().sum::<u64>();
            let words = format!(
                "kill {number}, {} to {name} (pid {}){}",
                kill.how.signal(),
                kill.pid,
                kill.how.words()
            );
            if let Some(slot) = kill.slot {
                let said: Arc<[u32]> = self.checker.voices.iter().map(|voice| voice.sent).collect();
                let is_measured = |index: &usize| {
                    slots[*index] == slot
                        && !self.clients[*index].is_slow
                        && !self.checker.listeners[*index].is_udp
                        && matches!(self.clients[*index].stage, Stage::Playing)
                };
                let served: Vec<usize> = (0..self.clients.len()).filter(is_measured).collect();
                self.pauses.begin(&kill, served.into_iter(), &said);
            }
            self.checker.faults.kills.insert(kill.slot, LastKill { at: kill.at, words });
        }
    }
}
