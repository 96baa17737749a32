//! A program in a pseudo-terminal with an emulator at its other side. A test types, pastes and
//! resizes like a user, and reads the screen.
//!
//! The program leads a session of its own, and the pseudo-terminal is its controlling terminal. So
//! Ctrl-C, a resize and closing the window reach it as the usual signals. One thread carries the
//! bytes in both directions, so the test never blocks on a program that writes much or reads
//! slowly. The emulator behaves like xterm (a resize does not wrap lines again) and answers no
//! queries.

mod screen;

use crate::processes::name_of;
use crate::wait_for;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{InputFlags, SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{Pid, tcgetpgrp};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use screen::{FILLER, STAND_IN, is_wide, lines_of, place_on, shown};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, PipeReader, PipeWriter, Read, Write, pipe};
use std::num::NonZeroU16;
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// How many rows that have scrolled off are kept.
const SCROLLBACK: usize = 20_000;

/// How many lines a failing test prints.
const SHOWN_IN_FAILURE: usize = 200;

/// A terminal with a program in it. On drop the program is killed and reaped, and the terminal is
/// closed. If the test fails, the screen is printed.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    state: Arc<Mutex<State>>,
    /// Kept open, because the settings are lost when the last descriptor is closed.
    slave: File,
    /// `None` after [`Terminal::hang_up`].
    line: Option<Line>,
}

/// The emulator's side of the pseudo-terminal.
#[derive(Debug)]
struct Line {
    master: Arc<File>,
    /// A byte wakes the thread, because there is something to type. Closing it ends the thread.
    wake: PipeWriter,
    thread: JoinHandle<()>,
}

struct State {
    parser: vt100::Parser<Bells>,
    output: Vec<u8>,
    /// How many bytes of the output the emulator has received: all but the beginning of an
    /// incomplete character.
    shown: usize,
    untyped: VecDeque<u8>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (output, untyped) = (self.output.len(), self.untyped.len());
        formatter
            .debug_struct("State")
            .field("output", &output)
            .field("untyped", &untyped)
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Bells(usize);

impl vt100::Callbacks for Bells {
    fn audible_bell(&mut self, _: &mut vt100::Screen) {
        self.0 += 1;
    }
}

impl Terminal {
    /// Starts a program in a terminal of this size. Its name, arguments, directory and changes of
    /// the environment are taken from the command; `TERM` is `xterm-256color` unless the command
    /// says otherwise. Returns when the program itself is running.
    ///
    /// # Panics
    /// If it can't be started. (A program that isn't there is `setsid`'s to complain about: on the
    /// screen, with status 127.)
    pub fn start(command: &Command, rows: u16, cols: u16) -> Terminal {
        // Closed on exec. Otherwise a program that another test starts just now would inherit the
        // master, and hanging up would have no effect.
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).expect("there are pseudo-terminals");
        unlockpt(&master).expect("the pseudo-terminal can be unlocked");
        let slave = File::from(
            ioctl_tiocgptpeer(&master, flags).expect("the pseudo-terminal has another side"),
        );
        tcsetwinsize(&master, size(rows, cols)).expect("a terminal can be resized");
        rustix::io::ioctl_fionbio(&master, true).expect("the master can be made nonblocking");
        let mut settings = tcgetattr(&slave).expect("a terminal has settings");
        settings.input_flags.insert(InputFlags::IUTF8);
        tcsetattr(&slave, SetArg::TCSANOW, &settings)
            .expect("a terminal's settings can be changed");

        let mut child = in_session(command);
        for standard in [Command::stdin, Command::stdout, Command::stderr] {
            standard(
                &mut child,
                Stdio::from(slave.try_clone().expect("a descriptor can be copied")),
            );
        }
        let mut child = child.spawn().expect("env is there");

        let parser = vt100::Parser::new_with_callbacks(
            nonzero(rows),
            nonzero(cols),
            SCROLLBACK,
            Bells::default(),
        );
        let state = Arc::new(Mutex::new(State {
            parser,
            output: Vec::new(),
            shown: 0,
            untyped: VecDeque::new(),
        }));
        let master = Arc::new(File::from(master));
        let (woken, wake) = pipe().expect("there are pipes");
        let thread = std::thread::spawn({
            let (master, state) = (master.clone(), state.clone());
            move || carry(&master, woken, &state)
        });
        let pid = Pid::from_raw(child.id().cast_signed());
        // A signal sent earlier would reach the wrong program.
        wait_for("the program to be started", || {
            let is_in_terminal = tcgetpgrp(&*master) == Ok(pid);
            let has_started = is_in_terminal && name_of(pid) != "setsid";
            (has_started || child.try_wait().expect("it can be waited for").is_some()).then_some(())
        });
        Terminal { child, state, slave, line: Some(Line { master, wake, thread }) }
    }

    /// The pid of the program, which leads the terminal's session.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Types these bytes. Returns at once, however slowly the program reads.
    ///
    /// # Panics
    /// If it has been hung up.
    pub fn type_keys(&self, keys: impl AsRef<[u8]>) {
        let mut wake = &self.line().wake;
        self.state().untyped.extend(keys.as_ref());
        wake.write_all(b"k").expect("the thread that types is running");
    }

    /// Pastes as a terminal does: a line end becomes the Enter key, and the text is bracketed if
    /// the program has asked for that.
    pub fn paste(&self, text: &str) {
        let keys = text.replace("\r\n", "\r").replace('\n', "\r");
        self.type_keys(if self.bracketed_paste() {
            format!("\x1b[200~{keys}\x1b[201~")
        } else {
            keys
        });
    }

    /// Changes the size.
    pub fn resize(&self, rows: u16, cols: u16) {
        let mut state = self.state();
        state.parser.set_size(nonzero(rows), nonzero(cols));
        tcsetwinsize(&self.line().master, size(rows, cols)).expect("a terminal can be resized");
    }

    /// Calls `look` with the state of the emulator.
    pub fn look<T>(&self, look: impl FnOnce(&vt100::Screen) -> T) -> T {
        look(self.state().parser.screen())
    }

    /// The rows of the screen, without trailing blanks.
    pub fn screen(&self) -> Vec<String> {
        self.look(|screen| screen.rows(0, u16::MAX).map(|row| shown(row.trim_end())).collect())
    }

    /// All lines, scrolled off or on the screen, with wrapped rows joined. Without trailing blanks
    /// and the empty rows below.
    pub fn lines(&self) -> Vec<String> {
        self.look(lines_of)
    }

    /// The position of the cursor: row and column, from 0.
    pub fn cursor(&self) -> (u16, u16) {
        self.look(vt100::Screen::cursor_position)
    }

    /// Whether the cursor is hidden.
    pub fn cursor_hidden(&self) -> bool {
        self.look(vt100::Screen::hide_cursor)
    }

    /// Whether the program has asked for bracketed paste.
    pub fn bracketed_paste(&self) -> bool {
        self.look(vt100::Screen::bracketed_paste)
    }

    /// The first position of this text on the screen: row and column. The text may continue in the
    /// next row if the row is wrapped.
    pub fn place_of(&self, text: &str) -> Option<(u16, u16)> {
        self.look(|screen| place_on(screen, text))
    }

    /// The first cell of this text on the screen, with its colours and attributes.
    pub fn cell_of(&self, text: &str) -> Option<vt100::Cell> {
        self.look(|screen| {
            place_on(screen, text).and_then(|(row, col)| screen.cell(row, col)).cloned()
        })
    }

    /// The colour of the first character of this text on the screen.
    pub fn colour_of(&self, text: &str) -> Option<vt100::Color> {
        self.cell_of(text).map(|cell| cell.fgcolor())
    }

    /// How often the bell has rung.
    pub fn bells(&self) -> usize {
        self.state().parser.callbacks().0
    }

    /// All bytes that the program has written.
    pub fn raw_output(&self) -> Vec<u8> {
        self.state().output.clone()
    }

    /// Waits until a line, scrolled off or on the screen, contains this.
    pub fn shows(&self, part: &str) {
        self.waits(&format!("{part:?}"), |terminal| {
            let has_part = |lines: Vec<String>| lines.iter().any(|line| line.contains(part));
            (has_part(terminal.screen()) || has_part(terminal.lines())).then_some(())
        });
    }

    /// How many lines, on the screen or scrolled off, contain this.
    pub fn count(&self, part: &str) -> usize {
        self.lines().iter().filter(|line| line.contains(part)).count()
    }

    /// Waits until `look` finds something, and returns it.
    ///
    /// # Panics
    /// If it finds nothing before the deadline; says `what` was awaited, and what was there instead
    /// when it is dropped.
    pub fn waits<T>(&self, what: &str, mut look: impl FnMut(&Terminal) -> Option<T>) -> T {
        wait_for(&format!("the terminal to show {what}"), || look(self))
    }

    /// The terminal's settings. They can be read even after the end of the program.
    ///
    /// # Panics
    /// If it has been hung up.
    pub fn settings(&self) -> Termios {
        tcgetattr(&self.slave).expect("a terminal has settings until it is hung up")
    }

    /// Sends the program a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("the program runs");
    }

    /// Closes the window. The kernel sends SIGHUP to the program.
    pub fn hang_up(&mut self) {
        if let Some(Line { master, wake, thread }) = self.line.take() {
            drop(wake);
            // If the thread panicked, the panic hook has printed it, and the state is poisoned.
            let _ = thread.join();
            drop(master);
        }
    }

    /// Waits for the end of the program. All its output is on the screen then.
    pub fn wait(&mut self) -> ExitStatus {
        let status =
            wait_for("the program to end", || self.child.try_wait().expect("it can be waited for"));
        if let Some(line) = &self.line {
            while self.state().read_from(&line.master).is_ok() {}
        }
        status
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("the emulator has not panicked")
    }

    fn line(&self) -> &Line {
        self.line.as_ref().expect("the terminal has not been hung up")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.hang_up();
        if std::thread::panicking() {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let screen = state.parser.screen();
            let (lines, (row, col)) = (lines_of(screen), screen.cursor_position());
            let unshown = lines.len().saturating_sub(SHOWN_IN_FAILURE);
            eprintln!(
                "the terminal, {unshown} lines further up left out, the cursor in row {row}, \
                 column {col}:"
            );
            for line in &lines[unshown..] {
                eprintln!("| {line}");
            }
        }
    }
}

impl State {
    /// Reads the program's output, if there is any.
    fn read_from(&mut self, mut master: &File) -> std::io::Result<()> {
        let mut bytes = [0; 4096];
        let length = master.read(&mut bytes)?;
        self.output.extend_from_slice(&bytes[..length]);
        self.show();
        if length > 0 { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }

    /// Passes new output to the emulator, with the filler where a wide character doesn't fit.
    fn show(&mut self) {
        let State { parser, output, shown, .. } = self;
        while *shown < output.len() {
            let rest = &output[*shown..];
            let Some(chunk) = rest.utf8_chunks().next() else { return };
            for run in chunk.valid().split_inclusive(is_wide) {
                let (narrow, wide) = run.split_at(run.rfind(is_wide).unwrap_or(run.len()));
                parser.process(narrow.replace(char::REPLACEMENT_CHARACTER, STAND_IN).as_bytes());
                let screen = parser.screen();
                if !wide.is_empty() && screen.cursor_position().1 + 1 == screen.size().1.get() {
                    parser.process(FILLER.encode_utf8(&mut [0; 2]).as_bytes());
                }
                parser.process(wide.as_bytes());
            }
            let invalid = chunk.invalid();
            *shown += chunk.valid().len();
            let is_incomplete = *shown + invalid.len() == output.len()
                && str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            if is_incomplete {
                return;
            }
            if !invalid.is_empty() {
                parser.process(STAND_IN.as_bytes());
            }
            *shown += invalid.len();
        }
    }

    /// Writes as many typed bytes as the terminal accepts.
    fn type_into(&mut self, mut master: &File) -> std::io::Result<()> {
        let length = master.write(self.untyped.as_slices().0)?;
        self.untyped.drain(..length);
        Ok(())
    }
}

/// Carries bytes between the program and the emulator, until its wake-up pipe is closed.
fn carry(master: &File, mut woken: PipeReader, state: &Mutex<State>) {
    loop {
        let has_keys = !state.lock().expect("no test panics inside").untyped.is_empty();
        let interest =
            if has_keys { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN };
        let mut polled =
            [PollFd::new(master.as_fd(), interest), PollFd::new(woken.as_fd(), PollFlags::POLLIN)];
        let is_interrupted = poll(&mut polled, PollTimeout::NONE).is_err();
        let [is_ready, is_woken] = polled.map(|polled| polled.any().unwrap_or(false));
        if is_interrupted {
            continue;
        }
        if is_woken && woken.read(&mut [0; 64]).is_ok_and(|length| length == 0) {
            return;
        }
        if is_ready {
            let mut state = state.lock().expect("no test panics inside");
            let read = state.read_from(master);
            let typed = if state.untyped.is_empty() { Ok(()) } else { state.type_into(master) };
            let is_over = |result: std::io::Result<()>| {
                result.is_err_and(|error| {
                    ![ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&error.kind())
                })
            };
            if is_over(read) || is_over(typed) {
                return;
            }
        }
    }
}

/// The command, started as the leader of a session whose controlling terminal is its standard
/// input. Nothing needs to fork for that, because a newly spawned child leads no process group.
fn in_session(command: &Command) -> Command {
    // A background job of a shell ignores SIGINT, and under `nohup` SIGHUP. A program in a terminal
    // window ignores neither.
    let mut session = Command::new("env");
    session
        .args(["--default-signal", "setsid", "--ctty"])
        .arg(command.get_program())
        .args(command.get_args());
    session.env("TERM", "xterm-256color").env_remove("COLUMNS").env_remove("LINES");
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => session.env(name, value),
            None => session.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        session.current_dir(directory);
    }
    session
}

fn size(rows: u16, cols: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 }
}

fn nonzero(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).expect("a terminal has rows and columns")
}
