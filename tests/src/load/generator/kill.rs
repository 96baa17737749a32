//! Kills a process of the server with SIGKILL in the middle of a slice, and measures how long each
//! client waits: from the kill to the first line that was due after it.

use super::Generator;
use crate::load::client::Stage;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::Duration;

/// A process that is to be killed, and what the clients received afterwards.
#[derive(Debug)]
pub struct Kill {
    /// The process.
    pub pid: Pid,
    /// When to kill it, in ns after the beginning of the slice.
    delay: u64,
    /// When it was killed, in ns; `None` before that.
    killed_at: Option<u64>,
    /// By client: whether the process served it.
    served: Vec<bool>,
    /// By client: how long it waited, in ns; `None` while it still waits.
    waits: Vec<Option<u64>>,
}

/// What a kill cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KillCost {
    /// The share of all connections that the killed process served, 0 to 1.
    pub share: f64,
    /// The longest wait of a client that the killed process served, in ms.
    pub wait_ms: f64,
    /// The longest wait of all other clients, in ms; `None` if there were no others.
    pub others_ms: Option<f64>,
}

impl Kill {
    /// What the kill cost; `None` if the process was not killed, or a client that it served still
    /// waits.
    pub fn cost(&self) -> Option<KillCost> {
        self.killed_at?;
        let longest = |is_served: bool| {
            let waits =
                self.waits.iter().zip(&self.served).filter(|(_, served)| **served == is_served);
            waits.filter_map(|(wait, _)| *wait).max().map(|nanos| nanos as f64 / 1e6)
        };
        let is_served = self.served.iter().filter(|served| **served).count();
        let wait_ms = longest(true).filter(|_| self.is_over())?;
        Some(KillCost {
            share: is_served as f64 / self.served.len() as f64,
            wait_ms,
            others_ms: longest(false),
        })
    }

    /// Whether every client that the process served has received a line again.
    fn is_over(&self) -> bool {
        self.killed_at.is_some()
            && self.waits.iter().zip(&self.served).all(|(wait, served)| wait.is_some() || !served)
    }
}

impl Generator {
    /// By client: the local port of its connection; 0 if it has none.
    pub fn ports(&self) -> Vec<u16> {
        let port = |address: socket2::SockAddr| address.as_socket().map(|address| address.port());
        self.clients
            .iter()
            .map(|client| client.socket.local_addr().ok().and_then(port).unwrap_or(0))
            .collect()
    }

    /// Prepares a kill for the next slice, `delay` after its beginning. `served` says for each
    /// client whether the process serves it.
    pub fn prepare_kill(&mut self, pid: Pid, served: Vec<bool>, delay: Duration) {
        let waits = vec![None; served.len()];
        self.kill =
            Some(Kill { pid, delay: delay.as_nanos() as u64, killed_at: None, served, waits });
    }

    /// Takes the kill and its results.
    pub fn take_kill(&mut self) -> Option<Kill> {
        self.kill.take()
    }

    /// Kills the process if the kill is due. `began` is the beginning of the slice. Returns when
    /// the kill is due; `u64::MAX` if there is none to come.
    pub(super) fn kill_if_due(&mut self, began: u64) -> Result<u64, String> {
        let now = self.now();
        let Some(planned) = self.kill.as_mut().filter(|planned| planned.killed_at.is_none()) else {
            return Ok(u64::MAX);
        };
        let due = began + planned.delay;
        if now < due {
            return Ok(due);
        }
        planned.killed_at = Some(now);
        kill(planned.pid, Signal::SIGKILL)
            .map_err(|errno| format!("cannot kill process {}: {errno}", planned.pid))?;
        Ok(u64::MAX)
    }

    /// Whether no client waits because of a kill.
    pub(super) fn has_recovered(&self) -> bool {
        self.kill.as_ref().is_none_or(Kill::is_over)
    }

    /// A member has received a line that was due at `since`. If that was after the kill, and its
    /// first such line, its wait is over.
    pub(super) fn record_recovery(&mut self, index: usize, since: u64, now: u64) {
        let is_ready = self.clients[index].stage == Stage::Ready;
        let Some(kill) = self.kill.as_mut() else { return };
        if let Some(at) = kill.killed_at.filter(|&at| is_ready && since >= at) {
            kill.waits[index].get_or_insert(now - at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kill(killed_at: Option<u64>, served: &[bool], waits: &[Option<u64>]) -> Kill {
        Kill {
            pid: Pid::from_raw(1),
            delay: 0,
            killed_at,
            served: served.to_vec(),
            waits: waits.to_vec(),
        }
    }

    #[test]
    fn the_cost_is_the_longest_wait_of_a_client_of_the_killed_process() {
        let served = [true, true, false, false];
        let cost =
            kill(Some(7), &served, &[Some(2_000_000), Some(5_000_000), Some(1_000_000), None])
                .cost()
                .unwrap();
        assert_eq!(cost, KillCost { share: 0.5, wait_ms: 5.0, others_ms: Some(1.0) });
        assert_eq!(kill(Some(7), &[true], &[Some(3_000_000)]).cost().unwrap().others_ms, None);
    }

    #[test]
    fn there_is_no_cost_while_a_client_of_the_killed_process_waits() {
        assert_eq!(kill(Some(7), &[true, true], &[Some(1), None]).cost(), None);
        assert_eq!(kill(None, &[true], &[None]).cost(), None);
        assert_eq!(
            kill(Some(7), &[false], &[Some(1)]).cost(),
            None,
            "a process without clients says nothing"
        );
    }
}
