//! Processes that do not die because the kernel is busy for them, or that cannot be started: the
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

/// Says more than the ring holds, all of which arrives.
fn fill_the_ring(a: &mut Client, b: &mut Client, what: &str) {
    let line = "z".repeat(LINE_BYTES);
    for number in 0..LINES {
        a.say(&format!("{what} {number} {line}"));
        if number % 100 == 99 {
            let heard = b.reads(&format!("{what} {number} "));
            assert_eq!(heard.len(), 100, "each line once");
        }
    }
}

/// The number that the respawned journal's line names.
fn given_up(server: &Server) -> usize {
    let find = || {
        let text = server.journal_text();
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
    /// For a server's supervisor; the processes that it has stay outside. `None` without the right
    /// to it.
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

    /// From now on no fork works.
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
        // What was forked in it goes with the server.
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
fn a_journal_that_cannot_be_forked_holds_up_nobody_and_the_history_says_what_is_missing() {
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
        server.tells(" makes the snapshots in place of the journal");
        fill_the_ring(&mut a, &mut b, "and on");
        // A question is answered, though not with what can't be read.
        a.say("/history");
        a.reads("can't be read now");
        forks.open();
        server.replaced("journal", journal);
        assert!(given_up(&server) >= LINES, "{model}: {}", server.journal_text());
        fill_the_ring(&mut a, &mut b, "with a journal again");
        a.say("/history 5");
        a.reads(&format!("with a journal again {} ", LINES - 1));
    }
}

#[test]
fn a_stand_in_that_is_killed_is_followed_by_another() {
    let (server, mut a, b) = start(&[]);
    let Some(forks) = NoForks::of(&server) else {
        return skip("no control group for processes can be made");
    };
    forks.close();
    kill(server.process("journal"), Signal::SIGKILL).unwrap();
    server.tells("worker 0 makes the snapshots in place of the journal");
    let [mut on_worker_1, mut other] = if a.worker() == "worker 1" { [a, b] } else { [b, a] };
    assert_eq!(on_worker_1.worker(), "worker 1");
    kill(server.process("worker 0"), Signal::SIGKILL).unwrap();
    server.tells("worker 1 makes the snapshots in place of the journal");
    let line = "z".repeat(LINE_BYTES);
    for number in 0..2 * LINES {
        on_worker_1.say(&format!("alone {number} {line}"));
        if number % 100 == 99 {
            on_worker_1.sync();
        }
    }
    forks.open();
    // It was gone for more than half a ring; its client was told everything before that or is
    // disconnected, and others are served.
    server.process("worker 0");
    server.process("journal");
    other.rest_or_sync();
    server.join("someone").sync();
}

/// Has the journal crash until the others go on without it, as one does that has reached a limit at
/// its first write. `between` is called before each crash.
fn crash_the_journal(server: &Server, mut between: impl FnMut()) -> Pid {
    let mut crashed = Pid::from_raw(0);
    for _ in 0..8 {
        between();
        crashed = server.replaced("journal", crashed);
        // Not while it applies a record: that would be quarantined, with the session that it came
        // from.
        wait_for("the journal to have nothing to do", || sleeps(crashed).then_some(()));
        kill(crashed, Signal::SIGSEGV).unwrap();
    }
    server.tells("journal keeps crashing: 8 times in a row; all other processes go on without it");
    crashed
}

#[test]
fn a_journal_that_crashes_again_and_again_holds_up_nobody() {
    let (server, mut a, mut b) = start(&[]);
    let crashed = crash_the_journal(&server, || ());
    fill_the_ring(&mut a, &mut b, "meanwhile");
    server.replaced("journal", crashed);
    fill_the_ring(&mut a, &mut b, "afterwards");
}

#[test]
fn what_is_said_while_a_journal_crashes_again_and_again_is_stored_and_none_counts_as_missing() {
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
        // While a worker stands in, while that is replaced, and when the next journal is there.
        server.tells(" makes the snapshots in place of the journal");
        say_ten(&mut a, &mut b);
        let stand_in = server.process("worker 0");
        kill(stand_in, Signal::SIGKILL).unwrap();
        server.replaced("worker 0", stand_in);
        say_ten(&mut a, &mut b);
        let next = server.replaced("journal", crashed);
        say_ten(&mut a, &mut b);
        // Once more, and this time the server ends before the next one is due.
        wait_for("the journal to have nothing to do", || sleeps(next).then_some(()));
        kill(next, Signal::SIGSEGV).unwrap();
        say_ten(&mut a, &mut b);
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait().code(), Some(0), "{model}: {}", server.journal_text());
        server.tells("supervisor: stopped");
        let text = server.journal_text();
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

/// A file system of its own, which can be frozen. Unmounted when it is dropped.
struct Disk {
    directory: PathBuf,
}

impl Disk {
    /// `None` where that isn't allowed.
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
        // Whoever was stuck in it lets go of it a moment later.
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

/// Whether a process that was killed is still there, in the kernel.
fn hangs(pid: Pid) -> bool {
    threads_of(pid).into_iter().any(|thread| state_of(thread) == Some('D'))
}

#[test]
fn a_killed_journal_whose_disk_hangs_holds_up_nobody_and_is_replaced_when_it_is_gone() {
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
    // A question isn't answered by the disk, and the client isn't held up for it.
    a.say("/history");
    a.reads("can't be read now");
    kill(journal, Signal::SIGKILL).unwrap();
    fill_the_ring(&mut a, &mut b, "while it hangs");
    server.tells(&format!("journal (pid {journal}) was killed 2 s ago but has not ended yet"));
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
    assert!(given_up(&server) >= LINES, "{}", server.journal_text());
    fill_the_ring(&mut a, &mut b, "with a journal again");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(4), "not everything was stored");
}

#[test]
fn a_server_whose_journal_hangs_stops_within_its_grace() {
    let Some(disk) = Disk::new() else { return skip("no file system can be frozen") };
    let data_dir = disk.path().join("data");
    let (mut server, mut a, _b) =
        start(&["--grace", "1", "--data-dir", data_dir.to_str().unwrap()]);
    assert!(disk.freeze(true));
    a.say("that hangs");
    let journal = server.process("journal");
    wait_for("the journal to hang", || hangs(journal).then_some(()));
    // The operator is told so, though nobody asks and nothing is lost yet.
    server.tells("the disk does not answer, so nothing is stored now");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(4));
    server.tells("1 line that was said could not be stored");
    server.tells(&format!("journal (pid {journal}) was killed but has not ended yet"));
    server.tells("supervisor: stopped");
}

#[test]
fn a_server_in_the_background_is_stopped_though_its_pid_file_and_its_log_are_on_a_disk_that_hangs()
{
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

/// A control group of its own whose processes can be frozen: then they can't even be killed.
/// Removed when it is dropped.
struct Freezer {
    directory: PathBuf,
}

impl Freezer {
    /// `None` where there is no such thing.
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
fn a_worker_that_cannot_die_holds_up_nobody_else_and_is_replaced_when_it_is_gone() {
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
    server.tells(&format!("worker 0 (pid {worker}) was killed 2 s ago but has not ended yet"));
    // Those who come now are served by those who can.
    let mut comes = server.join("comes");
    assert_eq!(comes.worker(), "worker 1");
    freezer.thaw();
    server.replaced("worker 0", worker);
    // More was said than could be kept for it.
    frozen.rest_or_sync();
    comes.sync();
}
