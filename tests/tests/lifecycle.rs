//! Starting, stopping, crashing: what an operator sees, and what other users notice.

use forkchat_tests::processes::{
    children_of, family_of, has_ended, is_stopped, name_of, state_of, threads_of,
};
use forkchat_tests::{Client, DEADLINE, Server, has_tool, wait_for};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[test]
fn every_process_has_its_role_as_its_name() {
    let server = Server::start(&["--workers", "3"]);
    assert_eq!(name_of(server.pid()), "supervisor");
    for name in ["worker 0", "worker 1", "worker 2", "journal", "log"] {
        server.process(name);
    }
    assert_eq!(server.processes().len(), 5);
    assert_eq!(threads_of(server.pid()).len(), 1, "a supervisor starts no thread");
    let worker = server.process("worker 1");
    wait_for("a first thread, a receive thread and a send thread", || {
        let names: Vec<String> = threads_of(worker).into_iter().map(name_of).collect();
        (names.len() == 3
            && ["worker 1", "receive 1", "send 1"]
                .iter()
                .all(|name| names.contains(&(*name).to_owned())))
        .then_some(())
    });
}

#[test]
fn a_port_in_use_is_an_error_that_says_so() {
    let server = Server::start(&[]);
    for transport in ["tcp", "udp"] {
        let address = if transport == "tcp" { server.tcp } else { server.udp };
        let other = if transport == "tcp" { "--udp" } else { "--tcp" };
        let (status, text) =
            Server::fails(&[&format!("--{transport}"), &address.to_string(), other, "off"]);
        assert_eq!(status.code(), Some(1));
        assert!(
            text.contains(&format!(
                "cannot listen on {transport} {address}: address already in use"
            )),
            "{text}"
        );
    }
    assert_eq!(Server::fails(&["--no-such-option"]).0.code(), Some(2));
}

#[test]
fn sigterm_tells_everyone_and_leaves_nothing_behind() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut server = Server::start(&[]);
        let mut people: Vec<Client> = (0..4).map(|i| server.join(&format!("p{i}"))).collect();
        people[0].send(b"said before the end\n");
        people[1].reads("said before the end");
        let children = children_of(server.pid());
        server.signal(signal);
        for person in &mut people {
            assert_eq!(person.rest().last().unwrap(), "* the server is stopping; goodbye");
        }
        drop(people);
        assert_eq!(server.wait().code(), Some(0), "{}", server.journal_text());
        assert!(children.iter().all(|&child| name_of(child).is_empty()), "no child and no zombie");
        server.tells("supervisor: stopped");
    }
}

#[test]
fn who_has_connected_before_the_end_is_told_of_it() {
    for model in ["pool", "threads", "process"] {
        let mut server = Server::start(&["--model", model]);
        // Connected, as far as the kernel is concerned; most were not accepted yet.
        let people: Vec<Client> = (0..100).map(|_| server.connect()).collect();
        server.signal(Signal::SIGTERM);
        for mut person in people {
            assert_eq!(
                person.rest().last().map(String::as_str),
                Some("* the server is stopping; goodbye"),
                "{model}"
            );
        }
        assert_eq!(server.wait().code(), Some(0), "{}", server.journal_text());
    }
}

#[test]
fn a_server_that_was_started_with_sigchld_ignored_hears_of_deaths_all_the_same() {
    let server = Server::start_limited(Some("trap '' CHLD"), &[]);
    let mut person = server.join("person");
    let worker = server.process(&person.worker());
    kill(worker, Signal::SIGKILL).unwrap();
    person.sync();
    server.tells(&format!("(pid {worker}) was killed by signal 9; restarted as pid "));
}

#[test]
fn the_grace_is_a_bound_and_a_second_signal_ends_it_at_once() {
    let mut server = Server::start(&["--grace", "1", "--sendq", "1G", "--rate-limit", "off"]);
    let _deaf = deaf_client(&server);
    server.signal(Signal::SIGTERM);
    let start = Instant::now();
    assert_eq!(server.wait().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(10));

    let mut server = Server::start(&["--grace", "3600", "--sendq", "1G", "--rate-limit", "off"]);
    let _deaf = deaf_client(&server);
    server.signal(Signal::SIGTERM);
    server.tells("SIGTERM: stopping");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(1));
    server.tells("SIGTERM while stopping: stopping at once");
}

/// A client that has much more to read than the kernel holds, and doesn't read it.
fn deaf_client(server: &Server) -> Client {
    let mut deaf = server.connect();
    deaf.say("/nick deaf");
    (0..400).for_each(|_| deaf.say("/help"));
    let mut loud = server.join("loud");
    let line = "x".repeat(4_000);
    // The kernel takes some megabytes for it; the rest waits in its outbox.
    for _ in 0..500 {
        loud.say(&format!("/msg deaf {line}"));
    }
    loud.sync();
    deaf
}

#[test]
fn when_the_supervisor_is_killed_everyone_dies_with_it() {
    let server = Server::start(&[]);
    let children = children_of(server.pid());
    assert_eq!(children.len(), 4);
    server.signal(Signal::SIGKILL);
    wait_for("the children to be gone", || {
        children.iter().all(|&child| has_ended(child)).then_some(())
    });
}

/// A client on each of two workers, the first on worker 0.
fn one_on_each(server: &Server) -> [Client; 2] {
    let mut people = [server.join("a"), server.join("b")];
    if people[0].worker() == "worker 1" {
        people.swap(0, 1);
    }
    assert_ne!(people[0].worker(), people[1].worker());
    for person in &mut people {
        person.sync();
    }
    people
}

#[test]
fn a_killed_worker_is_replaced_and_nobody_notices() {
    let server = Server::start(&[]);
    let [mut victim, mut witness] = one_on_each(&server);
    for round in 0..5 {
        let worker = server.process("worker 0");
        victim.say(&format!("said before {round}"));
        kill(worker, Signal::SIGKILL).unwrap();
        victim.say(&format!("said behind {round}"));
        let successor = server.replaced("worker 0", worker);
        server.tells(&format!("worker 0 (pid {worker}) was killed by signal 9; restarted as pid {successor}; 1 connection kept"));
        let heard = witness.reads(&format!("[#lobby] a: said behind {round}"));
        assert_eq!(
            heard,
            [
                format!("[#lobby] a: said before {round}"),
                format!("[#lobby] a: said behind {round}")
            ]
        );
        witness.say(&format!("good {round}"));
        assert_eq!(victim.reads("good"), [format!("[#lobby] b: good {round}")], "and nothing else");
        assert_eq!(victim.worker(), "worker 0");
    }
    server.tells("worker 0: took over 1 session in ");
    let zombies = server.processes().into_iter().filter(|&(pid, _)| has_ended(pid)).count();
    assert_eq!(zombies, 0);
}

#[test]
fn a_killed_journal_is_replaced_and_nobody_notices() {
    let server = Server::start(&["--ring", "1M", "--rate-limit", "off"]);
    let [mut a, mut b] = one_on_each(&server);
    let line = "z".repeat(1_000);
    for round in 0..5 {
        let journal = server.process("journal");
        kill(journal, Signal::SIGKILL).unwrap();
        // More than the ring holds: without snapshots it would be full.
        for number in 0..1_500 {
            a.say(&format!("{round} {number} {line}"));
            if number % 100 == 99 {
                b.reads(&format!("{round} {number} "));
            }
        }
        server.replaced("journal", journal);
    }
}

#[test]
fn all_processes_but_the_supervisor_are_killed_at_once_and_nobody_notices() {
    let server = Server::start(&[]);
    let [mut a, mut b] = one_on_each(&server);
    let names = ["worker 0", "worker 1", "journal"];
    let victims = names.map(|name| server.process(name));
    a.say("before");
    victims.iter().for_each(|&victim| kill(victim, Signal::SIGKILL).unwrap());
    a.say("behind");
    assert_eq!(b.reads("a: behind"), ["[#lobby] a: before", "[#lobby] a: behind"]);
    for (name, old) in names.into_iter().zip(victims) {
        server.replaced(name, old);
    }
    b.say("/who");
    assert_eq!(
        b.reads("in #lobby").pop().unwrap().split(": ").last().unwrap().split(' ').count(),
        2
    );
}

#[test]
fn those_who_come_and_go_while_their_worker_is_dead_are_let_in_and_out() {
    let server = Server::start(&["--workers", "1"]);
    let mut stays = server.join("stays");
    for round in 0..10 {
        let worker = server.process("worker 0");
        let mut leaves = server.join("leaves");
        stays.reads("* leaves joined #lobby");
        kill(worker, Signal::SIGKILL).unwrap();
        leaves.say("/quit");
        let mut comes = server.connect();
        comes.say(&format!("/nick comes{round}"));
        comes.reads(&format!("you are now comes{round}"));
        assert_eq!(leaves.rest().last().unwrap(), "* goodbye");
        stays.reads(&format!("* comes{round} joined #lobby"));
        comes.end_input();
        comes.rest();
        stays.reads(&format!("* comes{round} quit"));
        server.replaced("worker 0", worker);
    }
}

#[test]
fn a_worker_that_dies_while_the_server_stops_says_goodbye_all_the_same() {
    let mut server = Server::start(&["--grace", "30"]);
    let mut people = one_on_each(&server);
    let worker = server.process("worker 0");
    server.signal(Signal::SIGTERM);
    kill(worker, Signal::SIGKILL).unwrap();
    for person in &mut people {
        assert_eq!(person.rest().last().unwrap(), "* the server is stopping; goodbye");
    }
    drop(people);
    assert_eq!(server.wait().code(), Some(0), "{}", server.journal_text());
}

#[test]
fn a_worker_that_dies_by_its_own_doing_again_and_again_is_started_with_pauses() {
    let server = Server::start(&[]);
    for _ in 0..5 {
        let worker = server.process("worker 1");
        kill(worker, Signal::SIGSEGV).unwrap();
        server.replaced("worker 1", worker);
    }
    server.tells("killed by signal 11");
    server.join("someone").sync();
}

#[test]
fn a_stopped_worker_is_replaced_at_once() {
    let server = Server::start(&[]);
    let [mut victim, mut witness] = one_on_each(&server);
    let worker = server.process("worker 0");
    kill(worker, Signal::SIGSTOP).unwrap();
    victim.say("still here");
    witness.reads("a: still here");
    // And not that it did nothing for 2 s.
    server.tells(&format!("worker 0 (pid {worker}) was stopped; killing it"));
    server.replaced("worker 0", worker);
}

#[test]
fn a_server_that_is_stopped_as_a_whole_goes_on_as_a_whole() {
    // It leads a group, which Ctrl-Z stops and fg continues with one call each.
    let server = Server::start_limited(Some("UNDER=setsid"), &[]);
    let [mut a, mut b] = one_on_each(&server);
    let family = family_of(server.pid());
    for round in 0..10 {
        killpg(server.pid(), Signal::SIGSTOP).unwrap();
        wait_for("everyone to stand still", || {
            family.iter().all(|&pid| is_stopped(pid)).then_some(())
        });
        killpg(server.pid(), Signal::SIGCONT).unwrap();
        a.say(&format!("round {round}"));
        b.reads(&format!("a: round {round}"));
    }
    assert_eq!(family_of(server.pid()), family, "{}", server.journal_text());
}

#[test]
fn workers_stopped_again_and_again_in_full_traffic() {
    // The witness doesn't read while it waits for a successor.
    let server = Server::start(&["--rate-limit", "off", "--sendq", "1G"]);
    let [victim, mut witness] = one_on_each(&server);
    let mut flood = victim.stream().try_clone().unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let stop = is_over.clone();
    let flooding = std::thread::spawn(move || {
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            std::io::Write::write_all(&mut flood, format!("flood {number}\n").as_bytes()).unwrap();
            number += 1;
        }
        number
    });
    let mut next = 0;
    let mut count_on = |lines: Vec<String>| {
        for line in lines.iter().filter(|line| line.contains("flood")) {
            assert_eq!(line, &format!("[#lobby] a: flood {next}"));
            next += 1;
        }
    };
    for _ in 0..15 {
        count_on(witness.reads("flood"));
        let worker = server.process("worker 0");
        kill(worker, Signal::SIGSTOP).unwrap();
        server.replaced("worker 0", worker);
        count_on(witness.sync());
    }
    is_over.store(true, Ordering::Relaxed);
    // It reads on, so that the rest of the flood flows.
    let reading = std::thread::spawn(move || {
        let lines = witness.reads("* a quit");
        (witness, lines)
    });
    let said = flooding.join().unwrap();
    victim.stream().shutdown(std::net::Shutdown::Write).unwrap();
    count_on(reading.join().unwrap().1);
    assert_eq!(next, said);
}

/// Where in the mapping `forkchat-log` the lock's owner is told: a number that isn't 0 while
/// somebody holds it.
const LOCK_OWNER_OFFSET: u64 = 80;

fn lock_owner(server: &Server) -> impl Fn() -> u32 + use<> {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", server.pid())).unwrap();
    let line = maps.lines().find(|line| line.contains("memfd:forkchat-log")).unwrap();
    let start = u64::from_str_radix(line.split('-').next().unwrap(), 16).unwrap();
    let memory = File::open(format!("/proc/{}/mem", server.pid())).unwrap();
    move || {
        let mut bytes = [0; 4];
        memory.read_exact_at(&mut bytes, start + LOCK_OWNER_OFFSET).unwrap();
        u32::from_ne_bytes(bytes)
    }
}

/// Stops threads the way a tracer does, of which nobody else is told, and keeps them so until they
/// are killed.
///
/// A tracer is a thread: `act` and the waiting for their death run in one of their own. Returns
/// when `act` is done.
fn trace(
    threads: Vec<Pid>,
    act: impl FnOnce(&[Pid]) + Send + 'static,
) -> std::thread::JoinHandle<()> {
    let (done, is_done) = std::sync::mpsc::channel();
    let tracer = std::thread::spawn(move || {
        for &thread in &threads {
            ptrace::seize(thread, ptrace::Options::empty()).unwrap();
            ptrace::interrupt(thread).unwrap();
            wait_stopped(thread);
        }
        act(&threads);
        done.send(()).unwrap();
        // Until its tracer has seen it, a killed thread is not gone for anyone else; and a
        // process's first thread is seen last.
        for &thread in threads.iter().rev() {
            while !matches!(
                waitpid(thread, Some(WaitPidFlag::__WALL)),
                Err(_) | Ok(WaitStatus::Signaled(..) | WaitStatus::Exited(..))
            ) {}
        }
    });
    is_done.recv_timeout(DEADLINE).expect("the threads are stopped where they should be");
    tracer
}

fn wait_stopped(thread: Pid) {
    match waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap() {
        WaitStatus::Stopped(..) | WaitStatus::PtraceEvent(..) => {}
        other => panic!("{thread} was to stop, and it is {other:?}"),
    }
}

fn send_thread_of(worker: Pid) -> Pid {
    wait_for("the send thread", || {
        threads_of(worker).into_iter().find(|&thread| name_of(thread).starts_with("send "))
    })
}

/// Has the client talk without end, and stops its worker's send thread here and there until it
/// holds the log's lock.
fn stop_in_the_lock(owner: impl Fn() -> u32, thread: Pid, client: &Client) {
    let mut stream = client.stream().try_clone().unwrap();
    std::thread::spawn(move || {
        while std::io::Write::write_all(&mut stream, b"never heard, or heard\n").is_ok() {}
    });
    let deadline = Instant::now() + DEADLINE;
    // Worker 0 is in slot 1, and the lock names a slot by one more than that.
    while owner() != 2 {
        assert!(Instant::now() < deadline, "one who writes holds the lock now and then");
        ptrace::cont(thread, None).unwrap();
        std::thread::yield_now();
        ptrace::interrupt(thread).unwrap();
        wait_stopped(thread);
    }
}

#[test]
fn a_worker_stopped_while_it_holds_the_logs_lock_is_replaced_at_once() {
    // The witness doesn't read while the lock is waited for.
    let server = Server::start(&["--rate-limit", "off", "--sendq", "1G"]);
    let [victim, mut witness] = one_on_each(&server);
    let worker = server.process("worker 0");
    let owner = lock_owner(&server);
    let tracer = trace(vec![send_thread_of(worker)], move |threads| {
        stop_in_the_lock(owner, threads[0], &victim);
        // It stops as soon as its tracer lets go of it.
        kill(worker, Signal::SIGSTOP).unwrap();
        ptrace::detach(threads[0], None).unwrap();
    });
    witness.say("the others go on");
    witness.sync();
    server.replaced("worker 0", worker);
    // And not that it held the lock for 2 s.
    server.tells("was stopped; killing it");
    tracer.join().unwrap();
}

#[test]
fn a_worker_that_hangs_with_the_logs_lock_is_found_by_the_watchdog() {
    // The witness doesn't read while the lock is waited for.
    let server = Server::start(&["--rate-limit", "off", "--sendq", "1G"]);
    let [victim, mut witness] = one_on_each(&server);
    let worker = server.process("worker 0");
    let owner = lock_owner(&server);
    let tracer = trace(vec![send_thread_of(worker)], move |threads| {
        stop_in_the_lock(owner, threads[0], &victim)
    });
    witness.say("the others go on");
    witness.sync();
    // Or that it was busy for 2 s: with the lock it stays in its turn.
    server.tells(&format!("worker 0 (pid {worker}) "));
    server.tells(" for 2 s; killing it");
    server.replaced("worker 0", worker);
    tracer.join().unwrap();
}

#[test]
fn a_worker_that_reads_nothing_is_found_by_the_watchdog() {
    let server = Server::start(&[]);
    let [mut victim, mut witness] = one_on_each(&server);
    let worker = server.process("worker 0");
    let tracer = trace(threads_of(worker), |_| ());
    witness.say("news for it");
    assert_eq!(victim.reads("news"), ["[#lobby] b: news for it"]);
    server.tells(&format!("worker 0 (pid {worker}) read nothing of the log for 2 s; killing it"));
    server.replaced("worker 0", worker);
    tracer.join().unwrap();
}

#[test]
fn one_thread_that_stands_still_while_nothing_else_happens_is_found_by_the_watchdog() {
    for (model, threads) in [
        ("pool", ["receive ", "send "]),
        ("process", ["receive ", "send "]),
        ("threads", ["worker ", "worker "]),
    ] {
        for thread in threads {
            let server = Server::start(&["--model", model]);
            let mut victim = server.join("victim");
            let worker = server.process(&victim.worker());
            victim.sync();
            let frozen = wait_for("the thread", || {
                threads_of(worker).into_iter().find(|&other| name_of(other).starts_with(thread))
            });
            wait_for("the worker to sleep", || {
                threads_of(worker)
                    .into_iter()
                    .all(|thread| state_of(thread) == Some('S'))
                    .then_some(())
            });
            let tracer = trace(vec![frozen], |_| ());
            // Or it was just about to do something, and is seen not to.
            let found = || {
                server.journal_text().lines().any(|line| {
                    line.contains(&format!("(pid {worker}) "))
                        && line.ends_with(" for 2 s; killing it")
                })
            };
            wait_for(&format!("{thread}of {model} to be found"), || found().then_some(()));
            // What it says now, or said meanwhile, is answered by the successor.
            victim.sync();
            tracer.join().unwrap();
        }
    }
}

/// As README has it.
#[test]
fn a_kill_by_name_among_the_supervisors_children_hits_no_other_server() {
    if !has_tool("pkill") {
        return;
    }
    let (server, other) = (Server::start(&[]), Server::start(&[]));
    let (victim, innocent) = (server.process("worker 0"), other.process("worker 0"));
    server.tells(&format!("supervisor pid {}", server.pid()));
    let pid_file = std::fs::read_to_string(server.data_dir().join("forkchat.pid")).unwrap();
    assert_eq!(pid_file.trim_end(), server.pid().to_string());
    assert!(
        Command::new("pkill")
            .args(["-KILL", "-P", pid_file.trim_end(), "-x", "worker 0"])
            .status()
            .unwrap()
            .success()
    );
    server.replaced("worker 0", victim);
    assert_eq!(other.process("worker 0"), innocent);
}
