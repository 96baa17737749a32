//! What the watchdog sees of each process: which turn each thread is at, and whether it answers.
//!
//! ```text
//! byte, for each slot
//!    0            8            16           24           32           40          128
//!    ┌────────────┬────────────┬────────────┬────────────┬────────────┬──────────┐
//!    │ beat of    │ beat of    │ challenge  │ answer of  │ answer of  │ unused   │
//!    │ Receive    │ Send       │            │ Receive    │ Send       │          │
//!    └────────────┴────────────┴────────────┴────────────┴────────────┴──────────┘
//! ```

use super::doorbells::Doorbells;
use forkchat_common::ids::Slot;
use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, Ordering};
use zerocopy::FromBytes;

/// The two threads of a process, as the watchdog knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thread {
    /// A worker's receive thread; the journal's storing one.
    Receive = 0,
    /// A worker's send thread; the journal's reading one.
    Send = 1,
}

#[derive(FromBytes, Debug)]
#[repr(C, align(128))]
pub(super) struct Row {
    /// For each thread: odd while it works, and changed at every turn.
    beats: [AtomicU64; 2],
    /// How often the supervisor asked its threads for a sign of life.
    challenge: AtomicU64,
    /// For each thread: the last challenge that it saw.
    answers: [AtomicU64; 2],
    _pad: [u64; 11],
}

const _: () = assert!(size_of::<Row>() == 128);
const _: () = assert!(offset_of!(Row, challenge) == 16 && offset_of!(Row, answers) == 24);

/// The heartbeats of all processes.
#[derive(Debug)]
pub struct Heartbeats(&'static [Row]);

impl Heartbeats {
    /// The section's length, for so many slots.
    pub(super) fn bytes(slots: usize) -> usize {
        slots.saturating_mul(size_of::<Row>())
    }

    pub(super) fn new(rows: &'static [Row]) -> Heartbeats {
        Heartbeats(rows)
    }

    /// A thread begins a turn: from now on it is busy.
    pub fn begin_turn(&self, slot: Slot, thread: Thread) {
        let beat = self.of(slot, thread);
        // To the next odd number, from an odd one too: what is counted is that it changes.
        beat.store((beat.load(Ordering::Relaxed) + 1) | 1, Ordering::Relaxed);
    }

    /// A thread ends its turn: it waits for something that isn't its own doing.
    pub fn end_turn(&self, slot: Slot, thread: Thread) {
        let beat = self.of(slot, thread);
        beat.store((beat.load(Ordering::Relaxed) + 1) & !1, Ordering::Relaxed);
    }

    /// A thread's beat, busy or not: it changes at every turn.
    pub fn beat(&self, slot: Slot, thread: Thread) -> u64 {
        self.of(slot, thread).load(Ordering::Relaxed)
    }

    /// A thread's beat if it is busy: while this stays the same, it is the same turn.
    pub fn busy_beat(&self, slot: Slot, thread: Thread) -> Option<u64> {
        Some(self.beat(slot, thread)).filter(|beat| beat & 1 == 1)
    }

    /// Asks the threads of the process in `slot` for a sign of life, and wakes its send thread,
    /// which wakes the other. By the supervisor alone.
    pub fn challenge(&self, slot: Slot, doorbells: &Doorbells) {
        // SYNC challenge: a thread that the bell wakes sees it.
        self.0[slot.index()].challenge.fetch_add(1, Ordering::Release);
        doorbells.get(slot).ring_anyway();
    }

    /// A thread shows that it runs; in each round of its loop. Whether it had been asked to since
    /// it last did.
    pub fn answer(&self, slot: Slot, thread: Thread) -> bool {
        let row = &self.0[slot.index()];
        // SYNC challenge.
        let challenge = row.challenge.load(Ordering::Acquire);
        let was_asked = row.answers[thread as usize].load(Ordering::Relaxed) != challenge;
        if was_asked {
            row.answers[thread as usize].store(challenge, Ordering::Release);
        }
        was_asked
    }

    /// What a thread has not answered yet, if it could have: while this stays the same, it has done
    /// nothing. The send thread is also alive if its beat changes, in a turn that takes long; and
    /// the receive thread is only asked when the send thread has answered, which wakes it.
    pub fn unanswered(&self, slot: Slot, thread: Thread) -> Option<(u64, u64)> {
        let row = &self.0[slot.index()];
        let challenge = row.challenge.load(Ordering::Acquire);
        let has_answered =
            |thread: Thread| row.answers[thread as usize].load(Ordering::Acquire) == challenge;
        match thread {
            Thread::Send => {
                (!has_answered(Thread::Send)).then(|| (challenge, self.beat(slot, Thread::Send)))
            }
            Thread::Receive => (has_answered(Thread::Send) && !has_answered(Thread::Receive))
                .then_some((challenge, 0)),
        }
    }

    /// Another process is about to begin in a slot: what its predecessor's threads were doing when
    /// they were cut off says nothing of it.
    pub fn rest(&self, slot: Slot) {
        for thread in [Thread::Receive, Thread::Send] {
            self.end_turn(slot, thread);
            self.answer(slot, thread);
        }
    }

    fn of(&self, slot: Slot, thread: Thread) -> &AtomicU64 {
        &self.0[slot.index()].beats[thread as usize]
    }
}
