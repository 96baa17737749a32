//! Lost datagrams and dead sessions over UDP.

use super::super::*;
use super::server::Server;
use super::simulation::{Simulation, config};

#[test]
fn over_udp_no_datagram_that_is_lost_while_reconnecting_changes_a_room() {
    // The client reads the history of #lobby first.
    let config =
        Config { rooms: vec!["#rust".to_owned(), "#lobby".to_owned()], ..config(true, true) };
    for lost in 0..40 {
        let mut sim = Simulation::new(1, config.clone(), Server::new(true, true), 0);
        sim.run_until_idle();
        sim.disconnect();
        sim.wait_for_connection();
        // Line by line. One line, or its answer, is lost.
        for step in 0..40 {
            let connection = sim.server.connections.last_mut().unwrap();
            if step * 2 == lost {
                connection.to_server.pop_front();
            }
            sim.server_reads();
            if step * 2 + 1 == lost {
                sim.server.connections.last_mut().unwrap().to_client.pop_front();
            }
            sim.deliver();
        }
        sim.run_until_idle();
        let mut rooms = sim.server.connections.last().unwrap().rooms.clone();
        assert_eq!(
            (rooms.pop().as_deref(), sim.conversation.prompt_room()),
            (Some("#lobby"), Some("#lobby")),
            "{lost}"
        );
        assert_eq!(rooms, ["#rust"], "{lost}");
    }
}

#[test]
fn over_udp_a_room_is_not_entered_again_if_the_answer_to_leave_was_lost() {
    let mut sim = Simulation::new(1, config(true, true), Server::new(true, true), 0);
    sim.run_until_idle();
    sim.types("/leave #lobby");
    while sim.server_reads() {}
    // The answer is lost. The repeated command is refused: the user is no longer in the room.
    sim.server.connections[0].to_client.clear();
    sim.conversation.handle_line(b"@id=1;event=error;to=leave ! you are not in #lobby", sim.now);
    sim.process_outputs();
    sim.run_until_idle();
    sim.disconnect();
    sim.run_until_idle();
    assert_eq!(sim.server.connections.last().unwrap().rooms, ["#rust"]);
}

#[test]
fn over_udp_a_lost_login_is_sent_again_and_keepalive_answers_are_not_shown() {
    for lost in 1..8 {
        let mut sim = Simulation::new(1, config(true, true), Server::new(false, true), 0);
        if lost == 1 {
            sim.server.connections[0].to_server.clear();
        } else {
            // The server does not receive this line of the login.
            sim.server.connections[0].to_server.remove(lost - 2);
        }
        sim.run_until_idle();
        sim.types("hi");
        sim.run_until_idle();
        assert_eq!(
            sim.server.log,
            [("#rust".to_owned(), "me".to_owned(), "hi".to_owned(), false)],
            "{lost}"
        );
        assert!(
            !sim.entries.iter().any(|entry| matches!(entry, Entry::Received(received)
                    if received.prose.contains("pong"))),
            "{lost}: {:?}",
            sim.entries
        );
    }
}

#[test]
fn over_udp_a_history_that_the_client_requested_is_never_shown_however_late_it_comes() {
    let mut sim = Simulation::new(1, config(true, true), Server::new(true, true), 0);
    sim.run_until_idle();
    let past = "@id=7;event=say;to=history;room=#rust;nick=eve [#rust] eve: look here, me";
    let end = "@id=9;event=reply;to=history;room=#rust;since=0 * end of the history";
    // A line of the user's own in the history is shown as accepted.
    let is_history = |entry: &&Entry| {
        matches!(entry, Entry::Received(received)
            if received.to.as_deref() == Some("history") && !received.is_own)
    };
    sim.types("hi");
    while sim.server_reads() {}
    sim.disconnect();
    sim.run_until_idle();
    // The client requested the history twice, because it took the first answer for lost. The second
    // answer comes when everything is resolved.
    for line in [past, end, past, end] {
        sim.conversation.handle_line(line.as_bytes(), sim.now);
    }
    sim.process_outputs();
    assert_eq!(sim.entries.iter().find(is_history), None);
    sim.types("/history");
    for line in [past, end] {
        sim.conversation.handle_line(line.as_bytes(), sim.now);
    }
    sim.process_outputs();
    let shown: Vec<_> = sim.entries.iter().filter(is_history).collect();
    assert!(
        matches!(shown[..], [Entry::Received(received), Entry::Received(_)] if !received.is_for_me),
        "earlier lines ring no bell: {shown:?}"
    );
}

#[test]
fn over_udp_a_goodbye_is_checked_soon_and_once() {
    let mut sim = Simulation::new(1, config(true, true), Server::new(true, true), 0);
    sim.run_until_idle();
    sim.types("hi");
    while sim.server_reads() {}
    while sim.deliver() {}
    sim.now += Duration::from_secs(10);
    let due_in = |sim: &Simulation| {
        sim.conversation.next_timeout().map(|at| at.saturating_duration_since(sim.now).as_secs())
    };
    assert!(due_in(&sim) > Some(10));
    sim.conversation
        .handle_line(b"@id=9;event=say;room=#rust;nick=eve [#rust] eve: goodbye", sim.now);
    assert!(due_in(&sim) > Some(10), "a user said it, not the server");
    sim.conversation.handle_line(b"@id=9;event=reply * the server is stopping; goodbye", sim.now);
    assert_eq!(due_in(&sim), Some(0));
    sim.advance(0);
    while sim.server_reads() {}
    while sim.deliver() {}
    assert!(due_in(&sim) > Some(10), "the session goes on");
}

#[test]
fn datagram_numbers_may_be_as_large_as_possible() {
    let mut sim = Simulation::new(1, config(true, true), Server::new(true, true), 0);
    for number in [1, u64::MAX, u64::MAX, 3] {
        sim.conversation.handle_line(
            format!("@id=1;datagram={number};event=say;room=#a;nick=b [#a] b: hi").as_bytes(),
            sim.now,
        );
    }
    sim.process_outputs();
    let notices = sim.entries.iter().filter(|shown| matches!(shown, Entry::Notice(_))).count();
    assert_eq!(notices, 1);
}
