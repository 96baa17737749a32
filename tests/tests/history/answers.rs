//! The answer to `/history`.

use super::*;

#[test]
fn the_last_lines_of_a_room_come_in_order_and_later_input_waits_for_them() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (server.join("a"), server.join("b"));
    a.say("/history");
    a.reads("* no earlier lines of #lobby are stored");
    (0..30).for_each(|number| a.say(&format!("line {number}")));
    a.say("/me waves");
    b.reads("* a waves");
    let expected: Vec<String> = (12..30)
        .map(|number| format!("[#lobby] a: line {number}"))
        .chain(["[#lobby] * a waves".to_owned()])
        .collect();
    assert_eq!(history(&mut b, 19), expected);
    b.say("/join #other\n/history 5\n/ping behind");
    let told = b.reads("pong behind");
    assert_eq!(told[1..], ["* no earlier lines of #other are stored", "* pong behind"], "{told:?}");
    b.say("/history 501");
    b.reads("! usage: /history [N]");
    // The end of input after a request waits for the answer, too.
    let mut c = server.connect();
    c.send(b"/history 1\n");
    c.end_input();
    let rest = c.rest();
    assert!(rest.contains(&"[#lobby] * a waves".to_owned()), "{rest:?}");
}

#[test]
fn with_tags_earlier_lines_have_their_own_ids_and_the_end_says_since_when_they_are_complete() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (server.join("a"), server.join("b"));
    b.say("/set tags on");
    b.reads("tags is on");
    a.say("one\ntwo\nthree");
    let live = b.reads("a: three");
    let id = |line: &String| {
        line.split_once("@id=").unwrap().1.split(';').next().unwrap().parse::<u64>().unwrap()
    };
    b.say("/history 2");
    let told = b.reads("to=history;room=#lobby;since=");
    assert_eq!(
        told[..2].iter().map(id).collect::<Vec<_>>(),
        live[1..].iter().map(id).collect::<Vec<_>>()
    );
    assert!(
        told[0].contains(";event=say;to=history;room=#lobby;nick=a [#lobby] a: two"),
        "{told:?}"
    );
    assert!(
        told[2].contains(&format!(";since={} ", id(&told[0]))),
        "there may be earlier ones: {told:?}"
    );
    b.say("/history 20");
    let told = b.reads("to=history;room=#lobby;since=");
    let since: u64 = told
        .last()
        .unwrap()
        .split_once(";since=")
        .unwrap()
        .1
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(since <= id(&told[0]) && told.len() == 4, "all that was ever said: {told:?}");
}

#[test]
fn a_long_history_comes_in_parts_at_the_speed_of_the_reader() {
    let server = Server::start(&["--rate-limit", "off", "--sendq", "64K", "--ring", "4M"]);
    let (mut a, mut b) = (server.join("a"), server.join("b"));
    let line = "x".repeat(4_000);
    for number in 0..500 {
        a.say(&format!("{number} {line}"));
        if number % 50 == 49 {
            b.reads(&format!("a: {number} "));
        }
    }
    // The answer has two megabytes, and the outbox holds 64 KiB.
    let told = history(&mut b, 500);
    assert_eq!(told.len(), 500);
    assert!(
        told.iter()
            .enumerate()
            .all(|(number, told)| told == &format!("[#lobby] a: {number} {line}"))
    );
    assert!(
        server.log_output().lines().all(|line| !line.contains("given up")),
        "{}",
        server.log_output()
    );
}

#[test]
fn a_flood_in_new_rooms_does_not_remove_the_history_of_an_old_one() {
    let server = Server::start(&["--rate-limit", "off", "--history", "1000"]);
    let (mut a, mut b) = (server.join("a"), server.join("b"));
    (0..3).for_each(|number| a.say(&format!("kept {number}")));
    b.reads("kept 2");
    // First one room with the most lines, then many rooms.
    a.say("/join #flood");
    (0..3_000).for_each(|number| a.say(&format!("spam {number}")));
    for room in 0..40 {
        a.say(&format!("/join #flood{room}"));
        (0..50).for_each(|number| a.say(&format!("spam {number}")));
        a.say("/leave");
    }
    a.sync();
    b.say("/join #flood");
    b.sync();
    wait_for("the flood's own lines to go", || {
        (history(&mut b, 500).first()? != "[#flood] a: spam 2500").then_some(())
    });
    b.say("/join #lobby");
    b.sync();
    assert_eq!(
        history(&mut b, 500),
        (0..3).map(|number| format!("[#lobby] a: kept {number}")).collect::<Vec<_>>()
    );
}
