//! Pasting. A terminal marks the beginning and the end of a paste. Each pasted line is sent as if
//! it was typed, but some pastes need a confirmation first.

use crate::conversation::{begins_with_slash, is_command};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A paste of more lines than this needs a confirmation.
const UNCONFIRMED_LINES_MAX: usize = 10;

/// The state of a paste, shared by the editor and its keys.
#[derive(Debug, Default)]
pub struct Paste {
    /// A paste has begun and not ended.
    pub is_pasting: AtomicBool,
    /// Pasted text that is not in the edited line yet. It is inserted as a whole; otherwise the
    /// editor would redraw the line for each character.
    text: Mutex<PastedText>,
    /// The editor has returned lines of the paste.
    pub has_lines: AtomicBool,
    /// The paste has ended after such lines, and the editor was made to return.
    pub has_ended: AtomicBool,
    /// The user is asked whether to send the paste.
    pub is_confirmation_pending: AtomicBool,
    /// The user has pressed Ctrl-C on an empty line, and was shown the key that leaves.
    pub is_hint_shown: AtomicBool,
    /// The user has dropped the paste.
    pub is_dropped: AtomicBool,
}

/// Pasted text and its position in the line.
#[derive(Debug, Default)]
struct PastedText {
    text: String,
    /// In bytes from the start of the line.
    pos: usize,
}

impl Paste {
    fn text(&self) -> MutexGuard<'_, PastedText> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a pasted character. `pos` is the position of the cursor.
    pub fn push(&self, character: char, pos: usize) {
        let mut pasted = self.text();
        if pasted.text.is_empty() {
            pasted.pos = pos;
        }
        pasted.text.push(character);
    }

    /// Takes the pasted text, to be inserted into the line.
    pub fn take(&self) -> String {
        std::mem::take(&mut self.text().text)
    }

    /// Inserts the pasted text into a line that the editor has returned.
    pub fn complete(&self, mut line: String) -> String {
        let pasted = std::mem::take(&mut *self.text());
        let pos = if line.is_char_boundary(pasted.pos) { pasted.pos } else { line.len() };
        line.insert_str(pos, &pasted.text);
        line
    }
}

/// Whether the user must confirm before pasted lines are sent. `rest` is the last line, which has
/// no line end and stays in the editor.
///
/// A pasted line that begins with a slash may be a private message or a line of a log file. Nothing
/// shows whether the user wants to execute it or to say it.
pub fn needs_confirmation(lines: &[String], rest: &str) -> bool {
    lines.len() > UNCONFIRMED_LINES_MAX
        || all_lines(lines, rest).count() > 1 && all_lines(lines, rest).any(begins_with_slash)
}

/// What the user is asked then.
pub fn confirmation_question(lines: &[String], rest: &str) -> String {
    let count = match all_lines(lines, rest).count() {
        1 => "a line".to_owned(),
        count => format!("{count} lines"),
    };
    let commands = match all_lines(lines, rest).filter(|line| is_command(line)).count() {
        0 => String::new(),
        1 => ", 1 of them a command".to_owned(),
        commands => format!(", {commands} of them commands"),
    };
    format!("{count} pasted{commands}; Enter sends them, Ctrl-C drops them")
}

fn all_lines<'l>(lines: &'l [String], rest: &'l str) -> impl Iterator<Item = &'l str> {
    lines.iter().map(String::as_str).chain(Some(rest).filter(|rest| !rest.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paste_of_several_lines_needs_confirmation_if_it_is_long_or_has_commands() {
        let question_for = |lines: &[&str], rest: &str| {
            let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
            let question = confirmation_question(&lines, rest);
            let question = question.strip_suffix("; Enter sends them, Ctrl-C drops them").unwrap();
            needs_confirmation(&lines, rest).then(|| question.to_owned())
        };
        for at_once in [
            &["hi"] as &[&str],
            &["/quit"],
            &["1/2", "a /quit", "\\o/"],
            &["  /usr/bin/x", "two"],
            &["x"; 10],
        ] {
            assert_eq!(question_for(at_once, ""), None, "{at_once:?}");
        }
        for (lines, rest, question) in [
            (&["hi", "/nick evil"] as &[&str], "", "2 lines pasted, 1 of them a command"),
            (&["/msg bob secret"], "rest", "2 lines pasted, 1 of them a command"),
            (&["hi"], "/quit", "2 lines pasted, 1 of them a command"),
            (
                &["/usr/bin/ld: x", "\u{200b}/quit", "\\nick"],
                "",
                "3 lines pasted, 3 of them commands",
            ),
            (&["// a comment", "x"], "", "2 lines pasted"),
            (&["x"; 11], "", "11 lines pasted"),
            (&["x"; 11], "and more", "12 lines pasted"),
        ] {
            assert_eq!(question_for(lines, rest).as_deref(), Some(question), "{lines:?} {rest:?}");
        }
    }
}
