//! Clients of other protocols are answered in their own protocol. None of their input is said or
//! executed, and other users do not notice them.

use forkchat_tests::{Client, Server, has_tool};
use nix::sys::signal::{Signal, kill};
use std::io::Read;
use std::process::Command;
use std::time::Duration;

const MODELS: [&str; 3] = ["pool", "threads", "process"];

/// All bytes that a client receives.
fn all(client: &Client) -> Vec<u8> {
    let mut stream = client.stream().try_clone().unwrap();
    stream.set_read_timeout(Some(forkchat_tests::DEADLINE)).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Sends these bytes at the beginning of a connection. Returns all bytes received until the server
/// ends it.
fn answer(server: &Server, bytes: &[u8]) -> Vec<u8> {
    let mut client = server.connect();
    client.send(bytes);
    all(&client)
}

/// Checks that the others have received this line and nothing else meanwhile.
fn assert_receives_only(bob: &mut Client, server: &Server, line: &str) {
    let mut alice = server.join("alice");
    alice.say(line);
    let received = bob.reads(line);
    let strange: Vec<&String> = received.iter().filter(|line| !line.contains("alice")).collect();
    assert!(strange.is_empty(), "{strange:?}");
    alice.say("/history 500");
    let history = alice.reads("end of the history");
    assert_eq!(history.iter().filter(|told| !told.starts_with("* ")).count(), 1, "{history:?}");
}

#[test]
fn a_web_page_cannot_make_its_reader_send_lines() {
    for model in MODELS {
        let server = Server::start(&["--model", model]);
        let mut bob = server.join("bob");
        bob.sync();
        let body = "\n/nick ceo\nbuy now\n/topic pwned\n";
        let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
        let answered =
            String::from_utf8(answer(&server, format!("{head}{body}").as_bytes())).unwrap();
        assert!(answered.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answered}");
        assert!(
            answered.contains("Connection: close\r\n")
                && answered.ends_with("Connect with forkchat-client or nc.\n"),
            "{answered}"
        );
        // The body in a packet of its own.
        let mut client = server.connect();
        client.send(head.as_bytes());
        client.send(body.as_bytes());
        assert_eq!(String::from_utf8(all(&client)).unwrap(), answered);
        assert_receives_only(&mut bob, &server, "nothing happened");
    }
}

#[test]
fn each_protocol_gets_its_answer_even_without_a_line_end() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    bob.sync();
    let mut long = b"GET /".to_vec();
    long.resize(20_000, b'x');
    long.extend_from_slice(b" HTTP/1.1\r\n\r\n/nick ceo\n");
    for (request, expected) in [
        (
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
            &b"\x15\x03\x01\x00\x02\x02\x46"[..],
        ),
        (b"\x16\x03\x01\x00\x0a\n/nick ceo\n", b"\x15\x03\x01\x00\x02\x02\x46"),
        (b"SSH-2.0-OpenSSH_10.0\r\n", b"! this is forkchat"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", b"! this is forkchat"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n/nick ceo\r\n", b"! this is forkchat"),
        (b"*1\r\n$4\r\nPING\r\n", b"-ERR This is forkchat"),
        (b"CAP LS 302\r\nNICK bob\r\nUSER bob 0 * :Bob\r\n", b"ERROR :This is forkchat"),
        (b"NICK bob\r\nUSER bob 0 * :Bob\r\n", b"ERROR :This is forkchat"),
        (b"OPTIONS sip:nm SIP/2.0\r\n\r\n", b"SIP/2.0 400 Bad Request\r\n"),
        (b"\x05\x01\x00", b"\x05\xff"),
        (b"\0\0\0\x45\xffSMBr", b"! this is forkchat"),
        (b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04", b"\x20\x02\x00\x01"),
        (&long, b"HTTP/1.1 400 Bad Request\r\n"),
        (b"GET /\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
        (b"get / http/1.1\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", b"\0\0\0\x04\0\0\0\0\0"),
        (b"OPTIONS * RTSP/1.0\r\n\r\n", b"RTSP/1.0 400 Bad Request\r\n"),
        (b"EHLO a.b\r\n", b"554 This is forkchat"),
        (b"HELO [127.0.0.1]\r\n", b"554 This is forkchat"),
        (
            b"<?xml version='1.0'?><stream:stream to='x' xmlns='jabber:client'>",
            b"! this is forkchat",
        ),
        (b"<policy-file-request/>\0", b"! this is forkchat"),
        (b"set k 0 0 5\r\nhello\r\n", b"SERVER_ERROR This is forkchat"),
        (b"CONFIG SET dir /var/spool/cron\r\n", b"-ERR This is forkchat"),
        (b"\r\nFLUSHALL SYNC\r\n", b"-ERR This is forkchat"),
    ] {
        let answered = answer(&server, request);
        assert!(
            answered.starts_with(expected),
            "{:?}: {:?}",
            String::from_utf8_lossy(request),
            String::from_utf8_lossy(&answered)
        );
    }
    assert_receives_only(&mut bob, &server, "nothing happened");
}

#[test]
fn lines_that_resemble_other_protocols_are_said() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    for line in [
        "GET well soon",
        "POST it on the wall",
        "SSH is great",
        "HELO folks",
        "QUIT",
        "USER error",
        "EHLO everyone",
        "NICK bob",
        "*1",
        "set a date for lunch",
        "helo everybody",
        "<3 you all",
        "// comment",
        "\\o/",
        "C:\\dir",
        "PING",
        "AUTH x",
        "get key",
        "stats",
    ] {
        let mut person = server.connect();
        person.say(line);
        let said = line.strip_prefix('/').unwrap_or(line);
        let received = bob.reads(said).pop().unwrap();
        assert!(received.starts_with("[#lobby] guest") && received.ends_with(said), "{received}");
    }
}

#[test]
fn a_request_in_pieces_is_recognized_and_not_said() {
    for model in MODELS {
        let server = Server::start(&["--model", model]);
        let mut bob = server.join("bob");
        bob.sync();
        for pieces in [
            ["GE", "T / HT", "TP/1.1\r\nHost: x\r\n\r\n"],
            ["GET", " ", "/\r\n"],
            ["P", "OST", " / HTTP/1.1\r\n\r\n/nick ceo\n"],
        ] {
            let mut client = server.connect();
            for piece in pieces {
                client.send(piece.as_bytes());
                // Far longer than the server waits for a silent client.
                std::thread::sleep(Duration::from_millis(200));
            }
            let answered = String::from_utf8(all(&client)).unwrap();
            assert!(answered.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{model}: {answered}");
        }
        assert_receives_only(&mut bob, &server, "nothing happened");
    }
}

#[test]
fn a_client_that_sends_nothing_or_half_a_line_is_welcomed() {
    for model in MODELS {
        let server = Server::start(&["--model", model]);
        let (mut silent, mut slow) = (server.connect(), server.connect());
        slow.send(b"GET / off");
        silent.reads("* Welcome");
        slow.reads("* Welcome");
        slow.say(" my lawn");
        silent.reads("GET / off my lawn");
    }
}

#[test]
fn a_request_line_that_is_not_the_first_is_said() {
    let server = Server::start(&[]);
    let (mut alice, mut bob) = (server.join("alice"), server.join("bob"));
    alice.say("GET / HTTP/1.1");
    assert_eq!(bob.reads("alice: ").pop().unwrap(), "[#lobby] alice: GET / HTTP/1.1");
}

#[test]
fn the_answer_survives_the_workers_death() {
    let server = Server::start(&["--workers", "1"]);
    for round in 0..20 {
        let mut client = server.connect();
        client.send(b"GET / HTTP/1.1\r\n\r\n/nick ceo\n");
        let worker = server.process("worker 0");
        kill(worker, Signal::SIGKILL).unwrap();
        let answered = String::from_utf8(all(&client)).unwrap();
        server.replaced("worker 0", worker);
        // If the worker was killed before it read the request, its successor may have welcomed the
        // client first.
        let (welcome, response) = answered.split_at(
            answered.find("HTTP/1.1 400").unwrap_or_else(|| panic!("round {round}: {answered:?}")),
        );
        assert!(welcome.is_empty() || welcome.starts_with("* Welcome"), "{answered}");
        assert!(
            response.ends_with("or nc.\n") && response.matches("HTTP/1.1").count() == 1,
            "round {round}: {answered:?}"
        );
    }
}

#[test]
fn curl_fails_at_once_and_says_why_with_and_without_tls() {
    let server = Server::start(&[]);
    if has_tool("curl") {
        let output = Command::new("curl")
            .args([
                "-sS",
                "-m",
                "20",
                "-w",
                "%{http_code}",
                "--data-binary",
                "\n/nick ceo\nbuy now\n",
                &format!("http://{}/", server.tcp),
            ])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            text.starts_with("This is forkchat, a chat server") && text.ends_with("400"),
            "{text} {output:?}"
        );
        let output = Command::new("curl")
            .args(["-sSk", "-m", "20", &format!("https://{}/", server.tcp)])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).to_lowercase();
        assert!(
            !output.status.success() && text.contains("alert") && text.contains("version"),
            "{text}"
        );
    }
}
