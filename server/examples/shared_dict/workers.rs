//! The workers: processes that begin at the same time, with a manager or without.

use crate::WORKERS;
use crate::manager::{Answer, Client, Owned, Request, manage};
use crate::stage::{Attempt, Failure, exit_code, patience, went_well};
use forkchat_server::ipc::event::Event;
use forkchat_server::ipc::process::Process;
use forkchat_server::ipc::queue::pair;
use forkchat_server::ipc::value::Value;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

/// What became of the updates of all workers.
pub struct Outcome {
    pub owned: Owned,
    /// The mean time of a worker.
    pub micros_per_worker: f64,
}

/// The workers do `work` at the same time, each with a connection to a new manager.
pub fn with_manager(
    work: impl Fn(&Client, u64) -> Result<(), Failure>,
) -> Result<Outcome, Failure> {
    // One for each worker, and one for this process.
    let pairs = (0..=WORKERS)
        .map(|_| pair::<Request, Answer>())
        .collect::<nix::Result<Vec<_>>>()
        .cannot("make the connections")?;
    let (ends, managers): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let mut manager = Process::start_with(
        managers,
        |ends| ends.iter().map(AsFd::as_fd).collect(),
        |ends| exit_code(manage(ends)),
    )
    .cannot("start the manager")?;
    let mut clients: Vec<Client> = ends.into_iter().map(Client).collect();
    let own = clients.remove(0);
    let micros_per_worker = at_once(clients, |client| vec![client.0.as_fd()], work)?;
    let owned = own.all()?;
    // The manager ends when the last client has gone.
    drop(own);
    went_well("the manager", manager.join())?;
    Ok(Outcome { owned, micros_per_worker })
}

/// Starts a process for each of these, lets them begin at the same time, and waits for all. Returns
/// the mean time of `work` in microseconds.
pub fn at_once<T>(
    of_each: Vec<T>,
    keep: impl for<'a> Fn(&'a T) -> Vec<BorrowedFd<'a>> + Copy,
    work: impl Fn(&T, u64) -> Result<(), Failure>,
) -> Result<f64, Failure> {
    let (start, nanoseconds) =
        (Event::map("start").cannot("map an event")?, Value::map("time").cannot("map a value")?);
    let run = |own: T, worker| {
        start.wait(patience());
        let began = Instant::now();
        work(&own, worker)?;
        nanoseconds.increase(began.elapsed().as_nanos() as u64);
        Ok(())
    };
    let count = of_each.len();
    let workers = of_each
        .into_iter()
        .zip(0..)
        .map(|(own, worker)| Process::start_with(own, keep, |own| exit_code(run(own, worker))));
    let mut workers = workers.collect::<Result<Vec<_>, _>>().cannot("start the workers")?;
    start.set();
    for worker in &mut workers {
        went_well(format!("a worker, pid {},", worker.pid()), worker.join())?;
    }
    Ok(nanoseconds.get() as f64 / 1e3 / count as f64)
}
