//! What the examples share. An example prints what it does, one line at a time, each with the
//! seconds since its start and the pid of the process that prints it.
//!
//! - [`play`] runs an example: it reads the options that all examples have, prints what to watch
//!   for, and turns a failure into an exit code.
//! - [`say!`] prints a line, [`shown!`] the result at the end, [`part!`] the heading of a part.
//!   Each takes its text twice, in English and in Chinese.
//! - [`nap`] and [`slowed`] are for every pause and deadline, so that `--slow` slows the whole
//!   example down.
//!
//! | file | what it does |
//! |---|---|
//! | `interrupt.rs` | Ctrl-C and SIGTERM as values, for an example that has something to tidy up |
//! | `language.rs` | English or Chinese: `--lang` and the environment |
//! | `panics.rs` | one line for a panic, in place of a backtrace |
//! | `proc.rs` | what the kernel reports about a process |
//! | `scratch.rs` | a directory for an example's files, removed at its end |

#[allow(dead_code, reason = "not every example has something to tidy up")]
pub mod interrupt;
mod language;
mod panics;
#[allow(dead_code, reason = "not every example looks at processes")]
pub mod proc;
#[allow(dead_code, reason = "not every example has files")]
pub mod scratch;

use clap::{CommandFactory, FromArgMatches, Parser};
use forkchat_server::ipc::process::End;
pub use language::is_chinese;
use std::fmt;
use std::io::{self, Write};
use std::process::{ExitCode, Termination};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// `say!("English", "中文", arguments…)` prints a line as `println!` does, in the language of the
/// reader.
macro_rules! say {
    ($english:literal, $chinese:literal $(, $($argument:tt)*)?) => {
        $crate::stage::line($crate::stage::text!($english, $chinese $(, $($argument)*)?))
    };
}
/// `text!("English", "中文", arguments…)` is the text in the language of the reader, for a sentence
/// that is put together from several.
macro_rules! text {
    ($english:literal, $chinese:literal $(, $($argument:tt)*)?) => {
        if $crate::stage::is_chinese() { format!($chinese $(, $($argument)*)?) } else { format!($english $(, $($argument)*)?) }
    };
}
/// As [`say!`], for what the example has shown: measured or seen, not merely promised. An example
/// ends with at least one.
#[allow(
    unused_macros,
    reason = "the part of an example in another file may have no result of its own"
)]
macro_rules! shown {
    ($english:literal, $chinese:literal $(, $($argument:tt)*)?) => {
        $crate::stage::result($crate::stage::text!($english, $chinese $(, $($argument)*)?))
    };
}
/// As [`say!`], for the heading of a part. With `--slow` it is followed by time to read it.
#[allow(unused_macros, reason = "not every example has parts")]
macro_rules! part {
    ($english:literal, $chinese:literal $(, $($argument:tt)*)?) => {
        $crate::stage::heading($crate::stage::text!($english, $chinese $(, $($argument)*)?))
    };
}
#[allow(unused_imports, reason = "not every example needs all of them")]
pub(crate) use {part, say, shown, text};

/// Much longer than anything takes here. A process that has waited this long gives up, so that no
/// process stays behind. See [`patience`].
const PATIENCE: Duration = Duration::from_secs(10);
/// With `--slow`.
const TIMES_SLOWER: u32 = 10;
/// With `--slow`: how long the reader has for a heading or a "watch for", and for a line of the
/// leading process.
const TO_READ: Duration = Duration::from_secs(2);
const TO_READ_A_LINE: Duration = Duration::from_millis(400);

/// When the example began, which process leads it, and whether it is slow. The processes that are
/// forked later inherit all three.
static START: OnceLock<Instant> = OnceLock::new();
static LEADER: AtomicU32 = AtomicU32::new(0);
static SLOW: AtomicBool = AtomicBool::new(false);

/// What an example is about, in English and in Chinese.
pub struct Lesson {
    /// A sentence, for `--help` and the first line.
    pub about: [&'static str; 2],
    /// What the reader should watch for, a line each.
    pub watch_for: &'static [[&'static str; 2]],
}

/// The options of an example: those that all have, and its own.
#[derive(Parser)]
struct Options<Own: clap::Args> {
    #[command(flatten)]
    own: Own,
    /// Ten times slower, to follow it by eye
    #[arg(long)]
    slow: bool,
    /// Language of the output: en or zh. Without it the environment decides (LANG=zh_CN.UTF-8 is
    /// Chinese)
    #[arg(long, value_enum, hide_possible_values = true)]
    lang: Option<language::Language>,
}

/// Runs an example: `run` gets its own options (`()` if it has none). Exit code 0 if all went well,
/// 1 after a failure, 2 for a wrong command line.
pub fn play<Own: clap::Args, T: Termination>(
    lesson: &Lesson,
    run: impl FnOnce(Own) -> Result<T, Failure>,
) -> ExitCode {
    START.get_or_init(Instant::now);
    lead();
    let matches = Options::<Own>::command().about(lesson.about[0]).get_matches();
    let options = Options::<Own>::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    language::choose(options.lang);
    SLOW.store(options.slow, Ordering::Relaxed);
    panics::print_in_one_line();
    let chosen = usize::from(is_chinese());
    heading(lesson.about[chosen].to_owned());
    for watch_for in lesson.watch_for {
        print(&format!("{}{}", ["watch for: ", "请注意："][chosen], watch_for[chosen]));
        pause(TO_READ);
    }
    match run(options.own) {
        Ok(done) => done.report(),
        Err(failure) => {
            eprintln!("{}{failure}", ["Error: ", "出错："][chosen]);
            ExitCode::FAILURE
        }
    }
}

/// Makes this process the one whose lines are followed by time to read them, with `--slow`: the one
/// that leads through the example.
pub fn lead() {
    LEADER.store(std::process::id(), Ordering::Relaxed);
}

/// Prints a line. With `--slow` the leading process then gives time to read it; the others go on,
/// since their pauses are [`nap`]s.
pub fn line(text: String) {
    print(&text);
    if LEADER.load(Ordering::Relaxed) == std::process::id() {
        pause(TO_READ_A_LINE);
    }
}

/// Prints a line. After the reader of the pipe has closed it, nothing is printed.
fn print(text: &str) {
    let seconds = START.get_or_init(Instant::now).elapsed().as_secs_f32();
    let line = format!("{seconds:6.3} s  pid {:<7} {text}\n", std::process::id());
    // With one write(2), since other processes print to the same place.
    let _ = io::stdout().lock().write_all(line.as_bytes());
}

/// Prints what was shown.
#[allow(dead_code, reason = "called through a macro that not every file uses")]
pub fn result(text: String) {
    line(format!("{}{text}", if is_chinese() { "结论：" } else { "shown: " }));
}

/// Prints a heading.
pub fn heading(text: String) {
    print(&format!("── {text}"));
    pause(TO_READ);
}

/// Waits, with `--slow` alone.
fn pause(time: Duration) {
    if SLOW.load(Ordering::Relaxed) {
        sleep(time);
    }
}

/// The time that something takes in this run: `time`, or ten times as much with `--slow`.
#[allow(dead_code, reason = "not every example has pauses")]
pub fn slowed(time: Duration) -> Duration {
    time * if SLOW.load(Ordering::Relaxed) { TIMES_SLOWER } else { 1 }
}

/// Sleeps for so many milliseconds, or ten times as many with `--slow`.
#[allow(dead_code, reason = "not every example has pauses")]
pub fn nap(milliseconds: u64) {
    sleep(slowed(Duration::from_millis(milliseconds)));
}

/// The deadline of every wait that is expected to end: 10 s, or 100 s with `--slow`.
#[allow(dead_code, reason = "not every example waits")]
pub fn patience() -> Duration {
    slowed(PATIENCE)
}

/// Checks every millisecond whether `is_so`, and returns when it is. `TimedOut`, with `what` was
/// awaited, after [`patience`].
#[allow(dead_code, reason = "not every example waits")]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) -> io::Result<()> {
    let start = Instant::now();
    while !is_so() {
        if start.elapsed() > patience() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("waited {:?} in vain for {what}", patience()),
            ));
        }
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// How a process ended, as the rest of a sentence that begins with its name: "exited with code 3",
/// "was killed by signal 9".
#[allow(dead_code, reason = "not every example has children")]
pub fn ended(end: End) -> String {
    match end {
        End::Exited(code) if is_chinese() => format!("已退出，退出码 {code}"),
        End::Killed(signal) if is_chinese() => format!("被信号 {} 杀死", signal as i32),
        end => end.to_string(),
    }
}

/// Why an example can't go on: a sentence.
#[derive(Debug)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure(error.to_string())
    }
}

/// Puts before an error what was attempted.
#[allow(dead_code, reason = "not every example calls it")]
pub trait Attempt<T> {
    /// `what` follows the word "cannot", and names what it was attempted on.
    fn cannot(self, what: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> Attempt<T> for Result<T, E> {
    fn cannot(self, what: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| Failure(format!("cannot {what}: {error}")))
    }
}

/// A child's exit code: 0 if all went well. Otherwise it prints the failure, and the code is 1.
#[allow(dead_code, reason = "not every example has a child that can fail")]
pub fn exit_code(result: Result<(), Failure>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(failure) => {
            say!("failed: {failure}", "失败：{failure}");
            1
        }
    }
}

/// Fails unless a child exited with code 0. The failure says which child it was, and how it ended.
#[allow(dead_code, reason = "not every example has a child that must end well")]
pub fn went_well(child: impl fmt::Display, end: End) -> Result<(), Failure> {
    if end == End::Exited(0) { Ok(()) } else { Err(Failure(format!("{child} {end}"))) }
}
