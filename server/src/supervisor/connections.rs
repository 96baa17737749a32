//! The supervisor's duplicates of the clients' sockets, by cell. While the supervisor holds a
//! duplicate, a worker's death does not close the connection.

use forkchat_common::by_cell::ByCell;
use forkchat_common::endpoint::Origin;
use forkchat_common::ids::{SessionId, Slot};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// One client's connection.
#[derive(Debug)]
pub(super) struct HeldConnection {
    pub socket: OwnedFd,
    /// The client's address, and the listener that accepted it.
    pub origin: Origin,
    /// The worker that serves it.
    pub slot: Slot,
}

impl HeldConnection {
    /// A new connection, for the worker in `slot`.
    pub fn new(socket: OwnedFd, origin: Origin, slot: Slot) -> HeldConnection {
        HeldConnection { socket, origin, slot }
    }
}

/// All connections.
#[derive(Debug)]
pub(super) struct Connections {
    table: ByCell<HeldConnection>,
    max: usize,
    /// How many cells have been used so far.
    cells: usize,
    /// Used cells that are free again. The lowest is assigned first, so that every table by cell
    /// stays small.
    free: BTreeSet<usize>,
    serial: u64,
    /// The number of connections of each worker, by slot.
    counts: Vec<usize>,
}

impl Connections {
    /// An empty table for at most `max` connections and this many slots.
    pub fn new(max: usize, slots: usize) -> Connections {
        Connections {
            table: ByCell::default(),
            max,
            cells: 0,
            free: BTreeSet::new(),
            serial: 0,
            counts: vec![0; slots],
        }
    }

    /// Assigns a session and a cell to a connection. `None` if no cell is free.
    pub fn insert(&mut self, connection: HeldConnection) -> Option<SessionId> {
        let cell = match self.free.pop_first() {
            Some(cell) => cell,
            None if self.cells < self.max => {
                self.cells += 1;
                self.cells - 1
            }
            None => return None,
        };
        self.serial += 1;
        self.counts[connection.slot.index()] += 1;
        let session = SessionId::new(self.serial, cell);
        self.table.insert(session, connection);
        Some(session)
    }

    /// Removes the connection of a session that has ended, and frees its cell. The socket closes
    /// when the returned connection is dropped.
    pub fn remove(&mut self, session: SessionId) -> Option<HeldConnection> {
        let connection = self.table.take(session)?;
        self.free.insert(session.cell());
        self.counts[connection.slot.index()] -= 1;
        Some(connection)
    }

    /// The socket of a session; `None` if the session has ended.
    pub fn socket(&self, session: SessionId) -> Option<BorrowedFd<'_>> {
        self.table.get(session).map(|connection| connection.socket.as_fd())
    }

    /// The connections of the worker in `slot`, including those that were not sent to it yet. A
    /// successor takes over all of them.
    pub fn of(&self, slot: Slot) -> impl Iterator<Item = (SessionId, Origin, BorrowedFd<'_>)> {
        let of_slot = self.table.iter().filter(move |(_, connection)| connection.slot == slot);
        of_slot.map(|(session, connection)| (session, connection.origin, connection.socket.as_fd()))
    }

    /// How many connections the worker in `slot` has.
    pub fn count(&self, slot: Slot) -> usize {
        self.counts[slot.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forkchat_common::endpoint::Listener;

    fn connection(slot: u16) -> HeldConnection {
        let (socket, _) = std::os::unix::net::UnixStream::pair().unwrap();
        let peer = ([127, 0, 0, 1], 1).into();
        let origin = Origin { peer, listener: Listener::default() };
        HeldConnection::new(socket.into(), origin, Slot::at(slot))
    }

    #[test]
    fn the_lowest_free_cell_is_assigned_first_and_never_twice() {
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
    fn a_successor_gets_the_connections_of_its_predecessor_and_no_others() {
        let mut connections = Connections::new(9, 2);
        let [one, others, two] =
            [0, 1, 0].map(|slot| connections.insert(connection(slot)).unwrap());
        assert_eq!(
            connections.of(Slot::at(0)).map(|(session, ..)| session).collect::<Vec<_>>(),
            [one, two]
        );
        connections.remove(one);
        assert_eq!(
            connections.of(Slot::at(0)).map(|(session, ..)| session).collect::<Vec<_>>(),
            [two]
        );
        assert!(connections.socket(others).is_some());
        assert_eq!([0, 1].map(|slot| connections.count(Slot::at(slot))), [1, 1]);
    }
}
