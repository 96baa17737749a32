//! What the examples have in common. They tell what happens: a line each, with the time since the start and the pid of the process that tells it.

use std::fmt;
use std::io;
use std::io::Write;
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Prints a line, as `println!` does.
macro_rules! say {
    ($($text:tt)*) => { $crate::stage::line(format_args!($($text)*)) };
}
pub(crate) use say;

/// Far longer than anything takes here. Who has waited so long gives up, so that nobody stays behind for ever.
#[allow(dead_code, reason = "not every example waits")]
pub const PATIENCE: Duration = Duration::from_secs(10);

/// When the example began. The processes that it forks later have it, too.
static START: OnceLock<Instant> = OnceLock::new();

/// Prints a line. Who closes the pipe has read enough: then nothing is printed.
pub fn line(text: fmt::Arguments<'_>) {
    let seconds = START.get_or_init(Instant::now).elapsed().as_secs_f32();
    let line = format!("{seconds:6.3} s  pid {:<7} {text}\n", std::process::id());
    // In one piece: other processes print to the same place.
    let _ = std::io::stdout().lock().write_all(line.as_bytes());
}

/// Looks again and again until it is so; `TimedOut`, with `what` it was, if it never is.
#[allow(dead_code, reason = "not every example waits")]
pub fn wait_until(what: &str, is_so: impl Fn() -> bool) -> io::Result<()> {
    let start = Instant::now();
    while !is_so() {
        if start.elapsed() > PATIENCE {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("waited {PATIENCE:?} in vain for {what}")));
        }
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// A process's exit code: 0 if all went well; else what didn't is told, and it is 1.
#[allow(dead_code, reason = "not every example has a child that can fail")]
pub fn exit_code(result: io::Result<()>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(error) => {
            say!("failed: {error}");
            1
        }
    }
}
