//! A daemon: a process that serves in the background, detached from the process that started it.
//! This module also provides what a service needs: only one instance at a time, a start that
//! reports success only when the daemon serves, and a stop that returns only when the daemon has
//! ended.
//!
//! ```text
//!  start ──fork──► session leader ──fork──► daemon: pid file, /dev/null, log ──► main
//!    ▲  waits for       setsid, exits         │                                   │
//!    └──────────────── pipe ◄─────────────────┴── "serving", or why not ◄─────────┘
//! ```
//!
//! | step | what for |
//! |---|---|
//! | descriptors closed, signals reset | the daemon has no connection to its starter, and a reader of the starter's output sees its end |
//! | fork, the parent returns | the shell's command ends, and the child leads no group, as `setsid` requires |
//! | `setsid` | no controlling terminal: no Ctrl-C, no hang-up |
//! | fork again | not a session leader, so it never gets a terminal by opening one |
//! | umask 077 | only its user may access the files that it creates, unless it sets another mode |
//! | `chdir("/")` | the daemon's working directory keeps no file system from being unmounted |
//! | 0 and 1 to `/dev/null`, 2 to the log | a write to standard output does no harm |
//! | pid file | only one instance at a time: [`pid_file`] |
//! | report through the pipe | `start` returns when the daemon serves, not when it was forked |
//!
//! Source: daemon(7), "SysV Daemons", in that order, with two differences: the environment is left
//! as it is, and the umask is not 0.
//!
//! A program that is run by a service manager (systemd, a container) needs none of this: it stays
//! in the foreground.

pub mod pid_file;
pub mod sockets;

use crate::sys::process::fork_survivor;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, setsid};
use pid_file::{Holder, PidFile, TakeError};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf, absolute};
use std::time::{Duration, Instant};

/// The umask of a daemon: only its user may access its files.
const UMASK: Mode = Mode::from_bits_truncate(0o077);
/// The exit code of a daemon that couldn't start.
const EXIT_FAILED: i32 = 1;
/// How long a killed daemon and its children may take to end.
const KILL_TIMEOUT: Duration = Duration::from_secs(2);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Where a daemon's files are. Relative paths are taken from the starter's working directory.
#[derive(Clone, Debug)]
pub struct Files {
    /// The pid file. Its directory must exist.
    pub pid_file: PathBuf,
    /// Where its standard error is appended; a new file is only accessible to its user. `None`: it
    /// is discarded.
    pub log: Option<PathBuf>,
}

/// How the daemon reports to the process that started it. If it ends without a report, the start
/// has failed.
#[derive(Debug)]
pub struct Ready<'a> {
    pipe: &'a mut Option<PipeWriter>,
}

/// Why there is no new daemon.
#[derive(Debug)]
pub enum StartError {
    /// A daemon is running already.
    Running(Pid),
    /// The daemon reported why it can't serve.
    Failed {
        /// The exit code with which it ends.
        code: i32,
        /// For the operator.
        text: String,
    },
    /// The daemon ended without a report.
    NoReport,
    /// The system refused an operation: which, and its error.
    System(&'static str, io::Error),
}

/// The result of [`stop`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// No daemon was running.
    NotRunning,
    /// The daemon ended on request.
    Ended(Pid),
    /// It did not end in time, and was killed.
    Killed(Pid),
    /// It runs in the foreground, and was left alone: a terminal or a program waits for it.
    InForeground(Pid),
}

/// The daemon's report to the process that started it.
#[derive(Debug, Serialize, Deserialize)]
enum Report {
    Serving(i32),
    Running(i32),
    Failed(i32, String),
}

/// Starts a daemon that runs `main` and exits with the code that it returns. Returns the daemon's
/// pid when the daemon reports that it serves.
///
/// `main` works on copies of all that it captured, except descriptors, which are closed. While it
/// runs the daemon holds the pid file; the file is removed when `main` returns. The daemon is not
/// killed when this process ends.
///
/// # Errors
/// [`StartError`]; the daemon holds no pid file any more then. `EDEADLK` if this process has more
/// than one thread.
pub fn start(files: &Files, main: impl FnOnce(Ready<'_>) -> i32) -> Result<Pid, StartError> {
    let failed = |what| move |error| StartError::System(what, error);
    // Before the daemon changes its directory.
    let make_absolute =
        |path: &PathBuf| absolute(path).map_err(failed("find the working directory"));
    let files = Files {
        pid_file: make_absolute(&files.pid_file)?,
        log: files.log.as_ref().map(make_absolute).transpose()?,
    };
    let (mut reader, writer) = io::pipe().map_err(failed("make a pipe"))?;
    let leader = fork_survivor(writer, pipe_only, |pipe| lead_session(pipe, &files, main))
        .map_err(failed("fork"))?;
    // The session leader only forks, so this wait is short.
    while waitpid(leader, None) == Err(Errno::EINTR) {}
    let mut report = Vec::new();
    // To its end: the daemon closes the pipe when it serves, or after it has released the pid file.
    reader.read_to_end(&mut report).map_err(failed("hear of the daemon"))?;
    match postcard::from_bytes(&report) {
        Ok(Report::Serving(pid)) => Ok(Pid::from_raw(pid)),
        Ok(Report::Running(pid)) => Err(StartError::Running(Pid::from_raw(pid))),
        Ok(Report::Failed(code, text)) => Err(StartError::Failed { code, text }),
        Err(_) => Err(StartError::NoReport),
    }
}

/// Stops the daemon that holds this pid file. Sends SIGTERM, unless another process that has sent
/// it is still waiting; waits until the daemon has ended; and kills it after `patience`. A restart
/// is this and then [`start`]. If another daemon starts between the two, `start` returns
/// [`StartError::Running`].
///
/// Only a process that holds the file's lock gets signals, whatever number the file contains. A
/// process in the foreground gets none.
///
/// # Errors
/// If the file can't be read, or its holder can't be seen from here; `EPERM` if the holder belongs
/// to another user.
pub fn stop(pid_file: &Path, patience: Duration) -> io::Result<Stopped> {
    let Some(holder) = Holder::find(pid_file)? else { return Ok(Stopped::NotRunning) };
    if holder.is_in_foreground() {
        return Ok(Stopped::InForeground(holder.pid));
    }
    if holder.claim_stop_request() {
        holder.signal(Signal::SIGTERM)?;
    }
    let Holder { pid, group, .. } = holder;
    if holder.wait(patience)? {
        return Ok(Stopped::Ended(pid));
    }
    holder.signal(Signal::SIGKILL)?;
    let deadline = Instant::now() + KILL_TIMEOUT;
    if !holder.wait(KILL_TIMEOUT)? {
        return Err(io::Error::other(format!(
            "pid {pid} was killed but has not ended yet, since the kernel still works for it"
        )));
    }
    // The killed daemon could not wait for its children. They end a moment later, and until then
    // may hold a port that the next daemon wants.
    while killpg(group, None) != Err(Errno::ESRCH) && Instant::now() < deadline {
        std::thread::sleep(POLL_INTERVAL);
    }
    Ok(Stopped::Killed(pid))
}

impl Ready<'_> {
    /// Reports that the daemon serves, so `start` returns. Returns false if the starting process
    /// has ended: then the daemon should end, too.
    pub fn serving(self) -> bool {
        let was_sent = self.send(&Report::Serving(std::process::id().cast_signed()));
        *self.pipe = None;
        was_sent
    }

    /// Reports that the daemon can't serve, for this reason, and will end with this code. `start`
    /// returns when the daemon has released the pid file.
    pub fn failed(self, code: i32, text: String) {
        self.send(&Report::Failed(code, text));
    }

    fn send(&self, report: &Report) -> bool {
        self.pipe.as_ref().is_some_and(|pipe| send(pipe, report))
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Running(pid) => write!(f, "a server already runs, as pid {pid}"),
            StartError::Failed { text, .. } => f.write_str(text),
            StartError::NoReport => f.write_str("it ended before it was ready"),
            StartError::System(what, error) => write!(f, "cannot {what}: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// The first child: creates a session, and forks the daemon in it.
fn lead_session(pipe: PipeWriter, files: &Files, main: impl FnOnce(Ready<'_>) -> i32) -> i32 {
    let ours = pipe.try_clone();
    let forked = setsid()
        .map_err(io::Error::from)
        .and_then(|_| fork_survivor(pipe, pipe_only, |pipe| run(pipe, files, main)));
    if let (Err(error), Ok(ours)) = (forked, ours) {
        send(&ours, &Report::Failed(EXIT_FAILED, format!("cannot fork: {error}")));
    }
    0
}

/// The second child: the daemon.
fn run(pipe: PipeWriter, files: &Files, main: impl FnOnce(Ready<'_>) -> i32) -> i32 {
    // Closed last: see `Ready::failed`.
    let mut pipe = Some(pipe);
    match begin(files) {
        Ok(_held) => main(Ready { pipe: &mut pipe }),
        Err(report) => {
            Ready { pipe: &mut pipe }.send(&report);
            EXIT_FAILED
        }
    }
}

fn begin(files: &Files) -> Result<PidFile, Report> {
    let failed = |what: String| {
        move |error: io::Error| {
            Report::Failed(
                EXIT_FAILED,
                format!("cannot {what}: {error}; choose another place for it"),
            )
        }
    };
    umask(UMASK);
    chdir("/").map_err(|errno| {
        Report::Failed(EXIT_FAILED, format!("cannot change to the directory /: {errno}"))
    })?;
    let log = files.log.as_deref().unwrap_or(Path::new("/dev/null"));
    redirect(log).map_err(failed(format!("write the log {}", log.display())))?;
    PidFile::take(&files.pid_file).map_err(|error| match error {
        TakeError::Held(pid) => Report::Running(pid.as_raw()),
        TakeError::System(error) => {
            failed(format!("take {} for a pid file", files.pid_file.display()))(error)
        }
    })
}

/// Redirects standard input and output to /dev/null, and standard error to the log.
fn redirect(log: &Path) -> io::Result<()> {
    let nowhere = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    // Appends each line, also after the file was truncated meanwhile, as logrotate's copytruncate
    // does.
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK)
        .open(log)?;
    // The reader of a pipe, for example, could block the daemon.
    let kind = log.metadata()?.file_type();
    if !kind.is_file() && !kind.is_char_device() {
        return Err(io::Error::other("it is neither a file nor a device"));
    }
    fcntl(&log, FcntlArg::F_SETFL(OFlag::O_APPEND))?;
    dup2_stdin(&nowhere)?;
    dup2_stdout(&nowhere)?;
    dup2_stderr(&log)?;
    Ok(())
}

fn pipe_only(pipe: &PipeWriter) -> Vec<BorrowedFd<'_>> {
    vec![pipe.as_fd()]
}

/// Sends a report. Returns whether the starting process still reads.
fn send(mut pipe: &PipeWriter, report: &Report) -> bool {
    postcard::to_stdvec(report).is_ok_and(|bytes| pipe.write_all(&bytes).is_ok())
}
