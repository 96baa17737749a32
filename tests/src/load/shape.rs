//! The shape of a load: how many clients there are, which of them send lines, and how fast.

use serde::Serialize;

/// The shortest line that can carry its sender and number, with its LF.
pub const BYTES_MIN: usize = 24;
/// The longest line that the line protocol accepts, with its LF.
pub const BYTES_MAX: usize = 4_096;

/// One shape of load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Shape {
    /// The preset's name.
    pub name: &'static str,
    /// Clients in rooms, all rooms together.
    pub clients: usize,
    /// Number of rooms. Their sizes differ by one at most.
    pub rooms: usize,
    /// Members of each room that send lines.
    pub senders: usize,
    /// Length of a line as it is sent, with its LF.
    pub bytes: usize,
    /// What the clients do.
    pub traffic: Traffic,
    /// More connections, in other rooms, that do nothing.
    pub idle: usize,
    /// How many more clients per second come and go.
    pub churn: f64,
    /// Whether the clients use UDP.
    pub udp: bool,
}

/// What the clients of a shape do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Traffic {
    /// A closed loop: each sender keeps this many lines in flight. A line is in flight until every
    /// member has read it.
    Window(usize),
    /// An open loop: this many lines per second, all senders together, whether or not earlier lines
    /// have arrived.
    Rate(f64),
    /// All clients connect and log in, 256 at a time, and leave again, repeatedly.
    Storm,
    /// The clients send no lines. One in ten has sent the beginning of a line.
    Quiet,
}

/// A shape with a name.
#[derive(Debug)]
pub struct Preset {
    /// What it shows.
    pub about: &'static str,
    /// The shape.
    pub shape: Shape,
}

const ROOM: Shape = Shape {
    name: "custom",
    clients: 100,
    rooms: 1,
    senders: 4,
    bytes: 100,
    traffic: Traffic::Window(8),
    idle: 0,
    churn: 0.0,
    udp: false,
};

/// All presets, in the order of the table that is printed without arguments.
pub const PRESETS: [Preset; 11] = [
    Preset {
        about: "a room of 10: the cost of a line in a small room",
        shape: Shape { name: "room-10", clients: 10, ..ROOM },
    },
    Preset { about: "a room of 100", shape: Shape { name: "room-100", ..ROOM } },
    Preset { about: "a room of 1,000", shape: Shape { name: "room-1000", clients: 1_000, ..ROOM } },
    Preset {
        about: "100 rooms of 10",
        shape: Shape { name: "rooms-100x10", clients: 1_000, rooms: 100, ..ROOM },
    },
    Preset {
        about: "one line in flight to a room of 100: no line shares a send or a wake-up with \
            another",
        shape: Shape { name: "one-line", senders: 1, traffic: Traffic::Window(1), ..ROOM },
    },
    Preset {
        about: "200 lines per second to a room of 100",
        shape: Shape { name: "paced", traffic: Traffic::Rate(200.0), ..ROOM },
    },
    Preset {
        about: "a room of 100 beside 5,000 clients that say nothing",
        shape: Shape { name: "crowd", idle: 5_000, ..ROOM },
    },
    Preset {
        about: "a paced room of 100 where 50 clients per second come and go",
        shape: Shape { name: "churn", churn: 50.0, traffic: Traffic::Rate(200.0), ..ROOM },
    },
    Preset { about: "a room of 100 over UDP", shape: Shape { name: "udp", udp: true, ..ROOM } },
    Preset {
        about: "1,000 clients in rooms of 10 connect and log in, 256 at a time (measured), and \
            leave again (not measured)",
        shape: Shape {
            name: "storm",
            clients: 1_000,
            rooms: 100,
            senders: 0,
            traffic: Traffic::Storm,
            ..ROOM
        },
    },
    Preset {
        about: "1,000 clients that say nothing, some in the middle of a line",
        shape: Shape {
            name: "idle",
            clients: 1_000,
            rooms: 100,
            senders: 0,
            traffic: Traffic::Quiet,
            ..ROOM
        },
    },
];

impl Shape {
    /// The shape without a preset: a room of 100.
    pub fn custom() -> Shape {
        ROOM
    }

    /// Connections that stay for the whole run.
    pub fn connections(&self) -> usize {
        self.clients + self.idle
    }

    /// The members of a room.
    pub fn members_of(&self, room: usize) -> usize {
        self.clients / self.rooms + usize::from(room < self.clients % self.rooms)
    }

    /// Whether the clients send lines.
    pub fn has_lines(&self) -> bool {
        matches!(self.traffic, Traffic::Window(_) | Traffic::Rate(_))
    }

    /// Checks that the shape is possible.
    ///
    /// # Errors
    /// The error says what is wrong and how to change the command line.
    pub fn check(&self) -> Result<(), String> {
        let smallest = self.members_of(self.rooms - 1);
        if self.has_lines() && self.senders == 0 {
            return Err("nobody speaks: give --senders 1 or more".into());
        }
        if self.has_lines() && smallest < 2 {
            let (clients, rooms) = (self.clients, self.rooms);
            return Err(format!(
                "{clients} clients in {rooms} rooms leave a room with nobody to hear: give \
                 --clients {} or more",
                rooms * 2
            ));
        }
        if self.has_lines() && self.senders > smallest {
            return Err(format!(
                "--senders {} is more than a room of {smallest} has: give fewer, or more --clients",
                self.senders
            ));
        }
        if self.senders * self.rooms > usize::from(u16::MAX) {
            return Err(format!(
                "{} senders in all are more than the lines can name: at most {}",
                self.senders * self.rooms,
                u16::MAX
            ));
        }
        if self.traffic == Traffic::Storm && self.idle > 0 {
            return Err(
                "in a storm everybody leaves: --idle goes with --window, --rate or --quiet".into(),
            );
        }
        if !self.has_lines() && self.churn > 0.0 {
            return Err("--churn needs lines to be said: give --window or --rate".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_possible_and_have_unique_names() {
        for (i, preset) in PRESETS.iter().enumerate() {
            assert_eq!(preset.shape.check(), Ok(()), "{}", preset.shape.name);
            assert!(PRESETS[..i].iter().all(|other| other.shape.name != preset.shape.name));
        }
    }

    #[test]
    fn rooms_share_the_clients_evenly() {
        let shape = Shape { clients: 23, rooms: 5, ..ROOM };
        let sizes: Vec<usize> = (0..5).map(|room| shape.members_of(room)).collect();
        assert_eq!(sizes, [5, 5, 5, 4, 4]);
    }

    #[test]
    fn impossible_shapes_are_rejected() {
        let wrong = |shape: Shape| shape.check().unwrap_err();
        assert!(wrong(Shape { clients: 1, ..ROOM }).contains("--clients 2"));
        assert!(wrong(Shape { clients: 3, ..ROOM }).contains("--senders 4"));
        assert!(wrong(Shape { traffic: Traffic::Storm, idle: 1, ..ROOM }).contains("--idle"));
        assert!(wrong(Shape { senders: 0, ..ROOM }).contains("--senders 1"));
        assert!(wrong(Shape { traffic: Traffic::Storm, churn: 1.0, ..ROOM }).contains("--churn"));
    }
}
