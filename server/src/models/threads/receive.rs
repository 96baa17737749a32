//! The receive threads, one for each connection. A receive thread waits for input, peeks, appends,
//! consumes, and then waits until it may read on.

use super::peer::{Notice, Peer, Worker};
use crate::proposer::Proposer;
use crate::segment::{Segment, Thread};
use crate::sys::socket::{is_broken, wait_for_input};
use crate::worker::input::{Lines, PEEK_BYTES_MAX};
use crate::worker::peek::{Look, look};
use crate::worker::udp_socket::{DATAGRAM_BYTES_MAX, UdpReceiver};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use forkchat_common::endpoint::UdpPath;
use forkchat_common::ids::{Sequence, Slot};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a receive thread pauses after an event without new input, or a failed wait.
const QUIET: Duration = Duration::from_millis(50);
/// Without room in the log or its lock, it tries again after this.
const APPEND_AGAIN: Duration = Duration::from_millis(1);
/// While it may not read, it checks this often whether the peer has reset the connection.
const LOOK_AT_PEER: Duration = Duration::from_secs(1);
/// The most datagrams that are taken before the main thread is woken.
const BATCH: usize = 64;

/// Data that only one receive thread of a worker uses at a time. For the watchdog and the
/// quarantine, the thread with this lock is the worker's receive thread. Without this lock, the
/// threads would only wait for the log's lock instead.
#[derive(Debug)]
pub(super) struct ReceiveLock(Mutex<Receiving>);

#[derive(Debug)]
struct Receiving {
    buffer: Vec<u8>,
    proposer: Proposer<()>,
}

/// The permission to read the session's next lines, at most this many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Permit {
    pub lines_max: u32,
}

/// A datagram and both its addresses.
#[derive(Debug)]
pub(super) struct Datagram {
    pub path: UdpPath,
    pub bytes: Vec<u8>,
}

impl ReceiveLock {
    pub fn new(worker: &Worker) -> ReceiveLock {
        let proposer = Proposer::new(worker.segment, worker.me);
        ReceiveLock(Mutex::new(Receiving { buffer: vec![0; PEEK_BYTES_MAX], proposer }))
    }
}

/// Runs a connection's receive thread until its input ends or the session is over.
pub(super) fn receive(
    worker: &Worker,
    lock: &ReceiveLock,
    peer: &Peer,
    permits: &Receiver<Permit>,
) {
    while let Some(Permit { lines_max }) = next_permit(worker, peer, permits) {
        peer.connection.allow(lines_max);
        let Some(end) = read_lines(worker, lock, peer) else { return };
        worker.notify(Notice::Committed { session: peer.session(), end });
    }
}

/// Waits until the session's next lines may be read. Meanwhile, it checks now and then whether the
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

/// Waits for the next lines, and appends them. Returns their end in the log; `None` if there is no
/// more input.
fn read_lines(worker: &Worker, lock: &ReceiveLock, peer: &Peer) -> Option<Sequence> {
    let mut seen = 0;
    loop {
        peer.connection.expect_more_than(seen);
        let waited = wait_for_input(peer.connection.as_fd(), None);
        if peer.is_over() {
            return None;
        }
        let Ok(flags) = waited else {
            // The wait failed, for want of memory.
            std::thread::sleep(QUIET);
            continue;
        };
        let mut receiving = lock.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Receiving { buffer, proposer } = &mut *receiving;
        let heartbeats = &worker.segment.heartbeats;
        heartbeats.begin_turn(worker.me, Thread::Receive);
        let mut found = look(worker.segment, worker.me, &peer.connection, buffer, flags);
        let committed = match &mut found {
            Look::Lines(lines) => Some(commit(worker, peer, proposer, lines)),
            Look::Skipped | Look::Nothing { .. } => None,
        };
        heartbeats.end_turn(worker.me, Thread::Receive);
        drop(receiving);
        match found {
            Look::Lines(lines) if lines.ends.is_some() => {
                // The input has ended, and no permit follows. The appended record closes the
                // session.
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

/// Lets the proposer append the lines and consume their input. Returns their end in the log.
fn commit(
    worker: &Worker,
    peer: &Peer,
    proposer: &mut Proposer<()>,
    lines: &mut Lines,
) -> Sequence {
    let batch = std::mem::take(&mut lines.batch);
    proposer.propose_input(peer.session(), lines.consume, batch, ());
    loop {
        proposer.commit(|_, bytes| peer.connection.consume(bytes));
        if let Some((end, ())) = proposer.take_appended() {
            return end;
        }
        // A thread that waits for room or for the lock is not busy, for the watchdog.
        worker.segment.heartbeats.end_turn(worker.me, Thread::Receive);
        std::thread::sleep(APPEND_AGAIN);
        worker.segment.heartbeats.begin_turn(worker.me, Thread::Receive);
    }
}

/// Runs the UDP socket's receive thread.
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
            // If the queue is full the datagram is lost, as datagrams may be.
            let _ = datagrams.try_send(Datagram { path, bytes });
        }
        segment.doorbells.ring(me);
    }
}
