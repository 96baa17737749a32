//! The send threads. One for each connection: it writes what the main thread has rendered, and waits for a client that reads slowly.

use super::peer::{Notice, Peer, Worker};
use crate::sys::socket::{consume, wait_for_input};
use crossbeam_channel::Receiver;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, send};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a closing connection's peer may take to send its end of input.
const LINGER: Duration = Duration::from_secs(2);
/// How much input of a closing connection is thrown away at a time.
const DISCARD_BYTES: usize = 1 << 20;

/// What a send thread is given to do.
#[derive(Debug)]
pub(super) enum Chunk {
    /// Write these bytes.
    Bytes(Vec<u8>),
    /// Everything is written: end the connection as one does.
    Finish,
}

/// A connection's send thread. Ends with the connection; without [`Chunk::Finish`] at once, when the queue's other end is let go.
pub(super) fn write(worker: &Worker, peer: &Peer, chunks: &Receiver<Chunk>) {
    for chunk in chunks {
        match chunk {
            Chunk::Bytes(bytes) => {
                if !peer.is_gone.load(Ordering::Relaxed) && write_all(peer, &bytes).is_err() {
                    // That it is gone is told by its input.
                    peer.is_gone.store(true, Ordering::Relaxed);
                }
                if peer.count_out(bytes.len()) {
                    worker.notify(Notice::Out(peer.session()));
                }
            }
            Chunk::Finish => {
                linger(peer);
                break;
            }
        }
    }
    // Its receive thread may wait for input.
    peer.shut(Shutdown::Both);
    worker.notify(Notice::Over(peer.session()));
}

/// Waits as long as it takes; until the main thread shuts the socket.
fn write_all(peer: &Peer, mut bytes: &[u8]) -> nix::Result<()> {
    let mut how = MsgFlags::MSG_DONTWAIT;
    while !bytes.is_empty() {
        match send(peer.fd(), bytes, MsgFlags::MSG_NOSIGNAL | how) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                peer.is_stuck.store(true, Ordering::Relaxed);
                how = MsgFlags::empty();
            }
            Err(errno) => return Err(errno),
        }
    }
    peer.is_stuck.store(false, Ordering::Relaxed);
    Ok(())
}

/// Shuts the sending side, and throws away what still comes in until the peer's end. Closed with input unread, a socket is reset, and the peer
/// may lose the last words.
pub(super) fn linger(peer: &Peer) {
    peer.shut(Shutdown::Write);
    let deadline = Instant::now() + LINGER;
    peer.connection.expect_more_than(0);
    loop {
        match consume(peer.connection.as_fd(), DISCARD_BYTES) {
            Ok(1..) => {}
            Err(Errno::EAGAIN | Errno::EINTR) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() || wait_for_input(peer.connection.as_fd(), Some(left)).is_err() {
                    return;
                }
            }
            Ok(0) | Err(_) => return,
        }
        if Instant::now() > deadline {
            return;
        }
    }
}
