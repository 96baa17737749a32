//! The work of the log process: it copies from the pipe to the real standard error. If that blocks,
//! no other process does.
//!
//! The piece that it has read and not yet written is in shared memory, so a successor writes it
//! first. A piece that was written just before a kill may be written twice; none is lost.

use super::{PIPE_BUF, SHARED, Shared};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::write;
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use zerocopy::FromBytes;

/// The delay before writing is tried again if standard error can't be written (a full disk, a pipe
/// without a reader).
const RETRY_MILLIS: u16 = 500;

/// The piece that was read from the pipe and is not written yet.
#[derive(FromBytes, Debug)]
#[repr(C)]
pub(super) struct Pending {
    /// Not 0 from the moment before a piece is read until it is written.
    is_busy: AtomicU64,
    /// Bytes that were read.
    length: AtomicU64,
    /// How many of these are written.
    written: AtomicU64,
    bytes: [AtomicU8; PIPE_BUF],
}

impl Pending {
    /// Whether every piece that was read from the pipe is written. Call it after the pipe was found
    /// empty.
    pub fn is_empty(&self) -> bool {
        self.is_busy.load(Ordering::SeqCst) == 0 && self.length.load(Ordering::SeqCst) == 0
    }

    fn set_busy(&self, is_busy: bool) {
        self.is_busy.store(is_busy.into(), Ordering::SeqCst);
    }

    fn put(&self, bytes: &[u8]) {
        self.bytes.iter().zip(bytes).for_each(|(cell, byte)| cell.store(*byte, Ordering::Relaxed));
        self.written.store(0, Ordering::Relaxed);
        self.length.store(bytes.len() as u64, Ordering::Release);
    }

    fn rest(&self) -> Vec<u8> {
        let range = self.written.load(Ordering::Relaxed) as usize
            ..self.length.load(Ordering::Acquire) as usize;
        let bytes = self.bytes.get(range).unwrap_or_default();
        bytes.iter().map(|cell| cell.load(Ordering::Relaxed)).collect()
    }

    fn advance(&self, written: usize) {
        self.written.fetch_add(written as u64, Ordering::Relaxed);
    }

    fn clear(&self) {
        self.length.store(0, Ordering::SeqCst);
    }
}

/// Copies from the pipe to standard error until no process has the pipe's write end any more, and
/// everything is written or can't be. Only one process at a time may call it.
pub fn drain(mut pipe: PipeReader) {
    let Some(Shared { pending, is_end_expected, .. }) = SHARED.get() else { return };
    copy(&mut pipe, pending);
    // The supervisor can't log this itself.
    if is_end_expected.load(Ordering::Relaxed) == 0 {
        log::error!("the supervisor has crashed or was killed; the server has ended with it");
    }
    // Nothing is left, or the rest can't be written: no process should wait for it.
    pending.clear();
    pending.set_busy(false);
}

fn copy(pipe: &mut PipeReader, pending: &Pending) {
    let mut piece = [0; PIPE_BUF];
    while write_out(pending, pipe) {
        pending.set_busy(false);
        let _ = poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE);
        pending.set_busy(true);
        match pipe.read(&mut piece) {
            Ok(0) => return,
            Ok(length) => pending.put(&piece[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Writes the pending piece. Returns false if it can't be written and no process is left that could
/// log more.
fn write_out(pending: &Pending, pipe: &PipeReader) -> bool {
    let stderr = io::stderr();
    loop {
        let rest = pending.rest();
        if rest.is_empty() {
            pending.clear();
            return true;
        }
        match write(&stderr, &rest) {
            Ok(length) => pending.advance(length),
            Err(Errno::EINTR) => {}
            // Another program that shares this open file has made it non-blocking.
            Err(Errno::EAGAIN) => {
                let _ =
                    poll(&mut [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE);
            }
            Err(_) if is_abandoned(pipe) => return false,
            Err(_) => {}
        }
    }
}

/// Writes what waits in the pipe to standard error, without a log process: for a server that can't
/// start and can't fork one. It waits for a terminal or a pipe for a bounded time only; a file on a
/// frozen file system blocks it.
pub(super) fn write_out_at_the_end(pipe: &PipeReader, patience_millis: u16) {
    let stderr = io::stderr();
    let mut piece = [0; PIPE_BUF];
    let mut pipe_bytes = pipe;
    let takes_more = || {
        poll(
            &mut [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)],
            PollTimeout::from(patience_millis),
        )
        .is_ok_and(|found| found > 0)
    };
    while has_bytes(pipe.as_fd()) && takes_more() {
        let Ok(length) = pipe_bytes.read(&mut piece) else { return };
        if write(&stderr, &piece[..length]).is_err() {
            return;
        }
    }
}

/// Waits a moment. Returns whether the last write end of the pipe was closed meanwhile.
fn is_abandoned(pipe: &PipeReader) -> bool {
    let mut hang_up = [PollFd::new(pipe.as_fd(), PollFlags::empty())];
    poll(&mut hang_up, PollTimeout::from(RETRY_MILLIS)).is_ok_and(|found| found > 0)
}

/// Whether the pipe has bytes to read now.
pub(super) fn has_bytes(pipe: BorrowedFd<'_>) -> bool {
    let mut readable = [PollFd::new(pipe, PollFlags::POLLIN)];
    poll(&mut readable, PollTimeout::ZERO).is_ok()
        && readable[0].revents().is_some_and(|found| found.contains(PollFlags::POLLIN))
}
