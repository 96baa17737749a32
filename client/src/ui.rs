//! The user interface: the thread that reads the user's input, and the output to the user. At a
//! terminal the user edits lines below the conversation ([`Ui::Terminal`]). If input or output is
//! redirected, lines are read and written as they are ([`Ui::Pipe`]).

use crate::complete::Words;
use crate::conversation::{Conversation, Entry, Received, changes_identity};
use crate::editor::{LineEditor, Typed};
use crate::options::Options;
use crate::render::{self, TerminalRenderer};
use crate::sanitize::sanitize;
use crate::screen::{NICK_COLUMNS_MAX, ROOM_COLUMNS_MAX, Screen, shorten};
use crate::terminal::{self, Terminal};
use crossbeam_channel::{Receiver, Sender, bounded};
use forkchat_common::charset::Charset;
use forkchat_common::limits::ROOM_CHARS_MAX;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// How many lines may wait for the main loop. When the queue is full, the input thread blocks.
const QUEUE_LEN_MAX: usize = 256;
/// How many bytes of an input line are read. The server accepts far fewer, so the conversation
/// refuses the line; the rest of it is dropped.
const INPUT_LINE_BYTES_MAX: u64 = 1024 * 1024;

/// What the input thread reports.
#[derive(Debug)]
pub enum UserInput {
    /// A typed line.
    Line(String),
    /// The end of the input.
    End,
    /// The input could not be read.
    Failed(io::Error),
}

/// The user interface.
#[derive(Debug)]
pub enum Ui {
    /// A terminal on which the user can edit lines.
    Terminal(Box<TerminalUi>),
    /// A pipe, a file, or a terminal that is used like one.
    Pipe(PipeUi),
}

/// The output to a terminal.
#[derive(Debug)]
pub struct TerminalUi {
    screen: Arc<Screen>,
    terminal: Terminal,
    renderer: TerminalRenderer,
    words: Arc<Mutex<Words>>,
}

/// The output to a pipe.
#[derive(Debug)]
pub struct PipeUi {
    format: fn(&Received) -> String,
    charset: Charset,
    /// Whether standard output is a terminal; then standard input isn't, or the terminal can't edit
    /// lines.
    is_terminal: bool,
}

impl Ui {
    /// Starts the input thread. The receiver yields what the user types.
    ///
    /// # Errors
    /// If the terminal can't be used, or the system can't start a thread.
    pub fn open(options: &Options) -> io::Result<(Ui, Receiver<UserInput>)> {
        let (input, receiver) = bounded(QUEUE_LEN_MAX);
        let can_edit =
            io::stdin().is_terminal() && io::stdout().is_terminal() && !is_simple_terminal();
        let thread = std::thread::Builder::new().name("input".to_owned());
        if options.json || !can_edit {
            let charset = options.charset;
            thread.spawn(move || read_lines(io::stdin().lock(), charset, &input))?;
            // JSON is UTF-8 (RFC 8259, section 8.1).
            let (format, charset): (fn(&Received) -> String, _) = if options.json {
                (render::json, Charset::default())
            } else {
                (render::plain, charset)
            };
            let is_terminal = io::stdout().is_terminal();
            return Ok((Ui::Pipe(PipeUi { format, charset, is_terminal }), receiver));
        }
        let has_colors = options.color.is_used(std::env::var_os("NO_COLOR").as_deref());
        let terminal = Terminal::take()?;
        let words = Arc::new(Mutex::new(Words::default()));
        let editor = LineEditor::new(words.clone(), has_colors).map_err(io::Error::other)?;
        let screen = editor.screen();
        let stopped = screen.clone();
        terminal::before_restoring(move || {
            // Rows that were not drawn yet are lost with the program.
            stopped.close();
        });
        let renderer = TerminalRenderer::new(has_colors, !options.no_bell, TimeZone::system());
        thread.spawn(move || edit_lines(editor, &input))?;
        Ok((Ui::Terminal(Box::new(TerminalUi { screen, terminal, renderer, words })), receiver))
    }

    /// Whether a person sits at the terminal: sees what happens, and must not be kept waiting.
    pub fn is_interactive(&self) -> bool {
        matches!(self, Ui::Terminal(_))
    }

    /// Shows an entry. To a pipe it is written to `output`, which the caller flushes.
    ///
    /// # Errors
    /// Those of `output`.
    pub fn show(&mut self, entry: &Entry, output: &mut impl Write) -> io::Result<()> {
        match self {
            Ui::Terminal(ui) => ui.screen.show(&ui.renderer.render(entry, Timestamp::now())),
            Ui::Pipe(ui) => match entry {
                Entry::Received(received) => return ui.write(received, output),
                own => render::for_stderr(own).iter().for_each(|message| print_error(message)),
            },
        }
        Ok(())
    }

    /// The main loop is about to pass a typed line to the conversation.
    pub fn line_processed(&self, line: &str) {
        if let Ui::Terminal(ui) = self
            && changes_identity(line)
        {
            ui.screen.prompt_change_processed();
        }
    }

    /// Updates the prompt and the names that can be completed.
    pub fn refresh(&mut self, conversation: &mut Conversation) {
        let Ui::Terminal(ui) = self else { return };
        ui.renderer.set_own_nick(conversation.nick());
        ui.screen.set_prompt(
            &prompt_label(conversation.prompt_nick(), conversation.prompt_room()),
            conversation.is_sending_paused(),
            conversation.is_prompt_changing(),
        );
        if let Some((nicks, rooms)) = conversation.take_changed_names() {
            *ui.words.lock().unwrap_or_else(PoisonError::into_inner) = Words { nicks, rooms };
        }
    }

    /// Shows what was not drawn yet and restores the terminal.
    ///
    /// # Errors
    /// Those of `output`, which is standard output.
    pub fn close(self, output: &mut impl Write) -> io::Result<()> {
        if let Ui::Terminal(ui) = self {
            // The prompt disappears, and with it the text after it, which was never sent.
            output.write_all(ui.screen.close().as_bytes())?;
            output.flush()?;
            drop(ui.terminal);
        }
        output.flush()
    }
}

impl PipeUi {
    fn write(&self, received: &Received, output: &mut impl Write) -> io::Result<()> {
        let mut line = (self.format)(received);
        if self.is_terminal {
            line = sanitize(line.trim_end_matches('\n')) + "\n";
        }
        let mut bytes = Vec::new();
        self.charset.encode(&line, &mut bytes);
        output.write_all(&bytes)
    }
}

/// The prompt without its sign: `alice #lobby`. Long names are shortened.
fn prompt_label(nick: &str, room: Option<&str>) -> String {
    let safe = |name: &str| sanitize(&name.chars().take(ROOM_CHARS_MAX + 1).collect::<String>());
    let nick = shorten(&safe(nick), NICK_COLUMNS_MAX);
    match room {
        Some(room) if nick.is_empty() => shorten(&safe(room), ROOM_COLUMNS_MAX),
        Some(room) => format!("{nick} {}", shorten(&safe(room), ROOM_COLUMNS_MAX)),
        None => nick,
    }
}

/// The input thread at a terminal. At the end it restores the terminal: it reads nothing more, and
/// Ctrl-C is a signal again.
fn edit_lines(mut editor: LineEditor, queue: &Sender<UserInput>) {
    while let Typed::Lines(lines) = editor.read() {
        let changes = lines.iter().filter(|line| changes_identity(line));
        changes.for_each(|_| editor.screen().prompt_change_typed());
        if lines.into_iter().any(|line| queue.send(UserInput::Line(line)).is_err()) {
            return;
        }
    }
    terminal::restore();
    editor.screen().editor_ended();
    // The program is ending if the receiver is gone.
    let _ = queue.send(UserInput::End);
}

/// The input thread at a pipe or file.
fn read_lines(mut source: impl BufRead, charset: Charset, queue: &Sender<UserInput>) {
    loop {
        let mut bytes = Vec::new();
        let last = match read_line(&mut source, &mut bytes) {
            Ok(true) => None,
            Ok(false) => Some(UserInput::End),
            Err(error) => Some(UserInput::Failed(error)),
        };
        if let Some(last) = last {
            // The program is ending if the receiver is gone.
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

/// Reads a line up to [`INPUT_LINE_BYTES_MAX`] and drops the rest of it. Returns false at the end
/// of input.
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

/// Writes a message of the client to standard error. Errors are ignored: standard error may be
/// closed.
pub fn print_error(message: &str) {
    let _ = writeln!(io::stderr(), "forkchat-client: {}", sanitize(message));
}

/// Whether the terminal can't move its cursor, so that rustyline can't edit lines on it.
fn is_simple_terminal() -> bool {
    std::env::var_os("TERM").is_some_and(|term| {
        ["dumb", "cons25", "emacs"].iter().any(|simple| term.eq_ignore_ascii_case(simple))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompt_names_nick_and_room_and_shortens_long_ones() {
        assert_eq!(prompt_label("alice", Some("#lobby")), "alice #lobby");
        assert_eq!(
            (prompt_label("alice", None), prompt_label("", Some("#lobby"))),
            ("alice".to_owned(), "#lobby".to_owned())
        );
        assert_eq!(
            prompt_label("a_very_long_nickname", Some("#a_room_with_a_name_without_end")),
            "a_very_long… #a_room_with_a_name…"
        );
        assert_eq!(prompt_label("\u{202e}bob", Some("#\u{1b}x")), "bob #x");
    }
}
