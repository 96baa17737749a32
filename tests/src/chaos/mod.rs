//! The chaos test: `forkchat-chaos` kills processes of a server under full load and checks that no
//! client notices.
//!
//! ```text
//!  killer (thread) ──SIGKILL──► workers, journal            what was killed, when
//!     └──────────────────────────────────────────────────────────────┐
//!  play: crowd of clients ◄──► forkchat-server                       ▼
//!     └─ every line ─► checker (transcripts) ─► faults          pauses ─► report
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `options` | the command line |
//! | `server` | the server under test, and what its log output reports |
//! | `killer` | which process is killed when, and how |
//! | `play` | runs all clients in one epoll loop: traffic, then the wait for its end |
//! | `crowd` | creates the clients; how they log in, join and leave |
//! | `client` | one client: its socket, and how it reads and writes |
//! | `voice` | one sender, and the positions of its lines |
//! | `listener` | what one client must receive, and has received |
//! | `transcript` | what was sent to a room, in its one order |
//! | `tags` | splits a line into tags and text |
//! | `checker` | compares each received line with all of that |
//! | `faults` | the faults, counted and described |
//! | `pauses`, `report` | how long clients waited; the result as text and JSON |

mod checker;
mod client;
mod crowd;
mod faults;
mod killer;
mod listener;
mod options;
mod pauses;
mod play;
mod report;
mod server;
mod tags;
mod transcript;
mod voice;

use crate::load::progress::Progress;
use crate::load::target::{RUN_UNTIL_PARENT_ENDS, run_until_parent_ends};
use crate::load::{allow_many_files, is_interrupted, tell};
use clap::Parser;
use options::Options;
use play::Play;
use report::Outcome;
use server::{Server, recoveries};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long the restart of the last killed process may take.
const COMPLETE_WITHIN: Duration = Duration::from_secs(5);

/// The program. It is also the process that it starts: see `target` of the load test.
pub fn main() -> ExitCode {
    let text =
        |place| std::env::args_os().nth(place).and_then(|argument| argument.into_string().ok());
    let said = match text(1).as_deref() {
        Some(RUN_UNTIL_PARENT_ENDS) => {
            run_until_parent_ends(text(2).as_deref(), std::env::args_os().skip(3))
        }
        _ => match run(&Options::parse()) {
            Ok(code) => return code,
            Err(error) => error,
        },
    };
    eprintln!("forkchat-chaos: {said}");
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
    let progress = Progress::begin(options.seconds);
    let outcome = put_to_the_test(options, &mut server, seed, &progress);
    progress.end();
    let log_file = server.log_file.clone();
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            return Err(format!("{error}; the server's log output is in {}", log_file.display()));
        }
    };
    if options.json {
        tell(&outcome.json().to_string())?
    } else {
        tell(&outcome.table())?
    }
    for complaint in &outcome.complaints {
        if options.json { eprintln!("{complaint}") } else { tell(complaint)? }
    }
    if outcome.is_clean {
        let _ = std::fs::remove_file(&log_file);
    } else {
        eprintln!("the server's log output is in {}", log_file.display());
    }
    if options.json {
        eprintln!("{}", outcome.verdict())
    } else {
        tell(&outcome.verdict())?
    }
    Ok(if outcome.is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn put_to_the_test(
    options: &Options,
    server: &mut Server,
    seed: u64,
    progress: &Progress,
) -> Result<Outcome, String> {
    progress.tell("connecting".into());
    let mut play = Play::begin(options, server, seed)?;
    let began = Instant::now();
    play.run(server, seed, progress)?;
    let seconds = began.elapsed().as_secs_f64();
    progress.tell("waiting for quiet".into());
    play.settle()?;
    if is_interrupted() {
        // Then nothing was waited for, and much seems lost.
        return Err("interrupted".into());
    }
    let mut complaints: Vec<String> = play.gave_up.take().into_iter().collect();
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
    progress.tell("stopping the server".into());
    match play.stop(server) {
        Some(status) if status.success() => {}
        Some(status) => complaints.push(format!("the server ended with {status}")),
        None => complaints.push("the server did not stop in 15 s".into()),
    }
    let faults = &mut play.checker.faults;
    let is_clean = faults.is_clean() && complaints.is_empty();
    complaints.splice(0..0, faults.described.drain(..));
    Ok(Outcome {
        seed,
        seconds,
        clients: [options.clients, options.udp_clients],
        kills: play.kills,
        lines: play.checker.voices.iter().map(|voice| u64::from(voice.sent)).sum(),
        deliveries: play.deliveries,
        tcp: faults.tcp,
        udp: faults.udp,
        is_clean,
        plain: play.pauses.plain,
        disturbed: play.pauses.disturbed,
        recoveries: recoveries(&server.log_output()),
        complaints,
    })
}
