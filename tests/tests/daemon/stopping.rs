//! Stops and restarts: the server has ended when they return.

use super::*;

#[test]
fn a_restart_waits_for_the_end_of_the_old_server() {
    let service = Service::new();
    let old = service.start(&["--sendq", "1G", "--rate-limit", "off"]);
    let tcp = service.address("tcp");
    let _deaf = client_that_never_reads(&service);
    let mut restart = service.spawn("restart", &["--tcp", &tcp]);
    let new = wait_for("the new one's pid", || service.pid().filter(|&pid| pid != old));
    assert!(has_ended(old));
    Ended::of(&mut restart, "restart")
        .printed(&[&format!("stopped pid {old}"), &format!("serving as pid {new}")]);
    let log = service.log();
    let place = |part: &str| log.find(part).unwrap_or_else(|| panic!("no {part:?} in {log}"));
    // The old server used all of its grace period.
    assert!(place("SIGTERM: stopping") < place("some clients did not read everything in time"));
    let second = log.rfind("listening on tcp").unwrap();
    assert!(place("supervisor: stopped\n") < second && place("listening on tcp") < second, "{log}");
    service.join("someone").sync();
}

/// A client that does not read, and has far more to read than the kernel buffers.
fn client_that_never_reads(service: &Service) -> Client {
    let slow_reader = service.join("deaf");
    let mut loud = service.join("loud");
    let line = "x".repeat(4_000);
    // The kernel buffers some megabytes; the rest waits in the outbox.
    (0..4_000).for_each(|_| loud.say(&format!("/msg deaf {line}")));
    loud.sync();
    slow_reader
}

#[test]
fn a_server_that_does_not_end_is_killed_together_with_its_children() {
    let service = Service::new();
    let killed = service.start(&["--workers", "8"]);
    let family = family_of(killed);
    kill(killed, Signal::SIGSTOP).unwrap();
    // Worker 0 also has the UDP socket and would keep the port.
    let restarted = service.run(
        "restart",
        &["--grace", "0", "--tcp", &service.address("tcp"), "--udp", &service.address("udp")],
    );
    let new = service.pid().unwrap();
    restarted.printed(&[&format!("serving as pid {new}")]);
    assert!(
        restarted.errors.contains(&format!("pid {killed} did not end within 5 s and was killed")),
        "{restarted}"
    );
    assert!(family.len() == 11 && family.into_iter().all(has_ended));
    kill(new, Signal::SIGSTOP).unwrap();
    let stopped = service.run("stop", &["--grace", "0"]);
    assert_eq!(stopped.code, Some(1), "{stopped}");
    assert!(
        stopped.errors.contains(&format!("pid {new} did not end within 5 s and was killed")),
        "{stopped}"
    );
}

#[test]
fn two_stops_at_once_wait_for_the_same_end() {
    let service = Service::new();
    service.start(&["--sendq", "1G", "--rate-limit", "off"]);
    let (mut slow_reader, mut loud) = (service.join("deaf"), service.join("loud"));
    let line = "x".repeat(4_000);
    (0..2_000).for_each(|_| loud.say(&format!("/msg deaf {line}")));
    loud.sync();
    let mut stops: Vec<Child> = (0..3).map(|_| service.spawn("stop", &[])).collect();
    wait_for("the end to begin", || service.log().contains("SIGTERM: stopping").then_some(()));
    // The client reads everything up to the goodbye.
    assert_eq!(
        slow_reader.rest().last().map(String::as_str),
        Some("* the server is stopping; goodbye")
    );
    drop((slow_reader, loud));
    for stop in &mut stops {
        let told = Ended::of(stop, "stop");
        assert_eq!(told.code, Some(0), "{told}");
    }
    assert!(!service.log().contains("stopping at once"), "{}", service.log());
}

#[test]
fn without_pidfd_a_server_is_stopped_and_killed_by_its_pid() {
    let service = Service::new();
    let run = |name: &str, options: &[&str]| {
        let mut shell = Command::new("sh");
        shell.args([
            "-c",
            &format!("{}; exec $UNDER \"$@\"", forkchat_tests::refusing("pidfd_open=ENOSYS")),
            "sh",
        ]);
        let command = service.command(name);
        shell
            .arg(command.get_program())
            .args(command.get_args())
            .args(options)
            .args(free_ports(options))
            .env_remove("UNDER");
        Ended::of(&mut spawn(&mut shell), name)
    };
    run("start", &[]).printed(&["serving as pid"]);
    let first = service.pid().unwrap();
    run("restart", &[]).printed(&[&format!("stopped pid {first}"), "serving as pid"]);
    let second = service.pid().unwrap();
    kill(second, Signal::SIGSTOP).unwrap();
    let stopped = run("stop", &["--grace", "0"]);
    assert_eq!(stopped.code, Some(1), "{stopped}");
    assert!(
        stopped.errors.contains(&format!("pid {second} did not end within 5 s and was killed")),
        "{stopped}"
    );
    service.wait_for_end();
}
