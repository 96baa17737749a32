//! What survives the death of the journal and restarts of the server.

use super::*;

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
    // All processes are killed at once. What the journal has not yet committed would be lost.
    let wait_until_written = |texts: &[&str]| {
        wait_for(&format!("{texts:?} to be written"), || {
            let log = std::fs::read(data_dir.0.join("history.sqlite3-wal")).unwrap_or_default();
            let is_in = |text: &&str| log.windows(text.len()).any(|bytes| bytes == text.as_bytes());
            texts.iter().all(is_in).then_some(())
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
fn a_journal_killed_repeatedly_stores_each_line_once() {
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
