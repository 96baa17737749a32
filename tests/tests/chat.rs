//! Users chat: the line protocol, through real connections, across worker processes.

use forkchat_tests::processes::is_stopped;
use forkchat_tests::{Server, has_tool, wait_for};
use nix::sys::signal::Signal;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

#[test]
fn users_on_different_workers_talk() {
    let server = Server::start(&[]);
    let (mut alice, mut bob) = (server.join("alice"), server.join("bob"));
    assert_ne!(alice.worker(), bob.worker());
    alice.say("hi bob");
    bob.reads("[#lobby] alice: hi bob");
    bob.say("/me waves");
    alice.reads("[#lobby] * bob waves");
    bob.say("/msg ALICE psst");
    alice.reads("[@bob] bob: psst");
    bob.say("/quit bye");
    alice.reads("* bob quit: bye");
    assert_eq!(bob.rest().last().unwrap(), "* goodbye");
}

#[test]
fn every_member_of_a_room_on_every_worker_reads_the_same_lines_in_the_same_order() {
    let server = Server::start(&["--workers", "3", "--rate-limit", "off"]);
    let mut clients: Vec<_> = (0..9).map(|i| server.join(&format!("p{i}"))).collect();
    for person in &mut clients {
        person.say("/set echo on");
        person.say("/join #order");
    }
    clients.iter_mut().for_each(|person| drop(person.sync()));
    for number in 0..100 {
        for (i, person) in clients.iter_mut().enumerate() {
            person.say(&format!("{i} says {number}"));
        }
    }
    clients.iter_mut().for_each(|person| person.say("/me is done"));
    let received: Vec<Vec<String>> = clients
        .iter_mut()
        .map(|person| {
            let mut lines = Vec::new();
            while lines.iter().filter(|line: &&String| line.ends_with("is done")).count() < 9 {
                lines.extend(person.line().filter(|line| line.starts_with("[#order]")));
            }
            lines
        })
        .collect();
    assert_eq!(received[0].len(), 909);
    assert!(received.iter().all(|lines| *lines == received[0]), "one order for everyone");
}

#[test]
fn a_command_and_a_line_in_one_packet_are_processed_in_order() {
    let server = Server::start(&[]);
    let mut alice = server.join("alice");
    alice.say("/join #x");
    alice.sync();
    // The kernel has these bytes before the server accepts the connection.
    server.signal(Signal::SIGSTOP);
    wait_for("the supervisor to stand still", || is_stopped(server.pid()).then_some(()));
    let mut bob = server.connect();
    bob.send(b"/nick bob\n/join #x\nhello there\n");
    server.signal(Signal::SIGCONT);
    assert_eq!(
        alice.reads("hello there"),
        ["* bob joined #lobby", "* bob joined #x", "[#x] bob: hello there"]
    );
}

#[test]
fn a_refusal_says_what_to_do() {
    let server = Server::start(&[]);
    let (_alice, mut bob) = (server.join("Alice"), server.join("bob"));
    for (line, answer) in [
        ("/nick aLICE", "! the nickname aLICE is taken; choose another with /nick NAME"),
        ("/dance", "! no command /dance; /help lists the commands"),
        ("/join lobby", "! lobby is not a valid room name: a room name is # and 1 to 50 letters"),
        ("/join #", "! # is not a valid room name: "),
        ("/msg nobody hi", "! no user named nobody; /who lists who is in the room"),
        ("/charset utf-16", "! charset utf-16 can't be used"),
        ("/leave #elsewhere", "! you are not in #elsewhere"),
        ("/set", "* echo is off"),
        ("/hello x", "! /hello opens a session over UDP; yours is already open"),
    ] {
        bob.say(line);
        bob.reads(answer);
    }
}

#[test]
fn a_gbk_client_and_a_utf8_client_read_each_other() {
    let server = Server::start(&[]);
    let (mut utf8, mut gbk) = (server.join("utf8"), server.join("gbk"));
    gbk.say("/charset gbk");
    gbk.sync();
    gbk.send(b"\xc4\xe3\xba\xc3\r\n");
    utf8.reads("[#lobby] gbk: 你好");
    utf8.say("世界");
    let line = std::iter::from_fn(|| gbk.line_bytes())
        .find(|line| line.starts_with(b"[#lobby] utf8: "))
        .unwrap();
    assert_eq!(line, b"[#lobby] utf8: \xca\xc0\xbd\xe7");
}

#[test]
fn programs_read_tags() {
    let server = Server::start(&[]);
    let (mut alice, mut program) = (server.join("alice"), server.join("program"));
    program.say("/set tags on");
    program.sync();
    alice.say("one");
    alice.say("two");
    let first = program.reads("alice: one").pop().unwrap();
    let second = program.reads("alice: two").pop().unwrap();
    let id = |line: &str| {
        line.strip_prefix("@id=")
            .and_then(|rest| rest.split(';').next()?.parse::<u64>().ok())
            .expect("an id comes first")
    };
    assert!(id(&first) < id(&second));
    assert!(
        first.contains(";time=20")
            && first.contains("Z;event=say;room=#lobby;nick=alice [#lobby] alice: one"),
        "{first}"
    );
}

#[test]
fn the_welcome_names_at_most_twenty() {
    let server = Server::start(&[]);
    let mut crowd: Vec<_> = (0..30).map(|i| server.join(&format!("someone{i}"))).collect();
    crowd.iter_mut().for_each(|one| drop(one.sync()));
    let lines = server.connect().reads("in #lobby: ");
    assert!(
        lines[0].starts_with(
            "* Welcome to forkchat, guest31. You are in #lobby; 31 people are here. /help"
        ),
        "{lines:?}"
    );
    assert_eq!(lines[1].matches("someone").count(), 20);
    assert!(lines[1].ends_with("… and 11 more"), "{lines:?}");
}

#[test]
fn the_session_of_the_readme_can_be_typed() {
    if !has_tool("nc") {
        return;
    }
    let server = Server::start(&[]);
    let port = server.tcp.port().to_string();
    let nc = |script: &str| {
        let shell =
            Command::new("sh").args(["-c", script, "sh", &port]).stdout(Stdio::piped()).spawn();
        shell.expect("sh runs")
    };
    let mut watcher = server.join("watcher");
    let reader = nc("(echo '/nick alice'; sleep 2) | nc -N 127.0.0.1 $1");
    watcher.reads("alice");
    let speaker = nc("printf '/nick bob\\nhi\\n' | nc -N 127.0.0.1 $1");
    let said = String::from_utf8(speaker.wait_with_output().unwrap().stdout).unwrap();
    assert!(said.contains("* you are now bob\n"), "{said}");
    watcher.reads("[#lobby] bob: hi");
    watcher.reads("* bob quit");
    let received = String::from_utf8(reader.wait_with_output().unwrap().stdout).unwrap();
    assert!(received.contains("[#lobby] bob: hi\n* bob quit\n"), "{received}");
}

#[test]
fn rooms_vanish_with_their_last_member_unless_they_have_a_topic() {
    let server = Server::start(&[]);
    let (mut alice, mut bob) = (server.join("alice"), server.join("bob"));
    bob.say("/join #kept");
    bob.say("/topic worth keeping");
    bob.say("/join #gone");
    bob.say("/quit");
    alice.reads("* bob quit");
    alice.say("/rooms");
    assert_eq!(alice.sync(), ["* #lobby (1)", "* #kept (0): worth keeping"]);
}

#[test]
fn enter_after_the_goodbye_ends_a_connection_that_the_client_keeps_open() {
    for model in ["pool", "threads", "process"] {
        let server = Server::start(&["--model", model]);
        let mut alice = server.join("alice");
        alice.say("/quit");
        assert_eq!(alice.rest().last().unwrap(), "* goodbye");
        // The user presses Enter once, because the program has not noticed the end.
        alice.send(b"\n");
        wait_for(&format!("the connection to be reset ({model})"), || {
            alice.stream().take_error().unwrap()
        });
    }
}

#[test]
fn nc_ends_at_the_first_enter_after_quit() {
    if !has_tool("nc") {
        return;
    }
    let server = Server::start(&[]);
    let mut nc = Command::new("nc")
        .args([server.tcp.ip().to_string(), server.tcp.port().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut input, output) = (nc.stdin.take().unwrap(), nc.stdout.take().unwrap());
    input.write_all(b"/quit\n").unwrap();
    let mut lines = BufReader::new(output).lines();
    assert!(lines.by_ref().any(|line| line.unwrap() == "* goodbye"));
    // Its input and output stay open. If it has ended by itself, the write fails.
    let _ = input.write_all(b"\n");
    wait_for("nc to end", || nc.try_wait().unwrap());
    drop((input, lines));
}
