//! What the watchdog observes of each process: each thread's current turn, and whether the thread
//! answers.
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

/// The two threads of a process that the watchdog observes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thread {
    /// A worker's receive thread; the journal's storing thread.
    Receive = 0,
    /// A worker's send thread; the journal's reading thread.
    Send = 1,
}

#[derive(FromBytes, Debug)]
#[repr(C, align(128))]
pub(super) struct Row {
    /// For each thread: a number that is odd while the thread works, and changes at every turn.
    beats: [AtomicU64; 2],
    /// How often the supervisor has challenged the threads to show that they run.
    challenge: AtomicU64,
    /// For each thread: the last challenge that it answered.
    answers: [AtomicU64; 2],
    _pad: [u64; 11],
}

const _: () = assert!(size_of::<Row>() == 128);
const _: () = assert!(offset_of!(Row, challenge) == 16 && offset_of!(Row, answers) == 24);

/// The heartbeats of all processes.
#[derive(Debug)]
pub struct Heartbeats(&'static [Row]);

impl Heartbeats {
    /// The section's length in bytes, for `slots` slots.
    pub(super) fn bytes(slots: usize) -> usize {
        slots.saturating_mul(size_of::<Row>())
    }

    pub(super) fn new(rows: &'static [Row]) -> Heartbeats {
        Heartbeats(rows)
    }

    /// Marks a thread as busy: it begins a turn.
    pub fn begin_turn(&self, slot: Slot, thread: Thread) {
        let beat = self.of(slot, thread);
        // The next odd number, also if the present one is odd: the watchdog looks for a change.
        beat.store((beat.load(Ordering::Relaxed) + 1) | 1, Ordering::Relaxed);
    }

    /// Marks a thread as idle: it has ended its turn, and waits for an event.
    pub fn end_turn(&self, slot: Slot, thread: Thread) {
        let beat = self.of(slot, thread);
        beat.store((beat.load(Ordering::Relaxed) + 1) & !1, Ordering::Relaxed);
    }

    /// A thread's beat, whether the thread is busy or not. It changes at every turn.
    pub fn beat(&self, slot: Slot, thread: Thread) -> u64 {
        self.of(slot, thread).load(Ordering::Relaxed)
    }

    /// A thread's beat if the thread is busy. As long as it stays the same, the thread is in the
    /// same turn.
    pub fn busy_beat(&self, slot: Slot, thread: Thread) -> Option<u64> {
        Some(self.beat(slot, thread)).filter(|beat| beat & 1 == 1)
    }

    /// Challenges the threads of the process in `slot` to show that they run, and wakes its send
    /// thread, which wakes the other thread. Only the supervisor calls this.
    pub fn challenge(&self, slot: Slot, doorbells: &Doorbells) {
        // SYNC challenge: a thread that the doorbell wakes sees the challenge.
        self.0[slot.index()].challenge.fetch_add(1, Ordering::Release);
        doorbells.get(slot).ring_anyway();
    }

    /// Answers the challenge, if there is a new one. A thread calls this in each iteration of its
    /// loop. Returns whether there was a new challenge.
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

    /// The challenge that a thread has not answered although it could have. As long as the value
    /// stays the same, the thread has done nothing. The send thread's value includes its beat,
    /// because a thread that is in a long turn is alive if its beat changes. The receive thread
    /// counts as challenged only when the send thread has answered, since that one wakes it.
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

    /// Clears the slot's state before a new process starts in it, so that the watchdog doesn't
    /// apply its predecessor's state to it.
    pub fn reset(&self, slot: Slot) {
        for thread in [Thread::Receive, Thread::Send] {
            self.end_turn(slot, thread);
            self.answer(slot, thread);
        }
    }

    fn of(&self, slot: Slot, thread: Thread) -> &AtomicU64 {
        &self.0[slot.index()].beats[thread as usize]
    }
}
