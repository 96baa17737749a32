//! The connection is refused, or lost and restored, over TCP and UDP.

use super::*;

#[test]
fn the_client_reconnects_when_the_server_was_killed_and_restarted() {
    let mut server = Server::start(&[]);
    let home = Home::new();
    let terminal = start_client(&server, &home, &["--nick", "alice", "--join", "#lobby"]);
    terminal.type_keys("/join #rust\r");
    wait_for_prompt(&terminal, "#rust> ");
    terminal.type_keys("/leave #lobby\r");
    terminal.shows("you left #lobby");
    server.signal(Signal::SIGKILL);
    server.wait();
    terminal.shows("connection lost: ");
    terminal.shows("; trying again in ");
    terminal.type_keys("typed meanwhile\r");
    terminal.shows("… alice: typed meanwhile");
    terminal.type_keys("half a li");
    let server = Server::start_in_place_of(&server, &[]);
    terminal.shows("reconnected");
    terminal.shows("✓ [#rust] alice: typed meanwhile");
    terminal.type_keys("ne");
    terminal.waits("the line", |terminal| {
        edited_line(terminal).ends_with("> half a line").then_some(())
    });
    terminal.type_keys("\r");
    terminal.shows("✓ [#rust] alice: half a line");
    wait_for_prompt(&terminal, "#rust> ");
    let mut bob = server.join("bob");
    bob.say("/who #lobby");
    let who = bob.reads("in #lobby").pop().unwrap();
    assert_eq!(who, "* in #lobby: bob");
}

#[test]
fn after_reconnecting_a_client_started_with_a_room_is_in_the_lobby_too() {
    let mut server = Server::start(&[]);
    let home = Home::new();
    let terminal = Terminal::start(
        &command(&server, &home, &["--nick", "alice", "--join", "#rust"]),
        ROWS,
        COLUMNS,
    );
    wait_for_prompt(&terminal, "#rust> ");
    server.signal(Signal::SIGKILL);
    server.wait();
    terminal.shows("; trying again in ");
    let server = Server::start_in_place_of(&server, &[]);
    terminal.shows("reconnected as alice in #rust");
    let mut bob = server.join("bob");
    bob.say("/who #lobby");
    assert_eq!(bob.reads("in #lobby").pop().unwrap(), "* in #lobby: alice bob");
    bob.say("tea?");
    terminal.shows("[#lobby] bob: tea?");
    wait_for_prompt(&terminal, "#rust> ");
}

#[test]
fn the_prompt_keeps_nickname_and_room_during_an_outage() {
    let mut server = Server::start(&[]);
    let home = Home::new();
    let terminal = start_client(&server, &home, &["--nick", "alice"]);
    let shows = |wanted: &str| {
        terminal
            .waits(wanted, |terminal| (edited_line_with_prompt(terminal) == wanted).then_some(()))
    };
    shows("alice #lobby>");
    terminal.type_keys("/join #rust\r");
    shows("alice #rust>");
    server.signal(Signal::SIGKILL);
    server.wait();
    terminal.shows("; trying again in ");
    // Each Enter draws another prompt.
    terminal.type_keys("\r");
    terminal.type_keys("typed meanwhile\r");
    terminal.shows("… alice: typed meanwhile");
    terminal.waits("the prompt that waits", |terminal| {
        terminal.lines().iter().any(|line| line.trim_end() == "alice #rust…").then_some(())
    });
    terminal.type_keys("\r");
    let _server = Server::start_in_place_of(&server, &[]);
    terminal.shows("reconnected");
    shows("alice #rust>");
}

#[test]
fn lines_that_others_said_during_an_outage_are_shown_as_earlier() {
    let mut server = Server::start(&[]);
    let home = Home::new();
    let terminal = start_client(&server, &home, &["--nick", "alice", "--join", "#lobby"]);
    terminal.type_keys("here\r");
    terminal.shows("✓ [#lobby] alice: here");
    server.signal(Signal::SIGKILL);
    server.wait();
    terminal.shows("; trying again in ");
    // The client has reconnected when the line is said.
    terminal.signal(Signal::SIGSTOP);
    let server = Server::start_in_place_of(&server, &[]);
    let mut bob = server.join("bob");
    bob.say("alice, where are you?");
    bob.sync();
    terminal.signal(Signal::SIGCONT);
    terminal.shows("reconnected");
    terminal.shows("~ [#lobby] bob: alice, where are you?");
    terminal.shows("private messages from that time are not stored");
    bob.say("welcome back");
    terminal.shows("  [#lobby] bob: welcome back");
    assert_eq!(terminal.bells(), 0);
    assert_eq!(terminal.count("where are you?"), 1);
}

#[test]
fn a_line_that_may_have_arrived_is_shown_in_doubt_and_not_said_twice() {
    let mut server = Server::start(&[]);
    let home = Home::new();
    let terminal = start_client(&server, &home, &["--nick", "alice"]);
    let processes: Vec<_> =
        server.processes().into_iter().map(|(pid, _)| pid).chain([server.pid()]).collect();
    // The supervisor is stopped first, because it would replace a stopped worker.
    for &process in processes.iter().rev() {
        kill(process, Signal::SIGSTOP).unwrap();
        wait_for("the server to stand still", || is_stopped(process).then_some(()));
    }
    terminal.type_keys("into the void\r");
    terminal.shows("… [#lobby] alice: into the void");
    for &process in processes.iter().rev() {
        kill(process, Signal::SIGKILL).unwrap();
    }
    server.wait();
    terminal.shows("connection lost");
    let server = Server::start_in_place_of(&server, &[]);
    terminal.shows("? [#lobby] alice: into the void");
    terminal.shows("this line may not have arrived");
    let mut bob = server.join("bob");
    terminal.type_keys("next\r");
    let received = bob.reads("alice: next");
    assert!(!received.iter().any(|line| line.contains("void")), "{received:?}");
    terminal.type_keys("\x1b[A\x1b[A\r");
    bob.reads("[#lobby] alice: into the void");
}

#[test]
fn a_refused_connection_is_reported_at_once() {
    let mut server = Server::start(&[]);
    server.signal(Signal::SIGKILL);
    server.wait();
    let home = Home::new();
    for arguments in [&[] as &[&str], &["--udp"]] {
        let mut terminal = Terminal::start(&command(&server, &home, arguments), ROWS, COLUMNS);
        assert_eq!(terminal.wait().code(), Some(1));
        terminal.shows("cannot connect: connection refused; no server is running there");
    }
}

#[test]
fn over_udp_the_client_works_the_same() {
    let mut server = Server::start(&[]);
    let mut bob = server.join("bob");
    let home = Home::new();
    let terminal = start_client(&server, &home, &["--nick", "alice", "--udp"]);
    terminal.type_keys("hi\r");
    terminal.shows("✓ [#lobby] alice: hi");
    bob.reads("[#lobby] alice: hi");
    terminal.type_keys("/join #rust\r");
    wait_for_prompt(&terminal, "#rust> ");
    server.signal(Signal::SIGKILL);
    server.wait();
    // Over UDP nothing reports the restart. The client notices it when it sends something.
    terminal.type_keys("meanwhile\r");
    terminal.shows("connection lost");
    let server = Server::start_in_place_of(&server, &[]);
    terminal.shows("reconnected");
    terminal.type_keys("again\r");
    terminal.shows("✓ [#rust] alice: again");
    let mut bob = server.join("bob");
    bob.say("/who #rust");
    bob.reads("* in #rust: alice");
}

#[test]
fn over_udp_a_client_that_only_reads_notices_that_the_server_was_restarted() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let mut server = Server::start(&[]);
        let home = Home::new();
        let terminal = start_client(&server, &home, &["--nick", "alice", "--udp"]);
        terminal.type_keys("/join #rust\r");
        wait_for_prompt(&terminal, "#rust> ");
        server.signal(signal);
        server.wait();
        let server = Server::start_in_place_of(&server, &[]);
        // A server that stops says goodbye, and the client checks whether it still answers. If the
        // server is killed, the client notices at its next keepalive ping.
        let since = Instant::now();
        terminal.shows("connection lost");
        assert!(
            signal == Signal::SIGKILL || since.elapsed() < Duration::from_secs(15),
            "{:?} after the goodbye",
            since.elapsed()
        );
        terminal.shows("reconnected");
        let mut bob = server.join("bob");
        bob.say("/join #rust\nwelcome back");
        terminal.shows("[#rust] bob: welcome back");
    }
}
