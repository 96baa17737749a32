//! A thread pool of our own (`pool.rs`, under 60 lines) beside the `threadpool` crate's; and what threads share, for better and worse.
//!
//! Watch for: which thread does which job, and that one that panics costs neither pool a thread; the counter that loses what two threads add at the same
//! time, and loses nothing under a mutex; the flag that stops them all.
//!
//! At work in the server: the pair of a receive and a send thread (`worker/pair.rs`); `--model threads` has its threads from the crate's pool
//! (`models/threads/network.rs`).

mod pool;
mod race;
#[path = "../stage/mod.rs"]
mod stage;

use forkchat_server::sys::threads::can_start_threads;
use pool::Pool;
use stage::{Attempt, Failure, say, wait_until};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, sleep};
use std::time::Duration;

const THREADS: usize = 4;
const STACK_BYTES: usize = 256 * 1024;
const JOBS: u64 = 20;

/// Which thread did which jobs. All threads have it: `Arc` counts who still does, `Mutex` lets one in at a time. Rust compiles no sharing without that.
type Done = Arc<Mutex<BTreeMap<String, Vec<u64>>>>;

fn main() -> Result<(), Failure> {
    two_pools().cannot("show two pools")?;
    race::and_cures().cannot("show a race")?;
    stop_flag().cannot("show a flag")
}

fn two_pools() -> io::Result<()> {
    say!("{JOBS} jobs for {THREADS} threads");
    let done = Done::default();
    let own = Pool::new(THREADS, STACK_BYTES)?;
    (1..=JOBS).for_each(|job| own.execute(note(&done, job)));
    own.execute(|| panic!("a job for our own pool goes wrong"));
    let panicked = own.join();
    tell("our own pool", &done, panicked);

    let done = Done::default();
    // It would panic.
    if !can_start_threads(THREADS, STACK_BYTES) {
        return Err(io::Error::other(format!("cannot start {THREADS} threads: the system gives no more; see ulimit -u")));
    }
    let theirs = threadpool::Builder::new().num_threads(THREADS).thread_stack_size(STACK_BYTES).build();
    (1..=JOBS).for_each(|job| theirs.execute(note(&done, job)));
    theirs.execute(|| panic!("a job for the crate's pool goes wrong"));
    // Waits until nothing is left to do. The threads stay, for the next jobs, as long as there is the pool.
    theirs.join();
    tell("the crate's pool", &done, theirs.panic_count());
    Ok(())
}

/// A job that notes who did it.
fn note(done: &Done, job: u64) -> impl FnOnce() + Send + 'static {
    let done = done.clone();
    move || {
        sleep(Duration::from_millis(1));
        lock(&done).entry(format!("{:?}", thread::current().id())).or_default().push(job);
    }
}

fn tell(whose: &str, done: &Done, panicked: usize) {
    let done = lock(done);
    done.iter().for_each(|(thread, jobs)| say!("{whose}: {thread} did {jobs:?}"));
    let sum: u64 = done.values().flatten().sum();
    say!("{whose}: {} threads, jobs that add up to {sum}, and {panicked} that panicked", done.len());
}

fn stop_flag() -> io::Result<()> {
    let pool = Pool::new(THREADS, STACK_BYTES)?;
    let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    for _ in 0..THREADS {
        let (stop, rounds) = (stop.clone(), rounds.clone());
        // A thread can't be killed, only asked. It sees the flag at its next look, so it must look often, and sleep for no longer than may be waited for it.
        pool.execute(move || {
            while !stop.load(Ordering::Relaxed) {
                rounds.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(1));
            }
        });
    }
    wait_until("the threads to work", || rounds.load(Ordering::Relaxed) >= 40)?;
    say!("{} rounds so far; the flag says stop", rounds.load(Ordering::Relaxed));
    stop.store(true, Ordering::Relaxed);
    pool.join();
    say!("all threads have stopped, after {} rounds", rounds.load(Ordering::Relaxed));
    Ok(())
}

/// A thread that panicked with the lock left a map or a number as whole as it was.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
