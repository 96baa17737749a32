//! Seeded simulation: several workers and a journal run over one real log in one thread, with
//! simulated clients. The same seed gives the same run.
//!
//! Workers and the journal are killed between any two steps: in a turn, in a takeover, in a
//! snapshot, at each I/O action (a write, a consumption, an arming) and at each store to the log's
//! memory. A successor then takes over. A reference reader reads the whole log and renders the
//! output of every client; the clients must have received exactly that.
//!
//! | file | what it holds |
//! |---|---|
//! | `clients` | the actions of the clients |
//! | `checks` | the checks after each step and at the end of a run |
//! | `world` | the clients, and the kernel between the clients and their workers |
//! | `reference` | the output that each client should have received |
//! | `disk` | the journal's two threads, and the entries that they have stored |
//!
//! `FORKCHAT_SIM_SEEDS=100000 cargo test --release -p forkchat-server simulation` runs more,
//! `FORKCHAT_SIM_SEED=7` one.

mod checks;
mod clients;
mod disk;
mod reference;
mod world;

use super::fakes::{dropped, never, origin};
use super::input::Input;
use super::serving::{Serving, ServingConfig};
use super::slow_readers::Bounds;
use super::takeover::{self, Inherited};
use crate::segment::{Geometry, Segment, simulated};
use disk::{Disk, JournalProcess};
use forkchat_common::ids::{Sequence, SessionId, Slot};
use reference::Reference;
use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use world::{Client, Wires, World, peek};

const WORKERS: u16 = 3;
const JOURNAL: Slot = Slot::at(WORKERS);
const REFERENCE: Slot = Slot::at(WORKERS + 1);
const CLIENTS_MAX: usize = 8;
const STEPS: usize = 400;
/// The number of steps of a run in which the ring wraps.
const LONG_STEPS: usize = 2_400;
const SENDQ: usize = 6_000;
/// The bound of all outboxes of a worker together, beyond the memory that each keeps. It is reached
/// now and then.
const TOGETHER: usize = 2_500;
const PEEK: usize = 4_500;
const LINES_PER_PEEK: usize = 4;

/// The only source of randomness: splitmix64.
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

struct Simulation {
    seed: u64,
    /// The negative control: workers consume input before it is in the log.
    reads_first: bool,
    /// The clients send much: the ring wraps, and successors start from snapshots.
    is_long: bool,
    /// Workers write to the kernel through relays.
    has_relays: bool,
    /// Sessions that were more than a quarter of the ring behind: a successor need not be able to
    /// continue them.
    too_far_behind: BTreeSet<SessionId>,
    /// The position through which each worker has flushed, at the last check, by slot.
    flushed: Vec<Sequence>,
    dice: Dice,
    segment: &'static Segment,
    world: World,
    workers: Vec<Option<Serving<Wires>>>,
    queues: Vec<VecDeque<Input<()>>>,
    journal: Option<JournalProcess>,
    disk: Disk,
    reference: Reference,
    serial: u64,
    /// The latest pid of a worker. Each worker process has another.
    pid: u32,
    /// Crashes by slot; the journal's are last.
    crashes: Vec<usize>,
    /// Cells whose sessions are over.
    free: Vec<usize>,
    /// Former clients, whose cells are free again.
    gone: Vec<Client>,
}

fn config(pid: u32) -> ServingConfig {
    ServingConfig {
        pid,
        outboxes: Bounds { sendq: SENDQ, together: TOGETHER },
        rejected_max: 0,
        journal: JOURNAL,
        stopping: never(),
        dropped: dropped(),
        udp: None,
        stand_in: None,
    }
}

impl Simulation {
    fn new(seed: u64, segment: &'static Segment) -> Simulation {
        segment.wipe();
        let world = World::default();
        let reference = Reference::new(segment);
        let mut simulation = Simulation {
            seed,
            reads_first: false,
            is_long: seed % 8 < 2,
            has_relays: seed / 8 % 2 == 1,
            too_far_behind: BTreeSet::new(),
            flushed: vec![Sequence(0); usize::from(WORKERS)],
            dice: Dice(seed),
            segment,
            world,
            workers: (0..WORKERS).map(|_| None).collect(),
            queues: (0..WORKERS).map(|_| VecDeque::new()).collect(),
            journal: None,
            disk: Disk::default(),
            reference,
            serial: 0,
            pid: 0,
            crashes: vec![0; usize::from(WORKERS) + 1],
            free: (0..CLIENTS_MAX).rev().collect(),
            gone: Vec::new(),
        };
        (0..WORKERS).for_each(|slot| simulation.join(Slot::at(slot), None));
        simulation.join_journal(None);
        simulation
    }

    /// Does something that is cut off after this many steps, if it takes as many. `None` if it was
    /// cut off.
    fn try_steps<R>(
        &mut self,
        slot: Slot,
        steps: Option<usize>,
        act: impl FnOnce() -> R,
    ) -> Option<R> {
        simulated::cut_off_after(steps);
        let result = catch_unwind(AssertUnwindSafe(act));
        self.unless_cut_off(slot, result)
    }

    /// The result of an action that may have been cut off; `None` if it was.
    fn unless_cut_off<R>(&mut self, slot: Slot, result: std::thread::Result<R>) -> Option<R> {
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

    /// Starts a worker, which takes over the sessions of its slot. It may be cut off during the
    /// takeover.
    fn join(&mut self, slot: Slot, steps: Option<usize>) {
        self.queues[slot.index()].clear();
        let mut inherited = Vec::new();
        for client in self.world.borrow_mut().iter_mut().filter(|client| client.slot == slot) {
            // State that the predecessor had only in its memory.
            (client.armed, client.in_long_line, client.finished) = (None, false, None);
            client.in_flight.clear();
            inherited.push(Inherited {
                session: client.session,
                origin: origin(1),
                connection: (),
            });
        }
        self.pid += 1;
        let config = config(self.pid);
        let (segment, wires) =
            (self.segment, Wires { world: self.world.clone(), blocked: Vec::new() });
        let joined = self.try_steps(slot, steps, || {
            takeover::join(segment, slot, config, wires, inherited).unwrap()
        });
        self.workers[slot.index()] = joined;
    }

    fn join_journal(&mut self, steps: Option<usize>) {
        simulated::cut_off_after(steps);
        let joined =
            catch_unwind(AssertUnwindSafe(|| JournalProcess::join(self.segment, &self.disk)));
        self.journal = self.unless_cut_off(JOURNAL, joined);
    }

    fn run(&mut self) {
        for _ in 0..if self.is_long { LONG_STEPS } else { STEPS } {
            self.step();
            self.check_checkpoints();
        }
        self.settle();
        self.check_end();
    }

    fn step(&mut self) {
        self.segment.clock.pass_time(1_000);
        match self.dice.roll(100) {
            0..6 => self.arrive(),
            6..30 => self.send_something(),
            30..45 => self.client_reads(),
            45..60 => self.receive(),
            60..80 => {
                let slot = Slot::at(self.dice.roll(WORKERS.into()) as u16);
                self.turn(slot, None);
            }
            80..84 => self.journal_turn(None),
            84..86 => {
                let steps = self.some_steps();
                self.journal_turn(Some(steps));
            }
            86..89 => self.client_ends(),
            89..93 => {
                let (slot, steps) =
                    (Slot::at(self.dice.roll(WORKERS.into()) as u16), self.some_steps());
                self.turn(slot, Some(steps));
            }
            93 => {
                // Between two turns.
                let slot = Slot::at(self.dice.roll(WORKERS.into()) as u16);
                self.crashes[slot.index()] += 1;
                self.workers[slot.index()] = None;
            }
            94..98 => self.drop_ended(),
            98 => self.disk.is_full = self.dice.roll(4) == 0,
            _ => self.reference.read(self.segment),
        }
    }

    /// A number of steps, from the first step of a turn to far after its last.
    fn some_steps(&mut self) -> usize {
        let most = [4, 16, 64, 256][self.dice.roll(4)];
        self.dice.roll(most)
    }

    /// Starts a worker in an empty slot. It may be cut off during the takeover.
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
        self.journal = self.unless_cut_off(JOURNAL, turned);
    }

    /// A receive thread peeks at an armed socket that has input.
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

    /// A worker's turn. It is cut off after this many steps, if it takes as many.
    fn turn(&mut self, slot: Slot, steps: Option<usize>) {
        let taken = self.dice.roll(4);
        let Some(mut serving) = self.workers[slot.index()].take() else {
            return self.respawn(slot);
        };
        let queue = &mut self.queues[slot.index()];
        let inputs: Vec<_> = queue.drain(..taken.min(queue.len())).collect();
        self.workers[slot.index()] = self.try_steps(slot, steps, || {
            inputs.into_iter().for_each(|input| serving.accept(input));
            for session in std::mem::take(&mut serving.sockets().blocked) {
                serving.writable(session);
            }
            serving.rung();
            serving.turn();
            serving
        });
    }

    /// The receive sides have ended the connections that they were ordered to end, and the
    /// supervisor drops these.
    fn drop_ended(&mut self) {
        let mut world = self.world.borrow_mut();
        for client in world.extract_if(.., |client| {
            client.finished.is_some() && self.workers[client.slot.index()].is_some()
        }) {
            self.segment.checkpoints.clear(client.session);
            self.free.push(client.session.cell());
            self.gone.push(client);
        }
    }

    /// Runs everything until no work is left.
    fn settle(&mut self) {
        self.disk.is_full = false;
        for _ in 0..3_000 {
            self.segment.clock.pass_time(1_000);
            let clients = self.world.borrow().len();
            for client in self.world.borrow_mut().iter_mut() {
                client.relay(usize::MAX);
                client.read = client.taken.len();
            }
            (0..clients * 3).for_each(|_| self.receive());
            (0..WORKERS).for_each(|slot| self.turn(Slot::at(slot), None));
            self.journal_turn(None);
            self.reference.read(self.segment);
            self.drop_ended();
            let is_idle = |serving: &Serving<Wires>| {
                !serving.has_work()
                    && serving.outgoing.sockets.blocked.is_empty()
                    && serving.takes_input()
            };
            let is_in_flight =
                self.world.borrow().iter().any(|client| !client.in_flight.is_empty());
            let has_input = self.world.borrow().iter().any(|client| match client.armed {
                Some((rest, _)) => client.sent.len() - client.consumed > rest || client.has_ended,
                None => true,
            });
            let are_queues_empty = self.queues.iter().all(VecDeque::is_empty);
            let are_idle = self.workers.iter().all(|worker| worker.as_ref().is_some_and(is_idle));
            let is_stored =
                self.journal.as_ref().is_some_and(|journal| journal.backlog.oldest().is_none());
            let is_answered = self.reference.chat.requests().next().is_none()
                && self.reference.chat.is_restored();
            let is_read = self.segment.cursors.get(JOURNAL) == Some(self.segment.log.tail());
            if !has_input
                && !is_in_flight
                && are_queues_empty
                && are_idle
                && is_read
                && is_stored
                && is_answered
                && self.reference.reader.position() == self.segment.log.tail()
            {
                return;
            }
        }
        panic!("seed {}: it never comes to rest", self.seed);
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A ring that wraps many times in a run. A batch of it holds the records of one peek.
fn small_log() -> &'static Segment {
    Segment::create(Geometry {
        ring_bytes: 5 * 16 * 1024,
        slots: usize::from(WORKERS) + 2,
        sessions_max: CLIENTS_MAX,
        snapshot_bytes_max: 1 << 20,
    })
    .unwrap()
}

/// Runs the even or the odd seeds: two tests share the processors.
fn run_seeds(oddness: u64) {
    let segment = small_log();
    let seeds = match number("FORKCHAT_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("FORKCHAT_SIM_SEEDS").unwrap_or(6_000),
    };
    let mut crashes = [0; WORKERS as usize + 1];
    let mut wraps = 0;
    for seed in seeds.clone().filter(|seed| seed % 2 == oddness) {
        let mut simulation = Simulation::new(seed, segment);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| simulation.run())) {
            eprintln!("FORKCHAT_SIM_SEED={seed} replays this");
            resume_unwind(panic);
        }
        crashes.iter_mut().zip(simulation.crashes).for_each(|(all, some)| *all += some);
        // More than it held when the run began, so a snapshot was taken.
        wraps += u64::from(
            segment.log.tail().blocks_since(segment.log.first()) > segment.geometry.ring_blocks(),
        );
    }
    assert!(wraps > 0 || seeds.end - seeds.start < 100, "the ring wraps");
    assert!(
        crashes.iter().all(|&crashes| crashes > 0) || seeds.end - seeds.start < 10,
        "every process was cut off: {crashes:?}"
    );
}

#[test]
fn clients_receive_what_the_log_contains_whichever_process_dies() {
    run_seeds(0);
}

#[test]
fn clients_receive_what_the_log_contains_whichever_process_dies_with_odd_seeds() {
    run_seeds(1);
}

#[test]
fn a_worker_that_consumes_before_it_appends_loses_lines() {
    let segment = small_log();
    let fails = |&seed: &u64| {
        let mut simulation = Simulation::new(seed, segment);
        simulation.reads_first = true;
        catch_unwind(AssertUnwindSafe(|| simulation.run())).is_err()
    };
    let failures = (0..100).filter(fails).count();
    assert!(failures > 50, "lines were lost in {failures} of 100 runs");
}
