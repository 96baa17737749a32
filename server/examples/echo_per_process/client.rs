//! The other end: says some lines, and hears what comes back.

use crate::stage::{Attempt, Failure, say};
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::net::{Shutdown, TcpStream};
use std::thread;

/// What there is to say.
pub type Input = Box<dyn Read + Send>;

/// Three lines for one who has nothing else to say.
pub fn three_lines() -> Input {
    Box::new(&b"hello\nis anybody there?\ngoodbye\n"[..])
}

/// Standard input, unless somebody would have to type it or nothing is in it.
pub fn standard_input() -> io::Result<Input> {
    let mut stdin = io::stdin().lock();
    let has_lines = !stdin.is_terminal() && !stdin.fill_buf()?.is_empty();
    Ok(if has_lines { Box::new(io::stdin()) } else { three_lines() })
}

/// Sends `input`, and prints what comes back, to its end.
///
/// It sends in a thread of its own. If it didn't listen before everything is said, it and the server would wait for each other as soon as the kernel
/// has no room for more of either's bytes.
pub fn converse(address: &str, mut input: Input) -> Result<(), Failure> {
    let remedy = |error: &io::Error| match error.kind() {
        io::ErrorKind::ConnectionRefused => "; start the server first",
        io::ErrorKind::InvalidInput => "; give an address and a port, such as 127.0.0.1:7007",
        _ => "",
    };
    let socket =
        TcpStream::connect(address).map_err(|error| format!("{error}{}", remedy(&error))).cannot(format!("connect to {address}"))?;
    let mut sender = socket.try_clone()?;
    // Nobody waits for this thread: its input may never end. It ends with the process.
    thread::Builder::new().spawn(move || {
        // Fails if the server is gone, of which we hear below.
        let _ = io::copy(&mut input, &mut sender);
        // The end of what we say, and not of what we hear.
        let _ = sender.shutdown(Shutdown::Write);
    })?;
    for line in BufReader::new(socket).split(b'\n') {
        say!("the client hears: {}", String::from_utf8_lossy(&line?));
    }
    say!("the client has heard everything");
    Ok(())
}
