use super::super::receiver::Settings;
use super::*;
use crate::load::sequence_tracker::Tally;

const BYTES: usize = 40;

/// A room `#r` with a plain receiver (0), one with tags (1), two senders with echo (2, 3) and a
/// visitor (4).
fn room() -> Checker {
    let mut checker = Checker::new(BYTES);
    let plain = Settings { joins: true, ..Settings::default() };
    let settings = [
        plain,
        Settings { tags: true, ..plain },
        Settings { echo: true, ..plain },
        Settings { echo: true, ..plain },
        plain,
    ];
    for (index, settings) in settings.into_iter().enumerate() {
        let mut receiver = Receiver::new(format!("ж{index}"), 0, settings, false, index == 4);
        if (2..4).contains(&index) {
            receiver.sender = Some(checker.senders.len() as u16);
            checker.senders.push(Sender::new(index, 0, "#r", &index.to_string(), false));
        }
        checker.receivers.push(receiver);
    }
    let mut transcript = Transcript::new("#r".into());
    (0..4).for_each(|index| transcript.add_member(&format!("ж{index}")));
    checker.transcripts.push(transcript);
    (0..4).for_each(|index| checker.begin(index));
    checker.receivers[4].membership = Membership::Outside;
    checker
}

fn deliver(checker: &mut Checker, index: usize, line: &[u8]) {
    checker.check_line(index, line, 0);
}

/// This many lines of each of the two senders, in turn, as a receiver without tags receives them.
fn lines(checker: &mut Checker, count: u32) -> Vec<Vec<u8>> {
    let senders = (0..count).flat_map(|_| [0, 1]);
    senders
        .map(|sender| {
            let mut line = checker.senders[usize::from(sender)].prefixes[0].clone();
            checker.say(sender, 0, &mut line);
            line.pop();
            line
        })
        .collect()
}

fn tagged(number: usize, checker: &Checker, line: &[u8]) -> Vec<u8> {
    let sender = number % 2;
    let tags = format!("@id={};time=2026-11-21T12:00:01.{number:03}Z", 1_000 + number);
    [tags.as_bytes(), &checker.senders[sender].tails[0], line].concat()
}

/// All clients receive these lines, but `who` receives what `corrupt` makes of them. Returns the
/// number of faults: dropped, lost, doubled, reordered, differing, wrong.
fn faults_found(who: usize, corrupt: impl FnOnce(&mut Vec<Vec<u8>>)) -> [u64; 6] {
    let mut checker = room();
    let all = lines(&mut checker, 10);
    let mut change = Some(corrupt);
    for index in 0..4 {
        let mut stream = all.clone();
        if index == 1 {
            stream = stream
                .iter()
                .enumerate()
                .map(|(number, line)| tagged(number, &checker, line))
                .collect();
        }
        if index == who
            && let Some(corrupt) = change.take()
        {
            corrupt(&mut stream);
        }
        stream.iter().for_each(|line| deliver(&mut checker, index, line));
    }
    final_faults(checker)
}

fn final_faults(mut checker: Checker) -> [u64; 6] {
    // Called twice: the first call only notes the lengths.
    (0..20).for_each(|_| checker.skip_blockages(0));
    checker.finish();
    let count = checker.faults.tcp;
    assert_eq!(
        checker.faults.is_clean(),
        checker.faults.described.is_empty(),
        "{:#?}",
        checker.faults.described
    );
    let tally = count.tally;
    [count.dropped, tally.lost, tally.doubled, tally.reordered, count.differing, tally.wrong]
}

#[test]
fn correct_lines_are_no_fault() {
    (0..4).for_each(|who| assert_eq!(faults_found(who, |_| ()), [0; 6]));
}

/// The first client to receive a line writes it. So if that client is wrong, the others differ from
/// it.
fn found_by_first(corrupt: impl FnOnce(&mut Vec<Vec<u8>>)) -> [u64; 6] {
    let mut found = faults_found(0, corrupt);
    found[4] = 0;
    found
}

#[test]
fn a_lost_line_is_found_at_every_receiver() {
    for who in 1..4 {
        assert_eq!(
            faults_found(who, |stream| drop(stream.remove(7))),
            [0, 1, 0, 0, 0, 0],
            "client {who}"
        );
        assert_eq!(
            faults_found(who, |stream| drop(stream.pop())),
            [0, 1, 0, 0, 0, 0],
            "the last, client {who}"
        );
        assert_eq!(
            faults_found(who, |stream| drop(stream.drain(3..9))),
            [0, 6, 0, 0, 0, 0],
            "six, client {who}"
        );
    }
    assert_eq!(found_by_first(|stream| drop(stream.remove(7))), [0, 1, 0, 0, 0, 0]);
    assert_eq!(found_by_first(|stream| drop(stream.pop())), [0, 1, 0, 0, 0, 0]);
    assert_eq!(found_by_first(|stream| drop(stream.drain(3..9))), [0, 6, 0, 0, 0, 0]);
}

#[test]
fn a_line_that_no_client_receives_is_lost() {
    let mut checker = room();
    let all = lines(&mut checker, 5);
    for index in [0, 2, 3] {
        all.iter()
            .enumerate()
            .filter(|(number, _)| *number != 4)
            .for_each(|(_, line)| deliver(&mut checker, index, line));
        checker.skip_blockages(0);
    }
    checker.receivers.remove(1);
    assert_eq!(final_faults(checker)[1], 1);
}

#[test]
fn a_doubled_line_is_found() {
    for who in 0..4 {
        // With tags, the id does not grow, which is another fault.
        let expected = [0, 0, 1, 0, u64::from(who == 1), 0];
        assert_eq!(
            faults_found(who, |stream| stream.insert(7, stream[6].clone())),
            expected,
            "at once, client {who}"
        );
        assert_eq!(
            faults_found(who, |stream| stream.insert(15, stream[3].clone())),
            expected,
            "later, client {who}"
        );
        assert_eq!(
            faults_found(who, |stream| stream.push(stream[19].clone())),
            expected,
            "the last, client {who}"
        );
    }
}

#[test]
fn exchanged_lines_of_one_sender_are_reordered_and_of_two_senders_differ() {
    for who in [0, 2, 3] {
        let [dropped, lost, doubled, reordered, _, wrong] =
            faults_found(who, |stream| stream.swap(6, 8));
        assert_eq!([dropped, lost, doubled, wrong], [0; 4], "client {who}");
        assert!(reordered >= 1, "client {who}");
    }
    for who in [2, 3] {
        assert_eq!(
            faults_found(who, |stream| stream.swap(6, 7)),
            [0, 0, 0, 0, 1, 0],
            "client {who}"
        );
    }
    // The lines that were received first count as right, and all others differ from them.
    assert_eq!(faults_found(0, |stream| stream.swap(6, 7)), [0, 0, 0, 0, 3, 0]);
}

#[test]
fn torn_and_changed_lines_are_wrong() {
    for who in 0..4 {
        let torn = |stream: &mut Vec<Vec<u8>>| {
            let rest = stream[7].split_off(20);
            stream.insert(8, rest);
        };
        let [_, lost, _, _, _, wrong] = faults_found(who, torn);
        assert_eq!((lost, wrong), (1, 2), "torn, client {who}");
        let joined = |stream: &mut Vec<Vec<u8>>| {
            let next = stream.remove(8);
            stream[7].extend(next);
        };
        assert_eq!(faults_found(who, joined)[5], 1, "joined, client {who}");
        for at in [3, 9, 15, 30] {
            let [.., wrong] = faults_found(who, |stream| stream[7][at] ^= 1);
            assert!(wrong == 1 || who == 1, "byte {at} of client {who}");
        }
    }
}

#[test]
fn a_line_for_another_client_is_wrong() {
    let mut checker = room();
    checker.senders.push(Sender::new(9, 1, "#s", "9", false));
    let mut line = checker.senders[2].prefixes[0].clone();
    checker.say(2, 0, &mut line);
    line.pop();
    checker.check_line(0, &line, 0);
    assert_eq!(checker.faults.tcp.tally.wrong, 1);
}

#[test]
fn another_id_or_time_and_an_id_that_does_not_grow_are_differences() {
    let replace = |line: &mut Vec<u8>, from: &str, to: &str| {
        *line = String::from_utf8(line.clone()).unwrap().replace(from, to).into_bytes();
    };
    // It is the only client with tags, so there is nothing to compare with, but ids must grow.
    assert_eq!(
        faults_found(1, |stream| replace(&mut stream[7], "id=1007", "id=1005")),
        [0, 0, 0, 0, 1, 0]
    );
    let mut checker = room();
    checker.receivers[0].settings.tags = true;
    let all = lines(&mut checker, 5);
    for index in [0, 1] {
        for (number, line) in all.iter().enumerate() {
            let mut line = tagged(number, &checker, line);
            if index == 1 && number == 3 {
                replace(&mut line, "01.003Z", "01.004Z");
            }
            checker.check_line(index, &line, 0);
        }
    }
    assert_eq!(checker.faults.tcp.differing, 1);
    assert!(
        checker.faults.described[0].contains("another id or time"),
        "{:?}",
        checker.faults.described
    );
}

#[test]
fn a_presence_line_is_due_to_every_member() {
    let mut checker = room();
    for index in 0..4 {
        let line: &[u8] = "* ж9 joined #r".as_bytes();
        let tags: &[u8] = if index == 1 { b"@id=7;time=T;event=join;room=#r;nick=x " } else { b"" };
        if index != 3 {
            checker.check_line(index, &[tags, line].concat(), 0);
        }
    }
    assert_eq!(final_faults(checker), [0, 1, 0, 0, 0, 0]);
}

#[test]
fn a_visitor_must_receive_the_lines_between_its_join_and_its_leave() {
    let visit = |missing: Option<usize>| {
        let mut checker = room();
        checker.receivers.remove(1);
        checker.senders.iter_mut().for_each(|sender| sender.client -= 1);
        let all = lines(&mut checker, 5);
        let comes = "* ж4 joined #r".as_bytes().to_vec();
        let goes = "* ж4 quit: for now".as_bytes().to_vec();
        let received = [&all[..3], &[comes], &all[3..6], &[goes], &all[6..]].concat();
        checker.receivers[3].replies.extend([Reply::Joined, Reply::Goodbye]);
        // The visitor receives its lines before the others do.
        checker.check_line(3, b"* you joined #r; 4 people are here", 0);
        (3..6)
            .filter(|position| Some(*position) != missing)
            .for_each(|position| deliver(&mut checker, 3, &all[position]));
        checker.check_line(3, b"* goodbye", 0);
        checker.end_connection(3);
        (0..3)
            .for_each(|index| received.iter().for_each(|line| deliver(&mut checker, index, line)));
        checker.match_pending(3, 0);
        assert_eq!(checker.receivers[3].membership, Membership::Outside);
        final_faults(checker)
    };
    assert_eq!(visit(None), [0; 6]);
    (3..6).for_each(|missing| assert_eq!(visit(Some(missing)), [0, 1, 0, 0, 0, 0], "{missing}"));
}

#[test]
fn each_answer_is_due_once_and_in_order() {
    let received = |lines: &[&str]| {
        let mut checker = room();
        (0..3).for_each(|_| drop(checker.receivers[0].ping()));
        checker.receivers[0].replies.push_back(Reply::TooLong);
        lines.iter().for_each(|line| deliver(&mut checker, 0, line.as_bytes()));
        final_faults(checker)
    };
    let long = "! line too long: at most 4095 bytes are allowed";
    assert_eq!(received(&["* pong p1", "* pong p2", "* pong p3", long]), [0; 6]);
    assert_eq!(received(&["* pong p1", "* pong p3", long]), [0, 1, 0, 0, 0, 0]);
    assert_eq!(received(&["* pong p1", "* pong p2", "* pong p3"]), [0, 1, 0, 0, 0, 0]);
    assert_eq!(
        received(&["* pong p1", "* pong p1", "* pong p2", "* pong p3", long]),
        [0, 0, 1, 0, 0, 0]
    );
    assert_eq!(
        received(&["* pong p1", "* pong p2", "* pong p3", long, long]),
        [0, 0, 0, 0, 0, 1],
        "a refusal that nobody caused"
    );
}

#[test]
fn over_udp_lost_and_doubled_lines_are_allowed_but_reordered_ones_are_not() {
    let received = |order: &[usize]| {
        let mut checker = room();
        checker.receivers[1] = Receiver::new("u".into(), 0, Settings::default(), true, false);
        checker.begin(1);
        let all = lines(&mut checker, 3);
        for index in [0, 2, 3] {
            all.iter().for_each(|line| deliver(&mut checker, index, line));
        }
        order.iter().for_each(|&position| deliver(&mut checker, 1, &all[position]));
        checker.finish();
        assert_eq!(checker.faults.tcp, super::super::faults::Count::default());
        let Tally { lost, doubled, reordered, .. } = checker.faults.udp.tally;
        ([lost, doubled, reordered + checker.faults.udp.differing], checker.faults.is_clean())
    };
    assert_eq!(received(&[0, 1, 2, 3, 4, 5]), ([0; 3], true));
    assert_eq!(received(&[0, 1, 4, 5]), ([2, 0, 0], true));
    assert_eq!(received(&[0, 1, 2, 3, 1, 2, 3, 4, 5]), ([0, 3, 0], true));
    assert_eq!(received(&[0, 2, 1, 3, 4, 5]), ([0, 0, 1], false));
}

#[test]
fn a_line_sent_over_udp_may_appear_twice_if_it_does_for_all_receivers() {
    let received = |times: [usize; 4]| {
        let mut checker = room();
        checker.senders[1].is_udp = true;
        checker.receivers[3].is_udp = true;
        checker.receivers[1] = Receiver::new(
            "x".into(),
            0,
            Settings { joins: true, ..Settings::default() },
            false,
            false,
        );
        checker.begin(1);
        let all = lines(&mut checker, 3);
        // A receiver that doesn't write receives the line first.
        checker.receivers[2].settings.joins = false;
        for index in [2, 0, 1] {
            for (position, line) in all.iter().enumerate() {
                (0..if position == 3 { times[index] } else { 1 })
                    .for_each(|_| deliver(&mut checker, index, line));
            }
        }
        (0..3).for_each(|index| checker.match_pending(index, 0));
        let udp = checker.faults.udp.tally.doubled;
        (udp, final_faults(checker))
    };
    assert_eq!(received([1, 1, 1, 0]), (0, [0; 6]));
    assert_eq!(received([2, 2, 2, 0]), (1, [0; 6]));
    assert_eq!(received([2, 2, 1, 0]).1, [0, 1, 0, 0, 0, 0]);
}

#[test]
fn the_description_of_a_fault_names_the_client_and_the_last_kill() {
    let mut checker = room();
    checker.faults.slots = vec![1; 5];
    let kill = super::super::faults::LastKill {
        at: 1_000_000,
        words: "kill 3, Worker of worker 1 (pid 7)".into(),
    };
    checker.faults.kills.insert(Some(1), kill);
    checker.faults.now = 3_500_000;
    let all = lines(&mut checker, 3);
    all.iter().for_each(|line| deliver(&mut checker, 0, line));
    [0, 1, 3].into_iter().for_each(|position| deliver(&mut checker, 2, &all[position]));
    let words = &checker.faults.described[0];
    for part in [
        "Lost at 0.004 s",
        "client 2",
        "ж2",
        "echo on",
        "worker 1",
        "number 1",
        "2.5 ms after kill 3",
        "expected",
        "got",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
}
