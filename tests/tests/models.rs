//! The comparison of the server's models, and that with another chat server: what they find, what
//! they report, and that they leave nothing behind.

use forkchat_tests::processes::{children_of, name_of};
use forkchat_tests::{Server, server_binary, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

const MODELS: [&str; 3] = ["pool", "threads", "process"];
const FAMILIES: [&str; 7] = ["storm", "idle", "rooms", "room", "paced", "udp", "kill"];
/// The ids of the report's plots.
const PLOTS: [&str; 16] = [
    "deliveries-rooms",
    "deliveries-room",
    "cpu-rooms",
    "cpu-room",
    "cpu-paced",
    "p50",
    "p99",
    "p999",
    "p99-room",
    "memory",
    "memory-private",
    "storm",
    "threads",
    "processes",
    "kill-share",
    "kill-wait",
];

fn load(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forkchat-load"));
    command.arg("--server").arg(server_binary()).args(arguments).stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn rows(output: &Output) -> Vec<Value> {
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

/// A file that is removed at the end of the test.
struct Report(PathBuf);

impl Report {
    fn new(test: &str) -> Report {
        Report(
            std::env::temp_dir()
                .join(format!("forkchat-report-{}-{test}.html", std::process::id())),
        )
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap()
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The bare broadcaster, speaking IRC. It ends with its standard input.
struct IrcServer {
    child: Child,
    /// Kept open, because the process writes to it at its end.
    _stdout: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl IrcServer {
    fn start(fault: Option<&str>) -> IrcServer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forkchat-load"));
        let mut child = command
            .args(["be-broadcaster", "irc"])
            .args(fault)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let address = line.strip_prefix("listening on tcp ").unwrap().trim().parse().unwrap();
        IrcServer { child, _stdout: stdout, address }
    }

    fn argument(&self) -> String {
        format!("{}:irc", self.address)
    }
}

impl Drop for IrcServer {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Checks what every report must fulfil.
fn assert_self_contained(text: &str) {
    assert!(text.starts_with("<!DOCTYPE html>") && text.trim_end().ends_with("</html>"));
    for outside in ["http", "<script", "<link", "<img", "@import", "url(", "src="] {
        assert!(!text.contains(outside), "{outside} in the report");
    }
    for tag in [
        "svg", "section", "figure", "table", "ul", "li", "p", "div", "main", "style", "tr", "td",
        "th", "nav", "dl", "details",
    ] {
        let opened =
            text.matches(&format!("<{tag}>")).count() + text.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, text.matches(&format!("</{tag}>")).count(), "<{tag}>");
    }
}

#[test]
fn every_model_is_measured_and_the_report_shows_it() {
    let report = Report::new("all");
    let output = load(&[
        "--models",
        "--sizes",
        "100",
        "--seconds",
        "0.1",
        "--json",
        "--report",
        report.path(),
    ])
    .output()
    .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let rows = rows(&output);
    let names: Vec<String> =
        rows.iter().map(|row| row["row"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, FAMILIES.map(|family| format!("{family}-100")));
    for row in &rows {
        let is_kill = row["row"] == "kill-100";
        for side in MODELS.into_iter().chain((!is_kill).then_some("bare")) {
            assert_eq!(row[side]["samples"].as_array().map(Vec::len), Some(3), "{side}: {row}");
            let is_quiet = row["shape"]["traffic"] == "quiet";
            assert!(
                is_quiet || row[side]["units"].as_u64().is_some_and(|units| units > 0),
                "{side}: {row}"
            );
            assert!(
                row[side]["processes"].as_u64() >= Some(1)
                    && row[side]["threads"].as_u64() >= row[side]["processes"].as_u64(),
                "{row}"
            );
        }
    }
    // The models differ in the number of processes and threads for 100 connections.
    let of_idle = |model: &str, what: &str| rows[1][model][what].as_u64().unwrap();
    assert!(
        of_idle("process", "processes") > 100 && of_idle("pool", "processes") < 100,
        "{}",
        rows[1]
    );
    assert!(
        of_idle("threads", "threads") > 200 && of_idle("threads", "processes") < 100,
        "{}",
        rows[1]
    );

    // A kill affects the connections of one process: one of 100 if each has its own process, else
    // those of a worker. No line is lost.
    let of_kill = |model: &str, what: &str| rows[6][model][what].as_f64().unwrap();
    assert_eq!(of_kill("process", "kill_share"), 0.01, "{}", rows[6]);
    for model in MODELS {
        assert!(
            of_kill(model, "kill_share") <= 1.0 && of_kill(model, "kill_wait_ms") > 0.0,
            "{}",
            rows[6]
        );
        assert_eq!(
            ["lost", "doubled", "reordered", "wrong", "dropped_connections"]
                .map(|what| of_kill(model, what)),
            [0.0; 5]
        );
        assert_eq!(
            rows[6][model]["complaints"],
            serde_json::json!([]),
            "the kill that was asked for is no fault"
        );
    }
    let workers = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    assert!(
        ["pool", "threads"].iter().all(|model| of_kill(model, "kill_share") > 0.3 / workers),
        "about a worker's part: {}",
        rows[6]
    );

    let text = report.text();
    assert_self_contained(&text);
    assert!(MODELS.iter().all(|model| text.contains(&format!(">{model}</h3>"))));
    for plot in PLOTS {
        let section = text
            .split_once(&format!("<section class=\"plot\" id=\"{plot}\">"))
            .unwrap_or_else(|| panic!("no plot {plot}"))
            .1;
        let figure = section.split_once("</section>").unwrap().0;
        // A model without measurable memory per connection has no point in the plot; a sentence
        // says so.
        assert!(
            figure.contains("<svg ")
                && MODELS.iter().all(|model| figure.contains(&format!("{model}\n"))
                    || figure.contains("with 100 connections: 0")),
            "{plot}"
        );
    }
    let part = |from: &str, to: &str| text.split_once(from).unwrap().1.split_once(to).unwrap().0;
    let answer = part("<section id=\"answer\">", "</section>");
    assert!(
        answer.contains(">100 connections</th>")
            && answer.contains("When a process of the server is killed"),
        "{answer}"
    );
    assert!(
        answer.contains("in process 1 of 100 clients for ")
            && answer.contains("Connections that fit on this machine"),
        "{answer}"
    );
    let choice = part("<section id=\"comparison\">", "</section>");
    assert!(
        choice.contains("<h3>With 100 connections</h3>")
            && choice.matches("By design, not measured").count() == 6
    );
    // Six goals, what a kill costs in two rows, how many connections fit, and the models.
    assert_eq!(choice.matches("<tr><th scope=\"row\">").count(), 6 + 3 + MODELS.len(), "{choice}");
    assert!(choice.contains("class=\"whisker\""), "the spread is drawn");
    assert!(text.contains("process ") && text.contains(" KiB private and "), "the memory's parts");
    assert!(
        text.contains("Nothing was lost")
            && !text.contains("not complete")
            && text.contains("With 100 connections ")
    );
}

#[test]
fn faults_are_found_and_reported() {
    let report = Report::new("fault");
    let arguments = [
        "--models=pool",
        "--sizes",
        "20",
        "--seconds",
        "0.2",
        "--fault",
        "lose",
        "--report",
        report.path(),
    ];
    let output = load(&arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("rooms-20: the bare broadcaster made "), "{}", said(&output));
    let text = report.text();
    let faults =
        text.split_once("There were faults").unwrap().1.split_once("</ul>").unwrap().0.to_owned();
    assert!(
        faults.contains("rooms-20, bare broadcaster: ") && faults.contains(" lost"),
        "{faults}"
    );
    assert!(!faults.contains("pool"), "{faults}");
}

#[test]
fn a_size_that_does_not_fit_is_not_run_and_is_no_fault() {
    let report = Report::new("limit");
    let arguments = [
        "--models=threads,pool",
        "--sizes",
        "10,30",
        "--seconds",
        "0.1",
        "--json",
        "--report",
        report.path(),
        "--",
        "--max-connections",
        "20",
    ];
    let output = load(&arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let rows = rows(&output);
    for (row, family) in rows[FAMILIES.len()..].iter().zip(FAMILIES) {
        assert_eq!(row["row"], format!("{family}-30"));
        assert_eq!(
            row["threads"]["missing"],
            "not run: at most 20 connections fit on this machine"
        );
        assert!(family == "kill" || row["bare"]["units"].is_u64(), "{row}");
    }
    assert!(rows[0]["process"].is_null(), "not asked for");
    assert!(report.text().contains("threads with 30 connections: not run: at most 20"));
}

#[test]
fn a_cell_that_cannot_be_measured_is_a_failure_and_the_others_are_measured() {
    let report = Report::new("failure");
    let arguments = [
        "--models=pool",
        "--sizes",
        "10",
        "--seconds",
        "0.1",
        "--report",
        report.path(),
        "--",
        "--ring",
        "1",
    ];
    let output = load(&arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("pool                  failed: the server did not start"),
        "{}",
        said(&output)
    );
    assert_self_contained(&report.text());
    assert!(
        report.text().contains("failed: the server did not start")
            && !report.text().contains("no connection was dropped")
    );
}

#[test]
fn the_report_has_what_was_measured_before_an_interrupt() {
    let report = Report::new("interrupted");
    let arguments = [
        "--models=process",
        "--sizes",
        "10",
        "--seconds",
        "1",
        "--json",
        "--report",
        report.path(),
    ];
    let mut run = load(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    let mut stdout = BufReader::new(run.stdout.take().unwrap());
    stdout.read_line(&mut first).unwrap();
    assert!(first.contains("storm-10"), "{first}");
    let pid = Pid::from_raw(run.id().cast_signed());
    let server = wait_for("a server", || {
        children_of(pid).into_iter().find(|&child| name_of(child) == "supervisor")
    });
    let processes = children_of(server);
    kill(pid, Signal::SIGINT).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(1));
    processes.into_iter().chain([server]).for_each(|process| {
        wait_for("its processes to end", || kill(process, None).is_err().then_some(()))
    });
    let text = report.text();
    assert_self_contained(&text);
    assert!(
        text.contains("not complete: it was interrupted")
            && text.contains("storm-10")
            && text.contains("id=\"storm\""),
        "{text}"
    );
}

#[test]
fn another_server_gets_the_same_load_and_is_checked() {
    let irc = IrcServer::start(None);
    let shapes = [
        "room-10",
        "storm",
        "churn",
        "udp",
        "--clients",
        "20",
        "--rooms",
        "2",
        "--seconds",
        "0.3",
        "--json",
    ];
    let output = load(&[&["--compare", &irc.argument()], &shapes[..]].concat()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let rows = rows(&output);
    for row in &rows[..3] {
        assert!(row["compared"]["units"].as_u64().unwrap() > 0, "{row}");
        assert!(
            row["compared"]["cpu_us_each"].as_f64().unwrap() > 0.0,
            "its process is seen: {row}"
        );
    }
    let lines = rows[0]["compared"]["lines"].as_u64().unwrap();
    assert_eq!(
        rows[0]["compared"]["units"].as_u64().unwrap(),
        lines * 9,
        "nobody hears themselves"
    );
    assert_eq!(rows[3]["compared"]["missing"], "not run: there is no IRC over UDP");

    let faulty = IrcServer::start(Some("lose"));
    let output =
        load(&["--compare", &faulty.argument(), "room-10", "--seconds", "0.3"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
}

#[test]
fn another_server_may_use_the_line_protocol() {
    let other = Server::start(&["--rate-limit", "off"]);
    let output =
        load(&["--compare", &other.tcp.to_string(), "room-10", "--seconds", "0.3", "--csv"])
            .output()
            .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let text = said(&output);
    assert!(
        text.lines().any(|line| line.starts_with("server,"))
            && text.lines().any(|line| line.starts_with("compared,")),
        "{text}"
    );
    assert_eq!(other.join("after").sync().len(), 0, "the server goes on");
}

#[test]
fn another_server_can_be_compared_with_the_models_too() {
    let (report, irc) = (Report::new("compared"), IrcServer::start(None));
    let arguments = [
        "--models=pool",
        "--sizes",
        "10",
        "--seconds",
        "0.1",
        "--json",
        "--report",
        report.path(),
        "--compare",
    ];
    let output = load(&[&arguments[..], &[&irc.argument()]].concat()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let is_there = |row: &Value| {
        row["compared"]["connections"] == 10 || row["row"] == "udp-10" || row["row"] == "kill-10"
    };
    assert!(rows(&output).iter().all(is_there), "{}", said(&output));
    let text = report.text();
    assert_self_contained(&text);
    assert!(
        text.contains("compared server")
            && text.contains(&irc.address.to_string())
            && text.contains("spoken to in IRC")
    );
    assert!(
        text.contains(&format!("the compared server ({}) has with 10 connections: ", irc.address)),
        "beside the models: {text}"
    );
}

/// A server that sends the same text to every client and closes the connection.
fn server_that_sends_and_closes(words: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(words.as_bytes());
            // It reads until the client closes: with unread input the kernel would discard the
            // text.
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    address
}

#[test]
fn it_is_reported_at_once_why_another_server_cannot_be_compared() {
    let irc = |words| format!("{}:irc", server_that_sends_and_closes(words));
    for (compare, words) in [
        (
            "127.0.0.1:1:irc".to_owned(),
            "cannot compare with 127.0.0.1:1: cannot connect to 127.0.0.1:1: Connection refused",
        ),
        (
            irc("ERROR :Closing Link: too many connections from your host\r\n"),
            "the server refused: ERROR :Closing Link: too many connections",
        ),
        (
            irc(":x 433 * abc :Nickname is already in use\r\n"),
            "the server refused: :x 433 * abc :Nickname is already in use",
        ),
        (irc("220 mail.example ESMTP\r\n"), "speak IRC?; it said: 220 mail.example ESMTP"),
        (
            server_that_sends_and_closes(":x 451 * :You have not registered\r\n").to_string(),
            "speak forkchat's line protocol?; it said: :x 451",
        ),
    ] {
        let output =
            load(&["--compare", &compare, "room-10", "--seconds", "0.1"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains(words), "{compare}: {}", said(&output));
        assert!(output.stdout.is_empty(), "nothing was measured before");
    }
}

#[test]
fn a_wrong_command_line_is_explained() {
    for (arguments, code, words) in [
        (
            &["--models", "--report", "/nowhere/report.html"][..],
            1,
            "cannot write the report to /nowhere/report.html",
        ),
        (&["--models", "--", "--model", "pool"], 2, "choose with --models=pool,threads"),
        (&["--models=pool", "--", "--model=process"], 2, "choose with --models=pool,threads"),
        (&["--models=fork"], 2, "[possible values: pool, threads, process]"),
        (&["--models", "room-10"], 2, "cannot be used with"),
        (&["--models", "--sizes", "1"], 2, "1 is not in 2..=100000"),
        (&["--report", "x.html"], 2, "--models"),
        (&["--compare", "127.0.0.1:6667:xmpp"], 2, "--compare"),
        (&["--fault", "lose"], 2, "only beside --models"),
    ] {
        let output = load(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(words), "{arguments:?}: {}", said(&output));
    }
    assert!(!Path::new("x.html").exists());
}
