//! Records that a writer prepares before it takes the lock, in the form that they have in the ring.

use super::{BLOCK_BYTES, BLOCK_WORDS, RECORD_HEADER_WORDS};

/// Records that are appended together: all of them or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Whole blocks. Each record has its header, of which only the length is set, its payload, and
    /// zeroes up to the next block.
    pub(super) bytes: Vec<u8>,
}

impl Batch {
    /// Adds a record. `write` appends the record's payload to the vector that it receives.
    pub fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        // The log fills in the id and the time under its lock.
        self.bytes.extend_from_slice(&[0; RECORD_HEADER_WORDS * 8]);
        let payload = self.bytes.len();
        write(&mut self.bytes);
        let length = self.bytes.len() - payload;
        let length = u32::try_from(length).expect("a record is shorter than 4 GiB");
        // The high half of the word is the index: 0.
        self.bytes[start..start + 8].copy_from_slice(&u64::from(length).to_ne_bytes());
        self.bytes.resize(start + blocks_of(length as usize) * BLOCK_BYTES, 0);
    }

    /// Adds another batch's records after these.
    pub fn extend(&mut self, other: &Batch) {
        self.bytes.extend_from_slice(&other.bytes);
    }

    /// Reserves memory for records of `bytes` bytes in total, headers included.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }

    /// The batch's length in the ring, in blocks.
    pub fn blocks(&self) -> u64 {
        (self.bytes.len() / BLOCK_BYTES) as u64
    }

    /// Whether the batch has no records.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Removes all records and keeps the allocated memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }
}

/// The payload's length in bytes, which is the low half of a record's first word.
pub(super) fn length_in(first_word: u64) -> usize {
    (first_word & u64::from(u32::MAX)) as usize
}

/// The number of blocks of a record with a payload of `payload_bytes` bytes.
pub(super) fn blocks_of(payload_bytes: usize) -> usize {
    (RECORD_HEADER_WORDS + payload_bytes.div_ceil(8)).div_ceil(BLOCK_WORDS)
}
