//! The send threads, one for each connection: it writes what the main thread has rendered, and
//! waits for a client that reads slowly.

use super::peer::{Notice, Peer, Worker};
use crate::sys::socket::{consume, wait_for_input};
use crate::worker::connection::{DISCARD_BYTES, LAST_WORDS, LINGER};
use crossbeam_channel::Receiver;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, send};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// What a send thread is given to do.
#[derive(Debug)]
pub(super) enum Chunk {
    /// Write these bytes.
    Bytes(Vec<u8>),
    /// Everything is written: end the connection as one does.
    Finish,
}

/// A connection's send thread. Ends with the connection; without [`Chunk::Finish`] at once, when
/// the queue's other end is let go.
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
                linger_for_session(peer);
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

/// Shuts the sending side, and throws away what still comes in until the peer's end. Closed with
/// input unread, a socket is reset, and the peer may lose the last words.
pub(super) fn linger(peer: &Peer) {
    discard(peer, |_, _| false);
}

/// The same for a session to which something was written: where the peer speaks on although it has
/// received everything, and had time to read it, the connection is reset, so that an `nc` in which
/// Enter is pressed notices.
fn linger_for_session(peer: &Peer) {
    if discard(peer, |since, has_spoken| {
        has_spoken && peer.connection.has_had_the_last_words(since)
    }) {
        peer.connection.reset_when_closed();
    }
}

/// Shuts the sending side and discards input until the peer's end, until [`LINGER`] is over, or
/// until `is_enough`, given since when it waits and whether input came: then gives back true.
fn discard(peer: &Peer, is_enough: impl Fn(Instant, bool) -> bool) -> bool {
    let mut has_spoken = peer.connection.discard_what_is_there();
    peer.shut(Shutdown::Write);
    let since = Instant::now();
    let deadline = since + LINGER;
    peer.connection.expect_more_than(0);
    loop {
        match consume(peer.connection.as_fd(), DISCARD_BYTES) {
            Ok(1..) => has_spoken = true,
            Err(Errno::EAGAIN | Errno::EINTR) => {
                let until = if has_spoken && since.elapsed() < LAST_WORDS {
                    since + LAST_WORDS
                } else {
                    deadline
                };
                let left = until.saturating_duration_since(Instant::now());
                if wait_for_input(peer.connection.as_fd(), Some(left)).is_err() {
                    return false;
                }
            }
            Ok(0) | Err(_) => return false,
        }
        if is_enough(since, has_spoken) {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
    }
}
