//! What the client restores, repeats and shows after an outage.

use super::super::*;
use super::server::{Connection, Server};
use super::simulation::{Simulation, config};
use forkchat_common::protocol::line::tagged::Kind;

#[test]
fn after_an_outage_nickname_rooms_and_settings_are_restored() {
    let mut sim = Simulation::new(1, config(true, false), Server::new(true, false), 0);
    sim.run_until_idle();
    for line in ["/join #c", "/leave #lobby", "/join #rust", "/set joins off", "/nick other"] {
        sim.types(line);
        sim.run_until_idle();
    }
    sim.disconnect();
    sim.run_until_idle();
    let connection = sim.server.connections.last().unwrap();
    assert_eq!(
        (connection.nick.as_str(), connection.rooms.as_slice()),
        ("other", ["#c".to_owned(), "#rust".to_owned()].as_slice())
    );
    assert_eq!(sim.conversation.prompt_room(), Some("#rust"));
    let notices: Vec<&str> = sim
        .entries
        .iter()
        .filter_map(
            |shown| if let Entry::Notice(text) = shown { Some(text.as_str()) } else { None },
        )
        .collect();
    assert!(
        notices.iter().any(|notice| notice.starts_with("connection lost: cut; trying again in ")),
        "{notices:?}"
    );
    assert!(notices.contains(&"reconnected as other in #rust"), "{notices:?}");
}

#[test]
fn the_rooms_after_an_outage_are_exactly_those_before_it() {
    for (rooms, typed) in [
        (&[] as &[&str], &[] as &[&str]),
        (&["#rust"], &[]),
        (&["#rust", "#c"], &["/join #rust"]),
        (&["#rust"], &["/leave #lobby"]),
        (&["#rust"], &["/leave #rust"]),
        (&[], &["/leave #lobby"]),
        (&["#rust"], &["/leave #lobby", "/join #lobby"]),
    ] {
        for is_udp in [false, true] {
            let rooms: Vec<String> = rooms.iter().map(|&room| room.to_owned()).collect();
            let mut sim = Simulation::new(
                1,
                Config { rooms, ..config(true, is_udp) },
                Server::new(true, is_udp),
                0,
            );
            sim.run_until_idle();
            for line in typed {
                sim.types(line);
                sim.run_until_idle();
            }
            let rooms_now = |sim: &Simulation| sim.server.connections.last().unwrap().rooms.clone();
            let (before, room) =
                (rooms_now(&sim), sim.conversation.prompt_room().map(str::to_owned));
            // The second outage must restore what the first one has restored.
            for loss in 0..2 {
                sim.disconnect();
                sim.server.bob_says("#lobby", &format!("meanwhile {loss}"));
                sim.run_until_idle();
                let mut after = rooms_now(&sim);
                assert_eq!(after.last(), before.last(), "current room: {typed:?}");
                after.sort();
                let mut before = before.clone();
                before.sort();
                assert_eq!(
                    (after, sim.conversation.prompt_room()),
                    (before.clone(), room.as_deref()),
                    "{typed:?}"
                );
                let is_heard = sim
                    .received_from("bob")
                    .iter()
                    .any(|received| received.text == format!("meanwhile {loss}"));
                assert_eq!(
                    is_heard,
                    before.contains(&"#lobby".to_owned()),
                    "{typed:?}: {:?}",
                    sim.notices()
                );
            }
        }
    }
}

#[test]
fn a_second_outage_at_any_moment_of_reconnecting_changes_no_room() {
    for is_udp in [false, true] {
        for steps in 0..40 {
            let mut sim = Simulation::new(1, config(true, is_udp), Server::new(true, is_udp), 0);
            sim.run_until_idle();
            sim.disconnect();
            sim.wait_for_connection();
            for _ in 0..steps {
                sim.server_reads();
                sim.deliver();
            }
            sim.disconnect();
            sim.run_until_idle();
            let rooms = &sim.server.connections.last().unwrap().rooms;
            assert_eq!(
                (rooms.as_slice(), sim.conversation.prompt_room()),
                (["#lobby".to_owned(), "#rust".to_owned()].as_slice(), Some("#rust")),
                "{steps}"
            );
        }
    }
}

#[test]
fn lines_that_others_said_during_an_outage_are_shown_once_as_earlier_and_in_order() {
    let mut sim = Simulation::new(1, config(true, false), Server::new(true, false), 0);
    sim.run_until_idle();
    sim.types("/join #c");
    sim.run_until_idle();
    sim.server.bob_says("#rust", "me: before");
    sim.run_until_idle();
    // The client never receives this line.
    sim.server.bob_says("#rust", "me: unread");
    sim.disconnect();
    for (room, text) in
        [("#c", "in c"), ("#rust", "me: in rust"), ("#other", "not there"), ("#c", "again in c")]
    {
        sim.server.bob_says(room, text);
    }
    sim.run_until_idle();
    sim.server.bob_says("#c", "after");
    sim.run_until_idle();
    let heard: Vec<(&str, bool)> = sim
        .received_from("bob")
        .iter()
        .map(|received| (received.text.as_str(), received.is_earlier))
        .collect();
    let missed = ["me: unread", "in c", "me: in rust", "again in c"].map(|text| (text, true));
    assert_eq!(heard[1..5], missed);
    assert_eq!((heard[0], heard[5], heard.len()), (("me: before", false), ("after", false), 6));
    assert!(
        sim.notices().contains(
            &"4 lines said while you were disconnected are marked ~; \
             private messages from that time are not stored"
        ),
        "{:?}",
        sim.notices()
    );
    assert_eq!(sim.conversation.prompt_room(), Some("#c"));
    // A second outage shows no line again.
    sim.disconnect();
    sim.run_until_idle();
    assert_eq!(sim.received_from("bob").len(), 6);
    assert!(sim.notices().contains(
        &"nothing was said in your rooms while you were disconnected; \
                 private messages from that time are not stored"
    ));
}

#[test]
fn if_the_history_is_incomplete_the_client_says_that_lines_may_be_missing() {
    // The history begins too late; there is no history; the server's clock was set back.
    for (has_history, history_since, id, notice) in [
        (
            true,
            1_000,
            0,
            "there may be more in #lobby, #rust; private messages from that time are not stored",
        ),
        (
            false,
            0,
            0,
            "there may be more in #lobby, #rust; private messages from that time are not stored",
        ),
        (
            true,
            0,
            5_000,
            "cannot show what others said while you were disconnected: the server's line numbers \
             have changed; /history shows a room's last lines",
        ),
    ] {
        let mut server = Server::new(has_history, false);
        server.history_since = history_since;
        let mut sim = Simulation::new(1, config(true, false), server, 0);
        sim.run_until_idle();
        sim.conversation.handle_line(
            format!("@id={id};event=say;room=#rust;nick=bob [#rust] bob: hi").as_bytes(),
            sim.now,
        );
        sim.disconnect();
        sim.run_until_idle();
        assert!(sim.notices().contains(&notice), "{:?}", sim.notices());
        sim.types("still here");
        sim.run_until_idle();
        assert_eq!(sim.server.log.len(), 1);
    }
}

#[test]
fn a_message_typed_during_an_outage_waits_for_its_receiver_to_reconnect() {
    for is_seen in [true, false] {
        let mut sim = Simulation::new(1, config(true, false), Server::new(true, false), 0);
        sim.run_until_idle();
        sim.disconnect();
        while sim.server.connections[0].is_open {
            sim.step_old_connections();
        }
        sim.types("/msg carol one");
        let reads = |sim: &mut Simulation, millis: u64| {
            for _ in 0..millis / 100 {
                while sim.server_reads() || sim.deliver() {}
                sim.advance(100);
            }
        };
        reads(&mut sim, 5_000);
        sim.types("/msg Carol two");
        reads(&mut sim, 1_000);
        assert!(sim.server.messages.is_empty());
        assert!(
            sim.notices().contains(&"carol is not back yet; retrying your message for 30 s"),
            "{:?}",
            sim.notices()
        );
        let carol = sim.server.connect();
        sim.server.connections[carol].nick = "carol".to_owned();
        sim.server.connections.push(Connection {
            nick: "Carol".to_owned(),
            is_open: true,
            ..Connection::default()
        });
        if is_seen {
            sim.conversation.handle_line(
                b"@id=1;event=join;room=#rust;nick=carol * carol joined #rust",
                sim.now,
            );
            sim.process_outputs();
            while sim.server_reads() || sim.deliver() {}
        } else {
            reads(&mut sim, 4_000);
        }
        assert_eq!(sim.server.messages, ["one", "two"], "seen: {is_seen}");
        let refused = |shown: &&Entry| {
            matches!(shown, Entry::Received(Received { kind: Some(Kind::Error), .. }))
        };
        assert_eq!(sim.entries.iter().filter(refused).count(), 0, "{:?}", sim.entries);
    }
}

#[test]
fn a_message_is_not_sent_if_its_receiver_does_not_reconnect_in_time() {
    let mut sim = Simulation::new(1, config(true, false), Server::new(true, false), 0);
    sim.run_until_idle();
    sim.types("/msg carol now");
    sim.run_until_idle();
    assert!(
        matches!(
            sim.entries.last(),
            Some(Entry::Received(Received { kind: Some(Kind::Error), .. }))
        ),
        "without an outage the message does not wait"
    );
    sim.disconnect();
    sim.types("/msg carol later");
    sim.run_until_idle();
    let last: Vec<&Entry> = sim.entries.iter().rev().take(2).collect();
    assert!(
        matches!(last[0], Entry::Received(Received { kind: Some(Kind::Error), .. })),
        "{last:?}"
    );
    assert!(
        matches!(last[1], Entry::Own { text, state: DeliveryState::NotSent, .. }
            if text == "/msg carol later"),
        "{last:?}"
    );
    assert_eq!((sim.conversation.unaccepted(), sim.server.messages.len()), (0, 0));
}

#[test]
fn while_the_old_session_holds_the_nickname_nothing_is_said_under_another() {
    let mut sim = Simulation::new(1, config(true, false), Server::new(true, false), 0);
    sim.run_until_idle();
    sim.disconnect();
    sim.advance(5_000);
    sim.types("hi");
    for _ in 0..50 {
        while sim.server_reads() || sim.deliver() {}
        sim.advance(100);
    }
    assert!(sim.server.log.is_empty(), "the old session still exists");
    sim.run_until_idle();
    assert_eq!(sim.server.log, [("#rust".to_owned(), "me".to_owned(), "hi".to_owned(), false)]);
}

#[test]
fn a_join_in_doubt_is_repeated_before_the_lines_typed_after_it_are_said() {
    for has_history in [true, false] {
        let mut sim = Simulation::new(1, config(true, false), Server::new(has_history, false), 0);
        sim.run_until_idle();
        sim.types("for rust");
        sim.types("/join #c");
        sim.types("for c only");
        sim.disconnect();
        sim.run_until_idle();
        let said = |text: &str| {
            sim.server
                .log
                .iter()
                .filter(|(_, _, said, _)| said == text)
                .map(|(room, ..)| room.as_str())
                .collect::<Vec<_>>()
        };
        assert_eq!((said("for c only"), sim.conversation.prompt_room()), (vec!["#c"], Some("#c")));
        assert!(said("for rust") == ["#rust"]);
    }
}

#[test]
fn a_line_typed_after_a_change_of_nickname_in_doubt_is_not_said_twice() {
    let mut sim = Simulation::new(1, config(true, false), Server::new(true, false), 0);
    sim.run_until_idle();
    sim.types("/nick other");
    sim.types("hi");
    while sim.server_reads() {}
    sim.disconnect();
    sim.run_until_idle();
    assert_eq!(sim.fates(&["hi".to_owned()])["hi"], (1, 1, 0));
    assert_eq!(sim.conversation.nick(), "other");
}

#[test]
fn a_history_that_does_not_reach_back_leaves_a_line_in_doubt() {
    let mut sim = Simulation::new(1, config(true, false), Server::new(true, false), 0);
    sim.run_until_idle();
    sim.types("hi");
    while sim.server_reads() {}
    sim.disconnect();
    // The server restarted without its history.
    let mut server = Server::new(true, false);
    server.history_since = 1_000_000;
    sim.server = server;
    sim.run_until_idle();
    assert_eq!(sim.fates(&["hi".to_owned()])["hi"], (0, 0, 1));
}

#[test]
fn without_a_connection_quit_leaves_at_once() {
    let mut sim = Simulation::new(1, config(true, false), Server::new(true, false), 0);
    sim.run_until_idle();
    sim.disconnect();
    sim.types("/quit");
    assert_eq!(sim.outcome, Some(Outcome::Done));

    let mut sim = Simulation::new(1, config(true, false), Server::new(true, false), 0);
    sim.run_until_idle();
    sim.types("/quit");
    sim.disconnect();
    assert_eq!(sim.outcome, Some(Outcome::Done), "the answer to /quit is lost");
}
