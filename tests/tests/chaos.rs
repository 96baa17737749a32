//! A short chaos test: workers are killed under full load, and no client notices. And a test of the
//! chaos test: it detects a faulty server.

use forkchat_tests::server_binary;
use serde_json::Value;
use std::process::{Command, Stdio};

/// Runs the chaos test with fewer clients than `tests/chaos.sh`. Returns its exit code, its result,
/// and its other output.
fn chaos(arguments: &[&str]) -> (Option<i32>, Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forkchat-chaos"));
    command.arg("--server").arg(server_binary()).args([
        "--json",
        "--clients",
        "50",
        "--udp-clients",
        "6",
        "--rooms",
        "5",
        "--senders",
        "2",
    ]);
    let output = command
        .args(["--phase", "1.5"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let result = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}: {said}", output.status));
    if output.status.code() != Some(0) {
        eprintln!("{arguments:?}: {}\n{result:#}\n{said}", output.status);
    }
    (output.status.code(), result, said)
}

fn count(result: &Value, name: &str) -> u64 {
    result["tcp"][name].as_u64().unwrap()
}

#[test]
fn without_kills_there_are_no_faults() {
    let (code, result, said) = chaos(&["--kills", "0", "--seconds", "4", "--seed", "1"]);
    assert_eq!((code, &result["clean"], &result["kills"]), (Some(0), &true.into(), &0.into()));
    for name in ["dropped", "lost", "doubled", "reordered", "differing", "wrong"] {
        assert_eq!(count(&result, name), 0, "{name}");
    }
    assert!(result["deliveries"].as_u64().unwrap() > 1_000, "{result}");
    assert!(
        said.ends_with("seed 1: 0 kills, 0 dropped, 0 lost, 0 doubled, 0 reordered, 0 differing\n"),
        "{said}"
    );
}

#[test]
fn no_client_notices_when_the_journal_is_killed_in_full_traffic() {
    let (code, result, _) = chaos(&["--only", "journal", "--seconds", "4", "--seed", "2"]);
    assert_eq!((code, &result["clean"]), (Some(0), &true.into()));
    assert!(result["kills_by"]["journal"].as_u64().unwrap() > 10, "{result}");
}

#[test]
fn no_client_notices_when_workers_are_killed_in_full_traffic() {
    let (code, result, _) = chaos(&["--seconds", "10", "--seed", "7"]);
    assert_eq!((code, &result["clean"]), (Some(0), &true.into()));
    assert!(result["kills"].as_u64().unwrap() > 20, "{result}");
}

#[test]
fn no_client_notices_when_workers_of_other_models_are_killed_in_full_traffic() {
    for model in ["threads", "process"] {
        let (code, result, _) = chaos(&["--model", model, "--seconds", "5", "--seed", "5"]);
        assert_eq!((code, &result["clean"]), (Some(0), &true.into()), "{model}");
        assert!(result["kills"].as_u64().unwrap() > 10, "{model}: {result}");
    }
}

#[test]
fn lines_lost_by_a_server_that_takes_input_before_the_commit_are_found() {
    let (code, result, _) =
        chaos(&["--seconds", "10", "--seed", "7", "--", "FORKCHAT_FAULT=read-first"]);
    assert_eq!(code, Some(1));
    assert!(count(&result, "lost") > 0, "{result}");
}

#[test]
fn a_wrong_command_line_is_explained() {
    for (arguments, code, words) in [
        (&["--clients", "20", "--rooms", "10"][..], 2, "--clients 40"),
        (&["--only", "supervisor"], 2, "supervisor"),
        (&["--every", "0"], 2, "1 to 600000"),
        (&["--server", "/nowhere"], 1, "there is no /nowhere"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_forkchat-chaos"))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}
