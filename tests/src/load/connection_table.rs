//! Which process of a server serves which client, found from outside. A process holds a socket; the
//! kernel's table of connections has the socket's peer; the peer is the port of a client.

use crate::processes::{sockets_of, tcp_sockets};
use nix::unistd::Pid;
use procfs::net::TcpState;
use std::collections::{HashMap, HashSet};

/// The established connections to a server: by inode of its socket, the port of the client.
#[derive(Debug)]
pub struct ConnectionTable(HashMap<u64, u16>);

impl ConnectionTable {
    /// Reads the connections to the port `server_port` of this machine.
    pub fn read(server_port: u16) -> ConnectionTable {
        let ours = tcp_sockets().filter(|socket| {
            socket.state == TcpState::Established && socket.local_address.port() == server_port
        });
        ConnectionTable(ours.map(|socket| (socket.inode, socket.remote_address.port())).collect())
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
        let ports = || ConnectionTable::read(port).of(Pid::this());
        assert_eq!(ports(), HashSet::from([client.local_addr().unwrap().port()]));
        drop(accepted);
        assert_eq!(ports(), HashSet::new());
    }
}
