//! The load generator: one thread with an epoll loop for all clients of a shape. It sends their
//! lines and checks every line that each client receives.
//!
//! ```text
//! new → log_in_all → slice, slice, … → finish (what was lost, doubled, …)
//! ```
//!
//! This file has the parts of a slice. `connections` connects clients and lets them leave,
//! `sending` sends lines, `receiving` checks the lines that arrive, `waiting` waits for what must
//! arrive, and `kill` kills a process of the server and measures how long clients wait.

mod connections;
mod kill;
mod receiving;
mod sending;
mod waiting;

pub use kill::KillCost;

use super::chat_protocol::ChatProtocol;
use super::client::{Client, Role, Stage};
use super::context;
use super::pace::Pace;
use super::payload::Payload;
use super::sender::Sender;
use super::sequence_tracker::Tally;
use super::shape::{Shape, Traffic};
use super::target::Target;
use hdrhistogram::Histogram;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// The longest latency that is recorded exactly, in ns.
const LATENCY_MAX: u64 = 60_000_000_000;

const TIMER: u64 = u64::MAX;

/// Counters.
#[derive(Debug)]
pub struct Count {
    /// Lines that a client received for the first time.
    pub deliveries: u64,
    /// Completed logins.
    pub logins: u64,
    /// The latencies of deliveries to members, or of logins, in ns.
    pub latency: Histogram<u64>,
    /// Connections that the server ended.
    pub dropped: u64,
}

/// The clients of one shape, connected to one server.
#[derive(Debug)]
pub struct Generator {
    address: SocketAddr,
    protocol: ChatProtocol,
    /// Whether it is another chat server.
    is_other_server: bool,
    shape: Shape,
    /// A part of the names of clients and rooms that differs from run to run.
    run: String,
    /// The time limit: its end, and its length.
    limit: Option<(Instant, Duration)>,
    epoll: Epoll,
    timer: TimerFd,
    start: Instant,
    payload: Payload,
    clients: Vec<Client>,
    /// Indices of clients that have left. New clients reuse them.
    free: Vec<usize>,
    /// The number of clients so far.
    serial: usize,
    senders: Vec<Sender>,
    /// The next sender in an open loop.
    turn: usize,
    /// The schedule of the lines of an open loop.
    lines: Option<Pace>,
    /// The schedule of the visitors' arrivals.
    arrivals: Option<Pace>,
    /// Visitors that are connected, and when they leave.
    visitors: VecDeque<(u64, usize)>,
    logging_in: usize,
    leaving: usize,
    /// When UDP clients last sent keepalive pings, in ns.
    keepalive_sent_at: u64,
    /// When UDP clients that log in were last checked for missing answers, in ns.
    login_checked_at: u64,
    buffer: Vec<u8>,
    /// When something that the generator waits for last arrived, in ns.
    last_progress_at: u64,
    /// How long the generator has waited in vain for lines that never came.
    pub silence: Duration,
    /// The first line outside the protocol that a client received during its login.
    unknown_line: Option<String>,
    /// The kill that is prepared for the next slice.
    kill: Option<kill::Kill>,
    /// Faults at clients that have left.
    departed: Tally,
    /// Counters.
    pub count: Count,
}

impl Count {
    fn new() -> Result<Count, String> {
        let latency =
            Histogram::new_with_max(LATENCY_MAX, 3).map_err(context("cannot make a histogram"))?;
        Ok(Count { deliveries: 0, logins: 0, latency, dropped: 0 })
    }
}

impl Drop for Generator {
    /// The kernel reports the end of a connection. A UDP client must report it itself.
    fn drop(&mut self) {
        if self.shape.udp {
            // If that fails, the server forgets the client after a while.
            (0..self.clients.len()).for_each(|index| drop(self.leave(index)));
        }
    }
}

impl Generator {
    /// A generator without connections. `limit` is the time limit from now on.
    ///
    /// # Errors
    /// If the system is short of descriptors or memory.
    pub fn new(
        target: &Target,
        shape: Shape,
        limit: Option<Duration>,
    ) -> Result<Generator, String> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(context("cannot make an epoll instance"))?;
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
        );
        let timer = timer.map_err(context("cannot make a timer"))?;
        epoll
            .add(timer.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, TIMER))
            .map_err(context("cannot wait for a timer"))?;
        let mut generator = Generator {
            address: if shape.udp { target.udp } else { target.tcp },
            protocol: target.protocol,
            is_other_server: target.is_other_server,
            shape,
            run: run_name(),
            limit: limit.map(|limit| (Instant::now() + limit, limit)),
            epoll,
            timer,
            start: Instant::now(),
            payload: Payload::new(shape.bytes),
            clients: Vec::new(),
            free: Vec::new(),
            serial: 0,
            senders: Vec::new(),
            turn: 0,
            lines: if let Traffic::Rate(rate) = shape.traffic {
                Some(Pace::new(rate))
            } else {
                None
            },
            arrivals: (shape.churn > 0.0).then(|| Pace::new(shape.churn)),
            visitors: VecDeque::new(),
            logging_in: 0,
            leaving: 0,
            login_checked_at: 0,
            keepalive_sent_at: 0,
            buffer: vec![0; 256 << 10],
            last_progress_at: 0,
            silence: Duration::ZERO,
            unknown_line: None,
            kill: None,
            departed: Tally::default(),
            count: Count::new()?,
        };
        generator.make_senders();
        Ok(generator)
    }

    /// The first members of each room are its senders. Clients are connected room by room, so their
    /// indices are known before.
    fn make_senders(&mut self) {
        let mut first = 0;
        for room in 0..self.shape.rooms {
            let members = self.shape.members_of(room);
            for index_in_room in 0..self.shape.senders {
                let client = first + index_in_room;
                let prefix =
                    self.protocol.prefix(&self.nick(client), &self.room_name(room)).into_bytes();
                let head = self.protocol.head(&self.room_name(room)).into_bytes();
                let mut sender = Sender::new(client, room, index_in_room, prefix, members - 1);
                sender.head = head;
                self.senders.push(sender);
            }
            first += members;
        }
    }

    /// Connects and logs in all clients that stay.
    pub fn log_in_all(&mut self) -> Result<(), String> {
        if self.shape.traffic == Traffic::Storm {
            return Ok(());
        }
        let idle = self.shape.idle;
        self.log_in_members()?;
        self.log_in(std::iter::repeat_n(Role::Idle, idle))?;
        // Over UDP a datagram can't contain half a line.
        if self.shape.traffic == Traffic::Quiet && !self.shape.udp {
            for index in (0..self.clients.len()).step_by(10) {
                self.clients[index].unsent.extend_from_slice(b"a line that has only begu");
                self.flush(index)?;
            }
        }
        Ok(())
    }

    /// Runs one slice of the traffic. When this returns, all lines that were sent in it have been
    /// delivered, or count as lost.
    ///
    /// An open loop continues while lines are in flight or clients wait because of a kill, but at
    /// most for `max`. If the server stands still or cannot keep up, more lines become due
    /// meanwhile.
    pub fn slice(&mut self, min: Duration, max: Duration) -> Result<(), String> {
        let began = self.now();
        let [end, latest] = [min, max].map(|length| began + length.as_nanos() as u64);
        match self.shape.traffic {
            Traffic::Storm => self.log_in_members(),
            Traffic::Quiet => self.process_events_until(end),
            Traffic::Window(_) | Traffic::Rate(_) => {
                self.paces().for_each(|pace| pace.resume(began));
                let mut now = began;
                while now < end
                    || (self.lines.is_some()
                        && now < latest
                        && !(self.is_quiet() && self.has_recovered()))
                {
                    let next = match self.shape.traffic {
                        Traffic::Window(window) => self.send_in_windows(window, now)?,
                        _ => self.send_at_rate(now)?,
                    };
                    self.move_visitors(now)?;
                    let kill_due = self.kill_if_due(began)?;
                    self.process_events(next.min(kill_due).min(if now < end {
                        end
                    } else {
                        latest
                    }))?;
                    now = self.now();
                }
                self.paces().for_each(|pace| pace.pause(now));
                self.wait_for_delivery()
            }
        }
    }

    /// Does what is not part of the measurement, between two slices.
    pub fn after_slice(&mut self) -> Result<(), String> {
        if self.shape.traffic == Traffic::Storm {
            for index in 0..self.clients.len() {
                self.leave(index)?;
            }
            self.wait_until("all clients to leave", |generator| Ok(generator.leaving == 0))?;
        }
        Ok(())
    }

    /// All faults. The order of lines is compared among the members of a room that only listen.
    pub fn finish(&self) -> Tally {
        let mut tally = self.departed;
        // By room: the result of each member that receives the lines of all senders.
        let mut orders: HashMap<usize, Vec<(Tally, u64)>> = HashMap::new();
        for (index, client) in self.clients.iter().enumerate() {
            // Dropped clients are counted separately, and their faults are in `departed`.
            if client.stage == Stage::Gone {
                continue;
            }
            let Role::Member(room) = client.role else {
                tally += client.tracker.tally(std::iter::empty());
                continue;
            };
            let own = |sender: &Sender| sender.client == index;
            // The server may not have accepted the last lines of a sender whose connection ended.
            let is_owed =
                |sender: &Sender| !own(sender) && self.clients[sender.client].stage == Stage::Ready;
            let saw = client.tracker.tally(
                self.senders_of(room).map(|sender| is_owed(sender).then_some(sender.sent())),
            );
            tally += saw;
            if !self.senders_of(room).any(own) {
                orders.entry(room).or_default().push((saw, client.tracker.order()));
            }
        }
        for saw in orders.values() {
            tally.reordered += count_minority(
                saw.iter().filter(|(tally, _)| tally.is_clean()).map(|&(_, order)| order),
            );
        }
        tally
    }

    /// Takes the counters.
    pub fn take_count(&mut self) -> Result<Count, String> {
        Ok(std::mem::replace(&mut self.count, Count::new()?))
    }

    /// Lines sent so far.
    pub fn lines(&self) -> u64 {
        self.senders.iter().map(|sender| u64::from(sender.sent())).sum()
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn nick(&self, serial: usize) -> String {
        self.protocol.nick(&self.run, serial)
    }

    fn room_name(&self, room: usize) -> String {
        format!("#{}r{room}", self.run)
    }

    fn senders_of(&self, room: usize) -> std::slice::Iter<'_, Sender> {
        self.senders[self.places_of(room)].iter()
    }

    /// The range of a room's senders.
    fn places_of(&self, room: usize) -> Range<usize> {
        room * self.shape.senders..(room + 1) * self.shape.senders
    }

    fn paces(&mut self) -> impl Iterator<Item = &mut Pace> {
        self.lines.iter_mut().chain(&mut self.arrivals)
    }

    fn is_quiet(&self) -> bool {
        self.senders.iter().all(Sender::is_quiet)
    }

    /// Lets visitors join and leave.
    fn move_visitors(&mut self, now: u64) -> Result<(), String> {
        while self.arrivals.as_mut().and_then(|arrivals| arrivals.take(now)).is_some() {
            self.connect(Role::Visitor(self.serial % self.shape.rooms))?;
        }
        while let Some(&(at, index)) = self.visitors.front()
            && at <= now
        {
            self.visitors.pop_front();
            self.leave(index)?;
        }
        self.retry_logins(now)?;
        self.send_keepalives(now)
    }
}

/// How many of the values differ from the most frequent one.
fn count_minority(orders: impl Iterator<Item = u64>) -> u64 {
    let mut counts: HashMap<u64, u64> = HashMap::new();
    orders.for_each(|order| *counts.entry(order).or_default() += 1);
    counts.values().sum::<u64>() - counts.values().max().unwrap_or(&0)
}

/// A few letters that differ from run to run.
fn run_name() -> String {
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos();
    let mut value = (nanos / 1_000) as u64 ^ u64::from(std::process::id()) << 7;
    let letters = |_| {
        let letter = b"abcdefghijkmnpqrstvwxyz"[(value % 23) as usize];
        value /= 23;
        char::from(letter)
    };
    (0..4).map(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_with_another_order_are_counted() {
        assert_eq!(count_minority([7, 7, 7, 5, 7, 6].into_iter()), 2);
        assert_eq!(count_minority([].into_iter()), 0);
    }
}
