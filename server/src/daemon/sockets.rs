//! The addresses on which a process listens, as the kernel reports them: its sockets, looked up in
//! the tables of its network namespace.
//!
//! Sources: proc_pid_fd(5), proc_pid_net(5), `tcp`, `tcp6`, `udp`, `udp6`.

use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// A TCP socket that listens, and a UDP socket that is connected to none.
const TCP_LISTEN: &str = "0A";
const UDP_UNCONNECTED: &str = "07";

/// Transport and address of each socket on which a process listens. Empty if that can't be seen: it
/// is another user's.
pub fn listening(pid: Pid) -> Vec<(&'static str, SocketAddr)> {
    let process = Path::new("/proc").join(pid.to_string());
    let descriptors = std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    let inode = |target: std::path::PathBuf| {
        Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
    };
    let own: BTreeSet<String> =
        descriptors.filter_map(|entry| inode(entry.path().read_link().ok()?)).collect();
    let tables = [
        ("tcp", "tcp", TCP_LISTEN),
        ("tcp", "tcp6", TCP_LISTEN),
        ("udp", "udp", UDP_UNCONNECTED),
        ("udp", "udp6", UDP_UNCONNECTED),
    ];
    let mut found = Vec::new();
    for (transport, table, state) in tables {
        let table = std::fs::read_to_string(process.join("net").join(table)).unwrap_or_default();
        let rows = table.lines().skip(1).filter_map(|line| row(line, state));
        found.extend(
            rows.filter(|(_, inode)| own.contains(*inode)).map(|(address, _)| (transport, address)),
        );
    }
    found
}

/// Local address and inode of a row, if its state is this.
fn row<'a>(line: &'a str, state: &str) -> Option<(SocketAddr, &'a str)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (&address, &found, &inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    if found != state {
        return None;
    }
    let (ip, port) = address.split_once(':')?;
    Some((SocketAddr::new(ip_of(ip)?, u16::from_str_radix(port, 16).ok()?), inode))
}

/// Words of 32 bits, each with its bytes in the machine's order.
fn ip_of(hex: &str) -> Option<IpAddr> {
    let word = |index: usize| {
        u32::from_str_radix(hex.get(index * 8..index * 8 + 8)?, 16).ok().map(u32::to_ne_bytes)
    };
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for index in 0..4 {
                bytes[index * 4..index * 4 + 4].copy_from_slice(&word(index)?);
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    #[test]
    fn what_this_process_listens_on_is_found_and_a_connection_is_not() {
        let tcp = [TcpListener::bind("127.0.0.1:0"), TcpListener::bind("[::1]:0")]
            .map(|listener| listener.ok());
        let udp = UdpSocket::bind("127.0.0.2:0").unwrap();
        let client = TcpStream::connect(tcp[0].as_ref().unwrap().local_addr().unwrap()).unwrap();
        let found = listening(Pid::this());
        for listener in tcp.iter().flatten() {
            assert!(found.contains(&("tcp", listener.local_addr().unwrap())), "{found:?}");
        }
        assert!(found.contains(&("udp", udp.local_addr().unwrap())), "{found:?}");
        assert!(!found.iter().any(|(_, address)| *address == client.local_addr().unwrap()));
    }

    #[test]
    fn a_row_that_is_none_is_passed_over() {
        for line in [
            "",
            "0: 0100007F:1F90",
            "0: 01:1F90 0 0A 0 0 0 0 0 7",
            "0: 0100007F:XY 0 0A 0 0 0 0 0 7",
            "0: 0100007F:1F90 0 01 0 0 0 0 0 7",
        ] {
            assert_eq!(row(line, TCP_LISTEN), None, "{line}");
        }
    }
}
