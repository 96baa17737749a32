//! Values and arrays in shared memory. Each store takes effect completely or not at all: a killed
//! process leaves no half-written value, and nothing needs repair.

use crate::sys::memory;
use std::io;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use zerocopy::FromBytes;

/// `WORDS` words that a single writer writes as one, and that any process reads.
///
/// The writer fills the idle one of two copies and switches to it with one store. A writer that is
/// killed at any point leaves the complete old or new value. Costs `WORDS + 1` plain stores to
/// write; a reader may have to read again if the value is written meanwhile.
#[derive(FromBytes, Debug)]
#[repr(C)]
pub struct DoubleBuffered<const WORDS: usize> {
    /// How often the value was written. The low bit selects the valid copy.
    version: AtomicU64,
    copies: [[AtomicU64; WORDS]; 2],
}

impl<const WORDS: usize> DoubleBuffered<WORDS> {
    /// Writes a value. Only one process may write at a time: two writers at once may mix their
    /// values, which is wrong but not unsound.
    pub fn store(&self, words: [u64; WORDS]) {
        let next = self.version.load(Ordering::Relaxed).wrapping_add(1);
        // SYNC value-reuse: a reader that sees a word of this copy written again also sees the
        // version that came before.
        fence(Ordering::Release);
        for (cell, word) in self.copies[(next & 1) as usize].iter().zip(words) {
            cell.store(word, Ordering::Relaxed);
        }
        // SYNC value-switch: pairs with the load of the version in `load`.
        self.version.store(next, Ordering::Release);
    }

    /// Reads the value and its version.
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

/// A number that every process may read, set and add to. Costs as much as an atomic number: 1 to 2
/// ns, more when many processes add at once.
#[derive(Clone, Copy, Debug)]
pub struct Value(&'static AtomicU64);

impl Value {
    /// Maps a number, initially 0, that is shared with the processes forked afterwards.
    /// `/proc/PID/maps` shows it as `name`.
    pub fn map(name: &str) -> io::Result<Value> {
        memory::map_shared(name).map(Value)
    }

    /// The number. A process that sees a number that another process set also sees everything that
    /// the other process wrote before.
    pub fn get(self) -> u64 {
        // SYNC value-set.
        self.0.load(Ordering::Acquire)
    }

    /// Sets the number.
    pub fn set(self, number: u64) {
        // SYNC value-set: pairs with the load in `get`.
        self.0.store(number, Ordering::Release);
    }

    /// Adds to the number, and returns the sum. No addition is lost when several processes add at
    /// once.
    pub fn increase(self, number: u64) -> u64 {
        self.0.fetch_add(number, Ordering::AcqRel).wrapping_add(number)
    }

    /// Subtracts from the number, and returns the difference.
    pub fn decrease(self, number: u64) -> u64 {
        self.increase(number.wrapping_neg())
    }
}

/// An array that every process shares, used as a slice: for example a scoreboard with an entry for
/// each process, which that process writes and all read.
///
/// `T` consists of atomics, and all zeroes is a valid `T`. The kernel allocates memory when an
/// entry is first written, so the array may be as long as it could ever need to be.
#[derive(Debug)]
pub struct Array<T: 'static>(&'static [T]);

impl<T: FromBytes + Sync> Array<T> {
    /// Maps an array of `len` zeroed entries that is shared with the processes forked afterwards.
    /// `/proc/PID/maps` shows it as `name`.
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
    fn each_change_returns_the_new_value() {
        let value = Value::map("test-count").unwrap();
        assert_eq!((value.increase(3), value.decrease(1), value.get()), (3, 2, 2));
    }

    #[test]
    fn readers_see_complete_values_while_a_writer_writes() {
        let value = map_shared::<DoubleBuffered<2>>("test-value").unwrap();
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
