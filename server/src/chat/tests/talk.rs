//! Lines and private messages, names, and the end of sessions.

use super::*;

#[test]
fn a_new_session_is_welcomed_and_announced_after_its_first_input() {
    let mut users = Users::new(1);
    users.arrive();
    assert_eq!(users.received(1), "", "its first line comes first");
    users.types(1, "");
    let welcome = users.received(1);
    assert!(
        welcome.starts_with("* Welcome to forkchat, guest2. You are in #lobby; 2 people are here."),
        "{welcome}"
    );
    assert!(
        welcome.contains("/help") && welcome.contains("* in #lobby: guest1 guest2\n"),
        "{welcome}"
    );
    users.types(1, "/nick bob");
    users.types(1, "/join #x");
    assert_eq!(users.received(0), "", "the new session is not announced yet");
    users.types(1, "/leave");
    users.types(1, "hello");
    assert_eq!(users.received(0), "* bob joined #lobby\n[#lobby] bob: hello\n");
    users.fact(1, Fact::Arrived);
    assert_eq!(users.received(0), "", "an arrival is announced once");
}

#[test]
fn a_line_reaches_the_room_and_with_echo_its_sender() {
    let mut users = Users::new(3);
    users.types(0, "hi");
    users.types(0, "/me waves");
    users.types(0, "//join is a command");
    let expected =
        "[#lobby] guest1: hi\n[#lobby] * guest1 waves\n[#lobby] guest1: /join is a command\n";
    assert_eq!(users.received_all(), ["", expected, expected]);
    users.types(0, "/set echo on");
    users.types(0, "again");
    assert_eq!(users.received(0).lines().last(), Some("[#lobby] guest1: again"));
}

#[test]
fn a_nickname_belongs_to_the_session_that_is_first_in_the_log() {
    let mut users = Users::new(2);
    users.types(0, "/nick Alice");
    assert_eq!(users.received_all(), ["* you are now Alice\n", "* guest1 is now Alice\n"]);
    users.types(1, "/nick ＡＬＩＣＥ");
    assert!(users.received(1).starts_with("! the nickname ＡＬＩＣＥ is taken; choose another"));
    users.types(0, "/nick aLICE");
    assert_eq!(users.received(1), "* Alice is now aLICE\n");
    users.types(0, "/quit bye");
    assert_eq!(users.received_all(), ["* you are now aLICE\n* goodbye\n", "* aLICE quit: bye\n"]);
    users.types(1, "/nick alice");
    assert_eq!(users.received(1), "* you are now alice\n");
    assert_eq!(users.replica.outputs.closed, [(Users::id(0), Ending::Finish)]);
}

#[test]
fn a_private_message_reaches_its_receiver_and_is_echoed() {
    let mut users = Users::new(3);
    users.types(0, "/set echo on");
    users.received_all();
    users.types(0, "/msg GUEST2 psst");
    assert_eq!(users.received_all(), ["[@guest2] guest1: psst\n", "[@guest1] guest1: psst\n", ""]);
    users.types(0, "/msg nobody psst");
    assert!(users.received(0).starts_with("! no user named nobody; "));
}

#[test]
fn joins_off_mutes_presence_and_tags_on_is_for_programs() {
    let mut users = Users::new(2);
    users.types(1, "/set joins off");
    users.types(1, "/set tags on");
    users.received_all();
    users.types(0, "/nick al;ice");
    assert!(
        users.received(0).starts_with("! al;ice is not a valid nickname: it may not contain ;")
    );
    users.types(0, "/nick alice");
    users.types(0, "hi");
    assert_eq!(
        users.received(1),
        format!(
            "@id={};time=1970-01-01T00:00:00.{:03}Z;event=say;room=#lobby;nick=alice \
             [#lobby] alice: hi\n",
            users.at, users.at
        )
    );
    users.types(1, "/ping x");
    assert!(users.received(1).contains(";event=pong;to=ping * pong x\n"));
    users.types(1, "/who");
    assert!(users.received(1).contains(
        ";event=reply;to=who;room=#lobby;names=alice,guest2 * in #lobby: alice guest2\n"
    ));
    users.types(1, "/dance");
    assert!(users.received(1).contains(";event=error;to=dance ! no command /dance; /help"));
}

#[test]
fn a_private_message_with_a_stray_prefix_is_not_sent_to_the_room() {
    let mut users = Users::new(3);
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
        users.types(0, line);
        assert_eq!(users.received_all(), ["", "[@guest1] guest1: psst\n", ""], "{line:?}");
    }
    users.types(0, "⁄msg guest2 psst");
    assert_eq!(
        users.received_all(),
        [
            "! not sent: ⁄msg starts with U+2044, not with /; \
             type /msg for the command, ⁄⁄msg to send it as text\n",
            "",
            ""
        ]
    );
    for line in ["\u{3000}", " \t ", "\u{a0}", "\u{200b}"] {
        users.types(0, line);
    }
    assert_eq!(users.received_all(), ["", "", ""]);
}

#[test]
fn a_line_applied_twice_is_sent_once() {
    let mut users = Users::new(2);
    users.types(0, "once");
    users.sent[0] -= 10;
    users.types(0, "once");
    assert_eq!(users.received(1), "[#lobby] guest1: once\n");
}

#[test]
fn a_silent_session_is_closed_only_if_nothing_was_received_since() {
    let mut users = Users::new(2);
    let last = users.replica.chat.session(Users::id(0)).unwrap().last_received;
    users.types(0, "here");
    users.received_all();
    users.fact(0, Fact::Silent { since: last });
    assert_eq!(users.received_all(), ["", ""]);
    let last = users.replica.chat.session(Users::id(0)).unwrap().last_received;
    users.fact(0, Fact::Silent { since: last });
    assert!(users.received(0).starts_with("! nothing received for 120 seconds"));
    assert_eq!(users.received(1), "* guest1 quit: nothing received for 120 seconds\n");
}

#[test]
fn a_session_that_reads_too_slowly_is_closed_and_others_see_the_reason() {
    let mut users = Users::new(2);
    users.fact(0, Fact::Closed(CloseReason::TooSlow));
    assert_eq!(users.received_all(), ["", "* guest1 quit: reading too slowly\n"]);
    assert_eq!(users.replica.outputs.closed, [(Users::id(0), Ending::Drop)]);
    users.fact(0, Fact::Closed(CloseReason::Reset));
    assert_eq!(users.replica.outputs.closed.len(), 1, "closed once");
}

#[test]
fn when_the_server_stops_all_sessions_are_notified_and_closed() {
    let mut users = Users::new(2);
    users.fact(0, Fact::Stopping);
    assert_eq!(users.received_all(), ["* the server is stopping; goodbye\n"; 2]);
    users.arrive();
    assert_eq!(users.received(2), "* the server is stopping; goodbye\n");
    assert_eq!(users.replica.outputs.closed.len(), 3);
    assert_eq!(
        users.replica.chat.sessions_of(Slot::at(0)).count()
            + users.replica.chat.sessions_of(Slot::at(1)).count(),
        0
    );
}

#[test]
fn whoami_shows_the_pid_from_the_log_in_every_replica_and_after_a_restore() {
    let mut users = Users::new(1);
    let started = |pid| Record {
        session: SessionId::NONE,
        input_end: 0,
        fact: Fact::Started { slot: Slot::at(1), pid },
    };
    for pid in [4711, 4790] {
        users.at += 1;
        users.replica.apply(users.at, &started(pid));
        let mut successor = Replica::new(&[1]);
        successor.chat = Chat::restore(&users.replica.chat.snapshot()).unwrap();
        users.types(0, "/whoami");
        let received = users.received(0);
        assert!(received.ends_with(&format!(", served by worker 0 (pid {pid})\n")), "{received}");
        successor.apply(
            users.at,
            &Record {
                session: Users::id(0),
                input_end: users.sent[0],
                fact: Fact::Line(b"/whoami"),
            },
        );
        assert_eq!(String::from_utf8_lossy(&successor.outputs.bytes[&Users::id(0)]), received);
        assert!(successor.chat.snapshot() == users.replica.chat.snapshot());
    }
}

#[test]
fn whoami_shows_the_worker_and_help_lists_the_table() {
    let mut users = Users::new(1);
    users.types(0, "/whoami");
    assert_eq!(
        users.received(0),
        "* you are guest1, in #lobby, talking in #lobby, from 127.0.0.1:5000, served by worker 0\n"
    );
    users.types(0, "/help");
    let help = users.received(0);
    assert!(help.contains("/msg NICK TEXT") && !help.contains("/hello"), "{help}");
    users.types(0, "/help msg");
    assert_eq!(users.received(0), "* /msg NICK TEXT: sends a private message\n");
    users.types(0, "/hello x");
    assert!(users.received(0).starts_with("! /hello opens a session over UDP"));
}

#[test]
fn displayed_times_follow_the_wall_clock_and_the_rate_limit_does_not() {
    const YEAR: i64 = 365 * 24 * 3_600 * 1_000_000;
    let mut users = Users::new(2);
    users.types(1, "/set tags on");
    let id = Users::id(0);
    for (ahead, year) in [(0, "1970-01-01"), (YEAR, "1971-01-01"), (0, "1970-01-01")] {
        let clock = Record { session: SessionId::NONE, input_end: 0, fact: Fact::Clock { ahead } };
        users.at += 1;
        users.replica.apply(users.at, &clock);
        users.received_all();
        let used = users.replica.chat.next_line_at(id);
        users.types(0, "hi");
        let received = users.received(1);
        assert!(received.contains(&format!(";time={year}T00:00:00")), "{received}");
        let restored = Chat::restore(&users.replica.chat.snapshot()).unwrap();
        assert_eq!(restored.clock_ahead(), ahead);
        // The charge of one line, independent of the wall clock.
        assert!(users.replica.chat.next_line_at(id).since(used) <= Micros::SECOND / 20);
        assert_eq!(users.replica.chat.session(id).unwrap().last_received, Micros(users.at * 1_000));
    }
}
