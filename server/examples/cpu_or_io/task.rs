//! What is to be done: computing, and waiting.

use forkchat_server::ipc::value::Array;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};
use zerocopy::FromBytes;

const WAIT: Duration = Duration::from_millis(100);
const NUMBERS: u64 = 200_000;

/// Returns what was found.
pub type Task = fn() -> u64;

/// What became of a task.
#[derive(FromBytes)]
#[repr(C)]
pub struct Entry {
    /// How long it was under way.
    pub micros: AtomicU64,
    /// What it found.
    pub found: AtomicU64,
}

/// A task that is to be done several times, each with an entry of its own. The entries are shared, for processes have nothing else in common.
#[derive(Clone, Copy)]
pub struct Run {
    /// What.
    pub task: Task,
    /// What became of each.
    pub entries: Array<Entry>,
}

impl Run {
    /// Does one of them.
    pub fn perform(self, place: usize) {
        let start = Instant::now();
        self.entries[place].found.store((self.task)(), Ordering::Relaxed);
        self.entries[place].micros.store(start.elapsed().as_micros() as u64, Ordering::Relaxed);
    }
}

/// As one computes.
pub fn count_primes() -> u64 {
    let is_prime =
        |number: &u64| (2..*number).take_while(|divisor| divisor * divisor <= *number).all(|divisor| !number.is_multiple_of(divisor));
    (2..black_box(NUMBERS)).filter(is_prime).count() as u64
}

/// As one waits for a disk, a client, another server.
pub fn wait() -> u64 {
    sleep(WAIT);
    1
}
