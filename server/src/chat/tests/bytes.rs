//! How bytes become lines: charsets, Telnet, other protocols, lines in parts.

use super::*;

#[test]
fn charsets_are_per_person_and_from_the_next_line_on() {
    let mut room = Room::new(2);
    room.types(0, "/charset gbk");
    assert_eq!(room.received(0), "* charset is GBK from the next line on\n");
    room.fact(0, Fact::Line(b"\xc4\xe3\xba\xc3\r"));
    assert_eq!(room.received(1), "[#lobby] guest1: 你好\n");
    room.types(1, "世界 😀");
    assert_eq!(
        room.copy.outputs.bytes.remove(&Room::id(0)).unwrap(),
        b"[#lobby] guest2: \xca\xc0\xbd\xe7 ?\n"
    );
    room.types(1, "/charset utf-16");
    assert!(room.received(1).starts_with("! charset utf-16 can't be used"));
}

#[test]
fn a_line_end_inside_a_telnet_negotiation_does_not_end_the_line() {
    let mut room = Room::new(2);
    room.fact(0, Fact::Line(b"one \xff\xfa\x1f\x00\x50\x00"));
    room.fact(0, Fact::Line(b"\xff\xf0line\r"));
    assert_eq!(room.received(1), "[#lobby] guest1: one line\n");
    room.fact(0, Fact::Line(b"\xff\xfd\x01\xff\xf2\x1b[2Jnot erased"));
    assert_eq!(room.received(1), "[#lobby] guest1: not erased\n");
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
        let answer = room.received(1);
        assert!(
            answer.starts_with("HTTP/1.1 400 Bad Request\r\n")
                && answer.contains("Connection: close\r\n"),
            "{answer}"
        );
        room.types(1, "/nick ceo");
        room.types(1, "buy now");
        room.fact(1, Fact::Arrived);
        assert_eq!(room.received_all(), ["", ""], "it is closed");
        assert_eq!(room.copy.outputs.closed, [(Room::id(1), Ending::Finish)]);
        room.types(0, "/who");
        assert_eq!(room.received(0), "* in #lobby: guest1\n");
        room.arrive();
        room.fact(2, Fact::Arrived);
        assert!(room.received(2).starts_with("* Welcome to forkchat, guest2."), "it took no name");
    }
}

#[test]
fn only_the_first_line_is_looked_at_and_empty_ones_do_not_count() {
    let mut room = Room::new(2);
    room.types(1, "well");
    room.types(1, "GET / HTTP/1.1");
    assert_eq!(room.received(0), "[#lobby] guest2: well\n[#lobby] guest2: GET / HTTP/1.1\n");
    room.types(0, "");
    room.types(0, "\r");
    room.types(0, "\u{3000}");
    room.fact(0, Fact::Line(b"SSH-2.0-OpenSSH_10.0\r"));
    let received = room.received(0);
    assert!(
        received.starts_with("! this is forkchat") && received.matches('\n').count() == 1,
        "{received}"
    );
    assert_eq!(room.received(1), "* guest1 quit: spoke another protocol\n");
}

#[test]
fn a_tls_hello_is_answered_with_an_alert_and_a_person_may_begin_with_a_method() {
    let mut room = Room::new(1);
    room.arrive();
    room.fact(1, Fact::LineBegins(b"\x16\x03\x01\x02\x00\x01"));
    assert_eq!(
        room.copy.outputs.bytes.remove(&Room::id(1)).unwrap(),
        b"\x15\x03\x01\x00\x02\x02\x46"
    );
    room.arrive();
    room.types(2, "GET well soon");
    assert!(room.received(0).ends_with("[#lobby] guest2: GET well soon\n"));
}

#[test]
fn telnet_is_answered_and_0xff_is_doubled_for_who_negotiated() {
    let mut room = Room::new(2);
    room.types(0, "/charset windows-1251");
    room.types(1, "/charset windows-1251");
    room.received_all();
    room.fact(0, Fact::Line(b"\xec\xee\xff"));
    assert_eq!(
        room.copy.outputs.bytes.remove(&Room::id(1)).unwrap(),
        b"[#lobby] guest1: \xec\xee\xff\n"
    );
    room.fact(0, Fact::LineBegins(b"wrong\xff\xf4\xff\xfd\x06"));
    assert_eq!(room.copy.outputs.bytes.remove(&Room::id(0)).unwrap(), b"\xff\xfc\x06");
    room.fact(0, Fact::Line(b"\xec\xee\xff\xff"));
    assert_eq!(
        room.copy.outputs.bytes.remove(&Room::id(1)).unwrap(),
        b"[#lobby] guest1: \xec\xee\xff\n"
    );
    room.fact(1, Fact::Line(b"\xff"));
    assert_eq!(
        room.copy.outputs.bytes.remove(&Room::id(0)).unwrap(),
        b"[#lobby] guest2: \xff\xff\n"
    );
    room.fact(0, Fact::Line(b"\xff\xf6"));
    assert_eq!(room.received(0), "* pong\n");
}

#[test]
fn a_line_may_be_recorded_in_parts_but_not_grow_by_it() {
    let mut room = Room::new(2);
    room.fact(0, Fact::LineBegins(b"in \xff"));
    room.fact(0, Fact::LineBegins(b"\xf2par"));
    room.fact(0, Fact::Line(b"ts"));
    assert_eq!(room.received(1), "[#lobby] guest1: in parts\n");
    for _ in 0..3 {
        room.fact(0, Fact::LineBegins(&[b'x'; 3_000]));
    }
    room.fact(0, Fact::Line(b""));
    room.types(0, "next");
    assert!(room.received(0).starts_with("! line too long"));
    assert_eq!(room.received(1), "[#lobby] guest1: next\n");
    room.fact(0, Fact::LineBegins(b"secret"));
    room.fact(0, Fact::LongLineBegins);
    room.fact(0, Fact::LongLineEnds);
    room.types(0, "open");
    assert_eq!(room.received(1), "[#lobby] guest1: open\n", "nothing of a refused line is left");
    room.fact(0, Fact::LineBegins(b"no more"));
    room.fact(0, Fact::Closed(CloseReason::EndOfInput));
    assert_eq!(room.received(1), "[#lobby] guest1: no more\n* guest1 quit\n");
    room.fact(1, Fact::Line(b"tail\xff\xfa\x1f"));
    room.arrive();
    room.fact(2, Fact::Arrived);
    room.received(2);
    room.fact(1, Fact::Closed(CloseReason::EndOfInput));
    assert_eq!(
        room.received(2),
        "[#lobby] guest2: tail\n* guest2 quit\n",
        "a negotiation without an end swallows nothing"
    );
}

#[test]
fn a_line_too_long_is_refused_once() {
    let mut room = Room::new(2);
    room.fact(0, Fact::LongLineBegins);
    assert!(room.copy.chat.session(Room::id(0)).unwrap().in_long_line);
    room.fact(0, Fact::LongLineEnds);
    room.types(0, "short");
    assert!(
        room.received(0).starts_with("! line too long: at most 4095 bytes")
            && !room.copy.chat.session(Room::id(0)).unwrap().in_long_line
    );
    assert_eq!(room.received(1), "[#lobby] guest1: short\n");
}
