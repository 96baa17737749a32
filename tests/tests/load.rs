//! The load test finds every fault that is made, reports none if there is none, and leaves nothing
//! behind.

use forkchat_tests::processes::{children_of, name_of};
use forkchat_tests::{Server, server_binary, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::process::{Child, Command, Output, Stdio};

fn load(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forkchat-load"));
    if !arguments.iter().any(|argument| ["--fault", "--addr", "--server"].contains(argument)) {
        command.arg("--server").arg(server_binary());
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// The exit code of a run, and the objects that it printed.
fn rows(arguments: &[&str]) -> (Option<i32>, Vec<Value>) {
    let output = load(&[arguments, &["--json"]].concat()).output().expect("it runs");
    let lines = String::from_utf8(output.stdout).unwrap();
    let rows = lines.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    if output.status.code() != Some(0) {
        eprintln!(
            "{arguments:?}: {}\n{lines}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    (output.status.code(), rows)
}

fn row(arguments: &[&str]) -> (Option<i32>, Value) {
    let (code, mut rows) = rows(arguments);
    assert_eq!(rows.len(), 1, "one row for {arguments:?}");
    (code, rows.remove(0))
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The numbers of lost, doubled, reordered and wrong lines that a run found, and the number of
/// faults made.
fn found(fault: &str) -> [u64; 5] {
    let (code, row) =
        row(&["--fault", fault, "--clients", "20", "--rooms", "2", "--seconds", "0.5"]);
    assert_eq!(code, Some(1), "exit code with {fault}");
    ["lost", "doubled", "reordered", "wrong", "faults"]
        .map(|name| row["bare"][name].as_u64().unwrap())
}

#[test]
fn every_lost_line_is_found() {
    let [lost, doubled, reordered, wrong, made] = found("lose");
    assert!(made > 0);
    assert_eq!([lost, doubled, reordered, wrong], [made, 0, 0, 0]);
}

#[test]
fn every_doubled_line_is_found() {
    let [lost, doubled, reordered, wrong, made] = found("double");
    assert!(made > 0);
    assert_eq!([lost, doubled, reordered, wrong], [0, made, 0, 0]);
}

#[test]
fn every_changed_line_is_found() {
    let [lost, doubled, reordered, wrong, made] = found("corrupt");
    assert!(made > 0);
    assert_eq!([lost, doubled, reordered, wrong], [made, 0, 0, made]);
}

#[test]
fn exchanged_lines_are_found() {
    let [lost, doubled, reordered, wrong, made] = found("swap");
    assert!(made > 0);
    assert_eq!([lost, doubled, wrong], [0, 0, 0]);
    assert!(
        (1..=made).contains(&reordered),
        "of {made} pairs that were exchanged {reordered} are noticed"
    );
}

#[test]
fn lines_of_two_senders_exchanged_for_one_member_are_found() {
    // With one line in flight per sender, two lines that wait together are of two senders. So their
    // numbers do not show that they were exchanged.
    let (code, row) =
        row(&["--fault", "swap", "--clients", "40", "--window", "1", "--seconds", "0.5"]);
    let count = |name: &str| row["bare"][name].as_u64().unwrap();
    assert!(count("faults") > 0 && count("reordered") > 0, "{row}");
    assert_eq!((code, count("lost"), count("doubled")), (Some(1), 0, 0));
}

#[test]
fn a_line_delivered_to_another_room_is_found_with_members_and_with_idle_clients() {
    let [lost, doubled, reordered, wrong, made] = found("stray");
    assert!(made > 0);
    assert_eq!([lost, doubled, reordered, wrong], [0, 0, 0, made]);
    let (code, row) =
        row(&["--fault", "stray", "--clients", "20", "--idle", "5", "--seconds", "0.5"]);
    assert_eq!((code, &row["bare"]["wrong"]), (Some(1), &row["bare"]["faults"]));
    assert!(row["bare"]["faults"].as_u64().unwrap() > 0);
}

#[test]
fn an_open_loop_does_not_hide_that_the_server_stood_still() {
    // Wherever in a slice the 0.3 s begin, a line that was due meanwhile counts as late, even if it
    // was sent later.
    for seconds in ["1.6", "2.4", "4"] {
        let (code, row) =
            row(&["--fault", "stall", "--clients", "20", "--rate", "1000", "--seconds", seconds]);
        assert_eq!(code, Some(0));
        assert!(row["bare"]["max_ms"].as_f64().unwrap() >= 290.0, "{row}");
        // 0.3 s of at most 4 s are more than 5 % of all lines. A third of them are later than 0.2
        // s.
        assert!(row["bare"]["p99_ms"].as_f64().unwrap() >= 200.0, "{row}");
        assert!(row["bare"]["rate_share"].as_f64().unwrap() > 0.9, "what was due was said: {row}");
    }
}

#[test]
fn a_rate_that_cannot_be_kept_is_reported_and_increases_the_latency() {
    let output =
        load(&["--clients", "20", "--rate", "1000000", "--seconds", "1"]).output().unwrap();
    assert!(
        said(&output).contains("% of the rate that was asked for was kept"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_slow_rate_is_slow() {
    let (code, row) = row(&["--clients", "20", "--rate", "3", "--seconds", "2"]);
    assert_eq!(code, Some(0));
    assert!((5..=8).contains(&row["server"]["lines"].as_u64().unwrap()), "{row}");
}

#[test]
fn every_line_is_delivered_in_every_kind_of_traffic() {
    for arguments in [
        &["--clients", "30", "--rooms", "3"][..],
        &["--clients", "30", "--rate", "500", "--bytes", "24"],
        &[
            "--clients",
            "12",
            "--senders",
            "12",
            "--window",
            "3",
            "--bytes",
            "4096",
            "--workers",
            "3",
        ],
        &["--clients", "30", "--idle", "40", "--udp"],
        &["--clients", "30", "--rate", "500", "--udp"],
    ] {
        let (code, row) = row(&[arguments, &["--seconds", "0.5", "--baseline"]].concat());
        assert_eq!(code, Some(0), "{arguments:?}");
        let clients =
            row["shape"]["clients"].as_u64().unwrap() / row["shape"]["rooms"].as_u64().unwrap();
        for side in ["server", "bare"] {
            let count = |name: &str| row[side][name].as_u64().unwrap();
            assert!(count("lines") > 10, "{row}");
            assert_eq!(count("units"), count("lines") * (clients - 1), "{arguments:?} {side}");
            assert!(row[side]["cpu_us_each"].as_f64().unwrap() > 0.0);
            assert!(
                row[side]["p50_ms"].as_f64().unwrap() <= row[side]["p999_ms"].as_f64().unwrap()
            );
        }
        assert!(row["times_bare_cpu"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn visitors_miss_nothing_between_their_join_and_their_leave() {
    for arguments in [&["--churn", "100"][..], &["--churn", "100", "--udp"]] {
        let (code, row) = row(&[
            &["--clients", "20", "--rate", "200", "--seconds", "1.5", "--baseline"],
            arguments,
        ]
        .concat());
        assert_eq!(code, Some(0));
        for side in ["server", "bare"] {
            let [logins, units, lines] =
                ["logins", "units", "lines"].map(|name| row[side][name].as_u64().unwrap());
            assert!(logins >= 100, "{row}");
            assert!(units > lines * 19, "visitors hear lines, too: {row}");
        }
    }
}

#[test]
fn a_storm_counts_logins_and_a_quiet_server_uses_almost_no_cpu_time() {
    let (code, storm) = row(&["--clients", "50", "--storm", "--seconds", "0.5", "--baseline"]);
    assert_eq!(code, Some(0));
    assert!(storm["server"]["units"].as_u64().unwrap() >= 50);
    assert!(storm["server"]["p50_ms"].as_f64().unwrap() > 0.0);
    let (code, storm) = row(&["--clients", "50", "--storm", "--udp", "--seconds", "0.5"]);
    assert_eq!(code, Some(0), "{storm}");
    let (code, quiet) = row(&["--clients", "50", "--quiet", "--seconds", "0.5"]);
    assert_eq!(code, Some(0));
    assert_eq!(quiet["server"]["units"], 0);
    assert!(quiet["server"]["server_share"].as_f64().unwrap() < 0.5, "{quiet}");
    assert!(quiet["server"]["kib_per_connection"].as_f64().is_some());
}

#[test]
fn a_server_that_runs_already_can_be_put_under_load() {
    let server = Server::start(&["--rate-limit", "off"]);
    let (code, row) =
        row(&["--addr", &server.tcp.to_string(), "--clients", "20", "--seconds", "0.5"]);
    assert_eq!(code, Some(0));
    assert!(row["server"]["units"].as_u64().unwrap() > 0);
    assert_eq!(row["server"]["cpu_us_each"], Value::Null);
    assert_eq!(server.join("after").sync().len(), 0, "the server goes on");
}

#[test]
fn a_dropped_client_is_reported() {
    let server = Server::start(&["--rate-limit", "off"]);
    let mut load = load(&[
        "--addr",
        &server.tcp.to_string(),
        "--clients",
        "20",
        "--rate",
        "100",
        "--seconds",
        "60",
        "--json",
    ]);
    let load = load.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut watcher = server.join("watcher");
    wait_for("the clients to be there", || {
        watcher.say("/rooms");
        watcher.sync().iter().any(|line| line.contains("r0") && line.contains("20")).then_some(())
    });
    drop(watcher);
    // The server stops and ends all connections.
    server.signal(Signal::SIGTERM);
    let output = load.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("has ended all connections"), "{}", said(&output));
}

#[test]
fn a_run_in_which_a_worker_dies_fails_and_names_the_worker() {
    let arguments = ["--clients", "40", "--rate", "100", "--seconds", "3"];
    let load = load(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let server = supervisor_of(&load);
    // The death of a worker before it serves is no fault.
    wait_for("the clients to be there", || {
        (std::fs::read_dir(format!("/proc/{server}/fd")).ok()?.count() > 40).then_some(())
    });
    kill(
        wait_for("a worker", || {
            children_of(server).into_iter().find(|&child| name_of(child) == "worker 1")
        }),
        Signal::SIGKILL,
    )
    .unwrap();
    let output = load.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("killed by signal 9; restarted"), "{}", said(&output));
}

#[test]
fn a_row_that_cannot_be_measured_does_not_end_the_table() {
    let output =
        load(&["room-100", "room-10", "--seconds", "0.2", "--", "--max-connections", "50"])
            .output()
            .unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("room-100: the server refused: ! the server is full"), "{text}");
    assert!(text.lines().any(|line| line.starts_with("room-10 ")), "{text}");
}

#[test]
fn a_wrong_command_line_is_explained() {
    for (arguments, code, words) in [
        (&["--addr", "127.0.0.1:1"][..], 1, "cannot connect to 127.0.0.1:1"),
        (&["--clients", "1"], 2, "--clients 2"),
        (&["--senders", "200"], 2, "--senders 200"),
        (&["nothing"], 2, "room-100"),
        (&["--clients", "20", "--", "--ring", "1"], 1, "--ring"),
        (&["--server", "/nowhere"], 1, "there is no /nowhere"),
        (&["--clients", "20", "--", "--max-connections", "10"], 1, "the server refused"),
    ] {
        let output = load(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        assert!(said(&output).contains(words), "{arguments:?}: {}", said(&output));
    }
}

#[test]
fn table_csv_and_histograms_agree() {
    let directory =
        std::env::temp_dir().join(format!("forkchat-histograms-{}", std::process::id()));
    let arguments = ["room-10", "--seconds", "0.5", "--baseline", "--workers", "1,2"];
    let table = load(&arguments).output().unwrap();
    let text = said(&table);
    assert!(table.status.success(), "{text}");
    assert_eq!(text.matches("times a bare broadcaster").count(), 2, "every row ends in it: {text}");
    assert!(
        ["room-10, 1 worker ", "room-10, 2 workers", "CPUs", "p99.9"]
            .iter()
            .all(|part| text.contains(part)),
        "{text}"
    );

    let directory_text = directory.to_str().unwrap();
    let csv = load(&[&arguments[..], &["--csv", "--histograms", directory_text]].concat())
        .output()
        .unwrap();
    let lines: Vec<String> =
        String::from_utf8(csv.stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 5, "a head, and two sides of two rows");
    assert!(lines.iter().all(|line| line.split(',').count() == lines[0].split(',').count()));
    for file in [
        "01-room-10-1.hgrm",
        "01-room-10-1-bare.hgrm",
        "02-room-10-2.hgrm",
        "02-room-10-2-bare.hgrm",
    ] {
        let text = std::fs::read_to_string(directory.join(file)).unwrap();
        assert!(text.contains("Percentile") && text.contains("#[Max "), "{file}: {text}");
    }
    std::fs::remove_dir_all(directory).unwrap();
}

/// Starts a run that takes a minute. Returns it and the supervisor of its server, when the workers
/// run.
fn running() -> (Child, Pid) {
    let load = load(&["--clients", "20", "--seconds", "60", "--json"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = supervisor_of(&load);
    wait_for("the server's workers", || (children_of(server).len() >= 4).then_some(()));
    (load, server)
}

fn supervisor_of(load: &Child) -> Pid {
    let pid = Pid::from_raw(load.id().cast_signed());
    wait_for("its server", || {
        children_of(pid).into_iter().find(|&child| name_of(child) == "supervisor")
    })
}

fn is_gone(pid: Pid) -> Option<()> {
    kill(pid, None).is_err().then_some(())
}

#[test]
fn an_interrupted_or_killed_run_leaves_nothing_behind() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let (mut load, server) = running();
        let workers = children_of(server);
        let data_dir = std::env::temp_dir().join(format!("forkchat-load-{}", load.id()));
        wait_for("its data directory", || data_dir.exists().then_some(()));
        kill(Pid::from_raw(load.id().cast_signed()), signal).unwrap();
        let status = load.wait().unwrap();
        assert!(!status.success());
        wait_for("its server to end", || is_gone(server));
        workers.into_iter().for_each(|worker| wait_for("the workers to end", || is_gone(worker)));
        // A killed run cannot clean up. The next run does.
        if signal == Signal::SIGKILL {
            assert_eq!(row(&["--clients", "10", "--seconds", "0.1"]).0, Some(0));
        }
        assert!(!data_dir.exists(), "{signal}");
    }
}
