//! The UDP socket, which the threads of its worker share. No call here blocks.

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

/// The longest possible datagram. Source: udp(7).
pub const DATAGRAM_BYTES_MAX: usize = 65_535;

/// The receiving side.
#[derive(Clone, Debug)]
pub struct UdpReceiver(Arc<OwnedFd>);

/// The sending side, and the sessions that wait for it.
#[derive(Debug)]
pub struct UdpSender {
    socket: Arc<OwnedFd>,
    /// The epoll token of the event that the socket accepts more output.
    token: u64,
    blocked: Vec<SessionId>,
}

/// The two sides of a socket. `epoll` reports with `token` that it accepts output again.
pub fn sides(socket: OwnedFd, epoll: &Epoll, token: u64) -> nix::Result<(UdpReceiver, UdpSender)> {
    let socket = Arc::new(socket);
    epoll.add(socket.as_fd(), EpollEvent::new(EpollFlags::EPOLLONESHOT, token))?;
    Ok((UdpReceiver(socket.clone()), UdpSender { socket, token, blocked: Vec::new() }))
}

impl UdpReceiver {
    /// The next datagram and both its addresses, without lines beyond the bounds; `None` if there
    /// is none now. `buffer` must have [`DATAGRAM_BYTES_MAX`] bytes.
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
                // Can't fail: the socket is registered from the start.
                let _ = epoll.modify(self.socket.as_fd(), &mut event);
                Written::Blocked
            }
            // Sent, or lost on the way: the server retransmits nothing.
            _ => Written::Bytes(datagram.taken),
        }
    }

    /// Sends a datagram.
    pub fn send(&self, path: UdpPath, bytes: &[u8]) -> nix::Result<usize> {
        send_datagram(self.socket.as_fd(), bytes, path.peer, path.local.ip, path.local.interface)
    }

    /// The sessions whose write was blocked since the last call.
    pub fn take_blocked(&mut self) -> Vec<SessionId> {
        std::mem::take(&mut self.blocked)
    }
}

/// The part of a datagram that is recorded: if it exceeds [`PEEK_BYTES_MAX`], its whole lines
/// within that. The rest is lost, as datagrams may be.
fn within_bounds(datagram: &[u8]) -> &[u8] {
    let within = &datagram[..datagram.len().min(PEEK_BYTES_MAX)];
    let is_cut = within.len() < datagram.len();
    let end = within.iter().rposition(|&byte| is_cut && byte == b'\n');
    end.map_or(within, |end| &within[..=end])
}

/// This server's address of a path, from what the kernel reported with a datagram.
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
