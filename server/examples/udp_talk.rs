//! Two processes talk over UDP, and each sends and receives at the same time: two threads on one socket.
//!
//! Watch for: that what comes in is told between what goes out, so neither thread waits for the other; that nobody but the numbers in the datagrams
//! tells what was lost, and nobody but a clock that nothing more comes.
//!
//! At work in the server: UDP sessions: one socket, its receive thread and its send thread (`worker/udp_socket.rs`); sessions that end by silence (`worker/udp.rs`).

mod stage;

use forkchat_server::ipc::process::Process;
use forkchat_server::ipc::value::Value;
use stage::{Attempt, Failure, exit_code, say, wait_until, went_well};
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

const DATAGRAMS: u32 = 12;
/// Between two datagrams of one sender.
const PAUSE: Duration = Duration::from_millis(10);
/// Who has heard nothing for so long hears no more.
const SILENCE: Duration = Duration::from_secs(1);
/// Over loopback hardly anything is lost, so Anna doesn't send these: one in the middle, one at the end.
const LOST_OF_ANNA: [u32; 2] = [7, DATAGRAMS];

fn main() -> Result<(), Failure> {
    let (one, other) = two_ends().cannot("make two UDP sockets on 127.0.0.1")?;
    let ready = Value::map("example-ready").cannot("map a shared value")?;
    let start = |name, socket: UdpSocket, unsent: &'static [u32]| {
        Process::start_with(
            socket,
            |socket| vec![socket.as_fd()],
            |socket| exit_code(talk(name, &socket, unsent, ready).cannot(format!("talk as {name}"))),
        )
    };
    let mut anna = start("Anna", one, &LOST_OF_ANNA).cannot("start Anna")?;
    let mut berta = start("Berta", other, &[]).cannot("start Berta")?;
    say!("Anna: {}, Berta: {}", anna.join(), berta.join());
    went_well("Anna", anna.join()).and_then(|()| went_well("Berta", berta.join()))
}

fn two_ends() -> io::Result<(UdpSocket, UdpSocket)> {
    let (one, other) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    // A connected socket gets from that address alone: nobody else can join in.
    one.connect(other.local_addr()?)?;
    other.connect(one.local_addr()?)?;
    say!("Anna is at {}, Berta at {}", one.local_addr()?, other.local_addr()?);
    Ok((one, other))
}

/// Sends and receives at the same time, and tells what came.
fn talk(name: &str, socket: &UdpSocket, unsent: &[u32], ready: Value) -> io::Result<()> {
    socket.set_read_timeout(Some(SILENCE))?;
    ready.increase(1);
    wait_until("the other to be there", || ready.get() == 2)?;
    let sent = AtomicU32::new(0);
    let received = thread::scope(|scope| {
        // Both threads have the same socket; the kernel lets one read while another writes.
        let receiver = thread::Builder::new().spawn_scoped(scope, || receive(name, socket, &sent))?;
        send(name, socket, unsent, &sent)?;
        receiver.join().unwrap_or_else(|_| Err(io::Error::other("the receive thread panicked")))
    })?;
    let lost: Vec<u32> = (1..=DATAGRAMS).filter(|number| !received.contains(number)).collect();
    say!("{name} received {} of {DATAGRAMS}; lost: {lost:?}", received.len());
    Ok(())
}

fn send(name: &str, socket: &UdpSocket, unsent: &[u32], sent: &AtomicU32) -> io::Result<()> {
    for number in 1..=DATAGRAMS {
        if !unsent.contains(&number) {
            match socket.send(format!("{number} from {name}").as_bytes()) {
                // The other end has gone, as that end of the network tells: a datagram more that is lost.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                result => _ = result?,
            }
        }
        sent.store(number, Ordering::Relaxed);
        sleep(PAUSE);
    }
    Ok(())
}

/// Which numbers came, till all have or nothing more does.
fn receive(name: &str, socket: &UdpSocket, sent: &AtomicU32) -> io::Result<BTreeSet<u32>> {
    let (mut received, mut buffer) = (BTreeSet::new(), [0; 100]);
    while received.len() < DATAGRAMS as usize {
        let bytes = match socket.recv(&mut buffer) {
            Ok(length) => &buffer[..length],
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            // The receive timeout.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                say!("{name} has heard nothing for {SILENCE:?}, and waits no longer");
                break;
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                say!("{name} is told that the other has gone");
                break;
            }
            Err(error) => return Err(error),
        };
        let text = String::from_utf8_lossy(bytes);
        say!("{name}, who has sent {} so far, hears: {text}", sent.load(Ordering::Relaxed));
        received.extend(text.split(' ').next().and_then(|number| number.parse::<u32>().ok()));
    }
    Ok(received)
}
