//! Which processes are to be woken for what this worker has recorded. For what other processes have
//! recorded these wake the others themselves; if one dies before it has, the supervisor wakes all.

use crate::segment::Doorbells;
use forkchat_common::ids::Slot;

/// The processes to be woken.
#[derive(Debug)]
pub(super) struct Wakes {
    me: Slot,
    /// Whether this worker has recorded what is being applied.
    is_own: bool,
    /// By slot: whether a session that its worker serves receives something.
    workers: Vec<bool>,
    /// A request waits for the journal.
    journal: bool,
}

impl Wakes {
    /// None yet, by the worker in slot `me`.
    pub fn new(me: Slot) -> Wakes {
        Wakes { me, is_own: false, workers: Vec::new(), journal: false }
    }

    /// A record is applied that the worker in the `author`'s slot has appended; `None` if it belongs
    /// to no session.
    pub fn begin(&mut self, author: Option<Slot>) {
        self.is_own = author.is_none_or(|author| author == self.me);
    }

    /// Whether this worker has recorded what is being applied.
    pub fn is_own(&self) -> bool {
        self.is_own
    }

    /// A session that the worker in `slot` serves receives something.
    pub fn note(&mut self, slot: Slot) {
        if self.is_own {
            if self.workers.len() <= slot.index() {
                self.workers.resize(slot.index() + 1, false);
            }
            self.workers[slot.index()] = true;
        }
    }

    /// A request waits for the journal.
    pub fn note_request(&mut self) {
        self.journal |= self.is_own;
    }

    /// Wakes them.
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
