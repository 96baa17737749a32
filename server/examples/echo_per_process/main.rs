//! A server with a process for each connection: it sends back each line, with a suffix. `--client [ADDR]` is the other end, and so is `nc 127.0.0.1 PORT`.
//!
//! Watch for: a pid for each client; what becomes of the others when one of the processes is killed (nothing); that no zombie is left. It ends when nobody
//! has been there for 3 seconds.
//!
//! At work in the server: `--model process` (`models/process.rs`), whose supervisor accepts, forks and reaps (`supervisor/listeners.rs`).

mod client;
mod connection;
#[path = "../stage/mod.rs"]
mod stage;

use client::{converse, standard_input, three_lines};
use connection::echo;
use forkchat_server::ipc::process::Process;
use forkchat_server::sys::process::watch_end;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use stage::{exit_code, say};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Where it listens, and `--client` looks, unless another one does so already: then it is any port.
const PORT: u16 = 7_007;
/// More clients wait in the kernel until one of these has left.
const PROCESSES_MAX: usize = 16;
const QUIET: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let code = match arguments[..] {
        [] => exit_code(serve()),
        ["--client"] => exit_code(standard_input().and_then(|input| converse(&format!("127.0.0.1:{PORT}"), input))),
        ["--client", address] => exit_code(standard_input().and_then(|input| converse(address, input))),
        _ => {
            say!("usage: echo_per_process [--client [ADDR]]");
            2
        }
    };
    ExitCode::from(code as u8)
}

/// A process that serves a connection, and a descriptor that tells of its end.
type Serving = (Process, OwnedFd);

fn serve() -> io::Result<()> {
    let listener = TcpListener::bind([PORT, 0].map(|port| SocketAddr::from(([127, 0, 0, 1], port))).as_slice())?;
    // Who came may be gone before it is accepted: then there is nobody to wait for.
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    say!("listening on {address}");
    // A client of our own, so that there is something to see.
    let mut processes = vec![watched(Process::start(|| exit_code(converse(&address.to_string(), three_lines())))?)?];
    let mut last_seen = Instant::now();
    while !processes.is_empty() || last_seen.elapsed() < QUIET {
        wait(&listener, &processes, QUIET.saturating_sub(last_seen.elapsed()))?;
        processes.retain_mut(|(process, _)| {
            // A look takes away the zombie of one that has ended.
            let is_alive = process.is_alive();
            if !is_alive {
                say!("pid {} {}", process.pid(), process.join());
            }
            is_alive
        });
        if processes.len() < PROCESSES_MAX {
            processes.extend(accept(&listener));
        }
        if !processes.is_empty() {
            last_seen = Instant::now();
        }
    }
    say!("nobody has been here for {QUIET:?}");
    Ok(())
}

fn watched(process: Process) -> io::Result<Serving> {
    let end = watch_end(process.pid())?;
    Ok((process, end))
}

/// Waits for a client or the end of a process; for a client only if there may be one more.
fn wait(listener: &TcpListener, processes: &[Serving], timeout: Duration) -> io::Result<()> {
    let clients = (processes.len() < PROCESSES_MAX).then(|| listener.as_fd());
    let descriptors = clients.into_iter().chain(processes.iter().map(|(_, end)| end.as_fd()));
    let mut waiting: Vec<_> = descriptors.map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN)).collect();
    match poll(&mut waiting, PollTimeout::try_from(timeout.as_millis() + 1).unwrap_or(PollTimeout::MAX)) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Accepts a client and forks a process for it; `None` if there is none, or it has to be turned away.
fn accept(listener: &TcpListener) -> Option<Serving> {
    // The process alone has the socket then: `start_with` closes the parent's copy at once. Forgetting that is a common mistake. As long as one copy is
    // open anywhere the connection is, too, so the client would never see its end; and some day the parent would have no descriptor left.
    let fork =
        |socket: TcpStream| Process::start_with(socket, |socket| vec![socket.as_fd()], |socket| exit_code(echo(&socket))).and_then(watched);
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
