//! A slot for a process, and the state of the process in it.

use super::carried_over::{FAILURES_MAX, Settings};
use super::connections::Connections;
use super::kinds::{CrashLoop, Kind};
use crate::channel::{SupervisorEnd, ToWorker};
use crate::ipc::queue::SendError;
use forkchat_common::ids::{SessionId, Slot};
use nix::unistd::Pid;
use std::collections::VecDeque;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// The first pause before a process is started again that died by its own doing; doubled each time.
const BACKOFF_MIN: Duration = Duration::from_millis(10);
/// The longest.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// The longest when the server ends: there is little time left.
const BACKOFF_MAX_AT_END: Duration = Duration::from_millis(100);
/// A process that lived this long has recovered: the next pause is the first again.
pub(super) const RECOVERY_TIME: Duration = Duration::from_secs(10);
/// Why we killed a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Somebody stopped it (SIGSTOP); no doing of its own.
    Stopped,
    /// It kept the log's lock.
    KeptLock,
    /// It read nothing of the log.
    ReadNothing,
    /// One of its threads didn't come to an end.
    Busy,
    /// One of its threads stands still between two turns.
    Frozen,
    /// It was at a record that was others' death.
    AtPoisonMessage,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Stopped => "was stopped",
            Fault::KeptLock => "held the log's lock for 2 s",
            Fault::ReadNothing => "read nothing of the log for 2 s",
            Fault::Busy => "was busy with one thing for 2 s",
            Fault::Frozen => "had a thread that did not answer for 2 s",
            Fault::AtPoisonMessage => "was at a record at which other processes crashed",
        })
    }
}

/// A slot.
#[derive(Debug)]
pub(super) struct Child {
    pub slot: Slot,
    pub kind: &'static Kind,
    pub pid: Option<Pid>,
    pub channel: Option<SupervisorEnd>,
    /// What is to be said to it and wasn't yet, in order: the queue may be full, or nobody there.
    pub backlog: VecDeque<(ToWorker, Descriptor)>,
    /// When it is to be started, if it isn't running.
    pub respawn_at: Option<Instant>,
    pub started_at: Instant,
    /// Deaths by its own doing, one after another.
    pub deaths: u32,
    /// When it was reported to be stopped.
    pub stopped_at: Option<Instant>,
    /// Why we killed it, if we did.
    pub kill_reason: Option<Fault>,
    /// Why it could not be forked, until it is: logged once.
    pub fork_failure: Option<String>,
    /// How its predecessor died, until the successor is there and both are told in one line.
    pub last_death: Option<String>,
    /// When it died, until a successor is there.
    pub died_at: Option<Instant>,
    /// When we killed it, until it is reaped.
    pub killed_at: Option<Instant>,
    /// The others wait neither for it nor for a successor any more.
    pub is_abandoned: bool,
    pub is_drained: bool,
    /// What the supervisor gave to the process that runs in it, or ran last.
    pub given: Box<Settings>,
    /// What was set from outside on it or a predecessor, for successors to take on.
    pub carried_over: Option<Box<Settings>>,
    /// Failures under that, one after another.
    pub failures: u32,
}

#[derive(Debug)]
pub(super) enum Descriptor {
    /// The session's socket, which the connections keep.
    Session(SessionId),
    /// One that nobody else keeps.
    Owned(OwnedFd),
}

impl Child {
    /// Nothing runs in it.
    pub fn new(slot: Slot, kind: &'static Kind) -> Child {
        Child {
            slot,
            kind,
            pid: None,
            channel: None,
            backlog: VecDeque::new(),
            respawn_at: None,
            started_at: Instant::now(),
            deaths: 0,
            stopped_at: None,
            kill_reason: None,
            fork_failure: None,
            last_death: None,
            died_at: None,
            killed_at: None,
            is_abandoned: false,
            is_drained: false,
            given: Box::default(),
            carried_over: None,
            failures: 0,
        }
    }

    /// `worker 3`, `journal`.
    pub fn name(&self) -> String {
        self.kind.name(self.slot)
    }

    /// A process was started in it. With the sessions that its predecessor had it was given those
    /// that were still to be handed over.
    pub fn begin(&mut self, pid: Pid, channel: Option<SupervisorEnd>) {
        self.backlog.retain(|(_, descriptor)| !matches!(descriptor, Descriptor::Session(_)));
        (self.pid, self.channel, self.started_at) = (Some(pid), channel, Instant::now());
        (self.respawn_at, self.stopped_at, self.kill_reason, self.is_drained) =
            (None, None, None, false);
        (self.died_at, self.killed_at, self.is_abandoned, self.fork_failure) =
            (None, None, false, None);
    }

    /// How it goes on if it crashes again and again and no process waits for it any more.
    pub fn in_crash_loop(&self) -> Option<CrashLoop> {
        self.kind.crash_loop.filter(|crash_loop| self.deaths >= crash_loop.crashes)
    }

    /// Whether the kernel may have killed it since a control group that an operator moved it to has
    /// too little memory: it lived for a moment only, and the next may live no longer.
    pub fn may_lack_memory(&self) -> bool {
        self.carried_over.as_ref().is_some_and(|settings| settings.has_group())
            && self.started_at.elapsed() < BACKOFF_MAX
    }

    /// It failed. Returns what was set from outside if so many failed under that one after another
    /// that their successor is to begin without it.
    pub fn count_failure(&mut self) -> Option<Box<Settings>> {
        if self.carried_over.is_none() || self.started_at.elapsed() > RECOVERY_TIME {
            self.failures = 0;
        }
        self.failures += u32::from(self.carried_over.is_some());
        self.carried_over.take_if(|_| self.failures >= FAILURES_MAX)
    }

    pub fn abandon(&mut self) -> Slot {
        self.is_abandoned = true;
        self.slot
    }

    /// Returns how many of those that are to be rejected no longer wait.
    pub fn send_backlog(&mut self, connections: &Connections, lost: &mut Vec<SessionId>) -> usize {
        let mut rejected = 0;
        let Some(channel) = &self.channel else { return 0 };
        while let Some((message, descriptor)) = self.backlog.front() {
            let sent = match descriptor {
                Descriptor::Owned(socket) => channel.send(message, Some(socket.as_fd())),
                Descriptor::Session(session) => match connections.socket(*session) {
                    Some(socket) => channel.send(message, Some(socket)),
                    // It is over already.
                    None => Ok(()),
                },
            };
            match sent {
                Ok(()) => {}
                Err(SendError::Full | SendError::Closed) => break,
                Err(SendError::System(errno)) => {
                    log::error!("cannot pass a message to {}: {errno}", self.name());
                    if let Descriptor::Session(session) = descriptor {
                        lost.push(*session);
                    }
                }
            }
            rejected += usize::from(matches!(descriptor, Descriptor::Owned(_)));
            self.backlog.pop_front();
        }
        rejected
    }

    /// How long to wait before it is started again, given whether the server ends.
    pub fn backoff(&mut self, is_crash: bool, is_stopping: bool) -> Duration {
        if !is_crash {
            return Duration::ZERO;
        }
        if self.started_at.elapsed() > RECOVERY_TIME {
            self.deaths = 0;
        }
        self.deaths += 1;
        let pause = backoff(self.deaths);
        if is_stopping {
            return pause.min(BACKOFF_MAX_AT_END);
        }
        self.in_crash_loop().map_or(pause, |crash_loop| crash_loop.pause)
    }
}

pub(super) fn backoff(deaths: u32) -> Duration {
    let doublings = deaths.saturating_sub(1).min(16);
    (BACKOFF_MIN * 2u32.pow(doublings)).min(BACKOFF_MAX)
}
