//! The pid file: it makes sure that only one daemon runs at a time, and identifies the process.
//!
//! **The lock counts, not the file.** A killed daemon leaves its file behind, and by then another
//! process may have its pid. The lock ends with the process, however it ends. The number in the
//! file is for people and scripts. This module only checks that it is a number, so that a process
//! that has locked some other file is not taken for a daemon.
//!
//! **A record lock** (`F_SETLK`, see fcntl_locking(2)), not `flock`. A child that is forked later
//! does not hold it, and the kernel says which process has it (`F_GETLK`), by the pid that is valid
//! for the asking process. With `flock` the pid must be read from the file: between locking and
//! writing the file still names the last daemon, and in a container the number means another
//! process outside. The price: the lock is released when its process closes *any* descriptor of the
//! file. So the daemon itself must not call [`Holder::find`], nor read the file.
//!
//! **Locked first, then emptied and written.** If two processes that start at once each checked for
//! the file and then wrote it, both would run.
//!
//! **Removed while it is locked.** A process that opened the file before that would get the lock of
//! a file without a name, and two would run. So a process that has the lock checks whether the path
//! still leads to the locked file, and if not, starts again. Leaving the file in place would be
//! simpler, but some programs take the file for a running daemon. On a frozen file system unlink(2)
//! blocks, and not even SIGKILL ends that. So a child process removes the file, and the daemon
//! waits for it for a bounded time. A daemon that starts meanwhile waits until the file is gone, by
//! a third lock. If a user removes the file of a running daemon by hand, a second daemon can start.

use crate::sys::process::{EndWatch, fork_outliving, reap_within};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpgid};
use procfs::process::{Process, Stat, StatFlags};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often to try again if the file vanished or its holder ended between two steps. In each case
/// another process has made progress.
const TRIES_MAX: usize = 100;

/// How long a holder that is ending may take.
const ENDING_TIMEOUT: Duration = Duration::from_secs(1);
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Each process locks its own byte of the file: the holder, the process that has asked it to stop,
/// the process that removes the file, and, besides the first byte, a holder in the foreground.
const HOLDER_BYTE: libc::off_t = 0;
const STOP_REQUEST_BYTE: libc::off_t = 1;
const REMOVAL_BYTE: libc::off_t = 2;
const FOREGROUND_BYTE: libc::off_t = 3;

/// How long to wait for the removal of the file. On a frozen file system it takes until that is
/// thawed.
const REMOVAL_TIMEOUT: Duration = Duration::from_millis(500);

/// A longer file was never a pid file. It isn't overwritten.
const BYTES_MAX: u64 = 64;

/// A pid file that this process holds. Dropping it removes the file.
#[derive(Debug)]
pub struct PidFile {
    file: File,
    path: PathBuf,
}

/// Why a pid file can't be taken.
#[derive(Debug)]
pub enum TakeError {
    /// Another process holds it.
    Held(Pid),
    /// The system refused an operation.
    System(io::Error),
}

/// The process that holds a pid file.
#[derive(Debug)]
pub struct Holder {
    /// Its pid.
    pub pid: Pid,
    /// Its process group.
    pub group: Pid,
    /// Reports its end, and sends it signals.
    watch: EndWatch,
    /// Holds the lock of the process that asks it to stop.
    file: File,
}

impl PidFile {
    /// Locks the file for this process, and writes its pid and a newline to it. Creates the file if
    /// necessary, with permissions as the umask allows.
    ///
    /// # Errors
    /// [`TakeError::Held`] if another process holds it; else those of open(2) (a symbolic link is
    /// not followed, since the file that it leads to would be overwritten) and fcntl(2).
    pub fn take(path: &Path) -> Result<PidFile, TakeError> {
        PidFile::take_as(path, &[HOLDER_BYTE])
    }

    /// The same for a process that is not a daemon: a terminal, a service manager or a program
    /// waits for it. See [`Holder::is_in_foreground`].
    ///
    /// # Errors
    /// As with [`PidFile::take`].
    pub fn take_in_foreground(path: &Path) -> Result<PidFile, TakeError> {
        // In this order, so that the holder never looks like a daemon.
        PidFile::take_as(path, &[FOREGROUND_BYTE, HOLDER_BYTE])
    }

    /// Tries again for a moment while the holder is ending: a killed process holds the lock until
    /// it has ended.
    fn take_as(path: &Path, bytes: &[libc::off_t]) -> Result<PidFile, TakeError> {
        let start = Instant::now();
        loop {
            match PidFile::try_take(path, bytes) {
                Err(TakeError::Held(pid)) if is_ending(pid) && start.elapsed() < ENDING_TIMEOUT => {
                    std::thread::sleep(POLL_INTERVAL)
                }
                taken => return taken,
            }
        }
    }

    fn try_take(path: &Path, bytes: &[libc::off_t]) -> Result<PidFile, TakeError> {
        for _ in 0..TRIES_MAX {
            // Not truncated by this: the file may belong to another process.
            let mut options = OpenOptions::new();
            options
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o644)
                .custom_flags(libc::O_NOFOLLOW);
            let file = options.open(path)?;
            match bytes
                .iter()
                .try_for_each(|&byte| fcntl(&file, FcntlArg::F_SETLK(&lock_of(byte))).map(drop))
            {
                // The previous holder is about to remove it.
                Ok(_) if is_locked(&file, REMOVAL_BYTE)? => {
                    drop(file);
                    std::thread::sleep(POLL_INTERVAL);
                }
                Ok(_) if is_at(&file, path) => {
                    let found = file.metadata()?;
                    if !found.is_file() || found.len() > BYTES_MAX {
                        return Err(io::Error::other("what is there is no pid file").into());
                    }
                    let pid_file = PidFile { file, path: path.to_owned() };
                    pid_file.write()?;
                    return Ok(pid_file);
                }
                // The previous holder has removed it.
                Ok(_) => {}
                Err(Errno::EAGAIN | Errno::EACCES) => {
                    // If no holder is found, it has just ended.
                    if let Some(pid) = locked_by(&file, HOLDER_BYTE)? {
                        return Err(TakeError::Held(pid));
                    }
                }
                Err(errno) => return Err(io::Error::from(errno).into()),
            }
        }
        Err(keeps_changing().into())
    }

    fn remove(&self) {
        // Another process may have put a different file there.
        if is_at(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Removes the file on behalf of `holder`, which releases it. The holder may have ended by now,
    /// and another process may hold the file.
    ///
    /// A process that locks the file from now on notices the removal, and waits. A process that has
    /// locked it before is found here.
    fn remove_for(&self, holder: Pid) -> io::Result<()> {
        fcntl(&self.file, FcntlArg::F_SETLK(&lock_of(REMOVAL_BYTE)))?;
        if locked_by(&self.file, HOLDER_BYTE)?.is_none_or(|now| now == holder) {
            self.remove();
        }
        Ok(())
    }

    fn write(&self) -> io::Result<()> {
        self.file.set_len(0)?;
        writeln!(&self.file, "{}", std::process::id())
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // The lock is released after this, with the descriptor.
        let holder = Pid::this();
        let removing = fork_outliving(&[self.file.as_fd()], |_file| {
            i32::from(self.remove_for(holder).is_err())
        });
        match removing {
            Ok(child) => reap_within(child, REMOVAL_TIMEOUT),
            // The fork failed, or this process has other threads.
            Err(_) => self.remove(),
        }
    }
}

impl Holder {
    /// The process that holds this file; `None` if there is no holder or no file.
    ///
    /// # Errors
    /// Those of open(2), fcntl(2) and pidfd_open(2); also if the holder can't be seen from here.
    pub fn find(path: &Path) -> io::Result<Option<Holder>> {
        let open = |write| {
            OpenOptions::new()
                .read(true)
                .write(write)
                .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
                .open(path)
        };
        // A user who may only read the file can still find its holder.
        let file = match open(true).or_else(|_| open(false)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        for _ in 0..TRIES_MAX {
            let Some(pid) = locked_by(&file, HOLDER_BYTE)? else { return Ok(None) };
            let (watch, group) = match (EndWatch::of(pid), getpgid(Some(pid))) {
                (Ok(watch), Ok(group)) => (watch, group),
                (Err(Errno::ESRCH), _) | (_, Err(Errno::ESRCH)) => continue,
                (Err(errno), _) | (_, Err(errno)) => return Err(errno.into()),
            };
            // The process held the lock before and holds it still, so it lived in between, and the
            // pid wasn't reused.
            if locked_by(&file, HOLDER_BYTE)? != Some(pid) {
                continue;
            }
            if has_a_number(&file)? {
                return Ok(Some(Holder { pid, group, watch, file }));
            }
            // The holder is about to write its pid. Or the file is another program's, such as a
            // database, and its holder is not a daemon of ours.
            std::thread::sleep(POLL_INTERVAL);
        }
        let why = match locked_by(&file, HOLDER_BYTE)? {
            Some(pid) if !has_a_number(&file)? => io::Error::other(format!(
                "it is not a pid file, although pid {pid} holds a lock on it"
            )),
            _ => keeps_changing(),
        };
        Err(why)
    }

    /// Whether the holder runs in the foreground.
    pub fn is_in_foreground(&self) -> bool {
        locked_by(&self.file, FOREGROUND_BYTE).is_ok_and(|pid| pid == Some(self.pid))
    }

    /// Sends a signal to the holder, unless it has ended.
    ///
    /// # Errors
    /// `EPERM` if the holder belongs to another user.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        // The pid alone may have been reused by now. While the process holds the lock it lives.
        if let EndWatch::Number(pid) = self.watch
            && locked_by(&self.file, HOLDER_BYTE)? != Some(pid)
        {
            return Ok(());
        }
        match self.watch.signal(signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits until the holder has ended, for at most this long. Returns whether it has.
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        Ok(self.watch.wait(timeout)?)
    }

    /// Makes this process the one that asks the holder to stop, as long as this value exists.
    /// Returns false if another process has done so and still waits. A second request would end the
    /// server at once, and that is for people to decide.
    pub fn claim_stop_request(&self) -> bool {
        !matches!(
            fcntl(&self.file, FcntlArg::F_SETLK(&lock_of(STOP_REQUEST_BYTE))),
            Err(Errno::EAGAIN | Errno::EACCES)
        )
    }
}

impl From<io::Error> for TakeError {
    fn from(error: io::Error) -> TakeError {
        TakeError::System(error)
    }
}

/// The process that has this byte of the file locked, if one does.
fn locked_by(file: &File, byte: libc::off_t) -> io::Result<Option<Pid>> {
    let lock = lock_found(file, byte)?;
    match (i32::from(lock.l_type), lock.l_pid) {
        (libc::F_UNLCK, _) => Ok(None),
        (_, pid) if pid > 0 => Ok(Some(Pid::from_raw(pid))),
        _ => Err(io::Error::other(
            "it is locked by a process that can't be seen from here, in another container or on \
             another machine",
        )),
    }
}

/// Whether another process has this byte of the file locked.
fn is_locked(file: &File, byte: libc::off_t) -> io::Result<bool> {
    Ok(i32::from(lock_found(file, byte)?.l_type) != libc::F_UNLCK)
}

/// The lock that conflicts with a lock of this byte by this process; of type `F_UNLCK` if there is
/// none. Source: fcntl(2), F_GETLK.
fn lock_found(file: &File, byte: libc::off_t) -> io::Result<libc::flock> {
    let mut lock = lock_of(byte);
    fcntl(file, FcntlArg::F_GETLK(&mut lock))?;
    Ok(lock)
}

/// Whether a process was killed and is still ending, or has ended. Sources: proc_pid_status(5),
/// `SigPnd`; proc_pid_stat(5), `state` and `flags`.
fn is_ending(pid: Pid) -> bool {
    // Not `procfs`'s status, for the same reason as in `supervisor/capacity.rs`: the daemon is
    // forked after this.
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let is_killed = ["SigPnd:", "ShdPnd:"].into_iter().any(|field| {
        let pending = status.lines().find_map(|line| line.strip_prefix(field));
        pending
            .and_then(|pending| u64::from_str_radix(pending.trim(), 16).ok())
            .is_some_and(|pending| pending >> (Signal::SIGKILL as u64 - 1) & 1 == 1)
    });
    let is_exiting = |stat: Stat| {
        matches!(stat.state, 'Z' | 'X') || stat.flags & StatFlags::PF_EXITING.bits() != 0
    };
    let stat = Process::new(pid.as_raw()).and_then(|process| process.stat());
    status.is_empty() || is_killed || stat.is_ok_and(is_exiting)
}

/// A write lock of one byte.
fn lock_of(byte: libc::off_t) -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    }
}

/// Whether this is a regular file that contains a number and nothing else.
fn has_a_number(file: &File) -> io::Result<bool> {
    let found = file.metadata()?;
    if !found.is_file() || found.len() > BYTES_MAX {
        return Ok(false);
    }
    let mut bytes = vec![0; found.len() as usize];
    let length = file.read_at(&mut bytes, 0)?;
    Ok(bytes[..length]
        .strip_suffix(b"\n")
        .is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit)))
}

/// Whether a path leads to this open file.
fn is_at(file: &File, path: &Path) -> bool {
    let number = |metadata: &fs::Metadata| (metadata.dev(), metadata.ino());
    file.metadata().is_ok_and(|open| {
        fs::symlink_metadata(path).is_ok_and(|there| number(&open) == number(&there))
    })
}

fn keeps_changing() -> io::Error {
    io::Error::other("others keep starting and stopping there")
}
