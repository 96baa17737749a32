//! Which signals the supervisor takes, and what each does. Source: signal(7).
//!
//! | signal | what it does |
//! |---|---|
//! | TERM, INT, HUP | the server stops: `stop` |
//! | XCPU | the same: the limit on CPU time is reached, and at the hard limit the kernel kills |
//! | QUIT | logged; then the supervisor ends by it and may leave a core, and its children die with it |
//! | USR1, USR2, ALRM, VTALRM, PROF, IO, PWR, STKFLT, real-time | logged, and ignored |
//! | PIPE, XFSZ | ignored: the write that causes one fails, and its caller deals with that |
//! | SEGV, BUS, ILL, FPE, ABRT, SYS, TRAP | a crash, also if another process sent it |
//!
//! Signals become values that are read in one place. They are blocked for that, and the children inherit it: a signal that comes to the whole group, as from a
//! terminal, is the supervisor's to answer, and one that is sent to a worker or the journal does nothing there.

use super::Supervisor;
use super::stop::Stage;
use crate::sys::signals::{die_by, is_ignored, real_time_signals, reset_signal, signal_set};
use nix::sys::signal::Signal;
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Those that stop the server or end it. A program that starts it may have them ignored: `nohup`, and a shell for its background jobs.
const ENDING: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT];
/// Those that would be the end of a program that never heard of them.
const IGNORED: [Signal; 8] = [
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
    Signal::SIGIO,
    Signal::SIGPWR,
    Signal::SIGSTKFLT,
];

/// Blocks the signals that are read as values. The children inherit that.
pub(super) fn take() -> nix::Result<SignalFd> {
    // The program that started this process may ignore it. The kernel would then reap the children itself, and no death would be noticed.
    reset_signal(Signal::SIGCHLD)?;
    // A blocked signal would come although it is ignored.
    let ending = ENDING.into_iter().filter(|&signal| !is_ignored(signal));
    let numbers = ending.chain(IGNORED).chain([Signal::SIGCHLD, Signal::SIGXCPU]).map(|signal| signal as i32);
    let mask = signal_set(numbers.chain(real_time_signals()))?;
    mask.thread_block()?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

impl Supervisor {
    pub(super) fn read_signals(&mut self) {
        while let Ok(Some(received)) = self.signals.read_signal() {
            let number = received.ssi_signo as i32;
            match Signal::try_from(number) {
                // `reap` looks after each wake-up: several of these may have become one.
                Ok(Signal::SIGCHLD) => {}
                Ok(signal @ (Signal::SIGTERM | Signal::SIGINT | Signal::SIGHUP)) => self.told_to_stop(signal),
                Ok(Signal::SIGXCPU) => self.out_of_cpu_time(),
                Ok(Signal::SIGQUIT) => self.dump_core(),
                Ok(signal) => ignore(signal.as_str(), received.ssi_pid),
                Err(_) => ignore(&format!("real-time signal {}", number - real_time_signals().start()), received.ssi_pid),
            }
        }
    }

    /// It comes each second from the soft limit on, so a second one doesn't insist.
    fn out_of_cpu_time(&mut self) {
        if self.stage == Stage::Serving {
            log::error!("the limit on CPU time (ulimit -t) is reached; raise it");
            self.told_to_stop(Signal::SIGXCPU);
        }
    }

    fn dump_core(&mut self) {
        log::error!("SIGQUIT: ending at once, with a core if one is allowed (ulimit -c); TERM, INT and HUP stop the server");
        self.log_process.flush();
        // Its children die with it.
        if let Err(errno) = die_by(Signal::SIGQUIT) {
            log::error!("cannot end by SIGQUIT: {errno}; stopping at once");
        }
        self.stage = Stage::Now;
    }
}

fn ignore(signal: &str, sender: u32) {
    log::warn!("{signal} from pid {sender} is ignored; TERM, INT and HUP stop the server");
}
