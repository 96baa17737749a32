//! The login, and single lines.

use super::super::*;
use super::server::Server;
use super::simulation::{Simulation, config};

#[test]
fn a_login_is_sent_at_once_and_answers_to_its_settings_are_not_shown() {
    let mut sim = Simulation::new(1, config(true, false), Server::new(true, false), 0);
    let sent: Vec<String> = sim.server.connections[0].to_server.iter().cloned().collect();
    assert_eq!(sent, ["/set tags on", "/set echo on", "/nick me", "/join #rust", "/whoami"]);
    sim.run_until_idle();
    let prose: Vec<String> = sim
        .entries
        .iter()
        .map(|shown| {
            if let Entry::Received(received) = shown {
                received.prose.clone()
            } else {
                format!("{shown:?}")
            }
        })
        .collect();
    assert_eq!(prose, ["* Welcome to forkchat, guest1.", "* you are now", "* joined"]);
    assert_eq!((sim.conversation.nick(), sim.conversation.prompt_room()), ("me", Some("#rust")));
    sim.types("/who");
    sim.run_until_idle();
    assert_eq!(
        sim.entries.len(),
        3 + 2,
        "an answer that the user requested is shown with all its lines"
    );
}

#[test]
fn settings_that_the_client_needs_can_not_be_changed_and_long_lines_are_refused() {
    let mut sim = Simulation::new(1, config(true, false), Server::new(true, false), 0);
    sim.run_until_idle();
    for line in ["/set tags off", "/SET echo off", "/charset gbk", &"x".repeat(4_096)] {
        sim.types(line);
        assert!(matches!(sim.entries.last(), Some(Entry::Refusal(_))), "{line}");
    }
    assert!(sim.server.connections[0].to_server.is_empty());
    sim.types(&"x".repeat(4_095));
    sim.types("\x1b\x07");
    assert_eq!(sim.server.connections[0].to_server.len(), 1, "a line without text is not sent");
}

#[test]
fn a_line_with_the_users_nickname_or_a_private_one_is_marked() {
    let mut sim = Simulation::new(1, config(true, false), Server::new(true, false), 0);
    sim.run_until_idle();
    let mut is_for_me = |tags: &str, text: &str| {
        sim.conversation.handle_line(format!("@id=1;{tags} {text}").as_bytes(), sim.now);
        sim.process_outputs();
        matches!(sim.entries.last(), Some(Entry::Received(Received { is_for_me: true, .. })))
    };
    let say = "event=say;room=#rust;nick=bob";
    assert!(is_for_me(say, "[#rust] bob: ME: look"));
    assert!(is_for_me(say, "[#rust] bob: look (me)"));
    assert!(!is_for_me(say, "[#rust] bob: some names, home"));
    assert!(is_for_me("event=private;nick=bob;target=me", "[@bob] bob: psst"));
    assert!(!is_for_me("event=join;room=#rust;nick=me2", "* me2 joined #rust"));
}

#[test]
fn of_a_long_paste_that_waits_only_the_number_of_lines_is_shown() {
    let mut sim = Simulation::new(1, config(true, false), Server::new(true, false), 0);
    sim.run_until_idle();
    sim.entries.clear();
    for number in 0..5_000 {
        sim.types(&format!("line {number}"));
        // The server reads slowly.
        if number % 5 == 0 {
            sim.server_reads();
        }
        sim.advance(1);
    }
    let (waiting, counts): (Vec<&Entry>, Vec<&Entry>) = sim
        .entries
        .iter()
        .filter(|shown| !matches!(shown, Entry::Received(_)))
        .partition(|shown| matches!(shown, Entry::Own { .. }));
    assert!(
        waiting.len() <= 5 && (3..=6).contains(&counts.len()),
        "{} and {counts:?}",
        waiting.len()
    );
}

#[test]
fn a_login_without_an_answer_fails() {
    let mut sim = Simulation::new(1, config(false, false), Server::new(true, false), 0);
    for _ in 0..40 {
        sim.advance(1_000);
    }
    assert_eq!(
        sim.outcome,
        Some(Outcome::Failed("connection lost: the server doesn't answer".to_owned()))
    );
}

#[test]
fn messages_to_oneself_are_accepted_one_by_one() {
    let mut sim = Simulation::new(1, config(true, false), Server::new(true, false), 0);
    sim.run_until_idle();
    sim.types("/msg me a");
    sim.types("/msg me b");
    let private = "event=private;nick=me;target=me";
    for text in ["a", "a", "b", "b"] {
        sim.conversation
            .handle_line(format!("@id=9;{private} [@me] me: {text}").as_bytes(), sim.now);
    }
    sim.process_outputs();
    let own = sim.entries.iter().filter_map(|shown| {
        if let Entry::Received(received) = shown {
            received.is_own.then_some(received.text.as_str())
        } else {
            None
        }
    });
    assert_eq!(own.collect::<Vec<_>>(), ["a", "b"]);
}
