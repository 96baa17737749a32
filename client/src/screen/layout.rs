//! How much room text takes on the screen, and how to make it fit.

use rustyline::GraphemeClusterMode;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The width of a tab.
pub const TAB_COLUMNS: usize = 8;

/// How many rows a text takes on a window of so many columns.
pub fn rows_of(text: &str, columns: usize, mode: GraphemeClusterMode) -> usize {
    end_of(text, columns, mode).0
}

/// The row, from 1, and the column, from 0, after a text. Counted as the line editor does: a
/// character that doesn't fit goes to the next row as a whole, and after a full last row comes an
/// empty one.
pub fn end_of(text: &str, columns: usize, mode: GraphemeClusterMode) -> (usize, usize) {
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

/// A row without the sequences that set colours and ring the bell.
pub fn without_styles(row: &str) -> String {
    let mut parts = row.split('\x1b');
    let plain = parts.next().unwrap_or_default().to_owned();
    let visible = parts
        .fold(plain, |visible, part| visible + part.split_once('m').map_or("", |(_, text)| text));
    visible.replace(['\x07', '\r'], "")
}

/// `text` in at most `columns` columns: truncated if it is longer.
pub fn shorten(text: &str, columns: usize) -> String {
    fit(text, text.width().min(columns)).trim_end().to_owned()
}

/// `text` in exactly `width` columns: truncated, or padded with blanks.
pub fn fit(text: &str, width: usize) -> String {
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
