//! The clients beside this file: small Python programs, as a reader of a tutorial writes them.

use forkchat_tests::wait_for;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::spawn;

/// A Python program that runs. Killed when dropped.
pub struct Python {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Python {
    /// Starts a program of this directory with the server's address, and these arguments after it.
    pub fn start(program: &str, server: SocketAddr, arguments: &[&str]) -> Python {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/examples/python").join(program);
        let mut command = Command::new("python3");
        command
            .arg(path)
            .args([server.ip().to_string(), server.port().to_string()])
            .args(arguments)
            .env("PYTHONIOENCODING", "utf-8");
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 starts");
        let output = BufReader::new(child.stdout.take().expect("its standard output is a pipe"));
        let (sender, lines) = channel();
        spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Python { input: child.stdin.take(), child, lines }
    }

    /// Types a line.
    pub fn types(&mut self, line: &str) {
        writeln!(self.input.as_mut().expect("its input is open"), "{line}")
            .expect("it reads its input");
    }

    /// The next line that it prints.
    pub fn prints(&self) -> String {
        self.lines.recv_timeout(forkchat_tests::DEADLINE).expect("it prints a line")
    }

    /// Ends its input, and waits until it has ended well. Returns the other lines that it printed.
    pub fn finish(mut self) -> Vec<String> {
        self.input = None;
        let status = wait_for("the end of a Python client", || {
            self.child.try_wait().expect("it can be waited for")
        });
        assert!(status.success(), "a Python client: {status}");
        self.lines.iter().collect()
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
