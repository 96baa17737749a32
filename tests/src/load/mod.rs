//! The load test: `forkchat-load` puts a chat server under load and checks what every client
//! receives.
//!
//! ```text
//!             shapes (presets)                ┌─ slice ─► forkchat-server (started for the row)
//!   options ─────────────────► measure ──in───┤
//!                                │      turn  └─ slice ─► bare broadcaster (with --baseline)
//!                                ▼
//!                    rows ─► report (table, JSON, CSV), histogram
//! ```
//!
//! | file | contents |
//! |---|---|
//! | `options` | the command line |
//! | `shape` | the shape of a load; the presets |
//! | `subject` | the names of what is put under load; the server's models |
//! | `target` | starts or finds what is put under load; its CPU time and memory |
//! | `subprocess` | child processes that end with this program |
//! | `connection_table` | which process of the server serves which client |
//! | `chat_protocol` | the protocol between clients and server |
//! | `compared` | another chat server that gets the same load |
//! | `broadcaster` | the bare broadcaster, for comparison; it makes faults on request |
//! | `generator` | all clients of a shape, in one epoll loop |
//! | `client` | one client |
//! | `sender` | a client that sends lines, and its lines in flight |
//! | `pace` | events that are due at an even rate |
//! | `payload` | lines of which every byte is known |
//! | `sequence_tracker` | finds lost, doubled and reordered lines of one receiver |
//! | `measure` | puts servers under load in turn; kills a process |
//! | `outcome` | the result of a measurement, and the summary of several samples |
//! | `report`, `remarks`, `histogram`, `progress` | the output |
//! | `models`, `families` | the comparison of the server's models, and its loads |
//! | `metrics` | what is compared, by number of connections |
//! | `ranking`, `decision`, `phrases` | how the models rank, and which to choose, in sentences |
//! | `plot`, `bars`, `html` | the report of the comparison |

mod bars;
mod broadcaster;
mod chat_protocol;
pub(crate) mod client;
mod compared;
mod connection_table;
mod decision;
mod families;
mod generator;
mod histogram;
mod html;
mod measure;
mod metrics;
mod models;
mod options;
mod outcome;
pub(crate) mod pace;
pub(crate) mod payload;
mod phrases;
mod plot;
pub(crate) mod progress;
mod ranking;
mod remarks;
mod report;
mod sender;
pub(crate) mod sequence_tracker;
pub(crate) mod shape;
mod subject;
pub(crate) mod subprocess;
pub(crate) mod target;

use clap::{Parser, ValueEnum};
use compared::{check_compared, connect_compared};
use measure::{Side, Timing, measure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use options::Options;
use progress::Progress;
use remarks::remarks;
use report::{Format, Row};
use shape::Shape;
use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use subject::Subject;
use subprocess::{RUN_UNTIL_PARENT_ENDS, run_until_parent_ends};
use target::{BE_BROADCASTER, SPEAK_IRC, Start, Target};

/// Open files of this program, and of the server, that are not connections.
const FILES_BESIDES: usize = 100;

/// The program. With another first argument it runs as one of the processes that it starts: see
/// `subprocess` and `target`.
pub fn main() -> ExitCode {
    let text =
        |index| std::env::args_os().nth(index).and_then(|argument| argument.into_string().ok());
    let (first, second) = (text(1), text(2));
    let error = match first.as_deref() {
        Some(RUN_UNTIL_PARENT_ENDS) => {
            run_until_parent_ends(second.as_deref(), std::env::args_os().skip(3))
        }
        Some(BE_BROADCASTER) => {
            let speaks_irc = second.as_deref() == Some(SPEAK_IRC);
            let fault = if speaks_irc { text(3) } else { second };
            let fault = fault.and_then(|fault| broadcaster::Fault::from_str(&fault, true).ok());
            broadcaster::run(fault, speaks_irc)
                .err()
                .map_or(String::new(), |error| error.to_string())
        }
        _ => match run(&Options::parse()) {
            Ok(code) => return code,
            Err(error) => error,
        },
    };
    if error.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("forkchat-load: {error}");
    ExitCode::FAILURE
}

/// Whether a signal has asked the program to end. It then ends its servers in order.
pub(crate) fn is_interrupted() -> bool {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    let flag = FLAG.get_or_init(|| {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in
            [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP]
        {
            // It fails only for signals that cannot be caught. If it fails, the signal ends this
            // program and its servers at once, and files stay behind.
            let _ = signal_hook::flag::register(signal, flag.clone());
        }
        flag
    });
    flag.load(Ordering::Relaxed)
}

/// Adds what could not be done to an error message.
fn context<E: Display>(what: &str) -> impl Fn(E) -> String {
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
        std::fs::create_dir_all(directory)
            .map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
    }
    options.compare.map_or(Ok(()), check_compared)?;
    let (rows, failures) = match &options.models {
        Some(models) => (models::compare(options, models, format)?, Vec::new()),
        None => measure_rows(options, &shapes, format)?,
    };
    let is_clean = failures.is_empty() && rows.iter().all(Row::is_clean);
    for remark in failures.into_iter().chain(remarks(&rows)) {
        if format == Format::Table { print_line(&remark)? } else { eprintln!("{remark}") }
    }
    Ok(if is_clean && !is_interrupted() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Measures all rows. Returns those that could be measured, and the reasons why others could not.
fn measure_rows(
    options: &Options,
    shapes: &[Shape],
    format: Format,
) -> Result<(Vec<Row>, Vec<String>), String> {
    let plan: Vec<_> = shapes
        .iter()
        .flat_map(|&shape| options.workers().into_iter().map(move |workers| (shape, workers)))
        .collect();
    let sides = 1 + u32::from(options.baseline) + u32::from(options.compare.is_some());
    let progress = Progress::start(options.seconds() * sides * plan.len() as u32);
    if let Some(head) = format.head(&machine()) {
        print_line(&head)?;
    }
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for (number, (shape, workers)) in (1..).zip(plan) {
        match measure_row(options, shape, workers, &progress) {
            Ok(row) => {
                write_histograms(options, number, &row)?;
                progress.hide_while(|| print_line(&format.row(&row)))?;
                rows.push(row);
            }
            Err(error) => failures.push(format!("{}: {error}", shape.name)),
        }
        if is_interrupted() {
            break;
        }
    }
    progress.end();
    Ok((rows, failures))
}

fn measure_row(
    options: &Options,
    shape: Shape,
    workers: Option<u16>,
    progress: &Progress,
) -> Result<Row, String> {
    progress.show(format!("{}: connecting", shape.name));
    check_files(shape)?;
    let timing = Timing::of(options.seconds());
    let (subject, server) = match (options.addr, options.fault) {
        (Some(address), _) => (Subject::Server, Target::running(address)),
        (_, Some(fault)) => (Subject::Bare, Target::bare(Some(fault))?),
        _ => (
            Subject::Server,
            Target::forkchat(options, Start { workers, udp: shape.udp, model: None })?,
        ),
    };
    let mut sides = vec![(subject, Side::connect(server, shape, &timing)?)];
    if options.baseline {
        sides.push((Subject::Bare, Side::connect(Target::bare(None)?, shape, &timing)?));
    }
    progress.show(shape.name.to_owned());
    let mut missing = Vec::new();
    if let Some(other) = options.compare {
        match connect_compared(other, shape, &timing) {
            Ok(side) => sides.push((Subject::Compared, side)),
            Err(why) => missing.push((Subject::Compared, why)),
        }
    }
    let (subjects, sides): (Vec<_>, Vec<_>) = sides.into_iter().unzip();
    let outcomes = measure(sides, &shape, timing.each, progress)?;
    Ok(Row {
        shape,
        workers,
        size: None,
        sides: subjects.into_iter().zip(outcomes).collect(),
        missing,
    })
}

fn write_histograms(options: &Options, number: usize, row: &Row) -> Result<(), String> {
    let Some(directory) = &options.histograms else { return Ok(()) };
    for (index, (side, outcome)) in row.sides.iter().enumerate() {
        let of = if index == 0 && row.size.is_none() {
            String::new()
        } else {
            format!("-{}", side.key())
        };
        let path = directory.join(format!("{number:02}-{}{of}.hgrm", row.name()));
        std::fs::write(&path, histogram::text_of(&outcome.latency))
            .map_err(context(&format!("cannot write {}", path.display())))?;
    }
    Ok(())
}

/// Prints a line of the result immediately.
pub(crate) fn print_line(line: &str) -> Result<(), String> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")
        .and_then(|()| stdout.flush())
        .map_err(context("cannot write the result"))
}

/// Raises the limit on open files as far as this user may. Each client is an open file here and in
/// the server.
pub(crate) fn allow_many_files() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Raising the soft limit to the hard one is always allowed.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Checks that the limit on open files allows all connections. The server inherits the limit.
fn check_files(shape: Shape) -> Result<(), String> {
    let needed = (shape.connections() + FILES_BESIDES) as u64;
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, _)) if soft < needed => Err(format!(
            "needs {needed} open files, and the limit is {soft}: raise it (ulimit -n), or give \
             fewer --clients"
        )),
        _ => Ok(()),
    }
}

/// The machine and the time of the measurement.
fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, model)| model))
        .unwrap_or("unknown");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let date = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC");
    format!(
        "{cpus} CPUs ({model}), Linux {}, forkchat {}, {date}",
        kernel.trim(),
        env!("CARGO_PKG_VERSION")
    )
}
