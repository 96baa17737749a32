//! Forking a process into a slot. The first start and every restart work the same way: the process
//! loads the published snapshot, and then reads the log from there.

use super::carried_over::Settings;
use super::kinds::{Ends, Kind, Restart};
use super::{Supervisor, readable};
use crate::channel::WorkerEnd;
use crate::ipc::queue;
use crate::role;
use crate::sys::process::fork_child;
use crate::worker::{Inherited, Start};
use forkchat_common::ids::Slot;
use nix::unistd::Pid;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The delay before a failed fork is tried again.
const FORK_RETRY_DELAY: Duration = Duration::from_secs(1);

impl Supervisor {
    /// Starts the first process of every slot.
    pub(super) fn spawn_all(&mut self) -> io::Result<()> {
        self.children.slots().try_for_each(|slot| self.spawn(slot))
    }

    /// Starts the processes that are due.
    pub(super) fn respawn(&mut self) {
        let now = Instant::now();
        self.log_process.start_if_due(&self.scheduling);
        for slot in self.children.slots() {
            if self.children.get(slot).respawn_at.is_none_or(|at| at > now) {
                continue;
            }
            let was_abandoned = self.children.get(slot).is_abandoned;
            match self.spawn(slot) {
                Ok(()) => {
                    let child = self.children.get(slot);
                    let (death, pid) = (
                        child.last_death.take().unwrap_or_default(),
                        child.pid.map_or(0, Pid::as_raw),
                    );
                    let kept = (child.kind.kept)(&Restart {
                        connections: self.connections.count(slot),
                        skipped: self.work.journal.tally.skipped.load(Ordering::Relaxed),
                        was_abandoned,
                    });
                    log::warn!("{death}; restarted as pid {pid}{kept}");
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
                    child.respawn_at = Some(now + FORK_RETRY_DELAY);
                }
            }
        }
    }

    /// Starts a process in a slot that has none.
    ///
    /// # Errors
    /// If the kernel refuses the fork or a descriptor. The slot then still has no process.
    pub(super) fn spawn(&mut self, slot: Slot) -> io::Result<()> {
        let (kind, name, segment) =
            (self.children.kind(slot), self.children.name(slot), self.segment);
        segment.reset_threads(slot);
        segment.start_gate.expect(slot.index());
        *self.children.get(slot).given = self.given(slot);
        let (ours, theirs) = kind.serves_clients.then(queue::pair).transpose()?.unzip();
        if let Some(ours) = &ours {
            // Before the fork, since nothing may fail after it. If the fork fails, no other process
            // has this descriptor, and epoll forgets it when it is closed.
            self.epoll.add(ours, readable(slot.index() as u64))?;
        }
        let udp = if slot == Slot::FIRST_WORKER { self.listeners.udp()? } else { None };
        let (sessions, sockets): (Vec<_>, Vec<_>) = self
            .connections
            .of(slot)
            .map(|(session, origin, socket)| ((session, origin), socket))
            .unzip();
        let main = |(channel, udp): (Option<WorkerEnd>, Option<OwnedFd>), sockets: Vec<OwnedFd>| {
            self.set_up_child(slot, kind, &name);
            let inherited = sessions.iter().zip(sockets);
            let inherited = inherited.map(|(&(session, origin), connection)| Inherited {
                session,
                origin,
                connection,
            });
            let start = channel.map(|channel| Start {
                channel,
                udp,
                inherited: inherited.collect(),
                gate: segment.start_gate.party(slot.index()),
                ends_with_connections: kind.ends == Ends::WithItsConnection,
            });
            (kind.run)(&self.work, slot, start)
        };
        let pid = fork_child(
            (theirs, udp),
            |(channel, udp)| {
                channel.iter().map(AsFd::as_fd).chain(udp.iter().map(AsFd::as_fd)).collect()
            },
            segment.doorbells.descriptors(),
            &sockets,
            main,
        )?;
        self.children.get(slot).begin(pid, ours);
        if slot == Slot::JOURNAL {
            self.work.post.dismiss();
        }
        self.watchdog.reset(slot);
        Ok(())
    }

    /// The first steps of a child: it sets its role and applies its settings. It then creates all
    /// that it needs, reports at the start gate that it is ready, and waits there until all
    /// processes are ready and the server is sure to start. Until then no child has done anything
    /// that would have to be undone.
    fn set_up_child(&self, slot: Slot, kind: &Kind, name: &str) {
        role::set(name);
        self.scheduling.apply_in_child(slot, kind);
        self.out_of_memory.apply_in_child(kind);
        if let Some(carried_over) = self.children.carried_over(slot) {
            carried_over.apply_in_child();
        }
        self.segment.start_gate.party(slot.index()).begin();
    }

    /// The settings that the process in a slot would have if it were forked now.
    pub(super) fn given(&self, slot: Slot) -> Settings {
        Settings::of(Pid::this()).of_child(
            slot,
            self.children.kind(slot),
            &self.scheduling,
            &self.out_of_memory,
        )
    }
}
