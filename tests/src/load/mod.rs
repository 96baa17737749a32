//! The load test: `forkchat-load` puts a chat server under load and checks what every client is sent.
//!
//! ```text
//!             shapes (presets)                ┌─ slice ─► forkchat-server (started for the row)
//!   options ─────────────────► measure ──in───┤
//!                                │      turn  └─ slice ─► bare broadcaster (with --baseline)
//!                                ▼
//!                    rows ─► report (table, JSON, CSV), histogram
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `options` | the command line |
//! | `shape` | what is asked of a server; the presets |
//! | `target` | what is put under load, and how one talks with it; its CPU time and memory |
//! | `broadcaster` | the yardstick, and the faults that it can be made to make |
//! | `generator` | all the clients of a shape, in one epoll loop |
//! | `client` | one of them |
//! | `senders` | who speaks, and which lines are under way |
//! | `payload` | lines of which every byte is known |
//! | `ledger` | what one receiver saw: lost, doubled, reordered |
//! | `measure` | slices, in turn; what came of them |
//! | `report`, `histogram`, `progress` | how it is told |

mod broadcaster;
mod client;
mod generator;
mod histogram;
mod ledger;
mod measure;
mod options;
mod payload;
mod progress;
mod report;
mod senders;
mod shape;
mod target;

use clap::{Parser, ValueEnum};
use measure::{Side, measure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use options::Options;
use progress::Progress;
use report::{Format, Row, remarks};
use shape::Shape;
use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use target::{BE_BROADCASTER, RUN_UNTIL_PARENT_ENDS, Target, run_until_parent_ends};

/// The program. It is also the processes that it starts: see `target`.
pub fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (first, second) = (std::env::args().nth(1), std::env::args().nth(2));
    let said = match first.as_deref() {
        Some(RUN_UNTIL_PARENT_ENDS) => run_until_parent_ends(second.as_deref(), arguments.by_ref().skip(2)),
        Some(BE_BROADCASTER) => {
            let fault = second.and_then(|fault| broadcaster::Fault::from_str(&fault, true).ok());
            broadcaster::run(fault).err().map_or(String::new(), |error| error.to_string())
        }
        _ => match run(&Options::parse()) {
            Ok(code) => return code,
            Err(error) => error,
        },
    };
    if said.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("forkchat-load: {said}");
    ExitCode::FAILURE
}

/// Whether somebody wants the program to end. Then everything is taken down in order.
fn is_interrupted() -> bool {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    let flag = FLAG.get_or_init(|| {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
            // Fails for no signal that one may catch; without it the processes end all the same, only less tidily.
            let _ = signal_hook::flag::register(signal, flag.clone());
        }
        flag
    });
    flag.load(Ordering::Relaxed)
}

/// Says what could not be done.
fn error<E: Display>(what: &str) -> impl Fn(E) -> String {
    move |error| format!("{what}: {error}")
}

fn run(options: &Options) -> Result<ExitCode, String> {
    let shapes = options.shapes().unwrap_or_else(|wrong| {
        eprintln!("error: {wrong}\n\nFor more information, try '--help'.");
        std::process::exit(2)
    });
    // Catches signals from now on.
    is_interrupted();
    allow_many_files();
    let format = match (options.json, options.csv) {
        (true, _) => Format::Json,
        (_, true) => Format::Csv,
        _ => Format::Table,
    };
    if let Some(directory) = &options.histograms {
        std::fs::create_dir_all(directory).map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
    }
    let rows = measure_rows(options, &shapes, format)?;
    let is_clean = rows.iter().all(|row| row.sides().all(|(_, outcome)| outcome.is_clean()));
    for remark in remarks(&rows) {
        if format == Format::Table { tell(&remark)? } else { eprintln!("{remark}") }
    }
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure_rows(options: &Options, shapes: &[Shape], format: Format) -> Result<Vec<Row>, String> {
    let plan: Vec<_> = shapes.iter().flat_map(|&shape| options.workers().into_iter().map(move |workers| (shape, workers))).collect();
    let sides = if options.baseline { 2 } else { 1 };
    let progress = Progress::begin(options.seconds() * sides * plan.len() as u32);
    if let Some(head) = format.head(&machine()) {
        tell(&head)?;
    }
    let mut rows = Vec::new();
    for (shape, workers) in plan {
        let row = measure_row(options, shape, workers, &progress).map_err(|error| {
            progress.end();
            format!("{}: {error}", shape.name)
        })?;
        progress.hide_while(|| tell(&format.row(&row)))?;
        rows.push(row);
    }
    progress.end();
    Ok(rows)
}

fn measure_row(options: &Options, shape: Shape, workers: Option<u16>, progress: &Progress) -> Result<Row, String> {
    progress.tell(format!("{}: connecting", shape.name));
    let server = match (options.addr, options.fault) {
        (Some(address), _) => Target::running(address),
        (_, Some(fault)) => Target::bare(Some(fault))?,
        _ => Target::forkchat(options, workers, shape.udp)?,
    };
    let mut sides = vec![Side::begin(server, shape)?];
    if options.baseline {
        sides.push(Side::begin(Target::bare(None)?, shape)?);
    }
    progress.tell(shape.name.to_owned());
    let mut outcomes = measure(sides, &shape, options.seconds(), progress)?;
    let bare = if options.baseline { outcomes.pop() } else { None };
    let server = outcomes.pop().ok_or("nothing was measured")?;
    let row = Row { shape, workers, is_bare: options.fault.is_some(), server, bare };
    if let Some(directory) = &options.histograms {
        for (side, outcome) in row.sides() {
            let name = if side == "bare" { format!("{}-bare.hgrm", row.name()) } else { format!("{}.hgrm", row.name()) };
            let path = directory.join(name);
            std::fs::write(&path, histogram::text_of(&outcome.latency))
                .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
    }
    Ok(row)
}

/// Prints a line of the result at once.
fn tell(line: &str) -> Result<(), String> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).map_err(error("cannot write the result"))
}

/// As many open files as this user may have: each client is one, here and in the server.
fn allow_many_files() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Raising the soft limit to the hard one is always allowed.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Where it was measured, and when.
fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, model)| model)).unwrap_or("unknown");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let date = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC");
    format!("{cpus} CPUs ({model}), Linux {}, forkchat {}, {date}", kernel.trim(), env!("CARGO_PKG_VERSION"))
}
