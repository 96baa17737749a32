//! Which processes sleep, and which wait for space in the ring; waking them.
//!
//! ```text
//! byte   0            8              128           256           384
//!        ┌────────────┬──────────────┬─────────────┬─────────────┬──
//!        │ slots_used │ space_wanted │ slot 0:     │ slot 1:     │ …
//!        │            │ (4 bytes)    │ asleep (4)  │ asleep (4)  │
//!        └────────────┴──────────────┴─────────────┴─────────────┴──
//! ```
//!
//! The eventfds that wake the processes are not in shared memory. A process inherits them from the
//! process that created or attached the segment.

use crate::ipc::doorbell::Doorbell;
use forkchat_common::ids::Slot;
use std::mem::offset_of;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use zerocopy::FromBytes;

#[derive(FromBytes, Debug)]
#[repr(C, align(128))]
pub(super) struct State {
    /// One more than the highest slot in which a process was ever started. Written under the log's
    /// lock.
    slots_used: AtomicU64,
    /// Set by a process that found the ring full. The process that frees space then wakes all
    /// others.
    space_wanted: AtomicU32,
    _pad: [u32; 29],
}

/// The state of one process.
#[derive(FromBytes, Debug)]
#[repr(C, align(128))]
pub(super) struct Sleeper {
    /// Not 0 while the process sleeps and has to be woken.
    asleep: AtomicU32,
    _pad: [u32; 31],
}

const _: () = assert!(size_of::<State>() == 128 && size_of::<Sleeper>() == 128);
const _: () = assert!(offset_of!(State, space_wanted) == 8);

/// The doorbells of all slots.
#[derive(Debug)]
pub struct Doorbells {
    state: &'static State,
    bells: Vec<Doorbell>,
}

impl Doorbells {
    /// The section's length in bytes, for `slots` slots.
    pub(super) fn bytes(slots: usize) -> usize {
        size_of::<State>().saturating_add(slots.saturating_mul(size_of::<Sleeper>()))
    }

    pub(super) fn new(
        (state, sleepers): (&'static State, &'static [Sleeper]),
    ) -> nix::Result<Doorbells> {
        let bells = sleepers.iter().map(|sleeper| Doorbell::new(&sleeper.asleep));
        Ok(Doorbells { state, bells: bells.collect::<Result<_, _>>()? })
    }

    /// The doorbell of the process in `slot`.
    pub fn get(&self, slot: Slot) -> &Doorbell {
        &self.bells[slot.index()]
    }

    /// The descriptors of all doorbells, in ascending order of their numbers: each got the lowest
    /// free number, and none was closed in between. A process needs all of them, including those of
    /// slots that are not used yet, because it is not known when a process is forked which
    /// processes it will have to wake.
    pub fn descriptors(&'static self) -> impl Iterator<Item = BorrowedFd<'static>> + Clone {
        self.bells.iter().map(AsFd::as_fd)
    }

    /// Wakes the process in `slot` if it sleeps.
    pub fn ring(&self, slot: Slot) {
        self.get(slot).ring();
    }

    /// Rings all doorbells, whether the processes sleep or not: a process died that may have had to
    /// wake them.
    pub fn ring_all(&self) {
        self.used().for_each(Doorbell::ring_anyway);
    }

    /// Requests that the next process that frees space wakes all processes. The caller must then
    /// try once more, and again whenever [`Doorbells::is_space_wanted`] is false.
    pub fn request_space(&self) {
        self.state.space_wanted.store(1, Ordering::Relaxed);
        // SYNC space: pairs with the fence in `space_was_freed`. Either the process that frees
        // space sees the request, or our next try sees the space.
        fence(Ordering::SeqCst);
    }

    /// Whether space was requested and no process has freed any since.
    pub fn is_space_wanted(&self) -> bool {
        self.state.space_wanted.load(Ordering::Relaxed) != 0
    }

    /// Wakes the processes that wait for space, after a cursor or the snapshot has moved.
    pub(super) fn space_was_freed(&self) {
        // SYNC space: between the store of the cursor and the load of the flag. A process that
        // finds the ring full sets the flag and looks again.
        fence(Ordering::SeqCst);
        if self.state.space_wanted.load(Ordering::Relaxed) != 0
            && self.state.space_wanted.swap(0, Ordering::Relaxed) != 0
        {
            self.used().for_each(Doorbell::ring);
        }
    }

    /// Records that a process starts in a slot. Called with the log's lock held.
    pub(super) fn use_slot(&self, slot: Slot) {
        self.state.slots_used.fetch_max(slot.index() as u64 + 1, Ordering::AcqRel);
    }

    /// One more than the highest slot in which a process was ever started. With a slot for each
    /// connection, most slots are never used.
    pub(super) fn slots_used(&self) -> usize {
        self.state.slots_used.load(Ordering::Acquire) as usize
    }

    /// The doorbells of the slots below [`Doorbells::slots_used`].
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
    fn space_stays_wanted_until_a_cursor_has_moved() {
        let segment = small_segment(1 << 16, 1);
        let (start, _) = segment.join(Slot::at(0)).unwrap();
        segment.doorbells.request_space();
        segment.cursors.publish(Slot::at(0), start);
        assert!(segment.doorbells.is_space_wanted(), "the same cursor again frees no space");
        segment.cursors.publish(Slot::at(0), Sequence(start.0 + 1));
        assert!(!segment.doorbells.is_space_wanted());
    }
}
