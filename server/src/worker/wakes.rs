//! Which processes are to be woken for the records of this worker. Each process wakes the others
//! for its own records. If it dies before it does, the supervisor wakes all processes.

use crate::segment::Doorbells;
use forkchat_common::ids::Slot;

/// The processes to be woken.
#[derive(Debug)]
pub(super) struct Wakes {
    me: Slot,
    /// Whether this worker appended the record that is being applied.
    is_own: bool,
    /// By slot: whether a session of that worker receives something.
    workers: Vec<bool>,
    /// Whether a request waits for the journal.
    journal: bool,
}

impl Wakes {
    /// No process yet, for the worker in slot `me`.
    pub fn new(me: Slot) -> Wakes {
        Wakes { me, is_own: false, workers: Vec::new(), journal: false }
    }

    /// Begins a record of the worker in the `author`'s slot. `None` if the record belongs to no
    /// session: then every worker wakes the others.
    pub fn begin(&mut self, author: Option<Slot>) {
        self.is_own = author.is_none_or(|author| author == self.me);
    }

    /// Whether this worker appended the record that is being applied.
    pub fn is_own(&self) -> bool {
        self.is_own
    }

    /// Notes that a session of the worker in `slot` receives something.
    pub fn note(&mut self, slot: Slot) {
        if self.is_own {
            if self.workers.len() <= slot.index() {
                self.workers.resize(slot.index() + 1, false);
            }
            self.workers[slot.index()] = true;
        }
    }

    /// Notes that a request waits for the journal.
    pub fn note_request(&mut self) {
        self.journal |= self.is_own;
    }

    /// Wakes the noted processes.
    pub fn ring(&mut self, doorbells: &Doorbells, journal: Slot) {
        for (slot, is_noted) in (0..).map(Slot::at).zip(&mut self.workers) {
            if std::mem::take(is_noted) {
                doorbells.ring(slot);
            }
        }
        if std::mem::take(&mut self.journal) {
            doorbells.ring(journal);
        }
    }
}
