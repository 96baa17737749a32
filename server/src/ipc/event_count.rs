//! Waiting for a change that any process may make: an eventcount (Reed & Kanodia, *Synchronization
//! with eventcounts and sequencers*, CACM 22(2), 1979).
//!
//! A waiter reads the count, checks its condition, and sleeps only while the count is what it read.
//! A process that changes something advances the count after the change. Costs: only the addition
//! if there is no waiter; otherwise a system call on either side, and a wake-up of 30 µs.
//!
//! If a process is killed between its change and the advance, its waiters are not woken. So no
//! waiter sleeps longer than [`RECHECK_INTERVAL`] without checking its condition.

use crate::sys::futex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use zerocopy::FromBytes;

/// The longest sleep without checking the condition.
pub const RECHECK_INTERVAL: Duration = Duration::from_millis(100);

/// An eventcount in shared memory. All zeroes is a valid one.
#[derive(FromBytes, Debug)]
#[repr(C)]
pub struct EventCount {
    count: AtomicU32,
    waiters: AtomicU32,
}

impl EventCount {
    /// The count.
    pub fn read(&self) -> u32 {
        self.count.load(Ordering::SeqCst)
    }

    /// Wakes all waiters, so that they check their conditions. To be called after the change.
    pub fn advance(&self) {
        // SYNC event-count: pairs with the additions in `wait`. Either we see the waiter, or it
        // finds the count advanced.
        self.count.fetch_add(1, Ordering::SeqCst);
        self.wake();
    }

    /// Advances the count if it is still `seen`. Returns whether it was.
    pub fn advance_from(&self, seen: u32) -> bool {
        let is_ours = self
            .count
            .compare_exchange(seen, seen.wrapping_add(1), Ordering::SeqCst, Ordering::SeqCst)
            .is_ok();
        if is_ours {
            self.wake();
        }
        is_ours
    }

    /// Calls `attempt` at least once, and again after each change, until it returns something or
    /// `timeout` is over.
    pub fn wait_for<T, E>(
        &self,
        timeout: Duration,
        mut attempt: impl FnMut() -> Result<Option<T>, E>,
    ) -> Result<Option<T>, E> {
        let start = Instant::now();
        loop {
            let seen = self.read();
            if let Some(found) = attempt()? {
                return Ok(Some(found));
            }
            let left = timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            self.wait(seen, left.min(RECHECK_INTERVAL));
        }
    }

    fn wait(&self, seen: u32, timeout: Duration) {
        // SYNC event-count.
        self.waiters.fetch_add(1, Ordering::SeqCst);
        futex::wait(&self.count, seen, timeout);
        self.waiters.fetch_sub(1, Ordering::SeqCst);
    }

    fn wake(&self) {
        // A waiter that was killed stays counted for ever. That costs a needless system call,
        // nothing else.
        if self.waiters.load(Ordering::SeqCst) > 0 {
            futex::wake_all(&self.count);
        }
    }
}
