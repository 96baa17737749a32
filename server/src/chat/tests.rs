use super::*;
use forkchat_common::address::AddressBlock;
use forkchat_common::endpoint::LocalAddress;
use forkchat_common::ids::{RecordId, Sequence};
use forkchat_common::limits::{ADDRESS_BURST_LINES, COMMAND_COST_MAX};
use forkchat_common::names::RoomName;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// A copy of the state that serves the sessions of some slots, and keeps what each was told.
struct Copy {
    chat: Chat,
    told: Told,
    cache: RenderCache,
}

#[derive(Default)]
struct Told {
    slots: Vec<Slot>,
    bytes: BTreeMap<SessionId, Vec<u8>>,
    closed: Vec<(SessionId, Ending)>,
    /// Lists that have another part, the latest last.
    continues: Vec<(SessionId, RecordId, u32)>,
    exceeded: Vec<AddressBlock>,
    /// Topics that the journal was to store.
    topics_kept: usize,
}

impl Deliveries for Told {
    fn wants(&mut self, _: SessionId, slot: Slot) -> bool {
        self.slots.contains(&slot)
    }
    fn deliver(&mut self, session: SessionId, bytes: &[u8]) {
        self.bytes.entry(session).or_default().extend_from_slice(bytes);
    }
    fn keeps_history(&self) -> bool {
        true
    }
}

impl Told {
    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Closed { session, ending, .. } => self.closed.push((session, ending)),
            Effect::ListGoesOn { session, list, parts, .. } => {
                self.continues.push((session, list, parts));
            }
            Effect::AddressExceeded(address) => self.exceeded.push(address),
            Effect::Keep(HistoryEntry::Topic { .. }) => self.topics_kept += 1,
            _ => {}
        }
    }
}

impl Copy {
    fn new(slots: &[u16]) -> Copy {
        let told =
            Told { slots: slots.iter().map(|&slot| Slot::at(slot)).collect(), ..Told::default() };
        let mut copy = Copy { chat: Chat::default(), told, cache: RenderCache::default() };
        let rate_limit = RateLimit::lines_per_second(20);
        let fact = Fact::Configured { rooms_bytes_max: 0, rate_limit };
        copy.apply(0, &Record { session: SessionId::NONE, input_end: 0, fact });
        copy
    }

    fn apply(&mut self, at: u64, record: &Record<'_>) {
        self.apply_at(
            Stamp { id: RecordId::first_of(Sequence(at)), time: Micros(at * 1_000) },
            record,
        );
    }

    fn apply_at(&mut self, stamp: Stamp, record: &Record<'_>) {
        let mut effects = Vec::new();
        self.chat.apply(stamp, record, &mut self.cache, &mut self.told, &mut effects);
        effects.into_iter().for_each(|effect| self.told.carry_out(effect));
    }
}

/// A room full of people, driven by what they type.
struct Room {
    copy: Copy,
    at: u64,
    sent: Vec<u64>,
}

impl Room {
    fn new(people: usize) -> Room {
        let mut room = Room { copy: Copy::new(&[0, 1]), at: 0, sent: Vec::new() };
        for _ in 0..people {
            room.arrive();
            room.fact(room.sent.len() - 1, Fact::Arrived);
        }
        room.told_all();
        room
    }

    fn id(person: usize) -> SessionId {
        SessionId::new(1, person)
    }

    fn arrive(&mut self) {
        self.sent.push(0);
        let (slot, peer) =
            (Slot::at(self.sent.len() as u16 % 2), "127.0.0.1:5000".parse().unwrap());
        self.fact(self.sent.len() - 1, Fact::opened(slot, Transport::Tcp, peer));
    }

    fn fact(&mut self, person: usize, fact: Fact<'_>) {
        self.at += 1;
        let input_end = if matches!(
            fact,
            Fact::Line(_) | Fact::LineBegins(_) | Fact::LongLineBegins | Fact::LongLineEnds
        ) {
            self.sent[person] += 10;
            self.sent[person]
        } else {
            0
        };
        self.copy.apply(self.at, &Record { session: Self::id(person), input_end, fact });
    }

    fn types(&mut self, person: usize, line: &str) {
        self.fact(person, Fact::Line(line.as_bytes()));
    }

    /// What a person was told since the last time.
    fn told(&mut self, person: usize) -> String {
        String::from_utf8(self.copy.told.bytes.remove(&Self::id(person)).unwrap_or_default())
            .unwrap()
    }

    fn told_all(&mut self) -> Vec<String> {
        (0..self.sent.len()).map(|person| self.told(person)).collect()
    }
}

#[test]
fn a_newcomer_is_welcomed_and_the_others_hear_of_it_after_what_came_with_it() {
    let mut room = Room::new(1);
    room.arrive();
    assert_eq!(room.told(1), "", "its first line comes first");
    room.types(1, "");
    let welcome = room.told(1);
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
    assert_eq!(room.told(0), "", "nobody has heard of the newcomer yet");
    room.types(1, "/leave");
    room.types(1, "hello");
    assert_eq!(room.told(0), "* bob joined #lobby\n[#lobby] bob: hello\n");
    room.fact(1, Fact::Arrived);
    assert_eq!(room.told(0), "", "an arrival is told once");
}

#[test]
fn what_is_said_reaches_the_room_and_echo_the_speaker() {
    let mut room = Room::new(3);
    room.types(0, "hi");
    room.types(0, "/me waves");
    room.types(0, "//join is a command");
    let expected =
        "[#lobby] guest1: hi\n[#lobby] * guest1 waves\n[#lobby] guest1: /join is a command\n";
    assert_eq!(room.told_all(), ["", expected, expected]);
    room.types(0, "/set echo on");
    room.types(0, "again");
    assert_eq!(room.told(0).lines().last(), Some("[#lobby] guest1: again"));
}

#[test]
fn a_nickname_belongs_to_who_came_first_in_the_log() {
    let mut room = Room::new(2);
    room.types(0, "/nick Alice");
    assert_eq!(room.told_all(), ["* you are now Alice\n", "* guest1 is now Alice\n"]);
    room.types(1, "/nick ＡＬＩＣＥ");
    assert!(room.told(1).starts_with("! the nickname ＡＬＩＣＥ is taken; choose another"));
    room.types(0, "/nick aLICE");
    assert_eq!(room.told(1), "* Alice is now aLICE\n");
    room.types(0, "/quit bye");
    assert_eq!(room.told_all(), ["* you are now aLICE\n* goodbye\n", "* aLICE quit: bye\n"]);
    room.types(1, "/nick alice");
    assert_eq!(room.told(1), "* you are now alice\n");
    assert_eq!(room.copy.told.closed, [(Room::id(0), Ending::Finish)]);
}

#[test]
fn rooms_are_entered_switched_and_left() {
    let mut room = Room::new(2);
    room.types(0, "/join #Dev");
    room.types(1, "/join #dev");
    assert_eq!(room.told(0), "* you joined #Dev; nobody else is here\n* guest2 joined #Dev\n");
    assert_eq!(room.told(1), "* you joined #Dev; 2 people are here\n");
    room.types(0, "/join #lobby");
    room.types(0, "in the lobby");
    assert_eq!(
        room.told_all(),
        ["* you are now talking in #lobby\n", "[#lobby] guest1: in the lobby\n"]
    );
    room.types(0, "/leave #DEV");
    assert_eq!(
        room.told_all(),
        ["* you left #Dev; you are now talking in #lobby\n", "* guest1 left #Dev\n"]
    );
    room.types(1, "/leave");
    room.types(1, "/leave");
    assert_eq!(
        room.told(1),
        "* you left #Dev; you are now talking in #lobby\n* you left #lobby; you are in no room now, join one with /join #ROOM\n"
    );
    room.types(1, "anyone?");
    assert!(room.told(1).starts_with("! you are in no room; /join #ROOM first"));
    room.types(0, "/rooms");
    assert!(room.told(0).ends_with("* #lobby (1)\n"), "an empty room without a topic is gone");
}

#[test]
fn of_three_rooms_the_one_joined_before_becomes_current() {
    let mut room = Room::new(1);
    room.types(0, "/join #a");
    room.types(0, "/join #b");
    room.types(0, "/join #a");
    room.types(0, "/leave");
    assert!(room.told(0).ends_with("* you left #a; you are now talking in #lobby\n"));
}

#[test]
fn a_topic_is_shown_set_and_outlives_the_last_member() {
    let mut room = Room::new(2);
    room.types(0, "/join #dev");
    room.types(0, "/topic");
    room.types(0, "/topic all about forks");
    room.types(0, "/leave");
    room.told_all();
    room.types(1, "/join #DEV");
    assert_eq!(
        room.told(1),
        "* you joined #dev; nobody else is here\n* topic of #dev: all about forks\n"
    );
}

#[test]
fn a_private_message_reaches_one_and_is_echoed_under_ones_own_name() {
    let mut room = Room::new(3);
    room.types(0, "/set echo on");
    room.told_all();
    room.types(0, "/msg GUEST2 psst");
    assert_eq!(room.told_all(), ["[@guest2] guest1: psst\n", "[@guest1] guest1: psst\n", ""]);
    room.types(0, "/msg nobody psst");
    assert!(room.told(0).starts_with("! no user named nobody; "));
}

#[test]
fn joins_off_hears_no_presence_and_tags_on_is_for_programs() {
    let mut room = Room::new(2);
    room.types(1, "/set joins off");
    room.types(1, "/set tags on");
    room.told_all();
    room.types(0, "/nick al;ice");
    assert!(room.told(0).starts_with("! al;ice is not a valid nickname: it may not contain ;"));
    room.types(0, "/nick alice");
    room.types(0, "hi");
    assert_eq!(
        room.told(1),
        format!(
            "@id={};time=1970-01-01T00:00:00.{:03}Z;event=say;room=#lobby;nick=alice [#lobby] alice: hi\n",
            room.at, room.at
        )
    );
    room.types(1, "/ping x");
    assert!(room.told(1).contains(";event=pong;to=ping * pong x\n"));
    room.types(1, "/who");
    assert!(room.told(1).contains(
        ";event=reply;to=who;room=#lobby;names=alice,guest2 * in #lobby: alice guest2\n"
    ));
    room.types(1, "/dance");
    assert!(room.told(1).contains(";event=error;to=dance ! no command /dance; /help"));
}

#[test]
fn charsets_are_per_person_and_from_the_next_line_on() {
    let mut room = Room::new(2);
    room.types(0, "/charset gbk");
    assert_eq!(room.told(0), "* charset is GBK from the next line on\n");
    room.fact(0, Fact::Line(b"\xc4\xe3\xba\xc3\r"));
    assert_eq!(room.told(1), "[#lobby] guest1: 你好\n");
    room.types(1, "世界 😀");
    assert_eq!(
        room.copy.told.bytes.remove(&Room::id(0)).unwrap(),
        b"[#lobby] guest2: \xca\xc0\xbd\xe7 ?\n"
    );
    room.types(1, "/charset utf-16");
    assert!(room.told(1).starts_with("! charset utf-16 can't be used"));
}

#[test]
fn a_line_end_inside_a_telnet_negotiation_does_not_end_the_line() {
    let mut room = Room::new(2);
    room.fact(0, Fact::Line(b"one \xff\xfa\x1f\x00\x50\x00"));
    room.fact(0, Fact::Line(b"\xff\xf0line\r"));
    assert_eq!(room.told(1), "[#lobby] guest1: one line\n");
    room.fact(0, Fact::Line(b"\xff\xfd\x01\xff\xf2\x1b[2Jnot erased"));
    assert_eq!(room.told(1), "[#lobby] guest1: not erased\n");
}

#[test]
fn a_client_of_another_protocol_is_answered_in_it_and_nobody_hears_of_it() {
    for request in [
        &b"GET / HTTP/1.1\r"[..],
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\n\n/nick ceo\nbuy now\n/topic pwned\n",
    ] {
        let mut room = Room::new(1);
        room.arrive();
        room.fact(
            1,
            if request.contains(&b'\n') { Fact::LineBegins(request) } else { Fact::Line(request) },
        );
        let answer = room.told(1);
        assert!(
            answer.starts_with("HTTP/1.1 400 Bad Request\r\n")
                && answer.contains("Connection: close\r\n"),
            "{answer}"
        );
        room.types(1, "/nick ceo");
        room.types(1, "buy now");
        room.fact(1, Fact::Arrived);
        assert_eq!(room.told_all(), ["", ""], "it is closed");
        assert_eq!(room.copy.told.closed, [(Room::id(1), Ending::Finish)]);
        room.types(0, "/who");
        assert_eq!(room.told(0), "* in #lobby: guest1\n");
        room.arrive();
        room.fact(2, Fact::Arrived);
        assert!(room.told(2).starts_with("* Welcome to forkchat, guest2."), "it took no name");
    }
}

#[test]
fn only_the_first_line_is_looked_at_and_empty_ones_do_not_count() {
    let mut room = Room::new(2);
    room.types(1, "well");
    room.types(1, "GET / HTTP/1.1");
    assert_eq!(room.told(0), "[#lobby] guest2: well\n[#lobby] guest2: GET / HTTP/1.1\n");
    room.types(0, "");
    room.types(0, "\r");
    room.types(0, "\u{3000}");
    room.fact(0, Fact::Line(b"SSH-2.0-OpenSSH_10.0\r"));
    let told = room.told(0);
    assert!(told.starts_with("! this is forkchat") && told.matches('\n').count() == 1, "{told}");
    assert_eq!(room.told(1), "* guest1 quit: spoke another protocol\n");
}

#[test]
fn a_tls_hello_is_answered_with_an_alert_and_a_person_may_begin_with_a_method() {
    let mut room = Room::new(1);
    room.arrive();
    room.fact(1, Fact::LineBegins(b"\x16\x03\x01\x02\x00\x01"));
    assert_eq!(room.copy.told.bytes.remove(&Room::id(1)).unwrap(), b"\x15\x03\x01\x00\x02\x02\x46");
    room.arrive();
    room.types(2, "GET well soon");
    assert!(room.told(0).ends_with("[#lobby] guest2: GET well soon\n"));
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
        assert_eq!(room.told_all(), ["", "[@guest1] guest1: psst\n", ""], "{line:?}");
    }
    room.types(0, "⁄msg guest2 psst");
    assert_eq!(
        room.told_all(),
        [
            "! not sent: ⁄msg starts with U+2044, not with /; type /msg for the command, ⁄⁄msg to send it as text\n",
            "",
            ""
        ]
    );
    for line in ["\u{3000}", " \t ", "\u{a0}", "\u{200b}"] {
        room.types(0, line);
    }
    assert_eq!(room.told_all(), ["", "", ""]);
}

#[test]
fn telnet_is_answered_and_0xff_is_doubled_for_who_negotiated() {
    let mut room = Room::new(2);
    room.types(0, "/charset windows-1251");
    room.types(1, "/charset windows-1251");
    room.told_all();
    room.fact(0, Fact::Line(b"\xec\xee\xff"));
    assert_eq!(
        room.copy.told.bytes.remove(&Room::id(1)).unwrap(),
        b"[#lobby] guest1: \xec\xee\xff\n"
    );
    room.fact(0, Fact::LineBegins(b"wrong\xff\xf4\xff\xfd\x06"));
    assert_eq!(room.copy.told.bytes.remove(&Room::id(0)).unwrap(), b"\xff\xfc\x06");
    room.fact(0, Fact::Line(b"\xec\xee\xff\xff"));
    assert_eq!(
        room.copy.told.bytes.remove(&Room::id(1)).unwrap(),
        b"[#lobby] guest1: \xec\xee\xff\n"
    );
    room.fact(1, Fact::Line(b"\xff"));
    assert_eq!(room.copy.told.bytes.remove(&Room::id(0)).unwrap(), b"[#lobby] guest2: \xff\xff\n");
    room.fact(0, Fact::Line(b"\xff\xf6"));
    assert_eq!(room.told(0), "* pong\n");
}

#[test]
fn a_line_may_be_recorded_in_parts_but_not_grow_by_it() {
    let mut room = Room::new(2);
    room.fact(0, Fact::LineBegins(b"in \xff"));
    room.fact(0, Fact::LineBegins(b"\xf2par"));
    room.fact(0, Fact::Line(b"ts"));
    assert_eq!(room.told(1), "[#lobby] guest1: in parts\n");
    for _ in 0..3 {
        room.fact(0, Fact::LineBegins(&[b'x'; 3_000]));
    }
    room.fact(0, Fact::Line(b""));
    room.types(0, "next");
    assert!(room.told(0).starts_with("! line too long"));
    assert_eq!(room.told(1), "[#lobby] guest1: next\n");
    room.fact(0, Fact::LineBegins(b"secret"));
    room.fact(0, Fact::LongLineBegins);
    room.fact(0, Fact::LongLineEnds);
    room.types(0, "open");
    assert_eq!(room.told(1), "[#lobby] guest1: open\n", "nothing of a refused line is left");
    room.fact(0, Fact::LineBegins(b"no more"));
    room.fact(0, Fact::Closed(CloseReason::EndOfInput));
    assert_eq!(room.told(1), "[#lobby] guest1: no more\n* guest1 quit\n");
    room.fact(1, Fact::Line(b"tail\xff\xfa\x1f"));
    room.arrive();
    room.fact(2, Fact::Arrived);
    room.told(2);
    room.fact(1, Fact::Closed(CloseReason::EndOfInput));
    assert_eq!(
        room.told(2),
        "[#lobby] guest2: tail\n* guest2 quit\n",
        "a negotiation without an end swallows nothing"
    );
}

#[test]
fn a_line_applied_twice_is_said_once() {
    let mut room = Room::new(2);
    room.types(0, "once");
    room.sent[0] -= 10;
    room.types(0, "once");
    assert_eq!(room.told(1), "[#lobby] guest1: once\n");
}

#[test]
fn a_line_too_long_is_refused_once() {
    let mut room = Room::new(2);
    room.fact(0, Fact::LongLineBegins);
    assert!(room.copy.chat.session(Room::id(0)).unwrap().in_long_line);
    room.fact(0, Fact::LongLineEnds);
    room.types(0, "short");
    assert!(
        room.told(0).starts_with("! line too long: at most 4095 bytes")
            && !room.copy.chat.session(Room::id(0)).unwrap().in_long_line
    );
    assert_eq!(room.told(1), "[#lobby] guest1: short\n");
}

#[test]
fn a_silent_session_ends_only_if_it_was_silent() {
    let mut room = Room::new(2);
    let heard = room.copy.chat.session(Room::id(0)).unwrap().last_heard;
    room.types(0, "here");
    room.told_all();
    room.fact(0, Fact::Silent { since: heard });
    assert_eq!(room.told_all(), ["", ""]);
    let heard = room.copy.chat.session(Room::id(0)).unwrap().last_heard;
    room.fact(0, Fact::Silent { since: heard });
    assert!(room.told(0).starts_with("! nothing received for 120 seconds"));
    assert_eq!(room.told(1), "* guest1 quit: nothing received for 120 seconds\n");
}

#[test]
fn who_is_not_read_by_is_dropped_and_the_others_hear_why() {
    let mut room = Room::new(2);
    room.fact(0, Fact::Closed(CloseReason::TooSlow));
    assert_eq!(room.told_all(), ["", "* guest1 quit: reading too slowly\n"]);
    assert_eq!(room.copy.told.closed, [(Room::id(0), Ending::Drop)]);
    room.fact(0, Fact::Closed(CloseReason::Reset));
    assert_eq!(room.copy.told.closed.len(), 1, "closed once");
}

#[test]
fn when_the_server_stops_everyone_is_told_and_nobody_comes_in() {
    let mut room = Room::new(2);
    room.fact(0, Fact::Stopping);
    assert_eq!(room.told_all(), ["* the server is stopping; goodbye\n"; 2]);
    room.arrive();
    assert_eq!(room.told(2), "* the server is stopping; goodbye\n");
    assert_eq!(room.copy.told.closed.len(), 3);
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
        let told = room.told(0);
        assert!(told.ends_with(&format!(", served by worker 0 (pid {pid})\n")), "{told}");
        successor.apply(
            room.at,
            &Record { session: Room::id(0), input_end: room.sent[0], fact: Fact::Line(b"/whoami") },
        );
        assert_eq!(String::from_utf8_lossy(&successor.told.bytes[&Room::id(0)]), told);
        assert!(successor.chat.snapshot() == room.copy.chat.snapshot());
    }
}

#[test]
fn whoami_tells_the_worker_and_help_reads_the_table() {
    let mut room = Room::new(1);
    room.types(0, "/whoami");
    assert_eq!(
        room.told(0),
        "* you are guest1, in #lobby, talking in #lobby, from 127.0.0.1:5000, served by worker 0\n"
    );
    room.types(0, "/help");
    let help = room.told(0);
    assert!(help.contains("/msg NICK TEXT") && !help.contains("/hello"), "{help}");
    room.types(0, "/help msg");
    assert_eq!(room.told(0), "* /msg NICK TEXT: sends a private message\n");
    room.types(0, "/hello x");
    assert!(room.told(0).starts_with("! /hello opens a session over UDP"));
}

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
    assert_eq!(copy.told.exceeded, [AddressBlock::of(peer(1).ip())]);
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
    assert!(room.copy.told.exceeded.is_empty());
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
    copy.told.bytes.clear();
    for input_end in 1..=600 {
        copy.apply(1, &Record { session, input_end, fact: Fact::Line(b"/nick other") });
    }
    let told = String::from_utf8(copy.told.bytes.remove(&session).unwrap()).unwrap();
    assert_eq!(told.lines().count(), 32, "512 lines' worth");
}

#[test]
fn rooms_are_listed_by_their_members_and_found_by_a_pattern() {
    let mut room = Room::new(4);
    room.types(0, "/join #aaa-spam");
    for person in 1..4 {
        room.types(person, "/join #Team");
    }
    room.told_all();
    room.types(0, "/rooms");
    assert_eq!(room.told(0), "* #lobby (4)\n* #Team (3)\n* #aaa-spam (1)\n");
    room.types(0, "/rooms TEA");
    assert_eq!(room.told(0), "* #Team (3)\n");
    room.types(0, "/rooms *a?");
    assert_eq!(room.told(0), "* #Team (3)\n* #aaa-spam (1)\n");
    room.types(0, "/rooms nothing");
    assert_eq!(
        room.told(0),
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
    room.told_all();
    room.types(2, "/rooms");
    room.types(2, "/ping after");
    let (mut text, mut parts) = (room.told(2), 1);
    while let Some((session, of, parts_sent)) = room.copy.told.continues.pop() {
        assert_eq!((session, parts_sent), (Room::id(2), parts));
        // The same part again, as a worker that took over may propose it, changes nothing.
        let sent = room.told(2).len();
        assert!(sent < 16 * 1024, "{sent} bytes in one part");
        room.fact(2, Fact::NextPart { of, parts: parts_sent });
        let part = room.told(2);
        room.fact(2, Fact::NextPart { of, parts: parts_sent });
        assert_eq!(room.told(2), "");
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
    let mut names = crowd.told(7);
    while let Some((_, of, parts)) = crowd.copy.told.continues.pop() {
        crowd.fact(7, Fact::NextPart { of, parts });
        names += &crowd.told(7);
    }
    let names: Vec<&str> =
        names.split_whitespace().filter(|word| word.starts_with("guest")).collect();
    assert_eq!(names, (1..=300).map(|number| format!("guest{number}")).collect::<Vec<_>>());
}

/// The parts of the answer to a command, the first one included.
fn parts(room: &mut Room, person: usize, command: &str) -> Vec<String> {
    room.types(person, command);
    let mut parts = vec![room.told(person)];
    while let Some((_, of, number)) = room.copy.told.continues.pop() {
        // Whoever goes on from a snapshot goes on in the same place.
        room.copy.chat = Chat::restore(&room.copy.chat.snapshot()).unwrap();
        room.fact(person, Fact::NextPart { of, parts: number });
        parts.push(room.told(person));
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
    room.told_all();
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

#[test]
fn a_topic_can_be_removed_and_has_a_bound() {
    let mut room = Room::new(2);
    for removal in ["/topic -", "/topic \"\""] {
        room.types(0, "/topic tea");
        room.told_all();
        room.types(0, removal);
        assert_eq!(
            room.told_all(),
            [
                "* #lobby has no topic; /topic TEXT sets one\n",
                "* guest1 removed the topic of #lobby\n"
            ]
        );
    }
    room.types(0, &format!("/topic {}", "é".repeat(400)));
    assert!(room.told(0).starts_with("* topic of #lobby: éé"));
    room.types(0, &format!("/topic {}", "é".repeat(401)));
    assert_eq!(room.told(0), "! topic too long (at most 400 characters), not set; shorten it\n");
}

#[test]
fn a_topic_that_does_not_change_is_told_to_who_set_it_alone() {
    let mut room = Room::new(2);
    for removal in ["/topic -", "/topic \"\""] {
        room.types(1, removal);
        assert_eq!(
            room.told_all(),
            ["", "* #lobby has no topic; /topic TEXT sets one\n"],
            "{removal}"
        );
    }
    room.types(0, "/topic tea");
    assert_eq!(
        room.told_all(),
        ["* topic of #lobby: tea\n", "* guest1 set the topic of #lobby: tea\n"]
    );
    room.types(1, "/topic tea");
    assert_eq!(room.told_all(), ["", "* topic of #lobby: tea\n"]);
    assert_eq!(room.copy.told.topics_kept, 1);
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
        let reached = room.told(0).matches(notice).count() as u64;
        // A line each millisecond. What is refused costs a line, too.
        let allowed = (ADDRESS_BURST_LINES + (room.at - start) * 2 / 5) / cost;
        assert!(
            (allowed / 2..=allowed + 1).contains(&reached),
            "{reached} of {allowed}: {command}"
        );
        assert!(
            room.told(50).contains("! your address sends too much; this command was not executed")
        );
        // Who comes now gets a name and a room all the same.
        room.arrive();
        room.types(101, "/nick late");
        room.types(101, "/join #late");
        assert!(room.told(101).contains("* you are now late\n* you joined #late"), "{command}");
        // Who has waited until it is their turn isn't refused.
        while room.copy.chat.lines_allowed(Room::id(7), Micros(room.at * 1_000)) == 0 {
            room.at += 1;
        }
        room.told(7);
        room.types(7, "/whoami");
        assert!(room.told(7).starts_with("* you are"), "{command}");
    }
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
        room.told_all()
            .iter()
            .any(|told| told.contains("! rooms and topics from your address take 64 KiB"))
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
    room.told_all();
    room.types(60, "/join #new");
    assert!(room.told(60).starts_with("* you joined #new"));
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
        room.told_all()
            .iter()
            .map(|told| told.matches("! the server can hold no more rooms and topics").count())
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
    assert!(room.told(people).contains("You are in #lobby"));
}

#[test]
fn looking_up_a_name_of_any_length_is_refused_at_once() {
    let mut room = Room::new(1);
    for line in ["/msg {} hi", "/who #{}", "/leave #{}", "/nick {}", "/join #{}", "/rooms {}"] {
        room.types(0, &line.replace("{}", &"ß".repeat(2_000)));
        assert!(room.told(0).starts_with("! "), "{line}");
    }
}

#[test]
fn rooms_have_a_bound_each_way() {
    let mut room = Room::new(1);
    for i in 0..60 {
        room.types(0, &format!("/join #r{i}"));
    }
    assert!(room.told(0).contains("! you are in 50 rooms, the most allowed; /leave one first\n"));
}

/// What a person may do, for the property tests.
#[derive(Clone, Debug)]
enum Act {
    Arrive,
    Announce,
    Type(Vec<u8>),
    Close(CloseReason),
    LongLine,
    Begin(Vec<u8>),
    Continue,
}

fn acts() -> impl Strategy<Value = Vec<(usize, Act)>> {
    let words = prop::sample::select(vec![
        "/nick a",
        "/nick B",
        "/nick Ａ",
        "/nick no name",
        "/join #x",
        "/join #Y",
        "/join #長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長",
        "/join #短長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長",
        "/topic 長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長長",
        "/join lobby",
        "/leave",
        "/leave #x",
        "/rooms",
        "/who",
        "/whoami",
        "/topic t",
        "/topic",
        "/msg a hi",
        "/me acts",
        "/charset gbk",
        "/charset utf-8",
        "/set echo on",
        "/set joins off",
        "/set tags on",
        "/set tags off",
        "/ping p",
        "/quit",
        "/quit so long",
        "/help",
        "/help nick",
        "/nonsense",
        "plain words",
        "你好",
        "",
        "/set",
        "GET / HTTP/1.1",
        "CAP LS 302",
        "／who",
    ]);
    let line = prop_oneof![8 => words.prop_map(|word| word.as_bytes().to_vec()), 1 => prop::collection::vec(any::<u8>().prop_filter("a line has no LF", |&byte| byte != b'\n'), 0..40)];
    let reason = prop::sample::select(vec![
        CloseReason::EndOfInput,
        CloseReason::Reset,
        CloseReason::TooSlow,
        CloseReason::WorkerDied,
    ]);
    let act = prop_oneof![2 => Just(Act::Arrive), 2 => Just(Act::Announce), 12 => line.prop_map(Act::Type), 1 => reason.prop_map(Act::Close), 1 => Just(Act::LongLine), 2 => Just(Act::Continue), 1 => prop::collection::vec(any::<u8>(), 0..9).prop_map(Act::Begin)];
    prop::collection::vec((0usize..6, act), 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn any_commands_on_two_copies_end_in_equal_states_and_equal_bytes(acts in acts(), restored_at in 0usize..100) {
        // Two workers that serve one half each, one copy that serves all, and one that starts late
        // from a snapshot.
        let mut copies = [Copy::new(&[0]), Copy::new(&[1]), Copy::new(&[0, 1]), Copy::new(&[0, 1])];
        let (mut serials, mut input) = ([0u64; 6], [0u64; 6]);
        for (at, (person, act)) in (1..).zip(&acts) {
            if restored_at == at as usize {
                copies[3].chat = Chat::restore(&copies[0].chat.snapshot()).unwrap();
            }
            if matches!(act, Act::Arrive) && copies[0].chat.session(SessionId::new(serials[*person].max(1), *person)).is_none() {
                (serials[*person], input[*person]) = (serials[*person] + 1, 0);
            }
            input[*person] += 7;
            let peer = "127.0.0.1:1".parse().unwrap();
            let fact = match act {
                Act::Arrive => Fact::opened(Slot::at(*person as u16 % 2), Transport::Tcp, peer),
                Act::Announce => Fact::Arrived,
                Act::Type(line) => Fact::Line(line),
                Act::Close(reason) => Fact::Closed(*reason),
                Act::LongLine => Fact::LongLineBegins,
                Act::Begin(bytes) => Fact::LineBegins(bytes),
                Act::Continue => {
                    let lists = (0..2).flat_map(|slot| copies[2].chat.lists_of(Slot::at(slot)));
                    let list = lists.into_iter().find(|(session, ..)| session.cell() == *person);
                    let (_, of, parts) = list.unwrap_or((SessionId::NONE, RecordId::ZERO, 0));
                    Fact::NextPart { of, parts }
                }
            };
            let record = Record { session: SessionId::new(serials[*person].max(1), *person), input_end: input[*person], fact };
            copies.iter_mut().for_each(|copy| copy.apply(at, &record));
        }
        let states: Vec<Vec<u8>> = copies.iter().map(|copy| copy.chat.snapshot()).collect();
        prop_assert!(states.iter().all(|state| *state == states[0]));
        prop_assert_eq!(&Chat::restore(&states[0]).unwrap().snapshot(), &states[0]);
        let [half, other_half, whole, late] = copies;
        let mut halves = half.told.bytes;
        halves.extend(other_half.told.bytes);
        prop_assert_eq!(&halves, &whole.told.bytes);
        prop_assert_eq!(&late.told.bytes, &whole.told.bytes);
        let is_whole = |bytes: &Vec<u8>| bytes.is_empty() || bytes.ends_with(b"\n") || bytes.contains(&0xff) || bytes.contains(&0);
        prop_assert!(whole.told.bytes.values().all(is_whole), "whole lines out");
    }
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
        room.told_all();
        let used = room.copy.chat.next_line_at(id);
        room.types(0, "hi");
        let told = room.told(1);
        assert!(told.contains(&format!(";time={year}T00:00:00")), "{told}");
        let restored = Chat::restore(&room.copy.chat.snapshot()).unwrap();
        assert_eq!(restored.clock_ahead(), ahead);
        // Of one line, whatever the clock is.
        assert!(room.copy.chat.next_line_at(id).since(used) <= Micros::SECOND / 20);
        assert_eq!(room.copy.chat.session(id).unwrap().last_heard, Micros(room.at * 1_000));
    }
}
