//! The server under test: a child process of the test, with its log output in a file.

use super::options::Options;
use crate::load::subprocess::{command_ending_with_this_process, remove_stale_directories};
use crate::processes::{children_of, name_of, state_of};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long the server may take to start.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The data directory is in the directory for temporary files. Its name is this and the pid of this
/// process.
const DATA_DIR: &str = "forkchat-chaos-";

/// The server under test. It is killed on drop.
#[derive(Debug)]
pub struct Server {
    /// Its TCP address.
    pub tcp: SocketAddr,
    /// Its UDP address.
    pub udp: SocketAddr,
    child: Child,
    data_dir: PathBuf,
    /// The file with its log output.
    pub log_file: PathBuf,
}

/// A recovery, as the server logs it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recovery {
    /// The number of sessions that the worker took over.
    pub sessions: u64,
    /// The duration in ms.
    pub ms: f64,
}

impl Server {
    /// Starts a server on free ports, with a data directory of its own.
    pub fn start(options: &Options) -> Result<Server, String> {
        remove_stale_directories(DATA_DIR);
        let name = format!("{DATA_DIR}{}", std::process::id());
        let (data_dir, log_file) =
            (std::env::temp_dir().join(&name), std::env::temp_dir().join(format!("{name}.log")));
        let cannot =
            |error: std::io::Error| format!("cannot write {}: {error}", log_file.display());
        let text = File::create(&log_file).map_err(cannot)?;
        let mut command = command_ending_with_this_process(&options.server()?)?;
        command.args(["--tcp", "127.0.0.1:0", "--udp", "127.0.0.1:0", "--rate-limit", "off"]);
        command
            .args(["--model", &options.model, "--workers", &options.workers.to_string()])
            .arg("--data-dir")
            .arg(&data_dir);
        command.args(options.server_options()).envs(options.server_environment()).stderr(text);
        let child = command
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start the server: {error}"))?;
        let nowhere = SocketAddr::from(([0; 4], 0));
        let mut server = Server { tcp: nowhere, udp: nowhere, child, data_dir, log_file };
        server.tcp = server.address("listening on tcp ")?;
        server.udp = server.address("listening on udp ")?;
        Ok(server)
    }

    fn address(&mut self, head: &str) -> Result<SocketAddr, String> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let text = self.log_output();
            // The line counts only when it is complete.
            let line = text.split_once(head).and_then(|(_, rest)| rest.split_once('\n'));
            if let Some(address) = line.and_then(|(address, _)| address.trim().parse().ok()) {
                return Ok(address);
            }
            if Instant::now() > deadline || !matches!(self.child.try_wait(), Ok(None)) {
                return Err(format!("the server did not start; its log output:\n{text}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The pid of the supervisor.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Its log output so far.
    pub fn log_output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log_file).unwrap_or_default()).into_owned()
    }

    /// The number of children that have ended and were not reaped.
    pub fn zombies(&self) -> usize {
        children_of(self.pid()).into_iter().filter(|&pid| state_of(pid) == Some('Z')).count()
    }

    /// Whether the journal and at least this many workers run.
    pub fn is_complete(&self, workers: u16) -> bool {
        let names: Vec<String> = children_of(self.pid()).into_iter().map(name_of).collect();
        names.iter().any(|name| name == "journal")
            && names.iter().filter(|name| name.starts_with("worker ")).count()
                >= usize::from(workers)
    }

    /// Sends SIGTERM.
    pub fn stop(&self) {
        // It fails if the server has ended already, which the exit status shows.
        let _ = kill(self.pid(), Signal::SIGTERM);
    }

    /// The exit status, if the server has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.data_dir);
    }
}

/// Parses the recoveries in log output: `… worker 1: took over 110 sessions in 12.3 ms, 5012
/// records replayed`.
pub fn recoveries(log_output: &str) -> Vec<Recovery> {
    let read = |line: &str| {
        let (sessions, rest) = line.split_once(": took over ")?.1.split_once(" session")?;
        Some(Recovery {
            sessions: sessions.parse().ok()?,
            ms: rest.split_once(" in ")?.1.split_once(" ms")?.0.parse().ok()?,
        })
    };
    log_output.lines().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recoveries_are_read_from_the_log_output() {
        let text = "2026-11-21T13:29:18.610Z worker 1: took over 110 sessions in 12.3 ms, 5012 \
            records replayed\n\
            2026-11-21T13:29:18.610Z supervisor: worker 1 (pid 7) was killed by signal 9; \
            restarted as pid 8; 110 connections kept\n";
        assert_eq!(recoveries(text), [Recovery { sessions: 110, ms: 12.3 }]);
    }
}
