//! The faults that the bare broadcaster makes on request.

use super::Broadcaster;
use std::time::{Duration, Instant};

/// One of this many deliveries is faulty, if faults were requested.
const FAULT_EVERY: u64 = 997;
/// How long it stands still on request, and how long after its first delivery.
const STALL: Duration = Duration::from_millis(300);
const STALL_AFTER: Duration = Duration::from_secs(1);
/// The kind of fault that it makes on request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// Omits a delivery.
    Lose,
    /// Delivers twice.
    Double,
    /// Exchanges two successive lines in the output of a client.
    Swap,
    /// Changes a byte.
    Corrupt,
    /// Delivers to a member of another room, too.
    Stray,
    /// Stands still for 0.3 s, once.
    Stall,
}

#[derive(Default)]
pub(super) struct Faults {
    fault: Option<Fault>,
    first: Option<Instant>,
    deliveries: u64,
    pub(super) made: u64,
}

impl Faults {
    pub fn new(fault: Option<Fault>) -> Faults {
        Faults { fault, ..Faults::default() }
    }

    /// Counts a delivery. Returns whether it must be faulty.
    fn is_next(&mut self) -> bool {
        self.deliveries += 1;
        match self.fault {
            None => false,
            Some(Fault::Stall) => {
                self.made == 0
                    && self.first.get_or_insert_with(Instant::now).elapsed() > STALL_AFTER
            }
            Some(_) => self.deliveries.is_multiple_of(FAULT_EVERY),
        }
    }
}

impl Broadcaster {
    /// Delivers a line to a client, possibly with a fault.
    pub(super) fn deliver(&mut self, index: usize, line: &[u8]) {
        if !self.faults.is_next() {
            return self.append(index, line);
        }
        self.faults.made += 1;
        match self.faults.fault {
            Some(Fault::Lose) => {}
            Some(Fault::Corrupt) => {
                let mut line = line.to_vec();
                let middle = line.len() / 2;
                line[middle] ^= 1;
                self.append(index, &line);
            }
            Some(Fault::Swap) => self.append_before_last(index, line),
            Some(Fault::Double) => {
                self.append(index, line);
                self.append(index, line);
            }
            Some(Fault::Stray) => {
                self.append(index, line);
                match self.member_of_another_room(index) {
                    Some(other) => self.append(other, line),
                    None => self.faults.made -= 1,
                }
            }
            Some(Fault::Stall) => {
                std::thread::sleep(STALL);
                self.append(index, line);
            }
            None => self.append(index, line),
        }
    }

    /// A member of another room.
    fn member_of_another_room(&self, index: usize) -> Option<usize> {
        let room = self.peers[index].as_ref()?.room?;
        (1..self.rooms.len())
            .find_map(|i| self.rooms[(room + i) % self.rooms.len()].first().copied())
    }

    /// Inserts a line before the last one in the output. If the output is empty, this is no fault
    /// and is not counted; the next delivery becomes the fault.
    fn append_before_last(&mut self, index: usize, line: &[u8]) {
        let waiting =
            self.peers[index].as_mut().and_then(|peer| Some((peer.last_line?, &mut peer.output)));
        match waiting {
            Some((at, output)) => drop(output.splice(at..at, line.iter().copied())),
            None => {
                self.faults.made -= 1;
                self.faults.deliveries -= 1;
                self.append(index, line);
            }
        }
    }
}
