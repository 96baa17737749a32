//! The snapshot's format: what an earlier server wrote is read.

use super::*;
use forkchat_common::endpoint::{LocalAddress, Token};

/// The state below, as version 1 wrote it. It is never written again: if the state changes, its
/// type becomes the next version's, and this file is what says that version 1 is still read.
const VERSION_1: &[u8] = include_bytes!("snapshot-v1.bin");

/// A state with something in each of its fields.
fn state() -> Copy {
    let mut room = Room::new(4);
    // Rooms enough for a list of several parts.
    for number in 0..30 {
        room.types(3, &format!("/join #r{number}-{}", "長".repeat(20)));
    }
    let facts: [(usize, Fact<'_>); 16] = [
        (0, Fact::Started { slot: Slot::at(0), pid: 4_711 }),
        (0, Fact::Clock { ahead: 5_000_000 }),
        (0, Fact::Line("/nick Ägir".as_bytes())),
        (0, Fact::Line(b"/join #dev")),
        (0, Fact::Line(b"/topic all about forks")),
        (0, Fact::Topic { room: "#old", topic: "of an earlier run" }),
        (0, Fact::Restored),
        (0, Fact::Line(b"/set tags on")),
        (1, Fact::Line(b"/charset gbk")),
        (1, Fact::LineBegins(b"half a line, \xff\xfd")),
        (1, Fact::Moved { to: Slot::at(1) }),
        (3, Fact::Line(b"/rooms")),
        (3, Fact::Line(b"after the list")),
        (2, Fact::Line(b"/history 5")),
        (2, Fact::Line(b"what waits for it")),
        (2, Fact::LineBegins(b"and half of what waits")),
    ];
    for (person, fact) in facts {
        room.fact(person, fact);
    }
    // Two over UDP: one that has gone, and one without a key.
    for (person, key) in [(4, Some(Token(7))), (5, None)] {
        room.sent.push(0);
        let udp = Transport::Udp { local: LocalAddress::default(), key };
        let peer = "[2001:db8::1]:5000".parse().unwrap();
        room.fact(person, Fact::opened(Slot::at(1), udp, peer));
    }
    room.fact(4, Fact::Closed(CloseReason::Reset));
    room.types(5, "hello");
    room.copy
}

#[test]
fn a_snapshot_of_version_1_is_read_and_is_the_state_that_was_written() {
    let (read, state) = (Chat::restore(VERSION_1).unwrap(), state().chat);
    assert!(
        read.snapshot() == state.snapshot(),
        "the state's format has changed: keep version 1's type, and give the new one a version"
    );
}

#[test]
fn the_state_that_is_kept_as_version_1_has_something_of_everything() {
    let chat = state().chat;
    let State { cells, rooms, rate_limit, guests, udp_serial, stopping, is_restored, .. } =
        &chat.state;
    assert!(*is_restored && !*stopping && *rate_limit != RateLimit::OFF && *udp_serial > 0);
    assert_eq!((cells.sessions().count(), rooms.len(), *guests), (5, 33, 6));
    assert_eq!(chat.requests().count(), 1);
    assert!(chat.is_waiting(Room::id(2)) && chat.is_waiting(Room::id(3)));
    assert_eq!((chat.clock_ahead(), chat.state.pids.len()), (5_000_000, 1));
}

#[test]
fn a_snapshot_of_a_later_version_or_a_damaged_one_is_refused() {
    let later = [&[99], &VERSION_1[1..]].concat();
    let cut = &VERSION_1[..VERSION_1.len() / 2];
    for bad in [&later[..], cut, &[]] {
        let error = Chat::restore(bad).err().unwrap().to_string();
        assert!(error.starts_with("cannot read the snapshot of the state"), "{error}");
    }
}
