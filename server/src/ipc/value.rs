//! Values and arrays in shared memory. Each store is done or not done: no death leaves half a
//! value, and nothing needs repair.

use crate::sys::memory;
use std::io;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use zerocopy::FromBytes;

/// `WORDS` words that are written as one by a single writer and read by anyone.
///
/// The writer fills the idle one of two copies and switches by one store, so whoever is killed at
/// any point leaves the old value or the new, never half of each. Costs `WORDS + 1` plain stores to
/// write; a reader may have to look twice while it is written.
#[derive(FromBytes, Debug)]
#[repr(C)]
pub struct Switched<const WORDS: usize> {
    /// How often it was written; the low bit says which copy counts.
    version: AtomicU64,
    copies: [[AtomicU64; WORDS]; 2],
}

impl<const WORDS: usize> Switched<WORDS> {
    /// Writes a value. One writer at a time: two at once may mix theirs, which is wrong but not
    /// unsound.
    pub fn store(&self, words: [u64; WORDS]) {
        let next = self.version.load(Ordering::Relaxed).wrapping_add(1);
        // SYNC value-reuse: a reader that sees a word of this copy written again also sees the
        // version that came before.
        fence(Ordering::Release);
        for (cell, word) in self.copies[(next & 1) as usize].iter().zip(words) {
            cell.store(word, Ordering::Relaxed);
        }
        // SYNC value-switch: with the load of the version in `load`.
        self.version.store(next, Ordering::Release);
    }

    /// Reads the value and the version that it is.
    pub fn load(&self) -> ([u64; WORDS], u64) {
        loop {
            // SYNC value-switch.
            let version = self.version.load(Ordering::Acquire);
            let copy = &self.copies[(version & 1) as usize];
            let words = std::array::from_fn(|i| copy[i].load(Ordering::Relaxed));
            // SYNC value-reuse.
            fence(Ordering::Acquire);
            if self.version.load(Ordering::Relaxed) == version {
                return (words, version);
            }
            std::hint::spin_loop();
        }
    }
}

/// A number that every process may read, set and add to. Costs what an atomic number costs: 1 to 2
/// ns, more when many add at once.
#[derive(Clone, Copy, Debug)]
pub struct Value(&'static AtomicU64);

impl Value {
    /// Makes one, 0, to be shared with the processes forked afterwards. `name` is what
    /// `/proc/PID/maps` shows.
    pub fn map(name: &str) -> io::Result<Value> {
        memory::map_shared(name).map(Value)
    }

    /// What it is. Whoever sees what somebody set also sees everything that one wrote before.
    pub fn get(self) -> u64 {
        // SYNC value-set.
        self.0.load(Ordering::Acquire)
    }

    /// Sets it.
    pub fn set(self, number: u64) {
        // SYNC value-set: with the load in `get`.
        self.0.store(number, Ordering::Release);
    }

    /// Adds to it, and returns what it is then. Nothing that several add at once is lost.
    pub fn increase(self, number: u64) -> u64 {
        self.0.fetch_add(number, Ordering::AcqRel).wrapping_add(number)
    }

    /// Takes from it what was added before, and returns what it is then.
    pub fn decrease(self, number: u64) -> u64 {
        self.increase(number.wrapping_neg())
    }
}

/// A row of entries that every process has in common, used as a slice: a scoreboard, say, with an
/// entry for each process, written by it and read by all.
///
/// `T` is made of atomics, and zeroes are a value of it. Memory is taken when an entry is first
/// written, so it may be as long as it could ever have to be.
#[derive(Debug)]
pub struct Array<T: 'static>(&'static [T]);

impl<T: FromBytes + Sync> Array<T> {
    /// Makes one of `len` zeroed entries, to be shared with the processes forked afterwards. `name`
    /// is what `/proc/PID/maps` shows.
    pub fn map(name: &str, len: usize) -> io::Result<Array<T>> {
        memory::map_shared_slice(name, len).map(Array)
    }
}

impl<T> Deref for Array<T> {
    type Target = &'static [T];

    fn deref(&self) -> &&'static [T] {
        &self.0
    }
}

impl<T> Clone for Array<T> {
    fn clone(&self) -> Array<T> {
        *self
    }
}

impl<T> Copy for Array<T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::memory::map_shared;

    #[test]
    fn a_value_returns_what_it_is_after_each_change() {
        let value = Value::map("test-count").unwrap();
        assert_eq!((value.increase(3), value.decrease(1), value.get()), (3, 2, 2));
    }

    #[test]
    fn readers_see_whole_values_while_one_writes() {
        let value = map_shared::<Switched<2>>("test-value").unwrap();
        assert_eq!(value.load(), ([0, 0], 0));
        let writer =
            std::thread::spawn(move || (1..200_000u64).for_each(|i| value.store([i, i * 3])));
        let mut last = 0;
        while !writer.is_finished() {
            let ([one, three], _) = value.load();
            assert_eq!(three, one * 3);
            assert!(one >= last);
            last = one;
        }
        assert_eq!(value.load().0[0], 199_999);
    }
}
