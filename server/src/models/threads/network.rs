//! The main thread's side of the connections, and the thread pool that their threads come from.
//!
//! A connection gets its two threads when something is to be read from it or written to it for the
//! first time. If the system can't give both, they wait until it can.

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

/// A thread's stack: enough for what these threads do, and little, since there are two for each
/// connection. Only what is used of it takes memory.
pub(super) const STACK_BYTES: usize = 64 * 1024;
/// What a thread is called that waits in the thread pool.
const IDLE: &str = "idle";
/// Threads that a connection has.
const THREADS_EACH: usize = 2;
/// The pool grows by so many threads at least: to ask the system for many at once takes hardly
/// longer than for one.
const GROW_MIN: usize = 16;
/// What a send thread may have before it: each is what one turn of the main thread rendered for its
/// client.
const CHUNKS: usize = 4;
/// A send thread whose client reads may take so long to have its turn, on a machine that has much
/// to do.
const HURRY: Duration = Duration::from_millis(500);
/// One looks this often whether it had.
const HURRY_AGAIN: Duration = Duration::from_micros(100);
/// When the system gives no thread, it is asked again after this.
const THREADS_AGAIN: Duration = Duration::from_millis(50);

/// The connections of a worker.
pub(super) struct Network {
    worker: Worker,
    receive_lock: Arc<ReceiveLock>,
    pool: ThreadPool,
    routes: Routes<Stream>,
    epoll: Arc<Epoll>,
    udp: Option<UdpSender>,
    /// Those for which there were no threads.
    starved: Vec<SessionId>,
    /// Those whose connection has ended, and of whom the supervisor is to be told.
    ended: Vec<SessionId>,
    /// Connections that are not ended yet.
    open: usize,
    /// Connections that are rejected.
    pub rejecting: Rejecting,
    is_drained: bool,
    /// The system gave no threads, and is not asked again before this.
    retry_threads_at: Option<Instant>,
}

struct Stream {
    peer: Arc<Peer>,
    /// Output bytes that its send thread was given.
    given: u64,
    /// To its threads, when it has them.
    threads: Option<Threads>,
}

struct Threads {
    permits: Sender<Permit>,
    chunks: Sender<Chunk>,
}

impl Network {
    /// No connections yet. `epoll` is the main thread's; of the connections that are rejected at
    /// most `rejected_max` may be open at a time.
    pub fn new(
        worker: Worker,
        epoll: Arc<Epoll>,
        udp: Option<UdpSender>,
        rejected_max: usize,
    ) -> Network {
        let pool = threadpool::Builder::new().num_threads(1).thread_stack_size(STACK_BYTES).build();
        Network {
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
        }
    }

    /// So many connections are about to be added: the pool grows once for all of them, if it can.
    pub fn expect(&mut self, connections: usize) {
        self.has_threads(THREADS_EACH * connections);
    }

    /// Has a thread of the pool do something that may take as long as it likes. False if the system
    /// gives no thread.
    pub fn run(&mut self, job: impl FnOnce() + Send + 'static) -> bool {
        let is_possible = self.has_threads(1);
        if is_possible {
            self.pool.execute(job);
        }
        is_possible
    }

    /// Those whose connection has ended since the last call.
    pub fn take_ended(&mut self) -> impl Iterator<Item = SessionId> + use<> {
        std::mem::take(&mut self.ended).into_iter()
    }

    /// Whether nothing is left to write since the last call.
    pub fn take_drained(&mut self) -> bool {
        std::mem::take(&mut self.is_drained)
    }

    /// Whether some connection is not ended yet.
    pub fn has_connections(&self) -> bool {
        self.open > 0 || !self.rejecting.is_empty()
    }

    /// Those whose output may be tried again: for want of threads, or if `udp_takes_more`.
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

    /// In what time at the latest to try again what failed for want of threads, and to look after
    /// the connections that are rejected.
    pub fn again(&self) -> Duration {
        let retry_at = self.retry_threads_at.filter(|_| !self.starved.is_empty());
        let threads =
            retry_at.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
        threads.min(self.rejecting.next_look())
    }

    /// A session's threads have ended its connection.
    pub fn ended(&mut self, session: SessionId) {
        self.open -= 1;
        self.ended.push(session);
    }

    /// Makes sure that so many jobs more find a thread of the pool at once.
    fn has_threads(&mut self, more: usize) -> bool {
        // The queued ones first: a thread that takes a job counts it as active before it no longer
        // counts it as queued, so none is left out.
        let queued = self.pool.queued_count();
        // The pool counts with sequentially consistent additions, but reads its counters relaxed.
        fence(Ordering::Acquire);
        let needed = queued + self.pool.active_count() + more;
        let missing = needed.saturating_sub(self.pool.max_count());
        if missing == 0 {
            return true;
        }
        if !self.may_ask_for_threads() {
            return false;
        }
        let has_threads = self.grow_by(missing.max(GROW_MIN)) || self.grow_by(missing);
        if !has_threads && self.retry_threads_at.is_none() {
            log::warn!("cannot start more threads; new connections wait, the others go on");
        }
        self.retry_threads_at = (!has_threads).then(|| Instant::now() + THREADS_AGAIN);
        has_threads
    }

    fn may_ask_for_threads(&self) -> bool {
        self.retry_threads_at.is_none_or(|at| Instant::now() >= at)
    }

    fn grow_by(&mut self, threads: usize) -> bool {
        // The pool would panic if the system gave it none.
        let is_possible = can_start_threads(threads, STACK_BYTES);
        if is_possible {
            self.pool.set_num_threads(self.pool.max_count() + threads);
        }
        is_possible
    }

    /// Ends the connection of a session to which nothing was written here.
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

    /// Gives a session's connection its threads, if it hasn't them. False if the system gives none.
    fn start_threads(&mut self, session: SessionId) -> bool {
        match self.routes.stream(session) {
            None => return false,
            Some(stream) if stream.threads.is_some() => return true,
            Some(_) => {}
        }
        if !self.has_threads(THREADS_EACH) {
            return false;
        }
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
    /// Gives its send thread something to write, if that hasn't too much before it.
    fn give(&mut self, bytes: &[u8]) -> Written {
        let Some(threads) = &self.threads else { return Written::Blocked };
        let mut given = threads.chunks.try_send(Chunk::Bytes(bytes.to_vec()));
        if let Err(TrySendError::Full(chunk)) = given {
            self.peer.await_output();
            given = threads.chunks.try_send(chunk);
        }
        match given {
            Ok(()) => {
                self.given += bytes.len() as u64;
                Written::Bytes(bytes.len())
            }
            Err(TrySendError::Full(_)) => Written::Blocked,
            Err(TrySendError::Disconnected(_)) => Written::Gone,
        }
    }

    fn in_flight(&self) -> usize {
        (self.given - self.peer.out()) as usize
    }
}

impl Sockets for Network {
    type Connection = Connection;

    fn add(&mut self, session: SessionId, connection: Connection) {
        let peer = Arc::new(Peer::new(connection));
        self.routes.insert(session, Route::Stream(Stream { peer, given: 0, threads: None }));
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
            Some(stream) if has_threads => stream.give(bytes),
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
        let out = stream.peer.out();
        let deadline = Instant::now() + HURRY;
        while stream.in_flight() > 0
            && !stream.peer.is_stuck.load(Ordering::Relaxed)
            && Instant::now() < deadline
        {
            if stream.peer.out() != out {
                return true;
            }
            std::thread::sleep(HURRY_AGAIN);
        }
        stream.peer.out() != out
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
                // One at a time is under way; a receive thread that has ended needs none.
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
            // It doesn't read: what the kernel still holds for it is let go when the last
            // descriptor is closed. Whoever waits for it is woken.
            peer.connection.reset_when_closed();
            peer.shut(Shutdown::Both);
        }
        match threads {
            // Its queue is empty, since everything is out.
            Some(threads) if ending == Ending::Finish => {
                drop(threads.chunks.try_send(Chunk::Finish))
            }
            // Without more to do its send thread ends the connection.
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
            // Lost if it can't be sent now: the client sends its datagram again.
            let _ = udp.send(path, bytes);
        }
    }

    fn drained(&mut self) {
        self.is_drained = true;
    }
}
