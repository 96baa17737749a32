use super::*;
use crate::chat::Deliveries;
use crate::segment::Geometry;
use crate::worker::fakes::FakeSockets;
use crate::worker::outbox::IDLE_BYTES_MAX;
use crate::worker::outgoing::Outgoing;
use crate::worker::slow_readers::{Bounds, SlowReaders};
use std::ops::{Deref, DerefMut};

const ME: Slot = Slot::at(0);
/// Outboxes and their slow readers.
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

/// A session with more unread output than `sendq` allows.
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
fn a_dropped_session_keeps_the_checkpoint_before_its_unread_output() {
    let (mut outboxes, session, segment) = too_full();
    outboxes.relieve(&mut FakeSockets::not_reading());
    assert_eq!(outboxes.take_dropped(), [(session, CloseReason::TooSlow)]);
    outboxes.flush(&mut FakeSockets::not_reading(), segment, Sequence(9));
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
    assert_eq!((peers.received(session), &peers.numbers), (&b"efgh"[..], &vec![4]));
    let expected = Checkpoint {
        sequence: Sequence(10),
        offset: 18,
        writes: 4,
        is_lagging: false,
        ..checkpoint
    };
    assert_eq!(segment.checkpoints.get(0), Some(expected));
    assert!(!outboxes.contradicts_kernel(session));
}

#[test]
fn a_kernel_that_took_more_than_was_rendered_is_noticed() {
    let (_, session, _) = too_full();
    let mut outboxes = Fixture::new(BOUNDS);
    outboxes.resume(session, None, 3);
    outboxes.deliver(session, b"ab");
    assert!(outboxes.contradicts_kernel(session));
}

#[test]
fn a_session_that_may_have_received_output_of_a_muted_record_is_dropped() {
    let checkpoint = Checkpoint {
        session: SessionId::new(1, 0),
        slot: ME,
        sequence: Sequence(7),
        offset: 10,
        writes: 1,
        is_lagging: true,
    };
    let session = checkpoint.session;
    // The bytes that the predecessor handed over; the sequence of a muted record; the slot that
    // serves the session; whether the session is dropped.
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
        let dropped: Vec<_> = why.map(|why| (session, why)).into_iter().collect();
        assert_eq!(
            (outgoing.outboxes.dropped(session), outgoing.slow_readers.take_dropped()),
            (why, dropped),
            "{taken} {at} {slot:?}"
        );
    }
}

#[test]
fn a_write_that_was_not_taken_keeps_its_number() {
    let (mut outboxes, session, segment) = too_full();
    let mut peers = FakeSockets::not_reading();
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
fn a_dropped_session_ends_without_its_last_output_also_if_it_has_ended_before() {
    for is_ended_before in [true, false] {
        let (mut outboxes, session, segment) = too_full();
        let mut peers = FakeSockets::not_reading();
        if is_ended_before {
            outboxes.end(session, Ending::Finish);
        }
        outboxes.relieve(&mut peers);
        if !is_ended_before {
            outboxes.end(session, Ending::Finish);
        }
        outboxes.flush(&mut peers, segment, Sequence(9));
        assert_eq!(peers.finished, [(session, Ending::Drop)]);
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
    assert!(memory(&outboxes) > 0, "it received output since");
    outboxes.tidy();
    assert!(memory(&outboxes) == 0 && !outboxes.is_warm());
    outboxes.deliver(session, b"again");
    assert!(outboxes.is_warm());
}

/// Peers after a relay, which passes the output on when it has its turn.
fn relayed(is_hurried: bool) -> FakeSockets {
    FakeSockets { in_flight: Some(0), is_hurried, ..FakeSockets::open() }
}

#[test]
fn bytes_in_flight_are_not_in_the_kernel_and_are_looked_at_again() {
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
fn a_session_that_waits_for_a_relay_is_hurried_and_a_session_that_does_not_read_is_dropped() {
    for is_hurried in [true, false] {
        let (mut outboxes, session, _) = too_full();
        outboxes.relieve(&mut relayed(is_hurried));
        let dropped = if is_hurried { vec![] } else { vec![(session, CloseReason::TooSlow)] };
        assert_eq!(outboxes.take_dropped(), dropped);
    }
}

#[test]
fn a_session_that_waits_for_a_relay_does_not_fall_far_behind() {
    for (position, is_hurried) in [(7, false), (7 + 128, false), (7 + 129, true)] {
        let (mut outboxes, _, segment) = too_full();
        let mut sockets = relayed(true);
        // An eighth of the ring is 128 blocks.
        outboxes.flush(&mut sockets, segment, Sequence(position));
        assert_eq!(sockets.in_flight == Some(0), is_hurried, "at {position}");
    }
}

/// Three sessions with this many bytes to write each. Together they may have 100,000.
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
fn of_many_slow_readers_those_with_the_most_unread_output_are_dropped() {
    let (mut outboxes, [_, furthest, _]) = together([35_000, 50_000, 30_000]);
    outboxes.relieve(&mut FakeSockets::not_reading());
    assert_eq!(outboxes.take_dropped(), [(furthest, CloseReason::TooSlow)]);
    // The other sessions keep their output, and there is room for more.
    assert!(outboxes.memory >= 52_000 && outboxes.memory <= 75_000, "{}", outboxes.memory);
    outboxes.relieve(&mut FakeSockets::not_reading());
    assert_eq!(outboxes.take_dropped(), []);
}

#[test]
fn readers_that_take_their_output_are_not_dropped() {
    let (mut outboxes, sessions) = together([35_000, 50_000, 30_000]);
    let mut peers = FakeSockets::open();
    outboxes.relieve(&mut peers);
    assert_eq!((outboxes.take_dropped(), outboxes.memory), (vec![], 0));
    assert_eq!(sessions.map(|session| peers.received(session).len()), [35_000, 50_000, 30_000]);
    // Nor are bytes that a relay holds and will pass on in its turn.
    let (mut outboxes, _) = together([35_000, 50_000, 30_000]);
    outboxes.relieve(&mut relayed(true));
    assert_eq!(outboxes.take_dropped(), []);
}

#[test]
fn slow_readers_within_their_bounds_stay() {
    let (mut outboxes, _) = together([30_000, 30_000, 30_000]);
    outboxes.relieve(&mut FakeSockets::not_reading());
    assert_eq!(outboxes.take_dropped(), []);
}

#[test]
fn the_memory_of_outboxes_is_counted_until_they_are_removed() {
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
        "the memory that an idle outbox keeps isn't counted"
    );
    outboxes.drop_session(first, CloseReason::WorkerDied);
    assert_eq!(outboxes.memory, 30_000 - IDLE_BYTES_MAX);
    outboxes.end(second, Ending::Drop);
    outboxes.flush(&mut FakeSockets::not_reading(), segment, Sequence(9));
    assert_eq!(outboxes.memory, 0);
    outboxes.remove(third);
    outboxes.remove(first);
    assert_eq!((outboxes.memory, outboxes.is_empty()), (0, true));
}
