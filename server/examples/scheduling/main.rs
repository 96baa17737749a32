//! Which process runs when and where: nice values, scheduling policies, yielding, CPU affinity.
//!
//! In the server: `--nice`, `--sched` and `--pin`; `supervisor/scheduling.rs` says which process
//! gets what, and why.

mod affinity;
mod contest;
#[path = "../stage/mod.rs"]
mod stage;

use Way::{AsStarted, Nice, Scheduled, Yielding};
use contest::{Way, contest};
use forkchat_server::ipc::process::{End, Process};
use forkchat_server::sys::scheduling::{Policy, nice, set_policy};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;
use stage::{Attempt, Failure, Lesson, part, say, shown};
use std::process::ExitCode;

/// A step is about a tenth of the CPU. For a process that was started with a higher nice value, 19
/// makes too little difference to be seen.
const NICE_SHOWN_MAX: i8 = 14;
/// Shares of a CPU, in percent: enough to compare, almost a turn of `rr` (100 ms of 400), and
/// almost all of it.
const ENOUGH: f64 = 2.0;
const A_TURN: f64 = 20.0;
const MOST: f64 = 70.0;
const MYSELF: Pid = Pid::from_raw(0);

const LESSON: Lesson = Lesson {
    about: ["Which process runs when, and on which CPU", "哪个进程何时在哪个 CPU 上运行"],
    watch_for: &[
        [
            "two equal processes on one CPU get about half of it each; nice 19 and the policy idle get far less",
            "同一个 CPU 上两个相同的进程各得约一半；nice 19 和 idle 策略得到的少得多",
        ],
        [
            "on another CPU a low priority costs nothing: nice 19 gets about all of it",
            "在另一个 CPU 上，低优先级没有代价：nice 19 几乎能用满它",
        ],
        [
            "a process that yields leaves its CPU to others that want it, but only on the same CPU",
            "主动 yield 的进程让出 CPU，但只让给同一个 CPU 上的进程",
        ],
        [
            "affinity: the kernel mostly keeps a process on its CPU (soft); a pinned process never moves (hard)",
            "亲和性：内核多半让进程留在原来的 CPU 上（软亲和）；绑定后绝不迁移（硬亲和）",
        ],
        [
            "real time (fifo, rr) comes before all others; of two real-time processes fifo runs one to its end, rr in turns",
            "实时策略（fifo、rr）优先于所有普通进程；两个实时进程之间，fifo 一个运行到底，rr 轮流",
        ],
    ],
};

fn main() -> ExitCode {
    stage::play(&LESSON, |()| {
        let allowed = sched_getaffinity(MYSELF).cannot("ask which CPUs this process may use")?;
        let cpus: Vec<usize> =
            (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu) == Ok(true)).collect();
        shares(cpus[0], cpus[cpus.len() - 1])?;
        affinity::soft_and_hard(&cpus)?;
        real_time(cpus[cpus.len() - 1])
    })
}

fn shares(first: usize, cpu: usize) -> Result<(), Failure> {
    part!("equal processes on one CPU", "同一个 CPU 上的相同进程");
    let equal = contest(&[(cpu, AsStarted), (cpu, AsStarted)], |shares| {
        shares.iter().all(|&share| share >= ENOUGH)
    })?;

    part!("nice values", "nice 值");
    let nice = nice().cannot("ask for our nice value")?;
    let by_nice = if nice <= NICE_SHOWN_MAX {
        contest(&[(cpu, AsStarted), (cpu, Nice(19))], |shares| shares[0] >= shares[1] + ENOUGH)?
    } else {
        say!(
            "not shown: this process was started at nice {nice}, and 19 is the highest",
            "不演示：本进程启动时 nice 已是 {nice}，最高为 19"
        );
        Vec::new()
    };

    part!("policies", "调度策略");
    let by_policy = contest(
        &[
            (cpu, Scheduled(Policy::Other)),
            (cpu, Scheduled(Policy::Batch)),
            (cpu, Scheduled(Policy::Idle)),
        ],
        |shares| shares[0].min(shares[1]) >= shares[2] + ENOUGH,
    )?;

    part!("yielding", "主动让出（yield）");
    let by_yielding =
        contest(&[(cpu, AsStarted), (cpu, Yielding)], |shares| shares[0] >= shares[1] + ENOUGH)?;

    part!("two CPUs", "两个 CPU");
    let apart = if first == cpu {
        say!("not shown: this process may use one CPU only", "不演示：本进程只能使用一个 CPU");
        Vec::new()
    } else {
        contest(&[(first, AsStarted), (cpu, Nice(19))], each_has_most)?
    };
    shown!(
        "two equal processes shared their time {}",
        "两个相同的进程分得的时间之比 {}",
        ratio(&equal)
    );
    if !by_nice.is_empty() {
        shown!(
            "as started and nice 19 shared their time {}",
            "默认与 nice 19 分得的时间之比 {}",
            ratio(&by_nice)
        );
    }
    shown!(
        "other, batch and idle shared their time {}",
        "other、batch、idle 分得的时间之比 {}",
        ratio(&by_policy)
    );
    shown!(
        "as started and yielding shared their time {}",
        "默认与不断 yield 分得的时间之比 {}",
        ratio(&by_yielding)
    );
    if !apart.is_empty() && each_has_most(&apart) {
        shown!(
            "on another CPU nice costs nothing: {:.0} % and {:.0} %",
            "在另一个 CPU 上 nice 没有代价：{:.0} % 和 {:.0} %",
            apart[0],
            apart[1]
        );
    }
    Ok(())
}

/// Whether each process got most of a CPU.
fn each_has_most(shares: &[f64]) -> bool {
    shares.iter().all(|&share| share >= MOST)
}

/// Needs a right. A real-time process that spins leaves its CPU to nothing else, so these contests
/// are short.
fn real_time(cpu: usize) -> Result<(), Failure> {
    part!("real time", "实时调度");
    let has_right = || set_policy(Policy::Fifo, 1).map_or_else(|errno| errno as i32, |()| 0);
    if Process::start(has_right).cannot("start a process")?.join() != End::Exited(0) {
        shown!(
            "real time is not shown: it needs CAP_SYS_NICE or a limit on real-time priority (ulimit -r) of at least 1",
            "无法演示实时调度：需要 CAP_SYS_NICE，或实时优先级上限（ulimit -r）至少为 1"
        );
        return Ok(());
    }
    let over_other =
        contest(&[(cpu, Scheduled(Policy::Other)), (cpu, Scheduled(Policy::Fifo))], |shares| {
            shares[1] >= shares[0] + MOST
        })?;
    let fifo =
        contest(&[(cpu, Scheduled(Policy::Fifo)), (cpu, Scheduled(Policy::Fifo))], |shares| {
            (shares[0] - shares[1]).abs() >= MOST
        })?;
    let round_robin = contest(
        &[(cpu, Scheduled(Policy::RoundRobin)), (cpu, Scheduled(Policy::RoundRobin))],
        |shares| shares.iter().all(|&share| share >= A_TURN),
    )?;
    shown!(
        "other and fifo shared their time {}; two fifo of one priority {}; two rr of one priority {}",
        "other 与 fifo 分得的时间之比 {}；两个同优先级 fifo {}；两个同优先级 rr {}",
        ratio(&over_other),
        ratio(&fifo),
        ratio(&round_robin)
    );
    Ok(())
}

/// How the processes shared what they got together: "49 : 51".
fn ratio(shares: &[f64]) -> String {
    let all: f64 = shares.iter().sum();
    shares
        .iter()
        .map(|share| format!("{:.0}", share / all.max(f64::MIN_POSITIVE) * 100.0))
        .collect::<Vec<_>>()
        .join(" : ")
}
