//! `/history` and topics: what survives the journal and the server.

use forkchat_tests::processes::{cpu_of, has_ended};
use forkchat_tests::{Client, Server, has_tool, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The lines of an answer to `/history`, without dates and the last line.
fn history(client: &mut Client, count: usize) -> Vec<String> {
    client.say(&format!("/history {count}"));
    let mut lines = client.reads("* end of the history of ");
    lines.pop();
    let dates = lines.len();
    lines.retain(|line| !is_date(line));
    assert!(lines.is_empty() || lines.len() < dates, "no date stands before {lines:?}");
    lines
}

/// Whether a line is the date before other lines: `* 2026-11-21`.
fn is_date(line: &str) -> bool {
    let mut parts = line
        .strip_prefix("* ")
        .unwrap_or_default()
        .split('-')
        .map(|part| (part.len(), part.parse::<u32>().is_ok()));
    parts.by_ref().take(3).eq([(4, true), (2, true), (2, true)]) && parts.next().is_none()
}

/// Starts a server with a data directory that outlives it.
fn start_on(data_dir: &Path, options: &[&str]) -> Server {
    Server::start(&[options, &["--data-dir", data_dir.to_str().unwrap()]].concat())
}

/// Lets `a` say 3,000 lines of 1,000 bytes, no faster than `b` receives them. Returns the end of
/// each line.
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

/// Sets the file size limit of a running process, in the notation of prlimit(1).
fn limit_file_size(process: Pid, bytes: &str) {
    let status = Command::new("prlimit")
        .args(["--pid", &process.to_string(), &format!("--fsize={bytes}:unlimited")])
        .status()
        .unwrap();
    assert!(status.success());
}

struct TempDir(std::path::PathBuf);

impl TempDir {
    fn new(name: &str) -> TempDir {
        let path =
            std::env::temp_dir().join(format!("forkchat-history-{}-{name}", std::process::id()));
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
fn a_database_found_damaged_while_in_use_is_reported_once() {
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
    // The database is open by now and looked valid.
    a.say("/history 1");
    a.reads("line 2999");
    let path = directory.0.join("history.sqlite3");
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let bytes = file.metadata().unwrap().len() as usize;
    std::os::unix::fs::FileExt::write_all_at(&file, &vec![0xee; bytes - 8 * 4_096], 8 * 4_096)
        .unwrap();
    for _ in 0..5 {
        a.say("/history 500");
        a.reads("! the history can't be read now");
    }
    server.logs("cannot read from the history ");
    a.say("/history 500");
    a.reads("! the history can't be read now");
    assert_eq!(
        server.log_output().matches("cannot read from the history ").count(),
        1,
        "{}",
        server.log_output()
    );
}

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
        (rooms.contains(&"* #lobby (1): the first room".to_owned())
            && rooms.contains(&"* #tea (0): oolong".to_owned()))
        .then_some(())
    });
    assert_eq!(history(&mut c, 20), ["[#lobby] a: said before"]);
    c.say("said behind\n/topic another\n/join #tea");
    c.reads("* topic of #tea: oolong");
    assert_eq!(history(&mut c, 20), ["[#tea] a: said in tea"]);
    // All processes are killed at once.
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
    // The next server has the lines only from the disk.
    server.signal(Signal::SIGTERM);
    drop((a, b));
    server.wait();
    let server = start_on(&data_dir.0, &[]);
    assert_eq!(history(&mut server.join("c"), 500), all);
}

#[test]
fn a_database_that_cannot_be_opened_is_reported_and_the_chat_continues() {
    let data_dir = TempDir::new("unusable");
    std::fs::create_dir(data_dir.0.join("history.sqlite3")).unwrap();
    let server = start_on(&data_dir.0, &["--ring", "1M", "--rate-limit", "off"]);
    server.logs("journal: warning: cannot store lines: ");
    let (mut a, mut b) = (server.join("a"), server.join("b"));
    let line = say_three_megabytes(&mut a, &mut b);
    server.logs("are missing from the history so far, the chat goes on");
    b.say("/history 3");
    let waiting = b.reads("! the history can't be read now");
    assert!(is_date(&waiting[waiting.len() - 5]), "{waiting:?}");
    assert_eq!(
        waiting[waiting.len() - 2],
        format!("[#lobby] a: 2999 {line}"),
        "what isn't stored is told all the same"
    );
    // When the database becomes usable, the server uses it.
    std::fs::remove_dir(data_dir.0.join("history.sqlite3")).unwrap();
    server.logs("lines are stored again; ");
    a.say("and now");
    b.reads("and now");
    assert_eq!(history(&mut b, 1), ["[#lobby] a: and now"]);
}

#[test]
fn a_removed_data_directory_is_created_again() {
    let data_dir = TempDir::new("taken");
    let server = start_on(&data_dir.0, &[]);
    let mut a = server.join("a");
    a.say("/topic kept, too");
    (0..100).for_each(|_| a.say(&"lost".repeat(1_000)));
    a.sync();
    let log = data_dir.0.join("history.sqlite3-wal");
    wait_for("most of it to be stored", || {
        log.metadata().is_ok_and(|file| file.len() > 200_000).then_some(())
    });
    std::fs::remove_dir_all(&data_dir.0).unwrap();
    a.say("kept");
    wait_for("another database", || data_dir.0.join("history.sqlite3").exists().then_some(()));
    assert_eq!(history(&mut a, 20).last().unwrap(), "[#lobby] a: kept");
    // Lines that the server still has are stored again.
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
fn a_second_server_on_one_data_directory_serves_and_reports_that_it_stores_nothing() {
    let data_dir = TempDir::new("shared");
    let first = start_on(&data_dir.0, &[]);
    first.join("a").sync();
    let second = start_on(&data_dir.0, &[]);
    second.logs("another server stores in ");
    second.join("b").sync();
    drop(first);
    second.logs("lines are stored again");
}

/// The number after a word in a line with tags.
fn number_behind(line: &str, word: &str) -> u64 {
    let digits = line.split_once(word).unwrap_or_else(|| panic!("{word} in {line}")).1;
    digits[..digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len())].parse().unwrap()
}

/// Requests the history with tags. Returns the ids of its lines, and from which id on it is
/// complete.
fn tagged_history(client: &mut Client) -> (Vec<u64>, u64) {
    client.say("/set tags on\n/history 500\n/set tags off");
    let told = client.reads("to=history;room=#lobby;since=");
    let ids = told
        .iter()
        .filter(|line| line.contains("event=say;to=history"))
        .map(|line| number_behind(line, "@id="))
        .collect();
    (ids, number_behind(told.last().unwrap(), ";since="))
}

#[test]
fn lines_lost_with_the_write_ahead_log_are_reported_and_the_history_is_not_called_complete() {
    let server = Server::start(&["--ring", "1M", "--rate-limit", "off"]);
    let (mut a, mut b) = (server.join("a"), server.join("b"));
    b.say("/set tags on");
    b.reads("tags is on");
    let line = "x".repeat(200);
    a.say(&line);
    let first = number_behind(b.reads("event=say").last().unwrap(), "@id=");
    b.say("/set tags off");
    // The ring wraps, so a successor can't read the lines again.
    for number in 0..6_000 {
        a.say(&format!("{number} {line}"));
        if number % 500 == 499 {
            b.reads(&format!("a: {number} "));
        }
    }
    let journal = server.process("journal");
    // The stopped journal can't notice it, and is not replaced before the files are gone.
    server.signal(Signal::SIGSTOP);
    kill(journal, Signal::SIGKILL).unwrap();
    wait_for("the journal to be dead", || has_ended(journal).then_some(()));
    for name in ["history.sqlite3-wal", "history.sqlite3-shm"] {
        std::fs::remove_file(server.data_dir().join(name)).unwrap();
    }
    server.signal(Signal::SIGCONT);
    server.replaced("journal", journal);
    server.logs(
        "the history lost what was stored before another program changed its files: at most ",
    );
    a.say("the last");
    b.reads("the last");
    let (ids, since) = tagged_history(&mut b);
    assert!(since > first, "{since} claims what is lost at {first}");
    assert!(ids.iter().all(|&id| id > first), "{ids:?}");
}

#[test]
fn a_removed_write_ahead_log_loses_nothing_while_the_journal_runs() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (server.join("a"), server.join("b"));
    a.say("one\ntwo");
    b.reads("a: two");
    wait_for("them to be stored", || {
        server
            .data_dir()
            .join("history.sqlite3-wal")
            .metadata()
            .is_ok_and(|file| file.len() > 0)
            .then_some(())
    });
    for name in ["history.sqlite3-wal", "history.sqlite3-shm"] {
        std::fs::remove_file(server.data_dir().join(name)).unwrap();
    }
    server.logs("another program has removed or replaced ");
    a.say("three");
    b.reads("a: three");
    let journal = server.process("journal");
    wait_for("another log", || {
        server.data_dir().join("history.sqlite3-wal").exists().then_some(())
    });
    kill(journal, Signal::SIGKILL).unwrap();
    server.replaced("journal", journal);
    assert_eq!(
        history(&mut b, 20),
        ["one", "two", "three"].map(|text| format!("[#lobby] a: {text}"))
    );
    assert!(!server.log_output().contains("has lost"), "{}", server.log_output());
}

#[test]
fn a_file_size_limit_is_reported_once_and_the_journal_continues() {
    if !has_tool("prlimit") {
        return;
    }
    let mut server = Server::start(&["--ring", "1M", "--rate-limit", "off"]);
    let (mut a, mut b) = (server.join("a"), server.join("b"));
    let journal = server.process("journal");
    limit_file_size(journal, "262144");
    say_three_megabytes(&mut a, &mut b);
    server.logs("its files have reached the limit on the size of files, 256 KiB (ulimit -f); raise it and start the server again");
    server.logs("are missing from the history so far, the chat goes on");
    limit_file_size(journal, "unlimited");
    server.logs("lines are stored again; ");
    assert_eq!(server.log_output().matches("(ulimit -f)").count(), 1, "{}", server.log_output());
    assert_eq!(server.process("journal"), journal, "it was killed by no signal");
    // The number of lines that were not stored is reported at the end.
    server.signal(Signal::SIGTERM);
    drop((a, b));
    assert_eq!(server.wait().code(), Some(4));
    server.logs(" lines that were said could not be stored");
}

/// The limit is in blocks of 512 bytes, as in a plain `sh`.
#[test]
fn under_a_file_size_limit_the_last_lines_are_kept_and_the_server_ends_normally() {
    for blocks in [512_u64, 2_000, 8_400] {
        let directory = TempDir::new(&format!("file-size-{blocks}"));
        let limit = format!("ulimit -f {blocks}");
        let options = ["--rate-limit", "off", "--data-dir", directory.0.to_str().unwrap()];
        let mut server = Server::start_limited(Some(&limit), &options);
        let kept_kib = blocks / 8 - 32;
        server
            .logs(&format!("the history keeps at most {kept_kib} KiB, since files may not be larger than {} KiB (ulimit -f)", blocks / 2));
        let (mut a, mut b) = (server.join("a"), server.join("b"));
        let line = "x".repeat(300);
        // Then long lines, a batch of which is larger than the limit.
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
        let expected: Vec<String> =
            (100 - count..100).map(|number| format!("[#lobby] a: last {number} {line}")).collect();
        assert_eq!(history(&mut b, count), expected, "{limit}");
        server.signal(Signal::SIGTERM);
        drop((a, b));
        assert_eq!(server.wait().code(), Some(0), "{limit}: {}", server.log_output());
        assert!(!server.log_output().contains("cannot store"), "{limit}: {}", server.log_output());
        let server = Server::start_limited(Some(&limit), &options);
        assert_eq!(history(&mut server.join("c"), count), expected, "{limit}");
    }
}

#[test]
fn a_file_size_limit_too_low_for_a_history_is_reported_at_the_start() {
    let mut server = Server::start_limited(Some("ulimit -f 400"), &["--grace", "1"]);
    server.logs("cannot store lines: files may not be larger than 200 KiB (ulimit -f), and a history takes 256 KiB at least; raise it");
    let mut a = server.join("a");
    a.say("said");
    a.sync();
    server.signal(Signal::SIGTERM);
    drop(a);
    assert_eq!(server.wait().code(), Some(4), "{}", server.log_output());
}

#[test]
fn a_write_ahead_log_that_cannot_grow_is_emptied_without_loss() {
    if !has_tool("prlimit") {
        return;
    }
    // The limit acts like a disk quota, which SQLite doesn't know. The database has room, but the
    // write-ahead log never reaches the 4 MiB at which it is emptied.
    let mut server = Server::start(&["--rate-limit", "off", "--history", "1000"]);
    let (mut a, mut b) = (server.join("a"), server.join("b"));
    let journal = server.process("journal");
    limit_file_size(journal, "3000000");
    (0..3).for_each(|_| drop(say_three_megabytes(&mut a, &mut b)));
    assert_eq!(history(&mut b, 1).len(), 1);
    server.signal(Signal::SIGTERM);
    drop((a, b));
    assert_eq!(server.wait().code(), Some(0), "{}", server.log_output());
    assert!(!server.log_output().contains("cannot store"), "{}", server.log_output());
}

#[test]
fn a_journal_that_cannot_store_uses_almost_no_cpu_time() {
    if !has_tool("prlimit") {
        return;
    }
    let mut server = Server::start(&["--grace", "1", "--rate-limit", "off"]);
    let data_dir = server.data_dir().to_owned();
    let (mut a, mut b) = (server.join("a"), server.join("b"));
    let journal = server.process("journal");
    // This file is written when the database is open.
    wait_for("the database", || data_dir.join("sequences").exists().then_some(()));
    // The limit is so low that no line fits.
    limit_file_size(journal, "32768");
    say_three_megabytes(&mut a, &mut b);
    server.logs("cannot store lines: ");
    // The first measurement may still include the lines.
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
fn the_exit_code_says_that_lines_were_not_stored() {
    let data_dir = TempDir::new("exit-code");
    std::fs::create_dir(data_dir.0.join("history.sqlite3")).unwrap();
    let mut server = start_on(&data_dir.0, &["--grace", "1"]);
    let mut a = server.join("a");
    a.say("said");
    a.sync();
    server.logs("cannot store lines: ");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(4));
    server.logs("error: 1 line that was said could not be stored");
    std::fs::remove_dir(data_dir.0.join("history.sqlite3")).unwrap();
    let mut server = start_on(&data_dir.0, &[]);
    let mut a = server.join("a");
    a.say("said");
    a.sync();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_damaged_database_is_reported_once_and_not_for_each_request() {
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
    let told = server.log_output();
    assert_eq!(told.matches("cannot read from the history ").count(), 1, "{told}");
    assert!(told.matches("it is damaged").count() <= 2, "of reading, and of storing: {told}");
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

#[test]
fn ids_grow_across_restarts_even_if_the_clock_is_set_back() {
    let data_dir = TempDir::new("ids");
    std::fs::create_dir_all(&data_dir.0).unwrap();
    // The file of an earlier run whose clock was a century ahead.
    let used = 4_000_000_000_000_000_u64;
    std::fs::write(data_dir.0.join("sequences"), format!("{used}\n")).unwrap();
    let mut latest = used;
    for ending in [Signal::SIGTERM, Signal::SIGKILL, Signal::SIGTERM] {
        let mut server = start_on(&data_dir.0, &[]);
        let (mut a, mut b) = (server.join("a"), server.join("b"));
        a.say("said");
        b.reads("said");
        // The line right before the kill may not have been stored.
        let (ids, since) = tagged_history(&mut b);
        let last = *ids.last().unwrap();
        assert!(ids.is_sorted() && last > latest, "{ids:?} after {latest}");
        assert!(since <= last);
        latest = last;
        wait_for("what is used to be noted", || {
            std::fs::read_to_string(data_dir.0.join("sequences"))
                .ok()?
                .trim()
                .parse::<u64>()
                .ok()
                .filter(|&noted| noted > latest)
        });
        server.signal(ending);
        drop((a, b));
        server.wait();
    }
    // An invalid sequence is reported, and the server uses the clock.
    std::fs::write(data_dir.0.join("sequences"), "nonsense").unwrap();
    let server = start_on(&data_dir.0, &[]);
    server.logs("which ids are used: it holds no sequence; if the clock was set back");
    server.join("c").sync();
}

#[test]
fn a_truncated_index_of_the_write_ahead_log_loses_no_line() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (server.join("a"), server.join("b"));
    a.say("one\ntwo");
    b.reads("a: two");
    let index = server.data_dir().join("history.sqlite3-shm");
    wait_for("the index", || index.metadata().is_ok_and(|file| file.len() > 0).then_some(()));
    std::fs::write(&index, b"").unwrap();
    a.say("three");
    b.reads("a: three");
    // Without the file, access to the mapped memory kills the journal, unless it notices before. In
    // both cases the index is created again.
    wait_for("another index", || index.metadata().is_ok_and(|file| file.len() > 0).then_some(()));
    assert_eq!(
        history(&mut b, 20),
        ["one", "two", "three"].map(|text| format!("[#lobby] a: {text}"))
    );
    assert!(!server.log_output().contains("has lost"), "{}", server.log_output());
}
