//! Starts, and starts that fail.

use super::*;

#[test]
fn a_server_is_started_used_restarted_and_stopped() {
    let service = Service::new();
    let first = service.start(&[]);
    let mut anna = service.join("anna");
    anna.say("before the restart");
    anna.sync();
    let restarted = service.run("restart", &[]);
    restarted.printed(&[&format!("stopped pid {first}"), "serving as pid"]);
    assert_eq!(anna.rest().last().unwrap(), "* the server is stopping; goodbye");
    let second = service.pid().unwrap();
    assert_ne!(first, second);
    assert!(has_ended(first));
    // The second server has the lines of the first in its database. Only its user may read the
    // database.
    let mut berta = service.join("berta");
    wait_for("the history", || {
        berta.say("/history");
        berta.sync().iter().any(|line| line.contains("anna: before the restart")).then_some(())
    });
    for entry in fs::read_dir(&service.directory).unwrap().flatten() {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", entry.path());
    }
    drop(berta);
    service.run("stop", &[]).printed(&[&format!("stopped pid {second}")]);
    assert!(has_ended(second) && !service.pid_file().exists());
    service.wait_for_end();
    let stopped = service.run("stop", &[]);
    assert_eq!(stopped.code, Some(0), "{stopped}");
    assert!(
        stopped.errors.contains(&format!(
            "no server is running with the pid file {}",
            service.pid_file().display()
        )),
        "{stopped}"
    );
    // If no server runs, a restart is a start.
    service.run("restart", &[]).printed(&["serving as pid"]);
    service.run("stop", &[]).printed(&["stopped pid"]);
}

#[test]
fn a_server_that_cannot_serve_says_why_and_leaves_nothing() {
    let (service, other) = (Service::new(), Server::start(&[]));
    let port = other.tcp.to_string();
    for (options, code, text) in [
        (vec!["--tcp", &*port], 1, format!("cannot listen on tcp {port}: address already in use")),
        (
            vec!["--tcp", "off", "--udp", "off"],
            2,
            "nothing to listen on: --tcp and --udp are both off".to_owned(),
        ),
        (
            vec!["--log", "/nowhere/log"],
            1,
            "cannot write the log /nowhere/log: No such file or directory".to_owned(),
        ),
        (
            vec!["--pid-file", "/nowhere/pid"],
            1,
            "cannot take /nowhere/pid for a pid file: No such file or directory".to_owned(),
        ),
        (vec!["--workers", "0"], 2, "--workers".to_owned()),
    ] {
        for name in ["start", "restart"] {
            let failed = service.run(name, &options);
            assert_eq!(failed.code, Some(code), "{failed}");
            assert!(failed.errors.contains(&text), "{failed}");
            assert!(!service.pid_file().exists());
        }
    }
    service.wait_for_end();
    service.start(&[]);
}

#[test]
fn an_interrupted_start_leaves_no_server() {
    // The signal may come too late. Then there is a server, and the test stops it.
    let given_up = (0..30).any(|_| {
        let service = Service::new();
        let mut start = service.spawn("start", &[]);
        let deadline = Instant::now() + DEADLINE;
        while !service.pid_file().exists() && Instant::now() < deadline {
            std::thread::yield_now();
        }
        let _ = start.kill();
        let _ = start.wait();
        wait_for("an end, or a server", || {
            (service.processes().is_empty() || service.log().contains(" connections\n"))
                .then_some(())
        });
        let is_dropped =
            service.log().contains("the process that started the server has ended; stopped");
        if !is_dropped {
            service.run("stop", &[]);
        }
        service.wait_for_end();
        is_dropped
    });
    assert!(given_up);
}

#[test]
fn status_says_whether_a_server_runs_and_where_it_listens() {
    let service = Service::new();
    let none = service.run("status", &[]);
    assert_eq!(none.code, Some(3), "{none}");
    assert!(
        none.errors.contains(&format!(
            "no server is running with the pid file {}",
            service.pid_file().display()
        )),
        "{none}"
    );
    let pid = service.start(&["--tcp", "127.0.0.1:0,[::1]:0"]);
    let status = service.run("status", &[]);
    assert_eq!(status.code, Some(0), "{status}");
    let log = service.log();
    let listening =
        log.lines().filter_map(|line| line.split_once("listening on ").map(|(_, address)| address));
    status.printed(&[&format!(
        "running as pid {pid}, listening on {}",
        listening.collect::<Vec<_>>().join(", ")
    )]);
    // The files of a killed server don't count as a running server.
    kill(pid, Signal::SIGKILL).unwrap();
    service.wait_for_end();
    assert_eq!(service.run("status", &[]).code, Some(3));
    assert!(service.pid_file().exists());
    fs::write(service.directory.join("other"), "no number\n").unwrap();
    let file = fs::OpenOptions::new().write(true).open(service.directory.join("other")).unwrap();
    let whole = nix::libc::flock {
        l_type: nix::libc::F_WRLCK as i16,
        l_whence: 0,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_SETLK(&whole)).unwrap();
    let unknown =
        service.run("status", &["--pid-file", service.directory.join("other").to_str().unwrap()]);
    assert_eq!(unknown.code, Some(4), "{unknown}");
}

#[test]
fn a_start_says_why_its_processes_cannot_start() {
    let service = Service::new();
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        &format!("{}; exec $UNDER \"$@\"", forkchat_tests::refusing("epoll_wait=EPERM")),
        "sh",
    ]);
    let command = service.command("start");
    shell
        .arg(command.get_program())
        .args(command.get_args())
        .args(free_ports(&[]))
        .env_remove("UNDER");
    let failed = Ended::of(&mut spawn(&mut shell), "start");
    assert_eq!(failed.code, Some(1), "{failed}");
    assert!(failed.errors.contains("(epoll_wait): Operation not permitted"), "{failed}");
    assert!(!service.log().contains("listening on"), "{}", service.log());
    service.wait_for_end();
}

#[test]
fn a_start_waits_for_a_port_that_processes_of_a_killed_server_still_hold() {
    let service = Service::new();
    service.start(&["--workers", "8"]);
    let (tcp, udp) = (service.address("tcp"), service.address("udp"));
    for _ in 0..20 {
        kill(service.pid().unwrap(), Signal::SIGKILL).unwrap();
        service.start(&["--workers", "8", "--tcp", &tcp, "--udp", &udp]);
    }
}
