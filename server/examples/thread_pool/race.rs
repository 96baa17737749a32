//! A counter to which several threads add at the same time: the race, and what cures it.

use crate::pool::Pool;
use crate::stage::say;
use crate::{STACK_BYTES, THREADS, lock};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread::sleep;
use std::time::Duration;

/// How often each thread adds 1 to the counter.
const ROUNDS: u64 = 100;
const MOMENT: Duration = Duration::from_micros(20);

/// Adds without a cure, with a mutex, and by an instruction that does it in one step.
pub fn and_cures() -> io::Result<()> {
    let all = THREADS as u64 * ROUNDS;
    let tell = |how, found| say!("{how}: {THREADS} threads added {all}, the counter says {found}; lost: {}", all - found);

    // `count += 1` in two threads is not compiled. In two steps it is, and what another thread adds between them is lost.
    let count = Arc::new(AtomicU64::new(0));
    all_do(&count, |count| {
        let seen = count.load(Ordering::Relaxed);
        // There is always a moment between the two; so long it is sure to be seen what comes of it.
        sleep(MOMENT);
        count.store(seen + 1, Ordering::Relaxed);
    })?;
    tell("race", count.load(Ordering::Relaxed));

    let count = Arc::new(Mutex::new(0));
    all_do(&count, |count| {
        let mut count = lock(count);
        let seen = *count;
        sleep(MOMENT);
        *count = seen + 1;
    })?;
    tell("mutex", *lock(&count));

    // For a number alone the CPU has an instruction that does it in one step.
    let count = Arc::new(AtomicU64::new(0));
    all_do(&count, |count| _ = count.fetch_add(1, Ordering::Relaxed))?;
    tell("one step", count.load(Ordering::Relaxed));
    Ok(())
}

/// Has every thread of a pool do it again and again, all at the same time.
fn all_do<T: Send + Sync + 'static>(shared: &Arc<T>, step: fn(&T)) -> io::Result<()> {
    let (pool, start) = (Pool::new(THREADS, STACK_BYTES)?, Arc::new(Barrier::new(THREADS)));
    for _ in 0..THREADS {
        let (shared, start) = (shared.clone(), start.clone());
        pool.execute(move || {
            start.wait();
            (0..ROUNDS).for_each(|_| step(&shared));
        });
    }
    pool.join();
    Ok(())
}
