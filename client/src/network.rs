//! The network: a thread for one connection, which connects, reads lines, and says how it ended.

use crate::link::{self, Outgoing};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::io;

/// Lines that wait for the loop: whoever is faster than it is held back.
const QUEUE: usize = 256;

/// What became of a connection.
#[derive(Debug)]
pub enum FromNetwork {
    /// It is there; lines are sent this way.
    Connected(Outgoing),
    /// The server told a line: its bytes, without the line's end.
    Line(Vec<u8>),
    /// It couldn't be made, or has ended: why.
    Lost(String),
}

/// Connections to one server, one at a time. Each has a number: what comes from one that was closed is old.
#[derive(Debug)]
pub struct Network {
    address: String,
    udp: bool,
    news: Sender<(u64, FromNetwork)>,
    current: u64,
}

impl Network {
    /// No connection yet; what comes of those that will be made comes out of the receiver.
    pub fn new(address: &str, udp: bool) -> (Network, Receiver<(u64, FromNetwork)>) {
        let (news, queue) = bounded(QUEUE);
        (Network { address: address.to_owned(), udp, news, current: 0 }, queue)
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
        let (number, address, udp, news) = (self.current, self.address.clone(), self.udp, self.news.clone());
        std::thread::Builder::new().name("network".to_owned()).spawn(move || {
            let why = read(&address, udp, |one| news.send((number, one)).is_ok());
            // If nobody listens any more, the program ends.
            let _ = news.send((number, FromNetwork::Lost(why)));
        })?;
        Ok(())
    }
}

/// Connects and reads to the end; gives back why it ended. `tell` says whether anybody listens.
fn read(address: &str, udp: bool, tell: impl Fn(FromNetwork) -> bool) -> String {
    let (outgoing, mut incoming) = match link::connect(address, udp) {
        Ok(link) => link,
        Err(error) => return error.to_string(),
    };
    if !tell(FromNetwork::Connected(outgoing)) {
        return String::new();
    }
    loop {
        match incoming.receive(|line| tell(FromNetwork::Line(line.to_vec()))) {
            Ok(true) => {}
            Ok(false) => return "the server closed it".to_owned(),
            Err(error) => return error.to_string(),
        }
    }
}
