//! Soft affinity, the kernel's preference, and hard affinity, a process's order: how often a
//! process changes its CPU.

use crate::contest::pin_to;
use crate::stage::{Attempt, Failure, part, say, shown, slowed, went_well};
use forkchat_server::ipc::process::Process;
use forkchat_server::ipc::value::{Array, Value};
use nix::errno::Errno;
use nix::sched::sched_getcpu;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};
use zerocopy::FromBytes;

/// How long the migrations are counted.
const COUNTED: Duration = Duration::from_millis(250);
/// In turns a process computes for so long and sleeps for so long: at each wake-up the kernel
/// chooses a CPU.
const COMPUTED: Duration = Duration::from_millis(1);
const SLEPT: Duration = Duration::from_micros(500);

/// How often a process pins itself to the next CPU.
const PINS: usize = 10;

/// What a process counted.
#[derive(FromBytes)]
#[repr(C)]
struct Counted {
    wake_ups: AtomicU64,
    migrations: AtomicU64,
}

/// A process more than there are CPUs: free to move, and pinned.
pub fn soft_and_hard(cpus: &[usize]) -> Result<(), Failure> {
    part!(
        "affinity: {} processes compute and sleep in turns; CPUs: {}",
        "亲和性：{} 个进程交替计算和睡眠；CPU 数：{}",
        cpus.len() + 1,
        cpus.len()
    );
    let (free_wake_ups, free) = migrations(cpus, false)?;
    let (pinned_wake_ups, pinned) = migrations(cpus, true)?;
    let moved = pinned_in_turn(cpus)?;
    shown!(
        "soft affinity: {free_wake_ups} wake-ups, migrations: {free}; pinned: {pinned_wake_ups} wake-ups, migrations: {pinned}; \
         pinned to each CPU in turn: {PINS} pins, migrations: {moved}",
        "软亲和：醒来 {free_wake_ups} 次，迁移 {free} 次；绑定后：醒来 {pinned_wake_ups} 次，迁移 {pinned} 次；\
         轮流绑定到各个 CPU：绑定 {PINS} 次，迁移 {moved} 次"
    );
    Ok(())
}

/// Returns how often all processes together woke up, and how often they changed their CPU.
fn migrations(cpus: &[usize], pinned: bool) -> Result<(u64, u64), Failure> {
    let counted = Array::<Counted>::map("counted", cpus.len() + 1).cannot("map the counts")?;
    let run = |number: usize| {
        let is_ready = if pinned { pin_to(cpus[number % cpus.len()]) } else { Ok(()) };
        is_ready.and_then(|()| count(&counted[number])).map_or_else(|errno| errno as i32, |()| 0)
    };
    let processes = (0..counted.len())
        .map(|number| Process::start(|| run(number)))
        .collect::<io::Result<Vec<_>>>();
    for (process, counted) in processes.cannot("start the processes")?.iter_mut().zip(*counted) {
        let pid = process.pid();
        went_well(format!("pid {pid}"), process.join())?;
        let (wake_ups, moves) =
            (counted.wake_ups.load(Ordering::Relaxed), counted.migrations.load(Ordering::Relaxed));
        if pinned {
            say!(
                "pid {pid}, pinned: {wake_ups} wake-ups, migrations: {moves}",
                "pid {pid}，已绑定：醒来 {wake_ups} 次，迁移 {moves} 次"
            );
        } else {
            say!(
                "pid {pid}, free to move: {wake_ups} wake-ups, migrations: {moves}",
                "pid {pid}，未绑定：醒来 {wake_ups} 次，迁移 {moves} 次"
            );
        }
    }
    let sum = |of: fn(&Counted) -> &AtomicU64| {
        counted.iter().map(|counted| of(counted).load(Ordering::Relaxed)).sum()
    };
    Ok((sum(|counted| &counted.wake_ups), sum(|counted| &counted.migrations)))
}

/// A process that pins itself to one CPU after the other: the kernel moves it at once. Returns how
/// often it changed its CPU.
fn pinned_in_turn(cpus: &[usize]) -> Result<u64, Failure> {
    let moves = Value::map("moves").cannot("map a value")?;
    let run = || {
        let mut before = sched_getcpu()?;
        for cpu in cpus.iter().cycle().take(PINS) {
            pin_to(*cpu)?;
            moves.increase(u64::from(sched_getcpu()? != before));
            before = *cpu;
        }
        Ok(())
    };
    let code = || run().map_or_else(|errno: Errno| errno as i32, |()| 0);
    let mut process = Process::start(code).cannot("start a process")?;
    went_well(format!("pid {}", process.pid()), process.join())?;
    say!(
        "pid {}, pinned to each CPU in turn: {PINS} pins, migrations: {}",
        "pid {}，轮流绑定到各个 CPU：绑定 {PINS} 次，迁移 {} 次",
        process.pid(),
        moves.get()
    );
    Ok(moves.get())
}

/// Computes and sleeps in turns, and asks all the while on which CPU it is: a change is a
/// migration.
fn count(counted: &Counted) -> nix::Result<()> {
    let (began, mut cpu) = (Instant::now(), sched_getcpu()?);
    while began.elapsed() < slowed(COUNTED) {
        let turn = Instant::now();
        while turn.elapsed() < COMPUTED {
            let now = sched_getcpu()?;
            if now != cpu {
                counted.migrations.fetch_add(1, Ordering::Relaxed);
                cpu = now;
            }
        }
        sleep(SLEPT);
        counted.wake_ups.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
