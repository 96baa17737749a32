//! The server reports that it listens only when it can serve clients, even if the kernel refuses
//! some calls.

mod signals;

use forkchat_tests::processes::{has_ended, threads_of};
use forkchat_tests::{Server, has_tool, refusing, wait_for};
use nix::sys::signal::{Signal, kill};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

const MODELS: [&str; 3] = ["pool", "threads", "process"];

/// Checks that a client is served, also after its worker's death.
fn assert_serves(server: &Server) {
    let mut person = server.join("person");
    let worker = person.worker();
    let old = server.process(&worker);
    kill(old, Signal::SIGKILL).unwrap();
    server.replaced(&worker, old);
    person.sync();
    server.join("another").sync();
}

#[test]
fn the_server_does_without_calls_that_it_does_not_need() {
    // Calls that profiles of containers and kernels before 5.9 refuse, and all other calls that the
    // server tries but does not need.
    for calls in [
        "close_range=ENOSYS",
        "close_range=EPERM",
        "clone3=EPERM",
        "clone3=ENOSYS",
        "getrandom=EPERM",
        "getrandom=ENOSYS",
        "memfd_create=EPERM,madvise=EPERM",
        "rseq=EPERM,statx=ENOSYS,sched_getaffinity=EPERM,pidfd_open=EPERM",
        "close_range=EPERM,clone3=EPERM,getrandom=EPERM,memfd_create=EPERM",
    ] {
        for model in MODELS {
            let server = Server::start_limited(Some(&refusing(calls)), &["--model", model]);
            assert_serves(&server);
            let text = server.log_output();
            assert!(
                !text.contains("exited with code") && !text.contains("error: "),
                "{calls} in {model}: {text}"
            );
        }
    }
}

#[test]
fn a_refused_call_that_is_needed_is_named_and_ends_the_server_before_it_listens() {
    for (calls, words) in [
        (
            "prctl=EPERM",
            "cannot serve: ",
            "a child cannot ask to be killed with its parent (prctl): EPERM",
        ),
        (
            "epoll_create1=ENOSYS",
            "cannot wait for events (epoll_create1): Function not implemented",
            "forkchat-server doctor",
        ),
        (
            "epoll_wait=EPERM",
            "cannot wait for events (epoll_wait): Operation not permitted",
            "forkchat-server doctor",
        ),
        ("eventfd2=EPERM", "cannot share memory: ", "eventfd2: EPERM"),
        (
            "signalfd4=EPERM",
            "cannot take signals (signalfd4): Operation not permitted",
            "forkchat-server doctor",
        ),
        ("accept4=EPERM", "cannot accept connections (accept4): EPERM", "forkchat-server doctor"),
        ("accept4=ENOSYS", "cannot accept connections (accept4): ENOSYS", "forkchat-server doctor"),
        ("recvfrom=EPERM", "cannot read from clients (recvfrom): EPERM", "forkchat-server doctor"),
        ("sendto=EACCES", "cannot write to clients (sendto): EACCES", "forkchat-server doctor"),
        ("recvmsg=EPERM", "from another process (recvmsg): EPERM", "forkchat-server doctor"),
        ("futex=EPERM", "cannot wake who waits (futex): EPERM", "forkchat-server doctor"),
        ("sendmsg=EINVAL", "to another process (sendmsg): EINVAL", "forkchat-server doctor"),
        ("wait4=EPERM", "cannot wait for a child's end (wait4): EPERM", "forkchat-server doctor"),
        ("accept4=EPERM,wait4=ENOSYS", "(accept4): EPERM", "(wait4): ENOSYS"),
        (
            "clone3=EPERM,clone=EPERM",
            "cannot fork: Operation not permitted",
            "forkchat-server doctor",
        ),
    ]
    .map(|(calls, one, other)| (calls, [one, other]))
    {
        for model in MODELS {
            let (status, text) = Server::run_to_end_limited(
                Some(&refusing(calls)),
                &["--tcp", "127.0.0.1:0", "--udp", "off", "--model", model],
            );
            assert_eq!(status.code(), Some(1), "{calls} in {model}: {text}");
            let last = text.lines().last().unwrap_or_default();
            assert!(words.iter().all(|words| last.contains(words)), "{calls} in {model}: {text}");
            assert!(!text.contains("listening on"), "{calls} in {model}: {text}");
        }
    }
}

#[test]
fn a_server_that_cannot_kill_warns_and_serves() {
    let server = Server::start_limited(Some(&refusing("kill=EPERM")), &[]);
    server.logs("cannot rely on killing: cannot kill a child (kill): EPERM");
    server.join("person").sync();
}

#[test]
fn a_refused_bind_is_not_reported_as_a_low_port() {
    for calls in ["setsockopt=EPERM", "fcntl=EPERM"] {
        let (status, text) = Server::run_to_end_limited(
            Some(&refusing(calls)),
            &["--tcp", "127.0.0.1:0", "--udp", "off"],
        );
        assert_eq!(status.code(), Some(1), "{calls}: {text}");
        let words = "cannot listen on tcp 127.0.0.1:0: Operation not permitted (os error 1); \
            forkchat-server doctor";
        assert!(text.contains(words) && !text.contains("1024"), "{calls}: {text}");
    }
    let (_, text) = Server::run_to_end_limited(
        Some(&refusing("bind=EACCES")),
        &["--tcp", "127.0.0.1:1023", "--udp", "off"],
    );
    assert!(
        text.contains(
            "cannot listen on tcp 127.0.0.1:1023: permission denied; ports below \
        1024 need a privilege"
        ),
        "{text}"
    );
}

#[test]
fn the_server_warns_if_mutexes_are_not_robust() {
    let server = Server::start_limited(Some(&refusing("set_robust_list=EPERM")), &[]);
    server.logs("cannot rely on robust list: ");
    server.join("person").sync();
}

#[test]
fn every_process_has_its_threads_when_the_server_says_that_it_listens() {
    for _ in 0..10 {
        let server = Server::start(&["--workers", "4"]);
        let threads: Vec<usize> = server
            .processes()
            .into_iter()
            .filter(|(_, name)| name != "log")
            .map(|(pid, _)| threads_of(pid).len())
            .collect();
        assert_eq!(threads.len(), 5);
        assert!(threads.iter().all(|&count| count >= 2), "{threads:?}");
        assert!(server.data_dir().exists());
    }
}

#[test]
fn a_server_without_proc_serves() {
    let unshare = Command::new("unshare").args(["-m", "true"]).output();
    if !has_tool("unshare") || !unshare.is_ok_and(|unshare| unshare.status.success()) {
        return;
    }
    let script = std::env::temp_dir().join(format!("forkchat-no-proc-{}", std::process::id()));
    fs::write(&script, "#!/bin/sh\nmount -t tmpfs none /proc && exec \"$@\"\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
    let limit = format!("UNDER='unshare -m {}'", script.display());
    for calls in ["", "close_range=ENOSYS"] {
        let limit = if calls.is_empty() { limit.clone() } else { limit.replace('\'', "") };
        let limit = match calls {
            "" => limit,
            calls => format!(
                "UNDER='{} {}'",
                limit.trim_start_matches("UNDER="),
                refusing(calls).trim_start_matches("UNDER=").trim_matches('\'')
            ),
        };
        for model in MODELS {
            let server = Server::start_limited(Some(&limit), &["--model", model]);
            assert_serves(&server);
        }
    }
    // If the number of threads is unknown, the message says so.
    let both = format!(
        "UNDER='{} {}'",
        limit.trim_start_matches("UNDER='").trim_end_matches('\''),
        "REFUSE unshare=EPERM"
    );
    let refuse = refusing("unshare=EPERM");
    let both = both.replace(
        "REFUSE unshare=EPERM",
        refuse.trim_start_matches("UNDER='").trim_end_matches('\''),
    );
    let (status, text) =
        Server::run_to_end_limited(Some(&both), &["--tcp", "127.0.0.1:0", "--udp", "off"]);
    let _ = fs::remove_file(&script);
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(
        text.contains("cannot fork: ") && text.contains("/proc") && text.contains("mount /proc"),
        "{text}"
    );
}

#[test]
fn a_limit_on_file_sizes_ends_no_process() {
    let mut server =
        Server::start_limited(Some("ulimit -f 64"), &["--rate-limit", "off", "--grace", "1"]);
    let (mut one, mut other) = (server.join("one"), server.join("other"));
    let processes = server.processes();
    let line = "x".repeat(1_000);
    // More than the database may hold.
    for number in 0..500 {
        one.say(&format!("{number} {line}"));
    }
    other.reads("one: 499 ");
    server.logs("cannot store lines: ");
    assert_serves(&server);
    let journal = |processes: &[(nix::unistd::Pid, String)]| {
        processes.iter().find(|(_, name)| name == "journal").cloned()
    };
    assert_eq!(journal(&processes), journal(&server.processes()), "{}", server.log_output());
    assert!(!server.log_output().contains("killed by signal 25"), "{}", server.log_output());
    drop((one, other));
    server.signal(Signal::SIGTERM);
    // Lines were not stored.
    assert_eq!(server.wait().code(), Some(4), "{}", server.log_output());
    server.logs(" lines that were said could not be stored");
}

#[test]
fn a_server_that_could_not_store_reports_it_at_its_end() {
    let mut server = Server::start(&["--grace", "1"]);
    // From the beginning there is a directory in place of the database, so nothing is ever stored.
    let data_dir = server.data_dir().to_owned();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0), "nothing was said");
    let database = data_dir.join("history.sqlite3");
    ["", "-wal", "-shm"]
        .iter()
        .for_each(|end| drop(fs::remove_file(data_dir.join(format!("history.sqlite3{end}")))));
    fs::create_dir(&database).unwrap();
    let mut server = Server::start(&["--grace", "1", "--data-dir", data_dir.to_str().unwrap()]);
    let mut person = server.join("person");
    person.say("said, and never stored");
    person.sync();
    server.logs("cannot store lines: ");
    drop(person);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(4), "{}", server.log_output());
    server.logs("error: 1 line that was said could not be stored");
}

#[test]
fn a_limit_on_address_space_is_refused_with_advice() {
    let (status, text) = Server::run_to_end_limited(
        Some("ulimit -v 60000"),
        &["--tcp", "127.0.0.1:0", "--udp", "off"],
    );
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(
        text.contains("the limit on address space (ulimit -v) allows 58 MiB, and they need ")
            && text.contains("; raise it, "),
        "{text}"
    );
}
