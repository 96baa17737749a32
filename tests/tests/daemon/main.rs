//! The server in the background: only one runs at a time, it is detached from the process that
//! started it, and it has ended when `stop` returns.

mod detached;
mod only_one;
mod starting;
mod stopping;

use forkchat_tests::example::Ended;
use forkchat_tests::processes::{children_of, family_of, has_ended, name_of};
use forkchat_tests::terminal::Terminal;
use forkchat_tests::{Client, DEADLINE, Server, server_binary, wait_for};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getpgid, getsid, mkfifo};
use procfs::process::Process;
use std::collections::BTreeSet;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// The exit code of a start that finds a running server.
const RUNNING: Option<i32> = Some(3);
/// Few processes, and a short grace period.
const OPTIONS: [&str; 4] = ["--workers", "1", "--grace", "2"];
const ADDRESSES: [&str; 2] = ["--tcp", "--udp"];

/// Options for a free port for each transport that `options` does not mention. A server listens on
/// all given addresses, so they must not be added otherwise.
fn free_ports(options: &[&str]) -> Vec<&'static str> {
    ADDRESSES
        .into_iter()
        .filter(|option| !options.contains(option))
        .flat_map(|option| [option, "127.0.0.1:0"])
        .collect()
}

/// A directory for one server in the background. On drop, all processes that were started with it
/// are killed.
struct Service {
    directory: PathBuf,
}

impl Service {
    fn new() -> Service {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // No name is the beginning of another one, because the processes are found by their names.
        let name = format!(
            "forkchat-daemon-{}-{:04}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).expect("a directory of its own");
        Service { directory }
    }

    /// A command with this data directory. The path is absolute, so that the daemon can be found by
    /// it.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(server_binary());
        command
            .arg(name)
            .arg("--data-dir")
            .arg(&self.directory)
            .args(OPTIONS)
            .env_remove("RUST_BACKTRACE");
        command
    }

    fn spawn(&self, name: &str, options: &[&str]) -> Child {
        spawn(self.command(name).args(options).args(free_ports(options)))
    }

    /// Runs a command to its end.
    fn run(&self, name: &str, options: &[&str]) -> Ended {
        Ended::of(&mut self.spawn(name, options), name)
    }

    /// Starts a server, which must succeed. Returns its pid.
    fn start(&self, options: &[&str]) -> Pid {
        let started = self.run("start", options);
        assert_eq!(started.code, Some(0), "{started}");
        let pid = self.pid().expect("who runs has a pid file");
        assert!(started.text.contains(&format!("serving as pid {pid}")), "{started}");
        pid
    }

    fn pid_file(&self) -> PathBuf {
        self.directory.join("forkchat.pid")
    }

    /// The content of the pid file, if it is a pid.
    fn pid(&self) -> Option<Pid> {
        fs::read_to_string(self.pid_file())
            .ok()?
            .strip_suffix('\n')?
            .parse()
            .ok()
            .map(Pid::from_raw)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("forkchat.log")).unwrap_or_default()
    }

    /// The address on which the last started server listens.
    fn address(&self, transport: &str) -> String {
        let log = self.log();
        log.rsplit(&format!("listening on {transport} "))
            .next()
            .and_then(|rest| rest.lines().next())
            .expect("it listens")
            .to_owned()
    }

    fn join(&self, nick: &str) -> Client {
        let mut client =
            Client::new(TcpStream::connect(self.address("tcp")).expect("the server accepts"));
        client.say(&format!("/nick {nick}"));
        client.reads(&format!("* you are now {nick}"));
        client
    }

    /// All live processes that were started with this directory.
    fn processes(&self) -> Vec<Pid> {
        let directory = self.directory.to_str().unwrap();
        let is_one = |pid: &i32| {
            fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.contains(directory))
        };
        let entries = fs::read_dir("/proc").unwrap().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(is_one)
            .map(Pid::from_raw)
            .collect()
    }

    /// Waits until no such process is left.
    fn wait_for_end(&self) {
        wait_for("everyone to be gone", || self.processes().is_empty().then_some(()));
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // There are none, unless the test fails or leaves a server running on purpose. A process
        // that is just forking is found in the next round.
        wait_for("everyone to be killed", || {
            let left = self.processes();
            left.iter().for_each(|&pid| _ = kill(pid, Signal::SIGKILL));
            left.is_empty().then_some(())
        });
        if std::thread::panicking() {
            eprintln!("the log:\n{}", self.log());
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn spawn(command: &mut Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts")
}
