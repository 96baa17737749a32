//! A global variable: all threads of a process have the same one, and each process has its own.

use crate::pool::Pool;
use crate::stage::proc::wait_for_threads;
use crate::stage::{Attempt, Failure, part, say, shown, went_well};
use crate::{STACK_BYTES, THREADS};
use forkchat_server::ipc::process::Process;
use std::sync::atomic::{AtomicU64, Ordering};

static GLOBAL: AtomicU64 = AtomicU64::new(0);

/// Threads add to the global variable, and then child processes do.
pub fn of_threads_and_processes() -> Result<(), Failure> {
    part!(
        "a global variable, {THREADS} threads, and {THREADS} child processes",
        "一个全局变量，{THREADS} 个线程，{THREADS} 个子进程"
    );
    let pool = Pool::new(THREADS, STACK_BYTES).cannot("start the threads")?;
    (1..=THREADS).for_each(|number| {
        pool.execute(move || {
            let found = add_1();
            say!("thread {number} added 1 and sees {found}", "线程 {number} 加 1，看到 {found}");
        });
    });
    pool.join();
    let after_threads = GLOBAL.load(Ordering::Relaxed);
    say!(
        "after the threads, the main thread sees {after_threads}",
        "线程结束后，主线程看到 {after_threads}"
    );

    // The kernel removes a thread a moment after it was joined. Beside other threads this program
    // refuses to fork.
    wait_for_threads()?;
    for number in 1..=THREADS {
        let child = || {
            let found = add_1();
            say!(
                "child process {number} added 1 and sees {found}",
                "子进程 {number} 加 1，看到 {found}"
            );
            0
        };
        went_well(
            "a child process",
            Process::start(child).cannot("start a child process")?.join(),
        )?;
    }
    let after_processes = GLOBAL.load(Ordering::Relaxed);
    say!(
        "after the child processes, the parent sees {after_processes}",
        "子进程结束后，父进程看到 {after_processes}"
    );
    shown!(
        "{THREADS} threads changed the global variable from 0 to {after_threads}; {THREADS} child processes changed copies of it, and it is still {after_processes}",
        "{THREADS} 个线程把全局变量从 0 变成 {after_threads}；{THREADS} 个子进程改的只是各自的副本，它仍是 {after_processes}"
    );
    Ok(())
}

/// Returns what the variable is then.
fn add_1() -> u64 {
    GLOBAL.fetch_add(1, Ordering::Relaxed) + 1
}
