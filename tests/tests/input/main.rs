//! Any input from a client is handled: none of it is lost, and none of it does harm.

mod characters;
mod telnet;

use forkchat_tests::{Server, has_tool, wait_for};
use nix::sys::socket::{MsgFlags, send};
use socket2::SockRef;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn a_line_of_10_mb_is_refused_once_and_the_connection_goes_on() {
    let server = Server::start(&[]);
    let (mut alice, mut bob) = (server.join("alice"), server.join("bob"));
    let before = server.memory_kib();
    let chunk = vec![b'x'; 1 << 20];
    (0..10).for_each(|_| alice.send(&chunk));
    alice.reads("! line too long: at most 4095 bytes are allowed");
    assert!(server.memory_kib() < before + 8 * 1024, "nothing of it is kept");
    alice.send(b"yyy\nshort\n");
    assert_eq!(bob.reads("alice: ").last().unwrap(), "[#lobby] alice: short");
    assert_eq!(alice.sync(), [""; 0], "it is refused once");
}

#[test]
fn a_line_of_10_mb_that_ends_with_the_input_is_refused_and_flushed() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice");
    alice.send(&vec![b'x'; 10 << 20]);
    alice.end_input();
    assert!(alice.rest().iter().any(|line| line.starts_with("! line too long")));
}

#[test]
fn the_longest_line_passes_and_one_byte_more_does_not() {
    let server = Server::start(&[]);
    let (mut alice, mut bob) = (server.join("alice"), server.join("bob"));
    alice.say(&"a".repeat(4_095));
    alice.say(&"b".repeat(4_096));
    alice.say("end");
    let received = bob.reads("alice: end");
    assert_eq!(
        received.len(),
        2 + usize::from(received[0].contains("joined"))
            + usize::from(received[0].contains("is now")),
        "{received:?}"
    );
    alice.reads("! line too long");
}

#[test]
fn every_kind_of_line_end_is_accepted() {
    let server = Server::start(&[]);
    let (mut alice, mut bob) = (server.join("alice"), server.join("bob"));
    alice.send(b"one\r\ntwo\n\nthree\r\r\nfour");
    alice.end_input();
    let received = bob.reads("* alice quit");
    let said: Vec<&str> =
        received.iter().filter_map(|line| line.strip_prefix("[#lobby] alice: ")).collect();
    assert_eq!(said, ["one", "two", "three", "four"]);
    alice.rest();
}

#[test]
fn half_close_is_a_quit_after_the_lines_before_it() {
    if !has_tool("nc") {
        return;
    }
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    for i in 0..20 {
        let mut nc = Command::new("nc")
            .args(["-N", "127.0.0.1", &server.tcp.port().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        nc.stdin.take().unwrap().write_all(format!("hi {i}\n/whoami").as_bytes()).unwrap();
        let output = nc.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success()
                && text.contains("* Welcome")
                && text.ends_with(")\n")
                && text.lines().last().unwrap().contains("served by worker "),
            "{text}"
        );
        bob.reads(&format!(": hi {i}"));
        bob.reads(" quit");
    }
}

#[test]
fn unread_input_after_quit_does_not_destroy_flushed_output() {
    let server = Server::start(&["--rate-limit", "off"]);
    for _ in 0..20 {
        let mut alice = server.connect();
        alice.send("/help\n".repeat(200).as_bytes());
        alice.send(b"/quit\n");
        alice.send(&vec![b'u'; 100_000]);
        let lines = alice.rest();
        assert_eq!(lines.last().unwrap(), "* goodbye");
        assert_eq!(lines.iter().filter(|line| line.contains("/help [COMMAND]")).count(), 200);
    }
}

#[test]
fn lines_that_arrived_before_a_reset_are_said() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    for i in 0..20 {
        let mut alice = server.connect();
        alice.send(format!("last words {i}\n").as_bytes());
        // The client closes with an unread answer and no time to linger, so the kernel sends a
        // reset.
        SockRef::from(alice.stream()).set_linger(Some(Duration::ZERO)).unwrap();
        drop(alice);
        bob.reads(&format!(": last words {i}"));
        bob.reads(" quit");
    }
}

#[test]
fn a_partial_line_costs_nothing_while_it_waits() {
    let server = Server::start(&[]);
    let mut clients: Vec<_> = (0..20).map(|i| server.join(&format!("p{i}"))).collect();
    clients.iter_mut().for_each(|person| person.send(b"unfinished"));
    // An unfinished line gets no answer. All clients have read about all arrivals by now, so
    // nothing more comes before the line is complete.
    let mut watcher = server.join("watcher");
    watcher.sync();
    let before = server.cpu();
    std::thread::sleep(Duration::from_secs(2));
    assert!(
        server.cpu() - before < Duration::from_millis(100),
        "{:?} of CPU while nothing happened",
        server.cpu() - before
    );
    clients[0].say(" no more");
    wait_for("the line", || {
        clients[1].line().filter(|line| line.ends_with("p0: unfinished no more"))
    });
}

/// The kernel frees input by whole buffers. The rest of a line in the last buffer once kept the
/// peer's window closed for ever.
#[test]
fn part_of_a_line_after_much_input_does_not_close_the_window() {
    let server = Server::start(&["--rate-limit", "off"]);
    let (alice, mut bob) = (server.join("alice"), server.join("bob"));
    let mut stream = alice.stream().try_clone().unwrap();
    let text: String =
        (0..3_000).map(|number| format!("{number} {}\n", "y".repeat(700 + number % 13))).collect();
    let writer = std::thread::spawn(move || stream.write_all(text.as_bytes()).unwrap());
    for number in 0..3_000 {
        let received = bob.reads(&format!("alice: {number} "));
        assert_eq!(
            received.last().unwrap().len(),
            format!("[#lobby] alice: {number} ").len() + 700 + number % 13
        );
    }
    writer.join().unwrap();
}

#[test]
fn a_small_receive_buffer_holds_lines_and_costs_no_cpu() {
    let server = Server::start(&[]);
    let mut bob = server.join("bob");
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_send_buffer_size(1_024).unwrap();
    socket.connect(&server.tcp.into()).unwrap();
    let mut alice = forkchat_tests::Client::new(socket.into());
    let line = "slow ".repeat(800);
    for piece in line.as_bytes().chunks(50) {
        alice.send(piece);
    }
    bob.sync();
    let before = server.cpu();
    std::thread::sleep(Duration::from_secs(1));
    assert!(server.cpu() - before < Duration::from_millis(100));
    alice.say("end");
    assert!(bob.reads("end").pop().unwrap().len() > 4_000);
}
