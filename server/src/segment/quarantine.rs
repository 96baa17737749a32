//! What each thread works on, stored before it touches the bytes. So the supervisor knows at what a
//! process crashed. Also the list of what is quarantined.
//!
//! | two processes crashed at | then |
//! |---|---|
//! | input that is in no record yet | the session's input is never read again |
//! | a record | the record is applied, but processes that apply it from then on deliver nothing of it |
//! | that record, without delivering it | the record is skipped: applying it crashes every copy, so no process can be past it |
//!
//! In each case the session that sent it is closed, and its client is sent the reason. Rendering
//! differs from copy to copy, since each worker renders for its own sessions only. So one worker
//! may skip the delivery, and all still have the same state.
//!
//! ```text
//! byte   0          8              16                        4736
//!        ┌──────────┬──────────────┬───────────────────────┬─┬──────────────────────────────┬──
//!        │ count    │ last_record  │ list: 64 places of 72 │ │ slot 0: two places of 72     │ …
//!        │          │              │ bytes                 │ │ bytes, 112 bytes unused      │
//!        └──────────┴──────────────┴───────────────────────┴─┴──────────────────────────────┴──
//! ```
//!
//! A place is four words, written as one ([`Switched`]): its kind, 0 for none; the session's id;
//! the input's offset or the record's sequence; the treatment.

use super::heartbeats::Thread;
use crate::ipc::value::Switched;
use forkchat_common::ids::{Sequence, SessionId, Slot};
use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, Ordering};
use zerocopy::FromBytes;

/// Quarantined places that are remembered. A place lies no further back than the ring, and each
/// costs two deaths.
const QUARANTINE_MAX: usize = 64;

/// What a thread is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Input of a session, from this offset on. It is in no record yet.
    Input {
        /// Whose.
        session: SessionId,
        /// Where in the session's input.
        offset: u64,
    },
    /// A record.
    Record {
        /// Where.
        sequence: Sequence,
        /// The session that sent it; none until it is decoded.
        session: SessionId,
        /// What is done with it.
        treatment: Treatment,
    },
}

/// What is done with a record. Later ones are for those whom the earlier ones didn't help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Treatment {
    /// What is always done.
    Apply,
    /// It is applied, and nothing of it is delivered.
    Mute,
    /// Nothing.
    Skip,
}

impl Place {
    /// The session that brought it about.
    pub fn session(self) -> SessionId {
        match self {
            Place::Input { session, .. } | Place::Record { session, .. } => session,
        }
    }

    /// Whether it is the same place, treated the same way.
    pub fn is_same(self, other: Place) -> bool {
        match (self, other) {
            (
                Place::Record { sequence, treatment, .. },
                Place::Record { sequence: other, treatment: others, .. },
            ) => sequence == other && treatment == others,
            (one, other) => one == other,
        }
    }

    /// Whether it is the same record, treated in whichever way.
    pub fn is_same_record(self, other: Place) -> bool {
        matches!((self, other), (Place::Record { sequence, .. }, Place::Record { sequence: other, .. }) if sequence == other)
    }

    fn words(self) -> [u64; 4] {
        match self {
            Place::Input { session, offset } => [1, session.0, offset, 0],
            Place::Record { sequence, session, treatment } => {
                [2, session.0, sequence.0, treatment as u64]
            }
        }
    }

    fn of([kind, session, place, treatment]: [u64; 4]) -> Option<Place> {
        let session = SessionId(session);
        match kind {
            1 => Some(Place::Input { session, offset: place }),
            2 => Some(Place::Record {
                sequence: Sequence(place),
                session,
                treatment: Treatment::of(treatment),
            }),
            _ => None,
        }
    }
}

impl Treatment {
    fn of(word: u64) -> Treatment {
        match word {
            0 => Treatment::Apply,
            1 => Treatment::Mute,
            _ => Treatment::Skip,
        }
    }

    /// What comes next when two processes have crashed at this.
    fn next(self) -> Treatment {
        match self {
            Treatment::Apply => Treatment::Mute,
            Treatment::Mute | Treatment::Skip => Treatment::Skip,
        }
    }
}

#[derive(FromBytes, Debug)]
#[repr(C, align(128))]
pub(super) struct State {
    /// How many places were quarantined; the latest are in `list`. Written by the supervisor alone.
    count: AtomicU64,
    /// No record after this is quarantined.
    last_record: AtomicU64,
    list: [Switched<4>; QUARANTINE_MAX],
    _pad: [u64; 14],
}

/// Of one process.
#[derive(FromBytes, Debug)]
#[repr(C, align(128))]
pub(super) struct Row {
    /// For each thread: what it is at.
    places: [Switched<4>; 2],
    _pad: [u64; 14],
}

const _: () = assert!(size_of::<State>() == 4736 && size_of::<Row>() == 256);
const _: () = assert!(offset_of!(State, last_record) == 8 && offset_of!(State, list) == 16);

/// What all threads are at, and what is quarantined.
#[derive(Debug)]
pub struct Quarantine {
    state: &'static State,
    rows: &'static [Row],
}

impl Quarantine {
    /// The section's length, for so many slots.
    pub(super) fn bytes(slots: usize) -> usize {
        size_of::<State>().saturating_add(slots.saturating_mul(size_of::<Row>()))
    }

    pub(super) fn new((state, rows): (&'static State, &'static [Row])) -> Quarantine {
        Quarantine { state, rows }
    }

    /// A thread is about to touch what is at a place.
    pub fn enter(&self, slot: Slot, thread: Thread, place: Place) {
        self.of(slot, thread).store(place.words());
    }

    /// It has touched it, and lives.
    pub fn leave(&self, slot: Slot, thread: Thread) {
        self.of(slot, thread).store([0; 4]);
    }

    /// Another process is about to begin in a slot: what its predecessor's threads were at says
    /// nothing of it.
    pub fn rest(&self, slot: Slot) {
        self.leave(slot, Thread::Receive);
        self.leave(slot, Thread::Send);
    }

    /// What a thread is at, or was at when it died.
    pub fn place(&self, slot: Slot, thread: Thread) -> Option<Place> {
        Place::of(self.of(slot, thread).load().0)
    }

    /// Whether a process that comes to a place now finds it treated in another way: a crash there
    /// says nothing new.
    pub fn is_outdated(&self, place: Place) -> bool {
        matches!(place, Place::Record { sequence, treatment, .. } if treatment < self.treatment(sequence))
    }

    /// Two processes have crashed at a place. The supervisor alone decides that.
    /// Returns what is done with it from now on.
    pub fn add(&self, place: Place) -> Place {
        let place = match place {
            Place::Record { sequence, session, treatment } => {
                Place::Record { sequence, session, treatment: treatment.next() }
            }
            input @ Place::Input { .. } => input,
        };
        if let Place::Record { sequence, .. } = place {
            self.state.last_record.fetch_max(sequence.0, Ordering::Relaxed);
        }
        let count = self.state.count.load(Ordering::Relaxed);
        self.state.list[count as usize % QUARANTINE_MAX].store(place.words());
        // SYNC quarantine: a process that sees the count sees the place.
        self.state.count.store(count + 1, Ordering::Release);
        place
    }

    /// How many places were quarantined so far.
    pub fn count(&self) -> u64 {
        // SYNC quarantine.
        self.state.count.load(Ordering::Acquire)
    }

    /// The quarantined places, of each record the latest treatment last.
    pub fn list(&self) -> impl Iterator<Item = Place> {
        let count = self.count();
        let first = count.saturating_sub(QUARANTINE_MAX as u64);
        (first..count).filter_map(|index| {
            Place::of(self.state.list[index as usize % QUARANTINE_MAX].load().0)
        })
    }

    /// What is to be done with a record.
    pub fn treatment(&self, record: Sequence) -> Treatment {
        if record.0 > self.state.last_record.load(Ordering::Relaxed) {
            return Treatment::Apply;
        }
        let here = self.list().filter_map(|place| match place {
            Place::Record { sequence, treatment, .. } if sequence == record => Some(treatment),
            _ => None,
        });
        here.last().unwrap_or(Treatment::Apply)
    }

    fn of(&self, slot: Slot, thread: Thread) -> &Switched<4> {
        &self.rows[slot.index()].places[thread as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::tests::{ME, small_segment};

    #[test]
    fn a_record_is_applied_then_muted_then_skipped() {
        let segment = small_segment(1 << 16, 1);
        let (record, session) = (Sequence(77), SessionId::new(1, 3));
        let mut seen = Vec::new();
        for count in 0..3 {
            let treatment = segment.quarantine.treatment(record);
            seen.push(treatment);
            segment.quarantine.enter(
                ME,
                Thread::Send,
                Place::Record { sequence: record, session, treatment },
            );
            let place = segment.quarantine.place(ME, Thread::Send).unwrap();
            assert_eq!((place.session(), segment.quarantine.count()), (session, count));
            segment.quarantine.add(place);
        }
        assert_eq!(seen, [Treatment::Apply, Treatment::Mute, Treatment::Skip]);
        assert_eq!(segment.quarantine.treatment(Sequence(78)), Treatment::Apply);
        segment.rest_threads(ME);
        assert_eq!(segment.quarantine.place(ME, Thread::Send), None);
    }
}
