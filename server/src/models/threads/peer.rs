//! A connection, which three threads share: the main thread of its worker, its receive thread, its
//! send thread.

use crate::segment::Segment;
use crate::worker::connection::Connection;
use crossbeam_channel::Sender;
use forkchat_common::ids::{Sequence, SessionId, Slot};
use nix::sys::socket::{Shutdown, shutdown};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A connection. It is closed when the last of the three threads drops it.
#[derive(Debug)]
pub(super) struct Peer {
    /// The socket. The receive thread may use its input from a permit to its report that lines are
    /// in the log; the main thread may use it otherwise.
    pub connection: Connection,
    /// Output bytes that the send thread has finished: they are in the kernel, or the peer is gone.
    out: AtomicU64,
    /// The main thread wants a notice when the send thread has finished bytes.
    is_awaited: AtomicBool,
    /// The kernel's buffer is full: the client doesn't read.
    pub is_stuck: AtomicBool,
    /// The peer is gone: further output is dropped.
    pub is_gone: AtomicBool,
    /// The session is over: further input is dropped.
    is_over: AtomicBool,
}

/// A notice from a connection's thread to the main thread. A connection has at most three in the
/// queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// Lines of this session are in the log, up to `end`.
    Committed { session: SessionId, end: Sequence },
    /// Output of this session is finished, and the main thread has waited for it.
    Out(SessionId),
    /// This session's connection is ended.
    Over(SessionId),
    /// The peer of this session has reset the connection while its input may not be read.
    Broken(SessionId),
}

/// The data that the threads of a worker share.
#[derive(Clone, Debug)]
pub(super) struct Worker {
    pub segment: &'static Segment,
    pub me: Slot,
    notices: Sender<Notice>,
}

impl Worker {
    pub fn new(segment: &'static Segment, me: Slot, notices: Sender<Notice>) -> Worker {
        Worker { segment, me, notices }
    }

    /// Sends a notice to the main thread, and wakes it.
    pub fn notify(&self, notice: Notice) {
        // The main thread ends only with the process.
        let _ = self.notices.send(notice);
        self.segment.doorbells.ring(self.me);
    }
}

impl Peer {
    pub fn new(connection: Connection) -> Peer {
        Peer {
            connection,
            out: AtomicU64::new(0),
            is_awaited: AtomicBool::new(false),
            is_stuck: AtomicBool::new(false),
            is_gone: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        }
    }

    pub fn session(&self) -> SessionId {
        self.connection.session
    }

    /// The number of bytes that the send thread has finished.
    pub fn out(&self) -> u64 {
        self.out.load(Ordering::SeqCst)
    }

    /// Requests a notice when the send thread finishes bytes. The caller must look once more after
    /// this call, to see the bytes that were finished before.
    pub fn await_output(&self) {
        // SYNC output: with `count_out`. Either the main thread sees the finished bytes, or the
        // send thread sees that the main thread waits.
        self.is_awaited.store(true, Ordering::SeqCst);
    }

    /// Notes that the send thread has finished this many bytes. Returns whether the main thread
    /// waits for a notice.
    pub fn count_out(&self, bytes: usize) -> bool {
        self.out.fetch_add(bytes as u64, Ordering::SeqCst);
        // SYNC output.
        self.is_awaited.swap(false, Ordering::SeqCst)
    }

    /// Notes that the session is over.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    /// Whether the session is over.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Shuts down one side of the connection, or both. Threads that wait for that side wake up.
    pub fn shut(&self, how: Shutdown) {
        // Fails if it is closed already.
        let _ = shutdown(self.fd(), how);
    }

    pub fn fd(&self) -> RawFd {
        self.connection.as_fd().as_raw_fd()
    }
}
