//! One client or one address cannot do costly harm to the others.

use forkchat_tests::{Client, DEADLINE, Server, wait_for};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

const MODELS: [&str; 3] = ["pool", "threads", "process"];

fn connect_from(server: &Server, host: u8) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SockAddr::from(SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0)))).unwrap();
    socket.connect(&SockAddr::from(server.tcp)).unwrap();
    socket.into()
}

/// Ends a connection with a reset.
fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Sends `/who` until the answer is right.
fn who(client: &mut Client, what: &str, is_right: impl Fn(&str) -> bool) {
    wait_for(what, || {
        client.say("/who");
        client.sync().into_iter().find(|line| line.starts_with("* in #lobby") && is_right(line))
    });
}

#[test]
fn a_client_that_reconnects_repeatedly_has_one_budget() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice");
    let spam = "spam\n".repeat(512);
    for _ in 0..20 {
        let mut stream = connect_from(&server, 7);
        stream.write_all(spam.as_bytes()).unwrap();
        reset(stream);
    }
    // When the user who came last is gone, all are gone.
    server.logs("the sessions of address 127.0.0.7 send more than an address may");
    who(&mut alice, "all of the flooder's sessions to be gone", |line| {
        line == "* in #lobby: alice"
    });
    alice.say("/history 500");
    alice.reads("end of the history");
    let mut late = server.join("late");
    late.say("others talk on");
    alice.reads("late: others talk on");
    assert_eq!(server.log_output().matches("127.0.0.7").count(), 1, "an address is logged once");
    // Without a budget for the address, these would be 20 times 512.
    late.say("/whoami");
    let spammed = alice.sync().len() + late.reads("you are late").len();
    assert!(spammed < 1_000, "{spammed} lines after the flood");
}

#[test]
fn a_connection_whose_peer_is_gone_ends_despite_a_long_backlog() {
    for model in MODELS {
        let server = Server::start(&["--model", model]);
        let mut alice = server.join("alice");
        let mut ghost = connect_from(&server, 9);
        ghost.write_all(b"/nick ghost\nhello\n").unwrap();
        alice.reads("ghost: hello");
        ghost.write_all("\n".repeat(118_000).as_bytes()).unwrap();
        reset(ghost);
        alice.reads("* ghost quit: connection reset");
        // The server counts the dropped lines and logs their number.
        server
            .logs("bytes that clients had sent beyond their budget before a reset; connections: 1");
        who(&mut alice, "the ghost to be gone", |line| line == "* in #lobby: alice");
    }
}

#[test]
fn a_file_that_is_sent_at_once_is_said_completely_however_slowly() {
    for model in MODELS {
        let server = Server::start(&["--model", model, "--rate-limit", "1000"]);
        let mut alice = server.join("alice");
        let mut program = server.connect();
        let lines: String = (0..2_000).map(|number| format!("line {number}\n")).collect();
        program.send(lines.as_bytes());
        program.end_input();
        alice.reads("line 1999");
    }
}

#[test]
fn a_client_that_requests_long_lists_and_reads_late_gets_them_completely() {
    for model in MODELS {
        let server = Server::start(&["--model", model, "--sendq", "64K", "--rate-limit", "off"]);
        for founder in 0..5u8 {
            let mut founder = Client::new(connect_from(&server, 20 + founder));
            let port = founder.stream().local_addr().unwrap().port();
            for number in 0..30 {
                founder.say(&format!("/join #r{port}-{number:02}\n/topic {}", "é".repeat(400)));
            }
            founder.sync();
        }
        // The rooms have topics, so they stay.
        let mut reader = server.connect();
        reader.reads("Welcome");
        for _ in 0..50 {
            reader.say("/rooms");
        }
        reader.say("/ping the end");
        // The client reads only now, while the worker serves others.
        server.join("other").sync();
        let lines = reader.reads("* pong the end");
        let listed = lines.iter().filter(|line| line.starts_with("* #")).count();
        let ends = lines.iter().filter(|line| line.contains(" more rooms; ")).count();
        assert_eq!((listed, ends), (50 * 100, 50), "{model}");
    }
}

#[test]
fn clients_that_connect_and_reset_do_not_keep_others_from_being_answered() {
    for model in MODELS {
        let server = Server::start(&["--model", model]);
        let mut alice = server.join("alice");
        for _ in 0..2_000 {
            reset(connect_from(&server, 11));
        }
        server.logs("address 127.0.0.11 opens connections too fast");
        alice.sync();
        let mut bob = server.join("bob");
        bob.say("hi");
        alice.reads("bob: hi");
    }
}

#[test]
fn a_very_long_name_is_refused_and_delays_no_other_client() {
    let server = Server::start(&["--rate-limit", "off"]);
    let (mut alice, mut bob) = (server.join("alice"), server.join("bob"));
    let message = format!("/msg {} hi\n", "ß".repeat(1_900));
    for _ in 0..500 {
        alice.send(message.as_bytes());
    }
    bob.sync();
    let refusals = alice.sync().into_iter().filter(|line| line.starts_with("! no user named ßß"));
    assert_eq!(refusals.count(), 500);
}

#[test]
fn a_connection_beyond_the_rate_limit_is_rejected_with_a_reason() {
    let server = Server::start(&[]);
    // A welcome takes a moment, so the test reads nothing before all connections are open.
    let mut streams: Vec<TcpStream> = (0..300).map(|_| connect_from(&server, 13)).collect();
    let last = streams.pop().unwrap();
    last.set_read_timeout(Some(DEADLINE)).unwrap();
    let refused = Client::new(last).line().unwrap();
    assert_eq!(refused, "! too many new connections from your address; wait a few seconds");
}
