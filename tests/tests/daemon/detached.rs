//! A server in the background is independent of the process that started it.

use super::*;

/// A field of a process's status, as text.
fn status(pid: Pid, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = status.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
    value.unwrap_or_else(|| panic!("no {field} in {status}")).trim().to_owned()
}

fn bit(signal: Signal) -> u64 {
    1 << (signal as i32 - 1)
}

/// The open descriptors of a process: number and target.
fn descriptors(pid: Pid) -> Vec<(u32, PathBuf)> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let number = |path: &Path| path.file_name().unwrap().to_str().unwrap().parse().unwrap();
    links
        .filter_map(|link| Some((number(&link.path()), fs::read_link(link.path()).ok()?)))
        .collect()
}

#[test]
fn relative_paths_are_relative_to_the_directory_of_the_start() {
    let service = Service::new();
    let mut start = Command::new(server_binary());
    start
        .args(["start", "--pid-file", "one.pid", "--log", "one.log", "--data-dir", "data"])
        .args(OPTIONS)
        .args(free_ports(&[]))
        .current_dir(&service.directory);
    // If the test fails, the server can't be found by its arguments alone, because they have no
    // absolute path.
    start.args(["--data-dir", service.directory.to_str().unwrap(), "--data-dir", "data"]);
    Ended::of(&mut spawn(&mut start), "start").printed(&["serving as pid"]);
    wait_for("the database", || {
        service.directory.join("data/history.sqlite3").exists().then_some(())
    });
    assert!(
        fs::read_to_string(service.directory.join("one.log")).unwrap().contains("listening on tcp")
    );
    let mut stop = Command::new(server_binary());
    stop.args(["stop", "--pid-file", "one.pid"]).current_dir(&service.directory);
    Ended::of(&mut spawn(&mut stop), "stop").printed(&["stopped pid"]);
}

#[test]
fn it_inherits_nothing_from_the_process_that_started_it() {
    let service = Service::new();
    // The starter has one more descriptor, the pipe of the shell's standard output, ignored
    // signals, and a directory and a umask of its own.
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        "trap '' HUP TERM USR1; umask 0; cd /tmp; \"$@\" 7>&1; echo started by $$",
        "sh",
    ]);
    let mut start = service.command("start");
    start.args(free_ports(&[]));
    let started = Ended::of(
        &mut spawn(shell.arg(start.get_program()).args(start.get_args())),
        "the shell, and all who have its output",
    );
    started.printed(&["serving as pid", "started by"]);
    let starter = Pid::from_raw(started.words("started by")[2].parse().unwrap());
    let pid = service.pid().unwrap();

    let stat = Process::new(pid.as_raw()).unwrap().stat().unwrap();
    let (parent, group, session) = (stat.ppid, stat.pgrp, stat.session);
    let (terminal, terminal_group) = (stat.tty_nr, stat.tpgid);
    assert_ne!(Pid::from_raw(parent), starter);
    assert!(
        session != pid.as_raw() && has_ended(Pid::from_raw(session)),
        "it leads no session, and its leader is gone"
    );
    assert_eq!((group, Some(Pid::from_raw(group))), (session, getpgid(Some(pid)).ok()));
    assert_ne!(getsid(Some(pid)).unwrap(), getsid(None).unwrap());
    assert_eq!((terminal, terminal_group), (0, -1), "it has no terminal");

    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/"));
    assert_eq!(status(pid, "Umask"), "0077");
    let signals = |field: &str| u64::from_str_radix(&status(pid, field), 16).unwrap();
    // Signals of failed writes. The C library uses 32 and 33.
    assert_eq!(signals("SigIgn") & !(0b11 << 31), bit(Signal::SIGPIPE) | bit(Signal::SIGXFSZ));
    // Signals that the server reads as values: all except those that can't be blocked, those that
    // stop and continue a process, and those that end no program.
    let not_read = [
        Signal::SIGKILL,
        Signal::SIGSTOP,
        Signal::SIGTSTP,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
        Signal::SIGCONT,
    ];
    let harmless = [Signal::SIGURG, Signal::SIGWINCH];
    let not_read: u64 = not_read.into_iter().chain(harmless).map(bit).sum();
    assert_eq!(signals("SigBlk"), !not_read);

    let mut log_pipes = BTreeSet::new();
    for process in family_of(pid) {
        let open = descriptors(process);
        let leads = |number: u32| &open.iter().find(|(other, _)| *other == number).unwrap().1;
        assert_eq!([leads(0), leads(1)], [Path::new("/dev/null"); 2]);
        // All processes write their log output to one pipe, and the log process copies it to the
        // file. No other pipe is open.
        let is_log_process = name_of(process) == "log";
        assert_eq!(leads(2) == &service.directory.join("forkchat.log"), is_log_process);
        let pipes = open.iter().filter(|(_, path)| path.to_str().unwrap().starts_with("pipe:"));
        log_pipes.extend(pipes.map(|(_, path)| path.clone()));
        let has_pid_file = open.iter().any(|(_, path)| *path == service.pid_file());
        assert_eq!(has_pid_file, process == pid, "who is forked later doesn't hold the pid file");
    }
    assert_eq!(log_pipes.len(), 1, "{log_pipes:?}");
    kill(pid, Signal::SIGHUP).unwrap();
    wait_for("its end: a daemon has no terminal, but the signal means what it always does", || {
        has_ended(pid).then_some(())
    });
    assert!(service.log().ends_with("supervisor: stopped\n"));
    assert!(!service.pid_file().exists());
}

#[test]
fn it_outlives_its_terminal() {
    let service = Service::new();
    let mut shell = Command::new("sh");
    let mut start = service.command("start");
    start.args(free_ports(&[]));
    shell.args(["-c", "\"$@\"; exec cat", "sh"]).arg(start.get_program()).args(start.get_args());
    let mut terminal = Terminal::start(&shell, 24, 80);
    terminal.shows("serving as pid");
    let pid = service.pid().unwrap();
    let of_terminal = getsid(Some(terminal.pid())).unwrap();
    assert_ne!(getsid(Some(pid)).unwrap(), of_terminal);
    terminal.hang_up();
    terminal.wait();
    service.join("someone").sync();
    assert_eq!(service.pid(), Some(pid));
}

#[test]
fn a_truncated_log_file_is_continued_from_its_beginning() {
    let service = Service::new();
    let pid = service.start(&[]);
    fs::write(service.directory.join("forkchat.log"), "").unwrap();
    kill(children_of(pid)[0], Signal::SIGKILL).unwrap();
    wait_for("a line", || service.log().contains("killed by signal 9; restarted").then_some(()));
    assert!(service.log().starts_with("20"), "{:?}", service.log());
}

#[test]
fn a_log_file_that_is_a_pipe_is_refused() {
    let service = Service::new();
    let pipe = service.directory.join("pipe");
    mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    for _reader in [None, Some(fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap())]
    {
        let told = service.run("start", &["--log", pipe.to_str().unwrap()]);
        assert_eq!(told.code, Some(1), "{told}");
        assert!(
            told.errors.contains(&format!("cannot write the log {}: ", pipe.display())),
            "{told}"
        );
    }
    service.wait_for_end();
}
