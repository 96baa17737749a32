//! Who may come in: so many in all, by a counting semaphore that the supervisor and the worker of the UDP sessions share, and so many
//! from one address, which each of them counts for its own transport.

use crate::ipc::semaphore::{HOLDERS_MAX, Semaphore};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The supervisor's place among the semaphore's holders; a worker's is its slot.
pub const SUPERVISOR: usize = HOLDERS_MAX - 1;
/// `--max-per-address` where it isn't given.
const PER_ADDRESS_DEFAULT: u32 = 64;

/// One process's view of who is in.
#[derive(Clone, Debug)]
pub struct Admission {
    units: &'static Semaphore,
    holder: usize,
    /// `None`: the default, from which loopback is exempt.
    per_address_max: Option<u32>,
    /// No hash table: its seed would have the supervisor open a file that its children then lack (where `getrandom` is refused).
    per_address: BTreeMap<IpAddr, u32>,
}

/// Why one isn't let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// As many as there may be.
    Full,
    /// As many as may come from one address.
    TooManyFromAddress,
    /// The system gives no descriptor.
    NoDescriptors,
    /// The system gives no process.
    NoProcess,
}

impl Refused {
    /// What the one turned away is told.
    pub fn line(self) -> &'static str {
        match self {
            Refused::Full => "! the server is full; try again later\n",
            Refused::TooManyFromAddress => "! too many connections from your address; close one first\n",
            Refused::NoProcess => "! the server can start no more processes; try again later\n",
            Refused::NoDescriptors => "! the server is out of descriptors; try again later\n",
        }
    }
}

impl Refused {
    /// The same where it may be no longer than a greeting over UDP.
    pub fn short_line(self) -> &'static str {
        match self {
            Refused::Full | Refused::NoDescriptors | Refused::NoProcess => "! full; try later\n",
            Refused::TooManyFromAddress => "! too many of you\n",
        }
    }
}

impl Admission {
    /// Nobody is in yet. `holder` is this process's place among the semaphore's holders.
    pub fn new(units: &'static Semaphore, holder: usize, per_address_max: Option<u32>) -> Admission {
        Admission { units, holder, per_address_max, per_address: BTreeMap::new() }
    }

    /// Lets one in, or says why not.
    pub fn admit(&mut self, from: IpAddr) -> Result<(), Refused> {
        let from = from.to_canonical();
        let count = self.per_address.get(&from).copied().unwrap_or(0);
        let max = match self.per_address_max {
            Some(max) => max,
            None if from.is_loopback() => u32::MAX,
            None => PER_ADDRESS_DEFAULT,
        };
        if count >= max {
            return Err(Refused::TooManyFromAddress);
        }
        // The lock is held by a stopped process only, which is ended at once: who comes in that moment comes again.
        if !self.units.try_acquire(self.holder).unwrap_or(false) {
            return Err(Refused::Full);
        }
        self.per_address.insert(from, count + 1);
        Ok(())
    }

    /// One who was let in has left.
    pub fn release(&mut self, from: IpAddr) {
        let from = from.to_canonical();
        if let Some(count) = self.per_address.get_mut(&from) {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&from);
            }
        }
        self.units.release(self.holder);
    }

    /// Takes over those whom a predecessor in the same place had let in, and gives back what it held for others.
    pub fn take_over(&mut self, from: impl Iterator<Item = IpAddr>) {
        self.per_address.clear();
        let mut count = 0;
        for from in from {
            count += 1;
            *self.per_address.entry(from.to_canonical()).or_default() += 1;
        }
        // A unit is taken before its session is in the log and given back after its end, so at least these are held.
        for _ in count..self.units.held_by(self.holder) {
            self.units.release(self.holder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::memory::map_shared;

    #[test]
    fn loopback_is_exempt_unless_a_limit_is_given() {
        let units = map_shared::<Semaphore>("test-units").unwrap();
        units.init(200).unwrap();
        let (near, far) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([10, 0, 0, 1]));
        let mut by_default = Admission::new(units, 0, None);
        assert_eq!((0..70).filter(|_| by_default.admit(near).is_ok()).count(), 70);
        assert_eq!((0..70).filter(|_| by_default.admit(far).is_ok()).count(), 64);
        let mut given = Admission::new(units, 1, Some(2));
        assert_eq!([(); 3].map(|()| given.admit(near)), [Ok(()), Ok(()), Err(Refused::TooManyFromAddress)]);
        given.release(near);
        assert_eq!(given.admit(near), Ok(()));
        assert_eq!((0..100).filter(|_| by_default.admit(near).is_ok()).count(), 64, "and 200 in all");
        let mut successor = Admission::new(units, 0, None);
        successor.take_over([near, near, far].into_iter());
        assert_eq!(units.available(), 195, "three, and the other's two");
        assert_eq!((0..70).filter(|_| successor.admit(far).is_ok()).count(), 63);
    }
}
