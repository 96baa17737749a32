//! Two processes, which send each other numbered datagrams. Anna leaves some out on purpose.

use crate::network::quoted;
use crate::stage::{
    Attempt, Failure, ended, exit_code, nap, part, say, shown, slowed, text, wait_until, went_well,
};
use forkchat_server::ipc::process::Process;
use forkchat_server::ipc::value::{Array, Value};
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

const DATAGRAMS: u32 = 12;
const PAUSE_MS: u64 = 10;
/// An end that has received nothing for so long waits no longer.
const SILENCE: Duration = Duration::from_secs(1);
/// Loopback loses hardly any datagram, so Anna does not send these: one in the middle, one at the
/// end.
const LEFT_OUT: [u32; 2] = [7, DATAGRAMS];

pub fn show() -> Result<(), Failure> {
    part!("two processes send each other {DATAGRAMS} numbers", "两个进程互发 {DATAGRAMS} 个编号");
    let (one, other) = two_ends().cannot("make two UDP sockets on 127.0.0.1")?;
    let [middle, last] = LEFT_OUT;
    say!(
        "Anna leaves out {middle} and {last} on purpose, because loopback loses hardly any datagram",
        "Anna 故意不发 {middle} 和 {last}（本机回环几乎不丢包），以模拟丢包"
    );
    let ready = Value::map("example-ready").cannot("map a shared value")?;
    let results = Array::<AtomicU64>::map("example-results", 4).cannot("map a shared array")?;
    let start = |name, socket: UdpSocket, unsent: &'static [u32], first: usize| {
        Process::start_with(
            socket,
            |socket| vec![socket.as_fd()],
            |socket| {
                exit_code(
                    talk(name, &socket, unsent, ready, &results[first..])
                        .cannot(format!("talk as {name}")),
                )
            },
        )
        .cannot(format!("start {name}"))
    };
    let (mut anna, mut berta) = (start("Anna", one, &LEFT_OUT, 0)?, start("Berta", other, &[], 2)?);
    say!("Anna {}, Berta {}", "Anna {}，Berta {}", ended(anna.join()), ended(berta.join()));
    went_well("Anna", anna.join()).and_then(|()| went_well("Berta", berta.join()))?;
    let result = |place: usize| results[place].load(Ordering::Relaxed);
    shown!(
        "Anna received {} of {DATAGRAMS}, Berta {}; Anna had left out {} on purpose, and only the gaps in the numbers showed it",
        "Anna 收到 {DATAGRAMS} 个中的 {} 个，Berta 收到 {} 个；Anna 故意少发了 {} 个，只有靠编号的空缺才看得出来",
        result(0),
        result(2),
        LEFT_OUT.len()
    );
    shown!(
        "received while the same process still had to send: Anna {}, Berta {}",
        "在本进程尚未发完时就已收到的：Anna {} 个，Berta {} 个",
        result(1),
        result(3)
    );
    Ok(())
}

fn two_ends() -> io::Result<(UdpSocket, UdpSocket)> {
    let (one, other) = connected()?;
    say!(
        "Anna is at {}, Berta at {}",
        "Anna 在 {}，Berta 在 {}",
        one.local_addr()?,
        other.local_addr()?
    );
    Ok((one, other))
}

/// Two sockets. A connected socket receives from that address alone, so no other program can join
/// in.
pub fn connected() -> io::Result<(UdpSocket, UdpSocket)> {
    let (one, other) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    one.connect(other.local_addr()?)?;
    other.connect(one.local_addr()?)?;
    Ok((one, other))
}

/// Sends and receives at the same time. Puts in `result` how many it received, and how many of
/// these while it still had to send.
fn talk(
    name: &str,
    socket: &UdpSocket,
    unsent: &[u32],
    ready: Value,
    result: &[AtomicU64],
) -> io::Result<()> {
    socket.set_read_timeout(Some(slowed(SILENCE)))?;
    ready.increase(1);
    wait_until("the other end to be ready", || ready.get() == 2)?;
    let sent = AtomicU32::new(0);
    let (received, early, is_refused) = thread::scope(|scope| {
        // Both threads have the same socket; the kernel lets one read while another one writes.
        let receiver =
            thread::Builder::new().spawn_scoped(scope, || receive(name, socket, &sent))?;
        send(name, socket, unsent, &sent)?;
        receiver.join().unwrap_or_else(|_| Err(io::Error::other("the receive thread panicked")))
    })?;
    let missing: Vec<u32> = (1..=DATAGRAMS).filter(|number| !received.contains(number)).collect();
    let note = if is_refused || missing.is_empty() {
        String::new()
    } else {
        text!("; {name}'s kernel reported nothing", "；{name} 的内核没有报告任何错误")
    };
    say!(
        "{name} received {} of {DATAGRAMS}; missing: {missing:?}{note}",
        "{name} 收到 {DATAGRAMS} 个中的 {} 个；缺失：{missing:?}{note}",
        received.len()
    );
    result[0].store(received.len() as u64, Ordering::Relaxed);
    result[1].store(early, Ordering::Relaxed);
    Ok(())
}

fn send(name: &str, socket: &UdpSocket, unsent: &[u32], sent: &AtomicU32) -> io::Result<()> {
    for number in 1..=DATAGRAMS {
        if !unsent.contains(&number) {
            match socket.send(format!("{number} from {name}").as_bytes()) {
                // The other end is gone, as its kernel reports: one more datagram is lost.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                result => _ = result?,
            }
        }
        sent.store(number, Ordering::Relaxed);
        nap(PAUSE_MS);
    }
    Ok(())
}

/// The numbers that came, until all have come or nothing more comes; how many of them while there
/// was more to send; and whether the kernel reported that the other end has no socket any more.
fn receive(
    name: &str,
    socket: &UdpSocket,
    sent: &AtomicU32,
) -> io::Result<(BTreeSet<u32>, u64, bool)> {
    let (mut received, mut early, mut is_refused, mut buffer) =
        (BTreeSet::new(), 0, false, [0; 100]);
    while received.len() < DATAGRAMS as usize {
        let bytes = match socket.recv(&mut buffer) {
            Ok(length) => &buffer[..length],
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            // The receive timeout.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let silence = slowed(SILENCE);
                say!(
                    "{name} has received nothing for {silence:?}, and waits no longer",
                    "{name} 已有 {silence:?} 没收到任何数据，不再等待"
                );
                break;
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                say!(
                    "the kernel reports to {name} that the other end is gone",
                    "内核告知 {name}：对端已经不在了"
                );
                is_refused = true;
                break;
            }
            Err(error) => return Err(error),
        };
        let (text, so_far) = (String::from_utf8_lossy(bytes), sent.load(Ordering::Relaxed));
        let shown = quoted(&text);
        say!(
            "{name}, at number {so_far}, receives {shown}",
            "{name} 发到第 {so_far} 个时收到 {shown}"
        );
        early += u64::from(so_far < DATAGRAMS);
        received.extend(text.split(' ').next().and_then(|number| number.parse::<u32>().ok()));
    }
    Ok((received, early, is_refused))
}
