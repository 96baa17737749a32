//! Seeded simulation: several workers and a journal over one real log in one thread, with simulated clients. One seed, one run.
//!
//! Workers and the journal die between any two steps: in a turn, in a takeover, in a snapshot, at each thing that one does outside (a write, a
//! consumption, an arming) and at each store in the log's memory it may be cut off. A successor takes over. A spy reads the whole log and renders everything for everyone; what the clients got must be that.
//!
//! `FORKCHAT_SIM_SEEDS=100000 cargo test --release -p forkchat-server simulation` runs more, `FORKCHAT_SIM_SEED=7` one.

use super::input::{Behind, Input, Lines};
use super::serving::{Serving, ServingConfig};
use super::sockets::{Sockets, Written};
use super::takeover::Inherited;
use crate::chat::{Chat, Ending, Fact, Forms, Kept, Output, PastLine, RateLimit, Record};
use crate::event_log::{self, EventLog, Geometry, Reader, simulated, step};
use crate::journal::store::{Entry, Line, Topic};
use crate::journal::{Backlog, Journal, JournalConfig, Prepared, Request, Tally};
use crate::sys::tcp_position::Positions;
use forkchat_common::ids::{Sequence, SessionId, Slot};
use forkchat_common::wire::line::Stamp;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

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
    /// As its worker knows it.
    in_long_line: bool,
    /// What the receive side was ordered to do, if it was.
    finished: Option<Ending>,
    /// Whether it was ever ordered to be dropped.
    is_dropped: bool,
}

type World = Rc<RefCell<Vec<Client>>>;

/// A worker's outside.
struct Wires {
    world: World,
    blocked: Vec<SessionId>,
}

impl Wires {
    fn with<R>(&self, session: SessionId, act: impl FnOnce(&mut Client) -> R) -> Option<R> {
        self.world.borrow_mut().iter_mut().find(|client| client.session == session).map(act)
    }
}

impl Sockets for Wires {
    type Connection = ();

    fn add(&mut self, _: SessionId, (): ()) {}
    fn add_peer(&mut self, _: SessionId, _: SocketAddr) {}

    fn write(&mut self, session: SessionId, bytes: &[u8], _: u64) -> Written {
        step();
        let written = self.with(session, |client| {
            let room = client.kernel_bytes_max - (client.taken.len() - client.read);
            let length = room.min(bytes.len());
            client.taken.extend_from_slice(&bytes[..length]);
            length
        });
        // Cut off behind the write, too: the kernel has the bytes, nobody knows.
        step();
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
        step();
        self.with(session, |client| client.consumed += len);
    }

    fn arm(&mut self, session: SessionId, lines_max: u64) -> bool {
        step();
        self.with(session, |client| client.armed = Some((0, lines_max)));
        true
    }

    fn finish(&mut self, session: SessionId, ending: Ending) {
        step();
        self.with(session, |client| {
            client.finished = Some(ending);
            client.is_dropped |= ending == Ending::Drop;
        });
    }

    fn positions(&mut self, session: SessionId) -> Positions {
        step();
        let read = |client: &mut Client| (client.consumed as u64, client.taken.len() as u64);
        let (taken, handed_over) = self.with(session, read).unwrap_or_default();
        Positions { taken, handed_over, is_closed: false }
    }

    fn resume_input(&mut self, session: SessionId, taken: u64, in_long_line: bool) {
        step();
        self.with(session, |client| {
            assert_eq!(client.consumed as u64, taken);
            client.in_long_line = in_long_line;
        });
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
    /// The record that is applied.
    at: Sequence,
    /// What is to be stored, and where it was said.
    kept: Vec<(Sequence, String)>,
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
    fn kept(&mut self, kept: &Kept<'_>) {
        let (Kept::Line { text, .. } | Kept::Topic { text, .. }) = kept;
        self.kept.push((self.at, (*text).to_owned()));
    }
    fn begin(&mut self, stamp: Stamp) {
        self.at = stamp.id;
    }
}

impl Told {
    fn bytes_before(&self, session: SessionId, sequence: Sequence) -> usize {
        let marks = self.marks.get(&session).map_or(&[][..], Vec::as_slice);
        marks.iter().rev().find(|(end, _)| *end <= sequence).map_or(0, |(_, told)| *told)
    }
}

impl Spy {
    fn read(&mut self, log: &EventLog) {
        for event_log::Entry { sequence, end, time, payload } in self.reader.fetch(u64::MAX) {
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
    /// The negative control.
    reads_first: bool,
    dice: Dice,
    log: &'static EventLog,
    world: World,
    workers: Vec<Option<Serving<Wires>>>,
    queues: Vec<VecDeque<Input<()>>>,
    journal: Option<JournalProcess>,
    disk: Disk,
    spy: Spy,
    serial: u64,
    /// By slot, then the journal's.
    crashes: Vec<usize>,
    /// Cells whose sessions are over.
    free: Vec<usize>,
    /// All that ever were, when their cell is free again.
    gone: Vec<Client>,
}

fn config() -> ServingConfig {
    ServingConfig { rate_limit: RateLimit::OFF, sendq: SENDQ, turn_away_max: 0, journal: JOURNAL, udp: None }
}

/// What the journal has stored: it outlives it.
struct Disk {
    entries: Vec<Entry>,
    reached: Sequence,
    tally: &'static Tally,
    is_full: bool,
}

/// A journal's two threads, taking turns.
struct JournalProcess {
    reading: Journal,
    backlog: Arc<Backlog>,
}

impl JournalProcess {
    fn join(log: &'static EventLog, disk: &Disk) -> JournalProcess {
        let backlog = Arc::new(Backlog::new(disk.tally));
        let data_dir = Some("/nowhere".into());
        let config = JournalConfig { rate_limit: RateLimit::OFF, workers: WORKERS, data_dir, lines_max: 0, tally: disk.tally };
        JournalProcess { reading: Journal::join(log, JOURNAL, &config, backlog.clone()).unwrap(), backlog }
    }

    /// What the storing thread does, with a disk that fails now and then.
    fn store(&self, disk: &mut Disk) {
        self.backlog.found_topics(vec![Topic {
            sequence: Sequence(1),
            room: "#kept".into(),
            room_key: "#kept".into(),
            text: "tea".into(),
        }]);
        let entries = self.backlog.take();
        step();
        if disk.is_full {
            self.backlog.not_stored(entries);
        } else {
            let is_new = |entry: &&Entry| entry.sequence() > disk.reached && !matches!(entry, Entry::Gap { .. });
            disk.entries.extend(entries.iter().filter(is_new).cloned());
            disk.reached = disk.reached.max(entries.last().map_or(Sequence(0), Entry::sequence));
            step();
            self.backlog.stored(&entries);
        }
        while let Some(Request { question, room_key, more, behind }) = self.backlog.take_request() {
            let stored = disk.entries.iter().filter_map(|entry| if let Entry::Line(line) = entry { Some(line) } else { None });
            let stored = stored.filter(|line| line.room_key == room_key && line.sequence < question).cloned();
            let waiting = self.backlog.waiting_lines(&room_key, question);
            let mut lines: Vec<_> = stored.chain(waiting.into_iter().filter(|line| line.sequence > disk.reached)).collect();
            lines.drain(..lines.len().saturating_sub(more));
            lines.retain(|line| line.sequence > behind);
            let part = &lines[..lines.len().min(2)];
            let mut bytes = Vec::new();
            for Line { sequence, time, nick, is_action, text, .. } in part {
                PastLine { sequence: *sequence, time: *time, nick, is_action: *is_action, text }.encode(&mut bytes);
            }
            let since = (part.len() == lines.len()).then_some(Sequence(0));
            self.backlog.prepare(Prepared { question, behind, lines: bytes, since });
        }
    }
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
            reads_first: false,
            dice: Dice(seed),
            log,
            world,
            workers: (0..WORKERS).map(|_| None).collect(),
            queues: (0..WORKERS).map(|_| VecDeque::new()).collect(),
            journal: None,
            disk: Disk { entries: Vec::new(), reached: Sequence(0), tally: Box::leak(Box::default()), is_full: false },
            spy,
            serial: 0,
            crashes: vec![0; usize::from(WORKERS) + 1],
            free: (0..CLIENTS_MAX).rev().collect(),
            gone: Vec::new(),
        };
        (0..WORKERS).for_each(|slot| simulation.join(Slot(slot), None));
        simulation.join_journal(None);
        simulation
    }

    /// Does something that may be cut off after so many steps. `None` if it was.
    fn cut_off<R>(&mut self, slot: Slot, steps: Option<usize>, act: impl FnOnce() -> R) -> Option<R> {
        simulated::cut_off_after(steps);
        let result = catch_unwind(AssertUnwindSafe(act));
        self.survived(slot, result)
    }

    /// What somebody did who may have been cut off.
    fn survived<R>(&mut self, slot: Slot, result: std::thread::Result<R>) -> Option<R> {
        simulated::cut_off_after(None);
        match result {
            Ok(done) => Some(done),
            Err(payload) if payload.is::<simulated::CutOff>() => {
                self.crashes[slot.index()] += 1;
                None
            }
            Err(payload) => resume_unwind(payload),
        }
    }

    /// A worker starts, and takes over what the supervisor kept. It may be cut off while it does.
    fn join(&mut self, slot: Slot, steps: Option<usize>) {
        self.queues[slot.index()].clear();
        let mut inherited = Vec::new();
        for client in self.world.borrow_mut().iter_mut().filter(|client| client.slot == slot) {
            // What its predecessor had only in its memory.
            (client.armed, client.in_long_line, client.finished) = (None, false, None);
            let peer = SocketAddr::from(([127, 0, 0, 1], 1));
            inherited.push(Inherited { session: client.session, peer, connection: () });
        }
        let (log, wires) = (self.log, Wires { world: self.world.clone(), blocked: Vec::new() });
        let joined = self.cut_off(slot, steps, || Serving::join(log, slot, config(), wires, inherited).unwrap());
        self.workers[slot.index()] = joined;
    }

    fn join_journal(&mut self, steps: Option<usize>) {
        simulated::cut_off_after(steps);
        let joined = catch_unwind(AssertUnwindSafe(|| JournalProcess::join(self.log, &self.disk)));
        self.journal = self.survived(JOURNAL, joined);
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
            60..80 => {
                let slot = Slot(self.dice.roll(WORKERS.into()) as u16);
                self.turn(slot, None);
            }
            80..84 => self.journal_turn(None),
            84..86 => {
                let steps = self.some_steps();
                self.journal_turn(Some(steps));
            }
            86..89 => self.client_ends(),
            89..93 => {
                let (slot, steps) = (Slot(self.dice.roll(WORKERS.into()) as u16), self.some_steps());
                self.turn(slot, Some(steps));
            }
            93 => {
                // Between two turns.
                let slot = Slot(self.dice.roll(WORKERS.into()) as u16);
                self.crashes[slot.index()] += 1;
                self.workers[slot.index()] = None;
            }
            94..98 => self.let_go(),
            98 => self.disk.is_full = self.dice.roll(4) == 0,
            _ => self.spy.read(self.log),
        }
    }

    /// From the first thing that a turn does to far behind its last.
    fn some_steps(&mut self) -> usize {
        let most = [4, 16, 64, 256][self.dice.roll(4)];
        self.dice.roll(most)
    }

    /// A slot without a worker gets one, which may be cut off while it takes over.
    fn respawn(&mut self, slot: Slot) {
        let steps = (self.dice.roll(3) == 0).then(|| self.some_steps());
        self.join(slot, steps);
    }

    fn journal_turn(&mut self, steps: Option<usize>) {
        let Some(mut journal) = self.journal.take() else { return self.join_journal(steps) };
        let (stores_first, disk) = (self.dice.roll(2) == 0, &mut self.disk);
        simulated::cut_off_after(steps);
        let turned = catch_unwind(AssertUnwindSafe(|| {
            if stores_first {
                journal.store(disk);
            }
            journal.reading.turn();
            journal
        }));
        self.journal = self.survived(JOURNAL, turned);
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
            is_dropped: false,
        };
        if self.dice.roll(2) == 0 {
            client.sent.extend_from_slice(format!("/nick early{}\nhello\nhal", self.dice.roll(3)).as_bytes());
        }
        // Without a worker it waits for the next.
        if self.workers[slot.index()].is_some() {
            let lines = peek(&mut client, LINES_PER_PEEK as u64, self.reads_first);
            let peer = SocketAddr::from(([127, 0, 0, 1], 1));
            self.queues[slot.index()].push_back(Input::Opened { session, peer, connection: (), lines });
        }
        self.world.borrow_mut().push(client);
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
            10 => "/history 5\nbehind the history\n".to_owned(),
            11 => format!("/topic about {number}\n"),
            8 if self.dice.roll(4) == 0 => "/quit\nunheard\n".to_owned(),
            9 => format!("{}\n", "words ".repeat(self.dice.roll(200))),
            _ => format!("said {number}\n"),
        };
        let client = &mut self.world.borrow_mut()[index];
        if !client.has_ended {
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
        if client.finished.is_some() || !has_news {
            return;
        }
        let lines = peek(client, lines_max, self.reads_first);
        if lines.is_empty() {
            client.consumed += lines.consume;
            client.armed = Some((lines.rest, lines_max));
        } else {
            client.armed = None;
            let input = Input::Lines { session: client.session, lines };
            self.queues[client.slot.index()].push_back(input);
        }
    }

    /// A worker's turn; it is cut off after so many steps, if there are as many.
    fn turn(&mut self, slot: Slot, steps: Option<usize>) {
        let taken = self.dice.roll(4);
        let Some(mut serving) = self.workers[slot.index()].take() else { return self.respawn(slot) };
        let queue = &mut self.queues[slot.index()];
        let inputs: Vec<_> = queue.drain(..taken.min(queue.len())).collect();
        self.workers[slot.index()] = self.cut_off(slot, steps, || {
            inputs.into_iter().for_each(|input| serving.accept(input));
            for session in std::mem::take(&mut serving.sockets.blocked) {
                serving.writable(session);
            }
            serving.rung();
            serving.turn();
            serving
        });
    }

    /// The receive sides have ended the connections that they were told to end, and the supervisor lets go of them.
    fn let_go(&mut self) {
        let mut world = self.world.borrow_mut();
        for client in world.extract_if(.., |client| client.finished.is_some() && self.workers[client.slot.index()].is_some()) {
            self.log.clear_checkpoint(client.session);
            self.free.push(client.session.cell());
            self.gone.push(client);
        }
    }

    /// Everything goes on until nothing is left to do.
    fn settle(&mut self) {
        self.disk.is_full = false;
        for _ in 0..3_000 {
            self.log.pass_time(1_000);
            let clients = self.world.borrow().len();
            for client in self.world.borrow_mut().iter_mut() {
                client.read = client.taken.len();
            }
            (0..clients * 3).for_each(|_| self.receive());
            (0..WORKERS).for_each(|slot| self.turn(Slot(slot), None));
            self.journal_turn(None);
            self.spy.read(self.log);
            self.let_go();
            let is_idle = |serving: &Serving<Wires>| !serving.has_work() && serving.sockets.blocked.is_empty() && serving.takes_input();
            let has_input = self.world.borrow().iter().any(|client| match client.armed {
                Some((rest, _)) => client.sent.len() - client.consumed > rest || client.has_ended,
                None => true,
            });
            let are_queues_empty = self.queues.iter().all(VecDeque::is_empty);
            let are_idle = self.workers.iter().all(|worker| worker.as_ref().is_some_and(is_idle));
            let is_stored = self.journal.as_ref().is_some_and(|journal| journal.backlog.oldest().is_none());
            let is_answered = self.spy.chat.questions().next().is_none() && self.spy.chat.is_restored();
            if !has_input && are_queues_empty && are_idle && is_stored && is_answered && self.spy.reader.position() == self.log.tail() {
                return;
            }
        }
        panic!("seed {}: it never comes to rest", self.seed);
    }

    /// A checkpoint says how much of a session's output is out at some sequence: it must be so.
    fn check_checkpoints(&mut self) {
        self.spy.read(self.log);
        for client in self.world.borrow().iter() {
            let Some(checkpoint) = self.log.effective_checkpoint(client.session) else { continue };
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
        let stored: Vec<_> = self.disk.entries.iter().map(|entry| (entry.sequence(), text_of(entry).to_owned())).collect();
        if self.disk.tally.skipped.load(Ordering::Relaxed) == 0 {
            assert!(stored == self.spy.told.kept, "seed {seed}: what was said is stored, each line once, in order");
        } else {
            assert!(stored.iter().all(|entry| self.spy.told.kept.contains(entry)), "seed {seed}: what is stored was said");
        }
        self.gone.append(&mut self.world.borrow_mut());
        for client in &self.gone {
            let session = client.session;
            let told = self.spy.told.bytes.get(&session).map_or(&[][..], Vec::as_slice);
            let is_whole = !client.is_dropped;
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

fn text_of(entry: &Entry) -> &str {
    match entry {
        Entry::Line(line) => &line.text,
        Entry::Topic(topic) => &topic.text,
        Entry::Gap { .. } => "",
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

/// A receive thread looks. One that reads first takes what it sees out of the kernel at once, as no server should.
fn peek(client: &mut Client, lines_max: u64, reads_first: bool) -> Lines {
    let bytes = &client.sent[client.consumed..];
    let bytes = &bytes[..bytes.len().min(PEEK)];
    let is_all = client.consumed + bytes.len() == client.sent.len();
    let behind = if client.has_ended && is_all { Behind::EndOfInput } else { Behind::More };
    let lines_max = LINES_PER_PEEK.min(usize::try_from(lines_max).unwrap_or(usize::MAX));
    let mut lines = Lines::of(client.session, bytes, client.consumed as u64, client.in_long_line, behind, lines_max);
    client.in_long_line = lines.in_long_line;
    if reads_first {
        client.consumed += std::mem::take(&mut lines.consume);
    }
    lines
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A ring that wraps many times in a run: a batch of it holds what one peek makes here.
fn small_log() -> &'static EventLog {
    EventLog::create(Geometry {
        ring_bytes: 6 * 16 * 1024,
        slots: usize::from(WORKERS) + 2,
        sessions_max: CLIENTS_MAX,
        snapshot_bytes_max: 1 << 20,
    })
    .unwrap()
}

/// Runs the even seeds or the odd ones: the two share the processors.
fn run_seeds(oddness: u64) {
    let log = small_log();
    let seeds = match number("FORKCHAT_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("FORKCHAT_SIM_SEEDS").unwrap_or(10_000),
    };
    let mut crashes = [0; WORKERS as usize + 1];
    for seed in seeds.clone().filter(|seed| seed % 2 == oddness) {
        let mut simulation = Simulation::new(seed, log);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| simulation.run())) {
            eprintln!("FORKCHAT_SIM_SEED={seed} replays this");
            resume_unwind(panic);
        }
        crashes.iter_mut().zip(simulation.crashes).for_each(|(all, some)| *all += some);
    }
    assert!(crashes.iter().all(|&crashes| crashes > 0) || seeds.end - seeds.start < 10, "everyone was cut off: {crashes:?}");
}

#[test]
fn what_clients_get_is_what_the_log_says_whoever_dies() {
    run_seeds(0);
}

#[test]
fn what_clients_get_is_what_the_log_says_whoever_dies_with_odd_seeds() {
    run_seeds(1);
}

#[test]
fn a_worker_that_reads_first_and_commits_then_loses_lines() {
    let log = small_log();
    let fails = |&seed: &u64| {
        let mut simulation = Simulation::new(seed, log);
        simulation.reads_first = true;
        catch_unwind(AssertUnwindSafe(|| simulation.run())).is_err()
    };
    let failures = (0..100).filter(fails).count();
    assert!(failures > 50, "in {failures} of 100 runs lines were missed");
}
