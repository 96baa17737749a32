//! The other way: the values lie in shared memory, and a mutex lets one process in at a time.

use crate::stage::{Attempt, Failure, patience};
use crate::{UPDATES, WORKERS};
use forkchat_server::ipc::mutex::{Guard, Mutex};
use forkchat_server::sys::memory::map_shared;
use std::sync::atomic::{AtomicU64, Ordering};
use zerocopy::FromBytes;

/// The list has room for this many: shared memory doesn't grow.
const LENGTH_MAX: usize = WORKERS * UPDATES;

/// An entry that the mutex guards, and a list. Atomics because several processes have them; the
/// mutex alone makes the updates whole.
#[derive(FromBytes)]
#[repr(C)]
pub struct Shared {
    lock: Mutex,
    entry: AtomicU64,
    length: AtomicU64,
    list: [AtomicU64; LENGTH_MAX],
}

impl Shared {
    pub fn map() -> Result<&'static Shared, Failure> {
        let shared: &'static Shared = map_shared("example-shared").cannot("map shared memory")?;
        shared.lock.init().cannot("make a mutex")?;
        Ok(shared)
    }

    /// Locks the mutex until the guard is dropped.
    pub fn lock(&'static self, worker: u64) -> Result<Guard, Failure> {
        self.lock.lock(worker as u32, patience()).cannot("lock the mutex")
    }

    pub fn add(&'static self, worker: u64, number: u64) -> Result<(), Failure> {
        let _guard = self.lock(worker)?;
        self.entry.store(self.entry.load(Ordering::Relaxed) + number, Ordering::Relaxed);
        Ok(())
    }

    pub fn append(&'static self, worker: u64, number: u64) -> Result<(), Failure> {
        let _guard = self.lock(worker)?;
        let length = self.length.load(Ordering::Relaxed);
        self.list[length as usize].store(number, Ordering::Relaxed);
        self.length.store(length + 1, Ordering::Relaxed);
        Ok(())
    }

    pub fn entry(&self) -> u64 {
        self.entry.load(Ordering::Relaxed)
    }

    pub fn list(&self) -> Vec<u64> {
        let length = self.length.load(Ordering::Relaxed) as usize;
        self.list[..length].iter().map(|number| number.load(Ordering::Relaxed)).collect()
    }
}
