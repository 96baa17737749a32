//! Sessions that move to another worker.

use super::*;

/// What one half of two copies delivers to a person.
fn received_by(half: &mut Copy, person: usize) -> String {
    String::from_utf8(half.outputs.bytes.remove(&Room::id(person)).unwrap_or_default()).unwrap()
}

#[test]
fn from_the_record_of_its_move_on_a_session_is_served_in_its_new_slot() {
    let mut halves = [Copy::new(&[0]), Copy::new(&[1])];
    let mut at = 0;
    let mut apply = |halves: &mut [Copy; 2], person, fact: Fact<'_>| {
        at += 1;
        let record = Record { session: Room::id(person), input_end: at, fact };
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
    // To a room, to one, in answer to its own command, and at its end.
    apply(&mut halves, 0, Fact::Line(b"after"));
    apply(&mut halves, 0, Fact::Line(b"/msg guest2 psst"));
    apply(&mut halves, 1, Fact::Line(b"/ping here"));
    assert_eq!(received_by(&mut halves[0], 1), "");
    assert_eq!(
        received_by(&mut halves[1], 1),
        "[#lobby] guest1: after\n[@guest1] guest1: psst\n* pong here\n"
    );
    let served = |chat: &Chat, slot| chat.sessions_of(Slot::at(slot)).count();
    // A copy that starts here knows where it is.
    let restored = Chat::restore(&halves[0].chat.snapshot()).unwrap();
    assert_eq!((served(&restored, 0), served(&restored, 1)), (1, 1));
    apply(&mut halves, 1, Fact::Moved { to: Slot::at(0) });
    apply(&mut halves, 1, Fact::Closed(CloseReason::EndOfInput));
    assert_eq!(received_by(&mut halves[1], 1), "");
    assert!(halves.iter().all(|half| served(&half.chat, 1) == 0 && served(&half.chat, 0) == 1));
    // A move of a session that is over changes nothing.
    let before = halves[0].chat.snapshot();
    apply(&mut halves, 1, Fact::Moved { to: Slot::at(1) });
    assert!(halves[0].chat.snapshot() == before);
}
