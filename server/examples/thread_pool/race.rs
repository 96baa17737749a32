//! A counter to which several threads add at the same time: the race, and what cures it.

use crate::pool::Pool;
use crate::stage::{Attempt, Failure, part, say, shown, slowed};
use crate::{STACK_BYTES, THREADS, lock};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread::sleep;
use std::time::Duration;

/// How often each thread adds 1 to the counter.
const ROUNDS: u64 = 100;
const ALL: u64 = THREADS as u64 * ROUNDS;
const MOMENT: Duration = Duration::from_micros(20);

/// Adds without a cure, with a mutex, and by an instruction that does it in one step.
pub fn and_cures() -> Result<(), Failure> {
    part!(
        "{THREADS} threads add 1 to a counter {ROUNDS} times each",
        "{THREADS} 个线程各给计数器加 1 共 {ROUNDS} 次"
    );
    let lost = ALL - race().cannot("show a race")?;
    say!(
        "race: {THREADS} threads added {ALL}, the counter says {}; lost: {lost}",
        "竞态：{THREADS} 个线程共加 {ALL}，计数器为 {}；丢失：{lost}",
        ALL - lost
    );
    let found = under_a_mutex().cannot("add under a mutex")?;
    say!(
        "mutex: {THREADS} threads added {ALL}, the counter says {found}; lost: {}",
        "互斥锁：{THREADS} 个线程共加 {ALL}，计数器为 {found}；丢失：{}",
        ALL - found
    );
    let found = in_one_step().cannot("add in one step")?;
    say!(
        "one step: {THREADS} threads added {ALL}, the counter says {found}; lost: {}",
        "原子操作：{THREADS} 个线程共加 {ALL}，计数器为 {found}；丢失：{}",
        ALL - found
    );
    shown!(
        "the race lost {lost} of {ALL} additions; the mutex and the one step lost none",
        "竞态丢失了 {ALL} 次加法中的 {lost} 次；互斥锁和原子操作一次也没丢"
    );
    Ok(())
}

/// `count += 1` in two threads is not compiled. In two steps it is, and what another thread adds
/// between them is lost.
fn race() -> io::Result<u64> {
    let count = Arc::new(AtomicU64::new(0));
    all_do(&count, |count, number| {
        let seen = count.load(Ordering::Relaxed);
        // There is always a moment between the two steps. This one is long enough to see the effect
        // in every run.
        sleep(slowed(MOMENT));
        count.store(seen + 1, Ordering::Relaxed);
        // Each thread at its own pace: in step, they would lose the same number in every run.
        sleep(slowed(MOMENT * number));
    })?;
    Ok(count.load(Ordering::Relaxed))
}

fn under_a_mutex() -> io::Result<u64> {
    let count = Arc::new(Mutex::new(0));
    all_do(&count, |count, _| {
        let mut count = lock(count);
        let seen = *count;
        sleep(slowed(MOMENT));
        *count = seen + 1;
    })?;
    let count = *lock(&count);
    Ok(count)
}

/// For a single number the CPU has an instruction that adds in one step.
fn in_one_step() -> io::Result<u64> {
    let count = Arc::new(AtomicU64::new(0));
    all_do(&count, |count, _| _ = count.fetch_add(1, Ordering::Relaxed))?;
    Ok(count.load(Ordering::Relaxed))
}

/// Every thread of a pool does the step again and again, all at the same time. The step gets the
/// number of its thread, from 1.
fn all_do<T: Send + Sync + 'static>(shared: &Arc<T>, step: fn(&T, u32)) -> io::Result<()> {
    let (pool, start) = (Pool::new(THREADS, STACK_BYTES)?, Arc::new(Barrier::new(THREADS)));
    for number in 1..=THREADS as u32 {
        let (shared, start) = (shared.clone(), start.clone());
        pool.execute(move || {
            start.wait();
            (0..ROUNDS).for_each(|_| step(&shared, number));
        });
    }
    pool.join();
    Ok(())
}
