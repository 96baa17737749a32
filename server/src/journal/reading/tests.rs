use super::proposing::CLOCK_STEP_MICROS;
use super::*;
use crate::chat::{Fact, RateLimit, Record, Transport};
use crate::journal::{BATCH_ENTRIES_MAX, Quota};
use crate::proposer::push_fact;
use crate::segment::{AppendError, Batch, Checkpoint, Geometry};
use proptest::prelude::*;
use std::net::SocketAddr;

/// Opens the session.
fn open(segment: &Segment) {
    let mut batch = Batch::default();
    let peer = SocketAddr::from(([127, 0, 0, 1], 1));
    push_fact(&mut batch, ME, Fact::opened(WORKER, Transport::Tcp, peer));
    segment.log.append(WORKER, &batch, segment.clock.now()).unwrap();
}

/// Appends lines of one session, which is opened first if need be, and publishes that the worker
/// has read them.
fn append_lines(segment: &Segment, from: u64, to: u64) {
    let mut batch = Batch::default();
    if from == 0 {
        open(segment);
    }
    for input_end in from + 1..=to {
        batch.push(|payload| {
            Record { session: ME, input_end, fact: Fact::Line(b"said") }.encode(payload)
        });
    }
    segment.log.append(WORKER, &batch, segment.clock.now()).unwrap();
    segment.cursors.publish(WORKER, segment.log.tail());
}

/// Creates a log for a worker and a journal, and the configuration of a journal that stores.
fn segment_and_config(ring_blocks: usize) -> (&'static Segment, JournalConfig) {
    let geometry = Geometry {
        ring_bytes: ring_blocks * 64,
        slots: 2,
        sessions_max: 1,
        snapshot_bytes_max: 1 << 16,
    };
    let segment = Segment::create(geometry).unwrap();
    segment.join(WORKER).unwrap();
    let config = JournalConfig {
        rate_limit: RateLimit::OFF,
        workers: 1,
        data_dir: Some("/nowhere".into()),
        quota: Quota { lines_max: 1_000, bytes_max: 1 << 30 },
        rooms_bytes_max: 0,
        tally: Box::leak(Box::default()),
    };
    (segment, config)
}

/// Runs a journal that stores everything that it finds. Returns how many lines it stored.
fn store_all(segment: &'static Segment, config: &JournalConfig) -> u64 {
    let mut journal =
        Journal::join(segment, JOURNAL, config, Arc::new(Backlog::new(config.tally))).unwrap();
    let mut count = 0;
    for turn in 0.. {
        journal.turn();
        let entries = journal.backlog.take(BATCH_ENTRIES_MAX);
        journal.backlog.stored(&entries);
        count += entries.iter().filter(|entry| matches!(entry, Entry::Line { .. })).count() as u64;
        if turn > 100 && entries.is_empty() {
            break;
        }
    }
    segment.cursors.abandon(JOURNAL);
    count
}

#[test]
fn the_next_journal_stores_the_lines_that_came_while_a_worker_stood_in() {
    let (segment, config) = segment_and_config(1_024);
    append_lines(segment, 0, 10);
    assert_eq!(store_all(segment, &config), 10);
    // Less than half the ring, read by one stand-in after another, as when each new journal
    // crashes.
    for said in (10..200).step_by(10) {
        let mut stand_in = crate::journal::stand_in(segment, JOURNAL, &config).unwrap();
        append_lines(segment, said, said + 10);
        (0..20).for_each(|_| stand_in.turn());
        segment.cursors.abandon(JOURNAL);
    }
    assert_eq!(config.tally.skipped.load(Ordering::Relaxed), 0);
    store_all(segment, &config);
    // The entries of the first journal are read again, because the stand-ins' snapshot is before
    // them.
    assert_eq!(
        config.tally.stored_to.load(Ordering::Relaxed),
        segment.log.tail().0 - 1,
        "all of them"
    );
    assert_eq!(config.tally.missing(), 0);
}

#[test]
fn stand_ins_make_snapshots_and_the_entries_that_they_drop_count_once() {
    let (segment, config) = segment_and_config(1_024);
    append_lines(segment, 0, 15);
    let mut stored = store_all(segment, &config);
    let mut said = 15;
    for _ in 0..5 {
        let mut stand_in = crate::journal::stand_in(segment, JOURNAL, &config).unwrap();
        for _ in 0..100 {
            append_lines(segment, said, said + 5);
            said += 5;
            stand_in.turn();
            assert!(
                segment.log.tail().blocks_since(segment.snapshots.sequence()) < 1_000,
                "there is room"
            );
        }
        segment.cursors.abandon(JOURNAL);
    }
    let skipped = config.tally.skipped.load(Ordering::Relaxed);
    assert!(skipped > 0);
    let skipped_to = Sequence(config.tally.skipped_to.load(Ordering::Relaxed));
    // The next journal stores exactly the entries that were not dropped, and knows of the gap.
    let before = config.tally.stored.load(Ordering::Relaxed);
    stored += store_all(segment, &config);
    assert_eq!(config.tally.stored.load(Ordering::Relaxed) - before, stored - 15);
    assert_eq!((config.tally.skipped.load(Ordering::Relaxed), stored), (skipped, said - skipped));
    assert_eq!(Backlog::new(config.tally).gap(), Some(skipped_to));
}

const WORKER: Slot = Slot::at(0);
const JOURNAL: Slot = Slot::at(1);
const ME: SessionId = SessionId::new(1, 0);

#[test]
fn a_clock_step_is_recorded_once_and_the_times_of_lines_follow_it() {
    let (segment, config) = segment_and_config(1_024);
    let mut journal =
        Journal::join(segment, JOURNAL, &config, Arc::new(Backlog::new(config.tally))).unwrap();
    open(segment);
    const HOUR: i64 = 3_600_000_000;
    for (number, ahead) in (1..).zip([-1, 2 * HOUR, 2 * HOUR + 900_000, -HOUR, 1]) {
        segment.clock.set_wall_ahead(ahead);
        let tail = segment.log.tail();
        (0..3).for_each(|_| journal.turn());
        let is_step = number == 2 || number > 3;
        assert_eq!(segment.log.tail().0 - tail.0, u64::from(is_step), "a record for {ahead}");
        let now = segment.clock.now();
        let mut batch = Batch::default();
        batch.push(|payload| {
            Record { session: ME, input_end: number, fact: Fact::Line(b"said") }.encode(payload)
        });
        segment.log.append(WORKER, &batch, now).unwrap();
        journal.turn();
        let entries = journal.backlog.take(BATCH_ENTRIES_MAX);
        journal.backlog.stored(&entries);
        let [Entry::Line { line, .. }] = &entries[..] else { panic!("{entries:?}") };
        let shown = line.time.0.cast_signed() - now.0.cast_signed();
        assert!(shown.abs_diff(ahead) <= CLOCK_STEP_MICROS, "{shown} for {ahead}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_ring_never_stays_full_although_the_disk_hangs_or_a_client_never_reads(
        batches in prop::collection::vec((1usize..30, 0usize..200), 200..400),
        stores: bool,
        lags: bool,
    ) {
        let (segment, config) = segment_and_config(512);
        let backlog = Arc::new(Backlog::new(config.tally));
        let mut journal = Journal::join(segment, JOURNAL, &config, backlog).unwrap();
        open(segment);
        let mut input_end = 0;
        for (number, (lines, turns)) in batches.into_iter().enumerate() {
            if lags && number % 25 == 0 {
                segment.checkpoints.store(Checkpoint {
                    session: ME,
                    slot: WORKER,
                    sequence: segment.log.tail(),
                    offset: 0,
                    writes: 0,
                    is_lagging: true,
                });
            }
            if stores && turns % 2 == 0 {
                let entries = journal.backlog.take(BATCH_ENTRIES_MAX);
                journal.backlog.stored(&entries);
            }
            let mut batch = Batch::default();
            for _ in 0..lines {
                input_end += 1;
                let record = Record { session: ME, input_end, fact: Fact::Line(b"said") };
                batch.push(|payload| record.encode(payload));
            }
            // In some rounds the journal sleeps while many lines come.
            if turns % 3 == 0 {
                journal.turn();
            }
            let mut tries = 0;
            while segment.log.append(WORKER, &batch, segment.clock.now()) == Err(AppendError::Full)
            {
                segment.cursors.publish(WORKER, segment.log.tail());
                journal.turn();
                tries += 1;
                prop_assert!(tries < 100, "the ring is full for ever");
            }
            segment.cursors.publish(WORKER, segment.log.tail());
        }
        prop_assert!(stores || config.tally.skipped.load(Ordering::Relaxed) > 0);
    }
}
