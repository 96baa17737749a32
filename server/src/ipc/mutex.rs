//! A mutex between processes that survives its owner's death and knows its owner.
//!
//! Costs: about 25 ns to lock and unlock without contention, and a system call on either side with
//! it. When the owner is killed, the kernel hands the lock to the next process that asks for it
//! ([`Guard::owner_died`]). The data that the mutex guards must be such that it can be repaired
//! then. The event log needs no repair: what was written after the published tail does not count.

use crate::sys::robust_mutex::{RawGuard, RawMutex};
use nix::errno::Errno;
use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use zerocopy::FromBytes;

/// A robust mutex in shared memory. Zeroed memory becomes one with [`Mutex::init`].
#[derive(FromBytes, Debug)]
#[repr(C)]
pub struct Mutex {
    raw: RawMutex,
    /// How often it was locked, by anyone: tells one long hold from many short ones.
    acquisitions: AtomicU64,
    /// Who holds it, as it named itself, plus 1; 0 if nobody does.
    owner: AtomicU32,
    _pad: AtomicU32,
}

/// The lock, held until dropped.
#[derive(Debug)]
pub struct Guard {
    mutex: &'static Mutex,
    /// The previous owner died holding it.
    pub owner_died: bool,
    _raw: RawGuard,
}

/// Why a lock wasn't had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockError {
    /// Somebody alive held it all the time.
    TimedOut,
    /// Not initialised, or held by this very thread: a mistake in the program.
    Misused(Errno),
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::TimedOut => f.write_str("somebody held the lock all the time"),
            LockError::Misused(errno) => {
                write!(f, "the lock was never made, or this thread holds it: {errno}")
            }
        }
    }
}

impl Error for LockError {}

/// How long is waited for a lock that is held for a microsecond or less at a time. It is long: only
/// a process that was stopped, or that gets no CPU, holds one longer.
pub const BRIEFLY: Duration = Duration::from_millis(20);

/// `None` if the lock wasn't had in time: whoever has it may go on, or be killed, while one waits
/// and tries again.
///
/// # Errors
/// [`LockError::Misused`].
pub fn or_later<T>(locked: Result<T, LockError>) -> Result<Option<T>, LockError> {
    match locked {
        Ok(found) => Ok(Some(found)),
        Err(LockError::TimedOut) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What [`Mutex::holder`] saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The name that the owner gave itself.
    pub owner: u32,
    /// Which acquisition it is; while this doesn't change, it is the same hold.
    pub acquisition: u64,
}

impl Mutex {
    /// Makes the mutex usable. Once, before it is shared.
    pub fn init(&'static self) -> Result<(), Errno> {
        self.raw.init()
    }

    /// Locks it for `me`, a number of the caller's choice that names it to whoever watches; waits
    /// at most `timeout`.
    pub fn lock(&'static self, me: u32, timeout: Duration) -> Result<Guard, LockError> {
        let raw = self.raw.lock(timeout).map_err(|errno| match errno {
            Errno::ETIMEDOUT | Errno::EBUSY => LockError::TimedOut,
            errno => LockError::Misused(errno),
        })?;
        self.owner.store(me + 1, Ordering::Relaxed);
        self.acquisitions.fetch_add(1, Ordering::Relaxed);
        Ok(Guard { mutex: self, owner_died: raw.owner_died, _raw: raw })
    }

    /// Who holds it now, for one who watches without locking. A dead owner counts until the next
    /// one locks.
    pub fn holder(&self) -> Option<Holder> {
        let owner = self.owner.load(Ordering::Relaxed).checked_sub(1)?;
        Some(Holder { owner, acquisition: self.acquisitions.load(Ordering::Relaxed) })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Before the raw guard unlocks, which happens when the fields are dropped after this.
        self.mutex.owner.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::memory::map_shared;

    #[test]
    fn it_excludes_and_names_its_holder() {
        let mutex = map_shared::<Mutex>("test-mutex").unwrap();
        mutex.init().unwrap();
        assert_eq!(mutex.init(), Err(Errno::EBUSY));
        let guard = mutex.lock(7, Duration::ZERO).unwrap();
        assert_eq!(mutex.holder().unwrap().owner, 7);
        let other = std::thread::spawn(move || mutex.lock(8, Duration::from_millis(5)).map(|_| ()));
        assert_eq!(other.join().unwrap(), Err(LockError::TimedOut));
        drop(guard);
        assert_eq!(mutex.holder(), None);
        assert!(!mutex.lock(8, Duration::ZERO).unwrap().owner_died);
    }

    #[test]
    fn a_mutex_that_was_never_made_is_an_error() {
        let mutex = map_shared::<Mutex>("test-mutex").unwrap();
        assert_eq!(
            mutex.lock(0, Duration::ZERO).map(|_| ()),
            Err(LockError::Misused(Errno::EINVAL))
        );
    }
}
