//! The start: creates everything that is shared, and forks every process.

use super::capacity::{Capacity, UDP_SESSIONS_MAX, capacity, snapshot_bytes_max};
use super::in_mib::InMib;
use super::kinds::{Slots, Work};
use super::log_process::LogProcess;
use super::starting::EarlyDeaths;
use super::{
    Blame, Children, Connections, Listeners, OutOfMemory, SIGNALS, Scheduling, Signals, Stage,
    StartError, Supervisor, Watchdog, end_children, readable,
};
use crate::admission::{Admission, SUPERVISOR};
use crate::doctor;
use crate::dropped;
use crate::journal::{self, JournalConfig, Quota, sequences_used};
use crate::log_output;
use crate::models::{self, Model, Placement};
use crate::options::Options;
use crate::role;
use crate::segment::{Geometry, Segment};
use crate::stand_in::Post;
use crate::sys::threads::fall_back_on_clone;
use crate::worker::{Bounds, ServingConfig, UdpConfig};
use forkchat_common::endpoint::Listener;
use forkchat_common::ids::Slot;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

impl Supervisor {
    /// Creates everything that is shared, and forks every process. When this returns, the server
    /// serves clients.
    ///
    /// # Errors
    /// [`StartError`]. No child is left then, except the log process.
    pub(super) fn start(
        options: Options,
        log_process: &mut LogProcess,
    ) -> Result<Supervisor, StartError> {
        // If this fails, starting the children's threads fails too, and they log why.
        let _ = fall_back_on_clone();
        doctor::needed().map_err(StartError::Refused)?;
        let model = models::named(options.model);
        // In a model that forks a worker for each connection, the only permanent worker has the UDP
        // sessions.
        let workers = if model.placement == Placement::Own { 1 } else { options.workers() };
        let scheduling = Scheduling::apply(&options)?;
        let out_of_memory = OutOfMemory::apply();
        log_process.start_if_due(&scheduling);
        let capacity = capacity(&options, model, workers)?;
        let slots = Slots::new(model, workers, capacity.connections);
        let listeners = Listeners::bind(&options)?;
        let segment = share(&options, &capacity, slots.count())?;
        let udp = listeners.udp_listener();
        let work = work(&options, model, &capacity, slots.count(), segment, udp)?;
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
            children: Children::new(&slots, capacity.rejected),
            connections: Connections::new(capacity.connections, slots.count()),
            admission: admission(&options, segment, SUPERVISOR),
            early_deaths: EarlyDeaths::default(),
            work,
            watchdog: Watchdog::new(slots.count()),
            blame: Blame::default(),
            dropped: dropped::Report::new(&segment.counters.dropped),
            stage: Stage::Serving,
            scheduling,
            out_of_memory,
            // From now on the supervisor notices its death.
            log_process: std::mem::take(log_process),
            options,
        };
        // A failed check is only a warning: it concerns what happens when a process dies.
        for failure in doctor::quick() {
            log::warn!("{failure}");
        }
        if let Err(error) = supervisor.begin() {
            end_children(&supervisor.children);
            *log_process = std::mem::take(&mut supervisor.log_process);
            return Err(error);
        }
        supervisor.log_start_summary(&capacity, workers);
        Ok(supervisor)
    }

    /// Forks all processes, and opens the start gate when all are ready.
    fn begin(&mut self) -> Result<(), StartError> {
        self.spawn_all().map_err(|error| StartError::System("fork", error))?;
        self.wait_until_ready()?;
        self.listeners.watch(&self.epoll).map_err(system("wait for connections"))?;
        self.work.segment.start_gate.open();
        Ok(())
    }

    fn log_start_summary(&self, capacity: &Capacity, workers: u16) {
        let Capacity { connections, bound, budget, .. } = capacity;
        log::info!("forkchat {}, supervisor pid {}", env!("CARGO_PKG_VERSION"), std::process::id());
        for (transport, address) in self.listeners.addresses() {
            log::info!("listening on {transport} {address}");
        }
        let scheduling = self.scheduling.to_string();
        if !scheduling.is_empty() {
            log::info!("scheduling: {scheduling}");
        }
        if let Some(limit) = budget.ring_bound {
            log::info!("ring of {}: {limit} allows no more", InMib(budget.ring as u64));
        }
        if budget.outboxes < self.options.sendq {
            let together = InMib(budget.outboxes as u64);
            log::info!(
                "unread output of all clients of a worker may take {together}, less than --sendq \
                 allows for each client"
            );
        }
        let name = self.options.model;
        log::info!("model {name}; the number of connections is limited by {bound}");
        let is_own = self.work.model.placement == Placement::Own;
        if is_own && self.options.workers.is_some() {
            log::info!(
                "--workers is ignored: in model {name} each connection has a worker of its own"
            );
        }
        let and_more = if is_own { " and one for each connection" } else { "" };
        log::info!(
            "{}{and_more}, at most {connections} connections",
            role::count(workers.into(), "worker")
        );
    }
}

/// Creates the segment that all processes share, for this many slots.
fn share(
    options: &Options,
    capacity: &Capacity,
    slots: usize,
) -> Result<&'static Segment, StartError> {
    let segment = Segment::create(Geometry {
        ring_bytes: capacity.budget.ring,
        slots,
        sessions_max: udp_cells(capacity).end,
        snapshot_bytes_max: snapshot_bytes_max(capacity.connections),
    })
    .map_err(|error| StartError::System("share memory", error))?;
    if let Some(data_dir) = options.data_dir() {
        begin_above_used(segment, &data_dir);
    }
    let units = capacity.connections as u32;
    segment.admission.init(units).map_err(system("make the admission's semaphore"))?;
    Ok(segment)
}

/// The data that children work with.
fn work(
    options: &Options,
    model: &'static Model,
    capacity: &Capacity,
    slots: usize,
    segment: &'static Segment,
    listener: Listener,
) -> Result<Work, StartError> {
    let (budget, counters) = (&capacity.budget, segment.counters);
    let mut cookie_key = [0; 16];
    getrandom::fill(&mut cookie_key)
        .map_err(|error| StartError::System("read random bytes", error.into()))?;
    let udp = UdpConfig {
        cookie_key,
        listener,
        cells: udp_cells(capacity),
        admission: admission(options, segment, 0),
        dropped: &counters.dropped,
    };
    let journal = JournalConfig {
        rate_limit: options.rate_limit,
        workers: slots as u16,
        data_dir: options.data_dir(),
        quota: Quota { lines_max: options.history, bytes_max: options.history_bytes },
        rooms_bytes_max: budget.rooms_bytes,
        tally: &counters.tally,
    };
    let of_stand_in = journal.clone();
    let begin = move || {
        journal::stand_in(segment, Slot::JOURNAL, &of_stand_in).map_err(|error| error.to_string())
    };
    let post = Post::new(segment.stand_in, Arc::new(begin));
    let serving = ServingConfig {
        // Each worker sets its own pid: see `kinds`.
        pid: 0,
        outboxes: Bounds { sendq: options.sendq, together: budget.outboxes },
        rejected_max: capacity.rejected,
        journal: Slot::JOURNAL,
        stopping: segment.stopping,
        dropped: &counters.dropped,
        udp: Some(udp),
        stand_in: Some(post.clone()),
    };
    Ok(Work { segment, model, serving, own_outboxes: budget.own_outboxes, journal, post })
}

/// The admission as one of its holders sees it.
fn admission(options: &Options, segment: &Segment, holder: usize) -> Admission {
    let limits_openings = !options.rate_limit.is_off();
    Admission::new(segment.admission, holder, options.max_per_address, limits_openings)
}

/// The cells of the UDP sessions. They follow those of the connections.
fn udp_cells(capacity: &Capacity) -> Range<usize> {
    let connections = capacity.connections;
    connections..connections + connections.min(UDP_SESSIONS_MAX)
}

fn system(what: &'static str) -> impl Fn(Errno) -> StartError {
    move |errno| StartError::System(what, errno.into())
}

/// Makes the ids of this run higher than those of earlier runs, even if the clock was set back
/// since.
fn begin_above_used(segment: &Segment, data_dir: &Path) {
    match sequences_used(data_dir) {
        Ok(None) => {}
        Ok(Some(used)) => segment.log.begin_above(used),
        Err(error) => {
            let data_dir = data_dir.display();
            log::warn!(
                "cannot read in {data_dir} which ids are used: {error}; if the clock was set back, \
                 the ids of this run are lower than earlier ones"
            );
        }
    }
}
