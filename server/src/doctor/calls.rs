//! Checks that the system calls are allowed without which no client can be served. The server does
//! not start without them.
//!
//! A seccomp profile refuses a call whatever its arguments are. So each call is made with arguments
//! for which the kernel does nothing and has exactly one answer. Any other answer is a refusal. A
//! call takes a microsecond and needs no network.

use super::Failure;
use crate::sys::futex::try_to_wake_all;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::sys::socket::{MsgFlags, SockFlag, accept4, recv, recvmsg, send, sendmsg};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use std::os::fd::RawFd;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

/// A number that is no descriptor.
const NO_DESCRIPTOR: RawFd = -1;

/// A system call that has no replacement.
struct Call {
    /// What it is for, and its name.
    what: &'static str,
    /// Makes the call in a way that has no effect.
    attempt: fn() -> nix::Result<()>,
    /// What the kernel answers if the call is allowed.
    answer: nix::Result<()>,
}

const OF_CLIENTS: [Call; 6] = [
    Call {
        what: "wake who waits (futex)",
        attempt: || try_to_wake_all(&AtomicU32::new(0)),
        answer: Ok(()),
    },
    Call {
        what: "accept connections (accept4)",
        attempt: || accept4(NO_DESCRIPTOR, SockFlag::empty()).map(drop),
        answer: Err(Errno::EBADF),
    },
    Call {
        what: "read from clients (recvfrom)",
        attempt: || recv(NO_DESCRIPTOR, &mut [0], MsgFlags::MSG_DONTWAIT).map(drop),
        answer: Err(Errno::EBADF),
    },
    Call {
        what: "write to clients (sendto)",
        attempt: || send(NO_DESCRIPTOR, &[0], MsgFlags::MSG_DONTWAIT).map(drop),
        answer: Err(Errno::EBADF),
    },
    Call {
        what: "receive messages and connections from another process (recvmsg)",
        attempt: || recvmsg::<()>(NO_DESCRIPTOR, &mut [], None, MsgFlags::MSG_DONTWAIT).map(drop),
        answer: Err(Errno::EBADF),
    },
    Call {
        what: "send messages and connections to another process (sendmsg)",
        attempt: || sendmsg::<()>(NO_DESCRIPTOR, &[], &[], MsgFlags::MSG_DONTWAIT, None).map(drop),
        answer: Err(Errno::EBADF),
    },
];

const OF_WAITING: [Call; 1] = [Call {
    what: "wait for a child's end (wait4)",
    // No process is its own child.
    attempt: || waitpid(Pid::this(), Some(WaitPidFlag::WNOHANG)).map(drop),
    answer: Err(Errno::ECHILD),
}];

const OF_KILLING: [Call; 1] =
    [Call { what: "kill a child (kill)", attempt: || kill(Pid::this(), None), answer: Ok(()) }];

pub(super) fn of_clients(_: Instant) -> Result<(), Failure> {
    are_allowed(&OF_CLIENTS)
}

pub(super) fn of_waiting(_: Instant) -> Result<(), Failure> {
    are_allowed(&OF_WAITING)
}

pub(super) fn of_killing(_: Instant) -> Result<(), Failure> {
    are_allowed(&OF_KILLING)
}

/// Fails if calls are refused, and names all of them.
fn are_allowed(calls: &[Call]) -> Result<(), Failure> {
    let refusal = |call: &Call| match (call.attempt)() {
        found if found == call.answer => None,
        Err(errno) => Some(format!("cannot {}: {errno}", call.what)),
        Ok(()) => Some(format!("cannot {}: it does nothing", call.what)),
    };
    let refusals: Vec<String> = calls.iter().filter_map(refusal).collect();
    if refusals.is_empty() { Ok(()) } else { Err(refusals.join(", ")) }
}
