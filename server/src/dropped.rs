//! Reports to the operator how much client input the workers have dropped. It reports sums, every
//! few seconds at most, so that no client can flood the log output.

use crate::segment::Dropped;
use std::time::{Duration, Instant};

/// The shortest time between two reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// The counts that were reported last.
#[derive(Debug)]
pub struct Report {
    dropped: &'static Dropped,
    reported: [u64; 3],
    reported_at: Option<Instant>,
}

impl Report {
    /// A report that has reported nothing yet.
    pub fn new(dropped: &'static Dropped) -> Report {
        Report { dropped, reported: [0; 3], reported_at: None }
    }

    /// The lines to log now: the sums since the last report. Empty if that was less than ten
    /// seconds ago, or nothing was dropped.
    pub fn next(&mut self, now: Instant) -> Vec<String> {
        if self.reported_at.is_some_and(|at| now.duration_since(at) < REPORT_INTERVAL) {
            return Vec::new();
        }
        let lines = self.rest();
        if !lines.is_empty() {
            self.reported_at = Some(now);
        }
        lines
    }

    /// The lines to log now, however recent the last report is.
    pub fn rest(&mut self) -> Vec<String> {
        let counts = self.dropped.counts();
        let [datagrams, bytes, connections] = std::array::from_fn(|i| counts[i] - self.reported[i]);
        let mut lines = Vec::new();
        if bytes > 0 {
            self.reported[1..].copy_from_slice(&counts[1..]);
            lines.push(format!(
                "dropped {bytes} bytes that clients had sent beyond their budget before a reset; \
                 connections: {connections}"
            ));
        }
        if datagrams > 0 {
            self.reported[0] = counts[0];
            lines.push(format!(
                "dropped {datagrams} datagrams, or their last lines: \
                 beyond their session's budget, or without its key"
            ));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_input_is_reported_at_once_and_then_as_a_sum_at_intervals() {
        let dropped: &Dropped = Box::leak(Box::default());
        let (mut report, start) = (Report::new(dropped), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        dropped.backlog(0);
        assert!(report.next(start).is_empty(), "nothing was dropped");
        dropped.backlog(700);
        let lines = report.next(after(1));
        assert_eq!(
            lines,
            ["dropped 700 bytes that clients had sent beyond their budget before a reset; \
                 connections: 1"]
        );
        for _ in 0..100 {
            dropped.backlog(10);
            dropped.datagram();
            assert!(report.next(after(10)).is_empty(), "not so soon again");
        }
        let lines = report.next(after(11));
        assert!(
            lines[0].starts_with("dropped 1000 bytes") && lines[0].ends_with(": 100"),
            "{lines:?}"
        );
        assert!(lines[1].starts_with("dropped 100 datagrams"), "{lines:?}");
        dropped.datagram();
        assert_eq!(
            (report.next(after(12)).len(), report.rest().len(), report.rest().len()),
            (0, 1, 0)
        );
    }
}
