//! Log output that no process reads: the server still logs, chats, replaces its processes and
//! stops.

use forkchat_tests::processes::{children_of, name_of};
use forkchat_tests::terminal::Terminal;
use forkchat_tests::{Client, Server, server_binary, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

/// Kills one process after another while two users chat and a third one joins.
fn kill_and_chat(tcp: SocketAddr, process: impl Fn(&str) -> Pid, rounds: std::ops::Range<usize>) {
    let join = |nick: &str| {
        let mut client = Client::new(TcpStream::connect(tcp).unwrap());
        client.say(&format!("/nick {nick}"));
        client.reads(&format!("* you are now {nick}"));
        client
    };
    // Names of their own in each call: the server may learn of the end of the last call's clients after these have come.
    let speaker = format!("a{}", rounds.start);
    let (mut a, mut b) = (join(&speaker), join(&format!("b{}", rounds.start)));
    for round in rounds {
        for name in ["worker 0", "worker 1", "journal"] {
            let killed = process(name);
            kill(killed, Signal::SIGKILL).unwrap();
            a.say(&format!("{round}: {name} is dead"));
            b.reads(&format!("{speaker}: {round}: {name} is dead"));
            wait_for("a successor", || (process(name) != killed).then_some(()));
        }
        let mut c = join(&format!("c{round}"));
        c.say("/history 3");
        c.reads("worker 1 is dead");
    }
}

/// How many lines of the log output contain this.
fn count(server: &Server, part: &str) -> usize {
    server.log_output().lines().filter(|line| line.contains(part)).count()
}

/// Waits until the log output has at least this many such lines.
fn has(server: &Server, count_min: usize, part: &str) {
    wait_for(&format!("{count_min} lines with {part:?}"), || {
        (count(server, part) >= count_min).then_some(())
    });
}

#[test]
fn a_full_pipe_delays_no_client_and_lines_that_fit_the_buffer_are_not_lost() {
    let mut server = Server::start(&[]);
    server.stop_reading_log();
    kill_and_chat(server.tcp, |name| server.process(name), 0..3);
    server.resume_reading_log();
    for name in ["worker 0", "worker 1", "journal"] {
        has(&server, 3, &format!("supervisor: warning: {name} (pid "));
    }
    assert_eq!(count(&server, "dropped"), 0, "{}", server.log_output());
    server.stop_reading_log();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_server_that_cannot_start_ends_despite_a_full_pipe() {
    let server = Server::start(&[]);
    let (reader, writer) = std::io::pipe().unwrap();
    let mut filler = File::options()
        .write(true)
        .open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer)))
        .unwrap();
    // The capacity of a pipe.
    filler.write_all(&vec![b'x'; 64 * 1024]).unwrap();
    let mut command = Command::new(server_binary());
    command.args(["--udp", "off", "--tcp", &server.tcp.to_string()]).stderr(OwnedFd::from(writer));
    let mut failing = command.spawn().unwrap();
    let status = wait_for("the server to end", || failing.try_wait().unwrap());
    assert_eq!(status.code(), Some(1));
    drop((reader, filler));
}

#[test]
fn a_terminal_stopped_with_ctrl_s_delays_no_client_and_shows_everything_after_ctrl_q() {
    let data_dir = std::env::temp_dir().join(format!("forkchat-log-output-{}", std::process::id()));
    let mut command = Command::new(server_binary());
    command
        .args(["--tcp", "127.0.0.1:0", "--udp", "off", "--workers", "2", "--data-dir"])
        .arg(&data_dir);
    let mut terminal = Terminal::start(&command, 50, 200);
    let tcp = wait_for("the server to listen", || {
        let lines = terminal.lines();
        let line = lines.iter().find_map(|line| line.split_once("listening on tcp "));
        line.and_then(|(_, address)| address.parse().ok())
            .filter(|_| lines.iter().any(|line| line.ends_with(" connections")))
    });
    let supervisor = terminal.pid();
    let process = |name: &str| {
        wait_for(name, || children_of(supervisor).into_iter().find(|&pid| name_of(pid) == name))
    };
    terminal.type_keys("\x13");
    kill_and_chat(tcp, process, 0..2);
    assert!(
        !terminal.lines().iter().any(|line| line.contains("killed by signal 9")),
        "the output is stopped"
    );
    terminal.type_keys("\x11");
    let deaths = || {
        terminal
            .lines()
            .iter()
            .filter(|line| line.contains("killed by signal 9; restarted"))
            .count()
    };
    wait_for("the deaths to be shown", || (deaths() == 6).then_some(()));
    terminal.type_keys("\x13");
    kill_and_chat(tcp, process, 2..3);
    kill(supervisor, Signal::SIGTERM).unwrap();
    assert_eq!(terminal.wait().code(), Some(0));
    let _ = std::fs::remove_dir_all(data_dir);
}

/// Connects this many times to a full server. Each attempt adds a line to the log output.
fn be_rejected(server: &Server, times: usize) {
    for _ in 0..times {
        let mut stream = TcpStream::connect(server.tcp).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

const REJECTED: &str = "supervisor: rejected a connection from 127.0.0.1: the server is full";

#[test]
fn lines_that_do_not_fit_are_dropped_counted_and_reported_when_there_is_room_again() {
    const LINES: usize = 16_000;
    let server = Server::start(&["-v", "--max-connections", "1", "--rate-limit", "off"]);
    let mut one = server.join("one");
    server.stop_reading_log();
    std::thread::scope(|scope| {
        (0..4).for_each(|_| drop(scope.spawn(|| be_rejected(&server, LINES / 4))))
    });
    one.sync();
    server.resume_reading_log();
    server.logs(" dropped: standard error did not take them in time");
    be_rejected(&server, 1);
    let text = wait_for("the last line", || {
        let text = server.log_output();
        text.rsplit_once(" dropped: ")
            .is_some_and(|(_, rest)| rest.contains(REJECTED))
            .then_some(text)
    });
    let reports = text.lines().filter_map(|line| {
        line.split_once(" log lines were dropped: ")?.0.rsplit(' ').next()?.parse::<usize>().ok()
    });
    let dropped: usize = reports.sum();
    let seen = text.lines().filter(|line| line.ends_with(REJECTED)).count();
    assert!(dropped > 1_000 && seen > 1_000, "{dropped} dropped, {seen} seen");
    assert_eq!(dropped + seen, LINES + 1);
}

#[test]
fn many_lines_are_written_completely_and_in_order() {
    const LINES: usize = 3_000;
    let server = Server::start(&["-v", "--max-connections", "1", "--rate-limit", "off"]);
    let _one = server.join("one");
    be_rejected(&server, LINES);
    has(&server, LINES, REJECTED);
    let text = server.log_output();
    assert_eq!(count(&server, "dropped"), 0);
    let times: Vec<&str> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert!(
        times.iter().all(|time| time.len() == "2026-01-01T00:00:00.000Z".len()),
        "each line begins with a time"
    );
    let of_supervisor: Vec<&str> =
        text.lines().filter(|line| line.contains(" supervisor: ")).collect();
    assert!(of_supervisor.is_sorted_by_key(|line| line.split(' ').next()), "in order");
}

#[test]
fn a_killed_log_process_loses_nothing_and_no_client_notices() {
    const KILLS: usize = 5;
    let server = Server::start(&[]);
    let mut one = server.join("one");
    for round in 1..=KILLS {
        server.stop_reading_log();
        let worker = server.process("worker 1");
        kill(worker, Signal::SIGKILL).unwrap();
        server.replaced("worker 1", worker);
        let log = server.process("log");
        // The log process holds more than the pipe can take.
        kill(log, Signal::SIGKILL).unwrap();
        server.replaced("log", log);
        assert!(one.sync().is_empty());
        server.resume_reading_log();
        has(&server, round, "worker 1 (pid ");
        server.logs(&format!(
            "supervisor: warning: log (pid {log}) was killed by signal 9; restarted as pid "
        ));
    }
}

#[test]
fn a_stopped_log_process_is_replaced() {
    let server = Server::start(&[]);
    let log = server.process("log");
    kill(log, Signal::SIGSTOP).unwrap();
    server.replaced("log", log);
    server.logs(&format!("log (pid {log}) was stopped; killing it"));
    server.logs(&format!("log (pid {log}) was killed by signal 9; restarted as pid "));
}

#[test]
fn the_log_process_writes_what_a_killed_supervisor_logged_and_ends() {
    let server = Server::start(&[]);
    let log = server.process("log");
    server.stop_reading_log();
    let worker = server.process("worker 1");
    kill(worker, Signal::SIGKILL).unwrap();
    server.replaced("worker 1", worker);
    server.signal(Signal::SIGKILL);
    wait_for("the worker to die with the supervisor", || name_of(worker).is_empty().then_some(()));
    assert_eq!(name_of(log), "log");
    server.resume_reading_log();
    server.logs(&format!("worker 1 (pid {worker}) was killed by signal 9; restarted as pid "));
    wait_for("the log process to end", || name_of(log).is_empty().then_some(()));
}

#[test]
fn standard_error_without_a_reader_ends_no_process() {
    let data_dir = std::env::temp_dir().join(format!("forkchat-no-reader-{}", std::process::id()));
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = Command::new(server_binary());
    command
        .args(["--tcp", "127.0.0.1:0", "--udp", "off", "--workers", "2", "--data-dir"])
        .arg(&data_dir)
        .stdin(Stdio::null());
    let mut server = command.stderr(OwnedFd::from(writer)).spawn().unwrap();
    drop(command);
    let (mut text, mut reader) = (String::new(), reader);
    let tcp = loop {
        let mut piece = [0; 4_096];
        let length = reader.read(&mut piece).unwrap();
        text.push_str(std::str::from_utf8(&piece[..length]).unwrap());
        if let Some((_, rest)) =
            text.split_once("listening on tcp ").filter(|_| text.contains(" connections\n"))
        {
            break rest.lines().next().unwrap().parse().unwrap();
        }
    };
    drop(reader);
    let supervisor = Pid::from_raw(server.id().cast_signed());
    let process = |name: &str| {
        wait_for(name, || children_of(supervisor).into_iter().find(|&pid| name_of(pid) == name))
    };
    let log = process("log");
    kill_and_chat(tcp, process, 0..2);
    assert_eq!(process("log"), log);
    kill(supervisor, Signal::SIGTERM).unwrap();
    let status = wait_for("the server to end", || server.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    assert!(name_of(log).is_empty());
    let _ = std::fs::remove_dir_all(data_dir);
}
