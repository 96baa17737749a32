//! Counts, in shared memory, what the workers drop of the clients' input. The supervisor reports
//! sums to the operator every few seconds, so that no client can flood the log output.

use crate::ipc::value::Value;
use std::io;
use std::time::{Duration, Instant};

/// Sums are reported at most this often.
const REPORT_AGAIN: Duration = Duration::from_secs(10);

/// The counters. Every worker adds to them.
#[derive(Clone, Copy, Debug)]
pub struct Dropped {
    datagrams: Value,
    backlogs: Value,
    backlog_bytes: Value,
}

impl Dropped {
    /// All 0, to be shared with the processes forked afterwards.
    pub fn map() -> io::Result<Dropped> {
        let counter = || Value::map("forkchat-dropped");
        Ok(Dropped { datagrams: counter()?, backlogs: counter()?, backlog_bytes: counter()? })
    }

    /// Counts a datagram that was dropped, or its last lines, because its sender sends too much or
    /// because it lacks the session's key. Returns how many there are.
    pub fn datagram(&self) -> u64 {
        self.datagrams.increase(1)
    }

    /// Counts what a connection whose peer has reset it had sent beyond its budget, in bytes.
    pub fn backlog(&self, bytes: usize) {
        if bytes > 0 {
            self.backlogs.increase(1);
            // Last: the report waits for the bytes.
            self.backlog_bytes.increase(bytes as u64);
        }
    }

    fn counts(&self) -> [u64; 3] {
        [self.datagrams, self.backlog_bytes, self.backlogs].map(Value::get)
    }
}

/// What of it was reported.
#[derive(Debug)]
pub struct Report {
    dropped: Dropped,
    reported: [u64; 3],
    reported_at: Option<Instant>,
}

impl Report {
    /// Nothing so far.
    pub fn new(dropped: Dropped) -> Report {
        Report { dropped, reported: [0; 3], reported_at: None }
    }

    /// What to log now: what was dropped since the last report, unless that was just now or nothing
    /// was.
    pub fn next(&mut self, now: Instant) -> Vec<String> {
        if self.reported_at.is_some_and(|at| now.duration_since(at) < REPORT_AGAIN) {
            return Vec::new();
        }
        let lines = self.rest();
        if !lines.is_empty() {
            self.reported_at = Some(now);
        }
        lines
    }

    /// The same, however recent the last report is.
    pub fn rest(&mut self) -> Vec<String> {
        let counts = self.dropped.counts();
        let [datagrams, bytes, connections] = std::array::from_fn(|i| counts[i] - self.reported[i]);
        let mut lines = Vec::new();
        if bytes > 0 {
            self.reported[1..].copy_from_slice(&counts[1..]);
            lines.push(format!(
                "dropped {bytes} bytes that clients had sent beyond their budget before a reset; connections: {connections}"
            ));
        }
        if datagrams > 0 {
            self.reported[0] = counts[0];
            lines.push(format!("dropped {datagrams} datagrams, or their last lines: beyond their session's budget, or without its key"));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_reported_at_once_and_then_as_a_sum_now_and_then() {
        let dropped = Dropped::map().unwrap();
        let (mut report, start) = (Report::new(dropped), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        dropped.backlog(0);
        assert!(report.next(start).is_empty(), "nothing was dropped");
        dropped.backlog(700);
        let told = report.next(after(1));
        assert_eq!(
            told,
            [
                "dropped 700 bytes that clients had sent beyond their budget before a reset; connections: 1"
            ]
        );
        for _ in 0..100 {
            dropped.backlog(10);
            dropped.datagram();
            assert!(report.next(after(10)).is_empty(), "not so soon again");
        }
        let told = report.next(after(11));
        assert!(
            told[0].starts_with("dropped 1000 bytes") && told[0].ends_with(": 100"),
            "{told:?}"
        );
        assert!(told[1].starts_with("dropped 100 datagrams"), "{told:?}");
        dropped.datagram();
        assert_eq!(
            (report.next(after(12)).len(), report.rest().len(), report.rest().len()),
            (0, 1, 0)
        );
    }
}
