use super::*;
use crate::segment::{Checkpoint, Geometry, SnapshotWriter};
use crate::worker::Bounds;
use crate::worker::fakes::{FakeSockets, dropped, never, origin, path, peer, udp_config};
use crate::worker::input::Input;
use crate::worker::serving::ServingConfig;
use forkchat_common::ids::Slot;
use forkchat_common::protocol::Protocol;
use forkchat_common::protocol::framing::After;

const ME: Slot = Slot::at(0);
const JOURNAL: Slot = Slot::at(1);

/// Cells 0 to 3 are for TCP, 4 and 5 for UDP.
fn new_log() -> &'static Segment {
    Segment::create(Geometry {
        ring_bytes: 1 << 20,
        slots: 2,
        sessions_max: 6,
        snapshot_bytes_max: 1 << 16,
    })
    .unwrap()
}

fn config() -> ServingConfig {
    let udp = Some(udp_config(4..6, None));
    ServingConfig {
        pid: 1,
        outboxes: Bounds { sendq: 1 << 20, together: usize::MAX },
        rejected_max: 1,
        journal: JOURNAL,
        stopping: never(),
        dropped: dropped(),
        udp,
        stand_in: None,
    }
}

fn join(segment: &'static Segment, sockets: FakeSockets) -> Serving<FakeSockets> {
    super::join(segment, ME, config(), sockets, Vec::new()).unwrap()
}

/// Opens a TCP session in this cell. It sends an empty line, so the other sessions are notified of
/// it.
fn open(worker: &mut Serving<FakeSockets>, cell: usize) -> SessionId {
    let session = SessionId::new(1, cell);
    let lines = Lines::of(session, Protocol::Line, b"\n", 0, false, After::More, 10);
    worker.accept(Input::Opened { session, origin: origin(1), connection: (), lines });
    worker.turn();
    session
}

/// The successor of a worker that died between two turns, with these TCP sessions.
fn successor(predecessor: Serving<FakeSockets>, sessions: &[SessionId]) -> Serving<FakeSockets> {
    let inherited = sessions
        .iter()
        .map(|&session| Inherited { session, origin: origin(1), connection: () })
        .collect();
    super::join(predecessor.segment, ME, config(), predecessor.outgoing.sockets, inherited).unwrap()
}

fn send_over_udp(worker: &mut Serving<FakeSockets>, port: u16, line: &[u8]) {
    worker.accept(Input::Datagram { path: path(port), bytes: line.to_vec() });
    worker.turn();
}

/// Opens a UDP session from this port.
fn open_udp(worker: &mut Serving<FakeSockets>, port: u16) -> SessionId {
    send_over_udp(worker, port, &[b'x'; 30]);
    let (_, answer) = worker.outgoing.sockets.answers.pop().unwrap();
    send_over_udp(worker, port, answer.strip_prefix(b"* ").unwrap());
    let opened = worker.chat().sessions_of(ME).find(|session| session.origin.peer == peer(port));
    opened.unwrap().id
}

#[test]
fn a_session_whose_positions_cannot_be_read_is_closed_and_its_neighbours_go_on() {
    let mut predecessor = join(new_log(), FakeSockets::open());
    let sessions = [0, 1, 2].map(|cell| open(&mut predecessor, cell));
    let [first, lost, last] = sessions;
    predecessor.outgoing.sockets.unreadable.insert(lost);
    let received_before = predecessor.outgoing.sockets.received(first).len();
    let mut worker = successor(predecessor, &sessions);
    worker.turn();
    assert_eq!(worker.outgoing.sockets.finished, [(lost, Ending::Drop)]);
    let lines = Lines::of(last, Protocol::Line, b"hello\n", 1, false, After::More, 10);
    worker.accept(Input::Lines { session: last, lines });
    worker.turn();
    assert_eq!(
        [first, lost, last].map(|session| worker.chat().session(session).is_some()),
        [true, false, true]
    );
    let received =
        String::from_utf8_lossy(&worker.outgoing.sockets.received(first)[received_before..]);
    assert!(
        received.contains(CloseReason::WorkerDied.as_str()) && received.contains("hello"),
        "{received}"
    );
}

#[test]
fn the_cell_of_an_ended_udp_session_is_not_reused_before_its_last_output_is_sent() {
    let mut predecessor = join(new_log(), FakeSockets::not_reading());
    let ended = open_udp(&mut predecessor, 1);
    send_over_udp(&mut predecessor, 1, b"/quit\n");
    let mut worker = successor(predecessor, &[]);
    assert!(worker.chat().session(ended).is_none());
    let other = open_udp(&mut worker, 2);
    assert_ne!(other.cell(), ended.cell());
    worker.outgoing.sockets.write_max = usize::MAX;
    worker.writable(ended);
    worker.turn();
    assert_eq!(worker.outgoing.sockets.finished, [(ended, Ending::Finish)]);
    assert_eq!(open_udp(&mut worker, 3).cell(), ended.cell());
}

#[test]
fn a_udp_session_that_is_over_receives_nothing_again_when_another_session_lags() {
    let mut predecessor = join(new_log(), FakeSockets::not_reading());
    // Its output waits in its outbox from the beginning.
    let lagging = open(&mut predecessor, 0);
    predecessor.outgoing.sockets.write_max = usize::MAX;
    let ended = open_udp(&mut predecessor, 2);
    send_over_udp(&mut predecessor, 2, b"/quit\n");
    let received = predecessor.outgoing.sockets.received(ended).to_vec();
    let answers = predecessor.outgoing.sockets.answers.len();
    assert!(!received.is_empty());
    assert_eq!(predecessor.outgoing.sockets.received(lagging), b"");
    let mut worker = successor(predecessor, &[lagging]);
    worker.turn();
    let sockets = &worker.outgoing.sockets;
    assert_eq!(sockets.received(ended), received);
    assert_eq!(sockets.answers.len(), answers, "no challenge is sent again");
    assert!(!sockets.received(lagging).is_empty());
}

#[test]
fn a_udp_session_whose_output_begins_before_the_snapshot_is_closed() {
    let segment = new_log();
    let mut predecessor = join(segment, FakeSockets::open());
    let session = open_udp(&mut predecessor, 2);
    let checkpoint = segment.checkpoints.get(session.cell()).unwrap();
    send_over_udp(&mut predecessor, 2, b"hello\n");
    let tail = segment.log.tail();
    let mut snapshots = SnapshotWriter::new(&segment.snapshots, &segment.log, JOURNAL);
    assert!(snapshots.write(tail, &predecessor.chat().snapshot()) && snapshots.publish(tail));
    segment.checkpoints.store(Checkpoint { is_lagging: true, ..checkpoint });
    let mut worker = successor(predecessor, &[]);
    worker.turn();
    assert!(worker.chat().session(session).is_none());
    assert_eq!(worker.outgoing.sockets.finished, [(session, Ending::Drop)]);
    assert_eq!(segment.checkpoints.get(session.cell()), None);
}

#[test]
fn the_cell_of_an_ended_udp_session_without_unsent_output_is_cleared_and_reused() {
    let segment = new_log();
    let mut predecessor = join(segment, FakeSockets::open());
    let ended = open_udp(&mut predecessor, 1);
    let checkpoint = segment.checkpoints.get(ended.cell()).unwrap();
    send_over_udp(&mut predecessor, 1, b"/quit\n");
    assert_eq!(segment.checkpoints.get(ended.cell()), None);
    // As if the predecessor had died right before it cleared the cell, and the snapshot contained
    // the end.
    segment.checkpoints.store(checkpoint);
    let mut snapshots = SnapshotWriter::new(&segment.snapshots, &segment.log, JOURNAL);
    assert!(
        snapshots.write(segment.log.tail(), &predecessor.chat().snapshot())
            && snapshots.publish(segment.log.tail())
    );
    let mut worker = successor(predecessor, &[]);
    assert_eq!(segment.checkpoints.get(ended.cell()), None);
    worker.turn();
    assert_eq!(open_udp(&mut worker, 2).cell(), ended.cell());
}
