//! Processes that are killed or crash: a successor replaces them, and no client notices.

use super::*;

#[test]
fn when_the_supervisor_is_killed_all_processes_end() {
    let server = Server::start(&[]);
    let children = children_of(server.pid());
    assert_eq!(children.len(), 4);
    server.signal(Signal::SIGKILL);
    wait_for("the children to be gone", || {
        children.iter().all(|&child| has_ended(child)).then_some(())
    });
}

#[test]
fn a_killed_worker_is_replaced_and_no_client_notices() {
    let server = Server::start(&[]);
    let [mut victim, mut witness] = one_on_each(&server);
    for round in 0..5 {
        let worker = server.process("worker 0");
        victim.say(&format!("said before {round}"));
        kill(worker, Signal::SIGKILL).unwrap();
        victim.say(&format!("said behind {round}"));
        let successor = server.replaced("worker 0", worker);
        server.logs(&format!(
            "worker 0 (pid {worker}) was killed by signal 9; restarted as pid \
            {successor}; 1 connection kept"
        ));
        let received = witness.reads(&format!("[#lobby] a: said behind {round}"));
        assert_eq!(
            received,
            [
                format!("[#lobby] a: said before {round}"),
                format!("[#lobby] a: said behind {round}")
            ]
        );
        witness.say(&format!("good {round}"));
        assert_eq!(victim.reads("good"), [format!("[#lobby] b: good {round}")], "and nothing else");
        assert_eq!(victim.worker(), "worker 0");
    }
    server.logs("worker 0: took over 1 session in ");
    let zombies = server.processes().into_iter().filter(|&(pid, _)| has_ended(pid)).count();
    assert_eq!(zombies, 0);
}

#[test]
fn a_killed_journal_is_replaced_and_no_client_notices() {
    let server = Server::start(&["--ring", "1M", "--rate-limit", "off"]);
    let [mut a, mut b] = one_on_each(&server);
    let line = "z".repeat(1_000);
    for round in 0..5 {
        let journal = server.process("journal");
        kill(journal, Signal::SIGKILL).unwrap();
        // More than the ring holds. Without snapshots it would be full.
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
fn all_processes_but_the_supervisor_are_killed_at_once_and_no_client_notices() {
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
fn clients_can_connect_and_leave_while_their_worker_is_dead() {
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
    let mut clients = one_on_each(&server);
    let worker = server.process("worker 0");
    server.signal(Signal::SIGTERM);
    kill(worker, Signal::SIGKILL).unwrap();
    for person in &mut clients {
        assert_eq!(person.rest().last().unwrap(), "* the server is stopping; goodbye");
    }
    drop(clients);
    assert_eq!(server.wait().code(), Some(0), "{}", server.log_output());
}

#[test]
fn a_worker_that_crashes_repeatedly_is_restarted_with_pauses() {
    let server = Server::start(&[]);
    for _ in 0..5 {
        let worker = server.process("worker 1");
        kill(worker, Signal::SIGSEGV).unwrap();
        server.replaced("worker 1", worker);
    }
    server.logs("killed by signal 11");
    server.join("someone").sync();
}

/// The command is that of the README.
#[test]
fn killing_a_child_by_name_affects_no_other_server() {
    if !has_tool("pkill") {
        return;
    }
    let (server, other) = (Server::start(&[]), Server::start(&[]));
    let (victim, innocent) = (server.process("worker 0"), other.process("worker 0"));
    server.logs(&format!("supervisor pid {}", server.pid()));
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
