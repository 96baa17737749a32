//! A thread pool: so many threads that wait at one queue for something to do.

use crossbeam_channel::{Receiver, Sender, bounded};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle};

/// Jobs that may wait. Who hands in more waits until there is room, so the queue doesn't grow with the load.
const QUEUE: usize = 64;

type Job = Box<dyn FnOnce() + Send>;

/// Threads, and the queue at which they wait.
pub struct Pool {
    jobs: Sender<Job>,
    threads: Vec<JoinHandle<usize>>,
}

impl Pool {
    /// Starts so many threads, with such stacks. Fails with `EAGAIN` if the system doesn't give them.
    pub fn new(threads: usize, stack_bytes: usize) -> io::Result<Pool> {
        // Each thread has the queue's other end: whoever is free takes the next job.
        let (jobs, queue) = bounded(QUEUE);
        let start = |number| {
            let queue = queue.clone();
            Builder::new().name(format!("own {number}")).stack_size(stack_bytes).spawn(move || work(&queue))
        };
        // If one can't be started the others end all the same, for the queue is gone with this.
        let threads = (0..threads).map(start).collect::<io::Result<Vec<_>>>()?;
        Ok(Pool { jobs, threads })
    }

    /// Has some thread do this, as soon as one is free.
    pub fn execute(&self, job: impl FnOnce() + Send + 'static) {
        // The queue has its other end as long as a thread lives, and they all live as long as this.
        let _ = self.jobs.send(Box::new(job));
    }

    /// Waits until all is done and the threads have ended. Returns how many jobs panicked.
    pub fn join(self) -> usize {
        // The end of the queue: who waits there is told when it is empty.
        drop(self.jobs);
        self.threads.into_iter().map(|thread| thread.join().unwrap_or(1)).sum()
    }
}

/// What a thread does: the next job, until there will be none. A job that panics costs neither the thread nor the other jobs.
fn work(queue: &Receiver<Job>) -> usize {
    queue.iter().filter_map(|job| catch_unwind(AssertUnwindSafe(job)).err()).count()
}
