//! Makes text from other users safe for a terminal: keeps every character that is text and removes
//! those that act on the screen.
//!
//! | removed | because |
//! |---|---|
//! | control characters | they start escape sequences, move the cursor, hide other text |
//! | explicit bidirectional controls (UAX #9) | they reverse neighbouring text, even the time and the nickname |
//! | line and paragraph separators, tags, other invisible formats | terminals draw them differently, or they hide text |
//! | more than [`MARKS_MAX`] marks on one character | they are drawn over the lines above and below |
//!
//! Joiners (U+200C, U+200D) and variation selectors stay: Persian, Indian scripts and emoji need
//! them.

use unicode_width::UnicodeWidthChar;

/// Marks without width that one character keeps. Tibetan and Vietnamese need up to five.
pub const MARKS_MAX: usize = 8;

/// What of `text` can be written to a terminal.
///
/// ```
/// assert_eq!(forkchat_client::sanitize::sanitize("a\x1b[2J\u{202e}b"), "a[2Jb");
/// ```
pub fn sanitize(text: &str) -> String {
    let mut marks = 0;
    text.chars()
        .filter(|&c| {
            if c != '\t' && acts(c) {
                return false;
            }
            marks = if c.width() == Some(0) { marks + 1 } else { 0 };
            marks <= MARKS_MAX
        })
        .collect()
}

/// Whether a character does something to the screen other than appear on it.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Arabic letter mark, left-to-right and right-to-left marks, embeddings, overrides,
            // isolates.
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Separators, invisible operators, deprecated formats, byte order mark, interlinear
            // annotations, tags.
            | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{200b}' | '\u{feff}' | '\u{180e}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_stays() {
        for text in
            ["hi", "你好 👩‍🚀 ❤️", "सं स्कृत", "می‌خواهم", "Tiếng Việt", "a\tb", "e\u{301}\u{327}"]
        {
            assert_eq!(sanitize(text), text);
        }
    }

    #[test]
    fn what_acts_on_the_screen_goes() {
        assert_eq!(sanitize("\u{9b}31m\u{7}red\u{1b}]0;title\u{7}"), "31mred]0;title");
        assert_eq!(sanitize("abc\u{202e}fed\u{2066}\u{200f}"), "abcfed");
        assert_eq!(sanitize("one\u{2028}two\r\n"), "onetwo");
    }

    #[test]
    fn marks_do_not_pile_up() {
        let zalgo = format!("Z{}a", "\u{335}".repeat(4_000));
        assert_eq!(sanitize(&zalgo).chars().count(), 2 + MARKS_MAX);
    }

    proptest! {
        #[test]
        fn nothing_that_acts_is_left(text in "\\PC{0,40}[\\x00-\\x1f\\x7f-\\u{9f}\\u{202a}-\\u{202e}]{0,20}\\PC{0,40}") {
            let defused = sanitize(&text);
            prop_assert!(defused.chars().all(|c| c == '\t' || !acts(c)));
            prop_assert_eq!(sanitize(&defused), defused.clone());
        }
    }
}
