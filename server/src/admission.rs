//! Decides which connections are admitted. There are three limits: on all connections together (a
//! counting semaphore that the supervisor shares with the worker that has the UDP sessions), on
//! connections from one address at a time, and on new connections from one address per second. The
//! last two are counted separately for TCP and for UDP. All addresses of an IPv6 /64 count as one.

use crate::ipc::semaphore::{HOLDERS_MAX, Semaphore};
use forkchat_common::address::AddressBlock;
use forkchat_common::event::Rejection;
use forkchat_common::ids::Micros;
use forkchat_common::token_bucket::{TokenBucket, Used};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The supervisor's number among the semaphore's holders. A worker's number is its slot.
pub const SUPERVISOR: usize = HOLDERS_MAX - 1;
/// The default of `--max-per-address`.
const PER_ADDRESS_DEFAULT: u32 = 64;
/// New connections per second that one address may open in the long run.
pub const OPENINGS_PER_SECOND: u64 = 32;
/// New connections of one address. The burst allows many users of one address to reconnect at once
/// after a server was restarted.
const OPENINGS: TokenBucket =
    TokenBucket { burst: 256, tokens: OPENINGS_PER_SECOND, micros: Micros::SECOND };
/// How many addresses are remembered with their openings. At this limit, addresses that have opened
/// few connections lately are forgotten.
const OPENINGS_ADDRESSES_MAX: usize = 16_384;

/// One process's view of the open connections.
#[derive(Clone, Debug)]
pub struct Admission {
    units: &'static Semaphore,
    holder: usize,
    /// `None`: the default, which does not apply to loopback.
    per_address_max: Option<u32>,
    /// Not a hash table: where getrandom(2) is refused, the supervisor would open a file for its
    /// seed, and the children would not have that descriptor.
    per_address: BTreeMap<AddressBlock, u32>,
    /// Whether the rate of new connections is limited.
    limits_openings: bool,
    /// How much each address has used of [`OPENINGS`].
    openings: BTreeMap<AddressBlock, Used>,
}

/// Why a connection is rejected, as it is logged.
pub fn cause(why: Rejection) -> &'static str {
    match why {
        Rejection::Full => "the server is full",
        Rejection::TooManyFromAddress => "too many connections from this address",
        Rejection::TooFast => "this address opens connections too fast",
        Rejection::NoProcess => "no more processes can be started",
        Rejection::NoDescriptors => "no descriptor is left",
    }
}

impl Admission {
    /// An admission that has admitted nothing yet. `holder` is this process's number among the
    /// semaphore's holders; `limits_openings` says whether the rate of new connections is limited.
    pub fn new(
        units: &'static Semaphore,
        holder: usize,
        per_address_max: Option<u32>,
        limits_openings: bool,
    ) -> Admission {
        Admission {
            units,
            holder,
            per_address_max,
            per_address: BTreeMap::new(),
            limits_openings,
            openings: BTreeMap::new(),
        }
    }

    /// Admits a connection. `now` is the time since the machine started.
    ///
    /// # Errors
    /// The limit that the connection would exceed.
    pub fn admit(&mut self, from: IpAddr, now: Micros) -> Result<(), Rejection> {
        let from = AddressBlock::of(from);
        let count = self.per_address.get(&from).copied().unwrap_or(0);
        let max = match self.per_address_max {
            Some(max) => max,
            None if from.is_loopback() => u32::MAX,
            None => PER_ADDRESS_DEFAULT,
        };
        if count >= max {
            return Err(Rejection::TooManyFromAddress);
        }
        if !self.may_open(from, now) {
            return Err(Rejection::TooFast);
        }
        // Only a stopped process holds the semaphore's lock for long, and it is killed at once. A
        // client that connects at that moment is rejected and has to try again.
        if !self.units.try_acquire(self.holder).unwrap_or(false) {
            return Err(Rejection::Full);
        }
        self.per_address.insert(from, count + 1);
        Ok(())
    }

    /// Counts a new connection if the address may open another one. Returns whether it may.
    fn may_open(&mut self, from: AddressBlock, now: Micros) -> bool {
        if !self.limits_openings {
            return true;
        }
        if self.openings.len() >= OPENINGS_ADDRESSES_MAX && !self.openings.contains_key(&from) {
            self.openings.retain(|_, used| used.0 > now);
            if self.openings.len() >= OPENINGS_ADDRESSES_MAX {
                self.openings.clear();
            }
        }
        let used = self.openings.entry(from).or_default();
        let is_within = OPENINGS.next_at(*used) <= now;
        if is_within {
            *used = OPENINGS.take(*used, 1, now);
        }
        is_within
    }

    /// Releases a connection that was admitted and has ended.
    pub fn release(&mut self, from: IpAddr) {
        let from = AddressBlock::of(from);
        if let Some(count) = self.per_address.get_mut(&from) {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&from);
            }
        }
        self.units.release(self.holder);
    }

    /// Takes over the connections that a predecessor with the same number had admitted, and
    /// releases what it held for other connections.
    pub fn take_over(&mut self, from: impl Iterator<Item = IpAddr>) {
        self.per_address.clear();
        let mut count = 0;
        for from in from {
            count += 1;
            *self.per_address.entry(AddressBlock::of(from)).or_default() += 1;
        }
        // A unit is acquired before its session is in the log, and released after the session's
        // end. So the predecessor held at least one for each of these.
        for _ in count..self.units.held_by(self.holder) {
            self.units.release(self.holder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::memory::map_shared;

    const NOW: Micros = Micros(1_000_000_000);

    #[test]
    fn only_an_address_that_opens_connections_too_fast_has_to_wait() {
        let units = map_shared::<Semaphore>("test-units").unwrap();
        units.init(1_000).unwrap();
        let mut admission = Admission::new(units, 0, None, true);
        let (one, other) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let mut admitted_at = |from, now| {
            let result = admission.admit(from, now);
            result.is_ok().then(|| admission.release(from));
            result
        };
        let admitted = (0..1_000).filter(|_| admitted_at(one, NOW).is_ok()).count() as u64;
        assert_eq!((admitted, admitted_at(one, NOW)), (OPENINGS.burst, Err(Rejection::TooFast)));
        assert_eq!(admitted_at(other, NOW), Ok(()));
        let later = NOW.plus(Micros::SECOND);
        assert_eq!((0..1_000).filter(|_| admitted_at(one, later).is_ok()).count(), 32);
    }

    #[test]
    fn the_addresses_of_a_64_count_as_one() {
        let units = map_shared::<Semaphore>("test-units").unwrap();
        units.init(1_000).unwrap();
        let mut admission = Admission::new(units, 0, None, true);
        let admitted = (0..180u16).filter(|&host| {
            let from = IpAddr::from([0x2001, 0xdb8, 0, 1, host, 0, 0, host]);
            admission.admit(from, NOW).is_ok()
        });
        assert_eq!(admitted.count(), 64);
        assert_eq!(admission.admit(IpAddr::from([0x2001, 0xdb8, 0, 2, 0, 0, 0, 1]), NOW), Ok(()));
    }

    #[test]
    fn loopback_is_exempt_unless_a_limit_is_given() {
        let units = map_shared::<Semaphore>("test-units").unwrap();
        units.init(200).unwrap();
        let (near, far) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([10, 0, 0, 1]));
        let mut by_default = Admission::new(units, 0, None, false);
        assert_eq!((0..70).filter(|_| by_default.admit(near, NOW).is_ok()).count(), 70);
        assert_eq!((0..70).filter(|_| by_default.admit(far, NOW).is_ok()).count(), 64);
        let mut given = Admission::new(units, 1, Some(2), false);
        assert_eq!(
            [(); 3].map(|()| given.admit(near, NOW)),
            [Ok(()), Ok(()), Err(Rejection::TooManyFromAddress)]
        );
        given.release(near);
        assert_eq!(given.admit(near, NOW), Ok(()));
        assert_eq!(
            (0..100).filter(|_| by_default.admit(near, NOW).is_ok()).count(),
            64,
            "and 200 in all"
        );
        let mut successor = Admission::new(units, 0, None, false);
        successor.take_over([near, near, far].into_iter());
        assert_eq!(units.available(), 195, "three, and the other's two");
        assert_eq!((0..70).filter(|_| successor.admit(far, NOW).is_ok()).count(), 63);
    }
}
