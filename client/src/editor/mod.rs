//! The line editor at a terminal: rustyline with its history, and with callbacks that draw through
//! the [`Screen`].

mod completion;
mod keys;
mod paste;

use crate::complete::Words;
use crate::screen::{Screen, TAB_COLUMNS, rows_of};
use crate::terminal;
use completion::TabCompletion;
use keys::{Key, KeyHandler};
use paste::{Paste, confirmation_question, needs_confirmation};
use rustyline::completion::Completer;
use rustyline::config::{BellStyle, Configurer};
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{
    ColorMode, CompletionType, Config, Context, Editor, Event, EventHandler, Helper, KeyCode,
    KeyEvent, Modifiers,
};
use std::borrow::Cow;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// How many lines the history keeps.
const HISTORY_LINES_MAX: usize = 10_000;
/// Bytes that follow an Esc within this time belong to the escape sequence of a key. Without a
/// limit the editor would block after an Esc, and rows would wait for the next key.
const ESCAPE_TIMEOUT_MS: u16 = 50;

/// What the user typed.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    /// One line, or the lines of a paste.
    Lines(Vec<String>),
    /// The key to leave. Also if the terminal no longer exists.
    End,
}

/// The line editor.
#[derive(Debug)]
pub struct LineEditor {
    editor: Editor<Callbacks, FileHistory>,
    screen: Arc<Screen>,
    history: Option<PathBuf>,
    words: Arc<Mutex<Words>>,
    paste: Arc<Paste>,
    /// Lines of a paste that are not sent yet.
    pasted: Vec<String>,
    /// The text that the next line begins with.
    initial: String,
}

impl LineEditor {
    /// An editor on the terminal that is standard input and output, and its screen.
    ///
    /// # Errors
    /// If rustyline can't use the terminal.
    pub fn new(words: Arc<Mutex<Words>>, has_colors: bool) -> rustyline::Result<LineEditor> {
        let mut editor = new_editor()?;
        let screen = Arc::new(Screen::new(
            Box::new(editor.create_external_printer()?),
            has_colors,
            terminal::size,
        ));
        let (paste, pasted, initial) = (Arc::default(), Vec::new(), String::new());
        let mut editor =
            LineEditor { editor, screen, history: history_path(), words, paste, pasted, initial };
        editor.bind_keys();
        editor.load_history();
        Ok(editor)
    }

    /// The screen above the line.
    pub fn screen(&self) -> Arc<Screen> {
        self.screen.clone()
    }

    /// Waits until the user has typed a line, or pasted lines and confirmed them if necessary.
    pub fn read(&mut self) -> Typed {
        loop {
            let prompt = self.screen.begin_line();
            let initial = std::mem::take(&mut self.initial);
            let result = self.editor.readline_with_initial(&prompt, (&initial, ""));
            self.screen.end_line();
            if self.paste.is_dropped.swap(false, Ordering::Relaxed) {
                self.take_paste();
            }
            match result {
                Ok(text) => {
                    self.erase(&prompt, &text);
                    let text = self.paste.complete(text);
                    if let Some(lines) = self.lines_to_send(text) {
                        lines.iter().for_each(|line| self.add_to_history(line));
                        return Typed::Lines(lines);
                    }
                    continue;
                }
                Err(ReadlineError::Interrupted) => {}
                Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                    self.initial = self.screen.line();
                    let initial = self.initial.clone();
                    self.erase(&prompt, &initial);
                    self.initial = self.paste.complete(initial);
                    self.screen.show(
                        "      - the terminal sent bytes that are not UTF-8; \
                         they were dropped, perhaps with what followed\r\n",
                    );
                }
                Err(_) => return Typed::End,
            }
            // The editor was interrupted or failed, perhaps in the middle of a paste.
            self.paste.is_pasting.store(false, Ordering::Relaxed);
            self.paste.take();
            if self.replace_editor().is_err() {
                return Typed::End;
            }
            if !self.pasted.is_empty() {
                self.ask_for_confirmation();
            }
        }
    }

    /// The editor returned a line, or a part of a paste. Returns the lines that are to be sent now,
    /// if any.
    fn lines_to_send(&mut self, text: String) -> Option<Vec<String>> {
        if self.paste.has_ended.swap(false, Ordering::Relaxed) {
            self.initial = text;
            if !needs_confirmation(&self.pasted, &self.initial) {
                return Some(self.take_paste());
            }
            self.ask_for_confirmation();
            return None;
        }
        if self.paste.is_pasting.load(Ordering::Relaxed) {
            self.pasted.push(text);
            self.paste.has_lines.store(true, Ordering::Relaxed);
            return None;
        }
        let mut lines = self.take_paste();
        if !text.is_empty() || lines.is_empty() {
            lines.extend(text.split('\n').map(str::to_owned));
        }
        Some(lines)
    }

    /// Asks the user whether to send the paste.
    fn ask_for_confirmation(&mut self) {
        self.paste.is_confirmation_pending.store(true, Ordering::Relaxed);
        self.screen
            .show(&format!("      - {}\r\n", confirmation_question(&self.pasted, &self.initial)));
    }

    /// Forgets the paste. Returns its lines.
    fn take_paste(&mut self) -> Vec<String> {
        self.paste.has_lines.store(false, Ordering::Relaxed);
        self.paste.is_confirmation_pending.store(false, Ordering::Relaxed);
        self.paste.is_hint_shown.store(false, Ordering::Relaxed);
        std::mem::take(&mut self.pasted)
    }

    /// Replaces rustyline's editor by a new one with the same history.
    fn replace_editor(&mut self) -> rustyline::Result<()> {
        let old = std::mem::replace(&mut self.editor, new_editor()?);
        match self.history {
            // Entries that are added one by one would be appended to the file again.
            Some(_) => self.load_history(),
            None => old
                .history()
                .iter()
                .try_for_each(|line| self.editor.add_history_entry(line).map(drop))?,
        }
        self.screen.editor_replaced(Box::new(self.editor.create_external_printer()?));
        self.bind_keys();
        Ok(())
    }

    /// Removes the typed line from the screen. It appears again when the server accepts it. The
    /// cursor is on the row below the line.
    fn erase(&mut self, prompt: &str, text: &str) {
        let columns =
            self.editor.dimensions().map_or(80, |(columns, _)| usize::from(columns.max(1)));
        let rows = rows_of(
            &format!("{prompt}{text}"),
            columns,
            self.editor.config_mut().grapheme_cluster_mode(),
        );
        let mut output = io::stdout();
        // If the terminal no longer exists, reading from it fails next.
        let _ = write!(output, "\x1b[{rows}A\r\x1b[J").and_then(|()| output.flush());
    }

    /// Binds the keys that rustyline would treat differently.
    fn bind_keys(&mut self) {
        let completion = TabCompletion::new(self.words.clone());
        self.editor.set_helper(Some(Callbacks { screen: self.screen.clone(), completion }));
        let mut bind = |event: Event, key: Key| {
            let handler =
                KeyHandler { key, screen: self.screen.clone(), paste: self.paste.clone() };
            self.editor.bind_sequence(event, EventHandler::Conditional(Box::new(handler)));
        };
        bind(Event::from(KeyEvent::ctrl('C')), Key::Clear);
        bind(Event::from(KeyEvent::ctrl('\\')), Key::Clear);
        bind(Event::from(KeyEvent::ctrl('D')), Key::Leave);
        bind(Event::from(KeyEvent::ctrl('Z')), Key::Suspend);
        bind(
            Event::from(KeyEvent(KeyCode::BracketedPasteStart, Modifiers::NONE)),
            Key::PasteBegins,
        );
        bind(Event::from(KeyEvent(KeyCode::BracketedPasteEnd, Modifiers::NONE)), Key::PasteEnds);
        bind(Event::from(KeyEvent(KeyCode::Tab, Modifiers::NONE)), Key::Tab);
        bind(Event::Any, Key::Other);
    }

    fn load_history(&mut self) {
        if let Some(path) = &self.history {
            // It fails if there is no history yet. If the file can't be read, it can't be written
            // either, which is reported then.
            let _ = self.editor.load_history(path);
        }
    }

    fn add_to_history(&mut self, text: &str) {
        if !matches!(self.editor.add_history_entry(text), Ok(true)) {
            return;
        }
        if let Some(path) = &self.history
            && let Err(error) = path
                .parent()
                .map_or(Ok(()), std::fs::create_dir_all)
                .map_err(ReadlineError::from)
                .and_then(|()| self.editor.append_history(path))
        {
            self.screen.show(&format!(
                "      - cannot save the input history: {}: {error}\r\n",
                path.display()
            ));
            self.history = None;
        }
    }
}

fn new_editor() -> rustyline::Result<Editor<Callbacks, FileHistory>> {
    let config = Config::builder()
        .max_history_size(HISTORY_LINES_MAX)?
        .history_ignore_space(true)
        // The editor would switch it off between two lines; see `terminal`.
        .bracketed_paste(false)
        // Also without colours rustyline must call `highlight_prompt`, which draws the rows.
        .color_mode(ColorMode::Forced)
        // With this type a single candidate is inserted at once. The other type would block for the
        // next key, and rows would wait.
        .completion_type(CompletionType::List)
        .bell_style(BellStyle::None)
        .tab_stop(u8::try_from(TAB_COLUMNS).unwrap_or(u8::MAX))
        .keyseq_timeout(Some(ESCAPE_TIMEOUT_MS))
        .build();
    Editor::with_config(config)
}

/// The file with the history: `$XDG_STATE_HOME/forkchat/client-history`, or below `~/.local/state`
/// (XDG Base Directory Specification).
fn history_path() -> Option<PathBuf> {
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state =
        absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("forkchat/client-history"))
}

/// rustyline's callbacks.
#[derive(Debug)]
struct Callbacks {
    screen: Arc<Screen>,
    completion: TabCompletion,
}

impl Helper for Callbacks {}

impl Completer for Callbacks {
    type Candidate = String;

    /// Returns one candidate at a time.
    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self
            .completion
            .complete(line, pos)
            .map_or((pos, Vec::new()), |(start, candidate)| (start, vec![candidate])))
    }
}

impl Hinter for Callbacks {
    type Hint = String;
}

impl Highlighter for Callbacks {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        let is_text = |c: char| !c.is_control() || c == '\n' || c == '\t';
        if line.chars().all(is_text) {
            Cow::Borrowed(line)
        } else {
            Cow::Owned(line.chars().filter(|&c| is_text(c)).collect())
        }
    }

    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(
        &'s self,
        prompt: &'p str,
        default: bool,
    ) -> Cow<'b, str> {
        self.screen.draw_prompt(prompt, default)
    }

    fn highlight_char(&self, line: &str, pos: usize, _: CmdKind) -> bool {
        self.screen.must_redraw(line, pos)
    }
}

impl Validator for Callbacks {
    fn validate(&self, _: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        self.screen.end_line();
        Ok(ValidationResult::Valid(None))
    }
}
