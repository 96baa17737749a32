use super::*;
use forkchat_common::ids::SessionId;
use proptest::prelude::*;

fn small_log(ring_bytes: usize, slots: usize) -> &'static EventLog {
    EventLog::create(Geometry { ring_bytes, slots, sessions_max: 16, snapshot_bytes_max: 1024 })
        .unwrap()
}

fn batch(payloads: &[&[u8]]) -> Batch {
    let mut batch = Batch::default();
    payloads.iter().for_each(|payload| batch.push(|bytes| bytes.extend_from_slice(payload)));
    batch
}

const ME: Slot = Slot(0);
const OTHER: Slot = Slot(1);

#[test]
fn what_is_appended_is_read_in_order_with_a_time_that_never_runs_back() {
    let log = small_log(1 << 16, 2);
    let (start, snapshot) = log.join(ME).unwrap();
    assert_eq!(snapshot, None);
    let mut reader = Reader::new(log, start);
    assert_eq!(reader.fetch(100).count(), 0);
    log.append(ME, &batch(&[b"one", &[7; 200]]), Micros(u64::MAX / 2)).unwrap();
    let range = log.append(ME, &batch(&[b""]), Micros(5)).unwrap();
    let entries: Vec<_> =
        reader.fetch(100).map(|entry| (entry.payload.to_vec(), entry.time)).collect();
    let time = Micros(u64::MAX / 2);
    assert_eq!(entries, [(b"one".to_vec(), time), (vec![7; 200], time), (vec![], time)]);
    assert_eq!((reader.position(), reader.is_behind()), (range.end, false));
}

#[test]
fn a_reader_that_stays_behind_is_waited_for_and_a_snapshot_too() {
    let log = small_log(64 * 64, 2);
    let (start, _) = log.join(ME).unwrap();
    log.join(OTHER).unwrap();
    let one = batch(&[b"x"]);
    for _ in 0..64 {
        log.append(ME, &one, Micros(0)).unwrap();
    }
    assert_eq!(log.append(ME, &one, Micros(0)), Err(AppendError::Full));
    log.publish_position(ME, Sequence(start.0 + 64));
    log.publish_position(OTHER, Sequence(start.0 + 10));
    assert_eq!(
        log.append(ME, &one, Micros(0)),
        Err(AppendError::Full),
        "the snapshot is still at the start"
    );
    let mut snapshots = SnapshotWriter::new(log, OTHER);
    assert!(snapshots.write(Sequence(start.0 + 10), b"state"));
    assert!(!snapshots.publish(Sequence(start.0 + 9)), "later than what has been sent");
    assert!(snapshots.publish(Sequence(start.0 + 10)));
    for _ in 0..10 {
        log.append(ME, &one, Micros(0)).unwrap();
    }
    assert_eq!(log.append(ME, &one, Micros(0)), Err(AppendError::Full));
    assert_eq!(log.join(ME).unwrap(), (Sequence(start.0 + 10), Some(b"state".to_vec())));
}

#[test]
fn room_stays_wanted_until_somebody_has_moved() {
    let log = small_log(1 << 16, 1);
    let (start, _) = log.join(ME).unwrap();
    log.want_room();
    log.publish_position(ME, start);
    assert!(log.is_room_wanted(), "who says again where it stands makes no room");
    log.publish_position(ME, Sequence(start.0 + 1));
    assert!(!log.is_room_wanted());
}

#[test]
fn a_cell_that_is_anothers_by_now_is_not_freed() {
    let log = small_log(1 << 16, 1);
    let [old, new] = [1, 2].map(|serial| SessionId::new(serial, 3));
    log.store_checkpoint(Checkpoint {
        session: new,
        slot: ME,
        sequence: Sequence(1),
        offset: 0,
        writes: 0,
        is_lagging: false,
    });
    log.clear_checkpoint(old);
    assert_eq!(log.checkpoint(3).map(|checkpoint| checkpoint.session), Some(new));
}

#[test]
fn a_batch_is_at_most_a_sixteenth_of_the_ring() {
    let log = small_log(64 * 64, 1);
    log.join(ME).unwrap();
    assert_eq!(
        log.append(ME, &batch(&[b"1", b"2", b"3", b"4", b"5"]), Micros(0)),
        Err(AppendError::TooLarge)
    );
}

#[test]
fn a_buffer_is_not_reused_while_a_cursor_stands_before_it() {
    let log = small_log(1 << 16, 2);
    let (start, _) = log.join(ME).unwrap();
    log.join(OTHER).unwrap();
    let mut snapshots = SnapshotWriter::new(log, OTHER);
    for i in 0..6 {
        assert!(snapshots.write(start, &[i]) && snapshots.publish(start), "snapshot {i}");
    }
    assert!(
        !snapshots.write(start, b"no buffer is free"),
        "slot 0 may still be reading any of the first five"
    );
    log.publish_position(ME, Sequence(start.0 + 1));
    assert!(snapshots.write(Sequence(start.0 + 1), b"free"));
}

#[test]
fn a_large_snapshot_gives_back_its_memory_when_no_process_needs_it() {
    let log = EventLog::create(Geometry {
        ring_bytes: 1 << 16,
        slots: 2,
        sessions_max: 1,
        snapshot_bytes_max: 1 << 20,
    })
    .unwrap();
    let (start, _) = log.join(ME).unwrap();
    log.join(OTHER).unwrap();
    let mut snapshots = SnapshotWriter::new(log, OTHER);
    // A word that a small snapshot doesn't reach.
    let is_held = |buffer: usize| log.snapshots[buffer][1_000].load(Ordering::Relaxed) != 0;
    let at = |place| Sequence(start.0 + place);
    assert!(snapshots.write(at(1), &[7; 1 << 20]) && snapshots.publish(at(1)));
    assert!(snapshots.write(at(2), &[8; 1 << 20]) && snapshots.publish(at(2)));
    assert_eq!(
        [0, 1].map(is_held),
        [true, true],
        "a process that stands before the first may still be reading it"
    );
    log.publish_position(ME, at(2));
    assert!(snapshots.write(at(3), b"small"));
    assert_eq!([0, 1].map(is_held), [false, true], "the first is written to");
    assert!(snapshots.publish(at(3)));
    assert_eq!([0, 1].map(is_held), [false, true], "a process stands where the second is");
    log.publish_position(ME, at(4));
    assert!(snapshots.write(at(4), &[9; 1 << 20]) && snapshots.publish(at(4)));
    assert_eq!([0, 1].map(is_held), [false, true], "it was written to again");
    log.publish_position(ME, at(5));
    assert!(snapshots.write(at(5), b"next") && snapshots.publish(at(5)));
    assert_eq!([0, 1].map(is_held), [false, false], "what is not published any more is given back");
    assert_eq!(log.join(ME).unwrap(), (at(5), Some(b"next".to_vec())));
}

#[test]
fn several_snapshots_wait_and_the_latest_that_may_is_published() {
    let log = small_log(1 << 16, 2);
    let (start, _) = log.join(ME).unwrap();
    let mut snapshots = SnapshotWriter::new(log, OTHER);
    for place in 1..4 {
        assert!(snapshots.write(Sequence(start.0 + place), &[place as u8]));
    }
    assert!(!snapshots.write(Sequence(start.0 + 4), b"a fourth"));
    assert!(snapshots.publish(Sequence(start.0 + 2)) && snapshots.is_waiting());
    assert_eq!(log.join(ME).unwrap(), (Sequence(start.0 + 2), Some(vec![2])));
    assert_eq!(snapshots.latest(), Sequence(start.0 + 3));
}

#[test]
fn a_lagging_session_holds_snapshots_back_until_it_is_a_quarter_of_the_ring_behind() {
    let log = small_log(64 * 64, 1);
    let (start, _) = log.join(ME).unwrap();
    let session = SessionId::new(1, 3);
    let checkpoint = Checkpoint {
        session,
        slot: ME,
        sequence: start,
        offset: 9,
        writes: (1 << 47) - 1,
        is_lagging: true,
    };
    log.store_checkpoint(checkpoint);
    assert_eq!(log.checkpoint(3), Some(checkpoint));
    log.publish_position(ME, Sequence(start.0 + 16));
    assert_eq!(log.snapshot_ceiling([ME].into_iter()), start);
    log.publish_position(ME, Sequence(start.0 + 17));
    assert_eq!(log.snapshot_ceiling([ME].into_iter()).0, start.0 + 17);
    log.clear_checkpoint(session);
    assert_eq!(log.checkpoint(3), None);
}

#[test]
fn a_lagging_session_of_a_worker_that_is_given_up_holds_no_snapshot_back() {
    let log = small_log(64 * 64, 1);
    let (start, _) = log.join(ME).unwrap();
    let checkpoint = Checkpoint {
        session: SessionId::new(1, 3),
        slot: ME,
        sequence: start,
        offset: 9,
        writes: 2,
        is_lagging: true,
    };
    log.store_checkpoint(checkpoint);
    log.publish_position(ME, Sequence(start.0 + 1));
    assert_eq!(log.snapshot_ceiling([ME].into_iter()), start);
    log.abandon(ME);
    assert_eq!(log.snapshot_ceiling([ME].into_iter()), Sequence(u64::MAX));
}

#[test]
fn a_clean_sessions_checkpoint_is_as_late_as_its_workers_stable() {
    let log = small_log(64 * 64, 1);
    let (start, _) = log.join(ME).unwrap();
    let at = |place| Sequence(start.0 + place);
    let session = SessionId::new(2, 3);
    let mut checkpoint =
        Checkpoint { session, slot: ME, sequence: at(1), offset: 9, writes: 2, is_lagging: false };
    log.store_checkpoint(checkpoint);
    log.publish_position(ME, at(5));
    assert_eq!(
        log.effective_checkpoint(session),
        Some(Checkpoint { sequence: at(5), ..checkpoint })
    );
    checkpoint.is_lagging = true;
    log.store_checkpoint(checkpoint);
    assert_eq!(log.effective_checkpoint(session), Some(checkpoint));
    assert_eq!(
        log.effective_checkpoint(SessionId::new(1, 3)),
        None,
        "another one's that was in the cell before"
    );
}

#[test]
fn a_record_is_applied_then_applied_silently_then_passed_over() {
    let log = small_log(1 << 16, 1);
    let (record, session) = (Sequence(77), SessionId::new(1, 3));
    let mut seen = Vec::new();
    for count in 0..3 {
        let treatment = log.treatment(record);
        seen.push(treatment);
        log.enter(ME, Thread::Send, Place::Record { sequence: record, session, treatment });
        let place = log.place(ME, Thread::Send).unwrap();
        assert_eq!((place.session(), log.quarantined()), (session, count));
        log.quarantine(place);
    }
    assert_eq!(seen, [Treatment::Apply, Treatment::ApplySilently, Treatment::PassOver]);
    assert_eq!(log.treatment(Sequence(78)), Treatment::Apply);
    log.rest_threads(ME);
    assert_eq!(log.place(ME, Thread::Send), None);
}

#[test]
fn a_writer_finds_the_lock_taken_busy_and_not_for_ever() {
    let log = small_log(1 << 16, 2);
    log.join(ME).unwrap();
    let held = log.hold_lock(OTHER);
    let other = std::thread::spawn(move || log.append(ME, &batch(&[b"x"]), Micros(0)));
    assert_eq!(other.join().unwrap(), Err(AppendError::Busy));
    drop(held);
    assert!(log.append(ME, &batch(&[b"x"]), Micros(0)).is_ok());
}

#[test]
fn many_threads_append_and_each_reader_reads_all_of_it_in_one_order() {
    let log = small_log(1 << 14, 3);
    let readers: Vec<_> = (0..3u16)
        .map(|slot| {
            let mut reader = Reader::new(log, log.join(Slot(slot)).unwrap().0);
            std::thread::spawn(move || {
                let mut snapshots = (slot == 0).then(|| SnapshotWriter::new(log, Slot(0)));
                let mut seen = Vec::new();
                while seen.len() < 6_000 {
                    seen.extend(
                        reader
                            .fetch(8)
                            .map(|entry| u64::from_le_bytes(entry.payload.try_into().unwrap())),
                    );
                    log.publish_position(Slot(slot), reader.position());
                    if let Some(snapshots) = &mut snapshots {
                        snapshots.write(reader.position(), b"s");
                        snapshots.publish(log.snapshot_ceiling((0..3).map(Slot)));
                    }
                }
                seen
            })
        })
        .collect();
    let writers: Vec<_> = (0..3u16)
        .map(|slot| {
            std::thread::spawn(move || {
                for i in 0..2_000u64 {
                    let number = batch(&[&(i * 3 + u64::from(slot)).to_le_bytes()]);
                    while log.append(Slot(slot), &number, log.now()).is_err() {
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let seen: Vec<Vec<u64>> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    assert!(seen[0] == seen[1] && seen[1] == seen[2], "one order for everyone");
    for writer in 0..3 {
        let own: Vec<u64> = seen[0].iter().copied().filter(|number| number % 3 == writer).collect();
        assert!(
            own.is_sorted() && own.len() == 2_000,
            "each writer's records in the order it wrote them"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_payloads_come_back_whole_around_the_rings_end(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..150), 1..200)) {
        let log = small_log(64 * 64, 1);
        let mut reader = Reader::new(log, log.join(ME).unwrap().0);
        let mut snapshots = SnapshotWriter::new(log, ME);
        for payload in &payloads {
            log.append(ME, &batch(&[payload]), Micros(1)).unwrap();
            let read: Vec<Vec<u8>> = reader.fetch(64).map(|entry| entry.payload.to_vec()).collect();
            prop_assert_eq!(&read, std::slice::from_ref(payload));
            log.publish_position(ME, reader.position());
            snapshots.write(reader.position(), b"");
            snapshots.publish(reader.position());
        }
    }
}

#[test]
fn a_run_begins_above_what_is_used_and_its_time_is_the_clocks() {
    let log = small_log(1 << 16, 1);
    let (first, now) = (log.first(), log.now());
    log.begin_above(Sequence(first.0 - 1));
    assert_eq!(log.first(), first, "the clock is ahead of it");
    let used = Sequence(first.0 + 3_600 * Micros::SECOND);
    log.begin_above(used);
    assert_eq!((log.first(), log.tail()), (Sequence(used.0 + 1), Sequence(used.0 + 1)));
    log.join(Slot(0)).unwrap();
    let range = log.append(Slot(0), &batch(&[b"said"]), log.now()).unwrap();
    assert!(range.start > used);
    let mut reader = Reader::new(log, range.start);
    assert!(reader.fetch(10).next().unwrap().time.since(now) < 600 * Micros::SECOND);
    assert!(log.wall_ahead().abs() < Micros::SECOND as i64);
}
