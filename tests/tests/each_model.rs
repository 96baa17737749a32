//! Behaviour that all concurrency models share, and the threads and processes of a connection in
//! each.

use forkchat_tests::processes::{children_of, name_of, threads_of};
use forkchat_tests::{Client, DEADLINE, Server, has_tool, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::UdpSocket;
use std::process::Command;

const MODELS: [&str; 3] = ["pool", "threads", "process"];

fn start(model: &str, options: &[&str]) -> Server {
    Server::start(&[&["--model", model], options].concat())
}

fn workers(server: &Server) -> Vec<Pid> {
    server
        .processes()
        .into_iter()
        .filter(|(_, name)| name.starts_with("worker "))
        .map(|(pid, _)| pid)
        .collect()
}

/// Sends over UDP and reads until an answer contains this.
fn reads(udp: &UdpSocket, part: &str) -> String {
    let mut buffer = [0; 65_536];
    let mut all = String::new();
    while !all.contains(part) {
        let length = udp.recv(&mut buffer).expect("a datagram comes");
        all.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    all
}

fn udp_client(server: &Server) -> UdpSocket {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.connect(server.udp).unwrap();
    udp.set_read_timeout(Some(DEADLINE)).unwrap();
    udp.send(&[b' '; 64]).unwrap();
    let cookie = reads(&udp, "/hello ");
    udp.send(cookie.trim_start_matches("* ").as_bytes()).unwrap();
    reads(&udp, "Welcome");
    udp
}

#[test]
fn users_talk_over_tcp_and_udp() {
    for model in MODELS {
        let server = start(model, &[]);
        let (mut alice, mut bob, udp) =
            (server.join("alice"), server.join("bob"), udp_client(&server));
        alice.say("hi all");
        bob.reads("[#lobby] alice: hi all");
        reads(&udp, "[#lobby] alice: hi all");
        udp.send(b"hi from far\n").unwrap();
        alice.reads(": hi from far");
        alice.send("a long li".as_bytes());
        bob.say("in between");
        alice.reads("bob: in between");
        alice.send("ne\n/who\n".as_bytes());
        bob.reads("alice: a long line");
        alice.reads("* in #lobby: alice bob");
        bob.say("/history 2");
        assert_eq!(bob.reads("a long line").len(), 3, "{model}: the date and two lines");
        bob.say("/quit bye");
        alice.reads("* bob quit: bye");
        assert_eq!(bob.rest().last().unwrap(), "* goodbye");
    }
}

#[test]
fn lines_sent_before_the_end_of_input_are_said_and_answered() {
    for model in MODELS {
        let server = start(model, &[]);
        let mut alice = server.join("alice");
        for number in 0..20 {
            let mut program = server.connect();
            program.send(format!("/nick robot\nnumber {number}\n/whoami").as_bytes());
            program.end_input();
            assert!(program.rest().last().unwrap().starts_with("* you are robot"), "{model}");
            assert_eq!(
                alice.reads("robot quit")[1],
                format!("[#lobby] robot: number {number}"),
                "{model}"
            );
        }
    }
}

#[test]
fn no_user_notices_when_every_worker_is_killed() {
    for model in MODELS {
        let server = start(model, &["--rate-limit", "off"]);
        let mut clients: Vec<Client> = (0..4).map(|i| server.join(&format!("p{i}"))).collect();
        let udp = udp_client(&server);
        clients.iter_mut().for_each(|person| drop(person.sync()));
        let mut said = 0;
        for round in 0..6 {
            let victims = workers(&server);
            for person in &mut clients[1..] {
                (0..10).for_each(|number| person.say(&format!("round {round} line {number}")));
            }
            // One of them may just be replaced.
            victims.iter().for_each(|&pid| _ = kill(pid, Signal::SIGKILL));
            said += 30;
        }
        clients[1..].iter_mut().for_each(|person| person.say("that is all"));
        let mut received = Vec::new();
        while received.iter().filter(|line: &&String| line.ends_with("that is all")).count() < 3 {
            received.push(clients[0].line().expect("the connection goes on"));
        }
        assert_eq!(received.len(), said + 3, "{model}: each line once");
        for speaker in 1..4 {
            let of_speaker = received
                .iter()
                .filter_map(|line| line.strip_prefix(&format!("[#lobby] p{speaker}: round ")));
            let expected = (0..6)
                .flat_map(|round| (0..10).map(move |number| format!("{round} line {number}")));
            assert!(of_speaker.eq(expected), "{model}: in order");
        }
        udp.send(b"still here\n").unwrap();
        clients[0].reads(": still here");
        drop(clients.remove(0));
        clients[0].reads("p0 quit");
    }
}

#[test]
fn a_connection_has_the_processes_and_threads_of_its_model() {
    const CLIENTS: usize = 30;
    // A thread pool grows by several threads at a time, and one thread serves UDP.
    let of_pools = 2 * 16 + 1;
    for (model, processes, tasks_min, tasks_max) in [
        ("pool", 2, 6, 6),
        ("threads", 2, 2 + 2 * CLIENTS, 2 + 2 * CLIENTS + of_pools),
        ("process", 1 + CLIENTS, 3 + 3 * CLIENTS, 3 + 3 * CLIENTS),
    ] {
        let server = start(model, &[]);
        let count = || {
            let workers = workers(&server);
            (workers.len(), workers.iter().map(|&worker| threads_of(worker).len()).sum::<usize>())
        };
        let mut alice = server.join("alice");
        for round in 0..5 {
            let clients: Vec<Client> =
                (1..CLIENTS).map(|i| server.join(&format!("r{round}p{i}"))).collect();
            let (processes_now, tasks_now) = count();
            assert_eq!(processes_now, processes, "{model}");
            // Threads return to their pool; some may not have returned yet.
            assert!(
                tasks_now >= tasks_min && tasks_now <= tasks_max + round * of_pools,
                "{model}: {tasks_now} threads"
            );
            drop(clients);
            (1..CLIENTS).for_each(|_| drop(alice.reads(" quit")));
            // Two workers, or the permanent one and alice's.
            wait_for("the processes of connections to be gone", || (count().0 == 2).then_some(()));
            assert!(
                children_of(server.pid()).into_iter().all(|pid| !name_of(pid).is_empty()),
                "no zombie"
            );
        }
    }
}

#[test]
fn a_client_that_never_reads_is_disconnected_and_the_others_are_served() {
    for model in MODELS {
        let server = start(model, &["--rate-limit", "off", "--sendq", "64K"]);
        let (mut alice, mut bob, mut slow_reader) =
            (server.join("alice"), server.join("bob"), server.join("deaf"));
        let line = "x".repeat(1_000);
        let is_gone =
            |lines: Vec<String>| lines.iter().any(|line| line == "* deaf quit: reading too slowly");
        let mut sent = 0;
        loop {
            assert!(sent < 100_000, "{model}: it is disconnected at some time");
            (0..50).for_each(|_| alice.say(&line));
            sent += 50;
            if is_gone(bob.sync()) {
                break;
            }
            alice.sync();
        }
        drop(slow_reader.rest());
        server.join("afterwards").sync();
    }
}

#[test]
fn clients_beyond_the_limit_receive_the_reason_and_free_slots_are_reused() {
    for model in MODELS {
        let server = start(model, &["--max-connections", "2"]);
        let mut clients = vec![server.join("a"), server.join("b")];
        for _ in 0..10 {
            assert_eq!(
                server.connect().rest(),
                ["! the server is full; try again later"],
                "{model}"
            );
        }
        for _ in 0..20 {
            clients.pop().unwrap().say("/quit");
            wait_for("a free place", || {
                let mut one = server.connect();
                one.line()
                    .is_some_and(|line| line.starts_with("* Welcome"))
                    .then(|| clients.push(one))
            });
        }
    }
}

#[test]
fn sigterm_notifies_all_clients_and_leaves_nothing_behind() {
    for model in MODELS {
        let mut server = start(model, &[]);
        let mut clients: Vec<Client> = (0..6).map(|i| server.join(&format!("p{i}"))).collect();
        clients[0].send(b"said before the end\n");
        clients[1].reads("said before the end");
        let children = children_of(server.pid());
        server.signal(Signal::SIGTERM);
        for person in &mut clients {
            assert_eq!(
                person.rest().last().unwrap(),
                "* the server is stopping; goodbye",
                "{model}"
            );
        }
        drop(clients);
        assert_eq!(server.wait().code(), Some(0), "{}", server.log_output());
        assert!(
            children.iter().all(|&child| name_of(child).is_empty()),
            "{model}: no child and no zombie"
        );
    }
}

#[test]
fn hundreds_of_short_connections_leave_nothing_behind() {
    for model in MODELS {
        let server = start(model, &[]);
        let mut alice = server.join("alice");
        alice.say("/set joins off");
        let descriptors =
            || std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count();
        let (before, processes) = (descriptors(), server.processes().len());
        for round in 0..10 {
            let mut clients: Vec<Client> = (0..20).map(|_| server.connect()).collect();
            for (index, one) in clients.iter_mut().enumerate() {
                one.say("hello");
                // Some close their input, some send `/quit`, some just close the connection.
                match (index + round) % 3 {
                    0 => one.end_input(),
                    1 => one.say("/quit"),
                    _ => {}
                }
            }
        }
        wait_for("everything to be as it was", || {
            (descriptors() == before && server.processes().len() == processes).then_some(())
        });
        let told = server.log_output();
        assert!(!told.contains("warning") && !told.contains("error"), "{model}: {told}");
        alice.sync();
    }
}

#[test]
fn a_client_without_a_process_receives_the_reason_and_the_others_stay() {
    if !has_tool("prlimit") {
        return;
    }
    let server = start("process", &[]);
    let (mut alice, mut bob) = (server.join("alice"), server.join("bob"));
    let limit = |descriptors: usize| {
        let limit = format!("--nofile={descriptors}:");
        assert!(
            Command::new("prlimit")
                .args(["--pid", &server.pid().to_string(), &limit])
                .status()
                .unwrap()
                .success()
        );
    };
    let used = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
    let highest = used
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<usize>().ok())
        .max()
        .unwrap();
    // Enough descriptors for the connection, but not for what its process needs.
    limit(highest + 2);
    for _ in 0..5 {
        let line = server.connect().line();
        assert_eq!(
            line.as_deref(),
            Some("! the server can start no more processes; try again later"),
            "{}",
            server.log_output()
        );
    }
    server.logs("cannot fork a worker for a connection: ");
    alice.say("we go on");
    bob.reads("alice: we go on");
    limit(highest + 1_000);
    server.join("afterwards").sync();
    assert_eq!(
        server.log_output().matches("cannot fork a worker").count(),
        1,
        "the server logs it once"
    );
}

#[test]
fn an_unknown_model_is_refused_with_the_names_of_the_known_ones() {
    let (status, text) = Server::run_to_end(&["--model", "coroutines"]);
    assert_eq!(status.code(), Some(2));
    assert!(MODELS.iter().all(|model| text.contains(model)), "{text}");
}
