//! What is asked of a server: who is there, who speaks, how fast.

use serde::Serialize;

/// The shortest line that can carry its sender and number, with its LF.
pub const BYTES_MIN: usize = 24;
/// The longest line that the line protocol takes, with its LF.
pub const BYTES_MAX: usize = 4_096;

/// One shape of load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Shape {
    /// The preset it comes from.
    pub name: &'static str,
    /// Members of the rooms, all rooms together.
    pub clients: usize,
    /// Rooms, of equal size as far as that goes.
    pub rooms: usize,
    /// Members of each room that speak.
    pub senders: usize,
    /// A line as it is sent, with its LF.
    pub bytes: usize,
    /// What they do.
    pub traffic: Traffic,
    /// More connections, in rooms of their own, that do nothing.
    pub idle: usize,
    /// More clients that come and go, so many a second.
    pub churn: f64,
    /// Over UDP.
    pub udp: bool,
}

/// What the clients of a shape do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Traffic {
    /// A closed loop: each sender keeps so many lines in flight. A line is in flight until every member has read it.
    Window(usize),
    /// An open loop: so many lines a second, all senders together, whatever becomes of those before.
    Rate(f64),
    /// All connect and log in, 256 at a time, and leave again; over and over.
    Storm,
    /// Nobody says anything; every tenth has begun a line and not ended it.
    Quiet,
}

/// A shape with a name.
#[derive(Debug)]
pub struct Preset {
    /// What it is for.
    pub about: &'static str,
    /// The shape.
    pub shape: Shape,
}

const ROOM: Shape =
    Shape { name: "custom", clients: 100, rooms: 1, senders: 4, bytes: 100, traffic: Traffic::Window(8), idle: 0, churn: 0.0, udp: false };

/// All presets, in the order of the table that is made without arguments.
pub const PRESETS: [Preset; 11] = [
    Preset { about: "a room of 10: what a small room's line costs", shape: Shape { name: "room-10", clients: 10, ..ROOM } },
    Preset { about: "a room of 100", shape: Shape { name: "room-100", ..ROOM } },
    Preset { about: "a room of 1,000", shape: Shape { name: "room-1000", clients: 1_000, ..ROOM } },
    Preset { about: "100 rooms of 10", shape: Shape { name: "rooms-100x10", clients: 1_000, rooms: 100, ..ROOM } },
    Preset {
        about: "one line in flight to a room of 100: nothing to share a send or a wake-up with",
        shape: Shape { name: "one-line", senders: 1, traffic: Traffic::Window(1), ..ROOM },
    },
    Preset { about: "200 lines a second to a room of 100", shape: Shape { name: "paced", traffic: Traffic::Rate(200.0), ..ROOM } },
    Preset { about: "a room of 100 beside 5,000 who say nothing", shape: Shape { name: "crowd", idle: 5_000, ..ROOM } },
    Preset {
        about: "a paced room of 100 where 50 a second come and go",
        shape: Shape { name: "churn", churn: 50.0, traffic: Traffic::Rate(200.0), ..ROOM },
    },
    Preset { about: "a room of 100 over UDP", shape: Shape { name: "udp", udp: true, ..ROOM } },
    Preset {
        about: "1,000 in rooms of 10 connect and log in, 256 at a time (measured), and leave again (not)",
        shape: Shape { name: "storm", clients: 1_000, rooms: 100, senders: 0, traffic: Traffic::Storm, ..ROOM },
    },
    Preset {
        about: "1,000 connections that say nothing, some in the middle of a line",
        shape: Shape { name: "idle", clients: 1_000, rooms: 100, senders: 0, traffic: Traffic::Quiet, ..ROOM },
    },
];

impl Shape {
    /// The shape that options alone describe: a room of 100.
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

    /// Whether lines are said.
    pub fn has_lines(&self) -> bool {
        matches!(self.traffic, Traffic::Window(_) | Traffic::Rate(_))
    }

    /// What is wrong with it, in words for who asked for it.
    pub fn check(&self) -> Result<(), String> {
        let smallest = self.members_of(self.rooms - 1);
        if self.has_lines() && self.senders == 0 {
            return Err("nobody speaks: give --senders 1 or more".into());
        }
        if self.has_lines() && smallest < 2 {
            let (clients, rooms) = (self.clients, self.rooms);
            return Err(format!(
                "{clients} clients in {rooms} rooms leave a room with nobody to hear: give --clients {} or more",
                rooms * 2
            ));
        }
        if self.has_lines() && self.senders > smallest {
            return Err(format!("--senders {} is more than a room of {smallest} has: give fewer, or more --clients", self.senders));
        }
        if self.senders * self.rooms > usize::from(u16::MAX) {
            return Err(format!("{} senders in all are more than the lines can name: at most {}", self.senders * self.rooms, u16::MAX));
        }
        if self.traffic == Traffic::Storm && self.idle > 0 {
            return Err("in a storm everybody leaves: --idle goes with --window, --rate or --quiet".into());
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
    fn presets_are_sound_and_have_names_of_their_own() {
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
    fn what_cannot_be_is_said() {
        let wrong = |shape: Shape| shape.check().unwrap_err();
        assert!(wrong(Shape { clients: 1, ..ROOM }).contains("--clients 2"));
        assert!(wrong(Shape { clients: 3, ..ROOM }).contains("--senders 4"));
        assert!(wrong(Shape { traffic: Traffic::Storm, idle: 1, ..ROOM }).contains("--idle"));
        assert!(wrong(Shape { senders: 0, ..ROOM }).contains("--senders 1"));
        assert!(wrong(Shape { traffic: Traffic::Storm, churn: 1.0, ..ROOM }).contains("--churn"));
    }
}
