//! The UDP socket, as the threads of its worker share it. Nothing here waits.

use super::input::PEEK_BYTES_MAX;
use super::sockets::Written;
use crate::sys::socket::{Received, receive_datagram, send_datagram};
use forkchat_common::endpoint::{LocalAddress, UdpPath};
use forkchat_common::ids::SessionId;
use forkchat_common::protocol::line::datagram;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
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
    /// The next datagram and both its ends, without what is beyond the bounds; `None` if there is
    /// none now. `buffer` has
    /// [`DATAGRAM_BYTES_MAX`] bytes.
    pub fn receive(&self, buffer: &mut [u8]) -> Option<(UdpPath, Vec<u8>)> {
        loop {
            match receive_datagram(self.0.as_fd(), buffer) {
                Ok(Received { length, from: Some(peer), to }) => {
                    let path = UdpPath { peer, local: local_address(to) };
                    return Some((path, within_bounds(&buffer[..length]).to_vec()));
                }
                Ok(Received { from: None, .. }) | Err(Errno::EINTR) => {}
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
    pub fn write(
        &mut self,
        session: SessionId,
        path: UdpPath,
        output: &[u8],
        number: u64,
        epoll: &Epoll,
    ) -> Written {
        let datagram = datagram::cut(output, number);
        match self.send(path, &datagram.bytes) {
            Err(Errno::EAGAIN) => {
                self.blocked.push(session);
                let mut event =
                    EpollEvent::new(EpollFlags::EPOLLOUT | EpollFlags::EPOLLONESHOT, self.token);
                // It is registered from the start.
                let _ = epoll.modify(self.socket.as_fd(), &mut event);
                Written::Blocked
            }
            // Sent, or lost on the way: nothing is retransmitted.
            _ => Written::Bytes(datagram.taken),
        }
    }

    /// Sends a datagram.
    pub fn send(&self, path: UdpPath, bytes: &[u8]) -> nix::Result<usize> {
        send_datagram(self.socket.as_fd(), bytes, path.peer, path.local.ip, path.local.interface)
    }

    /// The sessions that were kept waiting: the socket takes more.
    pub fn take_blocked(&mut self) -> Vec<SessionId> {
        std::mem::take(&mut self.blocked)
    }
}

/// Of a datagram with more than is recorded at a time, the lines that are whole within that; the
/// rest is lost, as datagrams may be.
fn within_bounds(datagram: &[u8]) -> &[u8] {
    let within = &datagram[..datagram.len().min(PEEK_BYTES_MAX)];
    let is_cut = within.len() < datagram.len();
    let end = within.iter().rposition(|&byte| is_cut && byte == b'\n');
    end.map_or(within, |end| &within[..=end])
}

/// The end of a path that is ours, from what was reported of a datagram.
fn local_address(reported: Option<(IpAddr, u32)>) -> LocalAddress {
    let Some((ip, interface)) = reported else { return LocalAddress::default() };
    let is_link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let can_be_source = !ip.is_multicast() && !ip.is_unspecified();
    LocalAddress {
        ip: can_be_source.then_some(ip),
        interface: if is_link_local { interface } else { 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_counts_where_the_address_means_something_only_there() {
        let local = |ip: &str| local_address(Some((ip.parse().unwrap(), 3)));
        let address =
            |ip: &str, interface| LocalAddress { ip: Some(ip.parse().unwrap()), interface };
        assert_eq!(
            local("127.0.0.2"),
            address("127.0.0.2", 0),
            "elsewhere the routes decide, also when they change"
        );
        assert_eq!(local("::ffff:127.0.0.2"), address("::ffff:127.0.0.2", 0));
        assert_eq!(local("fe80::2"), address("fe80::2", 3));
        assert_eq!(local("ff02::1"), LocalAddress::default(), "no source of an answer");
        assert_eq!(local_address(None), LocalAddress::default());
    }
}
