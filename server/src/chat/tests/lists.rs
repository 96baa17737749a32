//! Lists, which are sent in parts.

use super::*;
use forkchat_common::names::RoomName;
use std::collections::BTreeSet;

#[test]
fn rooms_are_listed_by_size_and_found_by_a_pattern() {
    let mut users = Users::new(4);
    users.types(0, "/join #aaa-spam");
    for person in 1..4 {
        users.types(person, "/join #Team");
    }
    users.received_all();
    users.types(0, "/rooms");
    assert_eq!(users.received(0), "* #lobby (4)\n* #Team (3)\n* #aaa-spam (1)\n");
    users.types(0, "/rooms TEA");
    assert_eq!(users.received(0), "* #Team (3)\n");
    users.types(0, "/rooms *a?");
    assert_eq!(users.received(0), "* #Team (3)\n* #aaa-spam (1)\n");
    users.types(0, "/rooms nothing");
    assert_eq!(
        users.received(0),
        "* no room matches; /rooms lists all rooms, /join #ROOM creates one\n"
    );
}

#[test]
fn a_long_list_is_sent_in_parts_and_further_input_waits() {
    let mut users = Users::new(3);
    users.replica.chat.state.rate_limit = RateLimit::OFF;
    for (person, first) in [(0, 0), (1, 40)] {
        for number in first..first + 40 {
            users.types(person, &format!("/join #r{number:02}-{}", "長".repeat(20)));
            users.types(
                person,
                &format!("/topic {}", "é".repeat(if person == 0 { 100 } else { 10 })),
            );
        }
    }
    users.received_all();
    users.types(2, "/rooms");
    users.types(2, "/ping after");
    let (mut text, mut parts) = (users.received(2), 1);
    while let Some((session, of, parts_sent)) = users.replica.outputs.continues.pop() {
        assert_eq!((session, parts_sent), (Users::id(2), parts));
        // A worker may propose the same part again after a takeover. This changes nothing.
        let sent = users.received(2).len();
        assert!(sent < 16 * 1024, "{sent} bytes in one part");
        users.fact(2, Fact::NextPart { of, parts: parts_sent });
        let part = users.received(2);
        users.fact(2, Fact::NextPart { of, parts: parts_sent });
        assert_eq!(users.received(2), "");
        text += &part;
        parts += 1;
    }
    assert!(parts > 3, "{parts} parts");
    assert!(text.ends_with("* pong after\n"), "{text}");
    let listed: BTreeSet<&str> = text.lines().filter(|line| line.contains("#r")).collect();
    assert_eq!(listed.len(), 80, "each room once");
    assert!(text.starts_with("* #lobby (3)\n"));
    // The same with the members of a room.
    let mut crowd = Users::new(300);
    crowd.replica.chat.state.rate_limit = RateLimit::OFF;
    crowd.types(7, "/who");
    let mut names = crowd.received(7);
    while let Some((_, of, parts)) = crowd.replica.outputs.continues.pop() {
        crowd.fact(7, Fact::NextPart { of, parts });
        names += &crowd.received(7);
    }
    let names: Vec<&str> =
        names.split_whitespace().filter(|word| word.starts_with("guest")).collect();
    assert_eq!(names, (1..=300).map(|number| format!("guest{number}")).collect::<Vec<_>>());
}

/// The parts of the answer to a command.
fn parts(users: &mut Users, person: usize, command: &str) -> Vec<String> {
    users.types(person, command);
    let mut parts = vec![users.received(person)];
    while let Some((_, of, number)) = users.replica.outputs.continues.pop() {
        // A replica that starts from a snapshot continues at the same position.
        users.replica.chat = Chat::restore(&users.replica.chat.snapshot()).unwrap();
        users.fact(person, Fact::NextPart { of, parts: number });
        parts.push(users.received(person));
    }
    parts
}

#[test]
fn a_part_of_the_room_list_looks_at_a_bounded_number_of_rooms() {
    let mut users = Users::new(60);
    users.replica.chat.state.rate_limit = RateLimit::OFF;
    for number in 0..1_700 {
        // These rooms count for no address.
        let name = RoomName::parse(&format!("#x{number:04}")).unwrap();
        users.replica.chat.enter(Users::id(1 + number / 40), name, None).unwrap();
    }
    users.types(50, "/join #needle");
    users.received_all();
    // The lobby, 1,700 rooms and the needle: four parts.
    let none = parts(&mut users, 0, "/rooms nothing");
    assert_eq!(
        none,
        ["", "", "", "* no room matches; /rooms lists all rooms, /join #ROOM creates one\n"]
    );
    assert_eq!(parts(&mut users, 0, "/rooms needle"), ["", "", "", "* #needle (1)\n"]);
    assert_eq!(parts(&mut users, 0, "/rooms x0000"), ["* #x0000 (1)\n", "", "", ""]);
    let many = parts(&mut users, 0, "/rooms #x*");
    assert_eq!(many.len(), 4);
    assert_eq!(
        many.iter().map(|part| part.matches("* #x").count()).collect::<Vec<_>>(),
        [100, 0, 0, 0]
    );
    assert_eq!(many[3], "* … and 1600 more rooms; /rooms PATTERN lists those whose names match\n");
    let all = parts(&mut users, 0, "/rooms");
    assert_eq!(all.len(), 1, "without a pattern the other rooms are only counted");
    assert!(
        all[0].ends_with("* … and 1602 more rooms; /rooms PATTERN lists those whose names match\n")
    );
}
