//! A real server for a test: on free ports, with a data directory of its own.

use crate::processes::{children_of, cpu_of, family_of, memory_kib_of, name_of};
use crate::{Client, server_binary, wait_for};
use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A line that the test itself writes into the pipe of the log output.
const FILLER: &str = "(filler)\n";

/// A running server. It is killed on drop.
#[derive(Debug)]
pub struct Server {
    child: Child,
    log_output: Arc<Mutex<String>>,
    reading: Arc<Reading>,
    /// Its TCP address.
    pub tcp: SocketAddr,
    /// Its UDP address.
    pub udp: SocketAddr,
    data_dir: PathBuf,
}

impl Server {
    /// Starts a server on free ports with two workers and these options.
    pub fn start(options: &[&str]) -> Server {
        Server::start_limited(None, options)
    }

    /// Starts a server from a shell that has run `limit` before. If `limit` has put a program into
    /// the variable `UNDER`, that program starts the server.
    pub fn start_limited(limit: Option<&str>, options: &[&str]) -> Server {
        Server::start_at(["127.0.0.1:0"; 2], limit, options)
    }

    /// Starts a server on the ports of another one that has ended.
    pub fn start_in_place_of(other: &Server, options: &[&str]) -> Server {
        Server::start_at([&other.tcp.to_string(), &other.udp.to_string()], None, options)
    }

    fn start_at([tcp, udp]: [&str; 2], limit: Option<&str>, options: &[&str]) -> Server {
        let (mut command, data_dir) = command(limit);
        // A server listens on all given addresses, so the default must not be added.
        for (option, address) in [("--tcp", tcp), ("--udp", udp)] {
            if !options.contains(&option) {
                command.args([option, address]);
            }
        }
        command.args(["--workers", "2"]);
        // Runs the tests against another model than the default. Some tests in `lifecycle` and
        // `limits` then fail, because they expect two workers.
        if let Ok(model) = std::env::var("FORKCHAT_TEST_MODEL") {
            command.args(["--model", &model]);
        }
        let mut child = command.args(options).spawn().expect("the server starts");
        let reading = Arc::new(Reading::default());
        let log_output =
            collect(child.stderr.take().expect("its standard error is a pipe"), reading.clone());
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        // From here on the server is killed even if it never listens.
        let mut server =
            Server { tcp: nowhere, udp: nowhere, child, log_output, reading, data_dir };
        (server.tcp, server.udp) = (server.listens("tcp"), server.listens("udp"));
        server
    }

    /// Waits until the server listens. Returns the first address.
    fn listens(&self, transport: &str) -> SocketAddr {
        wait_for("the server to listen", || {
            self.log_output()
                .contains(" connections\n")
                .then(|| self.addresses(transport).first().copied())
                .flatten()
        })
    }

    /// All addresses on which it listens, according to its log output.
    pub fn addresses(&self, transport: &str) -> Vec<SocketAddr> {
        let head = format!("listening on {transport} ");
        self.log_output()
            .lines()
            .filter_map(|line| line.split_once(&head)?.1.parse().ok())
            .collect()
    }

    /// Runs a server that is expected to end by itself. Returns its exit status and log output.
    pub fn run_to_end(options: &[&str]) -> (ExitStatus, String) {
        Server::run_to_end_limited(None, options)
    }

    /// The same with a `limit`, as in [`Server::start_limited`].
    pub fn run_to_end_limited(limit: Option<&str>, options: &[&str]) -> (ExitStatus, String) {
        let (mut command, _) = command(limit);
        let output = command.args(options).output().expect("the server runs");
        (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Its log output so far.
    pub fn log_output(&self) -> String {
        self.log_output.lock().unwrap().clone()
    }

    /// Waits until its log output contains a text.
    pub fn logs(&self, what: &str) {
        wait_for(&format!("the log output to contain {what:?}"), || {
            self.log_output().contains(what).then_some(())
        });
    }

    /// Stops reading its log output and fills the pipe, so that a write to it blocks.
    pub fn stop_reading_log(&self) {
        self.reading.is_stopped.store(true, Ordering::Relaxed);
        // Opened again, so that the flags of the server's own descriptor do not change.
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

    /// Reads its log output again.
    pub fn resume_reading_log(&self) {
        self.reading.is_stopped.store(false, Ordering::Relaxed);
    }

    /// Its data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The pid of the supervisor.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Waits for a child with this name. Returns its pid.
    pub fn process(&self, name: &str) -> Pid {
        wait_for(&format!("a process called {name}"), || {
            self.processes().into_iter().find(|(_, other)| other == name).map(|(pid, _)| pid)
        })
    }

    /// The supervisor's children: pid and name.
    pub fn processes(&self) -> Vec<(Pid, String)> {
        children_of(self.pid()).into_iter().map(|pid| (pid, name_of(pid))).collect()
    }

    /// Waits until another process has replaced the one with this name. Returns its pid.
    pub fn replaced(&self, name: &str, old: Pid) -> Pid {
        wait_for(&format!("another {name} than {old}"), || {
            self.processes()
                .into_iter()
                .find(|(pid, other)| other == name && *pid != old)
                .map(|(pid, _)| pid)
        })
    }

    /// Sends the supervisor a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("the server runs");
    }

    /// Waits for the end of the server.
    pub fn wait(&mut self) -> ExitStatus {
        wait_for("the server to end", || self.child.try_wait().expect("it can be waited for"))
    }

    /// The proportional set size of all its processes, in KiB.
    pub fn memory_kib(&self) -> u64 {
        family_of(self.pid()).into_iter().map(memory_kib_of).sum()
    }

    /// CPU time that all its processes have used.
    pub fn cpu(&self) -> Duration {
        family_of(self.pid()).into_iter().map(cpu_of).sum()
    }

    /// Connects a client.
    pub fn connect(&self) -> Client {
        Client::new(TcpStream::connect(self.tcp).expect("the server accepts"))
    }

    /// Connects a client with this nickname. It has read everything up to the answer.
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
        // The log process ends when it has written everything.
        self.resume_reading_log();
        let _ = std::fs::remove_dir_all(&self.data_dir);
        if std::thread::panicking() {
            eprintln!("the server's log output:\n{}", self.log_output());
        }
    }
}

/// A command that starts the server with a data directory of its own. With `limit`, a shell runs
/// that first.
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

/// Whether the log output is being read.
#[derive(Debug, Default)]
struct Reading {
    is_stopped: AtomicBool,
    has_stopped: AtomicBool,
}

/// Starts a thread that collects the log output.
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
