//! Code that the tests share: a real server on free ports, clients that wait for facts with a
//! deadline, and processes observed from outside, through /proc.
//!
//! No test depends on a lucky sleep: [`wait_for`] checks a condition repeatedly until it holds, and
//! fails with a description of it after a deadline.

pub mod chaos;
pub mod example;
pub mod load;
pub mod processes;
pub mod refuse;
pub mod terminal;

use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use processes::{children_of, cpu_of, family_of, memory_kib_of, name_of};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// How long anything is waited for. Far longer than it takes, so that a slow machine fails no test.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Looks every few milliseconds until `look` finds something, and gives it back.
///
/// ```
/// let mut looks = 0;
/// let found = forkchat_tests::wait_for("the third look", || {
///     looks += 1;
///     (looks == 3).then_some("here")
/// });
/// assert_eq!(found, "here");
/// ```
///
/// # Panics
/// If it finds nothing before the deadline; says `what` was awaited.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {DEADLINE:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The server's binary, built as the tests are.
pub fn server_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| binary("forkchat-server"))
}

/// The client's binary, built as the tests are.
pub fn client_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| binary("forkchat-client"))
}

/// Builds a package's binary of the same name and returns its path.
fn binary(package: &str) -> PathBuf {
    build(package, &[]);
    binary_directory().join(package)
}

/// Builds a package as the tests are built.
fn build(package: &str, options: &[&str]) {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--package", package]).args(options);
    if binary_directory().ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().expect("cargo runs").success(), "{package} builds");
}

/// Where the binaries are: next to the directory of the test that asks.
fn binary_directory() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    test.parent().and_then(Path::parent).expect("tests lie in target/PROFILE/deps").to_owned()
}

/// Whether a tool is there. Without it a test is skipped by name, and fails where everything has to
/// be there (`CI`).
pub fn has_tool(tool: &str) -> bool {
    let is_there = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| directory.join(tool).exists())
    });
    assert!(is_there || std::env::var_os("CI").is_none(), "{tool} is not installed");
    if !is_there {
        // Past the harness, which shows nothing of a test that doesn't fail.
        let _ = writeln!(
            std::io::stderr(),
            "skipped {}: {tool} is not installed",
            std::thread::current().name().unwrap_or("a test")
        );
    }
    is_there
}

/// What [`Server::start_limited`] takes for a server to which the kernel refuses these system
/// calls, as `clone3=EPERM,close_range=ENOSYS`.
pub fn refusing(calls: &str) -> String {
    format!("UNDER='{} {calls}'", binary_directory().join("forkchat-refuse").display())
}

/// A running server. Killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    journal_text: Arc<Mutex<String>>,
    reading: Arc<Reading>,
    /// Where it listens for TCP.
    pub tcp: SocketAddr,
    /// Where it listens for UDP.
    pub udp: SocketAddr,
    data_dir: PathBuf,
}

/// A command for the server, with a data directory of its own.
fn command(limit: Option<&str>) -> (Command, PathBuf) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let data_dir =
        std::env::temp_dir().join(format!("forkchat-test-{}-{number}", std::process::id()));
    let mut command = match limit {
        None => Command::new(server_binary()),
        Some(limit) => {
            let mut shell = Command::new("sh");
            shell
                .args(["-c", &format!("{limit} && exec $UNDER \"$0\" \"$@\"")])
                .env_remove("UNDER")
                .arg(server_binary());
            shell
        }
    };
    command
        .arg("--data-dir")
        .arg(&data_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    (command, data_dir)
}

impl Server {
    /// Starts one on free ports with two workers and these options.
    pub fn start(options: &[&str]) -> Server {
        Server::start_limited(None, options)
    }

    /// Starts one from a shell that has run `limit` before; under the program that it has put in
    /// `UNDER`, if it has.
    pub fn start_limited(limit: Option<&str>, options: &[&str]) -> Server {
        Server::start_at(["127.0.0.1:0"; 2], limit, options)
    }

    /// Starts one on the ports of one that has ended.
    pub fn start_in_place_of(other: &Server, options: &[&str]) -> Server {
        Server::start_at([&other.tcp.to_string(), &other.udp.to_string()], None, options)
    }

    fn start_at([tcp, udp]: [&str; 2], limit: Option<&str>, options: &[&str]) -> Server {
        let (mut command, data_dir) = command(limit);
        // Addresses add up.
        for (option, address) in [("--tcp", tcp), ("--udp", udp)] {
            if !options.contains(&option) {
                command.args([option, address]);
            }
        }
        command.args(["--workers", "2"]);
        // To run tests that know of no model against another: some of `lifecycle` and `limits` then
        // fail, which count on two workers.
        if let Ok(model) = std::env::var("FORKCHAT_TEST_MODEL") {
            command.args(["--model", &model]);
        }
        let mut child = command.args(options).spawn().expect("the server starts");
        let reading = Arc::new(Reading::default());
        let journal_text =
            collect(child.stderr.take().expect("its standard error is a pipe"), reading.clone());
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        // Ended also if it never listens.
        let mut server =
            Server { tcp: nowhere, udp: nowhere, child, journal_text, reading, data_dir };
        (server.tcp, server.udp) = (server.listens("tcp"), server.listens("udp"));
        server
    }

    fn listens(&self, transport: &str) -> SocketAddr {
        wait_for("the server to listen", || {
            self.journal_text()
                .contains(" connections\n")
                .then(|| self.addresses(transport).first().copied())
                .flatten()
        })
    }

    /// All addresses on which it says that it listens.
    pub fn addresses(&self, transport: &str) -> Vec<SocketAddr> {
        let head = format!("listening on {transport} ");
        self.journal_text()
            .lines()
            .filter_map(|line| line.split_once(&head)?.1.parse().ok())
            .collect()
    }

    /// Runs one that is expected to end by itself: its exit status and journal text.
    pub fn fails(options: &[&str]) -> (ExitStatus, String) {
        Server::fails_limited(None, options)
    }

    /// The same from a shell as [`Server::start_limited`] has it.
    pub fn fails_limited(limit: Option<&str>, options: &[&str]) -> (ExitStatus, String) {
        let (mut command, _) = command(limit);
        let output = command.args(options).output().expect("the server runs");
        (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Its log output so far.
    pub fn journal_text(&self) -> String {
        self.journal_text.lock().unwrap().clone()
    }

    /// Waits until its log output contains a text.
    pub fn tells(&self, what: &str) {
        wait_for(&format!("the log output to contain {what:?}"), || {
            self.journal_text().contains(what).then_some(())
        });
    }

    /// Stops reading its log output and fills the pipe, so that a write to it blocks.
    pub fn stop_reading(&self) {
        self.reading.is_stopped.store(true, Ordering::Relaxed);
        // Another opening of the pipe, so that the server's stays as it is.
        let path = format!("/proc/{}/fd/2", self.process("log"));
        let mut pipe = OpenOptions::new()
            .write(true)
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open(path)
            .expect("the pipe can be opened");
        wait_for("the reader to stop", || {
            pipe.write_all(b"(not read from here on)\n").expect("there is room");
            self.reading.has_stopped.load(Ordering::Relaxed).then_some(())
        });
        while pipe.write_all(FILLER.as_bytes()).is_ok() {}
    }

    /// Its log output is read again.
    pub fn read_on(&self) {
        self.reading.is_stopped.store(false, Ordering::Relaxed);
    }

    /// Its data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The supervisor.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// The process whose name is this, once it is there.
    pub fn process(&self, name: &str) -> Pid {
        wait_for(&format!("a process called {name}"), || {
            self.processes().into_iter().find(|(_, other)| other == name).map(|(pid, _)| pid)
        })
    }

    /// Its children: pid and name.
    pub fn processes(&self) -> Vec<(Pid, String)> {
        children_of(self.pid()).into_iter().map(|pid| (pid, name_of(pid))).collect()
    }

    /// Waits until another process has taken this one's place.
    pub fn replaced(&self, name: &str, old: Pid) -> Pid {
        wait_for(&format!("another {name} than {old}"), || {
            self.processes()
                .into_iter()
                .find(|(pid, other)| other == name && *pid != old)
                .map(|(pid, _)| pid)
        })
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("the server runs");
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        wait_for("the server to end", || self.child.try_wait().expect("it can be waited for"))
    }

    /// Memory that is its and its children's own share, in KiB.
    pub fn memory_kib(&self) -> u64 {
        family_of(self.pid()).into_iter().map(memory_kib_of).sum()
    }

    /// CPU time that it and its children have used.
    pub fn cpu(&self) -> Duration {
        family_of(self.pid()).into_iter().map(cpu_of).sum()
    }

    /// Connects a client.
    pub fn connect(&self) -> Client {
        Client::new(TcpStream::connect(self.tcp).expect("the server accepts"))
    }

    /// Connects a client that has a name and has read everything so far.
    pub fn join(&self, nick: &str) -> Client {
        let mut client = self.connect();
        client.say(&format!("/nick {nick}"));
        client.reads(&format!("* you are now {nick}"));
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The log process ends when all is written.
        self.read_on();
        let _ = std::fs::remove_dir_all(&self.data_dir);
        if std::thread::panicking() {
            eprintln!("the server's log output:\n{}", self.journal_text());
        }
    }
}

/// A line of the tests' own, which fills a pipe and is no log output.
const FILLER: &str = "(filler)\n";

/// Whether the log output is read.
#[derive(Debug, Default)]
struct Reading {
    is_stopped: AtomicBool,
    has_stopped: AtomicBool,
}

fn collect(stderr: impl Read + Send + 'static, reading: Arc<Reading>) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let collected = text.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr)
            .lines()
            .map_while(Result::ok)
            .filter(|line| line != FILLER.trim_end())
        {
            let mut text = collected.lock().unwrap();
            text.push_str(&line);
            text.push('\n');
            drop(text);
            while reading.is_stopped.load(Ordering::Relaxed) {
                reading.has_stopped.store(true, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    });
    text
}

/// A client that reads lines and says what it waited for.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
    is_at_end: bool,
}

impl Client {
    /// From a connected socket.
    pub fn new(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout can be set");
        stream.set_nodelay(true).expect("TCP_NODELAY can be set");
        Client { stream, unread: Vec::new(), is_at_end: false }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server takes input");
    }

    /// Sends a line.
    pub fn say(&mut self, line: &str) {
        self.send(format!("{line}\n").as_bytes());
    }

    /// Ends its input, as `nc -N` does.
    pub fn end_input(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("the sending side can be shut");
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The next line, `None` at the end of input or when the connection is reset.
    pub fn line_bytes(&mut self) -> Option<Vec<u8>> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(end) = self.unread.iter().position(|&byte| byte == b'\n') {
                let line = self.unread.drain(..=end).take(end).collect();
                return Some(line);
            }
            if self.is_at_end {
                return None;
            }
            assert!(
                Instant::now() < deadline,
                "waited {DEADLINE:?} in vain for a line; so far {:?}",
                String::from_utf8_lossy(&self.unread)
            );
            let mut bytes = [0; 64 * 1024];
            match self.stream.read(&mut bytes) {
                Ok(0) => self.is_at_end = true,
                Ok(length) => self.unread.extend_from_slice(&bytes[..length]),
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock
                            | std::io::ErrorKind::TimedOut
                            | std::io::ErrorKind::Interrupted
                    ) => {}
                Err(_) => self.is_at_end = true,
            }
        }
    }

    /// Reads until these bytes have come, which need not end a line, and drops them and what came
    /// before them.
    pub fn reads_bytes(&mut self, part: &[u8]) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(at) = self.unread.windows(part.len()).position(|window| window == part) {
                self.unread.drain(..at + part.len());
                return;
            }
            assert!(
                !self.is_at_end && Instant::now() < deadline,
                "waited in vain for {part:?}; so far {:?}",
                self.unread
            );
            let mut bytes = [0; 4_096];
            match self.stream.read(&mut bytes) {
                Ok(0) => self.is_at_end = true,
                Ok(length) => self.unread.extend_from_slice(&bytes[..length]),
                Err(error) => {
                    self.is_at_end = !matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock
                            | std::io::ErrorKind::TimedOut
                            | std::io::ErrorKind::Interrupted
                    );
                }
            }
        }
    }

    /// The next line as text.
    pub fn line(&mut self) -> Option<String> {
        self.line_bytes().map(|line| String::from_utf8_lossy(&line).into_owned())
    }

    /// Reads until a line that contains this, and gives back all that were read.
    pub fn reads(&mut self, part: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let deadline = Instant::now() + DEADLINE;
        loop {
            assert!(
                Instant::now() < deadline,
                "waited {DEADLINE:?} in vain for {part:?} among {} lines",
                lines.len()
            );
            let Some(line) = self.line() else {
                panic!("the end of input instead of {part:?} behind {lines:?}")
            };
            lines.push(line);
            if lines.last().is_some_and(|line| line.contains(part)) {
                return lines;
            }
        }
    }

    /// Sends a `/ping` and reads to its answer. Returns all lines before the answer.
    pub fn sync(&mut self) -> Vec<String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let token = format!("sync-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.say(&format!("/ping {token}"));
        let mut lines = self.reads(&format!("* pong {token}"));
        lines.pop();
        lines
    }

    /// Reads to the end.
    pub fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.line()).collect()
    }

    /// Reads on to the answer of a `/ping`, or to the end if the server closes the connection.
    pub fn rest_or_sync(&mut self) {
        // It may be closed already.
        let _ = self.stream.write_all(b"/ping rest-or-sync\n");
        while self.line().is_some_and(|line| !line.contains("* pong rest-or-sync")) {}
    }

    /// The number of the worker that serves it.
    pub fn worker_number(&mut self) -> usize {
        let worker = self.worker();
        worker
            .strip_prefix("worker ")
            .and_then(|number| number.parse().ok())
            .expect("a worker has a number")
    }

    /// The worker that serves it.
    pub fn worker(&mut self) -> String {
        self.worker_and_pid().0
    }

    /// The worker that serves it, and its process, as `/whoami` says.
    pub fn worker_and_pid(&mut self) -> (String, Pid) {
        self.say("/whoami");
        let line = self.reads("served by ").pop().unwrap_or_default();
        let served_by = line.rsplit("served by ").next().unwrap_or_default();
        let (worker, pid) = served_by.split_once(" (pid ").expect("the pid is named");
        (
            worker.to_owned(),
            Pid::from_raw(pid.trim_end_matches(')').parse().expect("a pid is a number")),
        )
    }
}
