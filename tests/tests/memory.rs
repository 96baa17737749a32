//! Memory: the server's limits fit into the available memory, it logs what it chose and why, and
//! refuses what does not fit.

use forkchat_tests::processes::tcp_sockets;
use forkchat_tests::{Client, Server, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procfs::net::TcpNetEntry;
use procfs::process::Process;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const MIB: u64 = 1 << 20;

/// A control group with a memory limit. It is removed on drop; its processes must have ended by
/// then.
struct Group {
    path: PathBuf,
    is_version_2: bool,
}

impl Group {
    /// A group below that of this process or beside it. If none can be created, which takes root
    /// and a writable control group file system, returns `None` and prints that the test is
    /// skipped. If one can be created, everything else must work.
    fn new(mib: u64) -> Option<Group> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "forkchat-test-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let made = parents().into_iter().find_map(|parent| make(&parent.join(&name)));
        match &made {
            Some(group) => {
                let limit = if group.is_version_2 { "memory.max" } else { "memory.limit_in_bytes" };
                fs::write(group.path.join(limit), (mib * MIB).to_string()).unwrap();
                if !group.is_version_2 {
                    // Without this, version 1 doesn't count the sockets' buffers.
                    let _ = fs::write(
                        group.path.join("memory.kmem.tcp.limit_in_bytes"),
                        (1_u64 << 40).to_string(),
                    );
                }
            }
            None => {
                let test = std::thread::current();
                // Not `eprintln!`: the harness captures its output and shows nothing of tests that
                // pass.
                let _ = writeln!(
                    std::io::stderr(),
                    "skipped {}: no control group can be made here",
                    test.name().unwrap_or("a test")
                );
            }
        }
        made
    }

    /// A command with which a shell moves itself into the group.
    fn enter(&self) -> String {
        format!("echo $$ > {}", self.path.join("cgroup.procs").display())
    }

    /// How many processes the kernel has killed because of the limit.
    fn kills(&self) -> u64 {
        let file =
            self.path.join(if self.is_version_2 { "memory.events" } else { "memory.oom_control" });
        let text = fs::read_to_string(file).unwrap();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The last process may be just ending.
        let removed = (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            fs::remove_dir(&self.path).is_ok()
        });
        assert!(removed || std::thread::panicking(), "{} can't be removed", self.path.display());
    }
}

/// Directories in which a group may be created: that of this process's group in the memory
/// controller, and those above it. Source: cgroups(7).
fn parents() -> Vec<PathBuf> {
    let mut parents = Vec::new();
    for group in Process::myself().unwrap().cgroups().unwrap() {
        let root = match group.controllers.as_slice() {
            [] => Path::new("/sys/fs/cgroup"),
            names if names.iter().any(|name| name == "memory") => {
                Path::new("/sys/fs/cgroup/memory")
            }
            _ => continue,
        };
        let group = root.join(group.pathname.trim_start_matches('/'));
        parents.extend(
            group.ancestors().take_while(|group| group.starts_with(root)).map(Path::to_owned),
        );
    }
    parents
}

fn make(path: &Path) -> Option<Group> {
    fs::create_dir(path).ok()?;
    let has = |file| path.join(file).exists();
    match (has("memory.max"), has("memory.limit_in_bytes")) {
        (false, false) => {
            // The group was created without the memory controller.
            let _ = fs::remove_dir(path);
            None
        }
        (is_version_2, _) => Some(Group { path: path.to_owned(), is_version_2 }),
    }
}

/// The N in `at most N connections`.
fn promised(server: &Server) -> usize {
    let text = server.log_output();
    text.split_once("at most ").unwrap().1.split_once(" connections").unwrap().0.parse().unwrap()
}

/// The number between `before` and ` MiB` in log output.
fn mib_after(text: &str, before: &str) -> u64 {
    let rest = text.split_once(before).unwrap_or_else(|| panic!("no {before:?} in {text}")).1;
    rest.split_once(" MiB")
        .and_then(|(number, _)| number.parse().ok())
        .unwrap_or_else(|| panic!("no MiB behind {before:?} in {text}"))
}

#[test]
fn in_a_control_group_of_64_mib_20000_long_lines_kill_no_process() {
    let Some(group) = Group::new(64) else { return };
    let server = Server::start_limited(Some(&group.enter()), &["--rate-limit", "off"]);
    let text = server.log_output();
    assert!(text.contains("ring of 4 MiB: the control group's memory limit"), "{text}");
    assert!((10..100).contains(&promised(&server)), "{text}");
    let before = server.processes();
    let mut clients: Vec<Client> = (0..4).map(|i| server.join(&format!("p{i}"))).collect();
    let line = "x".repeat(4_000);
    for part in 0..200 {
        let lines: String = (0..100).map(|number| format!("{part} {number} {line}\n")).collect();
        clients[0].send(lines.as_bytes());
        clients[1..].iter_mut().for_each(|person| drop(person.reads(&format!("p0: {part} 99 "))));
    }
    assert_eq!(group.kills(), 0);
    assert_eq!(server.processes(), before, "the same processes serve");
}

#[test]
fn if_all_promised_clients_never_read_no_process_is_killed() {
    for model in ["pool", "threads", "process"] {
        // With a process for each connection, the server promises fewer.
        let Some(group) = Group::new(if model == "process" { 128 } else { 64 }) else { return };
        let server =
            Server::start_limited(Some(&group.enter()), &["--rate-limit", "off", "--model", model]);
        let mut speaker = server.join("speaker");
        let slow_reader: Vec<Client> =
            (1..promised(&server)).map(|i| server.join(&format!("deaf{i}"))).collect();
        assert!(slow_reader.len() >= 8, "{model}: {}", server.log_output());
        let line = "x".repeat(4_000);
        for part in 0..60 {
            let lines: String = (0..50).map(|_| format!("{line}\n")).collect();
            speaker.send(lines.as_bytes());
            speaker.say(&format!("/ping {part}"));
            speaker.reads(&format!("pong {part}"));
        }
        assert_eq!(group.kills(), 0, "{model}");
        assert!(
            !server.log_output().contains("killed by signal"),
            "{model}: {}",
            server.log_output()
        );
    }
}

#[test]
fn a_control_group_that_is_too_small_is_refused_and_the_stated_size_is_enough() {
    let Some(group) = Group::new(16) else { return };
    let (status, text) = Server::run_to_end_limited(
        Some(&group.enter()),
        &["--tcp", "127.0.0.1:0", "--udp", "off", "--workers", "2"],
    );
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(
        text.contains(
            "cannot serve 8 connections with a ring of 1 MiB: the control group's memory limit"
        ),
        "{text}"
    );
    assert!(text.contains("; raise it, or lower --max-connections or --ring"), "{text}");
    // The memory of the shell counts, too, and so do files that a process in the group has read
    // first.
    let enough = Group::new(mib_after(&text, "and they need ") + 8).unwrap();
    let server = Server::start_limited(Some(&enough.enter()), &[]);
    assert!(promised(&server) >= 8);
    server.join("somebody").sync();
}

#[test]
fn options_that_do_not_fit_the_memory_are_refused() {
    let Some(group) = Group::new(64) else { return };
    for (options, words) in [
        (["--ring", "64M"], "connections with a ring of 64 MiB: the control group's memory limit"),
        (
            ["--max-connections", "1000"],
            "cannot serve 1000 connections with a ring of 1 MiB: the control group's memory limit",
        ),
    ] {
        let (status, text) = Server::run_to_end_limited(
            Some(&group.enter()),
            &[&["--tcp", "127.0.0.1:0", "--udp", "127.0.0.1:0"][..], &options].concat(),
        );
        assert_eq!(status.code(), Some(1), "{text}");
        assert!(text.contains(words) && mib_after(&text, "and they need ") > 64, "{text}");
    }
    let server =
        Server::start_limited(Some(&group.enter()), &["--max-connections", "20", "--ring", "2M"]);
    assert_eq!(promised(&server), 20);
    assert!(!server.log_output().contains("ring of"), "{}", server.log_output());
}

#[test]
fn a_limit_on_address_space_that_is_too_low_is_refused_and_the_stated_one_is_enough() {
    let options = ["--tcp", "127.0.0.1:0", "--udp", "127.0.0.1:0", "--workers", "2"];
    let (status, text) = Server::run_to_end_limited(Some("ulimit -v 100000"), &options);
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(
        text.contains("the limit on address space (ulimit -v) allows 97 MiB, and they need "),
        "{text}"
    );
    let enough = format!("ulimit -v {}", (mib_after(&text, "and they need ") + 1) * 1024);
    let server = Server::start_limited(Some(&enough), &[]);
    let (mut alice, mut bob) = (server.join("alice"), server.join("bob"));
    alice.say("there is room");
    bob.reads("alice: there is room");
    assert!(server.log_output().contains(
        "the number of connections is limited by the limit on address space (ulimit -v)"
    ));
}

#[test]
fn many_slow_readers_together_use_a_limited_share_of_memory() {
    // An eighth of the memory may wait for readers, and half of that in each of two workers.
    let server = Server::start_limited(
        Some("ulimit -d 131072"),
        &["--rate-limit", "off", "--sendq", "4M", "--max-connections", "40"],
    );
    let (mut alice, mut bob) = (server.join("alice"), server.join("bob"));
    let slow_reader: Vec<Client> = (0..30).map(|i| server.join(&format!("deaf{i}"))).collect();
    let before = server.memory_kib();
    let line = "x".repeat(4_000);
    // 2 MB for each: within `--sendq`, and 60 MB for all.
    let mut lost = 0;
    for part in 0..20 {
        let lines: String = (0..25).map(|number| format!("{part} {number} {line}\n")).collect();
        alice.send(lines.as_bytes());
        let lines = [bob.reads(&format!("alice: {part} 24 ")), bob.sync()].concat();
        lost += lines.iter().filter(|line| line.ends_with("reading too slowly")).count();
    }
    assert!((1..=30).contains(&lost), "{lost} were disconnected");
    let grown = server.memory_kib() - before;
    assert!(grown < 40 * 1024, "grown by {grown} KiB");
    drop(slow_reader);
    alice.sync();
}

/// Bytes that the kernel holds for the server's end of a client's connection: to be sent, and to be
/// read.
fn queues(server: SocketAddr, client: SocketAddr) -> (u32, u32) {
    let is_it =
        |socket: &TcpNetEntry| (socket.local_address, socket.remote_address) == (server, client);
    let socket = tcp_sockets().find(is_it).expect("the connection is open");
    (socket.tx_queue, socket.rx_queue)
}

#[test]
fn the_kernel_buffers_little_for_clients_that_never_read_or_exceed_the_rate_limit() {
    const COUNTED: u32 = (2 * 64 + 64) * 1024;
    let server = Server::start(&["--rate-limit", "off", "--sendq", "8M"]);
    let (slow_reader, mut speaker) = (server.join("deaf"), server.join("speaker"));
    let address = slow_reader.stream().local_addr().unwrap();
    // First more than the client's kernel buffers, then more than the server's kernel may buffer.
    let line = "x".repeat(4_000);
    let mut most = 0;
    for part in 0..40 {
        let lines: String = (0..45).map(|_| format!("{line}\n")).collect();
        speaker.send(lines.as_bytes());
        speaker.say(&format!("/ping {part}"));
        speaker.reads(&format!("pong {part}"));
        most = most.max(queues(server.tcp, address).0);
    }
    assert!((1..=COUNTED).contains(&most), "{most} bytes wait in the kernel to be sent");

    let server = Server::start(&["--rate-limit", "1"]);
    let flooder = server.join("flooder");
    let address = flooder.stream().local_addr().unwrap();
    let mut stream = flooder.stream().try_clone().unwrap();
    stream.set_nonblocking(true).unwrap();
    let lines = format!("{line}\n").repeat(10);
    wait_for("the server to take no more", || {
        stream.write(lines.as_bytes()).is_err().then_some(())
    });
    let unread = queues(server.tcp, address).1;
    assert!((1..=COUNTED).contains(&unread), "{unread} bytes wait in the kernel to be read");
}

fn out_of_memory_value(pid: Pid) -> i32 {
    Process::new(pid.as_raw()).unwrap().oom_score_adj().unwrap().into()
}

#[test]
fn when_memory_runs_out_workers_are_killed_first_and_the_supervisor_last() {
    let own = out_of_memory_value(Pid::this());
    for model in ["pool", "threads", "process"] {
        let server = Server::start(&["--model", model]);
        let mut alice = server.join("alice");
        let supervisor = out_of_memory_value(server.pid());
        assert!(supervisor <= own, "{supervisor}, and {own} before");
        let journal = wait_for("the journal's value", || {
            let value = out_of_memory_value(server.process("journal"));
            (value > own).then_some(value)
        });
        let name = alice.worker();
        let worker = server.process(&name);
        assert!(out_of_memory_value(worker) > journal, "{model}");
        // A successor has the same value.
        kill(worker, Signal::SIGKILL).unwrap();
        let next = server.replaced(&name, worker);
        wait_for("the successor's value", || (out_of_memory_value(next) > journal).then_some(()));
    }
}
