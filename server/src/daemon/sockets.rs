//! The addresses on which a process listens, as the kernel reports them: its sockets, found in the
//! tables of its network namespace. Sources: proc_pid_fd(5), proc_pid_net(5).

use nix::unistd::Pid;
use procfs::net::{TcpState, UdpState};
use procfs::process::{FDTarget, Process};
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// The transport and address of each socket on which a process listens. Empty if the process
/// belongs to another user, whose sockets can't be seen.
pub fn listening(pid: Pid) -> Vec<(&'static str, SocketAddr)> {
    let Ok(process) = Process::new(pid.as_raw()) else { return Vec::new() };
    let descriptors = process.fd().into_iter().flatten().flatten();
    let own: BTreeSet<u64> = descriptors
        .filter_map(|descriptor| match descriptor.target {
            FDTarget::Socket(inode) => Some(inode),
            _ => None,
        })
        .collect();
    let tcp = [process.tcp(), process.tcp6()].into_iter().flatten().flatten();
    let tcp = tcp
        .filter(|row| row.state == TcpState::Listen)
        .map(|row| ("tcp", row.local_address, row.inode));
    // A UDP socket that is not connected.
    let udp = [process.udp(), process.udp6()].into_iter().flatten().flatten();
    let udp = udp
        .filter(|row| row.state == UdpState::Close)
        .map(|row| ("udp", row.local_address, row.inode));
    tcp.chain(udp)
        .filter(|(_, _, inode)| own.contains(inode))
        .map(|(transport, address, _)| (transport, address))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    #[test]
    fn listening_sockets_are_found_and_connections_are_not() {
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
}
