//! Runs an example of the server as a user would, and checks that it leaves nothing behind.

use crate::{binary_directory, build, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

/// The environment variable that identifies the processes of an example, wherever they are.
const MARK: &str = "FORKCHAT_TEST_EXAMPLE";

/// A running example, with a directory of its own for its files.
#[derive(Debug)]
pub struct Example {
    child: Child,
    name: &'static str,
    mark: String,
    directory: PathBuf,
    text: Output,
    errors: Output,
}

/// The exit code and the output of an example.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub text: String,
    /// Its standard error.
    pub errors: String,
}

impl Example {
    /// Runs an example to its end.
    ///
    /// # Panics
    /// If it doesn't end in time, or leaves a process or a file behind.
    pub fn run(name: &'static str, arguments: &[&str]) -> Ended {
        Example::start(name, arguments).finish()
    }

    /// Starts an example.
    pub fn start(name: &'static str, arguments: &[&str]) -> Example {
        Example::start_with(name, arguments, Stdio::null())
    }

    /// Starts an example with this standard input.
    pub fn start_with(name: &'static str, arguments: &[&str], input: impl Into<Stdio>) -> Example {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mark = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(format!("forkchat-example-{mark}"));
        fs::create_dir(&directory).expect("a directory of its own");
        let mut child = spawn(name, arguments, &mark, &directory, input);
        let (text, errors) =
            (Output::collect(child.stdout.take()), Output::collect(child.stderr.take()));
        Example { child, name, mark, directory, text, errors }
    }

    /// Runs the same example again to its end, in the same directory, so that it can find what this
    /// one has left there.
    ///
    /// # Panics
    /// If it doesn't end in time.
    pub fn again(&self, arguments: &[&str]) -> Ended {
        Ended::of(
            &mut spawn(self.name, arguments, &self.mark, &self.directory, Stdio::null()),
            self.name,
        )
    }

    /// The pid of the started process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Waits for a line with this text on standard output. Returns the rest of the line.
    ///
    /// # Panics
    /// If it doesn't in time.
    pub fn reads(&self, part: &str) -> String {
        wait_for(&format!("{} to say {part:?}", self.name), || {
            let text = self.text.text.lock().unwrap();
            text.lines().find_map(|line| Some(line.split_once(part)?.1.to_owned()))
        })
    }

    /// Waits for the end of the example.
    ///
    /// # Panics
    /// If it doesn't end in time, or leaves a process or a file behind.
    pub fn finish(mut self) -> Ended {
        let ended = Ended::wait(&mut self.child, self.name, &self.text, &self.errors);
        wait_for(&format!("the processes of {} to be gone", self.name), || {
            processes_marked(&self.mark).is_empty().then_some(())
        });
        let left: Vec<_> = fs::read_dir(&self.directory)
            .expect("its directory is there")
            .flatten()
            .map(|entry| entry.path())
            .collect();
        assert!(left.is_empty(), "{} leaves {left:?}", self.name);
        ended
    }
}

/// The output that was read from a pipe so far.
#[derive(Debug)]
struct Output {
    text: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

impl Output {
    /// Starts a thread that reads from the pipe, if there is one.
    fn collect(pipe: Option<impl Read + Send + 'static>) -> Output {
        let text = Arc::<Mutex<String>>::default();
        let collected = text.clone();
        let reader = std::thread::spawn(move || {
            let Some(mut lines) = pipe.map(BufReader::new) else { return };
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                collected.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Output { text, reader }
    }

    /// Whether the other end of the pipe is closed.
    fn is_over(&self) -> bool {
        self.reader.is_finished()
    }

    fn take(&self) -> String {
        std::mem::take(&mut *self.text.lock().unwrap())
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // There are none, unless the test fails.
        for pid in processes_marked(&self.mark).iter().filter_map(|pid| pid.parse().ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Ended {
    /// Waits for the end of a program and of its output.
    ///
    /// # Panics
    /// If it doesn't end in time, or another running process holds one of the pipes.
    pub fn of(child: &mut Child, name: &str) -> Ended {
        let (text, errors) =
            (Output::collect(child.stdout.take()), Output::collect(child.stderr.take()));
        Ended::wait(child, name, &text, &errors)
    }

    fn wait(child: &mut Child, name: &str, text: &Output, errors: &Output) -> Ended {
        let code = wait_for(&format!("the end of {name}"), || {
            child.try_wait().expect("it can be waited for")
        })
        .code();
        // The output ends when all processes that hold the pipe have ended. A process that keeps
        // running must not hold it.
        wait_for(&format!("the end of what {name} prints"), || {
            (text.is_over() && errors.is_over()).then_some(())
        });
        Ended { code, text: text.take(), errors: errors.take() }
    }

    /// Checks that the exit code is 0 and that the output contains these texts in this order, each
    /// in a line of its own. Other lines may come in between.
    ///
    /// # Panics
    /// If not: with the first that is missing, and everything it printed.
    pub fn printed(&self, parts: &[&str]) {
        assert_eq!(self.code, Some(0), "{self}");
        let mut lines = self.text.lines();
        for part in parts {
            assert!(
                lines.any(|line| line.contains(part)),
                "{part:?} is missing, or stands before the others, in\n{self}"
            );
        }
    }

    /// The words of the first line that contains this text, from the text on.
    ///
    /// # Panics
    /// If there is none.
    pub fn words(&self, part: &str) -> Vec<&str> {
        let line = self.text.lines().find_map(|line| Some(&line[line.find(part)?..]));
        line.unwrap_or_else(|| panic!("{part:?} is missing in\n{self}"))
            .split_whitespace()
            .collect()
    }

    /// The word after this text in each line that contains it, without punctuation.
    ///
    /// # Panics
    /// If there is none.
    pub fn after(&self, part: &str) -> Vec<&str> {
        let words =
            self.text.lines().filter_map(|line| line.split_once(part)?.1.split_whitespace().next());
        let words: Vec<_> =
            words.map(|word| word.trim_matches(|c: char| !c.is_alphanumeric())).collect();
        assert!(!words.is_empty(), "{part:?} is missing in\n{self}");
        words
    }

    /// The number after this text in each line that contains it.
    ///
    /// # Panics
    /// If there is none, or something else.
    pub fn numbers_after(&self, part: &str) -> Vec<u64> {
        let number = |word: &str| {
            word.parse()
                .unwrap_or_else(|_| panic!("{word:?} behind {part:?} is no number in\n{self}"))
        };
        self.after(part).into_iter().map(number).collect()
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}exit code {:?}", self.text, self.errors, self.code)
    }
}

fn spawn(
    name: &str,
    arguments: &[&str],
    mark: &str,
    directory: &Path,
    input: impl Into<Stdio>,
) -> Child {
    let mut command = Command::new(examples().join(name));
    command
        .args(arguments)
        .env(MARK, mark)
        .env("TMPDIR", directory)
        .env("RUST_BACKTRACE", "1")
        .env("LC_ALL", "C")
        .current_dir(directory);
    command
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the example starts")
}

/// The names of all examples: a file, or a folder with a `main.rs`.
pub fn names() -> Vec<&'static str> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/examples");
    let entries = fs::read_dir(directory)
        .expect("the examples are there")
        .map(|entry| entry.expect("it can be listed").path());
    let examples = entries.filter(|path| path.is_file() || path.join("main.rs").exists());
    let name = |path: PathBuf| Some(&*path.file_stem()?.to_str()?.to_owned().leak());
    let mut names: Vec<_> = examples.filter_map(name).collect();
    names.sort_unstable();
    names
}

/// The directory of the examples, built in the profile of the tests.
pub fn examples() -> &'static PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        build("forkchat-server", &["--examples"]);
        binary_directory().join("examples")
    })
}

/// The pids of the processes with this mark in their environment.
fn processes_marked(mark: &str) -> Vec<String> {
    let wanted = format!("{MARK}={mark}");
    let is_marked = |pid: &String| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|variable| variable == wanted.as_bytes())
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.parse::<u32>().is_ok())
        .filter(is_marked)
        .collect()
}
