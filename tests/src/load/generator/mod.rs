//! The load generator: one thread with an epoll loop that is all the clients of a shape at once, speaks in their names, and checks what each
//! of them is sent.
//!
//! ```text
//! new → enter (all log in) → slice, slice, … → finish (what was lost, doubled, …)
//! ```
//!
//! Here is what it does in a slice; `crowd` connects and lets go of clients, `hearing` understands what they are sent.

mod crowd;
mod hearing;

use super::client::{Client, Role, Stage};
use super::error;
use super::ledger::Tally;
use super::payload::Payload;
use super::senders::Sender;
use super::shape::{Shape, Traffic};
use super::target::{Dialect, Target};
use hdrhistogram::Histogram;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// So long nothing may happen that is waited for.
const PATIENCE: u64 = 10_000_000_000;
/// When nothing has come for so long, nothing more will.
const SILENCE: u64 = 2_000_000_000;
/// A sender that has so much to send says no more for now. In an open loop the lines stay due.
const UNSENT_BYTES_MAX: usize = 1 << 20;
/// The longest latency that is told apart from longer ones, in ns.
const LATENCY_MAX: u64 = 60_000_000_000;

const TIMER: u64 = u64::MAX;

/// What was counted so far.
#[derive(Debug)]
pub struct Count {
    /// Lines that a client was sent for the first time.
    pub deliveries: u64,
    /// Logins.
    pub logins: u64,
    /// Per delivery to a member, or per login, in ns.
    pub latency: Histogram<u64>,
    /// Connections that the server ended.
    pub dropped: u64,
}

/// The clients of one shape, connected to one server.
#[derive(Debug)]
pub struct Generator {
    address: SocketAddr,
    dialect: Dialect,
    shape: Shape,
    /// Sets the names of this run's clients and rooms apart from all others'.
    run: String,
    epoll: Epoll,
    timer: TimerFd,
    start: Instant,
    payload: Payload,
    clients: Vec<Client>,
    /// Clients that are gone, and whose place may be given again.
    free: Vec<usize>,
    /// All clients so far.
    serial: usize,
    senders: Vec<Sender>,
    /// The sender whose turn it is in an open loop.
    turn: usize,
    /// Visitors that are there, and when they go.
    visitors: VecDeque<(u64, usize)>,
    logging_in: usize,
    leaving: usize,
    buffer: Vec<u8>,
    /// When something last came that was waited for, in ns.
    heard_at: u64,
    /// What those saw who are gone.
    gone: Tally,
    /// What was counted so far.
    pub count: Count,
}

impl Generator {
    /// Nobody is connected yet.
    pub fn new(target: &Target, shape: Shape) -> Result<Generator, String> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(error("cannot make an epoll instance"))?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC);
        let timer = timer.map_err(error("cannot make a timer"))?;
        epoll.add(timer.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, TIMER)).map_err(error("cannot wait for a timer"))?;
        let mut latency = Histogram::new_with_max(LATENCY_MAX, 3).map_err(error("cannot make a histogram"))?;
        latency.auto(false);
        let mut generator = Generator {
            address: if shape.udp { target.udp } else { target.tcp },
            dialect: target.dialect,
            shape,
            run: run_name(),
            epoll,
            timer,
            start: Instant::now(),
            payload: Payload::new(shape.bytes),
            clients: Vec::new(),
            free: Vec::new(),
            serial: 0,
            senders: Vec::new(),
            turn: 0,
            visitors: VecDeque::new(),
            logging_in: 0,
            leaving: 0,
            buffer: vec![0; 256 << 10],
            heard_at: 0,
            gone: Tally::default(),
            count: Count { deliveries: 0, logins: 0, latency, dropped: 0 },
        };
        generator.make_senders();
        Ok(generator)
    }

    /// The first members of each room. Clients are connected room by room, so it is known who they will be.
    fn make_senders(&mut self) {
        let mut first = 0;
        for room in 0..self.shape.rooms {
            let members = self.shape.members_of(room);
            for place in 0..self.shape.senders {
                let client = first + place;
                let prefix = self.dialect.prefix(&self.nick(client), &self.room_name(room)).into_bytes();
                self.senders.push(Sender::new(client, room, place, prefix, members - 1));
            }
            first += members;
        }
    }

    /// Lets everyone connect and log in who is to stay.
    pub fn enter(&mut self) -> Result<(), String> {
        if self.shape.traffic == Traffic::Storm {
            return Ok(());
        }
        let idle = self.shape.idle;
        self.log_in_members()?;
        self.log_in(std::iter::repeat_n(Role::Idle, idle))?;
        if self.shape.traffic == Traffic::Quiet {
            for index in (0..self.clients.len()).step_by(10) {
                self.clients[index].unsent.extend_from_slice(b"a line that has only begu");
                self.flush(index)?;
            }
        }
        Ok(())
    }

    /// One slice of the traffic: all that is said in it is delivered when this returns, or lost.
    pub fn slice(&mut self, length: Duration) -> Result<(), String> {
        let began = self.now();
        let end = began + length.as_nanos() as u64;
        match self.shape.traffic {
            Traffic::Storm => self.log_in_members(),
            Traffic::Quiet => self.pump_until(end),
            Traffic::Window(_) | Traffic::Rate(_) => {
                let (mut said, mut visits) = (0, 0);
                loop {
                    let now = self.now();
                    if now >= end {
                        return self.settle();
                    }
                    let next = match self.shape.traffic {
                        Traffic::Rate(rate) => self.speak_at_rate(began, rate, &mut said, now)?.min(end),
                        Traffic::Window(window) => self.speak_in_window(window, now).map(|()| end)?,
                        Traffic::Storm | Traffic::Quiet => end,
                    };
                    self.visit(began, &mut visits, now)?;
                    self.pump(next)?;
                }
            }
        }
    }

    /// What has to be done between two slices, and belongs to neither.
    pub fn after_slice(&mut self) -> Result<(), String> {
        if self.shape.traffic == Traffic::Storm {
            for index in 0..self.clients.len() {
                self.leave(index)?;
            }
            self.wait_until("all clients to leave", |generator| Ok(generator.leaving == 0))?;
        }
        Ok(())
    }

    /// The balance of all that was said.
    pub fn finish(&self) -> Tally {
        let mut tally = self.gone;
        // By room, what each member saw who heard all senders.
        let mut orders: HashMap<usize, Vec<(Tally, u64)>> = HashMap::new();
        for (index, client) in self.clients.iter().enumerate() {
            let Role::Member(room) = client.role else { continue };
            // Of who was dropped there is a count, and what it saw till then is counted.
            if client.stage == Stage::Gone {
                continue;
            }
            let own = |sender: &Sender| sender.client == index;
            let saw = client.ledger.close(self.senders_of(room).map(|sender| (!own(sender)).then_some(sender.sent())));
            tally += saw;
            if !self.senders_of(room).any(own) {
                orders.entry(room).or_default().push((saw, client.ledger.order()));
            }
        }
        for saw in orders.values() {
            tally.reordered += others_than_most(saw.iter().filter(|(tally, _)| tally.is_clean()).map(|&(_, order)| order));
        }
        tally
    }

    /// Lets go of all connections.
    pub fn end(self) -> Count {
        self.count
    }

    /// Lines that were said so far.
    pub fn lines(&self) -> u64 {
        self.senders.iter().map(|sender| u64::from(sender.sent())).sum()
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn nick(&self, serial: usize) -> String {
        format!("{}u{serial}", self.run)
    }

    fn room_name(&self, room: usize) -> String {
        format!("#{}r{room}", self.run)
    }

    fn senders_of(&self, room: usize) -> std::slice::Iter<'_, Sender> {
        let senders = self.shape.senders;
        self.senders[room * senders..(room + 1) * senders].iter()
    }

    /// A closed loop: as much as the windows have room for.
    fn speak_in_window(&mut self, window: usize, now: u64) -> Result<(), String> {
        for sender in 0..self.senders.len() {
            let free = self.senders[sender].free(window, now);
            if free > 0 {
                self.say(sender, free, now)?;
            }
        }
        Ok(())
    }

    /// An open loop: what is due by now, each line with the moment at which it was. Returns when the next one is.
    fn speak_at_rate(&mut self, began: u64, rate: f64, said: &mut u64, now: u64) -> Result<u64, String> {
        loop {
            let due = began + (*said as f64 / rate * 1e9) as u64;
            if due > now || self.clients[self.senders[self.turn].client].unsent.len() > UNSENT_BYTES_MAX {
                return Ok(due);
            }
            self.say(self.turn, 1, due)?;
            self.turn = (self.turn + 1) % self.senders.len();
            *said += 1;
        }
    }

    fn say(&mut self, sender: usize, count: usize, since: u64) -> Result<(), String> {
        let index = self.senders[sender].client;
        if self.clients[index].stage != Stage::Ready {
            return Ok(());
        }
        for _ in 0..count {
            let number = self.senders[sender].say(since);
            self.payload.write(sender as u16, number, &mut self.clients[index].unsent);
            // Each by itself, as people's clients do.
            self.flush(index)?;
        }
        Ok(())
    }

    /// Lets visitors come and go.
    fn visit(&mut self, began: u64, visits: &mut u64, now: u64) -> Result<(), String> {
        while self.shape.churn > 0.0 && began + (*visits as f64 / self.shape.churn * 1e9) as u64 <= now {
            self.connect(Role::Visitor(self.serial % self.shape.rooms))?;
            *visits += 1;
        }
        while let Some(&(at, index)) = self.visitors.front()
            && at <= now
        {
            self.visitors.pop_front();
            self.leave(index)?;
        }
        Ok(())
    }

    /// Waits until all that was said is read, and all visitors are gone.
    fn settle(&mut self) -> Result<(), String> {
        self.heard_at = self.now();
        while self.senders.iter().any(|sender| !sender.is_quiet()) && self.now() - self.heard_at < SILENCE {
            self.pump(self.heard_at + SILENCE)?;
        }
        self.wait_until("the visitors to leave", |generator| {
            while let Some((_, index)) = generator.visitors.pop_front() {
                generator.leave(index)?;
            }
            Ok(generator.logging_in == 0 && generator.leaving == 0)
        })
    }

    fn wait_until(&mut self, what: &str, mut is_so: impl FnMut(&mut Generator) -> Result<bool, String>) -> Result<(), String> {
        self.heard_at = self.now();
        while !is_so(self)? {
            if self.now() - self.heard_at > PATIENCE {
                return Err(format!("waited 10 s in vain for {what}: {} are logging in, {} leaving", self.logging_in, self.leaving));
            }
            self.pump(self.heard_at + PATIENCE)?;
        }
        Ok(())
    }

    fn pump_until(&mut self, end: u64) -> Result<(), String> {
        while self.now() < end {
            self.pump(end)?;
        }
        Ok(())
    }
}

/// How many of these are not as most of them are.
fn others_than_most(orders: impl Iterator<Item = u64>) -> u64 {
    let mut counts: HashMap<u64, u64> = HashMap::new();
    orders.for_each(|order| *counts.entry(order).or_default() += 1);
    counts.values().sum::<u64>() - counts.values().max().unwrap_or(&0)
}

/// A few letters that another run won't have.
fn run_name() -> String {
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
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
    fn who_saw_another_order_is_counted() {
        assert_eq!(others_than_most([7, 7, 7, 5, 7, 6].into_iter()), 2);
        assert_eq!(others_than_most([].into_iter()), 0);
    }
}
