//! Records made ready outside the lock, in the form in which they'll lie in the ring.

use super::layout::{BLOCK_WORDS, RECORD_HEADER_WORDS};

/// Some records that are to be appended together: all of them or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub(super) words: Vec<u64>,
}

impl Batch {
    /// Adds a record.
    pub fn push(&mut self, payload: &[u8]) {
        let words = blocks_of(payload.len()) * BLOCK_WORDS;
        let start = self.words.len();
        self.words.reserve(words);
        self.words.push(payload.len() as u64);
        // The time: known under the lock.
        self.words.push(0);
        let (whole, rest) = payload.as_chunks::<8>();
        self.words.extend(whole.iter().map(|bytes| u64::from_ne_bytes(*bytes)));
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.words.push(u64::from_ne_bytes(last));
        }
        self.words.resize(start + words, 0);
    }

    /// Adds another batch's records behind these.
    pub fn extend(&mut self, other: &Batch) {
        self.words.extend_from_slice(&other.words);
    }

    /// How much of the ring it takes, in blocks.
    pub fn blocks(&self) -> u64 {
        (self.words.len() / BLOCK_WORDS) as u64
    }

    /// No records.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Drops the records and keeps the memory.
    pub fn clear(&mut self) {
        self.words.clear();
    }
}

/// The blocks that a record takes whose payload is so many bytes long.
pub(super) fn blocks_of(payload_bytes: usize) -> usize {
    (RECORD_HEADER_WORDS + payload_bytes.div_ceil(8)).div_ceil(BLOCK_WORDS)
}
