//! The person: the thread that reads their input, and the output to them. A person at a terminal is
//! [`Ui::Terminal`]. If input or output is a pipe, a person or a program is at its other end:
//! [`Ui::Pipe`].

use crate::complete::Words;
use crate::conversation::{Conversation, Entry, Received, moves};
use crate::editor::{LineEditor, Typed};
use crate::options::Options;
use crate::render::{self, TerminalRenderer};
use crate::sanitize::sanitize;
use crate::screen::{NICK_COLUMNS_MAX, ROOM_COLUMNS_MAX, Screen, shortened};
use crate::terminal::{self, Terminal};
use crossbeam_channel::{Receiver, Sender, bounded};
use forkchat_common::charset::Charset;
use forkchat_common::limits::ROOM_CHARS_MAX;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// Lines that wait for the main loop. If it is full, the reading thread waits.
const QUEUE: usize = 256;
/// So many bytes of a line on standard input are read: far more than the server takes, so it is
/// refused. The rest is left out.
const INPUT_LINE_BYTES_MAX: u64 = 1024 * 1024;

/// What the reading thread reports.
#[derive(Debug)]
pub enum UserInput {
    /// A typed line.
    Line(String),
    /// The end of the input.
    End,
    /// Reading failed, for this reason.
    Broken(io::Error),
}

/// The person or program that reads the output.
#[derive(Debug)]
pub enum Ui {
    /// At a terminal that lines can be edited on.
    Terminal(Box<Here>),
    /// At the other end of a pipe, or at a terminal that is written to like one.
    Pipe(Elsewhere),
}

/// What stands between us and a person at a terminal.
#[derive(Debug)]
pub struct Here {
    screen: Arc<Screen>,
    terminal: Terminal,
    look: TerminalRenderer,
    words: Arc<Mutex<Words>>,
}

/// How lines are written to a pipe.
#[derive(Debug)]
pub struct Elsewhere {
    format: fn(&Received) -> String,
    charset: Charset,
    /// Standard output is a terminal all the same, only input isn't.
    is_terminal: bool,
}

impl Ui {
    /// Starts the thread that reads the person; what they do comes out of the receiver.
    ///
    /// # Errors
    /// Those of the terminal.
    pub fn meet(options: &Options) -> io::Result<(Ui, Receiver<UserInput>)> {
        let (typed, queue) = bounded(QUEUE);
        let can_edit =
            io::stdin().is_terminal() && io::stdout().is_terminal() && !is_simple_terminal();
        let thread = std::thread::Builder::new().name("person".to_owned());
        if options.json || !can_edit {
            let charset = options.charset;
            thread.spawn(move || read_lines(io::stdin().lock(), charset, &typed))?;
            // JSON is UTF-8 (RFC 8259, section 8.1).
            let (format, charset): (fn(&Received) -> String, _) = if options.json {
                (render::json, Charset::default())
            } else {
                (render::plain, charset)
            };
            return Ok((
                Ui::Pipe(Elsewhere { format, charset, is_terminal: io::stdout().is_terminal() }),
                queue,
            ));
        }
        let has_colors = options.color.is_used(std::env::var_os("NO_COLOR").as_deref());
        let terminal = Terminal::take()?;
        let words = Arc::new(Mutex::new(Words::default()));
        let editor = LineEditor::new(words.clone(), has_colors).map_err(io::Error::other)?;
        let screen = editor.screen();
        let stopped = screen.clone();
        terminal::on_giving_back(move || {
            // What was not shown yet goes with the program.
            stopped.close();
        });
        let look = TerminalRenderer::new(has_colors, !options.no_bell, TimeZone::system());
        thread.spawn(move || edit_lines(editor, &typed))?;
        Ok((Ui::Terminal(Box::new(Here { screen, terminal, look, words })), queue))
    }

    /// Whether they sit at a terminal, see what happens, and can't be kept waiting.
    pub fn is_here(&self) -> bool {
        matches!(self, Ui::Terminal(_))
    }

    /// Shows something; to a pipe through `output`, which the caller flushes.
    ///
    /// # Errors
    /// Those of `output`.
    pub fn show(&mut self, shown: &Entry, output: &mut impl Write) -> io::Result<()> {
        match self {
            Ui::Terminal(here) => here.screen.show(&here.look.render(shown, Timestamp::now())),
            Ui::Pipe(elsewhere) => match shown {
                Entry::Received(told) => return elsewhere.write(told, output),
                own => render::remark(own).iter().for_each(|remark| aside(remark)),
            },
        }
        Ok(())
    }

    /// The session is about to be given a line that was typed.
    pub fn taken(&self, line: &str) {
        if let Ui::Terminal(here) = self
            && moves(line)
        {
            here.screen.taken();
        }
    }

    /// Brings what stands around the lines up to date: the prompt, what can be completed.
    pub fn keep_up(&mut self, session: &mut Conversation) {
        let Ui::Terminal(here) = self else { return };
        here.look.own_nick(session.nick());
        here.screen.prompt(
            &label(session.prompt_nick(), session.room()),
            session.is_waiting(),
            session.is_moving(),
        );
        if let Some((nicks, rooms)) = session.words() {
            *here.words.lock().unwrap_or_else(PoisonError::into_inner) = Words { nicks, rooms };
        }
    }

    /// Gives the terminal back, with everything shown.
    ///
    /// # Errors
    /// Those of `output`, which is standard output.
    pub fn part(self, output: &mut impl Write) -> io::Result<()> {
        if let Ui::Terminal(here) = self {
            // The prompt goes; text typed after it was never sent.
            output.write_all(here.screen.close().as_bytes())?;
            output.flush()?;
            drop(here.terminal);
        }
        output.flush()
    }
}

impl Elsewhere {
    fn write(&self, told: &Received, output: &mut impl Write) -> io::Result<()> {
        let mut line = (self.format)(told);
        if self.is_terminal {
            line = sanitize(line.trim_end_matches('\n')) + "\n";
        }
        let mut bytes = Vec::new();
        self.charset.encode(&line, &mut bytes);
        output.write_all(&bytes)
    }
}

/// What stands before the prompt's sign: `alice #lobby`, each shortened if it is long.
fn label(nick: &str, room: Option<&str>) -> String {
    let harmless =
        |name: &str| sanitize(&name.chars().take(ROOM_CHARS_MAX + 1).collect::<String>());
    let nick = shortened(&harmless(nick), NICK_COLUMNS_MAX);
    match room {
        Some(room) if nick.is_empty() => shortened(&harmless(room), ROOM_COLUMNS_MAX),
        Some(room) => format!("{nick} {}", shortened(&harmless(room), ROOM_COLUMNS_MAX)),
        None => nick,
    }
}

/// The thread that reads a person at a terminal. At the end it gives the terminal back: nothing
/// more is read, and Ctrl-C is a signal again.
fn edit_lines(mut editor: LineEditor, queue: &Sender<UserInput>) {
    while let Typed::Lines(lines) = editor.read() {
        lines.iter().filter(|line| moves(line)).for_each(|_| editor.screen().moves());
        if lines.into_iter().any(|line| queue.send(UserInput::Line(line)).is_err()) {
            return;
        }
    }
    terminal::restore();
    editor.screen().gone();
    // If the receiver is gone, the program is ending.
    let _ = queue.send(UserInput::End);
}

/// Reads a line up to its bound, and leaves out the rest; `false` at the end.
fn read_line(source: &mut impl BufRead, bytes: &mut Vec<u8>) -> io::Result<bool> {
    let mut length = source.by_ref().take(INPUT_LINE_BYTES_MAX).read_until(b'\n', bytes)?;
    let is_line = length > 0;
    let mut rest = Vec::new();
    while length as u64 == INPUT_LINE_BYTES_MAX
        && bytes.last() != Some(&b'\n')
        && rest.last() != Some(&b'\n')
    {
        rest.clear();
        length = source.by_ref().take(INPUT_LINE_BYTES_MAX).read_until(b'\n', &mut rest)?;
    }
    Ok(is_line)
}

/// Writes a message of the client itself to standard error. Ignores errors: standard error may be
/// closed.
pub fn aside(remark: &str) {
    let _ = writeln!(io::stderr(), "forkchat-client: {}", sanitize(remark));
}

/// Whether a terminal can't move its cursor, so that lines can't be edited on it: those that
/// rustyline doesn't support.
fn is_simple_terminal() -> bool {
    std::env::var_os("TERM").is_some_and(|term| {
        ["dumb", "cons25", "emacs"].iter().any(|simple| term.eq_ignore_ascii_case(simple))
    })
}

/// The thread that reads a file or a pipe.
fn read_lines(mut source: impl BufRead, charset: Charset, queue: &Sender<UserInput>) {
    loop {
        let mut bytes = Vec::new();
        let last = match read_line(&mut source, &mut bytes) {
            Ok(true) => None,
            Ok(false) => Some(UserInput::End),
            Err(error) => Some(UserInput::Broken(error)),
        };
        if let Some(last) = last {
            // If the receiver is gone, the program is ending.
            let _ = queue.send(last);
            return;
        }
        let mut text = String::new();
        charset.decode(&bytes, &mut text);
        if queue.send(UserInput::Line(text)).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompt_names_nick_and_room_and_shortens_long_ones() {
        assert_eq!(label("alice", Some("#lobby")), "alice #lobby");
        assert_eq!(
            (label("alice", None), label("", Some("#lobby"))),
            ("alice".to_owned(), "#lobby".to_owned())
        );
        assert_eq!(
            label("a_very_long_nickname", Some("#a_room_with_a_name_without_end")),
            "a_very_long… #a_room_with_a_name…"
        );
        assert_eq!(label("\u{202e}bob", Some("#\u{1b}x")), "bob #x");
    }
}
