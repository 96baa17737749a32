//! `--nice`, `--sched` and `--pin`: what every thread of every process has, at the start and after
//! a death; and the message to a user without the right to it.

use caps::{CapSet, Capability, has_cap};
use forkchat_tests::processes::{Scheduling, name_of, scheduling_of, threads_of};
use forkchat_tests::{Server, has_tool, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, gettid};
use std::process::Command;

// As sched.h numbers them.
const OTHER: u32 = 0;
const FIFO: u32 = 1;
const RR: u32 = 2;
const BATCH: u32 = 3;
const IDLE: u32 = 5;

/// How the tests themselves are scheduled, and so everyone whom nobody schedules otherwise.
fn own() -> Scheduling {
    scheduling_of(gettid()).expect("this thread is there")
}

/// How a process is scheduled, once it has so many threads: they all are as its first one.
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

/// Looks how the supervisor, each of two workers and the journal are scheduled; and that those who
/// follow when they are killed are as they were.
fn are_scheduled(
    server: &Server,
    supervisor: &Scheduling,
    workers: [&Scheduling; 2],
    journal: &Scheduling,
) {
    assert_eq!(scheduling(server.pid(), 1), *supervisor, "{}", server.journal_text());
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

/// What a server says of its scheduling when it starts.
fn told(server: &Server) -> Option<String> {
    let text = server.journal_text();
    let line = text.lines().find_map(|line| line.split_once(" supervisor: scheduling: "));
    line.map(|(_, told)| told.to_owned())
}

#[test]
fn without_an_option_everyone_is_scheduled_as_the_server_was_started() {
    let (server, own) = (Server::start(&[]), own());
    are_scheduled(&server, &own, [&own; 2], &own);
    assert_eq!(told(&server), None);
}

#[test]
fn a_nice_value_is_everyones() {
    let server = Server::start(&["--nice", "19"]);
    let nice = Scheduling { nice: 19, ..own() };
    are_scheduled(&server, &nice, [&nice; 2], &nice);
    assert_eq!(told(&server).as_deref(), Some("nice 19"));
}

#[test]
fn workers_are_pinned_in_turn_to_the_cpus_that_the_server_was_allowed() {
    let (own, on) = (own(), |cpu| Scheduling { cpus: vec![cpu], ..own() });
    let (first, last) = (own.cpus[0], *own.cpus.last().unwrap());
    let server = Server::start(&["--pin"]);
    are_scheduled(&server, &own, [&on(first), &on(own.cpus[1 % own.cpus.len()])], &own);
    assert!(told(&server).unwrap().starts_with("each worker pinned to one of "));

    let server = Server::start(&["--pin", "--workers", "5"]);
    for worker in 0..5 {
        let pid = server.process(&format!("worker {worker}"));
        assert_eq!(scheduling(pid, 3), on(own.cpus[worker % own.cpus.len()]), "worker {worker}");
    }

    if has_tool("taskset") {
        let server = Server::start_limited(Some(&format!("UNDER='taskset -c {last}'")), &["--pin"]);
        are_scheduled(&server, &on(last), [&on(last); 2], &on(last));
        assert_eq!(told(&server).as_deref(), Some("each worker pinned to one of 1 CPU"));
    }
}

#[test]
fn a_connections_own_process_is_pinned_by_its_slot() {
    let server = Server::start(&["--model", "process", "--pin", "--nice", "19"]);
    let mut people: Vec<_> = (0..4).map(|i| server.join(&format!("p{i}"))).collect();
    for life in 0..2 {
        for person in &mut people {
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

/// Whether a process that these tests start may have a real-time priority of 2. The control group
/// has a say in it, so it is tried.
fn may_be_real_time() -> bool {
    Command::new("chrt").args(["--fifo", "2", "true"]).output().expect("chrt runs").status.success()
}

const NO_RIGHT_TO_REAL_TIME: &str =
    ": it needs CAP_SYS_NICE or a limit on real-time priority (ulimit -r) of at least 2";
const FORBIDDEN_ALL_THE_SAME: &str = ": this process has the right to it, but its user namespace or control group (cpu.rt_runtime_us) has not";

/// Whether there is the right to real time. If not, a server that wants it says so.
fn is_real_time_or_says_why_not(policy: &str) -> bool {
    if !has_tool("chrt") {
        return false;
    }
    if !may_be_real_time() {
        let (status, text) = Server::fails(&["--tcp", "127.0.0.1:0", "--sched", policy]);
        assert_eq!(status.code(), Some(1), "{text}");
        let says = |why: &str| text.contains(&format!("error: cannot use --sched {policy}{why}\n"));
        assert!(says(NO_RIGHT_TO_REAL_TIME) || says(FORBIDDEN_ALL_THE_SAME), "{text}");
    }
    may_be_real_time()
}

#[test]
fn real_time_is_for_those_who_answer_and_most_of_all_for_who_can_end_them() {
    for (name, policy) in [("rr", RR), ("fifo", FIFO)] {
        if !is_real_time_or_says_why_not(name) {
            continue;
        }
        let mut server = Server::start(&["--sched", name, "--pin"]);
        let (own, at) = (own(), |priority| Scheduling { policy, priority, ..own() });
        let on =
            |index: usize| Scheduling { cpus: vec![own.cpus[index % own.cpus.len()]], ..at(1) };
        are_scheduled(
            &server,
            &at(2),
            [&on(0), &on(1)],
            &Scheduling { policy: OTHER, ..own.clone() },
        );
        assert!(told(&server).unwrap().starts_with(&format!(
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
        assert_eq!(server.wait().code(), Some(0), "{}", server.journal_text());
    }
}

#[test]
fn each_thread_of_a_connection_has_it() {
    let is_real_time = is_real_time_or_says_why_not("rr");
    let (sched, policy, priority) = if is_real_time { ("rr", RR, 1) } else { ("batch", BATCH, 0) };
    let server = Server::start(&["--model", "threads", "--workers", "1", "--sched", sched]);
    let people: Vec<_> = (0..3).map(|i| server.join(&format!("p{i}"))).collect();
    let worker = server.process("worker 0");
    let all = threads_of(worker);
    assert!(all.len() > 2 * people.len(), "two threads a connection: {all:?}");
    assert_eq!(scheduling(worker, all.len()), Scheduling { policy, priority, ..own() });
}

/// Something for a shell to run a server without any right to what is scheduled better, whoever
/// runs the tests; `None` if that can't be done here.
fn without_right() -> Option<&'static str> {
    match has_cap(None, CapSet::Effective, Capability::CAP_SYS_NICE).unwrap() {
        false => has_tool("prlimit").then_some("UNDER='prlimit --rtprio=0 --nice=0'"),
        true => (has_tool("prlimit") && has_tool("setpriv"))
            .then_some("UNDER='prlimit --rtprio=0 --nice=0 setpriv --bounding-set -sys_nice --inh-caps -sys_nice'"),
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
        let (status, text) = Server::fails_limited(
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
fn a_policy_that_is_not_real_time_is_everyones_and_needs_no_right() {
    for (name, policy) in [("other", OTHER), ("batch", BATCH), ("idle", IDLE)] {
        let server =
            Server::start_limited(without_right(), &["--nice", "19", "--sched", name, "--pin"]);
        let everyone = Scheduling { nice: 19, policy, ..own() };
        let on = |index: usize| Scheduling {
            cpus: vec![own().cpus[index % own().cpus.len()]],
            ..everyone.clone()
        };
        are_scheduled(&server, &everyone, [&on(0), &on(1)], &everyone);
        assert!(
            told(&server)
                .unwrap()
                .starts_with(&format!("nice 19; {name}; each worker pinned to one of "))
        );
        assert!(!server.journal_text().contains("cannot"), "{}", server.journal_text());
    }
}

/// Whoever starts a server as a real-time process may take the right away from it: what its
/// children do at a respawn needs none.
#[test]
fn the_right_is_needed_only_at_the_start() {
    let Some(limit) = without_right() else { return };
    if !is_real_time_or_says_why_not("fifo") {
        return;
    }
    // In this order: chrt has the right, and what it starts has not.
    let limit = limit.replace("UNDER='", "UNDER='chrt --fifo 9 ");
    let server = Server::start_limited(Some(&limit), &["--sched", "fifo"]);
    let at = |priority| Scheduling { policy: FIFO, priority, ..own() };
    are_scheduled(&server, &at(2), [&at(1); 2], &Scheduling { policy: OTHER, ..own() });
    assert!(!server.journal_text().contains("cannot"), "{}", server.journal_text());
}
