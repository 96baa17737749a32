//! One row of the table: a shape, put to a server and, for comparison, to the bare broadcaster, slice by slice in turn.

use super::generator::Generator;
use super::ledger::Tally;
use super::progress::Progress;
use super::shape::{Shape, Traffic};
use super::target::{Cpu, Target};
use crate::processes::cpu_of;
use hdrhistogram::Histogram;
use nix::unistd::Pid;
use std::time::{Duration, Instant};

/// How long one side is under load before it is the other's turn.
const SLICE: Duration = Duration::from_millis(500);
/// Not measured: memory is touched for the first time, buffers grow.
const WARM_UP: Duration = Duration::from_millis(300);
/// The same of a quiet server: it still has to do with those who came.
const QUIET_DOWN: Duration = Duration::from_secs(2);
/// How long memory may take to stand still.
const MEMORY_SETTLES: Duration = Duration::from_secs(2);
/// With more than this share of a core for itself, the load generator was the limit.
const GENERATOR_SHARE_MAX: f64 = 0.9;

/// A server and the clients that put it under load.
#[derive(Debug)]
pub struct Side {
    /// Let go of before the target: a server that is told to stop waits for its clients.
    generator: Generator,
    target: Target,
    memory_per_connection: Option<f64>,
    slices: Vec<Slice>,
}

/// What was measured in one slice.
#[derive(Clone, Copy, Debug, Default)]
struct Slice {
    wall: Duration,
    cpu: Option<Cpu>,
    generator: Duration,
    deliveries: u64,
    lines: u64,
    logins: u64,
}

/// What came of one side.
#[derive(Debug)]
pub struct Outcome {
    /// Connections that were there to the end, or logged in at a time.
    pub connections: usize,
    /// Deliveries, or logins in a storm.
    pub units: u64,
    /// Lines that were said.
    pub lines: u64,
    /// Logins while it was measured.
    pub logins: u64,
    /// Units a second.
    pub per_second: f64,
    /// CPU time of the server without the journal, in µs a unit.
    pub cpu_micros: Option<f64>,
    /// CPU time of the journal, in µs a line.
    pub journal_micros: Option<f64>,
    /// The same of each slice, in order.
    pub cpu_micros_of_slices: Vec<f64>,
    /// CPU time of the server, journal included, as a share of one core.
    pub server_share: Option<f64>,
    /// The same of the load generator.
    pub generator_share: f64,
    /// Latencies, in ns.
    pub latency: Histogram<u64>,
    /// What was not as it should be.
    pub tally: Tally,
    /// Connections that the server ended.
    pub dropped: u64,
    /// Growth of the server's memory over the empty server, by connection, in KiB.
    pub memory_per_connection: Option<f64>,
    /// Faults that the bare broadcaster was asked to make, and made.
    pub faults: Option<u64>,
}

impl Side {
    /// Connects everyone who is to stay, and warms up.
    pub fn begin(target: Target, shape: Shape) -> Result<Side, String> {
        let empty = settled_memory(&target);
        let mut generator = Generator::new(&target, shape)?;
        generator.enter()?;
        let memory_per_connection = match empty {
            Some(empty) if shape.traffic != Traffic::Storm => {
                settled_memory(&target).map(|full| full.saturating_sub(empty) as f64 / shape.connections() as f64)
            }
            _ => None,
        };
        generator.slice(if shape.traffic == Traffic::Quiet { QUIET_DOWN } else { WARM_UP })?;
        generator.after_slice()?;
        generator.count.latency.reset();
        Ok(Side { target, generator, memory_per_connection, slices: Vec::new() })
    }

    fn slice(&mut self) -> Result<(), String> {
        let before = self.reading();
        let start = Instant::now();
        self.generator.slice(SLICE)?;
        let wall = start.elapsed();
        let after = self.reading();
        let cpu = after.cpu.zip(before.cpu).map(|(after, before)| Cpu {
            server: after.server.saturating_sub(before.server),
            journal: after.journal.saturating_sub(before.journal),
        });
        self.slices.push(Slice {
            wall,
            cpu,
            generator: after.generator - before.generator,
            deliveries: after.deliveries - before.deliveries,
            lines: after.lines - before.lines,
            logins: after.logins - before.logins,
        });
        self.generator.after_slice()
    }

    /// All counters as they stand.
    fn reading(&self) -> Slice {
        let count = &self.generator.count;
        Slice {
            wall: Duration::ZERO,
            cpu: self.target.cpu(),
            generator: cpu_of(Pid::this()),
            deliveries: count.deliveries,
            lines: self.generator.lines(),
            logins: count.logins,
        }
    }

    fn wall(&self) -> Duration {
        self.slices.iter().map(|slice| slice.wall).sum()
    }

    fn end(self, shape: &Shape) -> Outcome {
        let tally = self.generator.finish();
        let is_storm = shape.traffic == Traffic::Storm;
        let units_of = |slice: &Slice| if is_storm { slice.logins } else { slice.deliveries };
        let wall = self.wall().as_secs_f64();
        let sum = |part: fn(&Slice) -> Option<Duration>| self.slices.iter().map(part).sum::<Option<Duration>>();
        let server = sum(|slice| slice.cpu.map(|cpu| cpu.server));
        let journal = sum(|slice| slice.cpu.map(|cpu| cpu.journal));
        let generator = sum(|slice| Some(slice.generator)).unwrap_or_default();
        let (units, lines) = (self.slices.iter().map(units_of).sum(), self.slices.iter().map(|slice| slice.lines).sum());
        let count = self.generator.end();
        let micros = |time: Duration, units: u64| (units > 0).then(|| time.as_secs_f64() * 1e6 / units as f64);
        Outcome {
            connections: shape.connections(),
            units,
            lines,
            logins: self.slices.iter().map(|slice| slice.logins).sum(),
            per_second: units as f64 / wall,
            cpu_micros: server.and_then(|time| micros(time, units)),
            journal_micros: journal.and_then(|time| micros(time, lines)),
            cpu_micros_of_slices: self.slices.iter().filter_map(|slice| micros(slice.cpu?.server, units_of(slice))).collect(),
            server_share: server.zip(journal).map(|(server, journal)| (server + journal).as_secs_f64() / wall),
            generator_share: generator.as_secs_f64() / wall,
            latency: count.latency,
            tally,
            dropped: count.dropped,
            memory_per_connection: self.memory_per_connection,
            faults: self.target.faults(),
        }
    }
}

impl Outcome {
    /// Whether the load generator, and not the server, was what it could not go faster than.
    pub fn is_limited_by_generator(&self) -> bool {
        self.generator_share > GENERATOR_SHARE_MAX
    }

    /// Whether nothing was lost, and nothing came that should not.
    pub fn is_clean(&self) -> bool {
        self.tally.is_clean() && self.dropped == 0
    }

    /// A quantile of the latencies, in ms; `None` if there are none.
    pub fn latency_ms(&self, quantile: f64) -> Option<f64> {
        (!self.latency.is_empty()).then(|| self.latency.value_at_quantile(quantile) as f64 / 1e6)
    }

    /// How many times another's CPU time a unit this one's is: the median of the slices, pair by pair.
    pub fn times_cpu_of(&self, other: &Outcome) -> Option<f64> {
        let pairs = self.cpu_micros_of_slices.iter().zip(&other.cpu_micros_of_slices);
        let mut ratios: Vec<f64> = pairs.map(|(own, others)| own / others).collect();
        ratios.sort_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied()
    }
}

/// Puts all sides under load in turn, each for so long in all.
pub fn measure(mut sides: Vec<Side>, shape: &Shape, each: Duration, progress: &Progress) -> Result<Vec<Outcome>, String> {
    while sides.iter().any(|side| side.wall() < each) {
        for side in &mut sides {
            let before = side.wall();
            side.slice()?;
            progress.pass(side.wall() - before);
        }
    }
    Ok(sides.into_iter().map(|side| side.end(shape)).collect())
}

/// Its memory in KiB once it has stopped changing, if it can be seen.
fn settled_memory(target: &Target) -> Option<u64> {
    let deadline = Instant::now() + MEMORY_SETTLES;
    let mut before = target.memory_kib()?;
    loop {
        std::thread::sleep(Duration::from_millis(50));
        let now = target.memory_kib()?;
        if now.abs_diff(before) * 500 <= before || Instant::now() > deadline {
            return Some(now);
        }
        before = now;
    }
}
