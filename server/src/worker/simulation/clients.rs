//! The actions of the simulated clients.

use super::world::{Client, peek};
use super::{LINES_PER_PEEK, Simulation, WORKERS};
use crate::worker::fakes::origin;
use crate::worker::input::Input;
use forkchat_common::ids::{SessionId, Slot};

impl Simulation {
    pub(super) fn arrive(&mut self) {
        let Some(cell) = self.free.pop() else { return };
        self.serial += 1;
        let (session, slot) =
            (SessionId::new(self.serial, cell), Slot::at(self.dice.roll(WORKERS.into()) as u16));
        let kernel_bytes_max = [40, 700, 100_000][self.dice.roll(3)];
        let mut client = Client {
            session,
            slot,
            sent: Vec::new(),
            consumed: 0,
            has_ended: false,
            taken: Vec::new(),
            read: 0,
            kernel_bytes_max,
            has_relay: self.has_relays,
            in_flight: Vec::new(),
            armed: None,
            in_long_line: false,
            finished: None,
            is_dropped: false,
        };
        if self.dice.roll(2) == 0 {
            client.sent.extend_from_slice(
                format!("/nick early{}\nhello\nhal", self.dice.roll(3)).as_bytes(),
            );
        }
        // Without a worker, the connection waits for the next one.
        if self.workers[slot.index()].is_some() {
            let lines = peek(&mut client, LINES_PER_PEEK as u64, self.reads_first);
            self.queues[slot.index()].push_back(Input::Opened {
                session,
                origin: origin(1),
                connection: (),
                lines,
            });
        }
        self.world.borrow_mut().push(client);
    }

    pub(super) fn some_client(&mut self) -> Option<usize> {
        let count = self.world.borrow().len();
        (count > 0).then(|| self.dice.roll(count))
    }

    pub(super) fn send_something(&mut self) {
        let Some(index) = self.some_client() else { return };
        let number = self.serial * 1_000 + self.dice.roll(1_000) as u64;
        let text = match self.dice.roll(16) {
            12.. if self.is_long => format!("{} {number}\n", "much ".repeat(self.dice.roll(400))),
            0 => format!("/nick n{}\n", number % 5),
            // Long names and topics make the list of rooms take several parts.
            1 => format!("/join #r{}-{}\n", number % 9, "x".repeat(40)),
            2 => "/leave\n".to_owned(),
            3 => "/set tags on\n/set echo on\n".to_owned(),
            4 => "/who\n/whoami\n/rooms\nafter the rooms\n".to_owned(),
            5 => "x".repeat(6_000) + "\n",
            6 => "/charset gbk\n你好\n".to_owned(),
            7 => "half a li".to_owned(),
            10 => "/history 5\nafter the history\n".to_owned(),
            11 => format!("/topic about {number} {}\n", "and more ".repeat(self.dice.roll(40))),
            8 if self.dice.roll(4) == 0 => "/quit\nunheard\n".to_owned(),
            9 => format!("{}\n", "words ".repeat(self.dice.roll(200))),
            _ => format!("said {number}\n"),
        };
        let client = &mut self.world.borrow_mut()[index];
        if !client.has_ended {
            client.sent.extend_from_slice(text.as_bytes());
        }
    }

    pub(super) fn client_reads(&mut self) {
        let Some(index) = self.some_client() else { return };
        let bytes = self.dice.roll(1_500);
        let relayed = self.dice.roll(1_500);
        let client = &mut self.world.borrow_mut()[index];
        client.relay(relayed);
        client.read = (client.read + bytes).min(client.taken.len());
    }

    pub(super) fn client_ends(&mut self) {
        if let Some(index) = self.some_client() {
            self.world.borrow_mut()[index].has_ended = true;
        }
    }
}
