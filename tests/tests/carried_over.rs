//! What an operator sets on a process from outside survives the process's death; and `/whoami`
//! names the process to set it on.

use caps::{CapSet, Capability, has_cap};
use forkchat_tests::processes::{
    Scheduling, children_of, group_of, has_ended, open_files_limit_of, scheduling_of, threads_of,
};
use forkchat_tests::{Client, Server, has_tool, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procfs::process::Process;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

const MODELS: [&str; 3] = ["pool", "threads", "process"];

// The number in sched.h.
const BATCH: u32 = 3;

fn run(tool: &str, arguments: &[&str]) {
    let output = Command::new(tool).args(arguments).output().expect("the tool runs");
    assert!(output.status.success(), "{tool} {arguments:?}: {output:?}");
}

fn has_tools() -> bool {
    ["renice", "chrt", "taskset", "prlimit"].into_iter().all(has_tool)
}

/// The properties set in these tests: a nice value, a policy, a CPU, a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Set {
    scheduling: Scheduling,
    open_files: [u64; 2],
}

fn set_of(pid: Pid) -> Option<Set> {
    Some(Set { scheduling: scheduling_of(pid)?, open_files: open_files_limit_of(pid)? })
}

/// Sets each property of a process.
fn set_on(pid: Pid) -> Set {
    let before = set_of(pid).unwrap();
    let nice = (before.scheduling.nice + 5).min(19);
    let cpu = *before.scheduling.cpus.last().unwrap();
    let hard = before.open_files[1];
    let (pid_text, less) = (pid.to_string(), hard - 1);
    run("renice", &["-n", &nice.to_string(), "-p", &pid_text]);
    run("chrt", &["--batch", "-p", "0", &pid_text]);
    run("taskset", &["-pc", &cpu.to_string(), &pid_text]);
    run("prlimit", &["--pid", &pid_text, &format!("--nofile={less}:{less}")]);
    let set = set_of(pid).unwrap();
    assert_eq!(
        set,
        Set {
            scheduling: Scheduling { nice, policy: BATCH, priority: 0, cpus: vec![cpu] },
            open_files: [less, less]
        }
    );
    assert_ne!(set, before);
    set
}

/// Kills the process that serves a client. Returns the successor when it serves the client.
fn kill_worker_of(server: &Server, client: &mut Client) -> Pid {
    let (worker, pid) = client.worker_and_pid();
    kill(pid, Signal::SIGKILL).unwrap();
    let successor = server.replaced(&worker, pid);
    assert_eq!(
        client.worker_and_pid(),
        (worker, successor),
        "the same connection, another process"
    );
    successor
}

#[test]
fn properties_set_on_a_worker_survive_its_death_in_each_model() {
    if !has_tools() {
        return;
    }
    for model in MODELS {
        let server = Server::start(&["--model", model]);
        let (mut alice, mut bob) = (server.join("alice"), server.join("bob"));
        let (worker, pid) = alice.worker_and_pid();
        let others: Vec<(Pid, Set)> = server
            .processes()
            .iter()
            .filter(|(_, name)| *name != worker)
            .map(|&(pid, _)| (pid, set_of(pid).unwrap()))
            .collect();
        let set = set_on(pid);
        for life in 0..2 {
            let successor = kill_worker_of(&server, &mut alice);
            assert_eq!(set_of(successor), Some(set.clone()), "{model}, life {life}");
            for thread in threads_of(successor) {
                assert_eq!(
                    scheduling_of(thread).as_ref(),
                    Some(&set.scheduling),
                    "{model}: each thread"
                );
            }
            alice.say(&format!("here in life {life}"));
            bob.reads(&format!("[#lobby] alice: here in life {life}"));
        }
        server.logs(&format!(
            "{worker}: has the settings that were made from outside on its predecessor: nice "
        ));
        for (pid, set) in others {
            assert_eq!(set_of(pid), Some(set), "{model}: nobody else has it");
        }
    }
}

#[test]
fn properties_that_were_reset_or_belong_to_an_old_connection_do_not_return() {
    if !has_tools() {
        return;
    }
    let server = Server::start(&["--model", "process"]);
    let mut alice = server.join("alice");
    let (worker, pid) = alice.worker_and_pid();
    let before = set_of(pid).unwrap();
    set_on(pid);
    let successor = kill_worker_of(&server, &mut alice);
    run(
        "taskset",
        &[
            "-pc",
            &before.scheduling.cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(","),
            &successor.to_string(),
        ],
    );
    let successor = kill_worker_of(&server, &mut alice);
    let set = set_of(successor).unwrap();
    assert_eq!(
        (set.scheduling.cpus, set.scheduling.policy),
        (before.scheduling.cpus.clone(), BATCH)
    );
    alice.say("/quit");
    alice.rest();
    wait_for("its process to be gone", || has_ended(successor).then_some(()));
    wait_for("its slot to be free", || {
        (!children_of(server.pid()).contains(&successor)).then_some(())
    });
    let mut bob = server.join("bob");
    let (in_slot, pid) = bob.worker_and_pid();
    assert_eq!(in_slot, worker);
    assert_eq!(set_of(pid), Some(before.clone()));
    assert_eq!(set_of(kill_worker_of(&server, &mut bob)), Some(before));
}

#[test]
fn a_limit_too_low_for_any_successor_is_dropped_and_the_clients_stay() {
    if !has_tools() {
        return;
    }
    for model in MODELS {
        let server = Server::start(&["--model", model]);
        let mut alice = server.join("alice");
        let (worker, pid) = alice.worker_and_pid();
        let before = set_of(pid).unwrap();
        run("prlimit", &["--pid", &pid.to_string(), "--nofile=3:3"]);
        kill(pid, Signal::SIGKILL).unwrap();
        server.logs(
            "3 processes in a row failed with the settings made from outside (limit on open files \
             3); the next one starts without them",
        );
        alice.sync();
        let (still, pid) = alice.worker_and_pid();
        assert_eq!((still, set_of(pid)), (worker, Some(before)), "{model}");
    }
}

#[test]
fn a_property_that_a_successor_may_not_set_is_logged_and_it_serves_all_the_same() {
    // The test sets what the server may not set.
    let has_rights = [Capability::CAP_SYS_NICE, Capability::CAP_SYS_RESOURCE]
        .into_iter()
        .all(|right| has_cap(None, CapSet::Effective, right).unwrap());
    if !has_tools() || !has_rights || !has_tool("setpriv") {
        return;
    }
    let caps = "-sys_nice,-sys_resource";
    let under = format!("UNDER='prlimit --nice=0 setpriv --bounding-set {caps} --inh-caps {caps}'");
    let server = Server::start_limited(Some(&under), &[]);
    let mut alice = server.join("alice");
    let (_, pid) = alice.worker_and_pid();
    let hard = open_files_limit_of(pid).unwrap()[1];
    let (nice, more) = (scheduling_of(pid).unwrap().nice - 2, hard + 1);
    run("renice", &["-n", &nice.to_string(), "-p", &pid.to_string()]);
    run("prlimit", &["--pid", &pid.to_string(), &format!("--nofile={more}:{more}")]);
    // The control group may forbid it, too.
    let is_real_time = Command::new("chrt")
        .args(["--fifo", "-p", "1", &pid.to_string()])
        .output()
        .is_ok_and(|output| output.status.success());
    kill_worker_of(&server, &mut alice);
    if is_real_time {
        server.logs(
            "warning: policy fifo, which was set from outside on its predecessor, is not \
            applied; --sched fifo gives real time",
        );
    }
    server.logs(&format!(
        "warning: cannot apply nice {nice}, which was set from outside on its predecessor: "
    ));
    server.logs(&format!(
        "warning: cannot apply limit on open files {more}, which was set from \
        outside on its predecessor: "
    ));
    alice.sync();
}

/// A control group of version 2. It is removed on drop; its processes must have ended by then.
struct Group {
    path: PathBuf,
}

impl Group {
    /// A group below the mounted root. If none can be created, returns `None` and prints that the
    /// test is skipped.
    fn new() -> Option<Group> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "forkchat-test-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let mounts = Process::myself().unwrap().mountinfo().unwrap();
        let path = mounts
            .iter()
            .find(|mount| mount.fs_type == "cgroup2")
            .map(|mount| mount.mount_point.join(name));
        let made = path
            .filter(|path| fs::create_dir(path).is_ok() && path.join("cgroup.procs").exists())
            .map(|path| Group { path });
        if made.is_none() {
            // Not `eprintln!`: the harness captures its output and shows nothing of tests that
            // pass.
            let test = std::thread::current();
            let _ = writeln!(
                std::io::stderr(),
                "skipped {}: no control group can be made here",
                test.name().unwrap_or("a test")
            );
        }
        made
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let removed = (0..500).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            fs::remove_dir(&self.path).is_ok()
        });
        assert!(removed || std::thread::panicking(), "{} can't be removed", self.path.display());
    }
}

#[test]
fn the_control_group_of_a_worker_survives_its_death_in_each_model() {
    for model in MODELS {
        let Some(group) = Group::new() else { return };
        let server = Server::start(&["--model", model]);
        let mut alice = server.join("alice");
        let (_, pid) = alice.worker_and_pid();
        let before = group_of(pid);
        fs::write(group.path.join("cgroup.procs"), pid.to_string()).unwrap();
        let inside = group_of(pid);
        assert_ne!(inside, before);
        for life in 0..2 {
            assert_eq!(
                group_of(kill_worker_of(&server, &mut alice)),
                inside,
                "{model}, life {life}"
            );
        }
        assert_eq!(group_of(server.pid()), before, "{model}: the supervisor is where it was");
        let text = server.log_output();
        assert!(
            text.contains(&format!(
                "made from outside on its predecessor: control group {}\n",
                inside.unwrap()
            )),
            "{text}"
        );
    }
}

#[test]
fn a_control_group_that_was_removed_is_ignored() {
    let Some(group) = Group::new() else { return };
    let server = Server::start(&[]);
    let mut alice = server.join("alice");
    let (worker, pid) = alice.worker_and_pid();
    let before = group_of(pid);
    fs::write(group.path.join("cgroup.procs"), pid.to_string()).unwrap();
    kill_worker_of(&server, &mut alice);
    let (_, pid) = alice.worker_and_pid();
    // The supervisor is stopped, so that it does not reap the dead process before the group is
    // removed.
    server.signal(Signal::SIGSTOP);
    kill(pid, Signal::SIGKILL).unwrap();
    wait_for("its end", || has_ended(pid).then_some(()));
    drop(group);
    server.signal(Signal::SIGCONT);
    assert_eq!(group_of(server.replaced(&worker, pid)), before);
    alice.sync();
}

#[test]
fn whoami_names_the_process_of_a_connection_and_later_its_successor() {
    for model in MODELS {
        let server = Server::start(&["--model", model]);
        let (mut alice, mut bob) = (server.join("alice"), server.join("bob"));
        let served = [&mut alice, &mut bob].map(Client::worker_and_pid);
        assert_ne!(served[0], served[1], "{model}");
        for (worker, pid) in &served {
            assert!(
                server.processes().contains(&(*pid, worker.clone())),
                "{model}: a child of the supervisor"
            );
        }
        for _life in 0..3 {
            kill_worker_of(&server, &mut alice);
        }
        assert_eq!(bob.worker_and_pid(), served[1], "{model}: nobody else's has changed");
    }
}
