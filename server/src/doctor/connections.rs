//! Checks on one TCP connection over loopback. They neither fork nor sleep.

use super::{Failure, cannot, expect, wait_until};
use crate::sys::socket::{consume, set_receive_low_water, unread};
use crate::sys::tcp_position::{Positions, positions};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Both ends of a connection, both non-blocking. Closing resets the connection, so that no port is
/// left in TIME_WAIT.
pub(super) struct LoopbackConnection {
    pub(super) client: TcpStream,
    /// The accepted end, with the options that the server sets.
    pub(super) accepted: TcpStream,
    deadline: Instant,
}

impl LoopbackConnection {
    /// Connects over loopback.
    pub(super) fn open(deadline: Instant) -> Result<LoopbackConnection, Failure> {
        let patience =
            deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let open = || {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let client = TcpStream::connect_timeout(&listener.local_addr()?, patience)?;
            listener.set_nonblocking(true)?;
            let (accepted, from) = listener.accept()?;
            if from != client.local_addr()? {
                return Err(std::io::Error::new(ErrorKind::AddrInUse, "somebody else was faster"));
            }
            for socket in [&client, &accepted] {
                socket.set_nonblocking(true)?;
                socket.set_nodelay(true)?;
                SockRef::from(socket).set_linger(Some(Duration::ZERO))?;
            }
            SockRef::from(&accepted).set_out_of_band_inline(true)?;
            Ok(LoopbackConnection { client, accepted, deadline })
        };
        open().map_err(cannot("connect over loopback"))
    }

    /// The positions that the kernel reports for the accepted socket.
    pub(super) fn positions(&self) -> Result<Positions, Failure> {
        positions(self.accepted.as_fd()).map_err(cannot("read its positions"))
    }

    /// Sends bytes from the client, and waits until `unread` bytes in total wait at the accepted
    /// socket.
    pub(super) fn send(&self, bytes: &[u8], unread: usize) -> Result<(), Failure> {
        (&self.client).write_all(bytes).map_err(cannot("send"))?;
        self.wait_for_unread(unread)
    }

    /// Reads `len` bytes of input.
    fn take(&self, len: usize) -> Result<Vec<u8>, Failure> {
        read(&self.accepted, len, self.deadline)
    }

    fn wait_for_unread(&self, bytes: usize) -> Result<(), Failure> {
        let what = format!("SIOCINQ to tell of {bytes} bytes");
        wait_until(self.deadline, &what, || unread(self.accepted.as_fd()) == Ok(bytes))
    }

    /// Shuts down the client's sending side, and waits until the accepted socket has noticed.
    fn end_input(&self) -> Result<(), Failure> {
        self.client.shutdown(Shutdown::Write).map_err(cannot("shut a socket"))?;
        wait_until(self.deadline, "the end of input", || {
            is_ready(&self.accepted, EpollFlags::EPOLLRDHUP)
        })
    }

    fn set_low_water(&self, bytes: usize) -> Result<(), Failure> {
        set_receive_low_water(self.accepted.as_fd(), bytes).map_err(cannot("set SO_RCVLOWAT"))
    }

    fn is_readable(&self) -> bool {
        is_ready(&self.accepted, EpollFlags::EPOLLIN)
    }
}

/// Reads exactly `len` bytes from a non-blocking socket.
pub(super) fn read(
    mut socket: &TcpStream,
    len: usize,
    deadline: Instant,
) -> Result<Vec<u8>, Failure> {
    let mut buffer = vec![0; len];
    let mut count = 0;
    wait_until(deadline, &format!("{len} bytes to read"), || {
        count += socket.read(&mut buffer[count..]).unwrap_or(0);
        count == len
    })?;
    Ok(buffer)
}

/// Whether epoll, with which a worker waits, reports one of these events for a socket now.
fn is_ready(socket: &TcpStream, flags: EpollFlags) -> bool {
    let look = || -> nix::Result<bool> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(socket, EpollEvent::new(flags, 0))?;
        let mut events = [EpollEvent::empty()];
        Ok(epoll.wait(&mut events, EpollTimeout::ZERO)? == 1
            && events[0].events().intersects(flags))
    };
    look().unwrap_or(false)
}

pub(super) fn input_position(deadline: Instant) -> Result<(), Failure> {
    let connection = LoopbackConnection::open(deadline)?;
    let taken = || connection.positions().map(|positions| positions.taken);
    connection.send(b"0123456789", 10)?;
    expect("bytes taken of 10 before any was read", taken()?, 0)?;
    connection.take(3)?;
    expect("bytes taken of 10 after 3 were read", taken()?, 3)?;
    connection.end_input()?;
    expect("bytes taken of 10 after 3 were read and the end came", taken()?, 3)?;
    connection.take(7)?;
    expect("bytes taken of 10 after all were read", taken()?, 10)?;
    let at_end = (&connection.accepted).read(&mut [0; 1]).map_err(cannot("read to the end"))?;
    expect("bytes read at the end", at_end, 0)?;
    expect("bytes taken of 10 after the end was read", taken()?, 10)
}

pub(super) fn output_position(deadline: Instant) -> Result<(), Failure> {
    const CHUNK: [u8; 4_096] = [b'x'; 4_096];
    let mut connection = LoopbackConnection::open(deadline)?;
    SockRef::from(&connection.accepted)
        .set_send_buffer_size(2 * CHUNK.len())
        .map_err(cannot("set SO_SNDBUF"))?;
    let mut written = 0;
    // Until output waits in the send buffer, because the client reads none.
    while let Ok(count) = connection.accepted.write(&CHUNK) {
        written += count as u64;
        expect(
            "bytes handed over as they were written",
            connection.positions()?.handed_over,
            written,
        )?;
    }
    read(&connection.client, CHUNK.len(), deadline)?;
    expect("bytes handed over after some were read", connection.positions()?.handed_over, written)?;
    connection.accepted.shutdown(Shutdown::Write).map_err(cannot("shut a socket"))?;
    expect(
        "bytes handed over after the end was sent",
        connection.positions()?.handed_over,
        written,
    )?;
    read(&connection.client, written as usize - CHUNK.len(), deadline)?;
    wait_until(deadline, "the end of output", || {
        is_ready(&connection.client, EpollFlags::EPOLLRDHUP)
    })?;
    expect(
        "bytes handed over after everything was read",
        connection.positions()?.handed_over,
        written,
    )
}

pub(super) fn peek_and_consume(deadline: Instant) -> Result<(), Failure> {
    let connection = LoopbackConnection::open(deadline)?;
    connection.send(b"0123456789", 10)?;
    for time in ["first", "second"] {
        let mut buffer = [0; 16];
        let count = connection.accepted.peek(&mut buffer).map_err(cannot("peek"))?;
        expect(&format!("what the {time} peek saw"), &buffer[..count], b"0123456789")?;
    }
    connection.wait_for_unread(10)?;
    expect(
        "bytes that MSG_TRUNC took of 4",
        consume(connection.accepted.as_fd(), 4).map_err(cannot("take without a copy"))?,
        4,
    )?;
    connection.wait_for_unread(6)?;
    expect("what was left", connection.take(6)?.as_slice(), b"456789")
}

pub(super) fn urgent_data(deadline: Instant) -> Result<(), Failure> {
    let connection = LoopbackConnection::open(deadline)?;
    connection.send(b"before", 6)?;
    SockRef::from(&connection.client).send_out_of_band(b"!").map_err(cannot("send urgent data"))?;
    connection.send(b"after", 12)?;
    expect("what was read before the mark", connection.take(3)?.as_slice(), b"bef")?;
    expect("bytes taken of 12 after 3 were read", connection.positions()?.taken, 3)?;
    expect("what was read across the mark", connection.take(9)?.as_slice(), b"ore!after")?;
    expect("bytes taken of 12 after all were read", connection.positions()?.taken, 12)
}

pub(super) fn low_water_mark(deadline: Instant) -> Result<(), Failure> {
    let connection = LoopbackConnection::open(deadline)?;
    connection.set_low_water(5)?;
    connection.send(b"012", 3)?;
    expect("whether it is readable with 3 bytes of 5", connection.is_readable(), false)?;
    connection.send(b"34", 5)?;
    wait_until(deadline, "5 bytes of 5 to make it readable", || connection.is_readable())?;
    connection.set_low_water(6)?;
    expect("whether it is readable with 5 bytes of 6", connection.is_readable(), false)?;
    connection.end_input()?;
    wait_until(deadline, "the end of input to make it readable", || connection.is_readable())
}
