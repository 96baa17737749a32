//! Going on without a process that can't be started, that crashes again and again, or that was
//! killed and does not end.

use super::Supervisor;
use super::children::Role;
use crate::role::count;
use forkchat_common::ids::Slot;
use std::time::Instant;

impl Supervisor {
    /// Has the others go on without the processes that have been missing for too long; and a worker
    /// stand in for the journal, while that is one of them.
    pub(super) fn go_on_without_missing(&mut self) {
        for slot in self.children.take_abandoned(Instant::now()) {
            self.abandon(slot);
        }
        let journal = self.serving.journal;
        let is_missing = self.children.get(journal).is_given_up;
        if is_missing
            && self.post.holder().is_none()
            && let Some(slot) = self.children.to_stand_in()
        {
            log::warn!("{} makes the snapshots in place of the journal", self.children.name(slot));
            self.post.appoint(slot);
        }
        if let Some(slot) = self.post.holder() {
            // So that it notices, and looks whether a snapshot may be published by now.
            self.segment.doorbells.get(slot).ring_anyway();
        }
    }

    fn abandon(&mut self, slot: Slot) {
        let child = self.children.get(slot);
        let (name, is_worker) = (child.name(), child.role != Role::Journal);
        let what = match child.pid {
            None if child.crashes_on() => {
                format!("{name} keeps crashing: {} in a row", count(child.deaths as usize, "time"))
            }
            None => format!("{name} could not be started for 2 s"),
            Some(pid) => format!(
                "{name} (pid {pid}) was killed 2 s ago but has not ended yet, since the kernel still works for it"
            ),
        };
        let so = if is_worker {
            "its clients wait, and may be disconnected"
        } else {
            "new lines wait in the ring until it is back, as long as there is room"
        };
        log::error!("{what}; all other processes go on without it, and {so}");
        // Whoever was there is gone; or it was killed so long ago that none of its threads is on a
        // CPU any more. Then none executes another instruction of the program: whatever a thread
        // waits for in the kernel, it finds the signal before it leaves it.
        self.post.leave(slot, self.segment, self.serving.journal);
        self.segment.cursors.abandon(slot);
    }
}
