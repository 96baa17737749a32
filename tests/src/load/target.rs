//! What is put under load: a server that this program starts, the bare broadcaster, or a server
//! that runs already.

use super::broadcaster::Fault;
use super::chat_protocol::ChatProtocol;
use super::options::{ComparedServer, Options};
use super::subject::Model;
use super::subprocess::{command_ending_with_this_process, remove_stale_directories, this_program};
use crate::processes::{
    Memory, cpu_of, cpu_of_ended_children, family_of, listener_of, memory_of, name_of, threads_of,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::cell::Cell;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long a process may take to start or to stop.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a server that listens may take to log how many connections it accepts.
const CAPACITY_TIMEOUT: Duration = Duration::from_secs(2);
/// At most this many of a server's warnings are reported.
const COMPLAINTS_MAX: usize = 5;
/// The data directory of a server that this program starts: this name and the pid of this program,
/// in the directory for temporary files.
const DATA_DIR: &str = "forkchat-load-";
/// The first argument that makes this program the bare broadcaster.
pub const BE_BROADCASTER: &str = "be-broadcaster";
/// The second argument that makes the bare broadcaster speak IRC.
pub const SPEAK_IRC: &str = "irc";

/// A server to connect to.
#[derive(Debug)]
pub struct Target {
    /// Its TCP address.
    pub tcp: SocketAddr,
    /// Its UDP address.
    pub udp: SocketAddr,
    /// Its protocol.
    pub protocol: ChatProtocol,
    process: Option<Process>,
    /// Whether it is another chat server than forkchat.
    pub is_other_server: bool,
    /// The process of another server, if this user can see it.
    observed: Option<Pid>,
    /// Whether it is a bare broadcaster that makes faults.
    makes_faults: bool,
    /// Its journal, once it is known. Otherwise the names of thousands of processes would be read
    /// each time.
    journal: Cell<Option<Pid>>,
}

/// How a server is started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Start {
    /// Its number of workers; `None` for its default.
    pub workers: Option<u16>,
    /// Whether it listens for UDP.
    pub udp: bool,
    /// Its model; `None` for its default.
    pub model: Option<Model>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    /// Its output, line by line.
    output: Receiver<String>,
    data_dir: Option<PathBuf>,
}

/// How many connections a server accepts at a time, as it logs at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Their number.
    pub connections: usize,
    /// What limits their number, in the server's words.
    pub because: Option<String>,
}

/// CPU time used so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// By all processes of the server except the journal.
    pub server: Duration,
    /// By the journal.
    pub journal: Duration,
}

impl Target {
    /// Starts a server on free ports, with a data directory of its own.
    ///
    /// # Errors
    /// If there is no program to start, or the server does not listen in time (with its output).
    pub fn forkchat(options: &Options, start: Start) -> Result<Target, String> {
        remove_stale_directories(DATA_DIR);
        let data_dir = std::env::temp_dir().join(format!("{DATA_DIR}{}", std::process::id()));
        let mut arguments = vec![
            "--tcp",
            "127.0.0.1:0",
            "--udp",
            if start.udp { "127.0.0.1:0" } else { "off" },
            "--rate-limit",
            "off",
        ];
        let workers = start.workers.map(|workers| workers.to_string());
        if let Some(workers) = &workers {
            arguments.extend(["--workers", workers]);
        }
        if let Some(model) = start.model {
            arguments.extend(["--model", model.name()]);
        }
        let mut command = command_ending_with_this_process(&options.server()?)?;
        command
            .args(arguments)
            .arg("--data-dir")
            .arg(&data_dir)
            .args(&options.server_arguments)
            .stderr(Stdio::piped());
        let mut child =
            command.spawn().map_err(|error| format!("cannot start the server: {error}"))?;
        let output = read_lines(child.stderr.take());
        Target::of(
            Process { child, output, data_dir: Some(data_dir) },
            ChatProtocol::Lines,
            start.udp,
        )
    }

    /// Starts a bare broadcaster.
    pub fn bare(fault: Option<Fault>) -> Result<Target, String> {
        let mut command = command_ending_with_this_process(&this_program()?)?;
        command.arg(BE_BROADCASTER).args(fault.map(|fault| format!("{fault:?}").to_lowercase()));
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start the bare broadcaster: {error}"))?;
        let output = read_lines(child.stdout.take());
        let target =
            Target::of(Process { child, output, data_dir: None }, ChatProtocol::Bare, true)?;
        Ok(Target { makes_faults: fault.is_some(), ..target })
    }

    /// A forkchat server that runs already. Its CPU time and memory are not measured.
    pub fn running(address: SocketAddr) -> Target {
        Target {
            tcp: address,
            udp: address,
            protocol: ChatProtocol::Lines,
            process: None,
            is_other_server: false,
            observed: None,
            makes_faults: false,
            journal: Cell::new(None),
        }
    }

    /// Another chat server. If this user can see its process, its CPU time and memory are measured.
    pub fn compared(other: ComparedServer) -> Target {
        Target {
            protocol: other.protocol,
            is_other_server: true,
            observed: listener_of(other.address),
            ..Target::running(other.address)
        }
    }

    fn of(process: Process, protocol: ChatProtocol, has_udp: bool) -> Result<Target, String> {
        let nowhere = ([0; 4], 0).into();
        let mut target = Target {
            tcp: nowhere,
            udp: nowhere,
            protocol,
            process: Some(process),
            is_other_server: false,
            observed: None,
            makes_faults: false,
            journal: Cell::new(None),
        };
        target.tcp = target.wait_for_address("listening on tcp ")?;
        if has_udp {
            target.udp = target.wait_for_address("listening on udp ")?;
        }
        Ok(target)
    }

    fn wait_for_address(&mut self, head: &str) -> Result<SocketAddr, String> {
        let Some(process) = &self.process else { return Err("not ours to ask".into()) };
        let (deadline, mut output) = (Instant::now() + TIMEOUT, String::new());
        while let Ok(line) =
            process.output.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            if let Some(address) =
                line.split_once(head).and_then(|(_, rest)| rest.trim().parse().ok())
            {
                return Ok(address);
            }
            output.push_str(&line);
            output.push('\n');
        }
        Err(format!("the server did not start; it said:\n{output}"))
    }

    /// How many connections a forkchat server that this program started accepts. Call it once,
    /// right after the start.
    pub fn capacity(&self) -> Option<Capacity> {
        let output =
            &self.process.as_ref().filter(|_| self.protocol == ChatProtocol::Lines)?.output;
        let (deadline, mut because) = (Instant::now() + CAPACITY_TIMEOUT, None);
        while let Ok(line) = output.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            because = bound_in(&line).or(because);
            if let Some(connections) = capacity_in(&line) {
                return Some(Capacity { connections, because });
            }
        }
        None
    }

    /// Its processes, if they are known.
    fn pids(&self) -> Option<Vec<Pid>> {
        let own =
            self.process.as_ref().map(|process| Pid::from_raw(process.child.id().cast_signed()));
        own.or(self.observed).map(family_of)
    }

    /// CPU time that it has used so far, if its processes are known.
    pub fn cpu(&self) -> Option<Cpu> {
        let pids = self.pids()?;
        let journal = self.journal_of(&pids);
        let mut cpu = Cpu { server: cpu_of_ended_children(pids[0]), ..Cpu::default() };
        for pid in pids {
            let part = if Some(pid) == journal { &mut cpu.journal } else { &mut cpu.server };
            *part += cpu_of(pid);
        }
        Some(cpu)
    }

    fn journal_of(&self, pids: &[Pid]) -> Option<Pid> {
        let is_journal = |pid: &Pid| name_of(*pid) == "journal";
        let journal =
            self.journal.get().filter(is_journal).or_else(|| pids.iter().copied().find(is_journal));
        self.journal.set(journal);
        journal
    }

    /// The processes of a forkchat server that serve clients.
    pub fn workers(&self) -> Vec<Pid> {
        let mut pids = self.pids().unwrap_or_default();
        pids.retain(|&pid| name_of(pid).starts_with("worker "));
        pids
    }

    /// Its memory, if its processes are known.
    pub fn memory(&self) -> Option<Memory> {
        Some(self.pids()?.into_iter().map(memory_of).sum())
    }

    /// The number of its processes, and of all their threads, if its processes are known.
    pub fn process_counts(&self) -> Option<(usize, usize)> {
        let pids = self.pids()?;
        Some((pids.len(), pids.into_iter().map(|pid| threads_of(pid).len()).sum()))
    }

    /// Ends it. Returns the server's warnings, and the number of faults that a bare broadcaster
    /// made on request.
    pub fn end(mut self) -> (Vec<String>, Option<u64>) {
        let Some(process) = self.process.as_mut() else { return (Vec::new(), None) };
        // The bare broadcaster ends with its standard input, the server with a signal when it is
        // dropped.
        drop(process.child.stdin.take());
        match self.protocol {
            ChatProtocol::Lines => (
                process
                    .output
                    .try_iter()
                    .filter(|line| is_complaint(line))
                    .take(COMPLAINTS_MAX)
                    .collect(),
                None,
            ),
            ChatProtocol::Bare if self.makes_faults => (
                Vec::new(),
                process
                    .output
                    .recv_timeout(TIMEOUT)
                    .ok()
                    .and_then(|line| line.strip_prefix("faults ")?.parse().ok()),
            ),
            _ => (Vec::new(), None),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let deadline = Instant::now() + TIMEOUT;
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

/// The BOUND in a server's `as many connections as BOUND allows`.
fn bound_in(line: &str) -> Option<String> {
    Some(line.split_once("as many connections as ")?.1.split_once(" allows")?.0.to_owned())
}

/// The N in a server's `at most N connections`.
fn capacity_in(line: &str) -> Option<usize> {
    line.split_once("at most ")?.1.split_once(" connections")?.0.parse().ok()
}

/// Whether a line of log output reports that a process died and was restarted.
fn is_complaint(line: &str) -> bool {
    line.contains(" as pid ")
}

/// Reads all lines of a process, so that a full pipe never blocks it.
fn read_lines(output: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, lines) = channel();
    if let Some(output) = output {
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // The thread reads on even if nothing receives the lines any more.
                let _ = sender.send(line);
            }
        });
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_how_many_it_takes() {
        assert_eq!(
            capacity_in(
                "2026-11-21T16:23:29.627Z supervisor: 2 workers, at most 18932 connections"
            ),
            Some(18_932)
        );
        assert_eq!(capacity_in("supervisor: listening on tcp 127.0.0.1:46721"), None);
        assert_eq!(capacity_in("at most many connections"), None);
        let line = "2026-11-21T16:23:29.627Z supervisor: model pool; as many connections as the \
            limit on open files (ulimit -Hn) allows";
        assert_eq!(bound_in(line).as_deref(), Some("the limit on open files (ulimit -Hn)"));
    }
}
