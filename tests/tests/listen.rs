//! Listening: lists of addresses, names with several addresses, IPv4 and IPv6.

use forkchat_tests::{Client, Server, wait_for};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};

fn assert_talks(address: SocketAddr) {
    Client::new(TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}")))
        .sync();
}

fn has_ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}

#[test]
fn the_server_listens_on_several_addresses() {
    for (given, count) in [
        (&["--tcp", "127.0.0.1:0,127.0.0.2:0"][..], 2),
        (&["--tcp", "127.0.0.3:0", "--tcp", "127.0.0.4:0,127.0.0.5:0"], 3),
    ] {
        let server = Server::start(given);
        let addresses = server.addresses("tcp");
        assert_eq!(addresses.len(), count, "{}", server.log_output());
        addresses.into_iter().for_each(assert_talks);
    }
}

#[test]
fn the_server_listens_on_all_addresses_of_a_name_with_one_port() {
    let server = Server::start(&["--tcp", "localhost:0"]);
    let addresses = server.addresses("tcp");
    let known: Vec<SocketAddr> =
        std::net::ToSocketAddrs::to_socket_addrs("localhost:0").unwrap().collect();
    assert!(
        addresses.iter().all(|address| known.iter().any(|other| other.ip() == address.ip())),
        "{addresses:?}"
    );
    assert!(addresses.len() == known.len() || !has_ipv6(), "{addresses:?} of {known:?}");
    assert!(addresses.iter().all(|address| address.port() == server.tcp.port()), "{addresses:?}");
    addresses.into_iter().for_each(assert_talks);
}

#[test]
fn the_server_listens_on_the_unspecified_addresses_of_both_families_with_one_port() {
    if !has_ipv6() {
        return;
    }
    for order in [["0.0.0.0", "[::]"], ["[::]", "0.0.0.0"]] {
        // A port that was free a moment before.
        let server = (0..20).find_map(|_| {
            let port = TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
            let list = order.map(|ip| format!("{ip}:{port}")).join(",");
            let is_free = TcpListener::bind(("::", port)).is_ok();
            is_free.then(|| (Server::start(&["--tcp", &list]), port))
        });
        let (server, port) = server.expect("a free port");
        assert_eq!(server.addresses("tcp").len(), 2, "{}", server.log_output());
        for ip in [
            IpAddr::from(Ipv4Addr::LOCALHOST),
            Ipv4Addr::new(127, 0, 0, 9).into(),
            Ipv6Addr::LOCALHOST.into(),
        ] {
            assert_talks((ip, port).into());
        }
    }
    // Without the other address it serves both families.
    let server = Server::start(&["--tcp", "[::]:0"]);
    assert_talks((Ipv4Addr::LOCALHOST, server.tcp.port()).into());
}

#[test]
fn an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (status, text) =
        Server::run_to_end(&["--tcp", &format!("127.0.0.2:0,{address}"), "--udp", "off"]);
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(
        text.contains(&format!("cannot listen on tcp {address}: address already in use")),
        "{text}"
    );
}

#[test]
fn a_list_that_contradicts_itself_is_refused() {
    for (options, words) in [
        (&["--tcp", "127.0.0.1:0,off", "--udp", "off"][..], "cannot use --tcp: off stands alone"),
        (
            &["--tcp", "off", "--udp", "127.0.0.1:0", "--udp", "127.0.0.2:0"],
            "cannot use --udp: UDP is served on one address",
        ),
        (&["--tcp", "off", "--udp", "off"], "nothing to listen on: --tcp and --udp are both off"),
    ] {
        let (status, text) = Server::run_to_end(options);
        assert_eq!(status.code(), Some(2), "{text}");
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn an_address_given_twice_counts_once() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let server = Server::start(&["--tcp", &address, "--tcp", &address]);
    assert_eq!(server.addresses("tcp").len(), 1);
    wait_for("a talk", || TcpStream::connect(&address).ok()).set_nodelay(true).unwrap();
    assert_talks(server.tcp);
}
