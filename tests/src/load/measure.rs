//! One row of the table: a shape is put to a server and, for comparison, to the bare broadcaster,
//! slice by slice in turn. Also the summary of several samples, and the measurement of a kill.

use super::connection_table::ConnectionTable;
use super::generator::{Cost, Generator};
use super::progress::Progress;
use super::sequence_tracker::Tally;
use super::shape::{Shape, Traffic};
use super::target::{Cpu, Target};
use crate::processes::{Memory, cpu_of};
use hdrhistogram::Histogram;
use nix::unistd::Pid;
use std::time::{Duration, Instant};

/// How long one side is under load before it is the other's turn, and the least number of slices of
/// a short run.
const SLICE_MAX: Duration = Duration::from_millis(500);
const SLICES_MIN: u32 = 8;
/// How long memory may take to settle.
const MEMORY_SETTLES: Duration = Duration::from_secs(2);
/// If the load generator uses more than this share of a core, it was the limit.
const GENERATOR_SHARE_MAX: f64 = 0.9;
/// If server and load generator use more than this share of all CPUs, the machine was the limit.
const CPUS_SHARE_MAX: f64 = 0.95;
/// An open loop that has sent less than this share of its lines did not keep its rate.
const RATE_SHARE_MIN: f64 = 0.95;
/// Server or machine stood still if a delivery took longer than this, in ms, and this many times
/// longer than usual.
const STALL_MS_MIN: f64 = 200.0;
const STALL_TIMES_MIN: f64 = 20.0;
/// A slice with a kill takes at least this long, so that there is steady traffic before it and
/// after it.
const KILL_SLICE_MIN: Duration = Duration::from_millis(300);
/// How long a client may wait, after a kill, for a line.
const RECOVERY_MAX: Duration = Duration::from_secs(8);

/// How long each part of a measurement takes.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long each side is under load.
    pub each: Duration,
    /// The time under load before the measurement, in which memory is touched for the first time
    /// and buffers grow.
    pub warm_up: Duration,
    /// The same for silent clients: the server is still busy with their logins.
    pub quiet_down: Duration,
    /// The time limit of a side, all in all.
    pub limit: Option<Duration>,
    /// Whether memory is measured under every load, or only of clients that are silent. It takes a
    /// moment to settle.
    pub measures_memory: bool,
}

impl Timing {
    /// This long under load, without a time limit.
    pub fn of(each: Duration) -> Timing {
        Timing {
            each,
            warm_up: Duration::from_millis(300),
            quiet_down: Duration::from_secs(2),
            limit: None,
            measures_memory: true,
        }
    }
}

/// A server and the clients that put it under load.
#[derive(Debug)]
pub struct Side {
    /// Dropped before the target, since a server that stops waits for its clients.
    generator: Generator,
    target: Target,
    usage: Usage,
    slices: Vec<Slice>,
}

/// What a server uses when all clients are connected.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    /// Growth of its memory since it had no clients.
    memory: Option<Memory>,
    /// Processes and threads.
    process_counts: Option<(usize, usize)>,
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

/// The result of one side, or the summary of several samples.
#[derive(Debug)]
pub struct Outcome {
    /// Connections that stay, or that log in together.
    pub connections: usize,
    /// Deliveries, or logins in a storm.
    pub units: u64,
    /// Lines that were said.
    pub lines: u64,
    /// Logins during the measurement.
    pub logins: u64,
    /// Units a second.
    pub per_second: f64,
    /// CPU time of the server without the journal, in µs a unit.
    pub cpu_micros: Option<f64>,
    /// CPU time of the journal, in µs a line.
    pub journal_micros: Option<f64>,
    /// CPU time of the server without the journal in each slice, in order, in µs a unit; `None` for
    /// a slice without units.
    pub cpu_micros_of_slices: Vec<Option<f64>>,
    /// CPU time of the server, journal included, as a share of one core.
    pub server_share: Option<f64>,
    /// The same of the load generator.
    pub generator_share: f64,
    /// Latencies, in ns.
    pub latency: Histogram<u64>,
    /// Faults.
    pub tally: Tally,
    /// Connections that the server ended.
    pub dropped: u64,
    /// Growth of the server's PSS per connection, in KiB.
    pub memory_per_connection: Option<f64>,
    /// The part of it that no other process shares, in KiB.
    pub private_per_connection: Option<f64>,
    /// All processes of the server, when all clients were connected.
    pub processes: Option<usize>,
    /// All their threads.
    pub threads: Option<usize>,
    /// In an open loop, the share of the lines that were sent in time.
    pub rate_share: Option<f64>,
    /// Warnings of a server that this program started.
    pub complaints: Vec<String>,
    /// Faults that the bare broadcaster was asked to make, and made.
    pub faults: Option<u64>,
    /// What the kill of one of the server's processes cost, if one was killed.
    pub kill: Option<Cost>,
    /// The samples of which this is the summary; empty in a sample.
    pub samples: Vec<Outcome>,
}

impl Side {
    /// Connects all clients that stay, and warms up.
    ///
    /// # Errors
    /// If a client cannot connect or log in, or if it takes longer than the time limit.
    pub fn connect(target: Target, shape: Shape, timing: &Timing) -> Result<Side, String> {
        let is_storm = shape.traffic == Traffic::Storm;
        let needs_memory = !is_storm && (timing.measures_memory || shape.traffic == Traffic::Quiet);
        let empty = if needs_memory { settled_memory(&target) } else { None };
        let mut generator = Generator::new(&target, shape, timing.limit)?;
        generator.log_in_all()?;
        let warm_up =
            if shape.traffic == Traffic::Quiet { timing.quiet_down } else { timing.warm_up };
        let memory = empty.and_then(|empty| Some(settled_memory(&target)?.since(empty)));
        generator.slice(warm_up, warm_up)?;
        // In a storm all clients are connected now, and not before.
        let usage = Usage { memory, process_counts: target.process_counts() };
        generator.after_slice()?;
        generator.count.latency.reset();
        Ok(Side { generator, target, usage, slices: Vec::new() })
    }

    fn slice(&mut self, min: Duration, max: Duration) -> Result<(), String> {
        // Reading the counters of thousands of processes takes CPU time that is not part of the
        // load.
        let mut before = self.reading();
        before.generator = cpu_of(Pid::this());
        let start = Instant::now();
        self.generator.slice(min, max)?;
        let wall = start.elapsed().saturating_sub(std::mem::take(&mut self.generator.silence));
        let generator = cpu_of(Pid::this());
        let after = self.reading();
        let cpu = after.cpu.zip(before.cpu).map(|(after, before)| Cpu {
            server: after.server.saturating_sub(before.server),
            journal: after.journal.saturating_sub(before.journal),
        });
        self.slices.push(Slice {
            wall,
            cpu,
            generator: generator - before.generator,
            deliveries: after.deliveries - before.deliveries,
            lines: after.lines - before.lines,
            logins: after.logins - before.logins,
        });
        self.generator.after_slice()
    }

    /// All counters, without the generator's own time.
    fn reading(&self) -> Slice {
        let count = &self.generator.count;
        Slice {
            wall: Duration::ZERO,
            cpu: self.target.cpu(),
            generator: Duration::ZERO,
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
        let sum = |part: fn(&Slice) -> Option<Duration>| {
            self.slices.iter().map(part).sum::<Option<Duration>>()
        };
        let server = sum(|slice| slice.cpu.map(|cpu| cpu.server));
        let journal = sum(|slice| slice.cpu.map(|cpu| cpu.journal));
        let generator = sum(|slice| Some(slice.generator)).unwrap_or_default();
        let (units, lines) = (
            self.slices.iter().map(units_of).sum(),
            self.slices.iter().map(|slice| slice.lines).sum(),
        );
        let count = self.generator.take_count()?;
        drop(self.generator);
        let micros = |time: Duration, units: u64| {
            (units > 0).then(|| time.as_secs_f64() * 1e6 / units as f64)
        };
        let rate_share = match shape.traffic {
            Traffic::Rate(rate) => Some(lines as f64 / wall / rate),
            _ => None,
        };
        let (complaints, faults) = self.target.end();
        let per_connection = |kib: u64| kib as f64 / shape.connections() as f64;
        Ok(Outcome {
            connections: shape.connections(),
            units,
            lines,
            logins: self.slices.iter().map(|slice| slice.logins).sum(),
            per_second: units as f64 / wall,
            cpu_micros: server.and_then(|time| micros(time, units)),
            journal_micros: journal.and_then(|time| micros(time, lines)),
            cpu_micros_of_slices: self
                .slices
                .iter()
                .map(|slice| micros(slice.cpu?.server, units_of(slice)))
                .collect(),
            server_share: server
                .zip(journal)
                .map(|(server, journal)| (server + journal).as_secs_f64() / wall),
            generator_share: generator.as_secs_f64() / wall,
            latency: count.latency,
            tally,
            dropped: count.dropped,
            memory_per_connection: self.usage.memory.map(|memory| per_connection(memory.pss_kib)),
            private_per_connection: self
                .usage
                .memory
                .map(|memory| per_connection(memory.private_kib)),
            processes: self.usage.process_counts.map(|(processes, _)| processes),
            threads: self.usage.process_counts.map(|(_, threads)| threads),
            rate_share,
            complaints,
            faults,
            kill: None,
            samples: Vec::new(),
        })
    }

    /// A process of the server that serves clients, and which of them: the one in place `turn`,
    /// counted around.
    fn process_to_kill(&self, turn: usize) -> Result<(Pid, Vec<bool>), String> {
        let (ports, connections) =
            (self.generator.ports(), ConnectionTable::read(self.target.tcp.port()));
        let workers = self.target.workers();
        let in_turn = (0..workers.len()).map(|place| workers[(place + turn) % workers.len()]);
        let served = in_turn
            .map(|pid| (pid, connections.of(pid)))
            .find(|(_, of_pid)| ports.iter().any(|port| of_pid.contains(port)));
        let (pid, of_pid) =
            served.ok_or("no process of the server was found that serves a client")?;
        Ok((pid, ports.iter().map(|port| of_pid.contains(port)).collect()))
    }
}

impl Outcome {
    /// Whether the load generator, not the server, was the limit.
    pub fn is_limited_by_generator(&self) -> bool {
        self.generator_share > GENERATOR_SHARE_MAX
    }

    /// Whether server and load generator together used almost all of the machine's CPUs.
    pub fn has_used_all_cpus(&self) -> bool {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        self.server_share.is_some_and(|share| share + self.generator_share > CPUS_SHARE_MAX * cpus)
    }

    /// Whether an open loop could not keep its rate.
    pub fn missed_its_rate(&self) -> bool {
        self.rate_share.is_some_and(|share| share < RATE_SHARE_MIN)
    }

    /// The longest latency in ms, if the server or the machine stood still meanwhile. A server that
    /// is always slow has not stood still. In a summary most samples must have it, since a single
    /// one does not move the median.
    pub fn stall_ms(&self) -> Option<f64> {
        if !self.samples.is_empty() {
            let stalls: Vec<f64> = self.samples.iter().filter_map(Outcome::stall_ms).collect();
            return stalls
                .iter()
                .copied()
                .reduce(f64::max)
                .filter(|_| stalls.len() * 2 > self.samples.len());
        }
        let (usual, longest) = (self.latency_ms(0.5)?, self.latency_ms(1.0)?);
        (longest > STALL_MS_MIN && longest > usual * STALL_TIMES_MIN).then_some(longest)
    }

    /// Whether there was no fault and no process of the server died.
    pub fn is_clean(&self) -> bool {
        self.tally.is_clean() && self.dropped == 0 && self.complaints.is_empty()
    }

    /// A quantile of the latencies, in ms; `None` if there are none. In a summary the median of the
    /// samples' quantiles, but for the longest.
    pub fn latency_ms(&self, quantile: f64) -> Option<f64> {
        if !self.samples.is_empty() && quantile < 1.0 {
            return median_of(self.samples.iter().filter_map(|sample| sample.latency_ms(quantile)));
        }
        (!self.latency.is_empty()).then(|| self.latency.value_at_quantile(quantile) as f64 / 1e6)
    }

    /// The ratio of CPU time per unit to that of another outcome: the median over pairs of slices.
    pub fn times_cpu_of(&self, other: &Outcome) -> Option<f64> {
        let pairs = self.cpu_micros_of_slices.iter().zip(&other.cpu_micros_of_slices);
        median_of(pairs.filter_map(|(own, others)| Some((*own)? / (*others)?)))
    }
}

/// Puts all sides under load in turn, each for the time `each` in all.
pub fn measure(
    mut sides: Vec<Side>,
    shape: &Shape,
    each: Duration,
    progress: &Progress,
) -> Result<Vec<Outcome>, String> {
    let slice = SLICE_MAX.min(each / SLICES_MIN);
    while sides.iter().any(|side| side.wall() < each) {
        for side in &mut sides {
            let before = side.wall();
            side.slice(slice, each.saturating_sub(before).max(slice))?;
            progress.advance(side.wall() - before);
        }
    }
    sides.into_iter().map(|side| side.end(shape)).collect()
}

/// Puts a server under load, kills one of its processes in the middle and goes on until every
/// client receives lines again. `turn` chooses among the processes.
///
/// # Errors
/// If a client receives no line after the kill.
pub fn measure_kill(
    mut side: Side,
    shape: &Shape,
    each: Duration,
    turn: usize,
    progress: &Progress,
) -> Result<Outcome, String> {
    let (pid, served) = side.process_to_kill(turn)?;
    let length = each.max(KILL_SLICE_MIN);
    side.generator.prepare_kill(pid, served, length / 3);
    side.slice(length, length + RECOVERY_MAX)?;
    progress.advance(each);
    let cost = side.generator.take_kill().and_then(|kill| kill.cost());
    let cost = cost.ok_or_else(|| {
        format!("{} s after a kill a client had still received no line", RECOVERY_MAX.as_secs())
    })?;
    let outcome = side.end(shape)?;
    // The server reports the kill, and rightly. Another death would be a fault.
    let is_other = |complaint: &String| !complaint.contains(&format!("(pid {pid})"));
    let complaints =
        outcome.complaints.iter().filter(|&complaint| is_other(complaint)).cloned().collect();
    Ok(Outcome { kill: Some(cost), complaints, ..outcome })
}

impl Outcome {
    /// One outcome of several samples of the same load: medians of what is measured, sums of what
    /// is counted. `None` without samples.
    pub fn of_samples(samples: Vec<Outcome>) -> Option<Outcome> {
        let first = samples.first()?;
        let sum = |part: fn(&Outcome) -> u64| samples.iter().map(part).sum();
        let median = |part: fn(&Outcome) -> Option<f64>| median_of(samples.iter().filter_map(part));
        let count = |part: fn(&Outcome) -> Option<usize>| {
            median_of(samples.iter().filter_map(part).map(|count| count as f64))
        };
        let (mut latency, mut tally) = (first.latency.clone(), Tally::default());
        samples.iter().for_each(|sample| tally += sample.tally);
        // All have the same bounds.
        for sample in &samples[1..] {
            let _ = latency.add(&sample.latency);
        }
        let kill = Option::zip(
            median(|sample| Some(sample.kill?.share)),
            median(|sample| Some(sample.kill?.wait_ms)),
        );
        let others_ms = median(|sample| sample.kill?.others_ms);
        Some(Outcome {
            connections: first.connections,
            units: sum(|sample| sample.units),
            lines: sum(|sample| sample.lines),
            logins: sum(|sample| sample.logins),
            per_second: median(|sample| Some(sample.per_second))?,
            cpu_micros: median(|sample| sample.cpu_micros),
            journal_micros: median(|sample| sample.journal_micros),
            cpu_micros_of_slices: samples
                .iter()
                .flat_map(|sample| sample.cpu_micros_of_slices.clone())
                .collect(),
            server_share: median(|sample| sample.server_share),
            generator_share: median(|sample| Some(sample.generator_share))?,
            latency,
            tally,
            dropped: sum(|sample| sample.dropped),
            memory_per_connection: median(|sample| sample.memory_per_connection),
            private_per_connection: median(|sample| sample.private_per_connection),
            processes: count(|sample| sample.processes).map(|count| count as usize),
            threads: count(|sample| sample.threads).map(|count| count as usize),
            rate_share: median(|sample| sample.rate_share),
            complaints: samples.iter().flat_map(|sample| sample.complaints.clone()).collect(),
            faults: first.faults.map(|_| sum(|sample| sample.faults.unwrap_or(0))),
            kill: kill.map(|(share, wait_ms)| Cost { share, wait_ms, others_ms }),
            samples,
        })
    }
}

/// The middle of some numbers, or of the middle two; `None` if there are none.
pub fn median_of(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = numbers.collect();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get((sorted.len() - 1) / 2)?;
    Some((lower + upper) / 2.0)
}

/// The server's memory once it has settled; `None` if it cannot be seen.
fn settled_memory(target: &Target) -> Option<Memory> {
    let deadline = Instant::now() + MEMORY_SETTLES;
    let mut before = target.memory()?;
    loop {
        std::thread::sleep(Duration::from_millis(50));
        let now = target.memory()?;
        if now.pss_kib.abs_diff(before.pss_kib) * 500 <= before.pss_kib || Instant::now() > deadline
        {
            return Some(now);
        }
        before = now;
    }
}

/// An outcome with these latencies in ms and without any other numbers.
#[cfg(test)]
pub fn outcome_of(latencies_ms: &[u64]) -> Outcome {
    let mut latency = Histogram::new(3).expect("three digits are allowed");
    latencies_ms.iter().for_each(|ms| latency.record(ms * 1_000_000).expect("it grows as needed"));
    let units = latencies_ms.len() as u64;
    Outcome {
        connections: 10,
        units,
        lines: units,
        logins: units,
        per_second: units as f64,
        cpu_micros: None,
        journal_micros: None,
        cpu_micros_of_slices: Vec::new(),
        server_share: None,
        generator_share: 0.0,
        latency,
        tally: Tally::default(),
        dropped: 0,
        memory_per_connection: None,
        private_per_connection: None,
        processes: None,
        threads: None,
        rate_share: None,
        complaints: Vec::new(),
        faults: None,
        kill: None,
        samples: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_once_much_later_than_usual_has_stood_still() {
        let stalled = |latencies: &[u64]| outcome_of(latencies).stall_ms().is_some();
        assert!(stalled(&[1, 1, 1, 300]));
        assert!(!stalled(&[1, 1, 1, 150]) && !stalled(&[100, 100, 100, 300]) && !stalled(&[]));
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_two() {
        assert_eq!(
            [&[][..], &[1.0], &[2.0, 1.0], &[9.0, 1.0, 2.0]]
                .map(|numbers| median_of(numbers.iter().copied())),
            [None, Some(1.0), Some(1.5), Some(2.0)]
        );
    }

    #[test]
    fn a_summary_has_medians_of_what_is_measured_and_sums_of_what_is_counted() {
        let sample = |ms: u64, cost: f64| Outcome {
            cpu_micros: Some(cost),
            tally: Tally { lost: 1, ..Tally::default() },
            kill: Some(Cost { share: 0.5, wait_ms: cost, others_ms: None }),
            ..outcome_of(&[ms, ms])
        };
        let summary =
            Outcome::of_samples(vec![sample(1, 7.0), sample(9, 5.0), sample(3, 6.0)]).unwrap();
        assert_eq!((summary.units, summary.tally.lost, summary.cpu_micros), (6, 3, Some(6.0)));
        assert_eq!(summary.kill.unwrap().wait_ms, 6.0);
        let [half, longest] =
            [0.5, 1.0].map(|quantile| summary.latency_ms(quantile).unwrap().round());
        assert_eq!(
            (half, longest),
            (3.0, 9.0),
            "the median of three medians, and the longest of all"
        );
        assert!(Outcome::of_samples(Vec::new()).is_none());
    }

    #[test]
    fn one_sample_that_stood_still_does_not_spoil_the_median() {
        let (calm, stalled) = (|| outcome_of(&[1, 1, 1, 2]), || outcome_of(&[1, 1, 1, 300]));
        let stall_of = |samples| Outcome::of_samples(samples).unwrap().stall_ms().is_some();
        assert!(
            !stall_of(vec![calm(), stalled(), calm()])
                && stall_of(vec![stalled(), stalled(), calm()])
        );
    }
}
