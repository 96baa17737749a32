//! Rooms, topics, and what they may take.

use super::*;
use std::net::SocketAddr;

#[test]
fn rooms_are_entered_switched_and_left() {
    let mut room = Room::new(2);
    room.types(0, "/join #Dev");
    room.types(1, "/join #dev");
    assert_eq!(room.received(0), "* you joined #Dev; nobody else is here\n* guest2 joined #Dev\n");
    assert_eq!(room.received(1), "* you joined #Dev; 2 people are here\n");
    room.types(0, "/join #lobby");
    room.types(0, "in the lobby");
    assert_eq!(
        room.received_all(),
        ["* you are now talking in #lobby\n", "[#lobby] guest1: in the lobby\n"]
    );
    room.types(0, "/leave #DEV");
    assert_eq!(
        room.received_all(),
        ["* you left #Dev; you are now talking in #lobby\n", "* guest1 left #Dev\n"]
    );
    room.types(1, "/leave");
    room.types(1, "/leave");
    assert_eq!(
        room.received(1),
        "* you left #Dev; you are now talking in #lobby\n* you left #lobby; you are in no room now, join one with /join #ROOM\n"
    );
    room.types(1, "anyone?");
    assert!(room.received(1).starts_with("! you are in no room; /join #ROOM first"));
    room.types(0, "/rooms");
    assert!(room.received(0).ends_with("* #lobby (1)\n"), "an empty room without a topic is gone");
}

#[test]
fn of_three_rooms_the_one_joined_before_becomes_current() {
    let mut room = Room::new(1);
    room.types(0, "/join #a");
    room.types(0, "/join #b");
    room.types(0, "/join #a");
    room.types(0, "/leave");
    assert!(room.received(0).ends_with("* you left #a; you are now talking in #lobby\n"));
}

#[test]
fn a_topic_is_shown_set_and_outlives_the_last_member() {
    let mut room = Room::new(2);
    room.types(0, "/join #dev");
    room.types(0, "/topic");
    room.types(0, "/topic all about forks");
    room.types(0, "/leave");
    room.received_all();
    room.types(1, "/join #DEV");
    assert_eq!(
        room.received(1),
        "* you joined #dev; nobody else is here\n* topic of #dev: all about forks\n"
    );
}

#[test]
fn a_topic_can_be_removed_and_has_a_bound() {
    let mut room = Room::new(2);
    for removal in ["/topic -", "/topic \"\""] {
        room.types(0, "/topic tea");
        room.received_all();
        room.types(0, removal);
        assert_eq!(
            room.received_all(),
            [
                "* #lobby has no topic; /topic TEXT sets one\n",
                "* guest1 removed the topic of #lobby\n"
            ]
        );
    }
    room.types(0, &format!("/topic {}", "é".repeat(400)));
    assert!(room.received(0).starts_with("* topic of #lobby: éé"));
    room.types(0, &format!("/topic {}", "é".repeat(401)));
    assert_eq!(
        room.received(0),
        "! topic too long (at most 400 characters), not set; shorten it\n"
    );
}

#[test]
fn a_topic_that_does_not_change_is_told_to_who_set_it_alone() {
    let mut room = Room::new(2);
    for removal in ["/topic -", "/topic \"\""] {
        room.types(1, removal);
        assert_eq!(
            room.received_all(),
            ["", "* #lobby has no topic; /topic TEXT sets one\n"],
            "{removal}"
        );
    }
    room.types(0, "/topic tea");
    assert_eq!(
        room.received_all(),
        ["* topic of #lobby: tea\n", "* guest1 set the topic of #lobby: tea\n"]
    );
    room.types(1, "/topic tea");
    assert_eq!(room.received_all(), ["", "* topic of #lobby: tea\n"]);
    assert_eq!(room.copy.outputs.topics_stored, 1);
}

#[test]
fn what_an_address_adds_to_the_state_is_bounded_and_given_back() {
    let mut room = Room::new(60);
    room.copy.chat.state.rate_limit = RateLimit::OFF;
    let topic = format!("/topic {}", "長".repeat(400));
    for person in 0..60 {
        for number in 0..45 {
            room.types(person, &format!("/join #r{person}-{number}"));
            room.types(person, &topic);
        }
    }
    assert!(
        room.received_all()
            .iter()
            .any(|received| received.contains("! rooms and topics from your address take 64 KiB"))
    );
    let bytes = room.copy.chat.snapshot().len();
    assert!(bytes < 160 * 1024, "{bytes} bytes of state");
    room.types(0, "/topic -");
    for person in 0..60 {
        room.types(person, "/quit");
    }
    room.arrive();
    room.types(60, "/join #r0-0");
    for number in 0..45 {
        room.types(60, &format!("/join #r0-{number}"));
        room.types(60, "/topic -");
        room.types(60, "/leave");
    }
    room.received_all();
    room.types(60, "/join #new");
    assert!(room.received(60).starts_with("* you joined #new"));
}

#[test]
fn what_all_rooms_and_topics_take_together_is_bounded_as_it_is_configured() {
    let mut room = Room::new(1);
    let mut people = 1;
    let mut fill = |room: &mut Room| {
        // Each comes from an address of its own.
        for _ in 0..60 {
            let (session, peer) =
                (Room::id(people), SocketAddr::from(([10, 0, 0, people as u8], 1)));
            room.sent.push(0);
            people += 1;
            room.fact(people - 1, Fact::opened(Slot::at(0), Transport::Tcp, peer));
            for number in 0..40 {
                room.types(people - 1, &format!("/join #r{people}-{number}"));
                room.types(people - 1, &format!("/topic {}", "長".repeat(400)));
            }
            assert!(room.copy.chat.session(session).is_some());
        }
        room.received_all()
            .iter()
            .map(|received| {
                received.matches("! the server can hold no more rooms and topics").count()
            })
            .sum::<usize>()
    };
    assert!(fill(&mut room) > 0);
    let full = room.copy.chat.snapshot().len();
    assert!(full < (1 << 20) + 100_000, "{full} bytes");
    room.fact(0, Fact::Configured { rooms_bytes_max: 8 << 20, rate_limit: RateLimit::OFF });
    assert_eq!(fill(&mut room), 0);
    let copy = Chat::restore(&room.copy.chat.snapshot()).unwrap();
    assert_eq!(copy.rooms_bytes_max(), 8 << 20);
    // Who comes first can always enter the lobby.
    room.arrive();
    room.types(people, "hello");
    assert!(room.received(people).contains("You are in #lobby"));
}

#[test]
fn looking_up_a_name_of_any_length_is_refused_at_once() {
    let mut room = Room::new(1);
    for line in ["/msg {} hi", "/who #{}", "/leave #{}", "/nick {}", "/join #{}", "/rooms {}"] {
        room.types(0, &line.replace("{}", &"ß".repeat(2_000)));
        assert!(room.received(0).starts_with("! "), "{line}");
    }
}

#[test]
fn rooms_have_a_bound_each_way() {
    let mut room = Room::new(1);
    for i in 0..60 {
        room.types(0, &format!("/join #r{i}"));
    }
    assert!(
        room.received(0).contains("! you are in 50 rooms, the most allowed; /leave one first\n")
    );
}
