//! A queue of typed messages between two processes. A message may carry a descriptor.
//!
//! The queue is a pair of sequenced-packet sockets: messages keep their boundaries and their order,
//! and the kernel bounds how many wait (278 small ones, measured). Neither end ever blocks: see
//! [`SendError::Full`] and [`Received::Empty`]. When the process of one end dies, the other end
//! still receives what it had sent, and then [`Received::Closed`]. Messages that were sent to the
//! dead process are lost. Source: unix(7), SCM_RIGHTS.

use crate::sys::socket::{receive_message, send_message};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The longest message, in bytes. Sending a longer one is a programming error and fails.
pub const MESSAGE_BYTES_MAX: usize = 1_024;

/// One end of a queue. It sends `Out` and receives `In`.
#[derive(Debug)]
pub struct QueueEnd<Out, In> {
    socket: OwnedFd,
    types: PhantomData<fn(Out) -> In>,
}

/// Why a message wasn't sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The queue is full. A later try may succeed.
    Full,
    /// The other end is closed.
    Closed,
    /// The system refuses to transmit this message or descriptor.
    System(Errno),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Full => f.write_str("the queue is full"),
            SendError::Closed => f.write_str("the other end is closed"),
            SendError::System(errno) => errno.fmt(f),
        }
    }
}

/// The result of [`QueueEnd::receive`].
#[derive(Debug)]
pub enum Received<In> {
    /// A message, and the descriptor that came with it. The descriptor is also `None` if one was
    /// sent but this process has too many open.
    Message(In, Option<OwnedFd>),
    /// Bytes that don't decode to a message.
    Garbled,
    /// No message is waiting.
    Empty,
    /// The other end is closed, and all its messages have been received.
    Closed,
}

/// Creates the two ends of a queue.
pub fn pair<A, B>() -> nix::Result<(QueueEnd<A, B>, QueueEnd<B, A>)> {
    let (one, other) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
    )?;
    Ok((
        QueueEnd { socket: one, types: PhantomData },
        QueueEnd { socket: other, types: PhantomData },
    ))
}

impl<Out: Serialize, In: DeserializeOwned> QueueEnd<Out, In> {
    /// Sends one message, with a duplicate of `descriptor`. Never waits.
    pub fn send(&self, message: &Out, descriptor: Option<BorrowedFd<'_>>) -> Result<(), SendError> {
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        let bytes = postcard::to_slice(message, &mut buffer)
            .map_err(|_| SendError::System(Errno::EMSGSIZE))?;
        send_message(self.socket.as_fd(), bytes, descriptor).map_err(|errno| match errno {
            // ETOOMANYREFS: too many descriptors are in flight to a process that doesn't receive
            // them.
            Errno::EAGAIN | Errno::ENOBUFS | Errno::ETOOMANYREFS => SendError::Full,
            Errno::EPIPE | Errno::ECONNRESET => SendError::Closed,
            errno => SendError::System(errno),
        })
    }

    /// Receives the next message. Never waits.
    pub fn receive(&self) -> Received<In> {
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        loop {
            return match receive_message(self.socket.as_fd(), &mut buffer) {
                Ok((0, _)) => Received::Closed,
                Ok((length, descriptor)) => match postcard::from_bytes(&buffer[..length]) {
                    Ok(message) => Received::Message(message, descriptor),
                    Err(_) => Received::Garbled,
                },
                // The kernel reports a reset once if the other end died without receiving
                // everything. What that end had sent comes after it, and then the end of the queue.
                Err(Errno::EINTR | Errno::ECONNRESET) => continue,
                Err(_) => Received::Empty,
            };
        }
    }
}

impl<Out, In> AsFd for QueueEnd<Out, In> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn messages_keep_their_boundaries_and_carry_descriptors() {
        let (here, there) = pair::<(u32, String), bool>().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        here.send(&(1, "one".into()), None).unwrap();
        here.send(&(2, "two".into()), Some(writer.as_fd())).unwrap();
        drop(writer);
        assert!(matches!(there.receive(), Received::Message((1, _), None)));
        let Received::Message((2, text), Some(descriptor)) = there.receive() else {
            panic!("the second message with its descriptor")
        };
        assert_eq!(text, "two");
        std::fs::File::from(descriptor).write_all(b"through the copy").unwrap();
        let mut read = String::new();
        reader.read_to_string(&mut read).unwrap();
        assert_eq!(read, "through the copy");
        assert!(matches!(there.receive(), Received::Empty));
    }

    #[test]
    fn messages_of_a_closed_end_are_still_received() {
        let (here, there) = pair::<u32, u32>().unwrap();
        here.send(&7, None).unwrap();
        drop(here);
        assert!(matches!(there.receive(), Received::Message(7, None)));
        assert!(matches!(there.receive(), Received::Closed));
        assert_eq!(there.send(&8, None), Err(SendError::Closed));
    }

    #[test]
    fn messages_of_an_end_that_closed_with_unread_messages_are_received() {
        let (here, there) = pair::<u32, u32>().unwrap();
        there.send(&1, None).unwrap();
        here.send(&7, None).unwrap();
        drop(here);
        assert!(matches!(there.receive(), Received::Message(7, None)));
        assert!(matches!(there.receive(), Received::Closed));
    }

    #[test]
    fn sending_to_a_full_queue_fails_at_once() {
        let (here, _there) = pair::<u32, u32>().unwrap();
        let sent = (0..).take_while(|i| here.send(i, None).is_ok()).count();
        assert!((10..100_000).contains(&sent));
        assert_eq!(here.send(&0, None), Err(SendError::Full));
    }
}
