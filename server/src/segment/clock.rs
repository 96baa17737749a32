//! The log's clock: the same in every process. It makes no step and never runs backwards. It began
//! as the wall clock; [`Clock::wall_ahead`] says how far that has been set ahead or back since.
//!
//! ```text
//! byte 0
//!      ┌────────────┐
//!      │ offset     │  what is added to the time since boot, in µs; never changes
//!      └────────────┘
//! ```

use forkchat_common::ids::Micros;
use nix::time::{ClockId, clock_gettime};
#[cfg(test)]
use std::sync::atomic::AtomicI64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// See the module.
#[derive(Debug)]
pub struct Clock {
    offset: &'static AtomicU64,
    /// What [`Clock::uptime`] returns in a simulation; 0 for the real one.
    #[cfg(test)]
    simulated_uptime: AtomicU64,
    /// What [`Clock::wall_ahead`] returns then.
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

    /// Sets it by the wall clock.
    pub(super) fn start(&self) {
        self.offset.store(wall_clock().saturating_sub(self.uptime().0), Ordering::Relaxed);
    }

    /// The time.
    pub fn now(&self) -> Micros {
        self.uptime().plus(self.offset.load(Ordering::Relaxed))
    }

    /// How far the wall clock is ahead, in µs; negative if it was set back. For the one process
    /// that records it.
    pub fn wall_ahead(&self) -> i64 {
        #[cfg(test)]
        if let ahead = self.simulated_wall_ahead.load(Ordering::Relaxed)
            && (ahead != 0 || self.simulated_uptime.load(Ordering::Relaxed) != 0)
        {
            return ahead;
        }
        wall_clock().cast_signed().saturating_sub(self.now().0.cast_signed())
    }

    /// Time since the machine started, for what takes a certain time: it makes no step.
    pub fn uptime(&self) -> Micros {
        #[cfg(test)]
        if let simulated @ 1.. = self.simulated_uptime.load(Ordering::Relaxed) {
            return Micros(simulated);
        }
        // Includes the time that the machine was suspended. Can't fail: the clock exists since
        // Linux 2.6.39.
        Micros(micros(
            clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default(),
        ))
    }

    /// Lets time pass in a simulation; from the first call on it passes in no other way.
    #[cfg(test)]
    pub fn pass_time(&self, micros: u64) {
        self.simulated_uptime.fetch_add(micros, Ordering::Relaxed);
    }

    /// Sets the wall clock ahead in a simulation.
    #[cfg(test)]
    pub fn set_wall_ahead(&self, micros: i64) {
        self.simulated_wall_ahead.store(micros, Ordering::Relaxed);
    }
}

/// Microseconds since 1970-01-01 UTC, as the machine's clock has it: it may be set ahead and back.
fn wall_clock() -> u64 {
    micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
