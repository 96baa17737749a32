//! What stands above the line that is being typed. One thread edits that line, another has something to show; this is where they meet.
//!
//! Rows to show are collected here and drawn by the thread that edits, as if they were the beginning of its prompt: whenever it redraws the line (it
//! clears it first) the collected rows come out above it, in one write. So a row can't tear the line, whatever its width and however many rows it
//! takes: only one thread ever writes. The external printer is but a bell that makes it redraw at once:
//!
//! ```text
//! to show ──► rows ──(empty message, if none is under way)──► external printer ──► the editor redraws ──► takes all rows
//! ```
//!
//! What the printer does with a message depends on whether a line is being edited at that moment, and it can't be asked; so this keeps its own account
//! (`Stage`) of the editor's callbacks, and rings only while one is.

use rustyline::ExternalPrinter;
use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Bytes of rows that wait to be drawn, at most: a terminal that takes nothing for long (a stalled connection) loses the oldest, and is told how many.
const ROWS_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A prompt is not begun while it would soon be wrong, for so long.
const MOVING: Duration = Duration::from_secs(1);
/// A room's name takes no more of the prompt than this.
const LABEL_COLUMNS_MAX: usize = 24;
/// How long the end waits for the editor to draw what it was woken for.
const CLOSING: Duration = Duration::from_millis(500);

/// Rows above the line, and the prompt before it.
pub struct Screen {
    state: Mutex<State>,
    settled: Condvar,
}

struct State {
    printer: Box<dyn ExternalPrinter + Send>,
    rows: String,
    rows_lost: usize,
    stage: Stage,
    /// A message was given to the printer and the editor has not redrawn for it yet.
    is_rung: bool,
    /// The editor redraws for a reason of its own: it asks first whether it must, for the printer's messages it does not.
    is_own_redraw: bool,
    label: String,
    /// How wide the label is that the editor knows; it can't change while a line is edited.
    width: usize,
    /// The prompt will soon change: so the session says, or lines were typed that it has not seen.
    is_moving: bool,
    untaken: usize,
    has_colors: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No line is being edited: rows are drawn with the next prompt.
    Idle,
    /// The editor was called; its first redraw comes.
    Starting,
    /// A line is being edited.
    Editing,
    /// The history is being searched: the prompt is another, rows wait.
    Searching,
    /// The editor has gone for good: rows are written at once.
    Gone,
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Screen").finish_non_exhaustive()
    }
}

impl Screen {
    /// A screen whose editor is woken by `printer`.
    pub fn new(printer: Box<dyn ExternalPrinter + Send>, has_colors: bool) -> Screen {
        let state = State {
            printer,
            rows: String::new(),
            rows_lost: 0,
            stage: Stage::Idle,
            is_rung: false,
            is_own_redraw: false,
            label: String::new(),
            width: 0,
            is_moving: true,
            untaken: 0,
            has_colors,
        };
        Screen { state: Mutex::new(state), settled: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panics ends the program.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws rows, each with its line end, above the line that is being edited.
    pub fn show(&self, rows: &str) {
        let mut state = self.lock();
        state.rows.push_str(rows);
        if state.stage == Stage::Gone {
            return state.write();
        }
        if state.rows.len() > ROWS_BYTES_MAX {
            let middle = state.rows.len() / 2;
            let cut = state.rows.as_bytes()[middle..].iter().position(|&byte| byte == b'\n').map_or(state.rows.len(), |at| middle + at + 1);
            state.rows_lost += state.rows.drain(..cut).filter(|&c| c == '\n').count();
        }
        state.ring();
    }

    /// Changes what the prompt says. While a line is edited it is cut or filled up to the old width. `is_moving`: it will soon change again.
    pub fn prompt(&self, label: &str, is_moving: bool) {
        let mut state = self.lock();
        state.is_moving = is_moving;
        self.settled.notify_all();
        if state.label != label {
            label.clone_into(&mut state.label);
            state.ring();
        }
    }

    /// A line is about to be edited: gives back its prompt. Waits a moment if that would soon be wrong.
    pub fn begin(&self) -> String {
        let (mut state, _) = self
            .settled
            .wait_timeout_while(self.lock(), MOVING, |state| state.is_moving || state.untaken > 0)
            .unwrap_or_else(PoisonError::into_inner);
        state.stage = Stage::Starting;
        state.width = state.label.width().min(LABEL_COLUMNS_MAX);
        format!("{}> ", fit(&state.label, state.width))
    }

    /// A line was typed that may change the prompt.
    pub fn moves(&self) {
        self.lock().untaken += 1;
    }

    /// Such a line was taken: from now on [`Screen::prompt`] knows of it.
    pub fn taken(&self) {
        let mut state = self.lock();
        state.untaken = state.untaken.saturating_sub(1);
    }

    /// The editor is about to end: from now on rows wait for the next line.
    pub fn ends(&self) {
        self.lock().stage = Stage::Idle;
    }

    /// The editor has ended for good. What there is to show is written from now on, by whoever shows it.
    pub fn gone(&self) {
        let mut state = self.lock();
        state.stage = Stage::Gone;
        state.write();
    }

    /// The editor will redraw for a reason of its own.
    pub fn redraws(&self) {
        self.lock().is_own_redraw = true;
    }

    /// What the editor is to draw for its prompt: the rows that wait, then the prompt. `is_own`: not the prompt of a search.
    pub fn draw<'p>(&self, prompt: &'p str, is_own: bool) -> Cow<'p, str> {
        let mut state = self.lock();
        let is_for_bell = !std::mem::take(&mut state.is_own_redraw) && state.is_rung;
        if !is_own {
            state.stage = Stage::Searching;
            return Cow::Borrowed(prompt);
        }
        if state.stage != Stage::Idle {
            state.stage = Stage::Editing;
        }
        let mut drawn = String::new();
        if is_for_bell {
            state.is_rung = false;
            self.settled.notify_all();
            // The editor ended the empty message with a line end, on the row that it had cleared: back to it.
            drawn.push_str("\x1b[A");
        }
        drawn.push_str(&state.take_rows());
        drawn.push_str(&state.fitted_prompt());
        Cow::Owned(drawn)
    }

    /// Stops all drawing for good and gives back the rows that are left: who ends the program writes them. The editor waits forever if it wants to draw.
    pub fn close(&self) -> String {
        // An editor that has heard the bell and is about to draw clears its row first: let it finish.
        let draws = |state: &mut State| state.is_rung && state.stage == Stage::Editing;
        let (mut state, _) = self.settled.wait_timeout_while(self.lock(), CLOSING, draws).unwrap_or_else(PoisonError::into_inner);
        let rows = state.take_rows();
        std::mem::forget(state);
        rows
    }
}

impl State {
    fn ring(&mut self) {
        if self.stage == Stage::Editing && !self.is_rung {
            self.is_rung = true;
            // It can only fail if the editor is gone, and then nothing is drawn any more.
            let _ = self.printer.print(String::new());
        }
    }

    fn write(&mut self) {
        let rows = self.take_rows();
        let mut output = io::stdout();
        // A terminal that is gone shows nothing any more, and ends the program otherwise.
        let _ = output.write_all(rows.as_bytes()).and_then(|()| output.flush());
    }

    fn take_rows(&mut self) -> String {
        let rows = std::mem::take(&mut self.rows);
        match std::mem::take(&mut self.rows_lost) {
            0 => rows,
            lost => format!("      - the terminal took nothing for a while: {lost} rows are not shown\r\n{rows}"),
        }
    }

    /// The prompt in the width that the editor knows.
    fn fitted_prompt(&self) -> String {
        let fitted = format!("{}> ", fit(&self.label, self.width));
        if self.has_colors { format!("\x1b[1m{fitted}\x1b[0m") } else { fitted }
    }
}

/// `text` in exactly `width` columns: cut, or filled up with blanks.
fn fit(text: &str, width: usize) -> String {
    let mut fitted = String::new();
    if text.width() <= width {
        fitted.push_str(text);
    } else if width > 0 {
        let mut columns = 0;
        let fits = |c: &char| {
            columns += c.width().unwrap_or(0);
            columns < width
        };
        fitted.extend(text.chars().take_while(fits));
        fitted.push('…');
    }
    let blanks = width.saturating_sub(fitted.width());
    fitted.push_str(&" ".repeat(blanks));
    fitted
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// Counts how often it is rung.
    struct Bell(Arc<Mutex<usize>>);

    impl ExternalPrinter for Bell {
        fn print(&mut self, message: String) -> rustyline::Result<()> {
            assert_eq!(message, "");
            *self.0.lock().unwrap() += 1;
            Ok(())
        }
    }

    fn screen() -> (Screen, Arc<Mutex<usize>>) {
        let rings = Arc::new(Mutex::new(0));
        let screen = Screen::new(Box::new(Bell(rings.clone())), false);
        screen.prompt("#lobby", false);
        (screen, rings)
    }

    #[test]
    fn rows_come_out_with_the_first_prompt_and_then_at_the_bell() {
        let (screen, rings) = screen();
        screen.show("one\r\n");
        assert_eq!((screen.begin(), *rings.lock().unwrap()), ("#lobby> ".to_owned(), 0));
        screen.redraws();
        assert_eq!(screen.draw("", true), "one\r\n#lobby> ");
        screen.show("two\r\n");
        screen.show("three\r\n");
        assert_eq!(*rings.lock().unwrap(), 1, "one bell is under way");
        assert_eq!(screen.draw("", true), "\x1b[Atwo\r\nthree\r\n#lobby> ");
    }

    #[test]
    fn a_redraw_before_the_bell_is_heard_takes_the_rows_and_the_bell_moves_nothing() {
        let (screen, _) = screen();
        screen.begin();
        screen.redraws();
        screen.draw("", true);
        screen.show("one\r\n");
        screen.redraws();
        assert_eq!(screen.draw("", true), "one\r\n#lobby> ", "a key was pressed");
        assert_eq!(screen.draw("", true), "\x1b[A#lobby> ", "the bell");
    }

    #[test]
    fn between_two_lines_and_during_a_search_nobody_is_woken() {
        let (screen, rings) = screen();
        screen.begin();
        screen.redraws();
        screen.draw("", true);
        screen.redraws();
        assert_eq!(screen.draw("(search)", false), "(search)");
        screen.show("one\r\n");
        screen.redraws();
        assert_eq!(screen.draw("", true), "one\r\n#lobby> ");
        screen.ends();
        screen.show("two\r\n");
        assert_eq!(*rings.lock().unwrap(), 0);
        assert_eq!(screen.close(), "two\r\n");
    }

    #[test]
    fn a_prompt_keeps_its_width_while_a_line_is_edited() {
        let (screen, _) = screen();
        screen.begin();
        for (label, drawn) in [("#general", "#gene…> "), ("#a", "#a    > "), ("#你好吗", "#你好…> ".trim_end())] {
            screen.prompt(label, false);
            screen.redraws();
            let prompt = screen.draw("", true).into_owned();
            let prompt = prompt.trim_start_matches("\x1b[A");
            assert!(prompt.starts_with(drawn.trim_end()) && prompt.width() == 8, "{prompt:?}");
        }
    }

    #[test]
    fn a_terminal_that_takes_nothing_does_not_fill_the_memory() {
        let (screen, _) = screen();
        let row = format!("{}\r\n", "x".repeat(998));
        for _ in 0..20_000 {
            screen.show(&row);
        }
        let rows = screen.close();
        let rows_left = rows.matches('\n').count() - 1;
        assert!(rows.len() <= ROWS_BYTES_MAX + 1_000 && rows_left > 1_000);
        assert!(rows.starts_with(&format!("      - the terminal took nothing for a while: {} rows are not shown\r\n", 20_000 - rows_left)));
    }
}
