//! The load generator: one thread with an epoll loop that is all the clients of a shape at once, speaks in their names, and checks what each
//! of them is sent.
//!
//! ```text
//! new → enter (all log in) → slice, slice, … → finish (what was lost, doubled, …)
//! ```

use super::client::{Client, Role, Stage};
use super::ledger::{Arrival, Ledger, Tally};
use super::payload::Payload;
use super::senders::Sender;
use super::shape::{Shape, Traffic};
use super::target::{Dialect, Target};
use super::{error, is_interrupted};
use hdrhistogram::Histogram;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{MsgFlags, recv};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::collections::{HashMap, VecDeque};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

/// Logins that are under way at a time. Over UDP fewer, since nobody repeats a datagram that finds a full buffer.
const LOGINS_AT_ONCE: usize = 256;
const UDP_LOGINS_AT_ONCE: usize = 32;
/// So long nothing may happen that is waited for.
const PATIENCE: u64 = 10_000_000_000;
/// When nothing has come for so long, nothing more will.
const SILENCE: u64 = 2_000_000_000;
/// How long a visitor stays, in ns.
const VISIT: u64 = 500_000_000;
/// Members of a room of idle clients.
const IDLE_ROOM: usize = 100;
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

    fn log_in_members(&mut self) -> Result<(), String> {
        let shape = self.shape;
        self.log_in((0..shape.rooms).flat_map(move |room| std::iter::repeat_n(Role::Member(room), shape.members_of(room))))
    }

    fn log_in(&mut self, mut roles: impl Iterator<Item = Role>) -> Result<(), String> {
        let at_once = if self.shape.udp { UDP_LOGINS_AT_ONCE } else { LOGINS_AT_ONCE };
        self.wait_until("the clients to log in", |generator| {
            while generator.logging_in < at_once
                && let Some(role) = roles.next()
            {
                generator.connect(role)?;
            }
            Ok(generator.logging_in == 0)
        })
    }

    fn connect(&mut self, role: Role) -> Result<(), String> {
        let room = match role {
            Role::Member(room) | Role::Visitor(room) => self.room_name(room),
            Role::Idle => self.room_name(self.shape.rooms + self.serial / IDLE_ROOM),
        };
        let ledger = match role {
            Role::Member(_) => Ledger::from_start(self.shape.senders),
            Role::Visitor(_) => Ledger::from_now(self.shape.senders),
            Role::Idle => Ledger::from_start(0),
        };
        let login = self.dialect.login(&self.nick(self.serial), &room);
        let client = Client::connect(self.address, self.shape.udp, role, ledger, &login, self.now());
        let client = client.map_err(|error| cannot_connect(self.address, &error))?;
        self.serial += 1;
        self.logging_in += 1;
        let index = self.free.pop().unwrap_or(self.clients.len());
        self.epoll.add(&client, EpollEvent::new(EpollFlags::EPOLLIN, index as u64)).map_err(error("cannot wait for a connection"))?;
        match self.clients.get_mut(index) {
            Some(old) => *old = client,
            None => self.clients.push(client),
        }
        if self.shape.udp && self.dialect == Dialect::Lines {
            return self.clients[index].knock().map_err(|error| cannot_connect(self.address, &error));
        }
        self.flush(index)
    }

    /// Sends what a client has to send; what the socket doesn't take now it will be asked to take later.
    fn flush(&mut self, index: usize) -> Result<(), String> {
        let client = &mut self.clients[index];
        let was_blocked = client.is_blocked;
        let result = client.flush();
        if client.is_blocked && !was_blocked {
            let mut event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT, index as u64);
            self.epoll.modify(&*client, &mut event).map_err(error("cannot wait for a connection"))?;
        }
        result.or_else(|error| self.closed(index, Some(error)))
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

    fn leave(&mut self, index: usize) -> Result<(), String> {
        let client = &mut self.clients[index];
        if client.stage != Stage::Ready {
            return Ok(());
        }
        client.stage = Stage::Leaving;
        self.leaving += 1;
        match self.dialect {
            Dialect::Lines => {
                client.unsent.extend_from_slice(b"/quit\n");
                self.flush(index)?;
            }
            // An empty datagram, or the end of input.
            Dialect::Bare if self.shape.udp => drop(client.socket.send(b"")),
            Dialect::Bare => drop(client.socket.shutdown(Shutdown::Write)),
        }
        // Datagrams have no end that could be waited for.
        if self.shape.udp { self.closed(index, None) } else { Ok(()) }
    }

    /// A connection is over.
    fn closed(&mut self, index: usize, why: Option<std::io::Error>) -> Result<(), String> {
        let client = &mut self.clients[index];
        match std::mem::replace(&mut client.stage, Stage::Gone) {
            Stage::Gone => return Ok(()),
            Stage::LoggingIn(_) => {
                let address = self.address;
                return Err(
                    why.map_or_else(|| format!("{address} closed a connection that was logging in"), |why| cannot_connect(address, &why))
                );
            }
            Stage::Leaving => self.leaving -= 1,
            Stage::Ready => self.count.dropped += 1,
        }
        // Fails only for what isn't registered.
        let _ = self.epoll.delete(&*client);
        let _ = client.socket.shutdown(Shutdown::Both);
        self.gone += client.ledger.close(std::iter::repeat(None));
        match client.role {
            Role::Member(room) if self.shape.traffic != Traffic::Storm => self.go_on_without(index, room),
            Role::Member(_) | Role::Visitor(_) => self.free.push(index),
            Role::Idle => {}
        }
        self.visitors.retain(|&(_, visitor)| visitor != index);
        self.heard_at = self.now();
        Ok(())
    }

    /// A member that was dropped holds nobody's window up.
    fn go_on_without(&mut self, index: usize, room: usize) {
        let senders = self.shape.senders;
        for sender in self.senders[room * senders..(room + 1) * senders].iter_mut().filter(|sender| sender.client != index) {
            sender.lose_hearer(self.clients[index].ledger.next(sender.place).unwrap_or(0));
        }
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

    /// Waits for something to happen, at most until `until`, and takes it in.
    fn pump(&mut self, until: u64) -> Result<(), String> {
        if is_interrupted() {
            return Err("interrupted".into());
        }
        if self.count.dropped > 0 && self.count.dropped == self.shape.connections() as u64 {
            return Err(format!("{} has ended all connections", self.address));
        }
        let left = Duration::from_nanos(until.saturating_sub(self.now()));
        let mut timeout = EpollTimeout::try_from(left.min(Duration::from_millis(100))).unwrap_or(EpollTimeout::ZERO);
        if left > Duration::ZERO && left < Duration::from_millis(20) {
            // To the millisecond is not good enough for a rate.
            let set = self.timer.set(Expiration::OneShot(left.into()), TimerSetTimeFlags::empty());
            set.map_err(error("cannot set a timer"))?;
            timeout = EpollTimeout::NONE;
        }
        let mut events = [EpollEvent::empty(); 256];
        let count = match self.epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(error("cannot wait for events")(errno)),
        };
        for event in &events[..count] {
            if event.data() == TIMER {
                // EAGAIN: set anew meanwhile.
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
        // Fails only for what isn't registered.
        let _ = self.epoll.modify(&*client, &mut event);
        self.flush(index)
    }

    fn receive(&mut self, index: usize) -> Result<(), String> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = match recv(self.clients[index].as_fd().as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) if !self.shape.udp => self.closed(index, None),
            Ok(length) => self.hear(index, &buffer[..length]),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(()),
            Err(errno) => self.closed(index, Some(errno.into())),
        };
        self.buffer = buffer;
        result
    }

    fn hear(&mut self, index: usize, bytes: &[u8]) -> Result<(), String> {
        let now = self.now();
        let joined;
        let mut whole = bytes;
        if !self.clients[index].unfinished.is_empty() {
            joined = [&std::mem::take(&mut self.clients[index].unfinished), bytes].concat();
            whole = &joined;
        }
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', whole) {
            self.hear_line(index, &whole[start..end], now)?;
            start = end + 1;
        }
        self.clients[index].unfinished.extend_from_slice(&whole[start..]);
        Ok(())
    }

    fn hear_line(&mut self, index: usize, line: &[u8], now: u64) -> Result<(), String> {
        match self.payload.read(line) {
            Some((prefix, sender, number)) => self.hear_said(index, prefix, sender.into(), number, now),
            None => return self.hear_told(index, line, now),
        }
        Ok(())
    }

    /// Somebody has said something.
    fn hear_said(&mut self, index: usize, prefix: &[u8], sender: usize, number: u32, now: u64) {
        let client = &mut self.clients[index];
        let is_for = |sender: &&mut Sender| {
            let is_own = sender.client == index && client.is_member();
            sender.prefix == prefix && client.room() == Some(sender.room) && !is_own && number < sender.sent()
        };
        let Some(sender) = self.senders.get_mut(sender).filter(is_for) else {
            return client.ledger.note_wrong();
        };
        let skipped = match client.ledger.note(sender.place, number) {
            Arrival::New(skipped) => skipped,
            Arrival::Late => 0..0,
            Arrival::Again => return,
        };
        self.heard_at = now;
        self.count.deliveries += 1;
        if client.is_member() {
            skipped.for_each(|number| sender.missed(number));
            if let Some(latency) = sender.heard(number, now) {
                self.count.latency.saturating_record(latency);
            }
        }
    }

    /// The server tells something.
    fn hear_told(&mut self, index: usize, line: &[u8], now: u64) -> Result<(), String> {
        let client = &mut self.clients[index];
        match client.stage {
            Stage::LoggingIn(since) if line == self.dialect.ready() => {
                client.stage = Stage::Ready;
                (self.logging_in, self.heard_at) = (self.logging_in - 1, now);
                self.count.logins += 1;
                if matches!(client.role, Role::Visitor(_)) {
                    self.visitors.push_back((now + VISIT, index));
                }
                if self.shape.traffic == Traffic::Storm {
                    self.count.latency.saturating_record(now - since);
                }
            }
            Stage::LoggingIn(_) if self.shape.udp && line.starts_with(b"* /hello ") => {
                return client.greet(&line[2..]).map_err(|error| cannot_connect(self.address, &error));
            }
            _ if self.dialect.is_refusal(line) => return Err(format!("the server refused: {}", String::from_utf8_lossy(line))),
            _ if self.dialect.is_notice(line) => {}
            _ => client.ledger.note_wrong(),
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

fn cannot_connect(address: SocketAddr, error: &std::io::Error) -> String {
    let advice = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EMFILE | Errno::ENFILE) => "; raise the limit on open files (ulimit -n), or give fewer --clients",
        Some(Errno::EADDRNOTAVAIL) => "; all local ports are taken (net.ipv4.ip_local_port_range), give fewer --clients",
        _ => "",
    };
    format!("cannot connect to {address}: {error}{advice}")
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
