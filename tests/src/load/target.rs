//! What is put under load: a server of our own starting, the bare broadcaster, or a server that is there already.

use super::broadcaster::{Fault, READY};
use super::options::Options;
use crate::processes::{cpu_of, cpu_of_ended_children, family_of, memory_kib_of, name_of};
use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long a process may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of what a server has warned of, so much is told.
const COMPLAINTS_MAX: usize = 5;
/// Where a server of ours keeps its data: this and our pid, in the directory for temporary files.
const DATA_DIR: &str = "forkchat-load-";
/// The first argument with which this program runs another one that ends when this one does.
pub const RUN_UNTIL_PARENT_ENDS: &str = "run-until-parent-ends";
/// The first argument with which this program is the bare broadcaster.
pub const BE_BROADCASTER: &str = "be-broadcaster";

/// Something to connect to.
#[derive(Debug)]
pub struct Target {
    /// Where it listens for TCP.
    pub tcp: SocketAddr,
    /// Where it listens for UDP.
    pub udp: SocketAddr,
    /// How one talks with it.
    pub dialect: Dialect,
    process: Option<Process>,
}

/// How one enters a room, and what a line looks like that comes from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// forkchat's line protocol.
    Lines,
    /// The bare broadcaster's.
    Bare,
}

#[derive(Debug)]
struct Process {
    child: Child,
    /// What it says, line by line, while it is being listened to.
    said: Receiver<String>,
    data_dir: Option<PathBuf>,
}

/// CPU time that was used so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// By all processes of the server but the journal.
    pub server: Duration,
    /// By the journal.
    pub journal: Duration,
}

impl Target {
    /// Starts a server on free ports, with a data directory of its own.
    pub fn forkchat(options: &Options, workers: Option<u16>, udp: bool) -> Result<Target, String> {
        forget_the_dead(DATA_DIR);
        let data_dir = std::env::temp_dir().join(format!("{DATA_DIR}{}", std::process::id()));
        let mut arguments = vec!["--tcp", "127.0.0.1:0", "--udp", if udp { "127.0.0.1:0" } else { "off" }, "--rate-limit", "off"];
        let workers = workers.map(|workers| workers.to_string());
        if let Some(workers) = &workers {
            arguments.extend(["--workers", workers]);
        }
        let mut command = until_we_end(&options.server()?)?;
        command.args(arguments).arg("--data-dir").arg(&data_dir).args(&options.server_arguments).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("cannot start the server: {error}"))?;
        let said = listen(child.stderr.take());
        Target::of(Process { child, said, data_dir: Some(data_dir) }, Dialect::Lines, udp)
    }

    /// Starts a bare broadcaster.
    pub fn bare(fault: Option<Fault>) -> Result<Target, String> {
        let mut command = until_we_end(&this_program()?)?;
        command.arg(BE_BROADCASTER).args(fault.map(|fault| format!("{fault:?}").to_lowercase()));
        let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| format!("cannot start the bare broadcaster: {error}"))?;
        let said = listen(child.stdout.take());
        Target::of(Process { child, said, data_dir: None }, Dialect::Bare, true)
    }

    /// A server of which only the outside can be seen.
    pub fn running(address: SocketAddr) -> Target {
        Target { tcp: address, udp: address, dialect: Dialect::Lines, process: None }
    }

    fn of(process: Process, dialect: Dialect, has_udp: bool) -> Result<Target, String> {
        let mut target = Target { tcp: ([0; 4], 0).into(), udp: ([0; 4], 0).into(), dialect, process: Some(process) };
        target.tcp = target.hear_address("listening on tcp ")?;
        if has_udp {
            target.udp = target.hear_address("listening on udp ")?;
        }
        Ok(target)
    }

    fn hear_address(&mut self, head: &str) -> Result<SocketAddr, String> {
        let Some(process) = &self.process else { return Err("not ours to ask".into()) };
        let (deadline, mut said) = (Instant::now() + PATIENCE, String::new());
        while let Ok(line) = process.said.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            if let Some(address) = line.split_once(head).and_then(|(_, rest)| rest.trim().parse().ok()) {
                return Ok(address);
            }
            said.push_str(&line);
            said.push('\n');
        }
        Err(format!("the server did not start; it said:\n{said}"))
    }

    /// Its processes, if they can be seen.
    fn pids(&self) -> Option<Vec<Pid>> {
        Some(family_of(Pid::from_raw(self.process.as_ref()?.child.id().cast_signed())))
    }

    /// CPU time that it has used so far, if that can be seen.
    pub fn cpu(&self) -> Option<Cpu> {
        let pids = self.pids()?;
        let mut cpu = Cpu { server: cpu_of_ended_children(pids[0]), ..Cpu::default() };
        for pid in pids {
            let part = if name_of(pid) == "journal" { &mut cpu.journal } else { &mut cpu.server };
            *part += cpu_of(pid);
        }
        Some(cpu)
    }

    /// Its memory in KiB (proportional set size), if that can be seen.
    pub fn memory_kib(&self) -> Option<u64> {
        Some(self.pids()?.into_iter().map(memory_kib_of).sum())
    }

    /// Ends it: what a server has warned of, and how many faults the bare broadcaster has made.
    pub fn end(mut self) -> (Vec<String>, Option<u64>) {
        let Some(process) = self.process.as_mut() else { return (Vec::new(), None) };
        // The bare broadcaster ends with its standard input, and the server when it is told to.
        drop(process.child.stdin.take());
        match self.dialect {
            Dialect::Lines => (process.said.try_iter().filter(|line| is_complaint(line)).take(COMPLAINTS_MAX).collect(), None),
            Dialect::Bare => {
                (Vec::new(), process.said.recv_timeout(PATIENCE).ok().and_then(|line| line.strip_prefix("faults ")?.parse().ok()))
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(data_dir) = &self.data_dir {
            let _ = std::fs::remove_dir_all(data_dir);
        }
    }
}

impl Dialect {
    /// What a client sends first, to be in its room.
    pub fn login(self, nick: &str, room: &str) -> String {
        match self {
            Dialect::Lines => format!("/set joins off\n/nick {nick}\n/join {room}\n/leave #lobby\n/ping ready\n"),
            Dialect::Bare => format!("{room}\n"),
        }
    }

    /// The line that says that it is.
    pub fn ready(self) -> &'static [u8] {
        match self {
            Dialect::Lines => b"* pong ready",
            Dialect::Bare => READY,
        }
    }

    /// What stands before what somebody says in a room.
    pub fn prefix(self, nick: &str, room: &str) -> String {
        match self {
            Dialect::Lines => format!("[{room}] {nick}: "),
            Dialect::Bare => String::new(),
        }
    }

    /// Whether a line is the server's own, and nobody's.
    pub fn is_notice(self, line: &[u8]) -> bool {
        self == Dialect::Lines && line.starts_with(b"* ")
    }

    /// Whether a line refuses something.
    pub fn is_refusal(self, line: &[u8]) -> bool {
        self == Dialect::Lines && line.starts_with(b"! ")
    }
}

/// Removes what runs have left that were killed: directories for temporary files whose name is this and a pid.
pub fn forget_the_dead(prefix: &str) {
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(prefix)?.parse::<i32>().ok());
        if pid.is_some_and(|pid| kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH)) {
            // Somebody else's, perhaps.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether a line of the server's journal text tells of a process that died.
fn is_complaint(line: &str) -> bool {
    line.contains("respawned")
}

/// Runs a program in this one's place, that ends when this one's parent does. Returns only if it can't.
pub fn run_until_parent_ends(parent: Option<&str>, mut command: impl Iterator<Item = std::ffi::OsString>) -> String {
    let Some(program) = command.next() else { return "no program to run".into() };
    if let Err(errno) = set_pdeathsig(Signal::SIGTERM) {
        return format!("cannot ask to be told of the parent's end: {errno}");
    }
    // It may have ended before we asked.
    if parent.and_then(|parent| parent.parse().ok()) != Some(nix::unistd::getppid().as_raw()) {
        return "the parent has ended".into();
    }
    format!("cannot run {}: {}", program.display(), Command::new(&program).args(command).exec())
}

/// A command that ends when this program does, however that ends.
pub fn until_we_end(program: &Path) -> Result<Command, String> {
    let mut command = Command::new(this_program()?);
    command.arg(RUN_UNTIL_PARENT_ENDS).arg(std::process::id().to_string()).arg(program).stdin(Stdio::piped()).stdout(Stdio::null());
    Ok(command)
}

fn this_program() -> Result<PathBuf, String> {
    std::env::current_exe().map_err(|error| format!("cannot find this program's own file: {error}"))
}

/// Reads a process's lines, to the end, so that it never waits for a reader.
fn listen(output: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, said) = channel();
    if let Some(output) = output {
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // If nobody wants to know: read on all the same.
                let _ = sender.send(line);
            }
        });
    }
    said
}
