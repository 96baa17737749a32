//! The rows above the input line. One thread edits that line, another has rows to show; both use
//! this screen.
//!
//! The screen collects the rows, and the editing thread draws them as if they were the beginning of
//! its prompt: whenever it redraws the line (after clearing it), the collected rows appear above
//! it. Only this one thread writes, so a row never tears the line, however wide or long it is. The
//! external printer only makes the editor redraw at once:
//!
//! ```text
//! to show ──► rows ──(empty message, if none is pending)──► external printer ──► the editor redraws ──► takes all rows
//! ```
//!
//! What the printer does with a message depends on whether a line is being edited at that moment.
//! The printer can't be asked, so the screen tracks the editor's callbacks (`Stage`) and uses the
//! printer only while a line is being edited.
//!
//! A character that is typed at the end of the line is written alone, if it fits into the row.
//! Redrawing the line for each character would take time quadratic in its length. For this the
//! screen computes, as the editor does, where the line ends (`Typing`).

use rustyline::{ExternalPrinter, GraphemeClusterMode};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Bytes of rows that wait to be drawn, at most: a terminal that takes nothing for long (a stalled
/// connection) loses the oldest, and is told how many.
const ROWS_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Rows that are remembered, to be drawn again after a resize: more than a window has.
const RECENT_ROWS: usize = 300;
/// How wide a tab is drawn.
pub const TAB_COLUMNS: usize = 8;
/// A prompt is not begun while it would soon be wrong, for so long.
const MOVING: Duration = Duration::from_secs(1);
/// What ends the prompt: lines are sent as they are typed, or they wait. Equally wide.
const READY_SIGN: char = '>';
const WAITING_SIGN: char = '…';
/// A nickname takes no more of the prompt than this.
pub const NICK_COLUMNS_MAX: usize = 12;
/// A room's name takes no more of the prompt than this.
pub const ROOM_COLUMNS_MAX: usize = 20;
const LABEL_COLUMNS_MAX: usize = NICK_COLUMNS_MAX + 1 + ROOM_COLUMNS_MAX;
/// How long the end waits for the editor to stand still.
const CLOSING: Duration = Duration::from_secs(1);

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
    /// The editor redraws for a reason of its own: it asks first whether it must, for the printer's
    /// messages it does not.
    is_own_redraw: bool,
    label: String,
    sign: char,
    /// How wide the label is that the editor knows; it can't change while a line is edited.
    width: usize,
    /// Nothing is drawn any more: every thread that comes here stays.
    is_frozen: bool,
    /// The editor has come.
    is_parked: bool,
    /// The prompt will soon change: so the session says, or lines were typed that it has not seen.
    is_moving: bool,
    untaken: usize,
    has_colors: bool,
    /// The line that is edited, as it was last drawn.
    line: String,
    typing: Typing,
    /// The last rows that were drawn.
    recent: VecDeque<String>,
    /// Returns the columns and rows of the window, 0 if unknown.
    size: fn() -> (usize, usize),
    /// How many columns it had when the prompt was last drawn.
    columns: usize,
}

/// What is known of the editor that lets it write a typed character alone.
#[derive(Debug, Default)]
struct Typing {
    /// The last key is a character.
    is_character: bool,
    /// The editor was made to redraw the last time. The next time it redraws by itself.
    was_made_to_redraw: bool,
    /// The column after the line's end, if the cursor is there.
    column: Option<usize>,
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
    /// A screen whose editor is woken by `printer`. `size` returns the window's columns and rows, 0
    /// if unknown.
    pub fn new(
        printer: Box<dyn ExternalPrinter + Send>,
        has_colors: bool,
        size: fn() -> (usize, usize),
    ) -> Screen {
        let state = State {
            printer,
            rows: String::new(),
            rows_lost: 0,
            stage: Stage::Idle,
            is_rung: false,
            is_own_redraw: false,
            label: String::new(),
            sign: READY_SIGN,
            width: 0,
            is_frozen: false,
            is_parked: false,
            is_moving: true,
            untaken: 0,
            has_colors,
            line: String::new(),
            typing: Typing::default(),
            recent: VecDeque::new(),
            size,
            columns: 0,
        };
        Screen { state: Mutex::new(state), settled: Condvar::new() }
    }

    /// For the thread that shows.
    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panics ends the program.
        self.stay_if_frozen(self.state.lock().unwrap_or_else(PoisonError::into_inner), false)
    }

    /// For the thread that edits: it is the one whose standing still is waited for.
    fn lock_to_edit(&self) -> MutexGuard<'_, State> {
        self.stay_if_frozen(self.state.lock().unwrap_or_else(PoisonError::into_inner), true)
    }

    fn stay_if_frozen<'s>(
        &'s self,
        mut state: MutexGuard<'s, State>,
        is_editor: bool,
    ) -> MutexGuard<'s, State> {
        while state.is_frozen {
            state.is_parked |= is_editor;
            self.settled.notify_all();
            state = self.settled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
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
            let cut = state.rows.as_bytes()[middle..]
                .iter()
                .position(|&byte| byte == b'\n')
                .map_or(state.rows.len(), |at| middle + at + 1);
            state.rows_lost += state.rows.drain(..cut).filter(|&c| c == '\n').count();
        }
        state.ring();
    }

    /// Changes what the prompt says. While a line is edited it is cut or filled up to the old
    /// width. `is_waiting`: lines are not sent now. `is_moving`: it will soon change again.
    pub fn prompt(&self, label: &str, is_waiting: bool, is_moving: bool) {
        let mut state = self.lock();
        state.is_moving = is_moving;
        self.settled.notify_all();
        let sign = if is_waiting { WAITING_SIGN } else { READY_SIGN };
        if state.label != label || state.sign != sign {
            label.clone_into(&mut state.label);
            state.sign = sign;
            state.ring();
        }
    }

    /// A line is about to be edited: gives back its prompt. Waits a moment if that would soon be
    /// wrong.
    pub fn begin(&self) -> String {
        let is_moving =
            |state: &mut State| (state.is_moving || state.untaken > 0) && !state.is_frozen;
        let (state, _) = self
            .settled
            .wait_timeout_while(self.lock_to_edit(), MOVING, is_moving)
            .unwrap_or_else(PoisonError::into_inner);
        let mut state = self.stay_if_frozen(state, true);
        (state.stage, state.typing) = (Stage::Starting, Typing::default());
        state.width = state.label.width().min(LABEL_COLUMNS_MAX);
        format!("{}{} ", fit(&state.label, state.width), state.sign)
    }

    /// A line was typed that may change the prompt.
    pub fn moves(&self) {
        self.lock_to_edit().untaken += 1;
    }

    /// Such a line was taken: from now on [`Screen::prompt`] knows of it.
    pub fn taken(&self) {
        let mut state = self.lock();
        state.untaken = state.untaken.saturating_sub(1);
        state.is_moving = true;
    }

    /// The editor is about to end: from now on rows wait for the next line.
    pub fn ends(&self) {
        self.lock_to_edit().stage = Stage::Idle;
    }

    /// The editor has ended for good. From now on the thread that shows a row writes it.
    pub fn gone(&self) {
        let mut state = self.lock_to_edit();
        state.stage = Stage::Gone;
        state.write();
    }

    /// A key was pressed: a character, which is put into the line, or another.
    pub fn presses(&self, is_character: bool) {
        self.lock_to_edit().typing.is_character = is_character;
    }

    /// The editor has changed the line, or moves the cursor to `pos` in it, and asks whether it
    /// must redraw for that. If not it writes the character that was typed.
    pub fn redraws(&self, line: &str, pos: usize) -> bool {
        let mut state = self.lock_to_edit();
        let column = state.column_if_written_alone(line, pos);
        let must_redraw = column.is_none();
        // Only so is every redraw of the editor's own known from one that the screen asked for.
        state.is_own_redraw = must_redraw || state.typing.was_made_to_redraw;
        state.typing.was_made_to_redraw = must_redraw;
        line.clone_into(&mut state.line);
        state.typing.column = column.or_else(|| state.column_of_end(pos));
        must_redraw
    }

    /// The line as it was last drawn.
    pub fn line(&self) -> String {
        self.lock_to_edit().line.clone()
    }

    /// What the editor is to draw for its prompt: the rows that wait, then the prompt. `is_own`:
    /// not the prompt of a search.
    pub fn draw<'p>(&self, prompt: &'p str, is_own: bool) -> Cow<'p, str> {
        let mut state = self.lock_to_edit();
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
            // The editor ended the empty message with a line end, on the row that it had cleared:
            // back to it.
            drawn.push_str("\x1b[A");
        }
        let rows = state.take_rows();
        drawn.push_str(&state.mended(rows));
        drawn.push_str(&state.fitted_prompt());
        Cow::Owned(drawn)
    }

    /// The editor ended without having said so, and whether it heard the last bell nobody knows:
    /// another one was made, which this printer wakes.
    pub fn renewed(&self, printer: Box<dyn ExternalPrinter + Send>) {
        let mut state = self.lock_to_edit();
        (state.printer, state.is_rung, state.stage) = (printer, false, Stage::Idle);
    }

    /// Stops all drawing for good: every thread that comes here stays. Gives back what whoever ends
    /// the program is to write: the rows that are left, on the row of the prompt. When this
    /// returns, the editor stands still, has ended, or hangs in a terminal that takes nothing.
    pub fn close(&self) -> String {
        let Some(mut state) = self.lock_patiently() else { return String::new() };
        state.is_frozen = true;
        let is_editing = state.stage == Stage::Editing;
        // It comes to its next drawing, with its row cleared and the cursor below.
        state.ring();
        self.settled.notify_all();
        let is_awaited = |state: &mut State| !state.is_parked && state.stage != Stage::Gone;
        let (mut state, _) = self
            .settled
            .wait_timeout_while(state, CLOSING, is_awaited)
            .unwrap_or_else(PoisonError::into_inner);
        let to_prompt = match (is_editing, state.is_parked && state.is_rung) {
            (true, true) => "\x1b[A\x1b[J",
            (true, false) => "\r\x1b[J",
            _ => "",
        };
        format!("{to_prompt}{}", state.take_rows())
    }

    /// The lock, or nothing if the thread that panics has it.
    fn lock_patiently(&self) -> Option<MutexGuard<'_, State>> {
        let deadline = Instant::now() + CLOSING;
        loop {
            match self.state.try_lock() {
                Ok(state) => return Some(state),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return None,
                Err(TryLockError::WouldBlock) => std::thread::yield_now(),
            }
        }
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

    /// Where the line ends if the editor writes the character that was typed, and nothing else. It
    /// does if that is the line's last and fits the row.
    fn column_if_written_alone(&self, line: &str, pos: usize) -> Option<usize> {
        let typed = line.strip_prefix(self.line.as_str())?;
        // A character that joins the one before it changes how that is drawn.
        let is_one = typed.chars().count() == 1 && line.graphemes(true).next_back() == Some(typed);
        let can_write =
            is_one && pos == line.len() && self.typing.is_character && self.stage == Stage::Editing;
        let (width, columns) = (typed.width(), (self.size)().0);
        let column = self.typing.column? + width;
        (can_write && width > 0 && columns == self.columns && column < columns).then_some(column)
    }

    /// Where the line ends when it is drawn, if the cursor is at its end.
    fn column_of_end(&self, pos: usize) -> Option<usize> {
        let columns = (self.size)().0;
        let drawn = format!("{}{} {}", " ".repeat(self.width), self.sign, self.line);
        (pos == self.line.len() && columns > 0)
            .then(|| place_of_end(&drawn, columns, GraphemeClusterMode::from_env()).1)
    }

    /// The rows to draw. If the window was made wider or narrower under a line of several rows, the
    /// editor has cleared as many rows as the line took before, and most terminals have wrapped
    /// everything again: then the rows above are drawn again, on a clear screen.
    fn mended(&mut self, rows: String) -> String {
        self.recent.extend(rows.split_inclusive('\n').map(str::to_owned));
        let (columns, height) = (self.size)();
        let before = std::mem::replace(&mut self.columns, columns);
        self.recent.drain(..self.recent.len().saturating_sub(RECENT_ROWS));
        if before == columns || before == 0 || columns == 0 {
            return rows;
        }
        let line = format!("{}{} {}", " ".repeat(self.width), self.sign, self.line);
        let rows_in = |columns: usize| rows_of(&line, columns, GraphemeClusterMode::from_env());
        if rows_in(before).max(rows_in(columns)) == 1 {
            return rows;
        }
        let mut free = height.saturating_sub(rows_in(columns));
        let fits = |row: &&String| {
            let rows =
                rows_of(without_styles(row).trim_end(), columns, GraphemeClusterMode::from_env());
            let is_free = rows <= free;
            free = free.saturating_sub(rows);
            is_free
        };
        let above: Vec<&String> = self.recent.iter().rev().take_while(fits).collect();
        std::iter::once("\x1b[H\x1b[2J")
            .chain(above.into_iter().rev().map(String::as_str))
            .collect()
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
            lost => {
                format!("      - the terminal was too slow: {lost} rows were not shown\r\n{rows}")
            }
        }
    }

    /// The prompt in the width that the editor knows.
    fn fitted_prompt(&self) -> String {
        let fitted = format!("{}{} ", fit(&self.label, self.width), self.sign);
        if self.has_colors { format!("\x1b[1m{fitted}\x1b[0m") } else { fitted }
    }
}

/// How many rows a text takes.
pub fn rows_of(text: &str, columns: usize, mode: GraphemeClusterMode) -> usize {
    place_of_end(text, columns, mode).0
}

/// The row, from 1, and the column, from 0, after a text, counted as the editor counts: a character
/// that doesn't fit goes to the next row whole, and a full last row is followed by an empty one.
fn place_of_end(text: &str, columns: usize, mode: GraphemeClusterMode) -> (usize, usize) {
    let (mut row, mut column) = (1, 0);
    for grapheme in text.graphemes(true) {
        if grapheme == "\n" {
            (row, column) = (row + 1, 0);
            continue;
        }
        let width = if grapheme == "\t" {
            TAB_COLUMNS - column % TAB_COLUMNS
        } else {
            usize::from(mode.width(grapheme))
        };
        column += width;
        if column > columns {
            (row, column) = (row + 1, width);
        }
    }
    if column == columns { (row + 1, 0) } else { (row, column) }
}

/// A row as it is seen: without what sets colours and rings the bell.
fn without_styles(row: &str) -> String {
    let mut parts = row.split('\x1b');
    let plain = parts.next().unwrap_or_default().to_owned();
    let seen =
        parts.fold(plain, |seen, part| seen + part.split_once('m').map_or("", |(_, text)| text));
    seen.replace(['\x07', '\r'], "")
}

/// `text` in at most `columns` columns: cut if it is longer.
pub fn shortened(text: &str, columns: usize) -> String {
    fit(text, text.width().min(columns)).trim_end().to_owned()
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
        let screen = Screen::new(Box::new(Bell(rings.clone())), false, || (80, 24));
        screen.prompt("#lobby", false, false);
        (screen, rings)
    }

    #[test]
    fn rows_come_out_with_the_first_prompt_and_then_at_the_bell() {
        let (screen, rings) = screen();
        screen.show("one\r\n");
        assert_eq!((screen.begin(), *rings.lock().unwrap()), ("#lobby> ".to_owned(), 0));
        screen.redraws("", 0);
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
        screen.redraws("", 0);
        screen.draw("", true);
        screen.show("one\r\n");
        screen.redraws("", 0);
        assert_eq!(screen.draw("", true), "one\r\n#lobby> ", "a key was pressed");
        assert_eq!(screen.draw("", true), "\x1b[A#lobby> ", "the bell");
    }

    #[test]
    fn a_character_at_the_lines_end_is_written_alone_if_it_fits_the_row() {
        let (screen, _) = screen();
        screen.begin();
        let types = |line: &str, pos: usize| {
            screen.presses(true);
            screen.redraws(line, pos)
        };
        assert!(screen.redraws("", 0), "the first drawing");
        screen.draw("", true);
        assert!(
            !types("a", 1) && screen.lock().is_own_redraw,
            "the editor draws all the same: it was made to before"
        );
        screen.draw("", true);
        assert!(!types("a你", 4) && !screen.lock().is_own_redraw);
        screen.show("one\r\n");
        assert_eq!(screen.draw("", true), "\x1b[Aone\r\n#lobby> ", "so this is for the bell");
        assert!(types("xa你", 1), "not at the end");
        screen.draw("", true);
        screen.presses(false);
        assert!(screen.redraws("xa你b", 6), "no key's character");
        screen.draw("", true);
        assert!(types("xa你be\u{301}", 9), "two at once");
        screen.draw("", true);
        assert!(types("xa你be\u{301}\u{323}", 11), "it joins the one before");
        screen.draw("", true);
        let mut line = "x".repeat(70);
        screen.redraws(&line, 70);
        screen.draw("", true);
        line.push('y');
        assert!(!types(&line, 71), "column 79 of 80");
        line.push('z');
        assert!(types(&line, 72), "the row is full");
        screen.draw("", true);
        line.push('z');
        assert!(!types(&line, 73), "the next row");
    }

    #[test]
    fn between_two_lines_and_during_a_search_nobody_is_woken() {
        let (screen, rings) = screen();
        screen.begin();
        screen.redraws("", 0);
        screen.draw("", true);
        screen.redraws("", 0);
        assert_eq!(screen.draw("(search)", false), "(search)");
        screen.show("one\r\n");
        screen.redraws("", 0);
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
        for (label, drawn) in
            [("#general", "#gene…> "), ("#a", "#a    > "), ("#你好吗", "#你好…> ".trim_end())]
        {
            screen.prompt(label, false, false);
            screen.redraws("", 0);
            let prompt = screen.draw("", true).into_owned();
            let prompt = prompt.trim_start_matches("\x1b[A");
            assert!(prompt.starts_with(drawn.trim_end()) && prompt.width() == 8, "{prompt:?}");
        }
    }

    #[test]
    fn rows_are_counted_as_the_editor_draws_them() {
        let rows = |text: &str| rows_of(text, 10, GraphemeClusterMode::WcWidth);
        assert_eq!(
            (rows(""), rows("123456789"), rows("1234567890"), rows("12345678901")),
            (1, 1, 2, 2)
        );
        assert_eq!((rows("一二三四"), rows("1一二三四"), rows("1一二三四五")), (1, 1, 2));
        assert_eq!((rows("a\nb"), rows("a\tb"), rows("a\t\tb")), (2, 1, 2));
        assert_eq!(
            without_styles("\x07\x1b[2m12:00\x1b[0m   \x1b[38;5;28mbob\x1b[0m: mm\r\n"),
            "12:00   bob: mm\n"
        );
    }

    #[test]
    fn after_a_resize_under_a_wrapped_line_what_stood_above_is_drawn_again() {
        let (screen, _) = screen();
        screen.begin();
        screen.show("one\r\ntwo\r\n");
        screen.redraws(&"x".repeat(100), 100);
        screen.draw("", true);
        screen.lock().size = || (120, 24);
        screen.redraws(&"x".repeat(100), 100);
        assert_eq!(screen.draw("", true), "\x1b[H\x1b[2Jone\r\ntwo\r\n#lobby> ");
        screen.lock().size = || (60, 3);
        screen.redraws(&"x".repeat(100), 100);
        assert_eq!(
            screen.draw("", true),
            "\x1b[H\x1b[2Jtwo\r\n#lobby> ",
            "as many as there is room for"
        );
        screen.lock().size = || (70, 24);
        screen.redraws("short", 5);
        assert_eq!(screen.draw("", true), "#lobby> ", "nothing was hurt");
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
        assert!(rows.starts_with(&format!(
            "      - the terminal was too slow: {} rows were not shown\r\n",
            20_000 - rows_left
        )));
    }
}
