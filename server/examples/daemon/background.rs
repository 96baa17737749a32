//! What the daemon does.

use crate::stage::{Attempt, Failure, slowed, text};
use crate::surroundings::Surroundings;
use forkchat_server::daemon::Ready;
use forkchat_server::sys::socket::wait_for_input;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use nix::unistd::getpid;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a daemon lives that is not stopped.
pub const LIFE: Duration = Duration::from_secs(10);
/// How often the daemon looks whether its directory is still there.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The daemon. Returns its exit code.
pub fn serve(ready: Ready<'_>, notes: Option<&Path>) -> i32 {
    let terminate = match begin(notes) {
        Ok(terminate) => terminate,
        Err(failure) => {
            ready.failed(1, failure.to_string());
            return 1;
        }
    };
    ready.serving();
    let end = Instant::now() + slowed(LIFE);
    // Ctrl-C doesn't reach a daemon, but the starter removes the directory then.
    let has_place = || notes.is_none_or(Path::exists);
    let is_asked_to_end = || {
        wait_for_input(terminate.as_fd(), Some(LOOK_AGAIN))
            .map_or(true, |events| !events.is_empty())
    };
    while !is_asked_to_end() && has_place() && Instant::now() < end {}
    i32::from(has_place() && note(notes, &text!("ends", "结束")).is_err())
}

fn begin(notes: Option<&Path>) -> Result<SignalFd, Failure> {
    note(notes, &text!("begins", "开始")).cannot(format!("write {notes:?}"))?;
    // Read from a descriptor, the signal doesn't kill the daemon, which can remove the pid file at
    // its end.
    let terminate = SigSet::from(Signal::SIGTERM);
    terminate.thread_block().and_then(|()| SignalFd::new(&terminate)).cannot("watch for SIGTERM")
}

/// A daemon has no terminal, so it writes to a file.
fn note(notes: Option<&Path>, what: &str) -> io::Result<()> {
    let Some(notes) = notes else { return Ok(()) };
    // At the end once more: by then the daemon has its new parent.
    let mut lines = text!("pid {} {what}:\n", "pid {} {what}：\n", getpid());
    Surroundings::look()?.lines().for_each(|line| lines.extend(["    ", &line, "\n"]));
    OpenOptions::new().append(true).create(true).open(notes)?.write_all(lines.as_bytes())
}
