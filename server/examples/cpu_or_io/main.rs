//! The same tasks in four ways, some that compute and some that wait: concurrency and parallelism.
//!
//! Concurrency: several tasks are under way at the same time, which is a matter of the program.
//! Parallelism: several tasks are computed at the same instant, which is a matter of the CPUs.
//!
//! In the server: the choice of a model (`models/mod.rs`): a worker for each CPU, which computes,
//! and in each worker many connections, which wait.

mod event_loop;
#[path = "../stage/mod.rs"]
mod stage;
mod table;
mod task;
mod ways;

use forkchat_server::ipc::value::Array;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use stage::{Attempt, Failure, Lesson, part, say, shown, text};
use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;
use task::{Entry, Run, Task};
use ways::{WAYS, Way};

const TASKS: usize = 4;
/// With so many CPUs at work two must have worked at the same time, even if the clocks are a little
/// off.
const PARALLEL: f64 = 1.2;

const LESSON: Lesson = Lesson {
    about: ["Computing or waiting: concurrency and parallelism", "计算还是等待：并发与并行"],
    watch_for: &[
        [
            "the columns \"under way\" (concurrency) and \"CPUs at work\" (parallelism)",
            "“进行中”一列（并发）和“在用 CPU”一列（并行）",
        ],
        [
            "waiting at the same time takes a fraction of the time, and no CPU",
            "同时等待只需几分之一的时间，也不占 CPU",
        ],
        [
            "computing gets faster only by several CPUs: with threads or processes",
            "计算只有靠多个 CPU 才能变快：用线程或进程",
        ],
        [
            "an event loop waits for all tasks in one thread; for computing it is as serial as serial",
            "事件循环用一个线程等待所有任务；做计算时它与串行无异",
        ],
        ["the CPU time is about the same in every way", "无论哪种方式，CPU 时间都差不多"],
    ],
};

/// What was measured.
struct Measured {
    milliseconds: f64,
    under_way: f64,
    at_work: f64,
}

fn main() -> ExitCode {
    stage::play(&LESSON, |()| {
        let cpus = thread::available_parallelism().map_or(1, |count| count.get());
        part!(
            "{TASKS} tasks; CPUs that this process may use: {cpus}",
            "{TASKS} 个任务；本进程可用的 CPU 数：{cpus}"
        );
        let titles = [
            text!("work", "任务类型"),
            text!("way", "方式"),
            text!("ms", "毫秒"),
            text!("CPU ms", "CPU 毫秒"),
            text!("under way", "进行中"),
            text!("CPUs at work", "在用 CPU"),
            text!("found", "结果"),
        ];
        stage::line(table::row(titles));
        let computing = all_ways(Task::Compute, text!("computing", "计算"))?;
        let waiting = all_ways(Task::Wait, text!("waiting", "等待"))?;
        conclude(&computing, &waiting, cpus);
        Ok(())
    })
}

/// In the order of [`WAYS`].
fn all_ways(task: Task, name: String) -> Result<Vec<Measured>, Failure> {
    WAYS.iter().map(|way| measure(task, &name, *way)).collect()
}

fn measure(task: Task, name: &str, way: Way) -> Result<Measured, Failure> {
    let (start, cpu) = (Instant::now(), cpu_used().cannot("ask for the CPU time")?);
    let run =
        Run { task, entries: Array::map("example-entries", TASKS).cannot("map the entries")? };
    (way.run_all)(run)?;
    let (wall, cpu) = (
        start.elapsed().as_micros() as f64,
        (cpu_used().cannot("ask for the CPU time")? - cpu) as f64,
    );
    let sum = |of: fn(&Entry) -> &AtomicU64| {
        run.entries.iter().map(|entry| of(entry).load(Ordering::Relaxed)).sum::<u64>()
    };
    let (under_way, found) = (sum(|entry| &entry.micros) as f64 / wall, sum(|entry| &entry.found));
    stage::line(table::row([
        name.to_owned(),
        way.name[usize::from(stage::is_chinese())].to_owned(),
        format!("{:.0}", wall / 1e3),
        format!("{:.0}", cpu / 1e3),
        format!("{under_way:.1}"),
        format!("{:.1}", cpu / wall),
        found.to_string(),
    ]));
    Ok(Measured { milliseconds: wall / 1e3, under_way, at_work: cpu / wall })
}

fn conclude(computing: &[Measured], waiting: &[Measured], cpus: usize) {
    let ([serial, threads, _, event_loop], [waited, .., in_loop]) = (computing, waiting) else {
        return;
    };
    shown!(
        "waiting, event loop: one thread had {:.1} tasks under way at the same time, and took {:.0} ms instead of {:.0} ms (concurrency)",
        "等待 + 事件循环：一个线程同时进行 {:.1} 个任务，耗时 {:.0} 毫秒，串行为 {:.0} 毫秒（并发）",
        in_loop.under_way,
        in_loop.milliseconds,
        waited.milliseconds
    );
    shown!(
        "computing, event loop: {:.1} task under way at a time, {:.0} ms; serial {:.0} ms",
        "计算 + 事件循环：同时只进行 {:.1} 个任务，耗时 {:.0} 毫秒；串行 {:.0} 毫秒",
        event_loop.under_way,
        event_loop.milliseconds,
        serial.milliseconds
    );
    let at_work = threads.at_work;
    if at_work >= PARALLEL {
        shown!(
            "threads computed in parallel, on {at_work:.1} CPUs",
            "线程在 {at_work:.1} 个 CPU 上并行计算"
        );
    } else if cpus == 1 {
        shown!(
            "threads computed on {at_work:.1} CPUs: this process may use one CPU only",
            "线程在 {at_work:.1} 个 CPU 上计算：本进程只能使用一个 CPU"
        );
    } else {
        shown!(
            "threads computed on {at_work:.1} CPUs: other processes had the CPUs: run it again",
            "线程在 {at_work:.1} 个 CPU 上计算：CPU 被其他进程占用，请再运行一次"
        );
    }
    say!(
        "in Python: with the GIL of CPython, threads do not compute in parallel; processes do",
        "在 Python 里：CPython 有 GIL，线程不能并行计算，进程可以"
    );
}

/// CPU time in microseconds that this process has used, and its children that it has waited for.
/// Source: getrusage(2).
fn cpu_used() -> io::Result<i64> {
    let mut micros = 0;
    for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
        let usage = getrusage(who)?;
        micros += (usage.user_time() + usage.system_time()).num_microseconds();
    }
    Ok(micros)
}
