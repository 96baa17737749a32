//! The network thread: connects, reads lines, and reports how the connection ended. One thread for
//! each connection.

use crate::transport::{self, SendHalf};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::io;

/// Lines that wait for the main loop. If it is full, the reading thread waits.
const QUEUE: usize = 256;

/// What the network thread reports.
#[derive(Debug)]
pub enum NetworkEvent {
    /// The connection is open; lines are sent through this.
    Connected(SendHalf),
    /// A line from the server: its bytes, without the line's end.
    Line(Vec<u8>),
    /// Connecting failed, or the connection ended, for this reason.
    Lost(String),
}

/// Connections to one server, one at a time. Each has a number: what comes from one that was closed
/// is old.
#[derive(Debug)]
pub struct Connector {
    address: String,
    udp: bool,
    news: Sender<(u64, NetworkEvent)>,
    current: u64,
}

impl Connector {
    /// No connection yet. The receiver yields the reports of all later connections.
    pub fn new(address: &str, udp: bool) -> (Connector, Receiver<(u64, NetworkEvent)>) {
        let (news, queue) = bounded(QUEUE);
        (Connector { address: address.to_owned(), udp, news, current: 0 }, queue)
    }

    /// The server's address, as it was given.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The number of the connection that counts.
    pub fn current(&self) -> u64 {
        self.current
    }

    /// Starts the thread of another connection.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub fn connect(&mut self) -> io::Result<()> {
        self.current += 1;
        let (number, address, udp, news) =
            (self.current, self.address.clone(), self.udp, self.news.clone());
        std::thread::Builder::new().name("network".to_owned()).spawn(move || {
            let why = read(&address, udp, |one| news.send((number, one)).is_ok());
            // If the receiver is gone, the program is ending.
            let _ = news.send((number, NetworkEvent::Lost(why)));
        })?;
        Ok(())
    }
}

/// Connects and reads to the end. Returns why it ended. `tell` returns whether the receiver still
/// exists.
fn read(address: &str, udp: bool, tell: impl Fn(NetworkEvent) -> bool) -> String {
    let (outgoing, mut incoming) = match transport::connect(address, udp) {
        Ok(link) => link,
        Err(error) => return error.to_string(),
    };
    if !tell(NetworkEvent::Connected(outgoing)) {
        return String::new();
    }
    loop {
        match incoming.receive(|line| tell(NetworkEvent::Line(line.to_vec()))) {
            Ok(true) => {}
            Ok(false) => return "the server closed the connection".to_owned(),
            Err(error) => return error.to_string(),
        }
    }
}
