use super::*;
use forkchat_common::ids::Sequence;
use proptest::prelude::*;

/// A copy of the state that serves the sessions of some slots, and keeps what each was told.
struct Copy {
    chat: Chat,
    told: Told,
    forms: Forms,
}

#[derive(Default)]
struct Told {
    slots: Vec<Slot>,
    bytes: BTreeMap<SessionId, Vec<u8>>,
    closed: Vec<(SessionId, Ending)>,
}

impl Output for Told {
    fn serves(&mut self, _: SessionId, slot: Slot) -> bool {
        self.slots.contains(&slot)
    }
    fn tell(&mut self, session: SessionId, bytes: &[u8]) {
        self.bytes.entry(session).or_default().extend_from_slice(bytes);
    }
    fn closed(&mut self, session: SessionId, _: Slot, ending: Ending) {
        self.closed.push((session, ending));
    }
}

impl Copy {
    fn new(slots: &[u16]) -> Copy {
        let told = Told { slots: slots.iter().map(|&slot| Slot(slot)).collect(), ..Told::default() };
        Copy { chat: Chat::new(RateLimit::lines_per_second(20)), told, forms: Forms::default() }
    }

    fn apply(&mut self, at: u64, record: &Record<'_>) {
        let stamp = Stamp { id: Sequence(at), time: Micros(at * 1_000) };
        self.chat.apply(stamp, record, &mut self.forms, &mut self.told);
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
        let (slot, peer) = (Slot(self.sent.len() as u16 % 2), "127.0.0.1:5000".parse().unwrap());
        self.fact(self.sent.len() - 1, Fact::Opened { slot, transport: Transport::Tcp, peer });
    }

    fn fact(&mut self, person: usize, fact: Fact<'_>) {
        self.at += 1;
        let input_end = if matches!(fact, Fact::Line(_) | Fact::LineBegins(_) | Fact::LongLineBegins | Fact::LongLineEnds) {
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
        String::from_utf8(self.copy.told.bytes.remove(&Self::id(person)).unwrap_or_default()).unwrap()
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
    assert!(welcome.starts_with("* Welcome to forkchat, guest2. You are in #lobby; 2 are here."), "{welcome}");
    assert!(welcome.contains("/help") && welcome.contains("* in #lobby: guest1 guest2\n"), "{welcome}");
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
    let expected = "[#lobby] guest1: hi\n[#lobby] * guest1 waves\n[#lobby] guest1: /join is a command\n";
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
    assert_eq!(room.told(1), "* you joined #Dev; 2 are here\n");
    room.types(0, "/join #lobby");
    room.types(0, "in the lobby");
    assert_eq!(room.told_all(), ["* you talk in #lobby now\n", "[#lobby] guest1: in the lobby\n"]);
    room.types(0, "/leave #DEV");
    assert_eq!(room.told_all(), ["* you left #Dev; you talk in #lobby now\n", "* guest1 left #Dev\n"]);
    room.types(1, "/leave");
    room.types(1, "/leave");
    assert_eq!(room.told(1), "* you left #Dev; you talk in #lobby now\n* you left #lobby; you are in no room now, /join one\n");
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
    assert!(room.told(0).ends_with("* you left #a; you talk in #lobby now\n"));
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
    assert_eq!(room.told(1), "* you joined #dev; nobody else is here\n* topic of #dev: all about forks\n");
}

#[test]
fn a_private_message_reaches_one_and_is_echoed_under_ones_own_name() {
    let mut room = Room::new(3);
    room.types(0, "/set echo on");
    room.told_all();
    room.types(0, "/msg GUEST2 psst");
    assert_eq!(room.told_all(), ["[@guest2] guest1: psst\n", "[@guest1] guest1: psst\n", ""]);
    room.types(0, "/msg nobody psst");
    assert!(room.told(0).starts_with("! nobody is called nobody; "));
}

#[test]
fn joins_off_hears_no_presence_and_tags_on_is_for_programs() {
    let mut room = Room::new(2);
    room.types(1, "/set joins off");
    room.types(1, "/set tags on");
    room.told_all();
    room.types(0, "/nick al;ice");
    assert!(room.told(0).starts_with("! al;ice is no nickname: it may not contain ;"));
    room.types(0, "/nick alice");
    room.types(0, "hi");
    assert_eq!(
        room.told(1),
        format!("@id={};time=1970-01-01T00:00:00.{:03}Z;event=say;room=#lobby;nick=alice [#lobby] alice: hi\n", room.at, room.at)
    );
    room.types(1, "/ping x");
    assert!(room.told(1).contains(";event=pong;to=ping * pong x\n"));
    room.types(1, "/who");
    assert!(room.told(1).contains(";event=reply;to=who;room=#lobby;names=alice,guest2 * in #lobby: alice guest2\n"));
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
    assert_eq!(room.copy.told.bytes.remove(&Room::id(0)).unwrap(), b"[#lobby] guest2: \xca\xc0\xbd\xe7 ?\n");
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
    assert_eq!(room.told(1), "[#lobby] guest1: [2Jnot erased\n");
}

#[test]
fn a_client_of_another_protocol_is_answered_in_it_and_nobody_hears_of_it() {
    for request in [&b"GET / HTTP/1.1\r"[..], b"POST / HTTP/1.1\r\nHost: x\r\n\r\n\n/nick ceo\nbuy now\n/topic pwned\n"] {
        let mut room = Room::new(1);
        room.arrive();
        room.fact(1, if request.contains(&b'\n') { Fact::LineBegins(request) } else { Fact::Line(request) });
        let answer = room.told(1);
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n") && answer.contains("Connection: close\r\n"), "{answer}");
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
    ] {
        room.types(0, line);
        assert_eq!(room.told_all(), ["", "[@guest1] guest1: psst\n", ""], "{line:?}");
    }
    room.types(0, "⁄msg guest2 psst");
    assert_eq!(room.told_all(), ["! ⁄msg starts with U+2044, not with /, and was not said; /msg is the command\n", "", ""]);
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
    assert_eq!(room.copy.told.bytes.remove(&Room::id(1)).unwrap(), b"[#lobby] guest1: \xec\xee\xff\n");
    room.fact(0, Fact::LineBegins(b"wrong\xff\xf4\xff\xfd\x06"));
    assert_eq!(room.copy.told.bytes.remove(&Room::id(0)).unwrap(), b"\xff\xfc\x06");
    room.fact(0, Fact::Line(b"\xec\xee\xff\xff"));
    assert_eq!(room.copy.told.bytes.remove(&Room::id(1)).unwrap(), b"[#lobby] guest1: \xec\xee\xff\n");
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
    assert_eq!(room.told(2), "[#lobby] guest2: tail\n* guest2 quit\n", "a negotiation without an end swallows nothing");
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
    assert!(room.told(0).starts_with("! line too long: at most 4095 bytes") && !room.copy.chat.session(Room::id(0)).unwrap().in_long_line);
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
    assert!(room.told(0).starts_with("! no word for 120 seconds"));
    assert_eq!(room.told(1), "* guest1 quit: no word for 120 seconds\n");
}

#[test]
fn who_is_not_read_by_is_dropped_and_the_others_hear_why() {
    let mut room = Room::new(2);
    room.fact(0, Fact::Closed(CloseReason::TooSlow));
    assert_eq!(room.told_all(), ["", "* guest1 quit: did not read what it was sent\n"]);
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
    assert_eq!(room.copy.chat.sessions_of(Slot(0)).count() + room.copy.chat.sessions_of(Slot(1)).count(), 0);
}

#[test]
fn whoami_tells_the_worker_and_help_reads_the_table() {
    let mut room = Room::new(1);
    room.types(0, "/whoami");
    assert_eq!(room.told(0), "* you are guest1, in #lobby, talking in #lobby, from 127.0.0.1:5000, served by worker 1\n");
    room.types(0, "/help");
    let help = room.told(0);
    assert!(help.contains("/msg NICK TEXT") && !help.contains("/hello"), "{help}");
    room.types(0, "/help msg");
    assert_eq!(room.told(0), "* /msg NICK TEXT: says something to one person only\n");
    room.types(0, "/hello x");
    assert!(room.told(0).starts_with("! /hello opens a session over UDP"));
}

#[test]
fn rooms_have_a_bound_each_way() {
    let mut room = Room::new(1);
    for i in 0..60 {
        room.types(0, &format!("/join #r{i}"));
    }
    assert!(room.told(0).contains("! you are in 50 rooms, no one may be in more; /leave one first\n"));
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
}

fn acts() -> impl Strategy<Value = Vec<(usize, Act)>> {
    let words = prop::sample::select(vec![
        "/nick a",
        "/nick B",
        "/nick Ａ",
        "/nick no name",
        "/join #x",
        "/join #Y",
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
    let reason = prop::sample::select(vec![CloseReason::EndOfInput, CloseReason::Reset, CloseReason::TooSlow, CloseReason::WorkerDied]);
    let act = prop_oneof![2 => Just(Act::Arrive), 2 => Just(Act::Announce), 12 => line.prop_map(Act::Type), 1 => reason.prop_map(Act::Close), 1 => Just(Act::LongLine), 1 => prop::collection::vec(any::<u8>(), 0..9).prop_map(Act::Begin)];
    prop::collection::vec((0usize..6, act), 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn any_commands_on_two_copies_end_in_equal_states_and_equal_bytes(acts in acts(), restored_at in 0usize..100) {
        // Two workers that serve one half each, one copy that serves all, and one that starts late from a snapshot.
        let mut copies = [Copy::new(&[0]), Copy::new(&[1]), Copy::new(&[0, 1]), Copy::new(&[0, 1])];
        let (mut serials, mut input) = ([0u64; 6], [0u64; 6]);
        for (at, (person, act)) in (1..).zip(&acts) {
            if restored_at == at as usize {
                copies[3].chat = Chat::restore(RateLimit::lines_per_second(20), &copies[0].chat.snapshot()).unwrap();
            }
            if matches!(act, Act::Arrive) && copies[0].chat.session(SessionId::new(serials[*person].max(1), *person)).is_none() {
                (serials[*person], input[*person]) = (serials[*person] + 1, 0);
            }
            input[*person] += 7;
            let peer = "127.0.0.1:1".parse().unwrap();
            let fact = match act {
                Act::Arrive => Fact::Opened { slot: Slot(*person as u16 % 2), transport: Transport::Tcp, peer },
                Act::Announce => Fact::Arrived,
                Act::Type(line) => Fact::Line(line),
                Act::Close(reason) => Fact::Closed(*reason),
                Act::LongLine => Fact::LongLineBegins,
                Act::Begin(bytes) => Fact::LineBegins(bytes),
            };
            let record = Record { session: SessionId::new(serials[*person].max(1), *person), input_end: input[*person], fact };
            copies.iter_mut().for_each(|copy| copy.apply(at, &record));
        }
        let states: Vec<Vec<u8>> = copies.iter().map(|copy| copy.chat.snapshot()).collect();
        prop_assert!(states.iter().all(|state| *state == states[0]));
        prop_assert_eq!(&Chat::restore(RateLimit::OFF, &states[0]).unwrap().snapshot(), &states[0]);
        let [half, other_half, whole, late] = copies;
        let mut halves = half.told.bytes;
        halves.extend(other_half.told.bytes);
        prop_assert_eq!(&halves, &whole.told.bytes);
        prop_assert_eq!(&late.told.bytes, &whole.told.bytes);
        let is_whole = |bytes: &Vec<u8>| bytes.is_empty() || bytes.ends_with(b"\n") || bytes.contains(&0xff) || bytes.contains(&0);
        prop_assert!(whole.told.bytes.values().all(is_whole), "whole lines out");
    }
}
