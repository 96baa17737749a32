//! `/history` and topics: what survives a line, a journal, a server.

use forkchat_tests::processes::{cpu_of, has_ended};
use forkchat_tests::{Client, Server, has_tool, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

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

/// Has `a` say 3,000 lines of 1,000 bytes, no faster than `b` hears them. Gives back what each ends with.
fn say_three_megabytes(a: &mut Client, b: &mut Client) -> String {
    let line = "x".repeat(1_000);
    for number in 0..3_000 {
        a.say(&format!("{number} {line}"));
        if number % 100 == 99 {
            b.reads(&format!("a: {number} "));
        }
    }
    line
}

/// Sets how large a running process may make a file, as prlimit(1) takes it.
fn limit_file_size(process: Pid, bytes: &str) {
    let status = Command::new("prlimit").args(["--pid", &process.to_string(), &format!("--fsize={bytes}:unlimited")]).status().unwrap();
    assert!(status.success());
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
fn a_database_that_turns_out_to_be_damaged_is_reported_once_and_not_for_each_question() {
    let directory = TempDir::new("damaged");
    let mut server = start_on(&directory.0, &["--rate-limit", "off"]);
    let mut a = server.join("a");
    (0..3_000).for_each(|number| a.say(&format!("line {number}")));
    a.sync();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
    drop(a);
    let server = start_on(&directory.0, &[]);
    let mut a = server.join("a");
    // It is open by now, and looked whole.
    a.say("/history 1");
    a.reads("line 2999");
    let path = directory.0.join("history.sqlite3");
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let bytes = file.metadata().unwrap().len() as usize;
    std::os::unix::fs::FileExt::write_all_at(&file, &vec![0xee; bytes - 8 * 4_096], 8 * 4_096).unwrap();
    for _ in 0..5 {
        a.say("/history 500");
        a.reads("! the history can't be read now");
    }
    server.tells("cannot read from the history ");
    a.say("/history 500");
    a.reads("! the history can't be read now");
    assert_eq!(server.journal_text().matches("cannot read from the history ").count(), 1, "{}", server.journal_text());
}

#[test]
fn the_last_lines_of_a_room_are_told_in_order_and_what_was_sent_behind_the_question_waits() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (server.join("a"), server.join("b"));
    a.say("/history");
    a.reads("* no earlier lines of #lobby are stored");
    (0..30).for_each(|number| a.say(&format!("line {number}")));
    a.say("/me waves");
    b.reads("* a waves");
    let expected: Vec<String> =
        (12..30).map(|number| format!("[#lobby] a: line {number}")).chain(["[#lobby] * a waves".to_owned()]).collect();
    assert_eq!(history(&mut b, 19), expected);
    b.say("/join #other\n/history 5\n/ping behind");
    let told = b.reads("pong behind");
    assert_eq!(told[1..], ["* no earlier lines of #other are stored", "* pong behind"], "{told:?}");
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
    // All processes are killed at once. What the journal has not yet committed would be lost.
    let wait_until_written = |texts: &[&str]| {
        wait_for(&format!("{texts:?} to be written"), || {
            let log = std::fs::read(data_dir.0.join("history.sqlite3-wal")).unwrap_or_default();
            texts.iter().all(|text| log.windows(text.len()).any(|bytes| bytes == text.as_bytes())).then_some(())
        });
    };
    wait_until_written(&["said behind", "another"]);
    // When a later transaction is written, the one before is committed.
    c.say("said in tea, too");
    wait_until_written(&["said in tea, too"]);
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
    server.tells("journal: warning: cannot store lines: ");
    let (mut a, mut b) = (server.join("a"), server.join("b"));
    let line = say_three_megabytes(&mut a, &mut b);
    server.tells("are missing from the history so far, the chat goes on");
    b.say("/history 3");
    let waiting = b.reads("! the history can't be read now");
    assert!(is_date(&waiting[waiting.len() - 5]), "{waiting:?}");
    assert_eq!(waiting[waiting.len() - 2], format!("[#lobby] a: 2999 {line}"), "what isn't stored is told all the same");
    // When it can be used it is.
    std::fs::remove_dir(data_dir.0.join("history.sqlite3")).unwrap();
    server.tells("lines are stored again; ");
    a.say("and now");
    b.reads("and now");
    assert_eq!(history(&mut b, 1), ["[#lobby] a: and now"]);
}

#[test]
fn a_data_directory_that_is_taken_away_is_made_again() {
    let data_dir = TempDir::new("taken");
    let server = start_on(&data_dir.0, &[]);
    let mut a = server.join("a");
    a.say("/topic kept, too");
    (0..100).for_each(|_| a.say(&"lost".repeat(1_000)));
    a.sync();
    let log = data_dir.0.join("history.sqlite3-wal");
    wait_for("most of it to be stored", || log.metadata().is_ok_and(|file| file.len() > 200_000).then_some(()));
    std::fs::remove_dir_all(&data_dir.0).unwrap();
    a.say("kept");
    wait_for("another database", || data_dir.0.join("history.sqlite3").exists().then_some(()));
    assert_eq!(history(&mut a, 20).last().unwrap(), "[#lobby] a: kept");
    // What is still known is stored again.
    let mut server = server;
    server.signal(Signal::SIGTERM);
    drop(a);
    assert_eq!(server.wait().code(), Some(4), "what was said before is lost");
    let server = start_on(&data_dir.0, &[]);
    let mut b = server.join("b");
    wait_for("the topic", || {
        b.say("/topic");
        b.sync().contains(&"* topic of #lobby: kept, too".to_owned()).then_some(())
    });
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
    second.tells("lines are stored again");
}

/// The number behind a word of a line with tags.
fn number_behind(line: &str, word: &str) -> u64 {
    let digits = line.split_once(word).unwrap_or_else(|| panic!("{word} in {line}")).1;
    digits[..digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len())].parse().unwrap()
}

/// Asks for the history with tags: the ids of its lines, and from where on it is whole.
fn tagged_history(client: &mut Client) -> (Vec<u64>, u64) {
    client.say("/set tags on\n/history 500\n/set tags off");
    let told = client.reads("to=history;room=#lobby;since=");
    let ids = told.iter().filter(|line| line.contains("event=say;to=history")).map(|line| number_behind(line, "@id=")).collect();
    (ids, number_behind(told.last().unwrap(), ";since="))
}

#[test]
fn what_is_lost_with_the_write_ahead_log_of_a_killed_journal_is_told_and_history_does_not_claim_it() {
    let server = Server::start(&["--ring", "1M", "--rate-limit", "off"]);
    let (mut a, mut b) = (server.join("a"), server.join("b"));
    b.say("/set tags on");
    b.reads("tags is on");
    let line = "x".repeat(200);
    a.say(&line);
    let first = number_behind(b.reads("event=say").last().unwrap(), "@id=");
    b.say("/set tags off");
    // The ring goes around: a successor doesn't read them again.
    for number in 0..6_000 {
        a.say(&format!("{number} {line}"));
        if number % 500 == 499 {
            b.reads(&format!("a: {number} "));
        }
    }
    let journal = server.process("journal");
    // It can't notice, and nobody takes its place before they are gone.
    server.signal(Signal::SIGSTOP);
    kill(journal, Signal::SIGKILL).unwrap();
    wait_for("the journal to be dead", || has_ended(journal).then_some(()));
    for name in ["history.sqlite3-wal", "history.sqlite3-shm"] {
        std::fs::remove_file(server.data_dir().join(name)).unwrap();
    }
    server.signal(Signal::SIGCONT);
    server.replaced("journal", journal);
    server.tells("the history lost what was stored before another program changed its files: at most ");
    a.say("the last");
    b.reads("the last");
    let (ids, since) = tagged_history(&mut b);
    assert!(since > first, "{since} claims what is lost at {first}");
    assert!(ids.iter().all(|&id| id > first), "{ids:?}");
}

#[test]
fn a_write_ahead_log_that_is_taken_away_loses_nothing_as_long_as_the_journal_lives() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (server.join("a"), server.join("b"));
    a.say("one\ntwo");
    b.reads("a: two");
    wait_for("them to be stored", || {
        server.data_dir().join("history.sqlite3-wal").metadata().is_ok_and(|file| file.len() > 0).then_some(())
    });
    for name in ["history.sqlite3-wal", "history.sqlite3-shm"] {
        std::fs::remove_file(server.data_dir().join(name)).unwrap();
    }
    server.tells("another program has removed or replaced ");
    a.say("three");
    b.reads("a: three");
    let journal = server.process("journal");
    wait_for("another log", || server.data_dir().join("history.sqlite3-wal").exists().then_some(()));
    kill(journal, Signal::SIGKILL).unwrap();
    server.replaced("journal", journal);
    assert_eq!(history(&mut b, 20), ["one", "two", "three"].map(|text| format!("[#lobby] a: {text}")));
    assert!(!server.journal_text().contains("has lost"), "{}", server.journal_text());
}

#[test]
fn a_limit_on_the_size_of_files_is_named_once_and_the_journal_goes_on() {
    if !has_tool("prlimit") {
        return;
    }
    let mut server = Server::start(&["--ring", "1M", "--rate-limit", "off"]);
    let (mut a, mut b) = (server.join("a"), server.join("b"));
    let journal = server.process("journal");
    limit_file_size(journal, "262144");
    say_three_megabytes(&mut a, &mut b);
    server.tells("its files have reached the limit on the size of files, 256 KiB (ulimit -f); raise it and start the server again");
    server.tells("are missing from the history so far, the chat goes on");
    limit_file_size(journal, "unlimited");
    server.tells("lines are stored again; ");
    assert_eq!(server.journal_text().matches("(ulimit -f)").count(), 1, "{}", server.journal_text());
    assert_eq!(server.process("journal"), journal, "it was killed by no signal");
    // What was not stored then is known in the end.
    server.signal(Signal::SIGTERM);
    drop((a, b));
    assert_eq!(server.wait().code(), Some(4));
    server.tells(" lines that were said could not be stored");
}

/// The limit is in blocks of 512 bytes, as a plain `sh` has it.
#[test]
fn under_a_limit_on_the_size_of_files_the_last_lines_are_kept_and_it_ends_well() {
    for blocks in [512_u64, 2_000, 8_400] {
        let directory = TempDir::new(&format!("file-size-{blocks}"));
        let limit = format!("ulimit -f {blocks}");
        let options = ["--rate-limit", "off", "--data-dir", directory.0.to_str().unwrap()];
        let mut server = Server::start_limited(Some(&limit), &options);
        let kept_kib = blocks / 8 - 32;
        server
            .tells(&format!("the history keeps at most {kept_kib} KiB, since files may not be larger than {} KiB (ulimit -f)", blocks / 2));
        let (mut a, mut b) = (server.join("a"), server.join("b"));
        let line = "x".repeat(300);
        // Then long ones, a batch of which is larger than the file may be.
        for (count, line) in [(8_000, line.as_str()), (1_000, &"y".repeat(4_000))] {
            for number in 1..=count {
                a.say(&format!("{number} {line}"));
                if number % 100 == 0 {
                    b.reads(&format!("a: {number} "));
                }
            }
        }
        (0..100).for_each(|number| a.say(&format!("last {number} {line}")));
        b.reads("a: last 99 ");
        let count = 20;
        let expected: Vec<String> = (100 - count..100).map(|number| format!("[#lobby] a: last {number} {line}")).collect();
        assert_eq!(history(&mut b, count), expected, "{limit}");
        server.signal(Signal::SIGTERM);
        drop((a, b));
        assert_eq!(server.wait().code(), Some(0), "{limit}: {}", server.journal_text());
        assert!(!server.journal_text().contains("cannot store"), "{limit}: {}", server.journal_text());
        let server = Server::start_limited(Some(&limit), &options);
        assert_eq!(history(&mut server.join("c"), count), expected, "{limit}");
    }
}

#[test]
fn a_limit_that_is_too_low_for_a_history_is_told_at_the_start_and_the_chat_goes_on() {
    let mut server = Server::start_limited(Some("ulimit -f 400"), &["--grace", "1"]);
    server.tells("cannot store lines: files may not be larger than 200 KiB (ulimit -f), and a history takes 256 KiB at least; raise it");
    let mut a = server.join("a");
    a.say("said");
    a.sync();
    server.signal(Signal::SIGTERM);
    drop(a);
    assert_eq!(server.wait().code(), Some(4), "{}", server.journal_text());
}

#[test]
fn a_write_ahead_log_that_cannot_grow_is_emptied_and_nothing_is_lost() {
    if !has_tool("prlimit") {
        return;
    }
    // As a disk's quota would: SQLite knows nothing of it. The database has room, but the log never comes to the 4 MiB at which it is emptied.
    let mut server = Server::start(&["--rate-limit", "off", "--history", "1000"]);
    let (mut a, mut b) = (server.join("a"), server.join("b"));
    let journal = server.process("journal");
    limit_file_size(journal, "3000000");
    (0..3).for_each(|_| drop(say_three_megabytes(&mut a, &mut b)));
    assert_eq!(history(&mut b, 1).len(), 1);
    server.signal(Signal::SIGTERM);
    drop((a, b));
    assert_eq!(server.wait().code(), Some(0), "{}", server.journal_text());
    assert!(!server.journal_text().contains("cannot store"), "{}", server.journal_text());
}

#[test]
fn a_journal_that_cannot_store_costs_next_to_no_cpu() {
    if !has_tool("prlimit") {
        return;
    }
    let mut server = Server::start(&["--grace", "1", "--rate-limit", "off"]);
    let data_dir = server.data_dir().to_owned();
    let (mut a, mut b) = (server.join("a"), server.join("b"));
    let journal = server.process("journal");
    // Written when the database is open.
    wait_for("the database", || data_dir.join("sequences").exists().then_some(()));
    // So little that no line has room.
    limit_file_size(journal, "32768");
    say_three_megabytes(&mut a, &mut b);
    server.tells("cannot store lines: ");
    // The first of these may still see what was said.
    let mut used: Vec<Duration> = (0..5)
        .map(|_| {
            let before = cpu_of(journal);
            std::thread::sleep(Duration::from_secs(1));
            cpu_of(journal) - before
        })
        .collect();
    used.sort();
    assert!(used[2] <= Duration::from_millis(25), "{used:?} in a second each");
    server.signal(Signal::SIGTERM);
    drop((a, b));
    assert_eq!(server.wait().code(), Some(4));
}

#[test]
fn a_server_that_stops_with_an_unusable_database_says_in_its_exit_code_that_lines_were_not_stored() {
    let data_dir = TempDir::new("exit-code");
    std::fs::create_dir(data_dir.0.join("history.sqlite3")).unwrap();
    let mut server = start_on(&data_dir.0, &["--grace", "1"]);
    let mut a = server.join("a");
    a.say("said");
    a.sync();
    server.tells("cannot store lines: ");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(4));
    server.tells("error: 1 line that was said could not be stored");
    std::fs::remove_dir(data_dir.0.join("history.sqlite3")).unwrap();
    let mut server = start_on(&data_dir.0, &[]);
    let mut a = server.join("a");
    a.say("said");
    a.sync();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_damaged_database_is_told_once_and_not_for_each_question() {
    let data_dir = TempDir::new("damaged");
    let mut server = start_on(&data_dir.0, &["--rate-limit", "off"]);
    let mut a = server.join("a");
    let line = "x".repeat(4_000);
    (0..200).for_each(|number| a.say(&format!("{number} {line}")));
    a.sync();
    server.signal(Signal::SIGTERM);
    drop(a);
    server.wait();
    let file = data_dir.0.join("history.sqlite3");
    let mut bytes = std::fs::read(&file).unwrap();
    let half = bytes.len() / 2 / 4_096 * 4_096;
    bytes[half..].fill(0xee);
    std::fs::write(&file, bytes).unwrap();
    let server = start_on(&data_dir.0, &[]);
    let mut b = server.join("b");
    for _ in 0..5 {
        b.say("/history 500");
        b.reads("! the history can't be read now");
    }
    b.say("the chat goes on");
    b.sync();
    let told = server.journal_text();
    assert_eq!(told.matches("cannot read from the history ").count(), 1, "{told}");
    assert!(told.matches("it is damaged").count() <= 2, "of reading, and of storing: {told}");
}

#[test]
fn a_flood_in_new_rooms_pushes_nothing_out_of_an_old_one() {
    let server = Server::start(&["--rate-limit", "off", "--history", "1000"]);
    let (mut a, mut b) = (server.join("a"), server.join("b"));
    (0..3).for_each(|number| a.say(&format!("kept {number}")));
    b.reads("kept 2");
    // As one room that has most, and as many.
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
    wait_for("the flood's own lines to go", || (history(&mut b, 500).first()? != "[#flood] a: spam 2500").then_some(()));
    b.say("/join #lobby");
    b.sync();
    assert_eq!(history(&mut b, 500), (0..3).map(|number| format!("[#lobby] a: kept {number}")).collect::<Vec<_>>());
}

#[test]
fn ids_grow_over_restarts_also_if_the_clock_was_set_back() {
    let data_dir = TempDir::new("ids");
    std::fs::create_dir_all(&data_dir.0).unwrap();
    // As a run leaves it whose clock was a century ahead.
    let used = 4_000_000_000_000_000_u64;
    std::fs::write(data_dir.0.join("sequences"), format!("{used}\n")).unwrap();
    let mut latest = used;
    for ending in [Signal::SIGTERM, Signal::SIGKILL, Signal::SIGTERM] {
        let mut server = start_on(&data_dir.0, &[]);
        let (mut a, mut b) = (server.join("a"), server.join("b"));
        a.say("said");
        b.reads("said");
        // What was said right before the kill may not have been stored.
        let (ids, since) = tagged_history(&mut b);
        let last = *ids.last().unwrap();
        assert!(ids.is_sorted() && last > latest, "{ids:?} after {latest}");
        assert!(since <= last);
        latest = last;
        wait_for("what is used to be noted", || {
            std::fs::read_to_string(data_dir.0.join("sequences")).ok()?.trim().parse::<u64>().ok().filter(|&noted| noted > latest)
        });
        server.signal(ending);
        drop((a, b));
        server.wait();
    }
    // What is no sequence is told, and the clock is what is left.
    std::fs::write(data_dir.0.join("sequences"), "nonsense").unwrap();
    let server = start_on(&data_dir.0, &[]);
    server.tells("which ids are used: it holds no sequence; if the clock was set back");
    server.join("c").sync();
}

#[test]
fn an_index_of_the_write_ahead_log_that_is_emptied_loses_no_line() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (server.join("a"), server.join("b"));
    a.say("one\ntwo");
    b.reads("a: two");
    let index = server.data_dir().join("history.sqlite3-shm");
    wait_for("the index", || index.metadata().is_ok_and(|file| file.len() > 0).then_some(()));
    std::fs::write(&index, b"").unwrap();
    a.say("three");
    b.reads("a: three");
    // Mapped memory without a file is the journal's death, or it notices before: then the index is made again.
    wait_for("another index", || index.metadata().is_ok_and(|file| file.len() > 0).then_some(()));
    assert_eq!(history(&mut b, 20), ["one", "two", "three"].map(|text| format!("[#lobby] a: {text}")));
    assert!(!server.journal_text().contains("has lost"), "{}", server.journal_text());
}
