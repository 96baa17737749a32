//! What a connection's process does.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;

/// A longer line is sent back in pieces, each with its suffix.
const LINE_BYTES_MAX: u64 = 1_024;

/// A connection's process: sends back each line, until the client has no more to say.
pub fn echo(socket: &TcpStream) -> io::Result<()> {
    echo_lines(socket).or_else(unless_gone)
}

fn echo_lines(socket: &TcpStream) -> io::Result<()> {
    let suffix = format!(" (echoed by pid {})\n", std::process::id());
    let (mut input, mut output, mut line) = (BufReader::new(socket), socket, Vec::new());
    // A client that sends no more may well still listen: what it is sent goes out before its end does, and both come when this process ends.
    while input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? > 0 {
        let end = line.iter().rposition(|byte| !b"\r\n".contains(byte)).map_or(0, |last| last + 1);
        line.truncate(end);
        line.extend_from_slice(suffix.as_bytes());
        output.write_all(&line)?;
        line.clear();
    }
    Ok(())
}

/// A client that leaves in the middle of it is nothing unusual.
fn unless_gone(error: io::Error) -> io::Result<()> {
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    }
}
