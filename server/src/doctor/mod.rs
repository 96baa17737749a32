//! The doctor: tries what forkchat needs of the kernel on this machine, and reports which
//! guarantees hold.
//!
//! `forkchat-server doctor` runs [`CHECKS`] in a pool of processes, over loopback and with child
//! processes, and prints a line for each. At its start the server runs the checks that need no
//! fork. It refuses to start without the calls that are indispensable ([`needed`]), and warns about
//! the rest ([`quick`]). A check changes nothing on the machine, has a deadline, and leaves no
//! process and no socket behind.
//!
//! | file | what it checks |
//! |---|---|
//! | `calls` | the system calls that have no replacement |
//! | `connections` | one connection: positions, peeking, urgent data, readiness |
//! | `beginnings` | what each process needs at its start: threads, waiting, signals, its own descriptors |
//! | `processes` | several processes: what a death leaves behind, and what they can pass to each other |

mod beginnings;
mod calls;
mod connections;
mod processes;

use crate::ipc::pool::{ApplyError, Pool, Ticket};
use crate::sys::refused::replaced_calls;
use crate::sys::threads::fall_back_on_clone;
use std::fmt;
use std::io::Write;
use std::time::{Duration, Instant};

/// Everything that was tried holds.
pub const EXIT_ALL_HOLD: i32 = 0;
/// Something doesn't hold, or couldn't be tried.
pub const EXIT_SOME_FAIL: i32 = 1;

/// How long a check waits for what it expects. It takes well below a millisecond, with a fork a
/// few.
const DEADLINE: Duration = Duration::from_secs(5);
/// The same at the server's start, where nothing waits for another process.
const DEADLINE_QUICK: Duration = Duration::from_millis(250);

/// How many checks are run at a time.
const PROCESSES: u16 = 2;

/// What was seen instead of what must be.
type Failure = String;

/// Something that the kernel must do.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// What it is called.
    pub name: &'static str,
    /// What the kernel does if it holds.
    pub law: &'static str,
    /// What happens if it doesn't.
    pub without_it: &'static str,
    /// Which of forkchat's guarantees rest on it.
    pub guarantees: &'static [Guarantee],
    /// When the server itself tries it.
    pub at_start: AtStart,
    run: fn(Instant) -> Result<(), Failure>,
}

/// Whether the server tries a check at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtStart {
    /// It does, and refuses to start if the check fails.
    Needed,
    /// It does, and only warns if the check fails.
    Warned,
    /// It doesn't: the check takes other processes, or time; or the start itself shows it.
    Untried,
}

/// What forkchat guarantees, so far as it rests on the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    /// There is a server at all.
    Service,
    /// Deaths don't show on a connection.
    Connections,
    /// What isn't a line yet costs nothing.
    UnfinishedLines,
    /// Deaths don't show in the log.
    Log,
    /// Nobody is left over.
    NoOrphans,
}

impl Guarantee {
    /// All of them, in the order in which they are told.
    pub const ALL: [Guarantee; 5] = [
        Guarantee::Service,
        Guarantee::Connections,
        Guarantee::UnfinishedLines,
        Guarantee::Log,
        Guarantee::NoOrphans,
    ];
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Guarantee::Service => "the server's processes start, and clients are served",
            Guarantee::Connections => {
                "a worker's death closes no connection; no byte of it is lost and none comes twice"
            }
            Guarantee::UnfinishedLines => "an unfinished line costs no CPU time",
            Guarantee::Log => "a death at any moment leaves the log whole and its lock free",
            Guarantee::NoOrphans => "no process outlives the supervisor",
        })
    }
}

/// All checks, in the order in which they are run.
pub const CHECKS: [Check; 18] = [
    Check {
        name: "clients' calls",
        law: "futex, accept4, recvfrom, sendto, recvmsg and sendmsg are allowed",
        without_it: "no client is served, and the server doesn't start",
        guarantees: &[Guarantee::Service, Guarantee::Connections],
        at_start: AtStart::Needed,
        run: calls::of_clients,
    },
    Check {
        name: "waiting for an end",
        law: "a process waits for the end of its children (wait4)",
        without_it: "no process that died is replaced, and the server doesn't start",
        guarantees: &[Guarantee::Service, Guarantee::Connections],
        at_start: AtStart::Needed,
        run: calls::of_waiting,
    },
    Check {
        name: "killing",
        law: "a process kills its children (kill)",
        without_it: "no process that hangs is replaced",
        guarantees: &[Guarantee::Service, Guarantee::Connections],
        at_start: AtStart::Warned,
        run: calls::of_killing,
    },
    Check {
        name: "threads",
        law: "a child starts threads (clone3 or clone)",
        without_it: "no worker can begin",
        guarantees: &[Guarantee::Service],
        at_start: AtStart::Untried,
        run: beginnings::threads,
    },
    Check {
        name: "waiting",
        law: "epoll waits for an eventfd, and for no longer than it is to",
        without_it: "no worker can begin",
        guarantees: &[Guarantee::Service],
        at_start: AtStart::Untried,
        run: beginnings::waiting,
    },
    Check {
        name: "signals",
        law: "a signalfd delivers a blocked signal",
        without_it: "the supervisor can't begin",
        guarantees: &[Guarantee::Service],
        at_start: AtStart::Untried,
        run: beginnings::signals,
    },
    Check {
        name: "own descriptors",
        law: "a child has the descriptors that it was given, and no other",
        without_it: "no child can begin",
        guarantees: &[Guarantee::Service],
        at_start: AtStart::Untried,
        run: processes::own_descriptors,
    },
    Check {
        name: "input position",
        law: "TCP_INFO and SIOCINQ tell what a dead worker had taken",
        without_it: "after a worker's death a line may be lost or said twice",
        guarantees: &[Guarantee::Connections],
        at_start: AtStart::Warned,
        run: connections::input_position,
    },
    Check {
        name: "output position",
        law: "TCP_INFO and SIOCOUTQ tell what a dead worker had written",
        without_it: "after a worker's death a client may miss output or get it twice",
        guarantees: &[Guarantee::Connections],
        at_start: AtStart::Warned,
        run: connections::output_position,
    },
    Check {
        name: "peek and consume",
        law: "MSG_PEEK leaves input where it is, MSG_TRUNC takes it without a copy",
        without_it: "a line that a worker had read when it died may be lost",
        guarantees: &[Guarantee::Connections],
        at_start: AtStart::Warned,
        run: connections::peek_and_consume,
    },
    Check {
        name: "urgent data",
        law: "SO_OOBINLINE makes urgent bytes a part of the stream",
        without_it: "urgent data, as in Telnet's Synch, makes the input position wrong",
        guarantees: &[Guarantee::Connections],
        at_start: AtStart::Warned,
        run: connections::urgent_data,
    },
    Check {
        name: "low-water mark",
        law: "SO_RCVLOWAT holds back readiness until there is enough, or the end",
        without_it: "an unfinished line costs CPU time, or stays unheard",
        guarantees: &[Guarantee::UnfinishedLines],
        at_start: AtStart::Warned,
        run: connections::low_water_mark,
    },
    Check {
        name: "second holder",
        law: "a connection outlives the process that served it while another holds it",
        without_it: "a worker's death ends its connections, or leaves them unusable",
        guarantees: &[Guarantee::Connections],
        at_start: AtStart::Untried,
        run: processes::second_holder,
    },
    Check {
        name: "descriptor passing",
        law: "a message carries a descriptor to another process",
        without_it: "no worker gets a connection",
        guarantees: &[Guarantee::Service, Guarantee::Connections],
        at_start: AtStart::Untried,
        run: processes::descriptor_passing,
    },
    Check {
        name: "robust mutex",
        law: "the lock of a killed process goes to the next, who is told",
        without_it: "a death under the log's lock stops every process",
        guarantees: &[Guarantee::Log],
        at_start: AtStart::Untried,
        run: processes::robust_mutex,
    },
    Check {
        name: "robust list",
        law: "the kernel knows which locks a thread holds (set_robust_list)",
        without_it: "a death under the log's lock stops every process",
        guarantees: &[Guarantee::Log],
        at_start: AtStart::Warned,
        run: beginnings::robust_list,
    },
    Check {
        name: "shared memory",
        law: "what a process wrote to shared memory is there for the others, also after its death",
        without_it: "the processes have no log in common",
        guarantees: &[Guarantee::Service, Guarantee::Log],
        at_start: AtStart::Untried,
        run: processes::shared_memory,
    },
    Check {
        name: "parent-death signal",
        law: "a process is killed when its parent is",
        without_it: "workers are left over when the supervisor is killed",
        guarantees: &[Guarantee::NoOrphans],
        at_start: AtStart::Untried,
        run: processes::parent_death_signal,
    },
];

/// What came out of the checks; shown, it is what the operator reads.
#[derive(Debug)]
struct Report {
    /// As uname(2) has it.
    kernel: String,
    results: Vec<(Check, Result<(), Failure>)>,
    /// System calls that are refused here, and that forkchat does without.
    replaced: Vec<&'static str>,
}

/// Runs every check and prints what came out. Returns the exit code. The calling process must have
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
    // As the server does. Where that fails the check of threads tells.
    let _ = fall_back_on_clone();
    let results = CHECKS.into_iter().zip(run_all()).collect();
    let report = Report { kernel, results, replaced };
    // Who closes the pipe has read enough; the exit code tells the rest.
    let _ = write!(std::io::stdout(), "{report}");
    if report.results.iter().all(|(_, result)| result.is_ok()) {
        EXIT_ALL_HOLD
    } else {
        EXIT_SOME_FAIL
    }
}

/// What comes of each check, in order. A check that dies is one that fails, and a kernel that does
/// what it must not may well have it die.
fn run_all() -> Vec<Result<(), Failure>> {
    // What is refused never comes, however long a check waits for it.
    let patience =
        if calls::of_clients(Instant::now()).is_ok() { DEADLINE } else { DEADLINE_QUICK };
    let run = move |index: usize| (CHECKS[index].run)(Instant::now() + patience);
    if let Err(failure) =
        calls::of_waiting(Instant::now()).and_then(|()| calls::of_killing(Instant::now()))
    {
        // A check that ends its child would wait for that for ever.
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
    // Where there is no pool to be had, the checks tell why.
    match Pool::start("doctor", PROCESSES, run) {
        Ok(mut pool) => {
            let tickets: Vec<_> = (0..CHECKS.len()).map(|index| pool.apply_async(index)).collect();
            // Each waits for its own deadline; whoever doesn't come to that stands still.
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

/// Runs the checks that need no other process: a line for each that doesn't hold, saying what is
/// not guaranteed. Takes about 0.6 ms if all hold, and at most 1.25 s if none does.
pub fn quick() -> Vec<String> {
    failures(AtStart::Warned).map(|(check, failure)| warning(check, &failure)).collect()
}

/// Runs the checks without which no client can be served. Takes some microseconds.
///
/// # Errors
/// What was seen instead in all that fail.
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
                Ok(()) => writeln!(f, "ok   {:<20} {}", check.name, check.law)?,
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

/// What to say of something that was tried in vain.
fn cannot<E: fmt::Display>(what: &str) -> impl FnOnce(E) -> Failure {
    move |error| format!("cannot {what}: {error}")
}

/// A failure if something that was counted or read isn't as it must be.
fn expect<T: PartialEq + fmt::Debug>(what: &str, found: T, expected: T) -> Result<(), Failure> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?}, not {expected:?}")) }
}

/// Looks until something is so; a failure if it isn't so in time.
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
mod tests {
    use super::*;

    fn report(results: [Result<(), &str>; 3], replaced: &[&'static str]) -> String {
        let checks = CHECKS.into_iter().filter(|check| {
            ["input position", "low-water mark", "robust mutex"].contains(&check.name)
        });
        let results = checks
            .zip(results)
            .map(|(check, result)| (check, result.map_err(str::to_owned)))
            .collect();
        Report { kernel: "Linux 2.6.18".into(), results, replaced: replaced.to_vec() }.to_string()
    }

    #[test]
    fn a_report_is_a_table_and_says_what_is_guaranteed() {
        let failure = expect("bytes taken of 10 after 3 were read", 4, 3).unwrap_err();
        let expected = "\
Linux 2.6.18

FAIL input position: bytes taken of 10 after 3 were read: 4, not 3; without it: after a worker's death a line may be lost or said twice
ok   low-water mark       SO_RCVLOWAT holds back readiness until there is enough, or the end
ok   robust mutex         the lock of a killed process goes to the next, who is told

2 of 3 checks hold
guaranteed here:     the server's processes start, and clients are served
NOT guaranteed here: a worker's death closes no connection; no byte of it is lost and none comes twice
guaranteed here:     an unfinished line costs no CPU time
guaranteed here:     a death at any moment leaves the log whole and its lock free
guaranteed here:     no process outlives the supervisor
refused here, and done without: clone3, close_range
";
        assert_eq!(report([Err(&failure), Ok(()), Ok(())], &["clone3", "close_range"]), expected);
        let all = report([Ok(()), Ok(()), Ok(())], &[]);
        assert!(!all.contains("NOT") && !all.contains("refused"), "{all}");
    }

    #[test]
    fn a_warning_names_the_check_what_was_seen_and_what_is_lost() {
        let low_water = CHECKS.iter().find(|check| check.name == "low-water mark").unwrap();
        let failure =
            wait_until(Instant::now(), "2 more bytes to make it readable", || false).unwrap_err();
        let expected = "cannot rely on low-water mark: waited in vain for 2 more bytes to make it readable; \
            without it an unfinished line costs CPU time, or stays unheard; forkchat-server doctor shows more";
        assert_eq!(warning(low_water, &failure), expected);
    }

    #[test]
    fn what_needs_no_fork_holds_here_and_every_guarantee_is_checked() {
        assert_eq!((quick(), needed()), (Vec::new(), Ok(())));
        assert!(
            Guarantee::ALL
                .iter()
                .all(|guarantee| CHECKS.iter().any(|check| check.guarantees.contains(guarantee)))
        );
    }

    #[test]
    fn a_process_with_threads_is_told_that_it_cannot_check_with_children() {
        let failure = processes::robust_mutex(Instant::now() + DEADLINE).unwrap_err();
        assert!(failure.starts_with("cannot fork: "), "{failure}");
    }
}
