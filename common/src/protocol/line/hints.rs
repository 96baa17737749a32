//! Hints for commands of other chat programs.

use super::commands::Row;

/// The replacement for such a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// The command with the same purpose.
    Command(&'static Row),
    /// An explanation.
    Words(&'static str),
}

/// Finds a hint for the command with this name; `None` if the name is unknown.
pub fn hint(name: &str) -> Option<Hint> {
    let is_same = |known: &&str| known.eq_ignore_ascii_case(name);
    let command = HINTS.iter().find(|(_, names)| names.iter().any(is_same));
    let words = || HINTS_IN_WORDS.iter().find(|(names, _)| names.iter().any(is_same));
    match command {
        Some((here, _)) => Row::by_name(here).map(Hint::Command),
        None => words().map(|(_, words)| Hint::Words(words)),
    }
}

/// Commands, with their names in other chat programs.
const HINTS: [(&str, &[&str]); 11] = [
    ("help", &["?", "h", "commands", "man"]),
    ("nick", &["name", "rename"]),
    ("join", &["j", "channel", "enter", "room", "switch", "create"]),
    ("leave", &["part", "close", "wc"]),
    ("rooms", &["list", "channels"]),
    ("who", &["names", "users", "n"]),
    ("msg", &["query", "w", "whisper", "tell", "dm", "pm", "m", "t", "notice", "privmsg"]),
    ("me", &["action", "em", "emote"]),
    ("history", &["log", "last", "lastlog", "backlog", "scrollback", "chathistory"]),
    ("charset", &["encoding", "codepage"]),
    ("quit", &["exit", "bye", "disconnect", "logout", "signoff", "end"]),
];

/// Commands of other chat programs that have no counterpart.
const HINTS_IN_WORDS: [(&[&str], &str); 5] = [
    (&["q"], "/quit leaves the chat, /msg NICK TEXT sends a private message"),
    (&["say", "s"], "to send a line to the room, type it without a slash"),
    (
        &["away", "back", "afk", "status"],
        "there is no away status here; /me TEXT tells the room what you do",
    ),
    (
        &["whois", "wii", "whowas"],
        "/who lists who is in a room; nothing more is shown about others",
    ),
    (
        &["kick", "ban", "op", "deop", "voice", "mode", "invite", "ignore", "oper"],
        "there are no operators, bans, invitations or ignore lists here",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_other_programs_give_the_command_with_the_same_purpose() {
        for (name, here) in [
            ("j", "join"),
            ("PART", "leave"),
            ("names", "who"),
            ("list", "rooms"),
            ("exit", "quit"),
            ("query", "msg"),
            ("w", "msg"),
        ] {
            assert_eq!(hint(name), Row::by_name(here).map(Hint::Command), "{name}");
        }
        assert!(matches!(hint("away"), Some(Hint::Words(_))) && hint("dance").is_none());
        let names = || {
            HINTS
                .iter()
                .flat_map(|(_, names)| *names)
                .chain(HINTS_IN_WORDS.iter().flat_map(|(names, _)| *names))
        };
        for (here, _) in HINTS {
            assert!(Row::by_name(here).is_some(), "{here}");
        }
        for name in names() {
            assert!(Row::by_name(name).is_none(), "{name} is a command itself");
            assert_eq!(names().filter(|other| *other == name).count(), 1, "{name} is there twice");
        }
    }
}
