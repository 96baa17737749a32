//! A thread pool of our own (`pool.rs`) beside the `threadpool` crate's, and what threads share.
//!
//! In the server: `worker/pair.rs` runs a receive and a send thread; `--model threads` takes its
//! threads from the crate's pool (`models/threads/sockets.rs`).

mod globals;
mod pool;
mod race;
#[path = "../stage/mod.rs"]
mod stage;

use forkchat_server::sys::threads::can_start_threads;
use pool::Pool;
use stage::{Attempt, Failure, Lesson, nap, part, say, shown, text, wait_until};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

const THREADS: usize = 4;
const STACK_BYTES: usize = 256 * 1024;
const JOBS: u64 = 20;

const LESSON: Lesson = Lesson {
    about: ["A pool of threads, and what threads share", "线程池，以及线程共享什么"],
    watch_for: &[
        [
            "which thread does which job; a job that panics costs the pool no thread",
            "哪个线程做了哪些任务；任务 panic 不会让线程池少一个线程",
        ],
        [
            "the race: two threads read, both add, and one addition is lost; a mutex or an atomic addition loses none",
            "竞态：两个线程先后读到同一个值再各自加 1，就丢一次；互斥锁或原子加法不会丢",
        ],
        [
            "there is no safe call to end a thread from outside: a flag asks it to stop",
            "没有安全的调用能从外部结束线程：用一个标志请它停下",
        ],
        [
            "a global variable: all threads see a change, other processes don't",
            "全局变量：修改后所有线程都能看到，其他进程看不到",
        ],
    ],
};

/// Which thread did which jobs, shared by all threads: `Arc` counts its owners, `Mutex` lets one
/// thread in at a time. Rust compiles no sharing without it.
type Done = Arc<Mutex<BTreeMap<String, Vec<u64>>>>;

fn main() -> ExitCode {
    stage::play(&LESSON, |()| {
        two_pools()?;
        race::and_cures()?;
        stop_flag()?;
        globals::of_threads_and_processes()
    })
}

fn two_pools() -> Result<(), Failure> {
    part!("{JOBS} jobs for {THREADS} threads", "{JOBS} 个任务，{THREADS} 个线程");
    let done = Done::default();
    let own = Pool::new(THREADS, STACK_BYTES).cannot("start our own pool")?;
    (1..=JOBS).for_each(|job| own.execute(note(&done, job)));
    own.execute(|| {
        panic!("{}", text!("a job for our own pool goes wrong", "自己线程池的一个任务出错了"))
    });
    let panicked = own.join();
    let own = tell(["our own pool", "自己的线程池"], &done, panicked);

    let done = Done::default();
    // The crate's pool would panic.
    if !can_start_threads(THREADS, STACK_BYTES) {
        return Err(Failure(format!(
            "cannot start {THREADS} threads: the system gives no more; see ulimit -u"
        )));
    }
    let theirs =
        threadpool::Builder::new().num_threads(THREADS).thread_stack_size(STACK_BYTES).build();
    (1..=JOBS).for_each(|job| theirs.execute(note(&done, job)));
    theirs.execute(|| {
        panic!(
            "{}",
            text!(
                "a job for the pool of the crate threadpool goes wrong",
                "threadpool 库线程池的一个任务出错了"
            )
        )
    });
    // Waits until all jobs are done. The threads stay for the next jobs, until the pool is dropped.
    theirs.join();
    let theirs = tell(
        ["the pool of the crate threadpool", "threadpool 库的线程池"],
        &done,
        theirs.panic_count(),
    );
    shown!(
        "each pool did {JOBS} jobs, ours with {own} threads and the crate's with {theirs}; one job more panicked in each, and ended no thread",
        "两个线程池各完成 {JOBS} 个任务，自己的用了 {own} 个线程，库的用了 {theirs} 个；各有一个任务 panic，但没有线程因此结束"
    );
    Ok(())
}

/// A job that notes which thread did it.
fn note(done: &Done, job: u64) -> impl FnOnce() + Send + 'static {
    let done = done.clone();
    move || {
        nap(1);
        lock(&done).entry(format!("{:?}", thread::current().id())).or_default().push(job);
    }
}

/// Returns how many threads did jobs.
fn tell(whose: [&str; 2], done: &Done, panicked: usize) -> usize {
    let (done, whose) = (lock(done), whose[usize::from(stage::is_chinese())]);
    done.iter().for_each(|(thread, jobs)| {
        say!("{whose}: {thread} did {jobs:?}", "{whose}：{thread} 做了 {jobs:?}")
    });
    let sum: u64 = done.values().flatten().sum();
    say!(
        "{whose}: {} threads, jobs that add up to {sum}, and {panicked} that panicked",
        "{whose}：{} 个线程，任务编号之和 {sum}，{panicked} 个任务 panic",
        done.len()
    );
    done.len()
}

fn stop_flag() -> Result<(), Failure> {
    part!("a flag stops {THREADS} threads", "用一个标志停下 {THREADS} 个线程");
    let pool = Pool::new(THREADS, STACK_BYTES).cannot("start a pool")?;
    let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    for _ in 0..THREADS {
        let (stop, rounds) = (stop.clone(), rounds.clone());
        // A thread sees the flag only when it looks, so it looks often, and naps no longer than the
        // caller may wait for it.
        pool.execute(move || {
            while !stop.load(Ordering::Relaxed) {
                rounds.fetch_add(1, Ordering::Relaxed);
                nap(1);
            }
        });
    }
    wait_until("the threads to work", || rounds.load(Ordering::Relaxed) >= 40)?;
    let before = rounds.load(Ordering::Relaxed);
    say!("{before} rounds so far; the flag says stop", "目前共 {before} 轮；标志要求停止");
    stop.store(true, Ordering::Relaxed);
    pool.join();
    let after = rounds.load(Ordering::Relaxed);
    shown!("all threads have stopped, after {after} rounds", "所有线程都停了，共 {after} 轮");
    Ok(())
}

/// A thread that panicked with the lock held left a map or a number whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
