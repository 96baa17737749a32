//! The line editor at a terminal: rustyline with its keys and its history, and how its callbacks
//! use the [`Screen`].

use crate::complete::Words;
use crate::screen::{Screen, TAB_COLUMNS, rows_of};
use crate::session::{begins_with_slash, is_command};
use crate::terminal;
use rustyline::completion::Completer;
use rustyline::config::{BellStyle, Configurer};
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{
    Cmd, ColorMode, CompletionType, ConditionalEventHandler, Config, Context, Editor, Event, EventContext, EventHandler, Helper, KeyCode,
    KeyEvent, Modifiers, Movement, RepeatCount,
};
use std::borrow::Cow;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Lines that the history keeps.
const HISTORY_LINES_MAX: usize = 10_000;
/// What follows an Esc within this is a key's escape sequence; an Esc alone would otherwise keep rows waiting for the next key.
const ESCAPE_MILLIS: u16 = 50;

/// A paste of more lines than this is sent only after the person has agreed; so is one of several lines with a slash at a line's start.
const PASTE_LINES_MAX: usize = 10;

/// What a person did.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    /// Typed these lines.
    Lines(Vec<String>),
    /// Wants to leave, or the terminal is gone.
    End,
}

/// An editor of lines.
#[derive(Debug)]
pub struct LineEditor {
    editor: Editor<Keys, FileHistory>,
    screen: Arc<Screen>,
    history: Option<PathBuf>,
    words: Arc<Mutex<Words>>,
    paste: Arc<Paste>,
    /// Lines of a paste that are not sent yet.
    pasted: Vec<String>,
    /// What stands in the line when it is edited next.
    begun: String,
}

/// What the keys know of a paste.
#[derive(Debug, Default)]
struct Paste {
    /// A paste has begun and not ended.
    is_pasting: AtomicBool,
    /// What came of its line, and isn't in the line that is edited: it comes there as a whole, or the line is redrawn with each character.
    text: Mutex<PastedText>,
    /// Lines of it were read.
    has_lines: AtomicBool,
    /// It ended after such lines, so the editor was made to return.
    has_ended: AtomicBool,
    /// The person is asked whether to send it.
    is_asked: AtomicBool,
    /// Ctrl-C was pressed on an empty line, and what it does not do was said.
    is_hinted: AtomicBool,
    /// The paste is to be dropped.
    is_dropped: AtomicBool,
}

/// The text that a paste brings into a line.
#[derive(Debug, Default)]
struct PastedText {
    text: String,
    /// Where in the line it belongs.
    pos: usize,
}

impl Paste {
    fn text(&self) -> MutexGuard<'_, PastedText> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, character: char, pos: usize) {
        let mut pasted = self.text();
        if pasted.text.is_empty() {
            pasted.pos = pos;
        }
        pasted.text.push(character);
    }

    /// Takes what the paste brings, to be put into the line.
    fn take(&self) -> String {
        std::mem::take(&mut self.text().text)
    }

    /// Puts what the paste brings into the line, which is not edited any more.
    fn complete(&self, mut line: String) -> String {
        let pasted = std::mem::take(&mut *self.text());
        let pos = if line.is_char_boundary(pasted.pos) { pasted.pos } else { line.len() };
        line.insert_str(pos, &pasted.text);
        line
    }
}

impl LineEditor {
    /// An editor on the terminal that is standard input and output, and the screen above it.
    ///
    /// # Errors
    /// Those of a terminal that can't be edited on.
    pub fn new(words: Arc<Mutex<Words>>, has_colors: bool) -> rustyline::Result<LineEditor> {
        let mut editor = editor()?;
        let screen = Arc::new(Screen::new(Box::new(editor.create_external_printer()?), has_colors, terminal::size));
        let (paste, pasted, begun) = (Arc::default(), Vec::new(), String::new());
        let mut editor = LineEditor { editor, screen, history: history_path(), words, paste, pasted, begun };
        editor.bind();
        editor.recall();
        Ok(editor)
    }

    /// The screen above the line.
    pub fn screen(&self) -> Arc<Screen> {
        self.screen.clone()
    }

    /// Waits until something was typed, or pasted and agreed to.
    pub fn read(&mut self) -> Typed {
        loop {
            let prompt = self.screen.begin();
            let begun = std::mem::take(&mut self.begun);
            let result = self.editor.readline_with_initial(&prompt, (&begun, ""));
            self.screen.ends();
            if self.paste.is_dropped.swap(false, Ordering::Relaxed) {
                self.forget_paste();
            }
            match result {
                Ok(text) => {
                    self.erase(&prompt, &text);
                    let text = self.paste.complete(text);
                    if let Some(lines) = self.taken(text) {
                        lines.iter().for_each(|line| self.remember(line));
                        return Typed::Lines(lines);
                    }
                    continue;
                }
                Err(ReadlineError::Interrupted) => {}
                Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                    self.begun = self.screen.line();
                    let begun = self.begun.clone();
                    self.erase(&prompt, &begun);
                    self.begun = self.paste.complete(begun);
                    self.screen
                        .show("      - the terminal sent bytes that are not UTF-8; they were dropped, perhaps with what followed\r\n");
                }
                Err(_) => return Typed::End,
            }
            // It ended without a word.
            self.paste.is_pasting.store(false, Ordering::Relaxed);
            self.paste.take();
            if self.renew().is_err() {
                return Typed::End;
            }
            if !self.pasted.is_empty() {
                self.ask();
            }
        }
    }

    /// A line, or the rest of a paste, was read: gives back what is to be sent now.
    fn taken(&mut self, text: String) -> Option<Vec<String>> {
        if self.paste.has_ended.swap(false, Ordering::Relaxed) {
            self.begun = text;
            if !needs_agreement(&self.pasted, &self.begun) {
                return Some(self.forget_paste());
            }
            self.ask();
            return None;
        }
        if self.paste.is_pasting.load(Ordering::Relaxed) {
            self.pasted.push(text);
            self.paste.has_lines.store(true, Ordering::Relaxed);
            return None;
        }
        let mut lines = self.forget_paste();
        if !text.is_empty() || lines.is_empty() {
            lines.extend(text.split('\n').map(str::to_owned));
        }
        Some(lines)
    }

    fn ask(&mut self) {
        self.paste.is_asked.store(true, Ordering::Relaxed);
        self.screen.show(&format!("      - {}\r\n", question(&self.pasted, &self.begun)));
    }

    /// Gives back the lines of the paste; nothing is kept of it.
    fn forget_paste(&mut self) -> Vec<String> {
        self.paste.has_lines.store(false, Ordering::Relaxed);
        self.paste.is_asked.store(false, Ordering::Relaxed);
        self.paste.is_hinted.store(false, Ordering::Relaxed);
        std::mem::take(&mut self.pasted)
    }

    /// Another editor, with the history of this one.
    fn renew(&mut self) -> rustyline::Result<()> {
        let old = std::mem::replace(&mut self.editor, editor()?);
        match self.history {
            // What was added by hand would be written to the file once more.
            Some(_) => self.recall(),
            None => old.history().iter().try_for_each(|line| self.editor.add_history_entry(line).map(drop))?,
        }
        self.screen.renewed(Box::new(self.editor.create_external_printer()?));
        self.bind();
        Ok(())
    }

    /// Takes the line off the screen that was typed: it comes back as the server accepts it. The cursor is on the row below.
    fn erase(&mut self, prompt: &str, text: &str) {
        let columns = self.editor.dimensions().map_or(80, |(columns, _)| usize::from(columns.max(1)));
        let rows = rows_of(&format!("{prompt}{text}"), columns, self.editor.config_mut().grapheme_cluster_mode());
        let mut output = io::stdout();
        // A terminal that is gone shows nothing anyway; reading from it will tell.
        let _ = write!(output, "\x1b[{rows}A\r\x1b[J").and_then(|()| output.flush());
    }

    /// The keys that do what they do elsewhere in the world rather than what the editor would.
    fn bind(&mut self) {
        let completing = Completing { words: self.words.clone(), last: Mutex::default() };
        self.editor.set_helper(Some(Keys { screen: self.screen.clone(), completing }));
        let mut bind = |event: Event, what: Key| {
            let handler = Handler { what, screen: self.screen.clone(), paste: self.paste.clone() };
            self.editor.bind_sequence(event, EventHandler::Conditional(Box::new(handler)));
        };
        bind(Event::from(KeyEvent::ctrl('C')), Key::Clear);
        bind(Event::from(KeyEvent::ctrl('\\')), Key::Clear);
        bind(Event::from(KeyEvent::ctrl('D')), Key::Leave);
        bind(Event::from(KeyEvent::ctrl('Z')), Key::Suspend);
        bind(Event::from(KeyEvent(KeyCode::BracketedPasteStart, Modifiers::NONE)), Key::PasteBegins);
        bind(Event::from(KeyEvent(KeyCode::BracketedPasteEnd, Modifiers::NONE)), Key::PasteEnds);
        bind(Event::from(KeyEvent(KeyCode::Tab, Modifiers::NONE)), Key::Tab);
        bind(Event::Any, Key::Other);
    }

    fn recall(&mut self) {
        if let Some(path) = &self.history {
            // There is none yet, or it can't be read: then it can't be written either, which is said then.
            let _ = self.editor.load_history(path);
        }
    }

    fn remember(&mut self, text: &str) {
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
            self.screen.show(&format!("      - cannot save the input history: {}: {error}\r\n", path.display()));
            self.history = None;
        }
    }
}

/// Whether the person has to agree before pasted lines are sent. `rest` is the last line, which has no end and stays in the editor.
///
/// A line that begins with a slash may be a secret for one person or a line of a log: nothing shows whether it was to be executed or said.
fn needs_agreement(lines: &[String], rest: &str) -> bool {
    lines.len() > PASTE_LINES_MAX || pasted(lines, rest).count() > 1 && pasted(lines, rest).any(begins_with_slash)
}

/// What the person is asked then.
fn question(lines: &[String], rest: &str) -> String {
    let count = match pasted(lines, rest).count() {
        1 => "a line".to_owned(),
        count => format!("{count} lines"),
    };
    let commands = match pasted(lines, rest).filter(|line| is_command(line)).count() {
        0 => String::new(),
        1 => ", 1 of them a command".to_owned(),
        commands => format!(", {commands} of them commands"),
    };
    format!("{count} pasted{commands}; Enter sends them, Ctrl-C drops them")
}

/// All lines of a paste.
fn pasted<'l>(lines: &'l [String], rest: &'l str) -> impl Iterator<Item = &'l str> {
    lines.iter().map(String::as_str).chain(Some(rest).filter(|rest| !rest.is_empty()))
}

fn editor() -> rustyline::Result<Editor<Keys, FileHistory>> {
    let config = Config::builder()
        .max_history_size(HISTORY_LINES_MAX)?
        .history_ignore_space(true)
        // The editor would switch it off between two lines; see `terminal`.
        .bracketed_paste(false)
        // Also without colours the prompt is drawn by us.
        .color_mode(ColorMode::Forced)
        // A single candidate is taken as it is; the other kind would keep rows waiting for the next key.
        .completion_type(CompletionType::List)
        .bell_style(BellStyle::None)
        .tab_stop(u8::try_from(TAB_COLUMNS).unwrap_or(u8::MAX))
        .keyseq_timeout(Some(ESCAPE_MILLIS))
        .build();
    Editor::with_config(config)
}

/// Where lines are remembered: `$XDG_STATE_HOME/forkchat/client-history`, or below `~/.local/state` (XDG Base Directory Specification).
fn history_path() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("forkchat/client-history"))
}

/// The editor's callbacks: it draws through the screen.
#[derive(Debug)]
struct Keys {
    screen: Arc<Screen>,
    completing: Completing,
}

impl Helper for Keys {}

impl Completer for Keys {
    type Candidate = String;

    /// One candidate at a time.
    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.completing.complete(line, pos).map_or((pos, Vec::new()), |(start, candidate)| (start, vec![candidate])))
    }
}

impl Hinter for Keys {
    type Hint = String;
}

impl Highlighter for Keys {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        let is_text = |c: char| !c.is_control() || c == '\n' || c == '\t';
        if line.chars().all(is_text) { Cow::Borrowed(line) } else { Cow::Owned(line.chars().filter(|&c| is_text(c)).collect()) }
    }

    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, default: bool) -> Cow<'b, str> {
        self.screen.draw(prompt, default)
    }

    fn highlight_char(&self, line: &str, pos: usize, _: CmdKind) -> bool {
        self.screen.redraws(line, pos)
    }
}

impl Validator for Keys {
    fn validate(&self, _: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        self.screen.ends();
        Ok(ValidationResult::Valid(None))
    }
}

/// What a key does.
enum Key {
    /// Clears the line.
    Clear,
    /// Leaves, if the line is empty.
    Leave,
    /// Stops the program until the shell lets it go on.
    Suspend,
    /// What comes is pasted: each of its lines is taken as if typed, and tabs in it are tabs.
    PasteBegins,
    /// What comes is typed again.
    PasteEnds,
    /// Completes the word before the cursor, and pressed once more offers the next one; but in a paste it is a tab.
    Tab,
    /// All others do what they do; but in a paste control characters do nothing.
    Other,
}

/// The character that a key is.
fn character(event: &Event) -> Option<char> {
    match event {
        Event::KeySeq(keys) => match keys[..] {
            [KeyEvent(KeyCode::Char(character), Modifiers::NONE)] => Some(character),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a key ends a line.
fn ends_line(event: &Event) -> bool {
    [KeyEvent::ctrl('J'), KeyEvent(KeyCode::Enter, Modifiers::NONE)].map(Event::from).contains(event)
}

struct Handler {
    what: Key,
    screen: Arc<Screen>,
    paste: Arc<Paste>,
}

impl ConditionalEventHandler for Handler {
    fn handle(&self, event: &Event, _: RepeatCount, _: bool, context: &EventContext<'_>) -> Option<Cmd> {
        let is_pasting = self.paste.is_pasting.load(Ordering::Relaxed);
        let character = character(event).filter(|_| matches!(self.what, Key::Other));
        self.screen.presses(character.is_some() && !is_pasting);
        match &self.what {
            Key::PasteBegins => self.paste.is_pasting.store(true, Ordering::Relaxed),
            Key::PasteEnds => {
                self.paste.is_pasting.store(false, Ordering::Relaxed);
                if self.paste.has_lines.load(Ordering::Relaxed) {
                    self.paste.has_ended.store(true, Ordering::Relaxed);
                    return Some(Cmd::AcceptLine);
                }
                let text = self.paste.take();
                if !text.is_empty() {
                    return Some(Cmd::Insert(1, text));
                }
            }
            Key::Tab if is_pasting => self.paste.push('\t', context.pos()),
            Key::Other if is_pasting && !ends_line(event) => {
                character.into_iter().for_each(|character| self.paste.push(character, context.pos()));
            }
            Key::Other => return None,
            _ if is_pasting => {}
            Key::Clear => {
                self.clear(context.line().is_empty());
                return Some(Cmd::Kill(Movement::WholeBuffer));
            }
            Key::Leave => {
                if context.line().is_empty() {
                    self.screen.ends();
                }
                return None;
            }
            Key::Suspend => {
                terminal::suspend();
                return Some(Cmd::Repaint);
            }
            Key::Tab => return None,
        }
        Some(Cmd::Noop)
    }
}

impl Handler {
    /// Ctrl-C clears the line and drops a paste; where there is nothing to clear it says which key leaves.
    fn clear(&self, is_empty: bool) {
        if self.paste.is_asked.swap(false, Ordering::Relaxed) {
            self.paste.is_dropped.store(true, Ordering::Relaxed);
            self.paste.has_lines.store(false, Ordering::Relaxed);
            self.screen.show("      - the pasted lines were dropped\r\n");
        } else if is_empty && !self.paste.is_hinted.swap(true, Ordering::Relaxed) {
            self.screen.show("      - Ctrl-C clears the line; Ctrl-D or /quit leaves\r\n");
        }
    }
}

/// Completion, one candidate a press.
#[derive(Debug)]
struct Completing {
    words: Arc<Mutex<Words>>,
    last: Mutex<Option<Offer>>,
}

/// What the last press offered.
#[derive(Debug)]
struct Offer {
    start: usize,
    candidates: Vec<String>,
    index: usize,
    /// The line up to the cursor with the offer in it: if it is still so, the next press offers the next.
    before_cursor: String,
}

impl Completing {
    /// What shall stand before the cursor from where on, if anything.
    fn complete(&self, line: &str, cursor: usize) -> Option<(usize, String)> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = &line[..cursor];
        let mut offer = match last.take() {
            Some(mut offer) if offer.before_cursor == before => {
                offer.index = (offer.index + 1) % offer.candidates.len();
                offer
            }
            _ => {
                let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
                let completion = words.complete(line, cursor);
                Offer { start: completion.start, candidates: completion.candidates, index: 0, before_cursor: String::new() }
            }
        };
        let candidate = offer.candidates.get(offer.index)?.clone();
        let start = offer.start;
        offer.before_cursor = format!("{}{candidate}", &before[..start]);
        *last = Some(offer);
        Some((start, candidate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paste_of_several_lines_is_asked_about_if_it_is_long_or_has_commands() {
        let asked = |lines: &[&str], rest: &str| {
            let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
            let question = question(&lines, rest);
            let question = question.strip_suffix("; Enter sends them, Ctrl-C drops them").unwrap();
            needs_agreement(&lines, rest).then(|| question.to_owned())
        };
        for at_once in [&["hi"] as &[&str], &["/quit"], &["1/2", "a /quit", "\\o/"], &["  /usr/bin/x", "two"], &["x"; 10]] {
            assert_eq!(asked(at_once, ""), None, "{at_once:?}");
        }
        for (lines, rest, question) in [
            (&["hi", "/nick evil"] as &[&str], "", "2 lines pasted, 1 of them a command"),
            (&["/msg bob secret"], "rest", "2 lines pasted, 1 of them a command"),
            (&["hi"], "/quit", "2 lines pasted, 1 of them a command"),
            (&["/usr/bin/ld: x", "\u{200b}/quit", "\\nick"], "", "3 lines pasted, 3 of them commands"),
            (&["// a comment", "x"], "", "2 lines pasted"),
            (&["x"; 11], "", "11 lines pasted"),
            (&["x"; 11], "and more", "12 lines pasted"),
        ] {
            assert_eq!(asked(lines, rest).as_deref(), Some(question), "{lines:?} {rest:?}");
        }
    }

    #[test]
    fn each_press_offers_the_next_one() {
        let words = Words { nicks: vec!["Alice".to_owned(), "alina".to_owned()], rooms: Vec::new() };
        let completing = Completing { words: Arc::new(Mutex::new(words)), last: Mutex::default() };
        let press = |line: &str| completing.complete(line, line.len()).map(|(start, candidate)| format!("{}{candidate}", &line[..start]));
        for (line, completed) in
            [("al", "Alice: "), ("Alice: ", "alina: "), ("alina: ", "Alice: "), ("hi AL", "hi Alice "), ("/whoa", "/whoami ")]
        {
            assert_eq!(press(line).as_deref(), Some(completed));
        }
        assert_eq!(press("zz"), None);
    }
}
