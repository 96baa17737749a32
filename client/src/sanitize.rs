//! Makes text from other users safe for a terminal. Keeps the text and removes the characters that
//! act on the screen.
//!
//! | removed | because |
//! |---|---|
//! | control characters | they start escape sequences, move the cursor, hide other text |
//! | explicit bidirectional controls (UAX #9) | they reverse the text around them |
//! | separators, tags, other invisible formats | they hide text, or terminals disagree on them |
//! | more than [`MARKS_MAX`] marks on one character | they cover the lines above and below |
//!
//! Joiners (U+200C, U+200D) and variation selectors stay: Persian, Indian scripts and emoji need
//! them.

use unicode_width::UnicodeWidthChar;

/// A character keeps this many marks without width. Tibetan and Vietnamese need up to five.
pub const MARKS_MAX: usize = 8;

/// Removes the characters of `text` that must not be written to a terminal.
///
/// ```
/// assert_eq!(forkchat_client::sanitize::sanitize("a\x1b[2J\u{202e}b"), "a[2Jb");
/// ```
pub fn sanitize(text: &str) -> String {
    let mut marks = 0;
    text.chars()
        .filter(|&c| {
            if c != '\t' && acts_on_screen(c) {
                return false;
            }
            marks = if c.width() == Some(0) { marks + 1 } else { 0 };
            marks <= MARKS_MAX
        })
        .collect()
}

/// Whether a character does something to the screen other than appear on it.
fn acts_on_screen(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Arabic letter mark, left-to-right and right-to-left marks, embeddings, overrides,
            // isolates.
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Separators, invisible operators, deprecated formats, byte order mark, interlinear
            // annotations, tags.
            | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}'
            | '\u{200b}' | '\u{feff}' | '\u{180e}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ordinary_text_is_unchanged() {
        for text in
            ["hi", "你好 👩‍🚀 ❤️", "सं स्कृत", "می‌خواهم", "Tiếng Việt", "a\tb", "e\u{301}\u{327}"]
        {
            assert_eq!(sanitize(text), text);
        }
    }

    #[test]
    fn characters_that_act_on_the_screen_are_removed() {
        assert_eq!(sanitize("\u{9b}31m\u{7}red\u{1b}]0;title\u{7}"), "31mred]0;title");
        assert_eq!(sanitize("abc\u{202e}fed\u{2066}\u{200f}"), "abcfed");
        assert_eq!(sanitize("one\u{2028}two\r\n"), "onetwo");
    }

    #[test]
    fn the_number_of_marks_on_a_character_is_limited() {
        let zalgo = format!("Z{}a", "\u{335}".repeat(4_000));
        assert_eq!(sanitize(&zalgo).chars().count(), 2 + MARKS_MAX);
    }

    proptest! {
        #[test]
        fn no_character_that_acts_on_the_screen_is_left(
            text in "\\PC{0,40}[\\x00-\\x1f\\x7f-\\u{9f}\\u{202a}-\\u{202e}]{0,20}\\PC{0,40}"
        ) {
            let sanitized = sanitize(&text);
            prop_assert!(sanitized.chars().all(|c| c == '\t' || !acts_on_screen(c)));
            prop_assert_eq!(sanitize(&sanitized), sanitized.clone());
        }
    }
}
