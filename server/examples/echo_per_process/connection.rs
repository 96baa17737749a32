//! A connection: its process, and what that does.

use crate::stage::{Attempt, exit_code, say};
use forkchat_server::ipc::process::Process;
use forkchat_server::sys::process::watch_end;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::sleep;
use std::time::Duration;

/// A longer line is sent back in pieces, each with its suffix.
const LINE_BYTES_MAX: u64 = 1_024;

/// A process that serves a connection, and a descriptor that tells of its end.
pub type Serving = (Process, OwnedFd);

/// Has its end watched.
pub fn watched(process: Process) -> io::Result<Serving> {
    let end = watch_end(process.pid())?;
    Ok((process, end))
}

/// Accepts a client and forks a process for it; `None` if there is none, or it has to be turned away.
pub fn accept(listener: &TcpListener) -> Option<Serving> {
    // The process alone has the socket then: `start_with` closes the parent's copy at once. Forgetting that is a common mistake. As long as one copy is
    // open anywhere the connection is, too, so the client would never see its end; and some day the parent would have no descriptor left.
    let fork = |socket: TcpStream| {
        Process::start_with(socket, |socket| vec![socket.as_fd()], |socket| exit_code(echo(&socket).cannot("talk with a client")))
            .and_then(watched)
    };
    match listener.accept() {
        Ok((socket, client)) => {
            let serving = fork(socket).inspect_err(|error| say!("cannot serve {client}: {error}")).ok()?;
            say!("{client} is served by pid {}", serving.0.pid());
            Some(serving)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => {
            say!("cannot accept: {error}");
            // It may be for want of descriptors; then the client still waits, and would be looked at again without a pause.
            sleep(Duration::from_millis(50));
            None
        }
    }
}

/// A connection's process: sends back each line, until the client has no more to say.
fn echo(socket: &TcpStream) -> io::Result<()> {
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
