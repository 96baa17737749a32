//! Socket operations that the safe crates do not offer.

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, send, sendmsg,
    setsockopt, sockopt,
};
use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Removes up to `len` bytes that have arrived on a TCP socket from the kernel's buffer without
/// copying them. Returns how many it removed. Source: tcp(7), MSG_TRUNC on a stream.
pub fn consume(socket: BorrowedFd<'_>, len: usize) -> nix::Result<usize> {
    // SAFETY: with MSG_TRUNC a TCP socket discards the bytes and writes nothing, so it never
    // touches the null buffer.
    let taken = unsafe {
        libc::recv(
            socket.as_raw_fd(),
            std::ptr::null_mut(),
            len,
            libc::MSG_TRUNC | libc::MSG_DONTWAIT,
        )
    };
    Errno::result(taken).map(isize::cast_unsigned)
}

/// Sends as much as the socket accepts at once. Returns how many bytes it accepted; `EAGAIN` if
/// none. A closed peer is an error, and causes no signal.
pub fn send_at_once(socket: BorrowedFd<'_>, bytes: &[u8]) -> nix::Result<usize> {
    send(socket.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)
}

/// The number of bytes that have arrived on a TCP socket or in a pipe and were not read yet. The
/// peer's end of input doesn't count. Sources: tcp(7), SIOCINQ; pipe(7).
pub fn unread(socket: BorrowedFd<'_>) -> nix::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: FIONREAD, which is SIOCINQ, writes one int to the pointer's target, which lives as
    // long as the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::FIONREAD, &raw mut bytes) };
    Errno::result(result).map(|_| usize::try_from(bytes).unwrap_or(0))
}

/// Whether the peer's kernel has acknowledged everything that was sent on a TCP socket, including
/// the end of output. Source: tcp(7), SIOCOUTQ.
pub fn is_all_acknowledged(socket: BorrowedFd<'_>) -> bool {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ, which is SIOCOUTQ, writes one int to the pointer's target, which lives as
    // long as the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    Errno::result(result).is_ok() && bytes == 0
}

/// How much kernel memory a socket's unread input takes, and its limit. Once it takes about half
/// the limit, the kernel offers no window and the peer can send no more. Source: socket(7),
/// SO_MEMINFO; the order of the words is in linux/sock_diag.h.
pub fn receive_memory(socket: BorrowedFd<'_>) -> nix::Result<(u32, u32)> {
    let mut words = [0u32; 9];
    let mut length = size_of_val(&words) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `words`, and the length that it wrote to
    // `length`; both live as long as the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            words.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    Errno::result(result).map(|_| (words[0], words[1]))
}

/// Makes the socket readable only when `bytes` bytes have arrived, or its end, or an error. Source:
/// socket(7), SO_RCVLOWAT.
pub fn set_receive_low_water(socket: BorrowedFd<'_>, bytes: usize) -> nix::Result<()> {
    let value = libc::c_int::try_from(bytes).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the option's value is an int, passed with its size, and read during the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    Errno::result(result).map(drop)
}

/// Waits at most `timeout` until a socket is readable, its peer has shut down its side, or it is
/// broken. Returns which of these hold, empty after the timeout. The flags are epoll's, which are
/// the same as poll's. Source: poll(2).
pub fn wait_for_input(
    socket: BorrowedFd<'_>,
    timeout: Option<Duration>,
) -> nix::Result<EpollFlags> {
    let millis = timeout.map_or(-1, |timeout| {
        i32::try_from(timeout.as_micros().div_ceil(1_000)).unwrap_or(i32::MAX)
    });
    poll_one(socket, libc::POLLIN | libc::POLLRDHUP, millis)
}

/// Whether a connection is broken: reset by its peer, or shut down in both directions. There may
/// still be unread input.
pub fn is_broken(socket: BorrowedFd<'_>) -> bool {
    poll_one(socket, 0, 0)
        .is_ok_and(|found| found.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP))
}

fn poll_one(
    socket: BorrowedFd<'_>,
    events: libc::c_short,
    millis: libc::c_int,
) -> nix::Result<EpollFlags> {
    let mut waiting = libc::pollfd { fd: socket.as_raw_fd(), events, revents: 0 };
    // SAFETY: the kernel reads and writes one entry during the call, and the entry lives as long as
    // the call.
    match Errno::result(unsafe { libc::poll(&raw mut waiting, 1, millis) }) {
        Err(Errno::EINTR) | Ok(0) => Ok(EpollFlags::empty()),
        Ok(_) => Ok(EpollFlags::from_bits_truncate(i32::from(waiting.revents))),
        Err(errno) => Err(errno),
    }
}

/// Sends one message on a sequenced-packet socket, with a duplicate of `descriptor` if there is
/// one. Never waits: `EAGAIN`.
pub fn send_message(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
) -> nix::Result<()> {
    let raw: Vec<RawFd> = descriptor.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &rights[..0] } else { &rights[..] };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, flags, None).map(drop)
}

/// Receives one message into `buffer`. Returns its length, 0 at the end, and the descriptor that
/// came with it. Never waits: `EAGAIN`.
pub fn receive_message(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> nix::Result<(usize, Option<OwnedFd>)> {
    let mut control = nix::cmsg_space!(RawFd);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let mut received = None;
    if message.flags.contains(MsgFlags::MSG_CTRUNC) {
        // This process has too many open descriptors, so the kernel has closed this one. The
        // message itself was received.
        return Ok((message.bytes, None));
    }
    for control_message in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = control_message {
            for raw in descriptors {
                // SAFETY: the kernel has just installed this descriptor for this message, so
                // nothing else owns it.
                received = Some(unsafe { OwnedFd::from_raw_fd(raw) });
            }
        }
    }
    Ok((message.bytes, received))
}

/// Makes a UDP socket report with each datagram to which of this machine's addresses it was sent.
/// Sources: ip(7), `IP_PKTINFO`; ipv6(7), `IPV6_RECVPKTINFO`. A socket for both protocols needs
/// both options.
pub fn report_local_address(socket: BorrowedFd<'_>, is_ipv6: bool) -> nix::Result<()> {
    if is_ipv6 {
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    }
    setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)
}

/// A datagram that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its length.
    pub length: usize,
    /// The sender's address.
    pub from: Option<SocketAddr>,
    /// To which of this machine's addresses it was sent, and the interface on which it arrived, if
    /// the kernel reported them.
    pub to: Option<(IpAddr, u32)>,
}

/// Receives a datagram into `buffer`. Never waits: `EAGAIN`.
pub fn receive_datagram(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> nix::Result<Received> {
    let mut control = nix::cmsg_space!(libc::in_pktinfo, libc::in6_pktinfo);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::MSG_DONTWAIT,
    )?;
    let from = message.address.as_ref().and_then(socket_address);
    let (mut v4, mut v6) = (None, None);
    // Control messages that didn't fit are missing; they would be about something else.
    for report in message.cmsgs().into_iter().flatten() {
        match report {
            // `ipi_spec_dst` and not the address in the datagram, which may be a broadcast address:
            // it is the local address that received the datagram.
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                let ip = Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr));
                v4 = Some((IpAddr::from(ip), info.ipi_ifindex.cast_unsigned()));
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                v6 = Some((IpAddr::from(info.ipi6_addr.s6_addr), info.ipi6_ifindex))
            }
            _ => {}
        }
    }
    Ok(Received { length: message.bytes, from, to: v4.or(v6) })
}

/// Sends a datagram, from the local address `from` if it is given, and on `interface` if it isn't
/// 0. Never waits: `EAGAIN`.
pub fn send_datagram(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    to: SocketAddr,
    from: Option<IpAddr>,
    interface: u32,
) -> nix::Result<usize> {
    let v4 = from.and_then(|from| match from.to_canonical() {
        IpAddr::V4(ip) => Some(libc::in_pktinfo {
            ipi_ifindex: interface.cast_signed(),
            ipi_spec_dst: libc::in_addr { s_addr: u32::from(ip).to_be() },
            ipi_addr: libc::in_addr { s_addr: 0 },
        }),
        IpAddr::V6(_) => None,
    });
    let v6 = from.and_then(|from| match from.to_canonical() {
        IpAddr::V4(_) => None,
        IpAddr::V6(ip) => Some(libc::in6_pktinfo {
            ipi6_addr: libc::in6_addr { s6_addr: ip.octets() },
            ipi6_ifindex: interface,
        }),
    });
    let v4 = v4.as_ref().map(ControlMessage::Ipv4PacketInfo);
    let control: Vec<ControlMessage<'_>> =
        v4.into_iter().chain(v6.as_ref().map(ControlMessage::Ipv6PacketInfo)).collect();
    sendmsg(
        socket.as_raw_fd(),
        &[IoSlice::new(bytes)],
        &control,
        MsgFlags::MSG_DONTWAIT,
        Some(&SockaddrStorage::from(to)),
    )
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|&v4| SocketAddr::V4(SocketAddrV4::from(v4)));
    v4.or_else(|| address.as_sockaddr_in6().map(|&v6| SocketAddr::V6(SocketAddrV6::from(v6))))
}
