//! Snapshots: the chat state at some sequence, in shared memory. A new process starts from one. The
//! journal makes them; they are never written to disk.
//!
//! One word contains which snapshot is valid ([`published`](super::published)). The journal changes
//! it under the log's lock. A process that starts reads it under the same lock and sets its own
//! cursor to the snapshot's sequence. The cursor keeps both the buffer and the records after it
//! until the process has moved on.
//!
//! ```text
//! byte  0             128                                                  256
//!       ┌─────────────┬──────────────────────────────────────────┬─────────┐
//!       │ published   │ a sequence for each buffer (6)           │ unused  │
//!       └─────────────┴──────────────────────────────────────────┴─────────┘
//! ```
//!
//! The buffers are a separate section. Each begins on a page boundary, so that its memory can be
//! released:
//!
//! ```text
//! word 0        word 1 …
//!      ┌────────┬───────────────────────────────┬────────────────────────────┐
//!      │ length │ the state (length bytes)      │ unused, to the next 64 KiB │
//!      └────────┴───────────────────────────────┴────────────────────────────┘
//! ```

use super::header::SECTION_ALIGN;
use super::log::Log;
use super::published::{Published, PublishedWord, SNAPSHOT_BUFFERS, SNAPSHOTS_WAITING_MAX};
use super::step;
use crate::sys::memory::release_memory;
use forkchat_common::ids::{Sequence, Slot};
use std::collections::VecDeque;
use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use zerocopy::FromBytes;

/// A buffer whose snapshot is no larger than this keeps its memory for the next snapshot.
const KEPT_BYTES_MAX: u64 = 64 * 1024;

#[derive(FromBytes, Debug)]
#[repr(C, align(128))]
pub(super) struct State {
    published: PublishedWord,
    _pad: [u64; 15],
    /// For each buffer, the sequence with which its snapshot was published; 0 if it was not
    /// published since it was written last.
    sequences: [AtomicU64; SNAPSHOT_BUFFERS],
    _pad_end: [u64; 16 - SNAPSHOT_BUFFERS],
}

const _: () = assert!(size_of::<State>() == 256 && offset_of!(State, sequences) == 128);

/// The snapshots.
#[derive(Debug)]
pub struct Snapshots {
    state: &'static State,
    buffers: [&'static [AtomicU64]; SNAPSHOT_BUFFERS],
}

impl Snapshots {
    /// The section's length.
    pub(super) fn bytes() -> usize {
        size_of::<State>()
    }

    /// The buffers' section's length in bytes, for snapshots of at most `snapshot_bytes_max` bytes.
    pub(super) fn buffers_bytes(snapshot_bytes_max: usize) -> usize {
        let bytes = snapshot_bytes_max.saturating_add(8);
        let bytes = bytes.checked_next_multiple_of(SECTION_ALIGN as usize).unwrap_or(usize::MAX);
        bytes.saturating_mul(SNAPSHOT_BUFFERS)
    }

    pub(super) fn new(state: &'static State, buffers: &'static [AtomicU64]) -> Snapshots {
        let words = buffers.len() / SNAPSHOT_BUFFERS;
        let buffer = |index: usize| &buffers[index * words..(index + 1) * words];
        Snapshots { state, buffers: std::array::from_fn(buffer) }
    }

    /// The word that contains which snapshot is published.
    pub(super) fn word(&self) -> &'static PublishedWord {
        &self.state.published
    }

    /// The published snapshot's sequence, from which a new process starts.
    pub fn sequence(&self) -> Sequence {
        self.state.published.load().sequence
    }

    /// The bytes of a snapshot; `None` for the empty state. The caller's cursor must protect the
    /// buffer.
    pub(super) fn read(&self, snapshot: Published) -> Option<Vec<u8>> {
        let words = self.buffers[snapshot.buffer?];
        let length = words[0].load(Ordering::Relaxed) as usize;
        let mut bytes: Vec<u8> = Vec::with_capacity(length.next_multiple_of(8));
        for word in &words[1..=length.div_ceil(8)] {
            bytes.extend_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        bytes.truncate(length);
        Some(bytes)
    }

    #[cfg(test)]
    pub(super) fn wipe(&self) {
        self.state.sequences.iter().for_each(|sequence| sequence.store(0, Ordering::Relaxed));
    }
}

/// The journal's side: it writes a snapshot, which waits until the journal may publish it. If a
/// later one may be published too, an earlier one never is.
#[derive(Debug)]
pub struct SnapshotWriter {
    snapshots: &'static Snapshots,
    log: &'static Log,
    me: Slot,
    /// Snapshots that are written and not published, oldest first.
    waiting: VecDeque<Published>,
}

impl SnapshotWriter {
    /// Creates the writer for the journal in slot `me`.
    pub fn new(snapshots: &'static Snapshots, log: &'static Log, me: Slot) -> SnapshotWriter {
        SnapshotWriter { snapshots, log, me, waiting: VecDeque::new() }
    }

    /// The sequence of the latest snapshot, published or waiting.
    pub fn latest(&self) -> Sequence {
        self.waiting.back().map_or(self.snapshots.sequence(), |waiting| waiting.sequence)
    }

    /// The sequence of the snapshot that has waited longest to be published.
    pub fn next(&self) -> Option<Sequence> {
        self.waiting.front().map(|waiting| waiting.sequence)
    }

    /// Whether a snapshot waits to be published.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether a buffer is free, and fewer than `SNAPSHOTS_WAITING_MAX` snapshots wait.
    pub fn can_write(&self) -> bool {
        self.waiting.len() < SNAPSHOTS_WAITING_MAX && self.free_buffer().is_some()
    }

    /// Writes the state at `sequence` into a free buffer, to be published later. Returns false if
    /// [`SnapshotWriter::can_write`] is false; the journal tries again later.
    ///
    /// # Panics
    /// If the state is larger than a buffer. That is a programming error: the buffers are sized
    /// from the protocol's limits.
    pub fn write(&mut self, sequence: Sequence, state: &[u8]) -> bool {
        let Some(buffer) = self.free_buffer().filter(|_| self.can_write()) else { return false };
        let words = self.snapshots.buffers[buffer];
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

    /// Publishes the latest waiting snapshot that is not after `ceiling`. Returns whether it
    /// published one. That frees space in the ring.
    pub fn publish(&mut self, ceiling: Sequence) -> bool {
        let Some(last) = self.waiting.iter().rposition(|waiting| waiting.sequence <= ceiling)
        else {
            return false;
        };
        let snapshot @ Published { sequence, buffer: Some(buffer) } = self.waiting[last] else {
            return false;
        };
        let Ok(guard) = self.log.lock(self.me, Duration::from_millis(20)) else { return false };
        self.snapshots.state.sequences[buffer].store(sequence.0, Ordering::Relaxed);
        step();
        self.snapshots.state.published.store(snapshot);
        drop(guard);
        self.waiting.drain(..=last);
        self.release_unused();
        self.log.cursors().space_was_freed();
        true
    }

    /// Releases the memory of buffers that hold a large snapshot which no process needs any more.
    /// Otherwise each buffer would keep the memory of the largest snapshot that was ever in it.
    fn release_unused(&self) {
        for buffer in self.free_buffers() {
            self.clear(buffer);
        }
    }

    /// Releases a free buffer's memory if it holds a large snapshot.
    fn clear(&self, buffer: usize) {
        // A journal that takes over then knows, too, that no process reads this buffer.
        self.snapshots.state.sequences[buffer].store(0, Ordering::Relaxed);
        let words = self.snapshots.buffers[buffer];
        if words[0].load(Ordering::Relaxed) > KEPT_BYTES_MAX
            && let Err(error) = release_memory(words)
        {
            log::debug!("cannot give back the memory of a snapshot: {error}");
        }
    }

    fn free_buffer(&self) -> Option<usize> {
        self.free_buffers().next()
    }

    /// The buffers that are neither published nor waiting, and that no process can be reading:
    /// every cursor is after the sequence with which the buffer was published.
    fn free_buffers(&self) -> impl Iterator<Item = usize> {
        let published = self.snapshots.state.published.load().buffer;
        let least = self.log.cursors().least_but(self.me);
        (0..SNAPSHOT_BUFFERS).filter(move |&buffer| {
            let sequence = self.snapshots.state.sequences[buffer].load(Ordering::Relaxed);
            let is_waiting = self.waiting.iter().any(|waiting| waiting.buffer == Some(buffer));
            Some(buffer) != published && !is_waiting && (sequence == 0 || least.0 > sequence)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::tests::{ME, OTHER, small_segment};
    use crate::segment::{Geometry, Segment};

    #[test]
    fn a_buffer_is_not_reused_while_a_cursor_stands_before_it() {
        let segment = small_segment(1 << 16, 2);
        let (start, _) = segment.join(ME).unwrap();
        segment.join(OTHER).unwrap();
        let mut snapshots = SnapshotWriter::new(&segment.snapshots, &segment.log, OTHER);
        for i in 0..6 {
            assert!(snapshots.write(start, &[i]) && snapshots.publish(start), "snapshot {i}");
        }
        assert!(
            !snapshots.write(start, b"no buffer is free"),
            "slot 0 may still be reading any of the first five"
        );
        segment.cursors.publish(ME, Sequence(start.0 + 1));
        assert!(snapshots.write(Sequence(start.0 + 1), b"free"));
    }

    #[test]
    fn a_large_snapshots_memory_is_released_when_no_process_needs_it() {
        let segment = Segment::create(Geometry {
            ring_bytes: 1 << 16,
            slots: 2,
            sessions_max: 1,
            snapshot_bytes_max: 1 << 20,
        })
        .unwrap();
        let (start, _) = segment.join(ME).unwrap();
        segment.join(OTHER).unwrap();
        let mut snapshots = SnapshotWriter::new(&segment.snapshots, &segment.log, OTHER);
        // A word that a small snapshot doesn't reach.
        let is_held =
            |buffer: usize| segment.snapshots.buffers[buffer][1_000].load(Ordering::Relaxed) != 0;
        let at = |offset| Sequence(start.0 + offset);
        assert!(snapshots.write(at(1), &[7; 1 << 20]) && snapshots.publish(at(1)));
        assert!(snapshots.write(at(2), &[8; 1 << 20]) && snapshots.publish(at(2)));
        assert_eq!(
            [0, 1].map(is_held),
            [true, true],
            "a process that stands before the first may still be reading it"
        );
        segment.cursors.publish(ME, at(2));
        assert!(snapshots.write(at(3), b"small"));
        assert_eq!([0, 1].map(is_held), [false, true], "the first is written to");
        assert!(snapshots.publish(at(3)));
        assert_eq!([0, 1].map(is_held), [false, true], "a process stands where the second is");
        segment.cursors.publish(ME, at(4));
        assert!(snapshots.write(at(4), &[9; 1 << 20]) && snapshots.publish(at(4)));
        assert_eq!([0, 1].map(is_held), [false, true], "it was written to again");
        segment.cursors.publish(ME, at(5));
        assert!(snapshots.write(at(5), b"next") && snapshots.publish(at(5)));
        assert_eq!(
            [0, 1].map(is_held),
            [false, false],
            "what is not published any more is given back"
        );
        assert_eq!(segment.join(ME).unwrap(), (at(5), Some(b"next".to_vec())));
    }

    #[test]
    fn publish_takes_the_latest_waiting_snapshot_up_to_the_ceiling() {
        let segment = small_segment(1 << 16, 2);
        let (start, _) = segment.join(ME).unwrap();
        let mut snapshots = SnapshotWriter::new(&segment.snapshots, &segment.log, OTHER);
        for offset in 1..4 {
            assert!(snapshots.write(Sequence(start.0 + offset), &[offset as u8]));
        }
        assert!(!snapshots.write(Sequence(start.0 + 4), b"a fourth"));
        assert!(snapshots.publish(Sequence(start.0 + 2)) && snapshots.is_waiting());
        assert_eq!(segment.join(ME).unwrap(), (Sequence(start.0 + 2), Some(vec![2])));
        assert_eq!(snapshots.latest(), Sequence(start.0 + 3));
    }
}
