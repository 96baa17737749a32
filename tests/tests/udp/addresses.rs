//! A client that uses several addresses of the server, and link-local addresses.

use super::*;

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
