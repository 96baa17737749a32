//! Every limit holds, and reaching it has the documented effect.

use forkchat_tests::{Client, Server, has_tool, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn a_client_that_never_reads_is_disconnected_and_the_others_are_served() {
    let server = Server::start(&["--rate-limit", "off", "--sendq", "64K"]);
    let (mut alice, mut bob) = (server.join("alice"), server.join("bob"));
    let mut slow_reader: Vec<Client> = (0..3).map(|i| server.join(&format!("deaf{i}"))).collect();
    let before = server.memory_kib();
    let line = "x".repeat(1_000);
    let mut quits = Vec::new();
    let mut sent = 0;
    while quits.len() < 3 {
        assert!(sent < 100_000, "they are disconnected at some time; {quits:?} were");
        (0..50).for_each(|_| alice.say(&line));
        sent += 50;
        quits.extend(bob.sync().into_iter().filter(|line| line.ends_with("reading too slowly")));
        alice.sync();
    }
    assert!(server.memory_kib() < before + 30 * 1024, "the memory for them is bounded");
    alice.say("and on");
    bob.reads("alice: and on");
    // The unread output is lost, and the connection ends.
    slow_reader.iter_mut().for_each(|one| drop(one.rest()));
    server.join("afterwards").sync();
}

#[test]
fn a_rejected_client_receives_the_reason() {
    let server = Server::start(&["--max-connections", "2"]);
    let mut clients = vec![server.join("a"), server.join("b")];
    for _ in 0..5 {
        assert_eq!(server.connect().rest(), ["! the server is full; try again later"]);
    }
    clients.pop().unwrap().say("/quit");
    // Also a client that has sent something reads the reason before its connection ends.
    wait_for("a free place", || {
        let mut one = server.connect();
        one.say("hello");
        let line = one.line().unwrap();
        assert!(
            line.starts_with("* Welcome") || line == "! the server is full; try again later",
            "{line}"
        );
        line.starts_with("* Welcome").then(|| clients.push(one))
    });
    assert_eq!(server.connect().rest(), ["! the server is full; try again later"]);
}

#[test]
fn the_connections_of_one_address_are_limited() {
    let server = Server::start(&["--max-per-address", "1"]);
    let mut first = server.join("first");
    assert_eq!(
        server.connect().rest(),
        ["! too many connections from your address; close one first"]
    );
    first.say("/quit");
    first.rest();
    wait_for("the place to be free again", || {
        server.connect().line().filter(|line| line.starts_with("* Welcome"))
    });
}

#[test]
fn a_paste_of_500_lines_passes_and_a_flood_is_slowed_down_not_disconnected() {
    let server = Server::start(&["--rate-limit", "100"]);
    let (mut alice, mut bob) = (server.join("alice"), server.join("bob"));
    let paste: String = (0..500).map(|i| format!("pasted {i}\n")).collect();
    alice.send(paste.as_bytes());
    for i in 0..500 {
        bob.reads(&format!("alice: pasted {i}"));
    }
    // After the burst the rate limit applies: 200 more lines take about two seconds, and none is
    // lost.
    let start = Instant::now();
    let flood: String = (0..200).map(|i| format!("flood {i}\n")).collect();
    alice.send(flood.as_bytes());
    for i in 0..200 {
        bob.reads(&format!("alice: flood {i}"));
    }
    assert!(
        start.elapsed() > Duration::from_secs(1),
        "200 lines at 100 a second came in {:?}",
        start.elapsed()
    );
    alice.sync();
}

#[test]
fn with_few_descriptors_connected_clients_are_served() {
    let server = Server::start_limited(Some("ulimit -n 100"), &["--workers", "1"]);
    let mut clients = Vec::new();
    let mut rejected = 0;
    for _ in 0..90 {
        let mut one = server.connect();
        match one.line() {
            Some(line) if line.starts_with("* Welcome") => clients.push(one),
            line => {
                assert_eq!(line.as_deref(), Some("! the server is full; try again later"));
                rejected += 1;
            }
        }
    }
    assert!(clients.len() >= 40 && rejected >= 10, "{} are in, {rejected} rejected", clients.len());
    clients[0].say("still here");
    clients[1].reads(": still here");
}

/// Allows a process `more` descriptors than it has now; or a few more if there are gaps between
/// their numbers.
fn allow_descriptors(pid: Pid, more: usize) {
    let used: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    // The limit applies to the numbers, and the kernel assigns the lowest free number.
    let next = (0..).find(|number: &usize| !used.contains(&number.to_string())).unwrap();
    let limit = format!("--nofile={}:", next + more);
    assert!(
        Command::new("prlimit")
            .args(["--pid", &pid.to_string(), &limit])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn a_supervisor_without_free_descriptors_keeps_its_clients_and_does_not_spin() {
    if !has_tool("prlimit") {
        return;
    }
    let server = Server::start(&[]);
    let (mut alice, mut bob) = (server.join("alice"), server.join("bob"));
    allow_descriptors(server.pid(), 0);
    let mut waiting: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    server.logs("cannot accept connections: ");
    let before = server.cpu();
    for i in 0..10 {
        alice.say(&format!("still here {i}"));
        bob.reads(&format!("alice: still here {i}"));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(server.cpu() - before < Duration::from_millis(150), "no busy loop");
    assert_eq!(
        server.log_output().matches("cannot accept connections").count(),
        1,
        "the server logs it once"
    );
    allow_descriptors(server.pid(), 1_000);
    for one in &mut waiting {
        let line = one.line().unwrap();
        assert!(
            line.starts_with("* Welcome")
                || line == "! the server is out of descriptors; try again later",
            "{line}"
        );
    }
    server.join("afterwards").sync();
}

#[test]
fn a_worker_without_free_descriptors_loses_no_connection_slot() {
    if !has_tool("prlimit") {
        return;
    }
    let server = Server::start(&["--workers", "1", "--max-connections", "6"]);
    let mut alice = server.join("alice");
    let worker = server.process("worker 0");
    allow_descriptors(worker, 0);
    for _ in 0..20 {
        assert_eq!(
            server.connect().line(),
            None,
            "it can't be served, and its connection is closed"
        );
    }
    alice.sync();
    allow_descriptors(worker, 100);
    let clients: Vec<Client> = (0..5).map(|i| server.join(&format!("p{i}"))).collect();
    assert_eq!(clients.len(), 5, "no place was lost");
}

#[test]
fn more_connections_than_descriptors_are_not_promised() {
    let (status, text) =
        Server::run_to_end(&["--tcp", "127.0.0.1:0", "--max-connections", "500000"]);
    assert_eq!(status.code(), Some(1));
    assert!(
        text.contains(
            "cannot serve 500000 connections: the limit on open files (ulimit -Hn) allows "
        ) && text.contains("lower --max-connections"),
        "{text}"
    );
}

#[test]
fn a_thousand_short_connections_leave_nothing_behind() {
    let server = Server::start(&[]);
    let mut watcher = server.join("watcher");
    watcher.say("/set joins off");
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count();
    let before = descriptors();
    for i in 0..1_000 {
        let mut one = TcpStream::connect(server.tcp).unwrap();
        match i % 4 {
            0 => one.write_all(b"hi\n").unwrap(),
            1 => one.write_all(b"unfinished").unwrap(),
            2 => one.write_all(b"/quit\n").unwrap(),
            _ => {}
        }
    }
    watcher.sync();
    wait_for("all to be gone", || {
        watcher.say("/who");
        watcher.sync().contains(&"* in #lobby: watcher".to_owned()).then_some(())
    });
    wait_for("their descriptors to be closed", || (descriptors() == before).then_some(()));
    let workers = ["worker 0", "worker 1"].map(|name| server.process(name));
    wait_for("the workers' too", || {
        let open = |pid| std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        workers.iter().all(|&pid| open(pid) < 20).then_some(())
    });
}

#[test]
fn slow_readers_lose_nothing_with_a_small_ring() {
    // On a busy machine a reader may be slow. All lines fit into its outbox.
    let server = Server::start(&["--ring", "1M", "--rate-limit", "off", "--sendq", "8M"]);
    let mut clients: Vec<Client> = (0..6).map(|i| server.join(&format!("p{i}"))).collect();
    clients.iter_mut().for_each(|person| person.say("/set echo on"));
    clients.iter_mut().for_each(|person| drop(person.sync()));
    // All clients send and none reads, until the ring has wrapped several times.
    let line = "y".repeat(700);
    let writers: Vec<_> = clients
        .iter()
        .enumerate()
        .map(|(i, person)| {
            let mut stream = person.stream().try_clone().unwrap();
            let text: String = (0..1_200).map(|number| format!("{i} {number} {line}\n")).collect();
            std::thread::spawn(move || stream.write_all(text.as_bytes()).unwrap())
        })
        .collect();
    let received: Vec<_> = clients
        .into_iter()
        .map(|mut person| {
            std::thread::spawn(move || {
                let mut lines = Vec::new();
                while lines.len() < 7_200 {
                    let line = person
                        .line()
                        .unwrap_or_else(|| panic!("disconnected after {} lines", lines.len()));
                    if line.starts_with("[#lobby] p") {
                        lines.push(line);
                    }
                    if lines.len() % 1_000 == 0 {
                        // A slow reader.
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
                lines
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let received: Vec<Vec<String>> =
        received.into_iter().map(|reader| reader.join().unwrap()).collect();
    assert!(
        received.iter().all(|lines| *lines == received[0]),
        "one order for everyone, nothing lost"
    );
    assert!(!server.log_output().contains("killing"), "nobody was stalled");
}

#[test]
fn a_worker_that_cannot_be_restarted_delays_no_other_client() {
    if !has_tool("prlimit") {
        return;
    }
    let server = Server::start(&["--rate-limit", "off", "--ring", "1M"]);
    let mut clients: Vec<Client> = (0..4).map(|i| server.join(&format!("p{i}"))).collect();
    let dead = clients[0].worker();
    let (mut theirs, mut others) = (Vec::new(), Vec::new());
    for mut one in clients.drain(..) {
        if one.worker() == dead { &mut theirs } else { &mut others }.push(one);
    }
    allow_descriptors(server.pid(), 0);
    kill(server.process(&dead), Signal::SIGKILL).unwrap();
    server.logs(&format!("cannot fork {dead}: "));
    // Several times the size of the ring.
    let line = "x".repeat(1_000);
    for number in 0..5_000 {
        others[0].say(&format!("{number} {line}"));
        if number % 100 == 99 {
            others[1].reads(&format!(": {number} "));
        }
    }
    server.logs(&format!("{dead} could not be started for 2 s"));
    allow_descriptors(server.pid(), 1_000);
    server.logs(&format!("{dead} (pid "));
    // It is unknown by then which lines these clients missed.
    theirs.iter_mut().for_each(|one| drop(one.rest()));
    others[0].sync();
    server.join("afterwards").sync();
}

#[test]
fn each_of_many_clients_beyond_the_limit_receives_the_reason() {
    const CROWD: usize = 120;
    for model in ["pool", "threads", "process"] {
        let server = Server::start(&["--model", model, "--max-connections", "1"]);
        let mut inside = server.join("inside");
        // Also clients that send something at once, as programs do.
        let mut crowd: Vec<Client> = (0..CROWD).map(|_| server.connect()).collect();
        crowd.iter_mut().step_by(2).for_each(|client| client.say("hello"));
        for client in crowd {
            let mut client = client;
            assert_eq!(
                client.line().as_deref(),
                Some("! the server is full; try again later"),
                "{model}"
            );
        }
        inside.sync();
    }
}
