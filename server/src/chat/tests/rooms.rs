//! Rooms, topics, and their limits.

use super::*;
use std::net::SocketAddr;

#[test]
fn rooms_are_entered_switched_and_left() {
    let mut users = Users::new(2);
    users.types(0, "/join #Dev");
    users.types(1, "/join #dev");
    assert_eq!(users.received(0), "* you joined #Dev; nobody else is here\n* guest2 joined #Dev\n");
    assert_eq!(users.received(1), "* you joined #Dev; 2 people are here\n");
    users.types(0, "/join #lobby");
    users.types(0, "in the lobby");
    assert_eq!(
        users.received_all(),
        ["* you are now talking in #lobby\n", "[#lobby] guest1: in the lobby\n"]
    );
    users.types(0, "/leave #DEV");
    assert_eq!(
        users.received_all(),
        ["* you left #Dev; you are now talking in #lobby\n", "* guest1 left #Dev\n"]
    );
    users.types(1, "/leave");
    users.types(1, "/leave");
    assert_eq!(
        users.received(1),
        "* you left #Dev; you are now talking in #lobby\n\
         * you left #lobby; you are in no room now, join one with /join #ROOM\n"
    );
    users.types(1, "anyone?");
    assert!(users.received(1).starts_with("! you are in no room; /join #ROOM first"));
    users.types(0, "/rooms");
    assert!(users.received(0).ends_with("* #lobby (1)\n"), "an empty room without a topic is gone");
}

#[test]
fn after_leave_the_room_joined_before_becomes_current() {
    let mut users = Users::new(1);
    users.types(0, "/join #a");
    users.types(0, "/join #b");
    users.types(0, "/join #a");
    users.types(0, "/leave");
    assert!(users.received(0).ends_with("* you left #a; you are now talking in #lobby\n"));
}

#[test]
fn a_topic_is_shown_set_and_outlives_the_last_member() {
    let mut users = Users::new(2);
    users.types(0, "/join #dev");
    users.types(0, "/topic");
    users.types(0, "/topic all about forks");
    users.types(0, "/leave");
    users.received_all();
    users.types(1, "/join #DEV");
    assert_eq!(
        users.received(1),
        "* you joined #dev; nobody else is here\n* topic of #dev: all about forks\n"
    );
}

#[test]
fn a_topic_can_be_removed_and_has_a_bound() {
    let mut users = Users::new(2);
    for removal in ["/topic -", "/topic \"\""] {
        users.types(0, "/topic tea");
        users.received_all();
        users.types(0, removal);
        assert_eq!(
            users.received_all(),
            [
                "* #lobby has no topic; /topic TEXT sets one\n",
                "* guest1 removed the topic of #lobby\n"
            ]
        );
    }
    users.types(0, &format!("/topic {}", "é".repeat(400)));
    assert!(users.received(0).starts_with("* topic of #lobby: éé"));
    users.types(0, &format!("/topic {}", "é".repeat(401)));
    assert_eq!(
        users.received(0),
        "! topic too long (at most 400 characters), not set; shorten it\n"
    );
}

#[test]
fn an_unchanged_topic_notifies_only_the_session_that_set_it() {
    let mut users = Users::new(2);
    for removal in ["/topic -", "/topic \"\""] {
        users.types(1, removal);
        assert_eq!(
            users.received_all(),
            ["", "* #lobby has no topic; /topic TEXT sets one\n"],
            "{removal}"
        );
    }
    users.types(0, "/topic tea");
    assert_eq!(
        users.received_all(),
        ["* topic of #lobby: tea\n", "* guest1 set the topic of #lobby: tea\n"]
    );
    users.types(1, "/topic tea");
    assert_eq!(users.received_all(), ["", "* topic of #lobby: tea\n"]);
    assert_eq!(users.replica.outputs.topics_stored, 1);
}

#[test]
fn the_state_bytes_of_an_address_are_bounded_and_released() {
    let mut users = Users::new(60);
    users.replica.chat.state.rate_limit = RateLimit::OFF;
    let topic = format!("/topic {}", "長".repeat(400));
    for person in 0..60 {
        for number in 0..45 {
            users.types(person, &format!("/join #r{person}-{number}"));
            users.types(person, &topic);
        }
    }
    assert!(
        users
            .received_all()
            .iter()
            .any(|received| received.contains("! rooms and topics from your address take 64 KiB"))
    );
    let bytes = users.replica.chat.snapshot().len();
    assert!(bytes < 160 * 1024, "{bytes} bytes of state");
    users.types(0, "/topic -");
    for person in 0..60 {
        users.types(person, "/quit");
    }
    users.arrive();
    users.types(60, "/join #r0-0");
    for number in 0..45 {
        users.types(60, &format!("/join #r0-{number}"));
        users.types(60, "/topic -");
        users.types(60, "/leave");
    }
    users.received_all();
    users.types(60, "/join #new");
    assert!(users.received(60).starts_with("* you joined #new"));
}

#[test]
fn the_memory_of_all_rooms_and_topics_is_bounded_as_configured() {
    let mut users = Users::new(1);
    let mut people = 1;
    let mut fill = |users: &mut Users| {
        // Each session comes from an address of its own.
        for _ in 0..60 {
            let (session, peer) =
                (Users::id(people), SocketAddr::from(([10, 0, 0, people as u8], 1)));
            users.sent.push(0);
            people += 1;
            users.fact(people - 1, Fact::opened(Slot::at(0), Transport::Tcp, peer));
            for number in 0..40 {
                users.types(people - 1, &format!("/join #r{people}-{number}"));
                users.types(people - 1, &format!("/topic {}", "長".repeat(400)));
            }
            assert!(users.replica.chat.session(session).is_some());
        }
        users
            .received_all()
            .iter()
            .map(|received| {
                received.matches("! the server can hold no more rooms and topics").count()
            })
            .sum::<usize>()
    };
    assert!(fill(&mut users) > 0);
    let full = users.replica.chat.snapshot().len();
    assert!(full < (1 << 20) + 100_000, "{full} bytes");
    users.fact(0, Fact::Configured { rooms_bytes_max: 8 << 20, rate_limit: RateLimit::OFF });
    assert_eq!(fill(&mut users), 0);
    let replica = Chat::restore(&users.replica.chat.snapshot()).unwrap();
    assert_eq!(replica.rooms_bytes_max(), 8 << 20);
    // The lobby is created even beyond the limit.
    users.arrive();
    users.types(people, "hello");
    assert!(users.received(people).contains("You are in #lobby"));
}

#[test]
fn a_name_that_is_too_long_is_refused() {
    let mut users = Users::new(1);
    for line in ["/msg {} hi", "/who #{}", "/leave #{}", "/nick {}", "/join #{}", "/rooms {}"] {
        users.types(0, &line.replace("{}", &"ß".repeat(2_000)));
        assert!(users.received(0).starts_with("! "), "{line}");
    }
}

#[test]
fn the_number_of_rooms_of_a_session_is_bounded() {
    let mut users = Users::new(1);
    for i in 0..60 {
        users.types(0, &format!("/join #r{i}"));
    }
    assert!(
        users.received(0).contains("! you are in 50 rooms, the most allowed; /leave one first\n")
    );
}
