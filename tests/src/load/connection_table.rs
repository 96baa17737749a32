//! Which process of a server serves which client, found from outside. A process holds a socket; the
//! kernel's table of connections has the socket's peer; the peer is the port of a client.

use crate::processes::descriptors_of;
use nix::unistd::Pid;
use std::collections::{HashMap, HashSet};

/// The established connections to a server: by socket, the port of the client. Sources:
/// proc_pid_fd(5); proc_pid_net(5), `tcp`.
#[derive(Debug)]
pub struct ConnectionTable(HashMap<String, u16>);

impl ConnectionTable {
    /// Reads the connections to the port `server_port` of this machine.
    pub fn read(server_port: u16) -> ConnectionTable {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
        ConnectionTable(table.lines().filter_map(|line| peer_in(line, server_port)).collect())
    }

    /// The ports of the clients that a process serves.
    pub fn of(&self, pid: Pid) -> HashSet<u16> {
        descriptors_of(pid).filter_map(|link| self.0.get(&link).copied()).collect()
    }
}

/// The socket of a connection, as the links in `/proc/PID/fd` name it, and its peer's port.
fn peer_in(line: &str, server_port: u16) -> Option<(String, u16)> {
    const ESTABLISHED: &str = "01";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let port = |field: &str| u16::from_str_radix(field.split_once(':')?.1, 16).ok();
    let is_ours = *fields.get(3)? == ESTABLISHED && port(fields.get(1)?)? == server_port;
    let (peer, inode) = (port(fields.get(2)?)?, fields.get(9)?);
    is_ours.then(|| (format!("socket:[{inode}]"), peer))
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
