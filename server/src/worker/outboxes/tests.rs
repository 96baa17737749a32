use super::*;
use crate::chat::Deliveries;
use crate::segment::Geometry;
use crate::worker::fakes::FakeSockets;
use crate::worker::outbox::IDLE_BYTES_MAX;
use crate::worker::outgoing::Outgoing;
use crate::worker::slow_readers::{Bounds, SlowReaders};
use std::ops::{Deref, DerefMut};

const ME: Slot = Slot::at(0);
/// Outboxes, and what becomes of their slow readers.
struct Fixture {
    outboxes: Outboxes,
    slow_readers: SlowReaders,
}

impl Fixture {
    fn new(bounds: Bounds) -> Fixture {
        let outboxes = Outboxes::new(ME, bounds.sendq);
        Fixture { outboxes, slow_readers: SlowReaders::new(bounds) }
    }

    fn relieve(&mut self, sockets: &mut FakeSockets) {
        self.slow_readers.relieve(&mut self.outboxes, sockets);
    }

    fn take_dropped(&mut self) -> Vec<(SessionId, CloseReason)> {
        self.slow_readers.take_dropped()
    }
}

impl Deref for Fixture {
    type Target = Outboxes;
    fn deref(&self) -> &Outboxes {
        &self.outboxes
    }
}

impl DerefMut for Fixture {
    fn deref_mut(&mut self) -> &mut Outboxes {
        &mut self.outboxes
    }
}

const BOUNDS: Bounds = Bounds { sendq: 100, together: usize::MAX };

/// A session with more to write than `sendq` allows.
fn too_full() -> (Fixture, SessionId, &'static Segment) {
    let segment = Segment::create(Geometry {
        ring_bytes: 1 << 16,
        slots: 1,
        sessions_max: 1,
        snapshot_bytes_max: 8,
    })
    .unwrap();
    let (mut outboxes, session) = (Fixture::new(BOUNDS), SessionId::new(1, 0));
    outboxes.open(session);
    outboxes.begin_turn(Sequence(7));
    outboxes.deliver(session, &[b'x'; 101]);
    (outboxes, session, segment)
}

#[test]
fn who_is_given_up_keeps_the_checkpoint_before_what_it_did_not_read() {
    let (mut outboxes, session, segment) = too_full();
    outboxes.relieve(&mut FakeSockets::deaf());
    assert_eq!(outboxes.take_dropped(), [(session, CloseReason::TooSlow)]);
    outboxes.flush(&mut FakeSockets::deaf(), segment, Sequence(9));
    let expected = Checkpoint {
        session,
        slot: ME,
        sequence: Sequence(7),
        offset: 0,
        writes: 0,
        is_lagging: true,
    };
    assert_eq!(segment.checkpoints.get(0), Some(expected));
}

#[test]
fn a_successor_writes_what_the_kernel_has_not_taken_and_nothing_twice() {
    let ((_, earlier, segment), session) = (too_full(), SessionId::new(2, 0));
    let mut outboxes = Fixture::new(BOUNDS);
    let checkpoint = Checkpoint {
        session,
        slot: ME,
        sequence: Sequence(7),
        offset: 10,
        writes: 3,
        is_lagging: true,
    };
    outboxes.resume(session, Some(checkpoint), 14);
    outboxes.open(session);
    outboxes.open(earlier);
    for (at, bytes) in [(5, "out long ago"), (7, "ab"), (8, "cdef"), (9, "gh")] {
        outboxes.begin_turn(Sequence(5));
        outboxes.begin_record(Sequence(at));
        assert!(outboxes.has(session));
        outboxes.deliver(session, bytes.as_bytes());
    }
    let mut peers = FakeSockets::open();
    outboxes.flush(&mut peers, segment, Sequence(10));
    assert_eq!((peers.heard(session), &peers.numbers), (&b"efgh"[..], &vec![4]));
    let expected = Checkpoint {
        sequence: Sequence(10),
        offset: 18,
        writes: 4,
        is_lagging: false,
        ..checkpoint
    };
    assert_eq!(segment.checkpoints.get(0), Some(expected));
    assert!(!outboxes.is_astray(session));
}

#[test]
fn a_kernel_that_took_more_than_was_rendered_is_noticed() {
    let (_, session, _) = too_full();
    let mut outboxes = Fixture::new(BOUNDS);
    outboxes.resume(session, None, 3);
    outboxes.deliver(session, b"ab");
    assert!(outboxes.is_astray(session));
}

#[test]
fn who_was_handed_more_than_is_rendered_where_a_record_is_muted_is_given_up_there() {
    let checkpoint = Checkpoint {
        session: SessionId::new(1, 0),
        slot: ME,
        sequence: Sequence(7),
        offset: 10,
        writes: 1,
        is_lagging: true,
    };
    let session = checkpoint.session;
    // The predecessor had handed over so much; a record here is muted; by whom the session is
    // served.
    for (taken, at, slot, is_dropped) in [
        (13, 8, ME, true),
        (12, 8, ME, false),
        (ALL, 8, ME, false),
        (13, 6, ME, false),
        (13, 8, Slot::at(1), false),
    ] {
        let mut outgoing = Outgoing::new(ME, BOUNDS, FakeSockets::open());
        outgoing.outboxes.resume(session, Some(checkpoint), taken);
        outgoing.record(Sequence(7));
        outgoing.begin(None);
        outgoing.deliver(session, b"ab");
        outgoing.record(Sequence(at));
        outgoing.begin(None);
        outgoing.muted(session, slot);
        // A record may deliver to a session more than once; it is closed once.
        outgoing.muted(session, slot);
        let why = is_dropped.then_some(CloseReason::WorkerDied);
        let given_up: Vec<_> = why.map(|why| (session, why)).into_iter().collect();
        assert_eq!(
            (outgoing.outboxes.dropped(session), outgoing.slow_readers.take_dropped()),
            (why, given_up),
            "{taken} {at} {slot:?}"
        );
    }
}

#[test]
fn a_write_that_was_not_taken_keeps_its_number() {
    let (mut outboxes, session, segment) = too_full();
    let mut peers = FakeSockets::deaf();
    outboxes.flush(&mut peers, segment, Sequence(9));
    outboxes.deliver(session, b"more");
    outboxes.unblock(session);
    outboxes.flush(&mut peers, segment, Sequence(9));
    peers.write_max = 60;
    outboxes.unblock(session);
    outboxes.flush(&mut peers, segment, Sequence(9));
    outboxes.deliver(session, b"and more");
    outboxes.flush(&mut peers, segment, Sequence(9));
    assert_eq!(peers.numbers, [1, 1, 1, 2, 3]);
}

#[test]
fn who_is_given_up_ends_hard_whether_its_end_comes_before_or_after() {
    for is_ended_before in [true, false] {
        let (mut outboxes, session, segment) = too_full();
        let mut deaf = FakeSockets::deaf();
        if is_ended_before {
            outboxes.end(session, Ending::Finish);
        }
        outboxes.relieve(&mut deaf);
        if !is_ended_before {
            outboxes.end(session, Ending::Finish);
        }
        outboxes.flush(&mut deaf, segment, Sequence(9));
        assert_eq!(deaf.finished, [(session, Ending::Drop)]);
        assert!(outboxes.is_empty());
    }
}

#[test]
fn an_outbox_that_is_idle_gives_back_its_memory_and_one_that_is_not_keeps_it() {
    let (mut outboxes, session, segment) = too_full();
    let mut peer = FakeSockets::open();
    let memory = |outboxes: &Outboxes| outboxes.table.get(session).unwrap().bytes.capacity();
    outboxes.tidy();
    outboxes.tidy();
    assert!(memory(&outboxes) > 0 && outboxes.is_warm(), "it has something to write");
    outboxes.flush(&mut peer, segment, Sequence(9));
    outboxes.deliver(session, b"more");
    outboxes.flush(&mut peer, segment, Sequence(9));
    outboxes.tidy();
    assert!(memory(&outboxes) > 0, "it was told something since");
    outboxes.tidy();
    assert!(memory(&outboxes) == 0 && !outboxes.is_warm());
    outboxes.deliver(session, b"again");
    assert!(outboxes.is_warm());
}

/// Peers behind somebody who hands on what is written, when it has its turn.
fn relayed(is_hurried: bool) -> FakeSockets {
    FakeSockets { in_flight: Some(0), is_hurried, ..FakeSockets::open() }
}

#[test]
fn what_is_in_flight_is_not_out_and_is_looked_at_again() {
    let (mut outboxes, session, segment) = too_full();
    let mut sockets = relayed(false);
    outboxes.flush(&mut sockets, segment, Sequence(9));
    let expected = Checkpoint {
        session,
        slot: ME,
        sequence: Sequence(7),
        offset: 0,
        writes: 1,
        is_lagging: true,
    };
    assert_eq!((segment.checkpoints.get(0), outboxes.is_in_flight()), (Some(expected), true));
    outboxes.end(session, Ending::Finish);
    outboxes.flush(&mut sockets, segment, Sequence(10));
    assert_eq!(sockets.finished, []);
    sockets.in_flight = Some(0);
    outboxes.flush(&mut sockets, segment, Sequence(11));
    assert_eq!(
        (sockets.finished, outboxes.is_in_flight()),
        (vec![(session, Ending::Finish)], false)
    );
    let expected =
        Checkpoint { sequence: Sequence(11), offset: 101, is_lagging: false, ..expected };
    assert_eq!(segment.checkpoints.get(0), Some(expected));
}

#[test]
fn who_only_waits_for_its_turn_is_hurried_and_who_does_not_read_is_given_up() {
    for is_hurried in [true, false] {
        let (mut outboxes, session, _) = too_full();
        outboxes.relieve(&mut relayed(is_hurried));
        let given_up = if is_hurried { vec![] } else { vec![(session, CloseReason::TooSlow)] };
        assert_eq!(outboxes.take_dropped(), given_up);
    }
}

#[test]
fn who_only_waits_for_its_turn_does_not_fall_far_behind() {
    for (position, is_hurried) in [(7, false), (7 + 128, false), (7 + 129, true)] {
        let (mut outboxes, _, segment) = too_full();
        let mut sockets = relayed(true);
        // An eighth of the ring is 128 blocks.
        outboxes.flush(&mut sockets, segment, Sequence(position));
        assert_eq!(sockets.in_flight == Some(0), is_hurried, "at {position}");
    }
}

/// Three sessions with so many bytes to write each, of 100,000 that they may have together.
fn together(bytes: [usize; 3]) -> (Fixture, [SessionId; 3]) {
    let mut outboxes = Fixture::new(Bounds { sendq: 80_000, together: 100_000 });
    let sessions = [0, 1, 2].map(|cell| SessionId::new(1, cell));
    for (session, bytes) in sessions.into_iter().zip(bytes) {
        outboxes.open(session);
        outboxes.deliver(session, &vec![b'x'; bytes]);
    }
    (outboxes, sessions)
}

#[test]
fn many_slow_readers_together_lose_those_that_are_furthest_behind() {
    let (mut outboxes, [_, furthest, _]) = together([35_000, 50_000, 30_000]);
    outboxes.relieve(&mut FakeSockets::deaf());
    assert_eq!(outboxes.take_dropped(), [(furthest, CloseReason::TooSlow)]);
    // Those that stay have what they had, and room for more.
    assert!(outboxes.memory >= 52_000 && outboxes.memory <= 75_000, "{}", outboxes.memory);
    outboxes.relieve(&mut FakeSockets::deaf());
    assert_eq!(outboxes.take_dropped(), []);
}

#[test]
fn what_readers_take_is_no_reason_to_lose_them() {
    let (mut outboxes, sessions) = together([35_000, 50_000, 30_000]);
    let mut peers = FakeSockets::open();
    outboxes.relieve(&mut peers);
    assert_eq!((outboxes.take_dropped(), outboxes.memory), (vec![], 0));
    assert_eq!(sessions.map(|session| peers.heard(session).len()), [35_000, 50_000, 30_000]);
    // Nor what somebody has in hand who only waits for its turn.
    let (mut outboxes, _) = together([35_000, 50_000, 30_000]);
    outboxes.relieve(&mut relayed(true));
    assert_eq!(outboxes.take_dropped(), []);
}

#[test]
fn within_their_bounds_slow_readers_stay() {
    let (mut outboxes, _) = together([30_000, 30_000, 30_000]);
    outboxes.relieve(&mut FakeSockets::deaf());
    assert_eq!(outboxes.take_dropped(), []);
}

#[test]
fn the_memory_of_outboxes_is_counted_until_they_are_gone() {
    let (mut outboxes, [first, second, third]) = together([30_000, 30_000, 0]);
    let segment = Segment::create(Geometry {
        ring_bytes: 1 << 16,
        slots: 1,
        sessions_max: 3,
        snapshot_bytes_max: 8,
    })
    .unwrap();
    assert_eq!(outboxes.memory, 2 * (30_000 - IDLE_BYTES_MAX));
    outboxes.deliver(third, &[b'x'; IDLE_BYTES_MAX]);
    assert_eq!(
        outboxes.memory,
        2 * (30_000 - IDLE_BYTES_MAX),
        "what an idle one keeps isn't counted"
    );
    outboxes.drop_session(first, CloseReason::WorkerDied);
    assert_eq!(outboxes.memory, 30_000 - IDLE_BYTES_MAX);
    outboxes.end(second, Ending::Drop);
    outboxes.flush(&mut FakeSockets::deaf(), segment, Sequence(9));
    assert_eq!(outboxes.memory, 0);
    outboxes.remove(third);
    outboxes.remove(first);
    assert_eq!((outboxes.memory, outboxes.is_empty()), (0, true));
}
