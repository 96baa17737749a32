//! Measures one row of the table: puts a server and, for comparison, the bare broadcaster under the
//! same load in turn, slice by slice. Also measures what a kill costs.

use super::connection_table::ConnectionTable;
use super::generator::Generator;
use super::outcome::Outcome;
use super::progress::Progress;
use super::shape::{Shape, Traffic};
use super::target::{Cpu, Target};
use crate::processes::{Memory, cpu_of};
use nix::unistd::Pid;
use std::time::{Duration, Instant};

/// How long one side is under load before the next side's turn, and the least number of slices of a
/// short run.
const SLICE_MAX: Duration = Duration::from_millis(500);
const SLICES_MIN: u32 = 8;
/// How long memory may take to settle.
const MEMORY_SETTLES: Duration = Duration::from_secs(2);
/// A slice with a kill takes at least this long. So there is steady traffic before and after the
/// kill.
const KILL_SLICE_MIN: Duration = Duration::from_millis(300);
/// How long a client may wait for a line after a kill.
const RECOVERY_MAX: Duration = Duration::from_secs(8);

/// How long each part of a measurement takes.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long each side is under load.
    pub each: Duration,
    /// The time under load before the measurement. In it memory is touched for the first time and
    /// buffers grow.
    pub warm_up: Duration,
    /// The same for silent clients, since the server is still busy with their logins.
    pub quiet_down: Duration,
    /// The time limit of a side for everything together.
    pub limit: Option<Duration>,
    /// Whether memory is measured under every load, or only with silent clients. Each measurement
    /// waits until the memory has settled.
    pub measures_memory: bool,
}

impl Timing {
    /// `each` under load, without a time limit.
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
    /// It is dropped before the target, because a server that stops waits for its clients.
    generator: Generator,
    target: Target,
    usage: Usage,
    slices: Vec<Slice>,
}

/// What a server uses when all clients are connected.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    /// How much its memory has grown since it had no clients.
    memory: Option<Memory>,
    /// The number of processes and of threads.
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
        // In a storm all clients connect during the slice.
        let usage = Usage { memory, process_counts: target.process_counts() };
        generator.after_slice()?;
        generator.count.latency.reset();
        Ok(Side { generator, target, usage, slices: Vec::new() })
    }

    fn slice(&mut self, min: Duration, max: Duration) -> Result<(), String> {
        // Reading the counters of thousands of processes takes CPU time, which is not part of the
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

    /// A process of the server that serves clients, and for each client whether the process serves
    /// it. `turn` chooses among the processes.
    fn process_to_kill(&self, turn: usize) -> Result<(Pid, Vec<bool>), String> {
        let (ports, connections) =
            (self.generator.ports(), ConnectionTable::read(self.target.tcp.port()));
        let workers = self.target.workers();
        let in_turn = (0..workers.len()).map(|index| workers[(index + turn) % workers.len()]);
        let served = in_turn
            .map(|pid| (pid, connections.of(pid)))
            .find(|(_, of_pid)| ports.iter().any(|port| of_pid.contains(port)));
        let (pid, of_pid) =
            served.ok_or("no process of the server was found that serves a client")?;
        Ok((pid, ports.iter().map(|port| of_pid.contains(port)).collect()))
    }
}

/// Puts all sides under load in turn, slice by slice, until each was under load for the time
/// `each`.
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

/// Puts a server under load, kills one of its processes in the middle, and continues until every
/// client has received a line again. `turn` chooses among the processes.
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
    // The server's report of this kill is no fault. The death of another process is one.
    let is_other = |complaint: &String| !complaint.contains(&format!("(pid {pid})"));
    let complaints =
        outcome.complaints.iter().filter(|&complaint| is_other(complaint)).cloned().collect();
    Ok(Outcome { kill: Some(cost), complaints, ..outcome })
}

/// The server's memory once it has settled; `None` if its processes are unknown.
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
