//! The doctor: tests what forkchat needs from the kernel on this machine, and reports which
//! guarantees hold.
//!
//! `forkchat-server doctor` runs [`CHECKS`] in a pool of processes, over loopback and with child
//! processes, and prints a line for each. At its start the server runs the checks that need no
//! fork. It refuses to start without the indispensable calls ([`needed`]), and warns about the rest
//! ([`quick`]). A check changes nothing on the machine, has a deadline, and leaves no process and
//! no socket.
//!
//! | file | what it checks |
//! |---|---|
//! | `checks` | the table of checks, and the guarantees |
//! | `calls` | the system calls that have no replacement |
//! | `connections` | one connection: positions, peeking, urgent data, readiness |
//! | `startup` | what each process needs at its start: threads, waiting, signals, descriptors |
//! | `processes` | several processes: what a death leaves, and what they can pass to each other |

mod calls;
mod checks;
mod connections;
mod processes;
mod startup;

pub use checks::{AtStart, CHECKS, Check, Guarantee};

use crate::ipc::pool::{ApplyError, Pool, Ticket};
use crate::sys::refused::replaced_calls;
use crate::sys::threads::fall_back_on_clone;
use std::fmt;
use std::io::Write;
use std::time::{Duration, Instant};

/// Exit code: all checks hold.
pub const EXIT_ALL_HOLD: i32 = 0;
/// Exit code: a check failed or couldn't be run.
pub const EXIT_SOME_FAIL: i32 = 1;

/// How long a check waits for the expected result. It usually takes well below a millisecond, or a
/// few with a fork.
const DEADLINE: Duration = Duration::from_secs(5);
/// The same at the server's start, where no check waits for another process.
const DEADLINE_QUICK: Duration = Duration::from_millis(250);

/// How many checks run at a time.
const PROCESSES: u16 = 2;

/// What was observed instead of the required behaviour.
type Failure = String;

/// The results of the checks. `Display` formats them for the operator.
#[derive(Debug)]
struct Report {
    /// The system's name and release from uname(2).
    kernel: String,
    results: Vec<(Check, Result<(), Failure>)>,
    /// System calls that are refused here, and that forkchat replaces.
    replaced: Vec<&'static str>,
}

/// Runs every check, prints the report, and returns the exit code. The calling process must have
/// one thread.
pub fn run() -> i32 {
    let kernel = nix::sys::utsname::uname();
    let kernel = kernel.as_ref().map_or_else(
        |errno| format!("unknown kernel: {errno}"),
        |kernel| {
            format!("{} {}", kernel.sysname().to_string_lossy(), kernel.release().to_string_lossy())
        },
    );
    let replaced = replaced_calls();
    // As the server does. If this fails, the check of threads reports it.
    let _ = fall_back_on_clone();
    let results = CHECKS.into_iter().zip(run_all()).collect();
    let report = Report { kernel, results, replaced };
    // A reader that closes the pipe has read enough; it can still see the exit code.
    let _ = write!(std::io::stdout(), "{report}");
    if report.results.iter().all(|(_, result)| result.is_ok()) {
        EXIT_ALL_HOLD
    } else {
        EXIT_SOME_FAIL
    }
}

/// The result of each check, in order. A check whose process dies has failed: a kernel that
/// violates a requirement may well cause that.
fn run_all() -> Vec<Result<(), Failure>> {
    // If the calls are refused, the expected results never come, so the checks need not wait long.
    let patience =
        if calls::of_clients(Instant::now()).is_ok() { DEADLINE } else { DEADLINE_QUICK };
    let run = move |index: usize| (CHECKS[index].run)(Instant::now() + patience);
    if let Err(failure) =
        calls::of_waiting(Instant::now()).and_then(|()| calls::of_killing(Instant::now()))
    {
        // A check that kills its child would wait for its end for ever.
        let not_tried = || Err(format!("not tried, since it needs child processes: {failure}"));
        return (0..CHECKS.len())
            .map(
                |index| {
                    if CHECKS[index].at_start == AtStart::Untried {
                        not_tried()
                    } else {
                        run(index)
                    }
                },
            )
            .collect();
    }
    // If the pool can't be started, the checks themselves report why.
    match Pool::start("doctor", PROCESSES, run) {
        Ok(mut pool) => {
            let tickets: Vec<_> = (0..CHECKS.len()).map(|index| pool.apply_async(index)).collect();
            // Each check has its own deadline; one that misses it by this much hangs.
            let end = Instant::now() + DEADLINE * 2;
            let result = |ticket: Result<Ticket, ApplyError>| {
                let left = end.saturating_duration_since(Instant::now());
                match ticket.map(|ticket| pool.get_timeout(ticket, left)) {
                    Ok(Some(Ok(found))) => found,
                    Ok(Some(Err(error))) => Err(error.to_string()),
                    Ok(None) => {
                        Err(format!("it did not end within {} s", (DEADLINE * 2).as_secs()))
                    }
                    Err(error) => Err(error.to_string()),
                }
            };
            tickets.into_iter().map(result).collect()
        }
        Err(_) => (0..CHECKS.len()).map(run).collect(),
    }
}

/// Runs the checks that need no other process. Returns a line for each that fails, which says what
/// is not guaranteed. Takes about 0.6 ms if all hold, and at most 1.25 s if all fail.
pub fn quick() -> Vec<String> {
    failures(AtStart::Warned).map(|(check, failure)| warning(check, &failure)).collect()
}

/// Runs the checks of the calls without which no client can be served. Takes some microseconds.
///
/// # Errors
/// The failures of all checks that don't hold.
pub fn needed() -> Result<(), String> {
    let failures: Vec<Failure> = failures(AtStart::Needed).map(|(_, failure)| failure).collect();
    if failures.is_empty() { Ok(()) } else { Err(failures.join(", ")) }
}

fn failures(at_start: AtStart) -> impl Iterator<Item = (&'static Check, Failure)> {
    let checks = CHECKS.iter().filter(move |check| check.at_start == at_start);
    checks.filter_map(|check| Some((check, (check.run)(Instant::now() + DEADLINE_QUICK).err()?)))
}

fn warning(check: &Check, failure: &Failure) -> String {
    format!(
        "cannot rely on {}: {failure}; without it {}; forkchat-server doctor shows more",
        check.name, check.without_it
    )
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.kernel)?;
        for (check, result) in &self.results {
            match result {
                Ok(()) => writeln!(f, "ok   {:<20} {}", check.name, check.requirement)?,
                Err(failure) => {
                    writeln!(f, "FAIL {}: {failure}; without it: {}", check.name, check.without_it)?
                }
            }
        }
        let holding = self.results.iter().filter(|(_, result)| result.is_ok()).count();
        writeln!(f, "\n{holding} of {} checks hold", self.results.len())?;
        for guarantee in Guarantee::ALL {
            let mut failed = self
                .results
                .iter()
                .filter(|(check, result)| check.guarantees.contains(&guarantee) && result.is_err())
                .peekable();
            let word =
                if failed.peek().is_none() { "guaranteed here:" } else { "NOT guaranteed here:" };
            writeln!(f, "{word:<20} {guarantee}")?;
        }
        if !self.replaced.is_empty() {
            writeln!(f, "refused here, and done without: {}", self.replaced.join(", "))?;
        }
        Ok(())
    }
}

/// Words a failed operation.
fn cannot<E: fmt::Display>(what: &str) -> impl FnOnce(E) -> Failure {
    move |error| format!("cannot {what}: {error}")
}

/// Fails if a counted or read value isn't the required one.
fn expect<T: PartialEq + fmt::Debug>(what: &str, found: T, expected: T) -> Result<(), Failure> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?}, not {expected:?}")) }
}

/// Waits until a condition holds. Fails if it doesn't hold in time.
fn wait_until(
    deadline: Instant,
    what: &str,
    mut is_so: impl FnMut() -> bool,
) -> Result<(), Failure> {
    while !is_so() {
        if Instant::now() >= deadline {
            return Err(format!("waited in vain for {what}"));
        }
        std::thread::yield_now();
    }
    Ok(())
}

#[cfg(test)]
mod tests;
