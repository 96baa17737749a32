//! At most one server runs on a data directory, and the pid file never misleads.

use super::*;

#[test]
fn of_ten_servers_started_at_once_one_serves() {
    let service = Service::new();
    for round in 0..5 {
        let starting: Vec<Child> = (0..10).map(|_| service.spawn("start", &[])).collect();
        let ended: Vec<Ended> =
            starting.into_iter().map(|mut child| Ended::of(&mut child, "start")).collect();
        let pid = service.pid().unwrap();
        let (serving, others): (Vec<_>, Vec<_>) =
            ended.iter().partition(|ended| ended.code == Some(0));
        assert_eq!(serving.len(), 1, "{ended:?}");
        serving[0].printed(&[&format!("serving as pid {pid}")]);
        for other in others {
            assert_eq!(other.code, RUNNING, "{other}");
            assert!(
                other.errors.contains(&format!(
                    "a server already runs, as pid {pid}; use restart to replace it"
                )),
                "{other}"
            );
        }
        service.join("someone").sync();
        // No other process is there or was there.
        assert_eq!(service.log().matches("listening on tcp").count(), round + 1);
        wait_for("the others to be gone", || {
            let mut left = service.processes();
            left.retain(|process| !family_of(pid).contains(process));
            left.is_empty().then_some(())
        });
        service.run("stop", &[]).printed(&["stopped pid"]);
    }
}

#[test]
fn there_are_never_two_servers_however_starts_and_stops_interleave() {
    let service = Service::new();
    // Each server stopped before the next one listened.
    let order = || -> Vec<bool> {
        let log = service.log();
        let lines = log.lines().filter(|line| {
            line.contains("listening on tcp") || line.ends_with("supervisor: stopped")
        });
        lines.map(|line| line.contains("listening")).collect()
    };
    let deadline = Instant::now() + DEADLINE;
    let one_after_another = |names: [&'static str; 2]| {
        // Many servers are stopped before they listen: the threads go on until enough have.
        for (times, name) in names.into_iter().cycle().enumerate() {
            if times >= 20 && (order().len() >= 10 || Instant::now() > deadline) {
                break;
            }
            let ended = service.run(name, &["--udp", "off"]);
            // A server may be stopped before it serves.
            let is_cut_off = ended.code == Some(1)
                && ["it ended before it was ready", "stopped before it was ready"]
                    .iter()
                    .any(|words| ended.errors.contains(words));
            assert!(
                is_cut_off || ended.code == Some(0) || (name != "stop" && ended.code == RUNNING),
                "{name}: {ended}"
            );
        }
    };
    std::thread::scope(|scope| {
        for names in
            [["start", "stop"], ["stop", "start"], ["restart", "start"], ["stop", "restart"]]
        {
            scope.spawn(move || one_after_another(names));
        }
    });
    service.run("stop", &[]);
    let order = order();
    assert!(order.len() >= 10, "{}", service.log());
    assert!(order.chunks(2).all(|pair| pair == [true, false]), "{}", service.log());
}

#[test]
fn an_old_pid_file_never_leads_to_an_unrelated_process() {
    let service = Service::new();
    let killed = service.start(&[]);
    let children = children_of(killed);
    kill(killed, Signal::SIGKILL).unwrap();
    // The processes must be gone, so that what follows depends only on the file.
    wait_for("it and its children to be gone", || {
        children.iter().chain([&killed]).all(|&pid| has_ended(pid)).then_some(())
    });
    assert_eq!(service.pid(), Some(killed), "nobody took the file away");

    let mut innocent =
        UnrelatedProcess(Command::new("sleep").arg("1000").stdout(Stdio::null()).spawn().unwrap());
    let of_innocent = format!("{}\n", innocent.0.id());
    for left in [
        fs::read_to_string(service.pid_file()).unwrap(),
        "no pid\n".to_owned(),
        String::new(),
        of_innocent.clone(),
    ] {
        fs::write(service.pid_file(), &left).unwrap();
        let stopped = service.run("stop", &[]);
        assert_eq!(stopped.code, Some(0), "{stopped}");
        assert!(stopped.errors.contains("no server is running with the pid file"), "{stopped}");
        assert_eq!(fs::read_to_string(service.pid_file()).unwrap(), left);
        let pid = service.start(&[]);
        // The file is locked but not yet written.
        fs::write(service.pid_file(), &of_innocent).unwrap();
        let refused = service.run("start", &[]);
        assert_eq!(refused.code, RUNNING);
        assert!(
            refused.errors.contains(&format!("a server already runs, as pid {pid}")),
            "{refused}"
        );
        service.run("stop", &[]).printed(&[&format!("stopped pid {pid}")]);
    }
    assert!(innocent.0.try_wait().unwrap().is_none(), "nobody sent it a signal");
}

/// A process that has nothing to do with the server. It is killed on drop.
struct UnrelatedProcess(Child);

impl Drop for UnrelatedProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_file_that_is_no_pid_file_is_not_changed() {
    let service = Service::new();
    let notes = service.directory.join("notes");
    let text = "what somebody wrote down, and gave by mistake as a pid file when he was tired\n";
    fs::write(&notes, text).unwrap();
    let link = service.directory.join("link");
    std::os::unix::fs::symlink(&notes, &link).unwrap();
    for path in [&notes, &link] {
        let failed = service.run("start", &["--pid-file", path.to_str().unwrap()]);
        assert_eq!(failed.code, Some(1), "{failed}");
        assert!(
            failed.errors.contains(&format!("cannot take {} for a pid file", path.display())),
            "{failed}"
        );
        assert_eq!(fs::read_to_string(&notes).unwrap(), text);
    }
    service.wait_for_end();
}

/// A process that has locked another program's file, as SQLite locks its databases, is no server of
/// ours.
#[test]
fn a_process_that_locked_another_file_is_left_alone() {
    let service = Service::new();
    let mut server = Server::start(&[]);
    let database = server.data_dir().join("history.sqlite3");
    wait_for("the database", || database.exists().then_some(()));
    let lock = server.data_dir().join("lock");
    for file in [&database, &lock] {
        for name in ["stop", "restart"] {
            let told = service.run(name, &["--pid-file", file.to_str().unwrap()]);
            assert!(!told.text.contains("stopped"), "{told}");
        }
    }
    server.join("someone").sync();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));

    let other = service.directory.join("other");
    fs::write(&other, "something that is no number\n").unwrap();
    let file = fs::OpenOptions::new().read(true).write(true).open(&other).unwrap();
    let whole = nix::libc::flock {
        l_type: nix::libc::F_WRLCK as i16,
        l_whence: 0,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_SETLK(&whole)).unwrap();
    let told = service.run("stop", &["--pid-file", other.to_str().unwrap()]);
    assert_eq!(told.code, Some(1), "{told}");
    assert!(
        told.errors.contains(&format!(
            "it is not a pid file, although pid {} holds a lock on it",
            std::process::id()
        )),
        "{told}"
    );
}

#[test]
fn a_server_in_the_foreground_is_found_and_left_alone() {
    let service = Service::new();
    let mut server = Server::start(&["--data-dir", service.directory.to_str().unwrap()]);
    let pid = server.pid();
    assert_eq!(service.pid(), Some(pid));
    let words = format!(
        "a server in the foreground (pid {pid}) uses {}; stop it with kill {pid}, or with Ctrl-C \
         in its terminal",
        service.directory.display()
    );
    for (name, code) in [("stop", Some(1)), ("restart", Some(1)), ("start", RUNNING)] {
        let told = service.run(name, &[]);
        assert_eq!(told.code, code, "{told}");
        assert!(told.errors.contains(&words), "{told}");
    }
    let status = service.run("status", &[]);
    assert_eq!(status.code, Some(0), "{status}");
    status.printed(&[&format!(
        "running in the foreground as pid {pid}, listening on tcp {}, udp {}",
        server.tcp, server.udp
    )]);
    server.join("someone").sync();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
    assert!(!service.pid_file().exists());
    assert_eq!(service.run("stop", &[]).code, Some(0), "none runs any more");
}

#[test]
fn a_second_server_in_the_foreground_serves_without_the_pid_file() {
    let service = Service::new();
    let pid = service.start(&[]);
    let server = Server::start(&["--data-dir", service.directory.to_str().unwrap()]);
    server.join("someone").sync();
    assert_eq!(service.pid(), Some(pid));
    service.run("stop", &[]).printed(&[&format!("stopped pid {pid}")]);
    server.join("other").sync();
}
