//! `/history` and topics: what survives the journal and the server.

mod answers;
mod damage;
mod file_size;
mod not_kept;
mod restarts;

use forkchat_tests::processes::{cpu_of, has_ended};
use forkchat_tests::{Client, Server, has_tool, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The lines of an answer to `/history`, without dates and the last line.
fn history(client: &mut Client, count: usize) -> Vec<String> {
    client.say(&format!("/history {count}"));
    let mut lines = client.reads("* end of the history of ");
    lines.pop();
    let dates = lines.len();
    lines.retain(|line| !is_date(line));
    assert!(lines.is_empty() || lines.len() < dates, "no date stands before {lines:?}");
    lines
}

/// Whether a line is the date before other lines: `* 2026-11-21`.
fn is_date(line: &str) -> bool {
    let mut parts = line
        .strip_prefix("* ")
        .unwrap_or_default()
        .split('-')
        .map(|part| (part.len(), part.parse::<u32>().is_ok()));
    parts.by_ref().take(3).eq([(4, true), (2, true), (2, true)]) && parts.next().is_none()
}

/// Starts a server with a data directory that outlives it.
fn start_on(data_dir: &Path, options: &[&str]) -> Server {
    Server::start(&[options, &["--data-dir", data_dir.to_str().unwrap()]].concat())
}

struct TempDir(std::path::PathBuf);

impl TempDir {
    fn new(name: &str) -> TempDir {
        let path =
            std::env::temp_dir().join(format!("forkchat-history-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The number after a word in a line with tags.
fn number_after(line: &str, word: &str) -> u64 {
    let digits = line.split_once(word).unwrap_or_else(|| panic!("{word} in {line}")).1;
    digits[..digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len())].parse().unwrap()
}

/// Requests the history with tags. Returns the ids of its lines, and from which id on it is
/// complete.
fn tagged_history(client: &mut Client) -> (Vec<u64>, u64) {
    client.say("/set tags on\n/history 500\n/set tags off");
    let told = client.reads("to=history;room=#lobby;since=");
    let ids = told
        .iter()
        .filter(|line| line.contains("event=say;to=history"))
        .map(|line| number_after(line, "@id="))
        .collect();
    (ids, number_after(told.last().unwrap(), ";since="))
}

/// Lets `a` say 3,000 lines of 1,000 bytes, no faster than `b` receives them. Returns the end of
/// each line.
fn say_three_megabytes(a: &mut Client, b: &mut Client) -> String {
    let line = "x".repeat(1_000);
    for number in 0..3_000 {
        a.say(&format!("{number} {line}"));
        if number % 100 == 99 {
            b.reads(&format!("a: {number} "));
        }
    }
    line
}
