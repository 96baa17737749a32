//! Reads a line of input: text for the room, or a command.

use super::commands::{Row, narrow};
use super::hints::hint;
use crate::names::is_visible_alone;
use std::borrow::Cow;

/// A parsed line. Borrows from the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// A text for the current room. In a line such as ` //text` the first slash is not part of the
    /// text, so the text has two parts.
    Text {
        /// The blanks before a doubled slash; usually empty.
        indent: &'a str,
        /// The rest.
        rest: &'a str,
    },
    /// A command, and its arguments without the blanks around them.
    Command(&'static Row, &'a str),
}

/// Why a line that begins with a slash is not a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputError<'a> {
    /// No command has this name.
    Unknown(&'a str),
    /// A command's name follows this character, which looks like a slash.
    Lookalike(char, &'a str),
}

impl<'a> Input<'a> {
    /// The text as the current room receives it; `None` for a command.
    pub fn said(&self) -> Option<Cow<'a, str>> {
        match *self {
            Input::Text { indent: "", rest } => Some(rest.into()),
            Input::Text { indent, rest } => Some(format!("{indent}{rest}").into()),
            Input::Command(..) => None,
        }
    }

    /// The arguments, if it is the command with this name.
    pub fn arguments_of(&self, name: &str) -> Option<&'a str> {
        match *self {
            Input::Command(row, arguments) if row.name == name => Some(arguments),
            _ => None,
        }
    }
}

/// Parses a line. `Ok(None)` means that the line has no visible character.
///
/// A line that was meant as a command must never be sent as text: a private message would be
/// public. So the first visible character decides. Blanks and other invisible characters before the
/// slash of a command are ignored, and the slash may be the full-width one of Chinese and Japanese
/// keyboards. A command after a backslash or another character that looks like a slash is refused.
pub fn parse(line: &str) -> Result<Option<Input<'_>>, InputError<'_>> {
    if line.chars().all(is_blank) {
        return Ok(None);
    }
    let Some(Attempt { indent, slash, rest, name, arguments, row }) = Attempt::of(line) else {
        return Ok(Some(Input::Text { indent: "", rest: line }));
    };
    if rest.starts_with(slash) {
        return Ok(Some(Input::Text { indent, rest }));
    }
    let row = row.ok_or(InputError::Unknown(name))?;
    if is_lookalike(slash) {
        return Err(InputError::Lookalike(slash, name));
    }
    Ok(Some(Input::Command(row, arguments.trim_matches(is_blank))))
}

/// Whether a line is refused because it begins with a character that only looks like a slash, or
/// with a backslash.
pub fn begins_with_lookalike(line: &str) -> bool {
    parse(line).is_err() && Attempt::of(line).is_some_and(|attempt| is_lookalike(attempt.slash))
}

/// The line that sends this text unchanged. A slash that would make the text a command is doubled.
///
/// ```
/// use forkchat_common::protocol::line::input::literal;
/// assert_eq!(literal("/usr/bin/ld: cannot find -lfoo"), "//usr/bin/ld: cannot find -lfoo");
/// assert_eq!(literal("1/2"), "1/2");
/// ```
pub fn literal(text: &str) -> Cow<'_, str> {
    match Attempt::of(text) {
        Some(Attempt { indent, slash, rest, .. }) => format!("{indent}{slash}{slash}{rest}").into(),
        None => text.into(),
    }
}

/// A line that was meant as a command, or whose slash is doubled because it is not one.
struct Attempt<'a> {
    indent: &'a str,
    slash: char,
    /// The text after the slash.
    rest: &'a str,
    name: &'a str,
    arguments: &'a str,
    row: Option<&'static Row>,
}

impl<'a> Attempt<'a> {
    fn of(line: &'a str) -> Option<Attempt<'a>> {
        let visible = line.trim_start_matches(is_stray);
        let slash = visible
            .chars()
            .next()
            .filter(|c| matches!(*c, '/' | FULL_WIDTH_SLASH) || is_lookalike(*c))?;
        let (indent, rest) = (&line[..line.len() - visible.len()], &visible[slash.len_utf8()..]);
        let words = rest.trim_start_matches(slash);
        let (name, arguments) = words.split_once(is_blank).unwrap_or((words, ""));
        let row = Row::by_name(name);
        let is_meant = match (slash, row) {
            (_, Some(_)) => true,
            // An indented path is text, and so is an emoticon such as ／(^o^)＼.
            ('/', None) => {
                indent.is_empty()
                    || hint(name).is_some()
                    || (!indent.chars().all(char::is_whitespace) && is_letters(name))
            }
            (_, None) if BACKSLASHES.contains(&slash) => false,
            (_, None) => is_word(name),
        };
        is_meant.then_some(Attempt { indent, slash, rest, name, arguments, row })
    }
}

const FULL_WIDTH_SLASH: char = '\u{ff0f}';
/// Fraction slash, division slash, big solidus, box drawings' diagonal, mathematical rising
/// diagonal.
const SLASH_LOOKALIKES: &[char] = &['\u{2044}', '\u{2215}', '\u{29f8}', '\u{2571}', '\u{27cb}'];
/// Backslash, its full-width and small forms, set minus, reverse solidus operator, big reverse
/// solidus. Many texts begin with one (`\o/`, `\n`), so only a command's name after it makes the
/// line an attempt.
const BACKSLASHES: &[char] =
    &['\\', '¥', '₩', '\u{ff3c}', '\u{fe68}', '\u{2216}', '\u{29f5}', '\u{29f9}'];

/// Whether a character may have been typed or pasted instead of a slash.
fn is_lookalike(c: char) -> bool {
    SLASH_LOOKALIKES.contains(&c) || BACKSLASHES.contains(&c)
}

/// Whether a word begins like a command's name: with an ASCII letter, maybe full-width.
fn is_word(name: &str) -> bool {
    name.chars().next().is_some_and(|c| narrow(c).is_ascii_lowercase())
}

/// Whether a word consists of such letters.
fn is_letters(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| narrow(c).is_ascii_lowercase())
}

/// Whether a character before a command is stray: a blank, a mark without a letter, an unassigned
/// character, or one that couldn't be decoded.
fn is_stray(c: char) -> bool {
    is_blank(c) || (!c.is_ascii() && !is_visible_alone(c))
}

/// Whether a character is invisible: a space of any kind, or a character without width.
pub(super) fn is_blank(c: char) -> bool {
    c.is_whitespace()
        || matches!(c,
            // Soft hyphen, grapheme joiner, Hangul and Mongolian fillers, joiners and marks of
            // direction, invisible operators, Braille's blank, variation selectors, byte order
            // mark.
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::line::arguments::{text as visible, word_and_text};
    use proptest::prelude::*;

    fn input(line: &str) -> Input<'_> {
        parse(line).unwrap().unwrap()
    }

    fn text(rest: &str) -> Input<'_> {
        Input::Text { indent: "", rest }
    }

    #[test]
    fn paths_and_comments_are_escaped_and_other_text_is_not() {
        for (text, sent) in [
            ("/usr/bin/ld: no", "//usr/bin/ld: no"),
            ("/quit", "//quit"),
            ("// x", "/// x"),
            ("a /b", "a /b"),
            ("", ""),
        ] {
            assert_eq!(literal(text), sent);
        }
        assert_eq!(input("/// x"), text("// x"));
    }

    #[test]
    fn a_line_is_text_unless_it_starts_with_one_slash() {
        assert_eq!(input("hi /there"), text("hi /there"));
        assert_eq!(input("//me"), text("/me"));
        assert_eq!(parse(""), Ok(None));
        assert_eq!(input("/me waves  ").arguments_of("me"), Some("waves"));
    }

    #[test]
    fn a_line_that_was_meant_as_a_command_is_never_text() {
        let secret = Some(("bob", "a secret"));
        for line in [
            "/msg bob a secret",
            " /msg bob a secret",
            "\t/msg bob a secret",
            "\u{3000}/msg bob a secret",
            "\u{feff}/msg bob a secret",
            "\u{200b}/msg bob a secret",
            "／msg bob a secret",
            "／ｍｓｇ　bob　a secret",
            " ／MSG bob a secret",
            "/msg\u{a0}bob\u{a0}a secret\u{a0}",
            "/msg\u{2003}bob\u{3000}a secret",
            "/ｍｓｇ bob a secret",
            "\u{fffd}/msg bob a secret",
            "\u{fffd} \u{fffd}／msg bob a secret",
            "\u{301}/msg bob a secret",
            "\u{20dd}\u{93f}/msg bob a secret",
            "\u{ad}\u{200d}\u{fe0f}\u{200e}/msg bob a secret",
            "\u{f700}\u{ffff}\u{378}/msg bob a secret",
        ] {
            let arguments = input(line).arguments_of("msg");
            assert_eq!(arguments.and_then(word_and_text), secret, "{line:?}");
        }
        for line in [
            "⁄msg bob a secret",
            "∕msg bob a secret",
            "⧸MSG bob a secret",
            " ⁄msg bob",
            "\\msg bob a secret",
            " \\MSG bob a secret",
            "\u{301}\\msg bob a secret",
            "＼msg bob a secret",
            "¥msg bob a secret",
            "﹨msg bob a secret",
            "∖msg bob",
            "⧵msg bob",
            "⧹ｍｓｇ bob",
            "\\quit",
        ] {
            assert!(matches!(parse(line), Err(InputError::Lookalike(..))), "{line}");
        }
        for line in [
            "／mgs bob a secret",
            "／ｄａｎｃｅ",
            "/mgs\u{a0}bob",
            "/ msg bob a secret",
            "/",
            "/m\u{301}sg bob",
            "\u{fffd}/mgs bob a secret",
            "\u{200b}/mgs bob a secret",
            "⁄mgs bob a secret",
            " /query bob a secret",
            " /w bob a secret",
        ] {
            assert!(matches!(parse(line), Err(InputError::Unknown(_))), "{line}");
        }
    }

    #[test]
    fn a_character_that_looks_like_a_slash_begins_no_command() {
        for text in ["\\nick is a macro", " \\msg bob x", "\u{2044}msg bob x", "\u{2215}dance"] {
            assert!(begins_with_lookalike(text), "{text}");
        }
        for text in
            ["/nick", "/dance", "\u{ff0f}dance", "\u{200b}/dance", "/", "//nick", "\\o/", "hi", ""]
        {
            assert!(!begins_with_lookalike(text), "{text}");
        }
    }

    #[test]
    fn paths_emoticons_and_fractions_are_text() {
        for line in [
            " /etc/passwd",
            "  //etc",
            "／(^o^)＼",
            "／人◕ ‿‿ ◕人＼",
            "／",
            "⁄10",
            "1／2",
            "╱╲",
            "  indented",
            "\u{200f}שלום",
            "\\o/",
            "\\",
            "\\n ends a line",
            "\\\\server\\share",
            "\\begin{document}",
            "C:\\dir",
            "＼(^o^)／",
            "\u{fffd}/etc/passwd",
            "\u{fffd}/\u{fffd}",
            "\u{301}hello",
            "<3 you all",
            "❤\u{fe0f}/me",
        ] {
            assert_eq!(input(line), text(line));
        }
        assert_eq!(input("／／me"), text("／me"));
        assert_eq!(input("  //me"), Input::Text { indent: "  ", rest: "/me" });
    }

    #[test]
    fn literal_gives_a_line_for_every_text() {
        for text in [
            "hi",
            "/",
            "//",
            "/me",
            "//me",
            "///me",
            "/usr/bin",
            " /me",
            " //me",
            "\t/etc",
            "／msg bob",
            "　／ｍｓｇ",
            "／／me",
            "／mgs",
            "／(^o^)＼",
            "⁄msg x",
            "⁄⁄msg",
            " ⁄me",
            "1/2",
            "/ msg",
            "\\msg bob",
            "\\\\msg bob",
            "\\o/",
            "\u{301}/msg bob",
            "\u{fffd}/mgs",
            "\u{fffd}//mgs",
            " /query",
            "⁄mgs",
        ] {
            let line = literal(text);
            assert_eq!(input(&line).said().as_deref(), Some(text), "{line}");
        }
    }

    proptest! {
        #[test]
        fn the_literal_of_any_text_is_parsed_as_that_text(
            text in "[ \t\u{301}\u{200b}\u{fffd}]{0,2}[/／⁄＼\\\\]{0,3}(me|mgs|w|quit x|o/|(\\^))?",
        ) {
            let literal = literal(&text).into_owned();
            match parse(&literal) {
                Ok(None) => prop_assert!(text.chars().all(is_blank)),
                Ok(Some(said)) => prop_assert_eq!(said.said().unwrap_or_default(), text.as_str()),
                other => prop_assert!(false, "{:?} of {:?}: {:?}", literal, text, other),
            }
        }
    }

    #[test]
    fn a_line_without_visible_characters_is_ignored() {
        for line in [
            "",
            " ",
            "\t \t",
            "\u{3000}\u{3000}",
            "\u{a0}",
            "\u{200b}\u{200d}",
            "\u{feff}",
            "\u{2800} \u{3164}",
        ] {
            assert_eq!(parse(line), Ok(None), "{line:?}");
        }
        for blank in ["/me \u{200b}\u{3000}", "/msg bob \u{2060}"] {
            let Input::Command(_, arguments) = input(blank) else {
                panic!("{blank:?} is a command")
            };
            assert_eq!(visible(arguments.trim_start_matches("bob")), None, "{blank:?}");
        }
    }
}
