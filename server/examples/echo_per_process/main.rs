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
use connection::{Serving, accept, watched};
use forkchat_server::ipc::process::{End, Process};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use stage::{Attempt, Failure, exit_code, say};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::process::ExitCode;
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
        ["--client"] => exit_code(client(&format!("127.0.0.1:{PORT}"))),
        ["--client", address] => exit_code(client(address)),
        _ => {
            say!("usage: echo_per_process [--client [ADDR]]");
            2
        }
    };
    ExitCode::from(code as u8)
}

fn client(address: &str) -> Result<(), Failure> {
    converse(address, standard_input().cannot("read standard input")?)
}

fn serve() -> Result<(), Failure> {
    let ports = [PORT, 0].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let listener = TcpListener::bind(ports.as_slice()).cannot("listen on 127.0.0.1")?;
    // Who came may be gone before it is accepted: then there is nobody to wait for.
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    say!("listening on {address}");
    // A client of our own, so that there is something to see.
    let own = Process::start(|| exit_code(converse(&address.to_string(), three_lines()))).and_then(watched);
    let mut processes = vec![own.cannot("start a client")?];
    let (mut last_seen, mut failed) = (Instant::now(), 0);
    while !processes.is_empty() || last_seen.elapsed() < QUIET {
        wait(&listener, &processes, QUIET.saturating_sub(last_seen.elapsed())).cannot("wait for clients")?;
        processes.retain_mut(|(process, _)| {
            // A look takes away the zombie of one that has ended.
            let is_alive = process.is_alive();
            if !is_alive {
                let end = process.join();
                say!("pid {}: {end}", process.pid());
                // Who is killed has not failed: somebody tried out what becomes of the others.
                failed += usize::from(matches!(end, End::Exited(1..)));
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
    if failed == 0 { Ok(()) } else { Err(Failure(format!("{failed} of the processes failed, as they say above"))) }
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
