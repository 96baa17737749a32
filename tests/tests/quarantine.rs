//! Input that repeatedly crashes a worker is found and isolated. With injected faults, which only
//! test builds have.

use forkchat_tests::{Client, Server};

const ENDED: &str = "! something you sent crashed a server process twice, session ended; other users are not affected";

fn deadly_server() -> Server {
    Server::start_limited(Some("export FORKCHAT_FAULT=deadly"), &["--rate-limit", "off"])
}

/// So many clients, as many on one worker as on the other.
fn people<const N: usize>(server: &Server) -> [Client; N] {
    let mut people = std::array::from_fn(|index| server.join(&format!("p{index}")));
    people.iter_mut().for_each(|person| drop(person.sync()));
    people
}

const PEOPLE: usize = 4;

/// Everyone hears what every other says, once.
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

/// One more client sends this, and is ended for it; the others go on.
fn is_quarantined(server: &Server, deadly: &str) -> [Client; PEOPLE] {
    let mut people = people::<PEOPLE>(server);
    for round in 0..2 {
        let mut killer = server.join("killer");
        killer.say("before");
        people.iter_mut().for_each(|person| drop(person.reads("killer: before")));
        killer.say(deadly);
        killer.say("behind");
        let rest = killer.rest();
        assert_eq!(rest.last().map(String::as_str), Some(ENDED), "{rest:?}");
        for person in &mut people {
            // What was in the log behind the deadly line was accepted, and may be heard.
            person.reads("* killer quit: its input crashed a server process");
        }
        all_is_well(&mut people, round);
    }
    people
}

#[test]
fn input_that_kills_before_it_is_in_the_log() {
    let server = deadly_server();
    is_quarantined(&server, "die in decoding");
    server.tells(", from byte ");
    server.tells(" on: the session is closed");
    server.tells("killed by signal 6");
}

#[test]
fn input_that_kills_and_comes_with_the_connection() {
    let server = deadly_server();
    let mut people = people::<PEOPLE>(&server);
    let mut killer = server.connect();
    killer.send(b"/nick killer\ndie in decoding\n");
    assert_eq!(killer.rest().last().map(String::as_str), Some(ENDED));
    all_is_well(&mut people, 0);
}

#[test]
fn a_record_that_kills_everyone_who_applies_it_is_passed_over_in_every_copy_alike() {
    let server = deadly_server();
    let mut people = is_quarantined(&server, "die in applying");
    server.tells("it is skipped");
    for person in &mut people {
        person.say("/who");
        let who = person.reads("in #lobby").pop().unwrap();
        assert_eq!(who, "* in #lobby: p0 p1 p2 p3", "the same in every copy");
    }
}

#[test]
fn a_line_that_kills_who_renders_it_is_told_nobody_there() {
    let server = deadly_server();
    is_quarantined(&server, "die in rendering");
    server.tells("it is no longer delivered, and the session is closed");
}

#[test]
fn a_record_in_which_everyone_spins_is_found_by_the_watchdog() {
    let server = deadly_server();
    let mut people = people::<PEOPLE>(&server);
    let mut killer = server.join("killer");
    killer.say("spin in applying");
    assert_eq!(killer.rest().last().map(String::as_str), Some(ENDED));
    server.tells("2 s; killing it");
    all_is_well(&mut people, 0);
}

#[test]
fn a_datagram_that_kills_again_and_again() {
    let server = deadly_server();
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
