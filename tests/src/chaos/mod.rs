//! The chaos test: `forkchat-chaos` kills processes of a server under full load and checks that no
//! client notices.
//!
//! ```text
//!  killer (thread) ──SIGKILL──► workers, journal            what was killed, when
//!     └──────────────────────────────────────────────────────────────┐
//!  scenario: participants ◄──► forkchat-server                       ▼
//!     └─ every line ─► checker (transcripts) ─► faults          pauses ─► report
//! ```
//!
//! | file | contents |
//! |---|---|
//! | `options` | the command line |
//! | `server` | the server under test, and what its log output reports |
//! | `killer` | kills processes of the server, chosen by a seed |
//! | `scenario` | runs all clients in one epoll loop: login, traffic, end |
//! | `traffic` | which lines the clients send when |
//! | `participants` | creates the clients; how they log in, join and leave |
//! | `client` | one client: its socket, and how it reads and writes |
//! | `sender` | a client that sends lines, and the positions of its lines |
//! | `receiver` | what a client must receive, and has received |
//! | `transcript` | the lines to a room, in their one order |
//! | `tags` | splits a line into tags and text |
//! | `checker` | compares each received line with what its receiver must receive |
//! | `faults` | counts and describes faults |
//! | `pauses`, `report` | how long clients waited; the result as text and JSON |

mod checker;
mod client;
mod faults;
mod killer;
mod options;
mod participants;
mod pauses;
mod receiver;
mod report;
mod scenario;
mod sender;
mod server;
mod tags;
mod traffic;
mod transcript;

use crate::load::progress::Progress;
use crate::load::subprocess::{RUN_UNTIL_PARENT_ENDS, run_until_parent_ends};
use crate::load::{allow_many_files, is_interrupted, print_line};
use clap::Parser;
use options::Options;
use report::Outcome;
use scenario::Scenario;
use server::{Server, recoveries};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long the restart of the last killed process may take.
const COMPLETE_WITHIN: Duration = Duration::from_secs(5);

/// The program. With another first argument it starts the server: see `subprocess` of the load
/// test.
pub fn main() -> ExitCode {
    let text = |position| {
        std::env::args_os().nth(position).and_then(|argument| argument.into_string().ok())
    };
    let error = match text(1).as_deref() {
        Some(RUN_UNTIL_PARENT_ENDS) => {
            run_until_parent_ends(text(2).as_deref(), std::env::args_os().skip(3))
        }
        _ => match run(&Options::parse()) {
            Ok(code) => return code,
            Err(error) => error,
        },
    };
    eprintln!("forkchat-chaos: {error}");
    ExitCode::FAILURE
}

fn run(options: &Options) -> Result<ExitCode, String> {
    if let Err(wrong) = options.check() {
        eprintln!("error: {wrong}\n\nFor more information, try '--help'.");
        return Ok(ExitCode::from(2));
    }
    // Catches signals from now on.
    is_interrupted();
    allow_many_files();
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(1..1_000_000));
    let mut server = Server::start(options)?;
    let progress = Progress::start(options.seconds);
    let outcome = run_scenario(options, &mut server, seed, &progress);
    progress.end();
    let log_file = server.log_file.clone();
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            return Err(format!("{error}; the server's log output is in {}", log_file.display()));
        }
    };
    if options.json {
        print_line(&outcome.json().to_string())?
    } else {
        print_line(&outcome.table())?
    }
    for complaint in &outcome.complaints {
        if options.json { eprintln!("{complaint}") } else { print_line(complaint)? }
    }
    if outcome.is_clean {
        let _ = std::fs::remove_file(&log_file);
    } else {
        eprintln!("the server's log output is in {}", log_file.display());
    }
    if options.json {
        eprintln!("{}", outcome.verdict())
    } else {
        print_line(&outcome.verdict())?
    }
    Ok(if outcome.is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_scenario(
    options: &Options,
    server: &mut Server,
    seed: u64,
    progress: &Progress,
) -> Result<Outcome, String> {
    progress.show("connecting".into());
    let mut scenario = Scenario::begin(options, server, seed)?;
    let began = Instant::now();
    scenario.run(server, seed, progress)?;
    let seconds = began.elapsed().as_secs_f64();
    progress.show("waiting for quiet".into());
    scenario.wait_for_quiet()?;
    if is_interrupted() {
        // The clients have not waited for their lines, so many would count as lost.
        return Err("interrupted".into());
    }
    let mut complaints: Vec<String> = scenario.aborted.take().into_iter().collect();
    let deadline = Instant::now() + COMPLETE_WITHIN;
    while !server.is_complete(options.standing_workers()) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    if !server.is_complete(options.standing_workers()) {
        complaints.push("some workers or the journal were not restarted".into());
    }
    let zombies = server.zombies();
    if zombies > 0 {
        complaints.push(format!("{zombies} zombies"));
    }
    progress.show("stopping the server".into());
    match scenario.stop(server) {
        Some(status) if status.success() => {}
        Some(status) => complaints.push(format!("the server ended with {status}")),
        None => complaints.push("the server did not stop in 15 s".into()),
    }
    let faults = &mut scenario.checker.faults;
    let is_clean = faults.is_clean() && complaints.is_empty();
    complaints.splice(0..0, faults.described.drain(..));
    Ok(Outcome {
        seed,
        seconds,
        clients: [options.clients, options.udp_clients],
        kills: scenario.kills,
        lines: scenario.checker.senders.iter().map(|sender| u64::from(sender.sent)).sum(),
        deliveries: scenario.deliveries,
        tcp: faults.tcp,
        udp: faults.udp,
        is_clean,
        plain: scenario.pauses.plain,
        disturbed: scenario.pauses.disturbed,
        recoveries: recoveries(&server.log_output()),
        complaints,
    })
}
