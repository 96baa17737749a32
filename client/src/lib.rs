//! forkchat's client: a plain filter between standard input, the server, and standard output.
//!
//! It is built as the server's worker is: one thread reads the person, one the network, and a queue joins them to the one that acts.
//!
//! ```text
//! standard input ─► person thread ──┐
//!                                   ├─ queue ─► main thread ─► server, standard output
//! server ─────────► network thread ─┘
//! ```
#![forbid(unsafe_code)]

use clap::Parser;
use crossbeam_channel::{Sender, bounded};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};

/// Everything was said and heard.
const EXIT_DONE: i32 = 0;
/// The connection was refused or lost.
const EXIT_CONNECTION: i32 = 1;

/// Lines that wait for the main thread: whoever is faster than it is held back.
const QUEUE: usize = 256;

/// Talk on a forkchat server: what you type is said, what others say is printed.
#[derive(Debug, Parser)]
#[command(
    name = "forkchat-client",
    version,
    after_help = "Exit codes: 0 done, 1 the connection was refused or lost, 2 the command line is wrong."
)]
pub struct Options {
    /// The server
    #[arg(value_name = "ADDR", default_value = "127.0.0.1:9000")]
    pub address: String,
}

/// What one of the two threads has read.
enum Read {
    Typed(Vec<u8>),
    TypedAll,
    Told(Vec<u8>),
    ToldAll,
    Lost(io::Error),
}

/// Runs the client to its end; returns the exit code.
pub fn run(options: &Options) -> i32 {
    match talk(&options.address) {
        Ok(()) => EXIT_DONE,
        // Whoever read what we print has had enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => EXIT_DONE,
        Err(error) => {
            eprintln!("forkchat-client: {}: {error}", options.address);
            EXIT_CONNECTION
        }
    }
}

fn talk(address: &str) -> io::Result<()> {
    let server = TcpStream::connect(address)?;
    server.set_nodelay(true)?;
    let (reads, queue) = bounded(QUEUE);
    let (person, network) = (reads.clone(), server.try_clone()?);
    std::thread::spawn(move || read_lines(io::stdin().lock(), &person, Read::Typed, |_| Read::TypedAll));
    std::thread::spawn(move || read_lines(BufReader::new(network), &reads, Read::Told, |end| end.map_or(Read::ToldAll, Read::Lost)));
    let mut output = io::stdout().lock();
    for read in queue {
        match read {
            Read::Typed(line) => (&server).write_all(&line)?,
            // As `nc -N` does: the server answers what it has, and closes.
            Read::TypedAll => server.shutdown(Shutdown::Write)?,
            Read::Told(line) => {
                output.write_all(&line)?;
                output.flush()?;
            }
            Read::ToldAll => return Ok(()),
            Read::Lost(error) => return Err(error),
        }
    }
    Ok(())
}

/// Puts each line, with its LF, into the queue; then how it ended.
fn read_lines(mut source: impl BufRead, queue: &Sender<Read>, line: fn(Vec<u8>) -> Read, end: fn(Option<io::Error>) -> Read) {
    loop {
        let mut bytes = Vec::new();
        let read = match source.read_until(b'\n', &mut bytes) {
            Ok(0) => end(None),
            Ok(_) => line(bytes),
            Err(error) => end(Some(error)),
        };
        let is_last = !matches!(read, Read::Typed(_) | Read::Told(_));
        if queue.send(read).is_err() || is_last {
            return;
        }
    }
}
