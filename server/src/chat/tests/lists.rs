//! Lists, and the parts in which they are sent.

use super::*;
use forkchat_common::names::RoomName;
use std::collections::BTreeSet;

#[test]
fn rooms_are_listed_by_their_members_and_found_by_a_pattern() {
    let mut room = Room::new(4);
    room.types(0, "/join #aaa-spam");
    for person in 1..4 {
        room.types(person, "/join #Team");
    }
    room.received_all();
    room.types(0, "/rooms");
    assert_eq!(room.received(0), "* #lobby (4)\n* #Team (3)\n* #aaa-spam (1)\n");
    room.types(0, "/rooms TEA");
    assert_eq!(room.received(0), "* #Team (3)\n");
    room.types(0, "/rooms *a?");
    assert_eq!(room.received(0), "* #Team (3)\n* #aaa-spam (1)\n");
    room.types(0, "/rooms nothing");
    assert_eq!(
        room.received(0),
        "* no room matches; /rooms lists all rooms, /join #ROOM creates one\n"
    );
}

#[test]
fn a_long_list_comes_in_parts_and_what_is_sent_meanwhile_waits() {
    let mut room = Room::new(3);
    room.copy.chat.state.rate_limit = RateLimit::OFF;
    for (person, first) in [(0, 0), (1, 40)] {
        for number in first..first + 40 {
            room.types(person, &format!("/join #r{number:02}-{}", "長".repeat(20)));
            room.types(
                person,
                &format!("/topic {}", "é".repeat(if person == 0 { 100 } else { 10 })),
            );
        }
    }
    room.received_all();
    room.types(2, "/rooms");
    room.types(2, "/ping after");
    let (mut text, mut parts) = (room.received(2), 1);
    while let Some((session, of, parts_sent)) = room.copy.outputs.continues.pop() {
        assert_eq!((session, parts_sent), (Room::id(2), parts));
        // The same part again, as a worker that took over may propose it, changes nothing.
        let sent = room.received(2).len();
        assert!(sent < 16 * 1024, "{sent} bytes in one part");
        room.fact(2, Fact::NextPart { of, parts: parts_sent });
        let part = room.received(2);
        room.fact(2, Fact::NextPart { of, parts: parts_sent });
        assert_eq!(room.received(2), "");
        text += &part;
        parts += 1;
    }
    assert!(parts > 3, "{parts} parts");
    assert!(text.ends_with("* pong after\n"), "{text}");
    let listed: BTreeSet<&str> = text.lines().filter(|line| line.contains("#r")).collect();
    assert_eq!(listed.len(), 80, "each room once");
    assert!(text.starts_with("* #lobby (3)\n"));
    // The members of a room, too.
    let mut crowd = Room::new(300);
    crowd.copy.chat.state.rate_limit = RateLimit::OFF;
    crowd.types(7, "/who");
    let mut names = crowd.received(7);
    while let Some((_, of, parts)) = crowd.copy.outputs.continues.pop() {
        crowd.fact(7, Fact::NextPart { of, parts });
        names += &crowd.received(7);
    }
    let names: Vec<&str> =
        names.split_whitespace().filter(|word| word.starts_with("guest")).collect();
    assert_eq!(names, (1..=300).map(|number| format!("guest{number}")).collect::<Vec<_>>());
}

/// The parts of the answer to a command, the first one included.
fn parts(room: &mut Room, person: usize, command: &str) -> Vec<String> {
    room.types(person, command);
    let mut parts = vec![room.received(person)];
    while let Some((_, of, number)) = room.copy.outputs.continues.pop() {
        // Whoever goes on from a snapshot goes on in the same place.
        room.copy.chat = Chat::restore(&room.copy.chat.snapshot()).unwrap();
        room.fact(person, Fact::NextPart { of, parts: number });
        parts.push(room.received(person));
    }
    parts
}

#[test]
fn a_part_of_the_rooms_looks_at_a_bounded_number_of_them_whatever_it_finds() {
    let mut room = Room::new(60);
    room.copy.chat.state.rate_limit = RateLimit::OFF;
    for number in 0..1_700 {
        // They count for no address.
        let name = RoomName::parse(&format!("#x{number:04}")).unwrap();
        room.copy.chat.enter(Room::id(1 + number / 40), name, None).unwrap();
    }
    room.types(50, "/join #needle");
    room.received_all();
    // The lobby, 1,700 rooms and the needle: four parts.
    let none = parts(&mut room, 0, "/rooms nothing");
    assert_eq!(
        none,
        ["", "", "", "* no room matches; /rooms lists all rooms, /join #ROOM creates one\n"]
    );
    assert_eq!(parts(&mut room, 0, "/rooms needle"), ["", "", "", "* #needle (1)\n"]);
    assert_eq!(parts(&mut room, 0, "/rooms x0000"), ["* #x0000 (1)\n", "", "", ""]);
    let many = parts(&mut room, 0, "/rooms #x*");
    assert_eq!(many.len(), 4);
    assert_eq!(
        many.iter().map(|part| part.matches("* #x").count()).collect::<Vec<_>>(),
        [100, 0, 0, 0]
    );
    assert_eq!(many[3], "* … and 1600 more rooms; /rooms PATTERN lists those whose names match\n");
    let all = parts(&mut room, 0, "/rooms");
    assert_eq!(all.len(), 1, "without a pattern the others needn't be looked at");
    assert!(
        all[0].ends_with("* … and 1602 more rooms; /rooms PATTERN lists those whose names match\n")
    );
}
