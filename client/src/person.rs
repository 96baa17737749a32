//! The person: the thread that reads what they type, and how they are shown what happens. At a terminal a person is here; behind a pipe they, or a
//! program, are elsewhere.

use crate::complete::Words;
use crate::defuse::defuse;
use crate::editor::{LineEditor, Typed};
use crate::look::{self, TerminalLook};
use crate::options::Options;
use crate::screen::Screen;
use crate::session::{Session, Shown, Told, moves};
use crate::terminal::{self, Terminal};
use crossbeam_channel::{Receiver, Sender, bounded};
use forkchat_common::charset::Charset;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// Lines that wait for the loop: whoever is faster than it is held back.
const QUEUE: usize = 256;
/// A line on standard input is read in pieces of so many bytes: each is far longer than what the server takes, and is refused as such.
const INPUT_LINE_BYTES_MAX: u64 = 1024 * 1024;

/// What the person did.
#[derive(Debug)]
pub enum FromPerson {
    /// Typed a line.
    Line(String),
    /// Has no more to say.
    End,
}

/// Whoever reads what is shown.
#[derive(Debug)]
pub enum Person {
    /// At a terminal that lines can be edited on.
    Here(Box<Here>),
    /// At the other end of a pipe, or at a terminal that is written to like one.
    Elsewhere(Elsewhere),
}

/// What stands between us and a person at a terminal.
#[derive(Debug)]
pub struct Here {
    screen: Arc<Screen>,
    terminal: Terminal,
    look: TerminalLook,
    words: Arc<Mutex<Words>>,
}

/// How lines are written to a pipe.
#[derive(Debug)]
pub struct Elsewhere {
    format: fn(&Told) -> String,
    charset: Charset,
    /// Standard output is a terminal all the same, only input isn't.
    is_terminal: bool,
}

impl Person {
    /// Starts the thread that reads the person; what they do comes out of the receiver.
    ///
    /// # Errors
    /// Those of the terminal.
    pub fn meet(options: &Options) -> io::Result<(Person, Receiver<FromPerson>)> {
        let (typed, queue) = bounded(QUEUE);
        let can_edit =
            io::stdin().is_terminal() && io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let thread = std::thread::Builder::new().name("person".to_owned());
        if options.json || !can_edit {
            let charset = options.charset;
            thread.spawn(move || read_lines(io::stdin().lock(), charset, &typed))?;
            // JSON is UTF-8 (RFC 8259, section 8.1).
            let (format, charset): (fn(&Told) -> String, _) =
                if options.json { (look::json, Charset::default()) } else { (look::plain, charset) };
            return Ok((Person::Elsewhere(Elsewhere { format, charset, is_terminal: io::stdout().is_terminal() }), queue));
        }
        let has_colors = options.color.is_used(std::env::var_os("NO_COLOR").as_deref());
        let terminal = Terminal::take()?;
        let words = Arc::new(Mutex::new(Words::default()));
        let editor = LineEditor::new(words.clone(), has_colors).map_err(io::Error::other)?;
        let screen = editor.screen();
        let look = TerminalLook::new(has_colors, !options.no_bell, TimeZone::system());
        thread.spawn(move || edit_lines(editor, &typed))?;
        Ok((Person::Here(Box::new(Here { screen, terminal, look, words })), queue))
    }

    /// Whether they sit at a terminal, see what happens, and can't be kept waiting.
    pub fn is_here(&self) -> bool {
        matches!(self, Person::Here(_))
    }

    /// Shows something; to a pipe through `output`, which the caller flushes.
    ///
    /// # Errors
    /// Those of `output`.
    pub fn show(&mut self, shown: &Shown, output: &mut impl Write) -> io::Result<()> {
        match self {
            Person::Here(here) => here.screen.show(&here.look.render(shown, Timestamp::now())),
            Person::Elsewhere(elsewhere) => match shown {
                Shown::Told(told) => return elsewhere.write(told, output),
                own => look::remark(own).iter().for_each(|remark| eprintln!("forkchat-client: {remark}")),
            },
        }
        Ok(())
    }

    /// The session is about to be given a line that was typed.
    pub fn taken(&self, line: &str) {
        if let Person::Here(here) = self
            && moves(line)
        {
            here.screen.taken();
        }
    }

    /// Brings what stands around the lines up to date: the prompt, what can be completed.
    pub fn keep_up(&mut self, session: &mut Session) {
        let Person::Here(here) = self else { return };
        here.look.own_nick(session.nick());
        let label = if session.is_offline() { "(offline)".to_owned() } else { defuse(session.room().unwrap_or_default()) };
        here.screen.prompt(&label, session.is_moving());
        if let Some((nicks, rooms)) = session.words() {
            *here.words.lock().unwrap_or_else(PoisonError::into_inner) = Words { nicks, rooms };
        }
    }

    /// Gives the terminal back, with everything shown.
    ///
    /// # Errors
    /// Those of `output`, which is standard output.
    pub fn part(self, output: &mut impl Write) -> io::Result<()> {
        if let Person::Here(here) = self {
            let rows = here.screen.close();
            // The prompt goes; what was typed behind it was never sent.
            write!(output, "\r\x1b[J{rows}")?;
            output.flush()?;
            drop(here.terminal);
        }
        output.flush()
    }
}

impl Elsewhere {
    fn write(&self, told: &Told, output: &mut impl Write) -> io::Result<()> {
        let mut line = (self.format)(told);
        if self.is_terminal {
            line = defuse(line.trim_end_matches('\n')) + "\n";
        }
        let mut bytes = Vec::new();
        self.charset.encode(&line, &mut bytes);
        output.write_all(&bytes)
    }
}

/// The thread that reads a person at a terminal. At the end it gives the terminal back: nothing more is read, and Ctrl-C is a signal again.
fn edit_lines(mut editor: LineEditor, queue: &Sender<FromPerson>) {
    while let Typed::Lines(lines) = editor.read() {
        lines.iter().filter(|line| moves(line)).for_each(|_| editor.screen().moves());
        if lines.into_iter().any(|line| queue.send(FromPerson::Line(line)).is_err()) {
            return;
        }
    }
    terminal::restore();
    editor.screen().gone();
    // If nobody listens any more, the program ends.
    let _ = queue.send(FromPerson::End);
}

/// The thread that reads a file or a pipe.
fn read_lines(mut source: impl BufRead, charset: Charset, queue: &Sender<FromPerson>) {
    loop {
        let mut bytes = Vec::new();
        let read = source.by_ref().take(INPUT_LINE_BYTES_MAX).read_until(b'\n', &mut bytes);
        if !matches!(read, Ok(1..)) {
            // An error is an end, too: nothing more can be read. And if nobody listens any more, the program ends.
            let _ = queue.send(FromPerson::End);
            return;
        }
        let mut text = String::new();
        charset.decode(&bytes, &mut text);
        if queue.send(FromPerson::Line(text)).is_err() {
            return;
        }
    }
}
