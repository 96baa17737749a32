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

use super::{EventLog, Sequence, Slot, Thread};
use forkchat_common::ids::SessionId;
use std::sync::atomic::Ordering;

/// Quarantined places that are remembered. A place lies no further back than the ring, and each
/// costs two deaths.
pub(super) const QUARANTINE_MAX: usize = 64;

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
        /// Whose; nobody's until it is decoded.
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
    /// It is applied, and nobody is told anything.
    ApplySilently,
    /// Nothing.
    PassOver,
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
            1 => Treatment::ApplySilently,
            _ => Treatment::PassOver,
        }
    }

    /// What comes next when this was somebody's death twice.
    fn next(self) -> Treatment {
        match self {
            Treatment::Apply => Treatment::ApplySilently,
            Treatment::ApplySilently | Treatment::PassOver => Treatment::PassOver,
        }
    }
}

impl EventLog {
    /// A thread is about to touch what is at a place.
    pub fn enter(&self, slot: Slot, thread: Thread, place: Place) {
        self.slots[slot.index()].places[thread as usize].store(place.words());
    }

    /// It has touched it, and lives.
    pub fn leave(&self, slot: Slot, thread: Thread) {
        self.slots[slot.index()].places[thread as usize].store([0; 4]);
    }

    /// What a thread is at, or was at when it died.
    pub fn place(&self, slot: Slot, thread: Thread) -> Option<Place> {
        Place::of(self.slots[slot.index()].places[thread as usize].load().0)
    }

    /// Whether whoever comes to a place now finds it treated in another way: to have died there
    /// says nothing new.
    pub fn is_outdated(&self, place: Place) -> bool {
        matches!(place, Place::Record { sequence, treatment, .. } if treatment < self.treatment(sequence))
    }

    /// What is at a place has been somebody's death twice. The supervisor alone decides that.
    /// Returns what is done with it from now on.
    pub fn quarantine(&self, place: Place) -> Place {
        let place = match place {
            Place::Record { sequence, session, treatment } => {
                Place::Record { sequence, session, treatment: treatment.next() }
            }
            input @ Place::Input { .. } => input,
        };
        if let Place::Record { sequence, .. } = place {
            self.header.quarantined_to.fetch_max(sequence.0, Ordering::Relaxed);
        }
        let count = self.header.quarantined.load(Ordering::Relaxed);
        self.header.quarantine[count as usize % QUARANTINE_MAX].store(place.words());
        // SYNC quarantine: who sees the count sees the place.
        self.header.quarantined.store(count + 1, Ordering::Release);
        place
    }

    /// How many places were quarantined so far.
    pub fn quarantined(&self) -> u64 {
        // SYNC quarantine.
        self.header.quarantined.load(Ordering::Acquire)
    }

    /// The quarantined places, of each record the latest treatment last.
    pub fn quarantine_list(&self) -> impl Iterator<Item = Place> {
        let count = self.quarantined();
        let first = count.saturating_sub(QUARANTINE_MAX as u64);
        (first..count).filter_map(|index| {
            Place::of(self.header.quarantine[index as usize % QUARANTINE_MAX].load().0)
        })
    }

    /// What is to be done with a record.
    pub fn treatment(&self, record: Sequence) -> Treatment {
        if record.0 > self.header.quarantined_to.load(Ordering::Relaxed) {
            return Treatment::Apply;
        }
        let here = self.quarantine_list().filter_map(|place| match place {
            Place::Record { sequence, treatment, .. } if sequence == record => Some(treatment),
            _ => None,
        });
        here.last().unwrap_or(Treatment::Apply)
    }
}
