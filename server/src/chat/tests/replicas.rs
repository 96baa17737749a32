//! Replicas stay equal for any sequence of records.

use super::*;
use proptest::prelude::*;

/// An action of a user, or a record about one.
#[derive(Clone, Debug)]
enum Act {
    Arrive,
    Announce,
    Type(Vec<u8>),
    Close(CloseReason),
    LongLine,
    Begin(Vec<u8>),
    Continue,
    Move(Slot),
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
    let byte = any::<u8>().prop_filter("a line has no LF", |&byte| byte != b'\n');
    let line = prop_oneof![
        8 => words.prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(byte, 0..40),
    ];
    let reason = prop::sample::select(vec![
        CloseReason::EndOfInput,
        CloseReason::Reset,
        CloseReason::TooSlow,
        CloseReason::WorkerDied,
    ]);
    let act = prop_oneof![
        2 => Just(Act::Arrive),
        2 => Just(Act::Announce),
        12 => line.prop_map(Act::Type),
        1 => reason.prop_map(Act::Close),
        1 => Just(Act::LongLine),
        2 => Just(Act::Continue),
        1 => prop::collection::vec(any::<u8>(), 0..9).prop_map(Act::Begin),
        2 => (0..2_u16).prop_map(|slot| Act::Move(Slot::at(slot))),
    ];
    prop::collection::vec((0usize..6, act), 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn replicas_that_apply_the_same_records_have_equal_states_and_outputs(
        acts in acts(),
        restored_at in 0usize..100,
    ) {
        // Two workers that serve one half each, a replica that serves all, and one that starts late
        // from a snapshot.
        let slots: [&[u16]; 4] = [&[0], &[1], &[0, 1], &[0, 1]];
        let mut replicas = slots.map(Replica::new);
        let (mut serials, mut input) = ([0u64; 6], [0u64; 6]);
        for (at, (person, act)) in (1..).zip(&acts) {
            if restored_at == at as usize {
                replicas[3].chat = Chat::restore(&replicas[0].chat.snapshot()).unwrap();
            }
            let session = SessionId::new(serials[*person].max(1), *person);
            if matches!(act, Act::Arrive) && replicas[0].chat.session(session).is_none() {
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
                Act::Move(to) => Fact::Moved { to: *to },
                Act::Begin(bytes) => Fact::LineBegins(bytes),
                Act::Continue => {
                    let lists = (0..2).flat_map(|slot| replicas[2].chat.lists_of(Slot::at(slot)));
                    let list = lists.into_iter().find(|(session, ..)| session.cell() == *person);
                    let (_, of, parts) = list.unwrap_or((SessionId::NONE, RecordId::ZERO, 0));
                    Fact::NextPart { of, parts }
                }
            };
            let session = SessionId::new(serials[*person].max(1), *person);
            let record = Record { session, input_end: input[*person], fact };
            replicas.iter_mut().for_each(|replica| replica.apply(at, &record));
        }
        let states: Vec<Vec<u8>> = replicas.iter().map(|replica| replica.chat.snapshot()).collect();
        prop_assert!(states.iter().all(|state| *state == states[0]));
        prop_assert_eq!(&Chat::restore(&states[0]).unwrap().snapshot(), &states[0]);
        let [half, other_half, whole, late] = replicas;
        // Each delivery comes from one of the two halves: from the one that serves the session's
        // slot at that record.
        let mut halves = [half.outputs.deliveries, other_half.outputs.deliveries].concat();
        halves.sort_by_key(|&(at, ..)| at);
        let by_session = |deliveries: &[(u64, SessionId, Vec<u8>)]| {
            let mut bytes: BTreeMap<SessionId, Vec<u8>> = BTreeMap::new();
            for (_, session, delivered) in deliveries {
                bytes.entry(*session).or_default().extend_from_slice(delivered);
            }
            bytes
        };
        prop_assert_eq!(&by_session(&halves), &whole.outputs.bytes);
        prop_assert_eq!(&late.outputs.bytes, &whole.outputs.bytes);
        let is_whole = |bytes: &Vec<u8>| {
            bytes.is_empty()
                || bytes.ends_with(b"\n")
                || bytes.contains(&0xff)
                || bytes.contains(&0)
        };
        prop_assert!(whole.outputs.bytes.values().all(is_whole), "whole lines out");
    }
}
