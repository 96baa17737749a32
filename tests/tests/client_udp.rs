//! The client over UDP, through a network that loses datagrams.

use forkchat_tests::{Server, client_binary, wait_for};
use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A proxy between one client and the server. Once the session is open, it loses one in so many
/// datagrams in each direction.
struct LossyNetwork {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    /// While it is set, no datagram reaches the client.
    is_deaf: Arc<AtomicBool>,
    /// The proxy's sockets towards the client and towards the server, and the client's address, to
    /// forge datagrams.
    sockets: [Arc<UdpSocket>; 2],
    client: Arc<Mutex<Option<SocketAddr>>>,
}

impl LossyNetwork {
    fn to(server: SocketAddr, loses_to_server: usize, loses_to_client: usize) -> LossyNetwork {
        let near = UdpSocket::bind("127.0.0.1:0").unwrap();
        let far = UdpSocket::bind("127.0.0.1:0").unwrap();
        far.connect(server).unwrap();
        for socket in [&near, &far] {
            socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        }
        let (is_over, is_deaf) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let client = Arc::new(Mutex::new(None));
        let (near, far) = (Arc::new(near), Arc::new(far));
        let network = LossyNetwork {
            address: near.local_addr().unwrap(),
            is_over: is_over.clone(),
            is_deaf: is_deaf.clone(),
            sockets: [near.clone(), far.clone()],
            client: client.clone(),
        };
        let carry = |from: Arc<UdpSocket>, to: Arc<UdpSocket>, loses: usize, is_back: bool| {
            let (client, is_over, is_deaf) = (client.clone(), is_over.clone(), is_deaf.clone());
            std::thread::spawn(move || {
                let mut datagram = vec![0; 65_536];
                let mut count = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let Ok((length, source)) = from.recv_from(&mut datagram) else { continue };
                    count += 1;
                    let is_greeting = count <= 3;
                    if !is_greeting
                        && (count % loses == 0 || is_back && is_deaf.load(Ordering::Relaxed))
                    {
                        continue;
                    }
                    // It fails if nothing receives the datagram. Then the datagram is lost.
                    if is_back {
                        let client: Option<SocketAddr> = *client.lock().unwrap();
                        let _ = client.map(|client| to.send_to(&datagram[..length], client));
                    } else {
                        *client.lock().unwrap() = Some(source);
                        let _ = to.send(&datagram[..length]);
                    }
                }
            });
        };
        carry(near.clone(), far.clone(), loses_to_server, false);
        carry(far, near, loses_to_client, true);
        network
    }
}

impl LossyNetwork {
    /// Sends forged datagrams: to the server from the client's address, to the client from the
    /// server's.
    fn forge(&self, to_server: &str, to_client: &str) {
        let [near, far] = &self.sockets;
        far.send(to_server.as_bytes()).unwrap();
        near.send_to(to_client.as_bytes(), self.client.lock().unwrap().unwrap()).unwrap();
    }
}

impl Drop for LossyNetwork {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// Says these lines through the lossy network. Returns what the client printed on standard error.
fn say(network: &LossyNetwork, lines: &[String]) -> String {
    let mut command = Command::new(client_binary());
    command.args(["--udp", "--nick", "bob", &network.address.to_string()]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    for line in lines {
        // One by one, so that the lines don't share datagrams.
        writeln!(input, "{line}").unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    drop(input);
    wait_for("the client to end", || child.try_wait().unwrap());
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    told
}

#[test]
fn lost_lines_are_said_exactly_once_and_losses_are_noted() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice");
    let lines: Vec<String> = (0..60).map(|number| format!("line {number} end")).collect();
    // If datagrams are lost only on the way to the server, every line is said exactly once.
    let told = say(&LossyNetwork::to(server.udp, 4, usize::MAX), &lines);
    let received = alice.reads(" quit");
    for line in &lines {
        let count =
            received.iter().filter(|received| received.ends_with(&format!("bob: {line}"))).count();
        assert_eq!(count, 1, "{line}: {told}");
    }
    assert!(told.contains("had not arrived") && !told.contains("some lines are missing"), "{told}");

    // If datagrams are lost on the way back as well, the client notes the losses, and reports lines
    // whose echo may be lost as in doubt.
    let told = say(&LossyNetwork::to(server.udp, 5, 4), &lines);
    let received = alice.reads(" quit");
    let mut doubtful = 0;
    for line in &lines {
        let count =
            received.iter().filter(|received| received.ends_with(&format!("bob: {line}"))).count();
        let is_doubtful = told.contains(&format!("perhaps not delivered: {line}\n"));
        doubtful += usize::from(is_doubtful);
        assert!(count == 1 || count == 0 && is_doubtful, "{line} was said {count} times: {told}");
    }
    assert!(doubtful > 0 && told.contains("lost; some lines are missing here"), "{told}");
}

/// A filter named bob that talks through this network.
fn bob_over(network: &LossyNetwork) -> Child {
    let mut command = Command::new(client_binary());
    command.args(["--udp", "--nick", "bob", &network.address.to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn the_client_gives_up_on_a_server_that_no_longer_answers() {
    let server = Server::start(&[]);
    let network = LossyNetwork::to(server.udp, usize::MAX, usize::MAX);
    let mut child = bob_over(&network);
    let mut alice = server.join("alice");
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"one\n").unwrap();
    alice.reads("bob: one");
    network.is_deaf.store(true, Ordering::Relaxed);
    input.write_all(b"two\n").unwrap();
    alice.reads("bob: two");
    let status = wait_for("the client to end", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(1));
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(
        told.contains("perhaps not delivered: two\n")
            && told.contains("the server no longer answers"),
        "{told}"
    );
}

#[test]
fn forged_datagrams_neither_speak_for_a_client_nor_end_its_session() {
    let server = Server::start(&[]);
    let network = LossyNetwork::to(server.udp, usize::MAX, usize::MAX);
    let mut child = bob_over(&network);
    let mut alice = server.join("alice");
    let mut input = child.stdin.take().unwrap();
    for round in 0..5 {
        input.write_all(format!("round {round}\n").as_bytes()).unwrap();
        let received = alice.reads(&format!("bob: round {round}"));
        assert!(
            received.iter().all(|line| !line.contains("evil") && !line.contains("quit")),
            "{received:?}"
        );
        for _ in 0..5 {
            network.forge("evil\n", "* /hello aaaaaaaaaaaaa\n");
            network.forge("/quit evil\n", "* /hello aaaaaaaaaaaaa key\n");
            network.forge("/hello                                \n", "* /key evil\n");
        }
    }
    drop(input);
    assert!(wait_for("the client to end", || child.try_wait().unwrap()).success());
    let received = alice.reads("bob quit");
    assert!(received.iter().all(|line| !line.contains("evil")), "{received:?}");
}
