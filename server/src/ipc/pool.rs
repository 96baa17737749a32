//! A pool of processes that do jobs: one function, called with many arguments, in as many processes
//! at a time as the pool has.
//!
//! ```text
//!   apply_async ──► jobs (joinable queue) ──► process 0, 1, … ──► results (joinable queue) ──► get, map, imap
//! ```
//!
//! A job that panics gives an error that says so, and so does a job in which its process dies: the
//! process is replaced, and the other jobs are not affected. No caller waits for a job that no
//! process does. A job that is still waiting when a process dies is done later.
//!
//! Costs: a job that does nothing takes 8 µs if there are many, and 18 µs if each is waited for:
//! two trips through a queue, and wake-ups. The pool notices a death when a job is submitted, and
//! while results are waited for within
//! [`LOOK_AGAIN`]. Between such calls, the remaining processes do the jobs.

mod error;

pub use error::{ApplyError, JobError};

use super::event_count::LOOK_AGAIN;
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

/// Jobs that may wait for a process, and results that may wait to be collected.
pub const PLACES: usize = 64;
/// Jobs given in ahead of the results that are asked for, for each process.
const AHEAD: usize = 2;
/// How a process ends that the closed queue has told that there is nothing more to do.
const FINISHED: End = End::Exited(0);
/// The consumer's number of the process that has the pool; those in the pool are numbered from 0.
const OWNER: u16 = u16::MAX;

/// A pool whose processes turn a `J` into an `R`. Dropped, it ends them.
///
/// It is used by one process with one thread, since it forks; the processes are forked when it is
/// made and when one has died, with all that there is at that moment, but without descriptors other
/// than standard input, output and error.
pub struct Pool<J, R> {
    name: &'static str,
    work: Box<dyn Fn(J) -> R>,
    jobs: JoinableQueue<(Ticket, J)>,
    results: JoinableQueue<(Ticket, Result<R, Failure>)>,
    processes: Vec<Process>,
    next: u64,
    /// Jobs that were given in and of which nothing is known yet.
    open: BTreeSet<Ticket>,
    /// What became of the others, until it is asked for.
    known: BTreeMap<Ticket, Result<R, JobError>>,
}

/// The results of [`Pool::imap`].
#[derive(Debug)]
pub struct Results<'p, J, R, I> {
    pool: &'p mut Pool<J, R>,
    jobs: I,
    under_way: VecDeque<Result<Ticket, ApplyError>>,
}

/// A job that was given in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ticket(u64);

/// What can go wrong in the process that does a job and goes on.
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
    /// Starts so many processes, one at least, called `name` and their number, which do `work`.
    ///
    /// # Errors
    /// Those of [`Process::start`], and of making shared memory.
    pub fn start(
        name: &'static str,
        processes: u16,
        work: impl Fn(J) -> R + 'static,
    ) -> io::Result<Pool<J, R>> {
        let (jobs, results) =
            (JoinableQueue::map("pool-jobs", PLACES)?, JoinableQueue::map("pool-results", PLACES)?);
        let work = Box::new(work);
        let (open, known) = (BTreeSet::new(), BTreeMap::new());
        let mut pool =
            Pool { name, work, jobs, results, processes: Vec::new(), next: 0, open, known };
        pool.processes =
            (0..processes.max(1)).map(|number| pool.fork(number)).collect::<io::Result<_>>()?;
        Ok(pool)
    }

    /// Gives a job in. It is done by the next process that has nothing to do. Waits if [`PLACES`]
    /// others wait already.
    pub fn apply_async(&mut self, job: J) -> Result<Ticket, ApplyError> {
        self.replace_the_dead();
        let ticket = Ticket(self.next);
        let job = (ticket, job);
        loop {
            // Whoever waits for a place must take results meanwhile: those who could make room may
            // be waiting to get rid of theirs.
            match self.jobs.put(&job, Duration::ZERO) {
                Ok(()) => break,
                Err(PutError::Full) => self.collect(LOOK_AGAIN),
                Err(PutError::Closed) => return Err(ApplyError::Closed),
                Err(PutError::TooLong) => return Err(ApplyError::TooLong),
                Err(PutError::Lock(error)) => return Err(ApplyError::Lock(error)),
            }
        }
        self.next += 1;
        self.open.insert(ticket);
        Ok(ticket)
    }

    /// Waits for a job's result, and gives it back; once. Waits as long as the job takes.
    pub fn get(&mut self, ticket: Ticket) -> Result<R, JobError> {
        loop {
            if let Some(result) = self.get_timeout(ticket, Duration::MAX) {
                return result;
            }
        }
    }

    /// The same, for `timeout` at most; `None` if nothing is known of the job by then.
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
            self.collect(left.min(LOOK_AGAIN));
        }
        Some(self.known.remove(&ticket).unwrap_or(Err(JobError::Unknown)))
    }

    /// Does all jobs, and gives the results back in the jobs' order.
    pub fn map(&mut self, jobs: impl IntoIterator<Item = J>) -> Vec<Result<R, JobError>> {
        self.imap(jobs).collect()
    }

    /// The same one by one: each result is there as soon as it is known and those before it were
    /// asked for. Jobs are only taken from `jobs` when a process is about to have nothing to do, so
    /// there may be any number of them.
    pub fn imap<I: IntoIterator<Item = J>>(&mut self, jobs: I) -> Results<'_, J, R, I::IntoIter> {
        Results { jobs: jobs.into_iter(), under_way: VecDeque::new(), pool: self }
    }

    /// No more jobs come; those that were given in are done.
    pub fn close(&mut self) {
        self.jobs.close();
    }

    /// Closes it, and waits until all jobs are done and all processes have ended. The results can
    /// still be asked for.
    pub fn join(&mut self) {
        self.close();
        while !self.open.is_empty() {
            self.collect(LOOK_AGAIN);
        }
        for process in &mut self.processes {
            process.join();
        }
    }

    /// Ends all processes at once. What isn't done will not be.
    pub fn terminate(&mut self) {
        self.close();
        self.processes.iter().for_each(Process::kill);
        self.processes.clear();
        self.collect_all();
        self.give_up(&JobError::Terminated);
    }

    /// The pool's processes.
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    fn fork(&self, number: u16) -> io::Result<Process> {
        let Pool { name, work, jobs, results, .. } = self;
        Process::start(|| {
            set_name(&format!("{name} {number}"));
            // What it says is passed on.
            std::panic::set_hook(Box::new(|_| ()));
            do_jobs(number, work, *jobs, *results)
        })
    }

    /// Waits at most `timeout` for a result, takes all that there are, and replaces those who have
    /// died.
    fn collect(&mut self, timeout: Duration) {
        self.collect_one(timeout);
        self.collect_all();
        self.replace_the_dead();
    }

    fn replace_the_dead(&mut self) {
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
        self.learn(ticket, result);
        true
    }

    fn learn(&mut self, ticket: Ticket, result: Result<R, JobError>) {
        if self.open.remove(&ticket) {
            self.known.insert(ticket, result);
        }
    }

    /// A process has died: what it had in hand is known, unless its result came through before, and
    /// another takes its place.
    fn replace(&mut self, number: u16) {
        let end = self.processes[usize::from(number)].join();
        // It did nothing behind its end, so what it has said is here now.
        self.collect_all();
        // Whoever has the jobs' lock stands still: what the dead had in hand is seen at the next
        // look.
        let Ok(in_hand) = self.jobs.take_over(number, OWNER) else { return };
        let was_idle = in_hand.is_none();
        if let Some(((ticket, _), claim)) = in_hand {
            claim.done();
            self.learn(ticket, Err(JobError::Died(end)));
        }
        // There was nothing more for it to do.
        if self.jobs.is_closed() && (self.open.is_empty() || was_idle && end == FINISHED) {
            return;
        }
        match self.fork(number) {
            Ok(process) => self.processes[usize::from(number)] = process,
            // As long as one lives, the jobs get done.
            Err(error) if !self.processes.iter_mut().any(Process::is_alive) => {
                self.give_up(&JobError::NoProcess(error.kind()))
            }
            Err(_) => {}
        }
    }

    fn give_up(&mut self, why: &JobError) {
        while let Ok(Taken::Task(_, claim)) = self.jobs.take(OWNER, Duration::ZERO) {
            claim.done();
        }
        for ticket in std::mem::take(&mut self.open) {
            self.known.insert(ticket, Err(why.clone()));
        }
    }
}

/// What a process of the pool does. Returns its exit code.
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
        let (ticket, job, claim) = match jobs.take(me, LOOK_AGAIN) {
            Ok(Taken::Task((ticket, job), claim)) => (ticket, job, claim),
            Ok(Taken::Nothing) => continue,
            Ok(Taken::Closed) => return 0,
            Err(_) => return 1,
        };
        let result = catch_unwind(AssertUnwindSafe(|| work(job)))
            .map_err(|panic| Failure::Panicked(message(panic.as_ref())));
        let mut answer = (ticket, result);
        // The job is done when its result is on its way, so a death in between is one too many to
        // tell of, never one too few.
        loop {
            match results.put(&answer, LOOK_AGAIN) {
                Ok(()) => break,
                Err(PutError::Full) => {}
                Err(PutError::TooLong) => answer.1 = Err(Failure::TooLong),
                Err(PutError::Closed | PutError::Lock(_)) => return 1,
            }
        }
        claim.done();
    }
}

/// What a panic says, as far as it fits.
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
        while self.under_way.len() < AHEAD * self.pool.processes.len().max(1) {
            let Some(job) = self.jobs.next() else { break };
            self.under_way.push_back(self.pool.apply_async(job));
        }
        let ticket = self.under_way.pop_front()?;
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
