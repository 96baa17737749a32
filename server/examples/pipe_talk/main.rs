//! Two ends: a pipe carries bytes one way, a pair of sockets messages both ways. A reader is told when the last writer is gone; who writes to a
//! full pipe waits.
//!
//! Watch for: the end of input, that comes when the other end is closed and not before; the parent that waits for a child that waits for
//! the parent, and what /proc tells of that child; that reading cures it.
//!
//! At work in the server: supervisor and worker talk through a queue (`ipc/queue.rs`, `channel.rs`) whose ends never wait: one that is full says so.

mod deadlock;
#[path = "../stage/mod.rs"]
mod stage;

use forkchat_server::ipc::process::Process;
use forkchat_server::ipc::queue::{self, QueueEnd, Received};
use forkchat_server::sys::socket::wait_for_input;
use stage::{Attempt, Failure, exit_code, say};
use std::io::{self, BufRead, BufReader, PipeReader, Write};
use std::os::fd::AsFd;

fn main() -> Result<(), Failure> {
    one_way().cannot("show a pipe")?;
    both_ways().cannot("show a queue")?;
    deadlock::and_cure().cannot("show a deadlock")
}

fn one_way() -> io::Result<()> {
    say!("one way: the parent writes, the child reads");
    let (reader, mut writer) = io::pipe()?;
    // The child has the reader and not the writer. With a copy of that it would itself keep the end of input from coming.
    let mut child =
        Process::start_with(reader, |reader| vec![reader.as_fd()], |reader| exit_code(read_lines(reader).cannot("read the pipe")))?;
    write!(writer, "a pipe knows no borders:\nlines are what its ")?;
    writeln!(writer, "two ends agree on")?;
    say!("the parent has written everything; is the child alive? {}", child.is_alive());
    drop(writer);
    say!("the parent has closed its end; the child: {}", child.join());
    Ok(())
}

fn read_lines(reader: PipeReader) -> io::Result<()> {
    for line in BufReader::new(reader).lines() {
        say!("the child reads: {}", line?);
    }
    say!("the child is at the end of input");
    Ok(())
}

fn both_ways() -> io::Result<()> {
    say!("both ways: numbers to the child, their squares to the parent");
    let (here, there) = queue::pair::<u64, u64>()?;
    let mut child = Process::start_with(there, |there| vec![there.as_fd()], |there| exit_code(square(&there).cannot("square")))?;
    for number in [2, 3, 4] {
        send(&here, number)?;
    }
    for _ in 0..3 {
        say!("the parent hears {:?}", next(&here)?);
    }
    drop(here);
    say!("the parent has closed its end; the child: {}", child.join());
    let (here, _nobody_reads) = queue::pair::<u64, u64>()?;
    say!(
        "a queue that nobody reads takes {} messages, and then says that it is full",
        (0..).take_while(|n| here.send(n, None).is_ok()).count()
    );
    Ok(())
}

fn square(end: &QueueEnd<u64, u64>) -> io::Result<()> {
    while let Some(number) = next(end)? {
        send(end, number * number)?;
    }
    say!("the child is at the end of input");
    Ok(())
}

fn send(end: &QueueEnd<u64, u64>, number: u64) -> io::Result<()> {
    end.send(&number, None).map_err(|error| io::Error::other(format!("cannot send {number}: {error:?}")))
}

/// Waits for the next message; `None` at the end of input.
fn next(end: &QueueEnd<u64, u64>) -> io::Result<Option<u64>> {
    loop {
        match end.receive() {
            Received::Message(number, _) => return Ok(Some(number)),
            Received::Closed => return Ok(None),
            Received::Garbled => return Err(io::Error::other("cannot receive: what came is no number")),
            Received::Empty => drop(wait_for_input(end.as_fd(), None)?),
        }
    }
}
