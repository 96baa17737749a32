use super::*;
use crate::worker::Bounds;
use crate::worker::fakes::{FakeSockets, path, udp_config};
use crate::worker::outgoing::Outgoing;
use forkchat_common::endpoint::LocalAddress;
use forkchat_common::event::Stamp;
use forkchat_common::ids::{RecordId, Sequence};
use proptest::prelude::*;

/// The UDP sessions with one session, opened from port 1; a chat that has it; and its key.
fn with_session(wants_key: bool) -> (UdpSessions, Chat, Option<Token>) {
    let (mut udp, mut chat) = udp(None);
    let asks = if wants_key {
        "/hello key                     \n"
    } else {
        "/hello                     \n"
    };
    let Verdict::Answer(answer) = udp.receive(path(1), asks.as_bytes(), &chat, NOW, NOW) else {
        panic!("it is long enough")
    };
    assert_eq!(answer.ends_with(b" key\n"), wants_key);
    let Verdict::Open(session, _) = udp.receive(path(1), &answer[2..], &chat, NOW, NOW) else {
        panic!("its cookie is good")
    };
    let key = udp.known[&path(1)].key;
    let transport = Transport::Udp { local: path(1).local, key };
    let opened =
        Record { session, input_end: 0, fact: Fact::opened(Slot::at(0), transport, path(1).peer) };
    let stamp = Stamp { id: RecordId::first_of(Sequence(1)), time: NOW };
    let bounds = Bounds { sendq: 1, together: 1 };
    let mut outgoing = Outgoing::new(Slot::at(0), bounds, FakeSockets::open());
    chat.effects_of(stamp, &opened, &mut outgoing);
    (udp, chat, key)
}

const NOW: Micros = Micros(COOKIE_PERIOD * 1_000);

#[test]
fn a_datagram_without_the_key_is_dropped_and_does_not_keep_the_session_alive() {
    let (mut udp, chat, key) = with_session(true);
    let key = key.unwrap();
    let later = NOW.plus(Micros::SECOND);
    let mut send = |bytes: &str| udp.receive(path(1), bytes.as_bytes(), &chat, NOW, later);
    for forged in [
        "/quit\n",
        "hi\n",
        "/key aaaaaaaaaaaaa\n/quit\n",
        &format!("/key {key}x\n"),
        &format!("hi\n/key {key}\n"),
        "/hello\n",
    ] {
        assert_eq!(send(forged), Verdict::Ignore, "{forged}");
    }
    for own in
        [format!("/key {key}\nhi\n"), format!("/key {key} hi"), format!("/key {key}\r\nhi\r\n")]
    {
        assert!(matches!(send(&own), Verdict::Lines(_, _, 1)), "{own}");
    }
    assert_eq!(udp.known[&path(1)].last_datagram, later);
    assert_eq!(udp.config.dropped.datagram(), 7, "and 6 before");
}

#[test]
fn forged_datagrams_do_not_keep_a_session_with_a_key_alive() {
    let (mut udp, chat, _) = with_session(true);
    let silence = NOW.plus((UDP_SILENCE_SECONDS_MAX + 1) * Micros::SECOND);
    assert_eq!(udp.receive(path(1), b"/ping\n", &chat, NOW, silence), Verdict::Ignore);
    assert_eq!(udp.silent(&chat, silence).len(), 1);
}

#[test]
fn a_repeated_greeting_keeps_the_key_and_a_greeting_without_the_word_key_drops_it() {
    let (mut udp, chat, key) = with_session(true);
    let cookie = udp.cookie(path(1), 1_000);
    for (greeting, then) in
        [(format!("/hello {cookie} key\n"), key), (format!("/hello {cookie}\n"), None)]
    {
        assert!(matches!(
            udp.receive(path(1), greeting.as_bytes(), &chat, NOW, NOW),
            Verdict::Lines(_, _, 1)
        ));
        assert_eq!(udp.known[&path(1)].key, then);
    }
    assert!(matches!(udp.receive(path(1), b"hi\n", &chat, NOW, NOW), Verdict::Lines(_, _, 1)));
}

#[test]
fn a_long_hello_of_an_open_session_is_answered_with_a_cookie_and_a_short_one_is_a_line() {
    let (mut udp, chat, _) = with_session(false);
    let cookie_line = udp.cookie_line(path(1), NOW);
    let long = udp.receive(path(1), b"/hello                  \n/rooms\n", &chat, NOW, NOW);
    assert_eq!(
        long,
        Verdict::Answer(cookie_line.into_bytes()),
        "only with a cookie: a longer answer would exceed three times the datagram"
    );
    assert!(matches!(
        udp.receive(path(1), b"/hello again\n", &chat, NOW, NOW),
        Verdict::Lines(_, _, 1)
    ));
    assert!(matches!(
        udp.receive(path(1), b"/helloween and other long words\n", &chat, NOW, NOW),
        Verdict::Lines(_, _, 1)
    ));
}

#[test]
fn each_local_address_has_its_own_cookies_and_sessions() {
    let (mut udp, chat, _) = with_session(false);
    let local = LocalAddress { ip: Some([127, 0, 0, 2].into()), interface: 0 };
    let other = UdpPath { local, ..path(1) };
    assert_ne!(udp.cookie(other, 1_000), udp.cookie(path(1), 1_000));
    assert!(matches!(
        udp.receive(other, b"a line that is long enough\n", &chat, NOW, NOW),
        Verdict::Answer(_)
    ));
    let greeting = format!("/hello {}\n", udp.cookie(other, 1_000));
    assert!(matches!(udp.receive(other, greeting.as_bytes(), &chat, NOW, NOW), Verdict::Open(..)));
}

#[test]
fn another_link_is_another_peer() {
    let (udp, ..) = with_session(false);
    let on = |scope| UdpPath {
        peer: std::net::SocketAddrV6::new("fe80::1".parse().unwrap(), 1, 0, scope).into(),
        ..path(1)
    };
    assert_ne!(udp.cookie(on(2), 1_000), udp.cookie(on(3), 1_000));
}

fn udp(per_address_max: Option<u32>) -> (UdpSessions, Chat) {
    let chat = Chat::default();
    (
        UdpSessions::take_over(
            Slot::at(0),
            udp_config(10..20, per_address_max),
            &chat,
            |_| false,
            Micros(0),
        ),
        chat,
    )
}

fn hello(udp: &mut UdpSessions, chat: &Chat, port: u16, now: Micros) -> Verdict {
    let Verdict::Answer(answer) = udp.receive(path(port), &[b'x'; 30], chat, now, now) else {
        panic!("a long datagram is answered")
    };
    let cookie = String::from_utf8(answer).unwrap();
    udp.receive(path(port), cookie.trim_start_matches("* ").trim_end().as_bytes(), chat, now, now)
}

fn opened_cell(verdict: &Verdict) -> Option<usize> {
    if let Verdict::Open(session, _) = verdict { Some(session.cell()) } else { None }
}

#[test]
fn a_cookie_opens_a_session_only_for_its_address_and_only_for_a_time() {
    let (mut udp, chat) = udp(None);
    let start = Micros(COOKIE_PERIOD * 1_000);
    assert_eq!(opened_cell(&hello(&mut udp, &chat, 1, start)), Some(10));
    let cookie = udp.cookie(path(2), 1_000);
    let greeting = format!("/hello {cookie}\n/nick udp\n");
    assert!(
        matches!(
            udp.receive(path(3), greeting.as_bytes(), &chat, start, start),
            Verdict::Answer(_)
        ),
        "another address"
    );
    let late = start.plus(COOKIE_PERIOD * 2);
    assert!(
        matches!(udp.receive(path(2), greeting.as_bytes(), &chat, late, late), Verdict::Answer(_)),
        "too late"
    );
    assert!(matches!(
        udp.receive(path(2), greeting.as_bytes(), &chat, start.plus(COOKIE_PERIOD), start),
        Verdict::Open(..)
    ));
}

#[test]
fn sessions_are_bounded_in_total_and_per_address_and_released() {
    let (mut udp, chat) = udp(Some(2));
    let opened: Vec<_> = (0..2).map(|port| hello(&mut udp, &chat, port, Micros(0))).collect();
    assert_eq!(
        hello(&mut udp, &chat, 2, Micros(0)),
        Verdict::Answer(short_rejection(Rejection::TooManyFromAddress).into())
    );
    let Verdict::Open(first, _) = opened[0] else { panic!("opened") };
    udp.close(first);
    let Verdict::Open(next, _) = hello(&mut udp, &chat, 3, Micros(0)) else { panic!("opened") };
    assert!(next.cell() == first.cell() && next != first);
    let elsewhere = [10, 0, 0, 1].into();
    assert_eq!(
        [(); 2].map(|()| udp.config.admission.admit(elsewhere, Micros(0))),
        [Ok(()), Err(Rejection::Full)]
    );
}

#[test]
fn the_cell_of_an_ended_session_is_reused_only_when_its_output_is_sent() {
    let chat = Chat::default();
    let mut udp = UdpSessions::take_over(
        Slot::at(0),
        udp_config(10..12, None),
        &chat,
        |cell| cell == 10,
        Micros(0),
    );
    assert_eq!(opened_cell(&hello(&mut udp, &chat, 1, Micros(0))), Some(11));
    assert_eq!(
        hello(&mut udp, &chat, 2, Micros(0)),
        Verdict::Answer(short_rejection(Rejection::Full).into())
    );
    assert!(
        udp.close(SessionId::new(1, 10)),
        "it ended before the table was made, so only its cell is known"
    );
    assert_eq!(opened_cell(&hello(&mut udp, &chat, 2, Micros(0))), Some(10));
    assert_eq!(udp.count(), 2);
}

#[test]
fn lines_right_after_the_greeting_are_taken() {
    let (mut udp, chat) = udp(None);
    assert!(matches!(hello(&mut udp, &chat, 1, Micros(0)), Verdict::Open(..)));
    let verdict = udp.receive(path(1), b"/nick udp\nhi\n", &chat, Micros(0), Micros(0));
    assert!(matches!(verdict, Verdict::Lines(_, _, 2)), "{verdict:?}");
}

proptest! {
    #[test]
    fn an_unknown_peer_is_never_answered_with_more_than_it_sent(
        bytes in prop::collection::vec(any::<u8>(), 0..60),
        greets: bool,
        wants_key: bool,
    ) {
        let (mut udp, chat) = udp(None);
        let greeting = match (greets, wants_key) {
            (false, _) => &b""[..],
            (true, false) => b"/hello ",
            (true, true) => b"/hello key ",
        };
        let bytes = [greeting, &bytes].concat();
        match udp.receive(path(9), &bytes, &chat, Micros(5), Micros(5)) {
            Verdict::Answer(answer) => prop_assert!(answer.len() <= bytes.len()),
            verdict => prop_assert_eq!(verdict, Verdict::Ignore),
        }
    }
}
