//! The supervisor creates everything that is shared, forks the other processes, and restarts them
//! when they die.
//!
//! It is simple on purpose. It starts no thread, reads no byte from a client, reads and writes no
//! record, and never blocks on a child. It keeps a duplicate of every client's socket, so a
//! connection survives the death of its worker.
//!
//! | file | what it holds |
//! |---|---|
//! | `listeners` | the sockets it listens on |
//! | `accept` | accepting connections, and passing each to a worker |
//! | `capacity` | how many connections the machine has room for |
//! | `budget` | how the memory is divided |
//! | `in_mib` | formatting a number of bytes |
//! | `connections` | the duplicates of the clients' sockets, by cell |
//! | `kinds` | the kinds of processes, and how they differ |
//! | `children`, `child` | the table of slots; one slot and its process |
//! | `spawn` | forking a child into a slot |
//! | `start`, `start_error` | creating what is shared; why the server can't start |
//! | `starting` | waiting until all processes are ready |
//! | `signals` | which signals the supervisor handles, and what each does |
//! | `scheduling` | priorities, policies and CPUs of the processes |
//! | `oom` | which process the kernel kills first when memory runs out |
//! | `control_groups` | the control group of a process, and how much its limits leave |
//! | `carried_over` | settings that an operator made on a process, for its successor |
//! | `reap` | handling the death of a process |
//! | `blame` | finding the input or record at which processes crash |
//! | `cpu_use` | how much CPU time a child has used |
//! | `watchdog` | finding processes that hang |
//! | `missing` | continuing without a process that can't be started or does not end |
//! | `log_process` | the process that writes the log output to standard error |
//! | `stop` | stopping the server: ask, wait, insist |
//!
//! One turn of its loop: wait; read the signals; read the workers' messages; accept; reap; restart;
//! run the watchdog; send the messages that did not fit before.

mod accept;
mod blame;
mod budget;
mod capacity;
mod carried_over;
mod child;
mod children;
mod connections;
mod control_groups;
mod cpu_use;
mod in_mib;
mod kinds;
mod listeners;
mod log_process;
mod missing;
mod oom;
mod reap;
mod scheduling;
mod signals;
mod spawn;
mod start;
mod start_error;
mod starting;
mod stop;
mod watchdog;

use crate::admission::Admission;
use crate::channel::ToSupervisor;
use crate::dropped;
use crate::ipc::queue::Received;
use crate::log_output;
use crate::options::Options;
use crate::role;
use crate::segment::Segment;
use crate::sys::signals::ignore_signal;
use blame::Blame;
use caps::{CapSet, Capability, has_cap};
use child::Fault;
use children::Children;
use connections::Connections;
use cpu_use::CpuUse;
use forkchat_common::ids::{SessionId, Slot};
use kinds::Work;
use listeners::Listeners;
use log_process::LogProcess;
use missing::continue_without_missing;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::Signal;
use oom::OutOfMemory;
use scheduling::Scheduling;
use signals::Signals;
pub use start_error::{Bound, Limit, StartError, TooLittleMemory};
use starting::EarlyDeaths;
use std::time::{Duration, Instant};
use stop::{Stage, end_children};
use watchdog::Watchdog;

/// Exit code: the server stopped on request.
pub const EXIT_STOPPED: i32 = 0;
/// Exit code: the server stopped on request, but some lines could not be stored.
pub const EXIT_NOT_STORED: i32 = 4;
/// Exit code: the server could not start, or had to stop at once.
pub const EXIT_FAILED: i32 = 1;
/// Exit code: the command line contradicts itself or leaves nothing to serve.
pub const EXIT_USAGE: i32 = 2;

/// The longest time between two turns of the loop, so that the watchdog runs often enough.
const TICK: Duration = Duration::from_millis(250);

const SIGNALS: u64 = u64::MAX;
const LISTENER: u64 = u64::MAX - 1;

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

/// Runs the server until a signal stops it, and returns the exit code. `started` is called once:
/// with `Ok` when the server serves, or with the reason why it can't. If it returns false, the
/// server stops again.
pub fn run(options: Options, started: impl FnOnce(Result<(), &StartError>) -> bool) -> i32 {
    // A write that exceeds the limit on file sizes then fails with an error and doesn't end the
    // process. This includes writes of log output.
    let _ = ignore_signal(Signal::SIGXFSZ);
    log_output::start(options.verbose);
    role::set("supervisor");
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
                self.handle_signals();
            }
            for slot in ready.iter().filter(|&&token| token < LISTENER) {
                self.receive(Slot::at(*slot as u16));
            }
            if ready.contains(&LISTENER) || self.listeners.is_pause_over() {
                self.accept();
            }
            self.reap();
            self.respawn();
            self.watch();
            self.send_backlog();
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
            .chain(self.children.next_check())
            .chain(self.log_process.next_check())
            .min();
        let until_due = due.map_or(TICK, |due| due.saturating_duration_since(Instant::now()));
        let soon = if self.children.has_backlog() { Duration::from_millis(5) } else { TICK };
        let timeout = until_due.min(soon).as_micros().div_ceil(1_000) as i32;
        EpollTimeout::try_from(timeout).unwrap_or(EpollTimeout::ZERO)
    }

    /// Reads a worker's messages.
    fn receive(&mut self, slot: Slot) {
        while let Some(channel) = self.children.channel(slot) {
            match channel.receive() {
                Received::Message(ToSupervisor::Closed { session }, _) => {
                    self.release_session(session)
                }
                Received::Message(ToSupervisor::Drained, _) => self.children.set_drained(slot),
                Received::Garbled => {
                    log::error!("{} sent something that is not a message", self.children.name(slot))
                }
                Received::Empty => return,
                Received::Closed => {
                    // The worker is ending, and `reap` will handle that. Until then epoll must not
                    // report the queue again.
                    self.children.close_channel(slot, &self.epoll);
                    return;
                }
            }
        }
    }

    /// Kills processes that are stopped or hang. `reap` then handles their deaths like any other.
    fn watch(&mut self) {
        log_output::report_dropped();
        self.dropped.next(Instant::now()).iter().for_each(|line| log::warn!("{line}"));
        self.log_process.kill_if_stopped();
        if self.watchdog.is_due(Instant::now()) {
            // Wakes processes that are far behind. A process that has no client to notify may stay
            // asleep while records are appended. But not for long: it would have many records to
            // apply at once, and its cursor keeps the ring from advancing.
            self.segment.log.wake_behind();
        }
        for slot in self.children.take_stopped(Instant::now()) {
            self.children.kill(slot, Fault::Stopped);
        }
        continue_without_missing(&mut self.children, &self.work);
        let alive = self.children.watched();
        let used = |slot| CpuUse::of(self.children.pid(slot)?).ok();
        if let Some((slot, why)) = self.watchdog.check(self.segment, &alive, used, Instant::now()) {
            self.children.kill(slot, why);
        }
    }

    fn send_backlog(&mut self) {
        for session in self.children.send_backlog(&self.connections) {
            self.release_session(session);
        }
    }

    /// Closes the socket of a session that has ended, and frees its cell and its admission.
    fn release_session(&mut self, session: SessionId) {
        if let Some(connection) = self.connections.remove(session) {
            self.admission.release(connection.origin.peer.ip());
        }
    }
}

/// Whether this process has a capability.
fn has_capability(capability: Capability) -> bool {
    has_cap(None, CapSet::Effective, capability).unwrap_or(false)
}

fn readable(token: u64) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN, token)
}
