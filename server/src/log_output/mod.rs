//! Log output: what the operator reads on standard error, and how it gets there without delaying
//! the process that logs.
//!
//! ```text
//!  supervisor ─┐
//!  workers    ─┼─ write(2), never blocks ──► pipe, 1 MiB ──► log process ── write(2), may block ──► standard error
//!  journal    ─┘   full: dropped, counted                     (see `drain`)
//! ```
//!
//! Standard error may be a terminal after Ctrl-S, a pipe that no process reads, or a file on a
//! frozen file system. Then write(2) blocks, perhaps for ever. O_NONBLOCK would not help: it has no
//! effect on a file, and elsewhere it would change the open file for the shell and all others that
//! share it. So before the first fork [`LogPipe::install`] replaces file descriptor 2 by a pipe
//! whose write end is non-blocking. From then on everything that any process writes to standard
//! error goes there, also what the standard library writes. Only the log process has the real
//! standard error as its descriptor 2.
//!
//! | fault | what happens |
//! |---|---|
//! | standard error takes nothing | the pipe fills up; further lines are dropped, counted and reported later |
//! | the log process is killed | a successor continues with the pipe and the pending piece |
//! | the supervisor crashes or is killed | the log process writes the remaining lines, logs that, and ends |
//! | the pipe cannot be created | lines go to standard error directly |
//!
//! A line of up to PIPE_BUF bytes is written by one write(2), which the kernel makes atomic, so
//! lines of different processes never mix. A longer line is cut.

mod drain;

pub use drain::drain;

use crate::sys::memory::map_shared;
use drain::Pending;
use log::{Level, LevelFilter};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{dup2_stderr, write};
use std::borrow::Cow;
use std::io::{self, PipeReader, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use zerocopy::FromBytes;

/// The most bytes that a pipe takes in one piece. Source: pipe(7), limits.h of Linux.
const PIPE_BUF: usize = 4_096;
/// The capacity of the pipe: some 10,000 lines. An unprivileged process may ask for this much.
/// Source: pipe(7), `pipe-max-size`.
const PIPE_BYTES: i32 = 1 << 20;
/// How long to wait for standard error when there is no log process that could wait for it.
const PATIENCE_MILLIS: u16 = 1_000;
/// The end of a line that was cut.
const CUT: &[u8] = " … (cut)\n".as_bytes();

/// The role of this process, which begins each line. Set right after a fork, while the process has
/// one thread.
static ROLE: Mutex<String> = Mutex::new(String::new());

/// The shared memory, created by [`LogPipe::install`].
static SHARED: OnceLock<&'static Shared> = OnceLock::new();

/// The state in shared memory, which outlives the log process.
#[derive(FromBytes, Debug)]
#[repr(C)]
struct Shared {
    /// Lines that were dropped and not reported yet.
    dropped: AtomicU64,
    /// Not 0 once the end of the last process that logs is expected.
    is_end_expected: AtomicU64,
    pending: Pending,
}

/// Receives each error that is logged, besides the log output.
static ERROR_SINK: OnceLock<ErrorSink> = OnceLock::new();

type ErrorSink = Box<dyn Fn(&str) + Send + Sync>;

/// Makes each line that is logged as an error also go to `sink`, in this process and in those that
/// it forks. Only the first call has an effect.
pub fn also_report_errors(sink: impl Fn(&str) + Send + Sync + 'static) {
    let _ = ERROR_SINK.set(Box::new(sink));
}

/// Starts logging to standard error. `verbose` adds lines that only a developer needs.
pub fn start(verbose: bool) {
    let level = if verbose { LevelFilter::Debug } else { LevelFilter::Info };
    let mut builder = env_logger::Builder::new();
    let target = env_logger::Target::Pipe(Box::new(Sink));
    builder.filter_level(level).target(target).format(|out, record| {
        if let (Level::Error, Some(sink)) = (record.level(), ERROR_SINK.get()) {
            sink(&record.args().to_string());
        }
        writeln!(out, "{}{}", head(record.level()), record.args())
    });
    // Fails if logging was started before.
    let _ = builder.try_init();
}

/// Sets the role of this process, with which each of its lines begins.
pub fn set_role(role: &str) {
    if let Ok(mut name) = ROLE.lock() {
        role.clone_into(&mut name);
    }
}

fn head(level: Level) -> String {
    let role = ROLE.lock().map(|role| role.clone()).unwrap_or_default();
    let level = match level {
        Level::Error => "error: ",
        Level::Warn => "warning: ",
        Level::Info | Level::Debug | Level::Trace => "",
    };
    format!("{:.3} {role}: {level}", jiff::Timestamp::now())
}

/// The logger's output. Each line is written by one call, which never fails and, once the pipe is
/// installed, never blocks.
#[derive(Debug)]
struct Sink;

impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        report_dropped();
        if !send(&cut(line)) {
            count_dropped(1);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Logs how many lines were dropped since the last report, if any were and there is room again.
/// This happens before each line that is logged. The supervisor also calls it now and then, so that
/// the report comes even if nothing else is logged.
pub fn report_dropped() {
    let Some(shared) = SHARED.get() else { return };
    if shared.dropped.load(Ordering::Relaxed) == 0 {
        return;
    }
    // Swapped, so that only one process reports them.
    let count = shared.dropped.swap(0, Ordering::Relaxed);
    let lines = if count == 1 { "line was" } else { "lines were" };
    let report = format!(
        "{}{count} log {lines} dropped: standard error did not take them in time\n",
        head(Level::Warn)
    );
    if count > 0 && !send(report.as_bytes()) {
        count_dropped(count);
    }
}

/// Declares that the end of the processes that log is expected, or was already reported to the
/// operator. The log process then doesn't report it.
pub fn expect_end() {
    if let Some(shared) = SHARED.get() {
        shared.is_end_expected.store(1, Ordering::Relaxed);
    }
}

fn count_dropped(lines: u64) {
    if let Some(shared) = SHARED.get() {
        shared.dropped.fetch_add(lines, Ordering::Relaxed);
    }
}

/// Writes a line to descriptor 2. Returns false if that takes no more.
fn send(mut line: &[u8]) -> bool {
    let stderr = io::stderr();
    while !line.is_empty() {
        match write(&stderr, line) {
            Ok(length) => line = &line[length..],
            Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
    true
}

/// Cuts a line to a length that a pipe takes in one piece.
fn cut(line: &[u8]) -> Cow<'_, [u8]> {
    if line.len() <= PIPE_BUF {
        return line.into();
    }
    let mut length = PIPE_BUF - CUT.len();
    // Not within a character.
    while length > 0 && line[length] & 0b1100_0000 == 0b1000_0000 {
        length -= 1;
    }
    [&line[..length], CUT].concat().into()
}

/// The pipe, and the standard error with which this process was started.
#[derive(Debug)]
pub struct LogPipe {
    reader: PipeReader,
    stderr: OwnedFd,
}

impl LogPipe {
    /// Replaces descriptor 2 by the write end of a new pipe. What is logged from then on waits in
    /// the pipe for [`drain`].
    ///
    /// # Errors
    /// `EMFILE`, `ENOMEM`, or `EBADF` if the process was started without standard error. Descriptor
    /// 2 has not changed then.
    pub fn install() -> io::Result<LogPipe> {
        let stderr = io::stderr().as_fd().try_clone_to_owned()?;
        let (reader, writer) = io::pipe()?;
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        // Refused if the user has too many pipes. Then the capacity stays at 64 KiB, or one page.
        let _ = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
        if SHARED.get().is_none() {
            let _ = SHARED.set(map_shared("forkchat-log-output")?);
        }
        dup2_stderr(&writer)?;
        Ok(LogPipe { reader, stderr })
    }

    /// Restores the standard error with which this process was started, which closes this process's
    /// write end of the pipe. Once every process has done so or ended, the log process ends when it
    /// has written everything.
    pub fn uninstall(&self) {
        // Cannot fail: both are open. Source: dup(2).
        let _ = dup2_stderr(&self.stderr);
    }

    /// The descriptors for the log process: the read end of the pipe, and the real standard error.
    pub fn ends(&self) -> [BorrowedFd<'_>; 2] {
        [self.reader.as_fd(), self.stderr.as_fd()]
    }

    /// Writes what waits in the pipe, as far as standard error takes it without long delay. For use
    /// after [`LogPipe::uninstall`], if no log process can be forked.
    pub fn write_out(&self) {
        drain::write_out_at_the_end(&self.reader, PATIENCE_MILLIS);
    }

    /// Whether everything that was logged is written.
    pub fn is_empty(&self) -> bool {
        // Check the pipe first: a piece is marked as pending before it leaves the pipe.
        !drain::has_bytes(self.reader.as_fd())
            && SHARED.get().is_none_or(|shared| shared.pending.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_too_long_for_one_piece_is_cut_between_two_characters() {
        let long = format!("{}\n", "é".repeat(PIPE_BUF));
        for shift in 0..2 {
            let cut = cut(&long.as_bytes()[shift * 2..]).into_owned();
            let text = String::from_utf8(cut).unwrap();
            assert!(
                text.len() <= PIPE_BUF
                    && text.len() > PIPE_BUF - 4
                    && text.ends_with("é … (cut)\n")
            );
        }
        let exact = "x".repeat(PIPE_BUF);
        assert_eq!(cut(exact.as_bytes()), exact.as_bytes());
    }
}
