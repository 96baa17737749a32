//! The log's clock, which is the same in every process. It never jumps and never runs backwards. It
//! starts as the wall clock; [`Clock::wall_ahead`] returns how far the wall clock has been set
//! since.
//!
//! ```text
//! byte 0
//!      ┌────────────┐
//!      │ offset     │  added to the time since boot, in µs; never changes
//!      └────────────┘
//! ```

use forkchat_common::ids::Micros;
use nix::time::{ClockId, clock_gettime};
#[cfg(test)]
use std::sync::atomic::AtomicI64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The clock. See the module's documentation.
#[derive(Debug)]
pub struct Clock {
    offset: &'static AtomicU64,
    /// In a simulation, what [`Clock::uptime`] returns; 0 for the real uptime.
    #[cfg(test)]
    simulated_uptime: AtomicU64,
    /// In a simulation, what [`Clock::wall_ahead`] returns.
    #[cfg(test)]
    simulated_wall_ahead: AtomicI64,
}

impl Clock {
    /// The section's length.
    pub(super) fn bytes() -> usize {
        size_of::<AtomicU64>()
    }

    pub(super) fn new(offset: &'static AtomicU64) -> Clock {
        Clock {
            offset,
            #[cfg(test)]
            simulated_uptime: AtomicU64::new(0),
            #[cfg(test)]
            simulated_wall_ahead: AtomicI64::new(0),
        }
    }

    /// Sets the clock to the wall clock's time.
    pub(super) fn start(&self) {
        self.offset.store(wall_clock().saturating_sub(self.uptime().0), Ordering::Relaxed);
    }

    /// The time, since 1970-01-01 UTC.
    pub fn now(&self) -> Micros {
        self.uptime().plus(self.offset.load(Ordering::Relaxed))
    }

    /// How far the wall clock is ahead of this clock, in µs; negative if it was set back. Only the
    /// journal uses it, to record the difference in the log.
    pub fn wall_ahead(&self) -> i64 {
        #[cfg(test)]
        if let ahead = self.simulated_wall_ahead.load(Ordering::Relaxed)
            && (ahead != 0 || self.simulated_uptime.load(Ordering::Relaxed) != 0)
        {
            return ahead;
        }
        wall_clock().cast_signed().saturating_sub(self.now().0.cast_signed())
    }

    /// The time since the machine started, for measuring durations: it never jumps.
    pub fn uptime(&self) -> Micros {
        #[cfg(test)]
        if let simulated @ 1.. = self.simulated_uptime.load(Ordering::Relaxed) {
            return Micros(simulated);
        }
        // CLOCK_BOOTTIME includes the time for which the machine was suspended. It can't fail: the
        // clock exists since Linux 2.6.39.
        Micros(micros(
            clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default(),
        ))
    }

    /// Advances the time in a simulation. From the first call on, the time advances only by these
    /// calls.
    #[cfg(test)]
    pub fn pass_time(&self, micros: u64) {
        self.simulated_uptime.fetch_add(micros, Ordering::Relaxed);
    }

    /// Sets how far the wall clock is ahead in a simulation.
    #[cfg(test)]
    pub fn set_wall_ahead(&self, micros: i64) {
        self.simulated_wall_ahead.store(micros, Ordering::Relaxed);
    }
}

/// The machine's wall clock in microseconds since 1970-01-01 UTC. It may be set ahead and back.
fn wall_clock() -> u64 {
    micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
