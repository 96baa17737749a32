//! The positions of a TCP connection's two streams, from the kernel's counters: so a successor
//! knows what a dead worker had read and written.
//!
//! With the 64-bit counters of `TCP_INFO`, `SIOCINQ` and `SIOCOUTQ`, on a socket that was accepted
//! and has `SO_OOBINLINE`:
//!
//! ```text
//! taken       = tcpi_bytes_received - FIN - SIOCINQ      FIN: the peer's has arrived; SIOCINQ never counts it
//! handed over = tcpi_bytes_acked + SIOCOUTQ - OWN_FIN    OWN_FIN: we have shut our side; both may count it
//! ```
//!
//! The kernel delivers what was handed over, as long as some process holds the socket. What was
//! taken can't be read again. Without `SO_OOBINLINE`, `SIOCINQ` stops at the urgent mark and
//! reports too little. `tcpi_bytes_sent` counts retransmissions and `tcpi_unacked` counts packets:
//! neither is a position. A socket that was connected, not accepted, starts at 1, for its SYN.
//! Source: tcp(7), linux/tcp.h.

use crate::sys::socket::unread;
use nix::errno::Errno;
use std::mem::offset_of;
use std::os::fd::{AsRawFd, BorrowedFd};

/// How often the counters are read again before it gives up waiting for a moment in which they
/// stand still. Once does, unless bytes come and go.
const ATTEMPTS_MAX: usize = 1_000;

/// The states that matter here. Source: `enum` in netinet/tcp.h.
mod state {
    pub const FIN_WAIT1: u8 = 4;
    pub const FIN_WAIT2: u8 = 5;
    pub const TIME_WAIT: u8 = 6;
    pub const CLOSE: u8 = 7;
    pub const CLOSE_WAIT: u8 = 8;
    pub const LAST_ACK: u8 = 9;
    pub const CLOSING: u8 = 11;
}

/// Where the two streams of an accepted TCP connection stand, as the kernel knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    /// Input bytes that were taken out of the kernel. One less than were, perhaps, if it is closed.
    pub taken: u64,
    /// Output bytes that were handed to the kernel. One more than were, perhaps, if it is closed.
    pub handed_over: u64,
    /// It is in state CLOSE: reset, or both ends were shut. The kernel no longer tells whether
    /// either end's FIN is among its counts.
    pub is_closed: bool,
}

/// Reads both positions. The caller must be alone in reading and writing; the peer may go on.
///
/// Of a closed connection each position is the one of the two possible that does no harm. Input is
/// counted as if a FIN had come: a position that is one too large would make a line that is in the
/// log look new, and say it twice; one that is one too small lets at most an empty line go unheard.
/// Output is counted as if we had sent no FIN: what is one too large leaves out a byte that nobody
/// can be sent any more, what is one too small would hand the last one over again.
///
/// # Errors
/// `EAGAIN` if the counters didn't stand still. `EOPNOTSUPP` or `ENOPROTOOPT` if it is no TCP
/// socket, the latter also if the kernel is older than 4.1. `EINVAL` if it listens.
pub fn positions(socket: BorrowedFd<'_>) -> nix::Result<Positions> {
    let mut before = counters(socket)?;
    for _ in 0..ATTEMPTS_MAX {
        let (unread, unacknowledged) = (unread(socket)?, unacknowledged(socket)?);
        let after = counters(socket)?;
        // Without this an acknowledgement in between would be in neither number, and what came in
        // between in one.
        if before == after {
            return Ok(before.positions(unread as u64, unacknowledged as u64));
        }
        before = after;
    }
    Err(Errno::EAGAIN)
}

/// What of `TCP_INFO` is used.
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
    // SAFETY: the structure is integers alone, of which zero is a value.
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

/// Bytes that were handed to the kernel and that the peer's kernel hasn't acknowledged; our own end
/// of output is among them.
fn unacknowledged(socket: BorrowedFd<'_>) -> nix::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ, which is SIOCOUTQ, writes one int to where the pointer says, and that lives
    // as long as the call.
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

    /// A client's socket and the accepted one, which takes urgent bytes inline as the server's do.
    fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        SockRef::from(&accepted).set_out_of_band_inline(true).unwrap();
        (client, accepted)
    }

    /// Waits until the positions' raw counters are so, for what the peer did takes a moment.
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
    fn what_was_read_or_consumed_is_taken_and_what_was_peeked_is_not() {
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
    fn the_peers_end_is_no_byte() {
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
    fn what_was_written_is_handed_over_whether_the_peer_reads_or_not() {
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
    fn our_own_end_is_no_byte() {
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
    fn our_own_end_behind_output_that_waits_is_no_byte() {
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
    fn after_both_ends_the_input_is_exact_and_the_output_one_too_large() {
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
    fn after_a_reset_what_waited_still_counts_as_handed_over() {
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
    fn urgent_bytes_are_bytes_if_they_are_taken_inline() {
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
    fn a_second_holder_sees_the_same() {
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

    /// The peer writes and acknowledges all the time, so single readings would not belong together.
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
    fn what_is_no_connection_has_no_positions() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(positions(listener.as_fd()), Err(Errno::EINVAL));
        let (unix, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(matches!(positions(unix.as_fd()), Err(Errno::EOPNOTSUPP | Errno::ENOPROTOOPT)));
    }
}
