//! Child processes that end when this program ends, however it ends, and the directories that they
//! leave behind if they are killed.

use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The first argument that makes this program execute another one, which ends when this program's
/// parent ends.
pub const RUN_UNTIL_PARENT_ENDS: &str = "run-until-parent-ends";

/// Removes temporary directories of earlier runs that were killed. Their names are `prefix` and a
/// pid.
pub fn remove_stale_directories(prefix: &str) {
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(prefix)?.parse::<i32>().ok());
        if pid.is_some_and(|pid| kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH)) {
            // It fails if the directory belongs to another user.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Executes a program in place of this one. The program ends when its parent ends. Returns only if
/// that fails.
pub fn run_until_parent_ends(
    parent: Option<&str>,
    mut command: impl Iterator<Item = std::ffi::OsString>,
) -> String {
    let Some(program) = command.next() else { return "no program to run".into() };
    if let Err(errno) = set_pdeathsig(Signal::SIGTERM) {
        return format!("cannot ask to be told of the parent's end: {errno}");
    }
    // The parent may have ended before the signal was set.
    if parent.and_then(|parent| parent.parse().ok()) != Some(nix::unistd::getppid().as_raw()) {
        return "the parent has ended".into();
    }
    format!("cannot run {}: {}", program.display(), Command::new(&program).args(command).exec())
}

/// The server's program: `given`, or the one beside this program, which `script` builds.
pub fn server_program(given: Option<&Path>, script: &str) -> Result<PathBuf, String> {
    match given {
        Some(server) if server.exists() => Ok(server.to_owned()),
        Some(server) => Err(format!("there is no {}", server.display())),
        None => this_program()
            .ok()
            .map(|this| this.with_file_name("forkchat-server"))
            .filter(|server| server.exists())
            .ok_or_else(|| {
                format!(
                    "no forkchat-server beside this program; build it ({script} does) or give \
                     --server FILE"
                )
            }),
    }
}

/// A command whose process ends when this program ends, even if this program is killed.
pub fn command_ending_with_this_process(program: &Path) -> Result<Command, String> {
    let mut command = Command::new(this_program()?);
    command
        .arg(RUN_UNTIL_PARENT_ENDS)
        .arg(std::process::id().to_string())
        .arg(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    Ok(command)
}

pub fn this_program() -> Result<PathBuf, String> {
    std::env::current_exe().map_err(|error| format!("cannot find this program's own file: {error}"))
}
