//! The main thread's side of the connections, and the thread pool of their threads.
//!
//! A connection gets its two threads before its first input or output. If the system can't give
//! both, the connection waits until it can.

use super::peer::{Notice, Peer, Worker};
use super::receive::{Permit, ReceiveLock, receive};
use super::send::{Chunk, close, write};
use crate::chat::Ending;
use crate::sys::process::set_name;
use crate::sys::tcp_position::{Positions, positions};
use crate::sys::threads::can_start_threads;
use crate::worker::connection::{Connection, lines_per_peek};
use crate::worker::rejecting::Rejecting;
use crate::worker::routes::{Route, Routes};
use crate::worker::sockets::{Sockets, Written};
use crate::worker::udp_socket::UdpSender;
use crossbeam_channel::{Sender, TrySendError, bounded};
use forkchat_common::endpoint::UdpPath;
use forkchat_common::ids::SessionId;
use nix::sys::epoll::Epoll;
use nix::sys::socket::Shutdown;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};
use threadpool::ThreadPool;

/// A thread's stack: enough for these threads, and small, since there are two for each connection.
/// Only its used pages take memory.
pub(super) const STACK_BYTES: usize = 64 * 1024;
/// The name of a thread that waits in the thread pool.
const IDLE: &str = "idle";
/// The number of threads of a connection.
const THREADS_EACH: usize = 2;
/// The pool grows by at least this many threads: checking that the system has room for many takes
/// hardly longer than for one.
const GROW_MIN: usize = 16;
/// The most chunks that may wait for a send thread. Each is the output that one turn of the main
/// thread rendered for the client.
const CHUNKS: usize = 4;
/// How long the main thread waits for a send thread to get its turn on a busy machine.
const HURRY: Duration = Duration::from_millis(500);
/// How often it checks during that wait.
const HURRY_AGAIN: Duration = Duration::from_micros(100);
/// If the system gives no threads, the worker tries again after this.
const THREADS_AGAIN: Duration = Duration::from_millis(50);

/// The connections of a worker.
pub(super) struct ThreadSockets {
    worker: Worker,
    receive_lock: Arc<ReceiveLock>,
    pool: ThreadPool,
    routes: Routes<Stream>,
    epoll: Arc<Epoll>,
    udp: Option<UdpSender>,
    /// Sessions that wait for threads.
    starved: Vec<SessionId>,
    /// Sessions whose connections have ended, and that the supervisor has to be notified of.
    ended: Vec<SessionId>,
    /// Connections that are not ended yet.
    open: usize,
    /// The rejected connections.
    pub rejecting: Rejecting,
    is_drained: bool,
    /// The system gave no threads. For a waiting connection it is not asked again before this.
    retry_threads_at: Option<Instant>,
    /// Whether this lack of threads was logged.
    is_shortage_logged: bool,
}

struct Stream {
    peer: Arc<Peer>,
    /// Output bytes that were passed to its send thread.
    passed: u64,
    /// The channels to its threads, when it has some.
    threads: Option<Threads>,
}

struct Threads {
    permits: Sender<Permit>,
    chunks: Sender<Chunk>,
}

impl ThreadSockets {
    /// No connections. `epoll` is the main thread's. At most `rejected_max` rejected
    /// connections may be open at a time.
    pub fn new(
        worker: Worker,
        epoll: Arc<Epoll>,
        udp: Option<UdpSender>,
        rejected_max: usize,
    ) -> ThreadSockets {
        let pool = threadpool::Builder::new().num_threads(1).thread_stack_size(STACK_BYTES).build();
        ThreadSockets {
            receive_lock: Arc::new(ReceiveLock::new(&worker)),
            worker,
            pool,
            routes: Routes::default(),
            epoll,
            udp,
            starved: Vec::new(),
            ended: Vec::new(),
            open: 0,
            rejecting: Rejecting::new(rejected_max),
            is_drained: false,
            retry_threads_at: None,
            is_shortage_logged: false,
        }
    }

    /// Prepares for this many further connections: the pool grows once for all of them, if it can.
    pub fn expect(&mut self, connections: usize) {
        self.has_threads(THREADS_EACH * connections);
        // For one of them there may be enough all the same.
        self.retry_threads_at = None;
    }

    /// Runs a job in a thread of the pool. The job may block. False if the system gives no thread.
    pub fn run(&mut self, job: impl FnOnce() + Send + 'static) -> bool {
        let is_possible = self.has_threads(1);
        if is_possible {
            self.pool.execute(job);
        }
        is_possible
    }

    /// Takes the sessions whose connections have ended since the last call.
    pub fn take_ended(&mut self) -> impl Iterator<Item = SessionId> + use<> {
        std::mem::take(&mut self.ended).into_iter()
    }

    /// Whether [`Sockets::drained`] was called since the last call of this.
    pub fn take_drained(&mut self) -> bool {
        std::mem::take(&mut self.is_drained)
    }

    /// Whether some connection is not ended yet.
    pub fn has_connections(&self) -> bool {
        self.open > 0 || !self.rejecting.is_empty()
    }

    /// Takes the sessions whose output may be tried again: those that waited for threads and, if
    /// `udp_takes_more`, those that the UDP socket blocked.
    pub fn take_blocked(&mut self, udp_takes_more: bool) -> Vec<SessionId> {
        let mut blocked = Vec::new();
        if self.may_ask_for_threads() {
            blocked.append(&mut self.starved);
        }
        if udp_takes_more && let Some(udp) = &mut self.udp {
            blocked.append(&mut udp.take_blocked());
        }
        blocked
    }

    /// How long until the next attempt to start threads or to close rejected connections, at most.
    pub fn retry_in(&self) -> Duration {
        let threads = match self.retry_threads_at {
            _ if self.starved.is_empty() => Duration::MAX,
            Some(at) => at.saturating_duration_since(Instant::now()),
            None => Duration::ZERO,
        };
        threads.min(self.rejecting.next_check())
    }

    /// Notes that a session's threads have ended its connection.
    pub fn ended(&mut self, session: SessionId) {
        self.open -= 1;
        self.ended.push(session);
    }

    /// Makes sure that the pool has free threads for `more` jobs. False if the system gives no
    /// threads.
    fn has_threads(&mut self, more: usize) -> bool {
        let missing = self.missing_threads(more);
        missing == 0 || self.grow(missing)
    }

    /// How many threads the pool lacks for `more` jobs.
    fn missing_threads(&self, more: usize) -> usize {
        // Reads the queued count first: a thread that takes a job adds it to the active count
        // before it removes it from the queued count, so no job is missed.
        let queued = self.pool.queued_count();
        // The pool counts with sequentially consistent additions, but reads its counters relaxed.
        fence(Ordering::Acquire);
        (queued + self.pool.active_count() + more).saturating_sub(self.pool.max_count())
    }

    fn grow(&mut self, missing: usize) -> bool {
        let has_grown = self.grow_by(missing.max(GROW_MIN)) || self.grow_by(missing);
        if !has_grown && !self.is_shortage_logged {
            log::warn!("cannot start more threads; new connections wait, the others go on");
        }
        self.is_shortage_logged = !has_grown;
        self.retry_threads_at = (!has_grown).then(|| Instant::now() + THREADS_AGAIN);
        has_grown
    }

    fn may_ask_for_threads(&self) -> bool {
        self.retry_threads_at.is_none_or(|at| Instant::now() >= at)
    }

    fn grow_by(&mut self, threads: usize) -> bool {
        // The pool panics if the system gives it no thread.
        let is_possible = can_start_threads(threads, STACK_BYTES);
        if is_possible {
            self.pool.set_num_threads(self.pool.max_count() + threads);
        }
        is_possible
    }

    /// Ends the connection of a session that has no threads, since nothing was written to it here.
    fn finish_without_threads(&mut self, peer: Arc<Peer>, ending: Ending) {
        let worker = self.worker.clone();
        let session = peer.session();
        let has_thread = ending == Ending::Finish
            && self.run(move || {
                close(&peer);
                worker.notify(Notice::Over(session));
            });
        if !has_thread {
            self.ended(session);
        }
    }

    /// Starts the threads of a session's connection, if it has none. False if the system gives
    /// none.
    fn start_threads(&mut self, session: SessionId) -> bool {
        match self.routes.stream(session) {
            None => return false,
            Some(stream) if stream.threads.is_some() => return true,
            Some(_) => {}
        }
        let missing = self.missing_threads(THREADS_EACH);
        if missing > 0 && !(self.may_ask_for_threads() && self.grow(missing)) {
            return false;
        }
        // The last shortage is over, also if threads became free without a new one.
        self.is_shortage_logged &= !self.starved.is_empty();
        let (permits, permitted) = bounded(1);
        let (chunks, to_write) = bounded(CHUNKS);
        let Some(stream) = self.routes.stream(session) else { return false };
        stream.threads = Some(Threads { permits, chunks });
        let peer = stream.peer.clone();
        let (worker, lock, receiving) =
            (self.worker.clone(), self.receive_lock.clone(), peer.clone());
        self.pool.execute(move || {
            set_name(&format!("receive {}", session.cell()));
            receive(&worker, &lock, &receiving, &permitted);
            set_name(IDLE);
        });
        let worker = self.worker.clone();
        self.pool.execute(move || {
            set_name(&format!("send {}", session.cell()));
            write(&worker, &peer, &to_write);
            set_name(IDLE);
        });
        true
    }
}

impl Stream {
    /// Passes bytes to the send thread, unless its queue is full.
    fn pass(&mut self, bytes: &[u8]) -> Written {
        let Some(threads) = &self.threads else { return Written::Blocked };
        let mut passed = threads.chunks.try_send(Chunk::Bytes(bytes.to_vec()));
        if let Err(TrySendError::Full(chunk)) = passed {
            self.peer.await_output();
            passed = threads.chunks.try_send(chunk);
        }
        match passed {
            Ok(()) => {
                self.passed += bytes.len() as u64;
                Written::Bytes(bytes.len())
            }
            Err(TrySendError::Full(_)) => Written::Blocked,
            Err(TrySendError::Disconnected(_)) => Written::Gone,
        }
    }

    fn in_flight(&self) -> usize {
        (self.passed - self.peer.out()) as usize
    }
}

impl Sockets for ThreadSockets {
    type Connection = Connection;

    fn add(&mut self, session: SessionId, connection: Connection) {
        let peer = Arc::new(Peer::new(connection));
        self.routes.insert(session, Route::Stream(Stream { peer, passed: 0, threads: None }));
        self.open += 1;
    }

    fn add_peer(&mut self, session: SessionId, path: UdpPath) {
        self.routes.insert(session, Route::Datagrams(path));
    }

    fn write(&mut self, session: SessionId, bytes: &[u8], number: u64) -> Written {
        if let Some(&mut Route::Datagrams(path)) = self.routes.get(session) {
            return self
                .udp
                .as_mut()
                .map_or(Written::Gone, |udp| udp.write(session, path, bytes, number, &self.epoll));
        }
        let has_threads = self.start_threads(session);
        match self.routes.stream(session) {
            None => Written::Gone,
            Some(stream) if stream.peer.is_gone.load(Ordering::Relaxed) => Written::Gone,
            Some(stream) if has_threads => stream.pass(bytes),
            Some(_) => {
                self.starved.push(session);
                Written::Blocked
            }
        }
    }

    fn in_flight(&mut self, session: SessionId, is_urgent: bool) -> usize {
        let Some(stream) = self.routes.stream(session) else { return 0 };
        if is_urgent && stream.in_flight() > 0 {
            stream.peer.await_output();
        }
        stream.in_flight()
    }

    fn hurry(&mut self, session: SessionId) -> bool {
        let Some(stream) = self.routes.stream(session) else { return false };
        let in_kernel = stream.peer.out();
        let deadline = Instant::now() + HURRY;
        while stream.in_flight() > 0
            && !stream.peer.is_stuck.load(Ordering::Relaxed)
            && Instant::now() < deadline
        {
            if stream.peer.out() != in_kernel {
                return true;
            }
            std::thread::sleep(HURRY_AGAIN);
        }
        stream.peer.out() != in_kernel
    }

    fn unread(&mut self, session: SessionId) -> usize {
        self.routes.stream(session).map_or(0, |stream| stream.peer.connection.unread())
    }

    fn consume(&mut self, session: SessionId, len: usize) {
        if let Some(stream) = self.routes.stream(session) {
            stream.peer.connection.consume(len);
        }
    }

    fn arm(&mut self, session: SessionId, lines_max: u64) -> bool {
        let is_possible = self.start_threads(session);
        match self.routes.stream(session) {
            Some(Stream { threads: Some(threads), .. }) => {
                // There is at most one permit at a time. A receive thread that has ended needs
                // none.
                let _ = threads.permits.try_send(Permit { lines_max: lines_per_peek(lines_max) });
                true
            }
            Some(_) => is_possible,
            None => true,
        }
    }

    fn finish(&mut self, session: SessionId, ending: Ending) {
        let Some(Route::Stream(Stream { peer, threads, .. })) = self.routes.take(session) else {
            return;
        };
        peer.end();
        if ending == Ending::Drop {
            // The client doesn't read. The kernel discards its unsent output when the last
            // descriptor is closed. The shutdown wakes the threads that wait for the socket.
            peer.connection.reset_when_closed();
            peer.shut(Shutdown::Both);
        }
        match threads {
            // Its queue is empty, since all output is in the kernel.
            Some(threads) if ending == Ending::Finish => {
                drop(threads.chunks.try_send(Chunk::Finish))
            }
            // The send thread ends the connection when the other end of its queue is dropped.
            Some(_) => {}
            None => self.finish_without_threads(peer, ending),
        }
    }

    fn positions(&mut self, session: SessionId) -> Option<Positions> {
        let found = positions(self.routes.stream(session)?.peer.connection.as_fd());
        found
            .inspect_err(|errno| {
                log::error!("cannot read the kernel's counters of session {session}: {errno}")
            })
            .ok()
    }

    fn resume_input(&mut self, session: SessionId, taken: u64, in_long_line: bool) {
        if let Some(stream) = self.routes.stream(session) {
            stream.peer.connection.resume(taken, in_long_line);
        }
    }

    fn answer_unknown_peer(&mut self, path: UdpPath, bytes: &[u8]) {
        if let Some(udp) = &self.udp {
            // Lost if the socket is full: the client sends its datagram again.
            let _ = udp.send(path, bytes);
        }
    }

    fn drained(&mut self) {
        self.is_drained = true;
    }
}
