//! A process goes into the background, is found there by its pid file, and is stopped, restarted, and gone when it is said to be.
//!
//! Without an argument it shows all of that in a directory of its own. With `start`, `stop` or `restart` it does that one thing, with a daemon that ends
//! by itself after ten seconds: `cargo run -p forkchat-server --example daemon -- start`, and then `stop`, or `start` again.
//!
//! Watch for: what the daemon has of its starter (nothing: another session, directory, umask, `/dev/null` three times, and soon no parent but init); that the second
//! start is refused with the first one's pid; that of the notes, `ends` of the old one comes before `begins` of the new one.
//!
//! At work in the server: `service.rs` is `forkchat-server start`, `stop` and `restart`. The steps and their reasons: `daemon/mod.rs`.

mod stage;

use forkchat_server::daemon::pid_file::Holder;
use forkchat_server::daemon::{self, Files, Ready, StartError, Stopped};
use forkchat_server::sys::socket::wait_for_input;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use nix::sys::stat::umask;
use nix::unistd::{getpid, getppid, getsid};
use stage::say;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// How long a daemon lives that nobody stops, and how long it may take to end when somebody does.
const LIFE: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(2);

fn main() -> io::Result<()> {
    let user = fs::metadata("/proc/self")?.uid();
    let pid_file = std::env::temp_dir().join(format!("forkchat-example-daemon-of-{user}.pid"));
    match std::env::args().nth(1).as_deref() {
        None => show(),
        Some("start") => start(&pid_file, None),
        Some("stop") => stop(&pid_file),
        Some("restart") => stop(&pid_file).and_then(|()| start(&pid_file, None)),
        Some(other) => Err(io::Error::other(format!("no such thing to do: {other}; give start, stop, restart or nothing"))),
    }
}

fn show() -> io::Result<()> {
    let directory = std::env::temp_dir().join(format!("forkchat-example-daemon-{}", getpid()));
    fs::create_dir(&directory)?;
    let (pid_file, notes) = (directory.join("pid"), directory.join("notes"));
    say!("the starter: {}", surroundings()?);
    let starts = (0..2).try_for_each(|_| start(&pid_file, Some(&notes)));
    let restarts = starts.and_then(|()| stop(&pid_file)).and_then(|()| start(&pid_file, Some(&notes)));
    // Also when something went wrong.
    let stops = stop(&pid_file);
    say!("is the pid file there? {}", pid_file.exists());
    fs::read_to_string(&notes).unwrap_or_default().lines().for_each(|line| say!("noted: {line}"));
    fs::remove_dir_all(&directory)?;
    restarts.and(stops)
}

fn start(pid_file: &Path, notes: Option<&Path>) -> io::Result<()> {
    let files = Files { pid_file: pid_file.to_owned(), log: None };
    match daemon::start(&files, |ready| i32::from(serve(ready, notes).is_err())) {
        Ok(pid) => {
            let has_pid_file = Holder::find(pid_file)?.is_some_and(|holder| holder.pid == pid);
            say!("start: pid {pid} is ready; has it the pid file? {has_pid_file}");
        }
        Err(StartError::Running(pid)) => say!("start: one runs already, as pid {pid}"),
        Err(error) => return Err(io::Error::other(error)),
    }
    Ok(())
}

fn stop(pid_file: &Path) -> io::Result<()> {
    match daemon::stop(pid_file, PATIENCE)? {
        Stopped::Nobody => say!("stop: none runs"),
        Stopped::Ended(pid) => say!("stop: pid {pid} has ended"),
        Stopped::Killed(pid) => say!("stop: pid {pid} did not end in time, and was killed"),
    }
    Ok(())
}

/// The daemon.
fn serve(ready: Ready<'_>, notes: Option<&Path>) -> io::Result<()> {
    note(notes, "begins")?;
    // As a value it doesn't cut the daemon off: the pid file is taken away at the end.
    let terminate = SigSet::from(Signal::SIGTERM);
    terminate.thread_block()?;
    let told = SignalFd::new(&terminate)?;
    ready.serving();
    wait_for_input(told.as_fd(), Some(LIFE))?;
    note(notes, "ends")
}

fn note(notes: Option<&Path>, what: &str) -> io::Result<()> {
    let Some(notes) = notes else { return Ok(()) };
    let line = format!("pid {} {what}: {}\n", getpid(), surroundings()?);
    OpenOptions::new().append(true).create(true).open(notes)?.write_all(line.as_bytes())
}

/// What a process has of others.
fn surroundings() -> io::Result<String> {
    let mask = umask(nix::sys::stat::Mode::empty());
    umask(mask);
    let leads = |number| fs::read_link(format!("/proc/self/fd/{number}")).map(|path| path.display().to_string());
    let (directory, standard) = (std::env::current_dir()?, [leads(0)?, leads(1)?, leads(2)?].join(" "));
    let (parent, session, directory) = (getppid(), getsid(None)?, directory.display());
    Ok(format!("parent {parent}, session {session}, directory {directory}, umask {:03o}, 0 1 2 are {standard}", mask.bits()))
}
