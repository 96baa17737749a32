//! Which snapshot is published: its sequence and its buffer, in one word. A new process starts from
//! it, so the log keeps the records after it (`log`), and the journal keeps its buffer
//! (`snapshots`).
//!
//! ```text
//! bit 63                                             3 2       0
//!     ┌───────────────────────────────────────────────┬─────────┐
//!     │ sequence                                      │ buffer  │  7 for the empty state at the
//!     └───────────────────────────────────────────────┴─────────┘  run's first sequence
//! ```

use forkchat_common::ids::Sequence;
use std::sync::atomic::{AtomicU64, Ordering};
use zerocopy::FromBytes;

/// The most snapshots that wait to be published. They wait up to half the ring for a slow disk, and
/// are an eighth of the ring apart: with fewer, the ring would be full before the next one may be
/// published.
pub(super) const SNAPSHOTS_WAITING_MAX: usize = 3;
/// The number of buffers: the published snapshot, those that wait, and two that a new process may
/// still be reading.
pub const SNAPSHOT_BUFFERS: usize = 1 + SNAPSHOTS_WAITING_MAX + 2;

const BUFFER_BITS: u32 = 3;
const NO_BUFFER: u64 = (1 << BUFFER_BITS) - 1;
const _: () = assert!(SNAPSHOT_BUFFERS < NO_BUFFER as usize);

/// The word, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Published {
    pub sequence: Sequence,
    /// The buffer; `None` for the empty state at the run's first sequence.
    pub buffer: Option<usize>,
}

/// The word. A process writes it under the log's lock.
#[derive(FromBytes, Debug)]
#[repr(C)]
pub(super) struct PublishedWord(AtomicU64);

impl PublishedWord {
    pub fn load(&self) -> Published {
        // SYNC published: pairs with the store in `store`. A process that sees the word sees the
        // snapshot whose sequence and buffer it contains.
        let word = self.0.load(Ordering::Acquire);
        let buffer = word & NO_BUFFER;
        Published {
            sequence: Sequence(word >> BUFFER_BITS),
            buffer: (buffer != NO_BUFFER).then_some(buffer as usize),
        }
    }

    pub fn store(&self, Published { sequence, buffer }: Published) {
        // A sequence is about a time in µs, so its 61 bits suffice for 70,000 years. SYNC
        // published.
        let buffer = buffer.map_or(NO_BUFFER, |buffer| buffer as u64);
        self.0.store(sequence.0 << BUFFER_BITS | buffer, Ordering::Release);
    }
}
