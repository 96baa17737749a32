//! The checks after each step and at the end of a run.

use super::Simulation;
use super::disk::text_of;
use super::world::valid_lines;
use forkchat_common::ids::Slot;
use std::sync::atomic::Ordering;

impl Simulation {
    /// Checks that each checkpoint is true: it says how much of a session's output is in the kernel
    /// at some sequence.
    pub(super) fn check_checkpoints(&mut self) {
        self.reference.read(self.segment);
        for (slot, last) in (0..).zip(&mut self.flushed) {
            let flushed = self.segment.cursors.flushed_through(Slot::at(slot));
            assert!(
                flushed >= *last,
                "seed {}: worker {slot} moved its flushed position back",
                self.seed
            );
            *last = flushed;
        }
        for client in self.world.borrow().iter() {
            let Some(checkpoint) =
                self.segment.checkpoints.effective(client.session, &self.segment.cursors)
            else {
                continue;
            };
            if checkpoint.is_lagging
                && self
                    .segment
                    .cursors
                    .flushed_through(client.slot)
                    .blocks_since(checkpoint.sequence)
                    > self.segment.geometry.ring_blocks() / 4
            {
                self.too_far_behind.insert(client.session);
            }
            let is_followed = self.segment.snapshots.sequence() <= checkpoint.sequence;
            assert!(
                is_followed || self.too_far_behind.contains(&client.session),
                "seed {}: {checkpoint:?} before the snapshot",
                self.seed
            );
            let (expected, seed) = (
                self.reference.expected.bytes_before(client.session, checkpoint.sequence),
                self.seed,
            );
            let is_over = self.reference.chat.session(client.session).is_none();
            assert!(
                expected as u64 == checkpoint.offset || is_over,
                "seed {seed}: {checkpoint:?} where {expected} bytes are expected"
            );
            let is_in_kernel = client.taken.len() as u64 >= checkpoint.offset;
            assert!(
                is_in_kernel || is_over,
                "seed {seed}: {checkpoint:?} where the kernel has {} bytes",
                client.taken.len()
            );
        }
    }

    pub(super) fn check_end(&mut self) {
        let seed = self.seed;
        let state = self.reference.chat.snapshot();
        for (slot, serving) in self.workers.iter().enumerate() {
            assert!(
                serving.as_ref().unwrap().chat().snapshot() == state,
                "seed {seed}: worker {slot} has another state"
            );
        }
        let stored: Vec<_> = self
            .disk
            .entries
            .iter()
            .map(|entry| (entry.position(), text_of(entry).to_owned()))
            .collect();
        if self.disk.tally.skipped.load(Ordering::Relaxed) == 0 {
            assert!(
                stored == self.reference.expected.history,
                "seed {seed}: the history must be stored, each line once, in order"
            );
        } else {
            assert!(
                stored.iter().all(|entry| self.reference.expected.history.contains(entry)),
                "seed {seed}: only lines of the history may be stored"
            );
        }
        self.gone.append(&mut self.world.borrow_mut());
        for client in &self.gone {
            let session = client.session;
            let expected =
                self.reference.expected.bytes.get(&session).map_or(&[][..], Vec::as_slice);
            let is_whole = !client.is_dropped;
            assert!(
                expected.starts_with(&client.taken),
                "seed {seed}: session {session} received something that the log does not contain"
            );
            assert!(
                !is_whole || client.taken == expected,
                "seed {seed}: session {session} lacks {} bytes",
                expected.len() - client.taken.len()
            );
            let in_log = self.reference.lines.get(&session).map_or(&[][..], Vec::as_slice);
            let sent = valid_lines(client);
            let is_complete = is_whole && client.finished.is_none();
            assert!(
                sent.starts_with(in_log),
                "seed {seed}: session {session}'s lines in the log are not those it sent"
            );
            assert!(
                !is_complete || in_log.len() == sent.len(),
                "seed {seed}: session {session} sent {} lines, {} are in the log",
                sent.len(),
                in_log.len()
            );
        }
    }
}
