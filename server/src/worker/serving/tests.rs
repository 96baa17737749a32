use super::deadlines::{ARRIVAL, FIRST_LINE};
use super::*;
use crate::segment::Geometry;
use crate::worker::fakes::{FakeSockets, dropped, never, origin};
use crate::worker::takeover;
use forkchat_common::protocol::Protocol;
use forkchat_common::protocol::framing::After;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;

fn config() -> ServingConfig {
    ServingConfig {
        pid: 1,
        outboxes: Bounds { sendq: 1 << 20, together: usize::MAX },
        rejected_max: 1,
        journal: Slot::at(1),
        stopping: never(),
        dropped: dropped(),
        udp: None,
        stand_in: None,
    }
}

/// Two idle workers with one session each, both in the lobby.
fn two_workers() -> (&'static Segment, [Serving<FakeSockets>; 2]) {
    let segment = Segment::create(Geometry {
        ring_bytes: 1 << 20,
        slots: 2,
        sessions_max: 2,
        snapshot_bytes_max: 8,
    })
    .unwrap();
    let mut workers = [0, 1].map(|slot| {
        takeover::join(segment, Slot::at(slot), config(), FakeSockets::open(), Vec::new()).unwrap()
    });
    for (cell, worker) in workers.iter_mut().enumerate() {
        let opened = Input::Opened {
            session: SessionId::new(1, cell),
            origin: origin(1),
            connection: (),
            lines: Lines::default(),
        };
        worker.accept(opened);
        worker.propose_fact(SessionId::new(1, cell), Fact::Arrived);
    }
    for _ in 0..3 {
        workers.iter_mut().for_each(Serving::turn);
    }
    assert!(workers.iter().all(|worker| !worker.has_work()));
    (segment, workers)
}

fn send_line(worker: &mut Serving<FakeSockets>, cell: usize, line: &[u8]) {
    let session = SessionId::new(1, cell);
    let lines = Lines::of(session, Protocol::Line, line, 0, false, After::More, 10);
    worker.accept(Input::Lines { session, lines });
}

fn is_rung(segment: &Segment, slot: Slot) -> bool {
    poll(
        &mut [PollFd::new(segment.doorbells.get(slot).as_fd(), PollFlags::POLLIN)],
        PollTimeout::ZERO,
    )
    .unwrap()
        > 0
}

#[test]
fn a_worker_that_appends_wakes_the_others_and_a_worker_that_only_applies_does_not() {
    let (segment, [mut speaker, mut listener]) = two_workers();
    [Slot::at(0), Slot::at(1)].iter().for_each(|&slot| segment.doorbells.get(slot).before_sleep());
    send_line(&mut speaker, 0, b"hello\n");
    speaker.turn();
    assert!(is_rung(segment, Slot::at(1)), "it serves a receiver");
    listener.turn();
    assert!(
        !listener.has_work() && !is_rung(segment, Slot::at(0)),
        "the speaker has applied it already"
    );
}

#[test]
fn the_others_are_woken_for_a_record_that_is_applied_in_a_later_turn_than_its_append() {
    let (segment, [mut speaker, mut listener]) = two_workers();
    // Before the speaker's line come more of the listener's lines than one turn applies.
    let lines = "x\n".repeat(200);
    let mut input_end = 0;
    while segment.log.tail().blocks_since(speaker.replica.position()) < TURN_BLOCKS + 64 {
        let session = SessionId::new(1, 1);
        let lines = Lines::of(
            session,
            Protocol::Line,
            lines.as_bytes(),
            input_end,
            false,
            After::More,
            200,
        );
        input_end += lines.consume as u64;
        listener.accept(Input::Lines { session, lines });
        listener.turn();
    }
    while listener.has_work() {
        listener.turn();
    }
    send_line(&mut speaker, 0, b"hello\n");
    speaker.turn();
    segment.doorbells.get(Slot::at(1)).drain();
    segment.doorbells.get(Slot::at(1)).before_sleep();
    assert!(speaker.replica.is_behind(), "not all is applied yet");
    while speaker.has_work() {
        speaker.turn();
    }
    assert!(is_rung(segment, Slot::at(1)));
}

#[test]
fn a_client_that_has_begun_a_line_is_announced_only_after_the_line() {
    let segment = Segment::create(Geometry {
        ring_bytes: 1 << 20,
        slots: 2,
        sessions_max: 3,
        snapshot_bytes_max: 8,
    })
    .unwrap();
    segment.clock.pass_time(1);
    let mut worker =
        takeover::join(segment, Slot::at(0), config(), FakeSockets::open(), Vec::new()).unwrap();
    let sessions = [0, 1, 2].map(|cell| SessionId::new(1, cell));
    let [_, slow, unfinished] = sessions;
    for session in sessions {
        worker.accept(Input::Opened {
            session,
            origin: origin(1),
            connection: (),
            lines: Lines::default(),
        });
    }
    worker.sockets().unread.extend([slow, unfinished]);
    let announced_after = |worker: &mut Serving<FakeSockets>, micros| {
        segment.clock.pass_time(micros);
        worker.turn();
        while worker.has_work() {
            worker.turn();
        }
        sessions.map(|session| worker.is_announced(session))
    };
    assert_eq!(announced_after(&mut worker, ARRIVAL - 1), [false, false, false]);
    assert_eq!(announced_after(&mut worker, 1), [true, false, false]);
    assert_eq!(announced_after(&mut worker, ARRIVAL), [true, false, false]);
    let lines = Lines::of(slow, Protocol::Line, b"hello\n", 0, false, After::More, 10);
    worker.accept(Input::Lines { session: slow, lines });
    assert_eq!(announced_after(&mut worker, 1), [true, true, false]);
    assert_eq!(announced_after(&mut worker, FIRST_LINE - 2 * ARRIVAL - 2), [true, true, false]);
    assert_eq!(announced_after(&mut worker, 1), [true, true, true]);
}
