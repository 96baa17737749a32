//! A thread pool: several threads that wait at one queue for the next job.

use crossbeam_channel::{Receiver, Sender, bounded};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle};

/// Jobs that may wait. A caller with one more waits until there is room, so the queue doesn't grow
/// with the load.
const QUEUE: usize = 64;

type Job = Box<dyn FnOnce() + Send>;

/// Threads, and the end of the queue that takes their jobs.
pub struct Pool {
    jobs: Sender<Job>,
    threads: Vec<JoinHandle<usize>>,
}

impl Pool {
    /// Starts `threads` threads, with stacks of `stack_bytes`. Fails with `EAGAIN` if the system
    /// gives no more.
    pub fn new(threads: usize, stack_bytes: usize) -> io::Result<Pool> {
        // Each thread has the queue's other end: the next free thread takes the next job.
        let (jobs, queue) = bounded(QUEUE);
        let start = |number| {
            let queue = queue.clone();
            Builder::new()
                .name(format!("own {number}"))
                .stack_size(stack_bytes)
                .spawn(move || work(&queue))
        };
        // If a thread can't be started, `jobs` is dropped here, and the threads started before end.
        let threads = (0..threads).map(start).collect::<io::Result<Vec<_>>>()?;
        Ok(Pool { jobs, threads })
    }

    /// Runs the job in the next free thread.
    pub fn execute(&self, job: impl FnOnce() + Send + 'static) {
        // Can't fail: the threads have the other end, and they live as long as the pool.
        let _ = self.jobs.send(Box::new(job));
    }

    /// Waits until all jobs are done and the threads have ended. Returns how many jobs panicked.
    pub fn join(self) -> usize {
        // The threads leave their loop when the queue is empty and has no sender.
        drop(self.jobs);
        self.threads.into_iter().map(|thread| thread.join().unwrap_or(1)).sum()
    }
}

/// What a thread does: one job after the other, until no more will come. A job that panics ends
/// neither the thread nor the other jobs.
fn work(queue: &Receiver<Job>) -> usize {
    queue.iter().filter_map(|job| catch_unwind(AssertUnwindSafe(job)).err()).count()
}
