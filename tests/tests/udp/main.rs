//! UDP: an unknown peer never receives more than it sent, and a client that has proved its address
//! chats like all others.

mod addresses;
mod forged;

use forkchat_tests::{Client, DEADLINE, Server, wait_for};
use nix::sys::signal::{Signal, kill};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

struct Datagrams(UdpSocket);

impl Datagrams {
    fn new(server: SocketAddr) -> Datagrams {
        let socket =
            UdpSocket::bind(if server.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" }).unwrap();
        // A connected socket receives only datagrams from this address.
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Datagrams(socket)
    }

    fn send(&self, bytes: &[u8]) {
        self.0.send(bytes).unwrap();
    }

    fn receive(&self) -> String {
        let mut bytes = [0; 65_536];
        let length = self.0.recv(&mut bytes).expect("a datagram comes");
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    /// Receives until a datagram contains this. Returns all lines received.
    fn reads(&self, part: &str) -> Vec<String> {
        let mut lines = Vec::new();
        while !lines.iter().any(|line: &String| line.contains(part)) {
            lines.extend(self.receive().lines().map(str::to_owned));
        }
        lines
    }

    /// Does the handshake and sends these lines right after it.
    fn hello(&self, lines: &str) {
        self.send(b"/hello                          \n");
        let cookie = self.receive();
        let greeting = cookie.strip_prefix("* ").expect("the answer is `* /hello COOKIE`");
        self.send(
            format!(
                "{}
{lines}",
                greeting.trim_end()
            )
            .as_bytes(),
        );
    }
}

fn join(server: &Server, nick: &str) -> Datagrams {
    let client = Datagrams::new(server.udp);
    client.hello(&format!("/nick {nick}\n"));
    client.reads(&format!("* you are now {nick}"));
    client
}

#[test]
fn udp_and_tcp_clients_talk() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice");
    let udp = join(&server, "udp");
    assert_eq!(alice.reads("udp"), ["* udp joined #lobby"]);
    alice.say("hi");
    udp.reads("[#lobby] alice: hi");
    udp.send(b"one\ntwo\r\nthree");
    for line in ["one", "two", "three"] {
        alice.reads(&format!("[#lobby] udp: {line}"));
    }
    udp.send(b"/whoami\n");
    udp.reads("served by worker 0");
    udp.send(b"/quit done");
    udp.reads("* goodbye");
    alice.reads("* udp quit: done");
}

#[test]
fn the_answer_to_an_unknown_peer_is_no_longer_than_its_datagram() {
    let server = Server::start(&[]);
    let mut tcp = server.join("tcp");
    let unknown = Datagrams::new(server.udp);
    unknown.0.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut bytes = [0; 2_000];
    let contents: [&[u8]; 9] = [
        b"",
        b"\n",
        b"hi\n",
        b"/hello\n",
        b"/hello x\n",
        b"/hello aaaaaaaaaaaaa\n",
        b"\0\xff\xfe",
        &[b'x'; 1_400],
        b"/join #lobby\nhello everyone and then some\n",
    ];
    for content in contents {
        unknown.send(content);
        while let Ok(length) = unknown.0.recv(&mut bytes) {
            assert!(length <= content.len(), "{content:?} was answered with {length} bytes");
            assert!(bytes[..length].starts_with(b"* /hello "));
        }
    }
    assert_eq!(tcp.sync(), [""; 0], "nobody receives what an unknown peer sends");
}

#[test]
fn a_repeated_greeting_gets_the_welcome_again() {
    let server = Server::start(&[]);
    let udp = join(&server, "udp");
    udp.send(b"/hello again\n");
    udp.reads("* Welcome to forkchat, udp. You are in #lobby");
}

#[test]
fn datagrams_above_the_rate_limit_are_dropped_and_the_session_continues() {
    let server = Server::start(&["--rate-limit", "20"]);
    let mut alice = server.join("alice");
    let udp = join(&server, "udp");
    for i in 0..700 {
        udp.send(format!("flood {i}\n").as_bytes());
    }
    let said = |client: &mut Client| {
        client.sync().iter().filter(|line| line.contains("udp: flood")).count()
    };
    let mut received = 0;
    // The burst passes, less what the nickname cost. The rest comes at the rate limit.
    wait_for("the burst", || {
        received += said(&mut alice);
        (received >= 450).then_some(())
    });
    assert!(received < 650, "{received} of 700 lines at once at 20 a second");
    wait_for("the next line", || {
        udp.send(b"later\n");
        alice.sync().iter().any(|line| line.contains("udp: later")).then_some(())
    });
}

#[test]
fn a_datagram_to_the_client_holds_whole_lines_and_is_not_too_long() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice");
    let udp = join(&server, "udp");
    let long = "long ".repeat(700);
    alice.say(&long);
    (0..100).for_each(|i| alice.say(&format!("line {i}")));
    let mut seen = 0;
    while seen < 100 {
        let datagram = udp.receive();
        assert!(datagram.ends_with('\n'), "whole lines");
        assert!(
            datagram.len() <= 1_200 || datagram.lines().count() == 1,
            "{} bytes",
            datagram.len()
        );
        seen += datagram.lines().filter(|line| line.contains("alice: line ")).count();
    }
}

#[test]
fn a_datagram_that_starts_with_tags_has_its_number() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice");
    alice.say("/set tags on");
    let udp = Datagrams::new(server.udp);
    udp.hello("");
    // The cookie was sent to an unknown peer. The session's first datagram is the welcome.
    let mut count = 0;
    let receive_to = |count: &mut u64, part: &str| {
        let mut numbered = 0;
        loop {
            let datagram = udp.receive();
            *count += 1;
            assert!(datagram.len() <= 1_200, "{} bytes", datagram.len());
            let (first, others) = datagram.split_once('\n').unwrap();
            if let Some(tags) = first.strip_prefix("@id=") {
                let behind_id = tags.split(';').nth(1);
                assert_eq!(behind_id, Some(format!("datagram={count}").as_str()), "{first}");
                numbered += 1;
            } else {
                assert!(!first.contains("datagram="), "{first}");
            }
            assert!(!others.contains("datagram="), "only the first line has it: {datagram}");
            if datagram.contains(part) {
                return numbered;
            }
        }
    };
    receive_to(&mut count, "* Welcome");
    alice.say("hi");
    assert_eq!(receive_to(&mut count, "alice: hi"), 0, "without tags nothing changes");
    udp.send(b"/set tags on\n");
    receive_to(&mut count, "* tags is on");
    (0..100).for_each(|i| alice.say(&format!("line {i} {}", "long ".repeat(i % 30))));
    let numbered = receive_to(&mut count, "alice: line 99");
    assert!(numbered > 1, "{numbered}");
    udp.send(b"/set tags off\n");
    receive_to(&mut count, "* tags is off");
    alice.say("hi again");
    assert_eq!(receive_to(&mut count, "alice: hi again"), 0, "counted all the same");
    udp.send(b"/set tags on\n/hello again\n");
    assert!(receive_to(&mut count, "* Welcome") > 0);
    let over_tcp = alice.sync();
    assert!(over_tcp.iter().all(|line| !line.contains("datagram=")), "{over_tcp:?}");
}

#[test]
fn udp_sessions_survive_the_death_of_their_worker_and_count_once() {
    let server = Server::start(&["--max-connections", "3", "--max-per-address", "2"]);
    let mut tcp = server.connect();
    tcp.sync();
    let (first, second) = (join(&server, "first"), join(&server, "second"));
    first.send(b"/set tags on\n");
    for round in 0..5 {
        let worker = server.process("worker 0");
        kill(worker, Signal::SIGKILL).unwrap();
        server.replaced("worker 0", worker);
        second.send(format!("round {round}\n").as_bytes());
        tcp.reads(&format!("[#lobby] second: round {round}"));
        while !first.receive().contains(&format!("second: round {round}")) {}
        let third = Datagrams::new(server.udp);
        third.hello("");
        assert_eq!(third.receive(), "! too many of you\n");
        assert!(server.connect().rest()[0].starts_with("! the server is full"));
    }
    assert!(tcp.sync().iter().all(|line| !line.contains("quit")));
    // Sessions that end after a takeover are forgotten, and their places are free again.
    second.send(b"/quit\n");
    tcp.reads("* second quit");
    kill(server.process("worker 0"), Signal::SIGKILL).unwrap();
    join(&server, "afterwards");
}

#[test]
fn the_lines_of_a_datagram_are_answered_in_order_however_long_the_answers_take() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice");
    alice.say("said before");
    alice.sync();
    let client = join(&server, "bob");
    client.send(b"/history 3\n/ping same\n/who\n/ping last\n");
    let answers = client.reads("* pong last");
    let order: Vec<usize> =
        ["alice: said before", "end of the history", "pong same", "* in #lobby: ", "pong last"]
            .iter()
            .map(|part| {
                answers
                    .iter()
                    .position(|line| line.contains(part))
                    .unwrap_or_else(|| panic!("no {part} in {answers:?}"))
            })
            .collect();
    assert!(order.is_sorted(), "{answers:?}");
}
