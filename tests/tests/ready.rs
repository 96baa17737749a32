//! The server reports that it listens only when it can serve clients, even if the kernel refuses
//! some calls.

use forkchat_tests::processes::{has_ended, threads_of};
use forkchat_tests::{Server, has_tool, refusing, wait_for};
use nix::sys::signal::{Signal, kill};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

const MODELS: [&str; 3] = ["pool", "threads", "process"];

/// Checks that a client is served, also after its worker's death.
fn serves(server: &Server) {
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
            serves(&server);
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
        let words = "cannot listen on tcp 127.0.0.1:0: Operation not permitted (os error 1); forkchat-server doctor";
        assert!(text.contains(words) && !text.contains("1024"), "{calls}: {text}");
    }
    let (_, text) = Server::run_to_end_limited(
        Some(&refusing("bind=EACCES")),
        &["--tcp", "127.0.0.1:1023", "--udp", "off"],
    );
    assert!(text.contains("cannot listen on tcp 127.0.0.1:1023: permission denied; ports below 1024 need a privilege"), "{text}");
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
            serves(&server);
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
    serves(&server);
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

/// The signals of faults. Other processes may send them by mistake.
const FAULTS: [Signal; 7] = [
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGILL,
    Signal::SIGFPE,
    Signal::SIGABRT,
    Signal::SIGSYS,
    Signal::SIGTRAP,
];
/// All signals that stop the server or end it.
const ENDING: [Signal; 6] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGXCPU,
    Signal::SIGQUIT,
    Signal::SIGKILL,
];
/// All signals that end no program.
const HARMLESS: [Signal; 8] = [
    Signal::SIGCHLD,
    Signal::SIGCONT,
    Signal::SIGURG,
    Signal::SIGWINCH,
    Signal::SIGSTOP,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
];
const NUMBER_MAX: i32 = 64;
/// The C library uses the first two signals without a name.
const REAL_TIME_MIN: i32 = 34;

/// Sends a signal, also one without a name.
fn send(pid: nix::unistd::Pid, number: i32) {
    let sent = Command::new("bash").args(["-c", &format!("kill -{number} {pid}")]).status();
    assert!(sent.is_ok_and(|sent| sent.success()), "{number}");
}

/// The server's name for a signal.
fn name_of_signal(number: i32) -> String {
    match Signal::try_from(number) {
        Ok(signal) => signal.as_str().to_owned(),
        Err(_) if number >= REAL_TIME_MIN => format!("real-time signal {}", number - REAL_TIME_MIN),
        Err(_) => format!("signal {number}"),
    }
}

#[test]
fn every_signal_that_does_not_stop_the_server_is_logged_and_ignored() {
    if !has_tool("bash") {
        return;
    }
    for model in MODELS {
        let server = Server::start(&["--model", model]);
        let mut person = server.join("person");
        let processes = server.processes();
        let is_named = |number: &i32, names: &[Signal]| {
            Signal::try_from(*number).is_ok_and(|signal| names.contains(&signal))
        };
        for number in (1..=NUMBER_MAX)
            .filter(|number| !is_named(number, &ENDING) && !is_named(number, &HARMLESS))
        {
            let words = format!(" supervisor: warning: {} from pid ", name_of_signal(number));
            // Also a second time: Rust handles some of them only once.
            for times in 1..=2 {
                send(server.pid(), number);
                wait_for(&words, || {
                    (server.log_output().matches(&words).count() == times).then_some(())
                });
            }
            // The signals have no effect on the other processes either.
            if !is_named(&number, &FAULTS) && !(32..REAL_TIME_MIN).contains(&number) {
                processes.iter().for_each(|(pid, _)| send(*pid, number));
            }
            person.sync();
        }
        server.join("another").sync();
        assert!(
            processes.iter().all(|process| server.processes().contains(process)),
            "{}",
            server.log_output()
        );
    }
}

#[test]
fn a_process_that_receives_the_signal_of_a_fault_dies_and_is_replaced() {
    let server = Server::start(&[]);
    let mut person = server.join("person");
    for signal in FAULTS {
        for name in [person.worker().as_str(), "journal"] {
            let old = server.process(name);
            kill(old, signal).unwrap();
            server.replaced(name, old);
            server.logs(&format!(
                "{name} (pid {old}) was killed by signal {}; restarted as pid ",
                signal as i32
            ));
        }
        person.sync();
    }
}

/// Makes a process continue at an unmapped address.
#[cfg(target_arch = "x86_64")]
fn jump_to_nothing(pid: nix::unistd::Pid) {
    use nix::sys::ptrace;
    use nix::sys::wait::waitpid;
    ptrace::attach(pid).unwrap();
    waitpid(pid, None).unwrap();
    let mut registers = ptrace::getregs(pid).unwrap();
    // The kernel must not restart the interrupted system call.
    (registers.rip, registers.orig_rax) = (0, u64::MAX);
    ptrace::setregs(pid, registers).unwrap();
    ptrace::detach(pid, None).unwrap();
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_fault_of_the_supervisor_ends_it_and_is_logged() {
    let mut server = Server::start_limited(Some("ulimit -c 0"), &[]);
    let mut person = server.join("person");
    let children = server.processes();
    server.signal(Signal::SIGSEGV);
    server.logs("SIGSEGV from pid ");
    person.sync();
    jump_to_nothing(server.pid());
    assert_eq!(server.wait().signal(), Some(Signal::SIGSEGV as i32));
    server
        .logs("log: error: the supervisor has crashed or was killed; the server has ended with it");
    wait_for("its children to be gone", || {
        children.iter().all(|(pid, _)| has_ended(*pid)).then_some(())
    });
}

#[test]
fn only_a_supervisor_that_ends_without_a_message_is_reported_as_crashed() {
    const WORDS: &str = "the supervisor has crashed or was killed";
    for (signal, is_said) in
        [(Signal::SIGKILL, true), (Signal::SIGQUIT, false), (Signal::SIGTERM, false)]
    {
        let mut server = Server::start_limited(Some("ulimit -c 0"), &[]);
        server.join("person").sync();
        let log = server.process("log");
        server.signal(signal);
        server.wait();
        wait_for("the log process to end", || has_ended(log).then_some(()));
        if is_said {
            server.logs(WORDS);
        }
        assert_eq!(
            server.log_output().contains(WORDS),
            is_said,
            "{signal}: {}",
            server.log_output()
        );
    }
    let (_, text) = Server::run_to_end(&["--tcp", "off", "--udp", "off"]);
    assert!(text.contains("nothing to listen on") && !text.contains(WORDS), "{text}");
}

#[test]
fn sigxcpu_stops_the_server_and_says_why() {
    let mut server = Server::start(&[]);
    let mut person = server.join("person");
    server.signal(Signal::SIGXCPU);
    // The kernel sends it every second.
    server.signal(Signal::SIGXCPU);
    assert_eq!(person.rest().last().map(String::as_str), Some("* the server is stopping; goodbye"));
    drop(person);
    assert_eq!(server.wait().code(), Some(0), "{}", server.log_output());
    server.logs("the limit on CPU time (ulimit -t) is reached");
}

#[test]
fn sigquit_ends_the_server_and_is_logged() {
    let mut server = Server::start_limited(Some("ulimit -c 0"), &[]);
    let children = server.processes();
    server.signal(Signal::SIGQUIT);
    assert_eq!(server.wait().signal(), Some(Signal::SIGQUIT as i32));
    server.logs("SIGQUIT: ending at once, with a core if one is allowed");
    wait_for("its children to be gone", || {
        children.iter().all(|(pid, _)| has_ended(*pid)).then_some(())
    });
}

#[test]
fn signals_that_the_starter_ignored_stay_ignored() {
    let server = Server::start_limited(Some("trap '' HUP QUIT INT"), &[]);
    [Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGINT]
        .into_iter()
        .for_each(|signal| server.signal(signal));
    server.signal(Signal::SIGUSR1);
    server.logs("SIGUSR1 from pid ");
    server.join("person").sync();
    assert!(!server.log_output().contains("stopping"), "{}", server.log_output());
}
