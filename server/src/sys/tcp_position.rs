//! The positions of a TCP connection's two streams, computed from the kernel's counters. From them
//! a successor knows what a dead worker had read and written.
//!
//! The formulas use the 64-bit counters of `TCP_INFO`, and `SIOCINQ` and `SIOCOUTQ`. They hold for
//! a socket that was accepted and has `SO_OOBINLINE`:
//!
//! ```text
//! taken       = tcpi_bytes_received - FIN - SIOCINQ      FIN: 1 if the peer's FIN has arrived
//! handed over = tcpi_bytes_acked + SIOCOUTQ - OWN_FIN    OWN_FIN: 1 if this side has sent its FIN
//! ```
//!
//! `SIOCINQ` never counts the peer's FIN; `tcpi_bytes_acked` or `SIOCOUTQ` counts the own one. The
//! kernel delivers the bytes that were handed over as long as some process holds the socket. The
//! bytes that were taken can't be read again. Without `SO_OOBINLINE`, `SIOCINQ` stops at the urgent
//! mark and reports too little. `tcpi_bytes_sent` counts retransmissions and `tcpi_unacked` counts
//! packets, so neither is a position. A socket that was connected, not accepted, starts at 1,
//! because of its SYN. Source: tcp(7), linux/tcp.h.

use crate::sys::socket::unread;
use nix::errno::Errno;
use std::mem::offset_of;
use std::os::fd::{AsRawFd, BorrowedFd};

/// How often [`positions`] reads the counters again until they don't change in between. One more
/// time suffices unless bytes come and go.
const ATTEMPTS_MAX: usize = 1_000;

/// The TCP states that are used here. Source: `enum` in netinet/tcp.h.
mod state {
    pub const FIN_WAIT1: u8 = 4;
    pub const FIN_WAIT2: u8 = 5;
    pub const TIME_WAIT: u8 = 6;
    pub const CLOSE: u8 = 7;
    pub const CLOSE_WAIT: u8 = 8;
    pub const LAST_ACK: u8 = 9;
    pub const CLOSING: u8 = 11;
}

/// The positions of the two streams of an accepted TCP connection, as the kernel knows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    /// Input bytes that were read from the kernel. May be one too small if the connection is
    /// closed.
    pub taken: u64,
    /// Output bytes that were handed to the kernel. May be one too large if the connection is
    /// closed.
    pub handed_over: u64,
    /// The connection is in state CLOSE: it was reset, or both sides have shut it down. The kernel
    /// no longer reports whether its counters include either side's FIN.
    pub is_closed: bool,
}

/// Reads both positions. No other process may read from or write to the socket meanwhile; the peer
/// may go on.
///
/// If the connection is closed, two values are possible for each position, and this returns the one
/// that does no harm. For input it assumes that a FIN has arrived: a position that is one too large
/// would make a line that is in the log look new, so it would be said twice; a position that is one
/// too small loses at most an empty line. For output it assumes that this side has sent no FIN: a
/// position that is one too large leaves out a byte that can't be sent any more anyway; a position
/// that is one too small would send the last byte again.
///
/// # Errors
/// `EAGAIN` if the counters changed all the time. `EOPNOTSUPP` or `ENOPROTOOPT` if it is not a TCP
/// socket; `ENOPROTOOPT` also if the kernel is older than 4.1. `EINVAL` if the socket listens.
pub fn positions(socket: BorrowedFd<'_>) -> nix::Result<Positions> {
    let mut before = counters(socket)?;
    for _ in 0..ATTEMPTS_MAX {
        let (unread, unacknowledged) = (unread(socket)?, unacknowledged(socket)?);
        let after = counters(socket)?;
        // Otherwise bytes that were acknowledged between the readings would be in neither number,
        // and bytes that arrived in between would be in only one.
        if before == after {
            return Ok(before.positions(unread as u64, unacknowledged as u64));
        }
        before = after;
    }
    Err(Errno::EAGAIN)
}

/// The part of `TCP_INFO` that is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counters {
    state: u8,
    bytes_acked: u64,
    bytes_received: u64,
}

impl Counters {
    fn positions(self, unread: u64, unacknowledged: u64) -> Positions {
        use state::{CLOSE, CLOSE_WAIT, CLOSING, FIN_WAIT1, FIN_WAIT2, LAST_ACK, TIME_WAIT};
        let fin =
            u64::from(matches!(self.state, CLOSE_WAIT | LAST_ACK | CLOSING | TIME_WAIT | CLOSE));
        let own_fin =
            u64::from(matches!(self.state, FIN_WAIT1 | FIN_WAIT2 | CLOSING | LAST_ACK | TIME_WAIT));
        Positions {
            taken: self.bytes_received.saturating_sub(fin).saturating_sub(unread),
            handed_over: self.bytes_acked.saturating_add(unacknowledged).saturating_sub(own_fin),
            is_closed: self.state == CLOSE,
        }
    }
}

fn counters(socket: BorrowedFd<'_>) -> nix::Result<Counters> {
    // SAFETY: the structure consists of integers only, for which zero is a valid value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `info`, and the length that it wrote to
    // `length`; both live as long as the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    Errno::result(result)?;
    if (length as usize) < offset_of!(libc::tcp_info, tcpi_bytes_received) + size_of::<u64>() {
        return Err(Errno::ENOPROTOOPT);
    }
    Ok(Counters {
        state: info.tcpi_state,
        bytes_acked: info.tcpi_bytes_acked,
        bytes_received: info.tcpi_bytes_received,
    })
}

/// Bytes that were handed to the kernel and that the peer's kernel hasn't acknowledged, including
/// this side's FIN.
fn unacknowledged(socket: BorrowedFd<'_>) -> nix::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ, which is SIOCOUTQ, writes one int to the pointer's target, which lives as
    // long as the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    Errno::result(result).map(|_| usize::try_from(bytes).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket::consume;
    use nix::sys::socket::{MsgFlags, send};
    use socket2::SockRef;
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::time::{Duration, Instant};

    /// A client's socket and the accepted one, which receives urgent bytes inline, as the server's
    /// sockets do.
    fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        SockRef::from(&accepted).set_out_of_band_inline(true).unwrap();
        (client, accepted)
    }

    /// Waits until the raw counters fulfil a condition, since the peer's actions take a moment.
    fn wait_until(socket: &TcpStream, what: &str, so: impl Fn(Counters) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !so(counters(socket.as_fd()).unwrap()) {
            assert!(
                Instant::now() < deadline,
                "waited in vain for {what}: {:?}",
                counters(socket.as_fd())
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn wait_for_bytes(socket: &TcpStream, bytes: u64) {
        wait_until(socket, "the bytes", |counters| counters.bytes_received == bytes);
    }

    fn wait_for_state(socket: &TcpStream, state: u8) {
        wait_until(socket, "the state", |counters| counters.state == state);
    }

    fn reset(client: TcpStream) {
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    }

    fn read(mut socket: &TcpStream, len: usize) {
        socket.read_exact(&mut vec![0; len]).unwrap();
    }

    fn taken(socket: &TcpStream) -> u64 {
        positions(socket.as_fd()).unwrap().taken
    }

    fn handed_over(socket: &TcpStream) -> u64 {
        positions(socket.as_fd()).unwrap().handed_over
    }

    #[test]
    fn read_and_consumed_bytes_count_as_taken_and_peeked_bytes_do_not() {
        let (mut client, accepted) = connection();
        assert_eq!(
            positions(accepted.as_fd()),
            Ok(Positions { taken: 0, handed_over: 0, is_closed: false })
        );
        client.write_all(b"0123456789").unwrap();
        wait_for_bytes(&accepted, 10);
        assert_eq!(taken(&accepted), 0);
        assert_eq!(accepted.peek(&mut [0; 100]).unwrap(), 10);
        assert_eq!(taken(&accepted), 0);
        read(&accepted, 3);
        assert_eq!(taken(&accepted), 3);
        assert_eq!(consume(accepted.as_fd(), 4), Ok(4));
        assert_eq!(taken(&accepted), 7);
        read(&accepted, 3);
        assert_eq!(taken(&accepted), 10);
    }

    #[test]
    fn the_peers_fin_does_not_count() {
        let (mut client, accepted) = connection();
        client.write_all(b"0123456789").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        wait_for_state(&accepted, state::CLOSE_WAIT);
        assert_eq!(taken(&accepted), 0);
        read(&accepted, 4);
        assert_eq!(taken(&accepted), 4);
        read(&accepted, 6);
        assert_eq!(taken(&accepted), 10, "its end is there, and not read");
        assert_eq!((&accepted).read(&mut [0; 1]).unwrap(), 0);
        assert_eq!(taken(&accepted), 10, "its end is read");
        (&accepted).write_all(b"output goes on").unwrap();
        assert_eq!(handed_over(&accepted), 14);
    }

    #[test]
    fn written_bytes_count_as_handed_over_whether_the_peer_reads_or_not() {
        let (client, mut accepted) = connection();
        accepted.set_nonblocking(true).unwrap();
        let mut written = 0;
        while let Ok(count) = accepted.write(&[b'x'; 10_000]) {
            written += count as u64;
            assert_eq!(handed_over(&accepted), written);
        }
        assert!(written > 100_000, "until nothing more went in");
        read(&client, 50_000);
        assert_eq!(handed_over(&accepted), written);
        read(&client, written as usize - 50_000);
        wait_until(&accepted, "the acknowledgement", |counters| counters.bytes_acked == written);
        assert_eq!(handed_over(&accepted), written);
    }

    #[test]
    fn the_own_fin_does_not_count() {
        let (mut client, mut accepted) = connection();
        client.write_all(b"0123456789").unwrap();
        wait_for_bytes(&accepted, 10);
        read(&accepted, 4);
        accepted.write_all(b"seven b").unwrap();
        accepted.shutdown(Shutdown::Write).unwrap();
        let expected = Positions { taken: 4, handed_over: 7, is_closed: false };
        assert_eq!(positions(accepted.as_fd()), Ok(expected));
        wait_for_state(&accepted, state::FIN_WAIT2);
        assert_eq!(positions(accepted.as_fd()), Ok(expected), "acknowledged");
    }

    #[test]
    fn the_own_fin_after_waiting_output_does_not_count() {
        let (_client, mut accepted) = connection();
        accepted.set_nonblocking(true).unwrap();
        let written: u64 = std::iter::from_fn(|| accepted.write(&[b'x'; 65_536]).ok())
            .map(|count| count as u64)
            .sum();
        accepted.shutdown(Shutdown::Write).unwrap();
        wait_for_state(&accepted, state::FIN_WAIT1);
        assert_eq!(handed_over(&accepted), written);
    }

    #[test]
    fn after_both_fins_the_input_is_exact_and_the_output_one_too_large() {
        let (mut client, mut accepted) = connection();
        client.write_all(b"0123456789").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        wait_for_state(&accepted, state::CLOSE_WAIT);
        read(&accepted, 4);
        accepted.write_all(b"seven b").unwrap();
        accepted.shutdown(Shutdown::Write).unwrap();
        wait_for_state(&accepted, state::CLOSE);
        assert_eq!(
            positions(accepted.as_fd()),
            Ok(Positions { taken: 4, handed_over: 8, is_closed: true })
        );
    }

    #[test]
    fn after_a_reset_the_output_is_exact_and_the_input_may_be_one_too_small() {
        for (has_ended, taken) in [(false, 3), (true, 4)] {
            let (mut client, mut accepted) = connection();
            client.write_all(b"0123456789").unwrap();
            wait_for_bytes(&accepted, 10);
            read(&accepted, 4);
            if has_ended {
                client.shutdown(Shutdown::Write).unwrap();
                wait_for_state(&accepted, state::CLOSE_WAIT);
            }
            accepted.write_all(b"seven b").unwrap();
            reset(client);
            wait_for_state(&accepted, state::CLOSE);
            let expected = Positions { taken, handed_over: 7, is_closed: true };
            assert_eq!(positions(accepted.as_fd()), Ok(expected), "ended before: {has_ended}");
            read(&accepted, 6);
            assert_eq!(
                self::taken(&accepted),
                taken + 6,
                "what came before a reset can still be read"
            );
        }
    }

    #[test]
    fn after_a_reset_waiting_output_still_counts_as_handed_over() {
        let (client, mut accepted) = connection();
        accepted.set_nonblocking(true).unwrap();
        let written: u64 = std::iter::from_fn(|| accepted.write(&[b'x'; 65_536]).ok())
            .map(|count| count as u64)
            .sum();
        reset(client);
        wait_for_state(&accepted, state::CLOSE);
        assert_eq!(
            positions(accepted.as_fd()),
            Ok(Positions { taken: 0, handed_over: written, is_closed: true })
        );
    }

    #[test]
    fn urgent_bytes_count_if_they_are_received_inline() {
        let (client, accepted) = connection();
        send(client.as_raw_fd(), b"one\xff", MsgFlags::empty()).unwrap();
        send(client.as_raw_fd(), b"\xf2", MsgFlags::MSG_OOB).unwrap();
        send(client.as_raw_fd(), b"two", MsgFlags::empty()).unwrap();
        wait_for_bytes(&accepted, 8);
        assert_eq!(taken(&accepted), 0);
        read(&accepted, 4);
        assert_eq!(taken(&accepted), 4);
        read(&accepted, 4);
        assert_eq!(taken(&accepted), 8);
    }

    #[test]
    fn a_duplicate_of_the_socket_has_the_same_positions() {
        let (mut client, mut accepted) = connection();
        let second = accepted.try_clone().unwrap();
        client.write_all(b"0123456789").unwrap();
        wait_for_bytes(&accepted, 10);
        read(&accepted, 6);
        accepted.write_all(b"12345").unwrap();
        assert_eq!(positions(second.as_fd()), positions(accepted.as_fd()));
        drop(accepted);
        assert_eq!(
            positions(second.as_fd()),
            Ok(Positions { taken: 6, handed_over: 5, is_closed: false })
        );
    }

    /// The peer writes and acknowledges all the time, so counters that were read one after the
    /// other would not be consistent.
    #[test]
    fn positions_are_exact_while_the_peer_goes_on() {
        const BYTES: usize = 4 << 20;
        let (client, mut accepted) = connection();
        let mut writer = client.try_clone().unwrap();
        let writes = std::thread::spawn(move || {
            (0..BYTES / 64).for_each(|_| writer.write_all(&[b'i'; 64]).unwrap())
        });
        let reads = std::thread::spawn(move || {
            std::io::copy(&mut client.take(BYTES as u64), &mut std::io::sink()).unwrap()
        });
        accepted.set_nonblocking(true).unwrap();
        let (mut read, mut written) = (0, 0);
        let mut buffer = [0; 1_000];
        while read < BYTES || written < BYTES {
            read += accepted.read(&mut buffer).unwrap_or(0);
            written += accepted.write(&buffer[..(BYTES - written).min(700)]).unwrap_or(0);
            let expected =
                Positions { taken: read as u64, handed_over: written as u64, is_closed: false };
            match positions(accepted.as_fd()) {
                Err(Errno::EAGAIN) => {}
                found => assert_eq!(found, Ok(expected)),
            }
        }
        writes.join().unwrap();
        assert_eq!(reads.join().unwrap(), BYTES as u64);
    }

    #[test]
    fn sockets_without_a_connection_have_no_positions() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(positions(listener.as_fd()), Err(Errno::EINVAL));
        let (unix, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(matches!(positions(unix.as_fd()), Err(Errno::EOPNOTSUPP | Errno::ENOPROTOOPT)));
    }
}
