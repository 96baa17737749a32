//! Which of a server's processes serves which client, seen from outside: a process holds a socket,
//! the kernel's table of connections names the socket's peer, and the peer is a client's port.

use crate::processes::{sockets_of, tcp_sockets};
use nix::unistd::Pid;
use procfs::net::TcpState;
use std::collections::{HashMap, HashSet};

/// By socket, the port of the client that a process serves with it.
#[derive(Debug)]
pub struct Connections(HashMap<u64, u16>);

impl Connections {
    /// Reads the kernel's table of the connections to a port, at which a server listens on the
    /// loopback.
    pub fn read(server_port: u16) -> Connections {
        let ours = tcp_sockets().filter(|socket| {
            socket.state == TcpState::Established && socket.local_address.port() == server_port
        });
        Connections(ours.map(|socket| (socket.inode, socket.remote_address.port())).collect())
    }

    /// The ports of the clients that a process serves.
    pub fn of(&self, pid: Pid) -> HashSet<u16> {
        sockets_of(pid).filter_map(|inode| self.0.get(&inode).copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn the_process_that_holds_a_connection_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let accepted = listener.accept().unwrap();
        let ports = || Connections::read(port).of(Pid::this());
        assert_eq!(ports(), HashSet::from([client.local_addr().unwrap().port()]));
        drop(accepted);
        assert_eq!(ports(), HashSet::new());
    }
}
