//! The tasks: computing, and waiting.

use crate::stage::slowed;
use forkchat_server::ipc::value::Array;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};
use zerocopy::FromBytes;

const WAIT: Duration = Duration::from_millis(100);
const NUMBERS: u64 = 200_000;

#[derive(Clone, Copy, PartialEq)]
pub enum Task {
    /// Counts primes.
    Compute,
    /// As a task that waits for a disk, a client, another server.
    Wait,
}

/// The result of a task.
#[derive(FromBytes)]
#[repr(C)]
pub struct Entry {
    /// How long it was under way.
    pub micros: AtomicU64,
    /// What it found.
    pub found: AtomicU64,
}

/// A task that is done several times, each with an entry of its own. The entries are in shared
/// memory, where processes can write them, too.
#[derive(Clone, Copy)]
pub struct Run {
    pub task: Task,
    pub entries: Array<Entry>,
}

impl Run {
    /// Does one of the tasks.
    pub fn perform(self, place: usize) {
        let start = Instant::now();
        let found = match self.task {
            Task::Compute => count_primes(),
            Task::Wait => {
                sleep(wait_time());
                1
            }
        };
        self.note(place, start.elapsed(), found);
    }

    /// Notes that a task is done.
    pub fn note(self, place: usize, under_way: Duration, found: u64) {
        self.entries[place].found.store(found, Ordering::Relaxed);
        self.entries[place].micros.store(under_way.as_micros() as u64, Ordering::Relaxed);
    }
}

/// How long a task waits.
pub fn wait_time() -> Duration {
    slowed(WAIT)
}

fn count_primes() -> u64 {
    let is_prime = |number: &u64| {
        (2..*number)
            .take_while(|divisor| divisor * divisor <= *number)
            .all(|divisor| !number.is_multiple_of(divisor))
    };
    (2..black_box(NUMBERS)).filter(is_prime).count() as u64
}
