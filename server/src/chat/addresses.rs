//! The resources that all sessions of one address use together: lines of the rate limit, and bytes
//! of the shared state.
//!
//! A limit per session is not enough, because a client can open more sessions. So each line also
//! spends from the bucket of its address, and a room or topic counts for the address that created
//! it, as long as it exists. An address is forgotten when it has no session, holds no state and its
//! bucket is full again. At most [`RECOVERING_MAX`] addresses are kept only because their bucket is
//! not full.

use super::rate::{BucketOwner, RateLimit};
use forkchat_common::address::AddressBlock;
use forkchat_common::ids::Micros;
use forkchat_common::limits::ADDRESS_STATE_BYTES_MAX;
use forkchat_common::token_bucket::Used;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The largest number of addresses without sessions and state that are stored because their buckets
/// are not full. Beyond it, the address whose bucket fills up first is removed.
const RECOVERING_MAX: usize = 4_096;

/// The resources that one address uses.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Usage {
    rate: Used,
    sessions: u32,
    state_bytes: u32,
    /// Its first excess of the rate limit was reported.
    is_reported: bool,
}

/// All addresses that use something.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Addresses {
    table: BTreeMap<AddressBlock, Usage>,
    /// Addresses that are stored only because of their bucket, in the order in which the buckets
    /// fill up. Derived from the table.
    #[serde(skip)]
    recovering: BTreeSet<(Used, AddressBlock)>,
}

impl Usage {
    fn has_only_a_bucket(&self) -> bool {
        self.sessions == 0 && self.state_bytes == 0
    }
}

impl Addresses {
    /// Derives `recovering` from the table, after it was read from a snapshot.
    pub fn index(&mut self) {
        let recovering = self.table.iter().filter(|(_, usage)| usage.has_only_a_bucket());
        self.recovering = recovering.map(|(&address, usage)| (usage.rate, address)).collect();
    }

    /// How many lines the sessions of an address may send together at `now`.
    pub fn allowed(&self, address: AddressBlock, limit: RateLimit, now: Micros) -> u64 {
        limit.allowed(BucketOwner::Address, self.rate(address), now)
    }

    /// When a session of an address may send its next line.
    pub fn next_at(&self, address: AddressBlock, limit: RateLimit) -> Micros {
        limit.next_at(BucketOwner::Address, self.rate(address))
    }

    /// Whether an address had used up its budget before its last line.
    pub fn is_overdrawn(&self, address: AddressBlock, limit: RateLimit, now: Micros) -> bool {
        !limit.is_off()
            && self.next_at(address, limit) > limit.after_a_line(BucketOwner::Address, now)
    }

    /// Counts a new session of an address.
    pub fn open(&mut self, address: AddressBlock, now: Micros) {
        self.remove_recovered(now);
        self.change(address, |usage| usage.sessions += 1);
    }

    /// Counts a closed session of an address.
    pub fn close(&mut self, address: AddressBlock) {
        self.change(address, |usage| usage.sessions = usage.sessions.saturating_sub(1));
    }

    /// Counts lines. True if this uses up the address's budget for the first time since the address
    /// was added.
    pub fn spend(
        &mut self,
        address: AddressBlock,
        limit: RateLimit,
        lines: u64,
        now: Micros,
    ) -> bool {
        if limit.is_off() {
            return false;
        }
        let mut is_first_excess = false;
        self.change(address, |usage| {
            usage.rate = limit.spend(BucketOwner::Address, usage.rate, lines, now);
            let is_excess = limit.allowed(BucketOwner::Address, usage.rate, now) == 0;
            is_first_excess = is_excess && !usage.is_reported;
            usage.is_reported |= is_excess;
        });
        is_first_excess
    }

    /// Whether an address may add `bytes` bytes to the state.
    pub fn has_space(&self, address: AddressBlock, bytes: usize) -> bool {
        let held = self.table.get(&address).map_or(0, |usage| usage.state_bytes as usize);
        held + bytes <= ADDRESS_STATE_BYTES_MAX
    }

    /// Counts bytes that an address added to the state.
    pub fn charge(&mut self, address: AddressBlock, bytes: usize) {
        self.change(address, |usage| usage.state_bytes += bytes as u32);
    }

    /// Counts bytes of an address that were removed from the state.
    pub fn release(&mut self, address: AddressBlock, bytes: usize) {
        self.change(address, |usage| {
            usage.state_bytes = usage.state_bytes.saturating_sub(bytes as u32)
        });
    }

    fn rate(&self, address: AddressBlock) -> Used {
        self.table.get(&address).map_or(Used::default(), |usage| usage.rate)
    }

    fn change(&mut self, address: AddressBlock, change: impl FnOnce(&mut Usage)) {
        let usage = self.table.entry(address).or_default();
        if usage.has_only_a_bucket() {
            self.recovering.remove(&(usage.rate, address));
        }
        change(usage);
        if usage.has_only_a_bucket() {
            self.recovering.insert((usage.rate, address));
            if self.recovering.len() > RECOVERING_MAX {
                self.remove_first_recovering();
            }
        }
    }

    fn remove_recovered(&mut self, now: Micros) {
        while self.recovering.first().is_some_and(|(rate, _)| rate.0 <= now) {
            self.remove_first_recovering();
        }
    }

    fn remove_first_recovering(&mut self) {
        if let Some((_, address)) = self.recovering.pop_first() {
            self.table.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forkchat_common::limits::ADDRESS_BURST_LINES;
    use std::net::IpAddr;

    fn address(number: u16) -> AddressBlock {
        let [high, low] = number.to_be_bytes();
        AddressBlock::of(IpAddr::from([10, 0, high, low]))
    }

    #[test]
    fn an_address_that_reconnects_has_no_new_budget() {
        let (limit, me, now) = (RateLimit::lines_per_second(20), address(1), Micros(5_000_000));
        let mut addresses = Addresses::default();
        for _ in 0..8 {
            addresses.open(me, now);
            addresses.spend(me, limit, ADDRESS_BURST_LINES / 8, now);
            addresses.close(me);
        }
        assert_eq!(addresses.allowed(me, limit, now), 0);
        assert_eq!(addresses.allowed(address(2), limit, now), ADDRESS_BURST_LINES);
        let later = now.plus(3_600 * Micros::SECOND);
        assert_eq!(addresses.allowed(me, limit, later), ADDRESS_BURST_LINES);
        addresses.open(address(2), later);
        assert_eq!(addresses.table.len(), 1, "an address with a full bucket is removed");
    }

    #[test]
    fn an_excess_is_reported_once() {
        let (limit, me, now) = (RateLimit::lines_per_second(20), address(1), Micros(5_000_000));
        let mut addresses = Addresses::default();
        addresses.open(me, now);
        let reports =
            (0..2 * ADDRESS_BURST_LINES).filter(|_| addresses.spend(me, limit, 1, now)).count();
        assert_eq!(reports, 1);
    }

    #[test]
    fn state_bytes_are_bounded_and_released() {
        let (me, mut addresses) = (address(1), Addresses::default());
        assert!(
            addresses.has_space(me, ADDRESS_STATE_BYTES_MAX)
                && !addresses.has_space(me, ADDRESS_STATE_BYTES_MAX + 1)
        );
        addresses.charge(me, ADDRESS_STATE_BYTES_MAX);
        assert!(!addresses.has_space(me, 1));
        addresses.release(me, 10);
        assert!(addresses.has_space(me, 10) && !addresses.has_space(me, 11));
    }

    #[test]
    fn memory_is_bounded_for_any_number_of_addresses() {
        let mut addresses = Addresses::default();
        let limit = RateLimit::lines_per_second(1);
        for number in 0..u16::MAX {
            let me = address(number);
            addresses.open(me, Micros(1));
            addresses.spend(me, limit, 1, Micros(1));
            addresses.close(me);
        }
        assert_eq!(
            (addresses.table.len(), addresses.recovering.len()),
            (RECOVERING_MAX, RECOVERING_MAX)
        );
    }

    #[test]
    fn a_replica_from_a_snapshot_is_equal() {
        let mut addresses = Addresses::default();
        let limit = RateLimit::lines_per_second(1);
        addresses.open(address(1), Micros(1));
        addresses.charge(address(2), 5);
        addresses.spend(address(3), limit, 1, Micros(1));
        let mut copy: Addresses =
            postcard::from_bytes(&postcard::to_stdvec(&addresses).unwrap()).unwrap();
        copy.index();
        assert_eq!(format!("{copy:?}"), format!("{addresses:?}"));
    }
}
