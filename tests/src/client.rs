//! A client for a test: it sends and reads lines, and names what it waited for in vain.

use crate::DEADLINE;
use nix::unistd::Pid;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A client over TCP.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
    is_at_end: bool,
}

impl Client {
    /// A client on a connected socket.
    pub fn new(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout can be set");
        stream.set_nodelay(true).expect("TCP_NODELAY can be set");
        Client { stream, unread: Vec::new(), is_at_end: false }
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server takes input");
    }

    /// Sends a line with its LF.
    pub fn say(&mut self, line: &str) {
        self.send(format!("{line}\n").as_bytes());
    }

    /// Closes the sending side, as `nc -N` does.
    pub fn end_input(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("the sending side can be shut");
    }

    /// Its socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The next line; `None` at the end of input or when the connection is reset.
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
            self.receive();
        }
    }

    /// Reads until these bytes have arrived, which need not end a line. Drops them and everything
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
            self.receive();
        }
    }

    /// Waits a moment for bytes.
    fn receive(&mut self) {
        let mut bytes = [0; 64 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(0) => self.is_at_end = true,
            Ok(length) => self.unread.extend_from_slice(&bytes[..length]),
            Err(error) => {
                self.is_at_end = !matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                );
            }
        }
    }

    /// The next line as text.
    pub fn line(&mut self) -> Option<String> {
        self.line_bytes().map(|line| String::from_utf8_lossy(&line).into_owned())
    }

    /// Reads until a line contains this. Returns all lines read.
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

    /// Sends a `/ping` and reads up to its answer. Returns the lines before the answer.
    pub fn sync(&mut self) -> Vec<String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let token = format!("sync-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.say(&format!("/ping {token}"));
        let mut lines = self.reads(&format!("* pong {token}"));
        lines.pop();
        lines
    }

    /// Reads to the end of input.
    pub fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.line()).collect()
    }

    /// Reads up to the answer to a `/ping`, or to the end if the server closes the connection.
    pub fn rest_or_sync(&mut self) {
        // It fails if the server has closed the connection already.
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

    /// The name of the worker that serves it.
    pub fn worker(&mut self) -> String {
        self.worker_and_pid().0
    }

    /// The name and the pid of the worker that serves it, as `/whoami` says.
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
