use super::*;
use crate::segment::SnapshotWriter;
use crate::segment::tests::{ME, OTHER, batch, small_segment};
use proptest::prelude::*;

#[test]
fn records_are_read_in_order_and_their_time_never_decreases() {
    let segment = small_segment(1 << 16, 2);
    let (start, snapshot) = segment.join(ME).unwrap();
    assert_eq!(snapshot, None);
    let mut reader = Reader::new(&segment.log, start);
    assert_eq!(reader.fetch(100).count(), 0);
    segment.log.append(ME, &batch(&[b"one", &[7; 200]]), Micros(u64::MAX / 2)).unwrap();
    let range = segment.log.append(ME, &batch(&[b""]), Micros(5)).unwrap();
    let entries: Vec<_> =
        reader.fetch(100).map(|entry| (entry.payload.to_vec(), entry.time)).collect();
    let time = Micros(u64::MAX / 2);
    assert_eq!(entries, [(b"one".to_vec(), time), (vec![7; 200], time), (vec![], time)]);
    assert_eq!((reader.position(), reader.is_behind()), (range.end, false));
}

#[test]
fn writers_wait_for_the_slowest_reader_and_for_the_snapshot() {
    let segment = small_segment(64 * 64, 2);
    let (start, _) = segment.join(ME).unwrap();
    segment.join(OTHER).unwrap();
    let one = batch(&[b"x"]);
    for _ in 0..64 {
        segment.log.append(ME, &one, Micros(0)).unwrap();
    }
    assert_eq!(segment.log.append(ME, &one, Micros(0)), Err(AppendError::Full));
    segment.cursors.publish(ME, Sequence(start.0 + 64));
    segment.cursors.publish(OTHER, Sequence(start.0 + 10));
    assert_eq!(
        segment.log.append(ME, &one, Micros(0)),
        Err(AppendError::Full),
        "the snapshot is still at the start"
    );
    let mut snapshots = SnapshotWriter::new(&segment.snapshots, &segment.log, OTHER);
    assert!(snapshots.write(Sequence(start.0 + 10), b"state"));
    assert!(!snapshots.publish(Sequence(start.0 + 9)), "the snapshot is after the ceiling");
    assert!(snapshots.publish(Sequence(start.0 + 10)));
    for _ in 0..10 {
        segment.log.append(ME, &one, Micros(0)).unwrap();
    }
    assert_eq!(segment.log.append(ME, &one, Micros(0)), Err(AppendError::Full));
    assert_eq!(segment.join(ME).unwrap(), (Sequence(start.0 + 10), Some(b"state".to_vec())));
}

#[test]
fn a_batch_is_at_most_a_sixteenth_of_the_ring() {
    let segment = small_segment(64 * 64, 1);
    segment.join(ME).unwrap();
    assert_eq!(
        segment.log.append(ME, &batch(&[b"1", b"2", b"3", b"4", b"5"]), Micros(0)),
        Err(AppendError::TooLarge)
    );
}

#[test]
fn append_returns_busy_while_another_process_holds_the_lock() {
    let segment = small_segment(1 << 16, 2);
    segment.join(ME).unwrap();
    let held = segment.log.hold_lock(OTHER);
    let other = std::thread::spawn(move || segment.log.append(ME, &batch(&[b"x"]), Micros(0)));
    assert_eq!(other.join().unwrap(), Err(AppendError::Busy));
    drop(held);
    assert!(segment.log.append(ME, &batch(&[b"x"]), Micros(0)).is_ok());
}

#[test]
fn all_readers_read_the_records_of_many_writers_in_the_same_order() {
    let segment = small_segment(1 << 14, 3);
    let readers: Vec<_> = (0..3u16)
        .map(|slot| {
            let mut reader = Reader::new(&segment.log, segment.join(Slot::at(slot)).unwrap().0);
            std::thread::spawn(move || {
                let mut snapshots = (slot == 0)
                    .then(|| SnapshotWriter::new(&segment.snapshots, &segment.log, Slot::at(0)));
                let mut seen = Vec::new();
                while seen.len() < 6_000 {
                    seen.extend(
                        reader
                            .fetch(8)
                            .map(|entry| u64::from_le_bytes(entry.payload.try_into().unwrap())),
                    );
                    segment.cursors.publish(Slot::at(slot), reader.position());
                    if let Some(snapshots) = &mut snapshots {
                        snapshots.write(reader.position(), b"s");
                        snapshots.publish(
                            segment
                                .checkpoints
                                .snapshot_ceiling(&segment.log, (0..3).map(Slot::at)),
                        );
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
                    while segment.log.append(Slot::at(slot), &number, segment.clock.now()).is_err()
                    {
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let seen: Vec<Vec<u64>> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    assert!(seen[0] == seen[1] && seen[1] == seen[2], "the same order for every reader");
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
    fn payloads_that_wrap_around_the_rings_end_are_read_unchanged(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..150), 1..200),
    ) {
        let segment = small_segment(64 * 64, 1);
        let mut reader = Reader::new(&segment.log, segment.join(ME).unwrap().0);
        let mut snapshots = SnapshotWriter::new(&segment.snapshots, &segment.log, ME);
        for payload in &payloads {
            segment.log.append(ME, &batch(&[payload]), Micros(1)).unwrap();
            let read: Vec<Vec<u8>> = reader.fetch(64).map(|entry| entry.payload.to_vec()).collect();
            prop_assert_eq!(&read, std::slice::from_ref(payload));
            segment.cursors.publish(ME, reader.position());
            snapshots.write(reader.position(), b"");
            snapshots.publish(reader.position());
        }
    }
}

#[test]
fn a_run_begins_above_used_sequences_and_takes_its_time_from_the_clock() {
    let segment = small_segment(1 << 16, 1);
    let (first, now) = (segment.log.first(), segment.clock.now());
    segment.log.begin_above(Sequence(first.0 - 1));
    assert_eq!(segment.log.first(), first, "the clock is ahead of it");
    let used = Sequence(first.0 + 3_600 * Micros::SECOND);
    segment.log.begin_above(used);
    assert_eq!(
        (segment.log.first(), segment.log.tail()),
        (Sequence(used.0 + 1), Sequence(used.0 + 1))
    );
    segment.join(Slot::at(0)).unwrap();
    let range = segment.log.append(Slot::at(0), &batch(&[b"said"]), segment.clock.now()).unwrap();
    assert!(range.start > used);
    let mut reader = Reader::new(&segment.log, range.start);
    assert!(reader.fetch(10).next().unwrap().time.since(now) < 600 * Micros::SECOND);
    assert!(segment.clock.wall_ahead().abs() < Micros::SECOND as i64);
}
