//! Code that the tests share: a real server on free ports, clients that wait for facts with a
//! deadline, a terminal, and processes observed from outside through /proc.
//!
//! No test depends on a lucky sleep: [`wait_for`] checks a condition repeatedly until it holds, and
//! fails with a description of it after a deadline.
//!
//! | module | contents |
//! |---|---|
//! | [`Server`], [`Client`] | a server for a test, and a client of it |
//! | [`terminal`] | a program in a pseudo-terminal, with an emulator at its other side |
//! | [`example`] | one of the server's examples, run as a user would run it |
//! | [`processes`] | what /proc and the kernel's clocks say about processes |
//! | [`refuse`] | the program `forkchat-refuse`: runs a program in which system calls fail |
//! | [`load`], [`chaos`] | the load test and the chaos test |

pub mod chaos;
mod client;
pub mod example;
pub mod load;
pub mod processes;
pub mod refuse;
mod server;
pub mod terminal;

pub use client::Client;
pub use server::Server;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long a test waits for anything. It is far longer than necessary, so that no test fails on a
/// slow machine.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Calls `look` every few milliseconds until it finds something, and returns that.
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
/// If `look` finds nothing before the deadline. The message names `what` was awaited.
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

/// The server's binary, built in the profile of the tests.
pub fn server_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| binary("forkchat-server"))
}

/// The client's binary, built in the profile of the tests.
pub fn client_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| binary("forkchat-client"))
}

/// Builds the binary with a package's name and returns its path.
fn binary(package: &str) -> PathBuf {
    build(package, &[]);
    binary_directory().join(package)
}

/// Builds a package in the profile of the tests.
fn build(package: &str, options: &[&str]) {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--package", package]).args(options);
    if binary_directory().ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().expect("cargo runs").success(), "{package} builds");
}

/// The directory of the binaries: the parent of the directory of the running test.
fn binary_directory() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    test.parent().and_then(Path::parent).expect("tests lie in target/PROFILE/deps").to_owned()
}

/// Whether a tool is installed. If not, prints that the test is skipped. In CI, where every tool
/// must be installed, the test fails instead.
pub fn has_tool(tool: &str) -> bool {
    let is_there = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| directory.join(tool).exists())
    });
    assert!(is_there || std::env::var_os("CI").is_none(), "{tool} is not installed");
    if !is_there {
        // Not `eprintln!`: the harness captures its output and shows nothing of tests that pass.
        let _ = writeln!(
            std::io::stderr(),
            "skipped {}: {tool} is not installed",
            std::thread::current().name().unwrap_or("a test")
        );
    }
    is_there
}

/// The `limit` for [`Server::start_limited`] that makes system calls of the server fail:
/// `clone3=EPERM,close_range=ENOSYS`.
pub fn refusing(calls: &str) -> String {
    format!("UNDER='{} {calls}'", binary_directory().join("forkchat-refuse").display())
}
