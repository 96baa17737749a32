//! Processes that cannot be killed because they hang in the kernel, or that cannot be started: the
//! others continue without them.
//!
//! The tests freeze a file system (fsfreeze(8)) or a control group (the freezer of version 1). Both
//! need root, and are skipped without.

use forkchat_tests::processes::{state_of, threads_of};
use forkchat_tests::{Client, Server, has_tool, server_binary, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// More than the smallest ring holds, in lines of this length.
const LINES: usize = 1_500;
const LINE_BYTES: usize = 1_000;

fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).status().is_ok_and(|status| status.success())
}

/// Sends more lines than the ring holds. All of them arrive.
fn fill_the_ring(a: &mut Client, b: &mut Client, what: &str) {
    let line = "z".repeat(LINE_BYTES);
    for number in 0..LINES {
        a.say(&format!("{what} {number} {line}"));
        if number % 100 == 99 {
            let received = b.reads(&format!("{what} {number} "));
            assert_eq!(received.len(), 100, "each line once");
        }
    }
}

/// The number of lost lines that the respawned journal logs.
fn lines_lost(server: &Server) -> usize {
    let find = || {
        let text = server.log_output();
        let line =
            text.lines().find(|line| line.contains(" missing from the history so far"))?.to_owned();
        line.split_once(" lines missing")?.0.rsplit(' ').next()?.parse().ok()
    };
    wait_for("the journal to be back", find)
}

/// A control group in which no process can be started while it is closed. Source: cgroups(7),
/// `pids`.
struct NoForks(PathBuf);

impl NoForks {
    /// A group with a server's supervisor; its children stay outside. `None` if this user may not
    /// create one.
    fn of(server: &Server) -> Option<NoForks> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!(
            "/sys/fs/cgroup/pids/forkchat-test-{}-{number}",
            std::process::id()
        ));
        fs::create_dir(&path).ok()?;
        let group = NoForks(path);
        fs::write(group.0.join("cgroup.procs"), server.pid().to_string()).ok()?;
        Some(group)
    }

    /// From now on every fork fails.
    fn close(&self) {
        fs::write(self.0.join("pids.max"), "1").unwrap();
    }

    /// Forks work again.
    fn open(&self) {
        fs::write(self.0.join("pids.max"), "max").unwrap();
    }
}

impl Drop for NoForks {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("pids.max"), "max");
        // Processes that were forked in it end with the server.
        let processes = || fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        for pid in processes().lines() {
            let _ = fs::write("/sys/fs/cgroup/pids/cgroup.procs", pid);
        }
        let _ = fs::remove_dir(&self.0);
    }
}

fn start(options: &[&str]) -> (Server, Client, Client) {
    let server = Server::start(&[&["--ring", "1M", "--rate-limit", "off"], options].concat());
    let (mut a, mut b) = (server.join("a"), server.join("b"));
    a.sync();
    b.sync();
    (server, a, b)
}

#[test]
fn a_journal_that_cannot_be_forked_delays_no_client_and_the_history_says_what_is_missing() {
    for model in ["pool", "threads", "process"] {
        let (server, mut a, mut b) = start(&["--model", model, "--max-connections", "50"]);
        a.say("said before");
        b.reads("said before");
        let Some(forks) = NoForks::of(&server) else {
            return skip("no control group for processes can be made");
        };
        forks.close();
        let journal = server.process("journal");
        kill(journal, Signal::SIGKILL).unwrap();
        fill_the_ring(&mut a, &mut b, "without a journal");
        server.logs(" makes the snapshots in place of the journal");
        fill_the_ring(&mut a, &mut b, "and on");
        // A request is answered, without the lines that can't be read.
        a.say("/history");
        a.reads("can't be read now");
        forks.open();
        server.replaced("journal", journal);
        assert!(lines_lost(&server) >= LINES, "{model}: {}", server.log_output());
        fill_the_ring(&mut a, &mut b, "with a journal again");
        a.say("/history 5");
        a.reads(&format!("with a journal again {} ", LINES - 1));
    }
}

#[test]
fn a_killed_stand_in_is_replaced_by_another_one() {
    let (server, mut a, b) = start(&[]);
    let Some(forks) = NoForks::of(&server) else {
        return skip("no control group for processes can be made");
    };
    forks.close();
    kill(server.process("journal"), Signal::SIGKILL).unwrap();
    server.logs("worker 0 makes the snapshots in place of the journal");
    let [mut on_worker_1, mut other] = if a.worker() == "worker 1" { [a, b] } else { [b, a] };
    assert_eq!(on_worker_1.worker(), "worker 1");
    kill(server.process("worker 0"), Signal::SIGKILL).unwrap();
    server.logs("worker 1 makes the snapshots in place of the journal");
    let line = "z".repeat(LINE_BYTES);
    for number in 0..2 * LINES {
        on_worker_1.say(&format!("alone {number} {line}"));
        if number % 100 == 99 {
            on_worker_1.sync();
        }
    }
    forks.open();
    // The worker was gone for more than half a ring. Its client has received everything before that
    // or is disconnected, and others are served.
    server.process("worker 0");
    server.process("journal");
    other.rest_or_sync();
    server.join("someone").sync();
}

/// Makes the journal crash until the others continue without it, like a journal that reaches a
/// limit at its first write. `between` is called before each crash.
fn crash_the_journal(server: &Server, mut between: impl FnMut()) -> Pid {
    let mut crashed = Pid::from_raw(0);
    for _ in 0..8 {
        between();
        crashed = server.replaced("journal", crashed);
        // Not while it applies a record, because the record would be quarantined together with its
        // session.
        wait_for("the journal to have nothing to do", || sleeps(crashed).then_some(()));
        kill(crashed, Signal::SIGSEGV).unwrap();
    }
    server.logs("journal keeps crashing: 8 times in a row; all other processes go on without it");
    crashed
}

#[test]
fn a_journal_that_crashes_repeatedly_delays_no_client() {
    let (server, mut a, mut b) = start(&[]);
    let crashed = crash_the_journal(&server, || ());
    fill_the_ring(&mut a, &mut b, "meanwhile");
    server.replaced("journal", crashed);
    fill_the_ring(&mut a, &mut b, "afterwards");
}

#[test]
fn lines_said_while_a_journal_crashes_repeatedly_are_all_stored() {
    for model in ["pool", "threads", "process"] {
        let (mut server, mut a, mut b) = start(&["--model", model, "--max-connections", "50"]);
        let mut said = 0;
        let mut say_ten = |a: &mut Client, b: &mut Client| {
            for _ in 0..10 {
                a.say(&format!("line {said}"));
                said += 1;
            }
            b.reads(&format!("line {}", said - 1));
        };
        let crashed = crash_the_journal(&server, || say_ten(&mut a, &mut b));
        // While a worker stands in for the journal, while that worker is replaced, and when the
        // next journal runs.
        server.logs(" makes the snapshots in place of the journal");
        say_ten(&mut a, &mut b);
        let stand_in = server.process("worker 0");
        kill(stand_in, Signal::SIGKILL).unwrap();
        server.replaced("worker 0", stand_in);
        say_ten(&mut a, &mut b);
        let next = server.replaced("journal", crashed);
        say_ten(&mut a, &mut b);
        // Again, but this time the server ends before the next journal is due.
        wait_for("the journal to have nothing to do", || sleeps(next).then_some(()));
        kill(next, Signal::SIGSEGV).unwrap();
        say_ten(&mut a, &mut b);
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait().code(), Some(0), "{model}: {}", server.log_output());
        server.logs("supervisor: stopped");
        let text = server.log_output();
        let (_, end) = text.split_once("SIGTERM: stopping").unwrap();
        assert!(!end.contains("error"), "{text}");
        let again = Server::start(&["--data-dir", server.data_dir().to_str().unwrap()]);
        let mut reader = again.join("reader");
        reader.say("/history 500");
        let history = reader.reads("* end of the history of ");
        let stored: Vec<&str> = history
            .iter()
            .filter_map(|line| line.split_once("a: "))
            .map(|(_, text)| text)
            .collect();
        let expected: Vec<String> = (0..said).map(|number| format!("line {number}")).collect();
        assert_eq!(stored, expected, "{model}");
    }
}

/// A separate file system, which can be frozen. It is unmounted on drop.
struct Disk {
    directory: PathBuf,
}

impl Disk {
    /// `None` if this user may not mount one.
    fn new() -> Option<Disk> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !has_tool("mkfs.ext4") || !has_tool("fsfreeze") {
            return None;
        }
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("forkchat-disk-{}-{number}", std::process::id()));
        let image = directory.with_extension("image");
        fs::create_dir(&directory).unwrap();
        fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        let image = image.to_str().unwrap();
        let is_made = run("mkfs.ext4", &["-q", image])
            && run("mount", &["-o", "loop", image, directory.to_str().unwrap()]);
        let disk = Disk { directory };
        (is_made && disk.freeze(true) && disk.freeze(false)).then_some(disk)
    }

    fn path(&self) -> &Path {
        &self.directory
    }

    fn freeze(&self, freeze: bool) -> bool {
        run("fsfreeze", &[if freeze { "-f" } else { "-u" }, self.directory.to_str().unwrap()])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("fsfreeze").arg("-u").arg(&self.directory).output();
        // Processes that hung in it release it a moment later.
        wait_for("the file system to be unmounted", || {
            let unmounted = Command::new("umount").arg(&self.directory).output();
            let is_mounted = fs::read_to_string("/proc/mounts")
                .unwrap_or_default()
                .contains(self.directory.to_str().unwrap());
            unmounted.is_ok_and(|output| output.status.success() || !is_mounted).then_some(())
        });
        let _ = fs::remove_dir(&self.directory);
        let _ = fs::remove_file(self.directory.with_extension("image"));
    }
}

/// Whether both threads of a journal sleep.
fn sleeps(journal: Pid) -> bool {
    let threads = threads_of(journal);
    threads.len() == 2 && threads.into_iter().all(|thread| state_of(thread) == Some('S'))
}

/// Whether a killed process still exists because it hangs in the kernel.
fn hangs(pid: Pid) -> bool {
    threads_of(pid).into_iter().any(|thread| state_of(thread) == Some('D'))
}

#[test]
fn a_killed_journal_whose_disk_hangs_delays_no_client_and_is_replaced_when_it_has_ended() {
    let Some(disk) = Disk::new() else { return skip("no file system can be frozen") };
    let data_dir = disk.path().join("data");
    let (mut server, mut a, mut b) = start(&["--data-dir", data_dir.to_str().unwrap()]);
    a.say("said before");
    b.reads("said before");
    assert!(disk.freeze(true));
    let journal = server.process("journal");
    a.say("that hangs");
    b.reads("that hangs");
    wait_for("the journal to hang", || hangs(journal).then_some(()));
    // The disk does not answer the request, and the client does not have to wait.
    a.say("/history");
    a.reads("can't be read now");
    kill(journal, Signal::SIGKILL).unwrap();
    fill_the_ring(&mut a, &mut b, "while it hangs");
    server.logs(&format!("journal (pid {journal}) was killed 2 s ago but has not ended yet"));
    fill_the_ring(&mut a, &mut b, "and on");
    assert!(hangs(journal), "it is still not gone");
    // Workers are replaced meanwhile, from the stand-in's snapshots.
    for name in ["worker 0", "worker 1"] {
        let worker = server.process(name);
        kill(worker, Signal::SIGKILL).unwrap();
        server.replaced(name, worker);
        fill_the_ring(&mut a, &mut b, name);
    }
    assert!(disk.freeze(false));
    server.replaced("journal", journal);
    assert!(lines_lost(&server) >= LINES, "{}", server.log_output());
    fill_the_ring(&mut a, &mut b, "with a journal again");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(4), "not everything was stored");
}

#[test]
fn a_server_whose_journal_hangs_stops_within_its_grace_period() {
    let Some(disk) = Disk::new() else { return skip("no file system can be frozen") };
    let data_dir = disk.path().join("data");
    let (mut server, mut a, _b) =
        start(&["--grace", "1", "--data-dir", data_dir.to_str().unwrap()]);
    assert!(disk.freeze(true));
    a.say("that hangs");
    let journal = server.process("journal");
    wait_for("the journal to hang", || hangs(journal).then_some(()));
    // The server logs it although there is no request and nothing is lost yet.
    server.logs("the disk does not answer, so nothing is stored now");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(4));
    server.logs("1 line that was said could not be stored");
    server.logs(&format!("journal (pid {journal}) was killed but has not ended yet"));
    server.logs("supervisor: stopped");
}

#[test]
fn a_background_server_can_be_stopped_although_its_pid_file_and_log_are_on_a_hanging_disk() {
    let Some(disk) = Disk::new() else { return skip("no file system can be frozen") };
    let data_dir = disk.path().join("data");
    let command = |name: &str| {
        let mut command = Command::new(server_binary());
        command
            .args([
                name,
                "--tcp",
                "127.0.0.1:0",
                "--udp",
                "off",
                "--workers",
                "1",
                "--grace",
                "1",
                "--data-dir",
            ])
            .arg(&data_dir);
        command.output().unwrap()
    };
    assert_eq!(command("start").status.code(), Some(0));
    let log = fs::read_to_string(data_dir.join("forkchat.log")).unwrap();
    let tcp = log.split_once("listening on tcp ").unwrap().1.lines().next().unwrap().to_owned();
    let mut client = Client::new(TcpStream::connect(&tcp).unwrap());
    client.sync();
    assert!(disk.freeze(true));
    client.say("said while the disk hangs");
    client.sync();
    let stopped = command("stop");
    assert_eq!(stopped.status.code(), Some(0), "{}", String::from_utf8_lossy(&stopped.stderr));
    assert!(TcpStream::connect(&tcp).is_err());
    assert!(disk.freeze(false));
    wait_for("the pid file to be gone", || (!data_dir.join("forkchat.pid").exists()).then_some(()));
    for name in ["start", "stop"] {
        assert_eq!(command(name).status.code(), Some(0));
    }
}

/// A control group whose processes can be frozen, so that they can't even be killed. It is removed
/// on drop.
struct Freezer {
    directory: PathBuf,
}

impl Freezer {
    /// `None` if there is no freezer.
    fn new() -> Option<Freezer> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = Path::new("/sys/fs/cgroup/freezer")
            .join(format!("forkchat-{}-{number}", std::process::id()));
        fs::create_dir(&directory).ok()?;
        Some(Freezer { directory })
    }

    fn freeze(&self, pid: Pid) {
        fs::write(self.directory.join("cgroup.procs"), pid.to_string()).unwrap();
        fs::write(self.directory.join("freezer.state"), "FROZEN").unwrap();
        let is_frozen = || {
            fs::read_to_string(self.directory.join("freezer.state"))
                .is_ok_and(|state| state.trim() == "FROZEN")
        };
        wait_for("it to be frozen", || is_frozen().then_some(()));
    }

    fn thaw(&self) {
        fs::write(self.directory.join("freezer.state"), "THAWED").unwrap();
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        self.thaw();
        wait_for("the control group to be empty", || {
            fs::remove_dir(&self.directory).is_ok().then_some(())
        });
    }
}

#[test]
fn a_worker_that_cannot_be_killed_delays_no_other_client_and_is_replaced_when_it_has_ended() {
    let Some(freezer) = Freezer::new() else { return skip("no control group can be frozen") };
    let (server, mut a, mut b) = start(&[]);
    let [mut frozen, mut free] =
        if (a.worker_number(), b.worker_number()) == (0, 1) { [a, b] } else { [b, a] };
    assert_eq!((frozen.worker_number(), free.worker_number()), (0, 1));
    let worker = server.process("worker 0");
    freezer.freeze(worker);
    let line = "z".repeat(LINE_BYTES);
    for number in 0..2 * LINES {
        free.say(&format!("{number} {line}"));
        if number % 100 == 99 {
            free.sync();
        }
    }
    server.logs(&format!("worker 0 (pid {worker}) was killed 2 s ago but has not ended yet"));
    // The other workers serve clients that connect now.
    let mut comes = server.join("comes");
    assert_eq!(comes.worker(), "worker 1");
    freezer.thaw();
    server.replaced("worker 0", worker);
    // More lines were said than the server could keep for the worker.
    frozen.rest_or_sync();
    comes.sync();
}
