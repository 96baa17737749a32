//! The loads of the comparison of models: families of shapes that differ only in the number of
//! connections.

use super::shape::{Shape, Traffic};
use super::subject::Subject;

/// In the paced family, deliveries per second in all rooms together, whatever the number of
/// connections.
pub const PACED_DELIVERIES: f64 = 5_000.0;
/// In a larger room the server sends more datagrams at once than the sockets' buffers hold. Then
/// the network would lose lines, not the server.
const UDP_SIZE_MAX: usize = 100;
/// The name of the family in which a process of the server is killed.
pub const KILL: &str = "kill";
/// In a larger room the lines of the kill family would be too far apart to show how long a client
/// waits.
pub const KILL_SIZE_MAX: usize = 1_000;
/// In the kill family, the maximum of lines and of deliveries per second.
const KILL_LINES_MAX: f64 = 200.0;
const KILL_DELIVERIES_MAX: f64 = 20_000.0;
/// In the kill family, the number of senders. They send in turn.
const KILL_SENDERS: usize = 8;
/// The number of members of a small room.
pub const SMALL_ROOM: usize = 10;

/// Shapes that differ only in the number of connections.
#[derive(Debug)]
pub struct Family {
    /// The beginning of the names of its rows.
    pub name: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// What the clients do.
    pub about: &'static str,
    /// The shape with this many connections.
    shape: fn(usize) -> Shape,
    /// The maximum number of connections.
    pub size_max: usize,
}

/// All families, in the order in which they are run.
pub const FAMILIES: [Family; 7] = [
    Family {
        name: "storm",
        title: "Connect storm",
        about: "all clients connect and log in, 256 at a time, and leave again, over and over",
        shape: |size| Shape { senders: 0, traffic: Traffic::Storm, ..in_small_rooms(size) },
        size_max: usize::MAX,
    },
    Family {
        name: "idle",
        title: "Idle crowd",
        about: "all clients are connected and say nothing",
        shape: |size| Shape { senders: 0, traffic: Traffic::Quiet, ..in_small_rooms(size) },
        size_max: usize::MAX,
    },
    Family {
        name: "rooms",
        title: "Small rooms",
        about: "rooms of 10. In each of them one member speaks as fast as its lines are read, with \
            4 lines in flight (a closed loop)",
        shape: |size| Shape { traffic: Traffic::Window(4), ..in_small_rooms(size) },
        size_max: usize::MAX,
    },
    Family {
        name: "room",
        title: "One big room",
        about: "all clients are in one room. Two members speak as fast as their lines are read, \
            each with 4 lines in flight (a closed loop)",
        shape: |size| Shape {
            name: "room",
            clients: size,
            rooms: 1,
            senders: 2,
            traffic: Traffic::Window(4),
            ..Shape::custom()
        },
        size_max: usize::MAX,
    },
    Family {
        name: "paced",
        title: "Paced",
        about: "rooms of 10 in which lines are said on time (an open loop): 5,000 deliveries per \
            second in all rooms together, however many clients are connected",
        shape: |size| Shape {
            traffic: Traffic::Rate(PACED_DELIVERIES / (size.min(SMALL_ROOM) - 1) as f64),
            ..in_small_rooms(size)
        },
        size_max: usize::MAX,
    },
    Family {
        name: "udp",
        title: "UDP room",
        about: "one room over UDP. Two members speak as fast as their lines are read, each with 4 \
            lines in flight (a closed loop)",
        shape: |size| Shape {
            clients: size,
            rooms: 1,
            senders: 2,
            traffic: Traffic::Window(4),
            udp: true,
            ..Shape::custom()
        },
        size_max: UDP_SIZE_MAX,
    },
    Family {
        name: KILL,
        title: "Kill",
        about: "all clients are in one room in which 8 members speak in turn, on time (an open \
            loop): 200 lines per second, or 20,000 deliveries if those are fewer lines. In the \
            middle of it a process that serves clients is killed with kill -9",
        shape: |size| Shape {
            clients: size,
            rooms: 1,
            senders: KILL_SENDERS.min(size),
            traffic: Traffic::Rate(KILL_LINES_MAX.min(KILL_DELIVERIES_MAX / (size - 1) as f64)),
            ..Shape::custom()
        },
        size_max: KILL_SIZE_MAX,
    },
];

fn in_small_rooms(size: usize) -> Shape {
    Shape { clients: size, rooms: (size / SMALL_ROOM).max(1), senders: 1, ..Shape::custom() }
}

impl Family {
    /// Its shape with this many connections.
    pub fn shape(&self, size: usize) -> Shape {
        Shape { name: self.name, ..(self.shape)(size) }
    }

    /// Whether the load makes sense for a subject. Only the processes of a model are known and can
    /// be killed.
    pub fn is_for(&self, subject: Subject) -> bool {
        self.name != KILL || matches!(subject, Subject::Model(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_of_every_family_is_sound() {
        for family in &FAMILIES {
            for size in [2, 3, 10, 11, 99, 100, 5_000] {
                let shape = family.shape(size);
                assert_eq!(shape.check(), Ok(()), "{} of {size}", family.name);
                assert_eq!((shape.connections(), shape.name), (size, family.name));
            }
        }
    }

    #[test]
    fn paced_is_the_same_number_of_deliveries_for_any_number_of_connections() {
        let paced = FAMILIES.iter().find(|family| family.name == "paced").unwrap();
        for size in [2, 5, 10, 100, 5_000] {
            let shape = paced.shape(size);
            let Traffic::Rate(rate) = shape.traffic else { panic!("{shape:?}") };
            assert_eq!(
                (rate * (shape.members_of(0) - 1) as f64).round(),
                PACED_DELIVERIES,
                "{size}"
            );
        }
    }
}
