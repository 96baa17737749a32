//! A process that does something every N ms. A loop of sleeps drifts; a timer of the kernel
//! (timerfd) does not, and counts the ticks that were missed.
//!
//! In the server: `supervisor/mod.rs` computes before each wait how long it is until the next task
//! is due. It needs no timer for that.

mod stage;

use forkchat_server::ipc::process::Process;
use forkchat_server::ipc::value::{Array, Value};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::unistd::read;
use stage::{Attempt, Failure, Lesson, exit_code, nap, part, say, shown, slowed, went_well};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const LESSON: Lesson = Lesson {
    about: ["A clock process: a regular tick, without drift", "时钟进程：节拍均匀，不漂移"],
    watch_for: &[
        [
            "in a loop of sleeps each tick takes the sleep and the work, and the error adds up",
            "sleep 循环里，每一拍的时间是睡眠加干活，误差不断累积",
        ],
        [
            "a timer ticks on during the work, so a late tick does not delay the next one",
            "干活期间定时器照走，所以某一拍迟到不会推迟下一拍",
        ],
        [
            "read(2) on a timer returns how many times it has expired since the last read",
            "对定时器调用 read(2)，返回自上次读取以来到期的次数",
        ],
        [
            "more than 1 is an overrun: the work took longer than the period, and ticks were missed",
            "大于 1 就是超限（overrun）：干活的时间超过了周期，错过了若干拍",
        ],
    ],
};
const PERIOD_MS: u64 = 20;
const WORK_MS: u64 = 5;
const TICKS: usize = 20;

fn main() -> ExitCode {
    stage::play(&LESSON, |()| {
        drift()?;
        overruns()
    })
}

/// Both clocks run at the same time, in a process each.
fn drift() -> Result<(), Failure> {
    part!(
        "two clocks, {TICKS} ticks of {PERIOD_MS} ms, {WORK_MS} ms of work at each (--slow: ten times as long)",
        "两个时钟，{TICKS} 拍，周期 {PERIOD_MS} 毫秒，每拍干活 {WORK_MS} 毫秒（--slow 时为十倍）"
    );
    let (sleeps, timer) = (Ticks::map()?, Ticks::map()?);
    let mut by_sleeps =
        Process::start(|| exit_code(tick_by_sleeps(sleeps))).cannot("start the loop of sleeps")?;
    let mut by_timer =
        Process::start(|| exit_code(tick_by_timer(timer))).cannot("start the timer")?;
    say!(
        "pid {} sleeps, pid {} has a timer",
        "pid {} 用 sleep，pid {} 用定时器",
        by_sleeps.pid(),
        by_timer.pid()
    );
    went_well("the loop of sleeps", by_sleeps.join())?;
    went_well("the timer", by_timer.join())?;
    for tick in [1, 5, 10, 15, TICKS] {
        say!(
            "tick {tick} was due after {} ms: with sleeps it came after {}, with the timer after {}",
            "第 {tick} 拍应在 {} 毫秒：sleep 循环在 {}，定时器在 {}",
            due(tick).as_millis(),
            sleeps.when(tick),
            timer.when(tick)
        );
    }
    shown!(
        "after {TICKS} ticks the loop of sleeps was {} ms late, the timer {} ms",
        "{TICKS} 拍之后，sleep 循环迟了 {} 毫秒，定时器迟了 {} 毫秒",
        sleeps.late().as_millis(),
        timer.late().as_millis()
    );
    Ok(())
}

fn tick_by_sleeps(ticks: Ticks) -> Result<(), Failure> {
    let began = Instant::now();
    for tick in 1..=TICKS {
        nap(PERIOD_MS);
        ticks.came(tick, began.elapsed());
        nap(WORK_MS);
    }
    Ok(())
}

fn tick_by_timer(ticks: Ticks) -> Result<(), Failure> {
    let (began, timer) = (Instant::now(), start_timer()?);
    let mut tick = 0;
    while tick < TICKS {
        // After an overrun this is more than the next tick: the number stays right.
        tick += wait_for(&timer)?;
        ticks.came(tick, began.elapsed());
        nap(WORK_MS);
    }
    Ok(())
}

fn overruns() -> Result<(), Failure> {
    part!("one of the ticks takes longer than three periods", "其中一拍的工作超过三个周期");
    let (reads, expirations) = (Value::map("example-reads")?, Value::map("example-expirations")?);
    let run = || {
        let (began, timer) = (Instant::now(), start_timer()?);
        while reads.get() < 8 {
            let expired = wait_for(&timer)?;
            let (read, tick) = (reads.increase(1), expirations.increase(expired as u64));
            let now = began.elapsed().as_millis();
            say!(
                "after {now} ms read {read} returned {expired}: this is tick {tick}",
                "{now} 毫秒时，第 {read} 次 read 返回 {expired}：这是第 {tick} 拍"
            );
            if read == 3 {
                say!("this tick's work takes three and a half periods", "这一拍的工作要三个半周期");
                nap(PERIOD_MS * 7 / 2);
            }
        }
        Ok(())
    };
    went_well("the clock", Process::start(|| exit_code(run())).cannot("start a clock")?.join())?;
    let (reads, expirations) = (reads.get(), expirations.get());
    shown!(
        "the timer expired {expirations} times, {reads} reads saw it: {} ticks were missed, and counted",
        "定时器到期 {expirations} 次，read 了 {reads} 次：错过 {} 拍，但都计了数",
        expirations - reads
    );
    Ok(())
}

/// A timer that expires every period from now on. It is a descriptor, so epoll can wait for it
/// beside sockets. Source: timerfd_create(2).
fn start_timer() -> Result<TimerFd, Failure> {
    let timer =
        TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC).cannot("make a timer")?;
    let every_period = Expiration::Interval(TimeSpec::from_duration(due(1)));
    timer.set(every_period, TimerSetTimeFlags::empty()).cannot("start the timer")?;
    Ok(timer)
}

/// Waits until the timer has expired. Returns how many times it has since the last call.
/// (`TimerFd::wait` does not return that number.)
fn wait_for(timer: &TimerFd) -> Result<usize, Failure> {
    let mut expired = [0; 8];
    read(timer, &mut expired).cannot("read the timer")?;
    Ok(u64::from_ne_bytes(expired) as usize)
}

/// When a tick is due, counted from the start.
fn due(tick: usize) -> Duration {
    slowed(Duration::from_millis(PERIOD_MS)) * tick as u32
}

/// When each tick came, in microseconds from the start, in memory that the clock shares with its
/// parent. 0 if it was missed.
#[derive(Clone, Copy)]
struct Ticks(Array<AtomicU64>);

impl Ticks {
    fn map() -> Result<Ticks, Failure> {
        Array::map("example-ticks", TICKS + 1).map(Ticks).cannot("map the ticks")
    }

    /// A tick after the last one, following an overrun, counts as late for the last one.
    fn came(self, tick: usize, after: Duration) {
        self.0[tick.min(TICKS)].store(after.as_micros() as u64, Ordering::Relaxed);
    }

    fn after(self, tick: usize) -> Duration {
        Duration::from_micros(self.0[tick].load(Ordering::Relaxed))
    }

    fn when(self, tick: usize) -> String {
        let after = self.after(tick);
        if after.is_zero() {
            stage::text!("(missed)", "（错过）")
        } else {
            stage::text!("{} ms", "{} 毫秒", after.as_millis())
        }
    }

    /// How late the last tick was.
    fn late(self) -> Duration {
        self.after(TICKS).saturating_sub(due(TICKS))
    }
}
