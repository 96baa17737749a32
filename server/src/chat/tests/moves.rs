//! Sessions that move to another worker.

use super::*;

/// The text that one of two replicas delivered to a user.
fn received_by(half: &mut Replica, person: usize) -> String {
    String::from_utf8(half.outputs.bytes.remove(&Users::id(person)).unwrap_or_default()).unwrap()
}

#[test]
fn after_its_move_is_recorded_a_session_is_served_in_its_new_slot() {
    let mut halves = [Replica::new(&[0]), Replica::new(&[1])];
    let mut at = 0;
    let mut apply = |halves: &mut [Replica; 2], person, fact: Fact<'_>| {
        at += 1;
        let record = Record { session: Users::id(person), input_end: at, fact };
        halves.iter_mut().for_each(|half| half.apply(at, &record));
    };
    let peer = "127.0.0.1:1".parse().unwrap();
    for person in 0..2 {
        let opened = Fact::opened(Slot::at(0), Transport::Tcp, peer);
        apply(&mut halves, person, opened);
        apply(&mut halves, person, Fact::Arrived);
    }
    apply(&mut halves, 0, Fact::Line(b"before"));
    assert!(received_by(&mut halves[0], 1).ends_with("[#lobby] guest1: before\n"));
    assert_eq!(received_by(&mut halves[1], 1), "");
    apply(&mut halves, 1, Fact::Moved { to: Slot::at(1) });
    // A line to the room, a private message, and the answer to its own command.
    apply(&mut halves, 0, Fact::Line(b"after"));
    apply(&mut halves, 0, Fact::Line(b"/msg guest2 psst"));
    apply(&mut halves, 1, Fact::Line(b"/ping here"));
    assert_eq!(received_by(&mut halves[0], 1), "");
    assert_eq!(
        received_by(&mut halves[1], 1),
        "[#lobby] guest1: after\n[@guest1] guest1: psst\n* pong here\n"
    );
    let served = |chat: &Chat, slot| chat.sessions_of(Slot::at(slot)).count();
    // A replica that starts from a snapshot has the new slot.
    let restored = Chat::restore(&halves[0].chat.snapshot()).unwrap();
    assert_eq!((served(&restored, 0), served(&restored, 1)), (1, 1));
    apply(&mut halves, 1, Fact::Moved { to: Slot::at(0) });
    apply(&mut halves, 1, Fact::Closed(CloseReason::EndOfInput));
    assert_eq!(received_by(&mut halves[1], 1), "");
    assert!(halves.iter().all(|half| served(&half.chat, 1) == 0 && served(&half.chat, 0) == 1));
    // A move of a closed session changes nothing.
    let before = halves[0].chat.snapshot();
    apply(&mut halves, 1, Fact::Moved { to: Slot::at(1) });
    assert!(halves[0].chat.snapshot() == before);
}
