//! What a process is: its name for `ps`, its name in the journal text, and that it dies whole.

use log::{Level, LevelFilter};
use std::io::Write;
use std::sync::{Mutex, OnceLock};

/// Set right after a fork, while the process has one thread; read by whoever writes a line.
static ROLE: Mutex<String> = Mutex::new(String::new());

/// Receives what is logged as an error, besides the log output.
static ERROR_SINK: OnceLock<Sink> = OnceLock::new();

type Sink = Box<dyn Fn(&str) + Send + Sync>;

/// Has each line that is logged as an error also go to `sink`, in this process and in those that it forks. The first call counts.
pub fn also_report_errors(sink: impl Fn(&str) + Send + Sync + 'static) {
    let _ = ERROR_SINK.set(Box::new(sink));
}

/// Starts the journal text on standard error. `verbose` for what only we care about.
pub fn start_journal_text(verbose: bool) {
    let level = if verbose { LevelFilter::Debug } else { LevelFilter::Info };
    let mut builder = env_logger::Builder::new();
    builder.filter_level(level).target(env_logger::Target::Stderr).format(|out, record| {
        let role = ROLE.lock().map(|role| role.clone()).unwrap_or_default();
        let level = match record.level() {
            Level::Error => "error: ",
            Level::Warn => "warning: ",
            Level::Info | Level::Debug | Level::Trace => "",
        };
        if record.level() == Level::Error
            && let Some(sink) = ERROR_SINK.get()
        {
            sink(&record.args().to_string());
        }
        writeln!(out, "{:.3} {role}: {level}{}", jiff::Timestamp::now(), record.args())
    });
    // Fails if it was started before.
    let _ = builder.try_init();
}

/// Gives this process its role. A panic in any of its threads ends it from now on: half a process is worse than none.
pub fn take_on(role: &str) {
    crate::sys::process::set_name(role);
    if let Ok(mut name) = ROLE.lock() {
        role.clone_into(&mut name);
    }
    std::panic::set_hook(Box::new(|panic| {
        log::error!("{panic}");
        std::process::abort();
    }));
}

/// `1 connection`, `2 connections`.
pub fn count(number: usize, of: &str) -> String {
    format!("{number} {of}{}", if number == 1 { "" } else { "s" })
}
