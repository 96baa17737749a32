use super::*;
use crate::segment::{Batch, Geometry};
use forkchat_common::ids::Micros;

const ALIVE: [Slot; 2] = [Slot::at(0), Slot::at(1)];

fn segment() -> &'static Segment {
    let segment = Segment::create(Geometry {
        ring_bytes: 1 << 16,
        slots: 2,
        sessions_max: 1,
        snapshot_bytes_max: 8,
    })
    .unwrap();
    ALIVE.iter().for_each(|&slot| drop(segment.join(slot).unwrap()));
    segment
}

/// All processes answer their challenges.
fn live(segment: &Segment) {
    for slot in ALIVE {
        segment.heartbeats.answer(slot, Thread::Send);
        segment.heartbeats.answer(slot, Thread::Receive);
    }
}

/// Checks every quarter of a second for this long. Returns the first verdict and when it came.
fn watch(
    segment: &Segment,
    millis: u64,
    mut meanwhile: impl FnMut(),
) -> Option<(Slot, Fault, u64)> {
    let (mut watchdog, start) = (Watchdog::new(2), Instant::now());
    (0..millis / 250).find_map(|look| {
        live(segment);
        meanwhile();
        let verdict =
            watchdog.check(segment, &ALIVE, |_| None, start + Duration::from_millis(look * 250));
        verdict.map(|(slot, why)| (slot, why, look * 250))
    })
}

fn append(segment: &Segment) {
    let mut batch = Batch::default();
    batch.push(|payload| payload.extend_from_slice(b"news"));
    segment.log.append(Slot::at(0), &batch, Micros(0)).unwrap();
}

#[test]
fn idle_processes_are_left_alone() {
    assert_eq!(watch(segment(), 60_000, || ()), None);
}

#[test]
fn the_lock_owner_is_killed_before_the_processes_that_wait_for_it() {
    let segment = segment();
    append(segment);
    let _held = segment.log.hold_lock(Slot::at(1));
    assert_eq!(watch(segment, 10_000, || ()), Some((Slot::at(1), Fault::KeptLock, 2_000)));
}

#[test]
fn a_process_that_reads_nothing_is_killed_and_a_slow_one_is_not() {
    let segment = segment();
    let mut read = segment.log.tail();
    append(segment);
    let moves = || {
        append(segment);
        read = Sequence(read.0 + 1);
        segment.cursors.publish(Slot::at(0), read);
    };
    assert_eq!(watch(segment, 10_000, moves), Some((Slot::at(1), Fault::ReadNothing, 2_000)));
}

#[test]
fn a_worker_that_takes_over_sessions_is_left_alone_while_its_beat_changes() {
    let segment = segment();
    append(segment);
    segment.cursors.publish(Slot::at(0), segment.log.tail());
    let mut sessions = 0..39;
    // The worker begins a turn for each session, and applies no record meanwhile.
    let takes_over = || {
        if sessions.next().is_some() {
            segment.heartbeats.begin_turn(Slot::at(1), Thread::Send);
        }
    };
    // The last beat is seen after 38 quarters of a second.
    assert_eq!(
        watch(segment, 20_000, takes_over),
        Some((Slot::at(1), Fault::ReadNothing, 38 * 250 + 2_000))
    );
}

#[test]
fn a_process_that_spins_in_one_turn_is_killed() {
    let segment = segment();
    segment.heartbeats.begin_turn(Slot::at(0), Thread::Receive);
    let busy = || {
        segment.heartbeats.begin_turn(Slot::at(1), Thread::Send);
    };
    assert_eq!(watch(segment, 10_000, busy), Some((Slot::at(0), Fault::Busy, 2_000)));
}

#[test]
fn a_predecessors_turn_does_not_count_against_its_successor() {
    let segment = segment();
    segment.heartbeats.begin_turn(Slot::at(0), Thread::Receive);
    segment.reset_threads(Slot::at(0));
    assert_eq!(watch(segment, 10_000, || ()), None);
}

#[test]
fn a_process_is_killed_if_one_of_its_threads_does_not_answer() {
    for frozen in [Thread::Receive, Thread::Send] {
        let segment = segment();
        let (mut watchdog, start) = (Watchdog::new(2), Instant::now());
        let verdict = (0..40).map(|look| look * 250).find_map(|millis| {
            let verdict =
                watchdog.check(segment, &ALIVE, |_| None, start + Duration::from_millis(millis));
            segment.heartbeats.answer(Slot::at(1), Thread::Send);
            segment.heartbeats.answer(Slot::at(1), Thread::Receive);
            if frozen == Thread::Receive {
                segment.heartbeats.answer(Slot::at(0), Thread::Send);
            }
            Some((verdict?, millis))
        });
        // It is challenged in the first check, and seen not to have answered in the second.
        assert_eq!(verdict, Some(((Slot::at(0), Fault::Frozen), 2_250)), "{frozen:?}");
    }
}

#[test]
fn a_send_thread_with_many_turns_need_not_answer_while_its_beat_changes() {
    let segment = segment();
    let (mut watchdog, start) = (Watchdog::new(2), Instant::now());
    for look in 0..40 {
        segment.heartbeats.begin_turn(Slot::at(0), Thread::Send);
        segment.heartbeats.answer(Slot::at(1), Thread::Send);
        segment.heartbeats.answer(Slot::at(1), Thread::Receive);
        assert_eq!(
            watchdog.check(segment, &ALIVE, |_| None, start + Duration::from_millis(look * 250)),
            None
        );
    }
}

#[test]
fn many_processes_are_challenged_in_turn_a_few_at_a_time() {
    const SLOTS: u16 = 20;
    let segment = Segment::create(Geometry {
        ring_bytes: 1 << 16,
        slots: SLOTS.into(),
        sessions_max: 1,
        snapshot_bytes_max: 8,
    })
    .unwrap();
    let alive: Vec<Slot> = (0..SLOTS).map(Slot::at).collect();
    alive.iter().for_each(|&slot| drop(segment.join(slot).unwrap()));
    let (mut watchdog, start) = (Watchdog::new(SLOTS.into()), Instant::now());
    let mut asked = |look: u64| {
        assert_eq!(
            watchdog.check(segment, &alive, |_| None, start + Duration::from_millis(look * 250)),
            None
        );
        let asked = alive.iter().filter(|slot| {
            segment.heartbeats.answer(**slot, Thread::Send)
                | segment.heartbeats.answer(**slot, Thread::Receive)
        });
        asked.map(|slot| slot.index()).collect::<Vec<usize>>()
    };
    let of_looks: Vec<Vec<usize>> = (0..9).map(&mut asked).collect();
    let expected: [Vec<usize>; 3] = [(0..8).collect(), (8..16).collect(), (16..20).collect()];
    assert_eq!(of_looks[..3], expected);
    assert!(of_looks[3..8].iter().all(Vec::is_empty), "{of_looks:?}");
    assert_eq!(of_looks[8], expected[0], "after two seconds again");
}

#[test]
fn a_successor_is_not_killed_for_the_lock_that_its_predecessor_died_with() {
    let segment = segment();
    let (mut watchdog, start) = (Watchdog::new(2), Instant::now());
    let _held = segment.log.hold_lock(Slot::at(1));
    let verdict = (0..=4_000).step_by(250).find_map(|millis| {
        live(segment);
        if millis == 1_000 {
            watchdog.reset(Slot::at(1));
        }
        let now = start + Duration::from_millis(millis);
        watchdog.check(segment, &ALIVE, |_| None, now).map(|verdict| (verdict, millis))
    });
    assert_eq!(verdict, Some(((Slot::at(1), Fault::KeptLock), 3_000)));
}

#[test]
fn no_process_is_killed_because_the_supervisor_did_not_run() {
    let segment = segment();
    segment.heartbeats.begin_turn(Slot::at(0), Thread::Send);
    let (mut watchdog, start) = (Watchdog::new(2), Instant::now());
    assert_eq!(watchdog.check(segment, &ALIVE, |_| None, start), None);
    assert_eq!(watchdog.check(segment, &ALIVE, |_| None, start + Duration::from_secs(60)), None);
}

/// When a process that stands still in a turn is killed, if it ran and waited for the CPU for these
/// shares of the time, in percent, and is or isn't runnable now.
fn killed_after(ran: u32, waited: u32, is_runnable: bool) -> Option<u64> {
    let segment = segment();
    segment.heartbeats.begin_turn(Slot::at(0), Thread::Receive);
    let (mut watchdog, start) = (Watchdog::new(2), Instant::now());
    (0..240).map(|look| look * 250).find(|&millis| {
        let now = Duration::from_millis(millis);
        let used =
            |_| Some(CpuUse { ran: now * ran / 100, waited: now * waited / 100, is_runnable });
        watchdog.check(segment, &ALIVE, used, start + now) == Some((Slot::at(0), Fault::Busy))
    })
}

#[test]
fn a_process_that_waits_for_the_cpu_has_more_time_than_one_that_spins_or_sleeps() {
    assert_eq!(killed_after(0, 0, false), Some(2_000), "it sleeps");
    assert_eq!(killed_after(100, 0, true), Some(2_000), "it spins");
    assert_eq!(killed_after(20, 80, true), Some(2_000), "it spins among others who do");
    // Counted from the second check.
    assert_eq!(
        killed_after(1, 99, false),
        Some(20_250),
        "it waits, and the others wait long enough"
    );
    assert_eq!(killed_after(0, 0, true), Some(20_250), "it has waited all the time, and does");
}

#[test]
fn an_earlier_standstill_does_not_shorten_the_time_of_a_process_that_waits_for_the_cpu() {
    let segment = segment();
    let (mut watchdog, start) = (Watchdog::new(2), Instant::now());
    let verdict = (0..60_000_u64).step_by(250).find(|&millis| {
        live(segment);
        match millis {
            0 => segment.heartbeats.begin_turn(Slot::at(0), Thread::Receive),
            1_500 => segment.heartbeats.begin_turn(Slot::at(0), Thread::Send),
            1_750 => segment.heartbeats.end_turn(Slot::at(0), Thread::Receive),
            _ => {}
        }
        // It runs all the time until its second standstill begins, and waits from then on.
        let [ran, waited] =
            [millis.min(1_500), millis.saturating_sub(1_500)].map(Duration::from_millis);
        let used = |_| Some(CpuUse { ran, waited, is_runnable: true });
        watchdog.check(segment, &ALIVE, used, start + Duration::from_millis(millis)).is_some()
    });
    // The CPU time is recorded when the first standstill is over.
    assert_eq!(verdict, Some(21_750));
}
