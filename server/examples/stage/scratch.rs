//! A directory for an example's files. It is removed when the example has ended, also when Ctrl-C
//! ended it.

use super::interrupt::Interrupt;
use super::{Attempt, Failure, exit_code, lead, wait_until};
use forkchat_server::ipc::process::{End, Process};
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Starts a child that does `work` in a new directory, waits for the child's end, however it ends,
/// and removes the directory. Returns the child's exit code, or what a shell would report for it:
/// 128 plus the number of the signal that killed it.
///
/// SIGINT and SIGTERM end the child and not this process, so this process is left to tidy up. A
/// terminal sends them to both; `kill` may send them to this process alone, so it forwards them.
pub fn in_scratch(
    name: &str,
    work: impl FnOnce(&Path) -> Result<(), Failure>,
) -> Result<ExitCode, Failure> {
    // Before there is anything to tidy up. A signal that comes before the fork stays pending and is
    // forwarded after it.
    let interrupt = Interrupt::watch().cannot("watch for signals")?;
    let directory =
        std::env::temp_dir().join(format!("forkchat-example-{name}-{}", std::process::id()));
    fs::create_dir(&directory).cannot(format!("make the directory {}", directory.display()))?;
    let child = Process::start(|| {
        lead();
        exit_code(Interrupt::forget().cannot("unblock signals").and_then(|()| work(&directory)))
    });
    let end = child.map(|mut child| {
        loop {
            if let Some(end) = child.join_timeout(LOOK_AGAIN) {
                return end;
            }
            interrupt.came().into_iter().for_each(|signal| child.signal(signal));
        }
    });
    // The child's children die a moment after it, and may still create a file until then. Without
    // the directory they can't.
    wait_until(&format!("{} to be removed", directory.display()), || {
        let _ = fs::remove_dir_all(&directory);
        !directory.exists()
    })?;
    Ok(ExitCode::from(match end.cannot("start a process")? {
        End::Exited(code) => code as u8,
        End::Killed(signal) => 128 + signal as u8,
    }))
}
