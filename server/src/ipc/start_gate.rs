//! A start gate: processes report that they are ready, or why they can't be, and wait. The process
//! that made the gate sees when all are ready, and opens it.
//!
//! Costs: a report is a store, a wait is a system call. If a process dies before its report, its
//! parent's waitpid notices; a successor reports in its place. After the gate has opened, a wait
//! returns at once; a report still shows how far the process has come.

use super::event::Event;
use super::event_count::EventCount;
use nix::unistd::{Pid, getpid};
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, Ordering};
use std::time::Duration;
use zerocopy::FromBytes;

/// The stages of a process: it was just forked, it has begun, it is ready.
const FORKED: u32 = 0;
const BEGUN: u32 = 1;
const READY: u32 = 2;

/// The reason for a failure is cut to this many bytes.
const REASON_BYTES_MAX: usize = 480;

/// A gate, as the processes see it that were forked after it was created.
#[derive(Clone, Copy, Debug)]
pub struct StartGate {
    opened: Event,
    stages: &'static [AtomicU32],
    failure: &'static Failure,
    /// The process that created the gate and opens it.
    maker: Pid,
}

/// A gate's shared memory, except for the stage of each process. All zeroes is a closed gate.
#[derive(FromBytes, Debug)]
#[repr(C)]
pub struct Shared {
    opened: EventCount,
    failure: Failure,
}

/// Why a process could not begin. It holds one process's reason at a time.
#[derive(FromBytes, Debug)]
#[repr(C)]
struct Failure {
    /// The pid of the process; 0 for none.
    pid: AtomicI32,
    /// The length of the reason. Stored after its bytes.
    length: AtomicU32,
    bytes: [AtomicU8; REASON_BYTES_MAX],
}

/// One of the processes that wait at a gate.
#[derive(Clone, Copy, Debug)]
pub struct Party {
    gate: StartGate,
    party: usize,
}

impl StartGate {
    /// Creates a gate that this process opens, for as many processes as there are `stages`.
    pub fn new((shared, stages): (&'static Shared, &'static [AtomicU32])) -> StartGate {
        let opened = Event::new(&shared.opened);
        StartGate { opened, stages, failure: &shared.failure, maker: getpid() }
    }

    /// The length of [`Shared`] and the stages of `parties` processes, in bytes.
    pub fn bytes(parties: usize) -> usize {
        size_of::<Shared>().saturating_add(parties.saturating_mul(size_of::<AtomicU32>()))
    }

    /// The gate as one of its processes sees it. `number` is below the number of processes for which
    /// the gate was created.
    pub fn party(self, number: usize) -> Party {
        Party { gate: self, party: number }
    }

    /// Clears a process's reports before it is forked.
    pub fn expect(self, party: usize) {
        self.stages[party].store(FORKED, Ordering::Release);
    }

    /// Whether a process has reported that it has begun, or that it is ready.
    pub fn has_begun(self, party: usize) -> bool {
        // SYNC start-begun.
        self.stages[party].load(Ordering::Acquire) >= BEGUN
    }

    /// Whether a process has reported that it is ready.
    pub fn is_ready(self, party: usize) -> bool {
        // SYNC start-ready.
        self.stages[party].load(Ordering::Acquire) == READY
    }

    /// Opens the gate: all processes go on, now and later.
    pub fn open(self) {
        self.opened.set();
    }

    /// Whether the gate is open.
    pub fn is_open(self) -> bool {
        self.opened.is_set()
    }

    /// Reports why this process can't begin. The report is dropped if the gate is open, if another
    /// process's reason was not taken yet, or if this process created the gate.
    pub fn note_failure(self, reason: &str) {
        let me = getpid();
        let is_free = || {
            self.failure
                .pid
                .compare_exchange(0, me.as_raw(), Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        };
        if me == self.maker || self.is_open() || !is_free() {
            return;
        }
        for (cell, byte) in self.failure.bytes.iter().zip(reason.bytes()) {
            cell.store(byte, Ordering::Relaxed);
        }
        // SYNC start-failure: pairs with the load in `take_failure`.
        self.failure.length.store(reason.len().min(REASON_BYTES_MAX) as u32, Ordering::Release);
    }

    /// Takes the reason that a process reported before it ended. Another process can report
    /// afterwards.
    pub fn take_failure(self, pid: Pid) -> Option<String> {
        if self.failure.pid.load(Ordering::Acquire) != pid.as_raw() {
            return None;
        }
        // SYNC start-failure. If a process was killed before it had written everything, the length
        // is 0.
        let length = self.failure.length.swap(0, Ordering::Acquire) as usize;
        let bytes: Vec<u8> = self.failure.bytes[..length.min(REASON_BYTES_MAX)]
            .iter()
            .map(|cell| cell.load(Ordering::Relaxed))
            .collect();
        self.failure.pid.store(0, Ordering::Release);
        Some(String::from_utf8_lossy(&bytes).into_owned()).filter(|reason| !reason.is_empty())
    }
}

impl Party {
    /// Reports that this process has begun: it has taken on its role, but is not ready.
    pub fn begin(self) {
        // SYNC start-begun: pairs with the load in `has_begun`.
        self.gate.stages[self.party].store(BEGUN, Ordering::Release);
    }

    /// Reports that this process is ready, and waits until the gate is opened.
    pub fn pass(self) {
        // SYNC start-ready: pairs with the load in `is_ready`.
        self.gate.stages[self.party].store(READY, Ordering::Release);
        self.wait();
    }

    /// Waits until the gate is open, without a report.
    pub fn wait(self) {
        while !self.gate.opened.wait(Duration::MAX) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::memory::{map_shared, map_shared_slice};

    fn gate(parties: usize) -> StartGate {
        let stages = map_shared_slice("test-stages", parties).unwrap();
        StartGate::new((map_shared("test-gate").unwrap(), stages))
    }

    #[test]
    fn processes_wait_until_the_gate_is_opened() {
        let gate = gate(2);
        let passing: Vec<_> =
            (0..2).map(|party| std::thread::spawn(move || gate.party(party).pass())).collect();
        while !(gate.is_ready(0) && gate.is_ready(1)) {
            std::thread::yield_now();
        }
        assert!(!gate.is_open() && passing.iter().all(|thread| !thread.is_finished()));
        gate.open();
        passing.into_iter().for_each(|thread| thread.join().unwrap());
        gate.party(0).pass();
    }

    #[test]
    fn a_successor_does_not_inherit_its_predecessors_stage() {
        let gate = gate(2);
        gate.open();
        let stage = || (gate.has_begun(1), gate.is_ready(1));
        for _life in 0..2 {
            gate.expect(1);
            assert_eq!(stage(), (false, false));
            gate.party(1).begin();
            assert_eq!(stage(), (true, false));
            gate.party(1).pass();
            assert_eq!(stage(), (true, true));
        }
        assert!(!gate.has_begun(0));
    }

    #[test]
    fn only_the_first_reason_is_kept_until_it_is_taken() {
        let made = gate(1);
        made.note_failure("its maker's own");
        // As in a child.
        let gate = StartGate { maker: Pid::from_raw(1), ..made };
        let (me, other) = (getpid(), Pid::from_raw(1));
        assert_eq!(gate.take_failure(me), None);
        gate.note_failure("first");
        gate.note_failure("second");
        assert_eq!(
            (gate.take_failure(other), gate.take_failure(me).as_deref(), gate.take_failure(me)),
            (None, Some("first"), None)
        );
        gate.note_failure(&"ä".repeat(REASON_BYTES_MAX));
        assert_eq!(
            gate.take_failure(me).map(|reason| reason.chars().count()),
            Some(REASON_BYTES_MAX / 2)
        );
        gate.open();
        gate.note_failure("too late");
        assert_eq!(gate.take_failure(me), None);
    }
}
