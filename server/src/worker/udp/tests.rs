use super::*;
use crate::worker::Bounds;
use crate::worker::fakes::{FakeSockets, path, udp_config};
use crate::worker::outgoing::Outgoing;
use forkchat_common::endpoint::LocalAddress;
use forkchat_common::event::Stamp;
use forkchat_common::ids::{RecordId, Sequence};
use proptest::prelude::*;

/// A desk with one session, opened from port 1, whose chat knows it; and its key.
fn desk_with_session(wants_key: bool) -> (UdpSessions, Chat, Option<Token>) {
    let (mut desk, mut chat) = desk(None);
    let asks = if wants_key {
        "/hello key                     \n"
    } else {
        "/hello                     \n"
    };
    let Verdict::Answer(answer) = desk.receive(path(1), asks.as_bytes(), &chat, NOW, NOW) else {
        panic!("it is long enough")
    };
    assert_eq!(answer.ends_with(b" key\n"), wants_key);
    let Verdict::Open(session, _) = desk.receive(path(1), &answer[2..], &chat, NOW, NOW) else {
        panic!("its cookie is good")
    };
    let key = desk.known[&path(1)].key;
    let transport = Transport::Udp { local: path(1).local, key };
    let opened =
        Record { session, input_end: 0, fact: Fact::opened(Slot::at(0), transport, path(1).peer) };
    let stamp = Stamp { id: RecordId::first_of(Sequence(1)), time: NOW };
    let bounds = Bounds { sendq: 1, together: 1 };
    let mut outgoing = Outgoing::new(Slot::at(0), bounds, FakeSockets::open());
    chat.effects_of(stamp, &opened, &mut outgoing);
    (desk, chat, key)
}

const NOW: Micros = Micros(COOKIE_PERIOD * 1_000);

#[test]
fn without_its_key_nobody_speaks_for_a_session_nor_keeps_it_alive() {
    let (mut desk, chat, key) = desk_with_session(true);
    let key = key.unwrap();
    let later = NOW.plus(Micros::SECOND);
    let mut send = |bytes: &str| desk.receive(path(1), bytes.as_bytes(), &chat, NOW, later);
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
    assert_eq!(desk.known[&path(1)].heard, later);
    assert_eq!(desk.config.dropped.datagram(), 7, "and 6 before");
}

#[test]
fn forged_datagrams_do_not_keep_a_session_with_a_key_alive() {
    let (mut desk, chat, _) = desk_with_session(true);
    let silence = NOW.plus((UDP_SILENCE_SECONDS_MAX + 1) * Micros::SECOND);
    assert_eq!(desk.receive(path(1), b"/ping\n", &chat, NOW, silence), Verdict::Ignore);
    assert_eq!(desk.silent(&chat, silence).len(), 1);
}

#[test]
fn a_greeting_that_is_repeated_keeps_the_key_and_one_without_the_wish_drops_it() {
    let (mut desk, chat, key) = desk_with_session(true);
    let cookie = desk.cookie(path(1), 1_000);
    for (greeting, then) in
        [(format!("/hello {cookie} key\n"), key), (format!("/hello {cookie}\n"), None)]
    {
        assert!(matches!(
            desk.receive(path(1), greeting.as_bytes(), &chat, NOW, NOW),
            Verdict::Lines(_, _, 1)
        ));
        assert_eq!(desk.known[&path(1)].key, then);
    }
    assert!(matches!(desk.receive(path(1), b"hi\n", &chat, NOW, NOW), Verdict::Lines(_, _, 1)));
}

#[test]
fn a_long_hello_of_an_open_session_is_answered_with_a_cookie_and_a_short_one_is_a_line() {
    let (mut desk, chat, _) = desk_with_session(false);
    let cookie_line = desk.cookie_line(path(1), NOW);
    let long = desk.receive(path(1), b"/hello                  \n/rooms\n", &chat, NOW, NOW);
    assert_eq!(
        long,
        Verdict::Answer(cookie_line.into_bytes()),
        "and nothing else is answered, it would be more than three times as much"
    );
    assert!(matches!(
        desk.receive(path(1), b"/hello again\n", &chat, NOW, NOW),
        Verdict::Lines(_, _, 1)
    ));
    assert!(matches!(
        desk.receive(path(1), b"/helloween and other long words\n", &chat, NOW, NOW),
        Verdict::Lines(_, _, 1)
    ));
}

#[test]
fn another_address_of_ours_is_another_session_with_another_cookie() {
    let (mut desk, chat, _) = desk_with_session(false);
    let local = LocalAddress { ip: Some([127, 0, 0, 2].into()), interface: 0 };
    let other = UdpPath { local, ..path(1) };
    assert_ne!(desk.cookie(other, 1_000), desk.cookie(path(1), 1_000));
    assert!(matches!(
        desk.receive(other, b"a line that is long enough\n", &chat, NOW, NOW),
        Verdict::Answer(_)
    ));
    let greeting = format!("/hello {}\n", desk.cookie(other, 1_000));
    assert!(matches!(desk.receive(other, greeting.as_bytes(), &chat, NOW, NOW), Verdict::Open(..)));
}

#[test]
fn another_link_is_another_peer() {
    let (desk, ..) = desk_with_session(false);
    let on = |scope| UdpPath {
        peer: std::net::SocketAddrV6::new("fe80::1".parse().unwrap(), 1, 0, scope).into(),
        ..path(1)
    };
    assert_ne!(desk.cookie(on(2), 1_000), desk.cookie(on(3), 1_000));
}

fn desk(per_address_max: Option<u32>) -> (UdpSessions, Chat) {
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

fn hello(desk: &mut UdpSessions, chat: &Chat, port: u16, now: Micros) -> Verdict {
    let Verdict::Answer(answer) = desk.receive(path(port), &[b'x'; 30], chat, now, now) else {
        panic!("a long datagram is answered")
    };
    let cookie = String::from_utf8(answer).unwrap();
    desk.receive(path(port), cookie.trim_start_matches("* ").trim_end().as_bytes(), chat, now, now)
}

#[test]
fn a_cookie_opens_a_session_for_its_address_only_and_not_for_ever() {
    let (mut desk, chat) = desk(None);
    let start = Micros(COOKIE_PERIOD * 1_000);
    assert!(
        matches!(hello(&mut desk, &chat, 1, start), Verdict::Open(session, _) if session.cell() == 10)
    );
    let cookie = desk.cookie(path(2), 1_000);
    let greeting = format!("/hello {cookie}\n/nick udp\n");
    assert!(
        matches!(
            desk.receive(path(3), greeting.as_bytes(), &chat, start, start),
            Verdict::Answer(_)
        ),
        "another address"
    );
    let late = start.plus(COOKIE_PERIOD * 2);
    assert!(
        matches!(desk.receive(path(2), greeting.as_bytes(), &chat, late, late), Verdict::Answer(_)),
        "too late"
    );
    assert!(matches!(
        desk.receive(path(2), greeting.as_bytes(), &chat, start.plus(COOKIE_PERIOD), start),
        Verdict::Open(..)
    ));
}

#[test]
fn sessions_are_bounded_in_all_and_per_address_and_given_back() {
    let (mut desk, chat) = desk(Some(2));
    let opened: Vec<_> = (0..2).map(|port| hello(&mut desk, &chat, port, Micros(0))).collect();
    assert_eq!(
        hello(&mut desk, &chat, 2, Micros(0)),
        Verdict::Answer(short_rejection(Rejection::TooManyFromAddress).into())
    );
    let Verdict::Open(first, _) = opened[0] else { panic!("opened") };
    desk.close(first);
    assert!(
        matches!(hello(&mut desk, &chat, 3, Micros(0)), Verdict::Open(session, _) if session.cell() == first.cell() && session != first)
    );
    let elsewhere = [10, 0, 0, 1].into();
    assert_eq!(
        [(); 2].map(|()| desk.config.admission.admit(elsewhere, Micros(0))),
        [Ok(()), Err(Rejection::Full)]
    );
}

#[test]
fn the_cell_of_one_who_is_over_is_given_again_only_when_what_it_was_told_is_sent() {
    let chat = Chat::default();
    let mut desk = UdpSessions::take_over(
        Slot::at(0),
        udp_config(10..12, None),
        &chat,
        |cell| cell == 10,
        Micros(0),
    );
    assert!(
        matches!(hello(&mut desk, &chat, 1, Micros(0)), Verdict::Open(session, _) if session.cell() == 11)
    );
    assert_eq!(
        hello(&mut desk, &chat, 2, Micros(0)),
        Verdict::Answer(short_rejection(Rejection::Full).into())
    );
    assert!(
        desk.close(SessionId::new(1, 10)),
        "it was over before the desk was made, so only its cell is known"
    );
    assert!(
        matches!(hello(&mut desk, &chat, 2, Micros(0)), Verdict::Open(session, _) if session.cell() == 10)
    );
    assert_eq!(desk.count(), 2);
}

#[test]
fn what_comes_right_behind_the_greeting_counts() {
    let (mut desk, chat) = desk(None);
    assert!(matches!(hello(&mut desk, &chat, 1, Micros(0)), Verdict::Open(..)));
    let behind = desk.receive(path(1), b"/nick udp\nhi\n", &chat, Micros(0), Micros(0));
    assert!(matches!(behind, Verdict::Lines(_, _, 2)), "{behind:?}");
}

proptest! {
    #[test]
    fn an_unknown_peer_is_never_answered_with_more_than_it_sent(bytes in prop::collection::vec(any::<u8>(), 0..60), greets: bool, wants_key: bool) {
        let (mut desk, chat) = desk(None);
        let bytes = if greets { [if wants_key { &b"/hello key "[..] } else { b"/hello " }, bytes.as_slice()].concat() } else { bytes };
        match desk.receive(path(9), &bytes, &chat, Micros(5), Micros(5)) {
            Verdict::Answer(answer) => prop_assert!(answer.len() <= bytes.len()),
            verdict => prop_assert_eq!(verdict, Verdict::Ignore),
        }
    }
}
