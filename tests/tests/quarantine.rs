//! Input that repeatedly crashes a worker is found and isolated. The faults are injected, which
//! only test builds allow.

use forkchat_tests::{Client, Server};

const ENDED: &str = "! something you sent crashed a server process twice, session ended; other \
    users are not affected";

fn server_with_faults() -> Server {
    Server::start_limited(Some("export FORKCHAT_FAULT=deadly"), &["--rate-limit", "off"])
}

/// `N` clients, the same number on each worker.
fn clients<const N: usize>(server: &Server) -> [Client; N] {
    let mut clients = std::array::from_fn(|index| server.join(&format!("p{index}")));
    clients.iter_mut().for_each(|person| drop(person.sync()));
    clients
}

const CLIENTS: usize = 4;

/// Checks that every client receives each line of every other client once.
fn assert_all_receive(clients: &mut [Client], round: usize) {
    for (speaker, person) in clients.iter_mut().enumerate() {
        person.say(&format!("{round} from {speaker}"));
    }
    let others = clients.len() - 1;
    for person in clients.iter_mut() {
        let mut received = Vec::new();
        let mut hear = |received: &mut Vec<String>| {
            received.extend(
                person.sync().into_iter().filter(|line| line.contains(&format!(": {round} from "))),
            )
        };
        while received.len() < others {
            hear(&mut received);
        }
        hear(&mut received);
        assert!(
            received.len() == others
                && received.iter().collect::<std::collections::BTreeSet<_>>().len() == others,
            "{received:?}"
        );
    }
}

/// Another client sends this line and is disconnected for it. The others stay.
fn assert_quarantined(server: &Server, poison: &str) -> [Client; CLIENTS] {
    let mut clients = clients::<CLIENTS>(server);
    for round in 0..2 {
        let mut killer = server.join("killer");
        killer.say("before");
        clients.iter_mut().for_each(|person| drop(person.reads("killer: before")));
        killer.say(poison);
        killer.say("behind");
        let rest = killer.rest();
        assert_eq!(rest.last().map(String::as_str), Some(ENDED), "{rest:?}");
        for person in &mut clients {
            // Lines after the poison message were accepted and may arrive.
            person.reads("* killer quit: its input crashed a server process");
        }
        assert_all_receive(&mut clients, round);
    }
    clients
}

#[test]
fn input_that_crashes_the_worker_before_it_is_in_the_log_ends_the_session() {
    let server = server_with_faults();
    assert_quarantined(&server, "die in decoding");
    server.logs(", from byte ");
    server.logs(" on: the session is closed");
    server.logs("killed by signal 6");
}

#[test]
fn input_that_comes_with_the_connection_and_crashes_the_worker_ends_the_session() {
    let server = server_with_faults();
    let mut clients = clients::<CLIENTS>(&server);
    let mut killer = server.connect();
    killer.send(b"/nick killer\ndie in decoding\n");
    assert_eq!(killer.rest().last().map(String::as_str), Some(ENDED));
    assert_all_receive(&mut clients, 0);
}

#[test]
fn a_record_that_crashes_every_process_is_skipped_in_every_replica() {
    let server = server_with_faults();
    let mut clients = assert_quarantined(&server, "die in applying");
    server.logs("it is skipped");
    for person in &mut clients {
        person.say("/who");
        let who = person.reads("in #lobby").pop().unwrap();
        assert_eq!(who, "* in #lobby: p0 p1 p2 p3", "the same in every copy");
    }
}

#[test]
fn a_line_that_crashes_the_renderer_is_delivered_to_no_client_of_that_worker() {
    let server = server_with_faults();
    assert_quarantined(&server, "die in rendering");
    server.logs("it is no longer delivered, and the session is closed");
}

#[test]
fn a_record_in_which_every_process_spins_is_found_by_the_watchdog() {
    let server = server_with_faults();
    let mut clients = clients::<CLIENTS>(&server);
    let mut killer = server.join("killer");
    killer.say("spin in applying");
    assert_eq!(killer.rest().last().map(String::as_str), Some(ENDED));
    server.logs("2 s; killing it");
    assert_all_receive(&mut clients, 0);
}

#[test]
fn a_session_whose_datagram_crashes_the_worker_repeatedly_is_ended() {
    let server = server_with_faults();
    let mut clients = clients::<CLIENTS>(&server);
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.connect(server.udp).unwrap();
    udp.set_read_timeout(Some(forkchat_tests::DEADLINE)).unwrap();
    let receive = || {
        let mut bytes = [0; 2_000];
        let length = udp.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    udp.send(&[b' '; 64]).unwrap();
    udp.send(receive().trim_start_matches("* ").as_bytes()).unwrap();
    while !receive().contains("Welcome") {}
    for _ in 0..2 {
        let worker = server.process("worker 0");
        udp.send(b"die in decoding\n").unwrap();
        server.replaced("worker 0", worker);
    }
    while !receive().contains(ENDED) {}
    assert_all_receive(&mut clients, 0);
}
