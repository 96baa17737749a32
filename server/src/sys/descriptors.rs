//! Closing the descriptors that a forked child must not have.
//!
//! `close_range` does it in a few calls. Where it is refused (Linux before 5.9, some containers),
//! the open descriptors are listed in /proc, and without /proc every number is tried.

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// The first descriptor that isn't standard input, output or error.
const FIRST: RawFd = 3;
/// Numbers that are tried where nothing lists the open ones. A process is given the lowest that is
/// free, and never has so many.
const TRIED_MAX: u64 = 1 << 20;

/// Closes all but standard input, output and error and these: two lists, each in ascending order.
///
/// Only for a child right after fork, which uses none of the values that own the others.
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
    let mut spared: Vec<RawFd> =
        kept.chain(lasting.map(|descriptor| descriptor.as_raw_fd())).collect();
    spared.sort_unstable();
    let is_to_go = |fd: &RawFd| *fd >= FIRST && spared.binary_search(fd).is_err();
    let doomed: Vec<RawFd> = match std::fs::read_dir("/proc/self/fd") {
        // The directory's own descriptor is in the list, and closed before the list is used.
        Ok(open) => open
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(is_to_go)
            .collect(),
        Err(_) => {
            let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
            (FIRST..limit.min(TRIED_MAX) as RawFd).filter(is_to_go).collect()
        }
    };
    for fd in doomed {
        // SAFETY: as in `close_range`. A number that isn't open is EBADF, and does nothing.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

fn close_range(first: RawFd, last: RawFd) -> nix::Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: this runs in a child right after fork, on its copies of the descriptors. The values
    // that owned them in the parent are copies that the child neither uses nor drops: `main` is
    // told which descriptors it may use, and the child leaves with _exit.
    Errno::result(unsafe { libc::close_range(first.cast_unsigned(), last.cast_unsigned(), 0) })
        .map(drop)
}
