//! Start, stop, crash: what the operator sees, and what users notice.

mod killed;
mod stopped;

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
            Server::run_to_end(&[&format!("--{transport}"), &address.to_string(), other, "off"]);
        assert_eq!(status.code(), Some(1));
        assert!(
            text.contains(&format!(
                "cannot listen on {transport} {address}: address already in use"
            )),
            "{text}"
        );
    }
    assert_eq!(Server::run_to_end(&["--no-such-option"]).0.code(), Some(2));
}

#[test]
fn sigterm_notifies_all_clients_and_leaves_nothing_behind() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut server = Server::start(&[]);
        let mut clients: Vec<Client> = (0..4).map(|i| server.join(&format!("p{i}"))).collect();
        clients[0].send(b"said before the end\n");
        clients[1].reads("said before the end");
        let children = children_of(server.pid());
        server.signal(signal);
        for person in &mut clients {
            assert_eq!(person.rest().last().unwrap(), "* the server is stopping; goodbye");
        }
        drop(clients);
        assert_eq!(server.wait().code(), Some(0), "{}", server.log_output());
        assert!(children.iter().all(|&child| name_of(child).is_empty()), "no child and no zombie");
        server.logs("supervisor: stopped");
    }
}

#[test]
fn clients_not_accepted_yet_are_notified_of_the_end_too() {
    for model in ["pool", "threads", "process"] {
        let mut server = Server::start(&["--model", model]);
        // The kernel has connected them, but the server has not accepted most of them yet.
        let clients: Vec<Client> = (0..100).map(|_| server.connect()).collect();
        server.signal(Signal::SIGTERM);
        for mut person in clients {
            assert_eq!(
                person.rest().last().map(String::as_str),
                Some("* the server is stopping; goodbye"),
                "{model}"
            );
        }
        assert_eq!(server.wait().code(), Some(0), "{}", server.log_output());
    }
}

#[test]
fn a_server_started_with_sigchld_ignored_notices_dead_children_all_the_same() {
    let server = Server::start_limited(Some("trap '' CHLD"), &[]);
    let mut person = server.join("person");
    let worker = server.process(&person.worker());
    kill(worker, Signal::SIGKILL).unwrap();
    person.sync();
    server.logs(&format!("(pid {worker}) was killed by signal 9; restarted as pid "));
}

#[test]
fn the_stop_takes_at_most_the_grace_period_and_a_second_signal_ends_it_at_once() {
    let mut server = Server::start(&["--grace", "1", "--sendq", "1G", "--rate-limit", "off"]);
    let _deaf = client_that_never_reads(&server);
    server.signal(Signal::SIGTERM);
    let start = Instant::now();
    assert_eq!(server.wait().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(10));

    let mut server = Server::start(&["--grace", "3600", "--sendq", "1G", "--rate-limit", "off"]);
    let _deaf = client_that_never_reads(&server);
    server.signal(Signal::SIGTERM);
    server.logs("SIGTERM: stopping");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(1));
    server.logs("SIGTERM while stopping: stopping at once");
}

/// A client that does not read, and has far more to read than the kernel buffers.
fn client_that_never_reads(server: &Server) -> Client {
    let mut slow_reader = server.connect();
    slow_reader.say("/nick deaf");
    (0..400).for_each(|_| slow_reader.say("/help"));
    let mut loud = server.join("loud");
    let line = "x".repeat(4_000);
    // The kernel buffers some megabytes; the rest waits in the outbox.
    for _ in 0..500 {
        loud.say(&format!("/msg deaf {line}"));
    }
    loud.sync();
    slow_reader
}

/// A client on each of two workers, the first on worker 0.
fn one_on_each(server: &Server) -> [Client; 2] {
    let mut clients = [server.join("a"), server.join("b")];
    if clients[0].worker() == "worker 1" {
        clients.swap(0, 1);
    }
    assert_ne!(clients[0].worker(), clients[1].worker());
    for person in &mut clients {
        person.sync();
    }
    clients
}
