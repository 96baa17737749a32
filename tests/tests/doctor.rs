//! `forkchat-server doctor` on the kernel of the test machine.

use forkchat_tests::{refusing, server_binary};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Runs the doctor from a shell that has run `limit` before, as `Server::start_limited` does.
fn doctor_limited(limit: &str) -> Output {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("{limit} && exec $UNDER \"$0\" doctor")])
        .env_remove("UNDER")
        .arg(server_binary());
    shell.output().expect("the doctor runs")
}

#[test]
fn every_check_succeeds_on_this_kernel_and_has_a_line() {
    let output = Command::new(server_binary()).arg("doctor").output().expect("the doctor runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert!(text.starts_with(&format!("Linux {release}")), "{text}");
    for name in [
        "clients' calls",
        "waiting for an end",
        "killing",
        "threads",
        "waiting",
        "signals",
        "own descriptors",
        "robust list",
        "input position",
        "output position",
        "peek and consume",
        "urgent data",
        "low-water mark",
        "second holder",
        "descriptor passing",
        "robust mutex",
        "shared memory",
        "parent-death signal",
    ] {
        assert!(
            text.lines().any(|line| line.starts_with(&format!("ok   {name:<20} "))),
            "{name} is in:\n{text}"
        );
    }
    assert!(
        text.contains("\n18 of 18 checks hold\nguaranteed here:     the server's processes start"),
        "{text}"
    );
    assert!(!text.contains("NOT"), "{text}");
}

#[test]
fn a_check_that_cannot_be_tried_fails_and_says_why() {
    let output = doctor_limited("ulimit -n 5");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let failure = "FAIL input position: cannot connect over loopback: Too many open files (os \
        error 24); without it: after a worker's death a line may be lost or said twice\n";
    assert!(text.contains(failure), "{text}");
    assert!(
        text.contains("\nNOT guaranteed here: a worker's death closes no connection"),
        "{text}"
    );
}

#[test]
fn a_refused_call_that_clients_need_is_named_and_the_verdict_is_negative() {
    for call in ["accept4", "recvfrom", "sendto", "recvmsg", "sendmsg", "wait4", "kill"] {
        let start = Instant::now();
        let output = doctor_limited(&refusing(&format!("{call}=EPERM")));
        assert!(start.elapsed() < Duration::from_secs(5), "{call}: {:?}", start.elapsed());
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{call}: {text}");
        assert!(
            text.contains(&format!(" ({call}): EPERM: Operation not permitted; without it: no ")),
            "{call}: {text}"
        );
        assert!(
            text.contains(
                "\nNOT guaranteed here: the server's processes start, and clients are served\n"
            ),
            "{call}: {text}"
        );
    }
}

#[test]
fn the_doctor_is_in_the_help_and_takes_no_options() {
    let run = |arguments: &[&str]| {
        Command::new(server_binary()).args(arguments).output().expect("it runs")
    };
    let help = run(&["--help"]);
    assert!(String::from_utf8_lossy(&help.stdout).contains("doctor"));
    assert_eq!(run(&["--tcp", "off", "doctor"]).status.code(), Some(2));
}
