//! Shows a daemon: a process in the background, which is found by its pid file, stopped, and
//! restarted.
//!
//! Without an argument it shows all of that in a directory of its own. With `start`, `stop` or
//! `restart` it does that alone, with a daemon that ends by itself after ten seconds: `cargo run -p
//! forkchat-server --example daemon -- start`, and then `stop`, or `start` again.
//!
//! In the server: `service.rs` is `forkchat-server start`, `stop` and `restart`. `daemon/mod.rs`
//! has the steps and their reasons.

mod background;
#[path = "../stage/mod.rs"]
mod stage;
mod surroundings;

use background::{LIFE, serve};
use forkchat_server::daemon::pid_file::Holder;
use forkchat_server::daemon::{self, Files, StartError, Stopped};
use nix::unistd::Pid;
use stage::scratch::in_scratch;
use stage::{Attempt, Failure, Lesson, part, patience, say, shown, slowed};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;
use surroundings::Surroundings;

const LESSON: Lesson = Lesson {
    about: ["A daemon: start, stop, restart", "守护进程：启动、停止、重启"],
    watch_for: &[
        [
            "the daemon keeps nothing of its starter's: another session, directory, umask, and /dev/null three times",
            "守护进程不保留启动者的任何环境：会话、工作目录、umask 都不同，标准输入、输出、错误都是 /dev/null",
        ],
        [
            "its parent has ended, so it gets another: process 1, as a rule",
            "它的父进程已经结束，于是被收养，通常由 1 号进程收养",
        ],
        [
            "the leader of its session has ended: a process that does not lead its session can't get a terminal by opening one",
            "它所在会话的首进程已经结束：不是会话首进程，打开终端时就不会得到控制终端",
        ],
        [
            "a second start is refused, with the pid of the first daemon",
            "第二次 start 被拒绝，并给出第一个守护进程的 pid",
        ],
        [
            "a restart is a stop and a start: the old daemon ends before the new one begins",
            "restart 就是先 stop 再 start：旧的结束之后，新的才开始",
        ],
    ],
};

#[derive(clap::Args)]
struct Own {
    /// What to do alone, with a daemon that ends by itself after 10 s; without it everything is
    /// shown
    task: Option<Task>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Task {
    Start,
    Stop,
    Restart,
}

fn main() -> ExitCode {
    stage::play(&LESSON, |own: Own| match own.task {
        None => in_scratch("daemon", show),
        Some(task) => perform(task).map(|()| ExitCode::SUCCESS),
    })
}

/// One task, with a pid file that is the user's: the next call finds the daemon.
fn perform(task: Task) -> Result<(), Failure> {
    let user = fs::metadata("/proc/self").cannot("look at /proc/self")?.uid();
    let pid_file = std::env::temp_dir().join(format!("forkchat-example-daemon-of-{user}.pid"));
    match task {
        Task::Stop => return stop(&pid_file),
        Task::Start => {}
        Task::Restart => stop_for_restart(&pid_file)?,
    }
    if start(&pid_file, None)?.is_some() {
        let (life, file) = (slowed(LIFE).as_secs(), pid_file.display());
        say!(
            "it ends by itself after {life} s; its pid file is {file}",
            "它会在 {life} 秒后自行结束；pid 文件是 {file}"
        );
    }
    Ok(())
}

fn show(directory: &Path) -> Result<(), Failure> {
    let (pid_file, notes) = (directory.join("pid"), directory.join("notes"));
    part!("start, start again, restart, stop", "启动、再次启动、重启、停止");
    let starter = Surroundings::look()?;
    say!("the starter:", "启动者：");
    starter.lines().for_each(|line| say!("    {line}", "    {line}"));
    let started = start_and_restart(&pid_file, &notes);
    // Also when something went wrong.
    let stopped = stop(&pid_file);
    let is_there = pid_file.exists();
    say!("is the pid file there? {is_there}", "pid 文件还在吗？{is_there}");
    part!("what the daemons noted in a file", "守护进程在文件中的记录");
    fs::read_to_string(&notes)
        .cannot(format!("read {}", notes.display()))?
        .lines()
        .for_each(|line| say!("{line}", "{line}"));
    let pids: Vec<String> = started?.iter().map(Pid::to_string).collect();
    stopped?;
    shown!(
        "3 starts made {} daemons, one after the other: pid {}; is the pid file left? {is_there}",
        "3 次 start 先后产生了 {} 个守护进程：pid {}；留下 pid 文件了吗？{is_there}",
        pids.len(),
        pids.join(", ")
    );
    Ok(())
}

/// Returns the daemons that were started.
fn start_and_restart(pid_file: &Path, notes: &Path) -> Result<Vec<Pid>, Failure> {
    let mut daemons = Vec::new();
    daemons.extend(start(pid_file, Some(notes))?);
    daemons.extend(start(pid_file, Some(notes))?);
    stop_for_restart(pid_file)?;
    daemons.extend(start(pid_file, Some(notes))?);
    Ok(daemons)
}

/// The first half of a restart; [`start`] is the second.
fn stop_for_restart(pid_file: &Path) -> Result<(), Failure> {
    say!("restart: first stop, then start", "restart：先 stop，再 start");
    stop(pid_file)
}

/// Returns the daemon; `None` if there was one already.
fn start(pid_file: &Path, notes: Option<&Path>) -> Result<Option<Pid>, Failure> {
    let files = Files { pid_file: pid_file.to_owned(), log: None };
    match daemon::start(&files, |ready| serve(ready, notes)) {
        Ok(pid) => {
            let holder =
                Holder::find(pid_file).cannot(format!("look into {}", pid_file.display()))?;
            let has_file = holder.is_some_and(|holder| holder.pid == pid);
            say!(
                "start: pid {pid} is ready; does it hold the pid file? {has_file}",
                "start：pid {pid} 已就绪；它持有 pid 文件吗？{has_file}"
            );
            Ok(Some(pid))
        }
        Err(StartError::Running(pid)) => {
            say!(
                "start: a daemon runs already, as pid {pid}",
                "start：已有守护进程在运行，pid {pid}"
            );
            Ok(None)
        }
        error => error
            .map(Some)
            .cannot(format!("start a daemon with the pid file {}", pid_file.display())),
    }
}

fn stop(pid_file: &Path) -> Result<(), Failure> {
    match daemon::stop(pid_file, patience())
        .cannot(format!("stop the daemon of {}", pid_file.display()))?
    {
        Stopped::InForeground(pid) => {
            say!(
                "stop: pid {pid} runs in the foreground, and is left alone",
                "stop：pid {pid} 在前台运行，不去动它"
            )
        }
        Stopped::NotRunning => say!("stop: no daemon runs", "stop：没有守护进程在运行"),
        Stopped::Ended(pid) => say!("stop: pid {pid} has ended", "stop：pid {pid} 已结束"),
        Stopped::Killed(pid) => say!(
            "stop: pid {pid} did not end in time, and was killed",
            "stop：pid {pid} 没有及时结束，已被杀死"
        ),
    }
    Ok(())
}
