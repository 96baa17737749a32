//! Checks with child processes that are killed. The calling process must have one thread.
//!
//! Each child ends by itself after a while: that the kernel kills it with its parent is one of the
//! things that are checked.

use super::connections::{LoopbackConnection, read};
use super::{DEADLINE, Failure, cannot, expect, wait_until};
use crate::ipc::mutex::Mutex;
use crate::ipc::process::Process;
use crate::ipc::queue::{self, Received};
use crate::ipc::value::Value;
use crate::sys::memory::map_shared;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// How long a child lives if it isn't killed: longer than its check.
const LIFETIME: Duration = DEADLINE.saturating_mul(4);

/// Starts a child that runs `work` with `own` and then waits to be killed. It keeps the descriptors
/// that `keep` returns.
fn child<T>(
    own: T,
    keep: impl for<'a> Fn(&'a T) -> Vec<BorrowedFd<'a>>,
    work: impl FnOnce(&T),
) -> Result<Process, Failure> {
    let main = |own| {
        work(&own);
        std::thread::sleep(LIFETIME);
        0
    };
    Process::start_with(own, keep, main).map_err(cannot("fork"))
}

/// A number in memory that this process shares with the children it forks from now on. It starts at
/// 0.
fn shared_number() -> Result<Value, Failure> {
    Value::map("forkchat-doctor").map_err(cannot("share memory"))
}

fn wait_for_number(number: Value, expected: u64, deadline: Instant) -> Result<(), Failure> {
    wait_until(deadline, "a child to have done its part", || number.get() == expected)
}

pub(super) fn second_holder(deadline: Instant) -> Result<(), Failure> {
    let connection = LoopbackConnection::open(deadline)?;
    let (done, duplicate) = (
        shared_number()?,
        connection.accepted.try_clone().map_err(cannot("duplicate a descriptor"))?,
    );
    connection.send(b"0123456789", 10)?;
    let work = |mut socket: &TcpStream| {
        if socket.read_exact(&mut [0; 3]).and_then(|()| socket.write_all(b"hello")).is_ok() {
            done.set(1);
        }
    };
    let child = child(duplicate, |socket| vec![socket.as_fd()], work)?;
    wait_for_number(done, 1, deadline)?;
    drop(child);
    expect("what the client got", read(&connection.client, 5, deadline)?.as_slice(), b"hello")?;
    let found = connection.positions()?;
    expect(
        "bytes taken and handed over by the dead process",
        (found.taken, found.handed_over),
        (3, 5),
    )?;
    let end = (&connection.client).read(&mut [0; 1]).map_err(|error| error.kind());
    expect("what the client saw of the death", end, Err(ErrorKind::WouldBlock))?;
    (&connection.accepted).write_all(b"again").map_err(cannot("go on with the connection"))?;
    expect(
        "what the client got from the second holder",
        read(&connection.client, 5, deadline)?.as_slice(),
        b"again",
    )
}

/// A pipe's write end that a child does not inherit closes although the child lives.
pub(super) fn own_descriptors(deadline: Instant) -> Result<(), Failure> {
    let (mut reader, writer) = std::io::pipe().map_err(cannot("make a pipe"))?;
    let started = shared_number()?;
    let _child = child((), |()| Vec::new(), |()| started.set(1))?;
    drop(writer);
    wait_for_number(started, 1, deadline)?;
    expect(
        "bytes in a pipe of which the child has no end",
        reader.read(&mut [0; 1]).map_err(cannot("read a pipe"))?,
        0,
    )
}

pub(super) fn descriptor_passing(deadline: Instant) -> Result<(), Failure> {
    let connection = LoopbackConnection::open(deadline)?;
    let (here, there) = queue::pair::<u32, u32>().map_err(cannot("make a pair of sockets"))?;
    let work = |there: &queue::QueueEnd<u32, u32>| {
        let mut polled = [PollFd::new(there.as_fd(), PollFlags::POLLIN)];
        while poll(&mut polled, PollTimeout::NONE) == Err(Errno::EINTR) {}
        if let Received::Message(7, Some(descriptor)) = there.receive() {
            // The other end of the connection shows the result.
            let _ = TcpStream::from(descriptor).write_all(b"passed");
        }
    };
    let _child = child(there, |there| vec![there.as_fd()], work)?;
    here.send(&7, Some(connection.accepted.as_fd()))
        .map_err(|error| format!("cannot send a descriptor: {error}"))?;
    expect(
        "what came through the passed descriptor",
        read(&connection.client, 6, deadline)?.as_slice(),
        b"passed",
    )
}

pub(super) fn robust_mutex(deadline: Instant) -> Result<(), Failure> {
    const OWNER: u32 = 1;
    const NEXT: u32 = 2;
    let mutex = map_shared::<Mutex>("forkchat-doctor").map_err(cannot("share memory"))?;
    mutex.init().map_err(cannot("make a robust mutex"))?;
    // A dropped guard would unlock. This one is forgotten, so the child holds the lock as long as
    // it lives.
    let work = |(): &()| std::mem::forget(mutex.lock(OWNER, Duration::ZERO));
    let child = child((), |()| Vec::new(), work)?;
    wait_until(deadline, "a child to have the lock", || {
        mutex.holder().is_some_and(|holder| holder.owner == OWNER)
    })?;
    expect(
        "whether it could be locked while its owner lives",
        mutex.lock(NEXT, Duration::ZERO).is_ok(),
        false,
    )?;
    drop(child);
    for (time, is_notified) in [("first", true), ("second", false)] {
        let patience = deadline.saturating_duration_since(Instant::now());
        let guard = mutex
            .lock(NEXT, patience)
            .map_err(|error| format!("cannot lock after the owner's death: {error}"))?;
        expect(
            &format!("whether the {time} to lock after the owner's death was told"),
            guard.owner_died,
            is_notified,
        )?;
    }
    Ok(())
}

pub(super) fn shared_memory(deadline: Instant) -> Result<(), Failure> {
    let number = shared_number()?;
    let work = |(): &()| {
        while number.get() != 1 {
            std::thread::yield_now();
        }
        number.set(2);
    };
    let child = child((), |()| Vec::new(), work)?;
    number.set(1);
    wait_for_number(number, 2, deadline)?;
    drop(child);
    expect("what the dead process had written", number.get(), 2)
}

/// Only the grandchild holds a pipe's write end, so the pipe closes when it ends.
pub(super) fn parent_death_signal(deadline: Instant) -> Result<(), Failure> {
    let (mut reader, writer) = std::io::pipe().map_err(cannot("make a pipe"))?;
    let started = shared_number()?;
    // The child passes the write end on, so only the grandchild has it.
    let main = |writer: PipeWriter| {
        let work = |_: &PipeWriter| started.set(1);
        let grandchild = child(writer, |writer| vec![writer.as_fd()], work);
        std::thread::sleep(LIFETIME);
        drop(grandchild);
        0
    };
    let child =
        Process::start_with(writer, |writer| vec![writer.as_fd()], main).map_err(cannot("fork"))?;
    wait_for_number(started, 1, deadline)?;
    let is_closed = |reader: &PipeReader| {
        let mut polled = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::ZERO) == Ok(1)
    };
    expect("whether it ended while its parent lives", is_closed(&reader), false)?;
    drop(child);
    wait_until(deadline, "it to end with its parent", || is_closed(&reader))?;
    expect("bytes that it wrote", reader.read(&mut [0; 1]).map_err(cannot("read a pipe"))?, 0)
}
