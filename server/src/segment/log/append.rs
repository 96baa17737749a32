//! Writing to the log: lock, write after the tail, publish the new tail with one store, unlock. A
//! writer never waits for room while it holds the lock.

use super::batch::{Batch, blocks_of};
use crate::ipc::mutex::LockError;
use crate::segment::header::BLOCK_WORDS;
use crate::segment::{EventLog, Micros, Sequence, Slot, step};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

/// How long one waits for the log's lock before looking after its other work. Batches are written
/// in microseconds; only a process that was stopped holds it longer, and the watchdog ends that.
const LOCK_WAIT: Duration = Duration::from_millis(20);

/// Why nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// No room: somebody hasn't read enough yet. Apply what you haven't read, say so, and try again
    /// when rung.
    Full,
    /// The lock wasn't to be had. Try again.
    Busy,
    /// More than a batch may be: a mistake in the program.
    TooLarge,
}

impl EventLog {
    /// Appends all of `batch` or nothing, and returns where it lies. All its records get the same
    /// time: `now`, or the last record's if that is later.
    ///
    /// The caller wakes whoever should know.
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
        let guard = match self.header.lock.lock(me.0.into(), LOCK_WAIT) {
            Ok(guard) => guard,
            Err(LockError::TimedOut) => return Err(AppendError::Busy),
            Err(LockError::Misused(errno)) => panic!(
                "the log's lock is made before the first fork and taken by nobody twice: {errno}"
            ),
        };
        // `guard.owner_died` needs no mending: what the dead one wrote lies past the tail.
        let start = self.header.tail.load(Ordering::Relaxed);
        let end = start + blocks;
        if !self.has_room_to(end) {
            return Err(AppendError::Full);
        }
        let time = now.0.max(self.header.last_time.load(Ordering::Relaxed));
        self.header.last_time.store(time, Ordering::Relaxed);
        self.write(start, &batch.bytes, time);
        step();
        // SYNC tail-publish: whoever sees this tail sees the records before it.
        self.header.tail.store(end, Ordering::Release);
        step();
        drop(guard);
        Ok(Sequence(start)..Sequence(end))
    }

    /// Says that one waits for room, so that who makes some rings. Then it must try once more, and
    /// again whenever this is taken back.
    pub fn want_room(&self) {
        self.header.room_wanted.store(1, Ordering::Relaxed);
        // With the fence in `room_was_made`: either they see that room is wanted, or our next try
        // sees the room.
        fence(Ordering::SeqCst);
    }

    /// Whether nobody has made room since it was wanted.
    pub fn is_room_wanted(&self) -> bool {
        self.header.room_wanted.load(Ordering::Relaxed) != 0
    }

    /// Under the lock.
    fn has_room_to(&self, end: u64) -> bool {
        let fits = |least: u64| end.saturating_sub(least) <= self.geometry.ring_blocks();
        if !fits(self.header.least.load(Ordering::Relaxed)) {
            self.header.least.store(self.least().0, Ordering::Relaxed);
        }
        fits(self.header.least.load(Ordering::Relaxed))
    }

    /// The least of all cursors and the published snapshot's sequence: everything from there on is
    /// still needed.
    pub fn least(&self) -> Sequence {
        // SYNC cursor-reuse: with the stores of cursors; who passed a block has finished reading it
        // before we write there.
        let cursors = self.slots_used().iter().map(|slot| slot.cursor.load(Ordering::Acquire));
        Sequence(cursors.min().unwrap_or(u64::MAX).min(self.published_snapshot().sequence.0))
    }

    /// Copies a batch's blocks into the ring, and `time` into each record's header.
    fn write(&self, start: u64, bytes: &[u8], time: u64) {
        let start = (start % self.geometry.ring_blocks()) as usize * BLOCK_WORDS;
        let (words, _) = bytes.as_chunks::<8>();
        let (until_end, from_begin) = words.split_at(words.len().min(self.ring.len() - start));
        let copy = |ring: &[AtomicU64], words: &[[u8; 8]]| {
            ring.iter()
                .zip(words)
                .for_each(|(cell, word)| cell.store(u64::from_ne_bytes(*word), Ordering::Relaxed));
        };
        copy(&self.ring[start..], until_end);
        copy(&self.ring, from_begin);
        let mut record = 0;
        while let Some(length) = words.get(record) {
            self.ring[(start + record + 1) % self.ring.len()].store(time, Ordering::Relaxed);
            record += blocks_of(u64::from_ne_bytes(*length) as usize) * BLOCK_WORDS;
        }
    }
}
