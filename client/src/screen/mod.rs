//! The rows above the input line. One thread edits that line, the main thread has rows to show;
//! both use this screen.
//!
//! The screen collects the rows, and the editing thread draws them as if they were the beginning of
//! its prompt: whenever it redraws the line (after clearing it), the collected rows appear above
//! it. Only this one thread writes, so a row never tears the line, however wide or long it is. An
//! empty message to rustyline's external printer wakes the editor, so that it redraws at once:
//!
//! ```text
//! show ──► rows ──(wake, if none is pending)──► printer ──► the editor redraws ──► takes all rows
//! ```
//!
//! What the printer does with a message depends on whether a line is being edited at that moment,
//! and the printer does not say. So the screen tracks the editor's callbacks (`Stage`) and wakes
//! the editor only while a line is being edited.
//!
//! A character that is typed at the end of the line is written alone, if it fits into the row.
//! Redrawing the line for each character would take time quadratic in its length. For this the
//! screen computes, as the editor does, where the line ends (`Typing`).

mod layout;
#[cfg(test)]
mod tests;

pub use layout::{TAB_COLUMNS, rows_of, shorten};

use layout::{end_of, fit, without_styles};
use rustyline::{ExternalPrinter, GraphemeClusterMode};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// How many bytes of rows may wait to be drawn. If a terminal accepts no output for long, such as
/// over a stalled connection, the oldest rows are dropped, and a message says how many.
const ROWS_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How many rows are remembered, to be drawn again after a resize: more than a window has.
const RECENT_ROWS: usize = 300;
/// How long a new prompt waits for a change that is about to come.
const PROMPT_WAIT_MAX: Duration = Duration::from_secs(1);
/// The sign at the end of the prompt: lines are sent as they are typed, or they wait. Both are one
/// column wide.
const READY_SIGN: char = '>';
const WAITING_SIGN: char = '…';
/// The maximum width of the nickname in the prompt.
pub const NICK_COLUMNS_MAX: usize = 12;
/// The maximum width of the room in the prompt.
pub const ROOM_COLUMNS_MAX: usize = 20;
const LABEL_COLUMNS_MAX: usize = NICK_COLUMNS_MAX + 1 + ROOM_COLUMNS_MAX;
/// How long the end of the program waits for the editing thread to stop.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Rows above the line, and the prompt before it.
pub struct Screen {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    printer: Box<dyn ExternalPrinter + Send>,
    rows: String,
    rows_lost: usize,
    stage: Stage,
    /// A message was given to the printer and the editor has not redrawn for it yet.
    is_wake_pending: bool,
    /// The editor's next redraw has a reason of its own. The editor then asks first whether it must
    /// redraw; for the printer's messages it does not ask.
    is_own_redraw: bool,
    label: String,
    sign: char,
    /// The width of the label that the editor knows. It can't change while a line is edited.
    width: usize,
    /// Nothing is drawn any more. Every thread that locks the screen blocks.
    is_frozen: bool,
    /// The editing thread is blocked by `is_frozen`.
    is_editor_blocked: bool,
    /// The conversation says that the prompt will soon change.
    is_prompt_changing: bool,
    /// Typed lines that may change the prompt and have not reached the conversation yet.
    unprocessed: usize,
    has_colors: bool,
    /// The line that is edited, as it was last drawn.
    line: String,
    typing: Typing,
    /// The last rows that were drawn.
    recent: VecDeque<String>,
    /// Returns the columns and rows of the window, 0 if unknown.
    size: fn() -> (usize, usize),
    /// How many columns the window had when the prompt was last drawn.
    columns: usize,
}

/// Decides whether the editor can write a typed character alone.
#[derive(Debug, Default)]
struct Typing {
    /// The last key is a character.
    is_character: bool,
    /// The editor had to redraw the last time. It then redraws the next time in any case.
    had_to_redraw: bool,
    /// The column after the line's end, if the cursor is there.
    column: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No line is being edited. Rows are drawn with the next prompt.
    Idle,
    /// The editor was called and has not drawn its prompt yet.
    Starting,
    /// A line is being edited.
    Editing,
    /// The history is being searched. The editor draws another prompt, so rows wait.
    Searching,
    /// The editing thread has ended. Rows are written at once.
    Ended,
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
            is_wake_pending: false,
            is_own_redraw: false,
            label: String::new(),
            sign: READY_SIGN,
            width: 0,
            is_frozen: false,
            is_editor_blocked: false,
            is_prompt_changing: true,
            unprocessed: 0,
            has_colors,
            line: String::new(),
            typing: Typing::default(),
            recent: VecDeque::new(),
            size,
            columns: 0,
        };
        Screen { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The lock for the main thread.
    fn lock(&self) -> MutexGuard<'_, State> {
        // A poisoned lock does no harm: a panic ends the program.
        self.block_if_frozen(self.state.lock().unwrap_or_else(PoisonError::into_inner), false)
    }

    /// The lock for the editing thread.
    fn lock_to_edit(&self) -> MutexGuard<'_, State> {
        self.block_if_frozen(self.state.lock().unwrap_or_else(PoisonError::into_inner), true)
    }

    /// Blocks for ever if the screen is frozen.
    fn block_if_frozen<'s>(
        &'s self,
        mut state: MutexGuard<'s, State>,
        is_editor: bool,
    ) -> MutexGuard<'s, State> {
        while state.is_frozen {
            state.is_editor_blocked |= is_editor;
            self.changed.notify_all();
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// Draws rows, each with its line end, above the line that is being edited.
    pub fn show(&self, rows: &str) {
        let mut state = self.lock();
        state.rows.push_str(rows);
        if state.stage == Stage::Ended {
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
        state.wake();
    }

    /// Changes the prompt. While a line is edited, the label is truncated or padded to its old
    /// width. `is_waiting`: typed lines are not sent now. `is_prompt_changing`: it will soon change
    /// again.
    pub fn set_prompt(&self, label: &str, is_waiting: bool, is_prompt_changing: bool) {
        let mut state = self.lock();
        state.is_prompt_changing = is_prompt_changing;
        self.changed.notify_all();
        let sign = if is_waiting { WAITING_SIGN } else { READY_SIGN };
        if state.label != label || state.sign != sign {
            label.clone_into(&mut state.label);
            state.sign = sign;
            state.wake();
        }
    }

    /// The editor begins a line. Returns the prompt. Waits a moment if it will soon change.
    pub fn begin_line(&self) -> String {
        let is_changing = |state: &mut State| {
            (state.is_prompt_changing || state.unprocessed > 0) && !state.is_frozen
        };
        let (state, _) = self
            .changed
            .wait_timeout_while(self.lock_to_edit(), PROMPT_WAIT_MAX, is_changing)
            .unwrap_or_else(PoisonError::into_inner);
        let mut state = self.block_if_frozen(state, true);
        (state.stage, state.typing) = (Stage::Starting, Typing::default());
        state.width = state.label.width().min(LABEL_COLUMNS_MAX);
        format!("{}{} ", fit(&state.label, state.width), state.sign)
    }

    /// The user has typed a line that may change the prompt.
    pub fn prompt_change_typed(&self) {
        self.lock_to_edit().unprocessed += 1;
    }

    /// The conversation knows of such a line from now on. [`Screen::set_prompt`] will follow.
    pub fn prompt_change_processed(&self) {
        let mut state = self.lock();
        state.unprocessed = state.unprocessed.saturating_sub(1);
        state.is_prompt_changing = true;
    }

    /// The editor ends the line. From now on rows wait for the next line.
    pub fn end_line(&self) {
        self.lock_to_edit().stage = Stage::Idle;
    }

    /// The editing thread ends. From now on the main thread writes rows itself.
    pub fn editor_ended(&self) {
        let mut state = self.lock_to_edit();
        state.stage = Stage::Ended;
        state.write();
    }

    /// The user has pressed a key. `is_character`: it inserts a character into the line.
    pub fn key_pressed(&self, is_character: bool) {
        self.lock_to_edit().typing.is_character = is_character;
    }

    /// The editor has changed the line, or moves the cursor to `pos` in it. Returns whether it must
    /// redraw the line. If not, it writes only the character that was typed.
    pub fn must_redraw(&self, line: &str, pos: usize) -> bool {
        let mut state = self.lock_to_edit();
        let column = state.column_if_written_alone(line, pos);
        let must_redraw = column.is_none();
        // In all other cases the next redraw is one that the screen asked for.
        state.is_own_redraw = must_redraw || state.typing.had_to_redraw;
        state.typing.had_to_redraw = must_redraw;
        line.clone_into(&mut state.line);
        state.typing.column = column.or_else(|| state.column_of_end(pos));
        must_redraw
    }

    /// The line as it was last drawn.
    pub fn line(&self) -> String {
        self.lock_to_edit().line.clone()
    }

    /// What the editor is to draw as its prompt: the rows that wait, then the prompt. `is_default`:
    /// it is the prompt of a line, not that of a search.
    pub fn draw_prompt<'p>(&self, prompt: &'p str, is_default: bool) -> Cow<'p, str> {
        let mut state = self.lock_to_edit();
        let is_for_wake = !std::mem::take(&mut state.is_own_redraw) && state.is_wake_pending;
        if !is_default {
            state.stage = Stage::Searching;
            return Cow::Borrowed(prompt);
        }
        if state.stage != Stage::Idle {
            state.stage = Stage::Editing;
        }
        let mut drawn = String::new();
        if is_for_wake {
            state.is_wake_pending = false;
            // The editor wrote the empty message and a line end on the row that it had cleared. The
            // cursor goes back to that row.
            drawn.push_str("\x1b[A");
        }
        let rows = state.take_rows();
        drawn.push_str(&state.with_rows_after_resize(rows));
        drawn.push_str(&state.fitted_prompt());
        Cow::Owned(drawn)
    }

    /// The editor failed, perhaps before it saw the last wake. Another one replaces it, which this
    /// printer wakes.
    pub fn editor_replaced(&self, printer: Box<dyn ExternalPrinter + Send>) {
        let mut state = self.lock_to_edit();
        (state.printer, state.is_wake_pending, state.stage) = (printer, false, Stage::Idle);
    }

    /// Stops all drawing for good. From now on every thread that uses the screen blocks. Returns
    /// what the caller must write before the program ends: the remaining rows, in place of the
    /// prompt. When this returns, the editing thread is blocked, has ended, or hangs because the
    /// terminal accepts no output.
    pub fn close(&self) -> String {
        let Some(mut state) = self.lock_with_timeout() else { return String::new() };
        state.is_frozen = true;
        let is_editing = state.stage == Stage::Editing;
        // The editor blocks at its next drawing, with its row cleared and the cursor below.
        state.wake();
        self.changed.notify_all();
        let is_awaited =
            |state: &mut State| !state.is_editor_blocked && state.stage != Stage::Ended;
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, CLOSE_TIMEOUT, is_awaited)
            .unwrap_or_else(PoisonError::into_inner);
        let to_prompt = match (is_editing, state.is_editor_blocked && state.is_wake_pending) {
            (true, true) => "\x1b[A\x1b[J",
            (true, false) => "\r\x1b[J",
            _ => "",
        };
        format!("{to_prompt}{}", state.take_rows())
    }

    /// `None` if a panic occurred while this thread held the lock.
    fn lock_with_timeout(&self) -> Option<MutexGuard<'_, State>> {
        let deadline = Instant::now() + CLOSE_TIMEOUT;
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
    /// Makes the editor redraw at once, if a line is being edited.
    fn wake(&mut self) {
        if self.stage == Stage::Editing && !self.is_wake_pending {
            self.is_wake_pending = true;
            // It fails only if the editor no longer exists. Then nothing is drawn any more.
            let _ = self.printer.print(String::new());
        }
    }

    /// The column after the line if the editor writes only the typed character. `None` if it can't:
    /// the character isn't the last of the line, or doesn't fit the row.
    fn column_if_written_alone(&self, line: &str, pos: usize) -> Option<usize> {
        let typed = line.strip_prefix(self.line.as_str())?;
        // A combining character changes how the character before it is drawn.
        let is_one = typed.chars().count() == 1 && line.graphemes(true).next_back() == Some(typed);
        let can_write =
            is_one && pos == line.len() && self.typing.is_character && self.stage == Stage::Editing;
        let (width, columns) = (typed.width(), (self.size)().0);
        let column = self.typing.column? + width;
        (can_write && width > 0 && columns == self.columns && column < columns).then_some(column)
    }

    /// The column after the line when it is redrawn, if the cursor is at its end.
    fn column_of_end(&self, pos: usize) -> Option<usize> {
        let columns = (self.size)().0;
        let drawn = format!("{}{} {}", " ".repeat(self.width), self.sign, self.line);
        (pos == self.line.len() && columns > 0)
            .then(|| end_of(&drawn, columns, GraphemeClusterMode::from_env()).1)
    }

    /// The rows to draw. If the user resized the window while the line took several rows, the
    /// editor has cleared the wrong number of rows, because most terminals wrap everything again.
    /// Then the last rows are drawn again, on a clear screen.
    fn with_rows_after_resize(&mut self, rows: String) -> String {
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

    /// Writes the rows without the editor, which has ended.
    fn write(&mut self) {
        let rows = self.take_rows();
        let mut output = io::stdout();
        // If the terminal no longer exists, reading from it fails, and that ends the program.
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
