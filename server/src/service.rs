//! The server as a service: `start`, `stop`, `restart` and `status`, what they print, and their
//! exit codes.
//!
//! [`crate::daemon`] does the work: it detaches from the terminal, keeps two servers from starting
//! at once, and kills a server that does not end.

use crate::daemon::pid_file::{Holder, PidFile};
use crate::daemon::sockets::listening;
use crate::daemon::{self, Files, Ready, StartError, Stopped};
use crate::options::{Options, ServiceOptions};
use crate::supervisor;
use crate::supervisor::{EXIT_FAILED, EXIT_USAGE};
use nix::unistd::Pid;
use std::fs::DirBuilder;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf, absolute};
use std::time::Duration;

/// Done: the server is running or, after `stop`, no server is running any more.
pub const EXIT_DONE: i32 = 0;
/// A server was already running, and was left alone.
pub const EXIT_RUNNING: i32 = 3;

/// How long a server may take, after its grace period, to kill its children and to wait for those
/// that are blocked in the kernel.
const MARGIN: Duration = Duration::from_secs(5);

const PID_FILE: &str = "forkchat.pid";

const NO_HOME: &str = "there is no data directory: neither XDG_STATE_HOME nor HOME is set; give \
    --data-dir, or --pid-file and --log";

/// No server is running. This and the next code are those of the Linux Standard Base for `status`.
pub const EXIT_NOT_RUNNING: i32 = 3;
/// Unknown whether a server is running.
pub const EXIT_UNKNOWN: i32 = 4;

/// Serves in the foreground until the server ends. Returns its exit code.
///
/// Locks the pid file in its data directory, so that `stop`, `start` and `status` find the server.
/// If that fails, it serves without.
pub fn serve(options: Options) -> i32 {
    let _held = options.data_dir().and_then(|data_dir| {
        create_data_dir(&data_dir).ok()?;
        // A relative path is fine: the working directory stays the same.
        PidFile::take_in_foreground(&data_dir.join(PID_FILE)).ok()
    });
    supervisor::run(options, |_| true)
}

/// Prints whether a server runs, and where it listens. Returns the exit code.
pub fn status(options: &ServiceOptions) -> i32 {
    let Some(pid_file) = pid_file(options) else { return fail(NO_HOME, EXIT_USAGE) };
    match Holder::find(&pid_file) {
        Ok(Some(holder)) => {
            let listening: Vec<String> = listening(holder.pid)
                .iter()
                .map(|(transport, address)| format!("{transport} {address}"))
                .collect();
            let listening = if listening.is_empty() {
                String::new()
            } else {
                format!(", listening on {}", listening.join(", "))
            };
            let ground = if holder.is_in_foreground() { " in the foreground" } else { "" };
            done(format_args!("running{ground} as pid {}{listening}", holder.pid))
        }
        Ok(None) => fail(
            format_args!("no server is running with the pid file {}", pid_file.display()),
            EXIT_NOT_RUNNING,
        ),
        Err(error) => fail(
            format_args!("cannot check the pid file {}: {error}", pid_file.display()),
            EXIT_UNKNOWN,
        ),
    }
}

/// Starts a server in the background. Returns the exit code when the server is ready or has failed.
pub fn start(options: &ServiceOptions) -> i32 {
    start_unless_running(options, "use restart to replace it")
}

fn start_unless_running(options: &ServiceOptions, advice: &str) -> i32 {
    let (Some(pid_file), Some(log)) = (pid_file(options), log(options)) else {
        return fail(NO_HOME, EXIT_USAGE);
    };
    let mut serving = options.serving.clone();
    // The daemon changes its directory, and opens the database after that.
    serving.data_dir = serving.data_dir().map(|data_dir| absolute(&data_dir).unwrap_or(data_dir));
    if options.pid_file.is_none() || options.log.is_none() {
        // As the journal creates it.
        let made = serving.data_dir.as_deref().map_or(Ok(()), create_data_dir);
        if let (Err(error), Some(data_dir)) = (made, &serving.data_dir) {
            let data_dir = data_dir.display();
            return fail(
                format_args!(
                    "cannot create the data directory {data_dir}: {error}; choose another with \
                     --data-dir"
                ),
                EXIT_FAILED,
            );
        }
    }
    let main = |ready: Ready<'_>| {
        if let Some(nice) = serving.nice {
            // The daemon's new session also begins a new autogroup. In an autogroup, nice values
            // only count among its own processes, so the group as a whole gets the value too.
            // Source: sched(7). Where the kernel has no autogroups, or the server lacks the
            // privilege, the processes' own nice values have to do.
            let _ = std::fs::write("/proc/self/autogroup", nice.to_string());
        }
        supervisor::run(serving, |started| match started {
            Ok(()) => ready.serving(),
            Err(error) => {
                ready.failed(error.exit_code(), error.to_string());
                false
            }
        })
    };
    match daemon::start(&Files { pid_file: pid_file.clone(), log: Some(log.clone()) }, main) {
        Ok(pid) => done(format_args!("serving as pid {pid}; log output goes to {}", log.display())),
        Err(StartError::Running(pid)) if is_in_foreground(&pid_file) => {
            fail(in_foreground(pid, &pid_file), EXIT_RUNNING)
        }
        Err(error @ StartError::Running(_)) => {
            fail(format_args!("{error}; {advice}"), EXIT_RUNNING)
        }
        // A server that was stopped before it was ready exits with 0, but the start has failed.
        Err(StartError::Failed { code, text }) => fail(text, code.max(EXIT_FAILED)),
        Err(error @ StartError::NoReport) => {
            fail(format_args!("{error}; see the log output in {}", log.display()), EXIT_FAILED)
        }
        Err(error @ StartError::System(..)) => fail(error, EXIT_FAILED),
    }
}

/// Stops the server in the background, if one is running. Returns the exit code when it has ended.
pub fn stop(options: &ServiceOptions) -> i32 {
    let Some(pid_file) = pid_file(options) else { return fail(NO_HOME, EXIT_USAGE) };
    match stop_and_print(&pid_file, options) {
        Ok(Stopped::NotRunning) => fail(
            format_args!("no server is running with the pid file {}", pid_file.display()),
            EXIT_DONE,
        ),
        Ok(Stopped::Ended(_)) => EXIT_DONE,
        Ok(Stopped::Killed(_) | Stopped::InForeground(_)) | Err(_) => EXIT_FAILED,
    }
}

/// Stops the server in the background, if one is running, then starts a new one. Returns the exit
/// code when that is ready or has failed.
pub fn restart(options: &ServiceOptions) -> i32 {
    let Some(pid_file) = pid_file(options) else { return fail(NO_HOME, EXIT_USAGE) };
    match stop_and_print(&pid_file, options) {
        Ok(Stopped::InForeground(_)) | Err(_) => EXIT_FAILED,
        Ok(_) => start_unless_running(options, "another command has just started it"),
    }
}

/// Stops the server and prints the result, except if none was running.
fn stop_and_print(pid_file: &Path, options: &ServiceOptions) -> io::Result<Stopped> {
    let patience = Duration::from_secs(options.serving.grace.into()) + MARGIN;
    let stopped = daemon::stop(pid_file, patience);
    match &stopped {
        Ok(Stopped::NotRunning) => {}
        Ok(Stopped::InForeground(pid)) => _ = fail(in_foreground(*pid, pid_file), EXIT_FAILED),
        Ok(Stopped::Ended(pid)) => _ = done(format_args!("stopped pid {pid}")),
        Ok(Stopped::Killed(pid)) => {
            let words = format_args!(
                "pid {pid} did not end within {} s and was killed; --grace gives it more time",
                patience.as_secs()
            );
            fail(words, EXIT_FAILED);
        }
        Err(error) => {
            let remedy = if error.kind() == ErrorKind::PermissionDenied {
                "; run this as its user"
            } else {
                ""
            };
            fail(
                format_args!(
                    "cannot stop the server with the pid file {}: {error}{remedy}",
                    pid_file.display()
                ),
                EXIT_FAILED,
            );
        }
    }
    stopped
}

fn is_in_foreground(pid_file: &Path) -> bool {
    Holder::find(pid_file)
        .is_ok_and(|holder| holder.is_some_and(|holder| holder.is_in_foreground()))
}

fn in_foreground(pid: Pid, pid_file: &Path) -> String {
    let directory = pid_file.parent().unwrap_or(pid_file).display();
    format!(
        "a server in the foreground (pid {pid}) uses {directory}; stop it with kill {pid}, or with \
         Ctrl-C in its terminal"
    )
}

/// Creates the data directory, as the journal does.
fn create_data_dir(data_dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(data_dir)
}

fn pid_file(options: &ServiceOptions) -> Option<PathBuf> {
    options.pid_file.clone().or_else(|| Some(options.serving.data_dir()?.join(PID_FILE)))
}

fn log(options: &ServiceOptions) -> Option<PathBuf> {
    options.log.clone().or_else(|| Some(options.serving.data_dir()?.join("forkchat.log")))
}

/// Prints what was done, and returns the exit code. A closed pipe is not a failure.
fn done(words: impl std::fmt::Display) -> i32 {
    let _ = writeln!(io::stdout(), "forkchat-server: {words}");
    EXIT_DONE
}

/// Prints why it wasn't done, and returns `code`.
fn fail(words: impl std::fmt::Display, code: i32) -> i32 {
    let _ = writeln!(io::stderr(), "forkchat-server: {words}");
    code
}
