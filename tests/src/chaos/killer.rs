//! The killer: a thread that kills processes of the server, chosen by a seed. It never kills the
//! supervisor.

use super::options::Options;
use crate::processes::{children_of, name_of};
use fastrand::Rng;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often each worker is crashed. The server restarts a crashed process after a pause, which
/// doubles each time, so more crashes would leave the worker away for long.
const SEGV_PER_WORKER_MAX: u32 = 4;
/// How long the killer waits for a successor, to kill it too.
const SUCCESSOR_AFTER: Duration = Duration::from_millis(100);
/// A successor that is to be killed during its recovery lives at most this long.
const RECOVERING_FOR: Duration = Duration::from_millis(12);

/// Kinds of kills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum KillKind {
    /// SIGKILL of one worker.
    Worker,
    /// SIGKILL of all workers at once.
    AllWorkers,
    /// SIGKILL of a worker that was just started to replace a killed one.
    Successor,
    /// SIGKILL of the journal.
    Journal,
    /// SIGSTOP of a worker.
    Stopped,
    /// SIGSEGV of a worker.
    Crashed,
}

impl KillKind {
    pub const ALL: [KillKind; 6] = [
        KillKind::Worker,
        KillKind::AllWorkers,
        KillKind::Successor,
        KillKind::Journal,
        KillKind::Stopped,
        KillKind::Crashed,
    ];

    /// What to add after the name of the process in a description.
    pub fn suffix(self) -> &'static str {
        match self {
            KillKind::AllWorkers => ", with all others",
            KillKind::Successor => ", just started",
            _ => "",
        }
    }

    /// The signal that is sent.
    pub fn signal(self) -> Signal {
        match self {
            KillKind::Stopped => Signal::SIGSTOP,
            KillKind::Crashed => Signal::SIGSEGV,
            _ => Signal::SIGKILL,
        }
    }
}

/// One kill.
#[derive(Clone, Debug)]
pub struct Kill {
    /// When, in ns since the start.
    pub at: u64,
    /// The kind of kill.
    pub kind: KillKind,
    /// The worker's slot; `None` for the journal.
    pub slot: Option<usize>,
    /// The killed process.
    pub pid: Pid,
}

/// The killer. Its thread ends when it is dropped.
#[derive(Debug)]
pub struct Killer {
    thread: Option<JoinHandle<()>>,
    is_over: Arc<AtomicBool>,
    kills: Receiver<Kill>,
}

struct KillerThread {
    supervisor: Pid,
    rng: Rng,
    every: Duration,
    only: Vec<KillKind>,
    kills_left: u64,
    start: Instant,
    is_over: Arc<AtomicBool>,
    kills: Sender<Kill>,
    crashed: Vec<u32>,
}

impl Killer {
    /// Starts the thread, which kills the supervisor's children according to the options. Times are
    /// relative to `start`.
    pub fn start(supervisor: Pid, seed: u64, options: &Options, start: Instant) -> Killer {
        let (is_over, (sender, kills)) = (Arc::new(AtomicBool::new(false)), channel());
        let thread = KillerThread {
            supervisor,
            rng: Rng::with_seed(seed),
            every: options.every,
            only: options.only.clone(),
            kills_left: options.kills,
            start,
            is_over: is_over.clone(),
            kills: sender,
            crashed: Vec::new(),
        };
        Killer { thread: Some(std::thread::spawn(|| thread.run())), is_over, kills }
    }

    /// Returns the kills since the last call.
    pub fn kills(&self) -> impl Iterator<Item = Kill> {
        self.kills.try_iter()
    }

    /// Stops the thread.
    pub fn stop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // If the thread panicked, the panic hook has printed why.
            let _ = thread.join();
        }
    }
}

impl Drop for Killer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl KillerThread {
    fn run(mut self) {
        let mut next = Instant::now();
        while self.kills_left > 0 {
            next += self.every.mul_f64(0.5 + self.rng.f64());
            while Instant::now() < next {
                if self.is_over.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::sleep(
                    next.saturating_duration_since(Instant::now()).min(Duration::from_millis(20)),
                );
            }
            self.kill_next();
        }
    }

    fn kill_next(&mut self) {
        let children: Vec<(Pid, String)> =
            children_of(self.supervisor).into_iter().map(|pid| (pid, name_of(pid))).collect();
        let slot_of = |name: &str| name.strip_prefix("worker ")?.parse::<usize>().ok();
        let workers: Vec<(Pid, usize)> =
            children.iter().filter_map(|(pid, name)| Some((*pid, slot_of(name)?))).collect();
        let kind = self.choose_kind();
        if kind == KillKind::Journal {
            if let Some((pid, _)) = children.iter().find(|(_, name)| name == "journal") {
                self.send_signal(*pid, kind, None);
            }
            return;
        }
        // There is no worker while all of them wait to be restarted.
        let Some(&(pid, slot)) = self.rng.choice(&workers) else { return };
        match kind {
            KillKind::AllWorkers => {
                workers.iter().for_each(|&(pid, slot)| self.send_signal(pid, kind, Some(slot)))
            }
            KillKind::Successor => {
                self.send_signal(pid, KillKind::Worker, Some(slot));
                self.kill_successor(&children, slot);
            }
            KillKind::Crashed => {
                self.crashed.resize(self.crashed.len().max(slot + 1), 0);
                self.crashed[slot] += 1;
                let kind = if self.crashed[slot] > SEGV_PER_WORKER_MAX {
                    KillKind::Worker
                } else {
                    KillKind::Crashed
                };
                self.send_signal(pid, kind, Some(slot));
            }
            _ => self.send_signal(pid, kind, Some(slot)),
        }
    }

    fn choose_kind(&mut self) -> KillKind {
        if let Some(&kind) = self.rng.choice(&self.only) {
            return kind;
        }
        match self.rng.u32(0..100) {
            0..62 => KillKind::Worker,
            62..70 => KillKind::AllWorkers,
            70..82 => KillKind::Successor,
            82..90 => KillKind::Journal,
            90..96 => KillKind::Stopped,
            _ => KillKind::Crashed,
        }
    }

    /// Kills the next process that the supervisor starts, at once or while it recovers. The process
    /// may not have its name yet.
    fn kill_successor(&mut self, before: &[(Pid, String)], slot: usize) {
        let deadline = Instant::now() + SUCCESSOR_AFTER;
        let pause =
            if self.rng.bool() { Duration::ZERO } else { RECOVERING_FOR.mul_f64(self.rng.f64()) };
        while Instant::now() < deadline && !self.is_over.load(Ordering::Relaxed) {
            let successor = children_of(self.supervisor)
                .into_iter()
                .find(|pid| before.iter().all(|(known, _)| known != pid));
            if let Some(pid) = successor {
                std::thread::sleep(pause);
                return self.send_signal(pid, KillKind::Successor, Some(slot));
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// Sends the signal of this kind of kill and reports the kill.
    fn send_signal(&mut self, pid: Pid, kind: KillKind, slot: Option<usize>) {
        if self.kills_left == 0 {
            return;
        }
        let at = self.start.elapsed().as_nanos() as u64;
        // It fails if the process has already ended.
        if kill(pid, kind.signal()).is_ok() {
            self.kills_left -= 1;
            // At the end of the run nothing receives the kills any more.
            let _ = self.kills.send(Kill { at, kind, slot, pid });
        }
    }
}
