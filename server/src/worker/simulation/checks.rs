//! What must hold after each step, and at the end of a run.

use super::Simulation;
use super::disk::text_of;
use super::world::said_by;
use forkchat_common::ids::Slot;
use std::sync::atomic::Ordering;

impl Simulation {
    /// A checkpoint says how much of a session's output is out at some sequence: it must be so.
    pub(super) fn check_checkpoints(&mut self) {
        self.spy.read(self.segment);
        for (slot, last) in (0..).zip(&mut self.flushed) {
            let flushed = self.segment.cursors.flushed_through(Slot::at(slot));
            assert!(
                flushed >= *last,
                "seed {}: worker {slot} took back what it had said",
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
            let (told, seed) =
                (self.spy.told.bytes_before(client.session, checkpoint.sequence), self.seed);
            let is_over = self.spy.chat.session(client.session).is_none();
            assert!(
                told as u64 == checkpoint.offset || is_over,
                "seed {seed}: {checkpoint:?} where {told} bytes were told"
            );
            let is_out = client.taken.len() as u64 >= checkpoint.offset;
            assert!(
                is_out || is_over,
                "seed {seed}: {checkpoint:?} where {} bytes are out",
                client.taken.len()
            );
        }
    }

    pub(super) fn check_end(&mut self) {
        let seed = self.seed;
        let state = self.spy.chat.snapshot();
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
                stored == self.spy.told.kept,
                "seed {seed}: what was said is stored, each line once, in order"
            );
        } else {
            assert!(
                stored.iter().all(|entry| self.spy.told.kept.contains(entry)),
                "seed {seed}: what is stored was said"
            );
        }
        self.gone.append(&mut self.world.borrow_mut());
        for client in &self.gone {
            let session = client.session;
            let told = self.spy.told.bytes.get(&session).map_or(&[][..], Vec::as_slice);
            let is_whole = !client.is_dropped;
            assert!(
                told.starts_with(&client.taken),
                "seed {seed}: session {session} was sent something else than the log says"
            );
            assert!(
                !is_whole || client.taken == told,
                "seed {seed}: session {session} lacks {} bytes",
                told.len() - client.taken.len()
            );
            let in_log = self.spy.lines.get(&session).map_or(&[][..], Vec::as_slice);
            let sent = said_by(client);
            let is_all_heard = is_whole && client.finished.is_none();
            assert!(
                sent.starts_with(in_log),
                "seed {seed}: session {session}'s lines in the log are not those it sent"
            );
            assert!(
                !is_all_heard || in_log.len() == sent.len(),
                "seed {seed}: session {session} sent {} lines, {} were heard",
                sent.len(),
                in_log.len()
            );
        }
    }
}
