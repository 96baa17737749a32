//! Finds processes that hang. A running process that is stuck blocks the others: it holds the log's
//! lock, or its cursor keeps the ring full.
//!
//! The watchdog reads numbers in shared memory, and needs no clock of the processes that it
//! watches. A process is stalled if a number that should have changed has stayed the same for two
//! seconds: the lock is still in the same hold; a cursor before the tail has not moved, nor has the
//! beat of the thread that reads the log; or a thread is still in the same turn. Long waits, for
//! room, for the lock or for a peer, happen between turns and do not count.
//!
//! A thread may also hang between two turns, where it should wake up when there is work. That is
//! not visible in these numbers. So the supervisor challenges each process now and then, and both
//! threads of the process have to answer. Where a thread may wait for a disk or a client without
//! limit, the process's main loop answers for it. An idle process has to be woken three times for
//! that, which takes some 100 µs of CPU. So only a few processes are challenged at a time. That is
//! 0.005 % of a CPU for each process, and at most 0.4 % together; with a thousand processes a round
//! takes half a minute.
//!
//! Only one process at a time is killed, the lock's owner first. Then all others get two seconds
//! again.
//!
//! A process that waits for the CPU is not stuck, and its successor would not get the CPU any
//! sooner. On a machine that is busy with other programs, and above all with `--nice` or `--sched
//! idle`, it may wait for seconds. The kernel reports how long its threads ran, and how long they
//! waited to run: see `cpu_use`.

use super::child::Fault;
use super::cpu_use::CpuUse;
use crate::ipc::mutex::Holder;
use crate::segment::{Segment, Thread};
use forkchat_common::ids::{Sequence, Slot};
use std::time::{Duration, Instant};

/// How long a number may stay the same.
const STALLED_AFTER: Duration = Duration::from_secs(2);
/// How long a process may wait for the CPU. All others wait for it meanwhile.
const STARVED_MAX: Duration = Duration::from_secs(20);
/// The shortest time between two challenges of a process.
const CHALLENGE_INTERVAL: Duration = Duration::from_secs(2);
/// How many processes are challenged in one check.
const CHALLENGES_PER_CHECK: usize = 8;
/// In how many checks a number must have been the same. When the supervisor itself didn't run for a
/// while, the others are not to blame.
const CHECKS_MIN: u32 = 4;
/// The shortest time between two checks.
const CHECK_INTERVAL_MIN: Duration = Duration::from_millis(200);

/// What the watchdog has seen of all processes.
#[derive(Debug)]
pub(super) struct Watchdog {
    lock: Watch<Holder>,
    slots: Vec<SlotWatch>,
    /// The slot at which the next round of challenges begins.
    challenge_next: usize,
    last_check: Option<Instant>,
}

#[derive(Clone, Debug, Default)]
struct SlotWatch {
    /// The cursor, with the beat of the send thread: a worker that takes over many sessions makes
    /// progress though its cursor stays.
    cursor: Watch<(Sequence, u64)>,
    threads: [Watch<u64>; 2],
    /// Unanswered challenges, by thread.
    answers: [Watch<(u64, u64)>; 2],
    challenged_at: Option<Instant>,
    /// How much CPU time it had used when its oldest standstill was noticed, and when that was.
    standstill: Option<(Instant, CpuUse)>,
}

/// A number, since when it has been the same, and in how many checks.
#[derive(Clone, Debug)]
struct Watch<T> {
    seen: Option<(T, Instant, u32)>,
}

impl<T> Default for Watch<T> {
    fn default() -> Self {
        Watch { seen: None }
    }
}

impl<T: PartialEq + Copy> Watch<T> {
    /// Records the number; `None` if it may stay the same. Returns whether it has been the same for
    /// too long.
    fn update(&mut self, number: Option<T>, now: Instant) -> bool {
        self.seen = match (number, self.seen) {
            (None, _) => None,
            (Some(number), Some((last, since, checks))) if last == number => {
                Some((last, since, checks + 1))
            }
            (Some(number), _) => Some((number, now, 1)),
        };
        self.seen.is_some_and(|(_, since, checks)| {
            now.duration_since(since) >= STALLED_AFTER && checks >= CHECKS_MIN
        })
    }

    /// Since when it has been the same, if it was already in the previous check.
    fn unchanged_since(&self) -> Option<Instant> {
        self.seen.filter(|(_, _, checks)| *checks > 1).map(|(_, since, _)| since)
    }
}

impl Watchdog {
    /// A watchdog for this many slots that has seen nothing yet.
    pub fn new(slots: usize) -> Watchdog {
        Watchdog {
            lock: Watch::default(),
            slots: vec![SlotWatch::default(); slots],
            challenge_next: 0,
            last_check: None,
        }
    }

    /// Forgets what was seen of a slot, since it has another process now.
    pub fn reset(&mut self, slot: Slot) {
        self.slots[slot.index()] = SlotWatch::default();
        // A successor does not hold the lock that its predecessor died with.
        if self.lock.seen.is_some_and(|(holder, ..)| holder.owner == slot.index() as u32) {
            self.lock = Watch::default();
        }
    }

    /// Whether enough time has passed for another check.
    pub fn is_due(&self, now: Instant) -> bool {
        self.last_check.is_none_or(|last| now.duration_since(last) >= CHECK_INTERVAL_MIN)
    }

    /// Checks all processes in `alive`. `used` returns how much CPU time a process has used, if the
    /// kernel reports it. Returns the process to be killed, and why.
    pub fn check(
        &mut self,
        segment: &Segment,
        alive: &[Slot],
        used: impl Fn(Slot) -> Option<CpuUse>,
        now: Instant,
    ) -> Option<(Slot, Fault)> {
        if !self.is_due(now) {
            return None;
        }
        self.last_check = Some(now);
        let verdict = self.find_stalled(segment, alive, used, now);
        if verdict.is_some() {
            // Others may have stalled only because they waited for this process, so all start
            // afresh.
            *self = Watchdog {
                last_check: self.last_check,
                challenge_next: self.challenge_next,
                ..Watchdog::new(self.slots.len())
            };
        }
        self.challenge(segment, alive, now);
        verdict
    }

    /// Challenges the next few processes.
    fn challenge(&mut self, segment: &Segment, alive: &[Slot], now: Instant) {
        let start = alive.partition_point(|slot| slot.index() < self.challenge_next);
        let (before, after) = alive.split_at(start);
        let is_due = |slot: &&Slot| {
            let is_long_ago = self.slots[slot.index()]
                .challenged_at
                .is_none_or(|at| now.duration_since(at) >= CHALLENGE_INTERVAL);
            let has_answered = [Thread::Receive, Thread::Send]
                .into_iter()
                .all(|thread| segment.heartbeats.unanswered(**slot, thread).is_none());
            // A process that hasn't begun to read has no loop yet that could answer.
            is_long_ago && has_answered && segment.cursors.get(**slot).is_some()
        };
        let due: Vec<Slot> =
            after.iter().chain(before).filter(is_due).take(CHALLENGES_PER_CHECK).copied().collect();
        for slot in due {
            self.slots[slot.index()].challenged_at = Some(now);
            self.challenge_next = slot.index() + 1;
            segment.heartbeats.challenge(slot, segment.doorbells);
        }
    }

    /// Returns the process to be killed, if any is stalled: the lock's owner first, then the reader
    /// that is furthest behind, then a process with a busy or a frozen thread. Returns none while
    /// the lock's owner waits for the CPU.
    fn find_stalled(
        &mut self,
        segment: &Segment,
        alive: &[Slot],
        used: impl Fn(Slot) -> Option<CpuUse>,
        now: Instant,
    ) -> Option<(Slot, Fault)> {
        let holder = segment.log.lock_holder();
        let is_lock_stalled = self.lock.update(holder, now);
        let tail = segment.log.tail();
        let owner = holder
            .map(|holder| Slot::at(holder.owner as u16))
            .filter(|owner| alive.contains(owner));
        let (mut slowest, mut busy, mut frozen, mut is_owner_starved) = (None, None, None, false);
        for &slot in alive {
            let watch = &mut self.slots[slot.index()];
            let lagging = segment.cursors.get(slot).filter(|&cursor| cursor < tail);
            let beat = segment.heartbeats.beat(slot, Thread::Send);
            let reads_nothing = watch.cursor.update(lagging.map(|cursor| (cursor, beat)), now);
            let mut is_busy = false;
            for (thread, watch) in
                [Thread::Receive, Thread::Send].into_iter().zip(&mut watch.threads)
            {
                is_busy |= watch.update(segment.heartbeats.busy_beat(slot, thread), now);
            }
            let mut is_frozen = false;
            for (thread, watch) in
                [Thread::Receive, Thread::Send].into_iter().zip(&mut watch.answers)
            {
                is_frozen |= watch.update(segment.heartbeats.unanswered(slot, thread), now);
            }
            let has_lock = owner == Some(slot);
            let lock_kept_since = self.lock.unchanged_since().filter(|_| has_lock);
            watch.record_cpu_use(lock_kept_since, || used(slot), now);
            let is_stalled = reads_nothing || is_busy || is_frozen || has_lock && is_lock_stalled;
            if is_stalled && watch.is_starved(|| used(slot), now) {
                is_owner_starved |= has_lock;
                continue;
            }
            if reads_nothing {
                slowest = slowest.min(Some((lagging, slot))).or(Some((lagging, slot)));
            }
            if is_busy {
                busy = Some(slot);
            }
            if is_frozen {
                frozen = Some(slot);
            }
        }
        if is_owner_starved {
            // The others wait for the lock, and its owner waits for the CPU.
            return None;
        }
        let owner = owner.filter(|_| is_lock_stalled).map(|slot| (slot, Fault::KeptLock));
        owner
            .or(slowest.map(|(_, slot)| (slot, Fault::ReadNothing)))
            .or(busy.map(|slot| (slot, Fault::Busy)))
            .or(frozen.map(|slot| (slot, Fault::Frozen)))
    }
}

impl SlotWatch {
    /// Records the CPU time when the process is first seen to stand still in any way, and again when
    /// the oldest standstill began after that.
    fn record_cpu_use(
        &mut self,
        lock_kept_since: Option<Instant>,
        used: impl Fn() -> Option<CpuUse>,
        now: Instant,
    ) {
        let threads = self.threads.iter().filter_map(Watch::unchanged_since);
        let answers = self.answers.iter().filter_map(Watch::unchanged_since);
        let others = [lock_kept_since, self.cursor.unchanged_since()].into_iter().flatten();
        self.standstill = match threads.chain(answers).chain(others).min() {
            None => None,
            Some(oldest) => self
                .standstill
                .filter(|&(noticed_at, _)| oldest <= noticed_at)
                .or_else(|| used().map(|used| (now, used))),
        };
    }

    /// Whether it has mostly waited for the CPU since its standstill was noticed, and not for too
    /// long. True also while that is too short a time to tell.
    fn is_starved(&self, used: impl Fn() -> Option<CpuUse>, now: Instant) -> bool {
        let (Some((since, before)), Some(used)) = (self.standstill, used()) else { return false };
        let (elapsed, ran, waited) = (
            now.duration_since(since),
            used.ran.saturating_sub(before.ran),
            used.waited.saturating_sub(before.waited),
        );
        if elapsed < STALLED_AFTER / 2 {
            return true;
        }
        elapsed < STARVED_MAX && ran < elapsed / 10 && (used.is_runnable || waited > elapsed / 2)
    }
}

#[cfg(test)]
mod tests;
