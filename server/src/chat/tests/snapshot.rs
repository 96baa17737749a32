//! The snapshot's format: a server reads the snapshots of earlier versions.

use super::*;
use forkchat_common::endpoint::{LocalAddress, Token};

/// The snapshot of `state` below, as version 1 wrote it. This file is never written again. When the
/// state's type changes, the type becomes a new version, and this file shows that version 1 can
/// still be read.
const VERSION_1: &[u8] = include_bytes!("snapshot-v1.bin");

/// A state with something in each of its fields.
fn state() -> Replica {
    let mut users = Users::new(4);
    // Enough rooms for a list of several parts.
    for number in 0..30 {
        users.types(3, &format!("/join #r{number}-{}", "長".repeat(20)));
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
        users.fact(person, fact);
    }
    // Two UDP sessions: one that is closed, and one without a key.
    for (person, key) in [(4, Some(Token(7))), (5, None)] {
        users.sent.push(0);
        let udp = Transport::Udp { local: LocalAddress::default(), key };
        let peer = "[2001:db8::1]:5000".parse().unwrap();
        users.fact(person, Fact::opened(Slot::at(1), udp, peer));
    }
    users.fact(4, Fact::Closed(CloseReason::Reset));
    users.types(5, "hello");
    users.replica
}

#[test]
fn a_snapshot_of_version_1_restores_the_state_that_was_written() {
    let (read, state) = (Chat::restore(VERSION_1).unwrap(), state().chat);
    assert!(
        read.snapshot() == state.snapshot(),
        "the state's format has changed: keep version 1's type, and give the new one a version"
    );
}

#[test]
fn the_state_of_the_version_1_snapshot_uses_every_field() {
    let chat = state().chat;
    let State { cells, rooms, rate_limit, guests, udp_serial, stopping, is_restored, .. } =
        &chat.state;
    assert!(*is_restored && !*stopping && *rate_limit != RateLimit::OFF && *udp_serial > 0);
    assert_eq!((cells.sessions().count(), rooms.len(), *guests), (5, 33, 6));
    assert_eq!(chat.requests().count(), 1);
    assert!(chat.is_waiting(Users::id(2)) && chat.is_waiting(Users::id(3)));
    assert_eq!((chat.clock_ahead(), chat.state.pids.len()), (5_000_000, 1));
}

#[test]
fn a_snapshot_that_is_damaged_or_of_a_later_version_is_refused() {
    let later = [&[99], &VERSION_1[1..]].concat();
    let cut = &VERSION_1[..VERSION_1.len() / 2];
    for bad in [&later[..], cut, &[]] {
        let error = Chat::restore(bad).err().unwrap().to_string();
        assert!(error.starts_with("cannot read the snapshot of the state"), "{error}");
    }
}
