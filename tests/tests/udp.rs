//! UDP: an unknown peer never receives more than it sent, and a client that has proved its address
//! chats like all others.

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
fn udp_and_tcp_talk() {
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
    let stranger = Datagrams::new(server.udp);
    stranger.0.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
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
        stranger.send(content);
        while let Ok(length) = stranger.0.recv(&mut bytes) {
            assert!(length <= content.len(), "{content:?} was answered with {length} bytes");
            assert!(bytes[..length].starts_with(b"* /hello "));
        }
    }
    assert_eq!(tcp.sync(), [""; 0], "nobody hears a stranger");
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
    let mut heard = 0;
    // The burst passes, less what the nickname cost. The rest comes at the rate limit.
    wait_for("the burst", || {
        heard += said(&mut alice);
        (heard >= 450).then_some(())
    });
    assert!(heard < 650, "{heard} of 700 lines at once at 20 a second");
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

/// All datagrams that arrive within a moment.
fn flood(client: &Datagrams) -> Vec<String> {
    client.0.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut bytes = [0; 65_536];
    let mut datagrams = Vec::new();
    while let Ok(length) = client.0.recv(&mut bytes) {
        datagrams.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
    }
    client.0.set_read_timeout(Some(DEADLINE)).unwrap();
    datagrams
}

#[test]
fn each_client_is_answered_from_the_address_that_it_uses_also_after_a_takeover() {
    for (listen, addresses) in [
        ("0.0.0.0:0", &["127.0.0.1", "127.0.0.2", "127.9.9.9"][..]),
        ("[::]:0", &["::1", "127.0.0.1", "127.0.0.2"]),
        ("127.0.0.3:0", &["127.0.0.3"]),
    ] {
        let server = Server::start(&["--udp", listen]);
        let clients: Vec<Datagrams> = (addresses.iter().enumerate())
            .map(|(number, address)| {
                let client =
                    Datagrams::new(SocketAddr::new(address.parse().unwrap(), server.udp.port()));
                client.hello(&format!("/nick udp{number}\n"));
                client.reads(&format!("* you are now udp{number}"));
                client
            })
            .collect();
        let worker = server.process("worker 0");
        kill(worker, Signal::SIGKILL).unwrap();
        server.replaced("worker 0", worker);
        for client in &clients {
            client.send(b"/ping after the takeover\n");
            client.reads("* pong after the takeover");
        }
        clients[0].send(b"hello\n");
        clients[1..].iter().for_each(|client| drop(client.reads("udp0: hello")));
        // A socket that uses two addresses of the server has two sessions.
        if let [first, second, ..] = addresses[..]
            && first.contains('.')
        {
            let socket = &clients[0].0;
            socket.connect(SocketAddr::new(second.parse().unwrap(), server.udp.port())).unwrap();
            clients[0].send(b"/whoami, as one who is unknown\n");
            assert!(clients[0].receive().starts_with("* /hello "));
        }
    }
}

/// A virtual link with two ends, if this machine lets the test create one.
struct Link;

impl Link {
    const ENDS: [&str; 2] = ["fctest0", "fctest1"];

    fn make() -> Option<Link> {
        let ip = |arguments: &[&str]| {
            std::process::Command::new("ip")
                .args(arguments)
                .output()
                .is_ok_and(|output| output.status.success())
        };
        let [one, other] = Link::ENDS;
        if !ip(&["link", "add", one, "type", "veth", "peer", "name", other]) {
            return None;
        }
        let link = Link;
        for (end, address) in [(one, "fe80::fc:1/64"), (other, "fe80::fc:2/64")] {
            if !ip(&["addr", "add", address, "dev", end, "nodad"])
                || !ip(&["link", "set", end, "up"])
            {
                return None;
            }
        }
        Some(link)
    }

    fn index(end: &str) -> u32 {
        nix::net::if_::if_nametoindex(end).expect("the link is there")
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let _ = std::process::Command::new("ip").args(["link", "del", Link::ENDS[0]]).output();
    }
}

#[test]
fn a_link_local_client_keeps_its_scope_after_the_cookie_and_after_a_takeover() {
    let Some(_link) = Link::make() else {
        eprintln!("skipped: no link can be made here");
        return;
    };
    let server = Server::start(&["--udp", "[::]:0", "--tcp", "[::]:0"]);
    let [one, other] = Link::ENDS.map(Link::index);
    // Both ends belong to this machine, so a datagram to the address of one end crosses the link if
    // it is sent at the other end.
    let at = |ip: &str, port, scope| {
        SocketAddr::V6(std::net::SocketAddrV6::new(ip.parse().unwrap(), port, 0, scope))
    };
    let socket = UdpSocket::bind(at("fe80::fc:1", 0, one)).unwrap();
    socket.connect(at("fe80::fc:2", server.udp.port(), one)).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let client = Datagrams(socket);
    client.hello("/whoami\n");
    let whoami = client.reads("served by worker 0").pop().unwrap();
    assert!(
        whoami.contains(&format!("[fe80::fc:1%{other}]:"))
            || whoami.contains(&format!("[fe80::fc:1%{one}]:")),
        "{whoami}"
    );
    let worker = server.process("worker 0");
    kill(worker, Signal::SIGKILL).unwrap();
    server.replaced("worker 0", worker);
    client.send(b"/ping after the takeover\n");
    client.reads("* pong after the takeover");
    // Over TCP the supervisor sends the address to the worker.
    let mut tcp = Client::new(
        std::net::TcpStream::connect(at("fe80::fc:2", server.tcp.port(), one)).unwrap(),
    );
    tcp.say("/whoami");
    let whoami = tcp.reads("served by").pop().unwrap();
    assert!(whoami.contains("%"), "{whoami}");
}

#[test]
fn a_session_without_a_key_receives_at_most_three_times_what_it_sent_plus_an_allowance() {
    let server = Server::start(&["--rate-limit", "off"]);
    let mut alice = server.join("alice");
    for room in 0..40 {
        alice.say(&format!("/join #room-{room}"));
        alice.say(&format!("/topic {}", "a topic ".repeat(40)));
    }
    alice.sync();
    let udp = join(&server, "udp");
    udp.send(b"/rooms\n");
    assert!(
        udp.reads("#room-39 (1): a topic").len() > 30,
        "the cookie that opened the session allows that"
    );
    // To forge datagrams, one must only know the address. The allowance of the proof is soon used
    // up.
    let (mut sent, mut received) = (0, 0);
    for _ in 0..20 {
        udp.send(b"/rooms\n");
        sent += "/rooms\n".len();
    }
    for line in
        ["/rooms\n", "/help\n", "/who\n", "/history 500\n", "/hello\n", "/set\n", "/dance\n", "x\n"]
            .iter()
            .cycle()
            .take(80)
    {
        udp.send(line.as_bytes());
        sent += line.len();
        received += flood(&udp).concat().len();
    }
    assert!((32 << 10..=(64 << 10) + 3 * sent).contains(&received), "{received} bytes for {sent}");
    // This limit does not apply to lines of others.
    alice.say("/join #lobby");
    alice.say(&"long ".repeat(600));
    udp.reads("alice: long long");
    // The owner of the address proves it again and repeats the request.
    let cookie = loop {
        udp.send(b"/hello                      \n");
        if let Some(cookie) = flood(&udp)
            .iter()
            .find_map(|datagram| datagram.strip_prefix("* /hello ").map(str::to_owned))
        {
            break cookie;
        }
    };
    udp.send(format!("/hello {cookie}").as_bytes());
    udp.reads("* Welcome to forkchat, udp.");
    udp.send(b"/rooms\n");
    udp.reads("#room-39 (1): a topic");
}

#[test]
fn an_answer_that_is_too_long_is_replaced_by_a_cookie() {
    let server = Server::start(&["--rate-limit", "off"]);
    let udp = join(&server, "udp");
    // Until the allowance of the first proof is used up.
    let told = loop {
        udp.send(format!("/help{}\n", " ".repeat(100)).as_bytes());
        let told = flood(&udp).concat();
        if !told.contains("* what you type is sent") {
            break told;
        }
    };
    let cookie = told
        .strip_prefix(
            "! answer not sent: prove your address with /hello COOKIE first, then ask again\n* ",
        )
        .expect(&told);
    udp.send(format!("{cookie}/help\n").as_bytes());
    udp.reads("/quit [REASON]");
}

/// A session with a key: the client, and the beginning of each of its datagrams.
fn join_with_key(server: &Server, nick: &str) -> (Datagrams, String) {
    let client = Datagrams::new(server.udp);
    client.send(b"/hello key                     \n");
    let cookie = client.receive();
    assert!(cookie.ends_with(" key\n"), "{cookie}");
    client.send(format!("{}/nick {nick}\n", &cookie[2..]).as_bytes());
    let lines = client.reads(&format!("* you are now {nick}"));
    let key = lines[0]
        .strip_prefix("* ")
        .filter(|key| key.starts_with("/key "))
        .expect("the first line has the key");
    (client, key.to_owned())
}

#[test]
fn forged_datagrams_without_the_key_have_no_effect_and_no_answer() {
    let server = Server::start(&["--rate-limit", "off"]);
    let mut alice = server.join("alice");
    let (udp, key) = join_with_key(&server, "udp");
    alice.reads("* udp joined #lobby");
    flood(&udp);
    // They come from the client's own address, as forged datagrams do.
    for forged in [
        "/rooms\n",
        "/quit\n",
        "I am not udp\n",
        "/key aaaaaaaaaaaaa\n/quit\n",
        "/nick mallory\n",
        "a line that is longer than the answer\n",
    ] {
        (0..20).for_each(|_| udp.send(forged.as_bytes()));
    }
    assert_eq!(flood(&udp), [""; 0]);
    for worker_dies in [false, true] {
        if worker_dies {
            let worker = server.process("worker 0");
            kill(worker, Signal::SIGKILL).unwrap();
            server.replaced("worker 0", worker);
            udp.send(b"/quit\n");
        }
        udp.send(format!("{key}\nhello\n").as_bytes());
        assert_eq!(alice.reads("udp: hello").len(), 1, "nothing was said before it");
        udp.send(format!("{key} on one line").as_bytes());
        alice.reads("udp: on one line");
        // Each datagram proves the address, so the server sends more than the first proof would
        // allow.
        udp.send(format!("{key}\n{}", "/help\n".repeat(60)).as_bytes());
        assert_eq!(flood(&udp).concat().matches("* what you type is sent").count(), 60);
    }
    udp.send(format!("{key}\n/quit\n").as_bytes());
    udp.reads("* goodbye");
}

#[test]
fn another_program_at_the_address_of_a_session_with_a_key_can_log_in_with_a_cookie() {
    let server = Server::start(&[]);
    let (udp, _) = join_with_key(&server, "udp");
    // Another program at the same port, which does not know the key.
    udp.hello("/ping I am new\n");
    udp.reads("* pong I am new");
    udp.send(b"/whoami\n");
    udp.reads("* you are udp");
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
