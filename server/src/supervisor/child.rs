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

/// The pause before a crashed process is restarted. It doubles with each crash in a row.
const BACKOFF_MIN: Duration = Duration::from_millis(10);
/// The longest pause.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// The longest pause while the server stops: there is little time left.
const BACKOFF_MAX_AT_END: Duration = Duration::from_millis(100);
/// After a process has lived this long, its next crash counts as the first again.
pub(super) const RECOVERY_TIME: Duration = Duration::from_secs(10);

/// Why the supervisor killed a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It was stopped from outside (SIGSTOP). This is not a crash.
    Stopped,
    /// It held the log's lock for too long.
    KeptLock,
    /// It did not read the log for too long.
    ReadNothing,
    /// One of its threads was in the same turn for too long.
    Busy,
    /// One of its threads did not answer the watchdog's challenge.
    Frozen,
    /// It was processing a record at which other processes had crashed.
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

/// A slot, and the process in it if there is one.
#[derive(Debug)]
pub(super) struct Child {
    pub slot: Slot,
    pub kind: &'static Kind,
    pub pid: Option<Pid>,
    pub channel: Option<SupervisorEnd>,
    /// Messages that were not sent yet, in order: the queue may be full, or no process reads it.
    pub backlog: VecDeque<(ToWorker, Descriptor)>,
    /// When the next process is to be started, if none runs.
    pub respawn_at: Option<Instant>,
    /// When the process, or the last one, was started.
    pub started_at: Instant,
    /// Crashes in a row; with them, deaths that a memory limit may have caused.
    pub crashes: u32,
    /// When the process was reported stopped, until that is checked.
    pub stopped_at: Option<Instant>,
    /// Why the supervisor killed the process, if it did.
    pub kill_reason: Option<Fault>,
    /// Why the last fork failed, until one succeeds. Each reason is logged once.
    pub fork_failure: Option<String>,
    /// How the last process died, in words. It is logged together with the successor's pid.
    pub last_death: Option<String>,
    /// When the last process died, until a successor is started.
    pub died_at: Option<Instant>,
    /// When the supervisor killed the process, until that is reaped.
    pub killed_at: Option<Instant>,
    /// The other processes no longer wait for this process or its successor.
    pub is_abandoned: bool,
    /// Whether the worker has sent all its output, or the journal has finished.
    pub is_drained: bool,
    /// The settings that the supervisor gave to this process, or to the last one.
    pub given: Box<Settings>,
    /// The settings that were made from outside on this process or a predecessor. Successors apply
    /// them.
    pub carried_over: Option<Box<Settings>>,
    /// Failures in a row with these settings.
    pub failures: u32,
}

/// The socket that is sent with a message.
#[derive(Debug)]
pub(super) enum Descriptor {
    /// The socket of this session. [`Connections`] owns it.
    Session(SessionId),
    /// A socket that no other table owns.
    Owned(OwnedFd),
}

impl Child {
    /// A slot without a process.
    pub fn new(slot: Slot, kind: &'static Kind) -> Child {
        Child {
            slot,
            kind,
            pid: None,
            channel: None,
            backlog: VecDeque::new(),
            respawn_at: None,
            started_at: Instant::now(),
            crashes: 0,
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

    /// Records that a process was started. Messages with sessions' sockets are dropped from the
    /// backlog, since the process inherited these sockets with the others.
    pub fn begin(&mut self, pid: Pid, channel: Option<SupervisorEnd>) {
        self.backlog.retain(|(_, descriptor)| !matches!(descriptor, Descriptor::Session(_)));
        (self.pid, self.channel, self.started_at) = (Some(pid), channel, Instant::now());
        (self.respawn_at, self.stopped_at, self.kill_reason, self.is_drained) =
            (None, None, None, false);
        (self.died_at, self.killed_at, self.is_abandoned, self.fork_failure) =
            (None, None, false, None);
    }

    /// How it is restarted if it is in a crash loop; `None` if it isn't.
    pub fn in_crash_loop(&self) -> Option<CrashLoop> {
        self.kind.crash_loop.filter(|crash_loop| self.crashes >= crash_loop.crashes)
    }

    /// Whether the kernel may have killed it because an operator moved it to a control group with
    /// too little memory. That is likely if it lived for only a moment, and its successor may live
    /// no longer.
    pub fn may_lack_memory(&self) -> bool {
        self.carried_over.as_ref().is_some_and(|settings| settings.has_group())
            && self.started_at.elapsed() < BACKOFF_MAX
    }

    /// Counts a failure. After too many failures in a row with settings from outside, removes these
    /// settings and returns them: the successor then starts without them.
    pub fn count_failure(&mut self) -> Option<Box<Settings>> {
        if self.carried_over.is_none() || self.started_at.elapsed() > RECOVERY_TIME {
            self.failures = 0;
        }
        self.failures += u32::from(self.carried_over.is_some());
        self.carried_over.take_if(|_| self.failures >= FAILURES_MAX)
    }

    /// Marks the slot as abandoned.
    pub fn abandon(&mut self) -> Slot {
        self.is_abandoned = true;
        self.slot
    }

    /// Sends the waiting messages. Adds sessions whose socket can't be sent to `lost`. Returns how
    /// many connections to be rejected no longer wait.
    pub fn send_backlog(&mut self, connections: &Connections, lost: &mut Vec<SessionId>) -> usize {
        let mut rejected = 0;
        let Some(channel) = &self.channel else { return 0 };
        while let Some((message, descriptor)) = self.backlog.front() {
            let sent = match descriptor {
                Descriptor::Owned(socket) => channel.send(message, Some(socket.as_fd())),
                Descriptor::Session(session) => match connections.socket(*session) {
                    Some(socket) => channel.send(message, Some(socket)),
                    // The session has ended already.
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

    /// How long to wait before a successor is started. Counts the crash if `is_crash`.
    pub fn backoff(&mut self, is_crash: bool, is_stopping: bool) -> Duration {
        if !is_crash {
            return Duration::ZERO;
        }
        if self.started_at.elapsed() > RECOVERY_TIME {
            self.crashes = 0;
        }
        self.crashes += 1;
        let pause = backoff(self.crashes);
        if is_stopping {
            return pause.min(BACKOFF_MAX_AT_END);
        }
        self.in_crash_loop().map_or(pause, |crash_loop| crash_loop.pause)
    }
}

pub(super) fn backoff(crashes: u32) -> Duration {
    let doublings = crashes.saturating_sub(1).min(16);
    (BACKOFF_MIN * 2u32.pow(doublings)).min(BACKOFF_MAX)
}
