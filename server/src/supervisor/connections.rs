//! The supervisor's duplicates of the clients' sockets, by cell. While it holds one, no worker's death closes the connection.

use forkchat_common::ids::{SessionId, Slot};
use nix::sys::socket::{Shutdown, shutdown};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// One client's connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// `None` once its worker died: the cell stays taken until the log says that the session is over.
    socket: Option<OwnedFd>,
    /// Where it comes from.
    pub from: IpAddr,
    /// The worker that serves it.
    pub slot: Slot,
    /// Whether the worker was given it.
    pub is_assigned: bool,
}

impl Connection {
    /// A new one, to be given to the worker in `slot`.
    pub fn new(socket: OwnedFd, from: IpAddr, slot: Slot) -> Connection {
        Connection { socket: Some(socket), from, slot, is_assigned: false }
    }
}

/// All connections.
#[derive(Debug)]
pub(super) struct Connections {
    table: Vec<Option<(SessionId, Connection)>>,
    max: usize,
    /// Cells below the table's length that are free. The lowest is given first, so that every table by cell stays small.
    free: BTreeSet<usize>,
    serial: u64,
    /// How many with a socket each worker has, by slot.
    counts: Vec<usize>,
}

impl Connections {
    /// None yet, and never more than `max`, for so many workers.
    pub fn new(max: usize, workers: usize) -> Connections {
        Connections { table: Vec::new(), max, free: BTreeSet::new(), serial: 0, counts: vec![0; workers] }
    }

    /// Gives a connection a session and a cell. `None` if there is no cell left.
    pub fn insert(&mut self, connection: Connection) -> Option<SessionId> {
        let cell = match self.free.pop_first() {
            Some(cell) => cell,
            None if self.table.len() < self.max => {
                self.table.push(None);
                self.table.len() - 1
            }
            None => return None,
        };
        self.serial += 1;
        self.counts[connection.slot.index()] += 1;
        let session = SessionId::new(self.serial, cell);
        self.table[cell] = Some((session, connection));
        Some(session)
    }

    /// A session is over: closes its socket and frees its cell.
    pub fn remove(&mut self, session: SessionId) -> Option<Connection> {
        let entry = self.table.get_mut(session.cell())?;
        let (_, connection) = entry.take_if(|(id, _)| *id == session)?;
        self.free.insert(session.cell());
        self.counts[connection.slot.index()] -= usize::from(connection.socket.is_some());
        Some(connection)
    }

    /// The socket of a session, if it still has one.
    pub fn socket(&self, session: SessionId) -> Option<BorrowedFd<'_>> {
        let (id, connection) = self.table.get(session.cell())?.as_ref()?;
        connection.socket.as_ref().filter(|_| *id == session).map(AsFd::as_fd)
    }

    /// The worker has it now.
    pub fn set_assigned(&mut self, session: SessionId) {
        if let Some((_, connection)) = self.table.get_mut(session.cell()).and_then(Option::as_mut).filter(|(id, _)| *id == session) {
            connection.is_assigned = true;
        }
    }

    /// How many connections a worker serves.
    pub fn count(&self, slot: Slot) -> usize {
        self.counts[slot.index()]
    }

    /// The worker in `slot` died: shuts the sockets that it had been given, and returns their sessions, whose end is still to be in the log.
    pub fn orphan(&mut self, slot: Slot) -> Vec<SessionId> {
        let mut orphans = Vec::new();
        for (session, connection) in
            self.table.iter_mut().flatten().filter(|(_, connection)| connection.slot == slot && connection.is_assigned)
        {
            if let Some(socket) = connection.socket.take() {
                self.counts[slot.index()] -= 1;
                // What the kernel already has for the client is still delivered.
                let _ = shutdown(socket.as_raw_fd(), Shutdown::Both);
            }
            orphans.push(*session);
        }
        orphans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(slot: u16) -> Connection {
        let (socket, _) = std::os::unix::net::UnixStream::pair().unwrap();
        Connection::new(socket.into(), IpAddr::from([127, 0, 0, 1]), Slot(slot))
    }

    #[test]
    fn the_lowest_cell_is_given_first_and_never_to_two() {
        let mut connections = Connections::new(2, 2);
        let first = connections.insert(connection(0)).unwrap();
        let second = connections.insert(connection(1)).unwrap();
        assert_eq!((first.cell(), second.cell(), connections.insert(connection(0))), (0, 1, None));
        assert!(connections.remove(first).is_some() && connections.remove(first).is_none());
        let third = connections.insert(connection(0)).unwrap();
        assert!(third.cell() == 0 && third != first);
        assert!(connections.socket(first).is_none() && connections.socket(third).is_some());
    }

    #[test]
    fn only_what_the_dead_worker_was_given_is_orphaned() {
        let mut connections = Connections::new(9, 2);
        let given = connections.insert(connection(0)).unwrap();
        let waiting = connections.insert(connection(0)).unwrap();
        let others = connections.insert(connection(1)).unwrap();
        connections.set_assigned(given);
        connections.set_assigned(others);
        assert_eq!(connections.orphan(Slot(0)), [given]);
        assert!(connections.socket(given).is_none() && connections.socket(waiting).is_some() && connections.socket(others).is_some());
        assert_eq!(connections.orphan(Slot(0)), [given], "its successor may die too before it has said so");
        assert_eq!([0, 1].map(|slot| connections.count(Slot(slot))), [1, 1]);
    }
}
