//! A counting semaphore between processes that knows which holder has its units.
//!
//! A POSIX semaphore does not know its holders: the units of a killed holder are lost. This one
//! counts them for each holder, so the process that reaps a dead holder releases them on its behalf
//! ([`Semaphore::release`]). Taking and giving is one store each, so a unit is either free
//! or its holder's. A holder that dies while it takes a unit leaves the inner lock to the next
//! process, which counts again.
//!
//! Costs: an uncontended lock (about 25 ns) and a look at each holder to take a unit (60 ns for
//! 512); an addition to give it back; a system call to sleep, and one to wake the sleepers.

use crate::ipc::event_count::EventCount;
use crate::ipc::mutex::{BRIEFLY, Guard, LockError, Mutex, or_later};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use zerocopy::FromBytes;

/// The most holders that a semaphore tells apart, where it doesn't say how many.
pub const HOLDERS_MAX: usize = 512;

/// A counting semaphore in shared memory, for so many holders, which are numbered from 0. Zeroed
/// memory becomes one with [`Semaphore::init`].
#[derive(FromBytes, Debug)]
#[repr(C)]
pub struct Semaphore<const HOLDERS: usize = HOLDERS_MAX> {
    lock: Mutex,
    /// Advanced by each release.
    releases: EventCount,
    units: AtomicU32,
    _pad: AtomicU32,
    held: [AtomicU32; HOLDERS],
}

impl<const HOLDERS: usize> Semaphore<HOLDERS> {
    /// Makes it usable, with so many units. Once, before it is shared.
    pub fn init(&'static self, units: u32) -> nix::Result<()> {
        self.units.store(units, Ordering::Relaxed);
        self.lock.init()
    }

    /// Takes a unit for `holder` if one is free; doesn't wait for one.
    pub fn try_acquire(&'static self, holder: usize) -> Result<bool, LockError> {
        // Nobody else takes one between the look and the taking. Who gives one back needs no lock:
        // there are then more than were seen.
        let _guard = self.lock(holder)?;
        if self.held_by_all() >= self.units.load(Ordering::Relaxed) {
            return Ok(false);
        }
        // The one store that takes the unit: a death before it took nothing, one behind it leaves
        // the unit in the count.
        self.held[holder].fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }

    /// Takes a unit for `holder`, waiting at most `timeout` for one. False if none came free, or a
    /// stopped process had the lock all the time.
    pub fn acquire(&'static self, holder: usize, timeout: Duration) -> Result<bool, LockError> {
        let attempt = || Ok(or_later(self.try_acquire(holder))?.filter(|&is_had| is_had));
        Ok(self.releases.wait_for(timeout, attempt)?.is_some())
    }

    /// Gives one of `holder`'s units back. False if it had none.
    pub fn release(&self, holder: usize) -> bool {
        // SYNC semaphore-release: who takes the unit next sees what its holder did.
        let had = self.held[holder]
            .fetch_update(Ordering::Release, Ordering::Relaxed, |units| units.checked_sub(1))
            .is_ok();
        if had {
            self.releases.advance();
        }
        had
    }

    /// How many units `holder` has.
    pub fn held_by(&self, holder: usize) -> u32 {
        self.held[holder].load(Ordering::Relaxed)
    }

    /// How many units are free.
    pub fn available(&self) -> u32 {
        self.units.load(Ordering::Relaxed).saturating_sub(self.held_by_all())
    }

    /// Nobody waits for one who was stopped with it.
    fn lock(&'static self, holder: usize) -> Result<Guard, LockError> {
        self.lock.lock(u32::try_from(holder).unwrap_or(u32::MAX - 1), BRIEFLY)
    }

    fn held_by_all(&self) -> u32 {
        // SYNC semaphore-release.
        self.held.iter().map(|units| units.load(Ordering::Acquire)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::memory::map_shared;

    #[test]
    fn units_are_taken_given_and_given_back_for_the_dead() {
        let semaphore = map_shared::<Semaphore>("test-semaphore").unwrap();
        semaphore.init(3).unwrap();
        assert!(
            semaphore.try_acquire(0).unwrap()
                && semaphore.try_acquire(1).unwrap()
                && semaphore.try_acquire(1).unwrap()
        );
        assert!(!semaphore.try_acquire(0).unwrap());
        assert!(!semaphore.release(2), "a holder gives back only what it has");
        assert_eq!([(); 3].map(|()| semaphore.release(1)), [true, true, false]);
        assert_eq!((semaphore.available(), semaphore.held_by(0)), (2, 1));
    }

    #[test]
    fn one_who_waits_is_woken_by_a_release() {
        let semaphore = map_shared::<Semaphore>("test-semaphore").unwrap();
        semaphore.init(1).unwrap();
        assert!(semaphore.try_acquire(0).unwrap());
        assert!(!semaphore.acquire(1, Duration::from_millis(5)).unwrap());
        let waiter = std::thread::spawn(move || semaphore.acquire(1, Duration::from_secs(60)));
        assert!(semaphore.release(0));
        assert!(waiter.join().unwrap().unwrap());
    }
}
