//! The same tasks one after the other, in threads and in processes: some that compute, some that wait.
//!
//! Concurrency is that several tasks are under way at the same time: a matter of how a program is made. Parallelism is that several are computed at the
//! same instant: a matter of how many CPUs there are for it. Who waits needs the first alone.
//!
//! Watch for: the columns "under way" and "CPUs at work"; that waiting at the same time takes a fraction of the time and no CPU, and computing takes less
//! time only where there are several CPUs; that the CPU time is about the same however it is done.
//!
//! At work in the server: the choice of a model (`models/mod.rs`): a worker a CPU for what is computed, and in it as many connections as like to wait.

#[path = "../stage/mod.rs"]
mod stage;
mod task;

use forkchat_server::ipc::process::Process;
use forkchat_server::ipc::value::Array;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use stage::{Attempt, Failure, say, wait_until, went_well};
use std::fs;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;
use task::{Entry, Run, Task, count_primes, wait};

const TASKS: usize = 4;
/// With so many CPUs at work there must have been two at the same time, also when the clocks are a little off.
const PARALLEL: f64 = 1.2;

type Way = fn(Run) -> Result<(), Failure>;

fn main() -> Result<(), Failure> {
    say!("{TASKS} tasks; this machine gives us {} CPUs", thread::available_parallelism().map_or(1, |count| count.get()));
    say!("{:<11}{:<12}{:>8}{:>8}{:>11}{:>14}{:>10}", ("work"), "way", "ms", "CPU ms", "under way", "CPUs at work", "found");
    let works: [(&str, Task); 2] = [("computing", count_primes), ("waiting", wait)];
    let ways: [(&str, Way); 3] = [("serial", serial), ("threads", threads), ("processes", processes)];
    let mut computing_threads = 0.0;
    for (work, task) in works {
        for (way, run_all) in ways {
            let (start, cpu) = (Instant::now(), cpu_used().cannot("ask for the CPU time")?);
            let run = Run { task, entries: Array::map("example-entries", TASKS).cannot("map the entries")? };
            run_all(run)?;
            let (wall, cpu) = (start.elapsed().as_micros() as f64, (cpu_used().cannot("ask for the CPU time")? - cpu) as f64);
            let sum = |of: fn(&Entry) -> &AtomicU64| run.entries.iter().map(|entry| of(entry).load(Ordering::Relaxed)).sum::<u64>();
            let (under_way, found) = (sum(|entry| &entry.micros) as f64 / wall, sum(|entry| &entry.found));
            say!("{work:<11}{way:<12}{:>8.0}{:>8.0}{under_way:>11.1}{:>14.1}{found:>10}", wall / 1e3, cpu / 1e3, cpu / wall);
            if (work, way) == ("computing", "threads") {
                computing_threads = cpu / wall;
            }
        }
    }
    say!("concurrency: so many tasks were under way at the same time; parallelism: so many CPUs were at work on them");
    // As those of CPython and Ruby do: with them threads are good for waiting, and only processes make computing faster.
    if computing_threads >= PARALLEL {
        say!("threads computed in parallel, on {computing_threads:.1} CPUs: no interpreter lock held them to one at a time");
    } else {
        say!("threads computed on {computing_threads:.1} CPUs: with more than one CPU free they compute in parallel, as processes do");
    }
    Ok(())
}

fn serial(run: Run) -> Result<(), Failure> {
    (0..TASKS).for_each(|place| run.perform(place));
    Ok(())
}

fn processes(run: Run) -> Result<(), Failure> {
    let start = |place| {
        Process::start(move || {
            run.perform(place);
            0
        })
    };
    let children: io::Result<Vec<_>> = (0..TASKS).map(start).collect();
    children.cannot("start the processes")?.iter_mut().try_for_each(|child| went_well("a process", child.join()))
}

fn threads(run: Run) -> Result<(), Failure> {
    let start = |place| thread::Builder::new().spawn(move || run.perform(place));
    let threads: io::Result<Vec<_>> = (0..TASKS).map(start).collect();
    for thread in threads.cannot("start the threads")? {
        thread.join().map_err(|_| Failure("a thread panicked".to_owned()))?;
    }
    // The kernel does away with a thread a moment after it was joined, and as long as there are several this process doesn't fork.
    wait_until("the threads' end", || fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1))?;
    Ok(())
}

/// CPU time in microseconds that this process has used, and its children that it has waited for. Source: getrusage(2).
fn cpu_used() -> io::Result<i64> {
    let mut micros = 0;
    for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
        let usage = getrusage(who)?;
        micros += (usage.user_time() + usage.system_time()).num_microseconds();
    }
    Ok(micros)
}
