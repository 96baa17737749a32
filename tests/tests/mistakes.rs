//! Common mistakes in programs of this kind. For each one a test shows that forkchat does not make
//! it.
//!
//! | mistake | test |
//! |---|---|
//! | a receiver crashes when a character arrives in two pieces | here; `examples/ack_server.rs` |
//! | messages are joined, because the protocol has no framing | here; `examples/ack_server.rs` |
//! | a half-closed client (`nc -N`) counts as endless empty input | here; `input/main.rs` |
//! | the parent keeps its copy of an accepted socket open | here; `examples/echo_per_process.rs` |
//! | an error in a job of a pool is swallowed | here; `killed_holders/pool.rs` of the server |
//! | a consumer spins on "is it empty?" | here; `killed_holders/main.rs` of the server |
//! | a pid file is checked and written in two steps | `daemon/` |
//! | `restart` starts the new server before the old one has ended | `daemon/` |

use forkchat_tests::example::Example;
use forkchat_tests::processes::{cpu_of, family_of};
use forkchat_tests::{Client, Server, wait_for};
use std::time::Duration;

const MODELS: [&str; 3] = ["pool", "threads", "process"];
/// Far more CPU time than an idle server uses in a second, and far less than a server that spins.
const IDLE_CPU: Duration = Duration::from_millis(150);

fn start(model: &str) -> Server {
    Server::start(&["--model", model])
}

/// Waits a second and checks that the server uses almost no CPU time.
fn idle_for_a_second(server: &Server) {
    let (before, told) = (server.cpu(), server.log_output().lines().count());
    std::thread::sleep(Duration::from_secs(1));
    // The CPU time of processes that have ended meanwhile no longer counts.
    let used = server.cpu().saturating_sub(before);
    assert!(used < IDLE_CPU, "{used:?} of CPU while nothing happened");
    assert!(server.log_output().lines().count() <= told + 2, "{}", server.log_output());
}

/// The number of socket descriptors of all processes of the server.
fn sockets(server: &Server) -> usize {
    let descriptors =
        |pid| std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let targets = family_of(server.pid())
        .into_iter()
        .flat_map(descriptors)
        .filter_map(|entry| entry.path().read_link().ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

#[test]
fn a_character_in_two_pieces_is_joined_and_every_client_stays_served() {
    for model in MODELS {
        let server = start(model);
        let (mut chinese, mut other) = (server.join("chinese"), server.join("other"));
        chinese.say("/charset gbk");
        chinese.sync();
        for _ in 0..3 {
            chinese.send(b"\xc4\xe3\xba");
            // The server reads the first piece and does nothing yet.
            other.say("meanwhile");
            chinese.reads("meanwhile");
            chinese.send(b"\xc3\n");
            assert_eq!(other.reads("chinese: "), ["[#lobby] chinese: 你好"], "{model}");
        }
        chinese.send(b"\xc4");
        chinese.end_input();
        assert_eq!(other.reads("chinese quit").len(), 2, "half a character, and the end");
    }
}

#[test]
fn messages_are_separated_by_their_line_ends_however_they_arrive() {
    for model in MODELS {
        let server = start(model);
        let (mut a, mut b) = (server.join("a"), server.join("b"));
        a.send(b"one\ntwo\nth");
        assert_eq!(b.reads("two"), ["[#lobby] a: one", "[#lobby] a: two"], "{model}");
        a.send(b"re");
        b.sync();
        a.send(b"e\nfour\n");
        assert_eq!(b.reads("four"), ["[#lobby] a: three", "[#lobby] a: four"], "{model}");
    }
}

#[test]
fn a_half_closed_client_is_disconnected_and_uses_no_cpu_time() {
    for model in MODELS {
        let server = start(model);
        let mut witness = server.join("witness");
        let mut halves: Vec<Client> =
            (0..5).map(|number| server.join(&format!("half{number}"))).collect();
        witness.sync();
        halves.iter_mut().for_each(Client::end_input);
        for half in &mut halves {
            witness.reads(" quit");
            // The end of the connection follows.
            half.rest();
        }
        // The clients don't close their side.
        idle_for_a_second(&server);
        assert!(witness.sync().is_empty(), "nothing that was never said");
    }
}

#[test]
fn a_client_that_leaves_sees_the_end_and_no_process_keeps_its_socket() {
    for model in MODELS {
        let server = start(model);
        let before = sockets(&server);
        let mut clients: Vec<Client> =
            (0..5).map(|number| server.join(&format!("p{number}"))).collect();
        assert!(sockets(&server) >= before + clients.len());
        for person in &mut clients {
            person.say("/quit");
            assert_eq!(person.rest().last().map(String::as_str), Some("* goodbye"), "{model}");
        }
        drop(clients);
        wait_for("all processes to let go of the sockets", || {
            (sockets(&server) <= before).then_some(())
        });
    }
}

#[test]
fn an_error_in_a_job_of_the_pool_is_reported() {
    let example = Example::run("process_pool", &[]);
    example.printed(&[
        "100000: the job panicked: 100000 is too much for me",
        "0: the process that did the job was killed by signal 6",
    ]);
}

#[test]
fn an_idle_server_uses_no_cpu_time() {
    for model in MODELS {
        let server = start(model);
        let mut clients: Vec<Client> =
            (0..10).map(|number| server.join(&format!("p{number}"))).collect();
        clients.iter_mut().for_each(|person| drop(person.sync()));
        idle_for_a_second(&server);
        let busiest = server.processes().into_iter().map(|(pid, _)| cpu_of(pid)).max();
        assert!(busiest.is_some_and(|cpu| cpu < 10 * IDLE_CPU), "{model}: {busiest:?}");
    }
}
