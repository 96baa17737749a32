//! Who runs when and where: nice values, scheduling policies, yielding, CPU affinity. Processes that could use a whole CPU each compete
//! for one, and the share that each got is measured.
//!
//! Watch for: equals share alike; nice 19, `idle` and one who yields cede the CPU, but only to those who want the same one; `batch` makes no difference
//! among those who never sleep; a real-time process leaves nothing to others: whoever is to end one that spins must be above it, or on another CPU.
//!
//! At work in the server: `--nice`, `--sched` and `--pin`; `supervisor/scheduling.rs` says who gets what, and why.

mod stage;

use Way::{AsStarted, Nice, Scheduled, Yielding};
use forkchat_server::ipc::process::{End, Process};
use forkchat_server::ipc::value::Array;
use forkchat_server::sys::scheduling::{Policy, nice, set_nice, set_policy};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity, sched_yield};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use stage::{Attempt, Failure, say};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Until all are forked, and then how long they compete: not for long, as one in real time takes its CPU from the whole machine.
const READY: Duration = Duration::from_millis(50);
const CONTEST: Duration = Duration::from_millis(350);
/// A step is about a tenth of the CPU. Started with a higher nice value, 19 makes too little difference to be seen.
const NICE_SHOWN_MAX: i8 = 14;
const MYSELF: Pid = Pid::from_raw(0);

/// How somebody competes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    AsStarted,
    Nice(i8),
    Scheduled(Policy),
    /// How much that cedes is the kernel's business, and has changed more than once.
    Yielding,
}

fn main() -> Result<(), Failure> {
    let allowed = sched_getaffinity(MYSELF).cannot("ask which CPUs we may use")?;
    let cpus: Vec<usize> = (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu) == Ok(true)).collect();
    let (first, cpu) = (cpus[0], cpus[cpus.len() - 1]);
    say!("for {} ms all want a whole CPU, and get this share of it:", CONTEST.as_millis());
    contest("equal", &[(cpu, AsStarted), (cpu, AsStarted)])?;
    let nice = nice().cannot("ask for our nice value")?;
    if nice <= NICE_SHOWN_MAX {
        contest("nice values", &[(cpu, AsStarted), (cpu, Nice(19))])?;
    } else {
        say!("this process was started at nice {nice}, so nobody can be much nicer");
    }
    contest("policies", &[(cpu, Scheduled(Policy::Other)), (cpu, Scheduled(Policy::Batch)), (cpu, Scheduled(Policy::Idle))])?;
    contest("yielding", &[(cpu, AsStarted), (cpu, Yielding)])?;
    if first == cpu {
        say!("this process may run on one CPU alone, so nobody can be put on another");
    } else {
        contest("two CPUs", &[(first, AsStarted), (cpu, Nice(19))])?;
    }
    let right = Process::start(|| set_policy(Policy::Fifo, 1).map_or_else(|errno| errno as i32, |()| 0)).cannot("start a process")?.join();
    if right == End::Exited(0) {
        return contest("real time", &[(cpu, Scheduled(Policy::Other)), (cpu, Scheduled(Policy::Fifo))]);
    }
    say!("real time is not shown: it needs CAP_SYS_NICE or a limit on real-time priority (ulimit -r) of at least 1");
    Ok(())
}

/// Has them compete, each on its CPU, and tells what they got.
fn contest(title: &str, contestants: &[(usize, Way)]) -> Result<(), Failure> {
    let used_ns = Array::<AtomicU64>::map("used", contestants.len()).cannot("map the shares")?;
    let start = Instant::now() + READY;
    let processes =
        contestants.iter().zip(*used_ns).map(|(&(cpu, way), used_ns)| Process::start(move || compete(cpu, way, start, used_ns)));
    let mut processes = processes.collect::<io::Result<Vec<_>>>().cannot("start the contestants")?;
    for (index, (cpu, way)) in contestants.iter().enumerate() {
        let end = processes[index].join();
        if end != End::Exited(0) {
            return Err(Failure(format!("{title}, {way:?} on CPU {cpu}: {end}; it could not be put there or scheduled so")));
        }
        let percent = used_ns[index].load(Ordering::Relaxed) as f64 / CONTEST.as_nanos() as f64 * 100.0;
        say!("{title:<11} {:<16} on CPU {cpu:<3} {percent:5.1} %", format!("{way:?}"));
    }
    Ok(())
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
    while start.elapsed() < CONTEST {
        if way == Yielding {
            let _ = sched_yield();
        }
    }
    used_ns.store((cpu_time() - before).as_nanos() as u64, Ordering::Relaxed);
    prepared.map_or_else(|errno| errno as i32, |()| 0)
}

fn pin_to(cpu: usize) -> nix::Result<()> {
    let mut one = CpuSet::new();
    one.set(cpu)?;
    sched_setaffinity(MYSELF, &one)
}

/// What this process has used.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
