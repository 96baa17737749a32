//! The client at a terminal: a pseudo-terminal with an emulator, and a real server.

mod editing;
mod outage;
mod output;
mod pasting;
mod restoring;

use forkchat_tests::processes::{is_stopped, state_of};
use forkchat_tests::terminal::Terminal;
use forkchat_tests::{Client, Server, client_binary, wait_for};
use nix::sys::signal::{Signal, kill};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const ROWS: u16 = 24;
const COLUMNS: u16 = 80;

/// The home directory of a client, with its history. Removed on drop.
struct Home(PathBuf);

impl Home {
    fn new() -> Home {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Home(std::env::temp_dir().join(format!("forkchat-home-{}-{number}", std::process::id())))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn command(server: &Server, home: &Home, arguments: &[&str]) -> Command {
    let mut command = Command::new(client_binary());
    let address = if arguments.contains(&"--udp") { server.udp } else { server.tcp };
    command
        .args(arguments)
        .arg(address.to_string())
        .env("XDG_STATE_HOME", &home.0)
        .env("TZ", "UTC")
        .env_remove("NO_COLOR");
    command
}

/// Starts a client and waits until it is logged in and shows its prompt.
fn start_client(server: &Server, home: &Home, arguments: &[&str]) -> Terminal {
    let terminal = Terminal::start(&command(server, home, arguments), ROWS, COLUMNS);
    wait_for_prompt(&terminal, "#lobby> ");
    terminal
}

/// Waits until the last line on the screen is a prompt that ends like this.
fn wait_for_prompt(terminal: &Terminal, prompt: &str) {
    terminal.waits(&format!("the prompt {prompt:?}"), |terminal| {
        (edited_line(terminal) == prompt.trim_end()).then_some(())
    });
}

/// The line that is being edited, with its prompt from the room on. If the line fills its last row
/// exactly, the editor itself begins another row.
fn edited_line(terminal: &Terminal) -> String {
    let whole = edited_line_with_prompt(terminal);
    // The nickname comes before the room.
    match whole.split_once(' ') {
        Some((nick, rest)) if !nick.starts_with('#') && rest.starts_with('#') => rest.to_owned(),
        _ => whole,
    }
}

/// The line that is being edited, with its whole prompt.
fn edited_line_with_prompt(terminal: &Terminal) -> String {
    let lines = terminal.lines();
    let has_time = |line: &String| line.get(..5).is_some_and(|time| time.as_bytes()[2] == b':');
    let is_prompt = |line: &String| line.ends_with('>') || line.contains("> ") && !has_time(line);
    lines[lines.iter().rposition(is_prompt).unwrap_or(lines.len())..].concat()
}

/// All lines without time and mark, which take 8 columns.
fn contents(terminal: &Terminal) -> Vec<String> {
    terminal.lines().iter().map(|line| line.chars().skip(8).collect()).collect()
}
