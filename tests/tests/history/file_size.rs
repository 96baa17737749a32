//! A limit on the size of files.

use super::*;

/// Sets the file size limit of a running process, in the notation of prlimit(1).
fn limit_file_size(process: Pid, bytes: &str) {
    let status = Command::new("prlimit")
        .args(["--pid", &process.to_string(), &format!("--fsize={bytes}:unlimited")])
        .status()
        .unwrap();
    assert!(status.success());
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
    server.logs(
        "its files have reached the limit on the size of files, 256 KiB (ulimit -f); raise \
        it and start the server again",
    );
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
        server.logs(&format!(
            "the history keeps at most {kept_kib} KiB, since files may not be \
                larger than {} KiB (ulimit -f)",
            blocks / 2
        ));
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
    server.logs(
        "cannot store lines: files may not be larger than 200 KiB (ulimit -f), and a \
        history takes 256 KiB at least; raise it",
    );
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
