//! Address blocks: addresses that one customer of a provider controls. Limits count them together.
//!
//! An IPv4 address usually belongs to one customer (or to many behind one NAT). An IPv6 customer
//! gets a whole /64 and may use any address in it, so a limit per address would be ineffective.
//! Source: RFC 6177 (address assignment to end sites), RFC 4291 section 2.5.4 (64-bit interface
//! ids).

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// An IPv4 address, or an IPv6 /64.
///
/// ```
/// use forkchat_common::address::AddressBlock;
/// let of = |text: &str| AddressBlock::of(text.parse().unwrap());
/// assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:0:0:1"));
/// assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
/// assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AddressBlock(IpAddr);

impl AddressBlock {
    /// The block that an address belongs to. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn of(address: IpAddr) -> AddressBlock {
        AddressBlock(match address.to_canonical() {
            IpAddr::V6(address) if !address.is_loopback() => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            address => address,
        })
    }

    /// Whether this is a loopback address.
    pub fn is_loopback(self) -> bool {
        self.0.is_loopback()
    }
}

impl fmt::Display for AddressBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V6(address) if !address.is_loopback() => write!(f, "{address}/64"),
            address => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_displayed_with_its_prefix_length() {
        let shown = |text: &str| AddressBlock::of(text.parse().unwrap()).to_string();
        assert_eq!(shown("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(shown("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!((shown("::1"), shown("127.0.0.2")), ("::1".to_owned(), "127.0.0.2".to_owned()));
    }
}
