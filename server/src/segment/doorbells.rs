//! Which processes sleep, which are woken, and which seem to hang.

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

    /// Rings those sleepers that are an eighth of the ring behind: they have nobody to tell, but
    /// must apply it some time.
    pub fn ring_far_behind(&self) {
        self.ring_behind(self.geometry.ring_blocks() / 8);
    }

    /// Rings those sleepers that haven't read everything. Who waits for room wakes nobody else: two
    /// who do would wake each other for ever.
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
        // Between the store of the cursor and the load of the flag: who finds the ring full sets
        // the flag and looks again.
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.header.room_wanted.load(Ordering::Relaxed) != 0
            && self.header.room_wanted.swap(0, Ordering::Relaxed) != 0
        {
            self.bells_used().for_each(super::Doorbell::ring);
        }
    }

    /// Another process is about to begin in a slot: what its predecessor's threads were doing when
    /// they were cut off says nothing of it.
    pub fn rest_threads(&self, slot: Slot) {
        self.end_turn(slot, Thread::Receive);
        self.end_turn(slot, Thread::Send);
        self.leave(slot, Thread::Receive);
        self.leave(slot, Thread::Send);
        self.answer(slot, Thread::Receive);
        self.answer(slot, Thread::Send);
    }

    /// Asks the threads of the process in `slot` for a sign of life, and wakes its send thread,
    /// which wakes the other. By the supervisor alone.
    pub fn challenge(&self, slot: Slot) {
        // SYNC challenge: who is woken by the bell sees it.
        self.slots[slot.index()].challenge.fetch_add(1, Ordering::Release);
        self.bells[slot.index()].ring_anyway();
    }

    /// A thread shows that it runs; in each round of its loop. Whether it had been asked to since
    /// it last did.
    pub fn answer(&self, slot: Slot, thread: Thread) -> bool {
        let state = &self.slots[slot.index()];
        // SYNC challenge.
        let challenge = state.challenge.load(Ordering::Acquire);
        let was_asked = state.answers[thread as usize].load(Ordering::Relaxed) != challenge;
        if was_asked {
            state.answers[thread as usize].store(challenge, Ordering::Release);
        }
        was_asked
    }

    /// What a thread has not answered yet, if it could have: while this stays the same, it has done
    /// nothing. The send thread is also alive if its beat changes, in a turn that takes long; and
    /// the receive thread is only asked when the send thread has answered, which wakes it.
    pub fn unanswered(&self, slot: Slot, thread: Thread) -> Option<(u64, u64)> {
        let state = &self.slots[slot.index()];
        let challenge = state.challenge.load(Ordering::Acquire);
        let has_answered =
            |thread: Thread| state.answers[thread as usize].load(Ordering::Acquire) == challenge;
        match thread {
            Thread::Send => {
                (!has_answered(Thread::Send)).then(|| (challenge, self.beat(slot, Thread::Send)))
            }
            Thread::Receive => (has_answered(Thread::Send) && !has_answered(Thread::Receive))
                .then_some((challenge, 0)),
        }
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
