//! Seeded simulation: several workers and a journal over one real log in one thread, with simulated clients. One seed, one run.
//!
//! Workers die between any two steps, also inside a turn: at each thing that a turn does outside (a write, a consumption, an arming)
//! it may be cut off. A spy reads the whole log and renders everything for everyone; what the clients got must be that.
//!
//! `FORKCHAT_SIM_SEEDS=20000 cargo test --release -p forkchat-server simulation` runs more, `FORKCHAT_SIM_SEED=7` one.

use super::input::{Behind, Input, Lines};
use super::serving::{Serving, ServingConfig};
use super::sockets::{Sockets, Written};
use crate::chat::{Chat, Ending, Fact, Forms, Output, RateLimit, Record};
use crate::event_log::{Entry, EventLog, Geometry, Reader};
use crate::journal::{Journal, JournalConfig};
use forkchat_common::ids::{Sequence, SessionId, Slot};
use forkchat_common::wire::line::Stamp;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

const WORKERS: u16 = 3;
const JOURNAL: Slot = Slot(WORKERS);
const SPY: Slot = Slot(WORKERS + 1);
const CLIENTS_MAX: usize = 8;
const STEPS: usize = 400;
const SENDQ: usize = 6_000;
const PEEK: usize = 5_000;
const LINES_PER_PEEK: usize = 4;

/// splitmix64: all the chance that there is.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }
}

/// A client and the kernel between it and its worker.
struct Client {
    session: SessionId,
    slot: Slot,
    /// Everything it sent.
    sent: Vec<u8>,
    /// How much of that was taken out of the kernel.
    consumed: usize,
    has_ended: bool,
    /// Everything that the kernel took for it, and how much of that it has read.
    taken: Vec<u8>,
    read: usize,
    kernel_bytes_max: usize,
    armed: Option<(usize, u64)>,
    in_long_line: bool,
    finished: Option<Ending>,
    /// Its worker died: its connection is gone.
    is_lost: bool,
}

type World = Rc<RefCell<Vec<Client>>>;

/// A worker's outside. After so many calls the worker is cut off in the middle of one.
struct Wires {
    world: World,
    calls_left: Option<usize>,
    reported: Vec<SessionId>,
    blocked: Vec<SessionId>,
}

/// What a cut-off worker unwinds with.
struct Killed;

impl Wires {
    fn call(&mut self) {
        if let Some(left) = &mut self.calls_left {
            if *left == 0 {
                resume_unwind(Box::new(Killed));
            }
            *left -= 1;
        }
    }

    fn with<R>(&self, session: SessionId, act: impl FnOnce(&mut Client) -> R) -> Option<R> {
        self.world.borrow_mut().iter_mut().find(|client| client.session == session).map(act)
    }
}

impl Sockets for Wires {
    type Connection = ();

    fn add(&mut self, _: SessionId, (): ()) {}
    fn add_peer(&mut self, _: SessionId, _: SocketAddr) {}

    fn write(&mut self, session: SessionId, bytes: &[u8], _: u64) -> Written {
        self.call();
        let written = self.with(session, |client| {
            let room = client.kernel_bytes_max - (client.taken.len() - client.read);
            let length = room.min(bytes.len());
            client.taken.extend_from_slice(&bytes[..length]);
            length
        });
        // Cut off behind the write, too: the kernel has the bytes, nobody knows.
        self.call();
        match written {
            None => Written::Gone,
            Some(0) => {
                self.blocked.push(session);
                Written::Blocked
            }
            Some(length) => Written::Bytes(length),
        }
    }

    fn consume(&mut self, session: SessionId, len: usize) {
        self.call();
        self.with(session, |client| client.consumed += len);
    }

    fn arm(&mut self, session: SessionId, lines_max: u64) -> bool {
        self.call();
        self.with(session, |client| client.armed = Some((0, lines_max)));
        true
    }

    fn finish(&mut self, session: SessionId, ending: Ending) {
        self.call();
        self.with(session, |client| client.finished = Some(ending));
    }

    fn report_closed(&mut self, session: SessionId) {
        self.reported.push(session);
    }

    fn answer_stranger(&mut self, _: SocketAddr, _: &[u8]) {}
    fn drained(&mut self) {}
}

/// Renders everything for everyone, from the whole log.
struct Spy {
    reader: Reader,
    chat: Chat,
    forms: Forms,
    told: Told,
    /// Lines in the log, by session, without repetitions.
    lines: BTreeMap<SessionId, Vec<Vec<u8>>>,
    input_end: BTreeMap<SessionId, u64>,
}

#[derive(Default)]
struct Told {
    bytes: BTreeMap<SessionId, Vec<u8>>,
    /// Per session: behind which record how much had been told.
    marks: BTreeMap<SessionId, Vec<(Sequence, usize)>>,
    now: Sequence,
}

impl Output for Told {
    fn serves(&mut self, _: SessionId, _: Slot) -> bool {
        true
    }
    fn tell(&mut self, session: SessionId, bytes: &[u8]) {
        let told = self.bytes.entry(session).or_default();
        told.extend_from_slice(bytes);
        self.marks.entry(session).or_default().push((self.now, told.len()));
    }
    fn closed(&mut self, _: SessionId, _: Slot, _: Ending) {}
}

impl Told {
    fn bytes_before(&self, session: SessionId, sequence: Sequence) -> usize {
        let marks = self.marks.get(&session).map_or(&[][..], Vec::as_slice);
        marks.iter().rev().find(|(end, _)| *end <= sequence).map_or(0, |(_, told)| *told)
    }
}

impl Spy {
    fn read(&mut self, log: &EventLog) {
        for Entry { sequence, end, time, payload } in self.reader.fetch(u64::MAX) {
            let record = Record::decode(payload).unwrap();
            self.told.now = end;
            let is_open = self.chat.session(record.session).is_some();
            if let Fact::Line(line) = record.fact
                && is_open
                && self.input_end.insert(record.session, record.input_end).is_none_or(|before| before < record.input_end)
            {
                self.lines.entry(record.session).or_default().push(line.to_vec());
            }
            self.chat.apply(Stamp { id: sequence, time }, &record, &mut self.forms, &mut self.told);
        }
        log.publish_cursor(SPY, self.reader.position());
    }
}

struct Simulation {
    seed: u64,
    dice: Dice,
    log: &'static EventLog,
    world: World,
    workers: Vec<Option<Serving<Wires>>>,
    queues: Vec<VecDeque<Input<()>>>,
    journal: Journal,
    spy: Spy,
    serial: u64,
    crashes: usize,
    /// Cells whose sessions are over.
    free: Vec<usize>,
    /// All that ever were, when their cell is free again.
    gone: Vec<Client>,
}

fn config() -> ServingConfig {
    ServingConfig { rate_limit: RateLimit::OFF, sendq: SENDQ, turn_away_max: 0, udp: None }
}

fn journal(log: &'static EventLog) -> Journal {
    let config = JournalConfig { rate_limit: RateLimit::OFF, workers: WORKERS, data_dir: None };
    Journal::join(log, JOURNAL, &config).unwrap()
}

impl Simulation {
    fn new(seed: u64, log: &'static EventLog) -> Simulation {
        log.wipe();
        let world = World::default();
        let chat = Chat::new(RateLimit::OFF);
        let reader = Reader::new(log, log.join(SPY).unwrap().0);
        let spy = Spy { reader, chat, forms: Forms::default(), told: Told::default(), lines: BTreeMap::new(), input_end: BTreeMap::new() };
        let mut simulation = Simulation {
            seed,
            dice: Dice(seed),
            log,
            world,
            workers: (0..WORKERS).map(|_| None).collect(),
            queues: (0..WORKERS).map(|_| VecDeque::new()).collect(),
            journal: journal(log),
            spy,
            serial: 0,
            crashes: 0,
            free: (0..CLIENTS_MAX).rev().collect(),
            gone: Vec::new(),
        };
        (0..WORKERS).for_each(|slot| simulation.join(Slot(slot)));
        simulation
    }

    fn join(&mut self, slot: Slot) {
        let wires = Wires { world: self.world.clone(), calls_left: None, reported: Vec::new(), blocked: Vec::new() };
        self.workers[slot.index()] = Some(Serving::join(self.log, slot, config(), wires).unwrap());
    }

    fn run(&mut self) {
        for _ in 0..STEPS {
            self.step();
            self.check_checkpoints();
        }
        self.settle();
        self.check_end();
    }

    fn step(&mut self) {
        self.log.pass_time(1_000);
        match self.dice.roll(100) {
            0..6 => self.arrive(),
            6..30 => self.type_something(),
            30..45 => self.client_reads(),
            45..60 => self.receive(),
            60..85 => {
                let slot = Slot(self.dice.roll(WORKERS.into()) as u16);
                self.turn(slot, None);
            }
            85..90 => self.journal.turn(),
            90..93 => self.client_ends(),
            93..96 => {
                let slot = Slot(self.dice.roll(WORKERS.into()) as u16);
                let calls = self.dice.roll(12);
                self.turn(slot, Some(calls));
            }
            96 => self.journal = journal(self.log),
            _ => self.spy.read(self.log),
        }
    }

    fn arrive(&mut self) {
        let Some(cell) = self.free.pop() else { return };
        self.serial += 1;
        let (session, slot) = (SessionId::new(self.serial, cell), Slot(self.dice.roll(WORKERS.into()) as u16));
        let kernel_bytes_max = [40, 700, 100_000][self.dice.roll(3)];
        let mut client = Client {
            session,
            slot,
            sent: Vec::new(),
            consumed: 0,
            has_ended: false,
            taken: Vec::new(),
            read: 0,
            kernel_bytes_max,
            armed: None,
            in_long_line: false,
            finished: None,
            is_lost: false,
        };
        if self.dice.roll(2) == 0 {
            client.sent.extend_from_slice(format!("/nick early{}\nhello\nhal", self.dice.roll(3)).as_bytes());
        }
        let lines = peek(&mut client, LINES_PER_PEEK as u64);
        self.world.borrow_mut().push(client);
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        self.queues[slot.index()].push_back(Input::Opened { session, peer, connection: (), lines });
    }

    fn some_client(&mut self) -> Option<usize> {
        let count = self.world.borrow().len();
        (count > 0).then(|| self.dice.roll(count))
    }

    fn type_something(&mut self) {
        let Some(index) = self.some_client() else { return };
        let number = self.serial * 1_000 + self.dice.roll(1_000) as u64;
        let text = match self.dice.roll(16) {
            0 => format!("/nick n{}\n", number % 5),
            1 => format!("/join #r{}\n", number % 3),
            2 => "/leave\n".to_owned(),
            3 => "/set tags on\n/set echo on\n".to_owned(),
            4 => "/who\n/whoami\n/rooms\n".to_owned(),
            5 => "x".repeat(6_000) + "\n",
            6 => "/charset gbk\n你好\n".to_owned(),
            7 => "half a li".to_owned(),
            8 if self.dice.roll(4) == 0 => "/quit\nunheard\n".to_owned(),
            9 => format!("{}\n", "words ".repeat(self.dice.roll(200))),
            _ => format!("said {number}\n"),
        };
        let client = &mut self.world.borrow_mut()[index];
        if !client.has_ended && !client.is_lost {
            client.sent.extend_from_slice(text.as_bytes());
        }
    }

    fn client_reads(&mut self) {
        let Some(index) = self.some_client() else { return };
        let bytes = self.dice.roll(1_500);
        let client = &mut self.world.borrow_mut()[index];
        client.read = (client.read + bytes).min(client.taken.len());
    }

    fn client_ends(&mut self) {
        if let Some(index) = self.some_client() {
            self.world.borrow_mut()[index].has_ended = true;
        }
    }

    /// A receive thread looks at a socket that was armed and has something.
    fn receive(&mut self) {
        let Some(index) = self.some_client() else { return };
        let mut world = self.world.borrow_mut();
        let client = &mut world[index];
        let Some((rest, lines_max)) = client.armed else { return };
        let has_news = client.sent.len() - client.consumed > rest || client.has_ended;
        if client.is_lost || client.finished.is_some() || !has_news {
            return;
        }
        let lines = peek(client, lines_max);
        if lines.is_empty() {
            client.consumed += lines.consume;
            client.armed = Some((lines.rest, lines_max));
        } else {
            client.armed = None;
            let input = Input::Lines { session: client.session, lines };
            self.queues[client.slot.index()].push_back(input);
        }
    }

    /// A worker's turn; it is cut off after so many things that it does outside, if there are as many.
    fn turn(&mut self, slot: Slot, calls: Option<usize>) {
        let taken = self.dice.roll(4);
        let queue = &mut self.queues[slot.index()];
        let inputs: Vec<_> = queue.drain(..taken.min(queue.len())).collect();
        let Some(mut serving) = self.workers[slot.index()].take() else { return };
        serving.sockets.calls_left = calls;
        let result = catch_unwind(AssertUnwindSafe(|| {
            inputs.into_iter().for_each(|input| serving.accept(input));
            for session in std::mem::take(&mut serving.sockets.blocked) {
                serving.writable(session);
            }
            serving.rung();
            serving.turn();
        }));
        let reported = std::mem::take(&mut serving.sockets.reported);
        match result {
            Ok(()) => {
                serving.sockets.calls_left = None;
                self.workers[slot.index()] = Some(serving);
            }
            Err(payload) if payload.is::<Killed>() => {
                drop(serving);
                self.bury(slot);
            }
            Err(payload) => resume_unwind(payload),
        }
        self.free_cells(&reported);
    }

    /// What the supervisor and the next worker do.
    fn bury(&mut self, slot: Slot) {
        self.crashes += 1;
        self.queues[slot.index()].clear();
        let mut orphans = Vec::new();
        for client in self.world.borrow_mut().iter_mut().filter(|client| client.slot == slot && client.finished.is_none()) {
            client.is_lost = true;
            orphans.push(client.session);
        }
        self.join(slot);
        self.queues[slot.index()].extend(orphans.into_iter().map(Input::Orphaned));
    }

    /// Sessions whose end was told to the supervisor, or whose connection ended in its order.
    fn free_cells(&mut self, reported: &[SessionId]) {
        let mut world = self.world.borrow_mut();
        let mut kept = Vec::new();
        for client in world.drain(..) {
            if client.finished.is_some() || reported.contains(&client.session) {
                self.log.clear_checkpoint(client.session);
                self.free.push(client.session.cell());
                self.gone.push(client);
            } else {
                kept.push(client);
            }
        }
        *world = kept;
    }

    /// Everything goes on until nothing is left to do.
    fn settle(&mut self) {
        for _ in 0..3_000 {
            self.log.pass_time(1_000);
            let clients = self.world.borrow().len();
            for client in self.world.borrow_mut().iter_mut() {
                client.read = client.taken.len();
            }
            (0..clients * 3).for_each(|_| self.receive());
            (0..WORKERS).for_each(|slot| self.turn(Slot(slot), None));
            self.journal.turn();
            self.spy.read(self.log);
            let is_idle = |serving: &Serving<Wires>| !serving.has_work() && serving.sockets.blocked.is_empty() && serving.takes_input();
            let has_input = self.world.borrow().iter().any(|client| match client.armed {
                _ if client.is_lost => true,
                Some((rest, _)) => client.sent.len() - client.consumed > rest || client.has_ended,
                None => true,
            });
            let are_queues_empty = self.queues.iter().all(VecDeque::is_empty);
            if !has_input && are_queues_empty && self.workers.iter().flatten().all(is_idle) && self.spy.reader.position() == self.log.tail()
            {
                return;
            }
        }
        panic!("seed {}: it never comes to rest", self.seed);
    }

    /// A checkpoint says how much of a session's output is out at some sequence: it must be so.
    fn check_checkpoints(&mut self) {
        self.spy.read(self.log);
        for client in self.world.borrow().iter().filter(|client| !client.is_lost) {
            let Some(checkpoint) = self.log.checkpoint(client.session.cell()).filter(|checkpoint| checkpoint.session == client.session)
            else {
                continue;
            };
            let (told, seed) = (self.spy.told.bytes_before(client.session, checkpoint.sequence), self.seed);
            let is_over = self.spy.chat.session(client.session).is_none();
            assert!(told as u64 == checkpoint.offset || is_over, "seed {seed}: {checkpoint:?} where {told} bytes were told");
            let is_out = client.taken.len() as u64 >= checkpoint.offset;
            assert!(is_out || is_over, "seed {seed}: {checkpoint:?} where {} bytes are out", client.taken.len());
        }
    }

    fn check_end(&mut self) {
        let seed = self.seed;
        let state = self.spy.chat.snapshot();
        for (slot, serving) in self.workers.iter().enumerate() {
            assert!(serving.as_ref().unwrap().chat().snapshot() == state, "seed {seed}: worker {slot} has another state");
        }
        self.gone.append(&mut self.world.borrow_mut());
        for client in &self.gone {
            let session = client.session;
            let told = self.spy.told.bytes.get(&session).map_or(&[][..], Vec::as_slice);
            let is_whole = !client.is_lost && client.finished != Some(Ending::Drop);
            assert!(told.starts_with(&client.taken), "seed {seed}: session {session} was sent something else than the log says");
            assert!(!is_whole || client.taken == told, "seed {seed}: session {session} lacks {} bytes", told.len() - client.taken.len());
            let in_log = self.spy.lines.get(&session).map_or(&[][..], Vec::as_slice);
            let sent = said_by(client);
            let is_all_heard = is_whole && client.finished.is_none();
            assert!(sent.starts_with(in_log), "seed {seed}: session {session}'s lines in the log are not those it sent");
            assert!(
                !is_all_heard || in_log.len() == sent.len(),
                "seed {seed}: session {session} sent {} lines, {} were heard",
                sent.len(),
                in_log.len()
            );
        }
    }
}

/// The lines that a client sent and that are not too long; the last one counts without its LF if it ended its input.
fn said_by(client: &Client) -> Vec<Vec<u8>> {
    let mut lines: Vec<&[u8]> = client.sent.split(|&byte| byte == b'\n').collect();
    let last = lines.pop().unwrap_or_default();
    if client.has_ended && !last.is_empty() {
        lines.push(last);
    }
    lines.into_iter().filter(|line| line.len() < forkchat_common::limits::LINE_BYTES_MAX).map(<[u8]>::to_vec).collect()
}

fn peek(client: &mut Client, lines_max: u64) -> Lines {
    let bytes = &client.sent[client.consumed..];
    let bytes = &bytes[..bytes.len().min(PEEK)];
    let is_all = client.consumed + bytes.len() == client.sent.len();
    let behind = if client.has_ended && is_all { Behind::EndOfInput } else { Behind::More };
    let lines_max = LINES_PER_PEEK.min(usize::try_from(lines_max).unwrap_or(usize::MAX));
    let lines = Lines::of(client.session, bytes, client.consumed as u64, client.in_long_line, behind, lines_max);
    client.in_long_line = lines.in_long_line;
    lines
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn what_clients_get_is_what_the_log_says_whoever_dies() {
    // A ring that wraps many times in a run: a batch of it holds what one peek makes here.
    let log = EventLog::create(Geometry {
        ring_bytes: 6 * 16 * 1024,
        slots: usize::from(WORKERS) + 2,
        sessions_max: CLIENTS_MAX,
        snapshot_bytes_max: 1 << 20,
    })
    .unwrap();
    let seeds = match number("FORKCHAT_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("FORKCHAT_SIM_SEEDS").unwrap_or(1_000),
    };
    let mut crashes = 0;
    for seed in seeds.clone() {
        let mut simulation = Simulation::new(seed, log);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| simulation.run())) {
            eprintln!("FORKCHAT_SIM_SEED={seed} replays this");
            resume_unwind(panic);
        }
        crashes += simulation.crashes;
    }
    assert!(crashes > 0 || seeds.end - seeds.start < 10, "workers were cut off");
}
