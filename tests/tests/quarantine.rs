//! Input that repeatedly crashes a worker is found and isolated. The faults are injected, which
//! only test builds allow.

use forkchat_tests::{Client, Server};

const ENDED: &str = "! something you sent crashed a server process twice, session ended; other \
    users are not affected";

fn server_with_faults() -> Server {
    Server::start_limited(Some("export FORKCHAT_FAULT=deadly"), &["--rate-limit", "off"])
}

/// `N` clients, the same number on each worker.
fn people<const N: usize>(server: &Server) -> [Client; N] {
    let mut people = std::array::from_fn(|index| server.join(&format!("p{index}")));
    people.iter_mut().for_each(|person| drop(person.sync()));
    people
}

const PEOPLE: usize = 4;

/// Checks that every client receives each line of every other client once.
fn all_is_well(people: &mut [Client], round: usize) {
    for (speaker, person) in people.iter_mut().enumerate() {
        person.say(&format!("{round} from {speaker}"));
    }
    let others = people.len() - 1;
    for person in people.iter_mut() {
        let mut heard = Vec::new();
        let mut hear = |heard: &mut Vec<String>| {
            heard.extend(
                person.sync().into_iter().filter(|line| line.contains(&format!(": {round} from "))),
            )
        };
        while heard.len() < others {
            hear(&mut heard);
        }
        hear(&mut heard);
        assert!(
            heard.len() == others
                && heard.iter().collect::<std::collections::BTreeSet<_>>().len() == others,
            "{heard:?}"
        );
    }
}

/// Another client sends this line and is disconnected for it. The others stay.
fn is_quarantined(server: &Server, poison: &str) -> [Client; PEOPLE] {
    let mut people = people::<PEOPLE>(server);
    for round in 0..2 {
        let mut killer = server.join("killer");
        killer.say("before");
        people.iter_mut().for_each(|person| drop(person.reads("killer: before")));
        killer.say(poison);
        killer.say("behind");
        let rest = killer.rest();
        assert_eq!(rest.last().map(String::as_str), Some(ENDED), "{rest:?}");
        for person in &mut people {
            // Lines after the poison message were accepted and may arrive.
            person.reads("* killer quit: its input crashed a server process");
        }
        all_is_well(&mut people, round);
    }
    people
}

#[test]
fn input_that_crashes_the_worker_before_it_is_in_the_log() {
    let server = server_with_faults();
    is_quarantined(&server, "die in decoding");
    server.logs(", from byte ");
    server.logs(" on: the session is closed");
    server.logs("killed by signal 6");
}

#[test]
fn input_that_crashes_the_worker_and_comes_with_the_connection() {
    let server = server_with_faults();
    let mut people = people::<PEOPLE>(&server);
    let mut killer = server.connect();
    killer.send(b"/nick killer\ndie in decoding\n");
    assert_eq!(killer.rest().last().map(String::as_str), Some(ENDED));
    all_is_well(&mut people, 0);
}

#[test]
fn a_record_that_crashes_every_process_is_skipped_in_every_replica() {
    let server = server_with_faults();
    let mut people = is_quarantined(&server, "die in applying");
    server.logs("it is skipped");
    for person in &mut people {
        person.say("/who");
        let who = person.reads("in #lobby").pop().unwrap();
        assert_eq!(who, "* in #lobby: p0 p1 p2 p3", "the same in every copy");
    }
}

#[test]
fn a_line_that_crashes_the_renderer_is_delivered_to_no_client_of_that_worker() {
    let server = server_with_faults();
    is_quarantined(&server, "die in rendering");
    server.logs("it is no longer delivered, and the session is closed");
}

#[test]
fn a_record_in_which_every_process_spins_is_found_by_the_watchdog() {
    let server = server_with_faults();
    let mut people = people::<PEOPLE>(&server);
    let mut killer = server.join("killer");
    killer.say("spin in applying");
    assert_eq!(killer.rest().last().map(String::as_str), Some(ENDED));
    server.logs("2 s; killing it");
    all_is_well(&mut people, 0);
}

#[test]
fn a_datagram_that_crashes_the_worker_repeatedly() {
    let server = server_with_faults();
    let mut people = people::<PEOPLE>(&server);
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
    all_is_well(&mut people, 0);
}
