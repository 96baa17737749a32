//! How long clients wait when their worker is killed: from the kill to the first line that was sent
//! after the kill.

use super::killer::{Kill, KillKind};
use hdrhistogram::Histogram;
use std::sync::Arc;

/// The longest pause that is recorded exactly, in ns.
const PAUSE_MAX: u64 = 60_000_000_000;

/// The pauses so far, and the clients that wait.
#[derive(Debug)]
pub struct Pauses {
    /// After kills of a worker whose restart was not disturbed.
    pub plain: Histogram<u64>,
    /// After all other kills: the worker was stopped, crashed, or killed again during its recovery.
    pub disturbed: Histogram<u64>,
    /// By client: since when it waits, if it does.
    waiting: Vec<Option<Wait>>,
}

#[derive(Clone, Debug)]
struct Wait {
    since: u64,
    is_disturbed: bool,
    /// By sender: the number of lines it had sent at the kill.
    sent: Arc<[u32]>,
}

impl Pauses {
    /// No pauses yet, for this many clients.
    pub fn new(clients: usize) -> Result<Pauses, String> {
        let histogram = || {
            Histogram::new_with_max(PAUSE_MAX, 3)
                .map_err(|error| format!("cannot make a histogram: {error}"))
        };
        Ok(Pauses { plain: histogram()?, disturbed: histogram()?, waiting: vec![None; clients] })
    }

    /// A worker was killed. `served` are its clients; `sent` is the number of lines that each
    /// sender has sent so far.
    pub fn begin(&mut self, kill: &Kill, served: impl Iterator<Item = usize>, sent: &Arc<[u32]>) {
        let is_disturbed =
            matches!(kill.kind, KillKind::Stopped | KillKind::Crashed | KillKind::Successor);
        for client in served {
            let wait = &mut self.waiting[client];
            match wait {
                // The wait begins with the first kill. It ends with a line that was sent after the
                // last kill.
                Some(wait) => (wait.is_disturbed, wait.sent) = (true, sent.clone()),
                None => *wait = Some(Wait { since: kill.at, is_disturbed, sent: sent.clone() }),
            }
        }
    }

    /// A client received a line. Its wait ends if the line was sent after the kill.
    pub fn line_received(&mut self, client: usize, sender: u16, number: u32, now: u64) {
        if let Some(wait) = self.waiting[client]
            .take_if(|wait| wait.sent.get(usize::from(sender)).is_none_or(|&sent| number >= sent))
        {
            let histogram = if wait.is_disturbed { &mut self.disturbed } else { &mut self.plain };
            histogram.saturating_record(now - wait.since);
        }
    }

    /// A client no longer waits, because its connection has ended.
    pub fn forget(&mut self, client: usize) {
        self.waiting[client] = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::Pid;

    fn kill(at: u64, kind: KillKind) -> Kill {
        Kill { at, kind, slot: Some(0), pid: Pid::from_raw(1) }
    }

    #[test]
    fn a_pause_ends_with_a_line_that_was_sent_after_the_kill() {
        let mut pauses = Pauses::new(2).unwrap();
        pauses.begin(&kill(1_000, KillKind::Worker), 0..1, &[5, 7].into());
        pauses.line_received(0, 0, 4, 1_500);
        pauses.line_received(1, 0, 5, 1_600);
        assert_eq!(pauses.plain.len(), 0);
        pauses.line_received(0, 1, 7, 3_000);
        pauses.line_received(0, 1, 8, 9_000);
        assert_eq!((pauses.plain.len(), pauses.plain.max(), pauses.disturbed.len()), (1, 2_000, 0));
    }

    #[test]
    fn pauses_after_a_second_kill_or_a_stop_are_recorded_separately() {
        let mut pauses = Pauses::new(2).unwrap();
        pauses.begin(&kill(1_000, KillKind::Worker), 0..1, &[5].into());
        pauses.begin(&kill(1_200, KillKind::Worker), 0..1, &[6].into());
        pauses.line_received(0, 0, 5, 1_500);
        pauses.line_received(0, 0, 6, 2_000);
        pauses.begin(&kill(2_000, KillKind::Stopped), 1..2, &[6].into());
        pauses.line_received(1, 0, 6, 3_000);
        assert_eq!(
            (pauses.plain.len(), pauses.disturbed.len(), pauses.disturbed.max()),
            (0, 2, 1_000)
        );
    }
}
