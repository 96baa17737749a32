//! Signals: which are logged and ignored, and which end a process or the server.

use super::*;

/// The signals of faults. Other processes may send them by mistake.
const FAULTS: [Signal; 7] = [
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGILL,
    Signal::SIGFPE,
    Signal::SIGABRT,
    Signal::SIGSYS,
    Signal::SIGTRAP,
];

/// All signals that stop the server or end it.
const ENDING: [Signal; 6] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGXCPU,
    Signal::SIGQUIT,
    Signal::SIGKILL,
];

/// All signals that end no program.
const HARMLESS: [Signal; 8] = [
    Signal::SIGCHLD,
    Signal::SIGCONT,
    Signal::SIGURG,
    Signal::SIGWINCH,
    Signal::SIGSTOP,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
];

const NUMBER_MAX: i32 = 64;

/// The C library uses the first two signals without a name.
const REAL_TIME_MIN: i32 = 34;

/// Sends a signal, also one without a name.
fn send(pid: nix::unistd::Pid, number: i32) {
    let sent = Command::new("bash").args(["-c", &format!("kill -{number} {pid}")]).status();
    assert!(sent.is_ok_and(|sent| sent.success()), "{number}");
}

/// The server's name for a signal.
fn name_of_signal(number: i32) -> String {
    match Signal::try_from(number) {
        Ok(signal) => signal.as_str().to_owned(),
        Err(_) if number >= REAL_TIME_MIN => format!("real-time signal {}", number - REAL_TIME_MIN),
        Err(_) => format!("signal {number}"),
    }
}

#[test]
fn every_signal_that_does_not_stop_the_server_is_logged_and_ignored() {
    if !has_tool("bash") {
        return;
    }
    for model in MODELS {
        let server = Server::start(&["--model", model]);
        let mut person = server.join("person");
        let processes = server.processes();
        let is_named = |number: &i32, names: &[Signal]| {
            Signal::try_from(*number).is_ok_and(|signal| names.contains(&signal))
        };
        for number in (1..=NUMBER_MAX)
            .filter(|number| !is_named(number, &ENDING) && !is_named(number, &HARMLESS))
        {
            let words = format!(" supervisor: warning: {} from pid ", name_of_signal(number));
            // Also a second time: Rust handles some of them only once.
            for times in 1..=2 {
                send(server.pid(), number);
                wait_for(&words, || {
                    (server.log_output().matches(&words).count() == times).then_some(())
                });
            }
            // The signals have no effect on the other processes either.
            if !is_named(&number, &FAULTS) && !(32..REAL_TIME_MIN).contains(&number) {
                processes.iter().for_each(|(pid, _)| send(*pid, number));
            }
            person.sync();
        }
        server.join("another").sync();
        assert!(
            processes.iter().all(|process| server.processes().contains(process)),
            "{}",
            server.log_output()
        );
    }
}

#[test]
fn a_process_that_receives_the_signal_of_a_fault_dies_and_is_replaced() {
    let server = Server::start(&[]);
    let mut person = server.join("person");
    for signal in FAULTS {
        for name in [person.worker().as_str(), "journal"] {
            let old = server.process(name);
            kill(old, signal).unwrap();
            server.replaced(name, old);
            server.logs(&format!(
                "{name} (pid {old}) was killed by signal {}; restarted as pid ",
                signal as i32
            ));
        }
        person.sync();
    }
}

/// Makes a process continue at an unmapped address.
#[cfg(target_arch = "x86_64")]
fn jump_to_nothing(pid: nix::unistd::Pid) {
    use nix::sys::ptrace;
    use nix::sys::wait::waitpid;
    ptrace::attach(pid).unwrap();
    waitpid(pid, None).unwrap();
    let mut registers = ptrace::getregs(pid).unwrap();
    // The kernel must not restart the interrupted system call.
    (registers.rip, registers.orig_rax) = (0, u64::MAX);
    ptrace::setregs(pid, registers).unwrap();
    ptrace::detach(pid, None).unwrap();
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_fault_of_the_supervisor_ends_it_and_is_logged() {
    let mut server = Server::start_limited(Some("ulimit -c 0"), &[]);
    let mut person = server.join("person");
    let children = server.processes();
    server.signal(Signal::SIGSEGV);
    server.logs("SIGSEGV from pid ");
    person.sync();
    jump_to_nothing(server.pid());
    assert_eq!(server.wait().signal(), Some(Signal::SIGSEGV as i32));
    server
        .logs("log: error: the supervisor has crashed or was killed; the server has ended with it");
    wait_for("its children to be gone", || {
        children.iter().all(|(pid, _)| has_ended(*pid)).then_some(())
    });
}

#[test]
fn only_a_supervisor_that_ends_without_a_message_is_reported_as_crashed() {
    const WORDS: &str = "the supervisor has crashed or was killed";
    for (signal, is_said) in
        [(Signal::SIGKILL, true), (Signal::SIGQUIT, false), (Signal::SIGTERM, false)]
    {
        let mut server = Server::start_limited(Some("ulimit -c 0"), &[]);
        server.join("person").sync();
        let log = server.process("log");
        server.signal(signal);
        server.wait();
        wait_for("the log process to end", || has_ended(log).then_some(()));
        if is_said {
            server.logs(WORDS);
        }
        assert_eq!(
            server.log_output().contains(WORDS),
            is_said,
            "{signal}: {}",
            server.log_output()
        );
    }
    let (_, text) = Server::run_to_end(&["--tcp", "off", "--udp", "off"]);
    assert!(text.contains("nothing to listen on") && !text.contains(WORDS), "{text}");
}

#[test]
fn sigxcpu_stops_the_server_and_says_why() {
    let mut server = Server::start(&[]);
    let mut person = server.join("person");
    server.signal(Signal::SIGXCPU);
    // The kernel sends it every second.
    server.signal(Signal::SIGXCPU);
    assert_eq!(person.rest().last().map(String::as_str), Some("* the server is stopping; goodbye"));
    drop(person);
    assert_eq!(server.wait().code(), Some(0), "{}", server.log_output());
    server.logs("the limit on CPU time (ulimit -t) is reached");
}

#[test]
fn sigquit_ends_the_server_and_is_logged() {
    let mut server = Server::start_limited(Some("ulimit -c 0"), &[]);
    let children = server.processes();
    server.signal(Signal::SIGQUIT);
    assert_eq!(server.wait().signal(), Some(Signal::SIGQUIT as i32));
    server.logs("SIGQUIT: ending at once, with a core if one is allowed");
    wait_for("its children to be gone", || {
        children.iter().all(|(pid, _)| has_ended(*pid)).then_some(())
    });
}

#[test]
fn signals_that_the_starter_ignored_stay_ignored() {
    let server = Server::start_limited(Some("trap '' HUP QUIT INT"), &[]);
    [Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGINT]
        .into_iter()
        .for_each(|signal| server.signal(signal));
    server.signal(Signal::SIGUSR1);
    server.logs("SIGUSR1 from pid ");
    server.join("person").sync();
    assert!(!server.log_output().contains("stopping"), "{}", server.log_output());
}
