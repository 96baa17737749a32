//! The supervisor: creates everything that is shared, forks the other processes, and keeps them
//! running.
//!
//! It is simple on purpose. It starts no thread, reads no byte of a client, neither reads nor
//! writes a record, and never blocks on a child. It keeps a duplicate of every client's socket, so
//! that a worker's death alone closes no connection.
//!
//! | file | what it holds |
//! |---|---|
//! | `listeners` | the sockets it listens on, and accepting |
//! | `capacity` | how many connections the machine has room for |
//! | `budget` | what the memory is divided into |
//! | `connections` | the duplicates of the clients' sockets, by cell |
//! | `kinds` | the kinds of processes: what differs between them |
//! | `children` | the table of processes: what runs in which slot |
//! | `spawn` | forking a child into a slot |
//! | `starting` | waiting until all are ready |
//! | `signals` | which signals it handles, and what each does |
//! | `scheduling` | which process runs when and where |
//! | `oom` | which process the kernel kills first when memory runs out |
//! | `control_groups` | which control group a process is in, and what its limits leave |
//! | `carried_over` | what was set on a process from outside, for its successor |
//! | `reap` | reporting a death, and what follows from it |
//! | `blame` | finding what processes crash at |
//! | `cpu_use` | what a child does with the CPU |
//! | `watchdog` | finding processes that hang |
//! | `missing` | going on without a process that can't be started or does not end |
//! | `log_process` | the process that writes the log output to standard error |
//! | `stop` | stopping: ask, wait, insist |
//!
//! One turn of its loop: wait; read the signals; read the workers' messages; accept; reap; restart;
//! watch; send the messages that did not fit before.

mod blame;
mod budget;
mod capacity;
mod carried_over;
mod children;
mod connections;
mod control_groups;
mod cpu_use;
mod kinds;
mod listeners;
mod log_process;
mod missing;
mod oom;
mod reap;
mod scheduling;
mod signals;
mod spawn;
mod starting;
mod stop;
mod watchdog;

use crate::admission::{Admission, SUPERVISOR};
use crate::channel::ToSupervisor;
use crate::doctor;
use crate::dropped;
use crate::ipc::queue::Received;
use crate::journal::{self, JournalConfig, Quota, sequences_used};
use crate::log_output;
use crate::models::{self, Placement};
use crate::options::Options;
use crate::role;
use crate::segment::{Geometry, Segment};
use crate::stand_in::Post;
use crate::sys::signals::ignore_signal;
use crate::sys::threads::fall_back_on_clone;
use crate::worker::{Bounds, ServingConfig, UdpConfig};
use blame::Blame;
use budget::InMib;
pub use budget::TooLittleMemory;
pub use capacity::Bound;
use capacity::{Capacity, capacity, own_limit};
use caps::{CapSet, Capability, has_cap};
use children::{Children, Fault};
use connections::Connections;
use cpu_use::CpuUse;
use forkchat_common::ids::{SessionId, Slot};
use kinds::{Slots, Work};
use listeners::Listeners;
use log_process::LogProcess;
use missing::go_on_without_missing;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::Resource;
use nix::sys::signal::Signal;
use oom::OutOfMemory;
pub use scheduling::Limit;
use scheduling::Scheduling;
use signals::Signals;
use starting::EarlyDeaths;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stop::{Stage, end_children};
use watchdog::Watchdog;

/// The server stopped as it was told.
pub const EXIT_STOPPED: i32 = 0;
/// It stopped as it was told, and not everything that was said could be stored.
pub const EXIT_NOT_STORED: i32 = 4;
/// It could not serve, or was told to stop at once.
pub const EXIT_FAILED: i32 = 1;

/// UDP sessions at a time, of all that may be.
const UDP_SESSIONS_MAX: usize = 4_096;
/// The most that one session, and one room, can add to a snapshot: a session its names, an
/// unfinished line and lines that wait for an answer, a room its name and topic.
const SNAPSHOT_BYTES_PER_SESSION: usize = 12 * 1024;
const SNAPSHOT_BYTES_PER_ROOM: usize = 4 * 1024;
/// The addresses in it that are remembered although they have no session: see `chat/addresses.rs`.
const SNAPSHOT_BYTES_OF_ADDRESSES: usize = 1 << 18;
/// How often it looks whether everyone moves, when nothing else happens.
const TICK: Duration = Duration::from_millis(250);

const SIGNALS: u64 = u64::MAX;
const LISTENER: u64 = u64::MAX - 1;

/// Port 0 isn't among them: it stands for a free port, which is a higher one.
const PORTS_THAT_NEED_A_PRIVILEGE: std::ops::Range<u16> = 1..1_024;

/// The advice where a system call is refused, as words after an error.
const DOCTOR_SHOWS: &str = "; forkchat-server doctor shows what this system refuses";

/// The command line asks for nothing that could be done.
pub const EXIT_USAGE: i32 = 2;

/// Why the server can't start.
#[derive(Debug)]
pub enum StartError {
    /// An address that can't be listened on.
    Listen(&'static str, std::net::SocketAddr, std::io::Error),
    /// More connections asked for than there can be.
    TooManyConnections {
        /// What was asked for; at least one has to be possible.
        asked: u64,
        /// What is possible.
        allowed: u64,
        /// Why not more.
        bound: Bound,
    },
    /// Less memory than is needed.
    TooLittleMemory(TooLittleMemory),
    /// Both transports are off.
    NowhereToListen,
    /// What the options say of a transport contradicts itself, or can't be done: which, and why.
    Contradiction(&'static str, &'static str),
    /// A process could not begin: which, how it ended and what it said.
    Child(String),
    /// A process that was not ready in time.
    NotReady(String, Duration),
    /// It was stopped before it was ready.
    Stopped,
    /// Scheduling that needs a right.
    NotAllowed {
        /// The option and its value.
        asked: String,
        /// The limit that would allow it,
        limit: Limit,
        /// if it were as high as this.
        at_least: u8,
        /// This process seems to have the right, so something else forbids it.
        has_right: bool,
    },
    /// System calls that are refused, without which no client can be served.
    Refused(String),
    /// Something that the system refused.
    System(&'static str, std::io::Error),
}

impl StartError {
    /// The exit code of a server that can't start for it.
    pub fn exit_code(&self) -> i32 {
        match self {
            StartError::NowhereToListen | StartError::Contradiction(..) => EXIT_USAGE,
            StartError::Stopped => EXIT_STOPPED,
            _ => EXIT_FAILED,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Listen(transport, address, error) => {
                let remedy = match error.kind() {
                    std::io::ErrorKind::AddrInUse => {
                        format!(
                            ": address already in use; is a server running? --{transport} chooses another"
                        )
                    }
                    std::io::ErrorKind::PermissionDenied
                        if PORTS_THAT_NEED_A_PRIVILEGE.contains(&address.port()) =>
                    {
                        format!(
                            ": permission denied; ports below 1024 need a privilege, --{transport} chooses another"
                        )
                    }
                    _ => format!(": {error}{}", advice(error)),
                };
                write!(f, "cannot listen on {transport} {address}{remedy}")
            }
            StartError::NowhereToListen => {
                f.write_str("nothing to listen on: --tcp and --udp are both off; leave one on")
            }
            StartError::Contradiction(transport, why) => {
                write!(f, "cannot use --{transport}: {why}")
            }
            StartError::TooManyConnections { allowed: 0, bound, .. } => {
                write!(f, "no connection fits: {bound} is too low; raise it")
            }
            StartError::TooManyConnections { asked, allowed, bound } => {
                write!(
                    f,
                    "cannot serve {asked} connections: {bound} allows {allowed}; raise it or lower --max-connections"
                )
            }
            StartError::TooLittleMemory(too_little) => too_little.fmt(f),
            StartError::NotAllowed { asked, limit, at_least, has_right: false } => {
                write!(
                    f,
                    "cannot use {asked}: it needs CAP_SYS_NICE or a limit on {limit} of at least {at_least}"
                )
            }
            StartError::NotAllowed { asked, has_right: true, .. } => {
                write!(
                    f,
                    "cannot use {asked}: this process has the right to it, but its user namespace or control group (cpu.rt_runtime_us) has not"
                )
            }
            StartError::Child(death) => write!(f, "cannot serve: {death}"),
            StartError::NotReady(name, time) => {
                write!(
                    f,
                    "cannot serve: {name} was not ready within {} s; is the machine very busy?",
                    time.as_secs()
                )
            }
            StartError::Stopped => f.write_str("stopped before it was ready"),
            StartError::Refused(failure) => write!(f, "{failure}{DOCTOR_SHOWS}"),
            StartError::System(what, error) => write!(f, "cannot {what}: {error}{}", advice(error)),
        }
    }
}

/// What an operator can do about an error of the system, as the words after it; nothing if that is
/// unknown.
fn advice(error: &std::io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOMEM) => match own_limit(Resource::RLIMIT_AS) {
            Some(bytes) => format!(
                "; the limit on address space (ulimit -v) is {} MiB: lift it, or lower --ring, --max-connections or --workers",
                bytes >> 20
            ),
            None => "; lower --ring, --max-connections or --workers".to_owned(),
        },
        Some(Errno::EAGAIN) => "; raise the limit on processes (ulimit -u, pids.max)".to_owned(),
        Some(Errno::EMFILE) => "; raise the limit on open files (ulimit -Hn)".to_owned(),
        Some(Errno::ENOSYS | Errno::EPERM) => DOCTOR_SHOWS.to_owned(),
        _ => String::new(),
    }
}

/// The supervisor's state.
#[derive(Debug)]
struct Supervisor {
    options: Options,
    segment: &'static Segment,
    epoll: Epoll,
    signals: Signals,
    listeners: Listeners,
    children: Children,
    connections: Connections,
    admission: Admission,
    early_deaths: EarlyDeaths,
    work: Work,
    watchdog: Watchdog,
    blame: Blame,
    dropped: dropped::Report,
    stage: Stage,
    scheduling: Scheduling,
    out_of_memory: OutOfMemory,
    log_process: LogProcess,
}

/// Runs the server until it is told to stop. `started` is told when it serves, or why it can't, and
/// says whether it is still wanted. Returns its exit code.
pub fn run(options: Options, started: impl FnOnce(Result<(), &StartError>) -> bool) -> i32 {
    // Whatever reaches the limit on file sizes, the log output too: the write fails, and the
    // process goes on.
    let _ = ignore_signal(Signal::SIGXFSZ);
    log_output::start(options.verbose);
    role::take_on("supervisor");
    let mut log_process = LogProcess::new();
    match Supervisor::start(options, &mut log_process) {
        Ok(mut supervisor) => {
            supervisor.log_process.flush();
            let code = if started(Ok(())) {
                supervisor.supervise()
            } else {
                log::warn!("the process that started the server has ended; stopped");
                end_children(&supervisor.children);
                EXIT_FAILED
            };
            supervisor.log_process.finish(Some(&supervisor.scheduling));
            code
        }
        Err(error) => {
            log::error!("{error}");
            log_process.finish(None);
            started(Err(&error));
            error.exit_code()
        }
    }
}

impl Supervisor {
    fn start(options: Options, log_process: &mut LogProcess) -> Result<Supervisor, StartError> {
        let system = |what| move |errno: Errno| StartError::System(what, errno.into());
        // Where that fails the children's threads do, too, and they say so.
        let _ = fall_back_on_clone();
        doctor::needed().map_err(StartError::Refused)?;
        let model = models::named(options.model);
        // In a model that forks a worker for each connection, this one keeps the UDP sessions.
        let workers = if model.placement == Placement::Own { 1 } else { options.workers() };
        let scheduling = Scheduling::take_on(&options)?;
        let out_of_memory = OutOfMemory::take_on();
        log_process.start_if_due(&scheduling);
        let Capacity { connections: connections_max, rejected: rejected_max, bound, budget } =
            capacity(&options, model, workers)?;
        let slots = Slots::new(model, workers, connections_max);
        let listeners = Listeners::bind(&options)?;
        let udp_cells = connections_max..connections_max + connections_max.min(UDP_SESSIONS_MAX);
        let segment = Segment::create(Geometry {
            ring_bytes: budget.ring,
            slots: slots.count(),
            sessions_max: udp_cells.end,
            snapshot_bytes_max: snapshot_bytes_max(connections_max),
        })
        .map_err(|error| StartError::System("share memory", error))?;
        if let Some(data_dir) = options.data_dir() {
            begin_above_used(segment, &data_dir);
        }
        segment
            .admission
            .init(connections_max as u32)
            .map_err(system("make the admission's semaphore"))?;
        let dropped = &segment.counters.dropped;
        let rate_limit = options.rate_limit;
        let mut cookie_key = [0; 16];
        getrandom::fill(&mut cookie_key)
            .map_err(|error| StartError::System("read random bytes", error.into()))?;
        let udp = UdpConfig {
            cookie_key,
            listener: listeners.udp_listener(),
            cells: udp_cells,
            admission: Admission::new(
                segment.admission,
                0,
                options.max_per_address,
                !rate_limit.is_off(),
            ),
            dropped,
        };
        let journal = JournalConfig {
            rate_limit,
            workers: slots.count() as u16,
            data_dir: options.data_dir(),
            quota: Quota { lines_max: options.history, bytes_max: options.history_bytes },
            rooms_bytes_max: budget.rooms_bytes,
            tally: &segment.counters.tally,
        };
        let of_stand_in = journal.clone();
        let begin = move || {
            journal::stand_in(segment, Slot::JOURNAL, &of_stand_in)
                .map_err(|error| error.to_string())
        };
        let post = Post::new(segment.stand_in, Arc::new(begin));
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(system("wait for events (epoll_create1)"))?;
        let signals = Signals::take().map_err(system("take signals (signalfd4)"))?;
        let gate = segment.start_gate;
        log_output::also_report_errors(move |reason| gate.note_failure(reason));
        epoll.add(&signals, readable(SIGNALS)).map_err(system("wait for signals"))?;
        let mut supervisor = Supervisor {
            segment,
            epoll,
            signals,
            listeners,
            children: Children::new(&slots, rejected_max),
            connections: Connections::new(connections_max, slots.count()),
            admission: Admission::new(
                segment.admission,
                SUPERVISOR,
                options.max_per_address,
                !rate_limit.is_off(),
            ),
            early_deaths: EarlyDeaths::default(),
            work: Work {
                segment,
                model,
                serving: ServingConfig {
                    // Each worker has its own: see `kinds`.
                    pid: 0,
                    outboxes: Bounds { sendq: options.sendq, together: budget.outboxes },
                    rejected_max,
                    journal: Slot::JOURNAL,
                    stopping: segment.stopping,
                    dropped,
                    udp: Some(udp),
                    stand_in: Some(post.clone()),
                },
                own_outboxes: budget.own_outboxes,
                journal,
                post,
            },
            watchdog: Watchdog::new(slots.count()),
            blame: Blame::default(),
            dropped: dropped::Report::new(dropped),
            stage: Stage::Serving,
            scheduling,
            out_of_memory,
            // Its death is noticed from now on.
            log_process: std::mem::take(log_process),
            options,
        };
        // Only warned of: what isn't guaranteed concerns deaths, and may never be needed.
        for failure in doctor::quick() {
            log::warn!("{failure}");
        }
        if let Err(error) = supervisor.begin() {
            end_children(&supervisor.children);
            *log_process = std::mem::take(&mut supervisor.log_process);
            return Err(error);
        }
        log::info!("forkchat {}, supervisor pid {}", env!("CARGO_PKG_VERSION"), std::process::id());
        for (transport, address) in supervisor.listeners.addresses() {
            log::info!("listening on {transport} {address}");
        }
        let applied = supervisor.scheduling.to_string();
        if !applied.is_empty() {
            log::info!("scheduling: {applied}");
        }
        if let Some(limit) = budget.ring_bound {
            log::info!("ring of {}: {limit} allows no more", InMib(budget.ring as u64));
        }
        if budget.outboxes < supervisor.options.sendq {
            let together = InMib(budget.outboxes as u64);
            log::info!(
                "unread output of all clients of a worker may take {together}, less than --sendq allows for each client"
            );
        }
        let name = supervisor.options.model;
        log::info!("model {name}; the number of connections is limited by {bound}");
        let is_own = model.placement == Placement::Own;
        let and_more = if is_own { " and one for each connection" } else { "" };
        if is_own && supervisor.options.workers.is_some() {
            log::info!(
                "--workers is ignored: in model {name} each connection has a worker of its own"
            );
        }
        log::info!(
            "{}{and_more}, at most {connections_max} connections",
            role::count(workers.into(), "worker")
        );
        Ok(supervisor)
    }

    /// Starts all processes, and lets them serve when they are ready.
    fn begin(&mut self) -> Result<(), StartError> {
        self.spawn_all().map_err(|error| StartError::System("fork", error))?;
        self.wait_until_ready()?;
        self.listeners
            .watch(&self.epoll)
            .map_err(|errno| StartError::System("wait for connections", errno.into()))?;
        self.work.segment.start_gate.open();
        Ok(())
    }

    fn supervise(&mut self) -> i32 {
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let count = match self.epoll.wait(&mut events, self.timeout()) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(errno) => {
                    log::error!("cannot wait for events: {errno}");
                    self.stage = Stage::Now;
                    0
                }
            };
            let ready: Vec<u64> = events[..count].iter().map(EpollEvent::data).collect();
            if ready.contains(&SIGNALS) {
                self.answer_signals();
            }
            for slot in ready.iter().filter(|&&token| token < LISTENER) {
                self.hear(Slot::at(*slot as u16));
            }
            if ready.contains(&LISTENER) || self.listeners.is_pause_over() {
                self.accept();
            }
            self.reap();
            self.respawn();
            self.watch();
            self.pass_on();
            if let Some(code) = self.stop() {
                return code;
            }
        }
    }

    fn timeout(&self) -> EpollTimeout {
        let due = self
            .children
            .next_respawn()
            .into_iter()
            .chain(self.listeners.pause_end())
            .chain(self.stage.deadline())
            .chain(self.children.next_look())
            .chain(self.log_process.next_look())
            .min();
        let until_due = due.map_or(TICK, |due| due.saturating_duration_since(Instant::now()));
        let soon = if self.children.has_backlog() { Duration::from_millis(5) } else { TICK };
        let timeout = until_due.min(soon).as_micros().div_ceil(1_000) as i32;
        EpollTimeout::try_from(timeout).unwrap_or(EpollTimeout::ZERO)
    }

    /// Reads what a worker has to say.
    fn hear(&mut self, slot: Slot) {
        while let Some(channel) = self.children.channel(slot) {
            match channel.receive() {
                Received::Message(ToSupervisor::Closed { session }, _) => self.let_go(session),
                Received::Message(ToSupervisor::Drained, _) => self.children.set_drained(slot),
                Received::Garbled => {
                    log::error!("{} sent something that is not a message", self.children.name(slot))
                }
                Received::Empty => return,
                Received::Closed => {
                    // It is dying; `reap` will see. Until then epoll must not tell of it again.
                    self.children.close_channel(slot, &self.epoll);
                    return;
                }
            }
        }
    }

    /// Looks whether everyone moves, and kills one who doesn't. Its death is answered like any
    /// other.
    fn watch(&mut self) {
        log_output::report_dropped();
        self.dropped.next(Instant::now()).iter().for_each(|line| log::warn!("{line}"));
        self.log_process.kill_if_stopped();
        if self.watchdog.is_due(Instant::now()) {
            // Who has nobody to tell sleeps on, but not for long: it would have much to apply at
            // once, and holds the ring.
            self.segment.log.ring_behind();
        }
        for slot in self.children.take_stopped(Instant::now()) {
            self.children.kill(slot, Fault::Stopped);
        }
        go_on_without_missing(&mut self.children, &self.work);
        let alive = self.children.watched();
        let used = |slot| CpuUse::of(self.children.pid(slot)?).ok();
        if let Some((slot, why)) = self.watchdog.look(self.segment, &alive, used, Instant::now()) {
            self.children.kill(slot, why);
        }
    }

    fn pass_on(&mut self) {
        for session in self.children.pass_on(&self.connections) {
            self.let_go(session);
        }
    }

    /// A session is over: its socket is closed, its cell and its place are free.
    fn let_go(&mut self, session: SessionId) {
        if let Some(connection) = self.connections.remove(session) {
            self.admission.release(connection.origin.peer.ip());
        }
    }
}

/// The ids of this run are to be above those of earlier runs, also if the clock was set back
/// between.
fn begin_above_used(segment: &Segment, data_dir: &Path) {
    match sequences_used(data_dir) {
        Ok(None) => {}
        Ok(Some(used)) => segment.log.begin_above(used),
        Err(error) => {
            let data_dir = data_dir.display();
            log::warn!(
                "cannot read in {data_dir} which ids are used: {error}; if the clock was set back, the ids of this run are lower than earlier ones"
            );
        }
    }
}

/// Whether this process has a capability.
fn has_capability(capability: Capability) -> bool {
    has_cap(None, CapSet::Effective, capability).unwrap_or(false)
}

/// A snapshot of the state with so many connections, and as many UDP sessions as there may be then.
fn snapshot_bytes_max(connections: usize) -> usize {
    let sessions = connections + connections.min(UDP_SESSIONS_MAX);
    let rooms = forkchat_common::limits::ROOMS_MAX * SNAPSHOT_BYTES_PER_ROOM;
    sessions * SNAPSHOT_BYTES_PER_SESSION + rooms + SNAPSHOT_BYTES_OF_ADDRESSES
}

fn readable(token: u64) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN, token)
}
