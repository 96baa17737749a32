//! The emulator's screen and scrollback, read as the lines that a user sees.

use std::num::NonZeroU16;
use unicode_width::UnicodeWidthChar;

/// Fills the last column when a wide character doesn't fit into it and goes to the next row.
/// Without it, the emulator would not treat the row as wrapped.
pub const FILLER: char = '\u{a0}';

/// Replaces the replacement character, which the emulator wouldn't show.
pub const STAND_IN: &str = "\u{f8ff}";

/// The lines of scrollback and screen, with wrapped rows joined.
pub fn lines_of(screen: &vt100::Screen) -> Vec<String> {
    let (height, _) = screen.size();
    let mut rows = Vec::new();
    // When the screen becomes wider, the emulator forgets which of the scrolled off rows were
    // wrapped, as soon as they are read. So the scrollback is read through a very narrow copy of
    // the screen.
    let mut narrow = screen.clone();
    narrow.set_size(height, NonZeroU16::MIN);
    let mut above = screen.scrollback_len();
    while above > 0 {
        narrow.set_scrollback(above);
        let wrapped = (0..height.get()).map(|row| narrow.row_wrapped(row));
        rows.extend(narrow.rows(0, u16::MAX).zip(wrapped).take(above));
        above = above.saturating_sub(height.get().into());
    }
    rows.extend(screen.rows(0, u16::MAX).zip((0..height.get()).map(|row| screen.row_wrapped(row))));

    let mut lines = vec![String::new()];
    for (text, is_wrapped) in rows {
        if let Some(line) = lines.last_mut() {
            line.push_str(&shown(if is_wrapped {
                text.strip_suffix(FILLER).unwrap_or(&text)
            } else {
                &text
            }));
            if !is_wrapped {
                line.truncate(line.trim_end().len());
                lines.push(String::new());
            }
        }
    }
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

/// The first position of a text on the screen.
pub fn place_on(screen: &vt100::Screen, text: &str) -> Option<(u16, u16)> {
    let (rows, cols) = screen.size();
    let (mut line, mut places) = (String::new(), Vec::new());
    for row in 0..rows.get() {
        let is_wrapped = screen.row_wrapped(row);
        for col in 0..cols.get() {
            let Some(cell) = screen.cell(row, col).filter(|cell| !cell.is_wide_continuation())
            else {
                continue;
            };
            let is_filler =
                is_wrapped && col + 1 == cols.get() && cell.contents().starts_with(FILLER);
            if !is_filler {
                places.push((line.len(), (row, col)));
                line.push_str(&shown(if cell.has_contents() { cell.contents() } else { " " }));
            }
        }
        if !is_wrapped {
            if let Some(found) = line.find(text) {
                return places
                    .into_iter()
                    .rev()
                    .find(|(start, _)| *start <= found)
                    .map(|(_, place)| place);
            }
            line.clear();
            places.clear();
        }
    }
    None
}

/// The emulator's text as a user sees it.
pub fn shown(text: &str) -> String {
    text.replace(STAND_IN, "\u{fffd}")
}

/// Whether a character takes two columns.
pub fn is_wide(character: char) -> bool {
    character.width() == Some(2)
}
