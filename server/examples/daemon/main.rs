//! A process goes into the background, is found there by its pid file, and is stopped, restarted, and gone when it is said to be.
//!
//! Without an argument it shows all of that in a directory of its own. With `start`, `stop` or `restart` it does that one thing, with a daemon that ends
//! by itself after ten seconds: `cargo run -p forkchat-server --example daemon -- start`, and then `stop`, or `start` again.
//!
//! Watch for: what the daemon has of its starter (nothing: another session, directory, umask, `/dev/null` three times, and soon no parent but init); that the second
//! start is refused with the first one's pid; that of the notes, `ends` of the old one comes before `begins` of the new one.
//! The session's number is that of a process between the two, which led it and has ended: who leads none (the second fork) can't get a terminal by opening one.
//!
//! At work in the server: `service.rs` is `forkchat-server start`, `stop` and `restart`. The steps and their reasons: `daemon/mod.rs`.

#[path = "../stage/mod.rs"]
mod stage;
mod surroundings;

use forkchat_server::daemon::pid_file::Holder;
use forkchat_server::daemon::{self, Files, Ready, StartError, Stopped};
use forkchat_server::sys::socket::wait_for_input;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use nix::unistd::getpid;
use stage::scratch::in_scratch;
use stage::{Attempt, Failure, say};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use surroundings::Surroundings;

/// How long a daemon lives that nobody stops, and how long it may take to end when somebody does.
const LIFE: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(2);

fn main() -> Result<ExitCode, Failure> {
    let user = fs::metadata("/proc/self").cannot("look at /proc/self")?.uid();
    let pid_file = std::env::temp_dir().join(format!("forkchat-example-daemon-of-{user}.pid"));
    match std::env::args_os().nth(1).as_ref().map(|argument| argument.to_string_lossy()).as_deref() {
        None => return in_scratch("daemon", show),
        Some("start") => start(&pid_file, None)?,
        Some("stop") => stop(&pid_file)?,
        Some("restart") => stop(&pid_file).and_then(|()| start(&pid_file, None))?,
        Some(other) => return Err(Failure(format!("no such thing to do: {other}; give start, stop, restart or nothing"))),
    }
    Ok(ExitCode::SUCCESS)
}

fn show(directory: &Path) -> Result<(), Failure> {
    let (pid_file, notes) = (directory.join("pid"), directory.join("notes"));
    format!("the starter: {:#}", Surroundings::look()?).lines().for_each(|line| say!("{line}"));
    let starts = (0..2).try_for_each(|_| start(&pid_file, Some(&notes)));
    let restarts = starts.and_then(|()| stop(&pid_file)).and_then(|()| start(&pid_file, Some(&notes)));
    // Also when something went wrong.
    let stops = stop(&pid_file);
    say!("is the pid file there? {}", pid_file.exists());
    let noted = fs::read_to_string(&notes).cannot(format!("read {}", notes.display()));
    noted.iter().flat_map(|noted| noted.lines()).for_each(|line| say!("{line}"));
    restarts.and(stops).and(noted.map(drop))
}

fn start(pid_file: &Path, notes: Option<&Path>) -> Result<(), Failure> {
    let files = Files { pid_file: pid_file.to_owned(), log: None };
    match daemon::start(&files, |ready| serve(ready, notes)) {
        Ok(pid) => {
            let holder = Holder::find(pid_file).cannot(format!("look into {}", pid_file.display()))?;
            say!("start: pid {pid} is ready; has it the pid file? {}", holder.is_some_and(|holder| holder.pid == pid));
            Ok(())
        }
        Err(StartError::Running(pid)) => {
            say!("start: a server already runs, as pid {pid}");
            Ok(())
        }
        error => error.map(drop).cannot(format!("start a daemon with the pid file {}", pid_file.display())),
    }
}

fn stop(pid_file: &Path) -> Result<(), Failure> {
    match daemon::stop(pid_file, PATIENCE).cannot(format!("stop the daemon of {}", pid_file.display()))? {
        Stopped::InForeground(pid) => say!("stop: pid {pid} runs in the foreground, and is left alone"),
        Stopped::Nobody => say!("stop: none runs"),
        Stopped::Ended(pid) => say!("stop: pid {pid} has ended"),
        Stopped::Killed(pid) => say!("stop: pid {pid} did not end in time, and was killed"),
    }
    Ok(())
}

/// The daemon. Returns its exit code.
fn serve(ready: Ready<'_>, notes: Option<&Path>) -> i32 {
    let told = match begin(notes) {
        Ok(told) => told,
        Err(failure) => {
            ready.failed(1, failure.to_string());
            return 1;
        }
    };
    ready.serving();
    i32::from(wait_for_input(told.as_fd(), Some(LIFE)).is_err() || note(notes, "ends").is_err())
}

fn begin(notes: Option<&Path>) -> Result<SignalFd, Failure> {
    note(notes, "begins").cannot(format!("write {notes:?}"))?;
    // As a value it doesn't cut the daemon off: the pid file is taken away at the end.
    let terminate = SigSet::from(Signal::SIGTERM);
    terminate.thread_block().and_then(|()| SignalFd::new(&terminate)).cannot("watch for SIGTERM")
}

fn note(notes: Option<&Path>, what: &str) -> io::Result<()> {
    let Some(notes) = notes else { return Ok(()) };
    let (pid, surroundings) = (getpid(), Surroundings::look()?);
    // The end has them again, for one glance: by then init is the parent.
    let line = if what == "begins" { format!("{surroundings:#}") } else { surroundings.to_string() };
    OpenOptions::new().append(true).create(true).open(notes)?.write_all(format!("noted: pid {pid} {what}: {line}\n").as_bytes())
}
