//! A connection, as its three threads share it: the main thread of its worker, its receive thread,
//! its send thread.

use crate::segment::Segment;
use crate::worker::connection::Connection;
use crossbeam_channel::Sender;
use forkchat_common::ids::{Sequence, SessionId, Slot};
use nix::sys::socket::{Shutdown, shutdown};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A connection. Closed when the last of the three lets go of it.
#[derive(Debug)]
pub(super) struct Peer {
    /// Its socket. The input is the receive thread's from the time that it may read until it has
    /// said that lines are in the log, else the main thread's.
    pub connection: Connection,
    /// Output bytes that the send thread was given and has done with: they are in the kernel, or
    /// nobody will ever read them.
    out: AtomicU64,
    /// The main thread wants to know when the send thread has done something.
    is_awaited: AtomicBool,
    /// The kernel takes no more for now: the client doesn't read.
    pub is_stuck: AtomicBool,
    /// Nothing that is written comes anywhere any more.
    pub is_gone: AtomicBool,
    /// The session is over: what still comes in is nobody's.
    is_over: AtomicBool,
}

/// What a connection's threads tell the main thread. A connection has at most three under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// Lines of this session are in the log, up to there.
    Committed { session: SessionId, end: Sequence },
    /// Output of this session is out, which somebody waited for.
    Out(SessionId),
    /// This session's connection is ended.
    Over(SessionId),
    /// The peer of this session, which may not be read now, has reset the connection.
    Broken(SessionId),
}

/// What the threads of a worker have in common.
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

    /// Tells the main thread something.
    pub fn notify(&self, notice: Notice) {
        // It ends only with the process.
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

    /// How many of the bytes that the send thread was given it has done with.
    pub fn out(&self) -> u64 {
        self.out.load(Ordering::SeqCst)
    }

    /// The main thread wants to know when the send thread has done something. What it has done
    /// before is seen when one looks again after this.
    pub fn await_output(&self) {
        // SYNC output: with `count_out`. Either the main thread sees what is out, or the send
        // thread sees that it waits.
        self.is_awaited.store(true, Ordering::SeqCst);
    }

    /// The send thread has done with so many bytes. Whether somebody waits for that.
    pub fn count_out(&self, bytes: usize) -> bool {
        self.out.fetch_add(bytes as u64, Ordering::SeqCst);
        // SYNC output.
        self.is_awaited.swap(false, Ordering::SeqCst)
    }

    /// The session is over.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    /// Whether the session is over.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Ends one side of the connection, or both: whoever waits for that side doesn't any more.
    pub fn shut(&self, how: Shutdown) {
        // Fails if it is ended already.
        let _ = shutdown(self.fd(), how);
    }

    pub fn fd(&self) -> RawFd {
        self.connection.as_fd().as_raw_fd()
    }
}
