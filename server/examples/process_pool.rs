//! A pool of processes: more jobs than processes, and one function that is called with each job.
//!
//! In the server: `supervisor/reap.rs` replaces a worker that has ended in the same way;
//! `doctor/mod.rs` runs its checks in such a pool.

mod stage;

use forkchat_server::ipc::pool::{ApplyError, JobError, Pool};
use forkchat_server::ipc::process::Process;
use forkchat_server::ipc::value::Value;
use nix::unistd::getpid;
use stage::{Attempt, Failure, Lesson, ended, nap, part, say, shown, text, wait_until};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

const PROCESSES: u16 = 3;
/// Jobs given to a pool that ends before all are done. No more than wait in its queue.
const TOO_MANY: u64 = 50;

/// Jobs are numbers; a result is the pid of the process that did the job, and the square.
type Squares = Pool<u64, (i32, u64)>;

const LESSON: Lesson = Lesson {
    about: ["A pool of processes", "进程池"],
    watch_for: &[
        [
            "apply waits for the result; apply_async returns a ticket (Python: an AsyncResult) at once, and get waits",
            "apply 会等待结果；apply_async 立即返回一个句柄（Python 里是 AsyncResult），get 才等待",
        ],
        [
            "which process did which job; map gives all results together, imap each as soon as it is there; both in order",
            "哪个进程做了哪个任务；map 一次给出全部结果，imap 有一个给一个；两者都按顺序",
        ],
        [
            "a panic in a job is that job's error, and the process goes on",
            "任务 panic 只是该任务出错，进程继续工作",
        ],
        [
            "the pool replaces a process that dies in a job; only that job fails",
            "进程若在任务中死亡，进程池会补上一个；只有那个任务失败",
        ],
        [
            "close and join finish all jobs; a pool that ends without join loses the rest",
            "close 加 join 会做完所有任务；不 join 就结束的进程池会丢掉剩下的任务",
        ],
    ],
};

fn main() -> ExitCode {
    stage::play(&LESSON, |()| {
        let mut pool = Pool::start("square", PROCESSES, square).cannot("start the pool")?;
        say!(
            "a pool of {PROCESSES} processes: {}",
            "一个有 {PROCESSES} 个进程的进程池：{}",
            pids(&pool)
        );
        waiting_and_not(&mut pool)?;
        which_did_which(&mut pool)?;
        panic_and_death(&mut pool)?;
        closed_and_joined(pool)?;
        terminated()?;
        dropped()
    })
}

fn waiting_and_not(pool: &mut Squares) -> Result<(), Failure> {
    part!(
        "the same three jobs with apply and with apply_async",
        "同样三个任务，先用 apply，再用 apply_async"
    );
    let began = Instant::now();
    for job in [1, 2, 3] {
        let (pid, square) = apply(pool, job)?;
        say!(
            "apply({job}) waited: {square}, by pid {pid}",
            "apply({job}) 等到了结果：{square}，由 pid {pid} 完成"
        );
    }
    let one_by_one = began.elapsed().as_millis();

    let began = Instant::now();
    let tickets = [10, 11, 12].map(|job| pool.apply_async(job).map(|ticket| (job, ticket)));
    say!(
        "apply_async three times took {} ms",
        "三次 apply_async 用了 {} 毫秒",
        began.elapsed().as_millis()
    );
    for ticket in tickets {
        let (job, ticket) = ticket?;
        let (pid, square) = pool.get(ticket)?;
        say!(
            "get: {job} squared is {square}, by pid {pid}",
            "get：{job} 的平方是 {square}，由 pid {pid} 完成"
        );
    }
    let together = began.elapsed().as_millis();
    shown!(
        "three jobs took {one_by_one} ms with apply, one by one, and {together} ms with apply_async, at the same time",
        "三个任务用 apply 逐个做耗时 {one_by_one} 毫秒，用 apply_async 同时做耗时 {together} 毫秒"
    );
    Ok(())
}

/// Submits a job and waits for its result.
fn apply(pool: &mut Squares, job: u64) -> Result<(i32, u64), Failure> {
    let ticket = pool.apply_async(job)?;
    Ok(pool.get(ticket)?)
}

fn which_did_which(pool: &mut Squares) -> Result<(), Failure> {
    part!("map and imap: which process did which job", "map 和 imap：哪个进程做了哪个任务");
    let results = pool.map(1..=9).into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut jobs_of = BTreeMap::<i32, Vec<usize>>::new();
    results.iter().zip(1..).for_each(|((pid, _), job)| jobs_of.entry(*pid).or_default().push(job));
    jobs_of.iter().for_each(|(pid, jobs)| {
        say!("map: pid {pid} did jobs {jobs:?}", "map：pid {pid} 做了任务 {jobs:?}")
    });
    let squares: Vec<u64> = results.into_iter().map(|(_, square)| square).collect();
    shown!(
        "map: {squares:?}, in order, by {} processes",
        "map：{squares:?}，按顺序，由 {} 个进程完成",
        jobs_of.len()
    );

    say!(
        "imap over endless jobs, each longer than the one before:",
        "imap 处理无穷无尽的任务，一个比一个耗时："
    );
    for result in pool.imap((20..).step_by(20)).take(3) {
        let (pid, square) = result?;
        say!("    {square} is there, by pid {pid}", "    {square} 到了，由 pid {pid} 完成");
    }
    Ok(())
}

fn panic_and_death(pool: &mut Squares) -> Result<(), Failure> {
    part!(
        "a job that panics, a job in which the process dies, and a good job",
        "一个会 panic 的任务，一个让进程死掉的任务，一个正常任务"
    );
    for job in [100_000, 0, 7] {
        let ticket = pool.apply_async(job)?;
        match pool.get(ticket) {
            Ok((pid, square)) => say!(
                "{job} squared is {square}, by pid {pid}",
                "{job} 的平方是 {square}，由 pid {pid} 完成"
            ),
            Err(error) => say!("{job}: {}", "{job}：{}", why(&error)),
        }
    }
    shown!("the pool goes on with processes {}", "进程池继续工作，进程为 {}", pids(pool));
    Ok(())
}

fn closed_and_joined(mut pool: Squares) -> Result<(), Failure> {
    part!("a pool that is closed and joined", "进程池：close 再 join");
    let last: Vec<_> = (1..=6).map(|job| pool.apply_async(job)).collect::<Result<_, _>>()?;
    pool.close();
    if pool.apply_async(1) == Err(ApplyError::Closed) {
        say!(
            "closed; another job? no: the pool is closed",
            "已 close；还能加任务吗？不能：进程池已关闭"
        );
    }
    pool.join();
    let sum: u64 = last
        .into_iter()
        .map(|ticket| pool.get(ticket).map(|(_, square)| square))
        .sum::<Result<_, _>>()?;
    shown!(
        "joined: the last six are done, the sum of their squares is {sum}",
        "已 join：最后六个任务都做完了，平方和是 {sum}"
    );
    Ok(())
}

fn terminated() -> Result<(), Failure> {
    part!(
        "a pool that is terminated after the first result",
        "得到第一个结果后就 terminate 的进程池"
    );
    let mut pool = Pool::start("square", PROCESSES, square).cannot("start the pool")?;
    let tickets: Vec<_> =
        (1..=TOO_MANY).map(|job| pool.apply_async(job)).collect::<Result<_, _>>()?;
    let first = pool.get(tickets[0])?;
    pool.terminate();
    let lost: Vec<_> = tickets[1..].iter().filter_map(|ticket| pool.get(*ticket).err()).collect();
    shown!(
        "terminated after the first ({}): {} of the other {} have no result: {}",
        "得到第一个结果（{0}）后 terminate：其余 {2} 个任务中有 {1} 个没有结果：{3}",
        first.1,
        lost.len(),
        tickets.len() - 1,
        lost.first().map_or_else(String::new, why)
    );
    Ok(())
}

fn dropped() -> Result<(), Failure> {
    part!("a pool that ends without join", "不 join 就结束的进程池");
    let done = Value::map("done").cannot("map a value")?;
    let note = move |number: u64| {
        let result = square(number);
        done.increase(1);
        result
    };
    let mut pool = Pool::start("square", PROCESSES, note).cannot("start the pool")?;
    for job in 1..=TOO_MANY {
        pool.apply_async(job)?;
    }
    say!(
        "{TOO_MANY} jobs were submitted to the processes {}",
        "向进程 {} 提交了 {TOO_MANY} 个任务",
        pids(&pool)
    );
    wait_until("the first job to be done", || done.get() > 0)?;
    // As at the end of a function that forgets close and join: the pool kills its processes and
    // waits for their end.
    drop(pool);
    let done = done.get();
    shown!(
        "dropped without join: {done} of {TOO_MANY} jobs were done, {} are lost, and the processes have ended",
        "没有 join 就丢弃：{TOO_MANY} 个任务做完了 {done} 个，丢失 {} 个，进程都已结束",
        TOO_MANY - done
    );
    Ok(())
}

/// The job. A larger number takes longer, within limits.
fn square(number: u64) -> (i32, u64) {
    nap(number.clamp(20, 60));
    match number {
        // Ends the process by a signal, as a crash does, or the kernel when memory is short.
        0 => std::process::abort(),
        100_000.. => panic!("{}", text!("{number} is too much for me", "{number} 太大了")),
        _ => (getpid().as_raw(), number * number),
    }
}

fn why(error: &JobError) -> String {
    match error {
        JobError::Died(end) => {
            text!("the process that did the job {}", "执行该任务的进程{}", ended(*end))
        }
        JobError::Panicked(message) => {
            text!("the job panicked: {message}", "任务 panic：{message}")
        }
        JobError::Terminated => text!(
            "the pool was terminated before the job was done",
            "任务做完之前进程池就被 terminate 了"
        ),
        error => error.to_string(),
    }
}

fn pids(pool: &Squares) -> String {
    pool.processes()
        .iter()
        .map(Process::pid)
        .map(|pid| pid.to_string())
        .collect::<Vec<_>>()
        .join(", ")
}
