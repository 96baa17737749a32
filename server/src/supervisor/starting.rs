//! Waiting at the start until each process has reported that it is ready.
//!
//! Until then no connection is accepted and the start gate is closed. A child that crashes is
//! restarted a few times, since what it lacked may be available a moment later. Then the server
//! ends, and logs the child's reason.

use super::stop::Stage;
use super::{SIGNALS, StartError, Supervisor, TICK};
use forkchat_common::ids::Slot;
use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollTimeout};
use std::time::{Duration, Instant};

/// How long the processes may take to be ready. They take milliseconds, or seconds on a machine
/// that is busy with other programs and with `--sched idle`.
const READY_TIMEOUT: Duration = Duration::from_secs(20);
/// After this many crashes the start has failed.
const DEATHS_MAX: usize = 3;
/// How often to check whether they are ready, in milliseconds.
const POLL_INTERVAL: u8 = 1;

/// Processes that crashed before they were ready.
#[derive(Debug, Default)]
pub(super) struct EarlyDeaths {
    count: usize,
    /// The report about the latest crash with a known reason, or else about the latest crash; and
    /// whether the reason is known.
    reported: Option<(String, bool)>,
}

impl Supervisor {
    /// Waits until every process is ready, and restarts those that die.
    ///
    /// # Errors
    /// If too many crash, one is not ready in time, or a signal stops the server.
    pub(super) fn wait_until_ready(&mut self) -> Result<(), StartError> {
        let mut waited = Duration::ZERO;
        loop {
            let unready: Vec<Slot> = self
                .children
                .slots()
                .filter(|slot| !self.work.segment.start_gate.is_ready(slot.index()))
                .collect();
            if self.stage != Stage::Serving {
                return Err(StartError::Stopped);
            }
            let is_worker = |slot: &&Slot| **slot != Slot::JOURNAL;
            let Some(&first) = unready.iter().find(is_worker).or(unready.first()) else {
                return Ok(());
            };
            let is_late = waited >= READY_TIMEOUT;
            let has_failed = is_late || self.early_deaths.count >= DEATHS_MAX;
            match self.early_deaths.reported.take_if(|_| has_failed) {
                Some((words, _)) => return Err(StartError::Child(words)),
                None if is_late => {
                    return Err(StartError::NotReady(self.children.name(first), READY_TIMEOUT));
                }
                None => {}
            }
            let start = Instant::now();
            self.poll_children()?;
            // If the whole server was stopped (Ctrl-Z) and continued, the time in between doesn't
            // count.
            waited += start.elapsed().min(TICK);
        }
    }

    fn poll_children(&mut self) -> Result<(), StartError> {
        let mut events = [EpollEvent::empty(); 64];
        let count = match self.epoll.wait(&mut events, EpollTimeout::from(POLL_INTERVAL)) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(errno) => {
                return Err(StartError::System("wait for events (epoll_wait)", errno.into()));
            }
        };
        for token in events[..count].iter().map(EpollEvent::data) {
            match token {
                SIGNALS => self.handle_signals(),
                slot => self.receive(Slot::at(slot as u16)),
            }
        }
        self.reap();
        self.respawn();
        Ok(())
    }
}

impl EarlyDeaths {
    /// Records a crash as it is reported to the operator, and whether `words` contain the reason.
    pub fn record(&mut self, words: &str, has_reason: bool) {
        self.count += 1;
        if has_reason || self.reported.as_ref().is_none_or(|(_, has_reason)| !has_reason) {
            self.reported = Some((words.to_owned(), has_reason));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_with_a_known_reason_is_reported_rather_than_a_later_one_without() {
        let mut deaths = EarlyDeaths::default();
        for (words, has_reason, reported) in [
            ("1", false, "1"),
            ("2", false, "2"),
            ("3", true, "3"),
            ("4", false, "3"),
            ("5", true, "5"),
        ] {
            deaths.record(words, has_reason);
            assert_eq!(deaths.reported.as_ref().map(|(words, _)| words.as_str()), Some(reported));
        }
        assert_eq!(deaths.count, 5);
    }
}
