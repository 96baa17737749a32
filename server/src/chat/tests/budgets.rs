//! How much a session and an address may send.

use super::*;
use forkchat_common::endpoint::LocalAddress;
use forkchat_common::limits::{ADDRESS_BURST_LINES, COMMAND_COST_MAX};
use std::net::SocketAddr;

/// How many of a command's lines take effect at once, before a session's budget is used up.
fn taken_at_once(command: &str) -> usize {
    let mut room = Room::new(1);
    let (id, now) = (Room::id(0), Micros(room.at * 1_000));
    let mut count = 0;
    while room.copy.chat.lines_allowed(id, now) > 0 {
        // All in the same moment.
        room.sent[0] += 10;
        let record =
            Record { session: id, input_end: room.sent[0], fact: Fact::Line(command.as_bytes()) };
        room.copy.apply_at(Stamp { id: RecordId::first_of(Sequence(room.at)), time: now }, &record);
        count += 1;
    }
    count
}

#[test]
fn what_notifies_others_or_has_a_long_answer_uses_up_the_budget_sooner_than_lines_do() {
    let lines = taken_at_once("hello");
    assert_eq!(lines, 512);
    for (command, at_most) in [
        ("/nick other", 32),
        ("/topic t", 16),
        ("/msg guest1 hi", 128),
        ("/join #x", 64),
        ("/rooms", 64),
        ("/who", 64),
    ] {
        assert!(taken_at_once(command) <= at_most, "{command}");
    }
}

#[test]
fn so_few_lines_are_read_at_once_that_the_budget_lasts_whatever_they_are() {
    let room = Room::new(1);
    let (id, now) = (Room::id(0), Micros(room.at * 1_000));
    let (lines, budget) = (room.copy.chat.lines_allowed(id, now), room.copy.chat.budget(id, now));
    assert!(lines >= 16 && lines * COMMAND_COST_MAX <= budget, "{lines} lines of {budget}");
}

#[test]
fn sessions_of_one_address_share_a_budget_and_the_excess_is_reported_once() {
    let mut copy = Copy::new(&[0]);
    let record = |session, input_end, fact| Record { session, input_end, fact };
    let peer = |host: u8| SocketAddr::from(([10, 0, 0, host], 1));
    let mut lines = 0;
    for serial in 1..100 {
        let session = SessionId::new(serial, 0);
        let opened = Fact::opened(Slot::at(0), Transport::Tcp, peer(1));
        copy.apply(1, &record(session, 0, opened));
        for input_end in 1.. {
            if copy.chat.lines_allowed(session, Micros(1_000)) == 0 {
                break;
            }
            copy.apply(1, &record(session, input_end, Fact::Line(b"spam")));
            lines += 1;
        }
        copy.apply(1, &record(session, 0, Fact::Closed(CloseReason::EndOfInput)));
    }
    assert!((3_500..4_096).contains(&lines), "{lines} lines of one address");
    assert_eq!(copy.outputs.exceeded, [AddressBlock::of(peer(1).ip())]);
    let other = SessionId::new(100, 0);
    copy.apply(1, &record(other, 0, Fact::opened(Slot::at(0), Transport::Tcp, peer(2))));
    assert!(
        copy.chat.lines_allowed(other, Micros(1_000)) >= 15,
        "another address is not slowed down"
    );
}

#[test]
fn sixty_people_behind_one_address_are_not_slowed_down() {
    let mut room = Room::new(60);
    // A line each every two seconds, for ten minutes.
    for round in 0..300 {
        for person in 0..60 {
            let at = Micros(1_000_000_000 + round * 2_000_000);
            assert!(
                room.copy.chat.lines_allowed(Room::id(person), at) > 0,
                "person {person} in round {round}"
            );
            room.sent[person] += 10;
            let record = Record {
                session: Room::id(person),
                input_end: room.sent[person],
                fact: Fact::Line(b"a line"),
            };
            room.copy
                .apply_at(Stamp { id: RecordId::first_of(Sequence(round)), time: at }, &record);
        }
    }
    assert!(room.copy.outputs.exceeded.is_empty());
}

#[test]
fn datagrams_beyond_the_budget_are_dropped() {
    let mut copy = Copy::new(&[0]);
    let session = SessionId::new(1, 0);
    let opened = Fact::opened(
        Slot::at(0),
        Transport::Udp { local: LocalAddress::default(), key: None },
        "10.0.0.1:1".parse().unwrap(),
    );
    copy.apply(1, &Record { session, input_end: 0, fact: opened });
    copy.outputs.bytes.clear();
    for input_end in 1..=600 {
        copy.apply(1, &Record { session, input_end, fact: Fact::Line(b"/nick other") });
    }
    let received = String::from_utf8(copy.outputs.bytes.remove(&session).unwrap()).unwrap();
    assert_eq!(received.lines().count(), 32, "512 lines' worth");
}

#[test]
fn many_sessions_of_an_address_notify_others_no_more_than_its_budget_allows() {
    for (command, notice, cost) in
        [("/topic", "set the topic", 32), ("/nick", "is now", 16), ("/msg guest1", "[@guest", 4)]
    {
        let mut room = Room::new(101);
        // What the openings cost is earned again.
        room.at += 60_000;
        let start = room.at;
        for number in 0..16 {
            for person in 1..=100 {
                room.types(person, &format!("{command} x{person}n{number}"));
            }
        }
        let reached = room.received(0).matches(notice).count() as u64;
        // A line each millisecond. What is refused costs a line, too.
        let allowed = (ADDRESS_BURST_LINES + (room.at - start) * 2 / 5) / cost;
        assert!(
            (allowed / 2..=allowed + 1).contains(&reached),
            "{reached} of {allowed}: {command}"
        );
        assert!(
            room.received(50)
                .contains("! your address sends too much; this command was not executed")
        );
        // Who comes now gets a name and a room all the same.
        room.arrive();
        room.types(101, "/nick late");
        room.types(101, "/join #late");
        assert!(room.received(101).contains("* you are now late\n* you joined #late"), "{command}");
        // Who has waited until it is their turn isn't refused.
        while room.copy.chat.lines_allowed(Room::id(7), Micros(room.at * 1_000)) == 0 {
            room.at += 1;
        }
        room.received(7);
        room.types(7, "/whoami");
        assert!(room.received(7).starts_with("* you are"), "{command}");
    }
}
