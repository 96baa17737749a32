//! `/history` and topics: what outlives a line, a journal, a server.

use forkchat_tests::{Client, Server, wait_for};
use nix::sys::signal::{Signal, kill};
use std::path::Path;

/// The lines of an answer, without its dates and its end.
fn history(client: &mut Client, count: usize) -> Vec<String> {
    client.say(&format!("/history {count}"));
    let mut lines = client.reads("* end of the history of ");
    lines.pop();
    let dates = lines.len();
    lines.retain(|line| !is_date(line));
    assert!(lines.is_empty() || lines.len() < dates, "no date stands before {lines:?}");
    lines
}

/// Whether a line is the date of the lines that follow: `* 2026-11-21`.
fn is_date(line: &str) -> bool {
    let mut parts = line.strip_prefix("* ").unwrap_or_default().split('-').map(|part| (part.len(), part.parse::<u32>().is_ok()));
    parts.by_ref().take(3).eq([(4, true), (2, true), (2, true)]) && parts.next().is_none()
}

/// Starts a server on a data directory that stays.
fn start_on(data_dir: &Path, options: &[&str]) -> Server {
    Server::start(&[options, &["--data-dir", data_dir.to_str().unwrap()]].concat())
}

struct TempDir(std::path::PathBuf);

impl TempDir {
    fn new(name: &str) -> TempDir {
        let path = std::env::temp_dir().join(format!("forkchat-history-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_last_lines_of_a_room_are_told_in_order_and_what_was_sent_behind_the_question_waits() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (server.join("a"), server.join("b"));
    a.say("/history");
    a.reads("* nothing that was said in #lobby before is kept");
    (0..30).for_each(|number| a.say(&format!("line {number}")));
    a.say("/me waves");
    b.reads("* a waves");
    let expected: Vec<String> =
        (12..30).map(|number| format!("[#lobby] a: line {number}")).chain(["[#lobby] * a waves".to_owned()]).collect();
    assert_eq!(history(&mut b, 19), expected);
    b.say("/join #other\n/history 5\n/ping behind");
    let told = b.reads("pong behind");
    assert_eq!(told[1..], ["* nothing that was said in #other before is kept", "* pong behind"], "{told:?}");
    b.say("/history 501");
    b.reads("! usage: /history [N]");
    // The end of input behind a question waits for the answer, too.
    let mut c = server.connect();
    c.send(b"/history 1\n");
    c.end_input();
    let rest = c.rest();
    assert!(rest.contains(&"[#lobby] * a waves".to_owned()), "{rest:?}");
}

#[test]
fn with_tags_past_lines_have_their_own_ids_and_the_end_says_from_where_on_they_are_all() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (server.join("a"), server.join("b"));
    b.say("/set tags on");
    b.reads("tags is on");
    a.say("one\ntwo\nthree");
    let live = b.reads("a: three");
    let id = |line: &String| line.split_once("@id=").unwrap().1.split(';').next().unwrap().parse::<u64>().unwrap();
    b.say("/history 2");
    let told = b.reads("to=history;room=#lobby;since=");
    assert_eq!(told[..2].iter().map(id).collect::<Vec<_>>(), live[1..].iter().map(id).collect::<Vec<_>>());
    assert!(told[0].contains(";event=say;to=history;room=#lobby;nick=a [#lobby] a: two"), "{told:?}");
    assert!(told[2].contains(&format!(";since={} ", id(&told[0]))), "there may be earlier ones: {told:?}");
    b.say("/history 20");
    let told = b.reads("to=history;room=#lobby;since=");
    let since: u64 = told.last().unwrap().split_once(";since=").unwrap().1.split(' ').next().unwrap().parse().unwrap();
    assert!(since <= id(&told[0]) && told.len() == 4, "all that was ever said: {told:?}");
}

#[test]
fn long_histories_come_in_parts_and_wait_for_a_slow_reader() {
    let server = Server::start(&["--rate-limit", "off", "--sendq", "64K", "--ring", "4M"]);
    let (mut a, mut b) = (server.join("a"), server.join("b"));
    let line = "x".repeat(4_000);
    for number in 0..500 {
        a.say(&format!("{number} {line}"));
        if number % 50 == 49 {
            b.reads(&format!("a: {number} "));
        }
    }
    // Two megabytes, of which the outbox holds 64 KiB.
    let told = history(&mut b, 500);
    assert_eq!(told.len(), 500);
    assert!(told.iter().enumerate().all(|(number, told)| told == &format!("[#lobby] a: {number} {line}")));
    assert!(server.journal_text().lines().all(|line| !line.contains("given up")), "{}", server.journal_text());
}

#[test]
fn history_and_topics_survive_a_restart() {
    let data_dir = TempDir::new("restart");
    let mut server = start_on(&data_dir.0, &[]);
    let (mut a, mut b) = (server.join("a"), server.join("b"));
    a.say("/topic the first room\nsaid before\n/join #tea\n/topic oolong\nsaid in tea");
    b.reads("a: said before");
    a.sync();
    server.signal(Signal::SIGTERM);
    drop((a, b));
    server.wait();

    let mut server = start_on(&data_dir.0, &[]);
    let mut c = server.join("c");
    wait_for("the topics", || {
        c.say("/rooms");
        let rooms = c.sync();
        (rooms.contains(&"* #lobby (1): the first room".to_owned()) && rooms.contains(&"* #tea (0): oolong".to_owned())).then_some(())
    });
    assert_eq!(history(&mut c, 20), ["[#lobby] a: said before"]);
    c.say("said behind\n/topic another\n/join #tea");
    c.reads("* topic of #tea: oolong");
    assert_eq!(history(&mut c, 20), ["[#tea] a: said in tea"]);
    // Cut off as hard as can be.
    server.signal(Signal::SIGKILL);
    server.wait();
    let server = start_on(&data_dir.0, &[]);
    let mut d = server.join("d");
    assert_eq!(history(&mut d, 20), ["[#lobby] a: said before", "[#lobby] c: said behind"]);
    d.say("/topic");
    d.reads("* topic of #lobby: another");
}

#[test]
fn a_journal_killed_again_and_again_stores_each_line_once() {
    let data_dir = TempDir::new("killed");
    let mut server = start_on(&data_dir.0, &["--rate-limit", "off", "--ring", "1M"]);
    let (mut a, mut b) = (server.join("a"), server.join("b"));
    let mut number = 0;
    for _ in 0..12 {
        let journal = server.process("journal");
        for _ in 0..40 {
            a.say(&format!("line {number}"));
            number += 1;
        }
        kill(journal, Signal::SIGKILL).unwrap();
        b.reads(&format!("line {}", number - 1));
        server.replaced("journal", journal);
    }
    let all: Vec<String> = (0..number).map(|number| format!("[#lobby] a: line {number}")).collect();
    assert_eq!(history(&mut b, 500), all);
    // The next server has them from the disk alone.
    server.signal(Signal::SIGTERM);
    drop((a, b));
    server.wait();
    let server = start_on(&data_dir.0, &[]);
    assert_eq!(history(&mut server.join("c"), 500), all);
}

#[test]
fn a_database_that_cannot_be_opened_is_told_and_the_chat_goes_on() {
    let data_dir = TempDir::new("unusable");
    std::fs::create_dir(data_dir.0.join("history.sqlite3")).unwrap();
    let server = start_on(&data_dir.0, &["--ring", "1M", "--rate-limit", "off"]);
    server.tells("journal: warning: cannot store what is said: ");
    let (mut a, mut b) = (server.join("a"), server.join("b"));
    let line = "x".repeat(1_000);
    for number in 0..3_000 {
        a.say(&format!("{number} {line}"));
        if number % 100 == 99 {
            b.reads(&format!("a: {number} "));
        }
    }
    server.tells("lines are given up so far, the chat goes on");
    b.say("/history 3");
    let waiting = b.reads("! what was said before can't be read now");
    assert!(is_date(&waiting[waiting.len() - 5]), "{waiting:?}");
    assert_eq!(waiting[waiting.len() - 2], format!("[#lobby] a: 2999 {line}"), "what isn't stored is told all the same");
    // When it can be used it is.
    std::fs::remove_dir(data_dir.0.join("history.sqlite3")).unwrap();
    server.tells("what is said is stored again; so far ");
    a.say("and now");
    b.reads("and now");
    assert_eq!(history(&mut b, 1), ["[#lobby] a: and now"]);
}

#[test]
fn a_data_directory_that_is_taken_away_is_made_again() {
    let data_dir = TempDir::new("taken");
    let server = start_on(&data_dir.0, &[]);
    let mut a = server.join("a");
    a.say("lost");
    wait_for("the database", || data_dir.0.join("history.sqlite3").exists().then_some(()));
    std::fs::remove_dir_all(&data_dir.0).unwrap();
    a.say("kept");
    wait_for("another database", || data_dir.0.join("history.sqlite3").exists().then_some(()));
    assert_eq!(history(&mut a, 20).last().unwrap(), "[#lobby] a: kept");
}

#[test]
fn a_second_server_on_one_data_directory_serves_and_says_that_it_stores_nothing() {
    let data_dir = TempDir::new("shared");
    let first = start_on(&data_dir.0, &[]);
    first.join("a").sync();
    let second = start_on(&data_dir.0, &[]);
    second.tells("another server stores in ");
    second.join("b").sync();
    drop(first);
    second.tells("what is said is stored again");
}
