//! Who sleeps, who is woken, and who seems dead.

use super::{EventLog, Slot};
use std::sync::atomic::Ordering;

/// The two threads of a process, as the watchdog knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thread {
    /// A worker's receive thread; the journal's storing one.
    Receive = 0,
    /// A worker's send thread; the journal's reading one.
    Send = 1,
}

impl EventLog {
    /// Rings the one in `slot`, if it sleeps.
    pub fn ring(&self, slot: Slot) {
        self.bells[slot.index()].ring();
    }

    /// Rings everyone, asleep or not: somebody died who may have had news for them.
    pub fn ring_all(&self) {
        self.bells_used().for_each(super::Doorbell::ring_anyway);
    }

    /// Rings those sleepers that are an eighth of the ring behind: they have nobody to tell, but must apply it some time.
    pub fn ring_far_behind(&self) {
        self.ring_behind(self.geometry.ring_blocks() / 8);
    }

    /// Rings those sleepers that haven't read everything. Who waits for room wakes nobody else: two who do would wake each other for ever.
    pub fn ring_who_is_behind(&self) {
        self.ring_behind(0);
    }

    fn bells_used(&self) -> impl Iterator<Item = &super::Doorbell> {
        self.bells[..self.slots_used().len()].iter()
    }

    fn ring_behind(&self, blocks: u64) {
        let tail = self.tail();
        for (state, bell) in self.slots_used().iter().zip(&self.bells) {
            if tail.blocks_since(super::Sequence(state.cursor.load(Ordering::Relaxed))) > blocks {
                bell.ring();
            }
        }
    }

    /// A cursor or the snapshot has moved: those who wait for room are rung.
    pub(super) fn room_was_made(&self) {
        // Between the store of the cursor and the load of the flag: who finds the ring full sets the flag and looks again.
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.header.room_wanted.load(Ordering::Relaxed) != 0 && self.header.room_wanted.swap(0, Ordering::Relaxed) != 0 {
            self.bells_used().for_each(super::Doorbell::ring);
        }
    }

    /// Another process is about to begin in a slot: what its predecessor's threads were doing when they were cut off says nothing of it.
    pub fn rest_threads(&self, slot: Slot) {
        self.end_turn(slot, Thread::Receive);
        self.end_turn(slot, Thread::Send);
        self.leave(slot, Thread::Receive);
        self.leave(slot, Thread::Send);
    }

    /// A thread begins a turn: from now on it is busy.
    pub fn begin_turn(&self, slot: Slot, thread: Thread) {
        let beats = &self.slots[slot.index()].beats[thread as usize];
        // To the next odd number, from an odd one too: what is counted is that it changes.
        beats.store((beats.load(Ordering::Relaxed) + 1) | 1, Ordering::Relaxed);
    }

    /// A thread ends its turn: it waits for something that isn't its own doing.
    pub fn end_turn(&self, slot: Slot, thread: Thread) {
        let beats = &self.slots[slot.index()].beats[thread as usize];
        beats.store((beats.load(Ordering::Relaxed) + 1) & !1, Ordering::Relaxed);
    }

    /// A thread's beat, busy or not: it changes at every turn.
    pub fn beat(&self, slot: Slot, thread: Thread) -> u64 {
        self.slots[slot.index()].beats[thread as usize].load(Ordering::Relaxed)
    }

    /// A thread's beat if it is busy: while this stays the same, it is the same turn.
    pub fn busy_beat(&self, slot: Slot, thread: Thread) -> Option<u64> {
        let beat = self.slots[slot.index()].beats[thread as usize].load(Ordering::Relaxed);
        (beat & 1 == 1).then_some(beat)
    }
}
