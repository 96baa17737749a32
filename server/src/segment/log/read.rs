//! Reading the log: copy some records out of the ring, process them, then publish the cursor.

use super::batch::{blocks_of, length_in};
use super::{BLOCK_WORDS, Log, RECORD_HEADER_WORDS};
use forkchat_common::ids::{Micros, RecordId, Sequence};
use std::sync::atomic::Ordering;
use zerocopy::IntoBytes;

/// A record of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The record's position.
    pub position: Sequence,
    /// The next record's position.
    pub end: Sequence,
    /// The id by which the chat knows the record.
    pub id: RecordId,
    /// When the record was appended.
    pub time: Micros,
    /// The bytes that the writer appended.
    pub payload: &'a [u8],
}

/// Reads the log for one process, in order.
#[derive(Debug)]
pub struct Reader {
    log: &'static Log,
    position: Sequence,
    words: Vec<u64>,
}

impl Reader {
    /// Creates a reader that starts at `position`. The slot's cursor must not be after it.
    pub fn new(log: &'static Log, position: Sequence) -> Reader {
        Reader { log, position, words: Vec::new() }
    }

    /// The position of the next record to fetch.
    pub fn position(&self) -> Sequence {
        self.position
    }

    /// Whether the log has records that were not fetched yet.
    pub fn is_behind(&self) -> bool {
        self.position < self.log.tail()
    }

    /// Copies the next records out of the ring: about `blocks_max` blocks, and at least one record
    /// if there is one.
    pub fn fetch(&mut self, blocks_max: u64) -> impl Iterator<Item = Entry<'_>> {
        let tail = self.log.tail();
        let start = self.position;
        self.words.clear();
        while self.position < tail && self.position.blocks_since(start) < blocks_max {
            let blocks = self.log.copy_record(self.position, &mut self.words);
            self.position = Sequence(self.position.0 + blocks);
        }
        Entries { words: &self.words, position: start }
    }
}

struct Entries<'a> {
    words: &'a [u64],
    position: Sequence,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let (&[first, sequence, time], rest) =
            self.words.split_first_chunk::<RECORD_HEADER_WORDS>()?;
        let length = length_in(first);
        let blocks = blocks_of(length);
        let position = self.position;
        self.position = Sequence(position.0 + blocks as u64);
        self.words = &self.words[blocks * BLOCK_WORDS..];
        Some(Entry {
            position,
            end: self.position,
            id: RecordId { sequence: Sequence(sequence), index: (first >> 32) as u32 },
            time: Micros(time),
            payload: &rest.as_bytes()[..length],
        })
    }
}

impl Log {
    /// Copies the words of one published record. Returns its length in blocks.
    fn copy_record(&self, at: Sequence, words: &mut Vec<u64>) -> u64 {
        let start = (at.0 % self.geometry.ring_blocks()) as usize * BLOCK_WORDS;
        let blocks = blocks_of(length_in(self.ring[start].load(Ordering::Relaxed)));
        let count = blocks * BLOCK_WORDS;
        let until_end = count.min(self.ring.len() - start);
        words.extend(
            self.ring[start..start + until_end].iter().map(|word| word.load(Ordering::Relaxed)),
        );
        words
            .extend(self.ring[..count - until_end].iter().map(|word| word.load(Ordering::Relaxed)));
        blocks as u64
    }
}
