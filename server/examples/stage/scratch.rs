//! A directory for an example's files. It is gone when the example has ended, also when Ctrl-C ended it.

use super::{Attempt, Failure, exit_code, wait_until};
use forkchat_server::ipc::process::{End, Process};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Has a child do `work` in a new directory, waits for its end, whatever that is, and removes the directory. Returns the child's exit code, or the
/// one that a shell would give for it: 128 and the number of the signal that ended it.
///
/// SIGINT and SIGTERM end the child and not this process, so somebody is left to tidy up. From a terminal they come to both; those that come to
/// this process are passed on, for it may have been meant alone.
pub fn in_scratch(name: &str, work: impl FnOnce(&Path) -> Result<(), Failure>) -> Result<ExitCode, Failure> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
    // Before there is anything to tidy up. What comes before the fork waits, and is passed on after it.
    signals.thread_block()?;
    let told = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK).cannot("watch for signals")?;
    let directory = std::env::temp_dir().join(format!("forkchat-example-{name}-{}", std::process::id()));
    fs::create_dir(&directory).cannot(format!("make the directory {}", directory.display()))?;
    let child = Process::start(|| exit_code(signals.thread_unblock().cannot("unblock signals").and_then(|()| work(&directory))));
    let end = child.map(|mut child| {
        loop {
            if let Some(end) = child.join_timeout(LOOK_AGAIN) {
                return end;
            }
            if let Ok(Some(signal)) = told.read_signal() {
                Signal::try_from(signal.ssi_signo as i32).into_iter().for_each(|signal| child.signal(signal));
            }
        }
    });
    // The child's children die with it, but a moment later, and may put a file there until then. Where there is no directory nobody can.
    wait_until(&format!("{} to be removed", directory.display()), || {
        let _ = fs::remove_dir_all(&directory);
        !directory.exists()
    })?;
    Ok(ExitCode::from(match end.cannot("start a process")? {
        End::Exited(code) => code as u8,
        End::Killed(signal) => 128 + signal as u8,
    }))
}
