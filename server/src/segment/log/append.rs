//! Writing to the log: take the lock, write after the tail, publish the new tail with one store,
//! release the lock. A writer never waits for space while it holds the lock.

use super::batch::{Batch, blocks_of, length_in};
use super::{BLOCK_WORDS, Log};
use crate::ipc::mutex::LockError;
use crate::segment::step;
use forkchat_common::ids::{Micros, Sequence, Slot};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long `append` waits for the log's lock before it returns [`AppendError::Busy`], so that its
/// caller can do other work. A batch takes microseconds to write; only a stopped process or one
/// that gets no CPU holds the lock longer, and the watchdog kills it.
const LOCK_WAIT: Duration = Duration::from_millis(20);

/// Why nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// The ring is full: a process or the published snapshot still needs the oldest records. The
    /// caller requests space (`Doorbells::request_space`) and tries once more. Then it applies what
    /// it hasn't read, publishes its cursor, and tries again when its doorbell rings.
    Full,
    /// Another process held the lock all the time. The caller tries again.
    Busy,
    /// The batch is larger than `Geometry::batch_blocks_max`: a programming error.
    TooLarge,
}

impl Log {
    /// Appends all of `batch` or nothing, and returns the range of sequences that it takes. All its
    /// records get the same time: `now`, or the last record's time if that is later.
    ///
    /// The caller wakes the processes that have to read the records.
    pub fn append(
        &self,
        me: Slot,
        batch: &Batch,
        now: Micros,
    ) -> Result<Range<Sequence>, AppendError> {
        let blocks = batch.blocks();
        if blocks > self.geometry.batch_blocks_max() {
            return Err(AppendError::TooLarge);
        }
        let guard = match self.lock(me, LOCK_WAIT) {
            Ok(guard) => guard,
            Err(LockError::TimedOut) => return Err(AppendError::Busy),
            Err(LockError::Misused(errno)) => panic!(
                "the log's lock is made before the first fork and taken by no thread twice: {errno}"
            ),
        };
        // `guard.owner_died` needs no repair: what the dead process wrote lies after the tail.
        let start = self.state.tail.load(Ordering::Relaxed);
        let end = start + blocks;
        if !self.has_space_to(end) {
            return Err(AppendError::Full);
        }
        let time = now.0.max(self.state.last_time.load(Ordering::Relaxed));
        self.state.last_time.store(time, Ordering::Relaxed);
        self.write(start, &batch.bytes, time);
        step();
        // SYNC tail-publish: a process that sees this tail sees the records before it.
        self.state.tail.store(end, Ordering::Release);
        step();
        drop(guard);
        Ok(Sequence(start)..Sequence(end))
    }

    /// Whether the ring has space for records up to `end`. Called with the lock held.
    fn has_space_to(&self, end: u64) -> bool {
        let fits = |least: u64| end.saturating_sub(least) <= self.geometry.ring_blocks();
        if !fits(self.state.least.load(Ordering::Relaxed)) {
            self.state.least.store(self.least().0, Ordering::Relaxed);
        }
        fits(self.state.least.load(Ordering::Relaxed))
    }

    /// Copies a batch's blocks into the ring, and sets each record's id, which is its position, and
    /// its time.
    fn write(&self, start: u64, bytes: &[u8], time: u64) {
        let begin = (start % self.geometry.ring_blocks()) as usize * BLOCK_WORDS;
        let (words, _) = bytes.as_chunks::<8>();
        let (until_end, from_begin) = words.split_at(words.len().min(self.ring.len() - begin));
        let copy = |ring: &[AtomicU64], words: &[[u8; 8]]| {
            ring.iter()
                .zip(words)
                .for_each(|(cell, word)| cell.store(u64::from_ne_bytes(*word), Ordering::Relaxed));
        };
        copy(&self.ring[begin..], until_end);
        copy(self.ring, from_begin);
        let mut block = 0;
        while let Some(first) = words.get(block * BLOCK_WORDS) {
            let header = (begin + block * BLOCK_WORDS) % self.ring.len();
            self.ring[header + 1].store(start + block as u64, Ordering::Relaxed);
            self.ring[header + 2].store(time, Ordering::Relaxed);
            block += blocks_of(length_in(u64::from_ne_bytes(*first)));
        }
    }
}
