//! Which processes sleep, and which wait for room in the ring; waking them.
//!
//! ```text
//! byte   0            8              128           256           384
//!        ┌────────────┬──────────────┬─────────────┬─────────────┬──
//!        │ slots_used │ room_wanted  │ slot 0:     │ slot 1:     │ …
//!        │            │ (4 bytes)    │ asleep (4)  │ asleep (4)  │
//!        └────────────┴──────────────┴─────────────┴─────────────┴──
//! ```
//!
//! The eventfds that wake them are no memory. Processes inherit them from the process that created
//! or attached the segment.

use crate::ipc::doorbell::Doorbell;
use forkchat_common::ids::Slot;
use std::mem::offset_of;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use zerocopy::FromBytes;

#[derive(FromBytes, Debug)]
#[repr(C, align(128))]
pub(super) struct State {
    /// One more than the highest slot that a process ever began in. Written under the log's lock.
    slots_used: AtomicU64,
    /// Set by a process that found the ring full: the process that makes room rings.
    room_wanted: AtomicU32,
    _pad: [u32; 29],
}

/// Of one process.
#[derive(FromBytes, Debug)]
#[repr(C, align(128))]
pub(super) struct Sleeper {
    /// Not 0 while it sleeps and wants to be rung.
    asleep: AtomicU32,
    _pad: [u32; 31],
}

const _: () = assert!(size_of::<State>() == 128 && size_of::<Sleeper>() == 128);
const _: () = assert!(offset_of!(State, room_wanted) == 8);

/// The doorbells of all slots.
#[derive(Debug)]
pub struct Doorbells {
    state: &'static State,
    bells: Vec<Doorbell>,
}

impl Doorbells {
    /// The section's length, for so many slots.
    pub(super) fn bytes(slots: usize) -> usize {
        size_of::<State>().saturating_add(slots.saturating_mul(size_of::<Sleeper>()))
    }

    pub(super) fn new(
        (state, sleepers): (&'static State, &'static [Sleeper]),
    ) -> nix::Result<Doorbells> {
        let bells = sleepers.iter().map(|sleeper| Doorbell::new(&sleeper.asleep));
        Ok(Doorbells { state, bells: bells.collect::<Result<_, _>>()? })
    }

    /// The bell of the process in `slot`.
    pub fn get(&self, slot: Slot) -> &Doorbell {
        &self.bells[slot.index()]
    }

    /// The descriptors of all bells. A process needs them all, those of slots that aren't used yet
    /// too: which processes it will have to wake is not known when it is forked. In ascending order
    /// of their numbers: each was given the lowest number that was free, and none was given back
    /// between.
    pub fn descriptors(&'static self) -> impl Iterator<Item = BorrowedFd<'static>> + Clone {
        self.bells.iter().map(AsFd::as_fd)
    }

    /// Rings the process in `slot`, if it sleeps.
    pub fn ring(&self, slot: Slot) {
        self.get(slot).ring();
    }

    /// Rings all processes, asleep or not: a process died that may have had news for them.
    pub fn ring_all(&self) {
        self.used().for_each(Doorbell::ring_anyway);
    }

    /// Has the next process that makes room ring all. The caller must try once more then, and again
    /// whenever room is no longer wanted.
    pub fn want_room(&self) {
        self.state.room_wanted.store(1, Ordering::Relaxed);
        // SYNC room: with the fence in `room_was_made`. Either they see that room is wanted, or our
        // next try sees the room.
        fence(Ordering::SeqCst);
    }

    /// Whether no process has made room since it was wanted.
    pub fn is_room_wanted(&self) -> bool {
        self.state.room_wanted.load(Ordering::Relaxed) != 0
    }

    /// A cursor or the snapshot has moved: the processes that wait for room are rung.
    pub(super) fn room_was_made(&self) {
        // SYNC room: between the store of the cursor and the load of the flag. A process that finds
        // the ring full sets the flag and looks again.
        fence(Ordering::SeqCst);
        if self.state.room_wanted.load(Ordering::Relaxed) != 0
            && self.state.room_wanted.swap(0, Ordering::Relaxed) != 0
        {
            self.used().for_each(Doorbell::ring);
        }
    }

    /// A process begins in a slot. Under the log's lock.
    pub(super) fn use_slot(&self, slot: Slot) {
        self.state.slots_used.fetch_max(slot.index() as u64 + 1, Ordering::AcqRel);
    }

    /// The slots in which a process ever began are below this: with a slot for each connection most
    /// are still unused.
    pub(super) fn slots_used(&self) -> usize {
        self.state.slots_used.load(Ordering::Acquire) as usize
    }

    /// The bells of those slots.
    pub(super) fn used(&self) -> impl Iterator<Item = &Doorbell> {
        self.bells[..self.slots_used()].iter()
    }

    #[cfg(test)]
    pub(super) fn wipe(&self) {
        self.state.slots_used.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use crate::segment::tests::small_segment;
    use forkchat_common::ids::{Sequence, Slot};

    #[test]
    fn room_stays_wanted_until_a_process_has_moved() {
        let segment = small_segment(1 << 16, 1);
        let (start, _) = segment.join(Slot::at(0)).unwrap();
        segment.doorbells.want_room();
        segment.cursors.publish(Slot::at(0), start);
        assert!(segment.doorbells.is_room_wanted(), "the same cursor again makes no room");
        segment.cursors.publish(Slot::at(0), Sequence(start.0 + 1));
        assert!(!segment.doorbells.is_room_wanted());
    }
}
