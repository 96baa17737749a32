//! Parses the arguments of commands. Each function takes the text after a command's name, without
//! the blanks around it, and returns `None` if it doesn't have the expected form.

use super::input::is_blank;

/// No arguments.
pub fn nothing(arguments: &str) -> Option<()> {
    arguments.is_empty().then_some(())
}

/// One word.
pub fn word(arguments: &str) -> Option<&str> {
    (!arguments.is_empty() && !arguments.contains(char::is_whitespace)).then_some(arguments)
}

/// One word, or nothing.
pub fn optional_word(arguments: &str) -> Option<Option<&str>> {
    if arguments.is_empty() { Some(None) } else { word(arguments).map(Some) }
}

/// A text with at least one visible character.
pub fn text(arguments: &str) -> Option<&str> {
    let text = arguments.trim_matches(is_blank);
    (!text.is_empty()).then_some(text)
}

/// A word, and a text.
pub fn word_and_text(arguments: &str) -> Option<(&str, &str)> {
    let (word, rest) = arguments.split_once(char::is_whitespace)?;
    Some((word, text(rest)?))
}
