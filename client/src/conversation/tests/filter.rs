//! The client as a filter: every line counts, and it may be text.

use super::super::*;
use super::server::Server;
use super::simulation::{Simulation, config};

#[test]
fn a_filter_ends_after_its_last_line_and_fails_if_its_nickname_is_refused() {
    let mut sim = Simulation::new(1, config(false, false), Server::new(true, false), 0);
    for number in 0..200 {
        sim.types(&format!("line {number}"));
    }
    sim.conversation.handle_input_end(sim.now);
    sim.run_until_idle();
    assert_eq!((sim.outcome, sim.server.log.len()), (Some(Outcome::Done), 200));

    let mut server = Server::new(true, false);
    let other = server.connect();
    server.connections[other].nick = "me".to_owned();
    let mut sim = Simulation::new(1, config(false, false), server, 0);
    sim.types("not under another name");
    sim.conversation.handle_input_end(sim.now);
    while sim.server_reads() || sim.deliver() {}
    assert_eq!((sim.outcome, sim.server.log.len()), (Some(Outcome::Failed("taken".to_owned())), 0));
    assert!(
        sim.entries
            .iter()
            .any(|shown| matches!(shown, Entry::Own { state: DeliveryState::NotSent, .. }))
    );
}

#[test]
fn without_commands_every_line_is_said_exactly() {
    let mut sim = Simulation::new(
        1,
        Config { commands: false, ..config(false, false) },
        Server::new(true, false),
        0,
    );
    let texts = [
        "/usr/bin/ld: cannot find -lfoo",
        "// a comment",
        "/quit",
        "/topic x",
        "/",
        "/set tags off",
        " /me",
    ];
    for text in texts {
        sim.types(text);
    }
    sim.conversation.handle_input_end(sim.now);
    sim.run_until_idle();
    assert_eq!(sim.outcome, Some(Outcome::Done));
    assert!(
        sim.server.log.iter().map(|(_, _, text, _)| text.as_str()).eq(texts),
        "{:?}",
        sim.server.log
    );
}

#[test]
fn without_commands_a_slash_after_characters_that_the_server_removes_is_no_command() {
    let mut sim = Simulation::new(
        1,
        Config { commands: false, ..config(false, false) },
        Server::new(true, false),
        0,
    );
    ["\x1b/quit", "\x1b[A/quit", "a\x08/quit", "\u{202a}/usr", "\u{feff}/topic x", "\u{301}/quit"]
        .iter()
        .for_each(|text| sim.types(text));
    sim.conversation.handle_input_end(sim.now);
    sim.run_until_idle();
    assert_eq!(sim.outcome, Some(Outcome::Done));
    let said = sim.server.log.iter().map(|(_, _, text, _)| text.as_str());
    assert!(
        said.eq(["/quit", "/quit", "/quit", "/usr", "/topic x", "\u{301}/quit"]),
        "{:?}",
        sim.server.log
    );
}

#[test]
fn a_filter_shows_a_refused_line_as_it_was_typed_and_fails() {
    let mut sim = Simulation::new(
        1,
        Config { commands: false, ..config(false, false) },
        Server::new(true, false),
        0,
    );
    while sim.server_reads() || sim.deliver() {}
    sim.server.connections[0].rooms.clear();
    sim.conversation
        .handle_line(b"@id=1;event=reply;to=leave;room=#rust * you left #rust", sim.now);
    sim.types("/etc/passwd");
    sim.conversation.handle_input_end(sim.now);
    sim.run_until_idle();
    assert_eq!(sim.outcome, Some(Outcome::Failed("a line was not accepted".to_owned())));
    assert!(sim.is_own_shown("/etc/passwd", DeliveryState::NotSent), "{:?}", sim.entries);
}

#[test]
fn a_filter_that_loses_its_connection_fails_and_shows_the_lines_that_were_not_accepted() {
    let mut sim = Simulation::new(1, config(false, false), Server::new(true, false), 0);
    while sim.server_reads() || sim.deliver() {}
    sim.types("one");
    while sim.server_reads() || sim.deliver() {}
    sim.types("two");
    sim.disconnect();
    assert_eq!(sim.outcome, Some(Outcome::Failed("connection lost: cut".to_owned())));
    assert_eq!(sim.fates(&["one".to_owned(), "two".to_owned()])["two"], (0, 0, 1));
}
