//! The send threads, one for each connection. A send thread writes the output that the main thread
//! has rendered, and blocks while its client reads slowly.

use super::peer::{Notice, Peer, Worker};
use crate::sys::socket::wait_for_input;
use crate::worker::closing::{Closing, Step};
use crossbeam_channel::Receiver;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, send};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Work for a send thread.
#[derive(Debug)]
pub(super) enum Chunk {
    /// Write these bytes.
    Bytes(Vec<u8>),
    /// All output is written: close the connection in order.
    Finish,
}

/// Runs a connection's send thread until it has closed the connection in order ([`Chunk::Finish`]),
/// or the other end of the queue is dropped.
pub(super) fn write(worker: &Worker, peer: &Peer, chunks: &Receiver<Chunk>) {
    for chunk in chunks {
        match chunk {
            Chunk::Bytes(bytes) => {
                if !peer.is_gone.load(Ordering::Relaxed) && write_all(peer, &bytes).is_err() {
                    // The end of its input will close the session.
                    peer.is_gone.store(true, Ordering::Relaxed);
                }
                if peer.count_out(bytes.len()) {
                    worker.notify(Notice::Out(peer.session()));
                }
            }
            Chunk::Finish => {
                close(peer);
                break;
            }
        }
    }
    // Wakes the receive thread, which may wait for input.
    peer.shut(Shutdown::Both);
    worker.notify(Notice::Over(peer.session()));
}

/// Blocks until all bytes are written or the main thread shuts the socket down.
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

/// Closes the connection in order, and waits until the client has closed its side, too.
pub(super) fn close(peer: &Peer) {
    let mut closing = Closing::begin(&peer.connection);
    loop {
        match closing.step(&peer.connection) {
            Step::Wait(until) => {
                let left = until.saturating_duration_since(Instant::now());
                if wait_for_input(peer.connection.as_fd(), Some(left)).is_err() {
                    return;
                }
            }
            Step::Close => return,
            Step::Reset => return peer.connection.reset_when_closed(),
        }
    }
}
