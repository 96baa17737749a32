//! A schedule of events at an even rate. An event that is taken late does not delay the next ones.

/// A schedule that can be paused: the time between [`Pace::pause`] and [`Pace::resume`] does not
/// count.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// In ns, as all times here.
    interval: f64,
    /// When the next event is due; while paused, how long after the end of the pause.
    next: f64,
}

impl Pace {
    /// A paused schedule of this many events per second, the first one at once.
    pub fn new(per_second: f64) -> Pace {
        Pace { interval: 1e9 / per_second, next: 0.0 }
    }

    /// Time counts from now on.
    pub fn resume(&mut self, now: u64) {
        self.next += now as f64;
    }

    /// Time doesn't count from now on. An event that is due and was not taken is due when time
    /// counts again.
    pub fn pause(&mut self, now: u64) {
        self.next = (self.next - now as f64).max(0.0);
    }

    /// When the next event is due.
    pub fn next(&self) -> u64 {
        self.next as u64
    }

    /// Takes the next event if it is due, and returns when it was due.
    pub fn take(&mut self, now: u64) -> Option<u64> {
        let due = self.next();
        (due <= now).then(|| {
            self.next += self.interval;
            due
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_across_pauses_and_late_events_keep_their_due_time() {
        let mut pace = Pace::new(1_000.0);
        let mut taken = Vec::new();
        for start in [0, 50_000_000, 90_000_000] {
            pace.resume(start);
            // The schedule is asked every 0.7 ms, and once not for 3 ms.
            for step in [0, 1, 2, 3, 8, 9, 10] {
                while let Some(due) = pace.take(start + step * 700_000) {
                    taken.push(due);
                }
            }
            pace.pause(start + 7_000_000);
        }
        // One event per ms of the three times 7 ms that count. The event at the end of a stretch is
        // taken in that stretch.
        let at = |ms: u64| match ms {
            0..=7 => ms,
            8..=14 => 50 + ms - 7,
            _ => 90 + ms - 14,
        };
        let expected: Vec<u64> = (0..=21).map(|ms| at(ms) * 1_000_000).collect();
        assert_eq!(taken, expected);
    }

    #[test]
    fn one_event_every_ten_seconds_is_not_one_per_slice() {
        let mut pace = Pace::new(0.1);
        let slices = (0..40_u64).map(|slice| {
            let start = slice * 1_000_000_000;
            pace.resume(start);
            let is_due = pace.take(start + 499_000_000).is_some();
            pace.pause(start + 500_000_000);
            u32::from(is_due)
        });
        assert_eq!(slices.sum::<u32>(), 2, "in 20 s of slices");
    }
}
