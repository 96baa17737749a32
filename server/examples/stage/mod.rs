//! What the examples have in common. They tell what happens: a line each, with the time since the start and the pid of the process that tells it.

#[allow(dead_code, reason = "not every example has files")]
pub mod scratch;

use forkchat_server::ipc::process::End;
use std::fmt;
use std::io::{self, Write};
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

/// Why an example can't go on: a sentence. What `main` returns is printed by `Debug`, which shows it as it is.
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure(error.to_string())
    }
}

/// Puts before an error what was attempted.
#[allow(dead_code, reason = "not every example calls it")]
pub trait Attempt<T> {
    /// `what` goes on behind "cannot", and names what it was attempted on.
    fn cannot(self, what: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> Attempt<T> for Result<T, E> {
    fn cannot(self, what: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure(format!("cannot {what}: {error}")))
    }
}

/// Looks again and again until it is so; `TimedOut`, with `what` it was, if it never is.
#[allow(dead_code, reason = "not every example waits")]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) -> io::Result<()> {
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
pub fn exit_code(result: Result<(), Failure>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(failure) => {
            say!("failed: {failure}");
            1
        }
    }
}

/// Fails unless a child ended well: who it was, and how it ended.
#[allow(dead_code, reason = "not every example has a child that must end well")]
pub fn went_well(who: impl fmt::Display, end: End) -> Result<(), Failure> {
    if end == End::Exited(0) { Ok(()) } else { Err(Failure(format!("{who}: {end}"))) }
}
