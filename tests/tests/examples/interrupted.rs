//! A signal at any moment: an example with files leaves no file and no process behind.

use forkchat_tests::example::Example;
use forkchat_tests::wait_for;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

/// Starts an example as a terminal does: in a process group of its own, to which Ctrl-C goes. Its
/// scratch files go to `directory`.
pub fn in_own_group(name: &'static str, directory: &std::path::Path) -> std::process::Child {
    let test = std::env::current_exe().expect("a test has a path");
    let program = test
        .parent()
        .and_then(std::path::Path::parent)
        .expect("tests lie in target/PROFILE/deps")
        .join("examples")
        .join(name);
    let mut command = Command::new(program);
    command
        .process_group(0)
        .env("TMPDIR", directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command.spawn().expect("the example starts")
}

/// Whether a process of a group runs. Zombies don't count, because init decides when to reap them.
/// Source: proc_pid_stat(5), `state` and `pgrp`.
fn runs_in(group: Pid) -> bool {
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let fields: Vec<_> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        matches!(fields[..], [state, _, of, ..] if state != "Z" && of == group.to_string())
    })
}

/// Sends a signal to the group, or to the first process alone, this many milliseconds after the
/// directory was created (0: after the start). Checks that nothing is left.
fn interrupted(name: &'static str, moments_ms: &[u64]) {
    // This builds the example. It leaves nothing, either.
    let whole = Example::run(name, &[]);
    assert_eq!(whole.code, Some(0), "{whole}");
    let mut interrupted = 0;
    for (number, &moment) in moments_ms.iter().enumerate() {
        let directory = std::env::temp_dir()
            .join(format!("forkchat-interrupted-{name}-{}-{number}", std::process::id()));
        fs::create_dir(&directory).expect("a directory of its own");
        let mut child = in_own_group(name, &directory);
        let group = Pid::from_raw(child.id() as i32);
        if moment > 0 {
            // Or the end of the process. The zombie is not reaped, so that its pid stays reserved.
            let has_ended = || {
                waitid(
                    Id::Pid(group),
                    WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG,
                ) != Ok(WaitStatus::StillAlive)
            };
            wait_for("its directory", || {
                (fs::read_dir(&directory).unwrap().next().is_some() || has_ended()).then_some(())
            });
            std::thread::sleep(std::time::Duration::from_millis(moment));
        }
        // The process may have ended, but was not reaped.
        let _ = if number % 2 == 0 {
            killpg(group, Signal::SIGINT)
        } else {
            kill(group, Signal::SIGTERM)
        };
        let status = wait_for("its end", || child.try_wait().expect("it can be waited for"));
        wait_for("the end of all", || (!runs_in(group)).then_some(()));
        let left: Vec<_> =
            fs::read_dir(&directory).unwrap().flatten().map(|entry| entry.path()).collect();
        assert!(left.is_empty(), "{left:?} after {moment} ms");
        fs::remove_dir(&directory).unwrap();
        // The signal came before the example handled it, while it ran, or after its end.
        assert!(
            matches!(
                (status.code(), status.signal()),
                (None, Some(2 | 15)) | (Some(130 | 143 | 0), None)
            ),
            "{status}"
        );
        interrupted += usize::from(matches!(status.code(), Some(130 | 143)));
    }
    assert!(interrupted > 0, "at none of {moments_ms:?} ms was {name} at work");
}

#[test]
fn ctrl_c_leaves_no_file_and_no_process_of_ticket_lock() {
    interrupted("ticket_lock", &[0, 1, 2, 0, 4, 5, 8, 12, 20, 30, 45, 55, 70, 90]);
}

#[test]
fn ctrl_c_leaves_no_file_and_no_process_of_the_starter_of_the_daemon() {
    interrupted("daemon", &[0, 1, 2, 0, 4, 5, 6, 8, 10, 15, 100, 200, 300, 310]);
}
