//! The server in the background: only one runs at a time, it is detached from the process that
//! started it, and it is gone when `stop` returns.

use forkchat_tests::example::Ended;
use forkchat_tests::processes::{children_of, family_of, has_ended, name_of};
use forkchat_tests::terminal::Terminal;
use forkchat_tests::{Client, DEADLINE, Server, server_binary, wait_for};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getpgid, getsid, mkfifo};
use std::collections::BTreeSet;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// Exit code of a start that finds a server running.
const RUNNING: Option<i32> = Some(3);
/// Any free ports, few processes, and never a long wait.
const OPTIONS: [&str; 4] = ["--workers", "1", "--grace", "2"];
const ADDRESSES: [&str; 2] = ["--tcp", "--udp"];

/// Any free port for each transport of which these options say nothing: addresses add up.
fn free_ports(options: &[&str]) -> Vec<&'static str> {
    ADDRESSES.into_iter().filter(|option| !options.contains(option)).flat_map(|option| [option, "127.0.0.1:0"]).collect()
}

/// A directory for one server in the background. Whoever was started with it is killed when it is dropped.
struct Service {
    directory: PathBuf,
}

impl Service {
    fn new() -> Service {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // No name is the beginning of another: by their names the processes are found.
        let name = format!("forkchat-daemon-{}-{:04}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).expect("a directory of its own");
        Service { directory }
    }

    /// A command whose data directory is this service's. The path is absolute, so the daemon is found by it.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(server_binary());
        command.arg(name).arg("--data-dir").arg(&self.directory).args(OPTIONS).env_remove("RUST_BACKTRACE");
        command
    }

    fn spawn(&self, name: &str, options: &[&str]) -> Child {
        spawn(self.command(name).args(options).args(free_ports(options)))
    }

    /// Runs a command to its end.
    fn run(&self, name: &str, options: &[&str]) -> Ended {
        Ended::of(&mut self.spawn(name, options), name)
    }

    /// Starts one, which has to succeed: its pid.
    fn start(&self, options: &[&str]) -> Pid {
        let started = self.run("start", options);
        assert_eq!(started.code, Some(0), "{started}");
        let pid = self.pid().expect("who runs has a pid file");
        assert!(started.text.contains(&format!("serving as pid {pid}")), "{started}");
        pid
    }

    fn pid_file(&self) -> PathBuf {
        self.directory.join("forkchat.pid")
    }

    /// What stands in the pid file, if it is a pid.
    fn pid(&self) -> Option<Pid> {
        fs::read_to_string(self.pid_file()).ok()?.strip_suffix('\n')?.parse().ok().map(Pid::from_raw)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("forkchat.log")).unwrap_or_default()
    }

    /// Where the one that was started last listens.
    fn listens(&self, transport: &str) -> String {
        let log = self.log();
        log.rsplit(&format!("listening on {transport} ")).next().and_then(|rest| rest.lines().next()).expect("it listens").to_owned()
    }

    fn join(&self, nick: &str) -> Client {
        let mut client = Client::new(TcpStream::connect(self.listens("tcp")).expect("the server accepts"));
        client.say(&format!("/nick {nick}"));
        client.reads(&format!("* you are now {nick}"));
        client
    }

    /// Everyone who was started with this directory and lives.
    fn processes(&self) -> Vec<Pid> {
        let directory = self.directory.to_str().unwrap();
        let is_one = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains(directory));
        let entries = fs::read_dir("/proc").unwrap().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_one).map(Pid::from_raw).collect()
    }

    /// Waits until nobody is left.
    fn is_over(&self) {
        wait_for("everyone to be gone", || self.processes().is_empty().then_some(()));
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // None, unless the test fails or leaves one running on purpose. Who is just forking is found at the next look.
        wait_for("everyone to be killed", || {
            let left = self.processes();
            left.iter().for_each(|&pid| _ = kill(pid, Signal::SIGKILL));
            left.is_empty().then_some(())
        });
        if std::thread::panicking() {
            eprintln!("the log:\n{}", self.log());
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
}

/// A field of a process's status, as text.
fn status(pid: Pid, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = status.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
    value.unwrap_or_else(|| panic!("no {field} in {status}")).trim().to_owned()
}

fn bit(signal: Signal) -> u64 {
    1 << (signal as i32 - 1)
}

/// What a process has open: number and what it leads to.
fn descriptors(pid: Pid) -> Vec<(u32, PathBuf)> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let number = |path: &Path| path.file_name().unwrap().to_str().unwrap().parse().unwrap();
    links.filter_map(|link| Some((number(&link.path()), fs::read_link(link.path()).ok()?))).collect()
}

#[test]
fn it_is_started_talked_to_restarted_and_stopped() {
    let service = Service::new();
    let first = service.start(&[]);
    let mut anna = service.join("anna");
    anna.say("before the restart");
    anna.sync();
    let restarted = service.run("restart", &[]);
    restarted.said(&[&format!("stopped pid {first}"), "serving as pid"]);
    assert_eq!(anna.rest().last().unwrap(), "* the server is stopping; goodbye");
    let second = service.pid().unwrap();
    assert_ne!(first, second);
    assert!(has_ended(first));
    // What was said in the first is in the second's database, which is opened by a path and made for its user alone.
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
    service.run("stop", &[]).said(&[&format!("stopped pid {second}")]);
    assert!(has_ended(second) && !service.pid_file().exists());
    service.is_over();
    let stopped = service.run("stop", &[]);
    assert_eq!(stopped.code, Some(0), "{stopped}");
    assert!(stopped.errors.contains(&format!("no server is running with the pid file {}", service.pid_file().display())), "{stopped}");
    // Where none runs, a restart is a start.
    service.run("restart", &[]).said(&["serving as pid"]);
    service.run("stop", &[]).said(&["stopped pid"]);
}

#[test]
fn relative_paths_are_meant_from_where_it_was_started() {
    let service = Service::new();
    let mut start = Command::new(server_binary());
    start
        .args(["start", "--pid-file", "one.pid", "--log", "one.log", "--data-dir", "data"])
        .args(OPTIONS)
        .args(free_ports(&[]))
        .current_dir(&service.directory);
    // By its arguments alone nobody would find it if the test failed.
    start.args(["--data-dir", service.directory.to_str().unwrap(), "--data-dir", "data"]);
    Ended::of(&mut spawn(&mut start), "start").said(&["serving as pid"]);
    wait_for("the database", || service.directory.join("data/history.sqlite3").exists().then_some(()));
    assert!(fs::read_to_string(service.directory.join("one.log")).unwrap().contains("listening on tcp"));
    let mut stop = Command::new(server_binary());
    stop.args(["stop", "--pid-file", "one.pid"]).current_dir(&service.directory);
    Ended::of(&mut spawn(&mut stop), "stop").said(&["stopped pid"]);
}

#[test]
fn it_has_nothing_of_whoever_started_it() {
    let service = Service::new();
    // A descriptor more, which is the pipe of the shell's standard output, signals ignored, a directory and a umask of its own.
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP TERM USR1; umask 0; cd /tmp; \"$@\" 7>&1; echo started by $$", "sh"]);
    let mut start = service.command("start");
    start.args(free_ports(&[]));
    let started = Ended::of(&mut spawn(shell.arg(start.get_program()).args(start.get_args())), "the shell, and all who have its output");
    started.said(&["serving as pid", "started by"]);
    let starter = Pid::from_raw(started.words("started by")[2].parse().unwrap());
    let pid = service.pid().unwrap();

    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let stat: Vec<i32> = stat.rsplit(')').next().unwrap().split_whitespace().skip(1).take(5).map(|field| field.parse().unwrap()).collect();
    let [parent, group, session, terminal, terminal_group] = stat[..] else { panic!("five fields of {stat:?}") };
    assert_ne!(Pid::from_raw(parent), starter);
    assert!(session != pid.as_raw() && has_ended(Pid::from_raw(session)), "it leads no session, and its leader is gone");
    assert_eq!((group, Some(Pid::from_raw(group))), (session, getpgid(Some(pid)).ok()));
    assert_ne!(getsid(Some(pid)).unwrap(), getsid(None).unwrap());
    assert_eq!((terminal, terminal_group), (0, -1), "it has no terminal");

    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/"));
    assert_eq!(status(pid, "Umask"), "0077");
    let signals = |field: &str| u64::from_str_radix(&status(pid, field), 16).unwrap();
    // Those of writes that fail. 32 and 33 are the C library's.
    assert_eq!(signals("SigIgn") & !(0b11 << 31), bit(Signal::SIGPIPE) | bit(Signal::SIGXFSZ));
    // Those that it reads as values: all but what can't be blocked, what stops and continues a process, and what no program dies of.
    let not_read = [Signal::SIGKILL, Signal::SIGSTOP, Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU, Signal::SIGCONT];
    let harmless = [Signal::SIGURG, Signal::SIGWINCH];
    let not_read: u64 = not_read.into_iter().chain(harmless).map(bit).sum();
    assert_eq!(signals("SigBlk"), !not_read);

    let mut log_pipes = BTreeSet::new();
    for process in family_of(pid) {
        let open = descriptors(process);
        let leads = |number: u32| &open.iter().find(|(other, _)| *other == number).unwrap().1;
        assert_eq!([leads(0), leads(1)], [Path::new("/dev/null"); 2]);
        // All write their log output to one pipe, which the log process copies to the file: no other pipe is open.
        let is_log_process = name_of(process) == "log";
        assert_eq!(leads(2) == &service.directory.join("forkchat.log"), is_log_process);
        let pipes = open.iter().filter(|(_, path)| path.to_str().unwrap().starts_with("pipe:"));
        log_pipes.extend(pipes.map(|(_, path)| path.clone()));
        let has_pid_file = open.iter().any(|(_, path)| *path == service.pid_file());
        assert_eq!(has_pid_file, process == pid, "who is forked later doesn't hold the pid file");
    }
    assert_eq!(log_pipes.len(), 1, "{log_pipes:?}");
    kill(pid, Signal::SIGHUP).unwrap();
    wait_for("its end: a daemon has no terminal, but the signal means what it always does", || has_ended(pid).then_some(()));
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
fn of_ten_that_are_started_at_once_one_serves() {
    let service = Service::new();
    for round in 0..5 {
        let starting: Vec<Child> = (0..10).map(|_| service.spawn("start", &[])).collect();
        let ended: Vec<Ended> = starting.into_iter().map(|mut child| Ended::of(&mut child, "start")).collect();
        let pid = service.pid().unwrap();
        let (serving, others): (Vec<_>, Vec<_>) = ended.iter().partition(|ended| ended.code == Some(0));
        assert_eq!(serving.len(), 1, "{ended:?}");
        serving[0].said(&[&format!("serving as pid {pid}")]);
        for other in others {
            assert_eq!(other.code, RUNNING, "{other}");
            assert!(other.errors.contains(&format!("a server already runs, as pid {pid}; use restart to replace it")), "{other}");
        }
        service.join("someone").sync();
        // Nobody else is there or was.
        assert_eq!(service.log().matches("listening on tcp").count(), round + 1);
        wait_for("the others to be gone", || {
            let mut left = service.processes();
            left.retain(|process| !family_of(pid).contains(process));
            left.is_empty().then_some(())
        });
        service.run("stop", &[]).said(&["stopped pid"]);
    }
}

#[test]
fn however_starts_and_stops_meet_there_are_never_two() {
    let service = Service::new();
    // Each stopped before the next one listened.
    let order = || -> Vec<bool> {
        let log = service.log();
        let lines = log.lines().filter(|line| line.contains("listening on tcp") || line.ends_with("supervisor: stopped"));
        lines.map(|line| line.contains("listening")).collect()
    };
    let deadline = Instant::now() + DEADLINE;
    let one_after_another = |names: [&'static str; 2]| {
        // Many servers are stopped before they listen: the threads go on until enough have listened.
        for (times, name) in names.into_iter().cycle().enumerate() {
            if times >= 20 && (order().len() >= 10 || Instant::now() > deadline) {
                break;
            }
            let ended = service.run(name, &["--udp", "off"]);
            // A server may be told to stop before it serves.
            let is_cut_off = ended.code == Some(1)
                && ["it ended before it was ready", "stopped before it was ready"].iter().any(|words| ended.errors.contains(words));
            assert!(is_cut_off || ended.code == Some(0) || (name != "stop" && ended.code == RUNNING), "{name}: {ended}");
        }
    };
    std::thread::scope(|scope| {
        for names in [["start", "stop"], ["stop", "start"], ["restart", "start"], ["stop", "restart"]] {
            scope.spawn(move || one_after_another(names));
        }
    });
    service.run("stop", &[]);
    let order = order();
    assert!(order.len() >= 10, "{}", service.log());
    assert!(order.chunks(2).all(|pair| pair == [true, false]), "{}", service.log());
}

#[test]
fn what_is_left_in_a_pid_file_is_nobodys_pid() {
    let service = Service::new();
    let killed = service.start(&[]);
    let children = children_of(killed);
    kill(killed, Signal::SIGKILL).unwrap();
    // So that what comes next is about the file, not about what dies a moment later.
    wait_for("it and its children to be gone", || children.iter().chain([&killed]).all(|&pid| has_ended(pid)).then_some(()));
    assert_eq!(service.pid(), Some(killed), "nobody took the file away");

    let mut innocent = Innocent(Command::new("sleep").arg("1000").stdout(Stdio::null()).spawn().unwrap());
    let of_innocent = format!("{}\n", innocent.0.id());
    for left in [fs::read_to_string(service.pid_file()).unwrap(), "no pid\n".to_owned(), String::new(), of_innocent.clone()] {
        fs::write(service.pid_file(), &left).unwrap();
        let stopped = service.run("stop", &[]);
        assert_eq!(stopped.code, Some(0), "{stopped}");
        assert!(stopped.errors.contains("no server is running with the pid file"), "{stopped}");
        assert_eq!(fs::read_to_string(service.pid_file()).unwrap(), left);
        let pid = service.start(&[]);
        // As between the locking of the file and the writing of it.
        fs::write(service.pid_file(), &of_innocent).unwrap();
        let refused = service.run("start", &[]);
        assert_eq!(refused.code, RUNNING);
        assert!(refused.errors.contains(&format!("a server already runs, as pid {pid}")), "{refused}");
        service.run("stop", &[]).said(&[&format!("stopped pid {pid}")]);
    }
    assert!(innocent.0.try_wait().unwrap().is_none(), "nobody sent it a signal");
}

/// A process that has nothing to do with anything. Killed when dropped.
struct Innocent(Child);

impl Drop for Innocent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_file_that_never_was_a_pid_file_is_left_as_it_is() {
    let service = Service::new();
    let notes = service.directory.join("notes");
    let text = "what somebody wrote down, and gave by mistake as a pid file when he was tired\n";
    fs::write(&notes, text).unwrap();
    let link = service.directory.join("link");
    std::os::unix::fs::symlink(&notes, &link).unwrap();
    for path in [&notes, &link] {
        let failed = service.run("start", &["--pid-file", path.to_str().unwrap()]);
        assert_eq!(failed.code, Some(1), "{failed}");
        assert!(failed.errors.contains(&format!("cannot take {} for a pid file", path.display())), "{failed}");
        assert_eq!(fs::read_to_string(&notes).unwrap(), text);
    }
    service.is_over();
}

#[test]
fn a_restart_begins_when_the_old_one_is_gone() {
    let service = Service::new();
    let old = service.start(&["--sendq", "1G", "--rate-limit", "off"]);
    let tcp = service.listens("tcp");
    let _deaf = deaf_client(&service);
    let mut restart = service.spawn("restart", &["--tcp", &tcp]);
    let new = wait_for("the new one's pid", || service.pid().filter(|&pid| pid != old));
    assert!(has_ended(old));
    Ended::of(&mut restart, "restart").said(&[&format!("stopped pid {old}"), &format!("serving as pid {new}")]);
    let log = service.log();
    let place = |part: &str| log.find(part).unwrap_or_else(|| panic!("no {part:?} in {log}"));
    // It took its time: all of its grace.
    assert!(place("SIGTERM: stopping") < place("some clients did not read everything in time"));
    let second = log.rfind("listening on tcp").unwrap();
    assert!(place("supervisor: stopped\n") < second && place("listening on tcp") < second, "{log}");
    service.join("someone").sync();
}

/// A client that has much more to read than the kernel holds, and doesn't read it.
fn deaf_client(service: &Service) -> Client {
    let deaf = service.join("deaf");
    let mut loud = service.join("loud");
    let line = "x".repeat(4_000);
    // The kernel takes some megabytes for it; the rest waits in its outbox.
    (0..4_000).for_each(|_| loud.say(&format!("/msg deaf {line}")));
    loud.sync();
    deaf
}

#[test]
fn one_that_cannot_serve_says_why_and_leaves_nothing() {
    let (service, other) = (Service::new(), Server::start(&[]));
    let port = other.tcp.to_string();
    for (options, code, text) in [
        (vec!["--tcp", &*port], 1, format!("cannot listen on tcp {port}: address already in use")),
        (vec!["--tcp", "off", "--udp", "off"], 2, "nothing to listen on: --tcp and --udp are both off".to_owned()),
        (vec!["--log", "/nowhere/log"], 1, "cannot write the log /nowhere/log: No such file or directory".to_owned()),
        (vec!["--pid-file", "/nowhere/pid"], 1, "cannot take /nowhere/pid for a pid file: No such file or directory".to_owned()),
        (vec!["--workers", "0"], 2, "--workers".to_owned()),
    ] {
        for name in ["start", "restart"] {
            let failed = service.run(name, &options);
            assert_eq!(failed.code, Some(code), "{failed}");
            assert!(failed.errors.contains(&text), "{failed}");
            assert!(!service.pid_file().exists());
        }
    }
    service.is_over();
    service.start(&[]);
}

#[test]
fn one_that_does_not_end_is_killed_and_its_children_are_gone_with_it() {
    let service = Service::new();
    let killed = service.start(&["--workers", "8"]);
    let family = family_of(killed);
    kill(killed, Signal::SIGSTOP).unwrap();
    // Worker 0 has the UDP socket, too, and would keep the port.
    let restarted = service.run("restart", &["--grace", "0", "--tcp", &service.listens("tcp"), "--udp", &service.listens("udp")]);
    let new = service.pid().unwrap();
    restarted.said(&[&format!("serving as pid {new}")]);
    assert!(restarted.errors.contains(&format!("pid {killed} did not end within 5 s and was killed")), "{restarted}");
    assert!(family.len() == 11 && family.into_iter().all(has_ended));
    kill(new, Signal::SIGSTOP).unwrap();
    let stopped = service.run("stop", &["--grace", "0"]);
    assert_eq!(stopped.code, Some(1), "{stopped}");
    assert!(stopped.errors.contains(&format!("pid {new} did not end within 5 s and was killed")), "{stopped}");
}

#[test]
fn a_log_that_is_emptied_is_written_on_from_its_beginning() {
    let service = Service::new();
    let pid = service.start(&[]);
    fs::write(service.directory.join("forkchat.log"), "").unwrap();
    kill(children_of(pid)[0], Signal::SIGKILL).unwrap();
    wait_for("a line", || service.log().contains("killed by signal 9; restarted").then_some(()));
    assert!(service.log().starts_with("20"), "{:?}", service.log());
}

/// A process that has another program's file locked, as SQLite has its databases, is none of ours.
#[test]
fn who_has_some_other_file_locked_is_left_alone() {
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
    let whole = nix::libc::flock { l_type: nix::libc::F_WRLCK as i16, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 };
    fcntl(&file, FcntlArg::F_SETLK(&whole)).unwrap();
    let told = service.run("stop", &["--pid-file", other.to_str().unwrap()]);
    assert_eq!(told.code, Some(1), "{told}");
    assert!(told.errors.contains(&format!("it is not a pid file, although pid {} holds a lock on it", std::process::id())), "{told}");
}

#[test]
fn a_log_that_somebody_would_have_to_read_is_refused() {
    let service = Service::new();
    let pipe = service.directory.join("pipe");
    mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    for _reader in [None, Some(fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap())] {
        let told = service.run("start", &["--log", pipe.to_str().unwrap()]);
        assert_eq!(told.code, Some(1), "{told}");
        assert!(told.errors.contains(&format!("cannot write the log {}: ", pipe.display())), "{told}");
    }
    service.is_over();
}

#[test]
fn two_who_stop_it_at_once_wait_for_the_same_end() {
    let service = Service::new();
    service.start(&["--sendq", "1G", "--rate-limit", "off"]);
    let (mut deaf, mut loud) = (service.join("deaf"), service.join("loud"));
    let line = "x".repeat(4_000);
    (0..2_000).for_each(|_| loud.say(&format!("/msg deaf {line}")));
    loud.sync();
    let mut stops: Vec<Child> = (0..3).map(|_| service.spawn("stop", &[])).collect();
    wait_for("the end to begin", || service.log().contains("SIGTERM: stopping").then_some(()));
    // It reads everything, to the goodbye.
    assert_eq!(deaf.rest().last().map(String::as_str), Some("* the server is stopping; goodbye"));
    drop((deaf, loud));
    for stop in &mut stops {
        let told = Ended::of(stop, "stop");
        assert_eq!(told.code, Some(0), "{told}");
    }
    assert!(!service.log().contains("stopping at once"), "{}", service.log());
}

#[test]
fn a_start_that_is_given_up_leaves_no_server() {
    // It may be too late, now and then: then there is a server, and it is stopped.
    let given_up = (0..30).any(|_| {
        let service = Service::new();
        let mut start = service.spawn("start", &[]);
        let deadline = Instant::now() + DEADLINE;
        while !service.pid_file().exists() && Instant::now() < deadline {
            std::thread::yield_now();
        }
        let _ = start.kill();
        let _ = start.wait();
        wait_for("an end, or a server", || (service.processes().is_empty() || service.log().contains(" connections\n")).then_some(()));
        let is_given_up = service.log().contains("the process that started the server has ended; stopped");
        if !is_given_up {
            service.run("stop", &[]);
        }
        service.is_over();
        is_given_up
    });
    assert!(given_up);
}

#[test]
fn a_server_in_the_foreground_is_found_and_left_alone() {
    let service = Service::new();
    let mut server = Server::start(&["--data-dir", service.directory.to_str().unwrap()]);
    let pid = server.pid();
    assert_eq!(service.pid(), Some(pid));
    let words = format!(
        "a server in the foreground (pid {pid}) uses {}; stop it with kill {pid}, or with Ctrl-C in its terminal",
        service.directory.display()
    );
    for (name, code) in [("stop", Some(1)), ("restart", Some(1)), ("start", RUNNING)] {
        let told = service.run(name, &[]);
        assert_eq!(told.code, code, "{told}");
        assert!(told.errors.contains(&words), "{told}");
    }
    let status = service.run("status", &[]);
    assert_eq!(status.code, Some(0), "{status}");
    status.said(&[&format!("running in the foreground as pid {pid}, listening on tcp {}, udp {}", server.tcp, server.udp)]);
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
    service.run("stop", &[]).said(&[&format!("stopped pid {pid}")]);
    server.join("other").sync();
}

#[test]
fn status_says_whether_one_runs_and_where_it_listens() {
    let service = Service::new();
    let none = service.run("status", &[]);
    assert_eq!(none.code, Some(3), "{none}");
    assert!(none.errors.contains(&format!("no server is running with the pid file {}", service.pid_file().display())), "{none}");
    let pid = service.start(&["--tcp", "127.0.0.1:0,[::1]:0"]);
    let status = service.run("status", &[]);
    assert_eq!(status.code, Some(0), "{status}");
    let log = service.log();
    let listening = log.lines().filter_map(|line| line.split_once("listening on ").map(|(_, address)| address));
    status.said(&[&format!("running as pid {pid}, listening on {}", listening.collect::<Vec<_>>().join(", "))]);
    // What a server that was killed leaves is none that runs.
    kill(pid, Signal::SIGKILL).unwrap();
    service.is_over();
    assert_eq!(service.run("status", &[]).code, Some(3));
    assert!(service.pid_file().exists());
    fs::write(service.directory.join("other"), "no number\n").unwrap();
    let file = fs::OpenOptions::new().write(true).open(service.directory.join("other")).unwrap();
    let whole = nix::libc::flock { l_type: nix::libc::F_WRLCK as i16, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 };
    fcntl(&file, FcntlArg::F_SETLK(&whole)).unwrap();
    let unknown = service.run("status", &["--pid-file", service.directory.join("other").to_str().unwrap()]);
    assert_eq!(unknown.code, Some(4), "{unknown}");
}

#[test]
fn it_is_stopped_and_killed_where_a_process_can_only_be_watched_by_its_number() {
    let service = Service::new();
    let run = |name: &str, options: &[&str]| {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{}; exec $UNDER \"$@\"", forkchat_tests::refusing("pidfd_open=ENOSYS")), "sh"]);
        let command = service.command(name);
        shell.arg(command.get_program()).args(command.get_args()).args(options).args(free_ports(options)).env_remove("UNDER");
        Ended::of(&mut spawn(&mut shell), name)
    };
    run("start", &[]).said(&["serving as pid"]);
    let first = service.pid().unwrap();
    run("restart", &[]).said(&[&format!("stopped pid {first}"), "serving as pid"]);
    let second = service.pid().unwrap();
    kill(second, Signal::SIGSTOP).unwrap();
    let stopped = run("stop", &["--grace", "0"]);
    assert_eq!(stopped.code, Some(1), "{stopped}");
    assert!(stopped.errors.contains(&format!("pid {second} did not end within 5 s and was killed")), "{stopped}");
    service.is_over();
}

#[test]
fn a_start_whose_processes_cannot_begin_says_why() {
    let service = Service::new();
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{}; exec $UNDER \"$@\"", forkchat_tests::refusing("epoll_wait=EPERM")), "sh"]);
    let command = service.command("start");
    shell.arg(command.get_program()).args(command.get_args()).args(free_ports(&[])).env_remove("UNDER");
    let failed = Ended::of(&mut spawn(&mut shell), "start");
    assert_eq!(failed.code, Some(1), "{failed}");
    assert!(failed.errors.contains("(epoll_wait): Operation not permitted"), "{failed}");
    assert!(!service.log().contains("listening on"), "{}", service.log());
    service.is_over();
}

#[test]
fn a_port_that_processes_of_a_killed_server_hold_for_a_moment_is_waited_for() {
    let service = Service::new();
    service.start(&["--workers", "8"]);
    let (tcp, udp) = (service.listens("tcp"), service.listens("udp"));
    for _ in 0..20 {
        kill(service.pid().unwrap(), Signal::SIGKILL).unwrap();
        service.start(&["--workers", "8", "--tcp", &tcp, "--udp", &udp]);
    }
}
