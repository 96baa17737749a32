//! Forged datagrams: sessions with and without a key.

use super::*;

/// All datagrams that arrive within a moment.
fn receive_all(client: &Datagrams) -> Vec<String> {
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
        received += receive_all(&udp).concat().len();
    }
    assert!((32 << 10..=(64 << 10) + 3 * sent).contains(&received), "{received} bytes for {sent}");
    // This limit does not apply to lines of others.
    alice.say("/join #lobby");
    alice.say(&"long ".repeat(600));
    udp.reads("alice: long long");
    // The owner of the address proves it again and repeats the request.
    let cookie = loop {
        udp.send(b"/hello                      \n");
        if let Some(cookie) = receive_all(&udp)
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
        let told = receive_all(&udp).concat();
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
    receive_all(&udp);
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
    assert_eq!(receive_all(&udp), [""; 0]);
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
        assert_eq!(receive_all(&udp).concat().matches("* what you type is sent").count(), 60);
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
