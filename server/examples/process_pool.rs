//! A pool of processes: more jobs than processes, and one function that is called with each.
//!
//! Watch for: `apply_async` returns at once and `get` waits; `map` gives all results in order, `imap` each as soon as it is there; a panic in a job is an
//! error that says so, not silence; when a process dies in a job, that job fails, the others don't, and another takes the place of the dead one.
//!
//! At work in the server: the supervisor keeps its pool of workers going in the same way (`supervisor/reap.rs`), and the doctor tries the kernel
//! out in such a pool (`doctor/mod.rs`).

mod stage;

use forkchat_server::ipc::pool::Pool;
use forkchat_server::ipc::process::Process;
use nix::unistd::getpid;
use stage::{Attempt, Failure, say};
use std::thread::sleep;
use std::time::{Duration, Instant};

const PROCESSES: u16 = 3;

fn main() -> Result<(), Failure> {
    let mut pool = Pool::start("square", PROCESSES, square).cannot("start the pool")?;
    say!("a pool of {PROCESSES} processes: {}", pids(&pool));

    let start = Instant::now();
    let ticket = pool.apply_async(12)?;
    say!("apply_async took {} ms", start.elapsed().as_millis());
    let (pid, result) = pool.get(ticket)?;
    say!("get: 12 squared is {result}, by pid {pid}");

    let results = pool.map(1..=9).into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut workers: Vec<i32> = results.iter().map(|(pid, _)| *pid).collect();
    workers.sort_unstable();
    workers.dedup();
    say!("map: {:?}, by {} processes", results.iter().map(|(_, square)| square).collect::<Vec<_>>(), workers.len());

    say!("imap, of jobs without end:");
    for result in pool.imap(10..).take(3) {
        say!("    {} is there", result?.1);
    }

    for job in [100_000, 0, 7] {
        let ticket = pool.apply_async(job)?;
        match pool.get(ticket) {
            Ok((_, square)) => say!("{job} squared is {square}"),
            Err(error) => say!("{job}: {error}"),
        }
    }
    say!("the pool goes on: {}", pids(&pool));

    let last: Vec<_> = (1..=6).map(|job| pool.apply_async(job)).collect::<Result<_, _>>()?;
    pool.close();
    say!("closed; another job? {:?}", pool.apply_async(1).err());
    pool.join();
    let sum: u64 = last.into_iter().map(|ticket| pool.get(ticket).map(|(_, square)| square)).sum::<Result<_, _>>()?;
    say!("joined: the last six are done, their sum is {sum}");

    let mut pool = Pool::start("square", PROCESSES, square).cannot("start the pool")?;
    let tickets: Vec<_> = (1..=50).map(|job| pool.apply_async(job)).collect::<Result<_, _>>()?;
    let first = pool.get(tickets[0])?;
    pool.terminate();
    let left = tickets[1..].iter().filter_map(|ticket| pool.get(*ticket).err()).collect::<Vec<_>>();
    say!("terminated after the first ({}): {} of the other 49 have no result: {}", first.1, left.len(), left[0]);
    Ok(())
}

/// The job.
fn square(number: u64) -> (i32, u64) {
    sleep(Duration::from_millis(20));
    match number {
        // As one that is killed from outside, or by the kernel for its memory.
        0 => std::process::abort(),
        100_000.. => panic!("{number} is too much for me"),
        _ => (getpid().as_raw(), number * number),
    }
}

fn pids(pool: &Pool<u64, (i32, u64)>) -> String {
    pool.processes().iter().map(Process::pid).map(|pid| pid.to_string()).collect::<Vec<_>>().join(", ")
}
