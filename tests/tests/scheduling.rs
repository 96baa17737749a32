//! `--nice`, `--sched` and `--pin`: the scheduling of every thread of every process, at the start
//! and after a death; and the message to a user without the right to it.

use caps::{CapSet, Capability, has_cap};
use forkchat_tests::processes::{Scheduling, name_of, scheduling_of, threads_of};
use forkchat_tests::{Server, has_tool, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, gettid};
use std::process::Command;

// The numbers in sched.h.
const OTHER: u32 = 0;
const FIFO: u32 = 1;
const RR: u32 = 2;
const BATCH: u32 = 3;
const IDLE: u32 = 5;

/// The scheduling of the tests themselves, which a process inherits if nothing changes it.
fn own() -> Scheduling {
    scheduling_of(gettid()).expect("this thread is there")
}

/// Waits until a process has this many threads. Returns their scheduling, which must be the same
/// for all.
fn scheduling(pid: Pid, threads: usize) -> Scheduling {
    let threads = wait_for(&format!("{threads} threads in {}", name_of(pid)), || {
        Some(threads_of(pid)).filter(|all| all.len() == threads)
    });
    let first = scheduling_of(pid).unwrap();
    for thread in threads {
        assert_eq!(
            scheduling_of(thread).unwrap(),
            first,
            "{} of {}",
            name_of(thread),
            name_of(pid)
        );
    }
    first
}

/// Checks the scheduling of the supervisor, of each of two workers and of the journal, and that
/// their successors have the same.
fn assert_scheduling(
    server: &Server,
    supervisor: &Scheduling,
    workers: [&Scheduling; 2],
    journal: &Scheduling,
) {
    assert_eq!(scheduling(server.pid(), 1), *supervisor, "{}", server.log_output());
    for (name, threads, wanted) in [
        ("worker 0", 3, workers[0]),
        ("worker 1", 3, workers[1]),
        ("journal", 2, journal),
        ("log", 1, journal),
    ] {
        let pid = server.process(name);
        assert_eq!(scheduling(pid, threads), *wanted, "{name}");
        kill(pid, Signal::SIGKILL).unwrap();
        assert_eq!(scheduling(server.replaced(name, pid), threads), *wanted, "the next {name}");
    }
}

/// What a server logs about its scheduling at its start.
fn logged_scheduling(server: &Server) -> Option<String> {
    let text = server.log_output();
    let line = text.lines().find_map(|line| line.split_once(" supervisor: scheduling: "));
    line.map(|(_, told)| told.to_owned())
}

#[test]
fn without_an_option_all_processes_inherit_the_scheduling() {
    let (server, own) = (Server::start(&[]), own());
    assert_scheduling(&server, &own, [&own; 2], &own);
    assert_eq!(logged_scheduling(&server), None);
}

#[test]
fn a_nice_value_applies_to_all_processes() {
    let server = Server::start(&["--nice", "19"]);
    let nice = Scheduling { nice: 19, ..own() };
    assert_scheduling(&server, &nice, [&nice; 2], &nice);
    assert_eq!(logged_scheduling(&server).as_deref(), Some("nice 19"));
}

#[test]
fn workers_are_pinned_in_turn_to_the_cpus_that_the_server_was_allowed() {
    let (own, on) = (own(), |cpu| Scheduling { cpus: vec![cpu], ..own() });
    let (first, last) = (own.cpus[0], *own.cpus.last().unwrap());
    let server = Server::start(&["--pin"]);
    assert_scheduling(&server, &own, [&on(first), &on(own.cpus[1 % own.cpus.len()])], &own);
    assert!(logged_scheduling(&server).unwrap().starts_with("each worker pinned to one of "));

    let server = Server::start(&["--pin", "--workers", "5"]);
    for worker in 0..5 {
        let pid = server.process(&format!("worker {worker}"));
        assert_eq!(scheduling(pid, 3), on(own.cpus[worker % own.cpus.len()]), "worker {worker}");
    }

    if has_tool("taskset") {
        let server = Server::start_limited(Some(&format!("UNDER='taskset -c {last}'")), &["--pin"]);
        assert_scheduling(&server, &on(last), [&on(last); 2], &on(last));
        assert_eq!(
            logged_scheduling(&server).as_deref(),
            Some("each worker pinned to one of 1 CPU")
        );
    }
}

#[test]
fn a_connections_own_process_is_pinned_by_its_slot() {
    let server = Server::start(&["--model", "process", "--pin", "--nice", "19"]);
    let mut clients: Vec<_> = (0..4).map(|i| server.join(&format!("p{i}"))).collect();
    for life in 0..2 {
        for person in &mut clients {
            let name = person.worker();
            let slot: usize = name.strip_prefix("worker ").unwrap().parse().unwrap();
            let cpu = own().cpus[slot % own().cpus.len()];
            let pid = server.process(&name);
            assert_eq!(
                scheduling(pid, 3),
                Scheduling { nice: 19, cpus: vec![cpu], ..own() },
                "life {life} of {name}"
            );
            kill(pid, Signal::SIGKILL).unwrap();
            server.replaced(&name, pid);
        }
    }
}

/// Whether a process that these tests start may have a real-time priority of 2. It tries, because
/// the control group may forbid it.
fn may_be_real_time() -> bool {
    Command::new("chrt").args(["--fifo", "2", "true"]).output().expect("chrt runs").status.success()
}

const NO_RIGHT_TO_REAL_TIME: &str =
    ": it needs CAP_SYS_NICE or a limit on real-time priority (ulimit -r) of at least 2";
const FORBIDDEN_ALL_THE_SAME: &str = ": this process has the right to it, but its user namespace \
    or control group (cpu.rt_runtime_us) has not";

/// Whether this user may use real-time scheduling. If not, checks that a server that needs it says
/// so.
fn is_real_time_or_says_why_not(policy: &str) -> bool {
    if !has_tool("chrt") {
        return false;
    }
    if !may_be_real_time() {
        let (status, text) = Server::run_to_end(&["--tcp", "127.0.0.1:0", "--sched", policy]);
        assert_eq!(status.code(), Some(1), "{text}");
        let says = |why: &str| text.contains(&format!("error: cannot use --sched {policy}{why}\n"));
        assert!(says(NO_RIGHT_TO_REAL_TIME) || says(FORBIDDEN_ALL_THE_SAME), "{text}");
    }
    may_be_real_time()
}

#[test]
fn workers_have_a_real_time_priority_and_the_supervisor_a_higher_one() {
    for (name, policy) in [("rr", RR), ("fifo", FIFO)] {
        if !is_real_time_or_says_why_not(name) {
            continue;
        }
        let mut server = Server::start(&["--sched", name, "--pin"]);
        let (own, at) = (own(), |priority| Scheduling { policy, priority, ..own() });
        let on =
            |index: usize| Scheduling { cpus: vec![own.cpus[index % own.cpus.len()]], ..at(1) };
        assert_scheduling(
            &server,
            &at(2),
            [&on(0), &on(1)],
            &Scheduling { policy: OTHER, ..own.clone() },
        );
        assert!(logged_scheduling(&server).unwrap().starts_with(&format!(
            "{name} (workers at priority 1, supervisor at 2, journal other); each worker"
        )));

        let (mut alice, mut bob) = (server.join("alice"), server.join("bob"));
        for round in 0..20 {
            alice.say(&format!("good day {round}"));
            bob.reads(&format!("[#lobby] alice: good day {round}"));
            bob.say("/history 1");
            bob.reads(&format!("alice: good day {round}"));
        }
        server.signal(Signal::SIGTERM);
        assert_eq!(bob.rest().last().unwrap(), "* the server is stopping; goodbye");
        drop((alice, bob));
        assert_eq!(server.wait().code(), Some(0), "{}", server.log_output());
    }
}

#[test]
fn each_thread_of_a_connection_has_the_real_time_priority() {
    let is_real_time = is_real_time_or_says_why_not("rr");
    let (sched, policy, priority) = if is_real_time { ("rr", RR, 1) } else { ("batch", BATCH, 0) };
    let server = Server::start(&["--model", "threads", "--workers", "1", "--sched", sched]);
    let clients: Vec<_> = (0..3).map(|i| server.join(&format!("p{i}"))).collect();
    let worker = server.process("worker 0");
    let all = threads_of(worker);
    assert!(all.len() > 2 * clients.len(), "two threads a connection: {all:?}");
    assert_eq!(scheduling(worker, all.len()), Scheduling { policy, priority, ..own() });
}

/// A command with which a shell starts a server without the right to better scheduling, whichever
/// user runs the tests. `None` if that is impossible here.
fn without_right() -> Option<&'static str> {
    match has_cap(None, CapSet::Effective, Capability::CAP_SYS_NICE).unwrap() {
        false => has_tool("prlimit").then_some("UNDER='prlimit --rtprio=0 --nice=0'"),
        true => (has_tool("prlimit") && has_tool("setpriv")).then_some(
            "UNDER='prlimit --rtprio=0 --nice=0 setpriv --bounding-set -sys_nice \
                --inh-caps -sys_nice'",
        ),
    }
}

#[test]
fn without_the_right_the_server_does_not_start_and_says_what_it_needs() {
    let Some(limit) = without_right() else { return };
    let lower = (own().nice - 1).to_string();
    let needs_nice = format!(
        ": it needs CAP_SYS_NICE or a limit on nice (ulimit -e) of at least {}",
        20 - (own().nice - 1)
    );
    for (option, value, needs) in [
        ("--sched", "rr", NO_RIGHT_TO_REAL_TIME),
        ("--sched", "fifo", NO_RIGHT_TO_REAL_TIME),
        ("--nice", &lower, &needs_nice),
    ] {
        let (status, text) = Server::run_to_end_limited(
            Some(limit),
            &["--tcp", "127.0.0.1:0", "--udp", "off", option, value],
        );
        assert_eq!(status.code(), Some(1), "{text}");
        assert!(
            text.ends_with(&format!(" supervisor: error: cannot use {option} {value}{needs}\n"))
                && text.lines().count() == 1,
            "{text}"
        );
    }
}

#[test]
fn other_policies_apply_to_all_processes_and_need_no_right() {
    for (name, policy) in [("other", OTHER), ("batch", BATCH), ("idle", IDLE)] {
        let server =
            Server::start_limited(without_right(), &["--nice", "19", "--sched", name, "--pin"]);
        let everyone = Scheduling { nice: 19, policy, ..own() };
        let on = |index: usize| Scheduling {
            cpus: vec![own().cpus[index % own().cpus.len()]],
            ..everyone.clone()
        };
        assert_scheduling(&server, &everyone, [&on(0), &on(1)], &everyone);
        assert!(
            logged_scheduling(&server)
                .unwrap()
                .starts_with(&format!("nice 19; {name}; each worker pinned to one of "))
        );
        assert!(!server.log_output().contains("cannot"), "{}", server.log_output());
    }
}

/// A server may be started as a real-time process without the right to become one. What its
/// children do at a respawn needs no right.
#[test]
fn the_right_is_needed_only_at_the_start() {
    let Some(limit) = without_right() else { return };
    if !is_real_time_or_says_why_not("fifo") {
        return;
    }
    // In this order, `chrt` has the right, and the program that it starts has not.
    let limit = limit.replace("UNDER='", "UNDER='chrt --fifo 9 ");
    let server = Server::start_limited(Some(&limit), &["--sched", "fifo"]);
    let at = |priority| Scheduling { policy: FIFO, priority, ..own() };
    assert_scheduling(&server, &at(2), [&at(1); 2], &Scheduling { policy: OTHER, ..own() });
    assert!(!server.log_output().contains("cannot"), "{}", server.log_output());
}
