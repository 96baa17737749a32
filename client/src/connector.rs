//! Connects to the server. Each connection has a network thread, which receives lines and reports
//! how the connection ended.

use crate::transport::{self, SendHalf};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::io;

/// How many events may wait for the main loop. When the queue is full, the network thread blocks.
const QUEUE_LEN_MAX: usize = 256;

/// What a network thread reports.
#[derive(Debug)]
pub enum NetworkEvent {
    /// The connection is open. Lines are sent through this half.
    Connected(SendHalf),
    /// A line from the server: its bytes, without the line's end.
    Line(Vec<u8>),
    /// The client could not connect, or the connection ended, for this reason.
    Disconnected(String),
}

/// Opens connections to one server, one at a time. Connections are numbered, so that the caller can
/// ignore late events of an earlier connection.
#[derive(Debug)]
pub struct Connector {
    address: String,
    udp: bool,
    events: Sender<(u64, NetworkEvent)>,
    current: u64,
}

impl Connector {
    /// A connector without a connection. The receiver yields the events of all connections, each
    /// with the connection's number.
    pub fn new(address: &str, udp: bool) -> (Connector, Receiver<(u64, NetworkEvent)>) {
        let (events, receiver) = bounded(QUEUE_LEN_MAX);
        (Connector { address: address.to_owned(), udp, events, current: 0 }, receiver)
    }

    /// The server's address, as the user gave it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The number of the latest connection; 0 before the first.
    pub fn current(&self) -> u64 {
        self.current
    }

    /// Starts the network thread of another connection.
    ///
    /// # Errors
    /// If the system can't start a thread.
    pub fn connect(&mut self) -> io::Result<()> {
        self.current += 1;
        let (number, address, udp, events) =
            (self.current, self.address.clone(), self.udp, self.events.clone());
        std::thread::Builder::new().name("network".to_owned()).spawn(move || {
            let why =
                connect_and_receive(&address, udp, |event| events.send((number, event)).is_ok());
            // The program is ending if the receiver is gone.
            let _ = events.send((number, NetworkEvent::Disconnected(why)));
        })?;
        Ok(())
    }
}

/// Receives until the connection ends. Returns why it ended. `report` returns whether the main loop
/// still receives events.
fn connect_and_receive(address: &str, udp: bool, report: impl Fn(NetworkEvent) -> bool) -> String {
    let (send_half, mut receive_half) = match transport::connect(address, udp) {
        Ok(halves) => halves,
        Err(error) => return error.to_string(),
    };
    if !report(NetworkEvent::Connected(send_half)) {
        return String::new();
    }
    loop {
        match receive_half.receive(|line| report(NetworkEvent::Line(line.to_vec()))) {
            Ok(true) => {}
            Ok(false) => return "the server closed the connection".to_owned(),
            Err(error) => return error.to_string(),
        }
    }
}
