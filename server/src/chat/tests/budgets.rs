//! Rate limits of sessions and addresses.

use super::*;
use forkchat_common::endpoint::LocalAddress;
use forkchat_common::limits::{ADDRESS_BURST_LINES, COMMAND_COST_MAX};
use std::net::SocketAddr;

/// How often a command can be executed at once, before a session's budget is used up.
fn taken_at_once(command: &str) -> usize {
    let mut users = Users::new(1);
    let (id, now) = (Users::id(0), Micros(users.at * 1_000));
    let mut count = 0;
    while users.replica.chat.lines_allowed(id, now) > 0 {
        // All at the same time.
        users.sent[0] += 10;
        let record =
            Record { session: id, input_end: users.sent[0], fact: Fact::Line(command.as_bytes()) };
        users
            .replica
            .apply_at(Stamp { id: RecordId::first_of(Sequence(users.at)), time: now }, &record);
        count += 1;
    }
    count
}

#[test]
fn commands_with_notifications_or_long_answers_cost_more_than_a_line() {
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
fn the_budget_suffices_for_any_lines_that_are_read_at_once() {
    let users = Users::new(1);
    let (id, now) = (Users::id(0), Micros(users.at * 1_000));
    let (lines, budget) =
        (users.replica.chat.lines_allowed(id, now), users.replica.chat.budget(id, now));
    assert!(lines >= 16 && lines * COMMAND_COST_MAX <= budget, "{lines} lines of {budget}");
}

#[test]
fn sessions_of_one_address_share_a_budget_and_its_excess_is_reported_once() {
    let mut replica = Replica::new(&[0]);
    let record = |session, input_end, fact| Record { session, input_end, fact };
    let peer = |host: u8| SocketAddr::from(([10, 0, 0, host], 1));
    let mut lines = 0;
    for serial in 1..100 {
        let session = SessionId::new(serial, 0);
        let opened = Fact::opened(Slot::at(0), Transport::Tcp, peer(1));
        replica.apply(1, &record(session, 0, opened));
        for input_end in 1.. {
            if replica.chat.lines_allowed(session, Micros(1_000)) == 0 {
                break;
            }
            replica.apply(1, &record(session, input_end, Fact::Line(b"spam")));
            lines += 1;
        }
        replica.apply(1, &record(session, 0, Fact::Closed(CloseReason::EndOfInput)));
    }
    assert!((3_500..4_096).contains(&lines), "{lines} lines of one address");
    assert_eq!(replica.outputs.exceeded, [AddressBlock::of(peer(1).ip())]);
    let other = SessionId::new(100, 0);
    replica.apply(1, &record(other, 0, Fact::opened(Slot::at(0), Transport::Tcp, peer(2))));
    assert!(
        replica.chat.lines_allowed(other, Micros(1_000)) >= 15,
        "another address is not slowed down"
    );
}

#[test]
fn sixty_people_behind_one_address_are_not_slowed_down() {
    let mut users = Users::new(60);
    // Each sends a line every two seconds, for ten minutes.
    for round in 0..300 {
        for person in 0..60 {
            let at = Micros(1_000_000_000 + round * 2_000_000);
            assert!(
                users.replica.chat.lines_allowed(Users::id(person), at) > 0,
                "person {person} in round {round}"
            );
            users.sent[person] += 10;
            let record = Record {
                session: Users::id(person),
                input_end: users.sent[person],
                fact: Fact::Line(b"a line"),
            };
            users
                .replica
                .apply_at(Stamp { id: RecordId::first_of(Sequence(round)), time: at }, &record);
        }
    }
    assert!(users.replica.outputs.exceeded.is_empty());
}

#[test]
fn datagrams_beyond_the_budget_are_dropped() {
    let mut replica = Replica::new(&[0]);
    let session = SessionId::new(1, 0);
    let opened = Fact::opened(
        Slot::at(0),
        Transport::Udp { local: LocalAddress::default(), key: None },
        "10.0.0.1:1".parse().unwrap(),
    );
    replica.apply(1, &Record { session, input_end: 0, fact: opened });
    replica.outputs.bytes.clear();
    for input_end in 1..=600 {
        replica.apply(1, &Record { session, input_end, fact: Fact::Line(b"/nick other") });
    }
    let received = String::from_utf8(replica.outputs.bytes.remove(&session).unwrap()).unwrap();
    assert_eq!(received.lines().count(), 32, "512 lines' worth");
}

#[test]
fn the_budget_of_an_address_limits_the_notifications_of_all_its_sessions() {
    for (command, notice, cost) in
        [("/topic", "set the topic", 32), ("/nick", "is now", 16), ("/msg guest1", "[@guest", 4)]
    {
        let mut users = Users::new(101);
        // Wait until the cost of the openings is earned back.
        users.at += 60_000;
        let start = users.at;
        for number in 0..16 {
            for person in 1..=100 {
                users.types(person, &format!("{command} x{person}n{number}"));
            }
        }
        let reached = users.received(0).matches(notice).count() as u64;
        // One line per millisecond. A refused command costs a line too.
        let allowed = (ADDRESS_BURST_LINES + (users.at - start) * 2 / 5) / cost;
        assert!(
            (allowed / 2..=allowed + 1).contains(&reached),
            "{reached} of {allowed}: {command}"
        );
        assert!(
            users
                .received(50)
                .contains("! your address sends too much; this command was not executed")
        );
        // A new session still gets a name and a room.
        users.arrive();
        users.types(101, "/nick late");
        users.types(101, "/join #late");
        assert!(
            users.received(101).contains("* you are now late\n* you joined #late"),
            "{command}"
        );
        // A session that waits until its budget allows a line is not refused.
        while users.replica.chat.lines_allowed(Users::id(7), Micros(users.at * 1_000)) == 0 {
            users.at += 1;
        }
        users.received(7);
        users.types(7, "/whoami");
        assert!(users.received(7).starts_with("* you are"), "{command}");
    }
}
