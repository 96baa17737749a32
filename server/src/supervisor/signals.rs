//! Which signals the supervisor handles, and what each does. Source: signal(7).
//!
//! | signal | what it does |
//! |---|---|
//! | TERM, INT, HUP | the server stops: `stop` |
//! | XCPU | the same. The kernel sends it at the soft limit on CPU time, and kills at the hard limit |
//! | QUIT | logged; then the supervisor ends by it, perhaps with a core; its children die with it |
//! | all others that end a process by default, and real-time signals | logged and ignored |
//! | KILL | ends the server. The log process, which survives, logs that |
//!
//! PIPE and XFSZ may also be caused by a write of the supervisor's own. The write fails, its caller
//! handles that, and the signal is not logged.
//!
//! SEGV, BUS, ILL, FPE, ABRT, SYS and TRAP are logged and ignored if another process sent them. A
//! fault of the supervisor's own still ends it with that signal, and with a core if one is allowed:
//! see [`FAULTS`]. The log process logs that it has ended.
//!
//! Signals are blocked and read as values in one place. Children inherit the blocked signals: the
//! supervisor answers a signal that goes to the whole group, as from a terminal, and a signal that
//! is sent to a worker or the journal has no effect there. The exception is `FAULTS`, which
//! children unblock: a worker that ends by one of them is handled like any other death.

use crate::sys::signals::{FAULTS, block, is_ignored, real_time_signals, reset_signal, signal_set};
use nix::sys::signal::Signal;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::{AsFd, BorrowedFd};

/// Signals that stop or end the server. A program that starts it may have them ignored: `nohup`, or
/// a shell for its background jobs.
const ENDING: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT];
/// The other named signals that would end a program which doesn't handle them.
const IGNORED: [Signal; 10] = [
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGPIPE,
    Signal::SIGALRM,
    Signal::SIGSTKFLT,
    Signal::SIGXFSZ,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
    Signal::SIGIO,
    Signal::SIGPWR,
];
/// The signals from here on have no name and would end the program, too. The C library reserves the
/// first ones; the others are the real-time signals.
const UNNAMED_MIN: i32 = 32;

/// The signals that this process received, as values.
#[derive(Debug)]
pub(super) struct Signals(SignalFd);

impl Signals {
    /// Blocks the signals that are read as values. Children inherit the mask.
    pub fn take() -> nix::Result<Signals> {
        // The program that started this process may have SIGCHLD ignored. The kernel would then
        // reap the children itself, and the supervisor would notice no death.
        reset_signal(Signal::SIGCHLD)?;
        // A signalfd delivers blocked signals even if they are ignored, so ignored ones are left
        // out.
        let ending = ENDING.into_iter().filter(|&signal| !is_ignored(signal));
        let named = ending.chain(IGNORED).chain(FAULTS).chain([Signal::SIGCHLD, Signal::SIGXCPU]);
        let mask = signal_set(
            named.map(|signal| signal as i32).chain(UNNAMED_MIN..=*real_time_signals().end()),
        )?;
        block(&mask)?;
        SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).map(Signals)
    }

    /// The next signal that the supervisor handles: one that stops the server, XCPU or QUIT. Logs
    /// ignored signals on the way. `None` if no more have arrived.
    pub fn next(&self) -> Option<Signal> {
        while let Ok(Some(received)) = self.0.read_signal() {
            let (number, sender) = (received.ssi_signo as i32, received.ssi_pid);
            match Signal::try_from(number) {
                // `reap` runs after each wake-up: several SIGCHLD may have become one.
                Ok(Signal::SIGCHLD) => {}
                Ok(
                    signal @ (Signal::SIGTERM
                    | Signal::SIGINT
                    | Signal::SIGHUP
                    | Signal::SIGXCPU
                    | Signal::SIGQUIT),
                ) => return Some(signal),
                // Caused by a failed write of this process.
                Ok(Signal::SIGPIPE | Signal::SIGXFSZ) if sender == std::process::id() => {}
                Ok(signal) => ignore(signal.as_str(), sender),
                Err(_) if real_time_signals().contains(&number) => {
                    ignore(
                        &format!("real-time signal {}", number - real_time_signals().start()),
                        sender,
                    );
                }
                Err(_) => ignore(&format!("signal {number}"), sender),
            }
        }
        None
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn ignore(signal: &str, sender: u32) {
    log::warn!("{signal} from pid {sender} is ignored; TERM, INT and HUP stop the server");
}
