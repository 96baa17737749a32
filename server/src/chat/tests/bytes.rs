//! Conversion of bytes to lines: charsets, Telnet, other protocols, lines in parts.

use super::*;

#[test]
fn a_charset_belongs_to_a_session_and_applies_from_the_next_line_on() {
    let mut users = Users::new(2);
    users.types(0, "/charset gbk");
    assert_eq!(users.received(0), "* charset is GBK from the next line on\n");
    users.fact(0, Fact::Line(b"\xc4\xe3\xba\xc3\r"));
    assert_eq!(users.received(1), "[#lobby] guest1: 你好\n");
    users.types(1, "世界 😀");
    assert_eq!(
        users.replica.outputs.bytes.remove(&Users::id(0)).unwrap(),
        b"[#lobby] guest2: \xca\xc0\xbd\xe7 ?\n"
    );
    users.types(1, "/charset utf-16");
    assert!(users.received(1).starts_with("! charset utf-16 can't be used"));
}

#[test]
fn a_line_end_inside_a_telnet_negotiation_does_not_end_the_line() {
    let mut users = Users::new(2);
    users.fact(0, Fact::Line(b"one \xff\xfa\x1f\x00\x50\x00"));
    users.fact(0, Fact::Line(b"\xff\xf0line\r"));
    assert_eq!(users.received(1), "[#lobby] guest1: one line\n");
    users.fact(0, Fact::Line(b"\xff\xfd\x01\xff\xf2\x1b[2Jnot erased"));
    assert_eq!(users.received(1), "[#lobby] guest1: not erased\n");
}

#[test]
fn a_client_of_another_protocol_is_answered_in_it_and_others_are_not_notified() {
    for request in [
        &b"GET / HTTP/1.1\r"[..],
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\n\n/nick ceo\nbuy now\n/topic pwned\n",
    ] {
        let mut users = Users::new(1);
        users.arrive();
        users.fact(
            1,
            if request.contains(&b'\n') { Fact::LineBegins(request) } else { Fact::Line(request) },
        );
        let answer = users.received(1);
        assert!(
            answer.starts_with("HTTP/1.1 400 Bad Request\r\n")
                && answer.contains("Connection: close\r\n"),
            "{answer}"
        );
        users.types(1, "/nick ceo");
        users.types(1, "buy now");
        users.fact(1, Fact::Arrived);
        assert_eq!(users.received_all(), ["", ""], "it is closed");
        assert_eq!(users.replica.outputs.closed, [(Users::id(1), Ending::Finish)]);
        users.types(0, "/who");
        assert_eq!(users.received(0), "* in #lobby: guest1\n");
        users.arrive();
        users.fact(2, Fact::Arrived);
        assert!(users.received(2).starts_with("* Welcome to forkchat, guest2."), "it took no name");
    }
}

#[test]
fn only_the_first_nonempty_line_is_checked_for_other_protocols() {
    let mut users = Users::new(2);
    users.types(1, "well");
    users.types(1, "GET / HTTP/1.1");
    assert_eq!(users.received(0), "[#lobby] guest2: well\n[#lobby] guest2: GET / HTTP/1.1\n");
    users.types(0, "");
    users.types(0, "\r");
    users.types(0, "\u{3000}");
    users.fact(0, Fact::Line(b"SSH-2.0-OpenSSH_10.0\r"));
    let received = users.received(0);
    assert!(
        received.starts_with("! this is forkchat") && received.matches('\n').count() == 1,
        "{received}"
    );
    assert_eq!(users.received(1), "* guest1 quit: spoke another protocol\n");
}

#[test]
fn a_tls_hello_is_answered_with_an_alert_and_chat_may_begin_with_an_http_method() {
    let mut users = Users::new(1);
    users.arrive();
    users.fact(1, Fact::LineBegins(b"\x16\x03\x01\x02\x00\x01"));
    assert_eq!(
        users.replica.outputs.bytes.remove(&Users::id(1)).unwrap(),
        b"\x15\x03\x01\x00\x02\x02\x46"
    );
    users.arrive();
    users.types(2, "GET well soon");
    assert!(users.received(0).ends_with("[#lobby] guest2: GET well soon\n"));
}

#[test]
fn telnet_is_answered_and_0xff_is_doubled_for_clients_that_negotiated() {
    let mut users = Users::new(2);
    users.types(0, "/charset windows-1251");
    users.types(1, "/charset windows-1251");
    users.received_all();
    users.fact(0, Fact::Line(b"\xec\xee\xff"));
    assert_eq!(
        users.replica.outputs.bytes.remove(&Users::id(1)).unwrap(),
        b"[#lobby] guest1: \xec\xee\xff\n"
    );
    users.fact(0, Fact::LineBegins(b"wrong\xff\xf4\xff\xfd\x06"));
    assert_eq!(users.replica.outputs.bytes.remove(&Users::id(0)).unwrap(), b"\xff\xfc\x06");
    users.fact(0, Fact::Line(b"\xec\xee\xff\xff"));
    assert_eq!(
        users.replica.outputs.bytes.remove(&Users::id(1)).unwrap(),
        b"[#lobby] guest1: \xec\xee\xff\n"
    );
    users.fact(1, Fact::Line(b"\xff"));
    assert_eq!(
        users.replica.outputs.bytes.remove(&Users::id(0)).unwrap(),
        b"[#lobby] guest2: \xff\xff\n"
    );
    users.fact(0, Fact::Line(b"\xff\xf6"));
    assert_eq!(users.received(0), "* pong\n");
}

#[test]
fn a_line_in_parts_has_the_same_length_limit() {
    let mut users = Users::new(2);
    users.fact(0, Fact::LineBegins(b"in \xff"));
    users.fact(0, Fact::LineBegins(b"\xf2par"));
    users.fact(0, Fact::Line(b"ts"));
    assert_eq!(users.received(1), "[#lobby] guest1: in parts\n");
    for _ in 0..3 {
        users.fact(0, Fact::LineBegins(&[b'x'; 3_000]));
    }
    users.fact(0, Fact::Line(b""));
    users.types(0, "next");
    assert!(users.received(0).starts_with("! line too long"));
    assert_eq!(users.received(1), "[#lobby] guest1: next\n");
    users.fact(0, Fact::LineBegins(b"secret"));
    users.fact(0, Fact::LongLineBegins);
    users.fact(0, Fact::LongLineEnds);
    users.types(0, "open");
    assert_eq!(users.received(1), "[#lobby] guest1: open\n", "no part of a refused line is left");
    users.fact(0, Fact::LineBegins(b"no more"));
    users.fact(0, Fact::Closed(CloseReason::EndOfInput));
    assert_eq!(users.received(1), "[#lobby] guest1: no more\n* guest1 quit\n");
    users.fact(1, Fact::Line(b"tail\xff\xfa\x1f"));
    users.arrive();
    users.fact(2, Fact::Arrived);
    users.received(2);
    users.fact(1, Fact::Closed(CloseReason::EndOfInput));
    assert_eq!(
        users.received(2),
        "[#lobby] guest2: tail\n* guest2 quit\n",
        "an unfinished negotiation does not consume the line"
    );
}

#[test]
fn a_line_that_is_too_long_is_refused_once() {
    let mut users = Users::new(2);
    users.fact(0, Fact::LongLineBegins);
    assert!(users.replica.chat.session(Users::id(0)).unwrap().in_long_line);
    users.fact(0, Fact::LongLineEnds);
    users.types(0, "short");
    assert!(
        users.received(0).starts_with("! line too long: at most 4095 bytes")
            && !users.replica.chat.session(Users::id(0)).unwrap().in_long_line
    );
    assert_eq!(users.received(1), "[#lobby] guest1: short\n");
}
