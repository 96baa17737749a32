//! The UDP socket, as the threads of the worker share it that keeps the UDP sessions. Nothing here waits.

use super::datagram;
use super::input::PEEK_BYTES_MAX;
use super::sockets::Written;
use forkchat_common::ids::SessionId;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::socket::{MsgFlags, SockaddrStorage, recvfrom, sendto};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// A datagram is never longer. Source: udp(7).
pub const DATAGRAM_BYTES_MAX: usize = 65_535;

/// The receiving side.
#[derive(Clone, Debug)]
pub struct UdpReceiver(Arc<OwnedFd>);

/// The sending side, and those whom it keeps waiting.
#[derive(Debug)]
pub struct UdpSender {
    socket: Arc<OwnedFd>,
    /// What epoll says when the socket takes more.
    token: u64,
    blocked: Vec<SessionId>,
}

/// The two sides of a socket. `epoll` tells the sending one with `token` when it takes more.
pub fn sides(socket: OwnedFd, epoll: &Epoll, token: u64) -> nix::Result<(UdpReceiver, UdpSender)> {
    let socket = Arc::new(socket);
    epoll.add(socket.as_fd(), EpollEvent::new(EpollFlags::EPOLLONESHOT, token))?;
    Ok((UdpReceiver(socket.clone()), UdpSender { socket, token, blocked: Vec::new() }))
}

impl UdpReceiver {
    /// The next datagram and where it comes from, without what is beyond the bounds; `None` if there is none now. `buffer` has
    /// [`DATAGRAM_BYTES_MAX`] bytes.
    pub fn receive(&self, buffer: &mut [u8]) -> Option<(SocketAddr, Vec<u8>)> {
        loop {
            match recvfrom::<SockaddrStorage>(self.0.as_raw_fd(), buffer) {
                Ok((length, Some(from))) => {
                    if let Some(peer) = socket_address(&from) {
                        return Some((peer, within_bounds(&buffer[..length]).to_vec()));
                    }
                }
                Ok((_, None)) | Err(Errno::EINTR) => {}
                Err(_) => return None,
            }
        }
    }
}

impl AsFd for UdpReceiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl UdpSender {
    /// Sends the next datagram of a session's output.
    pub fn write(&mut self, session: SessionId, peer: SocketAddr, output: &[u8], number: u64, epoll: &Epoll) -> Written {
        let datagram = datagram::cut(output, number);
        match self.send(peer, &datagram.bytes) {
            Err(Errno::EAGAIN) => {
                self.blocked.push(session);
                let mut event = EpollEvent::new(EpollFlags::EPOLLOUT | EpollFlags::EPOLLONESHOT, self.token);
                // It is registered from the start.
                let _ = epoll.modify(self.socket.as_fd(), &mut event);
                Written::Blocked
            }
            // Sent, or lost on the way: nothing is retransmitted.
            _ => Written::Bytes(datagram.taken),
        }
    }

    /// Sends a datagram.
    pub fn send(&self, peer: SocketAddr, bytes: &[u8]) -> nix::Result<usize> {
        sendto(self.socket.as_raw_fd(), bytes, &SockaddrStorage::from(peer), MsgFlags::MSG_DONTWAIT)
    }

    /// The sessions that were kept waiting: the socket takes more.
    pub fn take_blocked(&mut self) -> Vec<SessionId> {
        std::mem::take(&mut self.blocked)
    }
}

/// Of a datagram with more than is recorded at a time, the lines that are whole within that; the rest is lost, as datagrams may be.
fn within_bounds(datagram: &[u8]) -> &[u8] {
    let within = &datagram[..datagram.len().min(PEEK_BYTES_MAX)];
    let is_cut = within.len() < datagram.len();
    let end = within.iter().rposition(|&byte| is_cut && byte == b'\n');
    end.map_or(within, |end| &within[..=end])
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|&v4| SocketAddr::V4(SocketAddrV4::from(v4)));
    v4.or_else(|| address.as_sockaddr_in6().map(|&v6| SocketAddr::V6(SocketAddrV6::from(v6))))
}
