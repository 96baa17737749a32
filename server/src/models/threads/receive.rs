//! The receive threads, one for each connection: it waits for input, peeks, appends, consumes, and
//! then waits until it may read on.

use super::peer::{Notice, Peer, Worker};
use crate::segment::{AppendError, Segment, Thread};
use crate::sys::socket::{is_broken, wait_for_input};
use crate::worker::input::{Lines, PEEK_BYTES_MAX};
use crate::worker::peek::{Look, look};
use crate::worker::serving::append_or_want_room;
use crate::worker::udp_socket::{DATAGRAM_BYTES_MAX, UdpReceiver};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use forkchat_common::endpoint::UdpPath;
use forkchat_common::ids::{Sequence, Slot};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// When nothing new has come although something was said to have come, or the system can't wait,
/// one doesn't look again at once.
const QUIET: Duration = Duration::from_millis(50);
/// Without room in the log, or without its lock, one tries again after this.
const APPEND_AGAIN: Duration = Duration::from_millis(1);
/// While its session may not be read, a receive thread looks so often whether the peer is gone.
const LOOK_AT_PEER: Duration = Duration::from_secs(1);
/// Datagrams that are taken before the main thread is rung.
const BATCH: usize = 64;

/// What only one receive thread of a worker uses at a time: it is the worker's receive thread to
/// whoever looks from outside, and what it is at is what the worker's receive thread is at. They
/// would only wait for each other at the log's lock.
#[derive(Debug)]
pub(super) struct Desk {
    buffer: Mutex<Vec<u8>>,
}

/// The session's next lines may be read, so many at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Permit {
    pub lines_max: u32,
}

/// A datagram, where it comes from, and to which of our addresses.
#[derive(Debug)]
pub(super) struct Datagram {
    pub path: UdpPath,
    pub bytes: Vec<u8>,
}

impl Desk {
    pub fn new() -> Desk {
        Desk { buffer: Mutex::new(vec![0; PEEK_BYTES_MAX]) }
    }
}

/// A connection's receive thread. Ends with its input, or when the session is over.
pub(super) fn receive(worker: &Worker, desk: &Desk, peer: &Peer, permits: &Receiver<Permit>) {
    while let Some(Permit { lines_max }) = next_permit(worker, peer, permits) {
        peer.connection.allow(lines_max);
        let Some(end) = read_lines(worker, desk, peer) else { return };
        worker.notify(Notice::Committed { session: peer.session(), end });
    }
}

/// Waits until the session's next lines may be read; meanwhile it looks now and then whether the
/// peer has reset the connection. `None` if the session is over.
fn next_permit(worker: &Worker, peer: &Peer, permits: &Receiver<Permit>) -> Option<Permit> {
    loop {
        if is_broken(peer.connection.as_fd()) {
            worker.notify(Notice::Broken(peer.session()));
            return permits.recv().ok();
        }
        match permits.recv_timeout(LOOK_AT_PEER) {
            Ok(permit) => return Some(permit),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Waits for the next lines, and puts them into the log: where they end there. `None` if there
/// won't be any.
fn read_lines(worker: &Worker, desk: &Desk, peer: &Peer) -> Option<Sequence> {
    let mut seen = 0;
    loop {
        peer.connection.expect_more_than(seen);
        let waited = wait_for_input(peer.connection.as_fd(), None);
        if peer.is_over() {
            return None;
        }
        let Ok(flags) = waited else {
            // The system can't now.
            std::thread::sleep(QUIET);
            continue;
        };
        let mut buffer = desk.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        worker.segment.heartbeats.begin_turn(worker.me, Thread::Receive);
        let found = look(worker.segment, worker.me, &peer.connection, &mut buffer, flags);
        let committed =
            if let Look::Lines(lines) = &found { Some(commit(worker, peer, lines)) } else { None };
        worker.segment.heartbeats.end_turn(worker.me, Thread::Receive);
        drop(buffer);
        match found {
            Look::Lines(lines) if lines.ends.is_some() => {
                // Nothing of it is read any more; what is in the log tells the rest.
                worker.segment.doorbells.ring(worker.me);
                return None;
            }
            Look::Lines(_) => return committed,
            Look::Skipped => seen = 0,
            Look::Nothing { rest } => {
                if rest <= seen {
                    std::thread::sleep(QUIET);
                }
                seen = rest;
            }
        }
    }
}

/// Appends, and then consumes.
fn commit(worker: &Worker, peer: &Peer, lines: &Lines) -> Sequence {
    loop {
        match append_or_want_room(worker.segment, worker.me, &lines.batch) {
            Ok(end) => {
                peer.connection.consume(lines.consume);
                return end;
            }
            Err(AppendError::TooLarge) => {
                panic!("no look makes more than a batch may be: {} blocks", lines.batch.blocks())
            }
            // Waiting is not being busy.
            Err(AppendError::Busy | AppendError::Full) => {
                worker.segment.heartbeats.end_turn(worker.me, Thread::Receive);
                std::thread::sleep(APPEND_AGAIN);
                worker.segment.heartbeats.begin_turn(worker.me, Thread::Receive);
            }
        }
    }
}

/// The UDP socket's receive thread.
pub(super) fn receive_datagrams(
    segment: &Segment,
    me: Slot,
    udp: &UdpReceiver,
    datagrams: &Sender<Datagram>,
) -> ! {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        if wait_for_input(udp.as_fd(), None).is_err() {
            std::thread::sleep(QUIET);
        }
        for (path, bytes) in std::iter::from_fn(|| udp.receive(&mut buffer)).take(BATCH) {
            // Without room it is lost, as datagrams are.
            let _ = datagrams.try_send(Datagram { path, bytes });
        }
        segment.doorbells.ring(me);
    }
}
