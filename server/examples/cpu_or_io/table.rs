//! A table whose columns are aligned in a terminal, where a Chinese character is as wide as two
//! Latin letters.

use unicode_width::UnicodeWidthStr;

/// The columns' widths; the first two columns are texts, the others numbers.
const WIDTHS: [usize; 7] = [11, 13, 8, 9, 11, 14, 8];
const TEXTS: usize = 2;

/// A row of the table: texts on the left of their column, numbers on the right.
pub fn row(cells: [String; WIDTHS.len()]) -> String {
    let pad = |(column, (cell, width)): (usize, (&String, usize))| {
        let spaces = " ".repeat(width.saturating_sub(cell.width()));
        if column < TEXTS { format!("{cell}{spaces}") } else { format!("{spaces}{cell}") }
    };
    cells.iter().zip(WIDTHS).enumerate().map(pad).collect()
}
