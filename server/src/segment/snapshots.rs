//! The state at some sequence, in shared memory. A process starts from it. The journal makes the
//! snapshots; they are never on disk.
//!
//! One word says which snapshot is valid: its sequence and its buffer together, changed under the
//! log's lock. A process that starts reads this word under the same lock and sets its own cursor to
//! the sequence. That keeps both the buffer and the records after it until the process has moved
//! on.

use super::header::{NOBODY, SNAPSHOT_BUFFERS, SNAPSHOTS_WAITING_MAX};
use super::{EventLog, Sequence, Slot, step};
use crate::ipc::mutex::LockError;
use crate::sys::memory::give_back;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A buffer may keep so much memory for its next snapshot.
const KEPT_BYTES: u64 = 64 * 1024;

/// What the published word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Published {
    pub sequence: Sequence,
    /// The buffer; `None` for the empty state at the run's first sequence.
    pub buffer: Option<usize>,
}

const BUFFER_BITS: u32 = 3;
const NO_BUFFER: u64 = (1 << BUFFER_BITS) - 1;
const _: () = assert!(SNAPSHOT_BUFFERS < NO_BUFFER as usize);

impl Published {
    pub fn none(sequence: Sequence) -> Published {
        Published { sequence, buffer: None }
    }

    /// A sequence is a time in µs and then some: it has 61 bits for 70,000 years.
    pub fn word(self) -> u64 {
        self.sequence.0 << BUFFER_BITS | self.buffer.map_or(NO_BUFFER, |buffer| buffer as u64)
    }

    fn of(word: u64) -> Published {
        let buffer = word & NO_BUFFER;
        Published {
            sequence: Sequence(word >> BUFFER_BITS),
            buffer: (buffer != NO_BUFFER).then_some(buffer as usize),
        }
    }
}

/// The journal's side: a snapshot is written, waits until it may be published, and is, unless a
/// later one may be as well.
#[derive(Debug)]
pub struct SnapshotWriter {
    log: &'static EventLog,
    me: Slot,
    /// Written and not published, oldest first.
    waiting: VecDeque<Published>,
}

impl SnapshotWriter {
    /// For the journal in slot `me`.
    pub fn new(log: &'static EventLog, me: Slot) -> SnapshotWriter {
        SnapshotWriter { log, me, waiting: VecDeque::new() }
    }

    /// The sequence of the latest snapshot, published or waiting.
    pub fn latest(&self) -> Sequence {
        self.waiting
            .back()
            .map_or(self.log.published_snapshot().sequence, |waiting| waiting.sequence)
    }

    /// The sequence of the snapshot that has waited longest to be published.
    pub fn next(&self) -> Option<Sequence> {
        self.waiting.front().map(|waiting| waiting.sequence)
    }

    /// Whether a snapshot waits to be published.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether there is a buffer to write to, and not too many that wait.
    pub fn can_write(&self) -> bool {
        self.waiting.len() < SNAPSHOTS_WAITING_MAX && self.free_buffer().is_some()
    }

    /// Writes the state at `sequence` into a free buffer, to be published when it may. False if it
    /// can't now ([`SnapshotWriter::can_write`]): then the journal tries again later.
    ///
    /// # Panics
    /// If the state is larger than the buffers are made for, which is our mistake: they are sized
    /// from the protocol's limits.
    pub fn write(&mut self, sequence: Sequence, state: &[u8]) -> bool {
        let Some(buffer) = self.free_buffer().filter(|_| self.can_write()) else { return false };
        let words = self.log.snapshots[buffer];
        assert!(
            state.len() <= (words.len() - 1) * 8,
            "a snapshot of {} bytes fits no buffer",
            state.len()
        );
        self.clear(buffer);
        words[0].store(state.len() as u64, Ordering::Relaxed);
        step();
        for (word, bytes) in words[1..].iter().zip(state.chunks(8)) {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(whole), Ordering::Relaxed);
        }
        step();
        self.waiting.push_back(Published { sequence, buffer: Some(buffer) });
        true
    }

    /// Publishes the latest snapshot that waits and is no later than `ceiling`, if there is one.
    /// Makes room in the ring.
    pub fn publish(&mut self, ceiling: Sequence) -> bool {
        let Some(last) = self.waiting.iter().rposition(|waiting| waiting.sequence <= ceiling)
        else {
            return false;
        };
        let Published { sequence, buffer: Some(buffer) } = self.waiting[last] else { return false };
        let Ok(guard) = self.log.header.lock.lock(self.me.0.into(), Duration::from_millis(20))
        else {
            return false;
        };
        self.log.header.snapshot_sequences[buffer].store(sequence.0, Ordering::Relaxed);
        step();
        self.log
            .header
            .snapshot
            .store(Published { sequence, buffer: Some(buffer) }.word(), Ordering::Release);
        drop(guard);
        self.waiting.drain(..=last);
        self.give_back();
        self.log.room_was_made();
        true
    }

    /// Gives back the memory of buffers that hold a large snapshot which no process needs any more.
    /// Else all of them would keep what the largest took.
    fn give_back(&self) {
        for buffer in self.free_buffers() {
            self.clear(buffer);
        }
    }

    /// Makes sure that a free buffer takes little memory before it is written.
    fn clear(&self, buffer: usize) {
        // Nothing in it is anybody's start: so it is free for a journal that takes over, too.
        self.log.header.snapshot_sequences[buffer].store(0, Ordering::Relaxed);
        let words = self.log.snapshots[buffer];
        if words[0].load(Ordering::Relaxed) > KEPT_BYTES
            && let Err(error) = give_back(*words)
        {
            log::debug!("cannot give back the memory of a snapshot: {error}");
        }
    }

    fn free_buffer(&self) -> Option<usize> {
        self.free_buffers().next()
    }

    /// The buffers that are not published and that nobody may be reading: no cursor stands at or
    /// before what they were published with.
    fn free_buffers(&self) -> impl Iterator<Item = usize> {
        let published = self.log.published_snapshot().buffer;
        let least = self
            .log
            .slots_used()
            .iter()
            .filter(|slot| !std::ptr::eq(*slot, &self.log.slots[self.me.index()]));
        let least = least.map(|slot| slot.cursor.load(Ordering::Acquire)).min().unwrap_or(NOBODY);
        (0..SNAPSHOT_BUFFERS).filter(move |&buffer| {
            let sequence = self.log.header.snapshot_sequences[buffer].load(Ordering::Relaxed);
            let is_waiting = self.waiting.iter().any(|waiting| waiting.buffer == Some(buffer));
            Some(buffer) != published && !is_waiting && (sequence == 0 || least > sequence)
        })
    }
}

impl EventLog {
    /// Begins the life of a process in `slot`: takes the published snapshot, and protects it and
    /// what follows with the slot's cursor. Returns its sequence and bytes; `None` for the empty
    /// state. What an earlier process in the slot had published as sent stays so.
    pub fn join(&self, slot: Slot) -> Result<(Sequence, Option<Vec<u8>>), LockError> {
        let state = &self.slots[slot.index()];
        let guard = self.header.lock.lock(slot.0.into(), Duration::from_secs(10))?;
        self.header.slots_used.fetch_max(u64::from(slot.0) + 1, Ordering::AcqRel);
        let published = self.published_snapshot();
        step();
        state.cursor.store(published.sequence.0, Ordering::Release);
        if state.stable.load(Ordering::Relaxed) == NOBODY {
            state.stable.store(published.sequence.0, Ordering::Release);
        }
        drop(guard);
        let bytes = published.buffer.map(|buffer| {
            let words = self.snapshots[buffer];
            let length = words[0].load(Ordering::Relaxed) as usize;
            let mut bytes: Vec<u8> = Vec::with_capacity(length.next_multiple_of(8));
            words[1..=length.div_ceil(8)].iter().for_each(|word| {
                bytes.extend_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes())
            });
            bytes.truncate(length);
            bytes
        });
        Ok((published.sequence, bytes))
    }

    /// The process in a slot has ended as it should, and nothing is left of what it served: nobody
    /// waits for it any more.
    pub fn vacate(&self, slot: Slot) {
        let state = &self.slots[slot.index()];
        state.asleep.store(0, Ordering::Relaxed);
        state.stable.store(NOBODY, Ordering::Release);
        self.abandon(slot);
    }

    /// Nobody has been in a slot for long, or one that can't die, and nobody may come soon: the
    /// others don't wait for it any longer. Whoever comes there after all finds out which sessions
    /// can still be followed.
    pub fn abandon(&self, slot: Slot) {
        // SYNC cursor-reuse: whoever was there is reaped, or was killed and executes nothing more:
        // it reads no more.
        self.slots[slot.index()].cursor.store(NOBODY, Ordering::Release);
        self.room_was_made();
    }

    /// The published snapshot's sequence: what a successor starts from.
    pub fn snapshot_sequence(&self) -> Sequence {
        self.published_snapshot().sequence
    }

    pub(super) fn published_snapshot(&self) -> Published {
        Published::of(self.header.snapshot.load(Ordering::Acquire))
    }
}
