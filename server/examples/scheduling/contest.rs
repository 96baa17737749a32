//! Processes that could use a whole CPU each compete, and the share that each got is measured.

use crate::MYSELF;
use crate::stage::{Attempt, Failure, say, text};
use Way::{AsStarted, Nice, Scheduled, Yielding};
use forkchat_server::ipc::process::{End, Process};
use forkchat_server::ipc::value::Array;
use forkchat_server::sys::scheduling::{Policy, set_nice, set_policy};
use nix::sched::{CpuSet, sched_setaffinity, sched_yield};
use nix::time::{ClockId, clock_gettime};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Time to start all processes.
const READY: Duration = Duration::from_millis(50);
/// How long they compete. Also with `--slow`: a real-time process takes its CPU from the whole
/// machine.
const CONTEST: Duration = Duration::from_millis(300);
/// With `rr`: four turns of 100 ms each, so each of two processes has two.
const FOUR_TURNS: Duration = Duration::from_millis(400);

const TRIES: u32 = 4;

/// How a process competes.
#[derive(Clone, Copy, PartialEq)]
pub enum Way {
    AsStarted,
    Nice(i8),
    Scheduled(Policy),
    /// How much a yield leaves to others is the kernel's decision, and has changed several times.
    Yielding,
}

/// Lets processes compete, each on its CPU. Returns the share of a CPU that each got, in percent.
/// Other processes of the machine may disturb the contest: it is repeated until it `shows` what it
/// is to show, but no more often than [`TRIES`] says.
pub fn contest(
    contestants: &[(usize, Way)],
    shows: impl Fn(&[f64]) -> bool,
) -> Result<Vec<f64>, Failure> {
    let mut shares = compete_once(contestants)?;
    for _ in 1..TRIES {
        if shows(&shares) {
            return Ok(shares);
        }
        say!(
            "other processes of this machine disturbed that: once more",
            "受到本机其他进程的干扰：再来一次"
        );
        shares = compete_once(contestants)?;
    }
    if !shows(&shares) {
        say!(
            "other processes of this machine disturbed all {TRIES} contests: these shares say little",
            "{TRIES} 次都受到本机其他进程的干扰：这些份额说明不了什么"
        );
    }
    Ok(shares)
}

fn compete_once(contestants: &[(usize, Way)]) -> Result<Vec<f64>, Failure> {
    let used_ns = Array::<AtomicU64>::map("used", contestants.len()).cannot("map the shares")?;
    let start = Instant::now() + READY;
    let processes = contestants
        .iter()
        .zip(*used_ns)
        .map(|(&(cpu, way), used_ns)| Process::start(move || compete(cpu, way, start, used_ns)));
    let mut processes =
        processes.collect::<io::Result<Vec<_>>>().cannot("start the contestants")?;
    let mut shares = Vec::new();
    for (index, &(cpu, way)) in contestants.iter().enumerate() {
        let (pid, end) = (processes[index].pid(), processes[index].join());
        if end != End::Exited(0) {
            return Err(Failure(format!(
                "pid {pid}, {}, on CPU {cpu}, {end}; a code is the errno of what was refused",
                name(way)
            )));
        }
        let share =
            used_ns[index].load(Ordering::Relaxed) as f64 / length(way).as_nanos() as f64 * 100.0;
        say!(
            "pid {pid}, {}, on CPU {cpu}: {share:.1} %",
            "pid {pid}，{}，在 CPU {cpu} 上：{share:.1} %",
            name(way)
        );
        shares.push(share);
    }
    Ok(shares)
}

/// What a process does that competes. Returns its exit code.
fn compete(cpu: usize, way: Way, start: Instant, used_ns: &AtomicU64) -> i32 {
    let prepared = pin_to(cpu).and_then(|()| match way {
        AsStarted | Yielding => Ok(()),
        Nice(nice) => set_nice(nice),
        Scheduled(policy) => set_policy(policy, 1),
    });
    sleep(start.saturating_duration_since(Instant::now()));
    let before = cpu_time();
    while start.elapsed() < length(way) {
        if way == Yielding {
            let _ = sched_yield();
        }
    }
    used_ns.store((cpu_time() - before).as_nanos() as u64, Ordering::Relaxed);
    prepared.map_or_else(|errno| errno as i32, |()| 0)
}

/// How long a process competes.
fn length(way: Way) -> Duration {
    if way == Scheduled(Policy::RoundRobin) { FOUR_TURNS } else { CONTEST }
}

/// Lets this process run on one CPU only.
pub fn pin_to(cpu: usize) -> nix::Result<()> {
    let mut one = CpuSet::new();
    one.set(cpu)?;
    sched_setaffinity(MYSELF, &one)
}

/// The CPU time that this process has used.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

fn name(way: Way) -> String {
    match way {
        AsStarted => text!("as started", "默认"),
        Nice(nice) => format!("nice {nice}"),
        Scheduled(policy) => text!("policy {}", "策略 {}", policy.name()),
        Yielding => text!("yielding", "不断 yield"),
    }
}
