//! Network addresses in records and in messages between processes.
//!
//! Serde's own form of a `SocketAddrV6` drops the scope and the flow label. A link-local address
//! without its scope (`fe80::1%3`) can't be answered. So fields with an address use
//! `#[serde(with = "forkchat_common::endpoint::whole")]`.

use crate::protocol::Protocol;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// An address on which the server listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// The index in the list of listeners.
    pub number: u16,
    /// The protocol of its clients.
    pub protocol: Protocol,
}

/// The origin of a connection: the client's address, and the listener that accepted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The client's address.
    #[serde(with = "whole")]
    pub peer: SocketAddr,
    /// The listener.
    pub listener: Listener,
}

/// Serialises a `SocketAddr` with its scope and flow label, for `#[serde(with)]`.
pub mod whole {
    use super::{Deserialize, Ipv4Addr, Ipv6Addr, Serialize, SocketAddr, SocketAddrV6};
    use serde::{Deserializer, Serializer};

    #[derive(Serialize, Deserialize)]
    enum Whole {
        V4(Ipv4Addr, u16),
        V6 { ip: Ipv6Addr, port: u16, flow: u32, scope: u32 },
    }

    /// Writes an address.
    ///
    /// # Errors
    /// Those of the serialiser.
    pub fn serialize<S: Serializer>(
        address: &SocketAddr,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match address {
            SocketAddr::V4(v4) => Whole::V4(*v4.ip(), v4.port()),
            SocketAddr::V6(v6) => Whole::V6 {
                ip: *v6.ip(),
                port: v6.port(),
                flow: v6.flowinfo(),
                scope: v6.scope_id(),
            },
        }
        .serialize(serializer)
    }

    /// Reads an address.
    ///
    /// # Errors
    /// Those of the deserialiser.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
        Ok(match Whole::deserialize(deserializer)? {
            Whole::V4(ip, port) => SocketAddr::from((ip, port)),
            Whole::V6 { ip, port, flow, scope } => SocketAddrV6::new(ip, port, flow, scope).into(),
        })
    }
}

/// An address as people write it: a socket for both IP versions shows IPv4 addresses mapped into
/// IPv6, which this undoes. All other addresses are returned unchanged, with their scope.
pub fn plain(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, address.port())),
        IpAddr::V6(_) => address,
    }
}

/// The server's address of a UDP session, to which the client sends. Answers leave from there,
/// since the client drops datagrams from other addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LocalAddress {
    /// The address; `None` if it is unknown or can't be a source address, like a multicast group's.
    /// Then the kernel chooses.
    pub ip: Option<IpAddr>,
    /// The network interface's index if the address is only valid on that interface (link-local),
    /// else 0.
    pub interface: u32,
}

/// The client's and the server's address of a UDP session. Datagrams with the same addresses belong
/// to the same session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UdpPath {
    /// The client's address.
    pub peer: SocketAddr,
    /// The server's address.
    pub local: LocalAddress,
}

/// 64 random bits: a cookie or a session's key. Shown as 13 characters that can be read aloud and
/// typed.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token(pub u64);

impl Token {
    /// The length of the text form, in characters.
    pub const CHARS: usize = 13;
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        (0..Self::CHARS).try_for_each(|digit| {
            f.write_char(char::from(
                b"abcdefghijkmnpqrstuvwxyz23456789"[(self.0 >> (digit * 5) & 31) as usize],
            ))
        })
    }
}

impl fmt::Debug for Token {
    /// A token is secret, so it must not appear in log output.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Field(#[serde(with = "whole")] SocketAddr);

    fn survives(address: SocketAddr) -> bool {
        let bytes = postcard::to_stdvec(&Field(address)).unwrap();
        postcard::from_bytes::<Field>(&bytes).unwrap() == Field(address)
    }

    proptest! {
        #[test]
        fn any_address_survives_with_scope_and_flow_label(
            ip: [u8; 16],
            v4: [u8; 4],
            port: u16,
            flow: u32,
            scope: u32,
        ) {
            prop_assert!(survives(SocketAddrV6::new(ip.into(), port, flow, scope).into()));
            prop_assert!(survives((v4, port).into()));
        }

        #[test]
        fn different_tokens_have_different_texts(one: u64, other: u64) {
            prop_assert_eq!(Token(one).to_string() == Token(other).to_string(), one == other);
            prop_assert_eq!(Token(one).to_string().len(), Token::CHARS);
        }
    }

    #[test]
    fn a_mapped_address_is_shown_plain_and_a_link_local_one_keeps_its_scope() {
        let shown = |address: &str| plain(address.parse().unwrap()).to_string();
        assert_eq!(shown("[::ffff:127.0.0.1]:7"), "127.0.0.1:7");
        assert_eq!(shown("[fe80::1%3]:7"), "[fe80::1%3]:7");
        assert_eq!(shown("10.0.0.1:7"), "10.0.0.1:7");
    }
}
