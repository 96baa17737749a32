//! Who doesn't move. A process that lives but is stuck holds the others up: by the lock, or by a cursor that keeps the ring full.
//!
//! It looks from outside, at numbers in shared memory, and needs no clock of those it watches. Stalled is who has kept the same
//! number for two seconds while it should have changed: the log's lock in the same hold, a cursor behind the tail, a thread in the
//! same turn. Waiting for room, for the lock or for a peer is done between turns and counts as nothing.
//! One at a time is killed, the lock's owner first; then everyone gets two seconds again. With `--sched idle` it is more than two.

use super::children::Fault;
use crate::event_log::{EventLog, Thread};
use crate::ipc::mutex::Holder;
use forkchat_common::ids::{Sequence, Slot};
use std::time::{Duration, Instant};

/// How long the same number may stay.
pub(super) const STALLED: Duration = Duration::from_secs(2);
/// The same for those who run only when nobody else wants to. Who hardly gets the CPU isn't stuck, and its successor wouldn't get it either.
pub(super) const STALLED_IDLE: Duration = Duration::from_secs(20);
/// And it must have been seen so often: when the supervisor itself didn't run, nobody else is to blame.
const LOOKS_MIN: u32 = 4;
/// Looks closer together than this are one.
const LOOK_APART: Duration = Duration::from_millis(200);

/// What was seen of everyone.
#[derive(Debug)]
pub(super) struct Watchdog {
    stalled: Duration,
    lock: Watch<Holder>,
    slots: Vec<SlotWatch>,
    last_look: Option<Instant>,
}

#[derive(Clone, Debug, Default)]
struct SlotWatch {
    /// With the beat of the thread that reads: one that takes many sessions over is at work.
    cursor: Watch<(Sequence, u64)>,
    threads: [Watch<u64>; 2],
}

/// One number, and since when it has been the same.
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
    /// Sees the number, `None` if it may stay. Whether it has been the same for too long.
    fn see(&mut self, number: Option<T>, now: Instant, stalled: Duration) -> bool {
        self.seen = match (number, self.seen) {
            (None, _) => None,
            (Some(number), Some((last, since, looks))) if last == number => Some((last, since, looks + 1)),
            (Some(number), _) => Some((number, now, 1)),
        };
        self.seen.is_some_and(|(_, since, looks)| now.duration_since(since) >= stalled && looks >= LOOKS_MIN)
    }
}

impl Watchdog {
    /// Has seen nothing yet of so many slots. A number may stay the same for `stalled`.
    pub fn new(slots: usize, stalled: Duration) -> Watchdog {
        Watchdog { stalled, lock: Watch::default(), slots: vec![SlotWatch::default(); slots], last_look: None }
    }

    /// Another process is in this slot.
    pub fn forget(&mut self, slot: Slot) {
        self.slots[slot.index()] = SlotWatch::default();
    }

    /// Whether the next look is one: a moment has passed since the last.
    pub fn is_due(&self, now: Instant) -> bool {
        self.last_look.is_none_or(|last| now.duration_since(last) >= LOOK_APART)
    }

    /// Looks at everyone that is alive. The one to be killed, and why.
    pub fn look(&mut self, log: &EventLog, alive: &[Slot], now: Instant) -> Option<(Slot, Fault)> {
        if !self.is_due(now) {
            return None;
        }
        self.last_look = Some(now);
        let verdict = self.judge(log, alive, now);
        if verdict.is_some() {
            // Whoever waited for it shall not be blamed for that.
            *self = Watchdog { last_look: self.last_look, ..Watchdog::new(self.slots.len(), self.stalled) };
        }
        verdict
    }

    fn judge(&mut self, log: &EventLog, alive: &[Slot], now: Instant) -> Option<(Slot, Fault)> {
        let (holder, stalled) = (log.lock_holder(), self.stalled);
        let is_lock_stalled = self.lock.see(holder, now, stalled);
        let tail = log.tail();
        let (mut slowest, mut busy) = (None, None);
        for &slot in alive {
            let watch = &mut self.slots[slot.index()];
            let behind = log.cursor(slot).filter(|&cursor| cursor < tail);
            let beat = log.beat(slot, Thread::Send);
            if watch.cursor.see(behind.map(|cursor| (cursor, beat)), now, stalled) {
                slowest = slowest.min(Some((behind, slot))).or(Some((behind, slot)));
            }
            for (thread, watch) in [Thread::Receive, Thread::Send].into_iter().zip(&mut watch.threads) {
                if watch.see(log.busy_beat(slot, thread), now, stalled) {
                    busy = Some(slot);
                }
            }
        }
        let owner = holder.map(|holder| Slot(holder.owner as u16)).filter(|owner| is_lock_stalled && alive.contains(owner));
        let owner = owner.map(|slot| (slot, Fault::KeptLock(stalled)));
        owner.or(slowest.map(|(_, slot)| (slot, Fault::ReadNothing(stalled)))).or(busy.map(|slot| (slot, Fault::Busy(stalled))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::{Batch, Geometry};
    use forkchat_common::ids::Micros;

    const ALIVE: [Slot; 2] = [Slot(0), Slot(1)];

    fn log() -> &'static EventLog {
        let log = EventLog::create(Geometry { ring_bytes: 1 << 16, slots: 2, sessions_max: 1, snapshot_bytes_max: 8 }).unwrap();
        ALIVE.iter().for_each(|&slot| drop(log.join(slot).unwrap()));
        log
    }

    /// Looks every quarter of a second for so long; the first verdict and when it came.
    fn watch(log: &EventLog, millis: u64, meanwhile: impl FnMut()) -> Option<(Slot, Fault, u64)> {
        watch_with(Watchdog::new(2, STALLED), log, millis, meanwhile)
    }

    fn watch_with(mut watchdog: Watchdog, log: &EventLog, millis: u64, mut meanwhile: impl FnMut()) -> Option<(Slot, Fault, u64)> {
        let start = Instant::now();
        (0..millis / 250).find_map(|look| {
            meanwhile();
            let verdict = watchdog.look(log, &ALIVE, start + Duration::from_millis(look * 250));
            verdict.map(|(slot, why)| (slot, why, look * 250))
        })
    }

    fn append(log: &EventLog) {
        let mut batch = Batch::default();
        batch.push(|payload| payload.extend_from_slice(b"news"));
        log.append(Slot(0), &batch, Micros(0)).unwrap();
    }

    #[test]
    fn idle_processes_are_left_alone() {
        assert_eq!(watch(log(), 60_000, || ()), None);
    }

    #[test]
    fn who_keeps_the_lock_is_killed_before_those_who_wait_for_it() {
        let log = log();
        append(log);
        let _held = log.hold_lock(Slot(1));
        assert_eq!(watch(log, 10_000, || ()), Some((Slot(1), Fault::KeptLock(STALLED), 2_000)));
    }

    #[test]
    fn who_reads_nothing_is_killed_and_who_is_slow_is_not() {
        let log = log();
        let mut read = log.tail();
        append(log);
        let moves = || {
            append(log);
            read = Sequence(read.0 + 1);
            log.publish_position(Slot(0), read);
        };
        assert_eq!(watch(log, 10_000, moves), Some((Slot(1), Fault::ReadNothing(STALLED), 2_000)));
    }

    #[test]
    fn who_takes_many_sessions_over_counts_as_moving_while_its_beat_changes_and_is_killed_when_that_stops_too() {
        let log = log();
        append(log);
        log.publish_position(Slot(0), log.tail());
        let mut sessions = 0..39;
        // It begins a turn for each session, and applies nothing meanwhile.
        let takes_over = || {
            if sessions.next().is_some() {
                log.begin_turn(Slot(1), Thread::Send);
            }
        };
        // The last beat is seen after 38 quarters of a second.
        assert_eq!(watch(log, 20_000, takes_over), Some((Slot(1), Fault::ReadNothing(STALLED), 38 * 250 + 2_000)));
    }

    #[test]
    fn who_spins_in_one_turn_is_killed() {
        let log = log();
        log.begin_turn(Slot(0), Thread::Receive);
        let busy = || {
            log.begin_turn(Slot(1), Thread::Send);
        };
        assert_eq!(watch(log, 10_000, busy), Some((Slot(0), Fault::Busy(STALLED), 2_000)));
    }

    #[test]
    fn who_hardly_gets_the_cpu_has_more_time() {
        let log = log();
        log.begin_turn(Slot(0), Thread::Receive);
        let verdict = watch_with(Watchdog::new(2, STALLED_IDLE), log, 60_000, || ());
        assert_eq!(verdict, Some((Slot(0), Fault::Busy(STALLED_IDLE), 20_000)));
    }

    #[test]
    fn what_a_predecessor_was_doing_is_not_held_against_its_successor() {
        let log = log();
        log.begin_turn(Slot(0), Thread::Receive);
        log.rest_threads(Slot(0));
        assert_eq!(watch(log, 10_000, || ()), None);
    }

    #[test]
    fn a_supervisor_that_did_not_run_blames_nobody() {
        let log = log();
        log.begin_turn(Slot(0), Thread::Send);
        let (mut watchdog, start) = (Watchdog::new(2, STALLED), Instant::now());
        assert_eq!(watchdog.look(log, &ALIVE, start), None);
        assert_eq!(watchdog.look(log, &ALIVE, start + Duration::from_secs(60)), None);
    }
}
