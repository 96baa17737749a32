//! A mutex between processes that survives its owner's death and knows its owner.
//!
//! Costs: about 25 ns to lock and unlock without contention, and a system call on either side with
//! contention. When the owner is killed, the kernel hands the lock to the next process that asks
//! for it ([`Guard::owner_died`]). That process must be able to repair the data that the mutex
//! guards. The event log needs no repair: bytes after the published tail are not part of it.

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
    /// How often any process has locked it: distinguishes one long hold from many short ones.
    acquisitions: AtomicU64,
    /// The number that the owner passed to [`Mutex::lock`], plus 1; 0 if no process holds it.
    owner: AtomicU32,
    _pad: AtomicU32,
}

/// The lock, held until dropped.
#[derive(Debug)]
pub struct Guard {
    mutex: &'static Mutex,
    /// The previous owner died while it held the lock.
    pub owner_died: bool,
    _raw: RawGuard,
}

/// Why a lock was not acquired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockError {
    /// A running process held it all the time.
    TimedOut,
    /// Not initialised, or this thread holds it already: a programming error.
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

/// The timeout for a lock that is held for a microsecond or less at a time. It is long in
/// comparison: only a process that is stopped or gets no CPU holds the lock longer.
pub const LOCK_TIMEOUT: Duration = Duration::from_millis(20);

/// Turns a timeout into `None`, for a caller that waits and tries again: the lock's holder may go
/// on or be killed meanwhile.
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
    /// The number that the owner passed to [`Mutex::lock`].
    pub owner: u32,
    /// The number of the acquisition. As long as it doesn't change, it is the same hold.
    pub acquisition: u64,
}

impl Mutex {
    /// Initialises the mutex. To be called once, before the first fork.
    pub fn init(&'static self) -> Result<(), Errno> {
        self.raw.init()
    }

    /// Locks it, waiting at most `timeout`. `me` is a number of the caller's choice that
    /// [`Mutex::holder`] returns to observers.
    pub fn lock(&'static self, me: u32, timeout: Duration) -> Result<Guard, LockError> {
        let raw = self.raw.lock(timeout).map_err(|errno| match errno {
            Errno::ETIMEDOUT | Errno::EBUSY => LockError::TimedOut,
            errno => LockError::Misused(errno),
        })?;
        self.owner.store(me + 1, Ordering::Relaxed);
        self.acquisitions.fetch_add(1, Ordering::Relaxed);
        Ok(Guard { mutex: self, owner_died: raw.owner_died, _raw: raw })
    }

    /// The present holder, for observers that don't lock. A dead owner counts as the holder until
    /// the next process locks.
    pub fn holder(&self) -> Option<Holder> {
        let owner = self.owner.load(Ordering::Relaxed).checked_sub(1)?;
        Some(Holder { owner, acquisition: self.acquisitions.load(Ordering::Relaxed) })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // This happens before the raw guard unlocks: a struct's fields are dropped after its
        // `drop`.
        self.mutex.owner.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::memory::map_shared;

    #[test]
    fn a_second_lock_times_out_and_the_holder_is_known() {
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
    fn locking_an_uninitialised_mutex_is_an_error() {
        let mutex = map_shared::<Mutex>("test-mutex").unwrap();
        assert_eq!(
            mutex.lock(0, Duration::ZERO).map(|_| ()),
            Err(LockError::Misused(Errno::EINVAL))
        );
    }
}
