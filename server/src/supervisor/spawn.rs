//! Forking a process into a slot. There is only one way to start a process, for the first start and
//! for every restart: it takes the published snapshot and the log, and goes on.

use super::carried_over::Settings;
use super::children::Role;
use super::{Supervisor, readable};
use crate::channel::WorkerEnd;
use crate::ipc::queue;
use crate::journal;
use crate::role::{self, count};
use crate::sys::process::fork_child;
use crate::worker::{Inherited, ServingConfig, Start};
use forkchat_common::ids::Slot;
use nix::unistd::Pid;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// When a fork fails, it is tried again after this.
const FORK_AGAIN: Duration = Duration::from_secs(1);

impl Supervisor {
    /// Starts every slot's first process.
    pub(super) fn spawn_all(&mut self) -> io::Result<()> {
        self.children.slots().try_for_each(|slot| self.spawn(slot))
    }

    /// Starts the processes whose time it is.
    pub(super) fn respawn(&mut self) {
        let now = Instant::now();
        self.log_process.start_if_due(&self.scheduling);
        for slot in self.children.slots() {
            if self.children.get(slot).respawn_at.is_none_or(|at| at > now) {
                continue;
            }
            let was_given_up = self.children.get(slot).is_given_up;
            match self.spawn(slot) {
                Ok(()) => {
                    let child = self.children.get(slot);
                    let (death, pid) = (
                        child.last_death.take().unwrap_or_default(),
                        child.pid.map_or(0, Pid::as_raw),
                    );
                    match child.role {
                        Role::Worker | Role::OwnWorker => {
                            let connections = self.connections.count(slot);
                            log::warn!(
                                "{death}; restarted as pid {pid}; {} kept",
                                count(connections, "connection")
                            );
                        }
                        Role::Journal if was_given_up => {
                            let skipped = self.journal.tally.skipped.load(Ordering::Relaxed);
                            log::warn!(
                                "{death}; restarted as pid {pid}; {} missing from the history so far",
                                count(skipped as usize, "line")
                            );
                        }
                        Role::Journal => log::warn!("{death}; restarted as pid {pid}"),
                    }
                }
                Err(error) => {
                    let child = self.children.get(slot);
                    let failure = error.to_string();
                    if child.fork_failure.as_ref() != Some(&failure) {
                        log::error!(
                            "cannot fork {}: {failure}; trying again every second",
                            child.name()
                        );
                        child.fork_failure = Some(failure);
                    }
                    child.respawn_at = Some(now + FORK_AGAIN);
                }
            }
        }
    }

    /// Starts a process in a slot in which none runs.
    pub(super) fn spawn(&mut self, slot: Slot) -> io::Result<()> {
        let (name, segment) = (self.children.name(slot), self.segment);
        segment.rest_threads(slot);
        self.gate.expect(slot.index());
        let role = self.children.role(slot);
        *self.children.get(slot).given = self.given(slot);
        let (pid, channel) = match role {
            Role::Journal => {
                let start = |(), _| {
                    self.begin_child(slot, role, &name);
                    self.post.wait_vacant();
                    journal::run(segment, slot, &self.journal, self.gate.place(slot.index()))
                };
                (
                    fork_child((), |()| Vec::new(), segment.doorbells.descriptors(), &[], start)?,
                    None,
                )
            }
            Role::Worker | Role::OwnWorker => {
                let (ours, theirs) = queue::pair()?;
                // Before the fork, behind which nothing may fail. If that does, nobody else has
                // this descriptor, and epoll forgets it.
                self.epoll.add(&ours, readable(slot.0.into()))?;
                // The worker in the first slot keeps the UDP sessions.
                let udp = if slot == Slot(0) { self.listeners.udp()? } else { None };
                let (sessions, sockets): (Vec<_>, Vec<_>) = self
                    .connections
                    .of(slot)
                    .map(|(session, origin, socket)| ((session, origin), socket))
                    .unzip();
                let start = |(channel, udp): (WorkerEnd, Option<OwnedFd>),
                             sockets: Vec<OwnedFd>| {
                    self.begin_child(slot, role, &name);
                    let udp_config = self.serving.udp.clone().filter(|_| udp.is_some());
                    let mut config = ServingConfig {
                        pid: std::process::id(),
                        udp: udp_config,
                        ..self.serving.clone()
                    };
                    if role == Role::OwnWorker {
                        config.outboxes.together = self.own_outboxes;
                    }
                    let inherited = sessions.iter().zip(sockets);
                    let inherited = inherited
                        .map(|(&(session, origin), connection)| Inherited {
                            session,
                            origin,
                            connection,
                        })
                        .collect();
                    let gate = self.gate.place(slot.index());
                    let start = Start {
                        channel,
                        udp,
                        inherited,
                        gate,
                        ends_with_connections: role == Role::OwnWorker,
                    };
                    (self.options.model.run)(segment, slot, config, start)
                };
                let pid = fork_child(
                    (theirs, udp),
                    |(theirs, udp)| {
                        [theirs.as_fd()].into_iter().chain(udp.iter().map(AsFd::as_fd)).collect()
                    },
                    segment.doorbells.descriptors(),
                    &sockets,
                    start,
                )?;
                (pid, Some(ours))
            }
        };
        self.children.get(slot).begin(pid, channel);
        if role == Role::Journal {
            self.post.dismiss();
        }
        self.watchdog.forget(slot);
        Ok(())
    }

    /// What a child does first: it takes on what it is. It then makes all that it needs, reports at
    /// the start gate that it is ready, and waits there until all are and the server is sure to
    /// start. Up to there no child has done anything that would have to be undone.
    fn begin_child(&self, slot: Slot, role: Role, name: &str) {
        role::take_on(name);
        self.scheduling.take_on_in_child(slot, role);
        self.out_of_memory.take_on_in_child(role);
        if let Some(carried_over) = self.children.carried_over(slot) {
            carried_over.take_on_in_child();
        }
        self.gate.place(slot.index()).begin();
    }

    /// What the process in a slot is given if it is forked now.
    pub(super) fn given(&self, slot: Slot) -> Settings {
        Settings::of(Pid::this()).of_child(
            slot,
            self.children.role(slot),
            &self.scheduling,
            &self.out_of_memory,
        )
    }
}
