//! What people say, and their names.

use super::*;

#[test]
fn a_newcomer_is_welcomed_and_the_others_hear_of_it_after_what_came_with_it() {
    let mut room = Room::new(1);
    room.arrive();
    assert_eq!(room.received(1), "", "its first line comes first");
    room.types(1, "");
    let welcome = room.received(1);
    assert!(
        welcome.starts_with("* Welcome to forkchat, guest2. You are in #lobby; 2 people are here."),
        "{welcome}"
    );
    assert!(
        welcome.contains("/help") && welcome.contains("* in #lobby: guest1 guest2\n"),
        "{welcome}"
    );
    room.types(1, "/nick bob");
    room.types(1, "/join #x");
    assert_eq!(room.received(0), "", "nobody has heard of the newcomer yet");
    room.types(1, "/leave");
    room.types(1, "hello");
    assert_eq!(room.received(0), "* bob joined #lobby\n[#lobby] bob: hello\n");
    room.fact(1, Fact::Arrived);
    assert_eq!(room.received(0), "", "an arrival is received once");
}

#[test]
fn what_is_said_reaches_the_room_and_echo_the_speaker() {
    let mut room = Room::new(3);
    room.types(0, "hi");
    room.types(0, "/me waves");
    room.types(0, "//join is a command");
    let expected =
        "[#lobby] guest1: hi\n[#lobby] * guest1 waves\n[#lobby] guest1: /join is a command\n";
    assert_eq!(room.received_all(), ["", expected, expected]);
    room.types(0, "/set echo on");
    room.types(0, "again");
    assert_eq!(room.received(0).lines().last(), Some("[#lobby] guest1: again"));
}

#[test]
fn a_nickname_belongs_to_who_came_first_in_the_log() {
    let mut room = Room::new(2);
    room.types(0, "/nick Alice");
    assert_eq!(room.received_all(), ["* you are now Alice\n", "* guest1 is now Alice\n"]);
    room.types(1, "/nick ＡＬＩＣＥ");
    assert!(room.received(1).starts_with("! the nickname ＡＬＩＣＥ is taken; choose another"));
    room.types(0, "/nick aLICE");
    assert_eq!(room.received(1), "* Alice is now aLICE\n");
    room.types(0, "/quit bye");
    assert_eq!(room.received_all(), ["* you are now aLICE\n* goodbye\n", "* aLICE quit: bye\n"]);
    room.types(1, "/nick alice");
    assert_eq!(room.received(1), "* you are now alice\n");
    assert_eq!(room.copy.outputs.closed, [(Room::id(0), Ending::Finish)]);
}

#[test]
fn a_private_message_reaches_one_and_is_echoed_under_ones_own_name() {
    let mut room = Room::new(3);
    room.types(0, "/set echo on");
    room.received_all();
    room.types(0, "/msg GUEST2 psst");
    assert_eq!(room.received_all(), ["[@guest2] guest1: psst\n", "[@guest1] guest1: psst\n", ""]);
    room.types(0, "/msg nobody psst");
    assert!(room.received(0).starts_with("! no user named nobody; "));
}

#[test]
fn joins_off_hears_no_presence_and_tags_on_is_for_programs() {
    let mut room = Room::new(2);
    room.types(1, "/set joins off");
    room.types(1, "/set tags on");
    room.received_all();
    room.types(0, "/nick al;ice");
    assert!(room.received(0).starts_with("! al;ice is not a valid nickname: it may not contain ;"));
    room.types(0, "/nick alice");
    room.types(0, "hi");
    assert_eq!(
        room.received(1),
        format!(
            "@id={};time=1970-01-01T00:00:00.{:03}Z;event=say;room=#lobby;nick=alice [#lobby] alice: hi\n",
            room.at, room.at
        )
    );
    room.types(1, "/ping x");
    assert!(room.received(1).contains(";event=pong;to=ping * pong x\n"));
    room.types(1, "/who");
    assert!(room.received(1).contains(
        ";event=reply;to=who;room=#lobby;names=alice,guest2 * in #lobby: alice guest2\n"
    ));
    room.types(1, "/dance");
    assert!(room.received(1).contains(";event=error;to=dance ! no command /dance; /help"));
}

#[test]
fn what_was_meant_for_one_is_not_said_to_all() {
    let mut room = Room::new(3);
    for line in [
        "／msg guest2 psst",
        " /msg guest2 psst",
        "/msg\u{a0}guest2\u{a0}psst",
        "\u{feff}/msg guest2 psst",
        "\u{3000}／ｍｓｇ　guest2　psst",
        "\x1b[A/msg guest2 psst",
        "\u{301}/msg guest2 psst",
        "hi\x08\x7f/msg guest2 psst",
    ] {
        room.types(0, line);
        assert_eq!(room.received_all(), ["", "[@guest1] guest1: psst\n", ""], "{line:?}");
    }
    room.types(0, "⁄msg guest2 psst");
    assert_eq!(
        room.received_all(),
        [
            "! not sent: ⁄msg starts with U+2044, not with /; type /msg for the command, ⁄⁄msg to send it as text\n",
            "",
            ""
        ]
    );
    for line in ["\u{3000}", " \t ", "\u{a0}", "\u{200b}"] {
        room.types(0, line);
    }
    assert_eq!(room.received_all(), ["", "", ""]);
}

#[test]
fn a_line_applied_twice_is_said_once() {
    let mut room = Room::new(2);
    room.types(0, "once");
    room.sent[0] -= 10;
    room.types(0, "once");
    assert_eq!(room.received(1), "[#lobby] guest1: once\n");
}

#[test]
fn a_silent_session_ends_only_if_it_was_silent() {
    let mut room = Room::new(2);
    let heard = room.copy.chat.session(Room::id(0)).unwrap().last_received;
    room.types(0, "here");
    room.received_all();
    room.fact(0, Fact::Silent { since: heard });
    assert_eq!(room.received_all(), ["", ""]);
    let heard = room.copy.chat.session(Room::id(0)).unwrap().last_received;
    room.fact(0, Fact::Silent { since: heard });
    assert!(room.received(0).starts_with("! nothing received for 120 seconds"));
    assert_eq!(room.received(1), "* guest1 quit: nothing received for 120 seconds\n");
}

#[test]
fn who_is_not_read_by_is_dropped_and_the_others_hear_why() {
    let mut room = Room::new(2);
    room.fact(0, Fact::Closed(CloseReason::TooSlow));
    assert_eq!(room.received_all(), ["", "* guest1 quit: reading too slowly\n"]);
    assert_eq!(room.copy.outputs.closed, [(Room::id(0), Ending::Drop)]);
    room.fact(0, Fact::Closed(CloseReason::Reset));
    assert_eq!(room.copy.outputs.closed.len(), 1, "closed once");
}

#[test]
fn when_the_server_stops_everyone_is_told_and_nobody_comes_in() {
    let mut room = Room::new(2);
    room.fact(0, Fact::Stopping);
    assert_eq!(room.received_all(), ["* the server is stopping; goodbye\n"; 2]);
    room.arrive();
    assert_eq!(room.received(2), "* the server is stopping; goodbye\n");
    assert_eq!(room.copy.outputs.closed.len(), 3);
    assert_eq!(
        room.copy.chat.sessions_of(Slot::at(0)).count()
            + room.copy.chat.sessions_of(Slot::at(1)).count(),
        0
    );
}

#[test]
fn whoami_names_the_process_that_the_log_names_in_every_copy_and_from_a_snapshot_on() {
    let mut room = Room::new(1);
    let started = |pid| Record {
        session: SessionId::NONE,
        input_end: 0,
        fact: Fact::Started { slot: Slot::at(1), pid },
    };
    for pid in [4711, 4790] {
        room.at += 1;
        room.copy.apply(room.at, &started(pid));
        let mut successor = Copy::new(&[1]);
        successor.chat = Chat::restore(&room.copy.chat.snapshot()).unwrap();
        room.types(0, "/whoami");
        let received = room.received(0);
        assert!(received.ends_with(&format!(", served by worker 0 (pid {pid})\n")), "{received}");
        successor.apply(
            room.at,
            &Record { session: Room::id(0), input_end: room.sent[0], fact: Fact::Line(b"/whoami") },
        );
        assert_eq!(String::from_utf8_lossy(&successor.outputs.bytes[&Room::id(0)]), received);
        assert!(successor.chat.snapshot() == room.copy.chat.snapshot());
    }
}

#[test]
fn whoami_tells_the_worker_and_help_reads_the_table() {
    let mut room = Room::new(1);
    room.types(0, "/whoami");
    assert_eq!(
        room.received(0),
        "* you are guest1, in #lobby, talking in #lobby, from 127.0.0.1:5000, served by worker 0\n"
    );
    room.types(0, "/help");
    let help = room.received(0);
    assert!(help.contains("/msg NICK TEXT") && !help.contains("/hello"), "{help}");
    room.types(0, "/help msg");
    assert_eq!(room.received(0), "* /msg NICK TEXT: sends a private message\n");
    room.types(0, "/hello x");
    assert!(room.received(0).starts_with("! /hello opens a session over UDP"));
}

#[test]
fn times_that_are_shown_follow_the_wall_clock_ahead_and_back_and_the_rate_does_not() {
    const YEAR: i64 = 365 * 24 * 3_600 * 1_000_000;
    let mut room = Room::new(2);
    room.types(1, "/set tags on");
    let id = Room::id(0);
    for (ahead, year) in [(0, "1970-01-01"), (YEAR, "1971-01-01"), (0, "1970-01-01")] {
        let clock = Record { session: SessionId::NONE, input_end: 0, fact: Fact::Clock { ahead } };
        room.at += 1;
        room.copy.apply(room.at, &clock);
        room.received_all();
        let used = room.copy.chat.next_line_at(id);
        room.types(0, "hi");
        let received = room.received(1);
        assert!(received.contains(&format!(";time={year}T00:00:00")), "{received}");
        let restored = Chat::restore(&room.copy.chat.snapshot()).unwrap();
        assert_eq!(restored.clock_ahead(), ahead);
        // Of one line, whatever the clock is.
        assert!(room.copy.chat.next_line_at(id).since(used) <= Micros::SECOND / 20);
        assert_eq!(room.copy.chat.session(id).unwrap().last_received, Micros(room.at * 1_000));
    }
}
