//! A pool of processes that do jobs: it calls one function with many arguments, in as many
//! processes at a time as the pool has.
//!
//! ```text
//!   apply_async ──► jobs ──► process 0, 1, … ──► results ──► get, map, imap
//! ```
//!
//! `jobs` and `results` are joinable queues. A job that panics returns an error with the panic's
//! message. A job whose process dies returns an error, too; the pool replaces the process, and the
//! other jobs are not affected. A job that was still waiting when a process died is done later, so
//! no caller waits for a job that no process does.
//!
//! Costs: an empty job takes 8 µs if there are many, and 18 µs if the caller waits for each: two
//! trips through a queue, and wake-ups. The pool notices a death when a job is submitted, and
//! within [`RECHECK_INTERVAL`] while a caller waits for results. Between such calls, the remaining
//! processes do the jobs.

mod error;

pub use error::{ApplyError, JobError};

use super::event_count::RECHECK_INTERVAL;
use super::joinable_queue::{JoinableQueue, PutError, TASK_BYTES_MAX, Taken};
use super::process::{End, Process};
use crate::sys::process::set_name;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// The most jobs that wait for a process, and the most results that wait to be collected.
pub const WAITING_MAX: usize = 64;
/// How many jobs per process [`Pool::imap`] submits ahead of the results that its caller has taken.
const AHEAD: usize = 2;
/// How a process ends when the queue is closed and nothing is left to do.
const FINISHED: End = End::Exited(0);
/// The consumer number of the process that owns the pool. The pool's processes are numbered from 0.
const OWNER: u16 = u16::MAX;

/// A pool whose processes turn a `J` into an `R`. Dropping the pool kills them.
///
/// Only a process with one thread can use it, since it forks. A process of the pool is forked when
/// the pool is created or when another one has died. It has a copy of the owner's memory at that
/// moment, but of the descriptors only standard input, output and error.
pub struct Pool<J, R> {
    name: &'static str,
    work: Box<dyn Fn(J) -> R>,
    jobs: JoinableQueue<(Ticket, J)>,
    results: JoinableQueue<(Ticket, Result<R, Failure>)>,
    processes: Vec<Process>,
    next: u64,
    /// Submitted jobs whose outcome is not known yet.
    open: BTreeSet<Ticket>,
    /// The outcomes of the other jobs, until the caller takes them.
    finished: BTreeMap<Ticket, Result<R, JobError>>,
}

/// The results of [`Pool::imap`].
#[derive(Debug)]
pub struct Results<'p, J, R, I> {
    pool: &'p mut Pool<J, R>,
    jobs: I,
    in_flight: VecDeque<Result<Ticket, ApplyError>>,
}

/// A submitted job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ticket(u64);

/// How a job can fail without ending its process.
#[derive(Serialize, Deserialize)]
enum Failure {
    Panicked(String),
    TooLong,
}

impl<J, R> Pool<J, R>
where
    J: Serialize + DeserializeOwned + 'static,
    R: Serialize + DeserializeOwned + 'static,
{
    /// Starts `processes` processes, at least one, that run `work` on each job. Their names are
    /// `name` and a number.
    ///
    /// # Errors
    /// Those of [`Process::start`], and of mapping shared memory.
    pub fn start(
        name: &'static str,
        processes: u16,
        work: impl Fn(J) -> R + 'static,
    ) -> io::Result<Pool<J, R>> {
        let (jobs, results) = (
            JoinableQueue::map("pool-jobs", WAITING_MAX)?,
            JoinableQueue::map("pool-results", WAITING_MAX)?,
        );
        let work = Box::new(work);
        let (open, finished) = (BTreeSet::new(), BTreeMap::new());
        let mut pool =
            Pool { name, work, jobs, results, processes: Vec::new(), next: 0, open, finished };
        pool.processes =
            (0..processes.max(1)).map(|number| pool.fork(number)).collect::<io::Result<_>>()?;
        Ok(pool)
    }

    /// Submits a job for the next idle process. Waits if [`WAITING_MAX`] other jobs wait already.
    pub fn apply_async(&mut self, job: J) -> Result<Ticket, ApplyError> {
        self.replace_dead();
        let ticket = Ticket(self.next);
        let job = (ticket, job);
        loop {
            // While this process waits for space it must collect results: the processes that could
            // make space may be waiting to put their results.
            match self.jobs.put(&job, Duration::ZERO) {
                Ok(()) => break,
                Err(PutError::Full) => self.collect(RECHECK_INTERVAL),
                Err(PutError::Closed) => return Err(ApplyError::Closed),
                Err(PutError::TooLong) => return Err(ApplyError::TooLong),
                Err(PutError::Lock(error)) => return Err(ApplyError::Lock(error)),
            }
        }
        self.next += 1;
        self.open.insert(ticket);
        Ok(ticket)
    }

    /// Waits for a job's result, as long as the job takes, and returns it. A job's result can be
    /// taken once.
    pub fn get(&mut self, ticket: Ticket) -> Result<R, JobError> {
        loop {
            if let Some(result) = self.get_timeout(ticket, Duration::MAX) {
                return result;
            }
        }
    }

    /// Like [`Pool::get`], but waits at most `timeout`; `None` if the result is not known by then.
    pub fn get_timeout(
        &mut self,
        ticket: Ticket,
        timeout: Duration,
    ) -> Option<Result<R, JobError>> {
        let start = Instant::now();
        while self.open.contains(&ticket) {
            let left = timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                return None;
            }
            self.collect(left.min(RECHECK_INTERVAL));
        }
        Some(self.finished.remove(&ticket).unwrap_or(Err(JobError::Unknown)))
    }

    /// Does all jobs, and returns the results in the jobs' order.
    pub fn map(&mut self, jobs: impl IntoIterator<Item = J>) -> Vec<Result<R, JobError>> {
        self.imap(jobs).collect()
    }

    /// Like [`Pool::map`], but returns the results one by one, each as soon as it and those before
    /// it are known. It takes jobs from `jobs` only when a process is about to become idle, so
    /// there may be any number of them.
    pub fn imap<I: IntoIterator<Item = J>>(&mut self, jobs: I) -> Results<'_, J, R, I::IntoIter> {
        Results { jobs: jobs.into_iter(), in_flight: VecDeque::new(), pool: self }
    }

    /// Accepts no more jobs. Submitted jobs are still done.
    pub fn close(&mut self) {
        self.jobs.close();
    }

    /// Closes the pool, and waits until all jobs are done and all processes have ended. The results
    /// can still be taken.
    pub fn join(&mut self) {
        self.close();
        while !self.open.is_empty() {
            self.collect(RECHECK_INTERVAL);
        }
        for process in &mut self.processes {
            process.join();
        }
    }

    /// Kills all processes. Jobs that are not done return [`JobError::Terminated`].
    pub fn terminate(&mut self) {
        self.close();
        self.processes.iter().for_each(Process::kill);
        self.processes.clear();
        self.collect_all();
        self.fail_open_jobs(&JobError::Terminated);
    }

    /// The pool's processes.
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    fn fork(&self, number: u16) -> io::Result<Process> {
        let Pool { name, work, jobs, results, .. } = self;
        Process::start(|| {
            set_name(&format!("{name} {number}"));
            // The panic's message is part of the result, so it is not printed.
            std::panic::set_hook(Box::new(|_| ()));
            do_jobs(number, work, *jobs, *results)
        })
    }

    /// Waits at most `timeout` for a result, collects all results that are there, and replaces
    /// processes that have died.
    fn collect(&mut self, timeout: Duration) {
        self.collect_one(timeout);
        self.collect_all();
        self.replace_dead();
    }

    fn replace_dead(&mut self) {
        let dead: Vec<u16> = (0..)
            .zip(&mut self.processes)
            .filter_map(|(number, process)| (!process.is_alive()).then_some(number))
            .collect();
        dead.into_iter().for_each(|number| self.replace(number));
    }

    fn collect_all(&mut self) {
        while self.collect_one(Duration::ZERO) {}
    }

    fn collect_one(&mut self, timeout: Duration) -> bool {
        let Ok(Taken::Task((ticket, result), claim)) = self.results.take(OWNER, timeout) else {
            return false;
        };
        claim.done();
        let result = result.map_err(|failure| match failure {
            Failure::Panicked(message) => JobError::Panicked(message),
            Failure::TooLong => JobError::TooLong,
        });
        self.finish(ticket, result);
        true
    }

    fn finish(&mut self, ticket: Ticket, result: Result<R, JobError>) {
        if self.open.remove(&ticket) {
            self.finished.insert(ticket, result);
        }
    }

    /// Handles the death of a process: fails the job that it was doing, unless the job's result
    /// arrived before, and starts another process.
    fn replace(&mut self, number: u16) {
        let end = self.processes[usize::from(number)].join();
        // A dead process sends nothing more, so all its results are in the queue now.
        self.collect_all();
        // A stopped process holds the lock of the jobs' queue: the next check finds the dead
        // process's job.
        let Ok(in_progress) = self.jobs.take_over(number, OWNER) else { return };
        let was_idle = in_progress.is_none();
        if let Some(((ticket, _), claim)) = in_progress {
            claim.done();
            self.finish(ticket, Err(JobError::Died(end)));
        }
        // No process is needed: nothing is left to do.
        if self.jobs.is_closed() && (self.open.is_empty() || was_idle && end == FINISHED) {
            return;
        }
        match self.fork(number) {
            Ok(process) => self.processes[usize::from(number)] = process,
            // As long as one process runs, the jobs get done.
            Err(error) if !self.processes.iter_mut().any(Process::is_alive) => {
                self.fail_open_jobs(&JobError::NoProcess(error.kind()))
            }
            Err(_) => {}
        }
    }

    fn fail_open_jobs(&mut self, why: &JobError) {
        while let Ok(Taken::Task(_, claim)) = self.jobs.take(OWNER, Duration::ZERO) {
            claim.done();
        }
        for ticket in std::mem::take(&mut self.open) {
            self.finished.insert(ticket, Err(why.clone()));
        }
    }
}

/// The main loop of a process of the pool. Returns its exit code.
fn do_jobs<J, R>(
    me: u16,
    work: &dyn Fn(J) -> R,
    jobs: JoinableQueue<(Ticket, J)>,
    results: JoinableQueue<(Ticket, Result<R, Failure>)>,
) -> i32
where
    J: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned,
{
    loop {
        let (ticket, job, claim) = match jobs.take(me, RECHECK_INTERVAL) {
            Ok(Taken::Task((ticket, job), claim)) => (ticket, job, claim),
            Ok(Taken::Nothing) => continue,
            Ok(Taken::Closed) => return 0,
            Err(_) => return 1,
        };
        let result = catch_unwind(AssertUnwindSafe(|| work(job)))
            .map_err(|panic| Failure::Panicked(message(panic.as_ref())));
        let mut answer = (ticket, result);
        // The job counts as done only after its result is in the queue. If the process dies in
        // between, both the result and the death are reported, never neither.
        loop {
            match results.put(&answer, RECHECK_INTERVAL) {
                Ok(()) => break,
                Err(PutError::Full) => {}
                Err(PutError::TooLong) => answer.1 = Err(Failure::TooLong),
                Err(PutError::Closed | PutError::Lock(_)) => return 1,
            }
        }
        claim.done();
    }
}

/// A panic's message, cut so that it fits a task.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("something that is no text");
    let fits = text.char_indices().take_while(|(start, _)| *start < TASK_BYTES_MAX / 2);
    fits.map(|(_, character)| character).collect()
}

impl<J, R, I> Iterator for Results<'_, J, R, I>
where
    J: Serialize + DeserializeOwned + 'static,
    R: Serialize + DeserializeOwned + 'static,
    I: Iterator<Item = J>,
{
    type Item = Result<R, JobError>;

    fn next(&mut self) -> Option<Result<R, JobError>> {
        while self.in_flight.len() < AHEAD * self.pool.processes.len().max(1) {
            let Some(job) = self.jobs.next() else { break };
            self.in_flight.push_back(self.pool.apply_async(job));
        }
        let ticket = self.in_flight.pop_front()?;
        Some(ticket.map_err(JobError::NotTaken).and_then(|ticket| self.pool.get(ticket)))
    }
}

impl<J, R> fmt::Debug for Pool<J, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("processes", &self.processes)
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}
