//! Files that are damaged, removed, or not to be opened.

use super::*;

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
        "a client also receives what isn't stored"
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

#[test]
fn lines_lost_with_the_write_ahead_log_are_reported_and_the_history_is_not_called_complete() {
    let server = Server::start(&["--ring", "1M", "--rate-limit", "off"]);
    let (mut a, mut b) = (server.join("a"), server.join("b"));
    b.say("/set tags on");
    b.reads("tags is on");
    let line = "x".repeat(200);
    a.say(&line);
    let first = number_after(b.reads("event=say").last().unwrap(), "@id=");
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
