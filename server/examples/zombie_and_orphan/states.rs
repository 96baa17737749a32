//! A process for each of the states that `ps` shows most often: R, S, T, Z.

use crate::stage::proc::state;
use crate::stage::{Attempt, Failure, part, patience, say, shown, text, wait_until};
use forkchat_server::ipc::process::Process;
use forkchat_server::ipc::value::Value;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::hint::spin_loop;
use std::process::Command;
use std::thread::sleep;
use std::time::Instant;

/// Starts the four, waits until each is in its state, and looks at them.
pub fn four_states() -> Result<(), Failure> {
    part!("four processes in four states", "四个进程，四种状态");
    let begun = Value::map("example-begun").cannot("map a shared value")?;
    let spinning = Process::start(spin).cannot("start a child")?;
    let sleeping = Process::start(|| rest(begun)).cannot("start a child")?;
    let stopped = Process::start(|| rest(begun)).cannot("start a child")?;
    // It ends at once, and is not waited for.
    let ended = Process::start(|| 3).cannot("start a child")?;
    // Not before it has asked to be killed with its parent.
    wait_until("two children to begin", || begun.get() == 2)?;
    stopped.signal(Signal::SIGSTOP);
    let children = [
        (
            'R',
            &spinning,
            text!("running, or ready to run: it computes", "正在运行或可以运行：在做计算"),
        ),
        (
            'S',
            &sleeping,
            text!("sleeping: it waits, here for a time to pass", "睡眠：在等待，这里是等时间过去"),
        ),
        (
            'T',
            &stopped,
            text!("stopped, by SIGSTOP, until SIGCONT", "暂停：收到 SIGSTOP，直到 SIGCONT 才继续"),
        ),
        (
            'Z',
            &ended,
            text!(
                "zombie: it has ended, and its parent has not waited for it",
                "僵尸：已经结束，父进程还没有 wait"
            ),
        ),
    ];
    let mut states = Vec::new();
    for (state, child, meaning) in &children {
        wait_until(&format!("a process in state {state}"), || {
            self::state(child.pid()) == Some(*state)
        })?;
        say!("pid {}: state {state}, {meaning}", "pid {}：状态 {state}，{meaning}", child.pid());
        states.push(format!("{} {state}", child.pid()));
    }
    show_with_ps(&children.map(|(_, child, _)| child.pid()))?;
    shown!(
        "four pids and their states in /proc: {}",
        "四个 pid 及其在 /proc 中的状态：{}",
        states.join(", ")
    );
    Ok(())
}

fn spin() -> i32 {
    let start = Instant::now();
    while start.elapsed() < patience() {
        spin_loop();
    }
    1
}

fn rest(begun: Value) -> i32 {
    begun.increase(1);
    sleep(patience());
    1
}

/// The command that a reader would use. Not every machine has it.
fn show_with_ps(pids: &[Pid]) -> Result<(), Failure> {
    let pids: Vec<String> = pids.iter().map(Pid::to_string).collect();
    let arguments = ["-o", "pid,ppid,stat,comm", "-p", &pids.join(",")];
    say!(
        "to see them: ps {} (STAT: the state is the first letter; N: niced)",
        "查看它们的命令：ps {}（STAT 的首字母是状态；N 表示低优先级）",
        arguments.join(" ")
    );
    match Command::new("ps").args(arguments).output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout)
            .lines()
            .for_each(|line| say!("    {line}", "    {line}")),
        Err(error) => say!("ps can't be run here: {error}", "这里无法运行 ps：{error}"),
    }
    Ok(())
}
