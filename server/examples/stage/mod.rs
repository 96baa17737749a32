//! How the examples tell what happens: a line each, with the time since the start and the pid of the process that tells it.

use std::fmt;
use std::io::Write;
use std::sync::OnceLock;
use std::time::Instant;

/// Prints a line, as `println!` does.
macro_rules! say {
    ($($text:tt)*) => { $crate::stage::line(format_args!($($text)*)) };
}
pub(crate) use say;

/// When the example began. The processes that it forks later have it, too.
static START: OnceLock<Instant> = OnceLock::new();

/// Prints a line. Who closes the pipe has read enough: then nothing is printed.
pub fn line(text: fmt::Arguments<'_>) {
    let seconds = START.get_or_init(Instant::now).elapsed().as_secs_f32();
    let line = format!("{seconds:6.3} s  pid {:<7} {text}\n", std::process::id());
    // In one piece: other processes print to the same place.
    let _ = std::io::stdout().lock().write_all(line.as_bytes());
}
