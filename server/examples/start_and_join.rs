//! Starts processes, looks at them, waits for them, and ends them.
//!
//! Each part is a function below, in the order in which it runs.
//!
//! In the server: `supervisor/spawn.rs` starts the workers, and `supervisor/reap.rs` reports how
//! they ended.

mod stage;

use forkchat_server::ipc::process::Process;
use forkchat_server::ipc::value::Value;
use nix::unistd::getppid;
use stage::{Attempt, Failure, Lesson, ended, nap, part, patience, say, shown, slowed, wait_until};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

const LESSON: Lesson = Lesson {
    about: ["Processes: start, look, wait, end", "进程：启动、查看、等待、结束"],
    watch_for: &[
        ["the pids, and which process is the parent of which", "各个 pid，以及谁是谁的父进程"],
        ["join waits, is_alive does not", "join 会等待，is_alive 不会"],
        [
            "two children that are joined after both were started take as long as the longer one; started and joined one by one they take the sum",
            "先全部启动再 join，总时间等于最慢的那个子进程；启动一个 join 一个，总时间是两者之和",
        ],
        [
            "an exit code is what a process returns; a signal is what cuts it off, mostly sent from outside",
            "退出码由进程自己给出；信号则强行中断它，一般来自外部",
        ],
    ],
};

fn main() -> ExitCode {
    stage::play(&LESSON, |()| {
        arguments_and_exit_code()?;
        looking()?;
        joined_together_and_one_by_one()?;
        terminated()?;
        killed()?;
        panicked()
    })
}

fn arguments_and_exit_code() -> Result<(), Failure> {
    part!("a child gets arguments and returns an exit code", "子进程得到参数，返回退出码");
    // The arguments are the variables that the function captures. The child has a copy of the
    // parent's whole memory.
    let (name, naps) = ("anna", 3);
    let mut anna = Process::start(|| work(name, naps)).cannot("start anna")?;
    say!(
        "started anna as pid {}; is she alive? {}",
        "已启动 anna，pid {}；她还活着吗？{}",
        anna.pid(),
        anna.is_alive()
    );
    say!("the parent waits for anna", "父进程等待 anna");
    let end = ended(anna.join());
    say!("anna {end}; is she alive? {}", "anna {end}；她还活着吗？{}", anna.is_alive());
    Ok(())
}

fn looking() -> Result<(), Failure> {
    part!("the parent looks instead of waiting", "父进程只查看，不等待");
    let mut berta = Process::start(|| work("berta", 4)).cannot("start berta")?;
    say!(
        "started berta as pid {}; the parent does not wait",
        "已启动 berta，pid {}；父进程不等待",
        berta.pid()
    );
    let mut looks = 0;
    while berta.is_alive() {
        looks += 1;
        nap(10);
    }
    say!("after {looks} looks: berta {}", "查看 {looks} 次之后：berta {}", ended(berta.join()));
    Ok(())
}

fn joined_together_and_one_by_one() -> Result<(), Failure> {
    part!(
        "two children, of 3 and of 5 naps of 20 ms",
        "两个子进程，分别小睡 3 次和 5 次，每次 20 毫秒"
    );
    let began = Instant::now();
    let mut both =
        [("short", 3), ("long", 5)].map(|(name, naps)| Process::start(move || work(name, naps)));
    for child in &mut both {
        child.as_mut().map_err(|error| Failure(format!("cannot start a child: {error}")))?.join();
    }
    let together = began.elapsed().as_millis();
    say!(
        "both were started, then both joined: {together} ms",
        "先启动两个，再依次 join：{together} 毫秒"
    );

    let began = Instant::now();
    for (name, naps) in [("short", 3), ("long", 5)] {
        // Not what a beginner means: the second child starts only after the first has ended.
        Process::start(|| work(name, naps)).cannot(format!("start {name}"))?.join();
    }
    let one_by_one = began.elapsed().as_millis();
    say!(
        "each was joined before the next was started: {one_by_one} ms",
        "每启动一个就立即 join：{one_by_one} 毫秒"
    );
    shown!(
        "together {together} ms, the time of the longer child; one by one {one_by_one} ms, the sum of both",
        "一起等待 {together} 毫秒，即较慢者的时间；逐个等待 {one_by_one} 毫秒，即两者之和"
    );
    Ok(())
}

fn terminated() -> Result<(), Failure> {
    part!("a child is asked to end (SIGTERM)", "请求子进程结束（SIGTERM）");
    let mut clara = Process::start(|| work("clara", 1_000)).cannot("start clara")?;
    let timeout = slowed(Duration::from_millis(80));
    let in_time = clara.join_timeout(timeout);
    say!(
        "waited {} ms for clara; has she ended? {}",
        "等了 clara {} 毫秒；她结束了吗？{}",
        timeout.as_millis(),
        in_time.is_some()
    );
    clara.terminate();
    // The signal is on its way: the kernel still has to run clara, who ends by it.
    let right_after = clara.is_alive();
    let end = ended(clara.join());
    say!(
        "right after terminate: is clara alive? {right_after}",
        "刚调用 terminate：clara 还活着吗？{right_after}"
    );
    say!(
        "clara {end} (SIGTERM: a process may catch it and tidy up); is she alive now? {}",
        "clara {end}（SIGTERM：进程可以捕获它并做清理）；现在还活着吗？{}",
        clara.is_alive()
    );
    shown!(
        "terminate only sends a signal: is_alive may still be true right after it; after join it is false",
        "terminate 只是发出信号：紧接着 is_alive 可能仍为 true；join 之后才一定是 false"
    );
    Ok(())
}

fn killed() -> Result<(), Failure> {
    part!("a child is killed (SIGKILL)", "杀死子进程（SIGKILL）");
    let has_begun = Value::map("example-has-begun").cannot("map a shared value")?;
    let mut dora = Process::start(|| {
        say!("dora begins", "dora 开始");
        has_begun.set(1);
        sleep(patience());
        0
    })
    .cannot("start dora")?;
    wait_until("dora to begin", || has_begun.get() == 1)?;
    dora.kill();
    say!(
        "dora {} (SIGKILL: a process can't catch it)",
        "dora {}（SIGKILL：进程无法捕获）",
        ended(dora.join())
    );
    Ok(())
}

fn panicked() -> Result<(), Failure> {
    part!("a child panics", "子进程 panic");
    let mut emma = Process::start(|| panic!("emma's mistake")).cannot("start emma")?;
    let end = ended(emma.join());
    say!("emma, who panicked, {end}", "发生 panic 的 emma {end}");
    shown!(
        "join returned four kinds of end: exit codes of the children's own, SIGTERM, SIGKILL, and a panic's exit code",
        "join 返回了四种结局：子进程自己的退出码、SIGTERM、SIGKILL，以及 panic 的退出码"
    );
    Ok(())
}

/// The child's function. Returns its exit code.
fn work(name: &str, naps: u32) -> i32 {
    say!("{name} begins; the parent is pid {}", "{name} 开始；父进程是 pid {}", getppid());
    for _ in 0..naps {
        nap(20);
    }
    say!("{name} is done after {naps} naps", "{name} 小睡 {naps} 次后完成");
    naps as i32
}
