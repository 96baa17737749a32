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

/// How long one side is under load before it is the other's turn, and into how many slices a short run is cut.
const SLICE_MAX: Duration = Duration::from_millis(500);
const SLICES_MIN: u32 = 8;
/// Not measured: memory is touched for the first time, buffers grow.
const WARM_UP: Duration = Duration::from_millis(300);
/// The same of a quiet server: it still has to do with those who came.
const QUIET_DOWN: Duration = Duration::from_secs(2);
/// How long memory may take to stand still.
const MEMORY_SETTLES: Duration = Duration::from_secs(2);
/// With more than this share of a core for itself, the load generator was the limit.
const GENERATOR_SHARE_MAX: f64 = 0.9;
/// With more than this share of all CPUs for both, the machine was the limit.
const CPUS_SHARE_MAX: f64 = 0.95;
/// An open loop that has said less than this share of what it was to say did not keep its rate.
const RATE_SHARE_MIN: f64 = 0.95;

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
    /// CPU time of the server without the journal in each slice, in order, in µs a unit; `None` for a slice without units.
    pub cpu_micros_of_slices: Vec<Option<f64>>,
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
    /// In an open loop, how much of what was to be said was said in time.
    pub rate_share: Option<f64>,
    /// What a server of our own warned of.
    pub complaints: Vec<String>,
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
        let warm_up = if shape.traffic == Traffic::Quiet { QUIET_DOWN } else { WARM_UP };
        generator.slice(warm_up, warm_up)?;
        generator.after_slice()?;
        generator.count.latency.reset();
        Ok(Side { target, generator, memory_per_connection, slices: Vec::new() })
    }

    fn slice(&mut self, min: Duration, max: Duration) -> Result<(), String> {
        let before = self.reading();
        let start = Instant::now();
        self.generator.slice(min, max)?;
        let wall = start.elapsed().saturating_sub(std::mem::take(&mut self.generator.silence));
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

    fn end(mut self, shape: &Shape) -> Result<Outcome, String> {
        let tally = self.generator.finish();
        let is_storm = shape.traffic == Traffic::Storm;
        let units_of = |slice: &Slice| if is_storm { slice.logins } else { slice.deliveries };
        let wall = self.wall().as_secs_f64();
        let sum = |part: fn(&Slice) -> Option<Duration>| self.slices.iter().map(part).sum::<Option<Duration>>();
        let server = sum(|slice| slice.cpu.map(|cpu| cpu.server));
        let journal = sum(|slice| slice.cpu.map(|cpu| cpu.journal));
        let generator = sum(|slice| Some(slice.generator)).unwrap_or_default();
        let (units, lines) = (self.slices.iter().map(units_of).sum(), self.slices.iter().map(|slice| slice.lines).sum());
        let count = self.generator.take_count()?;
        drop(self.generator);
        let micros = |time: Duration, units: u64| (units > 0).then(|| time.as_secs_f64() * 1e6 / units as f64);
        let rate_share = match shape.traffic {
            Traffic::Rate(rate) => Some(lines as f64 / wall / rate),
            _ => None,
        };
        let (complaints, faults) = self.target.end();
        Ok(Outcome {
            connections: shape.connections(),
            units,
            lines,
            logins: self.slices.iter().map(|slice| slice.logins).sum(),
            per_second: units as f64 / wall,
            cpu_micros: server.and_then(|time| micros(time, units)),
            journal_micros: journal.and_then(|time| micros(time, lines)),
            cpu_micros_of_slices: self.slices.iter().map(|slice| micros(slice.cpu?.server, units_of(slice))).collect(),
            server_share: server.zip(journal).map(|(server, journal)| (server + journal).as_secs_f64() / wall),
            generator_share: generator.as_secs_f64() / wall,
            latency: count.latency,
            tally,
            dropped: count.dropped,
            memory_per_connection: self.memory_per_connection,
            rate_share,
            complaints,
            faults,
        })
    }
}

impl Outcome {
    /// Whether the load generator, and not the server, was what it could not go faster than.
    pub fn is_limited_by_generator(&self) -> bool {
        self.generator_share > GENERATOR_SHARE_MAX
    }

    /// Whether server and load generator together left next to nothing of the machine's CPUs.
    pub fn has_used_all_cpus(&self) -> bool {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        self.server_share.is_some_and(|share| share + self.generator_share > CPUS_SHARE_MAX * cpus)
    }

    /// Whether an open loop could not say what it was to say.
    pub fn missed_its_rate(&self) -> bool {
        self.rate_share.is_some_and(|share| share < RATE_SHARE_MIN)
    }

    /// Whether nothing was lost, nothing came that should not, and no process of the server died.
    pub fn is_clean(&self) -> bool {
        self.tally.is_clean() && self.dropped == 0 && self.complaints.is_empty()
    }

    /// A quantile of the latencies, in ms; `None` if there are none.
    pub fn latency_ms(&self, quantile: f64) -> Option<f64> {
        (!self.latency.is_empty()).then(|| self.latency.value_at_quantile(quantile) as f64 / 1e6)
    }

    /// How many times another's CPU time a unit this one's is: the median of the slices, pair by pair.
    pub fn times_cpu_of(&self, other: &Outcome) -> Option<f64> {
        let pairs = self.cpu_micros_of_slices.iter().zip(&other.cpu_micros_of_slices);
        let mut ratios: Vec<f64> = pairs.filter_map(|(own, others)| Some((*own)? / (*others)?)).collect();
        ratios.sort_by(f64::total_cmp);
        median(&ratios)
    }
}

/// Puts all sides under load in turn, each for so long in all.
pub fn measure(mut sides: Vec<Side>, shape: &Shape, each: Duration, progress: &Progress) -> Result<Vec<Outcome>, String> {
    let slice = SLICE_MAX.min(each / SLICES_MIN);
    while sides.iter().any(|side| side.wall() < each) {
        for side in &mut sides {
            let before = side.wall();
            side.slice(slice, each.saturating_sub(before).max(slice))?;
            progress.pass(side.wall() - before);
        }
    }
    sides.into_iter().map(|side| side.end(shape)).collect()
}

/// The middle of sorted numbers, or of the middle two; `None` if there are none.
fn median(sorted: &[f64]) -> Option<f64> {
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get((sorted.len() - 1) / 2)?;
    Some((lower + upper) / 2.0)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_two() {
        assert_eq!([&[][..], &[1.0], &[1.0, 2.0], &[1.0, 2.0, 9.0]].map(median), [None, Some(1.0), Some(1.5), Some(2.0)]);
    }
}
