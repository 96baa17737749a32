//! Threads end with their process: when `main` returns, the other threads are cut off. `join` waits
//! for them; a thread that is to stop must be asked.
//!
//! In the server: the first thread of a worker waits for the send thread, since the process would
//! end otherwise (`worker/pair.rs`).

mod stage;

use forkchat_server::ipc::process::Process;
use forkchat_server::ipc::value::Value;
use stage::{
    Attempt, Failure, Lesson, ended, exit_code, nap, part, say, shown, wait_until, went_well,
};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const LESSON: Lesson = Lesson {
    about: [
        "Threads at the end: cut off, joined, asked to stop",
        "线程的结束：被强行终止、被 join、被请求停止",
    ],
    watch_for: &[
        [
            "how far a thread comes before main returns, and that it prints nothing after that",
            "main 返回前线程走到了第几步；此后它不再输出任何内容",
        ],
        [
            "a thread that is cut off does not tidy up: its destructors never run",
            "被强行终止的线程不做清理：它的析构函数不会运行",
        ],
        [
            "Rust and C cut threads off when main returns; Python joins them at exit, except daemon threads, which are cut off",
            "main 返回时，Rust 和 C 会强行终止线程；Python 退出时会 join 普通线程，只有守护线程（daemon thread）被强行终止",
        ],
        [
            "no safe call ends a single thread from outside: the thread must look itself whether it should stop",
            "无法从外部安全地终止单个线程：线程必须自己检查是否该停止",
        ],
    ],
};
const STEPS: u64 = 8;

/// What becomes of a thread, seen by the parent process in shared memory.
#[derive(Clone, Copy)]
struct Seen {
    steps: Value,
    tidied_up: Value,
}

fn main() -> ExitCode {
    stage::play(&LESSON, |()| {
        let cut_off = cut_off()?;
        let joined = joined()?;
        let scoped = scoped()?;
        let asked = asked_to_stop()?;
        let row = |seen: &Seen| {
            stage::text!(
                "{} (tidied up: {})",
                "{}（已清理：{}）",
                seen.steps.get(),
                seen.tidied_up.get() == 1
            )
        };
        shown!(
            "steps out of {STEPS}: cut off {}, joined {}, scoped {}, asked to stop {}",
            "总共 {STEPS} 步，走到：被强行终止 {}，join {}，作用域线程 {}，被请求停止 {}",
            row(&cut_off),
            row(&joined),
            row(&scoped),
            row(&asked)
        );
        Ok(())
    })
}

fn cut_off() -> Result<Seen, Failure> {
    part!("main returns without a join", "main 不做 join 就返回");
    run(|seen| {
        thread::spawn(move || count(seen, || false));
        wait_until("step 3", || seen.steps.get() >= 3)?;
        say!(
            "main returns; the thread is at step {}",
            "main 返回；线程在第 {} 步",
            seen.steps.get()
        );
        Ok(())
    })
}

fn joined() -> Result<Seen, Failure> {
    part!("main joins the thread", "main 对线程做 join");
    run(|seen| {
        let counting = thread::spawn(move || count(seen, || false));
        say!("main waits in join", "main 在 join 中等待");
        let steps = counting.join().map_err(|_| Failure("the thread panicked".to_owned()))?;
        say!(
            "join returned what the thread returned: {steps}; main returns",
            "join 返回了线程的返回值：{steps}；main 返回"
        );
        Ok(())
    })
}

fn scoped() -> Result<Seen, Failure> {
    part!(
        "main starts the thread in a scope, which joins it at its end",
        "main 在作用域（scope）中启动线程，作用域结束时自动 join"
    );
    run(|seen| {
        thread::scope(|scope| {
            scope.spawn(|| count(seen, || false));
            say!("main is at the end of the scope", "main 到达作用域末尾");
        });
        say!("main has left the scope and returns", "main 离开作用域并返回");
        Ok(())
    })
}

fn asked_to_stop() -> Result<Seen, Failure> {
    part!("main asks the thread to stop, and joins it", "main 请求线程停止，然后 join");
    run(|seen| {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| count(seen, || stop.load(Ordering::Relaxed)));
            let waited = wait_until("step 3", || seen.steps.get() >= 3);
            say!("main asks the thread to stop", "main 请求线程停止");
            stop.store(true, Ordering::Relaxed);
            waited
        })?;
        say!("the thread has ended by itself; main returns", "线程已自行结束；main 返回");
        Ok(())
    })
}

/// Runs `main` as the main function of a child process: when it returns the process ends.
fn run(main: impl FnOnce(Seen) -> Result<(), Failure>) -> Result<Seen, Failure> {
    let (steps, tidied_up) = (Value::map("example-steps")?, Value::map("example-tidied-up")?);
    let seen = Seen { steps, tidied_up };
    let mut child = Process::start(|| exit_code(main(seen))).cannot("start a child")?;
    let end = child.join();
    say!(
        "the child process {}; its thread came to step {} of {STEPS}; did it tidy up? {}",
        "子进程{}；它的线程走到第 {} 步（共 {STEPS} 步）；做清理了吗？{}",
        ended(end),
        steps.get(),
        tidied_up.get() == 1
    );
    went_well("a child", end)?;
    Ok(seen)
}

/// What the thread does. Returns at which step it was at the end.
fn count(seen: Seen, should_stop: impl Fn() -> bool) -> u64 {
    let _tidies_up = TidiesUp(seen);
    while seen.steps.get() < STEPS && !should_stop() {
        nap(20);
        let step = seen.steps.get() + 1;
        say!("the thread is at step {step}", "线程走到第 {step} 步");
        seen.steps.set(step);
    }
    seen.steps.get()
}

/// Tidies up when it is dropped, at the end of the thread's function.
struct TidiesUp(Seen);

impl Drop for TidiesUp {
    fn drop(&mut self) {
        say!("the thread tidies up", "线程做清理");
        self.0.tidied_up.set(1);
    }
}
