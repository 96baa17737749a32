//! Continuing without a process that can't be started, that crashes again and again, or that was
//! killed and does not end.

use super::children::Children;
use super::kinds::Work;
use crate::role::count;
use forkchat_common::ids::Slot;
use std::time::Instant;

/// Abandons the processes that have been missing for too long. While the journal is one of them,
/// appoints a worker to stand in for it.
pub(super) fn continue_without_missing(children: &mut Children, work: &Work) {
    for slot in children.take_abandoned(Instant::now()) {
        abandon(slot, children, work);
    }
    if children.get(Slot::JOURNAL).is_abandoned
        && work.post.holder().is_none()
        && let Some(slot) = children.stand_in_candidate()
    {
        log::warn!("{} makes the snapshots in place of the journal", children.name(slot));
        work.post.appoint(slot);
    }
    if let Some(slot) = work.post.holder() {
        // Wakes the stand-in, so that it notices its appointment and checks whether a snapshot may
        // be published.
        work.segment.doorbells.get(slot).ring_anyway();
    }
}

fn abandon(slot: Slot, children: &mut Children, work: &Work) {
    let child = children.get(slot);
    let name = child.name();
    let what = match child.pid {
        None if child.in_crash_loop().is_some() => {
            format!("{name} keeps crashing: {} in a row", count(child.crashes as usize, "time"))
        }
        None => format!("{name} could not be started for 2 s"),
        Some(pid) => format!(
            "{name} (pid {pid}) was killed 2 s ago but has not ended yet, since the kernel still \
             works for it"
        ),
    };
    let so = child.kind.while_missing;
    log::error!("{what}; all other processes go on without it, and {so}");
    // The process has ended, or was killed so long ago that none of its threads is on a CPU any
    // more. Such a thread executes no further instruction of the program, since it handles the
    // signal before it leaves the kernel.
    work.post.leave(slot, work.segment, Slot::JOURNAL);
    work.segment.cursors.abandon(slot);
}
