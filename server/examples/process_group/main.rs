//! Shows process groups and sessions: which children a signal reaches, which children `waitpid`
//! waits for, and which group has the terminal.
//!
//! In the server: `daemon/mod.rs` starts the daemon in a session of its own (`setsid`). When `stop`
//! has killed a daemon, it waits until the whole group is gone (`killpg` without a signal).

#[path = "../stage/mod.rs"]
mod stage;
mod terminal;

use forkchat_server::ipc::process::End;
use forkchat_server::ipc::value::Value;
use forkchat_server::sys::process::fork_child;
use forkchat_server::sys::signals::reset_signal;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpgid, getpgrp, getsid, setpgid};
use stage::{Attempt, Failure, Lesson, ended, part, patience, say, shown, text, wait_until};
use std::iter;
use std::process::ExitCode;
use std::thread::sleep;

const LESSON: Lesson = Lesson {
    about: ["Process groups, sessions, foreground and background", "进程组、会话、前台与后台"],
    watch_for: &[
        [
            "a child is in its parent's group and session, until it changes that",
            "子进程起初与父进程同属一个进程组和会话，之后可以更改",
        ],
        [
            "killpg sends a signal to every process of a group, and to no other",
            "killpg 把信号发给进程组的每个进程，不会发给组外的进程",
        ],
        [
            "waitpid waits for a child (> 0), for any of the caller's group (0), for any (-1), or for any of the group |pid| (< -1)",
            "waitpid 等待某个子进程（> 0）、本组的任一子进程（0）、任一子进程（-1），或进程组 |pid| 的任一子进程（< -1）",
        ],
        [
            "a parent also sees that a child is stopped or continued, if it asks",
            "父进程若指定 WUNTRACED/WCONTINUED，也能得知子进程被暂停或恢复",
        ],
        [
            "a terminal belongs to one group: the others are stopped when they read from it and, with tostop, when they write; Ctrl-C does not reach them",
            "终端同一时刻只属于一个进程组：其他组读终端会被暂停，设置 tostop 后写终端也会；Ctrl-C 不会发给它们",
        ],
    ],
};

/// For [`start`]: a new group, whose leader is the child, and whose number is the child's pid.
const OWN_GROUP: Pid = Pid::from_raw(0);

fn main() -> ExitCode {
    stage::play(&LESSON, |()| {
        // The children inherit that: they must not ignore the signal because a shell or `nohup` had
        // it ignored.
        reset_signal(Signal::SIGTERM)?;
        signal_to_a_group()?;
        whom_waitpid_waits_for()?;
        stopped_and_continued()?;
        terminal::foreground_and_background()
    })
}

fn signal_to_a_group() -> Result<(), Failure> {
    part!("a signal to a group", "给进程组发信号");
    say!(
        "the parent is {} (ps -o pid,pgid,sid)",
        "父进程：{}（ps -o pid,pgid,sid）",
        identity(Pid::this())?
    );
    let anna = start(OWN_GROUP, wait_for_signal).cannot("start anna")?;
    let berta = start(anna, wait_for_signal).cannot("start berta")?;
    let clara = start(getpgrp(), wait_for_signal).cannot("start clara")?;
    for (name, child) in [("anna", anna), ("berta", berta), ("clara", clara)] {
        say!("{name} is {}", "{name}：{}", identity(child)?);
    }
    killpg(anna, Signal::SIGTERM)?;
    say!("killpg({anna}, SIGTERM)", "killpg({anna}, SIGTERM)");
    say!("anna {}", "anna {}", seen(waitpid(anna, None)?));
    say!("berta {}", "berta {}", seen(waitpid(berta, None)?));
    let clara_lives = waitpid(clara, Some(WaitPidFlag::WNOHANG))? == WaitStatus::StillAlive;
    kill(clara, Signal::SIGTERM)?;
    waitpid(clara, None)?;
    shown!(
        "a single killpg killed anna and berta, the group {anna}; was clara, in the parent's group, still alive? {clara_lives}",
        "一次 killpg 杀死了进程组 {anna} 的 anna 和 berta；属于父进程组的 clara 还活着吗？{clara_lives}"
    );
    Ok(())
}

/// As `ps -o pid,pgid,sid` shows it.
fn identity(pid: Pid) -> Result<String, Failure> {
    let (group, session) = (getpgid(Some(pid))?, getsid(Some(pid))?);
    Ok(text!(
        "pid {pid}, group {group}, session {session}",
        "pid {pid}，进程组 {group}，会话 {session}"
    ))
}

fn whom_waitpid_waits_for() -> Result<(), Failure> {
    part!("four children, and the four kinds of waitpid", "四个子进程，waitpid 的四种用法");
    let may_end = Value::map("example-may-end").cannot("map a shared value")?;
    let start_one =
        |group, code| start(group, move || exit_when(may_end, code)).cannot("start a child");
    let anna = start_one(OWN_GROUP, 1)?;
    let children = [
        ("anna", anna),
        ("berta", start_one(anna, 2)?),
        ("clara", start_one(OWN_GROUP, 3)?),
        ("dora", start_one(getpgrp(), 4)?),
    ];
    for (name, child) in children {
        say!("{name} is {}", "{name}：{}", identity(child)?);
    }
    let any = Pid::from_raw(-1);
    say!(
        "waitpid(-1, WNOHANG): {}",
        "waitpid(-1, WNOHANG)：{}",
        seen(waitpid(any, Some(WaitPidFlag::WNOHANG))?)
    );
    may_end.set(1);
    let mut order = Vec::new();
    let kinds = [
        ("> 0", children[2].1),
        ("0", Pid::from_raw(0)),
        ("< -1", Pid::from_raw(-anna.as_raw())),
        ("-1", any),
    ];
    for (kind, asked_for) in kinds {
        let status = waitpid(asked_for, None)?;
        let name = children
            .iter()
            .find(|(_, child)| status.pid() == Some(*child))
            .map_or("?", |(name, _)| name);
        say!(
            "{kind}: waitpid({asked_for}): {name} {}",
            "{kind}：waitpid({asked_for})：{name} {}",
            seen(status)
        );
        order.push(name);
    }
    let error = waitpid(any, None).err().unwrap_or(Errno::UnknownErrno);
    say!("waitpid(-1) once more: {error}", "再次 waitpid(-1)：{error}");
    shown!(
        "{}: that child itself, the one in the parent's group, one of the group {anna}, and the one that was left",
        "{}：依次是指定的子进程、父进程组里的那个、进程组 {anna} 中的一个、剩下的那个",
        order.join(", ")
    );
    Ok(())
}

fn stopped_and_continued() -> Result<(), Failure> {
    part!("the parent sees a child stop and continue", "父进程看到子进程暂停和恢复");
    let has_begun = Value::map("example-has-begun").cannot("map a shared value")?;
    let child = start(OWN_GROUP, || {
        has_begun.set(1);
        wait_for_signal()
    })
    .cannot("start a child")?;
    // Until it has asked to be killed with its parent: that must not find it stopped.
    wait_until("the child to begin", || has_begun.get() == 1)?;
    kill(child, Signal::SIGSTOP)?;
    let stopped = waitpid(child, Some(WaitPidFlag::WUNTRACED))?;
    say!(
        "SIGSTOP; waitpid({child}, WUNTRACED): it {}",
        "SIGSTOP；waitpid({child}, WUNTRACED)：{}",
        seen(stopped)
    );
    let plain = waitpid(child, Some(WaitPidFlag::WNOHANG))?;
    say!(
        "waitpid without WUNTRACED, with WNOHANG: it {}",
        "不带 WUNTRACED、带 WNOHANG 的 waitpid：{}",
        seen(plain)
    );
    kill(child, Signal::SIGCONT)?;
    let continued = waitpid(child, Some(WaitPidFlag::WCONTINUED))?;
    say!(
        "SIGCONT; waitpid({child}, WCONTINUED): it {}",
        "SIGCONT；waitpid({child}, WCONTINUED)：{}",
        seen(continued)
    );
    kill(child, Signal::SIGTERM)?;
    let killed = waitpid(child, None)?;
    say!("SIGTERM; waitpid({child}): it {}", "SIGTERM；waitpid({child})：{}", seen(killed));
    shown!(
        "the parent saw that the child {}, {}, {}",
        "父进程看到子进程{}，{}，{}",
        seen(stopped),
        seen(continued),
        seen(killed)
    );
    Ok(())
}

/// Starts a child in a group. It dies with its parent, in whatever group it is.
fn start(group: Pid, main: impl FnOnce() -> i32) -> Result<Pid, Failure> {
    let child = fork_child((), |()| Vec::new(), iter::empty(), &[], |(), _| main())?;
    // A shell does this in the child, too: either may come first. Here the child doesn't depend on
    // it.
    setpgid(child, group)?;
    Ok(child)
}

/// A child's function. A child that is in the background of the caller's terminal prints nothing:
/// the terminal could stop it for that.
fn wait_for_signal() -> i32 {
    sleep(patience());
    1
}

/// A child's function.
fn exit_when(may_end: Value, code: i32) -> i32 {
    wait_until("the parent", || may_end.get() != 0).map_or(1, |()| code)
}

/// What waitpid returned about a child, as the rest of a sentence.
pub fn seen(status: WaitStatus) -> String {
    match status {
        WaitStatus::Stopped(_, signal) => text!(
            "was stopped by signal {} ({signal})",
            "被信号 {} 暂停（{signal}）",
            signal as i32
        ),
        WaitStatus::Continued(_) => text!("was continued", "已恢复运行"),
        WaitStatus::StillAlive => {
            text!("returned 0 at once, nothing has happened", "立即返回 0，没有发生任何事")
        }
        status => End::of(status).map_or_else(|| format!("{status:?}"), ended),
    }
}
