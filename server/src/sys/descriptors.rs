//! Closing the descriptors that a forked child must not have.
//!
//! `close_range` does it in a few calls. Where it is refused (Linux before 5.9, some containers),
//! the open descriptors are read from /proc, and without /proc every number is tried.

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// The first descriptor that isn't standard input, output or error.
const FIRST: RawFd = 3;
/// The most numbers that are tried where nothing lists the open descriptors. A process gets the
/// lowest free number, and never has this many.
const TRIED_MAX: u64 = 1 << 20;

/// Closes all descriptors except standard input, output and error and those in the two lists, each
/// in ascending order.
///
/// Only for a child right after fork, which doesn't use the values that own the other descriptors.
pub(super) fn close_all_but(
    kept: impl Iterator<Item = RawFd> + Clone,
    lasting: impl Iterator<Item = BorrowedFd<'static>> + Clone,
) -> nix::Result<()> {
    close_ranges(kept.clone(), lasting.clone()).or_else(|_| close_listed(kept, lasting))
}

fn close_ranges(
    kept: impl Iterator<Item = RawFd>,
    lasting: impl Iterator<Item = BorrowedFd<'static>>,
) -> nix::Result<()> {
    let (mut kept, mut lasting) =
        (kept.peekable(), lasting.map(|descriptor| descriptor.as_raw_fd()).peekable());
    let mut first = FIRST;
    loop {
        let next = match (kept.peek(), lasting.peek()) {
            (Some(one), Some(other)) if one > other => lasting.next(),
            (None, _) => lasting.next(),
            (Some(_), _) => kept.next(),
        };
        let Some(fd) = next else { return close_range(first, RawFd::MAX) };
        close_range(first, fd - 1)?;
        first = first.max(fd + 1);
    }
}

fn close_listed(
    kept: impl Iterator<Item = RawFd>,
    lasting: impl Iterator<Item = BorrowedFd<'static>>,
) -> nix::Result<()> {
    let mut to_keep: Vec<RawFd> =
        kept.chain(lasting.map(|descriptor| descriptor.as_raw_fd())).collect();
    to_keep.sort_unstable();
    let is_to_close = |fd: &RawFd| *fd >= FIRST && to_keep.binary_search(fd).is_err();
    let to_close: Vec<RawFd> = match std::fs::read_dir("/proc/self/fd") {
        // The directory's own descriptor is in the list, but is closed before the list is used.
        Ok(open) => open
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(is_to_close)
            .collect(),
        Err(_) => {
            let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
            (FIRST..limit.min(TRIED_MAX) as RawFd).filter(is_to_close).collect()
        }
    };
    for fd in to_close {
        // SAFETY: as in `close_range`. For a number that isn't open the call fails with EBADF, and
        // does nothing.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

fn close_range(first: RawFd, last: RawFd) -> nix::Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: this runs in a child right after fork, on its copies of the descriptors. The values
    // that owned them in the parent are copies that the child neither uses nor drops: `main` may
    // use only the descriptors that it is documented to get, and the child leaves with _exit.
    Errno::result(unsafe { libc::close_range(first.cast_unsigned(), last.cast_unsigned(), 0) })
        .map(drop)
}
