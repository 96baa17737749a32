//! The server as a service: `start`, `stop` and `restart`, what they print and their exit codes. What happens when the terminal goes away, when two start at
//! once and when one doesn't end is [`crate::daemon`]'s.

use crate::daemon::{self, Files, Ready, StartError, Stopped};
use crate::options::ServiceOptions;
use crate::supervisor;
use crate::supervisor::{EXIT_FAILED, EXIT_USAGE};
use std::fs::DirBuilder;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf, absolute};
use std::time::Duration;

/// It was done: the server serves, or none runs any more.
pub const EXIT_DONE: i32 = 0;
/// One runs already, and was left alone.
pub const EXIT_RUNNING: i32 = 3;

/// How much longer than its grace a server may take to end: it kills its children, and waits for those that the kernel still works for.
const MARGIN: Duration = Duration::from_secs(5);

const NO_HOME: &str =
    "cannot tell where the server's files are: neither XDG_STATE_HOME nor HOME is set; give --data-dir, or --pid-file and --log";

/// Starts a server in the background. Returns the exit code when it serves, or can't.
pub fn start(options: &ServiceOptions) -> i32 {
    start_unless_running(options, "restart puts another in its place")
}

fn start_unless_running(options: &ServiceOptions, advice: &str) -> i32 {
    let (Some(pid_file), Some(log)) = (pid_file(options), log(options)) else { return fail(NO_HOME, EXIT_USAGE) };
    let mut serving = options.serving.clone();
    // The daemon changes directory, and opens the database later.
    serving.data_dir = serving.data_dir().map(|data_dir| absolute(&data_dir).unwrap_or(data_dir));
    if options.pid_file.is_none() || options.log.is_none() {
        // As the journal makes it.
        let made = serving.data_dir.as_deref().map_or(Ok(()), |data_dir| DirBuilder::new().recursive(true).mode(0o700).create(data_dir));
        if let (Err(error), Some(data_dir)) = (made, &serving.data_dir) {
            let data_dir = data_dir.display();
            return fail(format_args!("cannot make the data directory {data_dir}: {error}; choose another with --data-dir"), EXIT_FAILED);
        }
    }
    let main = |ready: Ready<'_>| {
        if let Some(nice) = serving.nice {
            // Its session has just begun, and with it a group of processes whose nice value counts among groups. Source: sched(7), autogroup. Where
            // there is no such thing, or no right to it, the processes' own nice values are what there is.
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
    match daemon::start(&Files { pid_file, log: Some(log.clone()) }, main) {
        Ok(pid) => done(format_args!("serving as pid {pid}; {} tells what happens", log.display())),
        Err(error @ StartError::Running(_)) => fail(format_args!("{error}; {advice}"), EXIT_RUNNING),
        Err(StartError::Failed { code, text }) => fail(text, code),
        Err(error @ StartError::Silent) => fail(format_args!("{error}; {} may tell why", log.display()), EXIT_FAILED),
        Err(error @ StartError::System(..)) => fail(error, EXIT_FAILED),
    }
}

/// Stops the server that runs in the background, if one does. Returns the exit code when it is gone.
pub fn stop(options: &ServiceOptions) -> i32 {
    let Some(pid_file) = pid_file(options) else { return fail(NO_HOME, EXIT_USAGE) };
    match stop_one(&pid_file, options) {
        Ok(Stopped::Nobody) => fail(format_args!("none runs with the pid file {}", pid_file.display()), EXIT_DONE),
        Ok(Stopped::Ended(_)) => EXIT_DONE,
        Ok(Stopped::Killed(_)) | Err(_) => EXIT_FAILED,
    }
}

/// Stops the server that runs in the background, if one does, and starts another when it is gone. Returns the exit code when that serves, or can't.
pub fn restart(options: &ServiceOptions) -> i32 {
    let Some(pid_file) = pid_file(options) else { return fail(NO_HOME, EXIT_USAGE) };
    match stop_one(&pid_file, options) {
        Ok(_) => start_unless_running(options, "somebody else has just started it"),
        Err(_) => EXIT_FAILED,
    }
}

/// Tells what became of it, but for that there was none.
fn stop_one(pid_file: &Path, options: &ServiceOptions) -> io::Result<Stopped> {
    let patience = Duration::from_secs(options.serving.grace.into()) + MARGIN;
    let stopped = daemon::stop(pid_file, patience);
    match &stopped {
        Ok(Stopped::Nobody) => {}
        Ok(Stopped::Ended(pid)) => _ = done(format_args!("stopped pid {pid}")),
        Ok(Stopped::Killed(pid)) => {
            let words = format_args!("pid {pid} did not end within {} s, and was killed; --grace gives it longer", patience.as_secs());
            fail(words, EXIT_FAILED);
        }
        Err(error) => {
            let remedy = if error.kind() == ErrorKind::PermissionDenied { "; its own user can" } else { "" };
            fail(format_args!("cannot stop the server of {}: {error}{remedy}", pid_file.display()), EXIT_FAILED);
        }
    }
    stopped
}

fn pid_file(options: &ServiceOptions) -> Option<PathBuf> {
    options.pid_file.clone().or_else(|| Some(options.serving.data_dir()?.join("forkchat.pid")))
}

fn log(options: &ServiceOptions) -> Option<PathBuf> {
    options.log.clone().or_else(|| Some(options.serving.data_dir()?.join("forkchat.log")))
}

/// Prints what was done. Who closes the pipe has read enough.
fn done(words: impl std::fmt::Display) -> i32 {
    let _ = writeln!(io::stdout(), "forkchat-server: {words}");
    EXIT_DONE
}

/// Prints why it wasn't done. Returns the exit code.
fn fail(words: impl std::fmt::Display, code: i32) -> i32 {
    let _ = writeln!(io::stderr(), "forkchat-server: {words}");
    code
}
